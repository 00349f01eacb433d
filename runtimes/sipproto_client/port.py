"""What the client needs of an event loop: one small interface, implemented by `sipproto_anyio` and `sipproto_trio`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol


class Stream(Protocol):
    """A connected byte stream."""

    @property
    def local(self) -> tuple[str, int]:
        """Our (host, port)."""
        ...

    @property
    def remote(self) -> tuple[str, int]:
        """The peer's (host, port)."""
        ...

    @property
    def certificate(self) -> bytes | None:
        """The certificate that the peer has shown (DER), whether it was verified or not. None without one."""
        ...

    async def send(self, data: bytes) -> None:
        """Raises OSError when the connection is broken."""
        ...

    async def receive(self) -> bytes:
        """Some octets; b"" at the end. Raises OSError when the connection is broken."""
        ...

    async def aclose(self) -> None:
        """Closes at once, without waiting for the peer. Never raises."""
        ...


class Datagrams(Protocol):
    """A UDP socket, connected to one peer or open to all."""

    @property
    def local(self) -> tuple[str, int]:
        """Our (host, port)."""
        ...

    @property
    def remote(self) -> tuple[str, int] | None:
        """The peer's (host, port) of a connected socket."""
        ...

    async def send(self, data: bytes, to: tuple[str, int] | None = None) -> None:
        """One datagram, with `to` if the socket is not connected. Raises OSError when it cannot be sent."""
        ...

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """One datagram and its sender. Raises OSError, on a connected socket also when an earlier one was refused."""
        ...

    async def aclose(self) -> None:
        """Closes at once. Never raises."""
        ...


class TimeLimit(Protocol):
    """What the block of `move_on_after` gives."""

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block was left because the time was over."""
        ...


class Event(Protocol):
    """Set once, waited for by any number of tasks."""

    def set(self) -> object: ...

    def is_set(self) -> bool: ...

    async def wait(self) -> object: ...


class TaskGroup(Protocol):
    """Tasks that live no longer than the group."""

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: object) -> object: ...

    def cancel(self) -> None: ...


class Runtime(Protocol):
    """An event loop. Clock values are monotonic seconds."""

    def now(self) -> float: ...

    def event(self) -> Event: ...

    async def wait(self, event: Event, seconds: float | None) -> bool:
        """Waits for the event, for so long at most (None: without limit). Whether it is set."""
        ...

    def task_group(self) -> AbstractAsyncContextManager[TaskGroup]: ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[TimeLimit]:
        """A block that is cancelled, and left without an error, after so many seconds."""
        ...

    def shield(self, seconds: float) -> AbstractContextManager[object]:
        """A block that cancellation from outside does not interrupt, but which ends after so many seconds."""
        ...

    def thread_caller(self) -> Callable[[Callable[[], None]], None]:
        """A function that any thread may call to have something run on the loop soon."""
        ...

    async def resolve(self, host: str) -> list[str]:
        """The addresses of a host as the system knows them, the preferred first. Raises OSError when there are none."""
        ...

    async def connect(self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Stream:
        """Connects, and makes TLS when a context is given. Raises OSError (ssl errors are among them)."""
        ...

    async def datagrams(
        self, *, local: tuple[str, int] | None = None, remote: tuple[str, int] | None = None
    ) -> Datagrams:
        """A UDP socket that is bound to `local` or connected to `remote`, addresses both. Raises OSError."""
        ...

    async def serve(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        handler: Callable[[Stream], Coroutine[Any, Any, None]],
        started: Callable[[int], None],
    ) -> None:
        """Accepts connections until cancelled; `started` gets the port. Each connection has its own task.

        Raises OSError when the address cannot be used.
        """
        ...
