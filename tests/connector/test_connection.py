"""Connection operations: who takes whose place, what is tried again, and that each command ends once."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import Cause
from sipproto.agent import outputs as o
from sipproto.connector import ConnectionParameters
from sipproto.connector import inputs as c
from sipproto.connector.events import (
    Configuration,
    ConnectFailed,
    ConnectionStatus,
    ConnectionStatusChanged,
    ConnectSucceeded,
    ParametersUnwanted,
    ParametersWanted,
)
from sipproto.errors import LocalProtocolError
from sipproto.message import parse_message
from tests.connector.world import ALICE, GUEST, World

S = ConnectionStatus


def connected(world: World | None = None, parameters: ConnectionParameters = ALICE) -> World:
    world = world or World()
    outcome = world.do(c.ConnectToServer, parameters=parameters)
    assert isinstance(outcome, o.CommandSucceeded), outcome
    assert world.connection_status() is S.ESTABLISHED
    return world


def statuses(world: World) -> list[ConnectionStatus]:
    return [event.status for event in world.all(ConnectionStatusChanged)]


def test_registered() -> None:
    world = connected()
    assert statuses(world) == [S.PREPARING, S.CONNECTING, S.CONNECTED, S.ESTABLISHED]
    assert world.connector.connection.is_registered
    assert world.server.registered == {"alice": 1}
    request = world.requests("REGISTER")[-1].decode()
    assert '"Alice Liddell" <sip:alice@example.com>' in request
    assert "X-Vinteo-Remote: 192.0.2.7" in request
    assert "Expires: 300" in request
    configuration = world.one(ConnectSucceeded).configuration
    assert configuration.authorization_user == "alice"
    assert not hasattr(configuration, "password")


def test_a_guest() -> None:
    world = connected(parameters=GUEST)
    assert not world.requests("REGISTER")
    user = world.one(ConnectSucceeded).configuration.authorization_user
    assert 100_000 <= int(user) < 99_999_999


def test_underscores_for_older_servers() -> None:
    world = connected(parameters=evolve(ALICE, legacy_display_name=True))
    assert '"Alice_Liddell" <sip:alice@' in world.requests("REGISTER")[-1].decode()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sip_server_url": " "}, "sip_server_url is required"),
        ({"sip_web_socket_server_url": ""}, "sip_web_socket_server_url is required"),
        ({"user": " "}, "user is required"),
        ({"password": None}, "password is required"),
        ({"sip_server_url": "exa mple"}, "no address"),
        ({"display_name": "a\r\nb"}, "control character"),
        ({"extra_headers": (("a b", "c"),)}, "header name"),
        ({"attempts": 0}, "at least one"),
        ({"user": "sip:a b@c"}, "no address"),
        ({"connection_recovery": (0.0, 0.0)}, "between two attempts"),
        ({"connection_recovery": (6.0, 2.0)}, "between two attempts"),
    ],
)
def test_what_cannot_be_used(changes: dict[str, Any], error: str) -> None:
    world = World()
    with pytest.raises(LocalProtocolError, match=error):
        world.do(c.ConnectToServer, parameters=evolve(ALICE, **changes))
    assert world.out == []
    command = world.command(lambda n: c.ConnectToServer(command=n))
    world.give(c.ParametersResolved(command=command, parameters=evolve(ALICE, **changes)))
    assert world.outcome(command).cause is Cause.NOT_POSSIBLE
    assert world.connector.retained["procedures"] == 0


def test_only_what_cannot_be_reached_is_tried_again() -> None:
    world = World()
    world.reachable = False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert len(world.opened) == 1 and not world.outcomes(command)
    world.wait(0.31)
    assert len(world.opened) == 2
    world.reachable = True
    world.wait(0.31)
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    world = World()
    world.reachable = False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    world.wait(10)
    assert len(world.opened) == 3
    assert world.outcome(command).cause is Cause.CONNECTION_ERROR
    assert world.one(ConnectFailed).cause is Cause.CONNECTION_ERROR
    world = World()
    assert world.do(c.ConnectToServer, parameters=evolve(ALICE, password="wrong")).status == 401
    assert len(world.opened) == 1
    assert world.connection_status() is S.DISCONNECTED
    assert world.flows == {}
    world.wait(100)
    assert len(world.opened) == 1


def test_a_server_that_never_answers() -> None:
    world = World()
    world.to_server = lambda _: False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    world.wait(33)
    assert world.outcome(command).cause is Cause.REQUEST_TIMEOUT
    world = World()
    world.answers = False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    world.wait(3 * 13)
    assert isinstance(world.outcome(command), o.CommandFailed)


def test_a_newer_connect_takes_the_place_of_an_older() -> None:
    world = World()
    first = world.command(lambda n: c.ConnectToServer(command=n))
    world.one(ParametersWanted)
    waiting = world.command(lambda n: c.RegisterAtServer(command=n))
    second = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert world.outcome(first).cause is Cause.SUPERSEDED
    assert world.outcome(waiting).cause is Cause.SUPERSEDED
    assert world.one(ParametersUnwanted).command == first
    assert isinstance(world.outcome(second), o.CommandSucceeded)
    world.give(c.ParametersResolved(command=first, parameters=GUEST))  # too late: nothing comes of it
    assert world.connection_status() is S.ESTABLISHED
    assert world.connector.connection.configuration is not None
    assert world.connector.connection.configuration.register
    # and leaves the connection there is
    world.take()
    other = evolve(ALICE, user="bob", password="bob's")
    assert isinstance(world.do(c.ConnectToServer, parameters=other), o.CommandSucceeded)
    assert world.server.registered == {"bob": 1}
    assert len(world.flows) == 1


def test_connect_disconnect_connect() -> None:
    """The last word counts, for the outcome as for the state."""
    world = World()
    world.answers = False
    first = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    left = world.command(lambda n: c.DisconnectFromServer(command=n))
    world.answers = True
    second = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert world.outcome(first).cause is Cause.CANCELED
    assert isinstance(world.outcome(left), o.CommandSucceeded)
    assert isinstance(world.outcome(second), o.CommandSucceeded)
    assert world.connection_status() is S.ESTABLISHED
    assert statuses(world)[-1] is S.ESTABLISHED
    epochs = [event.epoch for event in world.all(ConnectionStatusChanged)]
    assert epochs == sorted(epochs) and epochs[-1] == 2  # two were asked for


def test_what_is_told_of_a_connection_that_is_left_is_told_of_that_one() -> None:
    """Also when the next one is asked for before the leaving is through."""
    world = connected()
    world.to_server = lambda data: not data.startswith(b"REGISTER")
    left = world.command(lambda n: c.DisconnectFromServer(command=n))
    again = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    world.wait(2.1)
    assert isinstance(world.outcome(left), o.CommandSucceeded)
    world.to_server = lambda _: True
    world.wait(40.0)
    assert isinstance(world.outcome(again), o.CommandSucceeded | o.CommandFailed)
    told = [(event.epoch, event.status) for event in world.all(ConnectionStatusChanged)]
    assert [epoch for epoch, status in told if status in (S.DISCONNECTING, S.DISCONNECTED)][:2] == [1, 1]
    assert told[-1][0] == 2 and sorted(told, key=lambda one: one[0]) == told


def test_disconnect_does_not_wait() -> None:
    world = World()
    world.answers = False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert isinstance(world.do(c.DisconnectFromServer), o.CommandSucceeded)
    assert world.outcome(command).cause is Cause.CANCELED
    # a server that does not answer the un-REGISTER is left all the same
    world = connected()
    world.to_server = lambda _: False
    left = world.command(lambda n: c.DisconnectFromServer(command=n))
    again = world.command(lambda n: c.DisconnectFromServer(command=n))
    assert not world.outcomes(left)
    world.wait(2.1)
    assert isinstance(world.outcome(left), o.CommandSucceeded)
    assert isinstance(world.outcome(again), o.CommandSucceeded)
    assert world.flows == {}
    # without a connection those who wait for the event get it
    world = World()
    assert isinstance(world.do(c.DisconnectFromServer), o.CommandSucceeded)
    assert world.one(o.ConnectionChanged).state is o.ConnectionState.DISCONNECTED


def test_a_ping_with_a_body_and_headers() -> None:
    world = connected()
    assert world.do(c.Ping, body="héllo".encode(), headers=(("X-Mine", "2"),)).result in range(200, 700)
    for data in world.requests("OPTIONS"):  # also with credentials
        request = parse_message(data)
        assert request.headers.first("X-Mine") == "2" and request.headers.first("Content-Type") == "text/plain"
        assert request.body.decode() == "héllo"
    assert isinstance(world.do(c.Ping, headers=(("X-Mine", "a\r\nVia: b"),)), o.CommandFailed)


def test_a_ping_takes_nobodys_place() -> None:
    world = connected()
    world.to_server = lambda data: not data.startswith(b"REGISTER")
    register = world.command(lambda n: c.RegisterAtServer(command=n))
    assert world.do(c.Ping).result in range(200, 700)
    assert not world.outcomes(register)
    world.to_server = lambda data: not data.startswith(b"OPTIONS")
    ping = world.command(lambda n: c.Ping(command=n, target="sip:example.com"))
    world.wait(10.1)
    assert world.outcome(ping).cause is Cause.REQUEST_TIMEOUT
    with pytest.raises(LocalProtocolError):
        World().do(c.Ping)


def test_registering_by_hand() -> None:
    world = connected()
    assert isinstance(world.do(c.UnregisterFromServer), o.CommandSucceeded)
    assert world.connection_status() is S.CONNECTED
    assert world.server.registered == {}
    assert isinstance(world.do(c.UnregisterFromServer), o.CommandSucceeded)
    assert isinstance(world.do(c.TryRegister), o.CommandSucceeded)  # also when we are not registered
    assert isinstance(world.do(c.TryRegister), o.CommandSucceeded)
    assert world.server.registered == {"alice": 1}
    assert isinstance(world.do(c.RegisterAtServer), o.CommandSucceeded)
    assert world.connection_status() is S.ESTABLISHED
    world.do(c.DisconnectFromServer)
    assert world.do(c.RegisterAtServer).cause is Cause.NOT_POSSIBLE


def test_another_name() -> None:
    world = connected()
    assert world.do(c.SetName, display_name="Alice").result is True
    assert world.do(c.SetName, display_name="Alice").result is False
    with pytest.raises(LocalProtocolError):
        world.do(c.SetName, display_name="a\nb")
    world.do(c.TryRegister)
    assert '"Alice" <sip:alice@example.com>' in world.requests("REGISTER")[-1].decode()
    configuration = world.connector.connection.configuration
    assert isinstance(configuration, Configuration) and configuration.display_name == "Alice"
    with pytest.raises(LocalProtocolError):
        World().do(c.SetName, display_name="Alice")


def test_too_much_waits() -> None:
    world = connected()
    world.to_server = lambda _: False
    commands = [world.command(lambda n: c.RegisterAtServer(command=n)) for _ in range(17)]
    with pytest.raises(LocalProtocolError):
        world.do(c.RegisterAtServer)
    left = world.command(lambda n: c.DisconnectFromServer(command=n))
    world.wait(3)
    assert all(world.outcome(command).cause is Cause.CANCELED for command in commands)
    assert isinstance(world.outcome(left), o.CommandSucceeded)


def test_given_up() -> None:
    world = World()
    world.answers = False
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    world.give(c.Cancel(target=command))
    assert world.outcome(command).cause is Cause.CANCELED
    assert world.connection_status() is S.DISCONNECTED
    world.give(c.Cancel(target=command))
    world.wait(100)
    assert len(world.outcomes(command)) == 1
    assert world.connector.retained["procedures"] == world.connector.retained["connector_timers"] == 0


def test_what_makes_no_command_fails_as_one() -> None:
    """The user name is found out to be none when the old connection is gone already; the command ends all the same."""
    world = connected()
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=evolve(ALICE, user="a\nb")))
    assert world.outcome(command).cause is Cause.NOT_POSSIBLE
    assert world.connector.retained["procedures"] == 0
    assert isinstance(world.do(c.ConnectToServer, parameters=ALICE), o.CommandSucceeded)


def test_given_up_while_it_registers() -> None:
    world = World()
    world.to_server = lambda data: not data.startswith(b"REGISTER")
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert world.connection_status() is S.CONNECTED
    waiting = world.command(lambda n: c.RegisterAtServer(command=n))
    world.sent.clear()
    world.give(c.Cancel(target=command))
    world.wait(5)
    assert world.outcome(command).cause is Cause.CANCELED
    assert world.outcome(waiting).cause is Cause.NOT_POSSIBLE
    assert world.connection_status() is S.DISCONNECTED
    assert world.flows == {} and world.requests("REGISTER") == []


def test_given_up_when_it_has_just_come_about() -> None:
    world = World()
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    world.give(c.Cancel(target=command))
    assert world.connection_status() is S.DISCONNECTED and world.flows == {}
    later = world.command(lambda n: c.ConnectToServer(command=n, parameters=ALICE))
    assert isinstance(world.outcome(later), o.CommandSucceeded)
    world.give(c.Cancel(target=command))  # is past
    assert world.connection_status() is S.ESTABLISHED


def test_registering_waits_for_a_leaving_under_way() -> None:
    world = connected()
    world.requests("REGISTER")
    world.give_at_once(c.DisconnectFromServer(command=101))
    world.give_at_once(c.RegisterAtServer(command=102))
    world.settle()
    assert isinstance(world.outcome(101), o.CommandSucceeded)
    assert world.outcome(102).cause is Cause.NOT_POSSIBLE
    assert [b"\r\nExpires: 0\r\n" in data for data in world.requests("REGISTER")] == [True]


def test_lost_and_got_back() -> None:
    world = connected()
    world.take()
    world.reachable = False
    world.cut()
    assert statuses(world) == [S.RECONNECTING]
    world.wait(20)
    world.reachable = True
    world.wait(10)
    assert statuses(world)[-1] is S.ESTABLISHED
    assert world.connector.connection.is_registered


def test_nothing_grows() -> None:
    world = connected()
    for _ in range(300):
        world.do(c.TryRegister)
        world.do(c.Ping)
        world.take()
    retained = world.connector.retained
    assert retained["procedures"] == retained["connector_timers"] == 0
    world.do(c.DisconnectFromServer)
    world.wait(100)
    assert set(world.connector.retained.values()) == {0}
