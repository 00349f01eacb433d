"""The media of a call: its negotiation, the operations of the media engine, and re-INVITEs (RFC 3261 14, RFC 3264 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallState
from sipproto.agent._hub import ALLOW, Exchange
from sipproto.agent.inputs import CommandId
from sipproto.agent.media import ApplyMedia, CloseMedia, MediaFailed, MediaOpened, OpenMedia
from sipproto.agent.outputs import CallHeld, CallResumed, Cause, Originator, cause_of
from sipproto.dialog import Pairs
from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, fields
from sipproto.negotiation import NegotiatedSession, NegotiationError, Negotiator, SignalingState
from sipproto.sdp import Direction
from sipproto.tokens import uniform
from sipproto.transaction import RequestReceived, TransactionId

if TYPE_CHECKING:
    from sipproto.agent._call import Call

Media = tuple[tuple[str, Direction], ...]


class Session:
    """What a call negotiates. At most one offer is under way at any time, ours or the peer's."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self._negotiator: Negotiator | None = None
        self.local_description = self.remote_description = b""
        self._late = False  # our offer went out in a 2xx; the answer comes in the ACK
        self._remote_hold = False
        self._command: CommandId | None = None  # the Hold or Resume that waits for its outcome
        self._wanted_hold = False
        self._exchange: Exchange | None = None
        self._acks: dict[int, Request] = {}  # of our re-INVITEs by sequence number; only the last one is kept
        self._reinvite: RequestReceived | None = None  # the peer's, while it is being answered
        self._answered: tuple[int, TransactionId, Response] | None = None  # a 2xx of ours that has no ACK yet
        self._interval = 0.0

    @property
    def has_media(self) -> bool:
        """Whether the media of this call are negotiated here."""
        return self._negotiator is not None

    # -- parts of a first offer and answer ---------------------------------------------------------------------------

    def check_media(self, media: Media) -> None:
        capabilities = self._hub.config.capabilities
        if media and capabilities is None:
            raise LocalProtocolError("this agent has no media engine: give a body instead of media")
        for kind, _ in media:
            if capabilities is not None and not capabilities.codecs(kind):
                raise LocalProtocolError(f"the media engine has no codec for {kind!r}")

    def _new_negotiator(self) -> Negotiator:
        capabilities = self._hub.config.capabilities
        assert capabilities is not None
        return Negotiator(capabilities, self._hub.tokens)

    def prepare_offer(self, media: Media) -> None:
        self.check_media(media)
        self._negotiator = self._new_negotiator()
        for kind, direction in media:
            self._negotiator.add_line(kind, direction)

    def prepare_answer(self, offer: bytes, media: Media) -> None:
        """Takes the offer of an INVITE; without one we shall offer ourselves in the 2xx (13.2.1)."""
        negotiator = self._new_negotiator()
        self._late = not offer
        if offer:
            negotiator.receive_offer(offer, dict(media))
            self.remote_description = offer
        else:
            for kind, direction in media:
                negotiator.add_line(kind, direction)
        self._negotiator = negotiator  # with an offer that cannot be answered there is no media to close

    def open_transports(self, done: Callable[[str | None], None]) -> None:
        """Has the engine open what the next description needs, then calls `done` with None or an error."""
        negotiator = self._negotiator
        slots = negotiator.missing_slots() if negotiator is not None else ()
        if negotiator is None or not slots:
            done(None)
            return

        def opened(reply: object) -> None:
            if isinstance(reply, MediaOpened):
                for slot, transport in reply.transports:
                    negotiator.add_transport(slot, transport)
                missing = negotiator.missing_slots()
                done(f"the media engine left transports {missing} closed" if missing else None)
            else:
                done(reply.error if isinstance(reply, MediaFailed) else "the media engine did not answer")

        request = self._hub.next_media_request(self._call.ident, opened)
        self._hub.operate(OpenMedia(request=request, call=self._call.ident, slots=slots))

    def local_offer(self) -> bytes:
        assert self._negotiator is not None
        self.local_description = self._negotiator.create_offer().to_bytes()
        return self.local_description

    def local_answer(self) -> bytes:
        """Our part of a 2xx: the answer, or the offer when the peer made none."""
        if self._late:
            return self.local_offer()
        assert self._negotiator is not None
        answer, session = self._negotiator.create_answer()
        self._apply(session)
        self.local_description = answer.to_bytes()
        return self.local_description

    def take_answer(self, body: bytes) -> None:
        assert self._negotiator is not None
        self._apply(self._negotiator.receive_answer(body))
        self.remote_description = body

    def take_late_answer(self, body: bytes) -> None:
        """The body of the ACK when the offer was ours. Raises NegotiationError."""
        if self._late and self._negotiator is not None:
            self._late = False
            self.take_answer(body)

    def _apply(self, session: NegotiatedSession) -> None:
        call = self._call

        def applied(reply: object) -> None:
            if isinstance(reply, MediaFailed):
                call.media_broken(reply.error)
            elif reply is None:
                call.media_broken("the media engine did not answer")

        request = self._hub.next_media_request(call.ident, applied)
        self._hub.operate(ApplyMedia(request=request, call=call.ident, session=session))
        if session.remote_hold != self._remote_hold:
            self._remote_hold = session.remote_hold
            event = CallHeld if session.remote_hold else CallResumed
            self._hub.emit(event(call=call.ident, originator=Originator.REMOTE))

    # -- our re-INVITE -----------------------------------------------------------------------------------------------

    def set_hold(self, command: CommandId, hold: bool) -> None:
        """Hold or resume. Raises LocalProtocolError when another change is under way, or without negotiated media."""
        self._call.require(CallState.ESTABLISHED)
        negotiator = self._negotiator
        if negotiator is None:
            raise LocalProtocolError("the media of this call are not negotiated here")
        # 14.1: no offer while another one is under way, in either direction, up to its ACK.
        if self._command is not None or self._reinvite is not None or self._answered is not None:
            raise LocalProtocolError("another change of this call is under way")
        if negotiator.hold == hold:
            self._hub.succeed(command)
            return
        self._hub.require_room()
        self._command, self._wanted_hold = command, hold
        self._offer()

    def _offer(self) -> None:
        negotiator, call = self._negotiator, self._call
        dialog = call.dialog
        assert negotiator is not None and dialog is not None
        negotiator.hold = self._wanted_hold
        body = self.local_offer()

        def build(credentials: Pairs) -> Request:
            extra: list[tuple[str, object]] = [
                *credentials,
                ("Contact", self._hub.contact(call.flow)),
                ("Allow", ALLOW),
                *self._hub.common_headers(),
                ("Content-Type", "application/sdp"),
            ]
            return dialog.next_request("INVITE", extra=extra, body=body)

        self._exchange = Exchange(
            flow=call.flow,
            build=build,
            method="INVITE",
            target=dialog.remote_target,
            body=body,
            on_final=self._reinvite_answered,
            on_failure=self._reinvite_lost,
            timeout=self._hub.config.waits.request,  # a provisional answer stops timer B, and nothing else would end it
            is_wanted=lambda: self._command is not None,
        )
        if not self._hub.start(self._exchange):
            self._reinvite_lost(False)

    def _reinvite_answered(self, response: Response) -> None:
        if response.status < 300:
            self._reinvite_accepted(response)
            return
        assert self._negotiator is not None
        self._exchange = None
        if self._command is None:
            return  # the call is ending
        self._negotiator.rollback()
        if response.status == 491:
            # 14.1: who made the Call-ID waits 2.1 to 4 seconds, the other up to 2, in steps of 10 ms.
            ours = self._call.originator is Originator.LOCAL
            low, span = (2.1, 1.9) if ours else (0.0, 2.0)
            self._call.start_timer("glare", low + round(span * uniform(self._hub.tokens), 2))
            return
        detail = f"the peer refused: {response.status} {response.reason}".strip()
        self._finish_change(cause_of(response.status), detail, response.status)
        if response.status in (408, 481):
            self._call.dialog_lost(detail)

    def _reinvite_accepted(self, response: Response) -> None:
        from sipproto.agent._call import ack_for

        call, exchange = self._call, self._exchange
        cseq = response.headers.require(fields.CSEQ).number
        if cseq in self._acks:  # a repeated 2xx
            self._hub.send_again(self._acks[cseq], call.flow)
            return
        if exchange is None or exchange.request is None or call.dialog is None:
            return
        call.dialog.refresh_target(response)
        sent = self._hub.send_alone(ack_for(call.dialog, exchange.request), call.flow)
        self._acks = {} if sent is None else {cseq: sent}
        self._exchange = None
        assert self._negotiator is not None
        if self._negotiator.state is not SignalingState.HAVE_LOCAL_OFFER:
            return  # the call is ending
        try:
            self.take_answer(response.body)
        except NegotiationError as error:
            self._negotiator.rollback()
            self._finish_change(Cause.INCOMPATIBLE_MEDIA, error.detail, None)
            call.media_broken(f"the answer of the peer cannot be used: {error.detail}")
            return
        event = CallHeld if self._wanted_hold else CallResumed
        self._hub.emit(event(call=call.ident, originator=Originator.LOCAL))
        command, self._command = self._command, None
        self._hub.succeed(command)

    def _reinvite_lost(self, timeout: bool) -> None:
        self._exchange = None
        if self._negotiator is not None and self._negotiator.state is SignalingState.HAVE_LOCAL_OFFER:
            self._negotiator.rollback()
        if timeout:
            self._finish_change(Cause.REQUEST_TIMEOUT, "the peer did not answer", None)
            self._call.dialog_lost("the peer does not answer any more")
        else:
            self._call.flow_lost()

    def try_again(self) -> None:
        """The back-off after a 491 is over. A change of the peer that is under way goes first."""
        if self._command is None:
            return
        if self._reinvite is not None or self._answered is not None:
            self._call.start_timer("glare", 1.0)
        else:
            self._offer()

    def _finish_change(self, cause: Cause, detail: str, status: int | None) -> None:
        command, self._command = self._command, None
        self._hub.fail(command, cause, detail, status)

    # -- the peer's re-INVITE ----------------------------------------------------------------------------------------

    def reinvited(self, received: RequestReceived) -> None:
        hub, call, negotiator = self._hub, self._call, self._negotiator
        request = received.request
        if self._reinvite is not None or self._answered is not None or call.state is not CallState.ESTABLISHED:
            # 14.2: one after the other.
            wait = int(10 * uniform(hub.tokens))
            hub.respond(received, 500, reason="Another Change Under Way", extra=[("Retry-After", wait)])
            return
        if negotiator is None:
            hub.respond(received, 488)
            return
        if negotiator.state is SignalingState.HAVE_LOCAL_OFFER:
            hub.respond(received, 491)  # 14.2: nothing of it is applied
            return
        self._late = not request.body
        if request.body:
            try:
                negotiator.receive_offer(request.body)
                self.remote_description = request.body
            except NegotiationError as error:
                hub.respond(received, 488, extra=[("Warning", f'399 sipproto "{_plain(error.detail)}"')])
                return
        assert call.dialog is not None
        call.dialog.refresh_target(request)
        self._reinvite = received
        self.open_transports(lambda error: self._answer_reinvite(received, error))

    def _answer_reinvite(self, received: RequestReceived, error: str | None) -> None:
        call = self._call
        if self._reinvite is not received or call.dialog is None or self._negotiator is None:
            return  # it was cancelled while its transports were opening
        self._reinvite = None
        if error is not None:
            if self._negotiator.state is SignalingState.HAVE_REMOTE_OFFER:
                self._negotiator.rollback()
            self._hub.respond(received, 500)
            return
        body = self.local_answer()
        extra: list[tuple[str, object]] = [
            ("Contact", self._hub.contact(call.flow)),
            ("Allow", ALLOW),
            ("Content-Type", "application/sdp"),
        ]
        self.send_answer(received, call.dialog.local.tag or "", extra, body)

    def cancel_reinvite(self, transaction: TransactionId | None) -> None:
        """A CANCEL for a re-INVITE that we have not answered yet."""
        received = self._reinvite
        if received is not None and received.transaction == transaction:
            self._reinvite = None
            if self._negotiator is not None and self._negotiator.state is SignalingState.HAVE_REMOTE_OFFER:
                self._negotiator.rollback()
            self._hub.respond(received, 487)

    def take_late_reanswer(self, body: bytes) -> None:
        """The ACK to our offer in the 2xx of an offerless re-INVITE; a bad one leaves the session as it was."""
        if not self._late or self._negotiator is None:
            return
        self._late = False
        try:
            self.take_answer(body)
        except NegotiationError:
            self._negotiator.rollback()

    # -- 2xx to an INVITE, repeated until its ACK (13.3.1.4) ---------------------------------------------------------

    def send_answer(self, received: RequestReceived, to_tag: str, extra: list[tuple[str, object]], body: bytes) -> None:
        hub = self._hub
        cseq = received.request.headers.require(fields.CSEQ).number
        response = hub.response(received, 200, to_tag=to_tag, extra=extra, body=body)
        self._answered = (cseq, received.transaction, response)
        # Over a reliable transport too: the loss of a later hop is nobody else's to mend.
        self._interval = hub.config.timers.t1
        self._call.start_timer("2xx", self._interval)
        self._call.start_timer("ack", hub.config.timers.t1_64)
        hub.dispatch(hub.transactions.respond(received.transaction, response, hub.now))

    def resend_answer(self) -> None:
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

    # -- the end -----------------------------------------------------------------------------------------------------

    def call_ended(self, cause: Cause, detail: str) -> None:
        self._finish_change(cause, detail, None)
        if self._reinvite is not None:
            self._hub.respond(self._reinvite, 487)
            self._reinvite = None
        self._hub.drop_media_requests(self._call.ident)
        if self._negotiator is not None:
            if self._negotiator.state is not SignalingState.STABLE:
                self._negotiator.rollback()  # an answer that still comes is acknowledged, but not applied
            self._hub.operate(CloseMedia(call=self._call.ident))

    def forget(self) -> None:
        self._hub.drop(self._exchange)
        self._exchange = self._negotiator = None


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)
