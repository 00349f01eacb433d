"""The life of a call: the table against a second, hand-written expectation."""

from __future__ import annotations

from sipproto.agent import TABLE, CallAction, CallInput, CallState

S, I, A = CallState, CallInput, CallAction
OVER = {S.CANCELLING, S.REGRETTED, S.LEAVING, S.ENDED}  # for the application
# From each state, what leads where; every other input leaves the state.
EXPECTED: dict[CallState, dict[CallState, set[CallInput]]] = {
    S.PREPARING: {S.CALLING: {I.MEDIA_READY}, S.ENDED: {I.MEDIA_FAILED, I.HANG_UP, I.FLOW_GONE}},
    S.CALLING: {
        S.RINGING: {I.PROVISIONAL},
        S.ESTABLISHED: {I.SUCCESS},
        S.CONFIRMING: {I.OFFERED},
        S.REDIRECTED: {I.REDIRECTION},
        S.ENDED: {I.FAILURE, I.TIMEOUT, I.FLOW_GONE},
        S.CANCELLING: {I.HANG_UP, I.MEDIA_FAILED},
    },
    S.RINGING: {
        S.CALLING: {I.AGAIN},
        S.ESTABLISHED: {I.SUCCESS},
        S.CONFIRMING: {I.OFFERED},
        S.REDIRECTED: {I.REDIRECTION},
        S.ENDED: {I.FAILURE, I.FLOW_GONE},
        S.CANCELLING: {I.HANG_UP, I.TIMEOUT, I.MEDIA_FAILED},
    },
    S.REDIRECTED: {S.CALLING: {I.REDIRECT}, S.ENDED: {I.HANG_UP, I.TIMEOUT, I.MEDIA_FAILED, I.FLOW_GONE}},
    S.CONFIRMING: {
        S.ESTABLISHED: {I.MEDIA_READY},
        S.LEAVING: {I.MEDIA_FAILED, I.TIMEOUT, I.UNCONFIRMED, I.HANG_UP},
        S.ENDED: {I.BYE, I.FLOW_GONE},
    },
    S.CANCELLING: {S.LEAVING: {I.SUCCESS}, S.ENDED: {I.FAILURE, I.TIMEOUT, I.FLOW_GONE}},
    S.INCOMING: {
        S.ANSWERING: {I.ANSWER},
        S.ENDED: {I.HANG_UP, I.CANCEL, I.TIMEOUT, I.MEDIA_FAILED, I.NO_PRACK, I.BYE, I.FLOW_GONE},
    },
    S.ANSWERING: {
        S.ACCEPTED: {I.MEDIA_READY},
        S.ENDED: {I.MEDIA_FAILED, I.HANG_UP, I.CANCEL, I.NO_PRACK, I.BYE, I.FLOW_GONE},
    },
    S.ACCEPTED: {
        S.ESTABLISHED: {I.ACK},
        S.LEAVING: {I.NO_ACK, I.FLOW_LOST},
        S.REGRETTED: {I.MEDIA_FAILED, I.HANG_UP},
        S.ENDED: {I.BYE, I.FLOW_GONE},
    },
    S.REGRETTED: {S.LEAVING: {I.ACK, I.NO_ACK, I.FLOW_LOST}, S.ENDED: {I.BYE, I.FLOW_GONE}},
    S.ESTABLISHED: {
        S.RECOVERING: {I.MEDIA_LOST, I.FLOW_LOST},
        S.LEAVING: {I.MEDIA_FAILED, I.TIMEOUT, I.NO_ACK, I.HANG_UP},
        S.ENDED: {I.BYE, I.FLOW_GONE},
    },
    S.RECOVERING: {
        S.ESTABLISHED: {I.RECOVERED},
        S.LEAVING: {I.MEDIA_FAILED, I.TIMEOUT, I.NO_ACK, I.GRACE_OVER, I.HANG_UP},
        S.ENDED: {I.BYE, I.FLOW_GONE},
    },
    S.LEAVING: {S.ENDED: {I.BYE, I.BYE_DONE, I.GRACE_OVER, I.FLOW_GONE}},
    S.ENDED: {},
}


def test_whole_product() -> None:
    for state in CallState:
        wanted = {what: following for following, inputs in EXPECTED[state].items() for what in inputs}
        for what in CallInput:
            following, _ = TABLE.get((state, what), (state, ()))
            assert following is wanted.get(what, state), (state, what)


def test_the_end_is_told_once_and_the_call_is_forgotten_once() -> None:
    for (state, _), (following, actions) in TABLE.items():
        # told exactly when the application's call ends
        assert (A.REPORT_END in actions) == (following in OVER and state not in OVER)
        assert (A.FORGET in actions) == (following is S.ENDED)
        if A.SEND_BYE in actions:
            assert following is S.LEAVING
        # the wait for another connection has its limit
        if following is S.RECOVERING and state is not S.RECOVERING:
            assert actions[0] is A.START_GRACE
        # nothing is said to an application whose call is over
        if state in OVER:
            assert not {A.REPORT_PROGRESS, A.ESTABLISH, A.CONFIRM, A.REPORT_END} & set(actions)


def test_states_are_reachable_and_can_be_left() -> None:
    reached, grown = {S.PREPARING, S.INCOMING}, True
    while grown:
        more = {following for (state, _), (following, _) in TABLE.items() if state in reached} - reached
        reached |= more
        grown = bool(more)
    assert reached == set(CallState)
    assert not any(state is S.ENDED for state, _ in TABLE)
    for state in set(CallState) - {S.ENDED}:
        assert (state, I.FLOW_GONE) in TABLE
        # something that comes by itself: a timer of ours, or the end of a transaction or media request, which have timers
        by_itself = {I.TIMEOUT, I.NO_ACK, I.MEDIA_FAILED, I.MEDIA_READY, I.BYE_DONE, I.GRACE_OVER}
        assert state is S.ESTABLISHED or any((state, what) in TABLE for what in by_itself)


def test_every_action_and_input_is_used() -> None:
    assert {what for _, what in TABLE} == set(CallInput)
    assert {action for _, actions in TABLE.values() for action in actions} == set(CallAction)
