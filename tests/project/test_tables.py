"""No state table is forgotten: each one in the core has a diagram, and a test of its whole product."""

from __future__ import annotations

import enum
import importlib
import pkgutil
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import sipproto

ROOT = Path(__file__).resolve().parents[2]
# Where each table stands against a second, hand-written expectation for every pair of state and input.
TESTED = {
    "sipproto.agent._call_table.TABLE": "agent/test_call_table.py",
    "sipproto.agent._connection_table.CONNECTION_TABLE": "agent/test_connection_table.py",
    "sipproto.agent._subscription_table.SUBSCRIBER_TABLE": "agent/test_event_tables.py",
    "sipproto.agent._watcher_table.NOTIFIER_TABLE": "agent/test_event_tables.py",
    "sipproto.media._balancer_table.BALANCER_TABLE": "balancing/test_video_balancer.py",
    "sipproto.media.congestion._rate.RATE_TRANSITIONS": "media/congestion/test_rate.py",
    "sipproto.negotiation._negotiator.TRANSITIONS": "negotiation/test_negotiator.py",
    "sipproto.transaction._tables.CLIENT": "transaction/test_tables.py",
    "sipproto.transaction._tables.INVITE_CLIENT": "transaction/test_tables.py",
    "sipproto.transaction._tables.INVITE_SERVER": "transaction/test_tables.py",
    "sipproto.transaction._tables.SERVER": "transaction/test_tables.py",
}
Table = dict[tuple[enum.Enum, enum.Enum], Any]


def is_table(value: object) -> bool:
    """From pairs of members of two enums."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(key, tuple) and len(key) == 2 and all(isinstance(k, enum.Enum) for k in key) for key in value
        )
    )


def tables() -> dict[str, Table]:
    """Every table of the core by the module that it is written in."""
    found: dict[int, tuple[str, Table]] = {}
    names = [module.name for module in pkgutil.walk_packages(sipproto.__path__, "sipproto.")]
    for name in sorted(names, key=lambda name: "._" not in name):  # those that write before those that export
        for attribute, value in vars(importlib.import_module(name)).items():
            if is_table(value):
                where = re.search(
                    rf"^{attribute}\b\s*[:=]",
                    Path(str(importlib.import_module(name).__file__)).read_text(),
                    re.MULTILINE,
                )
                if where is not None:
                    found.setdefault(id(value), (f"{name}.{attribute}", value))
    return dict(found.values())


def test_each_table_is_tested() -> None:
    assert set(tables()) == set(TESTED)
    for name, place in TESTED.items():
        text = (ROOT / "tests" / place).read_text()
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", text), f"{place} does not name {name}"
        assert re.search(r"def test_whole_product|itertools\.product\(S, Step\)", text), place


def test_each_table_is_drawn() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_state_diagrams.py"))
    used = {id(value) for value in page.values() if is_table(value)}
    assert {id(table) for table in tables().values()} <= used, "docs/make_state_diagrams.py leaves a table out"
    drawn = (ROOT / "docs" / "state-machines.md").read_text()
    assert drawn.count("stateDiagram-v2") == len(TESTED)
    assert len(re.findall(r"^## ", drawn, re.MULTILINE)) == len(TESTED)


@pytest.mark.parametrize("name", TESTED)
def test_one_enum_of_states_and_one_of_inputs(name: str) -> None:
    table = tables()[name]
    assert len({type(state) for state, _ in table}) == len({type(what) for _, what in table}) == 1
    states = {type(state) for state, _ in table}
    for value in table.values():
        following = value[0] if isinstance(value, tuple) else value
        assert type(following) in states
