"""One way to run a scenario on each of the runtimes."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import trio

from sipproto.agent import AgentConfig, Recovery, Waits
from sipproto.auth import Secret
from sipproto_anyio import AnyioRuntime
from sipproto_client import Endpoint, FlowSettings, run_endpoint
from sipproto_client.port import Runtime, Stream
from sipproto_server import Server, ServerConfig, run_server
from sipproto_trio import TrioRuntime

RUNTIMES = ("anyio-asyncio", "anyio-trio", "trio")
REALM = "test.invalid"
OFFER = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n"
ANSWER = OFFER.replace(b"o=- 1", b"o=- 2")
USERS = {"alice": "wonderland", "bob": "builder"}
_PATIENCE = 30.0
gc.freeze()  # what the imports made need not be searched again after every scenario


def play(name: str, scenario: Callable[[Runtime], Awaitable[None]]) -> None:
    """Runs a scenario; nothing may be left open after it."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))

    async def on_anyio() -> None:
        with anyio.fail_after(_PATIENCE):
            await scenario(AnyioRuntime())

    async def on_trio() -> None:
        with trio.fail_after(_PATIENCE):
            await scenario(TrioRuntime())

    if name == "trio":
        trio.run(on_trio)
    else:
        anyio.run(on_anyio, backend=name.removeprefix("anyio-"))
    gc.collect()  # what was forgotten says so now, as a ResourceWarning
    assert len(os.listdir("/proc/self/fd")) <= before


def config(user: str, password: str | None = None, *, recovery: Recovery | None = None, **more: float) -> AgentConfig:
    return AgentConfig(
        aor=f"sip:{user}@{REALM}",
        secrets=(Secret(username=user, password=password or USERS.get(user, "?")),),
        waits=Waits(**more),
        recovery=recovery or Recovery(),
    )


@asynccontextmanager
async def world(runtime: Runtime, *users: str) -> AsyncIterator[tuple[Server, list[Endpoint]]]:
    """A server, and endpoints that are registered there."""
    async with (
        run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
        _endpoints(runtime, server, list(users)) as endpoints,
    ):
        yield server, endpoints


@asynccontextmanager
async def _endpoints(runtime: Runtime, server: Server, users: list[str]) -> AsyncIterator[list[Endpoint]]:
    if not users:
        yield []
        return
    async with run_endpoint(runtime, config(users[0])) as endpoint:
        await endpoint.connect(url(server.port))
        await endpoint.register()
        async with _endpoints(runtime, server, users[1:]) as others:
            yield [endpoint, *others]


def url(port: int, scheme: str = "ws") -> str:
    return f"{scheme}://127.0.0.1:{port}/"


async def connect_error(runtime: Runtime, server: str, flow: FlowSettings | None = None) -> str:
    """What a failing `connect` says."""
    from sipproto_client import CommandError

    async with run_endpoint(runtime, config("alice", connect=0.5), flow=flow) as endpoint:
        try:
            await endpoint.connect(server)
        except CommandError as error:
            return error.detail
    raise AssertionError("connected")


@asynccontextmanager
async def raw_server(
    runtime: Runtime, handler: Callable[[Stream], Awaitable[None]], tls: object = None
) -> AsyncIterator[int]:
    """A server that does with each connection what `handler` says; gives its port."""
    import ssl

    assert tls is None or isinstance(tls, ssl.SSLContext)
    started = runtime.event()
    ports: list[int] = []

    def on_started(port: int) -> None:
        ports.append(port)
        started.set()

    async def handle(stream: Stream) -> None:
        try:
            await handler(stream)
        except OSError:
            pass

    async with runtime.task_group() as tasks:
        tasks.start_soon(runtime.serve, "127.0.0.1", 0, tls, handle, on_started)
        await started.wait()
        yield ports[0]
        tasks.cancel()
