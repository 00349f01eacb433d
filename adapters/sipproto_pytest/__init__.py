"""Fixtures for tests of SIP applications. pytest loads this module in every run: it imports nothing before one is used.

What waits is a function that gives an async context manager, so that the same fixture serves tests of anyio, of
pytest-asyncio and those that call `trio.run` or `asyncio.run` themselves. See docs/testing-your-app.md.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sipproto.testing import ConnectorWorld, FakeMediaEngine, ScriptedServer
    from sipproto_pytest._joined import ConnectorOpener, FacadeOpener, Joined, ScriptedOpener, ServerOpener

__all__ = [
    "fake_media",
    "scripted_server",
    "sip_connector",
    "sip_facade",
    "sip_scripted",
    "sip_server",
    "sip_until",
    "sip_world",
]


@pytest.fixture
def fake_media() -> FakeMediaEngine:
    """A media engine without media; that of the first `sip_connector`."""
    from sipproto.testing import FakeMediaEngine

    return FakeMediaEngine(seed=1)


@pytest.fixture
def scripted_server() -> ScriptedServer:
    """A conference server of which the test decides everything. It runs while a `sip_connector` is open."""
    from sipproto.testing import ScriptedServer

    return ScriptedServer()


@pytest.fixture
def sip_world() -> ConnectorWorld:
    """A connector engine and a scripted server of its own, without I/O, in simulated time."""
    from sipproto.testing import ConnectorWorld

    return ConnectorWorld()


@pytest.fixture
def _sip_joined(scripted_server: ScriptedServer, fake_media: FakeMediaEngine) -> Joined:
    from sipproto_pytest._joined import Joined

    return Joined(scripted_server, fake_media)


@pytest.fixture
def sip_scripted(_sip_joined: Joined) -> ScriptedOpener:
    """`async with sip_scripted(listen=True) as scripted`: `scripted_server` for clients that the test opens itself."""
    return _sip_joined.scripted


@pytest.fixture
def sip_connector(_sip_joined: Joined) -> ConnectorOpener:
    """`async with sip_connector() as connector`: one that is registered at `scripted_server`, in memory.

    `user`, `number`, `connect`, `media`, `config`, `stream`, `parameters`: see `Joined.connector`.
    """
    return _sip_joined.connector


@pytest.fixture
def sip_facade(_sip_joined: Joined) -> FacadeOpener:
    """`async with sip_facade() as facade`: a SipConnectorFacade that can reach `scripted_server`, and is not connected yet."""
    return _sip_joined.facade


@pytest.fixture
def sip_server() -> ServerOpener:
    """`async with sip_server() as server`: the embedded one at `ws://127.0.0.1:{server.port}/`."""
    from sipproto_pytest._joined import open_server

    return open_server


@pytest.fixture
def sip_until() -> Callable[..., Coroutine[Any, Any, Any]]:
    """`await sip_until(lambda: connector.room)`: until something is true, for 5 s at most, or for `limit`."""
    from sipproto_pytest._joined import wait_until

    return wait_until
