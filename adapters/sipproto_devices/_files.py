"""Files as sources: decoded by a worker thread into a bounded queue, so that neither disk nor decoder stalls a call."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import av
import numpy
from attrs import frozen
from av import AudioFrame, AudioResampler, VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from sipproto_devices._media import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    AudioProducer,
    Samples,
    SourceError,
    VideoProducer,
    reason,
    samples_of,
)

_AUDIO_AHEAD = 50  # frames of 20 ms: one second
_VIDEO_AHEAD = 6  # pictures: they are large
_T = TypeVar("_T")


@frozen
class FileSource:
    """The audio or the picture of a file, in real time; it starts anew at its end when `loop`."""

    path: str
    loop: bool = True

    def check(self, kind: str) -> None:
        """Raises SourceError unless the file can be read and has a stream of this kind."""
        try:
            with av.open(self.path) as container:
                if not any(stream.type == kind for stream in container.streams):
                    raise SourceError(f"the file {self.path!r} has no {kind}")
        except (OSError, ValueError, FFmpegError) as error:
            raise SourceError(f"cannot read the file {self.path!r}: {reason(error)}") from None

    def open_audio(self) -> AudioProducer:
        return AudioFile(self)

    def open_video(self) -> VideoProducer:
        return VideoFile(self)


class _Worker(ABC, Generic[_T]):
    """Runs `_items` in a thread and keeps at most `ahead` of its results waiting."""

    def __init__(self, source: FileSource, ahead: int) -> None:
        self._source = source
        self._queue: queue.Queue[_T] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._failure: SourceError | None = None
        self._thread = threading.Thread(target=self._run, name="sipproto-file", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tells the thread to end; it does so within a fraction of a second, without anybody waiting for it."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            for item in self._items():
                if not self._put(item):
                    return
        except Exception as error:
            self._failure = SourceError(f"the file {self._source.path!r} ended early: {reason(error)}")

    def _take(self) -> _T | None:
        """The next result, None when there is none now. Raises SourceError after the last one of a run that failed."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            if self._failure is not None:
                raise self._failure from None
            return None

    def _put(self, item: _T) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    @abstractmethod
    def _items(self) -> Iterator[_T]: ...


def _length(container: InputContainer) -> float:
    """Length in seconds of the longest stream; 0 when the file does not say."""
    return float(container.duration) / av.time_base if container.duration else 0.0


class AudioFile(_Worker[Samples]):
    """The audio of a file as frames of 20 ms."""

    def __init__(self, source: FileSource) -> None:
        super().__init__(source, _AUDIO_AHEAD)

    def read(self) -> Samples | None:
        return self._take()

    def _items(self) -> Iterator[Samples]:
        while True:
            count = 0
            with av.open(self._source.path) as container:
                for samples in self._decoded(container):
                    count += 1
                    yield samples
                length = _length(container)
            if not self._source.loop or count == 0:
                return
            # Audio that is shorter than the picture waits for it, so that both start anew together.
            for _ in range(count, int(length * SAMPLE_RATE / FRAME_SAMPLES)):
                yield numpy.zeros(FRAME_SAMPLES, numpy.int16)

    def _decoded(self, container: InputContainer) -> Iterator[Samples]:
        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE, frame_size=FRAME_SAMPLES)
        frames: Iterator[AudioFrame] = container.decode(audio=0)
        for frame in frames:
            for part in resampler.resample(frame):
                yield samples_of(part)
        for part in resampler.resample(None):
            tail = numpy.zeros(FRAME_SAMPLES, numpy.int16)
            rest = samples_of(part)[:FRAME_SAMPLES]
            tail[: len(rest)] = rest
            yield tail


class VideoFile(_Worker[tuple[float, VideoFrame]]):
    """The pictures of a file, each at its time."""

    interval = 1 / 30

    def __init__(self, source: FileSource) -> None:
        super().__init__(source, _VIDEO_AHEAD)
        self._start: float | None = None
        self._next: tuple[float, VideoFrame] | None = None

    def read(self) -> VideoFrame | None:
        now = time.monotonic()
        if self._start is None:
            self._start = now
        due: VideoFrame | None = None
        while True:
            if self._next is None:
                self._next = self._take()
            if self._next is None or self._next[0] > now - self._start:
                return due
            due, self._next = self._next[1], None

    def _items(self) -> Iterator[tuple[float, VideoFrame]]:
        offset = 0.0
        while True:
            last = None
            with av.open(self._source.path) as container:
                frames: Iterator[VideoFrame] = container.decode(video=0)
                for frame in frames:
                    last = frame.time if frame.time is not None else (last or 0.0) + 1 / 25
                    # Encoders want even sizes and this pixel format.
                    yield (
                        offset + last,
                        frame.reformat(width=frame.width & ~1, height=frame.height & ~1, format="yuv420p"),
                    )
                length = _length(container)
            if not self._source.loop or last is None:
                return
            offset += max(length, last + 1 / 25)
