"""What the fixtures open on an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from sipproto.connector import ConnectorConfig
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine, ScriptedServer
from sipproto_client import SipConnector, SipConnectorFacade, run_connector
from sipproto_client.port import Runtime
from sipproto_client.testing import Scripted, run_scripted, until

if TYPE_CHECKING:
    from sipproto_server import Server

_T = TypeVar("_T")
_MEDIA_SEED = 1


def loop_runtime() -> Runtime:
    """The runtime for whatever loop the test runs on: anyio's serves asyncio and trio."""
    try:
        from sipproto_anyio import AnyioRuntime
    except ImportError:
        from sipproto_trio import TrioRuntime

        return TrioRuntime()
    return AnyioRuntime()


class Joined:
    """Connectors at one scripted server, which runs while the first of them is open."""

    def __init__(self, server: ScriptedServer, media: FakeMediaEngine) -> None:
        self._server = server
        self._media = media
        self._running: Scripted | None = None
        self._opened = 0

    @asynccontextmanager
    async def scripted(self, *, listen: bool = False) -> AsyncIterator[Scripted]:
        """The server of the fixture `scripted_server`, running. listen: also at a loopback WebSocket."""
        if self._running is not None:
            if listen:
                await self._running.listen()
            yield self._running
            return
        async with run_scripted(loop_runtime(), self._server, listen=listen) as running:
            self._running = running
            try:
                yield running
            finally:
                self._running = None

    @asynccontextmanager
    async def connector(
        self,
        *,
        user: str | None = "alice",
        number: str | None = None,
        connect: bool = True,
        media: FakeMediaEngine | None = None,
        config: ConnectorConfig | None = None,
        stream: object = None,
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncIterator[SipConnector]:
        """A connector at the scripted server, in memory, for the length of a block.

        user: registered as this user of the server; None: as a guest. connect: False leaves the connecting to the test.
        number: it has called that number, and is in its room if the server tells of one; stream: what it sends then.
        media: by default the fixture `fake_media` for the first, another engine for each further one. parameters: further
        fields of ConnectionParameters. config and more: as for `open_connector`.
        """
        self._opened += 1
        if media is None:
            media = self._media if self._opened == 1 else FakeMediaEngine(seed=_MEDIA_SEED + self._opened)
        async with (
            self.scripted() as scripted,
            run_connector(loop_runtime(), media=media, config=config, flow=scripted.flow, **more) as sip_connector,
        ):
            if connect or number is not None:
                await sip_connector.connect(self._server.parameters(user=user, **(parameters or {})))
            if number is not None:
                await sip_connector.call(number, stream)
                if self._server.entrance is not None:
                    await scripted.until(lambda: sip_connector.room)
            yield sip_connector

    @asynccontextmanager
    async def facade(self, **options: Any) -> AsyncIterator[SipConnectorFacade]:
        """As `connector`, with a facade around it. connect: False unless it is asked for."""
        async with self.connector(**{"connect": False, **options}) as sip_connector:
            yield SipConnectorFacade(sip_connector)


@asynccontextmanager
async def open_server(
    *, users: Mapping[str, str] | None = None, media: FakeMediaEngine | None = None, **config: Any
) -> AsyncIterator[Server]:
    """The embedded server on a free port of loopback. users: passwords by name; config: other fields of ServerConfig."""
    sipproto_server = pytest.importorskip("sipproto_server", reason="needs the extra `server`", exc_type=ImportError)
    from sipproto.testing import PASSWORD, REALM, USER

    settings = {"realm": REALM, "guests": True, "capabilities": FAKE_CAPABILITIES, **config}
    settings["users"] = {USER: PASSWORD} if users is None else dict(users)
    engine = media or FakeMediaEngine(seed=2000)
    async with sipproto_server.run_server(
        loop_runtime(), sipproto_server.ServerConfig(**settings), media=engine
    ) as server:
        yield server


async def wait_until(condition: Callable[[], _T], *, limit: float = 5.0) -> _T:
    """Waits until `condition` gives something true, and returns that. Raises AssertionError after `limit` seconds."""
    return await until(loop_runtime(), condition, limit=limit)


ScriptedOpener = Callable[..., AbstractAsyncContextManager[Scripted]]
ConnectorOpener = Callable[..., AbstractAsyncContextManager[SipConnector]]
FacadeOpener = Callable[..., AbstractAsyncContextManager[SipConnectorFacade]]
ServerOpener = Callable[..., AbstractAsyncContextManager["Server"]]
