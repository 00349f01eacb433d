"""The life of a balancer: its table against a second, hand-written expectation, and what it does step by step."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding, SenderParameters
from sipproto.conference import MainCam
from sipproto.media.resolution import Resolution
from sipproto.media.video_balancer import (
    BALANCER_TABLE,
    Balance,
    BalanceFailed,
    BalancerAction,
    BalancerInput,
    BalancerState,
    BalanceSucceeded,
    BalancingScheduled,
    BalancingStarted,
    BalancingStopped,
    CallConfirmed,
    CallOver,
    LineGone,
    LineKnown,
    ParametersApplied,
    ParametersNotUpdated,
    ParametersUpdated,
    SizeMeasured,
    StartBalancing,
    StopBalancing,
    TrackReplaced,
    VideoBalancer,
)
from tests.balancing.rig import HD, SMALL, Rig, command, confirmed, effective, running, sent

S, I, A = BalancerState, BalancerInput, BalancerAction
# From each state, what leads where; every other input leaves the state.
EXPECTED: dict[BalancerState, dict[BalancerState, set[BalancerInput]]] = {
    S.NO_CALL: {S.SCHEDULED: {I.CONFIRMED}, S.STOPPED: {I.READY}},
    S.STOPPED: {S.SCHEDULED: {I.CONFIRMED}, S.STARTING: {I.START}, S.NO_CALL: {I.OVER}},
    S.SCHEDULED: {S.STARTING: {I.DUE, I.START}, S.STOPPED: {I.STOP}, S.NO_CALL: {I.OVER}},
    S.STARTING: {S.RUNNING: {I.BALANCED}, S.STOPPED: {I.STOP, I.GAVE_UP}, S.NO_CALL: {I.OVER}},
    S.RUNNING: {S.STOPPED: {I.STOP}, S.NO_CALL: {I.OVER}},
}
PAUSED = sent(60_000, 200.0)


def test_whole_product() -> None:
    assert set(EXPECTED) == set(S)
    for state, led in EXPECTED.items():
        wanted = {what: following for following, group in led.items() for what in group}
        for what in I:
            following, _ = BALANCER_TABLE.get((state, what), (state, ()))
            assert following is wanted.get(what, state), (state, what)


def test_the_end_is_told_when_there_was_something_to_end() -> None:
    ends = {S.STOPPED, S.NO_CALL}
    for (state, _), (following, actions) in BALANCER_TABLE.items():
        assert (A.REPORT_STOPPED in actions) == (following in ends and state not in ends)
        assert (A.RESTORE in actions) == (following is S.STOPPED and state is not S.NO_CALL)
        assert (A.FORGET in actions) == (following is S.NO_CALL)
        assert (A.BALANCE in actions) == (following is S.STARTING)
        assert (A.SCHEDULE in actions) == (following is S.SCHEDULED)
        assert (A.UNSCHEDULE in actions) == (state is S.SCHEDULED and following is not S.SCHEDULED)
        assert (A.ADMIT in actions) == (state is S.STARTING and following is S.RUNNING)
        assert (A.REFUSE in actions) == (state is S.STARTING and following in ends)
    assert {what for _, what in BALANCER_TABLE} == set(I)
    assert {action for _, done in BALANCER_TABLE.values() for action in done} == set(A)


# -- the life of a call ----------------------------------------------------------------------------------------------


def test_a_call() -> None:
    """The time line of the original (1.10), but for the command before the start."""
    rig = confirmed()
    assert rig.said == [(0.0, BalancingScheduled(delay=10.0))]
    rig.wait(9.9)
    assert not rig.asked
    rig.wait(10.0)
    rig.wait(20.0)
    rig.tell(command(MainCam.PAUSE))
    rig.wait(30.0)
    rig.tell(command(MainCam.RESUME))
    rig.tell(CallOver())
    updates = [((1_000_000, 1.0), 10.0), ((60_000, 200.0), 20.0), ((1_000_000, 1.0), 30.0)]
    assert rig.said == [
        (0.0, BalancingScheduled(delay=10.0)),
        *[
            (now, ParametersUpdated(line="1", parameters=sent(*values), effective=effective(sent(*values))))
            for values, now in updates[:1]
        ],
        (10.0, BalancingStarted(delay=10.0)),
        *[
            (now, ParametersUpdated(line="1", parameters=sent(*values), effective=effective(sent(*values))))
            for values, now in updates[1:]
        ],
        (30.0, BalancingStopped()),
    ]
    assert rig.balancer.next_timeout() is None
    assert rig.balancer.state is S.NO_CALL


def test_a_command_before_the_start_counts() -> None:
    """Fault 1: the original loses it. Also one that comes before the call is confirmed; the latest counts."""
    rig = Rig(VideoBalancer())
    rig.tell(command(MainCam.MAX_RESOLUTION, "640x360"), LineKnown(line="1", codec="VP8"), CallConfirmed())
    rig.wait(5.0)
    rig.tell(command(MainCam.PAUSE))
    rig.wait(10.0)
    assert [asked.parameters for asked in rig.asked] == [PAUSED]


def test_commands_of_the_camera_are_not_those_of_the_picture() -> None:
    """In the original they never reach the balancer: the pause is still what the server wants."""
    rig = running()
    rig.tell(command(MainCam.PAUSE), command(MainCam.ADMIN_STOP), command(MainCam.ADMIN_START))
    rig.tell(Balance(command=1))
    assert rig.parameters == PAUSED


def test_a_call_that_fails_before_the_start() -> None:
    rig = confirmed()
    rig.wait(5.0)
    rig.tell(CallOver())
    rig.wait(60.0)
    assert rig.names() == ["BalancingScheduled", "BalancingStopped"]
    assert not rig.asked


def test_nothing_is_told_of_an_end_without_a_beginning() -> None:
    """Fault 4."""
    rig = Rig(VideoBalancer())
    rig.tell(CallOver(), LineKnown(line="1", codec="VP8"), command(MainCam.PAUSE), CallOver(), StopBalancing(command=1))
    assert rig.names() == ["BalanceSucceeded"]
    rig = running()
    rig.tell(StopBalancing(command=1), StopBalancing(command=2), CallOver(), CallOver())
    assert rig.names() == ["BalancingStopped", "ParametersUpdated", "BalanceSucceeded", "BalanceSucceeded"]


def test_another_call_begins_anew() -> None:
    rig = running()
    rig.tell(command(MainCam.PAUSE), CallOver())
    rig.names()
    rig.now = 100.0
    rig.tell(LineKnown(line="1", codec="H264"), CallConfirmed())
    rig.wait(110.0)
    assert rig.names() == ["BalancingScheduled", "ParametersUpdated", "BalancingStarted"]
    assert rig.parameters == sent(1_000_000)


def test_confirmed_again_before_the_start_the_delay_begins_anew() -> None:
    rig = confirmed()
    rig.wait(6.0)
    rig.tell(CallConfirmed())
    rig.wait(15.9)
    assert not rig.asked
    rig.wait(16.0)
    assert rig.names() == ["BalancingScheduled", "BalancingScheduled", "ParametersUpdated", "BalancingStarted"]
    rig.tell(CallConfirmed())
    assert rig.names() == []


def test_a_call_without_video_has_nothing_to_balance_until_it_has() -> None:
    rig = Rig(VideoBalancer())
    rig.tell(CallConfirmed())
    rig.wait(10.0)
    assert rig.names() == ["BalancingScheduled", "BalancingStarted"]
    assert rig.balancer.next_timeout() is None
    rig.tell(LineKnown(line="2", codec="VP8"))
    assert rig.names() == ["ParametersUpdated"]
    assert (rig.asked[0].line, rig.parameters) == ("2", sent(1_000_000))


# -- start and stop by hand ------------------------------------------------------------------------------------------


def test_a_start_by_hand_alone() -> None:
    rig = confirmed(start_delay=None)
    rig.wait(1000.0)
    assert rig.names() == []
    rig.tell(StartBalancing(command=1), CallConfirmed())
    assert rig.heard(BalancingStarted) == [BalancingStarted(delay=None)]
    assert rig.parameters == sent(1_000_000)


def test_start_by_hand() -> None:
    rig = confirmed(start_delay=7.0)
    rig.tell(StartBalancing(command=1))
    assert rig.heard(BalancingStarted) == [BalancingStarted(delay=7.0)]
    assert rig.names() == ["BalancingScheduled", "ParametersUpdated", "BalanceSucceeded"]
    rig.tell(StartBalancing(command=2))
    assert rig.names() == ["BalanceSucceeded"]
    rig.wait(8.0)
    assert rig.names() == []


@pytest.mark.parametrize("what", [StartBalancing(command=1), Balance(command=1)])
def test_without_a_call_nothing_is_balanced(what: StartBalancing | Balance) -> None:
    rig = Rig(VideoBalancer())
    rig.tell(LineKnown(line="1", codec="VP8"), what)
    assert [output for _, output in rig.said] == [BalanceFailed(command=1, error="there is no call to balance")]


def test_stop_gives_the_line_back_what_it_had() -> None:
    """Fault 8: the original of that time leaves the limits of a pause; the later one sets those of the table."""
    before = SenderParameters(
        encodings=(Encoding(max_bitrate=3_000_000, max_framerate=20.0), Encoding(scale_resolution_down_by=4.0)),
        degradation_preference=DegradationPreference.MAINTAIN_RESOLUTION,
        content_hint=ContentHint.DETAIL,
    )
    rig = Rig(VideoBalancer())
    rig.tell(LineKnown(line="1", codec="VP8", parameters=before), CallConfirmed())
    rig.wait(10.0)
    rig.tell(command(MainCam.PAUSE))
    assert rig.parameters == evolve(
        before,
        encodings=(
            Encoding(max_bitrate=60_000, scale_resolution_down_by=200.0, max_framerate=20.0),
            Encoding(max_bitrate=60_000, scale_resolution_down_by=200.0),
        ),
    )
    rig.tell(command(MainCam.RESUME))
    assert rig.parameters.encodings[1] == Encoding(max_bitrate=1_000_000, scale_resolution_down_by=4.0)
    rig.names()
    rig.tell(StopBalancing(command=1))
    assert rig.parameters == before
    assert rig.names() == ["BalancingStopped", "ParametersUpdated", "BalanceSucceeded"]
    rig.tell(command(MainCam.PAUSE), TrackReplaced(), LineKnown(line="1", codec="H264"))
    assert rig.names() == []
    assert rig.balancer.next_timeout() is None
    rig.tell(StartBalancing(command=2))
    assert rig.names() == ["ParametersUpdated", "BalancingStarted", "BalanceSucceeded"]
    assert rig.parameters.encodings[0].max_bitrate == 60_000


def test_stop_while_the_start_is_under_way() -> None:
    """Fault 2: in the original it stays active."""
    rig = confirmed()
    rig.engine = "wait"
    rig.tell(StartBalancing(command=1))
    rig.tell(StopBalancing(command=2))
    assert rig.names() == ["BalancingScheduled", "BalanceFailed", "BalancingStopped"]
    rig.answer()
    assert rig.names() == ["ParametersUpdated"]
    assert rig.asked[-1].parameters == sent(None)
    rig.answer()
    assert rig.names() == ["ParametersUpdated", "BalanceSucceeded"]
    rig.wait(100.0)
    assert rig.names() == []
    assert rig.balancer.state is S.STOPPED


def test_start_while_the_stop_is_under_way() -> None:
    rig = running()
    rig.engine = "wait"
    rig.tell(StopBalancing(command=1), StartBalancing(command=2))
    assert rig.names() == ["BalancingStopped"]
    rig.answer()  # restored
    assert rig.names() == ["ParametersUpdated", "BalanceSucceeded"]
    rig.answer()
    assert rig.names() == ["ParametersUpdated", "BalancingStarted", "BalanceSucceeded"]
    assert rig.parameters == sent(1_000_000)


def test_stop_and_start_before_the_parameters_are_answered() -> None:
    rig = running()
    rig.engine = "wait"
    rig.tell(command(MainCam.PAUSE), StopBalancing(command=1), StartBalancing(command=2))
    assert rig.names() == ["BalancingStopped", "BalanceSucceeded"]
    rig.answer()
    assert rig.names() == ["ParametersUpdated", "BalancingStarted", "BalanceSucceeded"]
    assert [asked.parameters for asked in rig.asked[1:]] == [PAUSED]


# -- one application at a time ---------------------------------------------------------------------------------------


def test_the_newest_wish_is_applied() -> None:
    """1.7: of three sizes while the first is applied, the second is left out. Every command has its end (fault 10)."""
    rig = running()
    rig.engine = "wait"
    rig.tell(command(MainCam.PAUSE), Balance(command=1))
    rig.tell(command(MainCam.MAX_RESOLUTION, "640x360"), Balance(command=2))
    rig.tell(command(MainCam.MAX_RESOLUTION, "320x180"), Balance(command=3))
    assert rig.names() == []
    rig.answer()
    assert rig.names() == ["ParametersUpdated"]
    rig.answer()
    result = sent(320_000, 4.0)
    assert rig.heard(BalanceSucceeded) == [BalanceSucceeded(command=n, parameters=result) for n in (1, 2, 3)]
    assert [asked.parameters for asked in rig.asked[1:]] == [PAUSED, result]


def test_what_was_wanted_in_between_is_not_applied_when_all_is_well_again() -> None:
    rig = running()
    rig.engine = "wait"
    rig.tell(command(MainCam.PAUSE), command(MainCam.RESUME), command(MainCam.PAUSE), Balance(command=1))
    rig.answer()
    assert rig.names() == ["ParametersUpdated", "BalanceSucceeded"]
    assert len(rig.asked) == 2


def test_a_single_balance() -> None:
    rig = confirmed()
    rig.tell(StopBalancing(command=1), Balance(command=2))
    assert rig.names() == [
        "BalancingScheduled",
        "BalancingStopped",
        "BalanceSucceeded",
        "ParametersUpdated",
        "BalanceSucceeded",
    ]
    assert rig.parameters == sent(1_000_000)
    assert rig.balancer.next_timeout() is None  # its size is not watched
    rig.tell(Balance(command=3), LineGone(), Balance(command=4))
    assert rig.heard(BalanceSucceeded) == [BalanceSucceeded(command=3), BalanceSucceeded(command=4)]


def test_commands_that_wait_are_counted() -> None:
    rig = running()
    rig.engine = "wait"
    rig.tell(command(MainCam.PAUSE), *(Balance(command=number) for number in range(40)))
    failed = rig.heard(BalanceFailed)
    assert [one.command for one in failed] == list(range(32, 40))
    assert failed[0].error == "too many commands for balancing are waiting"
    rig.answer()
    assert len(rig.heard(BalanceSucceeded)) == 32


def test_the_end_of_the_call_ends_all_commands() -> None:
    rig = running()
    rig.engine = "wait"
    rig.tell(command(MainCam.PAUSE), Balance(command=1), StopBalancing(command=2), StartBalancing(command=3))
    rig.tell(Balance(command=4))
    rig.names()
    rig.tell(CallOver())
    assert rig.names() == ["BalanceFailed", "BalancingStopped", "BalanceFailed"]
    rig.answer()
    rig.wait(100.0)
    assert rig.names() == []


# -- refused ---------------------------------------------------------------------------------------------------------


def test_a_first_balance_that_fails_is_tried_again() -> None:
    """Fault 3."""
    rig = confirmed()
    rig.engine = "refuse"
    rig.wait(12.0)
    assert rig.heard(ParametersNotUpdated) == [
        ParametersNotUpdated(error="the line is closed", retry_in=1.0),
        ParametersNotUpdated(error="the line is closed", retry_in=2.0),
    ]
    rig.engine = "apply"
    rig.wait(12.9)
    assert rig.names() == ["BalancingScheduled"]
    rig.wait(13.0)
    assert rig.names() == ["ParametersUpdated", "BalancingStarted"]


def test_a_first_balance_that_stays_refused_ends_balancing() -> None:
    rig = confirmed()
    rig.engine = "refuse"
    rig.tell(StartBalancing(command=1))
    rig.wait(7.0)
    assert rig.heard(ParametersNotUpdated)[-1] == ParametersNotUpdated(error="the line is closed")
    assert len(rig.asked) == 4
    assert [output for _, output in rig.said[1:]] == [
        BalanceFailed(command=1, error="the line is closed"),
        BalancingStopped(),
    ]
    rig.wait(100.0)
    assert len(rig.asked) == 4
    rig.engine = "apply"
    rig.tell(StartBalancing(command=2))
    assert rig.balancer.state is S.RUNNING


def test_something_new_does_not_wait_for_the_retry() -> None:
    rig = confirmed()
    rig.engine = "refuse"
    rig.wait(10.0)
    rig.engine = "apply"
    rig.tell(command(MainCam.PAUSE))
    assert rig.parameters == PAUSED
    assert rig.balancer.state is S.RUNNING


def test_the_start_is_told_when_the_newest_wish_is_fulfilled() -> None:
    rig = confirmed()
    rig.engine = "wait"
    rig.wait(10.0)
    rig.tell(command(MainCam.PAUSE))
    rig.engine = "refuse"
    rig.answer()  # the first one, which nobody wants any more
    assert rig.names() == ["BalancingScheduled", "ParametersNotUpdated", "ParametersNotUpdated"]
    rig.engine = "wait"
    rig.wait(11.0)
    rig.tell(command(MainCam.RESUME))
    rig.answer()
    assert rig.names() == ["ParametersUpdated"]
    rig.answer()
    assert rig.names() == ["ParametersUpdated", "BalancingStarted"]
    assert [asked.parameters for asked in rig.asked] == [sent(1_000_000), PAUSED, PAUSED, sent(1_000_000)]


def test_a_single_balance_is_not_tried_again() -> None:
    rig = confirmed()
    rig.engine = "refuse"
    rig.tell(Balance(command=1))
    assert rig.heard(BalanceFailed) == [BalanceFailed(command=1, error="the line is closed")]
    assert rig.heard(ParametersNotUpdated) == [ParametersNotUpdated(error="the line is closed")]
    rig.wait(9.0)
    assert len(rig.asked) == 1


def test_what_is_refused_later_is_left_until_something_happens() -> None:
    rig = running()
    rig.engine = "refuse"
    rig.tell(command(MainCam.PAUSE), Balance(command=1))
    rig.wait(30.0)
    assert rig.names() == ["ParametersNotUpdated"] * 2 + ["BalanceFailed"] + ["ParametersNotUpdated"] * 3
    assert rig.balancer.state is S.RUNNING
    rig.engine = "apply"
    rig.tell(Balance(command=2))
    assert rig.parameters == PAUSED


def test_an_engine_that_does_not_answer() -> None:
    rig = confirmed(time_limit=3.0)
    rig.engine = "wait"
    rig.wait(13.0)
    assert rig.heard(ParametersNotUpdated) == [
        ParametersNotUpdated(error="the media engine does not answer", retry_in=1.0)
    ]
    rig.engine = "apply"
    rig.tell(StopBalancing(command=1))  # it may have been applied: so the line is given what it had even so
    assert rig.parameters == sent(None)
    assert rig.heard(BalanceSucceeded) == [BalanceSucceeded(command=1, parameters=sent(None))]
    rig.tell(ParametersApplied(number=1, effective=effective(sent(1))))
    assert rig.heard(ParametersUpdated)[-1].parameters == sent(None)


def test_a_restore_that_is_refused_is_tried_again() -> None:
    rig = running()
    rig.engine = "refuse"
    rig.tell(StopBalancing(command=1))
    rig.wait(12.0)
    assert rig.names() == ["BalancingStopped", "ParametersNotUpdated", "ParametersNotUpdated"]
    rig.engine = "apply"
    rig.wait(13.0)
    assert rig.names() == ["ParametersUpdated", "BalanceSucceeded"]
    rig = running()
    rig.engine = "refuse"
    rig.tell(StopBalancing(command=1))
    rig.wait(100.0)
    assert rig.heard(BalanceFailed) == [BalanceFailed(command=1, error="the line is closed")]
    assert rig.balancer.next_timeout() is None


# -- the line and its track ------------------------------------------------------------------------------------------


def test_a_size_that_changes() -> None:
    rig = running()
    rig.wait(12.0)
    rig.size = SMALL
    rig.wait(13.0)  # measured at 10, 11 and 13
    assert rig.parameters == sent(500_000)
    rig.tell(SizeMeasured(size=HD))  # seen by the way
    assert rig.parameters == sent(1_000_000)


def test_another_track() -> None:
    rig = running()
    rig.wait(12.0)
    rig.tell(TrackReplaced(size=SMALL))
    assert rig.parameters == sent(500_000)
    rig.size = Resolution(1920, 1080)
    rig.tell(TrackReplaced())
    assert rig.parameters == sent(2_000_000)
    rig.size = None
    rig.tell(TrackReplaced())
    assert rig.parameters == sent(4_000_000)


def test_a_size_that_cannot_be_had_delays_the_start_by_no_more_than_an_interval() -> None:
    rig = confirmed(poll_interval=0.5)
    rig.measures = False
    rig.tell(StartBalancing(command=1))
    rig.wait(0.4)
    assert rig.names() == ["BalancingScheduled"]
    rig.wait(0.5)
    assert rig.names() == ["ParametersUpdated", "BalancingStarted", "BalanceSucceeded"]
    assert rig.parameters == sent(4_000_000)
    rig.measures = True
    rig.wait(1.5)
    assert rig.parameters == sent(1_000_000)


def test_another_codec() -> None:
    """After each negotiation. A codec that is ignored has the line as it was without balancing."""
    rig = running(ignore_for_codec="h264")
    rig.tell(LineKnown(line="1", codec="video/AV1"))
    assert rig.parameters == sent(600_000)
    rig.names()
    rig.tell(LineKnown(line="1", codec="video/AV1"))
    assert rig.names() == []
    rig.tell(LineKnown(line="1", codec="video/H264"))
    assert rig.parameters == sent(None)
    rig.tell(command(MainCam.PAUSE))
    assert rig.parameters == sent(None)
    rig.tell(LineKnown(line="1", codec="video/VP8"))
    assert rig.parameters == PAUSED


def test_another_line() -> None:
    rig = running()
    rig.size = SMALL
    rig.tell(LineKnown(line="3", codec="video/VP8", parameters=sent(7, 2.0)))
    assert (rig.asked[-1].line, rig.parameters) == ("3", sent(500_000))
    rig.tell(LineGone())
    assert rig.balancer.next_timeout() is None
    rig.tell(LineKnown(line="3", codec="video/VP8"))  # another one in its place
    assert (len(rig.asked), rig.parameters) == (3, sent(500_000))
    rig.tell(StopBalancing(command=1))
    assert rig.parameters == sent(None)


def test_parameters_that_somebody_else_sets() -> None:
    """They are balanced, and what the line has again afterwards."""
    rig = running()
    theirs = evolve(sent(100_000), content_hint=ContentHint.TEXT)
    rig.tell(LineKnown(line="1", codec="video/VP8", parameters=theirs))
    assert rig.parameters == evolve(sent(1_000_000), content_hint=ContentHint.TEXT)
    rig.tell(LineKnown(line="1", codec="video/VP8", parameters=rig.parameters))  # what it knows
    rig.tell(StopBalancing(command=1))
    assert rig.parameters == theirs


def test_a_line_that_goes_while_it_is_given_parameters() -> None:
    rig = confirmed()
    rig.engine = "wait"
    rig.wait(10.0)
    rig.tell(LineGone())
    rig.engine = "refuse"
    rig.answer()
    rig.wait(11.0)
    assert rig.names() == ["BalancingScheduled", "ParametersNotUpdated", "BalancingStarted"]
    assert len(rig.asked) == 1


def test_the_largest_resolution() -> None:
    rig = confirmed(max_resolution=SMALL)
    rig.wait(10.0)
    assert rig.parameters == sent(500_000, 2.0)
    rig.tell(command(MainCam.MAX_RESOLUTION, "1280x720"))
    assert rig.parameters == sent(1_000_000)


@pytest.mark.parametrize(
    "settings", [{"start_delay": -1.0}, {"time_limit": 0.0}, {"poll_interval": 0.0}, {"max_poll_interval": 0.0}]
)
def test_impossible_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        VideoBalancer(**settings)  # type: ignore[arg-type]
