"""Decoders of audio that can also make up what is missing: libopus by itself, the others by repeating what was heard."""

from __future__ import annotations

from typing import Protocol

import numpy
from aiortc import RTCRtpCodecParameters
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from av import AudioFrame

from sipproto_aiortc import _opus
from sipproto_aiortc._concealment import Block, Concealer


class Voice(Protocol):
    """The sound of one stream, piece by piece without a gap. rate: Hz. Seconds are those wanted, give or take 2.5 ms."""

    rate: int

    def decode(self, data: bytes) -> Block:
        """Raises ValueError for a packet that is none, and what FFmpeg raises."""
        ...

    def repair(self, following: bytes, seconds: float) -> Block:
        """What is missing before a packet, as far as that one repeats it."""
        ...

    def conceal(self, seconds: float) -> Block:
        """A guess of what is missing."""
        ...

    def silence(self, seconds: float) -> Block:
        """What was heard fades away."""
        ...


class OpusVoice:
    """libopus does it all."""

    rate = _opus.RATE

    def __init__(self) -> None:
        self._decoder = _opus.OpusDecoder()

    def decode(self, data: bytes) -> Block:
        return self._decoder.decode(data)

    def repair(self, following: bytes, seconds: float) -> Block:
        return self._decoder.repair(following, self._count(seconds))

    def conceal(self, seconds: float) -> Block:
        return self._decoder.conceal(self._count(seconds))

    def silence(self, seconds: float) -> Block:
        return self.conceal(seconds)  # which knows what silence on the line sounded like

    @staticmethod
    def _count(seconds: float) -> int:
        return max(1, round(seconds * _opus.RATE / _opus.STEP)) * _opus.STEP


class RepeatingVoice:
    """A decoder of FFmpeg, and a concealer behind it."""

    def __init__(self, parameters: RTCRtpCodecParameters) -> None:
        self._decoder = get_decoder(parameters)
        self._concealer: Concealer | None = None  # what FFmpeg decodes to is known with the first packet
        self.rate = parameters.clockRate
        self._samples = 0

    def decode(self, data: bytes) -> Block:
        decoded = self._decoder.decode(JitterFrame(data=data, timestamp=self._samples))
        frames = [frame for frame in decoded if isinstance(frame, AudioFrame)]
        if not frames:
            raise ValueError("nothing in a packet of audio")
        block = numpy.concatenate([_block_of(frame) for frame in frames])
        self._samples += len(block)
        if self._concealer is None:
            self.rate = frames[0].sample_rate
            self._concealer = Concealer(self.rate, block.shape[1])
        return self._concealer.heard(block)

    def repair(self, following: bytes, seconds: float) -> Block:
        return self.conceal(seconds)

    def conceal(self, seconds: float) -> Block:
        count = round(seconds * self.rate)
        return numpy.zeros((count, 1), numpy.int16) if self._concealer is None else self._concealer.missing(count)

    def silence(self, seconds: float) -> Block:
        count = round(seconds * self.rate)
        return numpy.zeros((count, 1), numpy.int16) if self._concealer is None else self._concealer.silent(count)


def _block_of(frame: AudioFrame) -> Block:
    return frame.to_ndarray().reshape(-1, len(frame.layout.channels)).astype(numpy.int16, copy=False)


def voice_of(parameters: RTCRtpCodecParameters) -> Voice:
    """Raises ValueError for a codec that cannot be decoded."""
    if parameters.name.lower() == "opus" and _opus.library() is not None:
        return OpusVoice()
    return RepeatingVoice(parameters)


def duration_of(codec: str, data: bytes) -> int:
    """The length of a packet in units of its RTP clock; 0 when it has none. G.711 and G.722 have an octet for each."""
    return _opus.duration(data) if codec.lower() == "opus" else len(data)
