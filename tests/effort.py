"""How much is tried: little in every run, much when it is asked for."""

from __future__ import annotations

import os

from hypothesis import settings

THOROUGH = os.environ.get("SIPPROTO_TESTS") == "thorough"
_FACTOR = int(os.environ.get("SIPPROTO_EFFORT", "20")) if THOROUGH else 1


def effort(examples: int, steps: int = 30) -> settings:
    """For a state machine: so many runs of at most so many steps; in the thorough profile `SIPPROTO_EFFORT` (20) times as many."""
    return settings(max_examples=examples * _FACTOR, stateful_step_count=steps)
