"""Call transfer (RFC 3515, 3891, 3892, 4488, 5589): REFER in a call, from both sides, and what its NOTIFYs tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from sipproto.agent._call_table import CallState
from sipproto.agent._hub import Exchange, Hub, outcome_of_auth
from sipproto.agent._notifier import Notification, NotifierUsage
from sipproto.agent.inputs import Refer
from sipproto.agent.outputs import Cause, TransferProgressed, cause_of
from sipproto.dialog import Dialog, Pairs
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import (
    NameAddr,
    Params,
    Request,
    Response,
    SipUri,
    TelUri,
    TokenParams,
    escape_header,
    fields,
    parse_sip_uri,
    reason_phrase,
)
from sipproto.transaction import FlowId, RequestReceived

if TYPE_CHECKING:
    from sipproto.agent._call import Call

S = CallState
_FRAGMENT = "message/sipfrag;version=2.0"
_STATUS_LINE = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})(?: ([^\r\n]*))?")
_LIFE = 180  # seconds: what we say a subscription by REFER lives


def refer_to(other: Call) -> str:
    """Where the peer of `other` is, with the dialog to replace there: tags as that peer sees them (RFC 3891 3)."""
    dialog = other.dialog
    assert dialog is not None
    replaces = f"{dialog.call_id};to-tag={dialog.remote.tag or '0'};from-tag={dialog.local.tag or '0'}"
    uri = parse_sip_uri(dialog.remote_target)
    return str(evolve(uri, headers=f"Replaces={escape_header(replaces)}"))


# -- our REFER -----------------------------------------------------------------------------------------------------------


class Transfer:
    """A REFER of ours. Its command ends with what the peer tells of the new call, or as far as it tells."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self._command: Refer | None = None
        self._exchange: Exchange | None = None
        self._status: int | None = None  # the last one told

    def start(self, command: Refer, target: str) -> None:
        call, hub = self._call, self._hub
        call.require(S.ESTABLISHED)
        if self._command is not None:
            raise LocalProtocolError("a transfer of this call is under way")
        hub.require_room()
        dialog = call.dialog
        assert dialog is not None
        self._command, self._status = command, None

        def build(credentials: Pairs) -> Request:
            extra: list[tuple[str, object]] = [
                *credentials,
                ("Contact", hub.contact(call.flow)),
                ("Refer-To", f"<{target}>"),
                ("Referred-By", f"<{hub.config.uri}>"),
                *([] if command.notify else [("Refer-Sub", "false")]),
                ("Supported", "norefersub"),
                *hub.common_headers(),
                *command.headers,
            ]
            return dialog.next_request("REFER", extra=extra)

        self._exchange = Exchange(
            flow=call.flow,
            build=build,
            method="REFER",
            target=dialog.remote_target,
            to=str(dialog.remote.uri),
            on_final=self._answered,
            on_failure=self._lost,
            timeout=hub.config.waits.request,
        )
        if not hub.start(self._exchange):
            self._lost(False)

    def _answered(self, response: Response) -> None:
        exchange, self._exchange = self._exchange, None
        status = response.status
        if status >= 300:
            cause, detail = cause_of(status), f"the peer refused: {status} {response.reason}".strip()
            if status in (401, 407) and exchange is not None:
                cause, detail = outcome_of_auth(exchange)
            self._fail(cause, detail, status)
            return
        told = response.headers.get(fields.REFER_SUB)
        if self._status is None:
            self._status = status
        if self._command is not None and (not self._command.notify or (told is not None and told.value == "false")):
            self._succeed()  # RFC 4488 4: nothing more will be told
        else:
            self._call.start_timer("refer", self._hub.config.waits.transfer)

    def _lost(self, timeout: bool) -> None:
        self._exchange = None
        if timeout:
            self._fail(Cause.REQUEST_TIMEOUT, "the peer did not answer", None)
        else:
            self._fail(Cause.CONNECTION_ERROR, "the connection to the server was lost", None)

    def notified(self, received: RequestReceived) -> None:
        """NOTIFY in the dialog: what becomes of the call that we asked for (RFC 3515 2.4.5)."""
        request = received.request
        event = request.headers.get(fields.EVENT)
        if self._command is None or event is None or event.value.lower() != "refer":
            self._hub.respond(received, 481)  # RFC 6665 4.1.3: it matches no subscription
            return
        self._hub.respond(received, 200)
        match = _STATUS_LINE.match(request.body)
        state = request.headers.get(fields.SUBSCRIPTION_STATE)
        if match is not None:
            self._status, reason = int(match[1]), (match[2] or b"").decode("utf-8", "replace")
            self._hub.emit(TransferProgressed(call=self._call.ident, status=self._status, reason=reason))
            if 200 <= self._status < 300:
                self._succeed()
            elif self._status >= 300:
                self._fail(
                    cause_of(self._status), f"the transfer failed: {self._status} {reason}".strip(), self._status
                )
        if self._command is not None and state is not None and state.value.lower() == "terminated":
            self._succeed()

    def timed_out(self) -> None:
        self._fail(Cause.REQUEST_TIMEOUT, "the peer does not tell what became of the transfer", self._status)

    def call_ended(self, cause: Cause, detail: str) -> None:
        # Many servers end our call as soon as they have taken the transfer over, and tell no more.
        if cause is Cause.TERMINATED and self._status is not None:
            self._succeed()
        else:
            self._fail(cause, detail, None)

    def forget(self) -> None:
        self._hub.drop(self._exchange)
        self._exchange = None

    def _succeed(self) -> None:
        command = self._take_command()
        if command is not None:
            self._hub.succeed(command.command, self._status)

    def _fail(self, cause: Cause, detail: str, status: int | None) -> None:
        command = self._take_command()
        if command is not None:
            self._hub.fail(command.command, cause, detail, status)

    def _take_command(self) -> Refer | None:
        """It is over. A NOTIFY may have come before the answer to the REFER, which means nothing to a later one."""
        command, self._command = self._command, None
        self._call.stop_timer("refer")
        self.forget()
        return command


# -- the peer's REFER ----------------------------------------------------------------------------------------------------


class Referral:
    """A REFER of a peer, from its 202 to the last NOTIFY. It outlives the call in which it came."""

    def __init__(
        self,
        hub: Hub,
        ident: str,
        dialog: Dialog,
        request: Request,
        asked: tuple[str, str | None],
        forget: Callable[[Referral], None],
    ) -> None:
        self._hub = hub
        self.ident = ident
        self._dialog = dialog
        self.target, self.replaces = asked
        by = request.headers.get(fields.REFERRED_BY)
        self.referred_by = None if by is None else str(by.uri)
        quiet = request.headers.get(fields.REFER_SUB)
        self.is_silent = quiet is not None and quiet.value.lower() == "false"  # RFC 4488 4
        event = TokenParams("refer", Params((("id", str(request.headers.require(fields.CSEQ).number)),)))
        self._usage: NotifierUsage | None = None
        if not self.is_silent:
            self._usage = NotifierUsage(hub, dialog, event, self._unheard, expires_at=hub.now + _LIFE)
        self._forget = forget
        self._told = b""
        self._over = False
        self.decided = False

    def start(self, timed_out: Callable[[], None]) -> None:
        """The first NOTIFY goes out at once (2.4.4); the application has so long to decide."""
        self._hub.start_timer(("referral", self.ident), "limit", self._hub.config.waits.answer, lambda _: timed_out())
        self.tell(100)

    def decide(self) -> None:
        """The application calls the target."""
        self.decided = True
        self._hub.forget_owner(("referral", self.ident), "limit")

    def tell(self, status: int, reason: str | None = None, *, final: bool = False) -> None:
        """NOTIFY with the status line of the call that was asked for (RFC 3515 2.4.5)."""
        if self._over:
            return
        line = f"SIP/2.0 {status} {reason if reason is not None else reason_phrase(status)}\r\n".encode()
        if final:
            self._over = self.decided = True
            self._hub.forget_owner(("referral", self.ident), "limit")
        if self._usage is None:
            if final:
                self._forget(self)
        elif final:
            end = Params((("reason", "noresource"),))
            self._usage.notify(Notification(state="terminated", params=end, content_type=_FRAGMENT, body=line))
        elif line != self._told:
            self._usage.notify(Notification(state="active", content_type=_FRAGMENT, body=line))
        self._told = line

    def _unheard(self, _: object) -> None:
        """Nobody listens any more, or all has been told; the new call goes on all the same."""
        self._usage = None
        if self._over:
            self._forget(self)

    # -- connections: the dialog may have lost its call, which would see to that ------------------------------------------

    def flow_lost(self, flow: FlowId) -> None:
        if self._usage is not None and self._dialog.flow == flow:
            self._usage.suspend()

    def flow_ready(self, flow: FlowId) -> None:
        if self._dialog.flow not in self._hub.flows:
            self._dialog.flow = flow
        if self._usage is not None:
            self._usage.resume()

    def flow_gone(self) -> None:
        if self._usage is not None and self._dialog.flow not in self._hub.flows:
            self._usage.close(Cause.CONNECTION_ERROR, "the connection to the server was lost")
            self._unheard(None)


def referral_of(request: Request) -> tuple[str, str | None] | int:
    """Target and Replaces that a REFER asks to call; or the status that refuses it."""
    try:
        to = request.headers.get(fields.REFER_TO)
    except MessageSyntaxError:
        to = None
    if to is None:
        return 400  # RFC 3515 2.4.2: exactly one
    return _target_of(to)


def _target_of(to: NameAddr) -> tuple[str, str | None] | int:
    uri = to.uri
    if isinstance(uri, TelUri):
        return str(uri), None
    if not isinstance(uri, SipUri):
        return 416
    method = uri.params.get("method") or "INVITE"
    if method.upper() != "INVITE":
        return 403  # nobody sends BYE or MESSAGE through us to others
    # Of the headers that the URI wants in the INVITE, we take the one that transfers need; others would speak as if we did.
    replaces = next((value for name, value in uri.header_pairs() if name.lower() == "replaces"), None)
    plain = evolve(uri, headers="", params=uri.params.without("method"))
    return str(plain), replaces
