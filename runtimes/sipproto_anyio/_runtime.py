"""The runtime port on anyio: any of its backends."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute
from anyio.abc import TaskGroup as AnyioTaskGroup
from anyio.streams.tls import TLSAttribute, TLSListener, TLSStream

from sipproto_client.port import Datagrams, Event, Stream, TaskGroup, TimeLimit

_CHUNK = 65536


class AnyioStream:
    """A byte stream of anyio behind the port: its own exceptions become OSError."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        try:
            self._remote = _pair(stream.extra(SocketAttribute.remote_address))
        except (OSError, anyio.TypedAttributeLookupError):
            self._remote = ("", 0)  # gone already; who reads will hear of it

    @property
    def local(self) -> tuple[str, int]:
        return _pair(self._stream.extra(SocketAttribute.local_address))

    @property
    def remote(self) -> tuple[str, int]:
        return self._remote

    @property
    def certificate(self) -> bytes | None:
        return self._stream.extra(TLSAttribute.peer_certificate_binary, None)

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


class AnyioDatagrams:
    """A UDP socket. Not anyio's own: on asyncio that one does not tell that a datagram was refused."""

    def __init__(self, sock: socket.socket, remote: tuple[str, int] | None) -> None:
        self._socket = sock
        self.remote = remote

    @property
    def local(self) -> tuple[str, int]:
        return _pair(self._socket.getsockname())

    async def send(self, data: bytes, to: tuple[str, int] | None = None) -> None:
        while True:
            try:
                if to is None:
                    self._socket.send(data)
                else:
                    self._socket.sendto(data, to)
                return
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        await anyio.lowlevel.checkpoint()  # a flood must not keep everybody else waiting
        while True:
            try:
                data, address = self._socket.recvfrom(_CHUNK)
                return data, _pair(address or self.remote)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    async def aclose(self) -> None:
        self._socket.close()


def _pair(address: Any) -> tuple[str, int]:
    return (str(address[0]), int(address[1]))


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

    def move_on_after(self, seconds: float) -> AbstractContextManager[TimeLimit]:
        return anyio.move_on_after(max(0.0, seconds))

    def shield(self, seconds: float) -> AbstractContextManager[object]:
        return anyio.move_on_after(seconds, shield=True)

    def thread_caller(self) -> Callable[[Callable[[], None]], None]:
        # anyio can call from a thread only by blocking it, and the media thread must not be blocked.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            import trio

            return trio.lowlevel.current_trio_token().run_sync_soon
        context = _context_of_asyncio()

        def call_soon(function: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(function, context=context)

        return call_soon

    async def resolve(self, host: str) -> list[str]:
        found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def datagrams(
        self, *, local: tuple[str, int] | None = None, remote: tuple[str, int] | None = None
    ) -> Datagrams:
        host = (local or remote or ("", 0))[0]
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if local is not None:
                sock.bind(local)
            if remote is not None:
                sock.connect(remote)
        except BaseException:
            sock.close()
            raise
        return AnyioDatagrams(sock, remote)

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


def _context_of_asyncio() -> contextvars.Context:
    """A context in which anyio finds its loop.

    It asks sniffio, which knows asyncio by the running task. A callback is run by none, and in a context of the thread
    that asked for it.
    """
    context = contextvars.copy_context()
    try:
        from sniffio import current_async_library_cvar
    except ImportError:
        return context  # without sniffio anyio asks asyncio itself
    context.run(current_async_library_cvar.set, "asyncio")
    return context


@asynccontextmanager
async def _task_group() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as group:
        yield _Tasks(group)
