"""The scripted server: each thing that a test can decide of it, shown by a connector that has to live with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaState, OpenMedia
from sipproto.agent.outputs import DtmfReceived
from sipproto.conference import (
    AskToEnableCam,
    Channels,
    ConferenceMessage,
    EnterRoom,
    Info,
    Notification,
    Unusable,
    parse_info,
    write_info,
)
from sipproto.conference import (
    MediaState as Devices,
)
from sipproto.connector import ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.connector.events import (
    CallerGone,
    CallStatus,
    ConnectionStatus,
    MessageFromServer,
    MessageNotUnderstood,
    PresentationChanged,
    PresentationStep,
)
from sipproto.errors import LocalProtocolError
from sipproto.message import Request
from sipproto.sdp import Direction
from sipproto.testing import (
    FAILED_NUMBER,
    PASSWORD,
    USER,
    WRONG_PASSWORD,
    ConnectorWorld,
    ScriptedServer,
    canned,
)

CAM_AND_MIC = Devices(cam=True, mic=True)


def connect(world: ConnectorWorld, **parameters: Any) -> Any:
    return world.do(c.ConnectToServer, parameters=world.parameters(**parameters))


# -- registration ------------------------------------------------------------------------------------------------------


def test_the_right_password_registers() -> None:
    world = ConnectorWorld()
    assert isinstance(connect(world), o.CommandSucceeded)
    assert world.server.registered == [USER]
    assert world.connection_status() is ConnectionStatus.ESTABLISHED
    assert isinstance(world.do(c.UnregisterFromServer), o.CommandSucceeded)
    assert world.server.registered == []
    assert len(world.server.asked("REGISTER")) == 3  # the first was asked for a password
    assert PASSWORD not in repr(world.out)


@pytest.mark.parametrize("parameters", [{"password": WRONG_PASSWORD}, {"user": "mallory"}])
def test_a_wrong_password_and_an_unknown_user_do_not(parameters: dict[str, Any]) -> None:
    world = ConnectorWorld()
    outcome = connect(world, **parameters)
    assert (outcome.cause, outcome.status) == (Cause.AUTHENTICATION_ERROR, 401)
    assert world.server.registered == []


def test_registrations_are_refused_as_the_test_says() -> None:
    world = ConnectorWorld()
    world.server.answer_registrations(403, to=USER, times=1)
    assert connect(world).status == 403
    assert isinstance(connect(world), o.CommandSucceeded)
    world.server.answer_registrations(403, to="somebody else")
    assert isinstance(world.do(c.TryRegister), o.CommandSucceeded)


def test_a_registration_that_is_never_answered() -> None:
    world = ConnectorWorld()
    world.server.answer_registrations(None)
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=world.parameters()))
    assert not world.outcomes(command)
    world.wait(33)
    assert world.outcome(command).cause is Cause.REQUEST_TIMEOUT


def test_users_are_those_of_the_test() -> None:
    server = ScriptedServer(users={"bob": "builder"})
    world = ConnectorWorld.registered(server=server, user="bob")
    assert server.registered == ["bob"]
    server.users["bob"] = "another one"
    assert world.do(c.TryRegister).cause is Cause.AUTHENTICATION_ERROR


# -- calls of the client -----------------------------------------------------------------------------------------------


def call(world: ConnectorWorld, number: str) -> Any:
    return world.do(c.CallServer, call=world.new_call(), number=number)


def test_the_number_that_is_always_refused() -> None:
    world = ConnectorWorld.connected()
    outcome = call(world, FAILED_NUMBER)
    assert (outcome.cause, outcome.status) == (Cause.REJECTED, 603)
    ended = world.server.calls[-1].ended
    assert ended is not None and ended.status == 603
    assert isinstance(call(world, "1"), o.CommandSucceeded)


def test_calls_are_refused_as_the_test_says() -> None:
    world = ConnectorWorld.connected()
    world.server.answer_calls(486)
    world.server.answer_calls(404, to="800", times=1)
    assert [call(world, number).status for number in ("800", "800", "900")] == [404, 486, 486]
    world.server.answer_calls(lambda call: 480 if call.number == "800" else 200)
    assert call(world, "800").status == 480
    assert isinstance(call(world, "900"), o.CommandSucceeded)
    world.do(c.HangUpCall)
    world.server.heal()
    assert isinstance(call(world, "800"), o.CommandSucceeded)


def test_a_call_that_rings_until_the_test_says_more() -> None:
    world = ConnectorWorld.connected()
    server = world.server
    server.answer_calls(None)
    ringing = world.command(lambda n: c.CallServer(command=n, call="out-1", number="800"))
    world.wait(100)
    assert not world.outcomes(ringing) and server.call.is_ringing
    server.pick_up()
    assert isinstance(world.outcome(ringing), o.CommandSucceeded) and server.call.is_established
    assert world.call_status() is CallStatus.IN_ROOM
    world.do(c.HangUpCall)
    refused = world.command(lambda n: c.CallServer(command=n, call="out-2", number="800"))
    server.hang_up(status=480)
    assert world.outcome(refused).status == 480


def test_the_call_as_the_server_sees_it() -> None:
    world = ConnectorWorld.in_call(number="8 0", call={"headers": (("X-Vinteo-Mic-State", "1"),)})
    call = world.server.call
    assert (call.number, call.display_name, call.by_client) == ("8 0", "A guest", True)
    assert ("X-Vinteo-Mic-State", "1") in call.headers
    assert world.server.media.call(call.ident).state is MediaState.CONNECTED
    world.do(i.SendDtmf, call="out-1", digits="5", way=i.DigitWay.INFO)
    assert call.digits == "5"
    world.server.hang_up()
    assert world.one(o.CallEnded).originator is o.Originator.REMOTE
    with pytest.raises(LookupError, match="no call"):
        _ = world.server.call
    assert call.ended is not None and world.server.calls[0] is call


# -- rooms and messages ------------------------------------------------------------------------------------------------


def test_the_room_is_that_of_the_number() -> None:
    world = ConnectorWorld.in_call(number="800")
    room = world.connector.call.room
    assert room is not None and (room.name, room.participant_name) == ("800", "A guest")


@pytest.mark.parametrize(
    ("entrance", "status"),
    [
        (None, CallStatus.ACTIVE),
        (canned.ENTER_PURGATORY, CallStatus.PURGATORY),
        (canned.ENTER_PEER_TO_PEER, CallStatus.PEER_TO_PEER),
        (lambda call: EnterRoom(room=f"of {call.number}"), CallStatus.IN_ROOM),
    ],
)
def test_rooms_are_those_of_the_test(entrance: Any, status: CallStatus) -> None:
    assert ConnectorWorld.in_call(server=ScriptedServer(entrance=entrance)).call_status() is status


@pytest.mark.parametrize("name", sorted(canned.CANNED))
def test_every_canned_message_is_understood(name: str) -> None:
    world = ConnectorWorld.in_call(server=ScriptedServer(entrance=None))
    message = canned.CANNED[name]
    assert world.server.say(message).status == 200
    assert world.one(MessageFromServer).message == message
    assert parse_info(write_info(message).content_type, write_info(message).headers) == (message,)


def test_there_is_a_canned_message_of_each_kind() -> None:
    from_client = {Channels, Devices, AskToEnableCam}  # and those below, which a server never says
    kinds = {type(message) for message in canned.CANNED.values()}
    missing = {kind for kind in get_args(ConferenceMessage) if kind not in kinds} - from_client
    assert {kind.__name__ for kind in missing} == {"RefusalToTurnOn", "AvailableIncomingBitrate"}
    assert set(get_args(Notification)) <= kinds


def test_what_no_client_understands() -> None:
    world = ConnectorWorld.in_call()
    world.server.say(Info(content_type="application/vinteo.webrtc.mic", headers=()))
    assert "mic" in world.one(MessageNotUnderstood).detail


def test_what_is_heard_and_how_it_is_answered() -> None:
    world = ConnectorWorld.in_call()
    server = world.server
    server.answer_infos(603, to=AskToEnableCam, times=2)
    asked = [world.do(c.SendToServer, message=AskToEnableCam()) for _ in range(3)]
    assert [getattr(outcome, "status", None) for outcome in asked] == [603, 603, None]
    assert world.do(c.SendToServer, message=CAM_AND_MIC).result == 200
    assert server.heard_of(Devices) == (CAM_AND_MIC,)
    assert list(server.heard) == [AskToEnableCam()] * 3 + [CAM_AND_MIC]
    assert len(server.asked("INFO")) == 4
    server.answer_infos(lambda message: 480 if message == CAM_AND_MIC else 200)
    assert world.do(c.SendToServer, message=CAM_AND_MIC).status == 480
    assert world.do(c.SendToServer, message=Devices(cam=False, mic=False)).result == 200
    assert world.connector.call.is_established
    server.forget()
    assert not server.heard and not server.requests


def test_what_is_met_with_silence_can_be_answered_later() -> None:
    world = ConnectorWorld.in_call()
    world.server.answer_infos(None, to=CAM_AND_MIC)
    command = world.command(lambda n: c.SendToServer(command=n, message=CAM_AND_MIC))
    assert not world.outcomes(command)
    assert world.server.answer_held(200) == CAM_AND_MIC
    assert world.outcome(command).result == 200
    command = world.command(lambda n: c.SendToServer(command=n, message=CAM_AND_MIC))
    world.wait(11)
    assert world.outcome(command).cause is Cause.REQUEST_TIMEOUT
    assert world.connector.call.is_established


def test_a_client_that_says_nothing_usable_is_told_so() -> None:
    world = ConnectorWorld.in_call()
    broken = {"content_type": "application/vinteo.webrtc.mediastate", "body": b""}
    assert world.do(i.SendInfo, call="out-1", **broken).status == 400
    assert isinstance(world.server.unusable[0], Unusable)


def test_a_presentation_is_refused_and_ended_by_the_server() -> None:
    world = ConnectorWorld.in_room()
    world.server.answer_infos(603, to=canned.PRESENTATION_WANTED, times=1)
    assert world.do(c.StartPresentation).status == 603
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)
    world.take()
    world.server.say(canned.MUST_STOP_PRESENTATION)
    assert [event.step for event in world.all(PresentationChanged)] == [PresentationStep.END, PresentationStep.ENDED]


# -- requests of any kind ----------------------------------------------------------------------------------------------


def is_reinvite(request: Request) -> bool:
    return request.method == "INVITE" and ";tag=" in (request.headers.first("To") or "")


def test_an_offer_in_a_call_is_refused() -> None:
    world = ConnectorWorld.in_room()
    world.server.answer_requests(488, to=is_reinvite, times=1)
    outcome = world.do(c.StartPresentation)
    assert (outcome.cause, outcome.status) == (Cause.INCOMPATIBLE_MEDIA, 488)
    assert list(world.server.heard) == [canned.PRESENTATION_WANTED, canned.PRESENTATION_STOPPED]
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)


def test_requests_that_are_never_answered() -> None:
    world = ConnectorWorld.connected()
    assert world.do(c.Ping).result in range(200, 700)
    world.server.answer_requests(None, to="OPTIONS")
    ping = world.command(lambda n: c.Ping(command=n))
    world.wait(10.1)
    assert world.outcome(ping).cause is Cause.REQUEST_TIMEOUT
    world.server.answer_requests(404)
    assert world.do(c.Ping).result == 404


# -- what the server does ----------------------------------------------------------------------------------------------


def test_the_server_calls_a_registered_client() -> None:
    world = ConnectorWorld.registered()
    call = world.server.call_client("1001", display_name="Bob", headers=(("X-Note", "hello"),))
    (caller,) = world.connector.call.ringing.values()
    assert caller.from_uri.startswith("sip:1001@") and caller.display_name == "Bob"
    assert ("X-Note", "hello") in caller.headers
    assert call.is_ringing and not call.by_client
    assert isinstance(world.do(c.AnswerCall), o.CommandSucceeded)
    assert call.is_established
    assert world.server.say(canned.ENTER_ROOM).status == 200
    assert world.call_status() is CallStatus.IN_ROOM
    world.do(c.HangUpCall)
    assert call.ended is not None and call.ended.originator is o.Originator.REMOTE
    world.wait(60)
    assert set(world.server.retained.values()) == {0}


def test_the_server_gives_up_its_call_and_hears_a_refusal() -> None:
    world = ConnectorWorld.registered()
    first = world.server.call_client()
    world.server.hang_up(first)
    gone = world.one(CallerGone)
    assert (gone.declined, gone.originator) == (False, o.Originator.REMOTE)
    second = world.server.call_client()
    world.do(c.DeclineCall, status=486)
    assert second.ended is not None and second.ended.cause is Cause.BUSY


def test_a_guest_can_be_called_where_the_test_knows_him() -> None:
    world = ConnectorWorld.connected()
    with pytest.raises(LookupError, match="has not said where it is"):
        world.server.call_client()
    with pytest.raises(LookupError, match="has not said where it is"):
        world.server.notify(canned.TOKEN_ISSUED)
    contact = f"sip:{world.connector.connection.configuration.authorization_user}@client.invalid"  # type: ignore[union-attr]
    world.server.call_client(to=contact)
    assert len(world.connector.call.ringing) == 1
    world = ConnectorWorld.in_call(ConnectorConfig(max_incoming=1))  # who has called has said it
    world.server.call_client()
    assert len(world.connector.call.ringing) == 1


@pytest.mark.parametrize("options", [{}, {"user": USER}])
def test_notify_outside_of_calls(options: dict[str, str]) -> None:
    world = ConnectorWorld.registered()
    assert world.server.notify(canned.TOKEN_ISSUED, **options).status == 200
    assert world.one(MessageFromServer) == MessageFromServer(call=None, message=canned.TOKEN_ISSUED)
    with pytest.raises(LookupError, match=r"'bob' is not registered, only \['alice'\]"):
        world.server.notify(canned.TOKEN_ISSUED, user="bob")


def test_any_command_of_an_agent() -> None:
    world = ConnectorWorld.in_room()
    held = world.server.do(i.Hold)
    assert isinstance(held.outcome, o.CommandSucceeded)
    assert world.one(o.CallHeld).originator is o.Originator.REMOTE
    world.server.do(i.SendDtmf, digits="7", way=i.DigitWay.INFO)
    assert world.one(DtmfReceived).digit == "7"
    lines = len(world.connector.call.lines)
    with pytest.raises(LocalProtocolError):
        world.server.do(i.ChangeMedia, add=(("smell", Direction.SENDRECV),))
    assert len(world.connector.call.lines) == lines


def test_the_media_of_the_server_fail() -> None:
    world = ConnectorWorld.in_room()
    world.server.media.change_state(world.server.call.ident, MediaState.FAILED)
    assert any(operation.restart for operation in world.all(OpenMedia))  # the server has had ICE restarted
    assert world.server.media.call("in-1").state is MediaState.CONNECTED


# -- connections -------------------------------------------------------------------------------------------------------


def test_connections_are_refused_as_the_test_says() -> None:
    world = ConnectorWorld(ConnectorConfig(attempts=3, attempt_pause=1.0))
    world.server.answer_connections(503, times=2)
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=world.parameters()))
    world.wait(2.1)
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    assert len(world.opened) == 3
    world.server.answer_connections(503)
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=world.parameters()))
    world.wait(5)
    outcome = world.outcome(command)
    assert outcome.cause is Cause.CONNECTION_ERROR and "503" in outcome.detail


def test_a_connection_that_never_opens() -> None:
    world = ConnectorWorld(ConnectorConfig(attempts=1))
    world.server.answer_connections(None)
    command = world.command(lambda n: c.ConnectToServer(command=n, parameters=world.parameters()))
    world.wait(11)
    assert not world.outcomes(command)
    world.wait(2)
    assert isinstance(world.outcome(command), o.CommandFailed)


@pytest.mark.parametrize(
    ("how", "error"),
    [(ScriptedServer.drop_connections, "1006"), (ScriptedServer.close_connections, "closed")],
)
def test_a_connection_is_lost_and_comes_back(how: Callable[[ScriptedServer], None], error: str) -> None:
    world = ConnectorWorld.registered()
    how(world.server)
    assert world.connection_status() is ConnectionStatus.RECONNECTING
    assert world.server.connections == 0 and world.server.registered == []
    assert error in (world.all(o.ConnectionChanged)[-1].error or "")
    world.wait(5)
    assert world.connection_status() is ConnectionStatus.ESTABLISHED
    assert world.server.registered == [USER]


def test_a_call_goes_on_after_the_connection_was_lost() -> None:
    world = ConnectorWorld.in_room(user=USER)
    call = world.server.call
    world.server.drop_connections()
    world.wait(5)
    assert world.one(o.CallRecovered).call == "out-1"
    assert call.ended is None and world.server.say(canned.LICENSE_VIDEO).status == 200


def test_a_connection_that_is_half_open() -> None:
    world = ConnectorWorld.in_room(user=USER)
    world.server.freeze_connections()
    said = world.server.say(canned.LICENSE_VIDEO)
    command = world.command(lambda n: c.SendToServer(command=n, message=CAM_AND_MIC))
    world.wait(11)
    assert said.status is None and not world.all(MessageFromServer)
    assert world.outcome(command).cause is Cause.REQUEST_TIMEOUT
    assert world.server.connections == 1 and not world.server.heard


# -- wrong uses --------------------------------------------------------------------------------------------------------


def test_wrong_uses_are_told_as_such() -> None:
    server = ScriptedServer()
    with pytest.raises(LookupError, match="no call"):
        server.say(canned.ENTER_ROOM)
    with pytest.raises(LookupError, match="no client is connected"):
        server.call_client()
    with pytest.raises(LocalProtocolError, match="not running: give it to ConnectorWorld or run_scripted"):
        server.drop_connections()
    for answer in (0, 100, 201, 700, "200"):
        with pytest.raises(ValueError, match="is no answer: give 200, a refusal of 300 to 699, or None"):
            server.answer_calls(answer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counts once or more"):
        server.answer_infos(603, times=0)
    with pytest.raises(LookupError, match="waits for an answer"):
        server.answer_held()
    ConnectorWorld(server=server)
    with pytest.raises(LocalProtocolError, match="in use already"):
        ConnectorWorld(server=server)
    world = ConnectorWorld.in_call()
    over = world.server.call
    world.do(c.HangUpCall)
    with pytest.raises(LocalProtocolError, match="is over"):
        world.server.say(canned.ENTER_ROOM, over)


def test_a_function_that_gives_no_answer_is_the_fault_of_the_test() -> None:
    world = ConnectorWorld.connected()
    world.server.answer_calls(lambda _: 99)
    with pytest.raises(ValueError, match="99 is no answer"):
        call(world, "800")
