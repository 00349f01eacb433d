"""A sample of the single faults: every hundredth of them. All of them: `python -m tests.scenarios.faults`."""

from __future__ import annotations

import pytest

from tests.scenarios.faults import Case, all_cases, failure, play
from tests.scenarios.library import SCENARIOS

STRIDE = 100
# Those that have shown something once.
FOUND = [
    Case(scenario="answer_waits_for_prack", transport="WS", fault="header spoilt", number=11),
]


def test_sample() -> None:
    cases = all_cases()
    assert len(cases) > 1000 * len({case.fault for case in cases})
    failures = [(case, text) for case, text in map(failure, cases[::STRIDE]) if text]
    assert not failures


@pytest.mark.parametrize("case", FOUND, ids=str)
def test_found(case: Case) -> None:
    play(case)


def test_a_fault_is_felt() -> None:
    """The run itself: without its retransmission a lost BYE would leave the peer alone."""
    world = SCENARIOS["audio_call"].world("UDP")
    world.strict = False
    world.proxy.swallows.add("BYE")
    SCENARIOS["audio_call"].play(world)
    world.run(1)
    assert len(world.nodes["b"].agent.calls) == 1
    world.finish()
