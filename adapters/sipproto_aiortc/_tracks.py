"""The tracks that feed RTP senders. They never end: aiortc's sender dies for good when its track does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction

from aiortc import MediaStreamTrack
from av import AudioFrame, VideoFrame

from sipproto_devices import (
    FRAME_TIME,
    SAMPLE_RATE,
    SILENCE,
    AudioProducer,
    BlackProducer,
    MixerMember,
    Samples,
    SilenceProducer,
    VideoProducer,
    mix,
    plain_picture,
)

_VIDEO_CLOCK = 90000
_LATE_TICKS = 3  # so much is caught up by sending faster; what is more is skipped, or a stall would end in a burst
_REPEAT_AFTER = 1.0  # seconds without a new picture after which the last one is sent again


class Pace:
    """A clock of even ticks that does not drift: each is due a fixed time after the last one, however late that was."""

    def __init__(self, late_ticks: int = _LATE_TICKS) -> None:
        self._late_ticks = late_ticks
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._due = self._origin

    async def tick(self, interval: float) -> float:
        """Waits for the next tick, `interval` seconds after the last; returns its time in seconds since the start."""
        self._due += interval
        late = self._loop.time() - self._due
        if late > self._late_ticks * interval:
            self._due += int(late / interval) * interval
        await asyncio.sleep(max(0.0, self._due - self._loop.time()))
        return self._due - self._origin


class _Track(MediaStreamTrack):
    """What both kinds share: a gate. While it is shut `recv` waits, so that no RTP is made.

    `failed` is told of a producer that raised, which then makes room for one of nothing.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        super().__init__()
        self._gate = asyncio.Event()
        self._pace = Pace()
        self._failed = failed

    @property
    def flowing(self) -> bool:
        return self._gate.is_set()

    @flowing.setter
    def flowing(self, value: bool) -> None:
        if value:
            self._gate.set()
        else:
            self._gate.clear()


class AudioTrack(_Track):
    kind = "audio"

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        super().__init__(failed)
        self.producer: AudioProducer = SilenceProducer()
        self.mixer: MixerMember | None = None

    def replace(self, producer: AudioProducer) -> None:
        """Goes over to another producer between two frames."""
        before, self.producer = self.producer, producer
        before.close()

    def rest(self) -> None:
        """Silence."""
        self.replace(SilenceProducer())

    async def recv(self) -> AudioFrame:
        await self._gate.wait()
        moment = await self._pace.tick(FRAME_TIME)
        samples = self._samples()
        # Stereo, because FFmpeg takes 3 dB off when the Opus encoder's resampler makes two channels of one.
        frame = AudioFrame.from_ndarray(samples.repeat(2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = round(moment * SAMPLE_RATE)
        return frame

    def _samples(self) -> Samples:
        own: Samples | None = None
        try:
            own = self.producer.read()
        except Exception as error:
            self.rest()
            self._failed(error)
        others = self.mixer.read() if self.mixer is not None else None
        mixed = mix([part for part in (own, others) if part is not None])
        return SILENCE if mixed is None else mixed


class VideoTrack(_Track):
    kind = "video"

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        super().__init__(failed)
        self._pace = Pace(late_ticks=1)  # a picture that is late is worth less than the next one
        self.producer: VideoProducer = BlackProducer()
        self._last = plain_picture(320, 240, (0, 0, 0))
        self._last_moment = -_REPEAT_AFTER

    def replace(self, producer: VideoProducer) -> None:
        """Goes over to another producer between two pictures."""
        before, self.producer = self.producer, producer
        before.close()

    def rest(self) -> None:
        """Black."""
        self.replace(BlackProducer())

    async def recv(self) -> VideoFrame:
        while True:
            await self._gate.wait()
            moment = await self._pace.tick(self.producer.interval)
            frame = self._picture()
            if frame is None and moment - self._last_moment < _REPEAT_AFTER:
                continue
            if frame is not None:
                self._last = frame
            self._last_moment = moment
            self._last.pts = round(moment * _VIDEO_CLOCK)
            self._last.time_base = Fraction(1, _VIDEO_CLOCK)
            return self._last

    def _picture(self) -> VideoFrame | None:
        try:
            return self.producer.read()
        except Exception as error:
            self.rest()
            self._failed(error)
            return None
