"""When the size of a track is measured, and what is told of it: the runs of the original (1.9), in seconds, and the rest."""

from __future__ import annotations

import pytest

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.media.resolution import Resolution
from sipproto.media.track_monitor import (
    MeasureFailed,
    MeasureSize,
    MonitorInput,
    MonitorOutput,
    SizeMeasured,
    TrackChanged,
    TrackGone,
    TrackMonitor,
    TrackReplaced,
    TrackSent,
)

HD, SMALL = Resolution(1280, 720), Resolution(640, 360)
NEVER = 1e9


def polls(monitor: TrackMonitor, until: float, changes_at: float = NEVER) -> tuple[list[float], list[float]]:
    """When sizes are measured, and when a change is told, with a source that is smaller from `changes_at` on."""
    measured, told = [], []
    while (now := monitor.next_timeout()) is not None and now <= until:
        (output,) = monitor.handle(TimeoutElapsed(), now)
        assert isinstance(output, MeasureSize)
        measured.append(now)
        size = SMALL if now >= changes_at else HD
        if monitor.handle(SizeMeasured(size=size, number=output.number), now) == (TrackChanged(size=size),):
            told.append(now)
    return [round(moment, 6) for moment in measured], told


# first and longest interval, when the size changes, the polls, when the change is told
POLLS: list[tuple[float, float | None, float, list[float], list[float]]] = [
    (1.0, None, 50.0, [1, 3, 7, 15, 31, 47, 63, 64, 66, 70, 78], [63]),
    (0.5, 0.6, NEVER, [0.5, 1.1, 1.7, 2.3, 2.9], []),
    # The original goes on every 100 ms, sooner than the first time. A longest interval below the first one counts as that.
    (0.5, 0.1, NEVER, [0.5, 1.0, 1.5, 2.0, 2.5], []),
]


@pytest.mark.parametrize(("interval", "longest", "changes_at", "measured", "told"), POLLS)
def test_polls(
    interval: float, longest: float | None, changes_at: float, measured: list[float], told: list[float]
) -> None:
    monitor = TrackMonitor(poll_interval=interval, max_poll_interval=longest)
    assert monitor.handle(TrackSent(size=HD), 0.0) == ()
    assert polls(monitor, measured[-1] + 0.01, changes_at) == (measured, told)


Steps = list[tuple[MonitorInput, float, tuple[MonitorOutput, ...], float | None]]
STEPS: list[tuple[str, Steps]] = [
    ("another track is told of once, and polled from the beginning", [
        (TimeoutElapsed(), 1.0, (MeasureSize(number=1),), 3.0),
        (TrackReplaced(size=SMALL), 2.0, (TrackChanged(size=SMALL),), 3.0),
        (SizeMeasured(size=HD, number=1), 2.1, (), 3.0),  # of the track before
        (TimeoutElapsed(), 3.0, (MeasureSize(number=2),), 5.0),
        (SizeMeasured(size=SMALL, number=2), 3.1, (), 5.0),
    ]),
    ("and also when it has the same size", [
        (TrackReplaced(size=HD), 0.5, (TrackChanged(size=HD),), 1.5),
    ]),
    ("no track any more is told of once, and not polled", [
        (TrackGone(), 0.5, (TrackChanged(size=None),), None),
        (TrackGone(), 0.6, (), None),
        (TimeoutElapsed(), 9.0, (), None),
        (SizeMeasured(size=SMALL), 9.0, (), None),
        (MeasureFailed(number=0), 9.0, (), None),
    ]),
    ("another track of unknown size is measured at once, and told of when it is known", [
        (TrackReplaced(), 0.5, (MeasureSize(number=1),), 1.5),
        (SizeMeasured(size=HD, number=1), 0.6, (TrackChanged(size=HD),), 1.6),
        (SizeMeasured(size=HD, number=1), 0.7, (), 1.6),
        (TimeoutElapsed(), 1.6, (MeasureSize(number=2),), 3.6),
        (MeasureFailed(number=2), 1.7, (), 3.6),
    ]),
    ("or cannot be had", [
        (TrackReplaced(), 0.5, (MeasureSize(number=1),), 1.5),
        (MeasureFailed(number=1), 0.6, (TrackChanged(size=None),), 1.5),
        (TimeoutElapsed(), 1.5, (MeasureSize(number=2),), 3.5),
        (SizeMeasured(size=HD, number=2), 1.6, (TrackChanged(size=HD),), 2.6),
    ]),
    ("or never comes", [
        (TrackReplaced(), 0.5, (MeasureSize(number=1),), 1.5),
        (TimeoutElapsed(), 1.5, (TrackChanged(size=None), MeasureSize(number=2)), 3.5),
        (SizeMeasured(size=HD, number=1), 1.6, (), 3.5),
    ]),
    ("a measurement that fails or never comes does not end the polling", [
        (TimeoutElapsed(), 1.0, (MeasureSize(number=1),), 3.0),
        (MeasureFailed(number=1), 1.5, (), 3.0),
        (TimeoutElapsed(), 3.0, (MeasureSize(number=2),), 7.0),
        (TimeoutElapsed(), 7.0, (MeasureSize(number=3),), 15.0),
        (MeasureFailed(number=2), 8.0, (), 15.0),
        (SizeMeasured(size=SMALL, number=2), 8.0, (), 15.0),
        (SizeMeasured(size=SMALL, number=3), 9.0, (TrackChanged(size=SMALL),), 10.0),
    ]),
    ("a size that is seen by the way counts at once (fault 9)", [
        (TimeoutElapsed(), 1.0, (MeasureSize(number=1),), 3.0),
        (SizeMeasured(size=HD), 1.5, (), 3.0),
        (SizeMeasured(size=SMALL), 1.6, (TrackChanged(size=SMALL),), 2.6),
        (SizeMeasured(size=HD, number=1), 1.7, (), 2.6),
    ]),
    ("too early is nothing", [(TimeoutElapsed(), 0.9, (), 1.0)]),
    ("a track that is sent anew is not told of", [
        (TrackReplaced(), 0.5, (MeasureSize(number=1),), 1.5),
        (TrackSent(), 0.6, (MeasureSize(number=2),), 1.6),
        (MeasureFailed(number=2), 0.7, (), 1.6),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("steps", [steps for _, steps in STEPS], ids=[name for name, _ in STEPS])
def test_steps(steps: Steps) -> None:
    monitor = TrackMonitor()
    monitor.handle(TrackSent(size=HD), 0.0)
    for what, now, outputs, timeout in steps:
        assert monitor.handle(what, now) == outputs, what
        assert monitor.next_timeout() == timeout, what


def test_the_first_size() -> None:
    monitor = TrackMonitor()
    assert monitor.next_timeout() is None and not monitor.awaits_size
    assert monitor.handle(TrackSent(), 5.0) == (MeasureSize(number=1),)
    assert monitor.awaits_size and monitor.size is None
    assert monitor.handle(SizeMeasured(size=HD, number=1), 5.1) == (TrackChanged(size=HD),)
    assert monitor.size == HD and not monitor.awaits_size
    monitor.handle(TrackSent(), 6.0)
    monitor.handle(MeasureFailed(number=2), 6.1)
    assert monitor.size is None and not monitor.awaits_size
    monitor.handle(TrackSent(), 7.0)
    monitor.handle(TimeoutElapsed(), 8.0)
    assert not monitor.awaits_size, "for an interval at most"


@pytest.mark.parametrize("values", [{"poll_interval": 0.0}, {"poll_interval": -1.0}, {"max_poll_interval": 0.0}])
def test_impossible_settings(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        TrackMonitor(**values)
