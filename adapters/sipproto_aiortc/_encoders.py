"""The encoders of one line: what they take, and audio. Video is in `_video_encoder`."""

from __future__ import annotations

from typing import Protocol

import numpy
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_encoder
from attrs import frozen
from av import AudioFrame
from av.frame import Frame

from sipproto.media import VideoTarget
from sipproto.sdp import Codec
from sipproto_aiortc import _opus
from sipproto_devices import FRAME_SAMPLES

_OPUS_BITRATE = 64_000  # fullband mono without audible loss (RFC 7587 3.1.1)
_OPUS_LEAST, _OPUS_MOST = 6_000, 510_000  # RFC 6716 2.1.1
_FRAME = 20  # milliseconds that come at once
_LONGEST = 60  # milliseconds in a packet


@frozen(kw_only=True)
class AudioTarget:
    """max_bitrate: bits per second; None: as the codec likes. loss: per cent of our packets that do not arrive.

    unbroken: packets are needed also of silence.
    """

    max_bitrate: int | None = None
    loss: int = 0
    unbroken: bool = True


Target = VideoTarget | AudioTarget


class LineEncoder(Protocol):
    """Encodes one line with one codec. One call at a time; on worker threads, unless it is quick."""

    quick: bool
    """Whether a frame takes less time than the way to a worker and back."""
    seconds: float
    """How long the last picture took, without what is not done for each; 0 when that is not known."""

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        """RTP payloads and their timestamp; without payloads nothing is sent for this frame."""
        ...


def _frames_in(packet_time: int | None) -> int:
    """How many frames go into a packet of that many milliseconds: as many as fit, one at least, three at most."""
    return max(1, min(packet_time or _FRAME, _LONGEST) // _FRAME)


class FixedAudioEncoder:
    """An audio codec with one bit rate, as aiortc encodes it. packet_time: milliseconds that the peer wants in a packet."""

    quick = True
    seconds = 0.0

    def __init__(self, parameters: RTCRtpCodecParameters, packet_time: int | None = None) -> None:
        self._encoder = get_encoder(parameters)
        self._frames = _frames_in(packet_time)
        self._waiting: list[bytes] = []
        self._timestamp = 0

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        payloads, timestamp = self._encoder.encode(frame)
        # An octet is a unit of the clock with all these codecs.
        if payloads and (not self._waiting or timestamp != self._timestamp + sum(map(len, self._waiting))):
            self._waiting.clear()  # or the line did not send meanwhile
            self._timestamp = timestamp
        self._waiting += payloads
        if len(self._waiting) < self._frames:
            return [], 0
        together, self._waiting = b"".join(self._waiting), []
        return [together], self._timestamp


class OpusEncoder:
    """libopus, as the peer asks for it in its fmtp line (RFC 7587 6.1).

    One channel is sent whatever the peer says of `stereo`, because sources have one.
    """

    quick = False
    seconds = 0.0

    def __init__(self, codec: Codec, packet_time: int | None = None) -> None:
        self._encoder = _opus.MonoEncoder()
        self._accepted = _number(codec, "maxaveragebitrate", _OPUS_LEAST, _OPUS_MOST) or _OPUS_MOST
        self._playback_rate = _number(codec, "maxplaybackrate", 8000, _opus.RATE) or _opus.RATE
        self._fec = codec.parameter("useinbandfec") == "1"
        self._dtx = codec.parameter("usedtx") == "1"
        self._constant = codec.parameter("cbr") == "1"
        self._frames = _frames_in(packet_time)
        self._waiting: list[AudioFrame] = []
        self._begin = 0  # the time of the first of them

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        if not isinstance(frame, AudioFrame) or not isinstance(target, AudioTarget):
            raise TypeError("audio is encoded of audio")
        pts = frame.pts or 0
        if pts != self._begin + FRAME_SAMPLES * len(self._waiting):
            self._waiting.clear()  # it is the first, or the line did not send meanwhile
        if not self._waiting:
            self._begin = pts
        self._waiting.append(frame)
        if len(self._waiting) < self._frames:
            return [], 0
        frames, self._waiting = self._waiting, []
        # Both channels are the same: sources have one.
        channels = len(frame.layout.channels)
        samples = numpy.concatenate([one.to_ndarray().reshape(-1, channels)[:, 0] for one in frames])
        packet = self._encoder.encode(samples.astype(numpy.int16, copy=False), self._settings(target))
        if not _opus.needs_sending(packet) and not target.unbroken:
            return [], 0
        return [packet], self._begin

    def _settings(self, target: AudioTarget) -> _opus.Settings:
        return _opus.Settings(
            bitrate=max(_OPUS_LEAST, min(target.max_bitrate or _OPUS_BITRATE, self._accepted)),
            playback_rate=self._playback_rate,
            fec=self._fec,
            loss=target.loss if self._fec else 0,
            dtx=self._dtx,
            constant=self._constant,
        )


def _number(codec: Codec, name: str, least: int, most: int) -> int | None:
    """A parameter within its range; None when it is not there, or is no number."""
    value = codec.parameter(name) or ""
    return min(max(int(value), least), most) if value.isascii() and value.isdecimal() and len(value) <= 7 else None
