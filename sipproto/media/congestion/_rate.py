"""What bit rate the path takes: the rate controller of draft-ietf-rmcat-gcc-02 (5.5)."""

from __future__ import annotations

import enum
import math
from collections import deque

from attrs import frozen

from sipproto.media.congestion._delay import Usage

# Bits per second that no estimate leaves, whatever a peer says: less is of no use, and more nobody sends.
MINIMUM, MAXIMUM = 30_000, 100_000_000

_DECREASE = 0.85
_INCREASE = 1.08  # a second, far from what the path was found to take
_ACKNOWLEDGED_MAX = 1.5  # times what arrives, plus _AHEAD: an estimate does not grow beyond
_AHEAD = 10_000
_PACKET_BITS = 8 * 1200
_RESPONSE = 0.1  # seconds beyond the round trip that an over-use takes to be seen
_FAST_DECREASE = 0.2, 0.01  # seconds between two decreases at most and at least
_LONGEST_STEP = 1.0


class RateState(enum.Enum):
    HOLD = "hold"
    INCREASE = "increase"
    DECREASE = "decrease"


_R, _U = RateState, Usage
# The table of 5.5; a decrease is made once and then held until the queue is gone.
RATE_TRANSITIONS: dict[tuple[RateState, Usage], RateState] = {
    (_R.HOLD, _U.OVERUSING): _R.DECREASE,
    (_R.HOLD, _U.NORMAL): _R.INCREASE,
    (_R.HOLD, _U.UNDERUSING): _R.HOLD,
    (_R.INCREASE, _U.OVERUSING): _R.DECREASE,
    (_R.INCREASE, _U.NORMAL): _R.INCREASE,
    (_R.INCREASE, _U.UNDERUSING): _R.HOLD,
    (_R.DECREASE, _U.OVERUSING): _R.DECREASE,
    (_R.DECREASE, _U.NORMAL): _R.HOLD,
    (_R.DECREASE, _U.UNDERUSING): _R.HOLD,
}


class AcknowledgedRate:
    """Bits per second that arrive at the peer, over the last 0.3 s of its clock."""

    _WINDOW = 0.3
    _LEAST = 0.15  # seconds before it is known
    _PAUSE = 1.0
    _MOST = 4096  # packets, as many as the maximum has in that time: to a peer all may have come at one moment

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, int]] = deque()
        self._octets = 0

    def add(self, arrived: float, octets: int) -> None:
        """In the order of arrival, in seconds. What is a little late, as feedback may be, counts as if it came last."""
        last = self._arrivals[-1][0] if self._arrivals else arrived
        if not -self._WINDOW < arrived - last < self._PAUSE:
            self._arrivals.clear()  # after a pause, or on another clock
            self._octets = 0
            last = arrived
        now = max(arrived, last)
        self._arrivals.append((now, octets))
        self._octets += octets
        while now - self._arrivals[0][0] > self._WINDOW or len(self._arrivals) > self._MOST:
            self._octets -= self._arrivals.popleft()[1]

    @property
    def bitrate(self) -> float | None:
        if not self._arrivals:
            return None
        first, last = self._arrivals[0], self._arrivals[-1]
        passed = last[0] - first[0]
        return (self._octets - first[1]) * 8 / passed if passed >= self._LEAST else None


@frozen
class _Capacity:
    """What the path took when it was over-used: the mean, and the variance relative to it, in kbit/s."""

    mean: float
    variance: float = 0.4

    def bounds(self) -> tuple[float, float]:
        spread = 3 * math.sqrt(self.variance * self.mean)
        return max(0.0, self.mean - spread), self.mean + spread

    def updated(self, sample: float) -> _Capacity:
        mean = 0.95 * self.mean + 0.05 * sample
        variance = 0.95 * self.variance + 0.05 * (mean - sample) ** 2 / max(mean, 1.0)
        return _Capacity(mean, min(max(variance, 0.4), 2.5))


class RateControl:
    """The estimate in bits per second. `now` is in seconds of a clock that only advances."""

    def __init__(self, bitrate: int) -> None:
        self.bitrate = float(bitrate)
        self.state = RateState.HOLD
        self._capacity: _Capacity | None = None
        self._changed: float | None = None
        self._decreased = -math.inf

    def set(self, bitrate: float, now: float) -> None:
        """From elsewhere, such as a probe."""
        self.bitrate, self._changed = float(min(max(MINIMUM, bitrate), MAXIMUM)), now

    def update(
        self, usage: Usage, acknowledged: float | None, round_trip: float, now: float, *, limited: bool = False
    ) -> bool:
        """Feedback came. True: the rate was lowered.

        `acknowledged`: bits per second that arrive, None: not known; `round_trip`: seconds. `limited`: much less is sent than
        may be, so that what arrives does not say what the path takes.
        """
        self.state = RATE_TRANSITIONS[self.state, usage]
        if self.state is RateState.DECREASE:
            return self._decrease(None if limited else acknowledged, round_trip, now)
        if self.state is RateState.INCREASE and acknowledged is not None:  # else nothing says that the path takes more
            self._increase(acknowledged, round_trip, now)
        self._changed = now
        return False

    def _increase(self, acknowledged: float, round_trip: float, now: float) -> None:
        if self._capacity is not None and acknowledged / 1000 > self._capacity.bounds()[1]:
            self._capacity = None  # the path takes more than it did
        passed = min(now - self._changed, _LONGEST_STEP) if self._changed is not None else 0.0
        if self._capacity is not None:  # near the maximum: about a packet for each response time
            grown = self.bitrate + max(4000.0, _PACKET_BITS / (round_trip + _RESPONSE)) * passed
        else:
            grown = self.bitrate + max(self.bitrate * (_INCREASE**passed - 1), 1000.0 * passed)
        self.bitrate = max(self.bitrate, min(grown, _ACKNOWLEDGED_MAX * acknowledged + _AHEAD, MAXIMUM))

    def _decrease(self, acknowledged: float | None, round_trip: float, now: float) -> bool:
        if now - self._decreased < min(max(round_trip, _FAST_DECREASE[1]), _FAST_DECREASE[0]) + _RESPONSE:
            return False  # what was done has not shown yet
        before, self._decreased, self._changed = self.bitrate, now, now
        if acknowledged is None:
            self.bitrate = max(MINIMUM, self.bitrate * _DECREASE)
            return True
        sample = acknowledged / 1000
        if self._capacity is not None and sample < self._capacity.bounds()[0]:
            self._capacity = None
        self._capacity = _Capacity(sample) if self._capacity is None else self._capacity.updated(sample)
        lowered = _DECREASE * acknowledged
        if lowered > self.bitrate:
            lowered = min(self.bitrate, _DECREASE * self._capacity.mean * 1000)
        self.bitrate = max(MINIMUM, min(self.bitrate, lowered))
        return self.bitrate < before
