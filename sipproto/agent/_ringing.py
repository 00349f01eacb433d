"""The called side of a call in its beginnings: provisional answers, the answer, the refusal (RFC 3261 13.3, RFC 3262 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallInput, CallState
from sipproto.agent._end import End
from sipproto.agent._incoming import warning
from sipproto.agent._reliable import TAG, ReliableSender
from sipproto.agent.inputs import Answer, Progress
from sipproto.agent.outputs import Cause, IncomingCall, Originator
from sipproto.dialog import Dialog
from sipproto.errors import LocalProtocolError
from sipproto.message import fields
from sipproto.negotiation import NegotiationError
from sipproto.tokens import token
from sipproto.transaction import RequestReceived

if TYPE_CHECKING:
    from sipproto.agent._call import Call

S, I = CallState, CallInput


class Ringing:
    """An INVITE of the peer that has no final answer yet. Raises MessageSyntaxError when no dialog can be made from it."""

    def __init__(self, call: Call, received: RequestReceived) -> None:
        self._call = call
        self._hub = call.hub
        self.received = received
        self._dialog = Dialog.from_request(received.request, token(call.hub.tokens), call.flow)
        self._sender = ReliableSender(call, received)
        headers = received.request.headers
        self._insists = _has_tag(headers.all(fields.REQUIRE))
        self._can_prack = self._insists or _has_tag(headers.all(fields.SUPPORTED))
        self._answer: Answer | None = None
        self._opening: Progress | None = None  # whose media are being opened
        self._described = False  # a provisional answer has carried our description
        self._ready = False  # media are open for the answer, which waits for a PRACK

    def ring(self) -> None:
        """180, and the application is told."""
        call, dialog, request = self._call, self._dialog, self.received.request
        call.dialog = dialog
        self._hub.dialogs[dialog.key] = call
        kinds = call.session.offered_kinds(request.body)
        self._provisional(180, None, [], b"")
        call.start_timer("answer", self._hub.config.waits.answer)
        caller = dialog.remote
        self._hub.emit(
            IncomingCall(
                call=call.ident,
                from_uri=str(caller.uri),
                display_name=caller.display_name,
                to_uri=str(dialog.local.uri),
                audio="audio" in kinds,
                video="video" in kinds,
                offer=request.body,
                headers=tuple(request.headers),
                replaces=None if call.replaces is None else call.replaces.ident,
            )
        )

    # -- provisional answers -----------------------------------------------------------------------------------------

    def _provisional(self, status: int, reason: str | None, extra: list[tuple[str, object]], body: bytes) -> None:
        hub, tag = self._hub, self._dialog.local.tag
        headers = [*self._call.dialog_headers(), *extra]
        response = hub.response(self.received, status, reason=reason, to_tag=tag, extra=headers, body=body)
        if self._insists or (body and self._can_prack):
            self._sender.send(response, bool(body))
        elif hub.transactions.state_of(self.received.transaction) is not None:
            hub.dispatch(hub.transactions.respond(self.received.transaction, response, hub.now))

    def progress(self, command: Progress) -> None:
        call, session = self._call, self._call.session
        call.require(S.INCOMING)
        if not 101 <= command.status <= 199:
            raise LocalProtocolError("a provisional answer has a status of 101 to 199")
        describes = bool(command.media or command.body)
        if describes and (self._described or self._opening is not None):
            raise LocalProtocolError("our description has been given already")
        if describes and not self.received.request.body and not self._can_prack:
            raise LocalProtocolError("the caller wants the offer from us, and cannot take it before the answer")
        session.check_media(command.media, command.codecs)
        if not command.media:
            self._tell(command, command.body)
            return
        try:
            session.prepare_answer(self.received.request.body, command.media, command.codecs)
        except NegotiationError as error:
            self._hub.fail(command.command, Cause.INCOMPATIBLE_MEDIA, error.detail)
            return
        self._opening = command
        session.open_transports(self._early_opened)

    def _early_opened(self, error: str | None) -> None:
        command, self._opening = self._opening, None
        assert command is not None
        if error is not None:
            self._hub.fail(command.command, Cause.MEDIA_ERROR, error)
            self._call.media_broken(error)
            return
        self._tell(command, self._call.session.local_answer())
        if self._call.state is S.ANSWERING:
            self._media_ready()

    def _tell(self, command: Progress, body: bytes) -> None:
        extra: list[tuple[str, object]] = list(command.headers)
        if body:
            self._described = True
            extra.append(("Content-Type", command.content_type))
            if not command.media:
                self._call.session.local_description = body
        self._provisional(command.status, command.reason, extra, body)
        self._hub.succeed(command.command)

    def reliable_timer(self, name: str) -> None:
        if name == "1xx":
            self._sender.resend()
            return
        # 3: without a PRACK the peer does not hear us; 5xx is what the RFC asks for.
        end = End(Cause.NO_ACK, Originator.REMOTE, "the caller did not acknowledge our progress", refusal=504)
        self._call.step(I.NO_PRACK, end)

    def pracked(self, received: RequestReceived, dialog: Dialog) -> None:
        call, request = self._call, received.request
        provisional = self._sender.pracked(request)
        if provisional is None:
            self._hub.respond(received, 481)
            return
        if request.body and call.session.is_late:
            try:
                call.session.take_late_answer(request.body)
            except NegotiationError as error:
                self._hub.respond(received, 488, extra=[warning(error.detail)])
                end = End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, error.detail, refusal=488)
                call.step(I.MEDIA_FAILED, end)
                return
            self._hub.respond(received, 200)
        elif request.body:
            call.offers.pracked(received, dialog)
        else:
            self._hub.respond(received, 200)
        self._sender.go_on()
        if self._ready and not self._sender.blocks_answer:
            call.step(I.MEDIA_READY)

    # -- the answer --------------------------------------------------------------------------------------------------

    def answer(self, command: Answer) -> None:
        if not (command.media or command.body or self._described or self._opening is not None):
            raise LocalProtocolError("a call is answered with media or a body, unless a Progress has given them")
        self._call.session.check_media(command.media, command.codecs)
        self._answer, self._call.command = command, command.command
        self._call.stop_timer("answer")
        self._call.step(I.ANSWER)

    def open_media(self) -> None:
        command, call = self._answer, self._call
        assert command is not None
        if self._opening is not None:
            return  # for early media, which are those of the answer
        if command.media and not self._described:
            try:
                call.session.prepare_answer(self.received.request.body, command.media, command.codecs)
            except NegotiationError as error:
                end = End(Cause.INCOMPATIBLE_MEDIA, Originator.LOCAL, error.detail, refusal=488)
                call.step(I.MEDIA_FAILED, end)
                return
        call.session.open_transports(self._answer_opened)

    def _answer_opened(self, error: str | None) -> None:
        if error is None:
            self._media_ready()
        else:
            self._call.media_opened(error)

    def _media_ready(self) -> None:
        self._ready = True
        if not self._sender.blocks_answer:
            self._call.step(I.MEDIA_READY)

    def accept(self) -> None:
        command, call = self._answer, self._call
        assert command is not None
        self._sender.stop()
        extra = [
            *call.dialog_headers(),
            *call.session_timer.response_headers(self.received.request),
            *command.headers,
        ]
        body = self._description(command)
        if body:
            extra.append(("Content-Type", command.content_type))
        call.offers.send_accepted(self.received, self._dialog.local.tag or "", extra, body)

    def _description(self, command: Answer) -> bytes:
        session = self._call.session
        if self._described:
            # 13.3.1.4: what an unreliable 18x said has to be said again. An offer of ours has been answered by PRACK.
            return session.local_description if self.received.request.body else b""
        if command.media:
            return session.local_answer()
        session.local_description, session.remote_description = command.body, self.received.request.body
        return command.body

    def refuse(self) -> None:
        self._sender.stop()
        end = self._call.end
        by_us = end.cause is Cause.INCOMPATIBLE_MEDIA and end.status is None  # and not by the application
        said = [*end.said, *([warning(end.detail)] if by_us else [])]
        self._hub.respond(self.received, end.refusal, reason=end.reason, to_tag=self._dialog.local.tag, extra=said)

    def call_ended(self, cause: Cause, detail: str) -> None:
        """The call ends while media for a Progress are being opened."""
        if self._opening is not None:
            self._hub.fail(self._opening.command, cause, detail)
            self._opening = None


def _has_tag(tags: tuple[str, ...]) -> bool:
    return any(tag.lower() == TAG for tag in tags)
