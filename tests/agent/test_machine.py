"""Two agents and a network, and whatever their users and the network do next (style anchors 7.2: 1, 2, 3, 5, 6, 10)."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sipproto.agent import Recovery, SessionTimers
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.sim.network import Link, MediaPeer, Node
from tests.sim.pair import AUDIO, NO_RECOVERY, RAW, VIDEO, Pair

SIDES = st.sampled_from(["a", "b"])
LINKS = [
    Link(),
    Link(jitter=0.4, reorder=0.2, duplicate=0.3),
    Link(loss=0.3, duplicate=0.2, jitter=0.1),
    Link(transport="WS", jitter=0.1),
]
RECOVERIES = [NO_RECOVERY, Recovery(), Recovery(grace=5.0), Recovery(reconnect=False)]
MEDIAS = [MediaPeer(), MediaPeer(delay=1.0, fail=0.15, silent=0.1, break_later=0.2)]


class Agents(RuleBasedStateMachine):
    pair: Pair
    calls = 0
    recovery = NO_RECOVERY

    @initialize(
        seed=st.integers(0, 10**6),
        link=st.sampled_from(LINKS),
        media=st.sampled_from(MEDIAS),
        recovery=st.sampled_from(RECOVERIES),
        expires=st.sampled_from([0, 90]),
    )
    def connect(self, seed: int, link: Link, media: MediaPeer, recovery: Recovery, expires: int) -> None:
        self.pair = Pair(seed, link, media, recovery=recovery, session_timers=SessionTimers(expires=expires))
        self.recovery = recovery

    def node(self, side: str) -> Node:
        return self.pair.nodes[side]

    # -- what happens ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.calls < 6)
    @rule(side=SIDES, kind=st.sampled_from(["audio", "video", "body", "late"]))
    def invite(self, side: str, kind: str) -> None:
        self.calls += 1
        media = {"audio": (AUDIO,), "video": (AUDIO, VIDEO)}.get(kind, ())
        self.pair.call(side, f"call-{self.calls}", media=media, body=RAW if kind == "body" else b"")

    @rule(side=SIDES, which=st.integers(0, 5), media=st.sampled_from([(AUDIO,), (AUDIO, VIDEO), ()]))
    def answer(self, side: str, which: int, media: tuple[()]) -> None:
        for call in self.node(side).agent.calls[which : which + 1]:
            self.pair.command(side, i.Answer(command=0, call=call, media=media, body=b"" if media else RAW))

    @rule(side=SIDES)
    def answer_all(self, side: str) -> None:
        for call in self.node(side).agent.calls:
            self.pair.command(side, i.Answer(command=0, call=call, media=(AUDIO,)))

    @rule(
        side=SIDES,
        which=st.integers(0, 5),
        what=st.sampled_from(["hang up", "hold", "resume", "restart", "update", "info", "dtmf", "stats"]),
    )
    def command(self, side: str, which: int, what: str) -> None:
        for call in self.node(side).agent.calls[which : which + 1]:
            commands: dict[str, i.Command] = {
                "hang up": i.HangUp(command=0, call=call),
                "hold": i.Hold(command=0, call=call),
                "resume": i.Resume(command=0, call=call),
                "restart": i.RestartIce(command=0, call=call),
                "update": i.RestartIce(command=0, call=call, use_update=True),
                "info": i.SendInfo(command=0, call=call, content_type="text/plain", body=b"x"),
                "dtmf": i.SendDtmf(command=0, call=call, digits="1,2"),
                "stats": i.GetStats(command=0, call=call),
            }
            self.pair.command(side, commands[what])

    @rule(
        side=SIDES,
        which=st.integers(0, 5),
        status=st.sampled_from([180, 183]),
        kind=st.sampled_from(["plain", "media", "body"]),
    )
    def progress(self, side: str, which: int, status: int, kind: str) -> None:
        media, body = ((AUDIO,) if kind == "media" else ()), (RAW if kind == "body" else b"")
        for call in self.node(side).agent.calls[which : which + 1]:
            self.pair.command(side, i.Progress(command=0, call=call, status=status, media=media, body=body))

    @rule(which=st.integers(0, 5), what=st.sampled_from(["hold", "restart", "update", "hang up"]))
    def both(self, which: int, what: str) -> None:
        self.command("a", which, what)
        self.command("b", which, what)

    @rule(side=SIDES)
    def disconnect(self, side: str) -> None:
        self.pair.command(side, i.Disconnect(command=0))

    @rule(side=SIDES)
    def connect_again(self, side: str) -> None:
        self.pair.command(side, i.Connect(command=0, server="ws://peer"))

    @rule(side=SIDES)
    def message(self, side: str) -> None:
        other = "b" if side == "a" else "a"
        self.pair.command(side, i.SendMessage(command=0, target=f"sip:{other}@example.com", body=b"hello"))

    @rule(steps=st.integers(1, 6))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.pair.step()

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 5.0, 35.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.pair.run(seconds)

    @rule(side=SIDES)
    def reset(self, side: str) -> None:
        self.pair.reset(side)

    # -- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def an_early_timeout_changes_nothing(self) -> None:
        for node in self.pair.nodes.values():
            due = node.agent.next_timeout()
            if due is None or due > self.pair.now:
                before = (node.agent.retained, node.agent.timers(), node.agent.calls)
                assert node.agent.handle(i.TimeoutElapsed(), self.pair.now) == ()
                assert before == (node.agent.retained, node.agent.timers(), node.agent.calls)

    @invariant()
    def limits_are_kept(self) -> None:
        for node in self.pair.nodes.values():
            # a command may still be waiting, but never for longer than the longest of all waits
            waiting = [self.pair.now - node.issued[c] for c in set(node.issued) - set(node.outcomes)]
            assert max(waiting, default=0.0) <= 300

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        pair, log = self.pair, self.pair.log
        for side, node in pair.nodes.items():
            for call in node.agent.calls:
                pair.command(side, i.HangUp(command=0, call=call))
        if len(log) % 2:  # one way out: everything ends by itself
            pair.run(320)
        else:  # the other: the connections go, and with them everything at once
            pair.reconnect = False
            for side in pair.nodes:
                if self.recovery.reconnect:
                    pair.command(side, i.Disconnect(command=0))
                else:
                    pair.reset(side)
            # The called wait for their callers to come back; and a Connect may have been on its way.
            pair.run(25 + self.recovery.grace + 40 * self.recovery.reconnect)
        pair.check()
        for numbers in pair.cseqs().values():
            assert all(after[0] == before[0] + 1 for before, after in itertools.pairwise(numbers)), numbers
        established = [out for _, _, out in log if isinstance(out, o.CallEstablished)]
        assert len(established) <= 2 * self.calls


Agents.TestCase.settings = settings(
    max_examples=400, stateful_step_count=30, deadline=None, derandomize=True, database=None, print_blob=True
)
TestAgents = Agents.TestCase
