"""The conference client at a conference server, over a WebSocket, on every runtime."""

from __future__ import annotations

import pytest

from sipproto.connector.events import CallStatus, ConnectionStatus
from sipproto_client.port import Runtime
from tests.client.conference import STREAM, conference, connector
from tests.client.rig import RUNTIMES, play

runtimes = pytest.mark.parametrize("name", RUNTIMES)


@runtimes
def test_connect_call_and_leave(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as alice:
            assert not alice.is_configured() and alice.connection_state is ConnectionStatus.IDLE
            seen: list[str] = []
            alice.on_race(
                [
                    "connection:connected",
                    "connection:registered",
                    "connection:connect-succeeded",
                    "call:sending",
                    "call:accepted",
                    "call:confirmed",
                    "api:enter-room",
                    "call:ended",
                    "call:failed",
                    "connection:disconnected",
                ],
                lambda _, event: seen.append(event),
            )
            configuration = await alice.connect(**room.settings("alice"))
            assert configuration == alice.get_connection_configuration()
            assert configuration.authorization_user == "alice" and alice.is_registered and alice.is_register_config
            with alice.events("api:enterRoom") as entered:
                call = await alice.call("800", STREAM, extra_headers=["X-Vinteo-Mic-State: 1"])
                assert alice.is_call_active and alice.connection is call is alice.get_established_call()
                event = await anext(entered)
            assert event.payload.room == "800" and alice.room is not None and alice.room.name == "800"  # type: ignore[attr-defined]
            assert alice.call_status is CallStatus.IN_ROOM
            (stream,) = alice.get_remote_streams() or ()
            assert stream.audio == (call.line("audio"),) and stream.video == (call.line("video"),)
            await alice.hang_up()
            assert not alice.is_call_active and alice.get_remote_streams() is None
            await alice.disconnect()
            assert alice.connection_state is ConnectionStatus.DISCONNECTED and not alice.is_configured()
            assert seen == [
                "connection:connected",
                "connection:registered",
                "connection:connect-succeeded",
                "call:sending",
                "call:accepted",
                "call:confirmed",
                "api:enter-room",
                "call:ended",
                "connection:disconnected",
            ]

    play(name, scenario)
