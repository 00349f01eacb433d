"""The connection to the server against a model: what is opened, closed and told, and when."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.agent.watched import Watched
from tests.effort import effort

TRYING = ("connecting", "reconnecting")
PING, PONG = b"\r\n\r\n", b"\r\n"
SERVERS = st.sampled_from(
    [
        (i.Server(url="one"),),
        (i.Server(url="one"), i.Server(url="two")),
        (i.Server(url="spare", weight=0), i.Server(url="best", weight=9), i.Server(url="next", weight=5)),
        (i.Server(url="spare", weight=0), i.Server(url="best", weight=9), i.Server(url="other", weight=9)),
    ]
)


class Connections(RuleBasedStateMachine):
    """Model: closed, trying (for the application or to get back), open, or backing off; and who is left to try."""

    @initialize(
        reconnect=st.booleans(),
        transport=st.sampled_from(["UDP", "TCP", "WS"]),
        keep_alive=st.sampled_from([0.0, 25.0]),
        first=st.sampled_from([0.5, 4.0]),
        ready=st.booleans(),
    )
    def start(self, reconnect: bool, transport: str, keep_alive: float, first: float, ready: bool) -> None:
        self.recovery = Recovery(reconnect=reconnect, first_delay=first, max_delay=10.0)
        self.peer = Watched(connect=False, transport=transport, recovery=self.recovery, keep_alive=keep_alive)
        self.state = "closed"
        self.wanted = 0  # the Connect that has no outcome yet
        self.servers: tuple[i.Server, ...] = ()
        self.left: list[i.Server] = []
        self.flow = 0  # that is tried for, or open
        self.due: tuple[str, float] | None = None
        self.rounds = 0
        self.opened_at = 0.0
        self.pings = transport != "WS" and keep_alive > 0
        self.promised = False  # the server has promised to answer keep-alives
        self.unanswered = False  # the last keep-alive of ours was not
        self.given_up: list[int] = []  # flows of attempts that were given up
        if ready:
            self.connect((i.Server(url="one"), i.Server(url="two")))
            self.opens()
            self.the_registrar_promises_to_answer()

    # -- the model -------------------------------------------------------------------------------------------------------

    def try_next(self) -> list[str]:
        (asked,) = self.peer.all(o.OpenFlow)
        best = max(server.weight for server in self.left)
        server = next(s for s in self.left if s.url == asked.server)
        assert server.weight == best
        self.left.remove(server)
        self.flow, self.due = asked.flow, ("open", self.peer.now + 12.0)
        return ["open"]

    def try_first(self) -> list[str]:
        self.left = list(self.servers)
        return self.try_next()

    def back_off(self) -> list[str]:
        changed = self.peer.all(o.ConnectionChanged)[-1]
        assert changed.retry_in is not None
        assert 0 <= changed.retry_in <= min(10.0, self.recovery.first_delay * 2**self.rounds)
        self.rounds += 1
        self.state, self.due = "waiting", ("retry", self.peer.now + changed.retry_in)
        return ["reconnecting"]

    def close(self) -> list[str]:
        self.state, self.due, self.rounds = "closed", None, 0
        failed, self.wanted = ["failed"] * (self.wanted != 0), 0
        return [*failed, "disconnected"]

    def refused(self) -> list[str]:
        if self.left:
            return self.try_next()
        return self.close() if self.state == "connecting" else self.back_off()

    def lost(self) -> list[str]:
        self.promised = False
        if self.peer.now - self.opened_at >= self.recovery.max_delay:
            self.rounds = 0
        return self.back_off() if self.recovery.reconnect else self.close()

    def expect(self, wanted: list[str]) -> None:
        assert self.told() == wanted

    def told(self) -> list[str]:
        """What the last step gave, of what concerns the connection."""
        found: list[str] = []
        for output in self.peer.out:
            match output:
                case o.OpenFlow():
                    found.append("open")
                case o.CloseFlow(flow=flow):
                    found.append(f"close {flow}")
                case o.ConnectionChanged(state=state):
                    found.append(state.value)
                case o.CommandSucceeded():
                    found.append("succeeded")
                case o.CommandFailed():
                    found.append("failed")
        return found

    # -- what happens ----------------------------------------------------------------------------------------------------

    @rule(servers=SERVERS)
    def connect(self, servers: tuple[i.Server, ...]) -> None:
        taken = self.peer.try_command(i.Connect(command=0, server=servers))
        assert taken == (self.state in ("closed", "waiting", "reconnecting"))
        if taken:
            closed = [f"close {self.flow}"] * (self.state == "reconnecting")
            self.given_up += [self.flow] * len(closed)
            self.servers, self.wanted, self.state = servers, self.peer.commands, "connecting"
            self.expect([*closed, "connecting", *self.try_first()])

    @rule(servers=st.sampled_from([(), (i.Server(url="x", weight=-1),), (i.Server(url="x"),) * 65]))
    def connect_to_nonsense(self, servers: tuple[i.Server, ...]) -> None:
        assert not self.peer.try_command(i.Connect(command=0, server=servers))

    @rule()
    def hurry(self) -> None:
        self.peer.command(i.HurryConnection(command=0))
        attempt: list[str] = []
        if self.state == "waiting":
            self.state = "reconnecting"
            attempt = self.try_first()
        self.expect([*attempt, "succeeded"])

    @rule()
    def disconnect(self) -> None:
        before = self.state
        self.peer.command(i.Disconnect(command=0))
        closed = [f"close {self.flow}"] * (before in ("connecting", "reconnecting", "open"))
        if before in ("connecting", "reconnecting"):
            self.given_up.append(self.flow)
        self.expect([*closed, *(self.close() if before != "closed" else []), "succeeded"])
        self.promised = False

    @precondition(lambda self: self.state in TRYING)
    @rule()
    def opens(self) -> None:
        assert self.peer.opened() == self.flow
        succeeded = ["succeeded"] * (self.wanted != 0)
        self.state, self.due, self.wanted, self.opened_at = "open", None, 0, self.peer.now
        self.expect([*succeeded, "connected"])

    @precondition(lambda self: self.state in TRYING)
    @rule(by_closing=st.booleans())
    def is_refused(self, by_closing: bool) -> None:
        if self.state in ("connecting", "reconnecting"):
            flow = self.flow
            self.peer.give(
                i.FlowClosed(flow=flow) if by_closing else i.OpenFlowFailed(flow=flow, error="connection refused")
            )
            self.expect(self.refused())

    @precondition(lambda self: self.state == "open")
    @rule(error=st.sampled_from([None, "reset"]))
    def is_lost(self, error: str | None) -> None:
        if self.state == "open":
            self.peer.give(i.FlowClosed(flow=self.flow, error=error))
            self.expect(self.lost())

    @precondition(lambda self: self.given_up)
    @rule(how=st.sampled_from(["opened", "failed", "closed"]))
    def late_news(self, how: str) -> None:
        """Of an attempt that was given up meanwhile: the runtime did not know yet."""
        for flow in self.given_up[-1:]:
            before = self.peer.snapshot()
            if how == "opened":
                assert self.peer.give(i.FlowOpened(flow=flow, transport="TCP")) == [o.CloseFlow(flow=flow)]
            else:
                late = i.OpenFlowFailed(flow=flow, error="x") if how == "failed" else i.FlowClosed(flow=flow)
                assert self.peer.give(late) == []
            assert self.peer.snapshot() == before

    @precondition(lambda self: self.state == "open")
    @rule()
    def the_registrar_promises_to_answer(self) -> None:
        if self.state == "open" and self.peer.try_command(i.Register(command=0)):
            (request,) = self.peer.requests("REGISTER")
            self.peer.answer(request, 200, "Expires: 600000", "Flow-Timer: 20")
            self.promised = self.pings and self.peer.transport == "TCP"
            assert self.peer.all(o.RegistrationChanged)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 12.0, 45.0]), pongs=st.booleans())
    def wait(self, seconds: float, pongs: bool) -> None:
        end = self.peer.now + seconds
        while (when := self.peer.agent.next_timeout()) is not None and when <= end:
            due, self.peer.now = self.due, max(self.peer.now, when)
            names = [name for owner, name, at in self.peer.agent.timers() if at == when and owner == ("connection",)]
            self.peer.give(i.TimeoutElapsed())
            if due is not None and due[0] in names:
                assert when == pytest.approx(due[1])
                if due[0] == "open":
                    self.given_up.append(self.flow)
                    self.expect([f"close {self.flow}", *self.refused()])
                else:
                    self.state = "reconnecting"
                    self.expect(self.try_first())
            elif "pong" in names:
                assert self.promised and self.unanswered
                self.expect([f"close {self.flow}", *self.lost()])
            else:
                self.expect(["failed"] * len(self.peer.all(o.CommandFailed)))  # of registrations
            for output in self.peer.all(o.SendData):
                if output.data == PING:
                    self.unanswered = not pongs  # for so long that it may be noticed in a later step
                    if pongs:
                        self.peer.data(PONG, output.flow)
        self.peer.now = end
        if self.promised and not pongs and seconds > 30:
            raise AssertionError("the server has kept silent for so long, and nobody has noticed")

    @precondition(lambda self: self.state == "open" and self.peer.transport != "WS")
    @rule(data=st.sampled_from([PING, PONG]))
    def keep_alive_comes(self, data: bytes) -> None:
        if self.state == "open" and self.peer.transport != "WS":
            self.peer.data(data, self.flow)
            answer = [o.SendData(flow=self.flow, data=PONG)]
        # in a stream two answers one after the other look like a ping
        assert self.peer.out == answer or (data == PONG and not self.peer.out)

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def flows_and_timers_are_those_of_the_state(self) -> None:
        if not hasattr(self, "peer"):
            return
        trying = self.state in ("connecting", "reconnecting")
        assert self.peer.asked == ({self.flow} if trying else set())
        assert self.peer.flows == ({self.flow} if self.state == "open" else set())
        timers = {name: when for owner, name, when in self.peer.agent.timers() if owner == ("connection",)}
        if self.due is not None:
            assert timers == {self.due[0]: pytest.approx(self.due[1])}
        elif self.state == "open" and self.pings:
            assert set(timers) - {"pong"} == {"ping"} and (self.promised or "pong" not in timers)
        else:
            assert not timers
        assert (self.wanted in self.peer.open) == (self.wanted != 0)

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=len(self.given_up) % 2 == 1)


Connections.TestCase.settings = effort(120, 30)
TestConnections = Connections.TestCase
