"""When to measure: statistics at an interval that grows where measuring is slow.

    polling = StatisticsPolling(interval=1.0)
    polling.handle(StartPolling(), now)
    ... at polling.next_timeout(): polling.handle(TimeoutElapsed(), now) -> (TakeSample(number=1),)
    ... when it is there: polling.handle(SampleDone(number=1, elapsed=0.004), now)

There is one sample under way at most. One that fails or never comes ends nothing: the next is taken in its time.
"""

from __future__ import annotations

from attrs import field, frozen, validators

from sipproto.agent.inputs import TimeoutElapsed

# What a sample took at least (exclusively), in seconds, and how many intervals are waited after it.
_STRETCH: tuple[tuple[float, int], ...] = ((0.048, 4), (0.032, 3), (0.016, 2))
_LONGEST = max(factor for _, factor in _STRETCH)


@frozen
class StartPolling:
    """The first sample is due an interval from now. When polling already it begins anew."""


@frozen
class StopPolling:
    """No more samples."""


@frozen(kw_only=True)
class SampleDone:
    """The sample of that `TakeSample` is there; `elapsed` is what it took, in seconds. Fine when it is not waited
    for.
    """

    number: int
    elapsed: float = field(validator=validators.ge(0))


@frozen(kw_only=True)
class SampleFailed:
    """The sample of that `TakeSample` could not be had. Fine when it is not waited for."""

    number: int


@frozen(kw_only=True)
class TakeSample:
    """Measure now, and say SampleDone or SampleFailed with the same number."""

    number: int


@frozen(kw_only=True)
class DropSample:
    """The sample of that number is not waited for any more: it took too long, or polling has ended."""

    number: int


PollingInput = StartPolling | StopPolling | SampleDone | SampleFailed | TimeoutElapsed
PollingOutput = TakeSample | DropSample


@frozen(kw_only=True)
class _Settings:
    interval: float = field(validator=validators.gt(0))
    time_limit: float = field(validator=validators.gt(0))


class StatisticsPolling:
    """`interval`: seconds from one sample to the next, twice to four times as long after a slow one. `time_limit`:
    seconds after which a sample is given up. Raises ValueError for one that is not above 0.
    """

    def __init__(self, *, interval: float = 1.0, time_limit: float = 5.0) -> None:
        self._settings = _Settings(interval=interval, time_limit=time_limit)
        self._number = 0
        self._under_way = False
        self._deadline: float | None = None

    def next_timeout(self) -> float | None:
        """When to say TimeoutElapsed; None: not polling."""
        return self._deadline

    def handle(self, what: PollingInput, now: float) -> tuple[PollingOutput, ...]:
        """Takes one input at the time `now` (monotonic seconds) and returns what is to be done, in order. Never
        raises.
        """
        match what:
            case StartPolling():
                dropped = self._drop()
                self._deadline = now + self._settings.interval
                return dropped
            case StopPolling():
                self._deadline = None
                return self._drop()
            case SampleDone(number=number, elapsed=elapsed) if self._awaits(number):
                self._wait(now, _factor(elapsed))
            case SampleFailed(number=number) if self._awaits(number):
                self._wait(now, 1)
            case TimeoutElapsed() if self._deadline is not None and now >= self._deadline:
                return self._due(now)
            case _:
                pass  # of a sample that was given up, or too early
        return ()

    def _due(self, now: float) -> tuple[PollingOutput, ...]:
        if self._under_way:
            self._wait(now, _LONGEST)
            return (DropSample(number=self._number),)
        self._number += 1
        self._under_way = True
        self._deadline = now + self._settings.time_limit
        return (TakeSample(number=self._number),)

    def _awaits(self, number: int) -> bool:
        return self._under_way and number == self._number

    def _wait(self, now: float, factor: int) -> None:
        self._under_way = False
        self._deadline = now + factor * self._settings.interval

    def _drop(self) -> tuple[PollingOutput, ...]:
        dropped = (DropSample(number=self._number),) if self._under_way else ()
        self._under_way = False
        return dropped


def _factor(elapsed: float) -> int:
    return next((factor for least, factor in _STRETCH if elapsed > least), 1)
