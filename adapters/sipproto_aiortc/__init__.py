"""WebRTC media for sipproto on aiortc: ICE, DTLS-SRTP, RTP and codecs. Sources and sinks are those of sipproto_devices.

engine = AiortcEngine()
engine.prepare(call_id, MediaSetup(audio=Tone(1000), video=TestPattern(color=(255, 0, 0)), record="call.mkv"))
"""

from sipproto_aiortc._contract import check_contract
from sipproto_aiortc._decoders import extend_aiortc
from sipproto_aiortc._engine import CAPABILITIES, AiortcEngine
from sipproto_aiortc._servers import IceServer
from sipproto_devices import (
    AudioMixer,
    AudioSource,
    EchoSource,
    FileSource,
    MediaSetup,
    MixerMember,
    Record,
    Silence,
    Sink,
    TestPattern,
    Tone,
    VideoSource,
)

__all__ = [
    "CAPABILITIES",
    "AiortcEngine",
    "AudioMixer",
    "AudioSource",
    "EchoSource",
    "FileSource",
    "IceServer",
    "MediaSetup",
    "MixerMember",
    "Record",
    "Silence",
    "Sink",
    "TestPattern",
    "Tone",
    "VideoSource",
    "check_contract",
]

extend_aiortc()
