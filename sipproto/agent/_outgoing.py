"""The caller's side of a call in its beginnings: INVITE, the answers of all forks, ACK, CANCEL (RFC 3261 13.2, 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallInput, CallState
from sipproto.agent._changes import ack_for
from sipproto.agent._end import End
from sipproto.agent._hub import Exchange, outcome_of_auth
from sipproto.agent._reliable import Provisionals
from sipproto.agent.causes import reasons_of
from sipproto.agent.inputs import Answer, Invite, Media, Redirect
from sipproto.agent.outputs import CallOffered, CallProgressed, CallRedirected, CallStarted, Cause, Originator, cause_of
from sipproto.dialog import Dialog, DialogKey, Pairs, build_request, contact_or_none
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import Request, Response, SipUri, Wildcard, fields, parse_uri
from sipproto.negotiation import CodecPreferences, NegotiationError

if TYPE_CHECKING:
    from sipproto.agent._call import Call

S, I = CallState, CallInput
_MAX_RAISES = 2  # how often a 422 may raise the interval
_MAX_REDIRECTS = 5
_UNSPOKEN = 100  # a 100 comes from the next hop and says nothing of the peer


class Outgoing:
    """Our first INVITE. What only it needs is dropped when no 2xx can come any more."""

    def __init__(self, call: Call, invite: Invite) -> None:
        self._call = call
        self._hub = call.hub
        self._invite = invite
        self._answer: Answer | None = None  # to an offer in the 2xx
        self._target = invite.target
        self._call_id = call.hub.new_call_id()
        self._local = call.hub.from_address()
        self._cseq = call.hub.tokens.bits(16)
        self._early: dict[str, Dialog] = {}
        self._answered: str | None = None  # the To tag whose early answer is applied
        self._told: dict[str, tuple[int, bytes]] = {}  # by To tag: what the application knows already
        self._exchange: Exchange | None = None
        self._response: Response | None = None  # the one being worked on
        self._acks: dict[str, Request] = {}  # by To tag: what a repeated 2xx gets again
        self._provisionals = Provisionals(call)
        self._cancel_sent = False
        self._raises = 0
        self._redirects = 0

    def early_dialog(self, key: DialogKey) -> Dialog | None:
        return next((dialog for dialog in self._early.values() if dialog.key == key), None)

    # -- INVITE ------------------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Sends the INVITE; and again, to another target or with what a 422 asks for."""
        call, hub = self._call, self._hub
        first = self._exchange is None
        body = self._invite.body
        if call.session.has_media:
            body = call.session.local_offer() if first else call.session.local_description
        self._cancel_sent = False
        self._exchange = Exchange(
            flow=call.flow,
            build=lambda credentials: self._build(credentials, body),
            method="INVITE",
            target=self._target,
            to=self._invite.target,
            body=body,
            on_provisional=self._provisional,
            on_final=self._final,
            on_failure=self._no_final,
            on_ended=self._invite_ended,
            is_wanted=lambda: not call.is_over,
        )
        if not hub.start(self._exchange):
            self._no_final(False)
        elif first and not call.is_over:
            hub.emit(CallStarted(call=call.ident, target=self._target))

    def _build(self, credentials: Pairs, body: bytes) -> Request:
        call, hub, invite = self._call, self._hub, self._invite
        self._cseq += 1
        call.step(I.AGAIN)  # nothing to the first INVITE
        headers = call.dialog_headers()
        if invite.late_offer:
            # An offer in a reliable 1xx would have to be answered in its PRACK; we want it in the 2xx.
            headers = [(name, without_100rel(value) if name == "Supported" else value) for name, value in headers]
        return build_request(
            "INVITE",
            self._target,
            from_=self._local,
            to=f"<{invite.target}>",
            call_id=self._call_id,
            cseq=self._cseq,
            routes=hub.service_route,
            extra=[
                *credentials,
                *headers,
                *call.session_timer.request_headers(),
                *hub.common_headers(),
                *invite.headers,
                *([("Content-Type", invite.content_type)] if body else []),
            ],
            body=body,
        )

    def _provisional(self, response: Response) -> None:
        call = self._call
        self._response = response
        if call.state is S.CALLING:
            call.start_timer("ring", self._hub.config.waits.ring)
        to = response.headers.get(fields.TO)
        dialog = None
        if response.status > _UNSPOKEN and to is not None and to.tag is not None and not call.is_over:
            dialog = self._early_dialog(to.tag, response)
            if not self._provisionals.take(response, dialog):
                return  # a reliable one, repeated or out of order
        if dialog is not None and response.body:
            self._early_answer(dialog, response)
        call.step(I.PROVISIONAL)

    def _early_dialog(self, tag: str, response: Response) -> Dialog | None:
        """12.1.2: one early dialog per To tag; requests of the peer can come in each of them."""
        dialog = self._early.get(tag)
        if dialog is None and len(self._early) < self._hub.config.limits.early_dialogs:
            dialog = self._early[tag] = self._dialog_from(response)
            self._hub.dialogs[dialog.key] = self._call
        return dialog

    def _early_answer(self, dialog: Dialog, response: Response) -> None:
        """The first fork that answers our offer is heard before anybody has picked up; the 2xx decides whom we keep."""
        session = self._call.session
        if self._answered is not None or self._invite.late_offer or not session.has_media or session.is_stable:
            return
        try:
            session.take_early_answer(response.body)
        except NegotiationError:
            return  # the 2xx may have a better one
        self._answered = dialog.remote.tag

    def _dialog_from(self, response: Response) -> Dialog:
        assert self._exchange is not None and self._exchange.request is not None
        request = self._exchange.request
        if contact_or_none(response) is None:
            # 12.1.2 wants a Contact in the answer. Without one, what we called is the best guess there is.
            headers = response.headers.replace("Contact", f"<{request.target}>")
            response = Response(response.status, response.reason, headers, response.body)
        dialog = Dialog.from_response(request, response, self._call.flow)
        early = self._early.get(dialog.remote.tag or "")
        if early is not None:  # 13.2.2.4: the route set is that of the 2xx, the numbers go on
            dialog.remote_cseq = early.remote_cseq
            dialog.local_cseq = max(dialog.local_cseq, early.local_cseq)
        return dialog

    # -- final answers -----------------------------------------------------------------------------------------------

    def _final(self, response: Response) -> None:
        self._call.stop_timer("ring")
        status = response.status
        if status < 300:
            self._success(response)
            return
        self._response = response
        if status < 400 and self._may_redirect(response):
            self._call.step(I.REDIRECTION)
        elif status == 422 and self._may_raise(response):
            self._call.step(I.AGAIN)
            self.send()
        else:
            assert self._exchange is not None
            cause, detail = cause_of(status), f"{status} {response.reason}".strip()
            if status in (401, 407):
                cause, detail = outcome_of_auth(self._exchange)
            end = End(cause, Originator.REMOTE, detail, status=status, reasons=reasons_of(response.headers))
            self._call.step(I.FAILURE, end)

    def _may_redirect(self, response: Response) -> bool:
        wanted = self._invite.choose_redirect and not self._call.is_over and self._redirects < _MAX_REDIRECTS
        return wanted and bool(contacts_of(response))

    def _may_raise(self, response: Response) -> bool:
        self._raises += 1
        return not self._call.is_over and self._raises <= _MAX_RAISES and self._call.session_timer.raised(response)

    def _success(self, response: Response) -> None:
        tag = _to_tag(response)
        dialog = self._call.dialog
        if tag in self._acks:
            self._hub.send_again(self._acks[tag], self._call.flow)  # 13.2.2.4: for each repetition of a 2xx
        elif dialog is not None and tag != (dialog.remote.tag or ""):
            self._end_fork(response)
        else:
            self._response = response
            if not (self._invite.late_offer and response.body and self._call.step(I.OFFERED)):
                self._call.step(I.SUCCESS)

    def _no_final(self, timeout: bool) -> None:
        self._call.stop_timer("ring")
        if timeout:
            end = End(Cause.REQUEST_TIMEOUT, Originator.LOCAL, "the server did not answer the call")
            self._call.step(I.TIMEOUT, end)
        else:
            end = End(Cause.CONNECTION_ERROR, Originator.REMOTE, "the connection to the server was lost")
            self._call.step(I.FLOW_GONE, end)

    def _invite_ended(self) -> None:
        """No 2xx can come any more (timer M): an idle call keeps only its dialog."""
        # Where the answer to the offer of the 2xx took so long, the peer has given up, too (13.3.1.4).
        self._call.step(I.UNCONFIRMED, End(Cause.NO_ANSWER, Originator.LOCAL, "the offer was not answered in time"))
        self._exchange = self._response = None
        self._acks.clear()
        self._call.session.settle()
        if self._call.state in (S.ESTABLISHED, S.RECOVERING):
            self._call.leg = None

    def flow_lost(self) -> Request | None:
        """No other answer to the INVITE can come. Returns our ACK, which may not have arrived."""
        dialog = self._call.dialog
        ack = None if dialog is None else self._acks.get(dialog.remote.tag or "")
        self._invite_ended()
        return ack

    def report_progress(self) -> None:
        response = self._response
        if response is None or response.status <= _UNSPOKEN:
            return
        tag = _to_tag(response)
        said = (response.status, response.body)
        if self._told.get(tag) == said or len(self._told) > self._hub.config.limits.early_dialogs:
            return  # 13.3.1.1: repeated each minute, so that no proxy gives up
        self._told[tag] = said
        if self._call.watch is not None:
            self._call.watch(response.status, response.reason, False)
        self._hub.emit(
            CallProgressed(
                call=self._call.ident,
                status=response.status,
                reason=response.reason,
                dialog=tag,
                early_media=bool(tag) and tag == self._answered,
                body=b"" if self._call.session.has_media else response.body,
            )
        )

    # -- 3xx ---------------------------------------------------------------------------------------------------------

    def report_choice(self) -> None:
        assert self._response is not None
        self._redirects += 1
        self._call.start_timer("answer", self._hub.config.waits.answer)
        contacts = contacts_of(self._response)
        self._hub.emit(CallRedirected(call=self._call.ident, status=self._response.status, contacts=contacts))

    def redirect(self, command: Redirect) -> None:
        self._call.require(S.REDIRECTED)
        try:
            uri = parse_uri(command.target)
        except MessageSyntaxError as error:
            raise LocalProtocolError(f"{command.target!r} is no address to call: {error}") from None
        # 19.1.5: what only header fields of the URI say has no place in a Request-URI.
        self._target = str(uri.without_headers() if isinstance(uri, SipUri) else uri)
        self._call.stop_timer("answer")
        self._hub.succeed(command.command)
        self._call.step(I.REDIRECT)

    # -- 2xx ---------------------------------------------------------------------------------------------------------

    def take_offer(self) -> None:
        """The 2xx has an offer: our ACK needs an answer, ours or the application's (13.2.2.4)."""
        call, response, invite = self._call, self._response, self._invite
        assert response is not None
        self._adopt(response)
        if invite.media:
            self._open_media(response, invite.media, invite.codecs)
            return
        call.start_timer("answer", self._hub.config.waits.answer)
        kinds = call.session.offered_kinds(response.body)
        self._hub.emit(CallOffered(call=call.ident, audio="audio" in kinds, video="video" in kinds, body=response.body))

    def answer_offer(self, command: Answer) -> None:
        """The application's answer to the offer of the 2xx."""
        call, response = self._call, self._response
        call.require(S.CONFIRMING)
        assert response is not None
        if self._invite.media or self._answer is not None:
            raise LocalProtocolError("the offer of the peer is being answered already")
        if not (command.media or command.body):
            raise LocalProtocolError("an offer is answered with media or a body")
        call.session.check_media(command.media, command.codecs)
        self._answer = command
        call.stop_timer("answer")
        if command.media:
            self._open_media(response, command.media, command.codecs)
        else:
            call.step(I.MEDIA_READY)

    def _open_media(self, response: Response, media: Media, codecs: CodecPreferences) -> None:
        try:
            self._call.session.prepare_answer(response.body, media, codecs)
        except NegotiationError as error:
            self._unusable(error)
            return
        self._call.session.open_transports(self._call.media_opened)

    def _unusable(self, error: NegotiationError) -> None:
        detail = f"the session description of the peer cannot be used: {error.detail}"
        self._call.step(I.MEDIA_FAILED, End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, detail))

    def _adopt(self, response: Response) -> None:
        """The first 2xx: its dialog is the call."""
        dialog = self._dialog_from(response)
        self._call.dialog = dialog
        self._drop_early(keep=dialog.key)
        self._hub.dialogs[dialog.key] = self._call

    def confirm(self) -> None:
        """ACK; the answer was in the 2xx, or is in the ACK (13.2.2.4)."""
        call, response = self._call, self._response
        assert response is not None
        session, late = call.session, self._invite.late_offer
        body = self._late_answer() if late and response.body else self._invite.body
        self.acknowledge(body if late else b"")
        if not late or not response.body:  # else it is ours since its offer came
            self._adopt(response)
        call.session_timer.accepted(response)
        try:
            if late and not response.body:
                raise NegotiationError("there is none")  # 13.3.1.4 asks for an offer
            if session.has_media and not late:
                self._take_answer(response)
        except NegotiationError as error:
            self._unusable(error)
            return
        if not session.has_media:
            session.local_description, session.remote_description = body, response.body
        answer, self._answer = self._answer, None
        if answer is not None:
            self._hub.succeed(answer.command)
        call.establish(b"" if session.has_media else response.body)

    def _late_answer(self) -> bytes:
        session = self._call.session
        if session.has_media:
            return session.local_answer()
        assert self._answer is not None
        return self._answer.body

    def _take_answer(self, response: Response) -> None:
        session = self._call.session
        if self._answered is None:
            session.take_answer(response.body)
        elif self._answered != _to_tag(response):
            session.take_other_answer(response.body)
        # Else it has answered before: what the 2xx says once more is ignored (13.2.1).

    def acknowledge(self, body: bytes = b"") -> None:
        """ACK for the first 2xx (13.2.2.4)."""
        response, call = self._response, self._call
        assert response is not None and self._exchange is not None and self._exchange.request is not None
        dialog = self._dialog_from(response)
        if call.dialog is None:
            call.dialog = dialog
        sent = self._hub.send_alone(ack_for(dialog, self._exchange.request, body), call.flow)
        if sent is not None:
            self._acks[_to_tag(response)] = sent

    def _end_fork(self, response: Response) -> None:
        """A second party has answered too: confirm, then end what the application does not have (13.2.2.4)."""
        assert self._exchange is not None and self._exchange.request is not None
        if len(self._acks) > self._hub.config.limits.early_dialogs:
            return  # so many parties do not answer one call: somebody makes them up
        dialog = self._dialog_from(response)
        sent = self._hub.send_alone(ack_for(dialog, self._exchange.request), self._call.flow)
        if sent is not None:
            self._acks[dialog.remote.tag or ""] = sent
        self._call.bye(dialog, lambda _: None)

    # -- CANCEL ------------------------------------------------------------------------------------------------------

    def send_cancel(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.request is None or self._cancel_sent:
            return
        self._cancel_sent = True
        # 9.1: without a final answer within 64*T1 the INVITE counts as cancelled all the same.
        self._call.start_timer("cancel", self._hub.config.timers.t1_64)
        self._hub.cancel(exchange.request, exchange.flow, self._call.end.said)

    def give_up(self) -> None:
        if self._exchange is not None and self._exchange.transaction is not None:
            self._hub.transactions.abandon(self._exchange.transaction)
        self._call.step(I.TIMEOUT)

    # -- ends --------------------------------------------------------------------------------------------------------

    def call_ended(self, cause: Cause, detail: str) -> None:
        """The call ends while the offer of the 2xx is being answered."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._hub.fail(answer.command, cause, detail)

    def _drop_early(self, keep: DialogKey | None = None) -> None:
        """Requests come in them no more. Their numbers still count: a fork may answer, and has to be sent a BYE then."""
        for dialog in self._early.values():
            if dialog.key != keep and self._hub.dialogs.get(dialog.key) is self._call:
                del self._hub.dialogs[dialog.key]

    def forget(self) -> None:
        self._drop_early()
        # Once accepted, the INVITE's exchange stays with its transaction: answers of forks can still come (13.2.2.4).
        if self._exchange is None or not self._hub.is_accepted(self._exchange):
            self._hub.drop(self._exchange)


def contacts_of(response: Response) -> tuple[str, ...]:
    """Where a 3xx sends us, the best first (8.1.3.4, 20.10)."""
    found: list[tuple[float, int, str]] = []
    for index, contact in enumerate(response.headers.all(fields.CONTACT)):
        if isinstance(contact, Wildcard):
            continue
        try:
            q = float(contact.params.get("q") or 1.0)
        except ValueError:
            q = 1.0
        found.append((-q, index, str(contact.uri)))
    return tuple(uri for _, _, uri in sorted(found)[:32])


def without_100rel(supported: object) -> str:
    return ", ".join(tag for tag in str(supported).split(", ") if tag != "100rel")


def _to_tag(response: Response) -> str:
    to = response.headers.get(fields.TO)
    return (to.tag if to is not None else None) or ""
