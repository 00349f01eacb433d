"""A small SIP server in the shape of an agent: registrar, and a proxy that stays on the route and forks.

It has no timers and repeats nothing: what the network loses between an agent and the server is for the agents to mend
(RFC 3261 16.11), except for calls that fork, whose final answers it has to collect (16.7).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from attrs import define, evolve, field

from sipproto.agent import Input, Output
from sipproto.agent import inputs as i
from sipproto.agent.outputs import SendData
from sipproto.auth import DigestServer, Secret, Verdict
from sipproto.dialog import build_response
from sipproto.errors import FramingError, MessageSyntaxError
from sipproto.message import (
    Headers,
    KeepAlive,
    NameAddr,
    Request,
    Response,
    StreamParser,
    Wildcard,
    fields,
    parse_message,
    validate,
)
from sipproto.tokens import SeededTokens, token

PING, PONG = b"\r\n\r\n", b"\r\n"
_HOST = "proxy.invalid"
_COOKIE = "z9hG4bK-p-"


@define(kw_only=True)
class Fork:
    """An INVITE that went to several."""

    targets: list[tuple[int, str]]  # flow and Request-URI
    request: Request  # as it came
    flow: int
    failed: dict[int, Response] = field(factory=dict)
    answered: bool = False


@define(kw_only=True)
class Proxy:
    """`domain` example.com. What it is told to do besides is in its attributes."""

    passwords: dict[str, str] = field(factory=dict)  # with any, every request is challenged
    min_expires: int = 0
    flow_timer: int | None = None  # promises to answer pings (RFC 5626 4.4.1)
    answers_pings: bool = True
    moved: dict[str, list[str]] = field(factory=dict)  # user to the contacts of a 302
    answers: dict[str, int] = field(
        factory=dict
    )  # method and user ("INVITE b") to the status that the proxy gives itself
    swallows: set[str] = field(factory=set)  # methods that it loses
    hides: set[str] = field(factory=set)  # methods that it takes out of Allow
    strips: set[str] = field(factory=set)  # option tags that it takes out of Supported
    _now: float = 0.0
    _transports: dict[int, str] = field(factory=dict)  # of open flows
    _streams: dict[int, StreamParser] = field(factory=dict)
    _bindings: dict[str, dict[str, tuple[str, float]]] = field(factory=dict)  # user to instance to URI, end
    _where: dict[str, int] = field(factory=dict)  # user part of a Contact to its flow, as flow tokens do (RFC 5626 5.3)
    _forks: dict[str, Fork] = field(factory=dict)  # by branch of the caller
    _out: list[Output] = field(factory=list)
    _tokens: SeededTokens = field(factory=lambda: SeededTokens(4711))
    _digest: DigestServer | None = None

    # -- the shape of an agent ---------------------------------------------------------------------------------------

    @property
    def calls(self) -> tuple[str, ...]:
        return ()

    @property
    def retained(self) -> dict[str, int]:
        return {}

    def next_timeout(self) -> float | None:
        return None

    def timers(self) -> list[tuple[object, str, float]]:
        return []

    def descriptions(self, call: str) -> tuple[bytes, bytes]:
        raise NotImplementedError

    def handle(self, what: Input, now: float) -> tuple[Output, ...]:
        self._now, self._out = now, []
        match what:
            case i.FlowOpened(flow=flow, transport=transport):
                self._transports[flow] = transport
                if transport in ("TCP", "TLS"):
                    self._streams[flow] = StreamParser()
            case i.FlowClosed(flow=flow):
                self._transports.pop(flow, None)
                self._streams.pop(flow, None)
            case i.DataReceived(flow=flow, data=data):
                self._data(flow, data)
            case _:
                pass
        return tuple(self._out)

    # -- octets ------------------------------------------------------------------------------------------------------

    def _data(self, flow: int, data: bytes) -> None:
        try:
            stream = self._streams.get(flow)
            items: Iterable[object] = stream.feed(data) if stream is not None else [data]
        except FramingError as error:
            items = error.before
        for item in items:
            if isinstance(item, bytes):
                item = self._read(item)
            if isinstance(item, Request | Response):
                self._message(flow, item)
            elif item is KeepAlive.PING:
                self._pong(flow)

    @staticmethod
    def _read(data: bytes) -> object:
        if data == PING:
            return KeepAlive.PING
        try:
            return parse_message(data)
        except MessageSyntaxError:
            return None

    def _pong(self, flow: int) -> None:
        if self.answers_pings:
            self._out.append(SendData(flow=flow, data=PONG))

    def _message(self, flow: int, message: Request | Response) -> None:
        fault = validate(message)
        if isinstance(message, Response):
            if fault is None:
                self._response(message)
        elif message.method in self.swallows:
            pass
        elif fault is not None:
            if fault.status_hint:
                self._reply(flow, message, fault.status_hint)
        else:
            self._request(flow, message)

    def _send(self, flow: int, message: Request | Response) -> bool:
        if flow not in self._transports:
            return False
        for wanted, hidden in ((fields.ALLOW, self.hides), (fields.SUPPORTED, self.strips)):
            if hidden and wanted.name in message.headers:
                left = ", ".join(word for word in message.headers.all(wanted) if word not in hidden)
                message = evolve(message, headers=message.headers.replace(wanted.name, left))
        self._out.append(SendData(flow=flow, data=message.to_bytes()))
        return True

    def _reply(self, flow: int, request: Request, status: int, *extra: tuple[str, object]) -> None:
        if request.method != "ACK":
            self._send(flow, build_response(request, status, to_tag=token(self._tokens), extra=extra))

    # -- requests ----------------------------------------------------------------------------------------------------

    def _request(self, flow: int, request: Request) -> None:
        uri, to = request.uri, request.headers.require(fields.TO)
        user = getattr(uri, "user", None) or ""
        self._learn(flow, request)
        if request.method == "REGISTER":
            self._register(flow, request)
            return
        inside = to.tag is not None
        if not inside and self._turned_away(flow, request, user):
            return
        fork = self._forks.get(self._branch(request))
        if fork is not None:  # its CANCEL, its ACK, or the INVITE once more
            self._follow(fork, request)
            if request.method == "CANCEL":
                self._reply(flow, request, 200)  # 16.10: those of the forks go no further
            return
        targets = self._targets(user)
        if not user and request.method == "OPTIONS":
            self._reply(flow, request, 200)
        elif not targets:
            self._reply(flow, request, 480 if user in self._where or user in self._bindings else 404)
        elif len(targets) > 1 and request.method == "INVITE":
            fork = self._forks[self._branch(request)] = Fork(targets=targets, request=request, flow=flow)
            self._follow(fork, request)
        else:
            self._forward(flow, request, targets[0], 0)

    def _turned_away(self, flow: int, request: Request, user: str) -> bool:
        """A request outside of dialogs that goes no further."""
        if request.method in ("ACK", "CANCEL"):
            return False
        if self.passwords and not self._proven(flow, request, proxy=True):
            return True
        if user in self.moved and request.method == "INVITE":
            self._reply(flow, request, 302, *(("Contact", f"<{contact}>") for contact in self.moved[user]))
            return True
        status = self.answers.get(f"{request.method} {user}")
        if status is not None:
            self._reply(flow, request, status)
        return status is not None

    def _proven(self, flow: int, request: Request, *, proxy: bool) -> bool:
        if self._digest is None:
            secrets = {user: Secret(username=user, password=password) for user, password in self.passwords.items()}
            self._digest = DigestServer("example.com", secrets.get, SeededTokens(12))
        check = self._digest.check(request, self._now, proxy=proxy)
        if check.verdict is Verdict.OK:
            return True
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        challenges = self._digest.challenges(self._now, stale=check.verdict is Verdict.STALE)
        self._reply(flow, request, 407 if proxy else 401, *((name, challenge) for challenge in challenges))
        return False

    def _learn(self, flow: int, message: Request | Response) -> None:
        """Where a Contact leads: to the flow that it came by."""
        contact = message.headers.get(fields.CONTACT)
        if contact is not None and not isinstance(contact, Wildcard) and contact.sip_uri is not None:
            self._where[contact.sip_uri.user or ""] = flow

    def _targets(self, user: str) -> list[tuple[int, str]]:
        """Flows and Request-URIs that a user part stands for: an address of record, or a Contact ("" keeps the URI)."""
        if user not in self._bindings:
            flow = self._where.get(user)
            return [(flow, "")] if flow in self._transports and flow is not None else []
        found = []
        for uri, end in self._bindings[user].values():
            flow = self._where.get(uri.partition(":")[2].partition("@")[0], 0)
            if end > self._now and flow in self._transports:
                found.append((flow, uri))
        return found

    @staticmethod
    def _branch(message: Request) -> str:
        return message.headers.require(fields.VIA).branch or ""

    def _forward(self, flow: int, request: Request, target: tuple[int, str], index: int) -> None:
        to_flow, uri = target
        # A function of what came, so that an ACK or CANCEL follows its INVITE, and a repetition is one (16.11).
        crc = zlib.crc32(self._branch(request).encode())
        branch = f"{_COOKIE}{-flow}-{index}-{crc:08x}"
        headers = request.headers
        routes = headers.all(fields.ROUTE)
        headers = headers.replace("Route", *(r for r in routes if r.sip_uri is None or r.sip_uri.host != _HOST))
        if request.method == "INVITE":
            headers = headers.with_first("Record-Route", f"<sip:{_HOST};lr>")
        transport = self._transports.get(to_flow, "WS")
        headers = headers.with_first("Via", f"SIP/2.0/{transport} {_HOST};branch={branch}")
        headers = _counted(headers)
        sent = Request(request.method, uri or request.target, headers, request.body)
        if not self._send(to_flow, sent):
            self._reply(flow, request, 480)

    # -- responses ---------------------------------------------------------------------------------------------------

    def _response(self, response: Response) -> None:
        via = response.headers.get(fields.VIA)
        branch = (via.branch if via is not None else None) or ""
        vias = response.headers.all(fields.VIA)
        if not branch.startswith(_COOKIE) or len(vias) < 2:
            return
        parts = branch.removeprefix(_COOKIE).split("-")
        if not all(part.isascii() and part.isdecimal() for part in parts[:2]):
            return
        flow, index = -int(parts[0]), int(parts[1])  # accepted flows have negative numbers
        stripped = evolve(response, headers=response.headers.replace("Via", *vias[1:]))
        fork = self._forks.get(vias[1].branch or "")
        method = response.headers.require(fields.CSEQ).method
        if fork is None:
            self._send(flow, stripped)
        elif method == "INVITE":
            self._of_fork(fork, index, stripped)

    # -- forks (16.7) ------------------------------------------------------------------------------------------------

    def _follow(self, fork: Fork, request: Request) -> None:
        for index, target in enumerate(fork.targets):
            if request.method == "INVITE" or index not in fork.failed:
                self._forward(fork.flow, request, target, index)

    def _of_fork(self, fork: Fork, index: int, response: Response) -> None:
        if response.status < 200:
            if index not in fork.failed:
                self._send(fork.flow, response)
            return
        if response.status < 300:
            self._send(fork.flow, response)
            if not fork.answered:
                fork.answered = True
                self._cancel_others(fork, index)
            return
        self._acknowledge(fork, index, response)
        fork.failed[index] = response
        if len(fork.failed) == len(fork.targets) and not fork.answered:
            best = min(fork.failed.values(), key=lambda one: (one.status < 600, one.status))
            self._send(fork.flow, best)

    def _acknowledge(self, fork: Fork, index: int, response: Response) -> None:
        to = response.headers.first("To")
        cseq = fork.request.headers.require(fields.CSEQ).number
        headers = fork.request.headers.without("Content-Type", "Contact").replace("To", to)
        headers = headers.replace("CSeq", f"{cseq} ACK").replace("Content-Length", 0)
        self._forward(fork.flow, Request("ACK", fork.request.target, headers), fork.targets[index], index)

    def _cancel_others(self, fork: Fork, winner: int) -> None:
        cseq = fork.request.headers.require(fields.CSEQ).number
        headers = fork.request.headers.without("Content-Type", "Contact").replace("CSeq", f"{cseq} CANCEL")
        request = Request("CANCEL", fork.request.target, headers.replace("Content-Length", 0))
        for index, target in enumerate(fork.targets):
            if index != winner and index not in fork.failed:
                self._forward(fork.flow, request, target, index)

    # -- registrar (10.3) --------------------------------------------------------------------------------------------

    def _register(self, flow: int, request: Request) -> None:
        if self.passwords and not self._proven(flow, request, proxy=False):
            return
        user = request.headers.require(fields.TO).sip_uri
        name = (user.user if user is not None else None) or ""
        status = self.answers.get(f"REGISTER {name}")
        if status is not None:
            self._reply(flow, request, status)
            return
        of_user = self._bindings.setdefault(name, {})
        for contact in request.headers.all(fields.CONTACT):
            if isinstance(contact, Wildcard):
                of_user.clear()
                continue
            expires = int(contact.params.get("expires") or 3600)
            if 0 < expires < self.min_expires:
                self._reply(flow, request, 423, ("Min-Expires", self.min_expires))
                return
            instance = contact.params.get("+sip.instance") or str(contact.uri)
            of_user.pop(instance, None)
            if expires:
                of_user[instance] = (str(contact.uri), self._now + expires)
        bound = [
            ("Contact", NameAddr(contact.uri).with_param("expires", contact.params.get("expires") or "3600"))
            for contact in request.headers.all(fields.CONTACT)
            if not isinstance(contact, Wildcard) and of_user
        ]
        extra: list[tuple[str, object]] = [*bound]
        if self.flow_timer is not None:
            extra += [("Require", "outbound"), ("Flow-Timer", self.flow_timer)]
        self._reply(flow, request, 200, *extra)


def _counted(headers: Headers) -> Headers:
    hops = headers.get(fields.MAX_FORWARDS)
    return headers.replace("Max-Forwards", 70 if hops is None else max(0, hops - 1))
