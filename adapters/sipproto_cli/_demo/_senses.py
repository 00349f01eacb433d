"""What participants send and how they recognise it: pictures of a colour that cost bit rate, and an ear for tones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection

import numpy
from attrs import field, frozen
from av import VideoFrame

from sipproto_devices import FRAME_TIME, SAMPLE_RATE, Samples, SinkWriter, SourceError, VideoProducer

Color = tuple[int, int, int]  # red, green, blue

COLORS: dict[str, Color] = {
    "red": (190, 45, 45),
    "green": (45, 170, 45),
    "blue": (45, 60, 200),
    "orange": (205, 130, 45),
    "violet": (150, 45, 190),
}
_NEAR = 45  # how far each part of a colour may be off after coding
_WINDOW = round(0.4 / FRAME_TIME)  # frames of sound in which tones are looked for
_AUDIBLE = 0.02  # amplitude, of full scale
_TOLERANCE = 0.03  # of the frequency
_WIDTH = 40.0  # Hz: what lies nearer to a tone belongs to it
_GRAIN = 35  # how far a part of the picture is lighter or darker than its colour


def color_name(color: Color | None) -> str | None:
    """The name of a colour of `COLORS`; None for any other."""
    near = (name for name, known in COLORS.items() if color is not None and _is_near(color, known))
    return next(near, None)


def _is_near(color: Color, other: Color) -> bool:
    return all(abs(a - b) < _NEAR for a, b in zip(color, other, strict=True))


@frozen
class Scene:
    """A source: pictures of one colour on the whole, whose grain changes all the time as that of a camera does.

    `color`: one of `COLORS`. Sizes in pixels, even; `frame_rate` in pictures per second.
    """

    color: str
    width: int = 640
    height: int = 360
    frame_rate: int = 15

    def check(self, kind: str) -> None:
        if kind != "video":
            raise SourceError("a scene cannot be heard")

    def open_video(self) -> VideoProducer:
        return _Grain(self)


class _Grain:
    def __init__(self, scene: Scene) -> None:
        self.interval = 1 / scene.frame_rate
        coarse = numpy.random.default_rng(1).integers(-_GRAIN, _GRAIN, (scene.height // 4 + 1, scene.width // 4 + 1))
        grain = coarse.repeat(4, axis=0).repeat(4, axis=1)[: scene.height, : scene.width, numpy.newaxis]
        self._picture = (numpy.array(COLORS[scene.color]) + grain).astype(numpy.uint8)

    def read(self) -> VideoFrame | None:
        self._picture = numpy.roll(self._picture, (52, 76), axis=(0, 1))
        return VideoFrame.from_ndarray(self._picture, format="rgb24").reformat(format="yuv420p")

    def close(self) -> None: ...


@frozen(eq=False)
class _Heard:
    time: float
    samples: Samples = field(repr=False)


class Ear:
    """A sink: which tones a call hears, and how long it heard nothing. May be asked from any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._frames: deque[_Heard] = deque(maxlen=_WINDOW)
        self._audible: float | None = None  # when something was heard last
        self._longest = 0.0

    # -- for the call --------------------------------------------------------------------------------------------------

    def check(self) -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return self

    def audio(self, samples: Samples, line: int) -> None:
        now = self._now()
        is_audible = int(numpy.abs(samples).max(initial=0)) > _AUDIBLE * 32768
        with self._lock:
            self._frames.append(_Heard(now, samples))
            if is_audible:
                self._longest = max(self._longest, now - (now if self._audible is None else self._audible))
                self._audible = now

    def video(self, frame: VideoFrame, line: int) -> None: ...

    def close(self) -> None: ...

    # -- for who asks --------------------------------------------------------------------------------------------------

    def tones(self) -> tuple[int, ...]:
        """The frequencies in Hz that are heard just now, in their order."""
        with self._lock:
            heard = [frame.samples for frame in self._frames if frame.time > self._now() - 2 * _WINDOW * FRAME_TIME]
        if len(heard) < _WINDOW // 2:
            return ()
        wave = numpy.concatenate(heard) / 32768
        window = numpy.hanning(len(wave))
        spectrum = numpy.abs(numpy.fft.rfft(wave * window)) * 2 / window.sum()
        frequencies = numpy.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
        found: list[int] = []
        while spectrum[peak := int(spectrum.argmax())] > _AUDIBLE:
            found.append(round(float(frequencies[peak])))
            spectrum[numpy.abs(frequencies - frequencies[peak]) < _WIDTH] = 0.0
        return tuple(sorted(found))

    def hears(self, wanted: Collection[float]) -> bool:
        """Whether these tones are heard, and no others."""
        found = self.tones()
        pairs = zip(found, sorted(wanted), strict=False)
        return len(found) == len(wanted) and all(abs(a - b) < _TOLERANCE * b for a, b in pairs)

    def listen_for_gaps(self) -> None:
        """From now on."""
        with self._lock:
            self._longest, self._audible = 0.0, self._now()

    def longest_gap(self) -> float:
        """The longest time in seconds between two frames of 20 ms in which something was heard, also one that lasts."""
        with self._lock:
            return self._longest if self._audible is None else max(self._longest, self._now() - self._audible)
