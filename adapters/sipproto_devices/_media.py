"""What sources and sinks have in common: the units of audio, and the protocols that anybody may implement.

Audio is 48 kHz mono int16 in frames of 20 ms (960 samples) everywhere between a source, an engine and a sink.
Pictures are yuv420p with even sizes.
"""

from __future__ import annotations

import logging
from typing import Protocol

import numpy
from attrs import frozen
from av import AudioFrame, VideoFrame
from numpy.typing import NDArray

SAMPLE_RATE = 48000
FRAME_SAMPLES = 960
FRAME_TIME = FRAME_SAMPLES / SAMPLE_RATE

Samples = NDArray[numpy.int16]
SILENCE: Samples = numpy.zeros(FRAME_SAMPLES, numpy.int16)
SILENCE.flags.writeable = False

log = logging.getLogger("sipproto.media")


class SourceError(Exception):
    """A source or a sink cannot be used; the text is one line fit for a user."""


class DeviceError(SourceError):
    """A device cannot be used, is gone, or what it needs is not installed; the text is one line fit for a user."""


@frozen(kw_only=True)
class Trouble:
    """A source or sink failed during a call, which goes on without it.

    part: "audio" or "video" for a source, "sink". line: which line of its kind, the first is 0. error: one line fit for a
    user.
    """

    part: str
    line: int
    error: str


class AudioProducer(Protocol):
    """An audio source that is open. Used by one thread, the media thread of its call."""

    def read(self) -> Samples | None:
        """The next 20 ms (960 samples); None for silence. Called once each 20 ms while the line sends; never waits.

        Raises SourceError when there will be nothing any more: silence takes its place.
        """
        ...

    def close(self) -> None:
        """Releases everything without waiting; may be called more than once."""
        ...


class VideoProducer(Protocol):
    """A video source that is open. Used by one thread, the media thread of its call."""

    @property
    def interval(self) -> float:
        """Seconds between two calls of `read`."""
        ...

    def read(self) -> VideoFrame | None:
        """The next picture (yuv420p, even sizes), which the caller may stamp; None when there is no new one. Never waits.

        Raises SourceError when there will be nothing any more: black takes its place.
        """
        ...

    def close(self) -> None:
        """Releases everything without waiting; may be called more than once."""
        ...


class AudioSource(Protocol):
    """The description of something that can be heard. Opened once for each line that sends it."""

    def check(self, kind: str) -> None:
        """Raises SourceError when it cannot be used as a source of this kind, "audio" or "video". May wait for a disk."""
        ...

    def open_audio(self) -> AudioProducer:
        """Does not wait: what takes long is done on a thread of its own, and what fails is raised by `read`."""
        ...


class VideoSource(Protocol):
    """The description of something that can be seen. Opened once for each line that sends it."""

    def check(self, kind: str) -> None:
        """Raises SourceError when it cannot be used as a source of this kind, "audio" or "video". May wait for a disk."""
        ...

    def open_video(self) -> VideoProducer:
        """Does not wait: what takes long is done on a thread of its own, and what fails is raised by `read`."""
        ...


class SinkWriter(Protocol):
    """A sink that is open, for one call. `audio` and `video` are called on the media thread and never wait.

    `line` counts the lines of a kind from 0: a second video line, of slides perhaps, is 1. What either raises ends
    this sink for the call and is told as Trouble.
    """

    def audio(self, samples: Samples, line: int) -> None:
        """20 ms (960 samples), just received."""
        ...

    def video(self, frame: VideoFrame, line: int) -> None:
        """A picture, just received; not to be changed."""
        ...

    def close(self) -> None:
        """Writes out what is left and releases everything; on another thread, may wait a few seconds. Called once."""
        ...


class Sink(Protocol):
    """The description of a place for what a call receives. Opened once for each call."""

    def check(self) -> None:
        """Raises SourceError when it cannot be used. May wait for a disk."""
        ...

    def open(self, with_video: bool) -> SinkWriter:
        """`with_video`: the call has a video line by now. Does not wait; raises SourceError."""
        ...


def samples_of(frame: AudioFrame) -> Samples:
    """The samples of a mono int16 frame."""
    return frame.to_ndarray().reshape(-1).astype(numpy.int16, copy=False)


def frame_of(samples: Samples, rate: int = SAMPLE_RATE) -> AudioFrame:
    """The mono frame of some samples."""
    frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    return frame


def mix(parts: list[Samples]) -> Samples | None:
    """The sum of frames of equal length, clipped to int16; None of none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    total = numpy.sum(numpy.stack(parts), axis=0, dtype=numpy.int32)
    return numpy.clip(total, -32768, 32767).astype(numpy.int16)


def reason(error: BaseException) -> str:
    """Why, in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
