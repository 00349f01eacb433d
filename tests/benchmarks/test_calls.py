"""Cost of a call, both ends in memory."""

from __future__ import annotations

from typing import Any

from .calls import TwoAgents


def test_call_from_invite_to_bye(benchmark: Any) -> None:
    pair = TwoAgents()
    number = 0

    def call() -> None:
        nonlocal number
        number += 1
        pair.advance(0.1)
        pair.establish(number)
        pair.end(number)

    benchmark(call)
    pair.advance(100)
    assert all(not any(agent.retained.values()) for agent in pair.agents)
