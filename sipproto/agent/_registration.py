"""Keeping an address of record bound to our flow (RFC 3261 10, RFC 5626 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent._hub import ALLOW, Exchange, Hub, outcome_of_auth
from sipproto.agent._part import Part
from sipproto.agent.inputs import CommandId, Register, Unregister
from sipproto.agent.outputs import (
    Cause,
    Registration,
    RegistrationChanged,
    RegistrationState,
    cause_of,
)
from sipproto.dialog import Pairs, build_request
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import NameAddr, QuotedStr, Request, Response, Wildcard, fields, parse_uri
from sipproto.tokens import uniform
from sipproto.transaction import FlowId

_OWNER = ("registration",)
_MAX_RAISES = 2  # how often a 423 may raise the lifetime before the server counts as broken
_RETRY_FIRST, _RETRY_MAX = 5.0, 300.0  # seconds
_LIFETIME_MAX = 86_400 * 7
_LOST = "the connection to the server was lost"


class Registrar(Part):
    """Our side of a registration: one Call-ID for its whole life, a refresh in good time, an end when asked for.

    It survives the connection: `renew` is called for each new one. `settled` is called when the renewal has been
    accepted or is not going to be; `flow_timer` gets what the server says about keep-alives.
    """

    def __init__(self, hub: Hub, settled: Callable[[], None], flow_timer: Callable[[int | None], None]) -> None:
        self._hub = hub
        self._tell_settled = settled
        self._tell_flow_timer = flow_timer
        self._call_id = hub.new_call_id()
        self._cseq = 0
        self._flow: FlowId | None = None  # that the binding leads to
        self._wanted = False
        self._renewing = False  # the connection is new, and somebody waits for us
        self._expires = hub.config.register_expires
        self._raises = 0
        self._failures = 0
        self._command: CommandId | None = None
        self._exchange: Exchange | None = None
        self._granted: Registration | None = None

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {Register: self._register, Unregister: self._unregister}

    @property
    def is_busy(self) -> bool:
        return self._exchange is not None

    def _register(self, command: Register) -> None:
        if command.expires is not None and not 1 <= command.expires <= _LIFETIME_MAX:
            raise LocalProtocolError("a registration lasts 1 s to 7 days; use Unregister to end it")
        self._hub.require_server_flow()
        self._supersede()
        self._wanted = True
        self._expires = self._hub.config.register_expires if command.expires is None else command.expires
        self._raises = self._failures = 0
        self._command = command.command
        self._send(self._expires)

    def _unregister(self, command: Unregister) -> None:
        self._remove(command.command, everything=command.everything)

    def shut_down(self) -> None:
        self._remove(None)

    def _remove(self, command: CommandId | None, *, everything: bool = False) -> None:
        if everything:
            self._hub.require_server_flow()
        self._supersede()
        was_wanted, self._wanted = self._wanted or self._granted is not None, False
        self._hub.stop_timer(_OWNER, "refresh")
        if not everything and (not was_wanted or self._hub.server_flow is None):
            self._hub.succeed(command)
            self._end(None, "")
            return
        self._command = command
        self._send(0, everything=everything)

    def begin_anew(self) -> None:
        """The account is another one: nothing of the last registration is left."""
        self._call_id = self._hub.new_call_id()
        self._cseq = 0
        self._wanted = False
        self._expires = self._hub.config.register_expires

    # -- connections -------------------------------------------------------------------------------------------------

    def renew(self) -> bool:
        """The connection is new: binds the address to it, if it was bound before. Whether that takes time."""
        if not self._wanted or self._exchange is not None:
            return False
        self._renewing = True
        self._raises = 0
        self._send(self._expires)
        return True

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        if flow != self._flow:
            return
        self._hub.stop_timer(_OWNER, "refresh")
        command, self._command = self._command, None
        self._hub.drop(self._exchange)
        self._exchange = None
        self._renewing = False
        self._hub.fail(command, Cause.CONNECTION_ERROR, _LOST)
        # A first registration that did not succeed is for its caller to repeat.
        self._wanted = hope and self._wanted and command is None
        self._end(Cause.CONNECTION_ERROR, _LOST)

    def flow_gone(self) -> None:
        self._wanted = False

    def _settled(self) -> None:
        if self._renewing:
            self._renewing = False
            self._tell_settled()

    # -- requests and answers ----------------------------------------------------------------------------------------

    def _supersede(self) -> None:
        if self._exchange is not None:
            self._hub.drop(self._exchange)
            self._exchange = None
        command, self._command = self._command, None
        self._hub.fail(command, Cause.SUPERSEDED, "a later command took its place")

    def _send(self, expires: int, *, everything: bool = False) -> None:
        hub, flow = self._hub, self._hub.server_flow
        address = hub.from_address()
        assert flow is not None
        self._flow = flow

        def build(credentials: Pairs) -> Request:
            self._cseq += 1
            contact: NameAddr | Wildcard = Wildcard()  # 10.2.2: every binding of the address, not only ours
            if not everything:
                contact = hub.flow_contact(flow)
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
                    ("Supported", "path, outbound, gruu"),
                    *hub.common_headers(),
                    *hub.config.register_headers,
                ],
            )

        self._exchange = Exchange(
            flow=flow,
            build=build,
            method="REGISTER",
            target=hub.config.registrar,
            to=hub.config.aor,
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
            self._raises = self._failures = 0
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
        hub = self._hub
        assert hub.server_flow is not None  # the answer came on it
        ours = self._own_binding(response)
        granted = min(self._granted_lifetime(ours, response, asked), _LIFETIME_MAX)
        hub.public_gruu = _gruu(ours, "pub-gruu")
        # RFC 3608 6.1: the answer's routes stand for those of the one before, also when it has none.
        hub.service_route = response.headers.all(fields.SERVICE_ROUTE)
        self._tell_flow_timer(response.headers.get(fields.FLOW_TIMER))
        changed = self._granted is None
        self._granted = Registration(
            expires=granted,
            contact=str(hub.flow_contact(hub.server_flow).uri),
            public_gruu=hub.public_gruu,
            temporary_gruu=_gruu(ours, "temp-gruu"),
            service_route=tuple(str(route.uri) for route in hub.service_route),
            bindings=tuple(str(c.uri) for c in response.headers.all(fields.CONTACT) if not isinstance(c, Wildcard)),
        )
        # In good time, and spread, so that clients that registered together do not refresh together.
        share = 0.5 + 0.3 * uniform(hub.tokens)
        hub.start_timer(_OWNER, "refresh", max(1.0, granted * share), self._refresh)
        command = self._take_command()
        hub.succeed(command, self._granted)
        if changed or command is not None:
            hub.emit(RegistrationChanged(state=RegistrationState.REGISTERED, registration=self._granted))
        self._settled()

    def _own_binding(self, response: Response) -> NameAddr | None:
        """Ours among all bindings of the address: by instance and flow (RFC 5626 4.2), else by the URI (10.2.4)."""
        bindings = [c for c in response.headers.all(fields.CONTACT) if not isinstance(c, Wildcard)]
        instance = f"<{self._hub.instance_id}>"
        same = [c for c in bindings if c.params.get("+sip.instance") == instance]
        for contact in same:
            if contact.params.get("reg-id") == "1":
                return contact
        assert self._hub.server_flow is not None
        sent = self._hub.flow_contact(self._hub.server_flow).sip_uri
        for contact in bindings:
            uri = contact.sip_uri
            # Some servers rewrite the host; the user part is ours, and of chance.
            if uri is not None and sent is not None and uri.user == sent.user:
                return contact
        return same[0] if same else None

    def _granted_lifetime(self, ours: NameAddr | None, response: Response, asked: int) -> int:
        """The expires of our own binding (10.2.4), else of the response, else what we asked for."""
        text = (ours.params.get("expires") if ours is not None else None) or ""
        if text.isascii() and text.isdecimal() and len(text) <= 10:
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
        self._hub.fail(command, cause, detail, status)
        if not self._wanted:  # un-REGISTER failed: the binding will expire by itself
            self._end(cause, detail, status)
            return
        self._granted = None
        self._hub.public_gruu, self._hub.service_route = None, ()
        # A first registration that fails is for its caller to repeat; a refresh that fails is ours, where that can help.
        # 403 and the like would be the same the next time; a server that starts says 480, 5xx, or nothing.
        can_help = command is None and (status is None or 500 <= status < 600 or status in (408, 480))
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
        if delay is None:
            self._settled()  # calls may do without

    def _end(self, cause: Cause | None, detail: str, status: int | None = None) -> None:
        was_registered, self._granted = self._granted is not None, None
        self._hub.public_gruu, self._hub.service_route = None, ()
        if was_registered or status is not None:
            self._hub.emit(
                RegistrationChanged(state=RegistrationState.UNREGISTERED, cause=cause, detail=detail, status=status)
            )

    def _take_command(self) -> CommandId | None:
        command, self._command = self._command, None
        return command


def _gruu(binding: NameAddr | None, name: str) -> str | None:
    """A GRUU of a binding (RFC 5627 4.2), if it is a URI that can stand as a Contact."""
    text = binding.params.get(name) if binding is not None else None
    try:
        return None if text is None else str(parse_uri(text))
    except MessageSyntaxError:
        return None
