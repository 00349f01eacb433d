"""Large requests beside a connection that comes and goes: whatever happens, each request has one outcome."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request, parse_message
from tests.agent.peer import AUDIO, CONTACT, SDP, answer_to
from tests.agent.watched import Watched
from tests.effort import effort


class Detours(RuleBasedStateMachine):
    """Model: the datagram flow and the stream beside it, each there or not, and which requests wait for an answer where."""

    @initialize(reconnect=st.booleans(), twice=st.booleans())
    def connect(self, reconnect: bool, twice: bool) -> None:
        recovery = Recovery(reconnect=reconnect, grace=20.0 if reconnect else 0.0)
        self.peer = Watched(transport="UDP", recovery=recovery, twice=twice)
        self.streams: set[int] = set()
        self.waiting: list[tuple[int, Request]] = []  # requests by the flow on which they came
        self.refused_by: int | None = None  # the datagram flow whose server takes no TCP
        self.calls = 0

    # -- looking ---------------------------------------------------------------------------------------------------------

    def server(self) -> int | None:
        return next((flow for flow in self.peer.flows if flow not in self.streams), None)

    def look(self) -> None:
        for output in self.peer.all(o.SendData):
            message = parse_message(output.data)
            if not isinstance(message, Request) or message.method == "ACK":
                continue
            if len(output.data) > 1300 and output.flow not in self.streams:
                assert self.refused_by == output.flow, "a large datagram, without a need"
            self.waiting.append((output.flow, message))
        self.waiting = [(flow, r) for flow, r in self.waiting if flow in self.peer.flows]

    def asked_stream(self) -> int | None:
        """The stream that is asked for, while the datagram flow is open."""
        return min(self.peer.asked, default=None) if self.server() is not None else None

    # -- what happens ----------------------------------------------------------------------------------------------------

    @rule(size=st.sampled_from([10, 500, 1300, 5000, 5000]))
    def message(self, size: int) -> None:
        possible = self.server() is not None
        large = size >= 1300
        asks = large and possible and not self.streams and not self.peer.asked and self.refused_by != self.server()
        taken = self.peer.try_command(i.SendMessage(command=0, target="sip:bob@example.com", body=b"x" * size))
        assert taken == possible
        assert bool(self.peer.all(o.OpenFlow)) == asks
        if large and possible and self.peer.asked:
            assert not self.peer.all(o.SendData)  # it waits
        self.look()

    @precondition(lambda self: self.calls < 3)
    @rule()
    def invite(self) -> None:
        self.calls += 1
        headers = (("Subject", "x" * 1200),)
        what = i.Invite(command=0, call=f"c{self.calls}", target="sip:bob@example.com", media=AUDIO, headers=headers)
        self.peer.try_command(what)
        self.look()

    @precondition(lambda self: self.peer.agent.calls)
    @rule()
    def hang_up(self) -> None:
        for call in self.peer.agent.calls[:1]:
            self.peer.command(i.HangUp(command=0, call=call))
            self.look()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 3), status=st.sampled_from([100, 180, 200, 403]))
    def answer(self, which: int, status: int) -> None:
        for flow, request in self.waiting[which : which + 1]:
            lines: list[str] = []
            body = b""
            if request.method == "INVITE" and status == 200:
                lines, body = [CONTACT, SDP], Watched(connect=False).answer_sdp(request.body)
            if status >= 200:
                self.waiting.remove((flow, request))
            self.peer.data(answer_to(request, status, *lines, tag=f"t{len(self.waiting)}", body=body), flow)
            self.look()

    @precondition(lambda self: self.peer.asked)
    @rule()
    def flow_opens(self) -> None:
        stream = self.asked_stream()
        if stream is not None:
            self.streams.add(stream)
            self.peer.opened(stream, "TCP")
        elif self.peer.asked:
            self.peer.opened()
        self.look()

    @precondition(lambda self: self.peer.asked)
    @rule(by_closing=st.booleans())
    def flow_is_refused(self, by_closing: bool) -> None:
        for flow in sorted(self.peer.asked)[:1]:
            if self.asked_stream() is not None:
                self.refused_by = self.server()
            lost = (
                i.FlowClosed(flow=flow, error="reset") if by_closing else i.OpenFlowFailed(flow=flow, error="refused")
            )
            self.peer.give(lost)
            self.look()

    @precondition(lambda self: self.peer.flows)
    @rule(stream=st.booleans(), error=st.sampled_from([None, "connection reset"]))
    def flow_is_lost(self, stream: bool, error: str | None) -> None:
        flow = next(iter(self.streams), None) if stream else self.server()
        if flow is None:
            return
        alone = self.streams if stream else set()
        self.peer.give(i.FlowClosed(flow=flow, error=error))
        assert stream or not self.peer.flows, "the stream beside goes with the datagrams"
        self.streams -= alone
        self.streams &= self.peer.flows
        self.look()

    @rule(seconds=st.sampled_from([0.1, 1.0, 11.9, 12.0, 40.0]))
    def wait(self, seconds: float) -> None:
        server, stream = self.server(), self.asked_stream()
        self.peer.wait(seconds)
        if stream is not None and stream not in self.peer.asked:
            assert o.CloseFlow(flow=stream) in self.peer.out
            self.refused_by = server
        self.look()

    @rule(again=st.sampled_from([True, True, True, False]))
    def disconnect(self, again: bool) -> None:
        self.peer.command(i.Disconnect(command=0))
        assert not self.peer.flows | self.peer.asked
        self.streams.clear()
        if again:
            self.peer.command(i.Connect(command=0, server="sip:example.com"))
        self.look()

    # -- what always holds -----------------------------------------------------------------------------------------------

    @invariant()
    def one_stream_beside_the_datagrams(self) -> None:
        if hasattr(self, "peer"):
            self.streams &= self.peer.flows
            assert len(self.streams) + len(self.peer.asked) <= 1 or self.server() is None
            opening = [when for owner, _, when in self.peer.agent.timers() if owner == ("detour",)]
            assert len(opening) == (self.asked_stream() is not None)

    def teardown(self) -> None:
        if hasattr(self, "peer"):
            self.peer.finish(by_itself=self.calls % 2 == 1)


Detours.TestCase.settings = effort(120, 30)
TestDetours = Detours.TestCase
