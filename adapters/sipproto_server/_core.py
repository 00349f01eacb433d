"""The embedded server without I/O: registrar, proxy between registered users, and a focus that answers calls.

The proxy is stateless (RFC 3261 16.11): on connections that lose nothing there is nothing to repeat, and every answer
finds its way by the Via. The focus is a user agent engine of the core that owns the service numbers.
"""

from __future__ import annotations

import hashlib

from attrs import define

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaInput
from sipproto.auth import DigestServer, Secret, Verdict
from sipproto.conference import Info
from sipproto.dialog import build_response
from sipproto.errors import MessageSyntaxError
from sipproto.message import (
    Headers,
    Message,
    NameAddr,
    Request,
    Response,
    SipUri,
    Via,
    escape_user,
    fields,
    parse_message,
    validate,
)
from sipproto.tokens import token
from sipproto.transaction import MAGIC_COOKIE, FlowId
from sipproto_server._config import ConferencePolicy, Loudness, Relayed, ServerConfig, ServerOutput
from sipproto_server._focus import DialogKey, Focus
from sipproto_server._registrar import Registrar
from sipproto_server._room import ParticipantInfo, RoomInfo


@define(kw_only=True)
class _Flow:
    """A connection; `proven`: somebody on it has shown a password, so that it may speak inside of calls."""

    transport: str
    proven: bool = False


class ServerCore:
    """Give every input to `handle`, carry out all outputs, wake it at `next_timeout`. As with every engine of the core."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._digest = DigestServer(config.realm, self._secret, config.tokens, config.algorithms)
        self._via_host = f"{token(config.tokens, 12)}.invalid"
        self._mark = token(config.tokens, 26)  # a secret: who does not know it cannot make answers that find their way
        self._flows: dict[FlowId, _Flow] = {}
        self._names = {config.realm.lower(), self._via_host}
        self._out: list[ServerOutput] = []
        self._registrar = Registrar(
            self._digest,
            self._names,
            config.max_bindings,
            reply=self._reply,
            tell=lambda change: self._out.append(change),
        )
        self._focus = Focus(config, lambda output: self._out.append(output), self._notify)

    def _secret(self, user: str) -> Secret | None:
        password = self._config.users.get(user)
        return None if password is None else Secret(username=user, password=password)

    # -- the contract ------------------------------------------------------------------------------------------------

    def handle(self, what: i.Notice | MediaInput | Loudness, now: float) -> tuple[ServerOutput, ...]:
        """Takes one input; returns every output, in order. Never raises for what a peer did."""
        match what:
            case i.FlowOpened(flow=flow, transport=transport):
                self._flows[flow] = _Flow(transport=transport.upper())
                self._focus.handle(what, now)
            case i.FlowClosed(flow=flow):
                self._flows.pop(flow, None)
                self._registrar.lose_flow(flow)
                self._focus.handle(what, now)
            case i.DataReceived(flow=flow, data=data):
                if flow in self._flows:
                    self._data(flow, data, now)
            case Loudness():
                self._focus.loud(what, now)
            case i.TimeoutElapsed():
                self._registrar.expire(now)
                self._focus.handle(what, now)
            case _:
                self._focus.handle(what, now)
        return self._taken()

    def operate(self, command: object, now: float) -> tuple[ServerOutput, ...]:
        """Does what an operator wants, a value of `sipproto_server.commands`; returns every output, in order.

        Raises OperatorError for what is not possible, UnknownTarget among them; nothing has changed then.
        """
        self._focus.operate(command, now)
        return self._taken()

    def next_timeout(self) -> float | None:
        ends = (self._registrar.next_timeout(), self._focus.next_timeout())
        return min((end for end in ends if end is not None), default=None)

    @property
    def registered(self) -> dict[str, int]:
        """Users with the number of their bindings."""
        return self._registrar.registered

    @property
    def rooms(self) -> tuple[RoomInfo, ...]:
        """All rooms of conferences, also those that are empty; in `purgatory` people wait to be admitted."""
        return self._focus.conference.rooms

    @property
    def participants(self) -> tuple[ParticipantInfo, ...]:
        """Everybody in a conference, in the order in which they have called."""
        return self._focus.conference.participants

    @property
    def policy(self) -> ConferencePolicy:
        """Who may do what, as the operator has it now."""
        return self._focus.conference.policy

    def _taken(self) -> tuple[ServerOutput, ...]:
        out = tuple(self._out)
        self._out.clear()
        return out

    # -- messages ----------------------------------------------------------------------------------------------------

    def _data(self, flow: FlowId, data: bytes, now: float) -> None:
        try:
            message = parse_message(data)
        except MessageSyntaxError:
            self._focus.handle(i.DataReceived(flow=flow, data=data), now)  # keep-alives, and reports of the rest
            return
        if validate(message) is not None or self._is_for_focus(message):
            self._focus.handle(i.DataReceived(flow=flow, data=data), now)
        elif not isinstance(message, Request):
            self._forward_response(message, flow)
        elif message.method == "REGISTER":
            if self._registrar.register(message, flow, now):
                self._flows[flow].proven = True
        else:
            self._request(message, flow, now)

    def _is_for_focus(self, message: Message) -> bool:
        """Messages of calls with the focus, and questions about the server itself."""
        if not isinstance(message, Request):
            via = message.headers.get(fields.VIA)
            return via is not None and via.host != self._via_host
        uri = message.uri
        if not isinstance(uri, SipUri):
            return False
        if _is_in_dialog(message) or message.method in ("ACK", "CANCEL"):
            # The ACK and CANCEL of an INVITE have its Request-URI, those of a refused one belong to no call.
            return _dialog_key(message) in self._focus.dialogs or self._is_service(uri)
        return uri.user is None and message.method == "OPTIONS"

    def _is_service(self, uri: SipUri) -> bool:
        return uri.host in self._names and uri.username in self._config.services

    def _request(self, request: Request, flow: FlowId, now: float) -> None:
        uri = request.uri
        if not isinstance(uri, SipUri):
            self._reply(request, flow, 416)
            return
        within = _is_in_dialog(request) or request.method in ("ACK", "CANCEL")
        if not within and self._is_of_guest(request, uri):
            self._serve_guest(request, uri, flow, now)
            return
        user = None
        if not (within and self._flows[flow].proven):
            user = self._authorized(request, flow, now)
            if user is None:
                return
        if not within and self._is_service(uri):
            self._call_service(request, uri, flow, user, now)
            return
        self._forward(request, uri, flow)

    def _call_service(self, request: Request, uri: SipUri, flow: FlowId, user: str | None, now: float) -> None:
        service = self._config.services.get(uri.username or "")
        what = i.DataReceived(flow=flow, data=request.to_bytes())
        self._focus.called(what, _dialog_key(request), service, user, now)

    def _is_of_guest(self, request: Request, uri: SipUri) -> bool:
        """Whether it is what guests may do: call a conference, or ask about themselves, which is a sign of life."""
        sender = request.headers.require(fields.FROM).sip_uri
        if not self._config.guests or sender is None or sender.username in self._config.users:
            return False
        service = self._config.services.get(uri.username or "") if self._is_service(uri) else None
        calls = request.method == "INVITE" and service is not None and service.kind == "conference"
        return calls or (request.method == "OPTIONS" and uri.username == sender.username)

    def _serve_guest(self, request: Request, uri: SipUri, flow: FlowId, now: float) -> None:
        if request.method == "OPTIONS":
            self._reply(request, flow, 200)
        else:
            self._call_service(request, uri, flow, None, now)

    def _authorized(self, request: Request, flow: FlowId, now: float) -> str | None:
        """The user who has sent it; None when that is not proven, and has been answered."""
        check = self._digest.check(request, now, proxy=True)
        sender = request.headers.require(fields.FROM).sip_uri
        if check.verdict is Verdict.OK:
            self._flows[flow].proven = True
            if sender is not None and sender.username == check.username and sender.host in self._names:
                return check.username
            self._reply(request, flow, 403)
            return None
        if request.method in ("ACK", "CANCEL"):  # these cannot be sent again with credentials (22.1)
            self._reply(request, flow, 403)
            return None
        if check.verdict is Verdict.OTHER_TARGET:
            self._reply(request, flow, 400)
            return None
        challenges = self._digest.challenges(now, stale=check.verdict is Verdict.STALE)
        self._reply(request, flow, 407, extra=[("Proxy-Authenticate", str(c)) for c in challenges])
        return None

    # -- proxy -------------------------------------------------------------------------------------------------------

    def _forward(self, request: Request, uri: SipUri, flow: FlowId) -> None:
        hops = request.headers.get(fields.MAX_FORWARDS)
        if hops == 0:
            if request.method != "ACK":
                self._reply(request, flow, 483)
            return
        binding = self._registrar.find(uri)
        other = self._other_end(request, flow)
        if other is None and binding is not None:
            other, target = binding.flow, str(binding.contact.uri)
        else:
            target = request.target
        if other is None:
            if request.method != "ACK":
                # Within a call it is the connection that is gone, not the call: its owner may come back (RFC 5626 4.2).
                known = uri.username in self._config.users or _is_in_dialog(request)
                self._reply(request, flow, 480 if known else 404)
            return
        own = [route for route in request.headers.all(fields.ROUTE) if not self._is_us(route)]
        headers = request.headers.replace("Route", *own).replace("Max-Forwards", 70 if hops is None else hops - 1)
        # The answer to our challenge is not for the callee, who could guess passwords with it.
        headers = headers.without("Proxy-Authorization")
        if request.method in ("INVITE", "SUBSCRIBE", "NOTIFY", "REFER"):  # RFC 6665 4.3: of NOTIFY, too
            ends = f"{flow}-{other}"
            route = f"<sip:{ends}-{self._sign(ends)}@{self._via_host};transport=ws;lr>"
            headers = headers.with_first("Record-Route", route)
        headers = headers.with_first("Via", self._via(request, flow, other))
        sent = Request(request.method, target, headers, request.body)
        self._out.append(Relayed(method=request.method, target=target))
        self._out.append(o.SendData(flow=other, data=sent.to_bytes()))

    def _other_end(self, request: Request, flow: FlowId) -> FlowId | None:
        """Within a call: our Record-Route names its two connections, so that a caller need not be registered."""
        for route in request.headers.all(fields.ROUTE)[:1]:
            ends, _, sign = ((route.sip_uri and route.sip_uri.user) or "").rpartition("-")
            if self._is_us(route) and ends and sign == self._sign(ends):
                one, two = (int(end) for end in ends.split("-"))
                other = two if flow == one else one if flow == two else None
                return other if other in self._flows else None
        return None

    def _sign(self, ends: str) -> str:
        return hashlib.sha256(f"{self._mark} {ends}".encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _via(self, request: Request, source: FlowId, target: FlowId) -> str:
        transport = self._flows[target].transport
        branch = self._branch(request.headers.require(fields.VIA), source, target)
        return f"SIP/2.0/{transport} {self._via_host};branch={branch};flow={source}"

    def _branch(self, top: Via, source: FlowId, target: FlowId) -> str:
        """Follows from that of the request, so that its ACK and CANCEL get the same (16.11); nobody else can make it."""
        text = f"{self._mark} {source} {target} {top.sent_by} {top.branch}"
        return MAGIC_COOKIE + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _forward_response(self, message: Response, source: FlowId) -> None:
        """Back along the Vias, when it comes by the connection that the request was sent to: ours says whence that came."""
        vias = message.headers.all(fields.VIA)
        number = vias[0].params.get("flow") or ""
        if len(vias) < 2 or not (number.isascii() and number.isdecimal() and len(number) < 12):
            return
        flow = int(number)
        if flow in self._flows and vias[0].branch == self._branch(vias[1], flow, source):
            headers = message.headers.replace("Via", *vias[1:])
            sent = Response(message.status, message.reason, headers, message.body)
            self._out.append(o.SendData(flow=flow, data=sent.to_bytes()))

    def _is_us(self, route: NameAddr) -> bool:
        return route.sip_uri is not None and route.sip_uri.host in self._names

    # -- what we say ourselves ---------------------------------------------------------------------------------------

    def _notify(self, user: str, info: Info) -> bool:
        """Without a transaction: nothing follows from the answer."""
        bindings = [b for b in self._registrar.bindings_of(user) if b.flow in self._flows]
        for binding in bindings:
            random = token(self._config.tokens, 32)
            address = SipUri(scheme="sip", user=escape_user(user), host=self._config.realm)
            headers = Headers(
                [
                    (
                        "Via",
                        f"SIP/2.0/{self._flows[binding.flow].transport} {self._via_host};branch={MAGIC_COOKIE}{random}",
                    ),
                    ("Max-Forwards", "70"),
                    ("From", f"<sip:{self._config.realm}>;tag={random[:10]}"),
                    ("To", f"<{address}>"),
                    ("Call-ID", random),
                    ("CSeq", "1 NOTIFY"),
                    ("Contact", f"<sip:{self._via_host};transport=ws>"),
                    ("Event", "vinteo"),
                    ("Subscription-State", "active"),
                    ("Content-Type", info.content_type),
                    *info.headers,
                    ("Content-Length", "0"),
                ]
            )
            sent = Request("NOTIFY", str(binding.contact.uri), headers, b"")
            self._out.append(o.SendData(flow=binding.flow, data=sent.to_bytes()))
        return bool(bindings)

    def _reply(
        self, request: Request, flow: FlowId, status: int, *, extra: list[tuple[str, object]] | None = None
    ) -> None:
        """Answers without a transaction (8.2.7)."""
        if request.method == "ACK":
            return
        tag = hashlib.sha256((request.headers.first("Via") or "").encode("utf-8", "replace")).hexdigest()[:16]
        pairs = [*(extra or []), ("Server", "sipproto-server")]
        response = build_response(request, status, to_tag=tag, extra=pairs)
        self._out.append(o.SendData(flow=flow, data=response.to_bytes()))


def _dialog_key(request: Request) -> DialogKey:
    return (request.headers.require(fields.CALL_ID), request.headers.require(fields.FROM).tag or "")


def _is_in_dialog(request: Request) -> bool:
    return request.headers.require(fields.TO).tag is not None
