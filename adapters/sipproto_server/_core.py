"""The embedded server without I/O: registrar, proxy between registered users, and a focus that answers calls.

The proxy is stateless (RFC 3261 16.11): on connections that lose nothing there is nothing to repeat, and every answer
finds its way by the Via. The focus is a user agent engine of the core that owns the service numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import define, field, frozen

from sipproto._entropy import SystemTokens
from sipproto.agent import AgentConfig, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId, MediaInput
from sipproto.auth import DigestServer, Secret, Verdict
from sipproto.dialog import build_response
from sipproto.errors import MessageSyntaxError
from sipproto.message import (
    Message,
    NameAddr,
    Request,
    Response,
    SipUri,
    Via,
    Wildcard,
    fields,
    parse_message,
    validate,
)
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import Direction
from sipproto.tokens import TokenSource, token
from sipproto.transaction import MAGIC_COOKIE, FlowId

MIN_EXPIRES, MAX_EXPIRES = 10, 3600
_MAX_BINDINGS = 10  # per user
_DialogKey = tuple[str, str]  # of a call with the focus: the Call-ID and the caller's tag


@frozen(kw_only=True)
class Service:
    """A number that the server answers itself. `kind`: "echo" gives back what it gets, "room" mixes all its callers."""

    kind: str
    room: str = ""


DEFAULT_SERVICES = {"600": Service(kind="echo"), "700": Service(kind="room", room="700")}


@frozen(kw_only=True)
class ServerConfig:
    """users: name to password. services: user part to what answers there. realm: also the domain of the users."""

    realm: str = "sipproto.invalid"
    users: Mapping[str, str] = field(factory=dict, repr=False)
    services: Mapping[str, Service] = field(factory=lambda: dict(DEFAULT_SERVICES))
    capabilities: MediaCapabilities | None = None
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    max_bindings: int = 10_000
    tokens: TokenSource = field(factory=SystemTokens, repr=False)


@frozen(kw_only=True)
class PrepareMedia:
    """Tell the media engine what the next operations on `call` are for."""

    call: CallId
    service: Service


@frozen(kw_only=True)
class UserChanged:
    """For the log: a user has registered (`contact`) or is gone (None)."""

    user: str
    contact: str | None


@frozen(kw_only=True)
class Relayed:
    """For the log: a request went from one registered user to another."""

    method: str
    target: str


ServerOutput = o.Output | PrepareMedia | UserChanged | Relayed


@define(kw_only=True)
class _Flow:
    """A connection; `proven`: somebody on it has shown a password, so that it may speak inside of calls."""

    transport: str
    proven: bool = False


@define(kw_only=True)
class _Binding:
    contact: NameAddr
    flow: FlowId
    expires_at: float
    call_id: str
    cseq: int


class ServerCore:
    """Give every input to `handle`, carry out all outputs, wake it at `next_timeout`. As with every engine of the core."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._digest = DigestServer(config.realm, self._secret, config.tokens, config.algorithms)
        self._via_host = f"{token(config.tokens, 12)}.invalid"
        self._mark = token(config.tokens, 26)  # a secret: who does not know it cannot make answers that find their way
        self._flows: dict[FlowId, _Flow] = {}
        self._bindings: dict[str, list[_Binding]] = {}
        self._names = {config.realm.lower(), self._via_host}
        self._out: list[ServerOutput] = []
        self._focus = UserAgent(
            AgentConfig(
                aor=f"sip:focus@{config.realm}",
                any_user=True,
                capabilities=config.capabilities,
                tokens=config.tokens,
                user_agent="sipproto-server",
                accept_messages=False,
                recovery=Recovery(reconnect=False, grace=30.0),
            )
        )
        self._focus_dialogs: set[_DialogKey] = set()
        self._focus_calls: dict[CallId, _DialogKey] = {}
        self._calling: _DialogKey = ("", "")  # the request that the focus is being told of, and the service it asks for
        self._wanted = ""
        self._command = 0

    def _secret(self, user: str) -> Secret | None:
        password = self._config.users.get(user)
        return None if password is None else Secret(username=user, password=password)

    # -- the contract ------------------------------------------------------------------------------------------------

    def handle(self, what: i.Notice | MediaInput, now: float) -> tuple[ServerOutput, ...]:
        """Takes one input; returns every output, in order. Never raises for what a peer did."""
        self._out = []
        match what:
            case i.FlowOpened(flow=flow, transport=transport):
                self._flows[flow] = _Flow(transport=transport.upper())
                self._tell_focus(what, now)
            case i.FlowClosed(flow=flow):
                self._lose_flow(flow)
                self._tell_focus(what, now)
            case i.DataReceived(flow=flow, data=data):
                if flow in self._flows:
                    self._data(flow, data, now)
            case i.TimeoutElapsed():
                self._expire(now)
                self._tell_focus(what, now)
            case _:
                self._tell_focus(what, now)
        out, self._out = self._out, []
        return tuple(out)

    def next_timeout(self) -> float | None:
        ends = [binding.expires_at for user in self._bindings.values() for binding in user]
        if (focus := self._focus.next_timeout()) is not None:
            ends.append(focus)
        return min(ends, default=None)

    @property
    def registered(self) -> dict[str, int]:
        """Users with the number of their bindings."""
        return {user: len(bindings) for user, bindings in self._bindings.items()}

    # -- the focus ---------------------------------------------------------------------------------------------------

    def _tell_focus(self, what: i.Input, now: float) -> None:
        for output in self._focus.handle(what, now):
            if isinstance(output, o.IncomingCall):
                self._out.append(output)
                self._serve(output, now)
            elif not isinstance(output, o.CommandSucceeded | o.CommandFailed):
                if isinstance(output, o.CallEnded):
                    self._focus_dialogs.discard(self._focus_calls.pop(output.call, ("", "")))
                self._out.append(output)

    def _serve(self, call: o.IncomingCall, now: float) -> None:
        service = self._config.services.get(self._wanted)
        self._command += 1
        self._focus_calls[call.call] = self._calling
        self._focus_dialogs.add(self._calling)
        able = self._config.capabilities
        media = tuple(
            (kind, Direction.SENDRECV) for kind in ("audio", "video") if able is not None and able.codecs(kind)
        )
        if service is None or not media:
            self._tell_focus(i.HangUp(command=self._command, call=call.call, status=480), now)
            return
        self._out.append(PrepareMedia(call=call.call, service=service))
        self._tell_focus(i.Answer(command=self._command, call=call.call, media=media), now)

    # -- messages ----------------------------------------------------------------------------------------------------

    def _data(self, flow: FlowId, data: bytes, now: float) -> None:
        try:
            message = parse_message(data)
        except MessageSyntaxError:
            self._tell_focus(i.DataReceived(flow=flow, data=data), now)  # keep-alives, and reports of the rest
            return
        if validate(message) is not None or self._is_for_focus(message):
            self._tell_focus(i.DataReceived(flow=flow, data=data), now)
        elif not isinstance(message, Request):
            self._forward_response(message, flow)
        elif message.method == "REGISTER":
            self._register(message, flow, now)
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
            return _dialog_key(message) in self._focus_dialogs or self._is_service(uri)
        return uri.user is None and message.method == "OPTIONS"

    def _is_service(self, uri: SipUri) -> bool:
        return uri.host in self._names and uri.username in self._config.services

    def _request(self, request: Request, flow: FlowId, now: float) -> None:
        uri = request.uri
        if not isinstance(uri, SipUri):
            self._reply(request, flow, 416)
            return
        within = _is_in_dialog(request) or request.method in ("ACK", "CANCEL")
        if not (within and self._flows[flow].proven) and not self._is_authorized(request, flow, now):
            return
        if not within and self._is_service(uri):
            self._calling, self._wanted = _dialog_key(request), uri.username or ""
            self._tell_focus(i.DataReceived(flow=flow, data=request.to_bytes()), now)
            return
        self._forward(request, uri, flow)

    def _is_authorized(self, request: Request, flow: FlowId, now: float) -> bool:
        check = self._digest.check(request, now, proxy=True)
        sender = request.headers.require(fields.FROM).sip_uri
        if check.verdict is Verdict.OK:
            self._flows[flow].proven = True
            if sender is not None and sender.username == check.username and sender.host in self._names:
                return True
            self._reply(request, flow, 403)
            return False
        if request.method in ("ACK", "CANCEL"):  # these cannot be sent again with credentials (22.1)
            self._reply(request, flow, 403)
            return False
        if check.verdict is Verdict.OTHER_TARGET:
            self._reply(request, flow, 400)
            return False
        challenges = self._digest.challenges(now, stale=check.verdict is Verdict.STALE)
        self._reply(request, flow, 407, extra=[("Proxy-Authenticate", str(c)) for c in challenges])
        return False

    # -- proxy -------------------------------------------------------------------------------------------------------

    def _forward(self, request: Request, uri: SipUri, flow: FlowId) -> None:
        hops = request.headers.get(fields.MAX_FORWARDS)
        if hops == 0:
            if request.method != "ACK":
                self._reply(request, flow, 483)
            return
        binding = self._binding_of(uri)
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

    def _binding_of(self, uri: SipUri) -> _Binding | None:
        """By address of record the newest binding, else the one whose contact this is."""
        if uri.host in self._names:
            bindings = self._bindings.get(uri.username or "", [])
            return bindings[-1] if bindings else None
        return next((b for bindings in self._bindings.values() for b in bindings if _is_at(b, uri)), None)

    # -- registrar (10.3) --------------------------------------------------------------------------------------------

    def _register(self, request: Request, flow: FlowId, now: float) -> None:
        check = self._digest.check(request, now)
        user = check.username
        if check.verdict is Verdict.OTHER_TARGET:
            self._reply(request, flow, 400)
            return
        if user is None:
            challenges = self._digest.challenges(now, stale=check.verdict is Verdict.STALE)
            self._reply(request, flow, 401, extra=[("WWW-Authenticate", str(c)) for c in challenges])
            return
        to = request.headers.require(fields.TO).sip_uri
        if to is None:
            self._reply(request, flow, 400)
            return
        if to.username != user or to.host not in self._names:
            self._reply(request, flow, 403 if to.host in self._names else 404)
            return
        unknown = [tag for tag in request.headers.all(fields.REQUIRE) if tag not in ("outbound", "path")]
        if unknown:
            self._reply(request, flow, 420, extra=[("Unsupported", ", ".join(unknown))])
            return
        self._flows[flow].proven = True
        self._bind(request, user, flow, now, self._digest.info(check, now))

    def _bind(self, request: Request, user: str, flow: FlowId, now: float, proof: tuple[str, object]) -> None:
        headers = request.headers
        stated = headers.get(fields.EXPIRES)
        default = MAX_EXPIRES if stated is None else stated
        contacts = headers.all(fields.CONTACT)
        call_id, cseq = headers.require(fields.CALL_ID), headers.require(fields.CSEQ).number
        bindings = list(self._bindings.get(user, []))
        if any(isinstance(contact, Wildcard) for contact in contacts):
            if len(contacts) != 1 or default != 0:
                self._reply(request, flow, 400)
                return
            bindings = []
        for contact in contacts:
            if isinstance(contact, Wildcard):
                continue
            seconds = _contact_expires(contact, default)
            if 0 < seconds < MIN_EXPIRES:
                self._reply(request, flow, 423, extra=[("Min-Expires", MIN_EXPIRES)])
                return
            if not self._may_bind(user, contact):
                self._reply(request, flow, 403)
                return
            end = now + min(seconds, MAX_EXPIRES)
            fresh = (
                [_Binding(contact=contact, flow=flow, expires_at=end, call_id=call_id, cseq=cseq)] if seconds else []
            )
            old = next((n for n, b in enumerate(bindings) if _same_binding(b.contact, contact)), None)
            if old is None:
                bindings += fresh
            elif bindings[old].call_id == call_id and bindings[old].cseq >= cseq:
                self._reply(request, flow, 500)
                return
            else:
                # In its place: a refresh must not change where the ACK or CANCEL of a call under way goes (16.11).
                bindings[old : old + 1] = fresh
        total = sum(len(b) for name, b in self._bindings.items() if name != user) + len(bindings)
        if len(bindings) > _MAX_BINDINGS or total > self._config.max_bindings:
            self._reply(request, flow, 503, extra=[("Retry-After", 60)])
            return
        self._store(user, bindings)
        listed: list[tuple[str, object]] = [
            ("Contact", str(b.contact.with_param("expires", str(max(1, round(b.expires_at - now)))))) for b in bindings
        ]
        self._reply(request, flow, 200, extra=[*listed, proof])

    def _may_bind(self, user: str, contact: NameAddr) -> bool:
        """The contact of another user would draw the requests in his calls away from him."""
        uri = contact.sip_uri
        others = (b for name, bindings in self._bindings.items() if name != user for b in bindings)
        return uri is None or not any(_is_at(binding, uri) for binding in others)

    def _store(self, user: str, bindings: list[_Binding]) -> None:
        before = bool(self._bindings.get(user))
        if bindings:
            self._bindings[user] = bindings
        else:
            self._bindings.pop(user, None)
        if before != bool(bindings):
            contact = str(bindings[-1].contact.uri) if bindings else None
            self._out.append(UserChanged(user=user, contact=contact))

    def _expire(self, now: float) -> None:
        for user, bindings in list(self._bindings.items()):
            left = [binding for binding in bindings if binding.expires_at > now]
            if len(left) != len(bindings):
                self._store(user, left)

    def _lose_flow(self, flow: FlowId) -> None:
        """A binding lives no longer than its connection (RFC 5626 5.3)."""
        self._flows.pop(flow, None)
        for user, bindings in list(self._bindings.items()):
            left = [binding for binding in bindings if binding.flow != flow]
            if len(left) != len(bindings):
                self._store(user, left)

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


def _dialog_key(request: Request) -> _DialogKey:
    return (request.headers.require(fields.CALL_ID), request.headers.require(fields.FROM).tag or "")


def _is_in_dialog(request: Request) -> bool:
    return request.headers.require(fields.TO).tag is not None


def _is_at(binding: _Binding, uri: SipUri) -> bool:
    contact = binding.contact.sip_uri
    return contact is not None and (contact.user, contact.host) == (uri.user, uri.host)


def _contact_expires(contact: NameAddr, default: int) -> int:
    text = contact.params.get("expires") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else default


def _same_binding(one: NameAddr, two: NameAddr) -> bool:
    """By instance and reg-id where both have them (RFC 5626 6), else by the URI (RFC 3261 10.3)."""
    ours, theirs = one.params.get("+sip.instance"), two.params.get("+sip.instance")
    if ours and theirs:
        return ours == theirs and one.params.get("reg-id") == two.params.get("reg-id")
    return one.uri.equivalent(two.uri)
