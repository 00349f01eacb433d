"""Tells the peer what arrived on a transport, where transport-wide feedback is agreed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sipproto.media.congestion import Arrivals


class Told:
    """Sends feedback by `send` while packets with numbers arrive. Media thread only; nothing of it runs while none do."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._arrivals: Arrivals | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, ssrc: int) -> None:
        """From now on, as this SSRC of ours; one is enough for all lines."""
        if self._arrivals is None:
            self._arrivals = Arrivals(ssrc)

    def arrived(self, number: int, ssrc: int, octets: int, moment: float) -> None:
        """A packet with this number in the transport, from this SSRC, was read at this monotonic moment."""
        if self._arrivals is None:
            return
        self._arrivals.arrived(number, ssrc, octets, moment)
        if self._task is None:
            self._task = asyncio.create_task(self._tell(self._arrivals))

    async def _tell(self, arrivals: Arrivals) -> None:
        try:
            await asyncio.sleep(arrivals.interval)
            for message in arrivals.feedback(time.monotonic()):
                await self._send(message)
        finally:
            self._task = None

    def close(self) -> None:
        """Tells of nothing any more."""
        self._arrivals = None
        if self._task is not None:
            self._task.cancel()
