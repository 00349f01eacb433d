"""The four machines: their tables against a second, hand-written reading of RFC 3261 17 and RFC 6026."""

from __future__ import annotations

import pytest

from sipproto.transaction import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, TIMERS, Action, Input, State

S, I = State, Input
Next = dict[tuple[State, Input], State]

# Figure 5, with Accepted of RFC 6026. What is absent does not change the state. Timer B in Proceeding is ours.
FIGURE_5: Next = {
    (S.CALLING, I.RESPONSE_1XX): S.PROCEEDING,
    (S.CALLING, I.RESPONSE_2XX): S.ACCEPTED,
    (S.CALLING, I.RESPONSE_3XX_6XX): S.COMPLETED,
    (S.CALLING, I.TIMER_B): S.TERMINATED,
    (S.CALLING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.PROCEEDING, I.RESPONSE_2XX): S.ACCEPTED,
    (S.PROCEEDING, I.RESPONSE_3XX_6XX): S.COMPLETED,
    (S.PROCEEDING, I.TIMER_B): S.TERMINATED,
    (S.PROCEEDING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.COMPLETED, I.TIMER_D): S.TERMINATED,
    (S.COMPLETED, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.ACCEPTED, I.TIMER_M): S.TERMINATED,
}
FIGURE_6: Next = {
    (S.TRYING, I.RESPONSE_1XX): S.PROCEEDING,
    (S.TRYING, I.RESPONSE_2XX): S.COMPLETED,
    (S.TRYING, I.RESPONSE_3XX_6XX): S.COMPLETED,
    (S.TRYING, I.TIMER_F): S.TERMINATED,
    (S.TRYING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.PROCEEDING, I.RESPONSE_2XX): S.COMPLETED,
    (S.PROCEEDING, I.RESPONSE_3XX_6XX): S.COMPLETED,
    (S.PROCEEDING, I.TIMER_F): S.TERMINATED,
    (S.PROCEEDING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.COMPLETED, I.TIMER_K): S.TERMINATED,
    (S.COMPLETED, I.TRANSPORT_ERROR): S.TERMINATED,
}
FIGURE_7: Next = {
    (S.PROCEEDING, I.USER_2XX): S.ACCEPTED,
    (S.PROCEEDING, I.USER_3XX_6XX): S.COMPLETED,
    (S.COMPLETED, I.ACK): S.CONFIRMED,
    (S.COMPLETED, I.TIMER_H): S.TERMINATED,
    (S.CONFIRMED, I.TIMER_I): S.TERMINATED,
    (S.ACCEPTED, I.TIMER_L): S.TERMINATED,
}
FIGURE_8: Next = {
    (S.TRYING, I.USER_1XX): S.PROCEEDING,
    (S.TRYING, I.USER_2XX): S.COMPLETED,
    (S.TRYING, I.USER_3XX_6XX): S.COMPLETED,
    (S.TRYING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.PROCEEDING, I.USER_2XX): S.COMPLETED,
    (S.PROCEEDING, I.USER_3XX_6XX): S.COMPLETED,
    (S.PROCEEDING, I.TRANSPORT_ERROR): S.TERMINATED,
    (S.COMPLETED, I.TIMER_J): S.TERMINATED,
    (S.COMPLETED, I.TRANSPORT_ERROR): S.TERMINATED,
}
MACHINES = {
    "INVITE client": (INVITE_CLIENT, FIGURE_5, S.CALLING),
    "client": (CLIENT, FIGURE_6, S.TRYING),
    "INVITE server": (INVITE_SERVER, FIGURE_7, S.PROCEEDING),
    "server": (SERVER, FIGURE_8, S.TRYING),
}
# What is sent, by whom, where: the lines of the figures that are not arrows between states.
SENDS = {
    "INVITE client": {
        (S.CALLING, I.START), (S.CALLING, I.TIMER_A), (S.CALLING, I.RESPONSE_3XX_6XX), (S.PROCEEDING, I.RESPONSE_3XX_6XX),
        (S.COMPLETED, I.RESPONSE_3XX_6XX),
    },
    "client": {(S.TRYING, I.START), (S.TRYING, I.TIMER_E), (S.PROCEEDING, I.TIMER_E)},
    "INVITE server": {
        (S.PROCEEDING, I.REQUEST), (S.PROCEEDING, I.USER_1XX), (S.PROCEEDING, I.USER_2XX), (S.PROCEEDING, I.USER_3XX_6XX),
        (S.ACCEPTED, I.USER_2XX), (S.COMPLETED, I.REQUEST), (S.COMPLETED, I.TIMER_G),
    },
    "server": {
        (S.TRYING, I.USER_1XX), (S.TRYING, I.USER_2XX), (S.TRYING, I.USER_3XX_6XX), (S.PROCEEDING, I.REQUEST),
        (S.PROCEEDING, I.USER_1XX), (S.PROCEEDING, I.USER_2XX), (S.PROCEEDING, I.USER_3XX_6XX), (S.COMPLETED, I.REQUEST),
    },
}  # fmt: skip
SENDING = {Action.SEND_REQUEST, Action.SEND_RESPONSE, Action.RESEND_RESPONSE, Action.SEND_ACK}


@pytest.mark.parametrize("name", MACHINES)
def test_whole_product(name: str) -> None:
    table, figure, start = MACHINES[name]
    states = {start} | {state for state, _ in table}
    assert set(figure) <= set(table)
    for state in states:
        for what in Input:
            following, actions = table.get((state, what), (state, ()))
            assert following is figure.get((state, what), state), (state, what)
            assert bool(SENDING & set(actions)) == ((state, what) in SENDS[name]), (state, what)
            assert not (following is S.TERMINATED and SENDING & set(actions))


@pytest.mark.parametrize("name", MACHINES)
def test_states_are_reachable_and_can_be_left(name: str) -> None:
    table, _, start = MACHINES[name]
    reached, grown = {start}, True
    while grown:
        more = {following for (state, _), (following, _) in table.items() if state in reached} - reached
        reached |= more
        grown = bool(more)
    assert reached == {state for state, _ in table} | {S.TERMINATED}
    assert not any(state is S.TERMINATED for state, _ in table)
    for state in reached - {S.TERMINATED}:
        ways = {what for (at, what), (following, _) in table.items() if at is state and following is not state}
        assert ways, state
        if state not in (S.PROCEEDING, S.TRYING) or "client" in name:
            # a state that waits for the peer has a timer of its own, or one that runs on
            assert any(what.name.startswith("TIMER") for what in ways), state


def test_every_timer_that_is_started_is_taken() -> None:
    for table, _, _ in MACHINES.values():
        for following, actions in table.values():
            for action in actions:
                if action in TIMERS:
                    assert (following, TIMERS[action][0]) in table


def test_every_timer_entry_has_something_that_starts_it() -> None:
    for name, (table, _, _) in MACHINES.items():
        started = {TIMERS[action][0] for _, actions in table.values() for action in actions if action in TIMERS}
        assert {what for _, what in table if what.name.startswith("TIMER")} == started, name
