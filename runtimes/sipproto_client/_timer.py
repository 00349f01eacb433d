"""The one timer that an engine needs: it sleeps until the engine wants to be woken."""

from __future__ import annotations

from collections.abc import Callable

from sipproto_client.port import Runtime


class EngineTimer:
    """Calls `fire` when `next_timeout()` has passed. Say `look()` after every step of the engine."""

    def __init__(self, runtime: Runtime, next_timeout: Callable[[], float | None], fire: Callable[[], object]) -> None:
        self._runtime = runtime
        self._next_timeout = next_timeout
        self._fire = fire
        self._bell = runtime.event()
        self._set_for: float | None = None

    def look(self) -> None:
        """The engine may want to be woken earlier now. Later is no reason to wake: it is found out in time."""
        deadline = self._next_timeout()
        if deadline is not None and (self._set_for is None or deadline < self._set_for):
            self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            deadline = self._set_for = self._next_timeout()
            seconds = None if deadline is None else max(0.0, deadline - self._runtime.now())
            if await self._runtime.wait(self._bell, seconds):
                self._bell = self._runtime.event()
            else:
                self._set_for = None
                self._fire()  # a hair early does nothing: the engine is asked again
