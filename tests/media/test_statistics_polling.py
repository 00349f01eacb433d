"""When statistics are measured: the machine, by tables and by chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.media import (
    DropSample,
    PollingInput,
    PollingOutput,
    SampleDone,
    SampleFailed,
    StartPolling,
    StatisticsPolling,
    StopPolling,
    TakeSample,
)
from tests.effort import effort


def started(interval: float = 1.0, time_limit: float = 5.0) -> StatisticsPolling:
    """One with a sample under way since 100 + interval."""
    polling = StatisticsPolling(interval=interval, time_limit=time_limit)
    assert polling.handle(StartPolling(), 100.0) == ()
    assert polling.next_timeout() == 100.0 + interval
    assert polling.handle(TimeoutElapsed(), 100.0 + interval) == (TakeSample(number=1),)
    assert polling.next_timeout() == 100.0 + interval + time_limit
    return polling


@pytest.mark.parametrize(
    ("elapsed", "intervals"),
    [(0, 1), (16, 1), (17, 2), (32, 2), (33, 3), (48, 3), (49, 4), (16.001, 2), (32.001, 3), (48.001, 4), (4900, 4)],
)
@pytest.mark.parametrize("interval", [0.25, 1.0])
def test_a_slow_sample_makes_the_next_one_later(elapsed: float, intervals: int, interval: float) -> None:
    polling = started(interval)
    assert polling.handle(SampleDone(number=1, elapsed=elapsed / 1000), 103.0) == ()
    assert polling.next_timeout() == 103.0 + intervals * interval
    assert polling.handle(TimeoutElapsed(), 103.0 + intervals * interval) == (TakeSample(number=2),)
    polling.handle(SampleDone(number=2, elapsed=0.0), 110.0)
    assert polling.next_timeout() == 110.0 + interval  # a fast one makes up for it at once


STEPS: list[tuple[str, list[tuple[PollingInput, float, tuple[PollingOutput, ...], float | None]]]] = [
    ("an error ends nothing", [
        (SampleFailed(number=1), 101.5, (), 102.5),
        (TimeoutElapsed(), 102.5, (TakeSample(number=2),), 107.5),
    ]),
    ("a sample that never comes is given up, as the slowest one", [
        (TimeoutElapsed(), 106.0, (DropSample(number=1),), 110.0),
        (SampleDone(number=1, elapsed=6.0), 107.0, (), 110.0),
        (SampleFailed(number=1), 107.0, (), 110.0),
        (TimeoutElapsed(), 110.0, (TakeSample(number=2),), 115.0),
        (SampleDone(number=1, elapsed=9.0), 110.5, (), 115.0),
        (SampleDone(number=2, elapsed=0.0), 111.0, (), 112.0),
    ]),
    ("too early is nothing", [(TimeoutElapsed(), 105.9, (), 106.0)]),
    ("the end, with a sample under way", [
        (StopPolling(), 101.5, (DropSample(number=1),), None),
        (SampleDone(number=1, elapsed=0.0), 102.0, (), None),
        (TimeoutElapsed(), 200.0, (), None),
        (StopPolling(), 201.0, (), None),
    ]),
    ("the end, between two samples", [
        (SampleDone(number=1, elapsed=0.0), 101.5, (), 102.5),
        (StopPolling(), 102.0, (), None),
    ]),
    ("begun anew", [
        (StartPolling(), 101.5, (DropSample(number=1),), 102.5),
        (SampleDone(number=1, elapsed=1.0), 102.0, (), 102.5),
        (TimeoutElapsed(), 102.5, (TakeSample(number=2),), 107.5),
    ]),
    ("begun anew after the end", [
        (StopPolling(), 101.5, (DropSample(number=1),), None),
        (StartPolling(), 300.0, (), 301.0),
        (TimeoutElapsed(), 301.0, (TakeSample(number=2),), 306.0),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("steps", [steps for _, steps in STEPS], ids=[name for name, _ in STEPS])
def test_steps(steps: list[tuple[PollingInput, float, tuple[PollingOutput, ...], float | None]]) -> None:
    polling = started()
    for what, now, outputs, timeout in steps:
        assert polling.handle(what, now) == outputs, what
        assert polling.next_timeout() == timeout, what


def test_nothing_happens_before_the_start() -> None:
    polling = StatisticsPolling()
    assert polling.next_timeout() is None
    inputs: tuple[PollingInput, ...] = (TimeoutElapsed(), SampleDone(number=0, elapsed=0.0), StopPolling())
    for what in inputs:
        assert polling.handle(what, 5.0) == ()
    assert polling.next_timeout() is None


@pytest.mark.parametrize("values", [{"interval": 0.0}, {"interval": -1.0}, {"time_limit": 0.0}])
def test_impossible_settings(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        StatisticsPolling(**values)


@effort(200)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([StartPolling(), StopPolling(), TimeoutElapsed()]),
            st.builds(SampleDone, number=st.integers(0, 8), elapsed=st.floats(0, 1)),
            st.builds(SampleFailed, number=st.integers(0, 8)),
        ),
        max_size=40,
    )
)
def test_one_sample_is_under_way_at_most(inputs: list[PollingInput]) -> None:
    """Time goes to each timeout; whatever comes, samples are taken one by one and none is taken after the end."""
    polling, now, under_way, polls = StatisticsPolling(), 0.0, 0, False
    for what in inputs:
        if isinstance(what, TimeoutElapsed):
            now = max(now, polling.next_timeout() or 0.0)
        polls = isinstance(what, StartPolling) or (polls and not isinstance(what, StopPolling))
        for output in polling.handle(what, now):
            if isinstance(output, TakeSample):
                assert polls and not under_way
                under_way = output.number
            else:
                assert output.number == under_way
                under_way = 0
        if isinstance(what, SampleDone | SampleFailed) and what.number == under_way:
            under_way = 0
        assert (polling.next_timeout() is None) is not polls
        assert polling.next_timeout() is None or now <= (polling.next_timeout() or 0.0) <= now + 5.0
