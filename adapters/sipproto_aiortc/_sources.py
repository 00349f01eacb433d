"""What a call sends: descriptions of sources, and the producers that they stand for.

A producer is asked on the media thread, at its own pace, and never waits: None means that it has nothing right now.
Audio is 48 kHz mono int16 in frames of 20 ms (960 samples) everywhere inside this package.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

import numpy
from attrs import field, frozen, validators
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

SAMPLE_RATE = 48000
FRAME_SAMPLES = 960
FRAME_TIME = FRAME_SAMPLES / SAMPLE_RATE

Samples = NDArray[numpy.int16]
Color = tuple[int, int, int]

SILENCE: Samples = numpy.zeros(FRAME_SAMPLES, numpy.int16)
_BLACK_INTERVAL = 0.2  # a black picture does not change: five a second keep a decoder and a jitter buffer alive
_ECHO_INTERVAL = 1 / 30


@frozen
class Silence:
    """Digital silence."""


@frozen
class Tone:
    """A sine: `frequency` in Hz (above 0, below 24000), `level` its amplitude relative to full scale (0 to 1)."""

    frequency: float = field(default=440.0, validator=[validators.gt(0), validators.lt(SAMPLE_RATE / 2)])
    level: float = field(default=0.3, validator=[validators.ge(0), validators.le(1)])


@frozen
class TestPattern:
    """A still picture of one colour (red, green, blue; 0 to 255), or moving colour bars without a colour.

    Sizes in pixels are rounded down to even numbers; `frame_rate` in pictures per second, 1 to 60.
    """

    __test__ = False  # pytest would take it for a test

    width: int = field(default=320, validator=[validators.ge(16), validators.le(3840)])
    height: int = field(default=240, validator=[validators.ge(16), validators.le(2160)])
    frame_rate: int = field(default=15, validator=[validators.ge(1), validators.le(60)])
    color: Color | None = None


@frozen
class FileSource:
    """The audio or the picture of a file, in real time; it starts anew at its end when `loop`."""

    path: str
    loop: bool = True


@frozen
class EchoSource:
    """What the same line of the call receives."""


AudioSource = Silence | Tone | FileSource | EchoSource
VideoSource = TestPattern | FileSource | EchoSource


class AudioProducer(Protocol):
    def read(self) -> Samples | None:
        """The next 20 ms (960 samples); None for silence. Called once each 20 ms."""
        ...

    def close(self) -> None:
        """Releases everything; may be called more than once."""
        ...


class VideoProducer(Protocol):
    @property
    def interval(self) -> float:
        """Seconds between two calls of `read`."""
        ...

    def read(self) -> VideoFrame | None:
        """The next picture (yuv420p, even sizes), which the caller may stamp; None when there is no new one."""
        ...

    def close(self) -> None:
        """Releases everything; may be called more than once."""
        ...


def samples_of(frame: AudioFrame) -> Samples:
    """The samples of a mono int16 frame."""
    return frame.to_ndarray().reshape(-1).astype(numpy.int16, copy=False)


class FrameBuffer:
    """A bounded queue of audio frames between two clocks; also the producer of an echo.

    It gives frames once `prime` of them are there, so that a small jitter of the writer is not heard, and drops the
    oldest above `limit`, so that a delay never grows.
    """

    def __init__(self, *, prime: int = 2, limit: int = 8) -> None:
        self._prime = prime
        self._frames: deque[Samples] = deque(maxlen=limit)
        self._primed = False

    def push(self, samples: Samples) -> None:
        self._frames.append(samples)

    def read(self) -> Samples | None:
        if not self._primed and len(self._frames) < self._prime:
            return None
        self._primed = bool(self._frames)
        return self._frames.popleft() if self._frames else None

    def close(self) -> None:
        self._frames.clear()


class LatestFrame:
    """The newest picture only: the producer of an echo."""

    interval = _ECHO_INTERVAL

    def __init__(self) -> None:
        self._frame: VideoFrame | None = None

    def push(self, frame: VideoFrame) -> None:
        self._frame = frame

    def read(self) -> VideoFrame | None:
        frame, self._frame = self._frame, None
        return frame

    def close(self) -> None:
        self._frame = None


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
