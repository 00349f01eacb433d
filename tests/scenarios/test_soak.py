"""A small soak: memory and cost are flat, and every call is accounted for."""

from __future__ import annotations

import gc
import tracemalloc

from tests.scenarios.soak import Soak, soak

CALLS = 2000


def test_soak() -> None:
    tenths, tally = soak(CALLS)
    # Of ten calls one is busy, one is cancelled, and eight are had; each has two ends.
    assert tally.established == 2 * CALLS * 8 // 10
    assert tally.recovered == 2 * CALLS // 10
    assert tally.ended == {"busy": CALLS // 5, "canceled": CALLS // 5, "terminated": 2 * CALLS * 8 // 10}
    assert tally.failed == CALLS // 5  # those that were busy or cancelled
    assert tenths[-1].objects - tenths[4].objects <= 20  # what was measured itself
    assert sum(one.seconds for one in tenths[5:]) < 2 * sum(one.seconds for one in tenths[:5])


def test_soak_leaves_no_memory() -> None:
    world = Soak()
    sizes = []
    tracemalloc.start()
    try:
        for _ in range(3):
            for _ in range(50):
                world.call()
            world.rest()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 20_000, sizes
