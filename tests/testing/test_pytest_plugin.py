"""The fixtures, as a project that uses them has them: in a pytest of its own, in a fresh process."""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

ROOT = Path(__file__).resolve().parents[2]
_PATH = os.pathsep.join(str(ROOT / part) for part in (".", "runtimes", "adapters"))
_INSTALLED = any(point.value == "sipproto_pytest" for point in entry_points(group="pytest11"))

USED = """
import anyio, asyncio, pytest, trio
from sipproto.connector import inputs as c
from sipproto.connector.events import CallStatus
from sipproto.testing import PASSWORD, REALM, ConnectorWorld, canned
from sipproto_client import ConnectorError, run_connector
from sipproto_devices import MediaSetup, Tone

STREAM = MediaSetup(audio=Tone(440.0))

async def story(scripted_server, sip_connector, fake_media):
    async with sip_connector(number="800", stream=STREAM) as alice, sip_connector(user=None) as guest:
        assert alice.room.name == "800" and alice.is_registered and not guest.is_registered
        assert fake_media.calls[0].prepared == [STREAM]
        assert scripted_server.connections == 2
        with alice.events("api:useLicense") as events:
            scripted_server.say(canned.LICENSE_VIDEO)
            await anext(events)
    assert scripted_server.calls[0].ended is not None

@pytest.mark.anyio
async def test_with_anyio(scripted_server, sip_connector, fake_media):
    await story(scripted_server, sip_connector, fake_media)

def test_with_asyncio(scripted_server, sip_connector, fake_media):
    asyncio.run(story(scripted_server, sip_connector, fake_media))

def test_with_trio(scripted_server, sip_connector, fake_media):
    trio.run(story, scripted_server, sip_connector, fake_media)

@pytest.mark.anyio
async def test_facade(sip_facade, scripted_server, sip_until):
    scripted_server.answer_infos(603, to=canned.CAM_WANTED)
    async with sip_facade() as facade:
        known = scripted_server.parameters()
        await facade.connect_to_server(
            sip_web_socket_server_url="wss://whatever.example.com/ws", sip_server_url=REALM, user_agent="test",
            name=known.user, password=known.password, is_registered_user=True,
        )
        await facade.call_to_server(conference="800", media_stream=STREAM)
        await sip_until(lambda: facade.sip_connector.room)
        with pytest.raises(ConnectorError):
            await facade.sip_connector.ask_permission_to_enable_cam()
        await facade.disconnect_from_server()

def test_world(sip_world):
    sip_world.do(c.ConnectToServer, parameters=sip_world.parameters())
    sip_world.wait(3600)
    assert sip_world.server.registered == ["alice"]
    assert ConnectorWorld.in_room().call_status() is CallStatus.IN_ROOM

@pytest.mark.anyio
async def test_embedded_server(sip_server, fake_media):
    from sipproto_anyio import AnyioRuntime
    async with sip_server() as server, run_connector(AnyioRuntime(), media=fake_media) as alice:
        await alice.connect(
            sip_server_url=REALM, sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/",
            user="alice", password=PASSWORD, register=True,
        )
        assert server.core.registered == {"alice": 1}

@pytest.mark.anyio
async def test_a_client_with_a_socket_of_its_own(sip_scripted, fake_media):
    from sipproto_anyio import AnyioRuntime
    async with sip_scripted(listen=True) as scripted, run_connector(AnyioRuntime(), media=fake_media) as alice:
        await alice.connect(scripted.server.parameters(url=scripted.url))
        assert scripted.server.registered == ["alice"]
"""

UNUSED = """
import sys

def test_nothing_is_imported():
    heavy = {"sipproto", "sipproto_client", "sipproto_server", "sipproto_aiortc", "aiortc", "av", "numpy"}
    assert not [name for name in sys.modules if name.partition(".")[0] in heavy]
    assert "sipproto_pytest" in sys.modules
"""

WRONG = """
import anyio, pytest
from sipproto.testing import canned

def test_not_opened(scripted_server):
    scripted_server.say(canned.ENTER_ROOM)

def test_not_running(scripted_server):
    scripted_server.drop_connections()

@pytest.mark.anyio
async def test_refused_number(sip_connector):
    async with sip_connector(number="777"):
        pass
"""


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, **files: str) -> pytest.RunResult:
    monkeypatch.setenv("PYTHONPATH", _PATH)
    pytester.makepyfile(**files)
    plugin = "sipproto" if _INSTALLED else "sipproto_pytest"
    return pytester.runpytest_subprocess("-p", plugin, "-p", "no:cacheprovider", "-W", "error", timeout=60)


def test_fixtures_on_every_loop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, test_used=USED, test_wrong=WRONG)
    result.assert_outcomes(passed=11, failed=4)  # anyio runs a test on asyncio and on trio
    result.stdout.fnmatch_lines(
        [
            "E *LookupError: the server has no call now",
            "E *LocalProtocolError: this scripted server is not running: *",
            "E *ConnectorError: 603 Decline",
        ]
    )
    result.stdout.no_fnmatch_line("FAILED test_used*")


def test_unused_it_costs_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    run(pytester, monkeypatch, test_unused=UNUSED).assert_outcomes(passed=1)


def test_the_entry_point_is_declared() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["entry-points"]["pytest11"] == {"sipproto": "sipproto_pytest"}
