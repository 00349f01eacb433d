"""The runtime port on plain trio."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import trio

from sipproto_client.port import Datagrams, Event, Stream, TaskGroup, TimeLimit

_CHUNK = 65536
_HANDSHAKE = 30.0  # seconds for the TLS handshake of a client, as anyio has it
_TrioStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class TrioStream:
    """A stream of trio behind the port: its own exceptions become OSError."""

    def __init__(self, stream: _TrioStream, socket: trio.SocketStream) -> None:
        self._stream = stream
        self._socket = socket
        try:
            self._remote = _pair(socket.socket.getpeername())
        except OSError:
            self._remote = ("", 0)  # gone already; who reads will hear of it

    @property
    def local(self) -> tuple[str, int]:
        return _pair(self._socket.socket.getsockname())

    @property
    def remote(self) -> tuple[str, int]:
        return self._remote

    @property
    def certificate(self) -> bytes | None:
        if not isinstance(self._stream, trio.SSLStream):
            return None
        found: bytes | None = self._stream.getpeercert(binary_form=True)
        return found

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _as_os_error(error) from None

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(_CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _as_os_error(error) from None

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


class TrioDatagrams:
    """A UDP socket of trio."""

    def __init__(self, socket: trio.socket.SocketType, remote: tuple[str, int] | None) -> None:
        self._socket = socket
        self.remote = remote

    @property
    def local(self) -> tuple[str, int]:
        return _pair(self._socket.getsockname())

    async def send(self, data: bytes, to: tuple[str, int] | None = None) -> None:
        if to is None:
            await self._socket.send(data)
        else:
            await self._socket.sendto(data, to)

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        data, address = await self._socket.recvfrom(_CHUNK)
        return data, _pair(address or self.remote)

    async def aclose(self) -> None:
        self._socket.close()


def _pair(address: Any) -> tuple[str, int]:
    return (str(address[0]), int(address[1]))


def _as_os_error(error: BaseException) -> OSError:
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else ConnectionError("the connection is broken")


class _Tasks:
    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> None:
        self._nursery.start_soon(function, *args)

    def cancel(self) -> None:
        self._nursery.cancel_scope.cancel()


class TrioRuntime:
    """The port on trio. Has no state; must be used inside `trio.run`."""

    def now(self) -> float:
        return trio.current_time()

    def event(self) -> Event:
        return trio.Event()

    async def wait(self, event: Event, seconds: float | None) -> bool:
        if seconds is None:
            await event.wait()
            return True
        with trio.move_on_after(max(0.0, seconds)):
            await event.wait()
        return event.is_set()

    def task_group(self) -> AbstractAsyncContextManager[TaskGroup]:
        return _task_group()

    def move_on_after(self, seconds: float) -> AbstractContextManager[TimeLimit]:
        return trio.move_on_after(max(0.0, seconds))

    def shield(self, seconds: float) -> AbstractContextManager[object]:
        return trio.move_on_after(seconds, shield=True)

    def thread_caller(self) -> Callable[[Callable[[], None]], None]:
        return trio.lowlevel.current_trio_token().run_sync_soon

    async def resolve(self, host: str) -> list[str]:
        found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def datagrams(
        self, *, local: tuple[str, int] | None = None, remote: tuple[str, int] | None = None
    ) -> Datagrams:
        host = (local or remote or ("", 0))[0]
        family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
        socket = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
        try:
            if local is not None:
                await socket.bind(local)
            if remote is not None:
                await socket.connect(remote)
        except BaseException:
            socket.close()
            raise
        return TrioDatagrams(socket, remote)

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Stream:
        try:
            socket = await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise _first(error) from None
        if tls is None:
            return TrioStream(socket, socket)
        stream = trio.SSLStream(socket, tls, server_hostname=server_name, https_compatible=True)
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise _as_os_error(error) from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return TrioStream(stream, socket)

    async def serve(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        handler: Callable[[Stream], Coroutine[Any, Any, None]],
        started: Callable[[int], None],
    ) -> None:
        listeners = await trio.open_tcp_listeners(port, host=host)
        started(int(listeners[0].socket.getsockname()[1]))
        await trio.serve_listeners(partial(_serve_one, handler, tls), listeners)


async def _serve_one(
    handler: Callable[[Stream], Coroutine[Any, Any, None]], tls: ssl.SSLContext | None, socket: trio.SocketStream
) -> None:
    stream: _TrioStream = socket
    if tls is not None:
        stream = trio.SSLStream(socket, tls, server_side=True, https_compatible=True)
    try:
        if isinstance(stream, trio.SSLStream) and not await _shakes_hands(stream):
            return
        await handler(TrioStream(stream, socket))
    finally:
        await trio.aclose_forcefully(stream)


async def _shakes_hands(stream: trio.SSLStream[trio.SocketStream]) -> bool:
    with trio.move_on_after(_HANDSHAKE):
        try:
            await stream.do_handshake()
        except (trio.BrokenResourceError, OSError):
            return False
        return True
    return False


def _first(error: OSError) -> OSError:
    """The first of several failed attempts says more than their sum."""
    cause: BaseException | None = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause if isinstance(cause, OSError) else error


@asynccontextmanager
async def _task_group() -> AsyncIterator[TaskGroup]:
    async with trio.open_nursery() as nursery:
        yield _Tasks(nursery)
