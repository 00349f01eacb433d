"""One call from its first message to its last: the table of `_call_table` carried out."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent._call_table import TABLE, CallAction, CallInput, CallState
from sipproto.agent._changes import Changes
from sipproto.agent._end import End
from sipproto.agent._hub import ALLOW, Exchange, Hub
from sipproto.agent._incall import InCall
from sipproto.agent._offers import Offers
from sipproto.agent._outgoing import Outgoing
from sipproto.agent._ringing import Ringing
from sipproto.agent._session import Session
from sipproto.agent._session_timer import SessionTimer
from sipproto.agent._transfer import Transfer
from sipproto.agent.causes import reasons_of
from sipproto.agent.inputs import Answer, CommandId, Invite
from sipproto.agent.media import MediaState
from sipproto.agent.outputs import (
    CallEnded,
    CallEstablished,
    CallReconnecting,
    CallRecovered,
    Cause,
    Originator,
    cause_of,
)
from sipproto.dialog import Dialog, dialog_key
from sipproto.errors import LocalProtocolError
from sipproto.message import Request
from sipproto.negotiation import NegotiationError
from sipproto.transaction import FlowId, RequestReceived

S, I = CallState, CallInput
_TIMERS = (
    "ring",
    "answer",
    "cancel",
    "2xx",
    "ack",
    "glare",
    "dtmf",
    "grace",
    "retry",
    "1xx",
    "prack",
    "session",
    "refer",
)
_OVER = (S.CANCELLING, S.REGRETTED, S.LEAVING, S.ENDED)
_RETRY_FIRST, _RETRY_MAX = 1.0, 4.0  # seconds between two attempts to reach a peer that is not back yet
_AWAY = (430, 480)  # what a server says that has no connection to the peer


class Call:
    """A call. `over` is called when the application is told of its end, `forget` when nothing of it is left.

    `leg` is what only the caller (Outgoing) or only the called (Ringing) has to do; the rest is the same on both sides.
    """

    def __init__(
        self,
        hub: Hub,
        ident: str,
        flow: FlowId,
        over: Callable[[Call], None],
        forget: Callable[[Call], None],
        referred: Callable[[Call, RequestReceived], None],
    ) -> None:
        self.hub = hub
        self.ident = ident
        self.flow = flow
        self.state = S.PREPARING
        self.originator = Originator.LOCAL
        self.dialog: Dialog | None = None
        self.leg: Outgoing | Ringing | None = None
        self.session = Session(self)
        self.changes = Changes(self)
        self.offers = Offers(self)
        self.incall = InCall(self)
        self.session_timer = SessionTimer(self)
        self.owner = ("call", hub.next_number())  # of its timers; names of calls may be used again
        self.command: CommandId | None = None  # the Invite or Answer that waits for its outcome
        self.end = End(Cause.TERMINATED, Originator.LOCAL)
        self._over = over
        self._forget = forget
        self._referred = referred
        self.transfer = Transfer(self)
        self.replaces: Call | None = None  # ends when this one is established
        self.watch: Callable[[int, str, bool], None] | None = None  # told how the call goes; True at the last time
        self._reported_end = False
        self.heard = 0  # requests of the peer
        self._lost_at = 0.0
        self._retries = 0
        self._media: MediaState | None = None  # as the engine said last
        self._agreed = False  # the peer has agreed to go on with a call that is being recovered

    @property
    def is_over(self) -> bool:
        """Over for the application."""
        return self.state in _OVER

    def require(self, *states: CallState) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"call {self.ident!r} is {self.state.value}")

    def outgoing(self) -> Outgoing:
        """Raises LocalProtocolError when the call is not an outgoing one in its beginnings."""
        if not isinstance(self.leg, Outgoing):
            raise LocalProtocolError(f"call {self.ident!r} is {self.state.value}, and not being made")
        return self.leg

    def incoming(self) -> Ringing:
        """Raises LocalProtocolError when the call is not an incoming one that waits for its answer."""
        if not isinstance(self.leg, Ringing):
            raise LocalProtocolError(f"call {self.ident!r} is {self.state.value}, and not waiting for an answer")
        return self.leg

    # -- the machine -------------------------------------------------------------------------------------------------

    def step(self, what: CallInput, end: End | None = None) -> bool:
        """Takes an input. False when it means nothing in this state."""
        entry = TABLE.get((self.state, what))
        if entry is None:
            return False
        if end is not None and not self._reported_end:
            self.end = end
        self.state, actions = entry
        for action in actions:
            _PERFORM[action](self)
        return True

    def start_timer(self, name: str, delay: float) -> None:
        self.hub.start_timer(self.owner, name, delay, self._timer)

    def stop_timer(self, *names: str) -> None:
        self.hub.stop_timer(self.owner, *names)

    def _timer(self, name: str) -> None:
        match name:
            case "ring":
                self.step(I.TIMEOUT, End(Cause.NO_ANSWER, Originator.LOCAL, "nobody answered"))
            case "answer":
                end = End(Cause.NO_ANSWER, Originator.LOCAL, "the call was not answered", refusal=480)
                self.step(I.TIMEOUT, end)
            case "cancel":
                self.outgoing().give_up()
            case "2xx":
                self.offers.resend()
            case "ack":
                self.stop_timer("2xx")
                self.step(I.NO_ACK, End(Cause.NO_ACK, Originator.REMOTE, "the peer did not confirm the call"))
            case "1xx" | "prack":
                self.incoming().reliable_timer(name)
            case "glare":
                self.changes.try_again()
            case "session":
                self.session_timer.fire()
            case "retry":
                self.step(I.RETRY)
            case "refer":
                self.transfer.timed_out()
            case "grace":
                detail = f"the call could not be taken up again within {self.hub.config.recovery.grace:g} s"
                cause = Cause.MEDIA_ERROR if self._agreed else Cause.CONNECTION_ERROR
                self.step(I.GRACE_OVER, End(cause, Originator.REMOTE, detail))
            case _:
                self.incall.next_digit()

    # -- beginnings --------------------------------------------------------------------------------------------------

    def start_outgoing(self, invite: Invite) -> None:
        if invite.media and not invite.late_offer:
            self.session.prepare_offer(invite.media, invite.codecs)  # may raise, before anything has happened
        self.leg = Outgoing(self, invite)
        self.command = invite.command
        self.session.open_transports(self.media_opened)

    def start_incoming(self, received: RequestReceived) -> None:
        """Takes a checked INVITE. Raises MessageSyntaxError when no dialog can be made from it."""
        leg = Ringing(self, received)
        self.state, self.originator = S.INCOMING, Originator.REMOTE
        self.leg = leg
        leg.ring()

    def media_opened(self, error: str | None) -> None:
        if error is None:
            self.step(I.MEDIA_READY)
        else:
            self.step(I.MEDIA_FAILED, End(Cause.MEDIA_ERROR, Originator.LOCAL, error, refusal=500))

    def answer(self, command: Answer) -> None:
        if isinstance(self.leg, Outgoing):
            self.leg.answer_offer(command)
        else:
            self.require(S.INCOMING)
            self.incoming().answer(command)

    def dialog_headers(self) -> list[tuple[str, object]]:
        """What INVITE, UPDATE and the answers to them say of us."""
        out: list[tuple[str, object]] = [
            ("Contact", self.hub.contact(self.flow)),
            ("Allow", ALLOW),
            ("Supported", self.hub.supported(timer=self.session_timer.is_running)),
            *self.hub.allow_events(),
        ]
        if packages := self.hub.config.info_packages:
            out.append(("Recv-Info", ", ".join(packages)))  # RFC 6086 4.1
        return out

    # -- messages in the dialog --------------------------------------------------------------------------------------

    def on_ack(self, request: Request) -> None:
        """The ACK to a 2xx of ours: to the first one, or to that of a re-INVITE."""
        if not self.offers.acknowledged(request):
            return
        self.stop_timer("2xx", "ack")
        if self.state is S.ACCEPTED:
            try:
                self.session.take_late_answer(request.body)
            except NegotiationError as error:
                self.step(I.ACK)
                self.step(I.MEDIA_FAILED, End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, error.detail))
                return
        elif self.state in (S.ESTABLISHED, S.RECOVERING):
            self.session.take_late_reanswer(request.body)
        self.step(I.ACK)

    def cancelled(self, received: RequestReceived) -> None:
        """A CANCEL for one of our server INVITEs (9.2); it has been answered 200."""
        if isinstance(self.leg, Ringing) and received.cancels == self.leg.received.transaction:
            reasons = reasons_of(received.request.headers)
            end = End(Cause.CANCELED, Originator.REMOTE, "the caller gave up", refusal=487, reasons=reasons)
            self.step(I.CANCEL, end)
        else:
            self.offers.cancelled(received.cancels)

    def on_request(self, received: RequestReceived) -> None:
        """A request in one of our dialogs; everything that holds for any request has been checked."""
        request, hub = received.request, self.hub
        dialog = self._dialog_of(request)
        if dialog is None or (self.is_over and request.method != "BYE"):
            hub.respond(received, 481)
            return
        if not dialog.accepts(request):
            hub.respond(received, 500, reason="Sequence Number Too Low")  # 12.2.2
            return
        self.heard += 1
        if self.flow not in hub.flows:  # the peer has found another way to us
            self._use_flow(received.flow)
        match request.method:
            case "BYE":
                hub.respond(received, 200)
                detail, reasons = request.headers.first("Reason") or "", reasons_of(request.headers)
                end = End(Cause.TERMINATED, Originator.REMOTE, detail, refusal=487, reasons=reasons)
                self.step(I.BYE, end)
            case "INVITE":
                self.offers.reinvited(received, dialog)
            case "UPDATE":
                self.offers.updated(received, dialog)
            case "PRACK" if isinstance(self.leg, Ringing):
                self.leg.pracked(received, dialog)
            case "PRACK":
                hub.respond(received, 481)  # RFC 3262 3: it matches no provisional of ours
            case "REFER":
                self._referred(self, received)
            case "NOTIFY":
                self.transfer.notified(received)
            case "INFO":
                self.incall.info_received(received)
            case "OPTIONS":
                hub.respond(received, 200, extra=[("Allow", ALLOW), ("Accept", "application/sdp")])
            case "SUBSCRIBE":
                hub.respond(received, 403)  # RFC 6665 4.5.2: subscriptions have dialogs of their own
            case _:
                hub.respond(received, 405, extra=[("Allow", ALLOW)])

    def _dialog_of(self, request: Request) -> Dialog | None:
        key = dialog_key(request)
        if self.dialog is not None and self.dialog.key == key:
            return self.dialog
        return self.leg.early_dialog(key) if isinstance(self.leg, Outgoing) else None

    # -- ends --------------------------------------------------------------------------------------------------------

    def hang_up(self, status: int, reason: str | None, said: tuple[tuple[str, str], ...] = ()) -> None:
        """Ends the call; `status` and `reason` are for a caller who has no answer yet, `said` are headers that tell why."""
        refused = self.state in (S.INCOMING, S.ANSWERING)
        before = self.state in (S.PREPARING, S.CALLING, S.RINGING, S.REDIRECTED)
        cause = cause_of(status) if refused else Cause.CANCELED if before else Cause.TERMINATED
        end = End(
            cause,
            Originator.LOCAL,
            "hung up",
            status=status if refused else None,
            refusal=status,
            reason=reason,
            said=said,
        )
        self.step(I.HANG_UP, end)

    def dialog_lost(self, detail: str, cause: Cause = Cause.DIALOG_ERROR) -> None:
        """The peer does not know the dialog any more, or does not answer in it (12.2.1.2)."""
        self.step(I.TIMEOUT, End(cause, Originator.REMOTE, detail))

    def media_broken(self, detail: str) -> None:
        """The media engine cannot go on."""
        self.step(I.MEDIA_FAILED, End(Cause.MEDIA_ERROR, Originator.LOCAL, detail, refusal=500))

    # -- losing and getting back the connection, ours or that of the media -------------------------------------------

    def flow_lost(self, hope: bool) -> None:
        established = self.state in (S.ESTABLISHED, S.RECOVERING)
        self.changes.flow_lost(self.leg.flow_lost() if established and isinstance(self.leg, Outgoing) else None)
        self.offers.flow_lost()
        if not (hope and self.step(I.FLOW_LOST, self._connection_end())):
            self.step(I.FLOW_GONE, self._connection_end())

    def flow_gone(self) -> None:
        """No connection is tried for any more."""
        if self.flow not in self.hub.flows:
            self.step(I.FLOW_GONE, self._connection_end())

    def flow_ready(self, flow: FlowId) -> None:
        if self.flow not in self.hub.flows:
            self._use_flow(flow)
            self.step(I.FLOW_READY)

    def _use_flow(self, flow: FlowId) -> None:
        self.flow = flow
        if self.dialog is not None:
            self.dialog.flow = flow

    @staticmethod
    def _connection_end() -> End:
        return End(Cause.CONNECTION_ERROR, Originator.REMOTE, "the connection to the server was lost")

    def media_changed(self, state: MediaState) -> None:
        """What the engine says of the media connection. An ICE restart may mend one that has failed (RFC 8445 2.4)."""
        self._media = state
        if self.state is S.RECOVERING and self._agreed:
            if state is MediaState.CONNECTED:
                self.step(I.RECOVERED)
            elif state is MediaState.FAILED:
                self._agreed = False
                self._retry_later()
        elif state is MediaState.FAILED and self.state is not S.RECOVERING:
            may_recover = self.hub.config.recovery.grace > 0
            if not (may_recover and self.step(I.MEDIA_LOST)):
                self.media_broken("the media connection failed")

    def agreed(self) -> None:
        """The peer has agreed to go on: where we were waiting for that, the call is what it was as soon as media flow."""
        self._agreed = True
        if self._media in (None, MediaState.CONNECTED) or not self.session.has_media:
            self.step(I.RECOVERED)

    def _start_grace(self) -> None:
        if not self.hub.timers.is_running(self.owner, "grace"):
            self.start_timer("grace", self.hub.config.recovery.grace)

    def _report_loss(self) -> None:
        self._lost_at = self.hub.now
        self._retries = 0
        self._agreed = False
        reason = "the media connection failed"
        if self.flow not in self.hub.flows:
            reason = "the connection to the server was lost"
        self.hub.emit(CallReconnecting(call=self.ident, reason=reason, waits=self.hub.config.recovery.grace))

    def _restart(self) -> None:
        if self.flow in self.hub.flows:  # else it will be asked for again
            self.changes.recover(self._restarted)

    def _restarted(self, done: bool, status: int | None, detail: str) -> None:
        """The outcome of an attempt to go on."""
        if done:
            self.agreed()
        elif status == 481:
            self.dialog_lost(detail)
        elif self.state is S.RECOVERING and self.flow in self.hub.flows:
            self._retry_later()  # the peer may have lost its own connection, and not be back yet

    def _retry_later(self) -> None:
        self.start_timer("retry", min(_RETRY_MAX, _RETRY_FIRST * 2**self._retries))
        self._retries = min(self._retries + 1, 10)

    def _report_recovery(self) -> None:
        self.stop_timer("grace", "retry")
        self.hub.emit(CallRecovered(call=self.ident, gap=self.hub.now - self._lost_at))
        self.changes.next()

    # -- actions -----------------------------------------------------------------------------------------------------

    def _send_bye(self) -> None:
        assert self.dialog is not None
        if self.flow in self.hub.flows:
            self.bye(self.dialog, self._bye_done)
        elif not self.hub.timers.is_running(self.owner, "grace"):
            self._bye_done(True)

    def _bye_done(self, final: bool) -> None:
        """`final`: answered, or not answered in time. Else the flow is gone, or the peer's, and BYE goes out once more."""
        if final or not self.hub.timers.is_running(self.owner, "grace"):
            self.step(I.BYE_DONE)
        elif self.flow in self.hub.flows:
            self._retry_later()

    def bye(self, dialog: Dialog, done: Callable[[bool], None]) -> None:
        hub = self.hub
        exchange = Exchange(
            flow=self.flow,
            build=lambda credentials: dialog.next_request(
                "BYE", extra=[*credentials, *self.end.said, *hub.common_headers()]
            ),
            method="BYE",
            target=dialog.remote_target,
            to=str(dialog.remote.uri),
            on_final=lambda response: done(response.status not in _AWAY),
            on_failure=done,
        )
        if not hub.start(exchange):
            done(False)

    def establish(self, body: bytes = b"") -> None:
        self.leg = None if isinstance(self.leg, Ringing) else self.leg
        self.hub.emit(CallEstablished(call=self.ident, originator=self.originator, body=body))
        command, self.command = self.command, None
        self.hub.succeed(command)
        if self.watch is not None:
            self.watch(200, "OK", True)
            self.watch = None
        if self.replaces is not None:
            other, self.replaces = self.replaces, None
            other.step(I.HANG_UP, End(Cause.TERMINATED, Originator.REMOTE, f"replaced by call {self.ident}"))

    def _report_end(self) -> None:
        if self._reported_end:
            return
        self._reported_end = True
        self.stop_timer("ring", "answer", "glare", "dtmf", "retry", "1xx", "prack", "session", "refer")
        end = self.end
        command, self.command = self.command, None
        self.hub.fail(command, end.cause, end.detail, end.status)
        if self.leg is not None:
            self.leg.call_ended(end.cause, end.detail)
        self.changes.call_ended(end.cause, end.detail)
        self.transfer.call_ended(end.cause, end.detail)
        self.incall.call_ended(end.cause, end.detail)
        self.offers.call_ended()
        self.session.call_ended()
        self.hub.emit(
            CallEnded(
                call=self.ident,
                cause=end.cause,
                originator=end.originator,
                detail=end.detail,
                status=end.status,
                reasons=end.reasons,
            )
        )
        if self.watch is not None:
            status = end.status if end.status is not None and end.status >= 300 else 487
            self.watch(status, "", True)
            self.watch = None
        self._over(self)

    def _forget_call(self) -> None:
        if isinstance(self.leg, Outgoing):
            self.leg.forget()
        if self.dialog is not None and self.hub.dialogs.get(self.dialog.key) is self:
            del self.hub.dialogs[self.dialog.key]
        self.changes.forget()
        self.transfer.forget()
        self.session.forget()
        self.hub.forget_owner(self.owner, *_TIMERS)
        self._forget(self)


_PERFORM: dict[CallAction, Callable[[Call], None]] = {
    CallAction.OPEN_MEDIA: lambda call: call.incoming().open_media(),
    CallAction.SEND_INVITE: lambda call: call.outgoing().send(),
    CallAction.REPORT_PROGRESS: lambda call: call.outgoing().report_progress(),
    CallAction.REPORT_CHOICE: lambda call: call.outgoing().report_choice(),
    CallAction.TAKE_OFFER: lambda call: call.outgoing().take_offer(),
    CallAction.CONFIRM: lambda call: call.outgoing().confirm(),
    CallAction.ACKNOWLEDGE: lambda call: call.outgoing().acknowledge(),
    CallAction.SEND_CANCEL: lambda call: call.outgoing().send_cancel(),
    CallAction.SEND_BYE: Call._send_bye,
    CallAction.ACCEPT: lambda call: call.incoming().accept(),
    CallAction.REFUSE: lambda call: call.incoming().refuse(),
    CallAction.ESTABLISH: Call.establish,
    CallAction.START_GRACE: Call._start_grace,
    CallAction.RESTART: Call._restart,
    CallAction.REPORT_LOSS: Call._report_loss,
    CallAction.REPORT_RECOVERY: Call._report_recovery,
    CallAction.REPORT_END: Call._report_end,
    CallAction.FORGET: Call._forget_call,
}
