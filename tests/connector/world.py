"""A connector and the embedded server, both without I/O, joined by connections that the test can cut; time is simulated."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import evolve

from sipproto.agent import AgentConfig, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import MediaInput, MediaOperation
from sipproto.conference import ConferenceMessage, Unusable, parse_info, write_info
from sipproto.connector import ConnectionParameters, Connector, ConnectorConfig
from sipproto.connector.events import CallStatus, ConnectionStatus
from sipproto.connector.inputs import CallServer, ConnectToServer
from sipproto.sdp import Direction
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto.tokens import SeededTokens
from sipproto_server import PrepareMedia, ServerConfig, ServerCore

_E = TypeVar("_E")
REALM = "example.com"
PASSWORD = "open sesame"
ALICE = ConnectionParameters(
    sip_server_url=f"sip:{REALM}",
    sip_web_socket_server_url="wss://example.com/ws",
    user="alice",
    password=PASSWORD,
    register=True,
    display_name="Alice Liddell",
    remote_address="192.0.2.7",
)
GUEST = evolve(ALICE, user=None, password=None, register=False, display_name="A guest")
Filter = Callable[[bytes], bool]  # whether a message arrives
BOTH: Media = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


class Focus:
    """A conference server of which the test decides what it says and answers; it does not know REGISTER."""

    def __init__(self, seed: int) -> None:
        self.agent = UserAgent(
            AgentConfig(
                aor="sip:focus@example.com",
                any_user=True,
                answer_infos=True,
                capabilities=FAKE_CAPABILITIES,
                recovery=Recovery(reconnect=False, grace=30.0),
                tokens=SeededTokens(seed),
            )
        )
        self.verdict: Callable[[ConferenceMessage], int | None] = lambda _: 200  # None: no answer
        self.answers = True  # calls
        self.heard: list[ConferenceMessage] = []
        self.events: list[Any] = []
        self.call: str | None = None
        self.made: list[str] = []
        self._now = 0.0
        self._command = 0

    def next_timeout(self) -> float | None:
        return self.agent.next_timeout()

    def handle(self, what: Any, now: float) -> tuple[Any, ...]:
        self._now = now
        out: list[Any] = []
        todo = deque([what])
        while todo:
            for output in self.agent.handle(todo.popleft(), now):
                out.append(output)
                if (reaction := self._reaction(output)) is not None:
                    todo.append(reaction)
        return tuple(out)

    def invite(self, contact: str, flow: int) -> i.Invite:
        """To call a client over the connection that it has made: a server routes to it, which an agent does not."""
        self.agent._hub.server_flow = flow
        self.made.append(f"made-{len(self.made)}")
        return i.Invite(command=0, call=self.made[-1], target=contact, media=BOTH)

    def refused(self) -> list[int | None]:
        """How those calls ended that were refused."""
        return [event.status for event in self.events if isinstance(event, o.CallEnded) and event.call in self.made]

    def _reaction(self, output: Any) -> Any:
        self.events.append(output)
        self._command += 1
        match output:
            case o.IncomingCall(call=call):
                self.call = call
                return i.Answer(command=self._command, call=call, media=BOTH) if self.answers else None
            case o.InfoReceived(call=call, info=info):
                said = parse_info(output.content_type, output.headers)
                assert len(said) == 1 and not isinstance(said[0], Unusable), output
                self.heard.append(said[0])
                status = self.verdict(said[0])
                if status is not None:
                    return i.AnswerInfo(command=self._command, call=call, info=info, status=status)
            case _:
                pass
        return None


class World:
    """`out` has everything that the connector told, in order, since it was last looked at by `take`."""

    def __init__(self, config: ConnectorConfig | None = None, *, seed: int = 1, **server: Any) -> None:
        tokens = SeededTokens(seed)
        self.agent = UserAgent(
            AgentConfig(aor="sip:nobody@nobody.invalid", capabilities=FAKE_CAPABILITIES, tokens=tokens)
        )
        self.connector = Connector(config or ConnectorConfig(), self.agent, tokens)
        settings: dict[str, Any] = {"users": {"alice": PASSWORD, "bob": "bob's"}, **server}
        self.server: Any = ServerCore(
            ServerConfig(realm=REALM, capabilities=FAKE_CAPABILITIES, tokens=SeededTokens(seed + 1000), **settings)
        )
        self.focus = Focus(seed + 2000)
        self.engine = FakeMediaEngine(seed=seed)
        self._server_engine = FakeMediaEngine(seed=seed + 1000)
        self.now = 0.0
        self.reachable = True
        self.answers = True  # whether connections that are asked for open or fail at all
        self.to_server: Filter = lambda _: True
        self.to_client: Filter = lambda _: True
        self.out: list[Any] = []
        self.sent: list[bytes] = []  # by the connector
        self.opened: list[str] = []  # servers that connections were asked for to
        self.flows: dict[int, int] = {}  # of the connector: those of the server
        self._server_flow = 0
        self._queue: deque[tuple[str, object]] = deque()
        self._command = 0
        self._call = 0

    # -- moving --------------------------------------------------------------------------------------------------------

    def give(self, what: object) -> None:
        """Gives the connector one input, and carries out all that follows without time passing."""
        self._carry_out(self.connector.handle(what, self.now))  # type: ignore[arg-type]
        self.settle()

    def command(self, make: Callable[[int], object]) -> int:
        self._command += 1
        number = self._command
        self.give(make(number))
        return number

    def do(self, kind: type, **fields: Any) -> Any:
        """A command that has to end without time passing. Returns its outcome."""
        return self.outcome(self.command(lambda n: kind(command=n, **fields)))

    def outcome(self, command: int) -> Any:
        (outcome,) = self.outcomes(command)
        return outcome

    def outcomes(self, command: int) -> list[Any]:
        ends = (o.CommandSucceeded, o.CommandFailed)
        return [one for one in self.out if isinstance(one, ends) and one.command == command]

    def settle(self) -> None:
        while self._queue:
            self.step()

    def step(self) -> None:
        """The next thing that is under way arrives."""
        side, what = self._queue.popleft()
        if side == "client":
            self._carry_out(self.connector.handle(what, self.now))  # type: ignore[arg-type]
        else:
            self._serve(self.server.handle(what, self.now))

    def wait(self, seconds: float) -> None:
        """Lets time pass, waking both sides when they want it."""
        end = self.now + seconds
        while True:
            times = [t for t in (self.connector.next_timeout(), self.server.next_timeout()) if t is not None]
            due = min(times, default=math.inf)
            if due > end:
                break
            self.now = max(self.now, due)
            self._queue.append(("server", i.TimeoutElapsed()))
            self._queue.append(("client", i.TimeoutElapsed()))
            self.settle()
        self.now = end

    def cut(self) -> None:
        """All connections break."""
        for flow, other in list(self.flows.items()):
            del self.flows[flow]
            self._queue.append(("client", i.FlowClosed(flow=flow, error="the connection broke")))
            self._queue.append(("server", i.FlowClosed(flow=other, error="the connection broke")))
        self.settle()

    def _carry_out(self, outputs: tuple[object, ...]) -> None:
        for output in outputs:
            assert PASSWORD not in repr(output)
            self.out.append(output)
            match output:
                case o.OpenFlow(flow=flow, server=server):
                    self.opened.append(server)
                    self._open(flow)
                case o.SendData(flow=flow, data=data):
                    self.sent.append(data)
                    if flow in self.flows and self.to_server(data):
                        self._queue.append(("server", i.DataReceived(flow=self.flows[flow], data=data)))
                case o.CloseFlow(flow=flow):
                    if (other := self.flows.pop(flow, None)) is not None:
                        self._queue.append(("server", i.FlowClosed(flow=other)))
                case _ if isinstance(output, MediaOperation):
                    self.engine.perform(output, self._reported)
                case _:
                    pass

    def _reported(self, reply: MediaInput) -> None:
        self._queue.append(("client", reply))

    def _server_reported(self, reply: MediaInput) -> None:
        self._queue.append(("server", reply))

    def _open(self, flow: int) -> None:
        if not self.answers:
            return
        if not self.reachable:
            self._queue.append(("client", i.OpenFlowFailed(flow=flow, error="connection refused")))
            return
        self._server_flow += 1
        self.flows[flow] = self._server_flow
        self._queue.append(("server", i.FlowOpened(flow=self._server_flow, transport="WSS")))
        self._queue.append(("client", i.FlowOpened(flow=flow, transport="WSS")))

    def _serve(self, outputs: tuple[object, ...]) -> None:
        ours = {other: flow for flow, other in self.flows.items()}
        for output in outputs:
            match output:
                case o.SendData(flow=flow, data=data):
                    if flow in ours and self.to_client(data):
                        self._queue.append(("client", i.DataReceived(flow=ours[flow], data=data)))
                case o.CloseFlow(flow=flow):
                    if flow in ours and self.flows.pop(ours[flow], None) is not None:
                        self._queue.append(("client", i.FlowClosed(flow=ours[flow])))
                case PrepareMedia():
                    pass
                case _ if isinstance(output, MediaOperation):
                    self._server_engine.perform(output, self._server_reported)
                case _:
                    pass

    # -- looking -------------------------------------------------------------------------------------------------------

    def say(self, message: ConferenceMessage) -> None:
        """The focus says something in the call."""
        assert self.focus.call is not None
        info = write_info(message)
        send = i.SendInfo(
            command=0, call=self.focus.call, content_type=info.content_type, body=b"", headers=info.headers
        )
        self.tell_focus(send)

    def focus_calls(self) -> None:
        """The focus calls us, over the connection that we have made."""
        contact = self.agent._hub.flow_contact(next(iter(self.flows))).uri
        self._command += 1
        self.tell_focus(self.focus.invite(str(contact), next(iter(self.flows.values()))))

    def focus_gives_up(self) -> None:
        """It ends the call that it made last."""
        self.tell_focus(i.HangUp(command=0, call=self.focus.made[-1]))

    def give_at_once(self, what: object) -> None:
        """As `give`, but what follows has to wait for `settle`."""
        self._carry_out(self.connector.handle(what, self.now))  # type: ignore[arg-type]

    def tell_focus(self, what: Any) -> None:
        self._queue.append(("server", what))
        self.settle()

    def connection_status(self) -> ConnectionStatus:
        return self.connector.connection.status

    def call_status(self) -> CallStatus:
        return self.connector.call.status

    def take(self) -> list[Any]:
        out, self.out = self.out, []
        return out

    def all(self, kind: type[_E]) -> list[_E]:
        return [one for one in self.out if isinstance(one, kind)]

    def one(self, kind: type[_E]) -> _E:
        (found,) = self.all(kind)
        return found

    def requests(self, method: str) -> list[bytes]:
        """What the connector has sent, by method; forgotten then."""
        found = [data for data in self.sent if data.startswith(method.encode() + b" ")]
        self.sent.clear()
        return found

    def new_call(self) -> str:
        self._call += 1
        return f"out-{self._call}"


def conference(config: ConnectorConfig | None = None, *, seed: int = 1) -> World:
    """A connector as a guest of the focus."""
    world = World(config, seed=seed)
    world.server = world.focus
    world.do(ConnectToServer, parameters=GUEST)
    return world


def in_call(config: ConnectorConfig | None = None, *, seed: int = 1, **fields: Any) -> World:
    """A connector in a call with the focus; nothing of how it came about is in `out`."""
    world = conference(config, seed=seed)
    call = world.new_call()
    outcome = world.do(CallServer, call=call, number="12345", **fields)
    assert isinstance(outcome, o.CommandSucceeded), outcome
    world.take()
    world.sent.clear()
    return world
