"""The runtime port on anyio: any of its backends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.abc import TaskGroup as AnyioTaskGroup
from anyio.streams.tls import TLSListener, TLSStream

from sipproto_client.port import Event, Stream, TaskGroup

_CHUNK = 65536


class AnyioStream:
    """A byte stream of anyio behind the port: its own exceptions become OSError."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    @property
    def local(self) -> tuple[str, int]:
        address = self._stream.extra(SocketAttribute.local_address)
        return (str(address[0]), int(address[1]))

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _as_os_error(error) from None

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive(_CHUNK)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _as_os_error(error) from None

    async def aclose(self) -> None:
        await anyio.aclose_forcefully(self._stream)


def _as_os_error(error: BaseException) -> OSError:
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else ConnectionError("the connection is broken")


class _Tasks:
    def __init__(self, group: AnyioTaskGroup) -> None:
        self._group = group

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
        self._group.start_soon(function, *args)

    def cancel(self) -> None:
        self._group.cancel_scope.cancel()


class AnyioRuntime:
    """The port on anyio. Has no state; must be used inside a running event loop."""

    def now(self) -> float:
        return anyio.current_time()

    def event(self) -> Event:
        return anyio.Event()

    async def wait(self, event: Event, seconds: float | None) -> bool:
        if seconds is None:
            await event.wait()
            return True
        with anyio.move_on_after(seconds):
            await event.wait()
        return event.is_set()

    def task_group(self) -> AbstractAsyncContextManager[TaskGroup]:
        return _task_group()

    def shield(self, seconds: float) -> AbstractContextManager[object]:
        return anyio.move_on_after(seconds, shield=True)

    def thread_caller(self) -> Callable[[Callable[[], None]], None]:
        # anyio can call from a thread only by blocking it, and the media thread must not be blocked.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            return trio.lowlevel.current_trio_token().run_sync_soon

        def call_soon(function: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(function)

        return call_soon

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Stream:
        try:
            stream = await anyio.connect_tcp(host, port)
        except OSError as error:
            raise _first(error) from None
        if tls is None:
            return AnyioStream(stream)
        try:
            wrapped = await TLSStream.wrap(stream, hostname=server_name, ssl_context=tls, standard_compatible=False)
        except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
            await anyio.aclose_forcefully(stream)
            raise _as_os_error(error) from None
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        return AnyioStream(wrapped)

    async def serve(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        handler: Callable[[Stream], Coroutine[Any, Any, None]],
        started: Callable[[int], None],
    ) -> None:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        address = listener.extra(SocketAttribute.local_address)
        started(int(address[1]))
        accept = listener if tls is None else TLSListener(listener, tls, standard_compatible=False)
        async with accept:
            await accept.serve(partial(_serve_one, handler))


async def _serve_one(handler: Callable[[Stream], Coroutine[Any, Any, None]], stream: ByteStream) -> None:
    async with stream:
        await handler(AnyioStream(stream))


def _first(error: OSError) -> OSError:
    """The first of several failed attempts says more than their sum."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


@asynccontextmanager
async def _task_group() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as group:
        yield _Tasks(group)
