"""What calls send and where what they receive goes: sources and sinks, with devices and without. Bound to no engine."""

from sipproto_devices._analysis import analyse_audio, mean_color, mono
from sipproto_devices._buffers import DriftBuffer, FrameBuffer, LatestFrame
from sipproto_devices._canceller import EchoCanceller
from sipproto_devices._capture import Camera, Screen
from sipproto_devices._files import FileSource
from sipproto_devices._frames import AudioChunk, AudioFrames, Picture, VideoFrames, VoiceActivity
from sipproto_devices._levels import Level, Volume
from sipproto_devices._listing import KINDS, Device, list_devices
from sipproto_devices._media import (
    FRAME_SAMPLES,
    FRAME_TIME,
    SAMPLE_RATE,
    SILENCE,
    AudioProducer,
    AudioSource,
    DeviceError,
    Samples,
    Sink,
    SinkWriter,
    SourceError,
    Trouble,
    VideoProducer,
    VideoSource,
    mix,
    samples_of,
)
from sipproto_devices._mixer import AudioMixer, MixerMember
from sipproto_devices._outlets import Outlets
from sipproto_devices._ringing import BUSY, RINGBACK, RINGTONE, Cadence, Playback, play
from sipproto_devices._setup import MediaSetup
from sipproto_devices._sinks import Record
from sipproto_devices._sound import Microphone, Speaker, look_for_devices
from sipproto_devices._sources import (
    BlackProducer,
    EchoSource,
    Silence,
    SilenceProducer,
    TestPattern,
    Tone,
    plain_picture,
)
from sipproto_devices._switch import VideoSwitch

__all__ = [
    "BUSY",
    "FRAME_SAMPLES",
    "FRAME_TIME",
    "KINDS",
    "RINGBACK",
    "RINGTONE",
    "SAMPLE_RATE",
    "SILENCE",
    "AudioChunk",
    "AudioFrames",
    "AudioMixer",
    "AudioProducer",
    "AudioSource",
    "BlackProducer",
    "Cadence",
    "Camera",
    "Device",
    "DeviceError",
    "DriftBuffer",
    "EchoCanceller",
    "EchoSource",
    "FileSource",
    "FrameBuffer",
    "LatestFrame",
    "Level",
    "MediaSetup",
    "Microphone",
    "MixerMember",
    "Outlets",
    "Picture",
    "Playback",
    "Record",
    "Samples",
    "Screen",
    "Silence",
    "SilenceProducer",
    "Sink",
    "SinkWriter",
    "SourceError",
    "Speaker",
    "TestPattern",
    "Tone",
    "Trouble",
    "VideoFrames",
    "VideoProducer",
    "VideoSource",
    "VideoSwitch",
    "VoiceActivity",
    "Volume",
    "analyse_audio",
    "list_devices",
    "look_for_devices",
    "mean_color",
    "mix",
    "mono",
    "plain_picture",
    "play",
    "samples_of",
]
