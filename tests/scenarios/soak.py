"""Very many calls and reconnects of one engine, in simulated time: `python -m tests.scenarios.soak [CALLS]`.

Every tenth call loses its connection and is recovered. At each tenth of the way everything is let come to rest, and memory is
measured; the time of each tenth tells whether a call costs the same after a hundred thousand others.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from pathlib import Path

from attrs import define, field, frozen

from sipproto.agent import AgentConfig, Output, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens
from tests.sim.network import CAPABILITIES, Link, MediaPeer, Network, Node

AUDIO = (("audio", Direction.SENDRECV),)
TENTHS = 10


@frozen(kw_only=True)
class Tenth:
    """What was measured at the end of one tenth of the way."""

    calls: int
    reconnects: int
    seconds: float  # of processor time, for this tenth
    objects: int  # that the garbage collector knows of
    resident: int  # octets


@define(kw_only=True)
class Tally:
    """What has come of all calls."""

    established: int = 0
    recovered: int = 0
    ended: dict[str, int] = field(factory=dict)
    failed: int = 0


class Soak(Network):
    """`a` calls `b`, again and again."""

    def __init__(self) -> None:
        super().__init__(1)
        self.keeps_log = False
        self.tally = Tally()
        self._number = 0
        for number, name in enumerate("ab"):
            config = AgentConfig(
                aor=f"sip:{name}@example.com", capabilities=CAPABILITIES, tokens=SeededTokens(number), keep_alive=0.0
            )
            node = self.add(name, UserAgent(config), MediaPeer(delay=0.01))
            node.on_output = lambda output, node=node: self._note(node, output)  # type: ignore[misc]
            self.links[name] = Link(transport="WS")
        for name in "ab":
            self.command(name, i.Connect(command=0, server="ws://peer"))
        self.run(1)

    def _note(self, node: Node, output: Output) -> None:
        match output:
            case o.CallEstablished():
                self.tally.established += 1
            case o.CallRecovered():
                self.tally.recovered += 1
            case o.CommandFailed():
                self.tally.failed += 1
            case o.CallEnded(cause=cause):
                self.tally.ended[cause.value] = self.tally.ended.get(cause.value, 0) + 1
            case o.IncomingCall(call=call):
                self._receive(node, call)
            case _:
                pass

    def _receive(self, node: Node, call: str) -> None:
        turn = self._number % 10
        if turn == 1:
            self.command(node.name, i.HangUp(command=0, call=call, status=486))
        elif turn != 2:  # the second of ten is cancelled
            if turn == 3:
                self.command(node.name, i.Progress(command=0, call=call, media=AUDIO))
            self.command(node.name, i.Answer(command=0, call=call, media=AUDIO))

    def call(self) -> None:
        """One call from its beginning to its end; every tenth one is interrupted."""
        self._number += 1
        name, turn = f"c{self._number}", self._number % 10
        taken = self.command("a", i.Invite(command=0, call=name, target="sip:b@example.com", media=AUDIO))
        assert taken is not None
        self.run(0.5)
        if turn in (4, 5):
            self.command("a", i.Hold(command=0, call=name))
            self.run(0.5)
        if turn == 6:
            self.command("a", i.SendDtmf(command=0, call=name, digits="12"))
            self.run(1)
        if turn == 0:
            before = self.tally.recovered
            self.reset("a")
            while self.tally.recovered < before + 2 and name in self.nodes["a"].agent.calls:
                self.run(1)
        if name in self.nodes["a"].agent.calls:
            self.command("a", i.HangUp(command=0, call=name))
        self.run(0.2)

    def rest(self) -> None:
        """Lets everything end, and checks that it has. The books of the network are closed, too."""
        self.run(100)
        for node in self.nodes.values():
            held = node.agent.retained
            assert not any(held.values()), f"{node.name}: {held} {node.agent.timers()}"
            assert not node.started and set(node.issued) == set(node.outcomes)
            assert not node.media.misuse and not node.media.opened
            node.issued.clear()
            node.outcomes.clear()
            node.ended.clear()


def soak(calls: int) -> tuple[list[Tenth], Tally]:
    """Runs so many calls (a multiple of 100), and a tenth as many reconnects."""
    world = Soak()
    tenths = []
    for number in range(1, TENTHS + 1):
        began = time.process_time()
        for count in range(calls // TENTHS):
            world.call()
            if count % 500 == 499:
                world.rest()
        seconds = time.process_time() - began
        world.rest()
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        tenths.append(
            Tenth(
                calls=number * calls // TENTHS,
                reconnects=number * calls // TENTHS // 10,
                seconds=seconds,
                objects=len(gc.get_objects()),
                resident=pages * resource.getpagesize(),
            )
        )
    return tenths, world.tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=100_000)
    tenths, tally = soak(parser.parse_args().calls)
    print("    calls  reconnects  ms/call    objects  resident MB")
    for one in tenths:
        each = 1000 * one.seconds / (tenths[0].calls)
        print(f"{one.calls:9} {one.reconnects:11} {each:8.2f} {one.objects:10} {one.resident / 2**20:12.1f}")
    print(f"last tenth / first tenth: {tenths[-1].seconds / tenths[0].seconds:.3f}")
    print(tally)


if __name__ == "__main__":
    main()
