"""Calls that end leave nothing; figures are printed by `python -m tests.media.capacity`."""

from __future__ import annotations

from tests.media.capacity import cycle, engine_of, load


def test_calls_that_ended_leave_neither_threads_nor_descriptors() -> None:
    engine = engine_of("Opus")
    first = cycle(engine, 5)  # the threads of the pool come with the first calls
    last = cycle(engine, 25)
    engine.close()
    assert last.files == first.files
    assert last.threads <= first.threads + 4, (first, last)


def test_what_calls_cost_can_be_measured() -> None:
    cost = load("PCMU", 1, "asyncio", 0.5)
    assert 0 < cost.cpu < 2
    assert cost.delivered > 0.5
