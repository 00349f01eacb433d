"""The peer's changes of a call: its re-INVITE and UPDATE (RFC 3261 14.2, RFC 3311 5.2), and our 2xx until its ACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallInput, CallState
from sipproto.agent._incoming import warning
from sipproto.agent._session_timer import too_small
from sipproto.dialog import Dialog
from sipproto.message import Request, Response, fields
from sipproto.negotiation import NegotiationError
from sipproto.tokens import uniform
from sipproto.transaction import RequestReceived, TransactionId

if TYPE_CHECKING:
    from sipproto.agent._call import Call

S = CallState
Headers = list[tuple[str, object]]


class Offers:
    """At most one change of the peer is being answered at any time."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self._pending: RequestReceived | None = None  # being answered
        self._answered: tuple[int, TransactionId, Response] | None = None  # a 2xx to INVITE that has no ACK yet
        self._interval = 0.0

    @property
    def is_active(self) -> bool:
        """Whether an offer of the peer is being answered, up to its ACK (14.1)."""
        return self._pending is not None or self._answered is not None

    # -- re-INVITE and UPDATE ----------------------------------------------------------------------------------------

    def reinvited(self, received: RequestReceived, dialog: Dialog) -> None:
        call = self._call
        if call.state is S.ACCEPTED and not call.session.is_late:
            # 14.1: who sends another INVITE has our 2xx to the first one. Its ACK was lost, with a connection perhaps.
            self._answered = None
            call.stop_timer("2xx", "ack")
            call.step(CallInput.ACK)
        if self._pending is not None or call.state not in (S.ESTABLISHED, S.RECOVERING):
            self._ask_to_wait(received)
            return
        if self._answered is not None and call.session.is_late:
            call.session.rollback()  # the ACK with the answer to our offer was lost with the connection it was sent on
        if call.session.negotiator is None:
            self._answer_without_media(received, dialog)
            return
        if self._begin(received, dialog):
            self._open(received, self._answer_reinvite)

    def updated(self, received: RequestReceived, dialog: Dialog) -> None:
        """UPDATE: with an offer another INVITE in small, without one a sign of life (RFC 3311 5.2, RFC 4028 10)."""
        call = self._call
        if not received.request.body:
            if self._timer_too_small(received):
                return
            dialog.refresh_target(received.request)
            self._hub.respond(received, 200, extra=self._response_headers(received.request))
            if not call.session.has_media:  # else it says nothing of the media, which are waited for, too
                call.agreed()
            return
        if self._pending is not None or (self._answered is not None and call.session.is_late):
            self._ask_to_wait(received)
        elif call.session.negotiator is None:
            self._answer_without_media(received, dialog)
        elif self._begin(received, dialog):
            self._open(received, self._answer_update)

    def _ask_to_wait(self, received: RequestReceived) -> None:
        """14.2: one after the other."""
        wait = int(10 * uniform(self._hub.tokens))
        self._hub.respond(received, 500, reason="Another Change Under Way", extra=[("Retry-After", wait)])

    def _answer_without_media(self, received: RequestReceived, dialog: Dialog) -> None:
        """The application brought the descriptions. What it agreed to still holds: a repetition of it is no change."""
        session, request = self._call.session, received.request
        if not session.local_description or request.body != session.remote_description:
            self._hub.respond(received, 488)
            return
        if self._timer_too_small(received):
            return
        dialog.refresh_target(request)
        extra = [*self._response_headers(request), ("Content-Type", "application/sdp")]
        if request.method == "INVITE":
            self.send_accepted(received, dialog.local.tag or "", extra, session.local_description)
        else:
            self._hub.respond(received, 200, extra=extra, body=session.local_description)
        self._call.agreed()

    def _timer_too_small(self, received: RequestReceived) -> bool:
        least = too_small(received.request, self._hub.config.session_timers)
        if least is not None:
            self._hub.respond(received, 422, extra=[("Min-SE", least)])
        return least is not None

    def _begin(self, received: RequestReceived, dialog: Dialog) -> bool:
        """Takes the offer, or answers why not; nothing of the call has changed then."""
        hub, session, request = self._hub, self._call.session, received.request
        if not session.is_stable or self._call.changes.is_preparing:
            hub.respond(received, 491)  # 14.2: nothing of it is applied
            return False
        if self._timer_too_small(received):
            return False
        if request.body:
            try:
                session.receive_offer(request.body)
            except NegotiationError as error:
                hub.respond(received, 488, extra=[warning(error.detail)])
                return False
        else:
            session.begin_late_offer()
        dialog.refresh_target(request)
        self._pending = received
        return True

    def _open(self, received: RequestReceived, answer: Callable[[RequestReceived, bytes], None]) -> None:
        def opened(error: str | None) -> None:
            if self._pending is not received:
                return  # it was cancelled while its transports were opening
            self._pending = None
            if error is None:
                answer(received, self._call.session.local_answer())
            else:
                self._call.session.rollback()
                self._hub.respond(received, 500)

        self._call.session.open_transports(opened)

    def _response_headers(self, request: Request) -> Headers:
        return [*self._call.dialog_headers(), *self._call.session_timer.response_headers(request)]

    def _answer_reinvite(self, received: RequestReceived, body: bytes) -> None:
        dialog = self._call.dialog
        assert dialog is not None
        extra = [*self._response_headers(received.request), ("Content-Type", "application/sdp")]
        self.send_accepted(received, dialog.local.tag or "", extra, body)
        self._call.agreed()  # where we were waiting for a way to the peer, it has found one

    def _answer_update(self, received: RequestReceived, body: bytes) -> None:
        extra = [*self._response_headers(received.request), ("Content-Type", "application/sdp")]
        self._hub.respond(received, 200, extra=extra, body=body)
        self._call.agreed()

    def pracked(self, received: RequestReceived, dialog: Dialog) -> None:
        """A PRACK with an offer of its own (RFC 3262 5): answered like an UPDATE, but never refused for the offer alone."""
        if self._call.session.negotiator is None or self.is_active:
            self._hub.respond(received, 200)
        elif self._begin(received, dialog):
            self._open(received, self._answer_update)

    def cancelled(self, transaction: TransactionId | None) -> None:
        """A CANCEL for a re-INVITE that we have not answered yet."""
        received = self._pending
        if received is not None and received.transaction == transaction:
            self._pending = None
            self._call.session.rollback()
            self._hub.respond(received, 487)

    # -- 2xx to an INVITE, repeated until its ACK (13.3.1.4) ---------------------------------------------------------

    def send_accepted(self, received: RequestReceived, to_tag: str, extra: Headers, body: bytes) -> None:
        hub = self._hub
        cseq = received.request.headers.require(fields.CSEQ).number
        response = hub.response(received, 200, to_tag=to_tag, extra=extra, body=body)
        self._answered = (cseq, received.transaction, response)
        # Over a reliable transport too: the loss of a later hop is nobody else's to mend.
        self._interval = hub.config.timers.t1
        self._call.start_timer("2xx", self._interval)
        self._call.start_timer("ack", hub.config.timers.t1_64)
        hub.dispatch(hub.transactions.respond(received.transaction, response, hub.now))

    def resend(self) -> None:
        if self._answered is None or self._hub.transactions.state_of(self._answered[1]) is None:
            return
        _, transaction, response = self._answered
        self._interval = min(2 * self._interval, self._hub.config.timers.t2)
        self._call.start_timer("2xx", self._interval)
        self._hub.dispatch(self._hub.transactions.respond(transaction, response, self._hub.now))

    def acknowledged(self, ack: Request) -> bool:
        """Whether this ACK is the one awaited. The 2xx then is not repeated any more."""
        if self._answered is None or self._answered[0] != ack.headers.require(fields.CSEQ).number:
            return False
        self._answered = None
        return True

    # -- ends --------------------------------------------------------------------------------------------------------

    def flow_lost(self) -> None:
        """The peer will say it again on its new connection, if it still wants it."""
        self._call.stop_timer("2xx", "ack")
        if self.is_active:
            self._pending = self._answered = None
            self._call.session.rollback()

    def call_ended(self) -> None:
        if self._pending is not None:
            self._hub.respond(self._pending, 487)
            self._pending = None
