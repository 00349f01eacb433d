"""Time that passes when it is told to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from attrs import define, field, frozen


@frozen(order=True)
class _Timer:
    when: float
    number: int
    callback: Callable[[], object] = field(order=False)
    cancelled: list[bool] = field(factory=list, order=False)

    def cancel(self) -> None:
        self.cancelled.append(True)


@define
class SimulatedClock:
    """Has the place of an event loop where only time matters. Seconds."""

    now: float = 0.0
    _timers: list[_Timer] = field(factory=list)
    _numbers: Iterator[int] = field(factory=itertools.count)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(when, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    def run_until(self, until: float) -> None:
        while self._timers and self._timers[0].when <= until:
            timer = heapq.heappop(self._timers)
            self.now = max(self.now, timer.when)
            if not timer.cancelled:
                timer.callback()
        self.now = until

    @property
    def waits(self) -> bool:
        return any(not timer.cancelled for timer in self._timers)
