"""The call of a connector, and what the conference server says and hears in it."""

from __future__ import annotations

import pytest

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import OpenMedia, SetSenderParameters
from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.conference import (
    Device,
    EnterRoom,
    License,
    ParticipantState,
    ParticipantTokenIssued,
    RefusalToTurnOn,
    Restart,
    Role,
    Share,
    ShareState,
    SpectatorMode,
    UseLicense,
    write_info,
    write_notify,
)
from sipproto.conference import (
    MediaState as Devices,
)
from sipproto.connector import BusyPolicy, ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.connector.events import (
    CallerGone,
    CallStatus,
    CallStatusChanged,
    ContentChanged,
    IceRestarted,
    LicenseChanged,
    MessageFromServer,
    MessageNotUnderstood,
    RoleChanged,
)
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from tests.connector.world import BOTH, World, conference, in_call

S = CallStatus
SENDRECV = Direction.SENDRECV


def test_calling() -> None:
    world = conference()
    outcome = world.do(c.CallServer, call="out-1", number="12345", headers=(("X-Vinteo-Mic-State", "1"),))
    assert isinstance(outcome, o.CommandSucceeded)
    (invite,) = world.requests("INVITE")
    text = invite.decode()
    assert text.startswith("INVITE sip:12345@example.com SIP/2.0")
    assert "X-Vinteo-Mic-State: 1" in text
    assert "X-Vinteo-Remote: 192.0.2.7" in text  # a guest has no REGISTER that could carry it
    assert [event.status for event in world.all(CallStatusChanged)] == [S.CONNECTING, S.ACTIVE]
    with pytest.raises(LocalProtocolError, match="a call already"):
        world.do(c.CallServer, call="out-2", number="12345")
    assert isinstance(world.do(c.HangUpCall), o.CommandSucceeded)
    assert world.one(o.CallEnded).call == "out-1"
    assert world.call_status() is S.IDLE
    assert isinstance(world.do(c.HangUpCall), o.CommandSucceeded)  # fine without a call
    assert isinstance(world.do(c.CallServer, call="out-3", number="12345"), o.CommandSucceeded)


@pytest.mark.parametrize(("number", "error"), [("", "required"), ("a b\r\n", "")])
def test_numbers_that_cannot_be_called(number: str, error: str) -> None:
    world = conference()
    if error:
        with pytest.raises(LocalProtocolError, match=error):
            world.do(c.CallServer, call="out-1", number=number)
    else:
        assert isinstance(world.do(c.CallServer, call="out-1", number=number), o.CommandSucceeded)
        assert world.requests("INVITE")[0].startswith(b"INVITE sip:a%20b@example.com")
    with pytest.raises(LocalProtocolError, match="not connected"):
        World().do(c.CallServer, call="out-1", number="1")


def test_what_the_agent_takes_for_impossible_ends_the_call() -> None:
    world = conference()
    outcome = world.do(c.CallServer, call="out-1", number="1", headers=(("a b", "c"),))
    assert outcome.cause is Cause.NOT_POSSIBLE
    assert world.call_status() is S.IDLE
    assert isinstance(world.do(c.CallServer, call="out-1", number="1"), o.CommandSucceeded)


def test_refused_and_given_up() -> None:
    world = conference()
    world.focus.answers = False
    command = world.command(lambda n: c.CallServer(command=n, call="out-1", number="1"))
    world.tell_focus(i.HangUp(command=0, call=world.focus.call or "", status=486))
    assert world.outcome(command).cause is Cause.BUSY
    assert world.call_status() is S.IDLE
    command = world.command(lambda n: c.CallServer(command=n, call="out-2", number="1"))
    world.do(c.HangUpCall)
    assert world.outcome(command).cause is Cause.CANCELED
    assert world.call_status() is S.IDLE


def test_parameters_of_the_main_video() -> None:
    parameters = SenderParameters(encodings=(Encoding(max_bitrate=300_000),))
    world = conference()
    world.do(c.CallServer, call="out-1", number="1", parameters=parameters)
    assert world.one(SetSenderParameters).parameters == parameters


# -- callers -----------------------------------------------------------------------------------------------------------


def rings(world: World) -> str:
    """The focus calls over the connection that the client has made. Returns the name of the call; "" when it is refused."""
    before = set(world.connector.call.ringing)
    world.focus_calls()
    (call,) = set(world.connector.call.ringing) - before or {""}
    return call


def test_callers() -> None:
    world = conference()
    with pytest.raises(LocalProtocolError, match="nobody"):
        world.do(c.AnswerCall)
    first, second = rings(world), rings(world)
    assert list(world.connector.call.ringing) == [first, second]
    with pytest.raises(LocalProtocolError):
        world.do(c.DeclineCall, call=second, status=200)
    world.do(c.DeclineCall, call=second)
    gone = world.one(CallerGone)
    assert (gone.call, gone.declined, gone.originator) == (second, True, o.Originator.LOCAL)
    assert isinstance(world.do(c.AnswerCall), o.CommandSucceeded)
    assert world.connector.call.ident == first
    assert world.call_status() is S.ACTIVE
    third = rings(world)  # tells the application as ever
    with pytest.raises(LocalProtocolError, match="a call already"):
        world.do(c.AnswerCall)
    world.focus_gives_up()
    gone = world.all(CallerGone)[-1]
    assert (gone.call, gone.declined, gone.originator) == (third, False, o.Originator.REMOTE)
    assert world.call_status() is S.ACTIVE


def test_callers_while_we_talk_may_be_refused() -> None:
    world = in_call(ConnectorConfig(busy=BusyPolicy.REFUSE))
    assert rings(world) == ""
    assert world.focus.refused() == [486]
    world = conference(ConnectorConfig(max_incoming=2))
    assert [bool(rings(world)) for _ in range(4)] == [True, True, False, False]
    assert world.focus.refused() == [486, 486]
    world.do(c.DisconnectFromServer)
    assert world.connector.call.ringing == {}


def test_messages_of_the_server() -> None:
    world = in_call()
    world.say(UseLicense(license=License.VIDEO))
    world.say(UseLicense(license=License.VIDEO))
    assert len(world.all(MessageFromServer)) == 2
    assert world.one(LicenseChanged).license is License.VIDEO
    world.say(ParticipantState(role=Role.SPECTATOR, audio_id="AbC", mode=SpectatorMode.FORCED))
    world.say(ParticipantState(role=Role.SPECTATOR, audio_id="AbC", mode=SpectatorMode.FORCED))
    assert world.one(RoleChanged) == RoleChanged(call="out-1", role=Role.SPECTATOR, audio_id="AbC", may_send=False)
    world.take()
    world.say(ParticipantState(role=Role.PARTICIPANT))
    assert world.one(RoleChanged).may_send
    world.say(ShareState(state=Share.AVAILABLE, codec="H264"))
    world.say(ShareState(state=Share.ENDED))
    assert [(event.available, event.codec) for event in world.all(ContentChanged)] == [(True, "H264"), (False, None)]
    world.do(c.HangUpCall)
    assert world.connector.conference.role.role is Role.PARTICIPANT
    assert world.connector.conference.license is None


def test_what_cannot_be_understood_is_told_and_answered() -> None:
    world = in_call()
    for content_type in ("application/vinteo.webrtc.mic", "application/vinteo.webrtc.unknown"):
        world.tell_focus(i.SendInfo(command=0, call=world.focus.call or "", content_type=content_type, body=b""))
    assert "mic" in world.one(MessageNotUnderstood).detail
    assert [event.result for event in world.focus.events if isinstance(event, o.CommandSucceeded)][-2:] == [200, 200]


def test_rooms_and_tokens() -> None:
    world = in_call()
    world.say(EnterRoom(room="purgatory", participant_name="A guest"))
    world.say(EnterRoom(room="Room-A", participant_name="Ivan Petrov", bearer_token="token-1"))
    assert [event.status for event in world.all(CallStatusChanged)] == [S.PURGATORY, S.IN_ROOM]
    room = world.connector.call.room
    assert room is not None
    assert (room.name, room.participant_name, room.token) == ("Room-A", "Ivan Petrov", "token-1")
    assert "token-1" not in repr(world.out)
    world.say(EnterRoom(room="Room-A"))  # without a token: the one of before holds
    assert world.connector.call.room is not None and world.connector.call.room.token == "token-1"
    world.say(EnterRoom(room="Room-B"))
    assert world.connector.call.room.token is None
    world.say(ParticipantTokenIssued(conference="room-b", participant="SIP/1001", jwt="token-2"))
    assert world.connector.call.room.token == "token-2"
    world.say(ParticipantTokenIssued(conference="Room-C", participant="SIP/1001", jwt="token-3"))
    assert world.connector.call.room.token == "token-2"
    world.say(EnterRoom(room="Room-C"))  # the token was there before the room
    assert world.connector.call.room.token == "token-3"
    world.say(EnterRoom(room="p2p1To2"))
    assert world.call_status() is S.PEER_TO_PEER


def test_a_room_that_is_named_before_the_ack_is_here() -> None:
    world = conference()
    rings(world)
    world.to_client = lambda data: not data.startswith(b"ACK")
    command = world.command(lambda n: c.AnswerCall(command=n))
    info = write_info(EnterRoom(room="purgatory"))
    made = world.focus.made[-1]
    world.tell_focus(i.SendInfo(command=0, call=made, content_type=info.content_type, body=b"", headers=info.headers))
    assert world.call_status() is S.CONNECTING and world.one(MessageFromServer)
    world.to_client = lambda _: True
    world.wait(1)
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    assert world.call_status() is S.PURGATORY
    assert world.connector.call.room is not None and world.connector.call.room.name == "purgatory"


def test_notify_outside_of_calls() -> None:
    world = conference()
    notification = ParticipantTokenIssued(conference="1", participant="SIP/1", jwt="secret token")
    lines = "".join(f"{name}: {value}\r\n" for name, value in write_notify(notification).headers)
    flow = next(iter(world.flows))
    request = (
        "NOTIFY sip:x@example.com SIP/2.0\r\nVia: SIP/2.0/WSS server.invalid;branch=z9hG4bKn1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:server@example.com>;tag=1\r\nTo: <sip:x@example.com>\r\nCall-ID: n1\r\nCSeq: 1 NOTIFY\r\n{lines}"
        "Content-Length: 0\r\n\r\n"
    )
    contact = world.agent._hub.contact_user
    world.take()
    world.give(i.DataReceived(flow=flow, data=request.replace("sip:x@", f"sip:{contact}@").encode()))
    told = world.one(MessageFromServer)
    assert told == MessageFromServer(call=None, message=notification)
    assert "secret token" not in repr(told)


def test_what_we_say() -> None:
    world = in_call()
    assert world.do(c.SendToServer, message=Devices(cam=True, mic=False)).result == 200
    assert world.focus.heard == [Devices(cam=True, mic=False)]
    world.focus.verdict = lambda _: 603
    refused = world.do(c.SendToServer, message=RefusalToTurnOn(device=Device.CAM))
    assert (refused.cause, refused.status) == (Cause.REJECTED, 603)
    world.focus.verdict = lambda _: None
    world.to_client = lambda data: b"INFO" not in data
    silent = world.command(lambda n: c.SendToServer(command=n, message=Devices(cam=True, mic=True)))
    world.wait(11)
    assert world.outcome(silent).cause is Cause.REQUEST_TIMEOUT
    assert world.connector.call.is_established  # no silence or refusal ends a call
    with pytest.raises(LocalProtocolError):
        conference().do(c.SendToServer, message=Devices(cam=True, mic=True))


# -- ICE ---------------------------------------------------------------------------------------------------------------


def test_ice_is_restarted_when_the_server_says_so() -> None:
    world = in_call()
    for _ in range(3):  # three at once are one
        world.say(Restart(audio_track_count=1, video_track_count=2))
    assert all(event.done and event.automatic for event in world.all(IceRestarted))
    assert any(operation.restart for operation in world.all(OpenMedia))
    world = in_call(ConnectorConfig(restart_ice=False))
    world.say(Restart())
    assert not world.all(IceRestarted)


def test_ice_restarts_by_hand() -> None:
    world = in_call()
    assert world.do(c.RestartCallIce, use_update=True, headers=(("X-Restart-Reason", "test"),)).result is True
    (update,) = world.requests("UPDATE")
    assert b"X-Restart-Reason: test" in update
    for number in (101, 102):
        world.give_at_once(c.RestartCallIce(command=number))
    world.settle()
    assert world.outcome(101).result is True and world.outcome(102).result is True
    assert len(world.all(IceRestarted)) == 2
    with pytest.raises(LocalProtocolError):
        conference().do(c.RestartCallIce)


# -- other media -------------------------------------------------------------------------------------------------------


def test_the_same_kinds_need_no_offer() -> None:
    world = in_call()
    assert isinstance(world.do(c.ChangeCallMedia, media=BOTH), o.CommandSucceeded)
    assert not world.requests("INVITE")
    assert isinstance(world.do(c.ChangeCallMedia, media=BOTH, renegotiate=True), o.CommandSucceeded)
    assert len(world.requests("INVITE")) == 1
    parameters = SenderParameters(encodings=(Encoding(max_bitrate=200_000),))
    world.do(c.ChangeCallMedia, media=BOTH, parameters=parameters)
    assert world.one(SetSenderParameters).parameters == parameters


def test_kinds_that_come_and_go() -> None:
    world = in_call(media=(("audio", SENDRECV),))
    assert world.connector.call.main_line("video") is None
    world.do(c.ChangeCallMedia, media=BOTH, add=False)
    assert not world.requests("INVITE")
    world.do(c.ChangeCallMedia, media=BOTH)
    assert b"m=video" in world.requests("INVITE")[0]
    assert world.connector.call.main_line("video") is not None
    world.do(c.ChangeCallMedia, media=(("audio", SENDRECV),), remove=False)
    assert not world.requests("INVITE")
    world.do(c.ChangeCallMedia, media=(("audio", SENDRECV),))
    assert b"a=inactive" in world.requests("INVITE")[0]
    world.do(c.ChangeCallMedia, media=BOTH)
    (line,) = [line for line in world.connector.call.lines if line.kind == "video"]
    assert line.direction.sends


def test_changes_follow_each_other() -> None:
    """The second one finds the line that the first one has added."""
    world = in_call(media=(("audio", SENDRECV),))
    world.give_at_once(c.ChangeCallMedia(command=101))
    world.give_at_once(c.ChangeCallMedia(command=102))
    world.settle()
    assert all(isinstance(world.outcome(command), o.CommandSucceeded) for command in (101, 102))
    assert [line.kind for line in world.connector.call.lines] == ["audio", "video"]
    world.give_at_once(c.ChangeCallMedia(command=103, media=(("audio", SENDRECV),)))
    world.give_at_once(c.ChangeCallMedia(command=104))
    world.do(c.HangUpCall)
    assert all(isinstance(world.outcome(command), o.CommandFailed) for command in (103, 104))
