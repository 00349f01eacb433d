"""A connector and a server, both without I/O, joined by connections that can be cut; time is simulated."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from attrs import define

from sipproto.agent import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId, MediaInput, MediaOperation
from sipproto.connector import Connector, ConnectorConfig
from sipproto.connector.events import CallStatus, ConnectionStatus
from sipproto.testing._fake_engine import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto.testing._scripted_values import BreakConnection
from sipproto.tokens import SeededTokens
from sipproto.transaction import FlowId

_E = TypeVar("_E")
Filter = Callable[[bytes], bool]  # whether a message arrives
_REFUSED = "the server refused the WebSocket: HTTP status {}"


class SansIoServer(Protocol):
    """A server that is driven as the engines of the core are."""

    def handle(self, what: Any, now: float) -> tuple[Any, ...]: ...

    def next_timeout(self) -> float | None: ...


@define(eq=False)
class _Side:
    """Who gets what is under way: the client or the server."""

    handle: Callable[[Any, float], tuple[Any, ...]]
    carry_out: Callable[[tuple[Any, ...]], None]


class WorldBase:
    """The connector, whatever server there is, and what is under way between them.

    media: the engine of the connector. to_server, to_client: whether a message arrives. out: what the connector has told.
    sent: the messages that it has sent. opened: the addresses that it wanted connections to.
    """

    server: Any

    def __init__(self, config: ConnectorConfig | None, server: SansIoServer, seed: int) -> None:
        tokens = SeededTokens(seed)
        self.agent = UserAgent(
            AgentConfig(aor="sip:nobody@nobody.invalid", capabilities=FAKE_CAPABILITIES, tokens=tokens)
        )
        self.connector = Connector(config or ConnectorConfig(), self.agent, tokens)
        self.server = server
        self.media = FakeMediaEngine(seed=seed)
        self.now = 0.0
        self.to_server: Filter = lambda _: True
        self.to_client: Filter = lambda _: True
        self.out: list[Any] = []
        self.sent: list[bytes] = []
        self.opened: list[str] = []
        self.flows: dict[FlowId, FlowId] = {}  # of the connector: those of the server
        self._server_flow = 0
        self._queue: deque[tuple[_Side, object]] = deque()
        self._command = 0
        self._call = 0
        self._client = _Side(self.connector.handle, self._carry_out)
        self._served = _Side(lambda what, now: self.server.handle(what, now), self._serve)

    # -- moving --------------------------------------------------------------------------------------------------------

    def give(self, what: object) -> None:
        """Gives the connector one input, and carries out all that follows without time passing."""
        self.give_at_once(what)
        self.settle()

    def give_at_once(self, what: object) -> None:
        """As `give`, but what follows has to wait for `step` or `settle`."""
        self._carry_out(self.connector.handle(what, self.now))  # type: ignore[arg-type]

    def command(self, make: Callable[[int], object]) -> int:
        """Gives a command, which `make` gets a number for; returns the number, see `outcome`."""
        self._command += 1
        number = self._command
        self.give(make(number))
        return number

    def do(self, kind: type, **fields: Any) -> Any:
        """A command that has to end without time passing, e.g. `do(HangUpCall)`. Returns its outcome.

        Raises LocalProtocolError when it is not possible, AssertionError when it has not ended.
        """
        return self.outcome(self.command(lambda n: kind(command=n, **fields)))

    def outcome(self, command: int) -> Any:
        """CommandSucceeded or CommandFailed of a command. Raises AssertionError while there is none, or after `take`."""
        outcomes = self.outcomes(command)
        assert len(outcomes) == 1, f"command {command} has {len(outcomes)} outcomes: {outcomes}"
        return outcomes[0]

    def outcomes(self, command: int) -> list[Any]:
        ends = (o.CommandSucceeded, o.CommandFailed)
        return [one for one in self.out if isinstance(one, ends) and one.command == command]

    def settle(self) -> None:
        """Until nothing is under way any more."""
        while self._queue:
            self.step()

    def step(self) -> None:
        """The next thing that is under way arrives. Raises LookupError when there is none."""
        if not self._queue:
            raise LookupError("nothing is under way")
        side, what = self._queue.popleft()
        side.carry_out(side.handle(what, self.now))

    def wait(self, seconds: float) -> None:
        """Lets time pass, waking both sides when they want it."""
        end = self.now + seconds
        while True:
            times = [t for t in (self.connector.next_timeout(), self.server.next_timeout()) if t is not None]
            due = min(times, default=math.inf)
            if due > end:
                break
            self.now = max(self.now, due)
            self._queue.append((self._served, i.TimeoutElapsed()))
            self._queue.append((self._client, i.TimeoutElapsed()))
            self.settle()
        self.now = end

    def cut(self) -> None:
        """All connections break; both sides hear of it."""
        for flow, other in list(self.flows.items()):
            del self.flows[flow]
            self._queue.append((self._client, i.FlowClosed(flow=flow, error="the connection broke")))
            self._queue.append((self._served, i.FlowClosed(flow=other, error="the connection broke")))
        self.settle()

    # -- carrying out --------------------------------------------------------------------------------------------------

    def _carry_out(self, outputs: tuple[object, ...]) -> None:
        for output in outputs:
            self.out.append(output)
            match output:
                case o.OpenFlow(flow=flow, server=server):
                    self.opened.append(server)
                    self._open(flow)
                case o.SendData(flow=flow, data=data):
                    self.sent.append(data)
                    if flow in self.flows and self.to_server(data):
                        self._queue.append((self._served, i.DataReceived(flow=self.flows[flow], data=data)))
                case o.CloseFlow(flow=flow):
                    if (other := self.flows.pop(flow, None)) is not None:
                        self._queue.append((self._served, i.FlowClosed(flow=other)))
                case _ if isinstance(output, MediaOperation):
                    self.media.perform(output, self._reported)
                case _:
                    pass

    def _reported(self, reply: MediaInput) -> None:
        self._queue.append((self._client, reply))

    def _admit(self) -> int | None:
        """How the next connection is answered: 200, a status, or None for never."""
        return 200

    def _open(self, flow: FlowId) -> None:
        answer = self._admit()
        if answer == 200:
            self._server_flow += 1
            self.flows[flow] = self._server_flow
            self._queue.append((self._served, i.FlowOpened(flow=self._server_flow, transport="WSS")))
            self._queue.append((self._client, i.FlowOpened(flow=flow, transport="WSS")))
        elif answer is not None:
            self._queue.append((self._client, i.OpenFlowFailed(flow=flow, error=_REFUSED.format(answer))))

    def _serve(self, outputs: tuple[object, ...]) -> None:
        ours = {other: flow for flow, other in self.flows.items()}
        for output in outputs:
            match output:
                case o.SendData(flow=flow, data=data):
                    if flow in ours and self.to_client(data):
                        self._queue.append((self._client, i.DataReceived(flow=ours[flow], data=data)))
                case o.CloseFlow(flow=flow):
                    self._closed(ours.get(flow), None)
                case BreakConnection(flow=flow, error=error):
                    self._closed(ours.get(flow), error)
                case _:
                    self._other(output)

    def _closed(self, flow: FlowId | None, error: str | None) -> None:
        if flow is not None and self.flows.pop(flow, None) is not None:
            self._queue.append((self._client, i.FlowClosed(flow=flow, error=error)))

    def _other(self, output: object) -> None:
        """What else the server puts out."""

    # -- looking -------------------------------------------------------------------------------------------------------

    def connection_status(self) -> ConnectionStatus:
        return self.connector.connection.status

    def call_status(self) -> CallStatus:
        return self.connector.call.status

    def take(self) -> list[Any]:
        """`out`, which begins anew."""
        out, self.out = self.out, []
        return out

    def all(self, kind: type[_E]) -> list[_E]:
        """Everything of a kind in `out`."""
        return [one for one in self.out if isinstance(one, kind)]

    def one(self, kind: type[_E]) -> _E:
        """The only one of a kind in `out`. Raises AssertionError when there is none, or several."""
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} of {kind.__name__}: {found}"
        return found[0]

    def requests(self, method: str) -> list[bytes]:
        """What the connector has sent, by method; all that was sent is forgotten then."""
        found = [data for data in self.sent if data.startswith(method.encode() + b" ")]
        self.sent.clear()
        return found

    def new_call(self) -> CallId:
        """A name for a call that is in use by no other."""
        self._call += 1
        return f"out-{self._call}"
