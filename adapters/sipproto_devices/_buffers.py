"""Bounded buffers between two clocks."""

from __future__ import annotations

import threading
from collections import deque

import numpy
from av import VideoFrame

from sipproto_devices._media import Samples

_ECHO_INTERVAL = 1 / 30
_FADE = 120  # samples: 2.5 ms at 48 kHz, enough that a cut does not click


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


class DriftBuffer:
    """A bounded buffer of samples between the clock of a device and ours, which drift apart. For two threads.

    Counts are samples. Reading begins when a cushion of `target` is there beyond what is asked for. Drift is made up for by
    drop and insert: when more than twice the cushion was left over throughout a second of reading, the excess is cut out
    with a short cross-fade; when it runs empty, silence goes out until the cushion is there again. What exceeds `limit`
    goes at once, the oldest first. The lock is held for copying a few kilobytes, never for more.
    """

    def __init__(self, *, target: int, limit: int, second: int) -> None:
        self._target = target
        self._limit = limit
        self._second = second  # samples
        self._lock = threading.Lock()
        self._samples = numpy.zeros(0, numpy.int16)
        self._primed = False
        self._lowest = limit
        self._read = 0
        self.dropped = 0
        self.inserted = 0

    def push(self, samples: Samples) -> None:
        with self._lock:
            joined = numpy.concatenate((self._samples, samples))
            excess = max(0, len(joined) - self._limit)
            self._samples = joined[excess:]
            self.dropped += excess

    def read(self, count: int) -> Samples | None:
        """So many samples; None for silence."""
        with self._lock:
            if len(self._samples) < count + (0 if self._primed else self._target):
                return self._run_dry(count)
            self._primed = True
            self._look(count)
            part, self._samples = self._samples[:count], self._samples[count:]
            return part

    def _run_dry(self, count: int) -> Samples | None:
        if not self._primed:
            return None
        self._primed = False
        self._lowest, self._read = self._limit, 0
        rest = numpy.zeros(count, numpy.int16)
        rest[: len(self._samples)] = self._samples
        self.inserted += count - len(self._samples)
        self._samples = self._samples[:0]
        return rest

    def _look(self, count: int) -> None:
        self._lowest = min(self._lowest, len(self._samples) - count)
        self._read += count
        if self._read < self._second:
            return
        if self._lowest > 2 * self._target:
            self._cut(self._lowest - self._target)
        self._lowest, self._read = self._limit, 0

    def _cut(self, excess: int) -> None:
        length = min(_FADE, excess, len(self._samples) - excess)
        rise = numpy.linspace(0.0, 1.0, length)
        before, after = self._samples[:length], self._samples[excess : excess + length]
        faded = (before * (1.0 - rise) + after * rise).astype(numpy.int16)
        self._samples = numpy.concatenate((faded, self._samples[excess + length :]))
        self.dropped += excess
