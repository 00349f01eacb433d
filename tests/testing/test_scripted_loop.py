"""The scripted server on event loops: in memory and at a loopback WebSocket, for connectors and plain endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sipproto.connector import ConnectorConfig
from sipproto.connector.events import CallStatus, ConnectionStatus
from sipproto.errors import LocalProtocolError
from sipproto.testing import FAILED_NUMBER, WRONG_PASSWORD, FakeMediaEngine, ScriptedServer, canned
from sipproto_client import ConnectorError, ErrorCode, SipConnector, run_connector
from sipproto_client.port import Runtime
from sipproto_client.testing import MemoryTransport, Scripted, TransportCase, check_transport, run_scripted, until
from sipproto_client.transport import Channel, Opening
from sipproto_devices import MediaSetup, TestPattern, Tone
from tests.client.rig import RUNTIMES, play

runtimes = pytest.mark.parametrize("name", RUNTIMES)
ways = pytest.mark.parametrize("listen", [False, True], ids=["memory", "websocket"])
STREAM = MediaSetup(audio=Tone(440.0), video=TestPattern())
ONE_ATTEMPT = ConnectorConfig(attempts=1)


@asynccontextmanager
async def client(
    runtime: Runtime, *, listen: bool, config: ConnectorConfig | None = None
) -> AsyncIterator[tuple[Scripted, SipConnector]]:
    media = FakeMediaEngine(seed=1)
    async with (
        run_scripted(runtime, listen=listen) as scripted,
        run_connector(runtime, media=media, config=config, flow=None if listen else scripted.flow) as connector,
    ):
        yield scripted, connector


@ways
@runtimes
def test_a_conference_from_start_to_end(name: str, listen: bool) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with client(runtime, listen=listen) as (scripted, connector):
            server = scripted.server
            await connector.connect(server.parameters(url=scripted.url))
            assert server.registered == ["alice"]
            with pytest.raises(ConnectorError) as refused:
                await connector.call(FAILED_NUMBER)
            assert (refused.value.code, refused.value.status) == (ErrorCode.REFUSED, 603)
            await connector.call("800", STREAM)
            assert await scripted.until(lambda: connector.room and connector.room.name) == "800"
            with connector.events("api:useLicense", "call:ended") as events:
                server.say(canned.LICENSE_VIDEO)
                assert (await anext(events)).payload is canned.LICENSE_VIDEO.license
                await connector.send_media_state(is_enabled_cam=True, is_enabled_mic=True)
                assert list(server.heard) == [canned.BOTH_ON]
                server.hang_up()
                assert (await anext(events)).name == "call:ended"
            server.call_client("1001", display_name="Bob")
            await scripted.until(lambda: connector.remote_caller_data)
            await connector.answer_to_incoming_call(STREAM)
            assert connector.is_call_active
            await connector.disconnect()
            assert connector.connection_state is ConnectionStatus.DISCONNECTED
            await scripted.until(lambda: server.connections == 0)
            assert server.registered == [] and server.calls[-1].ended is not None

    play(name, scenario)


@ways
@runtimes
def test_who_is_not_let_in(name: str, listen: bool) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with client(runtime, listen=listen, config=ONE_ATTEMPT) as (scripted, connector):
            with pytest.raises(ConnectorError) as wrong:
                await connector.connect(scripted.server.parameters(url=scripted.url, password=WRONG_PASSWORD))
            assert wrong.value.code is ErrorCode.WRONG_USER_OR_PASSWORD
            scripted.server.answer_connections(503, times=1)
            with pytest.raises(ConnectorError) as refused:
                await connector.connect(scripted.server.parameters(url=scripted.url))
            assert refused.value.code is ErrorCode.CONNECTION_FAILED and "503" in refused.value.detail
            scripted.server.answer_connections(None, times=1)
            with runtime.move_on_after(0.05) as limit:
                await connector.connect(scripted.server.parameters(url=scripted.url))
            assert limit.cancelled_caught
            await connector.connect(scripted.server.parameters(url=scripted.url))

    play(name, scenario)


@ways
@runtimes
def test_connections_break_and_come_back(name: str, listen: bool) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with client(runtime, listen=listen) as (scripted, connector):
            await connector.connect(scripted.server.parameters(url=scripted.url))
            await connector.call("800", STREAM)
            await scripted.until(lambda: connector.room)
            with connector.events("connection:disconnected", "connection:registered") as events:
                scripted.server.drop_connections()
                assert [(await anext(events)).name for _ in range(2)] == [
                    "connection:disconnected",
                    "connection:registered",
                ]
            await scripted.until(lambda: connector.connection_state is ConnectionStatus.ESTABLISHED)
            assert connector.call_status is CallStatus.IN_ROOM
            with connector.events("connection:disconnected", "connection:registered") as events:
                scripted.server.close_connections()
                await anext(events)
                await anext(events)

    play(name, scenario)


@runtimes
def test_what_was_said_before_a_break_arrives(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with client(runtime, listen=False) as (scripted, connector):
            await connector.connect(scripted.server.parameters())
            await connector.call("800")
            await scripted.until(lambda: connector.room)
            scripted.server.say(canned.LICENSE_VIDEO)
            scripted.server.drop_connections()
            await scripted.until(lambda: connector.license)

    play(name, scenario)


@runtimes
def test_nothing_waits_for_ever_when_the_server_goes_first(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_scripted(runtime) as outer:
            flow = outer.flow
        async with run_connector(runtime, config=ONE_ATTEMPT, flow=flow) as connector:
            with pytest.raises(ConnectorError, match="not running"):
                await connector.connect(outer.server.parameters())

    play(name, scenario)


@runtimes
def test_waiting_has_a_limit(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert await until(runtime, lambda: "it is so") == "it is so"
        with pytest.raises(AssertionError, match=r"has not come about within 0\.02 s"):
            await until(runtime, lambda: False, limit=0.02)
        server = ScriptedServer()
        async with run_scripted(runtime, server):
            with pytest.raises(LocalProtocolError, match="in use already"):
                async with run_scripted(runtime, server):
                    pass
        async with run_scripted(runtime, server):
            pass  # one after the other is fine

    play(name, scenario)


class Door:
    """The far ends of the connections that the transport makes, in place of the server."""

    address = "wss://door.invalid/"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: list[Channel] = []
        self._bell = runtime.event()

    async def knock(self, channel: Channel) -> None:
        self._waiting.append(channel)
        self._bell.set()

    async def accept(self) -> Channel:
        while not self._waiting:
            await self._bell.wait()
            self._bell = self._runtime.event()
        return self._waiting.pop(0)


class Doors(MemoryTransport):
    """The transport with a door behind it, and one address that is refused."""

    def __init__(self) -> None:
        super().__init__(lambda: self._answer, lambda channel: self.door.knock(channel))
        self._answer = 200
        self.door: Door

    async def open(self, address: str, opening: Opening) -> Channel:
        self._answer = 503 if "dead" in address else 200
        return await super().open(address, opening)


@runtimes
def test_the_transport_keeps_its_promises(name: str) -> None:
    doors = Doors()

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncIterator[Door]:
        doors.door = Door(runtime)
        yield doors.door

    case = TransportCase(transport=doors, serve=serve, dead="wss://dead.invalid/")
    play(name, lambda runtime: check_transport(runtime, case))
