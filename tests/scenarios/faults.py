"""Every scenario with every single fault: `python -m tests.scenarios.faults [NAME ...]`.

Each message of the fault-free run is lost, doubled, late, or spoilt, its connection is cut before or after it, and each timer
fires late, one fault to a run. What has to hold all the same is in `World.finish`: each command has one outcome, calls are up at
both ends or at none, and nothing is left when all have gone.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import time
import traceback
from collections.abc import Iterable, Iterator

from attrs import frozen

from tests.scenarios.library import SCENARIOS
from tests.scenarios.world import World
from tests.sim.network import Connection, Node

MESSAGE_FAULTS = (
    "lost",
    "twice",
    "0.3 s late",
    "5 s late",
    "start line spoilt",
    "header spoilt",
    "body spoilt",
    "cut off",
)
CONNECTION_FAULTS = ("connection lost before", "connection lost after")
TIMER_FAULTS = ("fires 1 s late", "fires 60 s late")


@frozen(kw_only=True)
class Case:
    """One run: a fault at the message or timer of that number."""

    scenario: str
    transport: str
    fault: str
    number: int


class Fault:
    """Counts messages and timers of a world, and does what the case says when its turn comes."""

    def __init__(self, world: World, case: Case | None = None) -> None:
        self._world = world
        self._case = case
        self.messages: list[bytes] = []
        self.timers = 0
        world.carry = self._carry
        world.lateness = self._lateness

    def _is_it(self, number: int, kinds: tuple[str, ...]) -> bool:
        return self._case is not None and self._case.fault in kinds and self._case.number == number

    def _carry(self, node: Node, connection: Connection, data: bytes) -> list[tuple[float, bytes]]:
        if not self._world.counting:
            return [(0.0, data)]
        number = len(self.messages)
        self.messages.append(data)
        if not self._is_it(number, MESSAGE_FAULTS + CONNECTION_FAULTS):
            return [(0.0, data)]
        assert self._case is not None
        match self._case.fault:
            case "lost":
                return []
            case "twice":
                return [(0.0, data), (0.0, data)]
            case "0.3 s late":
                return [(0.3, data)]
            case "5 s late":
                return [(5.0, data)]
            case "connection lost before":
                self._world.cut(connection)
                return []
            case "connection lost after":
                self._world.after(connection.link.latency + 1e-6, lambda: self._world.cut(connection))
                return [(0.0, data)]
            case kind:
                return [(0.0, spoil(data, kind, number))]

    def _lateness(self, node: Node) -> float:
        if not self._world.counting:
            return 0.0
        self.timers += 1
        if not self._is_it(self.timers - 1, TIMER_FAULTS):
            return 0.0
        assert self._case is not None
        return 1.0 if self._case.fault == "fires 1 s late" else 60.0


def spoil(data: bytes, kind: str, number: int) -> bytes:
    """One octet changed, or the end missing. Which one depends on the number of the message."""
    first, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    low, high = {
        "start line spoilt": (0, first),
        "header spoilt": (first + 2, end),
        "body spoilt": (end + 4, len(data)),
    }.get(kind, (0, 0))
    if kind == "cut off":
        return data[: max(1, number * 7919 % len(data))]
    if low >= high:
        return data
    at = low + number * 7919 % (high - low)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cases_of(name: str, transport: str) -> Iterator[Case]:
    """All cases of a scenario."""
    scenario = SCENARIOS[name]
    world = scenario.world(transport)
    clean = Fault(world)
    scenario.play(world)
    kinds = MESSAGE_FAULTS if transport == "UDP" else MESSAGE_FAULTS + CONNECTION_FAULTS
    for number, data in enumerate(clean.messages):
        for fault in kinds:
            if fault == "body spoilt" and data.endswith(b"\r\n\r\n"):
                continue
            yield Case(scenario=name, transport=transport, fault=fault, number=number)
    for number in range(clean.timers):
        for fault in TIMER_FAULTS:
            yield Case(scenario=name, transport=transport, fault=fault, number=number)


def play(case: Case) -> World:
    """Plays a case. Raises AssertionError, or whatever else should not happen."""
    scenario = SCENARIOS[case.scenario]
    world = scenario.world(case.transport)
    world.strict = False
    Fault(world, case)
    scenario.play(world)
    world.finish(spoilt="spoilt" in case.fault or case.fault == "cut off")
    return world


def failure(case: Case) -> tuple[Case, str]:
    """What was wrong; "" for nothing."""
    try:
        play(case)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return case, f"{type(error).__name__} {where.filename.rpartition('/')[2]}:{where.lineno}: {error}"
    return case, ""


def all_cases(names: Iterable[str] = ()) -> list[Case]:
    return [
        case
        for name in names or SCENARIOS
        for transport in SCENARIOS[name].transports
        for case in cases_of(name, transport)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all when none is named")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()
    began = time.monotonic()
    cases = all_cases(given.names)
    by_fault: collections.Counter[str] = collections.Counter(case.fault for case in cases)
    bad = 0
    with multiprocessing.Pool(given.jobs) as pool:
        for case, text in pool.imap_unordered(failure, cases, chunksize=50):
            if text:
                bad += 1
                print(f"{case.scenario} {case.transport}, {case.fault}, {case.number}: {text}", flush=True)
    for fault, count in by_fault.items():
        print(f"{count:7} {fault}")
    names = {case.scenario for case in cases}
    print(f"{len(cases):7} runs of {len(names)} scenarios, {bad} failed, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
