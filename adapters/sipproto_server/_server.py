"""The embedded server on an event loop: accepts WebSockets and runs the core."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from sipproto.agent import MediaEngine
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId, MediaInput, MediaOperation
from sipproto.transaction import FlowId
from sipproto_client import EngineTimer, WebSocketFlow, plain_task_group
from sipproto_client.port import Runtime, Stream, TaskGroup
from sipproto_server._config import (
    ArrangeMedia,
    Arrangement,
    Loudness,
    PrepareMedia,
    ServerConfig,
    ServerOutput,
    Service,
)
from sipproto_server._core import ServerCore
from sipproto_wsproto import HandshakeGuard, WebSocketConnection, WebSocketLimits

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_MAX_CONNECTIONS = 1000


class ServiceEngine(MediaEngine, Protocol):
    """A media engine that can be told what a call is for."""

    def serve(self, call: CallId, service: Service, /) -> None: ...

    def arrange(self, call: CallId, arrangement: Arrangement, /) -> None:
        """What a call of a conference hears and sees; also during the call.

        An engine that has a method `listen(told)`, too, tells `told` how loud the calls of conferences are (Loudness, some
        four times a second each), on any thread. Without it the newest participant is shown, whoever speaks.
        """
        ...


class Server:
    """A running server; `port` is where it listens."""

    def __init__(
        self,
        runtime: Runtime,
        config: ServerConfig,
        *,
        media: ServiceEngine | None,
        guard: HandshakeGuard | None,
        watch: Callable[[ServerOutput], object] | None,
    ) -> None:
        self._runtime = runtime
        self.core = ServerCore(config)
        self._media = media
        self._guard = guard
        self._watchers: list[Callable[[ServerOutput], object]] = [] if watch is None else [watch]
        self._from_thread = runtime.thread_caller()
        self._flows: dict[FlowId, WebSocketFlow] = {}
        self._next_flow = 0
        self.timer = EngineTimer(runtime, self.core.next_timeout, lambda: self.step(i.TimeoutElapsed()))
        self._started = runtime.event()
        self._closed = False
        self.port = 0
        listen: Callable[[Callable[[Loudness], None]], None] | None = getattr(media, "listen", None)
        if listen is not None:
            listen(self._media_reported)

    def step(self, what: i.Notice | MediaInput | Loudness) -> None:
        if self._closed:
            return
        self._carry_out_all(self.core.handle(what, self._runtime.now()))

    def operate(self, command: object) -> None:
        """Does what an operator wants, a value of `sipproto_server.commands`. To be called on the event loop.

        Raises OperatorError for what is not possible, UnknownTarget among them; nothing has changed then.
        """
        if not self._closed:
            self._carry_out_all(self.core.operate(command, self._runtime.now()))

    def subscribe(self, watcher: Callable[[ServerOutput], object]) -> Callable[[], None]:
        """Has somebody told all that the server does, on the event loop, until the function is called that it returns."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def _carry_out_all(self, outputs: Iterable[ServerOutput]) -> None:
        for output in outputs:
            self._carry_out(output)
            for watcher in tuple(self._watchers):
                watcher(output)
        self.timer.look()

    def _carry_out(self, output: ServerOutput) -> None:
        if isinstance(output, MediaOperation):
            if self._media is not None:
                self._media.perform(output, self._media_reported)
            return
        match output:
            case o.SendData(flow=flow, data=data):
                if (runner := self._flows.get(flow)) is not None:
                    runner.send(data)
            case o.CloseFlow(flow=flow):
                if (runner := self._flows.get(flow)) is not None:
                    runner.close()
            case PrepareMedia(call=call, service=service):
                if self._media is not None:
                    self._media.serve(call, service)
            case ArrangeMedia(call=call, arrangement=arrangement):
                if self._media is not None:
                    self._media.arrange(call, arrangement)
            case _:
                pass

    def _media_reported(self, reply: MediaInput | Loudness) -> None:
        try:
            self._from_thread(lambda: self.step(reply))
        except RuntimeError:
            pass  # the loop is gone

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        transport = "WS" if tls is None else "WSS"

        def started(actual: int) -> None:
            self.port = actual
            self._started.set()

        async def serve(stream: Stream) -> None:
            if len(self._flows) < _MAX_CONNECTIONS:
                await self._connection(stream, transport)

        await self._runtime.serve(host, port, tls, serve, started)

    async def _connection(self, stream: Stream, transport: str) -> None:
        self._next_flow += 1
        flow = self._next_flow
        connection = WebSocketConnection(client=False, guard=self._guard, limits=WebSocketLimits())
        runner = WebSocketFlow(self._runtime, stream, connection, self._notice, flow, transport)
        self._flows[flow] = runner
        try:
            await runner.run()
        finally:
            self._flows.pop(flow, None)

    def _notice(self, what: i.Input) -> None:
        if isinstance(what, i.FlowOpened | i.FlowClosed | i.DataReceived):
            self.step(what)

    async def wait_started(self) -> None:
        await self._started.wait()

    def close(self) -> None:
        self._closed = True


@asynccontextmanager
async def run_server(
    runtime: Runtime,
    config: ServerConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    media: ServiceEngine | None = None,
    guard: HandshakeGuard | None = None,
    watch: Callable[[ServerOutput], object] | None = None,
) -> AsyncIterator[Server]:
    """A server for the length of a block. It listens on loopback unless told otherwise; `port` 0 takes a free one.

    Without a `guard`, connections must name a loopback host and come from no web page. Raises OSError when the address
    is taken.
    """
    guard = guard or HandshakeGuard(hosts=LOOPBACK if host in ("127.0.0.1", "::1", "localhost") else None)
    async with plain_task_group(runtime) as tasks:
        server = Server(runtime, config, media=media, guard=guard, watch=watch)
        await _start(server, tasks, host, port, tls)
        try:
            yield server
        finally:
            server.close()
            tasks.cancel()


async def _start(server: Server, tasks: TaskGroup, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    tasks.start_soon(server.timer.run)
    tasks.start_soon(server.listen, host, port, tls)
    await server.wait_started()
