"""The library of scenarios, each without a fault: the behaviour that the RFCs ask for, message by message."""

from __future__ import annotations

import pytest

from tests.scenarios.library import SCENARIOS

CASES = [(name, transport) for name, one in SCENARIOS.items() for transport in one.transports]


@pytest.mark.parametrize(("name", "transport"), CASES)
def test_scenario(name: str, transport: str) -> None:
    world = SCENARIOS[name].world(transport)
    SCENARIOS[name].play(world)
    world.finish()


def test_the_library_is_large() -> None:
    assert len(SCENARIOS) >= 40
