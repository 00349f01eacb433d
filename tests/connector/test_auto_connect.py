"""A connection that is tried for until it comes about: how often, how long after one another, and when no more."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause
from sipproto.agent import outputs as o
from sipproto.connector import AutoConnect
from sipproto.connector import inputs as c
from sipproto.connector.events import AttemptStep, ConnectAttempt, ConnectionStatus
from sipproto.connector.naming import EventNaming
from tests.connector.world import ALICE, World

A = AttemptStep


def attempts(world: World) -> list[ConnectAttempt]:
    return world.all(ConnectAttempt)


def steps(world: World) -> list[AttemptStep]:
    return [one.step for one in attempts(world)]


def begun(world: World, **how: float) -> int:
    auto = AutoConnect(**how)  # type: ignore[arg-type]
    return world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE, auto=auto))


def test_it_goes_on_until_the_server_is_there() -> None:
    world = World()
    world.reachable = False
    command = begun(world, first_delay=1.0, max_delay=30.0)
    world.wait(600)
    assert not world.outcomes(command)
    delays = [one.retry_in for one in attempts(world) if one.step is A.WAITS]
    assert len(delays) == len(world.opened) > 20
    for number, delay in enumerate(delays):
        ceiling = min(30.0, 2.0**number)
        assert delay is not None and ceiling / 2 <= delay <= ceiling
    assert len({round(delay or 0, 3) for delay in delays[6:]}) > 5  # by chance: clients do not come all at once
    world.reachable = True
    world.wait(30)
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    assert attempts(world)[-1].step is A.SUCCEEDED and attempts(world)[-1].number == len(world.opened)
    assert world.connection_status() is ConnectionStatus.ESTABLISHED
    assert world.connector.retained["connector_timers"] <= 1


def test_also_who_does_not_answer_is_tried_again() -> None:
    world = World()
    world.answers = False
    command = begun(world)
    world.wait(60)
    world.answers = True
    world.wait(60)
    assert isinstance(world.outcome(command), o.CommandSucceeded)


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    world = World()
    wrong = evolve(ALICE, password="wrong")
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=wrong, auto=AutoConnect()))
    world.wait(200)
    assert world.outcome(command).cause is Cause.AUTHENTICATION_ERROR
    assert steps(world) == [A.BEGINS, A.REFUSED] and len(world.opened) == 1


def test_a_limit_of_attempts() -> None:
    world = World()
    world.reachable = False
    command = begun(world, attempts=3)
    world.wait(200)
    assert world.outcome(command).cause is Cause.CONNECTION_ERROR
    assert steps(world) == [A.BEGINS, A.WAITS] * 2 + [A.BEGINS, A.LIMIT]
    assert attempts(world)[-1].detail


@pytest.mark.parametrize("how", ["disconnect", "cancel", "connect"])
def test_given_up_while_it_waits(how: str) -> None:
    """The wait of a start that is stopped ends: the original leaves it hanging."""
    world = World()
    world.reachable = False
    command = begun(world)
    world.wait(20)
    if how == "disconnect":
        assert isinstance(world.do(c.DisconnectFromServer), o.CommandSucceeded)
    elif how == "cancel":
        world.give(c.Cancel(target=command))
    else:
        world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert world.outcome(command).cause is (Cause.SUPERSEDED if how == "connect" else Cause.CANCELED)
    assert steps(world).count(A.CANCELED) == 1 and steps(world)[-1] is A.CANCELED
    opened = len(world.opened)
    world.wait(100)
    assert len(world.opened) - opened == (2 if how == "connect" else 0)
    assert world.connector.retained["procedures"] == 0


def test_names() -> None:
    naming = EventNaming()
    world = World()
    world.reachable = False
    begun(world, attempts=2)
    world.wait(100)
    told = [named for one in attempts(world) for named in naming.name(one)]
    assert [named.name.removeprefix("auto-connect:") for named in told] == [
        "before-attempt",
        "changed-attempt-status",
        "before-attempt",
        "limit-reached-attempts",
        "changed-attempt-status",
    ]


def test_settings_that_cannot_be() -> None:
    for wrong in ({"first_delay": 0.0}, {"max_delay": -1.0}, {"attempts": 0}):
        with pytest.raises(ValueError):
            AutoConnect(**wrong)
