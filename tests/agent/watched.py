"""A scripted peer that checks, with every step, what holds for every agent in every situation."""

from __future__ import annotations

from typing import Any

from attrs import evolve, fields_dict

from sipproto.agent import Input, Output, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.tokens import SeededTokens
from tests.agent.peer import Peer

SHIFT = 4096.0  # seconds between the clock of the agent and that of its twin


class Watched(Peer):
    """Beside the agent runs a twin of it, at other times. It gets all that the agent gets, but for what must change nothing:

    commands that are refused, timeouts that come too early, and second copies of datagrams. So whatever these change, in
    the order of random tokens even, or in what the agent does long after, makes the two differ.

    The books: each command has one outcome; events are about calls that exist, and each of these ends once; octets go to
    open flows only; a wake-up is never for the past.
    """

    def __init__(self, *, transport: str = "WS", connect: bool = True, twice: bool = False, **config: Any) -> None:
        super().__init__(connect=False, **config)
        self.twin = UserAgent(evolve(self.config, tokens=SeededTokens(1)))
        self.transport = transport
        self.twice = twice  # whether the network delivers each datagram twice
        self.asked: set[int] = set()  # flows that the agent waits for
        self.flows: set[int] = set()
        self.open: set[int] = set()  # commands without an outcome
        self.names: set[str] = set()  # of calls that have not ended
        self.events: list[Output] = []
        if connect:
            self.command(i.Connect(command=0, server="sip:example.com"))
            self.opened()

    # -- stepping --------------------------------------------------------------------------------------------------------

    def handle(self, what: Input) -> list[Output]:
        if isinstance(what, i.DataReceived) and what.flow not in self.flows:
            return []  # no network delivers anything there
        before = self.snapshot()
        try:
            out = self.agent.handle(what, self.now)
        except LocalProtocolError:
            assert self.snapshot() == before, f"{what} was refused, and has changed something"
            raise
        then = self.now + SHIFT
        if isinstance(what, i.TimeoutElapsed) and (due := self.twin.next_timeout()) is not None and due < then + 1e-6:
            then = max(then, due)  # the two clocks are rounded differently
        theirs = self.twin.handle(what, then)
        assert len(out) == len(theirs) and all(map(_alike, out, theirs)), (what, out, theirs)
        self._note(what, out)
        self._check_time()
        if not self.flows:  # on which should they be?
            assert not self.agent.retained["transactions"] and not self.agent.retained["exchanges"]
        if self.twice and isinstance(what, i.DataReceived):
            self._again(what)
        return list(out)

    def _again(self, what: i.DataReceived) -> None:
        """A second copy may make the agent say again what it has said, and no more."""
        before = self.snapshot()
        for output in self.agent.handle(what, self.now):
            assert isinstance(output, o.SendData | o.ProtocolViolated), (
                f"the second copy of {what.data!r} is news: {output}"
            )
        assert self.snapshot() == before, f"the second copy of {what.data!r} has changed something"

    def snapshot(self) -> object:
        return (self.agent.retained, self.agent.timers(), self.agent.next_timeout(), self.agent.calls)

    def _check_time(self) -> None:
        due = self.agent.next_timeout()
        assert due is None or due > self.now, (due, self.now, self.agent.timers())
        before = self.snapshot()
        assert self.agent.handle(i.TimeoutElapsed(), self.now) == ()
        assert self.snapshot() == before

    # -- the books -------------------------------------------------------------------------------------------------------

    def _note(self, what: Input, out: tuple[Output, ...]) -> None:
        if "command" in fields_dict(type(what)):
            self.open.add(what.command)  # type: ignore[union-attr]
        match what:
            case i.FlowOpened(flow=flow):
                self.asked.discard(flow)
                self.flows.add(flow)
            case i.OpenFlowFailed(flow=flow) | i.FlowClosed(flow=flow):
                self.asked.discard(flow)
                self.flows.discard(flow)
            case i.Invite(call=call) | i.AcceptTransfer(call=call):
                self.names.add(call)
        for output in out:
            self._note_output(output)

    def _note_output(self, output: Output) -> None:
        match output:
            case o.OpenFlow(flow=flow):
                assert flow not in self.asked | self.flows
                self.asked.add(flow)
            case o.SendData(flow=flow):
                assert flow in self.flows, f"octets for flow {flow}, which is not open"
            case o.CloseFlow(flow=flow):
                assert flow in self.asked | self.flows, f"flow {flow} is closed, but not open"
                self.asked.discard(flow)
                self.flows.discard(flow)
            case o.CommandSucceeded(command=command) | o.CommandFailed(command=command):
                assert command in self.open, f"another outcome, or one of no command: {output}"
                self.open.remove(command)
            case o.IncomingCall(call=call):
                assert call not in self.names
                self.names.add(call)
            case o.CallEnded(call=call):
                assert call in self.names
                self.names.remove(call)
            case m.CloseMedia():
                return
            case _:
                about = getattr(output, "call", None)
                assert about is None or about in self.names, f"about a call that is over: {output}"
        if isinstance(output, o.Event):
            self.events.append(output)

    # -- shorthand -------------------------------------------------------------------------------------------------------

    def opened(self, flow: int | None = None, transport: str | None = None) -> int:
        """The flow that the agent asks for is open."""
        if flow is None:
            flow = self.flow = min(self.asked)
        self.give(i.FlowOpened(flow=flow, transport=transport or self.transport, local=("192.0.2.7", 5060)))
        return flow

    def try_command(self, what: i.Command) -> bool:
        """Gives a command that may be impossible now. Whether it was taken."""
        try:
            self.command(what)
        except LocalProtocolError:
            self.out = []
            return False
        return True

    def timer_names(self) -> list[str]:
        return sorted(name for _, name, _ in self.agent.timers())

    # -- the end ---------------------------------------------------------------------------------------------------------

    def finish(self, *, by_itself: bool = False) -> None:
        """Ends everything: by Shutdown, whose server says nothing, or by a Disconnect. Nothing may be left."""
        if not self.try_command(i.Disconnect(command=0) if by_itself else i.Shutdown(command=0)):
            self.try_command(i.Disconnect(command=0))
        self.wait(400)
        for agent in (self.agent, self.twin):
            assert not any(agent.retained.values()), (agent.retained, agent.timers())
            assert agent.next_timeout() is None and agent.timers() == [] and agent.calls == ()
        assert not self.open, f"commands without an outcome: {self.open}"
        assert not self.names, f"calls without an end: {self.names}"
        assert not self.flows | self.asked, f"flows that stay open: {self.flows | self.asked}"


def _alike(one: Output, other: Output) -> bool:
    """Equal, but for the rounding of times."""
    if type(one) is not type(other):
        return False
    pairs = [(getattr(one, name), getattr(other, name)) for name in fields_dict(type(one))]
    return all(a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) < 1e-6) for a, b in pairs)
