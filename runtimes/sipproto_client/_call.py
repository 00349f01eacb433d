"""A call as its application sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import CallId, MediaReport
from sipproto_client._events import Subscription
from sipproto_client.errors import EndpointClosed
from sipproto_client.port import Event

if TYPE_CHECKING:
    from sipproto_client._endpoint import Endpoint


class Call:
    """A call as its application sees it. Every method that waits raises CommandError when the peer or network refuse."""

    def __init__(self, endpoint: Endpoint, ident: CallId, incoming: o.IncomingCall | None = None) -> None:
        self._endpoint = endpoint
        self.ident = ident
        self.incoming = incoming
        self.held_by: set[o.Originator] = set()
        self.ended: o.CallEnded | None = None
        self._ended = endpoint.runtime.event()
        self._steady: Event | None = None  # while the call is reconnecting

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
        self._ended.set()
        self._be_steady()

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
            case o.CallReconnecting() if self._steady is None:
                self._steady = self._endpoint.runtime.event()
            case o.CallRecovered():
                self._be_steady()
            case o.CallEnded():
                self.ended = event
                self._ended.set()
                self._be_steady()
            case _:
                pass

    # -- commands ----------------------------------------------------------------------------------------------------

    async def progress(
        self,
        status: int = 183,
        media: Media = (),
        *,
        reason: str | None = None,
        setup: object = None,
        body: bytes = b"",
    ) -> None:
        """Tells the caller of an incoming call how it goes. With `media` (or `body`) it is heard before the answer.

        Answer later without media: what was said here holds.
        """
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(
            lambda n: i.Progress(command=n, call=self.ident, status=status, reason=reason, media=media, body=body)
        )

    async def answer(self, media: Media = (), *, setup: object = None, body: bytes = b"") -> None:
        """Answers an incoming call and waits until it is established."""
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(lambda n: i.Answer(command=n, call=self.ident, media=media, body=body))

    async def hang_up(self, status: int = 603, reason: str | None = None) -> None:
        """Ends the call in any state; `status` is for a caller that was not answered. Fine when it has ended already."""
        if self.ended is None:
            await self._endpoint.run(lambda n: i.HangUp(command=n, call=self.ident, status=status, reason=reason))

    async def hold(self) -> None:
        await self._endpoint.run(lambda n: i.Hold(command=n, call=self.ident))

    async def resume(self) -> None:
        await self._endpoint.run(lambda n: i.Resume(command=n, call=self.ident))

    async def restart_ice(self, *, use_update: bool = False) -> None:
        """Has both sides look for a new way for the media, by re-INVITE or UPDATE. A refusal leaves all as it was."""
        await self._endpoint.run(lambda n: i.RestartIce(command=n, call=self.ident, use_update=use_update))

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

    async def send_dtmf(self, digits: str, *, duration: int = 160, gap: float = 0.1) -> None:
        """Digits, one after the other; `duration` of each in milliseconds, `gap` in seconds."""
        await self._endpoint.run(
            lambda n: i.SendDtmf(command=n, call=self.ident, digits=digits, duration=duration, gap=gap)
        )

    async def stats(self) -> MediaReport:
        """What the media engine measures right now."""
        result = await self._endpoint.run(lambda n: i.GetStats(command=n, call=self.ident))
        assert isinstance(result, MediaReport)
        return result
