"""Our changes of a call: re-INVITE and UPDATE, with or without an offer (RFC 3261 14.1, RFC 3311)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import frozen

from sipproto.agent._call_table import CallState
from sipproto.agent._hub import Exchange
from sipproto.agent.inputs import ChangeMedia, CommandId, RestartIce
from sipproto.agent.outputs import CallHeld, CallResumed, Cause, Originator, cause_of
from sipproto.dialog import Dialog, Pairs
from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, fields
from sipproto.negotiation import NegotiationError, Negotiator
from sipproto.tokens import uniform

if TYPE_CHECKING:
    from sipproto.agent._call import Call

S = CallState
_SOON = 0.1  # seconds
_MAX_UNSURE = 4  # connections that are lost one after the other, each with a re-INVITE on it
_MAX_QUEUED = 16  # changes that wait for the one under way; the application gets a LocalProtocolError
_MAX_ATTEMPTS = 8  # 491, 500 and 422 taken together; whoever says more of them than that does not want it


@frozen(kw_only=True)
class Change:
    """What is to be brought about. `done` gets whether it was, the status that refused it if one did, and a text."""

    done: Callable[[bool, Cause, int | None, str], None]
    method: str = "INVITE"
    wish: Callable[[Negotiator], None] = lambda negotiator: None  # raises LocalProtocolError for what is not possible
    with_offer: bool = True
    recovers: bool = False  # not needed any more when the peer has been faster
    silence_ends: bool = True  # whether a peer that does not answer has lost the call (14.1)
    headers: tuple[tuple[str, str], ...] = ()


class Changes:
    """At most one change of ours is under way at any time, and none while the peer's is (14.1). Others wait for it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self._change: Change | None = None
        self._queue: deque[Change] = deque()
        self._attempts = 0
        self._heard = 0  # of the peer, when our request was sent
        self._preparing = False
        self._exchange: Exchange | None = None
        self._acks: dict[int, Request] = {}  # of our re-INVITEs by sequence number; only the last one is kept
        self._unsure: deque[Request] = deque(maxlen=_MAX_UNSURE)  # ACKs that may have to be said on the next flow

    @property
    def is_active(self) -> bool:
        return self._change is not None or self._exchange is not None

    @property
    def is_preparing(self) -> bool:
        """Whether media are being opened for an offer of ours: one of the peer would take them for its own."""
        return self._preparing

    # -- what is asked for -------------------------------------------------------------------------------------------

    def hold(self, command: CommandId, hold: bool) -> None:
        """Hold or resume. Raises LocalProtocolError when another one of ours is under way, or without negotiated media."""
        self._require()
        negotiator = self._call.session.negotiator
        if negotiator is None:
            raise LocalProtocolError("the media of this call are not negotiated here")
        if negotiator.hold == hold and not self.is_active:
            self._hub.succeed(command)
            return

        def done(changed: bool, cause: Cause, status: int | None, detail: str) -> None:
            if changed:
                event = CallHeld if hold else CallResumed
                self._hub.emit(event(call=self._call.ident, originator=Originator.LOCAL))
                self._hub.succeed(command)
            else:
                self._hub.fail(command, cause, detail, status)

        def wish(negotiator: Negotiator) -> None:
            negotiator.hold = hold

        self._begin(Change(done=done, wish=wish))

    def restart_ice(self, command: RestartIce) -> None:
        self._require()
        session = self._call.session
        if session.negotiator is None:
            raise LocalProtocolError("the media of this call are not negotiated here")
        before: list[frozenset[str]] = []

        def wish(negotiator: Negotiator) -> None:
            before[:] = [session.remote_credentials()]
            negotiator.restart_ice()

        def done(changed: bool, cause: Cause, status: int | None, detail: str) -> None:
            if changed:
                self._hub.succeed(command.command, session.remote_credentials().isdisjoint(before[0]))
            else:
                self._hub.fail(command.command, cause, detail, status)

        method = "UPDATE" if command.use_update else "INVITE"
        self._begin(Change(done=done, wish=wish, method=method, headers=command.headers, silence_ends=False))

    def change_media(self, command: ChangeMedia) -> None:
        """Raises LocalProtocolError for lines that there are not, and like the others."""
        self._require()
        negotiator = self._call.session.negotiator
        if negotiator is None:
            raise LocalProtocolError("the media of this call are not negotiated here")
        added: list[str] = []

        def wish(negotiator: Negotiator) -> None:
            for mid in command.remove:
                negotiator.remove_line(mid)
            for mid, direction in command.directions:
                negotiator.change_line(mid, direction)
            if command.codecs is not None:
                negotiator.preferences = command.codecs
            added[:] = [negotiator.add_line(kind, direction) for kind, direction in command.add]
            negotiator.require_lines()

        def done(changed: bool, cause: Cause, status: int | None, detail: str) -> None:
            if changed:
                self._hub.succeed(command.command, tuple(added))
            else:
                self._hub.fail(command.command, cause, detail, status)

        if self._call.session.is_stable:
            wish(negotiator.copy())  # what is not possible is said at once
        method = "UPDATE" if command.use_update else "INVITE"
        self._begin(Change(done=done, wish=wish, method=method, headers=command.headers))

    def _require(self) -> None:
        self._call.require(S.ESTABLISHED)
        if len(self._queue) >= _MAX_QUEUED:
            raise LocalProtocolError(f"{_MAX_QUEUED} changes of this call are waiting already")
        self._hub.require_room()

    def recover(self, done: Callable[[bool, int | None, str], None]) -> None:
        """Tells the peer where we are now, and has both find each other's media again."""
        call = self._call
        for ack in self._unsure:
            self._hub.send_alone(ack, call.flow)
        session = call.session
        if self.is_active or call.offers.is_active:
            done(False, None, "another change of this call is under way")
            return
        dialog = call.dialog
        assert dialog is not None

        def over(changed: bool, _: Cause, status: int | None, detail: str) -> None:
            done(changed, status, detail)

        if session.has_media:
            self._begin(Change(done=over, wish=Negotiator.restart_ice, recovers=True))
        elif "UPDATE" in dialog.remote_methods:
            self._begin(Change(done=over, method="UPDATE", with_offer=False, recovers=True))
        elif session.local_description:
            # The application brought the descriptions, and they are as they were.
            self._begin(Change(done=over, recovers=True))
        else:
            done(True, None, "")

    def refresh(self, done: Callable[[bool, Cause, int | None, str], None]) -> bool:
        """Refreshes the session (RFC 4028 7.4): by UPDATE without an offer where the peer knows it. False: not now."""
        call = self._call
        assert call.dialog is not None
        if self.is_active or call.offers.is_active or call.state is not S.ESTABLISHED:
            return False
        if "UPDATE" in call.dialog.remote_methods:
            self._begin(Change(done=done, method="UPDATE", with_offer=False))
        else:
            self._begin(Change(done=done))
        return True

    # -- bringing it about -------------------------------------------------------------------------------------------

    def _begin(self, change: Change) -> None:
        if self.is_active:
            self._queue.append(change)
            return
        self._change, self._attempts = change, 0
        if self._call.offers.is_active:  # 14.1: one of the peer's that only waits for its ACK, mostly
            self._call.start_timer("glare", _SOON)
        else:
            self._prepare()

    def _prepare(self) -> None:
        change, session = self._change, self._call.session
        assert change is not None
        negotiator = session.negotiator
        if negotiator is None or not change.with_offer:
            self._send(session.local_description if change.with_offer else b"")
            return
        try:
            change.wish(negotiator)
        except LocalProtocolError as error:  # the peer has changed the lines meanwhile
            self._finish(False, Cause.INCOMPATIBLE_MEDIA, None, str(error))
            self.next()
            return
        self._preparing = True
        session.open_transports(lambda error: self._opened(change, error))

    def _opened(self, change: Change, error: str | None) -> None:
        if self._change is not change:
            return  # the call has ended, or the flow was lost
        self._preparing = False
        if error is not None:
            self._finish(False, Cause.MEDIA_ERROR, None, error)
            self.next()
        else:
            self._send(self._call.session.local_offer())

    def _send(self, body: bytes) -> None:
        call, change = self._call, self._change
        dialog = call.dialog
        assert dialog is not None and change is not None

        def build(credentials: Pairs) -> Request:
            extra: list[tuple[str, object]] = [
                *credentials,
                *call.dialog_headers(),
                *call.session_timer.request_headers(),
                *self._hub.common_headers(),
                *change.headers,
            ]
            if body:
                extra.append(("Content-Type", "application/sdp"))
            return dialog.next_request(change.method, extra=extra, body=body)

        self._heard = call.heard
        self._exchange = Exchange(
            flow=call.flow,
            build=build,
            method=change.method,
            target=dialog.remote_target,
            to=str(dialog.remote.uri),
            body=body,
            on_final=self._answered,
            on_failure=self._lost,
            timeout=self._hub.config.waits.request,  # a provisional answer stops timer B, and nothing else would end it
            is_wanted=lambda: self._change is change,
        )
        if not self._hub.start(self._exchange):
            self._lost(False)

    def _answered(self, response: Response) -> None:
        status = response.status
        if status < 300:
            self._accepted(response)
            return
        self._exchange = None
        if self._change is None:
            return  # the call is ending
        self._call.session.rollback()
        self._attempts += 1
        delay = self._wait_after(response)
        if delay is not None and self._attempts < _MAX_ATTEMPTS:
            if delay > 0:
                self._call.start_timer("glare", delay)
            else:
                self.try_again()
            return
        detail, ends = f"the peer refused: {status} {response.reason}".strip(), self._is_silent
        self._finish(False, cause_of(status), status, detail)
        if status == 481 or (status == 408 and ends):
            self._dialog_lost(detail)
        self.next()

    def _wait_after(self, response: Response) -> float | None:
        """Seconds after which the same is worth another attempt; None when it is not."""
        match response.status:
            case 491:
                # 14.1: who made the Call-ID waits 2.1 to 4 seconds, the other up to 2, in steps of 10 ms.
                ours = self._call.originator is Originator.LOCAL
                low, span = (2.1, 1.9) if ours else (0.0, 2.0)
                return low + round(span * uniform(self._hub.tokens), 2)
            case 500:
                after = response.headers.get(fields.RETRY_AFTER)  # 14.2: up to 10 s
                return float(after.seconds) if after is not None and after.seconds <= 30 else None
            case 422:
                return 0.0 if self._call.session_timer.raised(response) else None
            case _:
                return None

    def _accepted(self, response: Response) -> None:
        call, exchange, change = self._call, self._exchange, self._change
        cseq = response.headers.require(fields.CSEQ)
        if cseq.number in self._acks:  # a repeated 2xx
            self._hub.send_again(self._acks[cseq.number], call.flow)
            return
        if exchange is None or exchange.request is None or call.dialog is None:
            return
        call.dialog.refresh_target(response)
        if cseq.method == "INVITE":
            sent = self._hub.send_alone(ack_for(call.dialog, exchange.request), call.flow)
            self._acks = {} if sent is None else {cseq.number: sent}
        self._exchange = None
        self._unsure.clear()
        if change is None or call.is_over:
            return
        call.session_timer.accepted(response)
        if change.with_offer and call.session.has_media:
            try:
                call.session.take_answer(response.body)
            except NegotiationError as error:
                call.session.rollback()
                self._finish(False, Cause.INCOMPATIBLE_MEDIA, None, error.detail)
                call.media_broken(f"the answer of the peer cannot be used: {error.detail}")
                return
        self._change = None
        change.done(True, Cause.TERMINATED, response.status, "")
        self.next()

    def next(self) -> None:
        """Begins with the change that waits longest, when the call can take one."""
        if self._queue and self._change is None and self._call.state is S.ESTABLISHED:
            self._begin(self._queue.popleft())

    def _lost(self, timeout: bool) -> None:
        self._exchange = None
        self._call.session.rollback()
        if not timeout:
            self._finish(False, Cause.CONNECTION_ERROR, None, "the connection to the server was lost")
            return
        ends = self._is_silent
        self._finish(False, Cause.REQUEST_TIMEOUT, None, "the peer did not answer")
        if ends:
            self._dialog_lost("the peer does not answer any more")
        self.next()

    @property
    def _is_silent(self) -> bool:
        """Whether nothing was heard of the peer since our request, which else was lost, with its connection perhaps."""
        may_end = self._change is None or self._change.silence_ends
        return may_end and self._call.heard == self._heard

    def _dialog_lost(self, detail: str) -> None:
        if self._call.state is S.ESTABLISHED:
            self._call.dialog_lost(detail)

    def try_again(self) -> None:
        """The back-off is over. A change of the peer that is under way goes first."""
        if self._change is None:
            return
        if self._change.recovers and self._call.state is S.ESTABLISHED:
            self._finish(False, Cause.SUPERSEDED, None, "the peer has found us already")
            self.next()
        elif self._call.offers.is_active:
            self._call.start_timer("glare", 1.0)
        else:
            self._prepare()

    def _finish(self, changed: bool, cause: Cause, status: int | None, detail: str) -> None:
        change, self._change = self._change, None
        self._preparing = False
        negotiator = self._call.session.negotiator
        if change is not None:
            if negotiator is not None and self._call.session.is_stable and not changed:
                negotiator.withdraw()
                self._call.session.reapply()  # what was opened for it is not needed
            change.done(changed, cause, status, detail)

    # -- ends --------------------------------------------------------------------------------------------------------

    def flow_lost(self, ack: Request | None) -> None:
        """What is under way cannot be answered any more; a change that waits to be tried again is given up, too.

        ack: of the first INVITE, if its transaction still lasts.
        """
        self._call.stop_timer("glare")
        self._note_ack(ack)
        self._hub.drop(self._exchange)
        self._fail_queued(Cause.CONNECTION_ERROR, "the connection to the server was lost")
        if self.is_active:
            self._lost(False)

    def _fail_queued(self, cause: Cause, detail: str) -> None:
        while self._queue:
            self._queue.popleft().done(False, cause, None, detail)

    def _note_ack(self, ack: Request | None) -> None:
        """A peer that has accepted an INVITE takes nothing new before its ACK, and gives up after 64*T1 (14.2, 13.3.1.4).

        Its 2xx may have been on the way when the flow was lost, or our ACK. Said once more, an ACK that nobody waits for
        does nothing.
        """
        exchange, dialog = self._exchange, self._call.dialog
        if exchange is not None and exchange.request is not None and exchange.method == "INVITE" and dialog is not None:
            ack = ack_for(dialog, exchange.request)
        elif self._acks and not self._unsure:
            ack = list(self._acks.values())[-1]
        if ack is not None:
            self._unsure.append(Request("ACK", ack.target, ack.headers.without("Via"), ack.body))

    def call_ended(self, cause: Cause, detail: str) -> None:
        if self._exchange is not None and self._exchange.transaction is None:
            self.forget()  # it has not even been sent
        self._fail_queued(cause, detail)
        self._finish(False, cause, None, detail)

    def forget(self) -> None:
        self._hub.drop(self._exchange)
        self._exchange = None


def ack_for(dialog: Dialog, invite: Request, body: bytes = b"") -> Request:
    """The ACK to a 2xx: a request of its own in the dialog, with the INVITE's number and credentials (13.2.2.4)."""
    extra: list[tuple[str, object]] = [
        (name, value) for name in ("Authorization", "Proxy-Authorization") for value in invite.headers.raw(name)
    ]
    if body:
        extra.append(("Content-Type", "application/sdp"))
    return dialog.request("ACK", invite.headers.require(fields.CSEQ).number, extra=extra, body=body)
