"""Keeping an address of record bound to our flow (RFC 3261 10, RFC 5626 4.2)."""

from __future__ import annotations

from sipproto.agent._hub import ALLOW, Exchange, Hub, outcome_of_auth
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import (
    Cause,
    Registration,
    RegistrationChanged,
    RegistrationState,
    cause_of,
)
from sipproto.dialog import Pairs, build_request
from sipproto.message import NameAddr, QuotedStr, Request, Response, Wildcard, fields
from sipproto.tokens import uniform

_OWNER = ("registration",)
_MAX_RAISES = 2  # how often a 423 may raise the lifetime before the server counts as broken
_RETRY_FIRST, _RETRY_MAX = 5.0, 300.0  # seconds
_LIFETIME_MAX = 86_400 * 7


class Registrar:
    """Our side of a registration: one Call-ID for its whole life, a refresh in good time, an end when asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._call_id = hub.new_call_id()
        self._cseq = 0
        self._wanted = False
        self._expires = hub.config.register_expires
        self._raises = 0
        self._failures = 0
        self._command: CommandId | None = None
        self._exchange: Exchange | None = None
        self._granted: Registration | None = None

    @property
    def is_busy(self) -> bool:
        return self._exchange is not None

    def register(self, command: CommandId, expires: int | None) -> None:
        self._hub.require_server_flow()
        self._supersede()
        self._wanted = True
        self._expires = self._hub.config.register_expires if expires is None else expires
        self._raises = self._failures = 0
        self._command = command
        self._send(self._expires)

    def unregister(self, command: CommandId | None) -> None:
        self._supersede()
        was_wanted, self._wanted = self._wanted or self._granted is not None, False
        self._hub.stop_timer(_OWNER, "refresh")
        if not was_wanted or self._hub.server_flow is None:
            self._hub.succeed(command)
            self._end(None, "")
            return
        self._command = command
        self._send(0)

    def flow_lost(self) -> None:
        """The binding lived on the flow; it is gone with it."""
        self._hub.forget_owner(_OWNER, "refresh")
        command, self._command = self._command, None
        self._hub.drop(self._exchange)
        self._exchange = None
        self._hub.fail(command, Cause.CONNECTION_ERROR, "the connection to the server was lost")
        self._wanted = False
        self._end(Cause.CONNECTION_ERROR, "the connection to the server was lost")

    def _supersede(self) -> None:
        if self._exchange is not None:
            self._hub.drop(self._exchange)
            self._exchange = None
        command, self._command = self._command, None
        self._hub.fail(command, Cause.SUPERSEDED, "a later command took its place")

    def _send(self, expires: int) -> None:
        hub, flow = self._hub, self._hub.server_flow
        address = hub.from_address()
        assert flow is not None

        def build(credentials: Pairs) -> Request:
            self._cseq += 1
            contact = hub.contact(flow)
            contact = contact.with_param("+sip.instance", QuotedStr(f"<{hub.instance_id}>"))
            contact = contact.with_param("reg-id", "1").with_param("expires", str(expires))
            return build_request(
                "REGISTER",
                hub.config.registrar,
                from_=address,
                to=NameAddr(hub.config.uri, hub.config.display_name),
                call_id=self._call_id,
                cseq=self._cseq,
                extra=[
                    *credentials,
                    ("Contact", contact),
                    ("Expires", expires),
                    ("Allow", ALLOW),
                    ("Supported", "path, outbound"),
                    *hub.common_headers(),
                ],
            )

        self._exchange = Exchange(
            flow=flow,
            build=build,
            method="REGISTER",
            target=hub.config.registrar,
            on_final=lambda response: self._answered(response, expires),
            on_failure=self._silent,
            timeout=hub.config.waits.request,
        )
        if not hub.start(self._exchange):
            self._silent(False)

    def _answered(self, response: Response, asked: int) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        status = response.status
        if 200 <= status < 300:
            self._failures = 0
            if asked == 0:
                self._hub.succeed(self._take_command())
                self._end(None, "")
            else:
                self._registered(response, asked)
        elif status == 423 and asked and (raised := self._raised(response, asked)) is not None:
            self._raises += 1
            self._expires = raised
            self._send(raised)
        else:
            cause, detail = cause_of(status), f"{status} {response.reason}".strip()
            if status in (401, 407):
                cause, detail = outcome_of_auth(exchange)
            retry_after = response.headers.get(fields.RETRY_AFTER)
            self._failed(cause, detail, status, None if retry_after is None else float(retry_after.seconds))

    def _raised(self, response: Response, asked: int) -> int | None:
        """10.3 step 7: try again with the Min-Expires of a 423, if it really asks for more, and only so often."""
        least = response.headers.get(fields.MIN_EXPIRES)
        if least is None or least <= asked or least > _LIFETIME_MAX or self._raises >= _MAX_RAISES:
            return None
        return least

    def _registered(self, response: Response, asked: int) -> None:
        granted = min(self._granted_lifetime(response, asked), _LIFETIME_MAX)
        assert self._hub.server_flow is not None  # the answer came on it
        contact = str(self._hub.contact(self._hub.server_flow).uri)
        changed = self._granted is None
        self._granted = Registration(expires=granted, contact=contact)
        # In good time, and spread, so that clients that registered together do not refresh together.
        share = 0.5 + 0.3 * uniform(self._hub.tokens)
        self._hub.start_timer(_OWNER, "refresh", max(1.0, granted * share), self._refresh)
        command = self._take_command()
        self._hub.succeed(command, self._granted)
        if changed or command is not None:
            self._hub.emit(RegistrationChanged(state=RegistrationState.REGISTERED, registration=self._granted))

    def _granted_lifetime(self, response: Response, asked: int) -> int:
        """The expires of our own binding among all that are listed (10.2.4), else of the response, else what we asked."""
        for contact in response.headers.all(fields.CONTACT):
            if isinstance(contact, Wildcard):
                continue
            uri = contact.sip_uri
            ours = (contact.params.get("+sip.instance") == f"<{self._hub.instance_id}>") or (
                uri is not None and uri.user == self._hub.contact_user and uri.host == self._hub.via_host
            )
            text = contact.params.get("expires") or ""
            if ours and text.isascii() and text.isdecimal() and len(text) <= 10:
                return int(text)
        stated = response.headers.get(fields.EXPIRES)
        return asked if stated is None else stated

    def _refresh(self, _: str) -> None:
        if self._wanted and self._exchange is None and self._hub.server_flow is not None:
            self._send(self._expires)

    def _silent(self, timeout: bool) -> None:
        self._exchange = None
        detail = "the server did not answer" if timeout else "the connection to the server was lost"
        self._failed(Cause.REQUEST_TIMEOUT if timeout else Cause.CONNECTION_ERROR, detail, None, None)

    def _failed(self, cause: Cause, detail: str, status: int | None, retry_after: float | None) -> None:
        command = self._take_command()
        self._granted = None
        if not self._wanted:  # un-REGISTER failed: the binding will expire by itself
            self._hub.fail(command, cause, detail, status)
            self._end(cause, detail, status)
            return
        self._hub.fail(command, cause, detail, status)
        # A first registration that fails is for its caller to repeat; a refresh that fails is ours, where that can help.
        can_help = command is None and (status is None or status >= 500 or status in (408, 480))
        delay = None
        if can_help:
            delay = min(_RETRY_MAX, _RETRY_FIRST * 2**self._failures) * (0.5 + 0.5 * uniform(self._hub.tokens))
            delay = max(delay, min(retry_after or 0.0, _RETRY_MAX * 12))
            self._failures = min(self._failures + 1, 10)
            self._hub.start_timer(_OWNER, "refresh", delay, self._refresh)
        else:
            self._wanted = False
            self._hub.stop_timer(_OWNER, "refresh")
        self._hub.emit(
            RegistrationChanged(
                state=RegistrationState.FAILED, cause=cause, detail=detail, status=status, retry_in=delay
            )
        )

    def _end(self, cause: Cause | None, detail: str, status: int | None = None) -> None:
        was_registered, self._granted = self._granted is not None, None
        if was_registered or status is not None:
            self._hub.emit(
                RegistrationChanged(state=RegistrationState.UNREGISTERED, cause=cause, detail=detail, status=status)
            )

    def _take_command(self) -> CommandId | None:
        command, self._command = self._command, None
        return command
