"""Handlers of named events: registered, fired in the order of registration, kept apart from one another."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from inspect import iscoroutine
from typing import Any, TypeAlias

from attrs import define, frozen

from sipproto.connector.names import NAMES, NEVER, canonical_name
from sipproto.connector.naming import Named
from sipproto.errors import LocalProtocolError
from sipproto_client._events import EventStream
from sipproto_client.errors import EndpointClosed
from sipproto_client.port import Runtime

_log = logging.getLogger("sipproto.connector")
MAX_HANDLERS = 1000  # of one name
_MAX_RUNNING = 1000

# Called with the payload (None where there is none); in a race also with the name that it was registered under.
Handler: TypeAlias = Callable[[Any], object]
RaceHandler: TypeAlias = Callable[[Any, str], object]
Unsubscribe: TypeAlias = Callable[[], None]


@define(eq=False)
class _Registered:
    name: str  # as it was registered
    call: RaceHandler
    original: object  # what `off` names
    by_on: bool = False  # by `on`, so that the same need not be registered again
    is_over: bool = False


@frozen(eq=False)
class _Stream:
    names: dict[str, str]  # that are wanted: each as it was asked for
    stream: EventStream[Named]


class Emitter:
    """Handlers by the names of `sipproto.connector.names`. `spawn` runs what asynchronous handlers do.

    A handler that raises is logged, and disturbs nobody else. Nothing is fired any more after `close`.
    """

    def __init__(self, runtime: Runtime, spawn: Callable[..., object]) -> None:
        self._runtime = runtime
        self._spawn = spawn
        self._handlers: dict[str, list[_Registered]] = {}
        self._streams: list[_Stream] = []
        self._running = 0
        self._closed = False

    # -- registration --------------------------------------------------------------------------------------------------

    def on(self, name: str, handler: Handler) -> Unsubscribe:
        """Has `handler` called with the payload of each event of that name; registered twice it is called once.

        A plain function is called before anything that waits for the event goes on; what an async one does is run in a
        task of the connector. Returns what ends it. Raises UnknownEventName, and LocalProtocolError for more than 1000
        handlers of one name.
        """
        known = next((one for one in self._of(name) if one.by_on and one.original == handler), None)
        one = known or self._add(name, lambda payload, _: handler(payload), handler)
        one.by_on = True
        return lambda: self._remove(one)

    def once(self, name: str, handler: Handler) -> Unsubscribe:
        """As `on`, for the next event only."""
        return self._once([name], lambda payload, _: handler(payload), handler)

    def on_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        """As `on`, for several names; `handler` is called with the payload and the name."""
        return self._ending([self._add(name, handler, handler) for name in _checked(names)])

    def once_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        """Has `handler` called once, with the payload and the name of the first event of one of these names."""
        return self._once(names, handler, handler)

    def off(self, name: str, handler: object) -> None:
        """The handler is called for that name no more, however it was registered. Fine when it is not."""
        for one in [one for one in self._of(name) if one.original == handler]:
            self._remove(one)

    async def wait(self, name: str, timeout: float | None = None) -> Any:
        """Waits for the next event of that name and returns its payload.

        Raises TimeoutError after so many seconds, EndpointClosed when the connector ends before.
        """
        with self.events(name) as events, self._runtime.move_on_after(math.inf if timeout is None else timeout):
            async for event in events:
                return event.payload
            raise EndpointClosed("the connector was closed")
        raise TimeoutError(f"no {name} within {timeout} s")

    def events(self, *names: str) -> EventStream[Named]:
        """The events of these names (none: of all) from now on, under the names that are asked for.

        `with connector.events("call:ended") as events: async for event in events`, each with `name` and `payload`. They end
        with the connector; who does not keep up gets EventsLost.
        """
        wanted = {canonical_name(name): name for name in names or NAMES}
        stream: EventStream[Named] = EventStream(self._runtime, closed=self._forget)
        if self._closed:
            stream.finish()
        else:
            self._streams.append(_Stream(wanted, stream))
        return stream

    @property
    def handlers(self) -> int:
        """How many are registered, for tests and monitoring."""
        return sum(len(registered) for registered in self._handlers.values()) + len(self._streams)

    # -- firing --------------------------------------------------------------------------------------------------------

    def fire(self, event: Named) -> None:
        """Calls the handlers that there are now; one that another removes meanwhile is left out."""
        if self._closed:
            return
        for one in tuple(self._handlers.get(event.name, ())):
            if not one.is_over:
                self.call(one.call, event.payload, one.name)
        for listening in tuple(self._streams):
            if (name := listening.names.get(event.name)) is not None:
                listening.stream.offer(Named(name, event.payload))

    def call(self, handler: Callable[..., object], *arguments: object) -> None:
        """Calls a handler, or has it run. Never raises for what it does."""
        try:
            result = handler(*arguments)
        except Exception:
            _log.exception("a handler raised")
            return
        if not iscoroutine(result):
            return
        if self._running >= _MAX_RUNNING or self._closed:
            result.close()
            _log.error("a handler is left out: %d are running", self._running)
            return
        self._running += 1
        self._spawn(self._run, result)

    async def _run(self, coroutine: Any) -> None:
        try:
            await coroutine
        except Exception:
            _log.exception("a handler raised")
        finally:
            self._running -= 1

    def close(self) -> None:
        """Forgets all handlers; ends the streams."""
        self._closed = True
        self._handlers.clear()
        for listening in tuple(self._streams):
            listening.stream.finish()
        self._streams.clear()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _of(self, name: str) -> list[_Registered]:
        return self._handlers.get(canonical_name(name), [])

    def _add(self, name: str, call: RaceHandler, original: object) -> _Registered:
        canonical = canonical_name(name)
        if canonical in NEVER:
            _log.warning("%s never fires: %s", name, NEVER[canonical])
        handlers = self._handlers.setdefault(canonical, [])
        if len(handlers) >= MAX_HANDLERS:
            raise LocalProtocolError(f"{name} has {MAX_HANDLERS} handlers already")
        registered = _Registered(name, call, original)
        if not self._closed:
            handlers.append(registered)
        return registered

    def _remove(self, registered: _Registered) -> None:
        registered.is_over = True
        handlers = self._of(registered.name)
        if registered in handlers:
            handlers.remove(registered)

    def _once(self, names: Iterable[str], handler: RaceHandler, original: object) -> Unsubscribe:
        registered: list[_Registered] = []
        end = self._ending(registered)

        def first(payload: object, name: str) -> object:
            end()
            return handler(payload, name)

        registered += [self._add(name, first, original) for name in _checked(names)]
        return end

    def _ending(self, registered: list[_Registered]) -> Unsubscribe:
        def end() -> None:
            for one in registered:
                self._remove(one)

        return end

    def _forget(self, stream: EventStream[Named]) -> None:
        self._streams = [listening for listening in self._streams if listening.stream is not stream]


def _checked(names: Iterable[str]) -> list[str]:
    """All of them, or none is registered."""
    known = list(names)
    for name in known:
        canonical_name(name)
    return known
