"""A call as its application sees it."""

from __future__ import annotations

import weakref
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeVar

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay, Media
from sipproto.agent.media import CallId, MediaReport
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.errors import LocalProtocolError
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction
from sipproto_client._events import Subscription
from sipproto_client._frames import CallAudio, CallVideo
from sipproto_client._statistics import StatsSamples, sampled
from sipproto_client.errors import CommandError, EndpointClosed
from sipproto_client.port import Event

if TYPE_CHECKING:
    from sipproto_client._endpoint import Endpoint

_F = TypeVar("_F", CallAudio, CallVideo)

ALL_CODECS = CodecPreferences()


class Call:
    """A call as its application sees it. Every method that waits raises CommandError when the peer or network refuse."""

    def __init__(self, endpoint: Endpoint, ident: CallId, incoming: o.IncomingCall | None = None) -> None:
        self._endpoint = endpoint
        self.ident = ident
        self.incoming = incoming
        self.held_by: set[o.Originator] = set()
        self.lines: tuple[o.LineInfo, ...] = ()  # as they are agreed on, in the order of the descriptions
        self.ended: o.CallEnded | None = None
        self._ended = endpoint.runtime.event()
        self._steady: Event | None = None  # while the call is reconnecting
        self._frames: weakref.WeakSet[CallAudio | CallVideo] = weakref.WeakSet()

    # -- state -------------------------------------------------------------------------------------------------------

    def events(self) -> Subscription:
        """The events of this call from now on, ending after CallEnded. Use it as a context manager."""
        return self._endpoint.events(
            lambda event: getattr(event, "call", None) == self.ident, lambda event: isinstance(event, o.CallEnded)
        )

    async def wait_ended(self) -> o.CallEnded:
        """Waits for the end and says why. Raises EndpointClosed when the endpoint ends before the call."""
        await self._ended.wait()
        if self.ended is None:
            raise EndpointClosed("the endpoint was closed")
        return self.ended

    @property
    def reconnecting(self) -> bool:
        """Whether the connection or the media are lost, and the call waits for them (CallReconnecting)."""
        return self._steady is not None

    async def wait_recovered(self) -> bool:
        """Waits while the call is reconnecting. Returns whether it goes on; False when it has ended."""
        if self._steady is not None:
            await self._steady.wait()
        return not self._ended.is_set()

    def abandon(self) -> None:
        """The endpoint is over: nothing more will be heard of the call."""
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._be_steady()
        for frames in self._frames:
            frames.finish()

    def _be_steady(self) -> None:
        steady, self._steady = self._steady, None
        if steady is not None:
            steady.set()

    def note(self, event: o.Event) -> None:
        match event:
            case o.CallHeld(originator=who):
                self.held_by.add(who)
            case o.CallResumed(originator=who):
                self.held_by.discard(who)
            case o.MediaNegotiated(lines=lines):
                self.lines = lines
            case o.CallReconnecting() if self._steady is None:
                self._steady = self._endpoint.runtime.event()
            case o.CallRecovered():
                self._be_steady()
            case o.CallEnded():
                self.ended = event
                self._end()
            case _:
                pass

    # -- commands ----------------------------------------------------------------------------------------------------

    async def progress(
        self,
        status: int = 183,
        media: Media = (),
        *,
        reason: str | None = None,
        codecs: CodecPreferences = ALL_CODECS,
        setup: object = None,
        body: bytes = b"",
    ) -> None:
        """Tells the caller of an incoming call how it goes. With `media` (or `body`) it is heard before the answer.

        Answer later without media: what was said here holds.
        """
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(
            lambda n: i.Progress(
                command=n, call=self.ident, status=status, reason=reason, media=media, codecs=codecs, body=body
            )
        )

    async def answer(
        self, media: Media = (), *, codecs: CodecPreferences = ALL_CODECS, setup: object = None, body: bytes = b""
    ) -> None:
        """Answers an incoming call and waits until it is established. `media`: a pair for each line of a kind that we take.

        Answers the peer's offer, too, when a call of ours has left that to it (CallOffered). Raises LocalProtocolError
        when neither media nor a body is given, unless `progress` has given them.
        """
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(lambda n: i.Answer(command=n, call=self.ident, media=media, codecs=codecs, body=body))

    async def hang_up(
        self, status: int = 603, reason: str | None = None, *, reasons: tuple[o.Reason, ...] = ()
    ) -> None:
        """Ends the call in any state; fine when it has ended already.

        status, reason: for a caller that was not answered. reasons: told the peer in whatever ends the call (RFC 3326).
        """
        if self.ended is None:
            await self._endpoint.run(
                lambda n: i.HangUp(command=n, call=self.ident, status=status, reason=reason, reasons=reasons)
            )

    async def hold(self) -> None:
        await self._endpoint.run(lambda n: i.Hold(command=n, call=self.ident))

    async def resume(self) -> None:
        await self._endpoint.run(lambda n: i.Resume(command=n, call=self.ident))

    def line(self, kind: str, number: int = 0) -> str:
        """The mid of the line of a kind, counted from 0: `line("video", 1)` is the second one. Raises LocalProtocolError."""
        mids = [line.mid for line in self.lines if line.kind == kind]
        if number >= len(mids):
            raise LocalProtocolError(f"the call has {len(mids)} lines of {kind}")
        return mids[number]

    async def change_media(
        self,
        *,
        add: Media = (),
        directions: tuple[tuple[str, Direction], ...] = (),
        remove: tuple[str, ...] = (),
        codecs: CodecPreferences | None = None,
        use_update: bool = False,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> tuple[str, ...]:
        """Changes lines and codecs by one offer: all of it or, when the peer refuses, nothing. Returns the mids of new lines.

        Lines are named by mid, see `line` and `lines`. Several changes are carried out one after the other.
        """
        result = await self._endpoint.run(
            lambda n: i.ChangeMedia(
                command=n,
                call=self.ident,
                add=add,
                directions=directions,
                remove=remove,
                codecs=codecs,
                use_update=use_update,
                headers=headers,
            )
        )
        assert isinstance(result, tuple)
        return result

    async def set_parameters(self, line: str, parameters: SenderParameters) -> EffectiveParameters:
        """Sends a line (its mid) with these parameters from now on; says what of them the media engine does."""
        result = await self._endpoint.run(
            lambda n: i.SetParameters(command=n, call=self.ident, line=line, parameters=parameters)
        )
        assert isinstance(result, EffectiveParameters)
        return result

    async def request_key_frame(self, line: str, *, ours: bool = False) -> None:
        """Has the peer, or ourselves, send a picture that can be decoded alone."""
        await self._endpoint.run(lambda n: i.RequestKeyFrame(command=n, call=self.ident, line=line, ours=ours))

    async def restart_ice(self, *, use_update: bool = False, headers: tuple[tuple[str, str], ...] = ()) -> bool:
        """Has both sides look for a new way for the media, by re-INVITE or UPDATE, and returns whether they do.

        False: the peer refused, or ignored the wish; all is as it was. Raises CommandError when it could not be asked: the
        connection was lost, it did not answer, the call ended meanwhile. The call itself is never ended by this, but for
        a peer that knows it no more (481). The new way is looked for after the return, see `MediaChanged`.
        """
        try:
            result = await self._endpoint.run(
                lambda n: i.RestartIce(command=n, call=self.ident, use_update=use_update, headers=headers)
            )
        except CommandError as error:
            if error.status is None or self.ended is not None:
                raise
            return False
        return result is True

    async def transfer(self, to: str | Call, *, notify: bool = True) -> int:
        """Has the peer call `to`, or the peer of the call `to` in our place; returns the last status it tells of that.

        This call goes on until somebody hangs up.
        """
        if isinstance(to, Call):
            target, other = "", to.ident
        else:
            target, other = to, None
        result = await self._endpoint.run(
            lambda n: i.Refer(command=n, call=self.ident, target=target, other=other, notify=notify)
        )
        return int(str(result))

    async def send_info(self, content_type: str, body: bytes, *, package: str | None = None) -> int:
        """INFO, with `package` that of RFC 6086; returns the status of the answer."""
        result = await self._endpoint.run(
            lambda n: i.SendInfo(command=n, call=self.ident, content_type=content_type, body=body, package=package)
        )
        return int(str(result))

    async def send_dtmf(
        self, digits: str, *, duration: int = 160, gap: float = 0.1, way: DigitWay = DigitWay.AUTO
    ) -> None:
        """Digits, one after the other; `duration` of each in milliseconds, `gap` in seconds. "," is a pause of 2 s.

        In RTP (RFC 4733) where the peer takes that, else by INFO.
        """
        await self._endpoint.run(
            lambda n: i.SendDtmf(command=n, call=self.ident, digits=digits, duration=duration, gap=gap, way=way)
        )

    async def stats(self) -> MediaReport:
        """What the media engine measures right now."""
        result = await self._endpoint.run(lambda n: i.GetStats(command=n, call=self.ident))
        assert isinstance(result, MediaReport)
        return result

    def watch_stats(self, interval: float = 1.0) -> AbstractAsyncContextManager[StatsSamples]:
        """What is measured over and over, from the end of the first interval to that of the call.

        `async with call.watch_stats() as samples: async for report in samples`. Nothing is measured outside of the block. The
        interval, in seconds, becomes two to four times as long after a measurement that took more than 16 to 48 ms; one that
        fails is left out. Raises ValueError, on entering, for an interval that is not above 0.
        """
        return sampled(self._endpoint.runtime, self.stats, self._ended, interval)

    # -- frames ------------------------------------------------------------------------------------------------------

    def audio(
        self, *, rate: int = 16000, latency: float = 0.2, threshold: float = -45.0, hangover: float = 0.3
    ) -> CallAudio:
        """The audio of this call for a program: `async with call.audio(rate=16000) as audio`, before or during the call.

        Within the block it takes the place of the source of the first audio line, which comes back after it. rate: 8000,
        16000, 24000 or 48000 Hz. latency: seconds of sound that may wait to be sent. A chunk is `speaking` from the
        first one of `threshold` dBFS or more until `hangover` seconds after the last.
        Raises FramesUnsupported for a media engine that cannot do it; the block raises ValueError for bad figures.
        """
        opening = self._endpoint.media_method("open_audio")
        settings = {"rate": rate, "latency": latency, "threshold": threshold, "hangover": hangover}
        audio = CallAudio(self._endpoint.runtime, lambda wake: opening(self.ident, wake=wake, **settings), rate)
        return self._followed(audio)

    def video(self) -> CallVideo:
        """The first video line of this call for a program: `async with call.video() as video`. Otherwise like `audio`."""
        opening = self._endpoint.media_method("open_video")
        return self._followed(CallVideo(self._endpoint.runtime, lambda wake: opening(self.ident, wake=wake)))

    def _followed(self, frames: _F) -> _F:
        """The frames, told when the call ends."""
        self._frames.add(frames)
        if self._ended.is_set():
            frames.finish()
        return frames
