"""The media of a call as frames for a program: what a media engine has to offer for it, and how it is awaited."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from sipproto_client.errors import FramesEnded
from sipproto_client.port import Runtime

_P = TypeVar("_P", bound="_Port")


class AudioChunk(Protocol):
    """20 ms of what a call received."""

    @property
    def pcm(self) -> bytes:
        """Mono int16, little endian."""
        ...

    @property
    def level(self) -> float:
        """RMS in dBFS: 0 is full scale, -100 digital silence."""
        ...

    @property
    def speaking(self) -> bool:
        """Whether this chunk, or one within the hangover before it, was as loud as the threshold."""
        ...

    @property
    def time(self) -> float:
        """Seconds from the opening of the port to the arrival of this chunk."""
        ...


class Picture(Protocol):
    """A picture that a call received."""

    @property
    def pixels(self) -> Any:
        """A buffer of height by width by 3 unsigned octets: red, green, blue. Of sipproto_devices a numpy array."""
        ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def time(self) -> float:
        """Seconds from the opening of the port to the arrival of this picture."""
        ...


class _Port(Protocol):
    @property
    def ended(self) -> bool:
        """Whether the call is over: what is left can be read, nothing more comes."""
        ...

    @property
    def dropped(self) -> int:
        """How much of what came was lost because nobody read it in time: chunks or pictures."""
        ...

    def close(self) -> None:
        """Gives the call its own source back. May be called more than once."""
        ...


class AudioPort(_Port, Protocol):
    """What the `open_audio` of a media engine gives. Methods never wait and may be called from any thread."""

    @property
    def queued(self) -> float:
        """Seconds of sound that wait to be sent."""
        ...

    def read(self) -> AudioChunk | None:
        """The oldest chunk that was not read; None when there is none now."""
        ...

    def write(self, pcm: memoryview) -> int:
        """Queues as much as there is room for; returns how many octets that are (an even number)."""
        ...

    def flush(self) -> float:
        """Drops what was not sent yet; returns how many seconds that were."""
        ...


class VideoPort(_Port, Protocol):
    """What the `open_video` of a media engine gives. Methods never wait for the call and may be called from any thread."""

    def read(self) -> Picture | None:
        """The newest picture that was not read; None when there is none now."""
        ...

    def write(self, pixels: object) -> None:
        """Sends a picture unless a newer one comes first. Raises ValueError for what is none."""
        ...


class _Frames(Generic[_P]):
    """A port that is open for the length of a block, and the bell that its engine rings from any thread."""

    def __init__(self, runtime: Runtime, open_port: Callable[[Callable[[], None]], _P]) -> None:
        self._runtime = runtime
        self._open_port = open_port
        self._port_or_none: _P | None = None
        self._bell = runtime.event()
        self._ringing = False
        self._finished = False

    @property
    def _port(self) -> _P:
        if self._port_or_none is None:
            raise RuntimeError("use it as `async with call.audio() as audio`, or video")
        return self._port_or_none

    async def __aenter__(self) -> Self:
        from_thread = self._runtime.thread_caller()

        def wake() -> None:  # on any thread
            if not self._ringing:
                self._ringing = True
                try:
                    from_thread(self._ring)
                except RuntimeError:
                    pass  # the loop is gone, and with it everybody who could care

        self._port_or_none = self._open_port(wake)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        self._port.close()

    def _ring(self) -> None:
        self._ringing = False  # first: what comes from now on rings again
        self._bell.set()

    async def _changed(self) -> None:
        bell = self._bell
        await bell.wait()
        if self._bell is bell:  # else another task was first, and may wait for the new one already
            self._bell = self._runtime.event()

    @property
    def over(self) -> bool:
        """Whether the call has ended, or the block was left."""
        return self._finished or self._port.ended

    @property
    def dropped(self) -> int:
        """How many chunks or pictures were lost because nobody read them in time."""
        return self._port.dropped

    def finish(self) -> None:
        """The call is over, or nobody wants more of it."""
        self._finished = True
        self._bell.set()

    def __aiter__(self) -> Self:
        return self


class CallAudio(_Frames[AudioPort]):
    """The audio of a call, as `Call.audio` gives it: an iterator of what is heard, and a way to say something.

    What is not read for two seconds is dropped, the oldest first, and counted. The iteration ends with the call.
    """

    def __init__(self, runtime: Runtime, open_port: Callable[[Callable[[], None]], AudioPort], rate: int) -> None:
        super().__init__(runtime, open_port)
        self.rate = rate
        self._flushes = 0
        self._held_back: dict[object, int] = {}  # octets of each `write` that waits

    async def __anext__(self) -> AudioChunk:
        while (chunk := self._port.read()) is None:
            if self.over:
                raise StopAsyncIteration
            await self._changed()
        return chunk

    async def write(self, pcm: bytes | bytearray | memoryview) -> bool:
        """Says something: mono int16, little endian, of any length. Waits while more than `latency` is queued.

        Returns False when a flush dropped the rest of it meanwhile. It waits, too, while the call is held or not connected.
        Raises FramesEnded when the call ends before all of it is queued, ValueError for half a sample.
        """
        rest = memoryview(pcm).cast("B")
        if len(rest) % 2:
            raise ValueError("half a sample: PCM has two octets for each")
        flushes, key = self._flushes, object()
        try:
            while rest:
                if self.over:
                    raise FramesEnded("the call has ended")
                taken = self._port.write(rest)
                rest = rest[taken:]
                self._held_back[key] = len(rest)
                if rest:
                    await self._changed()
                    if self._flushes != flushes:
                        return False
        finally:
            self._held_back.pop(key, None)
        return True

    def flush(self) -> float:
        """Drops all that is not sent yet, also what `write` holds back in other tasks; returns how many seconds of sound.

        For somebody who interrupts the bot. What is on its way already, some 60 ms, is still heard.
        """
        held_back = sum(self._held_back.values())
        self._held_back.clear()
        self._flushes += 1
        dropped = self._port.flush()
        self._bell.set()
        return dropped + held_back / 2 / self.rate

    async def drained(self) -> None:
        """Waits until all that was written is handed over to be sent. Raises FramesEnded when the call ends before."""
        while self._port.queued > 0:
            if self.over:
                raise FramesEnded("the call has ended")
            await self._changed()


class CallVideo(_Frames[VideoPort]):
    """The video of a call, as `Call.video` gives it: an iterator of what is seen, and a way to show something.

    In both directions the newest picture wins. The iteration ends with the call.
    """

    async def __anext__(self) -> Picture:
        while (picture := self._port.read()) is None:
            if self.over:
                raise StopAsyncIteration
            await self._changed()
        return picture

    def write(self, pixels: object) -> None:
        """Shows a picture: a buffer of height by width by 3 unsigned octets. It stays until the next one.

        Raises FramesEnded after the end of the call, ValueError for what is no picture.
        """
        if self.over:
            raise FramesEnded("the call has ended")
        self._port.write(pixels)
