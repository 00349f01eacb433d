"""All calls of the phone: who talks, who waits, who rings, and what is written of them in the journal."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
from attrs import evolve

from sipproto.agent import outputs as o
from sipproto.errors import SipProtoError
from sipproto_client import Call, Endpoint
from sipproto_phone._call import AUDIO, PhoneCall
from sipproto_phone._figures import Measured
from sipproto_phone._numbers import dialled, name_headers, name_of, number_of, shown_number
from sipproto_phone._sound import Sound
from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import CallView, Outcome, Phase
from sipproto_phone.ports import Account, Journal, Settings

_T = TypeVar("_T")
_AT_ONCE = 2  # calls that a user can keep apart
_BUSY_TONE = 3.0  # seconds
_BUSY, _RANG_OUT, _REJECTED, _FAILED = 486, 480, 603, 500
_BUSY_SOUNDS = (Outcome.BUSY, Outcome.REJECTED, Outcome.NO_ANSWER, Outcome.FAILED)


class Desk(Protocol):
    """What calls need of their phone."""

    @property
    def settings(self) -> Settings: ...

    @property
    def account(self) -> Account: ...

    @property
    def endpoint(self) -> Endpoint | None:
        """That of the account; also while it is not online."""
        ...

    @property
    def is_online(self) -> bool: ...

    @property
    def sound(self) -> Sound: ...

    @property
    def journal(self) -> Journal: ...

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def start(self, function: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        """A task that lives as long as the phone."""
        ...

    def changed(self) -> None: ...

    def notice(self, text: str) -> None:
        """One line on what went wrong."""
        ...


class Calls:
    """The calls in the order in which they began. ended_shown: seconds for which a call that is over stays in sight."""

    def __init__(self, desk: Desk, *, ended_shown: float) -> None:
        self._desk = desk
        self._ended_shown = ended_shown
        self._calls: dict[str, PhoneCall] = {}
        self._next = 0
        self._turn = anyio.Lock()  # who talks is changed by one command after the other
        self._busy_tones = 0
        self.last_number = ""

    # -- which there are ---------------------------------------------------------------------------------------------

    @property
    def views(self) -> tuple[CallView, ...]:
        return tuple(call.view for call in self._calls.values() if not call.hidden)

    @property
    def live(self) -> list[PhoneCall]:
        return [call for call in self._calls.values() if not call.is_over]

    def get(self, ident: str) -> PhoneCall:
        """A call that is not over. Raises CommandProblem."""
        call = self._calls.get(ident)
        if call is None or call.is_over:
            raise CommandProblem("this call is over", "no_call")
        return call

    def _new(self, call: Call, number: str, name: str, *, incoming: bool) -> PhoneCall:
        self._next += 1
        view = CallView(
            id=f"c{self._next}",
            phase=Phase.INCOMING if incoming else Phase.DIALLING,
            incoming=incoming,
            number=number,
            name=name,
            shown_number=shown_number(number, self._desk.settings.region),
        )
        made = PhoneCall(view, call, self._desk.sound, self._changed)
        began = partial(self._desk.journal.call_began, started=self._desk.now(), account=self._desk.account.id)
        made.entry = self._written(lambda: began(incoming=incoming, number=number, name=name))
        made.view = evolve(view, entry=made.entry)
        self._calls[view.id] = made
        return made

    def _written(self, write: Callable[[], _T]) -> _T | None:
        """What the journal answers. That it cannot be written must not end a call."""
        try:
            return write()
        except Exception as error:
            self._desk.notice(f"the journal cannot be written: {error}")
            return None

    def _give_sound(self, call: PhoneCall, endpoint: Endpoint) -> None:
        call.sound = self._desk.sound.join(partial(endpoint.prepare, call.call.ident))

    # -- calling -----------------------------------------------------------------------------------------------------

    def dial(self, number: str) -> str:
        """Calls, and returns the id of the call at once."""
        endpoint = self._desk.endpoint
        if endpoint is None or not self._desk.is_online:
            raise CommandProblem("the phone is not online", "offline")
        account = self._desk.account
        target, number = dialled(number, account.server)
        if len(self.live) >= _AT_ONCE:
            raise CommandProblem("two calls at once are the most", "too_many_calls")
        call = self._new(endpoint.new_call(), number, "", incoming=False)
        self.last_number = number
        headers = name_headers(account.display_name)
        self._desk.start(
            self._make,
            call,
            endpoint,
            lambda setup: endpoint.call(target, AUDIO, call=call.call, setup=setup, headers=headers),
        )
        self._changed()
        return call.view.id

    def redial(self) -> str:
        if not self.last_number:
            raise CommandProblem("nobody was called yet", "not_possible")
        return self.dial(self.last_number)

    async def _make(
        self, call: PhoneCall, endpoint: Endpoint, make: Callable[[object], Coroutine[Any, Any, object]]
    ) -> None:
        try:
            await self._desk.sound.prepare()
            async with self._turn:
                await self._hold_others(call)
            if call.is_over:
                return  # the user was quicker
            self._give_sound(call, endpoint)
            assert call.sound is not None
            await make(self._desk.sound.setup(call.sound))
        except CommandProblem as error:
            self._over(call, None, str(error))
        except SipProtoError as error:
            self._over(call, call.call.ended, str(error))

    async def _hold_others(self, keep: PhoneCall) -> None:
        for other in self.live:
            if other is not keep and other.view.phase is Phase.TALKING:
                await other.hold()
            elif other is not keep and other.view.phase is Phase.RECONNECTING:
                other.fall_silent()

    # -- being called ------------------------------------------------------------------------------------------------

    def _called(self, event: o.IncomingCall) -> None:
        endpoint = self._desk.endpoint
        client_call = None if endpoint is None else endpoint.call_of(event.call)
        if client_call is None:
            return
        domain = self._desk.account.server
        busy = len(self.live) >= (_AT_ONCE if self._desk.settings.call_waiting else 1)
        number, name = number_of(event.from_uri, domain), name_of(event.headers, event.display_name)
        replaced = next((one for one in self.live if one.call.ident == event.replaces), None)
        call = self._new(client_call, number, name, incoming=True)
        if replaced is not None:
            self._desk.start(self._take_over, call)  # RFC 3891 3: in place of a call that goes on already
        elif busy:
            call.hidden = True  # it never rings, and is only written down
            self._refuse(call, Outcome.MISSED, _BUSY)
        else:
            self._desk.start(self._ring, call)

    async def _ring(self, call: PhoneCall) -> None:
        """Until somebody answers, or the time is over."""
        self._changed()
        over = anyio.Event()
        call.on_answer = over.set
        with anyio.move_on_after(self._desk.settings.ring_seconds):
            await over.wait()
        if call.rings and not over.is_set():
            self._refuse(call, Outcome.MISSED, _RANG_OUT)

    def _refuse(self, call: PhoneCall, outcome: Outcome, status: int) -> None:
        call.decided = outcome
        self._desk.start(self._end, call, status)

    async def _take_over(self, call: PhoneCall) -> None:
        try:
            await self.answer(call.view.id)
        except CommandProblem as error:
            self._desk.notice(str(error))

    async def answer(self, ident: str) -> None:
        """Another call that we talk in is held first; when its peer refuses that, this one goes on ringing."""
        async with self._turn:
            call, endpoint = self.get(ident), self._desk.endpoint
            if not call.rings or call.sound is not None or call.hidden or endpoint is None:
                raise CommandProblem("this call does not ring", "not_possible")
            await self._hold_others(call)
            await self._desk.sound.prepare()
            self.get(ident)  # the caller may have given up meanwhile
            call.on_answer()
            self._give_sound(call, endpoint)
            self._changed()
            assert call.sound is not None
            try:
                await call.call.answer(AUDIO, setup=self._desk.sound.setup(call.sound))
            except SipProtoError as error:
                if call.rings:
                    await self._end(call, _FAILED)
                raise CommandProblem(f"the call cannot be answered: {error}", "refused") from None

    # -- what is heard of calls --------------------------------------------------------------------------------------

    def heard(self, event: object) -> None:
        """Every event of the client that may be one of a call."""
        if isinstance(event, o.IncomingCall):
            self._called(event)
            return
        ident = getattr(event, "call", None)
        call = next((one for one in self.live if one.call.ident == ident), None)
        if call is None:
            return
        match event:
            case o.CallEstablished():
                self._established(call)
            case o.CallEnded():
                self._over(call, event, event.detail)
            case o.TransferRequested():
                self._transfer_asked(event)
            case _:
                call.heard(event)
                if isinstance(event, o.CallRecovered) and call.is_to_be_held:
                    self._desk.start(self._hold_at_last, call)

    def _established(self, call: PhoneCall) -> None:
        now = self._desk.now()
        if (entry := call.entry) is not None:
            self._written(lambda: self._desk.journal.call_answered(entry, now))
        call.answered = now
        call.show(phase=Phase.TALKING, answered_at=anyio.current_time())
        self._desk.start(self._measure, call)

    async def _measure(self, call: PhoneCall) -> None:
        """Once a second while the call is up; nothing is measured before and after."""
        measured = Measured(anyio.current_time())
        try:
            async with call.call.watch_stats(1.0) as samples:
                async for report in samples:
                    if not call.is_over:
                        call.show(figures=measured.figures(report, anyio.current_time()))
        except SipProtoError:
            pass  # the call is over

    def _over(self, call: PhoneCall, ended: o.CallEnded | None, detail: str) -> None:
        """The end of a call, whatever the reason; only the first one counts."""
        if call.is_over:
            return
        outcome = call.outcome_of(ended)
        if (entry := call.entry) is not None:
            at = self._end_of(call)
            self._written(lambda: self._desk.journal.call_ended(entry, at=at, outcome=outcome))
        if call.sound is not None:
            self._desk.sound.leave(call.sound)
        call.on_answer()
        call.show(phase=Phase.ENDED, outcome=outcome, detail=detail)
        if not call.view.incoming and outcome in _BUSY_SOUNDS:
            self._desk.start(self._busy_tone)
        self._desk.start(self._forget, call.view.id)

    def _end_of(self, call: PhoneCall) -> float:
        """Now, in the journal's time. Somebody may set the clock in a call: how long it was is measured by another."""
        if call.view.answered_at is None or call.answered is None:
            return self._desk.now()
        return call.answered + anyio.current_time() - call.view.answered_at

    async def _busy_tone(self) -> None:
        self._busy_tones += 1
        self._tones()
        await anyio.sleep(_BUSY_TONE)
        self._busy_tones -= 1
        self._tones()

    async def _forget(self, ident: str) -> None:
        await anyio.sleep(self._ended_shown)
        self._calls.pop(ident, None)
        self._changed()

    def abandon(self) -> None:
        """The endpoint is gone, and with it its calls."""
        for call in self.live:
            self._over(call, None, "the connection was closed")

    # -- what users do in calls --------------------------------------------------------------------------------------

    async def hang_up(self, ident: str) -> None:
        call = self.get(ident)
        if call.view.answered_at is None:
            call.decided = Outcome.REJECTED if call.view.incoming else Outcome.CANCELED
        await self._end(call, _REJECTED)

    async def _end(self, call: PhoneCall, status: int) -> None:
        """CANCEL, a refusal or BYE, as it takes."""
        try:
            await call.call.hang_up(status)
        except SipProtoError as error:
            self._over(call, None, str(error))  # it was not begun yet, or the endpoint is closed

    async def _hold_at_last(self, call: PhoneCall) -> None:
        """It could not be held before, for its connection was lost."""
        try:
            async with self._turn:
                if call.is_to_be_held:
                    await call.hold()
        except CommandProblem as problem:
            self._desk.notice(str(problem))

    async def hold(self, ident: str) -> None:
        async with self._turn:
            await self.get(ident).hold()

    async def resume(self, ident: str) -> None:
        """Talk in this call; another that we talk in is held first."""
        async with self._turn:
            call = self.get(ident)
            call.require_up()
            await self._hold_others(call)
            await call.resume()

    # -- transfer ----------------------------------------------------------------------------------------------------

    def transfer(self, ident: str, number: str, other: str) -> None:
        """Begins it; how it goes on is seen in the view of the call."""
        call = self.get(ident)
        call.require_up()
        if bool(number) == bool(other):
            raise CommandProblem("a transfer goes to a number or to another call", "bad_field")
        if call.view.transfer is not None:
            raise CommandProblem("this call is being transferred already", "not_possible")
        to: str | PhoneCall
        if other:
            to = self.get(other)
            to.require_up()
            if to is call:
                raise CommandProblem("a call cannot be transferred to itself", "not_possible")
        else:
            to = dialled(number, self._desk.account.server)[0]
        call.show(transfer=100)
        self._desk.start(self._transfer, call, to)

    async def _transfer(self, call: PhoneCall, to: str | PhoneCall) -> None:
        try:
            status = await call.call.transfer(to.call if isinstance(to, PhoneCall) else to)
        except SipProtoError as error:
            status = getattr(error, "status", None) or 500
        if 200 <= status < 300:
            call.show(transfer=status)
            for one in (call, to):
                if isinstance(one, PhoneCall) and not one.is_over:
                    await self._end(one, _REJECTED)
        elif not call.is_over:
            call.show(transfer=None)
            self._desk.notice(f"the transfer failed ({status}); the call goes on")

    def _transfer_asked(self, event: o.TransferRequested) -> None:
        """The peer wants us to call somebody else in its place; it ends its call when that has worked."""
        endpoint = self._desk.endpoint
        if endpoint is None:
            return
        if len(self.live) >= _AT_ONCE + 1:
            self._desk.start(self._reject_transfer, endpoint, event)
            return
        number = number_of(event.target, self._desk.account.server)
        made = self._new(endpoint.new_call(), number, "", incoming=False)
        self._desk.start(
            self._make,
            made,
            endpoint,
            lambda setup: endpoint.accept_transfer(event, AUDIO, call=made.call, setup=setup),
        )
        self._changed()

    async def _reject_transfer(self, endpoint: Endpoint, event: o.TransferRequested) -> None:
        try:
            await endpoint.reject_transfer(event)
        except SipProtoError:
            pass  # the call is over

    # -- tones -------------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._tones()
        self._desk.changed()

    def _tones(self) -> None:
        """What the phone itself lets one hear, by what there is to hear otherwise."""
        live = self.live
        talking = any(call.is_up for call in live)
        if any(call.rings and not call.hidden and call.sound is None for call in live):
            tone = "waiting" if talking else "ringtone"
        elif any(call.view.phase is Phase.RINGING and not call.early_media for call in live):
            tone = "ringback"
        else:
            tone = "busy" if self._busy_tones and not live else ""
        self._desk.sound.want(tone)
