"""Sources that need nothing: silence, tones, pictures, and the echo. They are descriptions; `open` makes a producer."""

from __future__ import annotations

import math

import numpy
from attrs import Attribute, field, frozen, validators
from av import VideoFrame

from sipproto_devices._media import FRAME_SAMPLES, SAMPLE_RATE, AudioProducer, Samples, VideoProducer

Color = tuple[int, int, int]
_BLACK_INTERVAL = 0.2  # a black picture does not change: five a second keep a decoder and a jitter buffer alive


def _is_color(_: object, attribute: Attribute[Color | None], value: Color | None) -> None:
    if value is not None and not (len(value) == 3 and all(0 <= part <= 255 for part in value)):
        raise ValueError(f"{attribute.name} is red, green and blue from 0 to 255, not {value}")


@frozen
class Silence:
    """Digital silence."""

    def check(self, kind: str) -> None: ...

    def open_audio(self) -> AudioProducer:
        return SilenceProducer()


@frozen
class Tone:
    """A sine: `frequency` in Hz (above 0, below 24000), `level` its amplitude relative to full scale (0 to 1)."""

    frequency: float = field(default=440.0, validator=[validators.gt(0), validators.lt(SAMPLE_RATE / 2)])
    level: float = field(default=0.3, validator=[validators.ge(0), validators.le(1)])

    def check(self, kind: str) -> None: ...

    def open_audio(self) -> AudioProducer:
        return ToneProducer(self)


@frozen
class TestPattern:
    """A still picture of one colour (red, green, blue; 0 to 255), or moving colour bars without a colour.

    Sizes in pixels are rounded down to even numbers; `frame_rate` in pictures per second, 1 to 60.
    """

    __test__ = False  # pytest would take it for a test

    width: int = field(default=320, validator=[validators.ge(16), validators.le(3840)])
    height: int = field(default=240, validator=[validators.ge(16), validators.le(2160)])
    frame_rate: int = field(default=15, validator=[validators.ge(1), validators.le(60)])
    color: Color | None = field(default=None, validator=_is_color)

    def check(self, kind: str) -> None: ...

    def open_video(self) -> VideoProducer:
        return PatternProducer(self)


@frozen
class EchoSource:
    """What the same line of the call receives. The engine itself brings it about, so it cannot be opened or wrapped."""

    def check(self, kind: str) -> None: ...


class SilenceProducer:
    def read(self) -> Samples | None:
        return None

    def close(self) -> None: ...


class ToneProducer:
    """A sine without a jump between frames."""

    def __init__(self, tone: Tone) -> None:
        self._step = 2 * math.pi * tone.frequency / SAMPLE_RATE
        self._amplitude = tone.level * 32767
        self._phase = 0.0
        self._ramp = numpy.arange(FRAME_SAMPLES) * self._step

    def read(self) -> Samples | None:
        samples: Samples = (numpy.sin(self._ramp + self._phase) * self._amplitude).astype(numpy.int16)
        self._phase = math.fmod(self._phase + FRAME_SAMPLES * self._step, 2 * math.pi)
        return samples

    def close(self) -> None: ...


def plain_picture(width: int, height: int, color: Color) -> VideoFrame:
    """A picture of one colour in yuv420p."""
    pixels = numpy.empty((height & ~1, width & ~1, 3), numpy.uint8)
    pixels[:] = color
    return VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


class BlackProducer:
    interval = _BLACK_INTERVAL

    def __init__(self) -> None:
        self._frame = plain_picture(320, 240, (0, 0, 0))

    def read(self) -> VideoFrame | None:
        return self._frame

    def close(self) -> None: ...


class PatternProducer:
    _BARS: tuple[Color, ...] = (
        (255, 255, 255),
        (255, 255, 0),
        (0, 255, 255),
        (0, 255, 0),
        (255, 0, 255),
        (255, 0, 0),
        (0, 0, 255),
        (0, 0, 0),
    )

    def __init__(self, pattern: TestPattern) -> None:
        self.interval = 1 / pattern.frame_rate
        self._still: VideoFrame | None = None
        width, height = pattern.width & ~1, pattern.height & ~1
        if pattern.color is not None:
            self._still = plain_picture(width, height, pattern.color)
        row = numpy.empty((width, 3), numpy.uint8)
        for index, color in enumerate(self._BARS):
            row[index * width // 8 : (index + 1) * width // 8] = color
        self._picture = numpy.repeat(row[numpy.newaxis], height, axis=0)

    def read(self) -> VideoFrame | None:
        if self._still is not None:
            return self._still
        self._picture = numpy.roll(self._picture, 4, axis=1)
        return VideoFrame.from_ndarray(self._picture, format="rgb24").reformat(format="yuv420p")

    def close(self) -> None: ...
