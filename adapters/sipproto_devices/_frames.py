"""The media of a call as plain frames for a program: PCM and pixels in, PCM and pixels out.

A port is a source and a sink at once. The program's side may be used from any thread and never waits; the other side is
that of any source and sink. `wake` is called, from any thread, when something has come, was taken or is over.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy
from attrs import evolve, field, frozen
from av import AudioResampler, VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sipproto_devices._levels import decibels, energy_of
from sipproto_devices._media import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    AudioProducer,
    Samples,
    SinkWriter,
    SourceError,
    VideoProducer,
    frame_of,
    samples_of,
)
from sipproto_devices._setup import MediaSetup

RATES = (8000, 16000, 24000, 48000)
_UNREAD = 100  # chunks: two seconds that nobody has read
_PICTURE_INTERVAL = 1 / 30

Pixels = NDArray[numpy.uint8]


@frozen(kw_only=True)
class AudioChunk:
    """20 ms of what a call received. pcm: mono int16, little endian. level: RMS in dBFS, -100 for digital silence.

    speaking: a chunk was as loud as the threshold within the hangover. time: seconds from the opening of the port to its
    arrival.
    """

    pcm: bytes = field(repr=False)
    level: float
    speaking: bool
    time: float


@frozen(kw_only=True)
class Picture:
    """A picture that a call received. pixels: height by width by red, green, blue, of which each is 0 to 255.

    time: seconds from the opening of the port to its arrival.
    """

    pixels: Pixels = field(repr=False)
    time: float

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


class VoiceActivity:
    """Whether somebody speaks: from the first chunk of `threshold` dBFS or more until `hangover` seconds after the last."""

    def __init__(self, threshold: float, hangover: float) -> None:
        self._threshold = threshold
        self._hangover = hangover
        self._until = -math.inf

    def hear(self, level: float, now: float) -> bool:
        """A chunk of this level, at this time in seconds."""
        if level >= self._threshold:
            self._until = now + self._hangover
        return now < self._until


class _Port:
    def __init__(self, wake: Callable[[], None], closed: Callable[[], None]) -> None:
        self._wake = wake
        self._closed = closed
        self._start = time.monotonic()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the call is over, or the port was closed: nothing more comes or goes."""
        return self._ended

    def end(self) -> None:
        """The call is over."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Gives the call its own source back. May be called more than once."""
        if not self._ended:
            self._ended = True
            self._wake()
        self._closed()


class AudioFrames(_Port):
    """The first audio line of a call as PCM: mono int16, little endian, at `rate`.

    rate: 8000, 16000, 24000 or 48000 Hz. latency: seconds of sound that may wait to be sent (0.04 to 60). threshold: dBFS
    from which a chunk counts as loud; hangover: seconds for which `speaking` outlasts the last loud one.
    Raises ValueError for what is out of range.
    """

    def __init__(
        self,
        *,
        rate: int,
        latency: float,
        threshold: float,
        hangover: float,
        wake: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        if rate not in RATES:
            raise ValueError(f"a rate is one of {', '.join(map(str, RATES))} Hz, not {rate}")
        if not 0.04 <= latency <= 60:
            raise ValueError(f"a latency is from 0.04 to 60 seconds, not {latency}")
        super().__init__(wake, closed)
        self.rate = rate
        self.generation = 0  # of what is to be sent: one more with each flush
        self._limit = round(latency * rate) * 2
        self._voice = VoiceActivity(threshold, hangover)
        self._lock = threading.Lock()
        self._unread: deque[AudioChunk] = deque()
        self._dropped = 0
        self._unsent = bytearray()

    # -- the program's side ------------------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        """How many chunks were lost because nobody read them for two seconds."""
        return self._dropped

    @property
    def queued(self) -> float:
        """Seconds of sound that wait to be sent."""
        return len(self._unsent) / 2 / self.rate

    def read(self) -> AudioChunk | None:
        """The oldest chunk; None when there is none now."""
        with self._lock:
            return self._unread.popleft() if self._unread else None

    def write(self, pcm: bytes | bytearray | memoryview) -> int:
        """Queues as much as there is room for; returns how many octets that are (an even number)."""
        with self._lock:
            taken = 0 if self._ended else min(len(pcm), self._limit - len(self._unsent)) & ~1
            self._unsent += pcm[:taken]
            return taken

    def flush(self) -> float:
        """Drops what was not sent yet; returns how many seconds that were."""
        with self._lock:
            seconds = len(self._unsent) / 2 / self.rate
            self._unsent.clear()
            self.generation += 1
        self._wake()
        return seconds

    # -- the engine's side -------------------------------------------------------------------------------------------

    def over(self, setup: MediaSetup) -> MediaSetup:
        """A setup with this port in the place of the source."""
        return evolve(setup, audio=self, sinks=(*setup.sinks, self))

    def check(self, kind: str = "audio") -> None:
        if kind != "audio":
            raise SourceError("an audio port is no source of video")

    def open_audio(self) -> AudioProducer:
        return _Player(self)

    def open(self, with_video: bool) -> SinkWriter:
        return _AudioReader(self)

    def take(self) -> bytes:
        """The next 20 ms to be sent, less at their end."""
        with self._lock:
            size = self.rate // 50 * 2
            part = bytes(self._unsent[:size])
            del self._unsent[:size]
        if part:
            self._wake()
        return part

    def give(self, samples: Samples) -> None:
        """20 ms at the rate of this port, just received."""
        now = time.monotonic() - self._start
        level = decibels(math.sqrt(energy_of(samples)))
        pcm = samples.astype("<i2", copy=False).tobytes()
        chunk = AudioChunk(pcm=pcm, level=level, speaking=self._voice.hear(level, now), time=now)
        with self._lock:
            if self._ended:
                return
            self._unread.append(chunk)
            if len(self._unread) > _UNREAD:
                self._unread.popleft()
                self._dropped += 1
        self._wake()


class _Player:
    """What is written to a port, at 48 kHz."""

    def __init__(self, port: AudioFrames) -> None:
        self._port = port
        self._generation = port.generation
        self._resampler: AudioResampler | None = None
        self._rest = False  # a resampler still holds the end of what was written

    def read(self) -> Samples | None:
        port = self._port
        if self._generation != port.generation:
            self._generation, self._resampler, self._rest = port.generation, None, False
        while True:
            part = port.take()
            if not part and not self._rest:
                return None
            samples = numpy.zeros(port.rate // 50, numpy.int16)
            samples[: len(part) // 2] = numpy.frombuffer(part, "<i2")
            if port.rate == SAMPLE_RATE:
                return samples
            self._rest = bool(part)
            if self._resampler is None:
                self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE, frame_size=FRAME_SAMPLES)
            # It gives nothing for the first 20 ms, of which a filter keeps a few samples: then the next are taken, too.
            for frame in self._resampler.resample(frame_of(samples, port.rate)):
                return samples_of(frame)

    def close(self) -> None: ...


class _AudioReader:
    """Hands what is received to a port, at its rate."""

    def __init__(self, port: AudioFrames) -> None:
        self._port = port
        self._resampler = AudioResampler("s16", "mono", port.rate, frame_size=port.rate // 50)

    def audio(self, samples: Samples, line: int) -> None:
        if line != 0:
            return
        if self._port.rate == SAMPLE_RATE:
            self._port.give(samples)
            return
        for frame in self._resampler.resample(frame_of(samples)):
            self._port.give(samples_of(frame))

    def video(self, frame: VideoFrame, line: int) -> None: ...

    def close(self) -> None: ...


class VideoFrames(_Port):
    """The first video line of a call as pixels. In both directions the newest picture wins; up to 30 a second go out.

    One thread at a time may read.
    """

    def __init__(self, *, wake: Callable[[], None], closed: Callable[[], None]) -> None:
        super().__init__(wake, closed)
        self._lock = threading.Lock()
        self._newest: tuple[float, VideoFrame] | None = None
        self._dropped = 0
        self._unsent: VideoFrame | None = None
        self._to_pixels = VideoReformatter()  # used by the program only; a frame's own would be shared with other sinks

    # -- the program's side ------------------------------------------------------------------------------------------

    @property
    def dropped(self) -> int:
        """How many received pictures were replaced by newer ones before anybody read them."""
        return self._dropped

    def read(self) -> Picture | None:
        """The newest picture that was not read yet; None when there is none. Converts it: about 1 ms for 640x480."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        moment, frame = newest
        pixels = self._to_pixels.reformat(frame, format="rgb24").to_ndarray().astype(numpy.uint8, copy=False)
        return Picture(pixels=pixels, time=moment)

    def write(self, pixels: object) -> None:
        """The next picture to send, unless another one comes before it can be: an array or buffer like that of Picture.

        An odd last row or column is left out. Raises ValueError for another shape or other numbers than uint8.
        """
        picture = numpy.asarray(pixels)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != numpy.uint8 or min(picture.shape[:2]) < 16:
            raise ValueError("a picture is height by width by 3, each side 16 or more, of unsigned octets")
        even = numpy.ascontiguousarray(picture[: picture.shape[0] & ~1, : picture.shape[1] & ~1])
        self._unsent = VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p")

    # -- the engine's side -------------------------------------------------------------------------------------------

    def over(self, setup: MediaSetup) -> MediaSetup:
        """A setup with this port in the place of the source."""
        return evolve(setup, video=self, sinks=(*setup.sinks, self))

    def check(self, kind: str = "video") -> None:
        if kind != "video":
            raise SourceError("a video port is no source of audio")

    def open_video(self) -> VideoProducer:
        return _Projector(self)

    def open(self, with_video: bool) -> SinkWriter:
        return _VideoReader(self)

    def take(self) -> VideoFrame | None:
        frame, self._unsent = self._unsent, None
        return frame

    def give(self, frame: VideoFrame) -> None:
        with self._lock:
            if self._ended:
                return
            self._dropped += self._newest is not None
            self._newest = (time.monotonic() - self._start, frame)
        self._wake()


class _Projector:
    interval = _PICTURE_INTERVAL

    def __init__(self, port: VideoFrames) -> None:
        self._port = port

    def read(self) -> VideoFrame | None:
        return self._port.take()

    def close(self) -> None: ...


class _VideoReader:
    def __init__(self, port: VideoFrames) -> None:
        self._port = port

    def audio(self, samples: Samples, line: int) -> None: ...

    def video(self, frame: VideoFrame, line: int) -> None:
        if line == 0:
            self._port.give(frame)

    def close(self) -> None: ...
