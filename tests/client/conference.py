"""A conference server and connectors at it, without media."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sipproto.connector import ConnectorConfig
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto_client import SipConnector, run_connector
from sipproto_client.port import Runtime
from sipproto_devices import MediaSetup, TestPattern, Tone
from sipproto_server import ConferencePolicy, Server, ServerConfig, command_of, run_server
from tests.client.rig import REALM, USERS, url

STREAM = MediaSetup(audio=Tone(440.0), video=TestPattern(width=640, height=480))
SCREEN = MediaSetup(video=TestPattern(width=1280, height=720))
PATIENCE = 5.0


class Conference:
    """The server; `told` is all that it did."""

    def __init__(self, runtime: Runtime, server: Server) -> None:
        self.runtime = runtime
        self.server = server
        self.told: list[object] = []
        server.subscribe(self.told.append)

    @property
    def address(self) -> dict[str, Any]:
        return {"sip_server_url": REALM, "sip_web_socket_server_url": url(self.server.port)}

    def settings(self, user: str) -> dict[str, Any]:
        return {**self.address, "user": user, "password": USERS[user], "register": True}

    def operate(self, name: str, *values: str) -> None:
        self.server.operate(command_of(name, values))

    async def until(self, condition: Callable[[], object]) -> None:
        await until(self.runtime, condition)


async def until(runtime: Runtime, condition: Callable[[], object]) -> None:
    deadline = runtime.now() + PATIENCE
    while not condition():
        assert runtime.now() < deadline, "it does not come about"
        await runtime.wait(runtime.event(), 0.005)


@asynccontextmanager
async def conference(runtime: Runtime, **policy: Any) -> AsyncIterator[Conference]:
    config = ServerConfig(
        realm=REALM,
        users=USERS,
        guests=True,
        capabilities=FAKE_CAPABILITIES,
        policy=ConferencePolicy(**policy),
    )
    async with run_server(runtime, config, media=FakeMediaEngine(seed=1)) as server:
        yield Conference(runtime, server)


@asynccontextmanager
async def connector(
    runtime: Runtime, config: ConnectorConfig | None = None, *, seed: int = 2, media: FakeMediaEngine | None = None
) -> AsyncIterator[SipConnector]:
    engine = media or FakeMediaEngine(seed=seed)
    async with run_connector(runtime, media=engine, config=config) as sip_connector:
        yield sip_connector


@asynccontextmanager
async def joined(
    runtime: Runtime, user: str = "alice", **policy: Any
) -> AsyncIterator[tuple[Conference, SipConnector]]:
    """A user in the room 800."""
    async with conference(runtime, **policy) as room, connector(runtime) as alice:
        await alice.connect(**room.settings(user))
        with alice.events("api:enterRoom") as entered:
            await alice.call("800", STREAM)
            await anext(entered)
        yield room, alice


__all__ = ["SCREEN", "STREAM", "Conference", "conference", "connector", "joined", "until"]
