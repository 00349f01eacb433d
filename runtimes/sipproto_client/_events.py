"""What happens, as async iterators."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from sipproto.agent import outputs as o
from sipproto_client.errors import EventsLost
from sipproto_client.port import Runtime

if TYPE_CHECKING:
    from sipproto_client._call import Call
    from sipproto_client._endpoint import Endpoint

_E = TypeVar("_E")
_MAX_EVENTS = 2000


class EventStream(Generic[_E]):
    """Events as an async iterator. Bounded: a subscriber that does not keep up gets EventsLost.

    It belongs to who iterates: what `wanted` or `last` raises comes out there, after the events before it.
    """

    def __init__(
        self,
        runtime: Runtime,
        wanted: Callable[[_E], bool] = lambda _: True,
        last: Callable[[_E], bool] = lambda _: False,
        closed: Callable[[EventStream[_E]], None] = lambda _: None,
    ) -> None:
        self._runtime = runtime
        self._wanted = wanted
        self._last = last
        self._closed = closed
        self._queue: deque[_E] = deque()
        self._bell = runtime.event()
        self._over = False
        self._error: Exception | None = None

    def offer(self, event: _E) -> None:
        if self._over:
            return
        try:
            self._take(event)
        except Exception as error:
            self._error = error
            self.finish()

    def _take(self, event: _E) -> None:
        if not self._wanted(event):
            return
        if len(self._queue) >= _MAX_EVENTS:
            raise EventsLost(f"more than {_MAX_EVENTS} events waited for this subscriber")
        self._queue.append(event)
        if self._last(event):
            self.finish()
        self._bell.set()

    def finish(self) -> None:
        self._over = True
        self._bell.set()

    def close(self) -> None:
        """Ends the subscription; what is queued is dropped."""
        self._queue.clear()
        self.finish()
        self._closed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _E:
        while not self._queue:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            bell = self._bell
            await bell.wait()
            if self._bell is bell:  # else another task that iterates was first, and may wait for the new one already
                self._bell = self._runtime.event()
        return self._queue.popleft()


class Subscription(EventStream[o.Event]):
    """The events of an endpoint, or of one of its calls."""


class IncomingCalls:
    """Incoming calls as an async iterator, from its making on; ends with the endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._events = endpoint.events(lambda event: isinstance(event, o.IncomingCall))

    def close(self) -> None:
        """Ends the iteration."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Call:
        while True:
            event = await anext(self._events)
            assert isinstance(event, o.IncomingCall)
            if (call := self._endpoint.call_of(event.call)) is not None:
                return call  # else it has ended before anybody could take it
