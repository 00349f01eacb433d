"""Whether a queue grows on the path: the delay-based part of draft-ietf-rmcat-gcc-02 (5.2 to 5.4).

The filter is the trend line that browsers use in place of the draft's Kalman filter: the slope of the delay over the last
groups of packets. Times are milliseconds throughout, as in the draft.
"""

from __future__ import annotations

import enum
from collections import deque

from attrs import define

_GROUP = 5.0  # packets sent within it are one group (5.2)
_WINDOW = 20  # groups that the trend is taken over
# The gain scales the trend to what the thresholds of the draft are meant for; this and the smoothing are libwebrtc's.
_SMOOTHING = 0.9
_GAIN = 4.0
_COUNTED = 60  # groups after which a trend is not taken more seriously any more
_OVERUSE_TIME = 10.0  # so long a trend has to be above the threshold
_THRESHOLD, _THRESHOLD_MIN, _THRESHOLD_MAX = 12.5, 6.0, 600.0
_K_UP, _K_DOWN = 0.0087, 0.039  # of the draft's table: how fast the threshold follows the trend, upwards and downwards
_SPIKE = 15.0  # a trend so far beyond the threshold does not move it
_LONGEST_STEP = 100.0
_RESET = 3000.0  # a clock that jumps so far is another clock
_MOST_REORDERED = 3  # groups that arrive before those that were sent earlier


class Usage(enum.Enum):
    """What the path is doing (5.4)."""

    NORMAL = "normal"
    OVERUSING = "overusing"
    UNDERUSING = "underusing"


@define
class _Group:
    first_sent: float
    sent: float
    first_arrived: float
    arrived: float

    def takes(self, sent: float, arrived: float) -> bool:
        """Whether a packet belongs to it: sent within 5 ms, or in a burst that a queue let go of at once.

        What arrived long before the group is no burst, but told by another clock.
        """
        if sent - self.first_sent <= _GROUP:
            return True
        steps = arrived - self.arrived, sent - self.sent
        return steps[0] <= _GROUP and steps[0] < steps[1] and abs(arrived - self.first_arrived) < _LONGEST_STEP


class _Groups:
    """Puts packets into groups and compares each with the one before (5.2)."""

    def __init__(self) -> None:
        self._before: _Group | None = None
        self._group: _Group | None = None
        self._reordered = 0

    def add(self, sent: float, arrived: float) -> tuple[float, float, float] | None:
        """When a group is complete: how much later than the one before it was sent, and arrived, and its arrival."""
        group = self._group
        if group is None:
            self._group = _Group(sent, sent, arrived, arrived)
            return None
        if sent < group.first_sent:
            return None  # late: of a group that is complete
        if group.takes(sent, arrived):
            group.sent = max(group.sent, sent)
            group.arrived = max(group.arrived, arrived)
            return None
        before, self._before = self._before, group
        self._group = _Group(sent, sent, arrived, arrived)
        if before is None:
            return None
        sent_delta, arrived_delta = group.sent - before.sent, group.arrived - before.arrived
        if abs(arrived_delta - sent_delta) >= _RESET:
            self._before = self._group = None
            return None
        if arrived_delta < 0:
            self._reordered += 1
            if self._reordered >= _MOST_REORDERED:
                self._before = self._group = None
            return None
        self._reordered = 0
        return sent_delta, arrived_delta, group.arrived


class DelayDetector:
    """Packets in, the usage of the path out."""

    def __init__(self) -> None:
        self._groups = _Groups()
        self._points: deque[tuple[float, float]] = deque(maxlen=_WINDOW)  # arrival and smoothed delay
        self._first = 0.0
        self._count = 0
        self._delay = self._smoothed = 0.0
        self._trend = 0.0
        self._threshold = _THRESHOLD
        self._threshold_at: float | None = None
        self._over_since: float | None = None  # how long the trend has been above the threshold
        self._overs = 0
        self.usage = Usage.NORMAL

    def add(self, sent: float, arrived: float) -> None:
        """A packet that was sent and arrived then, each on a clock of its own."""
        deltas = self._groups.add(sent, arrived)
        if deltas is None:
            return
        sent_delta, arrived_delta, moment = deltas
        if not self._count:
            self._first = moment
        self._count += 1
        self._delay += arrived_delta - sent_delta
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * self._delay
        self._points.append((moment - self._first, self._smoothed))
        trend = _slope(self._points) if len(self._points) == _WINDOW else self._trend
        self._detect(trend, sent_delta, moment)

    def _detect(self, trend: float, step: float, moment: float) -> None:
        before, self._trend = self._trend, trend
        if self._count < 2:
            return
        scaled = min(self._count, _COUNTED) * trend * _GAIN
        if scaled > self._threshold:
            self._over_since = step / 2 if self._over_since is None else self._over_since + step
            self._overs += 1
            if self._over_since > _OVERUSE_TIME and self._overs > 1 and trend >= before:
                self._over_since, self._overs = 0.0, 0
                self.usage = Usage.OVERUSING
        else:
            self._over_since, self._overs = None, 0
            self.usage = Usage.UNDERUSING if scaled < -self._threshold else Usage.NORMAL
        self._adapt(abs(scaled), moment)

    def _adapt(self, size: float, moment: float) -> None:
        """Moves the threshold (5.4), so that neither jitter nor flows that compete by loss starve ours."""
        last = moment if self._threshold_at is None else self._threshold_at
        self._threshold_at = moment
        if size > self._threshold + _SPIKE:
            return
        rate = _K_DOWN if size < self._threshold else _K_UP
        passed = min(max(0.0, moment - last), _LONGEST_STEP)  # the peer's clock may have been set back
        self._threshold += rate * (size - self._threshold) * passed
        self._threshold = min(max(self._threshold, _THRESHOLD_MIN), _THRESHOLD_MAX)


def _slope(points: deque[tuple[float, float]]) -> float:
    """Of the line with the least squares; 0 when all are at one moment."""
    first_x, first_y = points[0]
    xs = ys = xx = xy = 0.0
    for x, y in points:  # in one go: this is done for each group
        x -= first_x
        y -= first_y
        xs += x
        ys += y
        xx += x * x
        xy += x * y
    across = len(points) * xx - xs * xs
    return (len(points) * xy - xs * ys) / across if across > 0 else 0.0
