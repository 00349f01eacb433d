"""Requests that are too large for a datagram go by TCP to the same server (RFC 3261 18.1.1)."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent.outputs import CloseFlow, OpenFlow, Output
from sipproto.transaction import FlowId

LARGEST_DATAGRAM = 1300  # octets of a request, where the path MTU is not known


class Detour:
    """One flow by TCP beside the flow by UDP, opened when it is needed.

    What waits for it is told by `go(flow)`: the flow to use, which is the datagram's when the server takes no TCP.
    """

    def __init__(
        self,
        emit: Callable[[Output], None],
        lose: Callable[[FlowId], None],
        new_flow: Callable[[], FlowId],
        start_timer: Callable[[float], None],
        stop_timer: Callable[[], None],
    ) -> None:
        self._emit = emit
        self._lose = lose
        self._new_flow = new_flow
        self._start_timer = start_timer
        self._stop_timer = stop_timer
        self._beside: FlowId | None = None  # the datagram flow
        self._opening: FlowId | None = None
        self._open: FlowId | None = None
        self._refused = False  # by this server; asked again on the next connection
        self._waiting: list[Callable[[FlowId], None]] = []

    def take(self, beside: FlowId, server: str, wait: float, go: Callable[[FlowId], None]) -> bool:
        """Has `go` called once it is known which flow to use, which may be at once. False when the datagram has to do."""
        if self._beside != beside:  # the one before it is gone, and took its detour along
            self._beside, self._refused = beside, False
        if self._refused or not server:
            return False
        if self._open is not None:
            go(self._open)
            return True
        self._waiting.append(go)
        if self._opening is None:
            self._opening = self._new_flow()
            self._emit(OpenFlow(flow=self._opening, server=server, transport="TCP"))
            self._start_timer(wait)
        return True

    @property
    def is_opening(self) -> bool:
        return self._opening is not None

    def awaits(self, flow: FlowId) -> bool:
        return self._opening is not None and flow == self._opening

    def opened(self) -> None:
        """The awaited flow is open, and known to the hub."""
        self._open, self._opening = self._opening, None
        self._stop_timer()
        assert self._open is not None
        self._go(self._open)

    def refused(self) -> None:
        """18.1.1: then by UDP all the same; a network that cuts datagrams may let them through in pieces."""
        self._opening, self._refused = None, True
        self._stop_timer()
        assert self._beside is not None
        self._go(self._beside)

    def timed_out(self) -> None:
        if self._opening is not None:
            self._emit(CloseFlow(flow=self._opening))
            self.refused()

    def lost(self, flow: FlowId) -> None:
        """A flow is gone: this one, or the one beside which it was opened."""
        if flow == self._open:
            self._open = None
        elif flow == self._beside:
            self.close()

    def close(self) -> None:
        """Closes what is open. Who waits is told of a flow that is gone, too."""
        opening, flow, beside = self._opening, self._open, self._beside
        self._opening = self._open = self._beside = None
        self._stop_timer()
        if opening is not None:
            self._emit(CloseFlow(flow=opening))
        if flow is not None:
            self._emit(CloseFlow(flow=flow))
            self._lose(flow)
        if beside is not None:
            self._go(beside)

    def _go(self, flow: FlowId) -> None:
        waiting, self._waiting = self._waiting, []
        for go in waiting:
            go(flow)
