"""The recorder: a sink that writes a file."""

from __future__ import annotations

import os
import queue
import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy
from attrs import field, frozen, validators
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from sipproto_devices._media import SAMPLE_RATE, Samples, SinkWriter, SourceError, frame_of, log, reason

# Container by file name ending: audio encoder, video encoder (None: audio only).
_FORMATS: dict[str, tuple[str, str | None]] = {
    ".wav": ("pcm_s16le", None),
    ".mkv": ("libopus", "libx264"),
    ".mp4": ("aac", "libx264"),
}
_QUEUE_LIMIT = 150  # items: three seconds of audio, or one of audio and video of 30 pictures a second and more
_WAIT_FOR_VIDEO = 3.0  # seconds: a file's header cannot be written before the size of the picture is known
_GAP = 0.2  # seconds of missing audio that are filled with silence; less is jitter


@frozen
class Record:
    """Writes what the call receives to a file (.wav: audio; .mkv, .mp4: audio and video).

    A file has one track of each kind: `audio_line` and `video_line` say of which line, counted from 0. To keep a second
    video line, too, put another Record beside it.
    """

    path: str
    audio_line: int = field(default=0, validator=validators.ge(0), kw_only=True)
    video_line: int = field(default=0, validator=validators.ge(0), kw_only=True)

    def check(self) -> None:
        """Raises SourceError when a recording cannot go there."""
        ending = _ending(self.path)
        if ending not in _FORMATS:
            raise SourceError(f"cannot record to {self.path!r}: the name has to end in {', '.join(sorted(_FORMATS))}")
        directory = os.path.dirname(self.path) or "."
        if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
            raise SourceError(f"cannot record to {self.path!r}: the directory does not exist or cannot be written")

    def open(self, with_video: bool) -> SinkWriter:
        self.check()
        return Recorder(self, with_video=with_video)


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


class Recorder:
    """Encodes and writes in a thread of its own. `audio` and `video` never wait: what is too much is dropped.

    They raise SourceError when the file cannot be written any more.
    """

    def __init__(self, record: Record, *, with_video: bool) -> None:
        self._record = record
        self._path = record.path
        self._audio_encoder, self._video_encoder = _FORMATS[_ending(record.path)]
        self._with_video = with_video and self._video_encoder is not None
        self._queue: queue.Queue[tuple[float, Samples | VideoFrame] | None] = queue.Queue(_QUEUE_LIMIT)
        self._start = time.monotonic()
        self._end = 0.0
        self.dropped = 0
        self._failure: SourceError | None = None
        self._thread = threading.Thread(target=self._run, name="sipproto-record", daemon=True)
        self._thread.start()

    def audio(self, samples: Samples, line: int) -> None:
        if line == self._record.audio_line:
            self._offer(samples)

    def video(self, frame: VideoFrame, line: int) -> None:
        if self._with_video and line == self._record.video_line:
            self._offer(frame)

    def _offer(self, item: Samples | VideoFrame) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            self._queue.put_nowait((time.monotonic() - self._start, item))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout: float = 5.0) -> None:
        """Writes out what is left and closes the file; waits up to `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                self._queue.put(None, timeout=0.1)
                break
            except queue.Full:
                continue
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.warning("the recording %r is not yet written after %s s", self._path, timeout)
        if self.dropped:
            log.warning("the recording %r lacks %d pieces: the encoder was too slow", self._path, self.dropped)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            early, size = self._first_items()
            with av.open(self._path, "w") as container:
                writer = _Writer(container, self._audio_encoder, self._video_encoder, size)
                for moment, item in early:
                    writer.write(moment, item)
                while not self._done and (entry := self._queue.get()) is not None:
                    writer.write(*entry)
                writer.finish()
        except Exception as error:
            log.warning("recording to %r failed: %s", self._path, reason(error))
            self._failure = SourceError(f"recording to {self._path!r} failed: {reason(error)}")

    _done = False

    def _first_items(self) -> tuple[list[tuple[float, Samples | VideoFrame]], tuple[int, int] | None]:
        """What came until the size of the picture was known, or until it is too late to wait for one."""
        early: list[tuple[float, Samples | VideoFrame]] = []
        while self._with_video and len(early) < _QUEUE_LIMIT:
            left = self._start + _WAIT_FOR_VIDEO - time.monotonic()
            try:
                entry = self._queue.get(timeout=max(0.0, left)) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                self._done = True
                break
            early.append(entry)
            if isinstance(entry[1], VideoFrame):
                return early, (entry[1].width & ~1, entry[1].height & ~1)
        return early, None


class _Writer:
    """One file being written."""

    def __init__(
        self, container: Any, audio_encoder: str, video_encoder: str | None, size: tuple[int, int] | None
    ) -> None:
        self._container = container
        self._audio = container.add_stream(audio_encoder, rate=SAMPLE_RATE, layout="mono")
        self._samples = 0
        self._video: Any = None
        self._last_pts = -1
        self._converter = VideoReformatter()
        if size is not None and video_encoder is not None:
            self._video = container.add_stream(video_encoder, rate=30)
            self._video.width, self._video.height = size
            self._video.pix_fmt = "yuv420p"
            self._video.codec_context.time_base = Fraction(1, 1000)
            self._video.options = {"preset": "ultrafast", "tune": "zerolatency"}

    def write(self, moment: float, item: Samples | VideoFrame) -> None:
        """`moment`: seconds since the recording began, when the item was received."""
        if isinstance(item, VideoFrame):
            self._write_picture(moment, item)
            return
        # What was lost or not sent (hold) is heard as silence, or the recording would be too short.
        gap = int(moment * SAMPLE_RATE) - self._samples - len(item)
        if gap > _GAP * SAMPLE_RATE:
            self._write_samples(numpy.zeros(gap, numpy.int16))
        self._write_samples(item)

    def _write_samples(self, samples: Samples) -> None:
        for start in range(0, len(samples), SAMPLE_RATE):
            part = samples[start : start + SAMPLE_RATE]
            frame = frame_of(part)
            frame.time_base = Fraction(1, SAMPLE_RATE)
            frame.pts = self._samples
            self._samples += len(part)
            self._container.mux(self._audio.encode(frame))

    def _write_picture(self, moment: float, picture: VideoFrame) -> None:
        if self._video is None:
            return
        frame = self._converter.reformat(picture, width=self._video.width, height=self._video.height, format="yuv420p")
        if frame is picture:  # an echo may be sending the very same object with a time of its own
            frame = VideoFrame.from_ndarray(picture.to_ndarray(), format="yuv420p")
        self._last_pts = max(self._last_pts + 1, int(moment * 1000))
        frame.pts, frame.time_base = self._last_pts, Fraction(1, 1000)
        self._container.mux(self._video.encode(frame))

    def finish(self) -> None:
        for stream in (self._audio, self._video):
            if stream is not None:
                self._container.mux(stream.encode(None))
