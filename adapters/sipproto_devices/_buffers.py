"""Bounded buffers between two clocks."""

from __future__ import annotations

from collections import deque

from av import VideoFrame

from sipproto_devices._media import Samples

_ECHO_INTERVAL = 1 / 30


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
