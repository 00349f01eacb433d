"""The encoders of one line: what they take, and audio. Video is in `_video_encoder`."""

from __future__ import annotations

from typing import Protocol

import av
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_encoder
from aiortc.codecs.opus import SAMPLE_RATE, TIME_BASE
from aiortc.codecs.opus import OpusEncoder as AiortcOpusEncoder
from attrs import frozen
from av.audio.codeccontext import AudioCodecContext
from av.frame import Frame

from sipproto.media import VideoTarget
from sipproto.sdp import Codec

_OPUS_BITRATE = 96_000  # as aiortc has it: fullband stereo without audible loss
_OPUS_LEAST, _OPUS_MOST = 6_000, 510_000  # RFC 6716 2.1.1


@frozen(kw_only=True)
class AudioTarget:
    """max_bitrate: bits per second; None: as the codec likes."""

    max_bitrate: int | None = None


Target = VideoTarget | AudioTarget


class LineEncoder(Protocol):
    """Encodes one line with one codec. On worker threads, one call at a time."""

    seconds: float
    """How long the last picture took, without what is not done for each; 0 when that is not known."""

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        """RTP payloads and their timestamp; without payloads nothing is sent for this frame."""
        ...


class FixedAudioEncoder:
    """An audio codec with one bit rate, as aiortc encodes it."""

    seconds = 0.0

    def __init__(self, parameters: RTCRtpCodecParameters) -> None:
        self._encoder = get_encoder(parameters)

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        return self._encoder.encode(frame)


class OpusEncoder:
    """aiortc's, with another codec inside whenever the bit rate changes: FFmpeg's takes it at the start only."""

    seconds = 0.0

    def __init__(self, codec: Codec) -> None:
        self._encoder = AiortcOpusEncoder()
        self._bitrate = _OPUS_BITRATE
        accepted = codec.parameter("maxaveragebitrate") or ""  # what the peer would take at most, RFC 7587 6.1
        self._accepted = int(accepted) if accepted.isdecimal() and len(accepted) <= 6 else _OPUS_MOST

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        wanted = target.max_bitrate if isinstance(target, AudioTarget) else None
        bitrate = max(_OPUS_LEAST, min(wanted or _OPUS_BITRATE, self._accepted))
        if bitrate != self._bitrate:
            self._bitrate = bitrate
            self._encoder.codec = _opus_codec(bitrate)
        return self._encoder.encode(frame)


def _opus_codec(bitrate: int) -> AudioCodecContext:
    codec = AudioCodecContext.create("libopus", "w")
    codec.bit_rate = bitrate
    codec.format = av.AudioFormat("s16")
    codec.layout = av.AudioLayout("stereo")
    codec.options = {"application": "voip"}
    codec.sample_rate = SAMPLE_RATE
    codec.time_base = TIME_BASE
    return codec
