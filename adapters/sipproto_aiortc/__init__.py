"""WebRTC media for sipproto on aiortc: ICE, DTLS-SRTP, RTP, codecs, and sources and sinks without devices.

engine = AiortcEngine()
engine.prepare(call_id, MediaSetup(audio=Tone(1000), video=TestPattern(color=(255, 0, 0)), record="call.mkv"))
"""

from sipproto_aiortc._contract import check_contract
from sipproto_aiortc._decoders import extend_aiortc
from sipproto_aiortc._engine import CAPABILITIES, AiortcEngine
from sipproto_aiortc._mixer import AudioMixer, MixerMember
from sipproto_aiortc._servers import IceServer
from sipproto_aiortc._setup import MediaSetup
from sipproto_aiortc._sinks import Meter, Null, Record, Sink
from sipproto_aiortc._sources import AudioSource, EchoSource, FileSource, Silence, TestPattern, Tone, VideoSource

__all__ = [
    "CAPABILITIES",
    "AiortcEngine",
    "AudioMixer",
    "AudioSource",
    "EchoSource",
    "FileSource",
    "IceServer",
    "MediaSetup",
    "Meter",
    "MixerMember",
    "Null",
    "Record",
    "Silence",
    "Sink",
    "TestPattern",
    "Tone",
    "VideoSource",
    "check_contract",
]

extend_aiortc()
