"""What calls send and where what they receive goes: sources and sinks, with devices and without. Bound to no engine."""

from sipproto_devices._analysis import analyse_audio, mean_color
from sipproto_devices._buffers import FrameBuffer, LatestFrame
from sipproto_devices._files import FileSource
from sipproto_devices._media import (
    FRAME_SAMPLES,
    FRAME_TIME,
    SAMPLE_RATE,
    SILENCE,
    AudioProducer,
    AudioSource,
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
from sipproto_devices._setup import MediaSetup
from sipproto_devices._sinks import Record
from sipproto_devices._sources import (
    BlackProducer,
    EchoSource,
    Silence,
    SilenceProducer,
    TestPattern,
    Tone,
    plain_picture,
)

__all__ = [
    "FRAME_SAMPLES",
    "FRAME_TIME",
    "SAMPLE_RATE",
    "SILENCE",
    "AudioMixer",
    "AudioProducer",
    "AudioSource",
    "BlackProducer",
    "EchoSource",
    "FileSource",
    "FrameBuffer",
    "LatestFrame",
    "MediaSetup",
    "MixerMember",
    "Outlets",
    "Record",
    "Samples",
    "Silence",
    "SilenceProducer",
    "Sink",
    "SinkWriter",
    "SourceError",
    "TestPattern",
    "Tone",
    "Trouble",
    "VideoProducer",
    "VideoSource",
    "analyse_audio",
    "mean_color",
    "mix",
    "plain_picture",
    "samples_of",
]
