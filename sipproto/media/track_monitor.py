"""Notices that the picture of a track has another size: by measuring at an interval that grows while nothing changes.

    monitor = TrackMonitor(poll_interval=1.0)
    monitor.handle(TrackSent(size=Resolution(1280, 720)), now)
    ... at monitor.next_timeout(): monitor.handle(TimeoutElapsed(), now) -> (MeasureSize(number=1),)
    ... when it is there: monitor.handle(SizeMeasured(size=Resolution(640, 360), number=1), now)
        -> (TrackChanged(size=Resolution(640, 360)),)

The first measurement is due a `poll_interval` after the track began, each further one after twice the time, up to
`max_poll_interval`; a change begins anew. A size that is seen by the way (SizeMeasured without a number) counts at once.
A measurement that fails or never comes counts as one without a change.
"""

from __future__ import annotations

from attrs import field, frozen, validators

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.media.resolution import Resolution

_LONGEST = 16  # intervals


@frozen(kw_only=True)
class TrackSent:
    """A track is sent from now on. `size`: that of its pictures; None: it is measured at once, and told when it is known."""

    size: Resolution | None = None


@frozen(kw_only=True)
class TrackReplaced:
    """Another track is sent in place of the one before. It is told of once, when its size is known or cannot be had."""

    size: Resolution | None = None


@frozen(kw_only=True)
class TrackGone:
    """Nothing is sent any more."""


@frozen(kw_only=True)
class SizeMeasured:
    """The size of the track's pictures. `number`: of the MeasureSize that it answers; None: it was seen by the way.

    Fine when it is not waited for.
    """

    size: Resolution
    number: int | None = None


@frozen(kw_only=True)
class MeasureFailed:
    """The size could not be had, or there is no picture yet. Fine when it is not waited for."""

    number: int


@frozen(kw_only=True)
class MeasureSize:
    """Find out the size of the track's pictures, and say SizeMeasured or MeasureFailed with the same number."""

    number: int


@frozen(kw_only=True)
class TrackChanged:
    """The track has pictures of another size now, or is another one. None: not known, or no track."""

    size: Resolution | None


MonitorInput = TrackSent | TrackReplaced | TrackGone | SizeMeasured | MeasureFailed | TimeoutElapsed
MonitorOutput = MeasureSize | TrackChanged


@frozen(kw_only=True)
class _Settings:
    poll_interval: float = field(validator=validators.gt(0))
    max_poll_interval: float = field(validator=validators.gt(0))


class TrackMonitor:
    """`poll_interval`: seconds to the first measurement, `max_poll_interval`: the most between two, 16 times that by default.

    One below `poll_interval` counts as that: the interval stays the same then. Raises ValueError for one that is not above 0.
    """

    def __init__(self, *, poll_interval: float = 1.0, max_poll_interval: float | None = None) -> None:
        longest = _LONGEST * poll_interval if max_poll_interval is None else max_poll_interval
        self._settings = _Settings(poll_interval=poll_interval, max_poll_interval=longest)
        self._interval = poll_interval
        self._size: Resolution | None = None
        self._number = 0
        self._awaited: int | None = None  # the measurement under way
        self._first = False  # whether it is the one that the track began with
        self._owed = False  # whether a replacement has still to be told of
        self._deadline: float | None = None

    @property
    def size(self) -> Resolution | None:
        """The size last seen of the track; None: not known, or no track."""
        return self._size

    @property
    def awaits_size(self) -> bool:
        """Whether the size of a track that has just begun is being measured: for `poll_interval` seconds at most."""
        return self._first and self._awaited is not None

    def next_timeout(self) -> float | None:
        """When to say TimeoutElapsed; None: there is no track."""
        return self._deadline

    def handle(self, what: MonitorInput, now: float) -> tuple[MonitorOutput, ...]:
        """Takes one input at the time `now` (monotonic seconds) and returns what is to be done, in order. Never raises."""
        match what:
            case TrackSent(size=size):
                self._owed = False
                return self._begin(size, now)
            case TrackReplaced(size=size):
                self._owed = size is None
                return (*self._begin(size, now), *(() if size is None else (TrackChanged(size=size),)))
            case TrackGone():
                return self._end()
            case SizeMeasured(size=size, number=number) if number is None or number == self._awaited:
                return self._seen(size, now)
            case MeasureFailed(number=number) if number == self._awaited:
                self._awaited = None
                return self._tell_replaced()
            case TimeoutElapsed() if self._deadline is not None and now >= self._deadline:
                return self._poll(now)
            case _:
                return ()  # of a measurement that was given up, or too early

    def _begin(self, size: Resolution | None, now: float) -> tuple[MonitorOutput, ...]:
        self._size, self._awaited = size, None
        self._interval = self._settings.poll_interval
        self._deadline = now + self._interval
        return (self._measure(first=True),) if size is None else ()

    def _end(self) -> tuple[MonitorOutput, ...]:
        was_sent, self._deadline = self._deadline is not None, None
        self._size, self._awaited, self._owed = None, None, False
        return (TrackChanged(size=None),) if was_sent else ()

    def _seen(self, size: Resolution, now: float) -> tuple[MonitorOutput, ...]:
        if self._deadline is None:
            return ()
        self._awaited = None
        if size == self._size:
            return ()
        self._size, self._owed = size, False
        self._interval = self._settings.poll_interval
        self._deadline = now + self._interval
        return (TrackChanged(size=size),)

    def _poll(self, now: float) -> tuple[MonitorOutput, ...]:
        """The interval grows as if nothing had changed, so that one whose answer never comes is followed by others."""
        longest = max(self._settings.poll_interval, self._settings.max_poll_interval)
        self._interval = min(2 * self._interval, longest)
        self._deadline = now + self._interval
        return (*self._tell_replaced(), self._measure(first=False))

    def _measure(self, *, first: bool) -> MeasureSize:
        self._number += 1
        self._awaited, self._first = self._number, first
        return MeasureSize(number=self._number)

    def _tell_replaced(self) -> tuple[MonitorOutput, ...]:
        owed, self._owed = self._owed, False
        return (TrackChanged(size=self._size),) if owed else ()
