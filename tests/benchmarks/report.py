"""Prints the figures that the README quotes: `python -m tests.benchmarks.report`. Ratios within one run; lower is better."""

from __future__ import annotations

import gc
import math
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from .calls import TwoAgents
from .contestants import ACCESSORS, PARSERS, WRITERS
from .corpus import MESSAGES


def cost(function: Callable[[], Any], rounds: int = 7, number: int = 1500) -> float:
    """Processor seconds of one call: the best of several rounds."""
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(number):
            function()
        best = min(best, (time.process_time() - start) / number)
    return best


def ratios(what: str, jobs: dict[str, Callable[[bytes], Callable[[], Any]]]) -> None:
    print(f"\n{what}: our time divided by theirs")
    table: dict[str, list[float]] = {who: [] for who in jobs if who != "sipproto"}
    for data in MESSAGES.values():
        mine = cost(jobs["sipproto"](data))
        for who, values in table.items():
            values.append(mine / cost(jobs[who](data)))
    for who, values in table.items():
        mean = math.exp(sum(map(math.log, values)) / len(values))
        cells = "  ".join(f"{name} {value:.2f}" for name, value in zip(MESSAGES, values, strict=True))
        print(f"  {who:12} geometric mean {mean:.2f}   ({cells})")


def calls() -> None:
    pair = TwoAgents()
    number = 0

    def call() -> None:
        nonlocal number
        number += 1
        pair.advance(0.1)
        pair.establish(number)
        pair.end(number)

    print(f"\ncall from INVITE to BYE, both ends: {1000 * cost(call, rounds=5, number=400):.2f} ms of processor time")
    pair, count = TwoAgents(), 500
    pair.establish(1)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(2, count + 2):
        pair.establish(n)
    pair.advance(200)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    print(f"idle dialog: {grown / count / 2 / 1000:.1f} KB each (established, its transactions over)")


def main() -> None:
    def bind(function: Callable[[bytes], Any]) -> Callable[[bytes], Callable[[], Any]]:
        return lambda data: lambda: function(data)

    ratios("parse", {who: bind(parse) for who, parse in PARSERS.items()})
    ratios("parse and read eleven fields", {who: bind(access) for who, access in ACCESSORS.items()})

    def writing(who: str) -> Callable[[bytes], Callable[[], Any]]:
        parse, write = WRITERS[who]

        def job(data: bytes) -> Callable[[], Any]:
            message = parse(data)
            return lambda: write(message)

        return job

    ratios("serialise", {who: writing(who) for who in WRITERS})
    calls()


if __name__ == "__main__":
    main()
