"""Figures that are counted as the media goes by, cheap enough to be counted always."""

from __future__ import annotations

import math
from collections import deque

import numpy
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from attrs import define
from av import AudioFrame

from sipproto_aiortc._av1 import av1_is_key_frame
from sipproto_aiortc._vp9 import vp9_depayload
from sipproto_devices import mono

_FASTEST = 120  # frames a second; what is faster is not told exactly


def mean_square(frame: AudioFrame) -> float:
    """The power of a frame of audio, 0 to 1: the square of its RMS level relative to full scale."""
    if frame.format.name == "s16":  # all channels, one after the other for each sample
        count = frame.samples * len(frame.layout.channels)
        samples = numpy.frombuffer(memoryview(frame.planes[0]), numpy.int16, count).astype(numpy.float32)
        return min(1.0, float(samples @ samples) / max(1, count) / 32767**2)
    samples64 = mono(frame)
    return min(1.0, float(numpy.mean(samples64**2)))


@define
class Octets:
    """Packets with their octets of payload, and of header and padding."""

    packets: int = 0
    payload: int = 0
    header: int = 0

    def add(self, payload: int, size: int) -> None:
        """A packet of `size` octets, so many of which are payload."""
        self.packets += 1
        self.payload += payload
        self.header += size - payload

    @property
    def size(self) -> int:
        return self.payload + self.header


def header_size(packet: bytes) -> int:
    """The octets before the payload of an RTP packet (RFC 3550 5.1)."""
    size = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        size += 4 + 4 * int.from_bytes(packet[size + 2 : size + 4], "big")
    return size


class Sound:
    """Level and energy of audio (W3C audioLevel, totalAudioEnergy and the like)."""

    def __init__(self) -> None:
        self.level: float | None = None  # of the last frame
        self.energy = 0.0
        self.duration = 0.0
        self.samples = 0

    def add(self, power: float, samples: int, rate: int) -> None:
        """`power` as `mean_square` gives it."""
        duration = samples / rate if rate else 0.0
        self.level = math.sqrt(power)
        self.energy += power * duration
        self.duration += duration
        self.samples += samples


class Playing:
    """What became of received audio on its way out of the buffer (W3C concealedSamples, jitterBufferDelay and the like).

    Counts are samples, delays seconds summed over samples. Whether what was made up in want of a packet was lost, or never
    sent, is known only when the next one is there: until then it waits.
    """

    def __init__(self) -> None:
        self.concealed = self.silent = self.events = 0
        self.inserted = self.removed = 0
        self.delay = self.target_delay = 0.0
        self.emitted = 0
        self.discarded = 0  # packets
        self.fec = 0  # packets that repeated the one before them
        self._waiting = self._waiting_silent = 0
        self._concealing = False

    def conceal(self, count: int, *, silent: bool, known_lost: bool) -> None:
        self._waiting += count
        self._waiting_silent += count if silent else 0
        if known_lost:
            self.settle()

    def settle(self) -> None:
        """What waits was lost."""
        if self._waiting and not self._concealing:
            self._concealing = True
            self.events += 1
        self.concealed += self._waiting
        self.silent += self._waiting_silent
        self._waiting = self._waiting_silent = 0

    def emit(self, count: int, *, stretched: int, delay: float, target: float, after_silence: bool) -> None:
        """Samples of a packet that was kept for `delay`; so many more, or fewer, than it had."""
        if after_silence:
            self._waiting = self._waiting_silent = 0
        self.settle()
        self._concealing = False
        self.inserted += max(stretched, 0)
        self.removed += max(-stretched, 0)
        self.emitted += count
        self.delay += delay * count
        self.target_delay += target * count


class Pictures:
    """How many frames of video, how large, and how many a second."""

    def __init__(self) -> None:
        self.count = 0
        self.width: int | None = None
        self.height: int | None = None
        self._moments: deque[float] = deque(maxlen=_FASTEST)

    def add(self, width: int, height: int, now: float) -> None:
        self.count += 1
        self.width, self.height = width, height
        self._moments.append(now)

    def rate(self, now: float) -> float | None:
        """Frames of the last second; None before the first."""
        if not self.count:
            return None
        return float(sum(now - moment < 1.0 for moment in self._moments))


def knows_key_frames(codec: str) -> bool:
    return codec.lower() in ("vp8", "vp9", "h264", "av1")


def is_key_frame(codec: str, data: bytes) -> bool | None:
    """Whether a whole encoded frame can be decoded alone; None for a codec that this cannot be told of.

    VP8: the first bit of the frame tag, and the start code behind it, which the rest of a frame without its beginning has
    not (RFC 6386 9.1). VP9: neither shown again nor predicted (profile 0, VP9 6.2).
    H.264: an IDR slice comes before any other (H.264 table 7-1). AV1: a coded video sequence begins (AV1 7.5).
    """
    match codec.lower():
        case "vp8":
            return data[3:6] == b"\x9d\x01\x2a" and not data[0] & 1
        case "vp9":
            return bool(data) and not data[0] & 0x0C
        case "h264":
            return _first_slice(data) == _IDR
        case "av1":
            return av1_is_key_frame(data)
        case _:
            return None


def are_key_frame(codec: str, payloads: list[bytes]) -> bool | None:
    """The same of the RTP payloads of a frame."""
    match codec.lower():
        case "vp8":
            return is_key_frame(codec, vp8_depayload(payloads[0]))
        case "vp9":
            return is_key_frame(codec, vp9_depayload(payloads[0]))
        case "h264":
            slices = (_first_slice(h264_depayload(payload)) for payload in payloads)
            return next((kind for kind in slices if kind is not None), None) == _IDR
        case _:
            return None


_SLICE, _IDR = 1, 5


def _first_slice(data: bytes) -> int | None:
    """The type of the first slice in a frame of NAL units with start codes."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        kind = data[at + 3] & 0x1F
        if kind in (_SLICE, _IDR):
            return kind
        at = data.find(b"\0\0\1", at + 3)
    return None
