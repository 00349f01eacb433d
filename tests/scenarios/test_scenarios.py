"""The library of scenarios, each without a fault: the behaviour that the RFCs ask for, message by message."""

from __future__ import annotations

import random

import pytest

from tests.scenarios.library import SCENARIOS

CASES = [(name, transport) for name, one in SCENARIOS.items() for transport in one.transports]


@pytest.mark.parametrize(("name", "transport"), CASES)
def test_scenario(name: str, transport: str) -> None:
    world = SCENARIOS[name].world(transport)
    SCENARIOS[name].play(world)
    world.finish()


@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if "UDP" in one.transports])
def test_over_a_lossy_link(name: str) -> None:
    """One datagram of five is lost, one of ten comes twice, and some are late: what must hold in the end, holds."""
    world = SCENARIOS[name].world("UDP")
    world.strict = False
    world.carry = lambda node, at, data: spoilt_link(world.rng, data)
    SCENARIOS[name].play(world)
    world.finish()


def spoilt_link(rng: random.Random, data: bytes) -> list[tuple[float, bytes]]:
    copies = 2 if rng.random() < 0.1 else 1
    return [(0.2 * rng.random() ** 4, data) for _ in range(copies) if rng.random() > 0.2]


def test_the_library_is_large() -> None:
    assert len(SCENARIOS) >= 40
