"""Whole calls between two engines in memory, as an application without media would make them."""

from __future__ import annotations

from collections import deque

from sipproto.agent import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.tokens import SeededTokens

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 111\r\n"
_FLOWS = (1, 900)  # of the caller, of the called


class TwoAgents:
    """A caller and a called agent, joined by a connection without delay."""

    def __init__(self) -> None:
        names = ("alice", "bob")
        self.agents = [
            UserAgent(AgentConfig(aor=f"sip:{name}@example.com", tokens=SeededTokens(n), any_user=True))
            for n, name in enumerate(names)
        ]
        self.now = 0.0
        self.events: list[o.Output] = []
        self._give(0, i.Connect(command=1, server="ws://memory"))
        for side in (0, 1):
            self._give(side, i.FlowOpened(flow=_FLOWS[side], transport="WS"))

    def _give(self, side: int, what: i.Input) -> None:
        todo = deque([(side, what)])
        while todo:
            at, item = todo.popleft()
            for output in self.agents[at].handle(item, self.now):
                if isinstance(output, o.SendData):
                    todo.append((1 - at, i.DataReceived(flow=_FLOWS[1 - at], data=output.data)))
                else:
                    self.events.append(output)

    def establish(self, number: int) -> None:
        self.events.clear()
        self._give(0, i.Invite(command=3 * number, call=f"c{number}", target="sip:bob@example.com", body=SDP))
        incoming = next(event for event in self.events if isinstance(event, o.IncomingCall))
        self._give(1, i.Answer(command=3 * number + 1, call=incoming.call, body=SDP))

    def end(self, number: int) -> None:
        self._give(0, i.HangUp(command=3 * number + 2, call=f"c{number}"))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for side in (0, 1):
            self._give(side, i.TimeoutElapsed())
