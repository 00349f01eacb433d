"""The rate controller, the detector in front of it, and what is known to arrive."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from sipproto.media.congestion import RATE_TRANSITIONS, DelayDetector, RateControl, RateState, Usage
from sipproto.media.congestion._rate import AcknowledgedRate

R, U = RateState, Usage
# draft-ietf-rmcat-gcc-02 5.5: from the state of the row, what each signal leads to.
EXPECTED = {
    U.OVERUSING: {R.HOLD: R.DECREASE, R.INCREASE: R.DECREASE, R.DECREASE: R.DECREASE},
    U.NORMAL: {R.HOLD: R.INCREASE, R.INCREASE: R.INCREASE, R.DECREASE: R.HOLD},
    U.UNDERUSING: {R.HOLD: R.HOLD, R.INCREASE: R.HOLD, R.DECREASE: R.HOLD},
}


def test_whole_product() -> None:
    assert set(RATE_TRANSITIONS) == set(itertools.product(RateState, Usage))
    for (state, usage), following in RATE_TRANSITIONS.items():
        assert following is EXPECTED[usage][state], (state, usage)


def drive(control: RateControl, usage: Usage, acknowledged: float | None, seconds: float, start: float = 0.0) -> float:
    now = start
    while now < start + seconds:
        control.update(usage, acknowledged, 0.05, now)
        now += 0.1
    return now


def test_it_grows_by_eight_percent_a_second_far_from_a_limit() -> None:
    control = RateControl(1_000_000)
    drive(control, U.NORMAL, 2_000_000, 10.0)
    assert control.bitrate == pytest.approx(1_000_000 * 1.08**10, rel=0.01)


def test_it_does_not_grow_beyond_what_arrives() -> None:
    control = RateControl(1_000_000)
    drive(control, U.NORMAL, 800_000, 20.0)
    assert control.bitrate == pytest.approx(1_210_000)
    drive(control, U.NORMAL, 100_000, 20.0, 20.0)
    assert control.bitrate == pytest.approx(1_210_000)  # nor does it fall


def test_it_does_not_grow_while_nothing_says_that_the_path_takes_more() -> None:
    control = RateControl(1_000_000)
    for hour in range(5):  # such as a packet of silence each 0.4 s; 8 % a second would be infinite by then
        drive(control, U.NORMAL, None, 3600.0, hour * 3600.0)
    assert control.bitrate == 1_000_000


def test_it_stays_finite_whatever_is_said_to_arrive() -> None:
    control = RateControl(1_000_000)
    drive(control, U.NORMAL, 1e12, 3600.0)
    assert control.bitrate == 100_000_000
    control.set(1e12, 3601.0)
    assert control.bitrate == 100_000_000


def test_it_falls_below_what_arrives_and_then_grows_slowly() -> None:
    control = RateControl(2_000_000)
    assert control.update(U.OVERUSING, 1_000_000, 0.05, 1.0)
    assert control.bitrate == pytest.approx(850_000)
    drive(control, U.NORMAL, 850_000, 5.0, 1.1)
    assert 1_000_000 < control.bitrate < 850_000 * 1.08**5 + 60_000


def test_one_over_use_lowers_it_once() -> None:
    control = RateControl(2_000_000)
    lowered = [control.update(U.OVERUSING, 1_000_000, 0.05, now / 100) for now in range(10)]
    assert lowered == [True] + [False] * 9


def test_what_is_sent_for_want_of_more_says_nothing_of_the_path() -> None:
    control = RateControl(2_000_000)
    control.update(U.OVERUSING, 100_000, 0.05, 1.0, limited=True)
    assert control.bitrate == pytest.approx(1_700_000)


def test_it_never_falls_below_its_minimum() -> None:
    control = RateControl(100_000)
    drive(control, U.OVERUSING, 1_000, 30.0)
    assert control.bitrate == 30_000


def test_what_arrives_is_measured_over_a_short_while() -> None:
    rate = AcknowledgedRate()
    assert rate.bitrate is None
    for number in range(100):
        rate.add(10 + number / 100, 1250)
    assert rate.bitrate == pytest.approx(1_000_000, rel=0.05)
    rate.add(20.0, 1250)
    assert rate.bitrate is None  # after a pause nothing is known


def test_what_is_said_to_arrive_at_one_moment_for_ever_is_forgotten() -> None:
    rate = AcknowledgedRate()
    for number in range(100_000):
        rate.add(10.0 - number * 0.0001, 1250)
    assert len(rate._arrivals) <= 4096 and rate.bitrate is None


Delay = Callable[[float], float]


def usages(delay: Delay, *, seconds: float = 10.0, step: float = 20.0) -> list[Usage]:
    """What the detector says of packets each 20 ms; `delay`: milliseconds at a moment in milliseconds."""
    detector, out = DelayDetector(), []
    for number in range(int(seconds * 1000 / step)):
        sent = number * step
        detector.add(sent, 7000 + sent + delay(sent))
        out.append(detector.usage)
    return out


def test_an_even_delay_is_normal() -> None:
    assert set(usages(lambda sent: 30.0)) == {Usage.NORMAL}


def test_a_queue_that_grows_is_seen_within_a_second() -> None:
    seen = usages(lambda sent: max(0.0, sent - 5000) * 0.1)
    assert Usage.OVERUSING not in seen[:250]
    assert Usage.OVERUSING in seen[250:300]


def test_a_queue_that_shrinks_is_seen() -> None:
    assert Usage.UNDERUSING in usages(lambda sent: max(0.0, 300 - max(0.0, sent - 5000) * 0.1))[250:400]


@pytest.mark.parametrize("seed", range(5))
def test_jitter_is_seldom_taken_for_a_queue(seed: int) -> None:
    chance = random.Random(seed)
    seen = usages(lambda sent: 30 * chance.random(), seconds=60)
    assert seen.count(Usage.OVERUSING) < 0.03 * len(seen)


@pytest.mark.parametrize("back", [500.0, 1e6])
def test_a_clock_that_is_set_back_makes_it_neither_blind_nor_deaf(back: float) -> None:
    detector, jump, delay, seen = DelayDetector(), 0.0, 0.0, []
    for number in range(400):
        if number == 250:
            before, jump = detector._threshold, -back
        delay += 2.0 if number >= 300 else 0.0  # a queue grows
        detector.add(number * 20.0, 7e6 + number * 20.0 + delay + jump)
        seen.append(detector.usage)
        if 250 <= number < 300:
            assert detector._threshold <= before
    assert Usage.OVERUSING not in seen[:300] and Usage.OVERUSING in seen[300:350]


def test_a_clock_that_jumps_begins_anew() -> None:
    seen = usages(lambda sent: 0.0 if sent < 5000 else 1e6)
    assert set(seen) == {Usage.NORMAL}
