"""One call from its first message to its last: the table of `_call_table` carried out."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent._call_table import TABLE, CallAction, CallInput, CallState
from sipproto.agent._hub import ALLOW, Exchange, Hub, outcome_of_auth
from sipproto.agent._incall import InCall
from sipproto.agent._session import Session
from sipproto.agent.inputs import Answer, CommandId, Invite
from sipproto.agent.outputs import (
    CallEnded,
    CallEstablished,
    CallProgressed,
    CallStarted,
    Cause,
    IncomingCall,
    Originator,
    cause_of,
)
from sipproto.dialog import Dialog, DialogKey, Pairs, build_request, contact_or_none, dialog_key
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import NameAddr, Request, Response, fields
from sipproto.negotiation import NegotiationError
from sipproto.sdp import parse_sdp
from sipproto.tokens import token
from sipproto.transaction import FlowId, RequestReceived

S, I = CallState, CallInput
_TIMERS = ("ring", "answer", "cancel", "2xx", "ack", "glare", "dtmf")
_OVER = (S.CANCELLING, S.REGRETTED, S.LEAVING, S.ENDED)


class End:
    """Why and by whom a call ends; the last one noted before REPORT_END counts."""

    __slots__ = ("cause", "detail", "originator", "reason", "refusal", "status")

    def __init__(
        self,
        cause: Cause,
        originator: Originator,
        detail: str = "",
        *,
        status: int | None = None,
        refusal: int = 603,
        reason: str | None = None,
    ) -> None:
        self.cause = cause
        self.originator = originator
        self.detail = detail
        self.status = status
        self.refusal = refusal  # what an unanswered INVITE of the peer gets
        self.reason = reason


class Call:
    """A call. `over` is called when the application is told of its end, `forget` when nothing of it is left."""

    def __init__(
        self,
        hub: Hub,
        ident: str,
        flow: FlowId,
        over: Callable[[Call], None],
        forget: Callable[[Call], None],
    ) -> None:
        self.hub = hub
        self.ident = ident
        self.flow = flow
        self.state = S.PREPARING
        self.originator = Originator.LOCAL
        self.dialog: Dialog | None = None
        self.session = Session(self)
        self.incall = InCall(self)
        self._over = over
        self._forget = forget
        self.owner = ("call", hub.next_number())  # of its timers; names of calls may be used again
        self._early: dict[str, Dialog] = {}
        self._command: CommandId | None = None  # the Invite or Answer that waits for its outcome
        self._invite: Invite | None = None
        self._answer: Answer | None = None
        self._received: RequestReceived | None = None
        self._exchange: Exchange | None = None
        self._response: Response | None = None  # the 2xx being worked on
        self._acks: dict[str, Request] = {}  # by To tag: what a repeated 2xx gets again
        self._end = End(Cause.TERMINATED, Originator.LOCAL)
        self._reported_end = False
        self._cancel_sent = False
        self._call_id = ""
        self._local: NameAddr | None = None
        self._cseq = 0

    @property
    def is_over(self) -> bool:
        """Over for the application."""
        return self.state in _OVER

    def require(self, *states: CallState) -> None:
        if self.state not in states:
            raise LocalProtocolError(f"call {self.ident!r} is {self.state.value}")

    # -- the machine -------------------------------------------------------------------------------------------------

    def step(self, what: CallInput, end: End | None = None) -> bool:
        """Takes an input. False when it means nothing in this state."""
        entry = TABLE.get((self.state, what))
        if entry is None:
            return False
        if end is not None and not self._reported_end:
            self._end = end
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
                if self._exchange is not None and self._exchange.transaction is not None:
                    self.hub.transactions.abandon(self._exchange.transaction)
                self.step(I.TIMEOUT)
            case "2xx":
                self.session.resend_answer()
            case "ack":
                self.stop_timer("2xx")
                self.step(I.NO_ACK, End(Cause.NO_ACK, Originator.REMOTE, "the peer did not confirm the call"))
            case "glare":
                self.session.try_again()
            case _:
                self.incall.next_digit()

    # -- outgoing ----------------------------------------------------------------------------------------------------

    def start_outgoing(self, invite: Invite) -> None:
        if invite.media:
            self.session.prepare_offer(invite.media)  # may raise, before anything has happened
        self._invite, self._command = invite, invite.command
        self._call_id = self.hub.new_call_id()
        self._local = self.hub.from_address()
        self._cseq = self.hub.tokens.bits(16)
        self.session.open_transports(self._media_opened)

    def _media_opened(self, error: str | None) -> None:
        if error is None:
            self.step(I.MEDIA_READY)
        else:
            self.step(I.MEDIA_FAILED, End(Cause.MEDIA_ERROR, Originator.LOCAL, error, refusal=500))

    def _send_invite(self) -> None:
        invite, hub = self._invite, self.hub
        assert invite is not None and self._local is not None
        body = self.session.local_offer() if invite.media else invite.body
        local = self._local

        def build(credentials: Pairs) -> Request:
            self._cseq += 1
            self.step(I.CHALLENGE)  # nothing to the first INVITE
            content: list[tuple[str, object]] = [("Content-Type", invite.content_type)] if body else []
            return build_request(
                "INVITE",
                invite.target,
                from_=local,
                to=f"<{invite.target}>",
                call_id=self._call_id,
                cseq=self._cseq,
                extra=[
                    *credentials,
                    ("Contact", hub.contact(self.flow)),
                    ("Allow", ALLOW),
                    *hub.common_headers(),
                    *invite.headers,
                    *content,
                ],
                body=body,
            )

        self._exchange = Exchange(
            flow=self.flow,
            build=build,
            method="INVITE",
            target=invite.target,
            body=body,
            on_provisional=self._provisional,
            on_final=self._final,
            on_failure=self._no_final,
            on_ended=self._invite_ended,
            is_wanted=lambda: not self.is_over,
        )
        if not hub.start(self._exchange):
            self._no_final(False)
        elif not self.is_over:
            hub.emit(CallStarted(call=self.ident, target=invite.target))

    def _provisional(self, response: Response) -> None:
        self._response = response
        if self.state is S.CALLING:
            self.start_timer("ring", self.hub.config.waits.ring)
        to = response.headers.get(fields.TO)
        if response.status > 100 and to is not None and to.tag is not None and not self.is_over:
            self._early_dialog(to.tag, response)
        self.step(I.PROVISIONAL)

    def _early_dialog(self, tag: str, response: Response) -> None:
        """12.1.2: one early dialog per To tag; requests of the peer can come in each of them."""
        if tag in self._early or len(self._early) >= self.hub.config.limits.early_dialogs:
            return
        dialog = self._dialog_from(response)
        self._early[tag] = dialog
        self.hub.dialogs[dialog.key] = self

    def _dialog_from(self, response: Response) -> Dialog:
        assert self._exchange is not None and self._exchange.request is not None
        request = self._exchange.request
        if contact_or_none(response) is None:
            # 12.1.2 wants a Contact in the answer. Without one, what we called is the best guess there is.
            headers = response.headers.replace("Contact", f"<{request.target}>")
            response = Response(response.status, response.reason, headers, response.body)
        dialog = Dialog.from_response(request, response, self.flow)
        early = self._early.get(dialog.remote.tag or "")
        if early is not None:
            dialog.remote_cseq = early.remote_cseq
        return dialog

    def _final(self, response: Response) -> None:
        self._response = response
        self.stop_timer("ring")
        if response.status >= 300:
            assert self._exchange is not None
            cause, detail = cause_of(response.status), f"{response.status} {response.reason}".strip()
            if response.status in (401, 407):
                cause, detail = outcome_of_auth(self._exchange)
            self.step(I.FAILURE, End(cause, Originator.REMOTE, detail, status=response.status))
            return
        to = response.headers.get(fields.TO)
        tag = (to.tag if to is not None else None) or ""
        if self.dialog is not None and tag != self.dialog.remote.tag and tag not in self._acks:
            self._end_fork(response)
        else:
            self.step(I.SUCCESS)

    def _no_final(self, timeout: bool) -> None:
        self.stop_timer("ring")
        if timeout:
            end = End(Cause.REQUEST_TIMEOUT, Originator.LOCAL, "the server did not answer the call")
            self.step(I.TIMEOUT, end)
        else:
            self.flow_lost()

    def _invite_ended(self) -> None:
        """No 2xx can come any more (timer M): an idle call keeps only its dialog."""
        self._exchange = self._response = None
        self._acks.clear()

    def _confirm(self) -> None:
        """The first 2xx: its dialog is the call; ACK carries no body, the answer was in the 2xx (13.2.2.4)."""
        response, invite = self._response, self._invite
        assert response is not None and invite is not None
        self._acknowledge()
        self.dialog = self._dialog_from(response)
        self._drop_early(keep=self.dialog.key)
        self.hub.dialogs[self.dialog.key] = self
        if invite.media:
            try:
                self.session.take_answer(response.body)
            except NegotiationError as error:
                detail = f"the session description of the peer cannot be used: {error.detail}"
                self.step(I.MEDIA_FAILED, End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, detail))
                return
        self._establish(b"" if invite.media else response.body)

    def _acknowledge(self) -> None:
        """ACK for a 2xx, and the same again for each repetition of it (13.2.2.4)."""
        response = self._response
        assert response is not None and self._exchange is not None and self._exchange.request is not None
        to = response.headers.get(fields.TO)
        tag = (to.tag if to is not None else None) or ""
        invite = self._exchange.request
        if tag in self._acks:
            self.hub.send_again(self._acks[tag], self.flow)
            return
        dialog = self._dialog_from(response)
        if self.dialog is None:
            self.dialog = dialog
        sent = self.hub.send_alone(ack_for(dialog, invite), self.flow)
        if sent is not None:
            self._acks[tag] = sent

    def _end_fork(self, response: Response) -> None:
        """A second party has answered too: confirm, then end what the application does not have (13.2.2.4)."""
        assert self._exchange is not None and self._exchange.request is not None
        if len(self._acks) > self.hub.config.limits.early_dialogs:
            return  # so many parties do not answer one call: somebody makes them up
        dialog = self._dialog_from(response)
        sent = self.hub.send_alone(ack_for(dialog, self._exchange.request), self.flow)
        if sent is not None:
            self._acks[dialog.remote.tag or ""] = sent
        self._bye(dialog, lambda: None)

    def _send_cancel(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.request is None or self._cancel_sent:
            return
        self._cancel_sent = True
        # 9.1: without a final answer within 64*T1 the INVITE counts as cancelled all the same.
        self.start_timer("cancel", self.hub.config.timers.t1_64)
        self.hub.cancel(exchange.request, self.flow)

    # -- incoming ----------------------------------------------------------------------------------------------------

    def start_incoming(self, received: RequestReceived) -> None:
        """Takes a checked INVITE. Raises MessageSyntaxError when no dialog can be made from it."""
        request = received.request
        dialog = Dialog.from_request(request, token(self.hub.tokens), self.flow)
        self.state, self.originator = S.INCOMING, Originator.REMOTE
        self._received, self.dialog = received, dialog
        self.hub.dialogs[dialog.key] = self
        kinds: set[str] = set()
        if request.body:
            try:
                kinds = {media.kind for media in parse_sdp(request.body).media if media.port}
            except MessageSyntaxError:
                kinds = set()  # the application sees a call without media; its answer will be refused with 488
        self.hub.respond(received, 180, to_tag=dialog.local.tag, extra=self._dialog_headers())
        self.start_timer("answer", self.hub.config.waits.answer)
        caller = dialog.remote
        self.hub.emit(
            IncomingCall(
                call=self.ident,
                from_uri=str(caller.uri),
                display_name=caller.display_name,
                to_uri=str(dialog.local.uri),
                audio="audio" in kinds,
                video="video" in kinds,
                offer=request.body,
                headers=tuple(request.headers),
            )
        )

    def answer(self, command: Answer) -> None:
        self.require(S.INCOMING)
        assert self._received is not None
        self.session.check_media(command.media)
        self._answer, self._command = command, command.command
        self.stop_timer("answer")
        self.step(I.ANSWER)

    def _open_for_answer(self) -> None:
        command, received = self._answer, self._received
        assert command is not None and received is not None
        if command.media:
            try:
                self.session.prepare_answer(received.request.body, command.media)
            except NegotiationError as error:
                end = End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, error.detail, refusal=488)
                self.step(I.MEDIA_FAILED, end)
                return
        self.session.open_transports(self._media_opened)

    def _accept(self) -> None:
        command, received, dialog = self._answer, self._received, self.dialog
        assert command is not None and received is not None and dialog is not None
        body = self.session.local_answer() if command.media else command.body
        content: list[tuple[str, object]] = [("Content-Type", command.content_type)] if body else []
        extra = [*self._dialog_headers(), *command.headers, *content]
        self.session.send_answer(received, dialog.local.tag or "", extra, body)

    def _dialog_headers(self) -> list[tuple[str, object]]:
        return [("Contact", self.hub.contact(self.flow)), ("Allow", ALLOW)]

    def _refuse(self) -> None:
        assert self._received is not None and self.dialog is not None
        self.hub.respond(self._received, self._end.refusal, reason=self._end.reason, to_tag=self.dialog.local.tag)

    def on_ack(self, request: Request) -> None:
        """The ACK to a 2xx of ours: to the first one, or to that of a re-INVITE."""
        if not self.session.acknowledged(request):
            return
        self.stop_timer("2xx", "ack")
        if self.state is S.ACCEPTED:
            try:
                self.session.take_late_answer(request.body)
            except NegotiationError as error:
                self.step(I.ACK)
                self.step(I.MEDIA_FAILED, End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, error.detail))
                return
        elif self.state is S.ESTABLISHED:
            self.session.take_late_reanswer(request.body)
        self.step(I.ACK)

    def cancelled(self, received: RequestReceived) -> None:
        """A CANCEL for one of our server INVITEs (9.2); it has been answered 200."""
        if self._received is not None and received.cancels == self._received.transaction:
            self.step(I.CANCEL, End(Cause.CANCELED, Originator.REMOTE, "the caller gave up", refusal=487))
        else:
            self.session.cancel_reinvite(received.cancels)

    # -- both sides --------------------------------------------------------------------------------------------------

    def hang_up(self, status: int, reason: str | None) -> None:
        """Ends the call; `status` and `reason` are for a caller who has no answer yet."""
        refused = self.state in (S.INCOMING, S.ANSWERING)
        before = self.state in (S.PREPARING, S.CALLING, S.RINGING)
        cause = cause_of(status) if refused else Cause.CANCELED if before else Cause.TERMINATED
        end = End(
            cause,
            Originator.LOCAL,
            "hung up",
            status=status if refused else None,
            refusal=status,
            reason=reason,
        )
        self.step(I.HANG_UP, end)

    def flow_lost(self) -> None:
        end = End(Cause.CONNECTION_ERROR, Originator.REMOTE, "the connection to the server was lost")
        self.step(I.FLOW_LOST, end)

    def dialog_lost(self, detail: str) -> None:
        """The peer does not know the dialog any more, or does not answer in it (12.2.1.2)."""
        self.step(I.TIMEOUT, End(Cause.DIALOG_ERROR, Originator.REMOTE, detail))

    def media_broken(self, detail: str) -> None:
        self.step(I.MEDIA_FAILED, End(Cause.MEDIA_ERROR, Originator.LOCAL, detail, refusal=500))

    def on_request(self, received: RequestReceived) -> None:
        """A request in one of our dialogs; everything that holds for any request has been checked."""
        request, hub = received.request, self.hub
        dialog = self._dialog_of(request)
        if dialog is None or (self.is_over and request.method != "BYE"):
            hub.respond(received, 481)
            return
        if not dialog.accepts(request):
            hub.respond(received, 500, reason="CSeq too low")  # 12.2.2
            return
        match request.method:
            case "BYE":
                hub.respond(received, 200)
                detail = request.headers.first("Reason") or ""
                end = End(Cause.TERMINATED, Originator.REMOTE, detail, refusal=487)
                self.step(I.BYE, end)
            case "INVITE":
                self.session.reinvited(received)
            case "INFO":
                self.incall.info_received(received)
            case "OPTIONS":
                hub.respond(received, 200, extra=[("Allow", ALLOW), ("Accept", "application/sdp")])
            case _:
                hub.respond(received, 405, extra=[("Allow", ALLOW)])

    def _dialog_of(self, request: Request) -> Dialog | None:
        key = dialog_key(request)
        if self.dialog is not None and self.dialog.key == key:
            return self.dialog
        return next((dialog for dialog in self._early.values() if dialog.key == key), None)

    def _send_bye(self) -> None:
        assert self.dialog is not None
        self._bye(self.dialog, self._bye_done)

    def _bye_done(self) -> None:
        self.step(I.BYE_DONE)

    def _bye(self, dialog: Dialog, done: Callable[[], None]) -> None:
        hub = self.hub
        exchange = Exchange(
            flow=self.flow,
            build=lambda credentials: dialog.next_request("BYE", extra=[*credentials, *hub.common_headers()]),
            method="BYE",
            target=dialog.remote_target,
            on_final=lambda _: done(),
            on_failure=lambda _: done(),
        )
        if not hub.start(exchange):
            done()

    def _report_progress(self) -> None:
        response = self._response
        if response is not None and response.status > 100:
            self.hub.emit(CallProgressed(call=self.ident, status=response.status, reason=response.reason))

    def _establish(self, body: bytes = b"") -> None:
        self.hub.emit(CallEstablished(call=self.ident, originator=self.originator, body=body))
        command, self._command = self._command, None
        self.hub.succeed(command)
        self._invite = self._answer = None  # with their bodies: an idle call keeps only its dialog

    def _report_end(self) -> None:
        if self._reported_end:
            return
        self._reported_end = True
        self.stop_timer("ring", "answer", "glare", "dtmf")
        end = self._end
        command, self._command = self._command, None
        self.hub.fail(command, end.cause, end.detail, end.status)
        self.incall.call_ended(end.cause, end.detail)
        self.session.call_ended(end.cause, end.detail)
        self.hub.emit(
            CallEnded(
                call=self.ident,
                cause=end.cause,
                originator=end.originator,
                detail=end.detail,
                status=end.status,
            )
        )
        self._over(self)

    def _drop_early(self, keep: DialogKey | None = None) -> None:
        for dialog in self._early.values():
            if dialog.key != keep and self.hub.dialogs.get(dialog.key) is self:
                del self.hub.dialogs[dialog.key]
        self._early.clear()

    def _forget_call(self) -> None:
        self._drop_early()
        if self.dialog is not None and self.hub.dialogs.get(self.dialog.key) is self:
            del self.hub.dialogs[self.dialog.key]
        # Once accepted, the INVITE's exchange stays with its transaction: answers of forks can still come (13.2.2.4).
        if self._exchange is None or not self.hub.is_accepted(self._exchange):
            self.hub.drop(self._exchange)
        self.session.forget()
        self.hub.forget_owner(self.owner, *_TIMERS)
        self._forget(self)


def ack_for(dialog: Dialog, invite: Request) -> Request:
    """The ACK to a 2xx: a request of its own in the dialog, with the INVITE's number and credentials (13.2.2.4)."""
    credentials: list[tuple[str, object]] = [
        (name, value) for name in ("Authorization", "Proxy-Authorization") for value in invite.headers.raw(name)
    ]
    return dialog.request("ACK", invite.headers.require(fields.CSEQ).number, extra=credentials)


_PERFORM: dict[CallAction, Callable[[Call], None]] = {
    CallAction.OPEN_MEDIA: Call._open_for_answer,
    CallAction.SEND_INVITE: Call._send_invite,
    CallAction.REPORT_PROGRESS: Call._report_progress,
    CallAction.CONFIRM: Call._confirm,
    CallAction.ACKNOWLEDGE: Call._acknowledge,
    CallAction.SEND_CANCEL: Call._send_cancel,
    CallAction.SEND_BYE: Call._send_bye,
    CallAction.ACCEPT: Call._accept,
    CallAction.REFUSE: Call._refuse,
    CallAction.ESTABLISH: Call._establish,
    CallAction.REPORT_END: Call._report_end,
    CallAction.FORGET: Call._forget_call,
}
