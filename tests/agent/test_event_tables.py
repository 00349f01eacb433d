"""The lives of subscriptions, ours and those of peers: the tables against a second, hand-written expectation."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from sipproto.agent import (
    NOTIFIER_TABLE,
    SUBSCRIBER_TABLE,
    NotifierAction,
    NotifierInput,
    NotifierState,
    SubscriberAction,
    SubscriberInput,
    SubscriberState,
)

S, I, A = SubscriberState, SubscriberInput, SubscriberAction
N, M, B = NotifierState, NotifierInput, NotifierAction
_LIVE = {
    S.PENDING: {I.NOTIFY_PENDING},
    S.ACTIVE: {I.NOTIFY_ACTIVE},
    S.WAITING: {I.NOTIFY_AGAIN, I.FAILED, I.EXPIRED},
    S.SUSPENDED: {I.NO_FLOW},
    S.LEAVING: {I.UNSUBSCRIBE},
    S.TERMINATED: {I.NOTIFY_END, I.REFUSED, I.FLOW_GONE},
}
_LAST = {I.NOTIFY_END, I.NOTIFY_AGAIN, I.REFUSED, I.FAILED, I.NO_FLOW, I.FLOW_GONE}
# From each state, what leads where; every other input leaves the state.
SUBSCRIBER: dict[SubscriberState, dict[SubscriberState, set[SubscriberInput]]] = {
    S.NOTIFY_WAIT: {
        **{state: _LIVE[state] for state in (S.PENDING, S.ACTIVE, S.SUSPENDED, S.TERMINATED)},
        S.WAITING: {I.NOTIFY_AGAIN, I.FAILED},
        S.WITHDRAWING: {I.UNSUBSCRIBE},
    },
    S.PENDING: {state: inputs for state, inputs in _LIVE.items() if state is not S.PENDING},
    S.ACTIVE: {state: inputs for state, inputs in _LIVE.items() if state is not S.ACTIVE},
    S.RESUMING: _LIVE,
    S.WAITING: {
        S.NOTIFY_WAIT: {I.RETRY},
        S.SUSPENDED: {I.NO_FLOW},
        S.TERMINATED: {I.UNSUBSCRIBE, I.FLOW_GONE},
    },
    S.SUSPENDED: {
        S.RESUMING: {I.RESUME},
        S.NOTIFY_WAIT: {I.RESTART},
        S.TERMINATED: {I.NOTIFY_END, I.UNSUBSCRIBE, I.FLOW_GONE},
    },
    S.WITHDRAWING: {S.LEAVING: {I.NOTIFY_PENDING, I.NOTIFY_ACTIVE}, S.TERMINATED: _LAST},
    S.LEAVING: {S.TERMINATED: _LAST},
    S.TERMINATED: {},
}
_GRANTED = {N.ENDING: {M.UNSUBSCRIBE, M.END, M.EXPIRED}, N.TERMINATED: {M.BROKEN, M.FLOW_GONE}}
NOTIFIER: dict[NotifierState, dict[NotifierState, set[NotifierInput]]] = {
    N.ASKED: {
        N.PENDING: {M.GRANT_PENDING},
        N.ACTIVE: {M.GRANT_ACTIVE},
        N.ENDING: {M.FETCH},
        N.TERMINATED: {M.REJECT, M.SILENCE, M.FLOW_GONE},
    },
    N.PENDING: {N.ACTIVE: {M.GRANT_ACTIVE}, **_GRANTED},
    N.ACTIVE: {N.PENDING: {M.GRANT_PENDING}, **_GRANTED},
    N.ENDING: {N.TERMINATED: {M.TOLD, M.BROKEN, M.FLOW_GONE}},
    N.TERMINATED: {},
}
BOTH = pytest.mark.parametrize(
    ("table", "expected", "first", "actions"),
    [(SUBSCRIBER_TABLE, SUBSCRIBER, S.NOTIFY_WAIT, A), (NOTIFIER_TABLE, NOTIFIER, N.ASKED, B)],
    ids=["subscriber", "notifier"],
)
Table = dict[tuple[Any, Any], tuple[Any, tuple[Any, ...]]]


def _members(one: Enum) -> type[Enum]:
    return type(one)


@BOTH
def test_whole_product(table: Table, expected: dict[Any, Any], first: Any, actions: type[Enum]) -> None:
    inputs: type[Enum] = type(next(iter(table))[1])
    assert set(expected) == {*_members(first)}
    for state, led in expected.items():
        wanted = {what: following for following, group in led.items() for what in group}
        for what in inputs:
            following, _ = table.get((state, what), (state, ()))
            assert following is wanted.get(what, state), (state, what)


@BOTH
def test_states_are_reachable_and_can_be_left(
    table: Table, expected: dict[Any, Any], first: Any, actions: type[Enum]
) -> None:
    reached, grown = {first}, True
    while grown:
        more = {following for (state, _), (following, _) in table.items() if state in reached} - reached
        reached |= more
        grown = bool(more)
    assert reached == set(expected)
    (end,) = [state for state in expected if state.name == "TERMINATED"]
    gone = next(what for _, what in table if what.name == "FLOW_GONE")
    assert not any(state is end for state, _ in table)
    assert all((state, gone) in table for state in set(expected) - {end})
    assert {what for _, what in table} == {*_members(gone)}
    assert {action for _, done in table.values() for action in done} == set(actions)


def test_the_end_is_told_once_and_all_is_forgotten_once() -> None:
    over = {S.WITHDRAWING, S.LEAVING, S.TERMINATED}
    for (state, _), (following, actions) in SUBSCRIBER_TABLE.items():
        assert (A.REPORT_END in actions) == (following in over and state not in over)
        assert (A.FORGET in actions) == (following is S.TERMINATED)
        assert (A.BACK_OFF in actions) == (following is S.WAITING)
        # what is sent has a dialog, or makes one
        assert (A.SUBSCRIBE in actions) == (following is S.NOTIFY_WAIT)
        assert (A.UNSUBSCRIBE in actions) == (following is S.LEAVING)
        if following in (S.WAITING, S.SUSPENDED) and state is S.NOTIFY_WAIT:
            assert A.DROP in actions
    for (state_, _), (following_, actions_) in NOTIFIER_TABLE.items():
        over_ = {N.ENDING, N.TERMINATED}
        assert (B.REPORT_END in actions_) == (following_ in over_ and state_ not in over_)
        assert (B.FORGET in actions_) == (following_ is N.TERMINATED)
        assert (B.LAST_NOTIFY in actions_) == (following_ is N.ENDING)
