"""A running server with clients of the library on real WebSockets; their media engines are without media, or real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sipproto.agent import AgentConfig, MediaEngine
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.conference import ConferenceMessage, Unusable, parse_info, write_info
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto_client import Call, CommandError, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import Server, ServerConfig, ServiceEngine, run_server
from tests.client.rig import REALM, USERS, url

AUDIO_VIDEO = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
_PATIENCE = 10.0  # seconds; the machine may be busy


class Client:
    """An endpoint in a conference."""

    def __init__(self, runtime: Runtime, endpoint: Endpoint, engine: MediaEngine) -> None:
        self._runtime = runtime
        self.endpoint = endpoint
        self.engine = engine
        self.told: list[ConferenceMessage | Unusable] = []
        self._call: Call | None = None

    @property
    def call(self) -> Call:
        assert self._call is not None
        return self._call

    async def enter(self, number: str = "800", **more: Any) -> None:
        self._call = await self.endpoint.call(f"sip:{number}@{REALM}", AUDIO_VIDEO, **more)

    def _listen(self, event: o.Event) -> bool:
        if isinstance(event, o.InfoReceived):
            self.told += parse_info(event.content_type, event.headers)
        return False

    async def say(self, message: ConferenceMessage) -> int:
        """The status of the answer."""
        info = write_info(message)
        try:
            result = await self.endpoint.run(
                lambda n: i.SendInfo(
                    command=n, call=self.call.ident, content_type=info.content_type, body=b"", headers=info.headers
                )
            )
        except CommandError as error:
            return error.status or 0
        return int(str(result))

    async def until(self, what: str, good: Callable[[], bool]) -> None:
        await until(self._runtime, f"{what}; told {self.told[-5:]}", good)

    async def until_told(self, message: ConferenceMessage) -> None:
        """Waits until this is what it was told last."""
        await self.until(f"{message}", lambda: bool(self.told) and self.told[-1] == message)


async def until(runtime: Runtime, what: str, good: Callable[[], bool]) -> None:
    deadline = runtime.now() + _PATIENCE
    while not good():
        assert runtime.now() < deadline, f"did not happen: {what}"
        await runtime.wait(runtime.event(), 0.01)


@asynccontextmanager
async def client(
    runtime: Runtime, server: Server, user: str, engine: MediaEngine | None = None
) -> AsyncIterator[Client]:
    """A client that is connected and, if it has an account, registered."""
    engine = engine or FakeMediaEngine(seed=1 + len(user))
    secrets = (Secret(username=user, password=USERS[user]),) if user in USERS else ()
    config = AgentConfig(aor=f"sip:{user}@{REALM}", secrets=secrets, capabilities=engine.capabilities)
    async with run_endpoint(runtime, config, media=engine) as endpoint:
        await endpoint.connect(url(server.port))
        if secrets:
            await endpoint.register()
        one = Client(runtime, endpoint, engine)
        with endpoint.events(one._listen):
            yield one


@asynccontextmanager
async def conference(
    runtime: Runtime, media: ServiceEngine | None = None, **more: Any
) -> AsyncIterator[tuple[Server, list[object]]]:
    """A server for guests, and all that it tells."""
    media = media or FakeMediaEngine(seed=100)
    told: list[object] = []
    config = ServerConfig(realm=REALM, users=USERS, guests=True, capabilities=media.capabilities, **more)
    async with run_server(runtime, config, media=media, watch=told.append) as server:
        yield server, told
