"""A deterministic network for two or more agents: sans-IO, seeded, with loss, duplication, reordering and resets.

Time is a number that jumps to the nearest of all deliveries and `next_timeout()`s. Everything random comes from one
`random.Random(seed)`, so that a run repeats itself octet for octet.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Protocol

from attrs import define, evolve, field, frozen

from sipproto.agent import Input, Output
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.negotiation import LocalTransport, MediaCapabilities
from sipproto.sdp import Codec

CAPABILITIES = MediaCapabilities(
    audio=(
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
    ),
    video=(
        Codec(payload_type=96, name="VP8", clock_rate=90000, feedback=("nack pli",)),
        Codec(payload_type=97, name="rtx", clock_rate=90000, parameters="apt=96"),
    ),
    audio_extensions=("urn:ietf:params:rtp-hdrext:sdes:mid",),
    video_extensions=("urn:ietf:params:rtp-hdrext:sdes:mid", "urn:3gpp:video-orientation"),
)


def local_transport(slot: int, salt: int = 0) -> LocalTransport:
    return LocalTransport(
        ice_ufrag=f"u{salt}x{slot}",
        ice_pwd=f"password{salt:08}slot{slot:02}",
        candidates=(f"1 1 udp 2130706431 10.0.{salt % 250}.{slot} 4000 typ host",),
        fingerprint=("sha-256", ":".join(["AB"] * 32)),
        address="10.0.0.1",
        port=4000 + slot,
    )


@frozen(kw_only=True)
class Link:
    """How octets travel. `loss`, `duplicate`, `reorder` are probabilities and only for UDP; others keep their order."""

    transport: str = "UDP"
    latency: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0

    @property
    def ordered(self) -> bool:
        return self.transport != "UDP"


@define(kw_only=True, eq=False)
class Connection:
    """One open flow: an end at each of two nodes."""

    link: Link
    ends: tuple[tuple[str, int], tuple[str, int]]
    open: bool = True
    last: dict[str, float] = field(factory=dict)  # by sender: when its last octets arrive

    def other(self, name: str) -> tuple[str, int]:
        return self.ends[1] if self.ends[0][0] == name else self.ends[0]


@define(kw_only=True)
class MediaPeer:
    """A fake media engine: answers after a delay, fails, keeps silent, or answers after the end of the call."""

    delay: float = 0.05
    fail: float = 0.0
    silent: float = 0.0
    break_later: float = 0.0  # reports FAILED some seconds after it was applied
    opened: set[str] = field(factory=set)
    misuse: list[str] = field(factory=list)

    def perform(self, operation: m.MediaOperation, rng: random.Random) -> list[tuple[float, m.MediaInput]]:
        if isinstance(operation, m.CloseMedia):
            if operation.call not in self.opened:
                # closing what was asked for but never opened is fine; twice is not
                self.misuse.append(f"close of {operation.call} that is not open")
            self.opened.discard(operation.call)
            return []
        if isinstance(operation, m.OpenMedia):
            self.opened.add(operation.call)
        elif operation.call not in self.opened:
            self.misuse.append(f"{type(operation).__name__} for {operation.call}, which is not open")
        when = self.delay * (0.5 + rng.random())
        if rng.random() < self.silent:
            return []
        if rng.random() < self.fail:
            return [(when, m.MediaFailed(request=operation.request, error="it broke"))]
        if isinstance(operation, m.OpenMedia):
            salt = rng.randrange(10_000)
            transports = tuple((slot, local_transport(slot, salt)) for slot in operation.slots)
            return [(when, m.MediaOpened(request=operation.request, transports=transports))]
        if isinstance(operation, m.CollectStats):
            report = m.MediaReport(state=m.MediaState.CONNECTED)
            return [(when, m.StatsCollected(request=operation.request, report=report))]
        out: list[tuple[float, m.MediaInput]] = [
            (when, m.MediaApplied(request=operation.request)),
            (when + 0.01, m.MediaStateChanged(call=operation.call, state=m.MediaState.CONNECTED)),
        ]
        if rng.random() < self.break_later:
            out.append((when + 5 * rng.random(), m.MediaStateChanged(call=operation.call, state=m.MediaState.FAILED)))
        return out


class Agent(Protocol):
    """What a node runs: a UserAgent, or whatever else has its shape."""

    def handle(self, what: Input, now: float) -> tuple[Output, ...]: ...

    def next_timeout(self) -> float | None: ...

    def timers(self) -> list[tuple[object, str, float]]: ...

    def descriptions(self, call: m.CallId) -> tuple[bytes, bytes]: ...

    @property
    def calls(self) -> tuple[m.CallId, ...]: ...

    @property
    def retained(self) -> dict[str, int]: ...


@define(kw_only=True, eq=False)
class Node:
    """One agent with what the network knows of it, and the books that it keeps."""

    name: str
    agent: Agent
    media: MediaPeer
    on_output: Callable[[Output], None] = field(default=lambda _: None)
    flows: dict[int, Connection] = field(factory=dict)
    accepted: int = 0
    issued: dict[int, float] = field(factory=dict)
    outcomes: dict[int, tuple[float, o.Outcome]] = field(factory=dict)
    started: set[str] = field(factory=set)
    ended: list[o.CallEnded] = field(factory=list)
    dead: bool = False  # the machine has stopped, and nobody has told the others
    asleep_until: float = 0.0  # its timers are late until then

    @property
    def wakes_at(self) -> float | None:
        due = None if self.dead else self.agent.next_timeout()
        return None if due is None else max(due, self.asleep_until)


class Network:
    """Everything that can happen, in the order in which it does."""

    def __init__(self, seed: int, *, base: float = 0.0) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = base
        self.base = base
        self.nodes: dict[str, Node] = {}
        self.links: dict[str, Link] = {}  # by the name of the node that connects
        self.servers: dict[str, str | None] = {}  # by URL, the node that it leads to; None: it refuses
        # What becomes of octets on their way: a list of extra delays and octets. And how late timers fire, in seconds.
        self.carry: Callable[[Node, Connection, bytes], list[tuple[float, bytes]]] = lambda node, at, data: [
            (0.0, data)
        ]
        self.lateness: Callable[[Node], float] = lambda node: 0.0
        self.log: list[tuple[float, str, Output]] = []
        self.keeps_log = True
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._commands = 0

    def add(self, name: str, agent: Agent, media: MediaPeer | None = None) -> Node:
        node = Node(name=name, agent=agent, media=media or MediaPeer())
        self.nodes[name] = node
        return node

    # -- time --------------------------------------------------------------------------------------------------------

    def after(self, delay: float, action: Callable[[], object]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self.now + delay, self._sequence, action))

    def next_event(self) -> float | None:
        times = [t for node in self.nodes.values() if (t := node.wakes_at) is not None]
        if self._heap:
            times.append(self._heap[0][0])
        return min(times, default=None)

    def step(self) -> bool:
        """Goes to the next thing that happens. False when nothing ever will."""
        when = self.next_event()
        if when is None:
            return False
        self.now = max(self.now, when)
        for node in self.nodes.values():
            due = node.wakes_at
            if due is not None and due <= self.now:
                late = self.lateness(node)
                if late:
                    node.asleep_until = self.now + late
                    return True
                self.give(node, i.TimeoutElapsed())
                left = node.agent.next_timeout()
                assert left is None or left > self.now, f"seed {self.seed}: a timer is left behind"
                return True
        _, _, action = heapq.heappop(self._heap)
        action()
        return True

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (when := self.next_event()) is not None and when <= end:
            self.step()
        self.now = end

    # -- inputs and outputs ------------------------------------------------------------------------------------------

    def give(self, node: Node, what: Input) -> None:
        if node.dead:
            return
        for output in node.agent.handle(what, self.now):
            if self.keeps_log:
                self.log.append((self.now - self.base, node.name, output))
            self._carry_out(node, output)
            node.on_output(output)

    def command(self, name: str, what: i.Command) -> int | None:
        """Gives a command with a number of its own; None when the agent refuses it, which must change nothing."""
        node = self.nodes[name]
        self._commands += 1
        before = (node.agent.retained, node.agent.calls, node.agent.timers(), node.agent.next_timeout())
        try:
            node.issued[self._commands] = self.now
            self.give(node, evolve(what, command=self._commands))
        except LocalProtocolError:
            del node.issued[self._commands]
            after = (node.agent.retained, node.agent.calls, node.agent.timers(), node.agent.next_timeout())
            assert before == after, f"seed {self.seed}: a refused {type(what).__name__} has changed something"
            return None
        return self._commands

    def _carry_out(self, node: Node, output: Output) -> None:
        match output:
            case o.OpenFlow(flow=flow, server=server, transport=transport):
                self._open(node, flow, server, transport)
            case o.SendData(flow=flow, data=data):
                connection = node.flows[flow]
                for extra, octets in self.carry(node, connection, data):
                    self._send(node, connection, octets, extra)
            case o.CloseFlow(flow=flow):
                closed = node.flows.pop(flow, None)
                if closed is not None:
                    self._close(closed, tell=[closed.other(node.name)], error=None)
            case m.OpenMedia() | m.ApplyMedia() | m.CollectStats() | m.CloseMedia():
                for delay, reply in node.media.perform(output, self.rng):
                    self.after(delay, lambda reply=reply: self.give(node, reply))  # type: ignore[misc]
            case o.CommandSucceeded(command=command) | o.CommandFailed(command=command):
                assert command in node.issued, f"seed {self.seed}: outcome of unknown command {command}"
                assert command not in node.outcomes, f"seed {self.seed}: two outcomes of command {command}: {output}"
                node.outcomes[command] = (self.now, output)
            case o.CallStarted(call=call) | o.IncomingCall(call=call):
                assert call not in node.started, f"seed {self.seed}: call {call} started twice"
                node.started.add(call)
            case o.CallEnded(call=call):
                node.started.discard(call)
                node.ended.append(output)
            case _:
                pass

    # -- flows -------------------------------------------------------------------------------------------------------

    def _open(self, node: Node, flow: int, server: str, transport: str | None) -> None:
        link = self.links[node.name]
        if transport is not None:
            link = evolve(link, transport=transport)
        other = self._server(node, server)
        if other is None or other.dead:
            self.after(2 * link.latency, lambda: self.give(node, i.OpenFlowFailed(flow=flow, error="refused")))
            return
        other.accepted -= 1
        connection = Connection(link=link, ends=((node.name, flow), (other.name, other.accepted)))

        def opened(at: Node, ident: int) -> None:
            if connection.open:
                at.flows[ident] = connection
                address = (f"10.0.0.{1 + list(self.nodes).index(at.name)}", 5060)
                self.give(at, i.FlowOpened(flow=ident, transport=link.transport, local=address))

        accepted = other.accepted
        self.after(link.latency, lambda: opened(other, accepted))
        self.after(2 * link.latency, lambda: opened(node, flow))

    def _server(self, node: Node, url: str) -> Node | None:
        if url in self.servers:
            name = self.servers[url]
            return None if name is None else self.nodes[name]
        return next(n for n in self.nodes.values() if n is not node)

    def _send(self, node: Node, connection: Connection, data: bytes, extra: float = 0.0) -> None:
        link, rng = connection.link, self.rng
        if not connection.open or (not link.ordered and rng.random() < link.loss):
            return
        copies = 2 if not link.ordered and rng.random() < link.duplicate else 1
        for _ in range(copies):
            delay = link.latency + link.jitter * rng.random() + extra
            if not link.ordered and rng.random() < link.reorder:
                delay += 5 * link.latency
            arrival = self.now + delay
            if link.ordered:
                arrival = max(arrival, connection.last.get(node.name, arrival))
                connection.last[node.name] = arrival
            self.after(arrival - self.now, lambda: self._deliver(connection, *connection.other(node.name), data))

    def _deliver(self, connection: Connection, name: str, flow: int, data: bytes) -> None:
        node = self.nodes[name]
        if connection.open and node.flows.get(flow) is connection:
            self.give(node, i.DataReceived(flow=flow, data=data))

    def _close(self, connection: Connection, *, tell: list[tuple[str, int]], error: str | None) -> None:
        connection.open = False

        def closed(name: str, flow: int) -> None:
            if self.nodes[name].flows.pop(flow, None) is not None:
                self.give(self.nodes[name], i.FlowClosed(flow=flow, error=error))

        for name, flow in tell:
            self.after(connection.link.latency, lambda name=name, flow=flow: closed(name, flow))  # type: ignore[misc]

    def reset(self, name: str) -> None:
        """Breaks every connection that this node opened; both ends hear of it."""
        for connection in list(self.nodes[name].flows.values()):
            if connection.ends[0][0] == name:
                self.cut(connection)

    def cut(self, connection: Connection) -> None:
        """Breaks one connection."""
        if connection.open:
            self._close(connection, tell=list(connection.ends), error="connection reset")
