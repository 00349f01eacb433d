"""Targets that have failed are tried last for a while (RFC 3263 4.3 leaves it to the client how it remembers them)."""

from __future__ import annotations

from collections.abc import Iterable

from sipproto_stream._locator import Target

_MAX = 256


class AvoidList:
    """Which targets have failed lately. `now` is any clock in seconds that only goes forward."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._until: dict[Target, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, target: Target, now: float) -> None:
        """The target has failed."""
        self._until.pop(target, None)  # it goes to the end: the oldest are forgotten first
        self._until[target] = now + self._seconds
        if len(self._until) > _MAX:
            del self._until[next(iter(self._until))]

    def forgive(self, target: Target) -> None:
        """The target works."""
        self._until.pop(target, None)

    def order(self, targets: Iterable[Target], now: float) -> tuple[Target, ...]:
        """All targets in their order, those to avoid last: when nothing else works they are worth a try."""
        self._until = {target: until for target, until in self._until.items() if until > now}
        return tuple(sorted(targets, key=lambda target: target in self._until))
