"""What all commands of the awaitable connector stand on: the engine, the way to it, and events by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sipproto.agent.inputs import CommandId
from sipproto.connector import Connector
from sipproto.connector import events as e
from sipproto.connector import inputs as c
from sipproto.connector.naming import EventNaming, Named
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto_client._emitter import Emitter, Handler, RaceHandler, Unsubscribe
from sipproto_client._endpoint import Endpoint
from sipproto_client._events import EventStream
from sipproto_client._settings import FlowSettings
from sipproto_client._streams import Streams
from sipproto_client.connector_errors import ConnectorError, ErrorCode, connector_error
from sipproto_client.port import TaskGroup

_T = TypeVar("_T")


class ConnectorBase:
    """Not public. `tasks` live as long as the connector; `flow` is how its endpoint connects."""

    def __init__(self, endpoint: Endpoint, engine: Connector, tasks: TaskGroup, flow: FlowSettings | None) -> None:
        self.endpoint = endpoint
        self.engine = engine
        self.spawn: Callable[..., object] = tasks.start_soon
        self._flow = flow
        self._naming = EventNaming()
        self._streams = Streams(endpoint)
        self._emitter = Emitter(endpoint.runtime, tasks.start_soon)
        endpoint.on_event(self._happened)

    # -- events --------------------------------------------------------------------------------------------------------

    def on(self, name: str, handler: Handler) -> Unsubscribe:
        """Has `handler` called with the payload of each event of that name (None where there is none).

        A plain function is called before anything that waits for the event goes on; what an async one does is run in a task
        of the connector. One that raises is logged, and disturbs nobody else. Returns what ends it. Raises UnknownEventName
        with the nearest name, and LocalProtocolError for more than 1000 handlers of one name.
        """
        return self._emitter.on(name, handler)

    def once(self, name: str, handler: Handler) -> Unsubscribe:
        """As `on`, for the next event only."""
        return self._emitter.once(name, handler)

    def on_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        """As `on`, for several names; `handler` is called with the payload and the name."""
        return self._emitter.on_race(names, handler)

    def once_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        """Has `handler` called once, with the payload and the name of the first event of one of these names."""
        return self._emitter.once_race(names, handler)

    async def wait(self, name: str, timeout: float | None = None) -> Any:
        """Waits for the next event of that name and returns its payload.

        Raises TimeoutError after so many seconds, EndpointClosed when the connector ends before.
        """
        return await self._emitter.wait(name, timeout)

    def off(self, name: str, handler: object) -> None:
        """The handler is called for that name no more. Fine when it is not registered."""
        self._emitter.off(name, handler)

    def events(self, *names: str) -> EventStream[Named]:
        """The events of these names (none: of all) from now on: `with connector.events(...) as events: async for event in
        events`, each with `name` and `payload`. Who does not keep up gets EventsLost.
        """
        return self._emitter.events(*names)

    def notify(self, handler: Callable[..., object] | None, *arguments: object) -> None:
        """Calls a handler that was given in another way, as one of an event is called."""
        if handler is not None:
            self._emitter.call(handler, *arguments)

    def _happened(self, event: object) -> None:
        match event:
            case e.PresentationChanged(step=e.PresentationStep.ENDED | e.PresentationStep.FAILED, call=call):
                self._streams.end_presentation(call)
            case e.CallStatusChanged(status=e.CallStatus.IDLE, call=call):
                self._streams.over(call)
            case _:
                pass
        for named in self._naming.name(event):
            self._emitter.fire(named)

    def close(self) -> None:
        """Nothing more is told. The connection is left by the block that opened it."""
        self._emitter.close()

    # -- commands ------------------------------------------------------------------------------------------------------

    async def run(
        self,
        make: Callable[[CommandId], object],
        *,
        signing_in: bool = False,
        url: str | None = None,
        own: bool = False,
    ) -> object:
        """Gives a command to the engine, and waits for its result. Raises ConnectorError.

        own: the command is given up when the waiting is cancelled. signing_in, url: for the error.
        """
        numbers: list[CommandId] = []

        def numbered(number: CommandId) -> object:
            numbers.append(number)
            return self.checked(make, number)

        is_over = False
        try:
            result = await self.endpoint.run(numbered)
            is_over = True
        except SipProtoError as error:
            is_over = True
            raise connector_error(error, signing_in=signing_in, url=url) from error
        finally:
            if own and not is_over and numbers:
                self.endpoint.tell(lambda _: c.Cancel(target=numbers[0]))
        return result

    def checked(self, make: Callable[..., _T], *arguments: Any, **more: Any) -> _T:
        """What `make` returns; what it has against its arguments as a ConnectorError."""
        try:
            return make(*arguments, **more)
        except LocalProtocolError as error:
            raise connector_error(error) from error
        except ValueError as error:  # a value is out of its range
            raise ConnectorError(ErrorCode.NOT_POSSIBLE, str(error)) from error
