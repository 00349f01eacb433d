"""A server core with user agents of the core on its connections: no octet leaves the process."""

from __future__ import annotations

from collections import deque
from typing import Any

from sipproto.agent import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import DigestChallenge, DigestInput, Secret, digest_response
from sipproto.message import Message, Request, Response, fields, parse_message
from sipproto.negotiation import MediaCapabilities
from sipproto.tokens import SeededTokens
from sipproto_server import ServerConfig, ServerCore, ServerOutput

REALM = "test.invalid"
USERS = {"alice": "wonderland", "bob": "builder", "mallory": "evil"}
OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n"


class World:
    """Flow numbers of the server are the numbers of its clients; agents run on some of them."""

    def __init__(self, capabilities: MediaCapabilities | None = None, max_bindings: int = 100, **more: Any) -> None:
        config = ServerConfig(
            realm=REALM,
            users=USERS,
            tokens=SeededTokens(1),
            capabilities=capabilities,
            max_bindings=max_bindings,
            **more,
        )
        self.core = ServerCore(config)
        self.now = 0.0
        self.agents: dict[int, UserAgent] = {}
        self.seen: dict[int, list[o.Output]] = {}
        self.raw: dict[int, list[Message]] = {}
        self.told: list[ServerOutput] = []
        self._command = 0
        self._waiting: deque[tuple[int | None, i.Input]] = deque()
        self._at_work = False

    # -- raw clients -------------------------------------------------------------------------------------------------

    def open(self, flow: int) -> None:
        self.raw[flow] = []
        self.server(i.FlowOpened(flow=flow, transport="WS"))

    def server(self, what: i.Input) -> None:
        self._deliver(None, what)

    def _deliver(self, whom: int | None, what: i.Input) -> None:
        """In order, as connections do: what comes while another input is worked on waits for its turn."""
        self._waiting.append((whom, what))
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._waiting:
                to, item = self._waiting.popleft()
                if to is None:
                    self._at_server(item)
                else:
                    self._at_agent(to, item)
        finally:
            self._at_work = False

    def _at_server(self, what: i.Input) -> None:
        for output in self.core.handle(what, self.now):  # type: ignore[arg-type]
            self.told.append(output)
            if isinstance(output, o.SendData):
                if output.flow in self.agents:
                    self.agent(output.flow, i.DataReceived(flow=1, data=output.data))
                elif output.data.strip():
                    self.raw[output.flow].append(parse_message(output.data))

    def send(self, flow: int, data: bytes) -> list[Message]:
        """What that client gets back at once."""
        before = len(self.raw[flow])
        self.server(i.DataReceived(flow=flow, data=data))
        return self.raw[flow][before:]

    def ask(self, flow: int, data: bytes) -> Response:
        (answer,) = self.send(flow, data)
        assert isinstance(answer, Response)
        return answer

    # -- agents ------------------------------------------------------------------------------------------------------

    def connect(self, flow: int, user: str, *, register: bool = True) -> UserAgent:
        secret = Secret(username=user, password=USERS[user])
        tokens = SeededTokens(100 + flow)
        agent = UserAgent(AgentConfig(aor=f"sip:{user}@{REALM}", secrets=(secret,), tokens=tokens))
        self.agents[flow], self.seen[flow] = agent, []
        self.command(flow, i.Connect, server="ws://h/")
        self.server(i.FlowOpened(flow=flow, transport="WS"))
        self.agent(flow, i.FlowOpened(flow=1, transport="WS"))
        if register:
            self.command(flow, i.Register)
            assert self.last(flow, o.CommandSucceeded)
        return agent

    def command(self, flow: int, kind: type, **more: object) -> None:
        self._command += 1
        self.agent(flow, kind(command=self._command, **more))

    def agent(self, flow: int, what: i.Input) -> None:
        self._deliver(flow, what)

    def _at_agent(self, flow: int, what: i.Input) -> None:
        for output in self.agents[flow].handle(what, self.now):
            self.seen[flow].append(output)
            if isinstance(output, o.SendData):
                self.server(i.DataReceived(flow=flow, data=output.data))

    def last(self, flow: int, kind: type[o.Output] | type) -> object:
        return next((x for x in reversed(self.seen[flow]) if isinstance(x, kind)), None)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.server(i.TimeoutElapsed())
        for flow in self.agents:
            self.agent(flow, i.TimeoutElapsed())


def request(
    method: str, uri: str, *, user: str = "alice", to: str | None = None, call_id: str = "c1", branch: str = "b1",
    cseq: int = 1, extra: str = "", body: str = "", from_: str | None = None,
) -> bytes:  # fmt: skip
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/WS client.invalid;branch=z9hG4bK{branch}\r\n"
        f"From: {from_ or f'<sip:{user}@{REALM}>'};tag=t{user}\r\nTo: {to or f'<{uri}>'}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def with_credentials(world: World, flow: int, data: bytes, user: str, password: str | None = None) -> bytes:
    """Sends a request, takes its challenge, and gives the request with the answer to it, on another branch."""
    challenge = world.ask(flow, data)
    assert challenge.status in (401, 407), challenge.status
    name = "WWW-Authenticate" if challenge.status == 401 else "Proxy-Authenticate"
    field = fields.WWW_AUTHENTICATE if challenge.status == 401 else fields.PROXY_AUTHENTICATE
    nonce = challenge.headers.all(field)[0].params.get("nonce")
    assert nonce is not None and name in challenge.headers
    asked = parse_message(data)
    assert isinstance(asked, Request)
    ours = DigestChallenge(realm=REALM, nonce=nonce, algorithm="SHA-256", qop=("auth",))
    secret = Secret(username=user, password=password or USERS[user])
    given = DigestInput(method=asked.method, uri=asked.target, body=b"", cnonce="abc", nc=1, qop="auth")
    ha1 = secret.hash_for(REALM, "SHA-256")
    assert ha1 is not None
    value = (
        f'Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="{asked.target}", algorithm=SHA-256, '
        f'response="{digest_response(ha1, ours, given)}", cnonce="abc", nc=00000001, qop=auth'
    )
    header = "Authorization" if challenge.status == 401 else "Proxy-Authorization"
    return data.replace(b";branch=z9hG4bK", b";branch=z9hG4bKauth").replace(
        b"Max-Forwards", f"{header}: {value}\r\nMax-Forwards".encode()
    )
