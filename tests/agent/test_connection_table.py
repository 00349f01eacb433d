"""The connection to the server: the table against a second, hand-written expectation."""

from __future__ import annotations

from sipproto.agent import CONNECTION_TABLE as TABLE
from sipproto.agent import LinkAction, LinkInput, LinkState

S, I, A = LinkState, LinkInput, LinkAction
# From each state, what leads where; every other input leaves the state.
EXPECTED: dict[LinkState, dict[LinkState, set[LinkInput]]] = {
    S.CLOSED: {S.CONNECTING: {I.CONNECT}},
    S.CONNECTING: {S.OPEN: {I.OPENED}, S.CLOSED: {I.EXHAUSTED, I.DISCONNECT}},
    S.OPEN: {S.WAITING: {I.LOST}, S.CLOSED: {I.LOST_FOR_GOOD, I.DISCONNECT}},
    S.WAITING: {S.RECONNECTING: {I.RETRY, I.HURRY}, S.CONNECTING: {I.CONNECT}, S.CLOSED: {I.DISCONNECT}},
    S.RECONNECTING: {
        S.OPEN: {I.OPENED},
        S.WAITING: {I.EXHAUSTED},
        S.CONNECTING: {I.CONNECT},
        S.CLOSED: {I.DISCONNECT},
    },
}
TRYING = {S.CONNECTING, S.RECONNECTING}


def test_whole_product() -> None:
    for state in LinkState:
        wanted = {what: following for following, inputs in EXPECTED[state].items() for what in inputs}
        for what in LinkInput:
            following, actions = TABLE.get((state, what), (state, ()))
            assert following is wanted.get(what, state), (state, what)
            # what leaves the state alone does nothing, but for the next server in turn
            if following is state and actions:
                assert (what, actions) == (I.REFUSED, (A.TRY_NEXT,)) and state in TRYING


def test_what_is_done_belongs_to_where_it_leads() -> None:
    for (state, what), (following, actions) in TABLE.items():
        done = set(actions)
        assert len(done) == len(actions), (state, what)
        # whoever tries has just begun with a server, and nobody else has
        assert bool(done & {A.TRY_FIRST, A.TRY_NEXT}) == (following in TRYING)
        assert (A.ADOPT in done) == (following is S.OPEN)
        assert (A.BACK_OFF in done) == (following is S.WAITING)
        # the application hears of each change but that an attempt begins by itself, and of the end last
        assert (A.REPORT_CLOSED in done) == (following is S.CLOSED)
        assert A.REPORT_CLOSED not in actions[:-1]
        assert (A.REPORT_CONNECTING in done) == (what is I.CONNECT)
        # what a state holds is given back when it is left before its time: the flow, the attempt, the back-off
        assert (A.CLOSE in done) == (state is S.OPEN and what is I.DISCONNECT)
        assert (A.ABANDON in done) == (state in TRYING and what in (I.CONNECT, I.DISCONNECT))
        assert (A.STOP_WAITING in done) == (state is S.WAITING and what is not I.RETRY)


def test_states_are_reachable_and_can_be_left() -> None:
    reached, grown = {S.CLOSED}, True
    while grown:
        more = {following for (state, _), (following, _) in TABLE.items() if state in reached} - reached
        reached |= more
        grown = bool(more)
    assert reached == set(LinkState)
    for state in set(LinkState) - {S.CLOSED}:
        assert TABLE[(state, I.DISCONNECT)][0] is S.CLOSED
        # something that comes by itself: the back-off and the limit of an attempt are timers; a flow ends some day
        by_itself = {I.RETRY, I.EXHAUSTED, I.LOST}
        assert any(TABLE.get((state, what), (state, ()))[0] is not state for what in by_itself)
    # without hope of another attempt no state that waits is entered
    assert not any(
        following in (S.WAITING, S.RECONNECTING)
        for (_, what), (following, _) in TABLE.items()
        if what is I.LOST_FOR_GOOD
    )


def test_every_action_and_input_is_used() -> None:
    assert {what for _, what in TABLE} == set(LinkInput)
    assert {action for _, actions in TABLE.values() for action in actions} == set(LinkAction)
