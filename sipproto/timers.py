"""One timer table per engine: owners and names to deadlines.

The table is a heap with lazy deletion, so that arming, cancelling and `next_timeout()` cost the same with one call and
with ten thousand, and an idle engine does nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable

from attrs import frozen

TimerKey = tuple[Hashable, str]


@frozen(kw_only=True)
class TimerValues:
    """The base timers of RFC 3261 17.1.1.1, in seconds."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def t1_64(self) -> float:
        """64*T1: the life of timers B, F, H, J, L and M."""
        return 64 * self.t1


class TimerTable:
    """Deadlines keyed by (owner, name). Owners are plain hashable identifiers."""

    def __init__(self) -> None:
        self._deadlines: dict[TimerKey, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._sequence = 0

    def start(self, owner: Hashable, name: str, deadline: float) -> None:
        """Arms a timer; one of the same owner and name is replaced."""
        self._sequence += 1
        key = (owner, name)
        self._deadlines[key] = (deadline, self._sequence)
        heapq.heappush(self._heap, (deadline, self._sequence, key))
        if len(self._heap) > 64 + 2 * len(self._deadlines):
            self._heap = [(when, n, k) for k, (when, n) in self._deadlines.items()]
            heapq.heapify(self._heap)

    def stop(self, owner: Hashable, name: str) -> None:
        self._deadlines.pop((owner, name), None)

    def is_running(self, owner: Hashable, name: str) -> bool:
        return (owner, name) in self._deadlines

    def next_timeout(self) -> float | None:
        """The earliest deadline, or None. Discards heap entries of stopped timers on the way."""
        heap = self._heap
        while heap:
            deadline, sequence, key = heap[0]
            if self._deadlines.get(key) == (deadline, sequence):
                return deadline
            heapq.heappop(heap)
        return None

    def pop_due(self, now: float) -> tuple[Hashable, str, float] | None:
        """The earliest timer that is due at `now` as (owner, name, deadline), removed; None if none is due."""
        deadline = self.next_timeout()
        if deadline is None or deadline > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._deadlines[key]
        return (*key, deadline)

    def running(self) -> list[tuple[Hashable, str, float]]:
        """Every running timer as (owner, name, deadline), earliest first: for debugging and tests."""
        return sorted(((o, n, when) for (o, n), (when, _) in self._deadlines.items()), key=lambda item: item[2])

    def __len__(self) -> int:
        return len(self._deadlines)
