"""The statistics of one call at an interval of one's own."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.media.sample import StatsSample, stats_sample
from sipproto_client._call import Call
from sipproto_client._emitter import Unsubscribe
from sipproto_client._sip_connector import SipConnector


class StatsPeerConnection:
    """`on("collected", handler)`, `start(call)` and `stop()`. Beside `stats:collected` of the connector."""

    def __init__(self, sip_connector: SipConnector) -> None:
        self._connector = sip_connector
        self._handlers: list[Callable[[StatsSample], object]] = []
        self._number = 0  # of the start that counts

    def on(self, name: str, handler: Callable[[StatsSample], object]) -> Unsubscribe:
        """Raises ValueError for any name but "collected"."""
        if name != "collected":
            raise ValueError(f"there is only 'collected', not {name!r}")
        self._handlers.append(handler)
        return lambda: self.off(handler)

    def off(self, handler: Callable[[StatsSample], object]) -> None:
        if handler in self._handlers:
            self._handlers.remove(handler)

    def start(self, call: Call, *, interval: float = 1.0) -> None:
        """Collects from now on, until `stop`, another `start` or the end of the call. interval: seconds, above 0."""
        if not interval > 0:
            raise ValueError("an interval is above 0")
        self._number += 1
        self._connector.notify(self._run, call, interval, self._number)

    def stop(self) -> None:
        self._number += 1

    async def _run(self, call: Call, interval: float, number: int) -> None:
        async with call.watch_stats(interval) as samples:
            async for report in samples:
                if number != self._number:
                    return
                for handler in tuple(self._handlers):
                    self._connector.notify(handler, stats_sample(report))
