"""Connectors that are somewhere already, in simulated time."""

from __future__ import annotations

import pytest

from sipproto.agent import Cause
from sipproto.agent import outputs as o
from sipproto.agent.media import OpenMedia
from sipproto.connector import ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.connector.events import CallStatus, CallStatusChanged, ConnectionStatus
from sipproto.testing import NUMBER, ConnectorWorld, ScriptedServer


def test_where_they_are() -> None:
    assert ConnectorWorld().connection_status() is ConnectionStatus.IDLE
    connected = ConnectorWorld.connected()
    assert connected.connection_status() is ConnectionStatus.ESTABLISHED
    assert not connected.connector.connection.is_registered
    assert ConnectorWorld.registered().connector.connection.is_registered
    in_call = ConnectorWorld.in_call(user="alice")
    assert in_call.connector.call.is_established and in_call.connector.connection.is_registered
    assert in_call.server.call.number == NUMBER
    in_room = ConnectorWorld.in_room("Room-9", number="9")
    assert in_room.call_status() is CallStatus.IN_ROOM
    presenting = ConnectorWorld.presenting()
    assert presenting.connector.presentation.line is not None
    for world in (connected, in_call, in_room, presenting):
        assert not world.out and not world.sent and not world.server.heard and not world.server.requests


def test_what_does_not_come_about_is_told() -> None:
    server = ScriptedServer()
    server.answer_calls(486)
    with pytest.raises(AssertionError, match="busy"):
        ConnectorWorld.in_call(server=server)


def test_the_same_seed_gives_the_same_octets() -> None:
    def octets(seed: int) -> list[bytes]:
        world = ConnectorWorld(seed=seed)
        world.do(c.ConnectToServer, parameters=world.parameters())
        world.do(c.CallServer, call="out-1", number="1")
        return world.sent

    assert octets(1) == octets(1)
    assert octets(1) != octets(2)


def test_settings_and_faults_of_the_media_engine() -> None:
    world = ConnectorWorld.connected(ConnectorConfig(max_incoming=1))
    world.media.fail(OpenMedia, "no sockets are left")
    outcome = world.do(c.CallServer, call=world.new_call(), number="1")
    assert outcome.cause is Cause.MEDIA_ERROR
    assert [event.status for event in world.all(CallStatusChanged)] == [CallStatus.CONNECTING, CallStatus.IDLE]


def test_one_thing_at_a_time_and_messages_that_are_lost() -> None:
    world = ConnectorWorld.connected()
    world.give_at_once(c.CallServer(command=101, call="out-1", number="1"))
    while not any(data.startswith(b"INVITE") for data in world.sent):
        world.step()
    world.to_client = lambda data: not data.startswith(b"SIP/2.0 200")
    world.settle()
    assert not world.outcomes(101)
    with pytest.raises(LookupError, match="nothing is under way"):
        world.step()
    with pytest.raises(AssertionError, match="command 101 has 0 outcomes"):
        world.outcome(101)
    world.to_client = lambda _: True
    world.wait(4)  # the 200 is sent again
    assert isinstance(world.outcome(101), o.CommandSucceeded)


def test_time_costs_none_and_nothing_is_left() -> None:
    world = ConnectorWorld.presenting()
    world.do(c.DisconnectFromServer)
    world.wait(24 * 3600)
    assert world.now == 24 * 3600
    assert set(world.connector.retained.values()) | set(world.server.retained.values()) == {0}
    assert world.server.connections == 0 and not world.flows
