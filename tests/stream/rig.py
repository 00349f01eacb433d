"""Far ends for the transports of the library, a DNS server on loopback, a resolver that knows one zone."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trustme

from sipproto_client._listen import Listener, parse_listen_address
from sipproto_client._websocket import WebSocketChannel
from sipproto_client.port import Runtime, Stream
from sipproto_client.testing import FarEnd
from sipproto_client.transport import Channel
from sipproto_stream import Answer, NotFound, Question
from sipproto_wsproto import WebSocketConnection


class Accepting:
    """A far end: channels as they are accepted."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: deque[Channel] = deque()
        self._bell = runtime.event()
        self.address = ""

    async def accept(self) -> Channel:
        while not self._waiting:
            await self._bell.wait()
            self._bell = self._runtime.event()
        return self._waiting.popleft()

    async def serve(self, channel: Channel) -> None:
        """Until whoever accepts it closes it."""
        tracked = Tracked(self._runtime, channel)
        self._waiting.append(tracked)
        self._bell.set()
        await tracked.closed.wait()


class Tracked:
    def __init__(self, runtime: Runtime, channel: Channel) -> None:
        self._channel = channel
        self.closed = runtime.event()
        self.transport, self.local, self.remote = channel.transport, channel.local, channel.remote
        self.send, self.receive = channel.send, channel.receive

    async def aclose(self) -> None:
        try:
            await self._channel.aclose()
        finally:
            self.closed.set()


def listening(
    where: str, address: str, tls: ssl.SSLContext | None = None
) -> Callable[[Runtime], AbstractAsyncContextManager[FarEnd]]:
    """A far end of UDP, TCP or TLS; `address` has its port left open."""

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncIterator[FarEnd]:
        end = Accepting(runtime)
        listener = Listener(runtime, parse_listen_address(where), tls, end.serve, 3600.0)
        async with runtime.task_group() as tasks:
            tasks.start_soon(listener.run)
            await listener.wait_started()
            end.address = address.format(port=listener.port)
            yield end
            listener.close()

    return serve


def websocket(
    address: str, tls: ssl.SSLContext | None = None
) -> Callable[[Runtime], AbstractAsyncContextManager[FarEnd]]:
    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncIterator[FarEnd]:
        end = Accepting(runtime)
        started = runtime.event()

        def on_started(port: int) -> None:
            end.address = address.format(port=port)
            started.set()

        async def handle(stream: Stream) -> None:
            channel = WebSocketChannel(runtime, stream, WebSocketConnection(client=False), "WS")
            try:
                await channel.shake_hands()
            except OSError:
                return
            await end.serve(channel)

        async with runtime.task_group() as tasks:
            tasks.start_soon(runtime.serve, "127.0.0.1", 0, tls, handle, on_started)
            await started.wait()
            yield end
            tasks.cancel()

    return serve


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


class ZoneResolver:
    """Answers from a table; what is not in it does not exist. Nothing is left to the system."""

    def __init__(self, zone: Mapping[tuple[str, str], Answer]) -> None:
        self.zone = zone
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Answer | None:
        self.asked.append(question)
        return self.zone.get((question.kind.value, question.name), NotFound())
