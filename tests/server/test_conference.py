"""The conference focus without I/O: who gets into which room, what is told and asked, who sees what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sipproto.agent import Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.conference import (
    PURGATORY,
    AccountChanged,
    AccountDeleted,
    AddedToModerators,
    AskToEnableCam,
    AvailableIncomingBitrate,
    Channels,
    ChannelsNotified,
    ConferenceMessage,
    Device,
    EnterRoom,
    License,
    MainCam,
    MainCamControl,
    MediaState,
    Mic,
    MicControl,
    MovedToWebcast,
    ParticipantState,
    ParticipantTokenIssued,
    ParticipationAccepted,
    ParticipationRejected,
    RefusalToTurnOn,
    RemovedFromModerators,
    Restart,
    Role,
    Share,
    ShareState,
    SpectatorMode,
    TracksDirection,
    UseLicense,
    WebcastStarted,
    WebcastStopped,
)
from sipproto.message import Response, parse_message
from sipproto.sdp import Direction
from sipproto_server import (
    OPERATIONS,
    ConferencePolicy,
    OperatorError,
    ParticipantChanged,
    ParticipantLeft,
    PermissionDecided,
    PermissionWanted,
    PresentationEnded,
    PresentationStarted,
    Rival,
    Service,
    Undelivered,
    UnknownTarget,
    Verdict,
    VideoFrom,
    command_of,
    commands,
)
from tests.server.rig import REALM, request
from tests.server.stage import Stage

LET_ME_START = ShareState(state=Share.LET_ME_START)
STOPPED = ShareState(state=Share.STOPPED)
SERVICES = {
    "700": Service(kind="room", room="700"),
    "800": Service(kind="conference", room="800"),
    "801": Service(kind="conference", room="Open Room", lobby=False),
}


def info(stage: Stage, participant: str) -> Any:
    return next(one for one in stage.core.participants if one.participant == participant)


# -- coming in -------------------------------------------------------------------------------------------------------


def test_a_user_enters_the_room_that_is_called() -> None:
    stage = Stage()
    stage.join(1, "alice")
    entry, license_, issued = stage.heard(1)
    assert isinstance(entry, EnterRoom) and isinstance(issued, ParticipantTokenIssued)
    assert (entry.room, entry.participant_name, entry.channels) == ("800", "Alice", Channels(input="1", output="1"))
    assert license_ == UseLicense(license=License.VIDEO)
    assert (issued.conference, issued.participant) == ("800", "SIP/alice")
    assert entry.bearer_token == issued.jwt and len(issued.jwt) == 40
    told = [x for x in stage.told if not isinstance(x, o.SendData)]
    assert issued.jwt not in repr(told), "a token must not come into a log"
    assert stage.rooms == {PURGATORY: (), "800": ("p1",)}


def test_guests_wait_until_they_are_admitted() -> None:
    stage = Stage()
    stage.join(1, "alice")
    stage.join(2, "123456")
    assert [type(x).__name__ for x in stage.heard(2)] == ["EnterRoom"]
    assert stage.rooms == {PURGATORY: ("p2",), "800": ("p1",)}
    assert info(stage, "p2").wanted_room == "800" and info(stage, "p2").user is None
    arrangement = stage.arranged("p2")
    assert arrangement.room is None and arrangement.video == (), "who waits hears and sees nobody"
    stage.operate("admit", "p2")
    entry = stage.heard(2)[0]
    assert isinstance(entry, EnterRoom) and entry.room == "800" and entry.bearer_token
    assert stage.rooms == {PURGATORY: (), "800": ("p1", "p2")}
    assert stage.arranged("p2").room == "800"


def test_a_guest_who_is_refused_is_gone() -> None:
    stage = Stage()
    stage.join(1, "123456")
    stage.operate("refuse", "p1")
    assert isinstance(stage.last(1, o.CallEnded), o.CallEnded)
    assert stage.core.participants == () and len(stage.events(ParticipantLeft)) == 1


def test_a_user_may_call_as_a_guest_and_an_open_room_has_no_lobby() -> None:
    stage = Stage(services=SERVICES)
    stage.join(1, "alice", headers=(("X-Vinteo-Purgatory-Call", "yes"),))
    stage.join(2, "55", "801")
    assert stage.rooms == {PURGATORY: ("p1",), "800": (), "Open Room": ("p2",)}
    (entry, *_) = stage.heard(2)
    assert isinstance(entry, EnterRoom) and entry.room == "Open Room", "the letter case of a room is kept"


def test_guests_reach_conferences_only() -> None:
    stage = Stage(services=SERVICES)
    stage.join(1, "55", "700")
    assert stage.status(1) == 407
    stage = Stage(services=SERVICES, guests=False)
    stage.join(1, "55")
    assert stage.status(1) == 407


def test_nobody_is_a_guest_under_the_name_of_a_user() -> None:
    stage = Stage()
    stage.raw[1] = []
    stage.server(i.FlowOpened(flow=1, transport="WS"))
    data = request("INVITE", f"sip:800@{REALM}", extra="Contact: <sip:a@x.invalid>\r\n")
    stage.told.clear()
    stage.server(i.DataReceived(flow=1, data=data))
    (answer,) = [parse_message(x.data) for x in stage.told if isinstance(x, o.SendData)]
    assert isinstance(answer, Response) and answer.status == 407


def test_a_guest_may_ask_whether_the_server_is_alive() -> None:
    stage = Stage()
    stage.join(1, "55")
    stage.command(1, i.SendOptions, target=f"sip:55@{REALM}")
    assert stage.status(1) == 200
    stage.command(1, i.SendOptions, target=f"sip:alice@{REALM}")
    assert stage.status(1) == 407


def test_a_conference_that_is_full() -> None:
    stage = Stage(max_participants=1)
    stage.join(1, "55")
    stage.join(2, "56")
    assert stage.status(2) == 486
    stage.command(1, i.HangUp, call="c")
    stage.join(3, "57")
    assert len(stage.core.participants) == 1


def test_a_room_without_the_protocol_gets_no_infos_and_takes_any() -> None:
    """Also what the original SDK tells every peer it calls, and ends the call about when it is refused."""
    stage = Stage()
    stage.join(1, "alice", "700")
    assert stage.heard(1) == [] and stage.core.participants == ()
    assert stage.say(1, EnterRoom(room="p2pAtoB", participant_name="700", direct_peer_to_peer=True)) == 200
    assert stage.send_info(1, "application/whatever") == 200


def test_plain_clients_that_refuse_every_info_or_never_answer_one() -> None:
    stage = Stage()
    stage.join(1, "alice", answer_infos=True)  # whose application answers nothing: 480 after a while
    stage.join(2, "bob")
    stage.pass_time(6.0)
    assert {x.participant for x in stage.events(Undelivered)} == {"p1"}
    stage.server(i.FlowClosed(flow=2))  # silent from now on
    stage.operate("stop-mic", "p2")
    for _ in range(4):
        stage.pass_time(5.0)
    assert {x.participant for x in stage.events(Undelivered)} == {"p1", "p2"}
    assert len(stage.core.participants) == 2, "nobody loses a call for that"


def test_all_is_forgotten() -> None:
    stage = Stage(policy=ConferencePolicy(presentation=Verdict.ASK))
    for flow in (1, 2, 3):
        stage.join(flow, str(flow))
    stage.operate("admit", "@purgatory")
    stage.say(1, LET_ME_START)
    stage.say(2, LET_ME_START)
    stage.operate("allow", "p1")
    for flow in (1, 2, 3):
        stage.command(flow, i.HangUp, call="c")
    stage.pass_time(40.0)
    stage.pass_time(40.0)
    assert stage.core.participants == ()
    assert set(stage.core._focus.retained.values()) == {0}
    assert stage.core.next_timeout() is None


# -- what an operator can do -----------------------------------------------------------------------------------------


MESSAGES: dict[tuple[str, ...], ConferenceMessage] = {
    ("start-camera", "p1"): MainCamControl(command=MainCam.ADMIN_START, forced=False),
    ("start-camera", "p1", "forced"): MainCamControl(command=MainCam.ADMIN_START, forced=True),
    ("stop-camera", "p1", "yes"): MainCamControl(command=MainCam.ADMIN_STOP, forced=True),
    ("start-mic", "p1"): MicControl(command=Mic.ADMIN_START, forced=False),
    ("stop-mic", "p1", "forced"): MicControl(command=Mic.ADMIN_STOP, forced=True),
    ("pause-camera", "p1"): MainCamControl(command=MainCam.PAUSE),
    ("resume-camera", "p1"): MainCamControl(command=MainCam.RESUME),
    ("max-resolution", "p1", "640x360"): MainCamControl(command=MainCam.MAX_RESOLUTION, resolution="640x360"),
    ("spectator", "p1"): ParticipantState(role=Role.SPECTATOR),
    ("spectator", "p1", "4", "2"): ParticipantState(role=Role.SPECTATOR, audio_id="4", mode=SpectatorMode.FORCED),
    ("spectator", "p1", "Ab", "1", "yes"): ParticipantState(
        role=Role.SPECTATOR_OVER_SFU, audio_id="Ab", mode=SpectatorMode.BY_CAMERA
    ),
    ("participant", "p1"): ParticipantState(role=Role.PARTICIPANT),
    ("add-moderator", "p1"): AddedToModerators(conference="800"),
    ("remove-moderator", "p1"): RemovedFromModerators(conference="800"),
    ("license", "p1", "audioplusPRESENTATION"): UseLicense(license=License.AUDIO_PLUS_PRESENTATION),
    ("restart", "p1"): Restart(tracks_direction=TracksDirection.SENDRECV, audio_track_count=1, video_track_count=1),
    ("channels", "p1", "100,1", "2,3"): ChannelsNotified(input="100,1", output="2,3"),
    ("webcast-started", "p1"): WebcastStarted(conference="800", type="hls"),
    ("webcast-stopped", "p1", "dash"): WebcastStopped(conference="800", type="dash"),
    ("give-word", "p1"): ParticipationAccepted(conference="800"),
    ("refuse-word", "p1"): ParticipationRejected(conference="800"),
    ("move-to-webcast", "p1"): MovedToWebcast(conference="800"),
    ("account-changed", "p1"): AccountChanged(),
    ("account-deleted", "p1"): AccountDeleted(),
}


@pytest.mark.parametrize("words", MESSAGES, ids="-".join)
def test_commands_that_are_messages(words: tuple[str, ...]) -> None:
    stage = Stage()
    for flow, user in ((1, "alice"), (2, "bob")):
        stage.join(flow, user)
        stage.heard(flow)
    stage.operate(*words)
    assert stage.heard(1) == [MESSAGES[words]] and stage.heard(2) == []
    stage.operate(words[0], "@800", *words[2:])
    assert stage.heard(1) == stage.heard(2) == [MESSAGES[words]]


def test_every_command_is_covered_here_and_documented_in_a_line() -> None:
    others = {
        "admit", "refuse", "kick", "allow", "deny", "stop-presentation", "token",
        "presentation-policy", "camera-policy", "second-presenter",
    }  # fmt: skip
    assert set(OPERATIONS) == others | {words[0] for words in MESSAGES}
    for operation in OPERATIONS.values():
        assert re.fullmatch(r"[A-Z][^\n]+\.", operation.help), operation.command


def test_the_documentation_has_the_table_of_commands() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "server.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+) ([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    assert listed == [(name, operation.usage, operation.help) for name, operation in OPERATIONS.items()]


def test_what_is_known_of_a_participant() -> None:
    stage = Stage()
    stage.join(1, "alice", headers=(("X-Vinteo-Mic-State", "1"), ("X-Vinteo-MainCam-State", "0")))
    assert (info(stage, "p1").cam, info(stage, "p1").mic) == (False, True)
    stage.operate("spectator", "p1", "4", "2")
    stage.operate("add-moderator", "p1")
    stage.operate("license", "p1", "AUDIO")
    known = info(stage, "p1")
    assert (known.role, known.audio_id, known.spectator_mode) == (Role.SPECTATOR, "4", SpectatorMode.FORCED)
    assert known.moderator and known.license is License.AUDIO
    assert not stage.arranged("p1").speaks, "a spectator is not heard"
    stage.operate("participant", "p1")
    assert info(stage, "p1").role is Role.PARTICIPANT and info(stage, "p1").audio_id is None
    assert stage.arranged("p1").speaks
    assert stage.events(ParticipantChanged)[-1].participant == info(stage, "p1")


def test_another_token() -> None:
    stage = Stage()
    stage.join(1, "alice")
    (*_, first) = stage.heard(1)
    stage.operate("token", "p1")
    (second,) = stage.heard(1)
    assert isinstance(first, ParticipantTokenIssued) and isinstance(second, ParticipantTokenIssued)
    assert first.jwt != second.jwt


def test_kicking_moving_and_whole_rooms() -> None:
    stage = Stage(services=SERVICES)
    for flow, user in ((1, "alice"), (2, "bob"), (3, "55")):
        stage.join(flow, user)
    stage.operate("admit", "p1", "Open Room")
    stage.operate("admit", "p3", "Open Room")
    assert stage.rooms == {PURGATORY: (), "800": ("p2",), "Open Room": ("p1", "p3")}
    stage.operate("kick", "@Open Room")
    assert stage.rooms == {PURGATORY: (), "800": ("p2",), "Open Room": ()}
    assert isinstance(stage.last(1, o.CallEnded), o.CallEnded) and stage.last(2, o.CallEnded) is None


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (("kick", "p9"), UnknownTarget, "there is no participant 'p9'"),
        (("kick", "@900"), UnknownTarget, "there is no room '900'"),
        (("kick", "@801"), UnknownTarget, "there is no room '801'"),
        (("kick", "@purgatory"), OperatorError, "@purgatory is empty"),
        (("refuse", "p1"), OperatorError, "p1 does not wait in the lobby"),
        (("admit", "p1"), OperatorError, "p1 is there already"),
        (("admit", "p1", "900"), UnknownTarget, "there is no room '900'"),
        (("admit", "p1", "purgatory"), UnknownTarget, "there is no room 'purgatory'"),
        (("allow", "p1"), OperatorError, "p1 has asked for nothing of that kind"),
        (("stop-presentation", "p1"), OperatorError, "p1 does not present"),
        (("account-changed", "carol"), UnknownTarget, "there is no participant and no registered user 'carol'"),
        (("license", "p1", "GOLD"), OperatorError, "'GOLD' is none of AUDIO, VIDEO, AUDIOPLUSPRESENTATION"),
        (("stop-mic", "p1", "perhaps"), OperatorError, "'perhaps' is neither yes nor no"),
        (("max-resolution", "p1", "huge"), OperatorError, "a resolution is written as 1280x720"),
        (("channels", "p1", "1\n2", "3"), OperatorError, "a text of 1 to 200 characters in one line is wanted"),
        (("max-resolution", "p1"), OperatorError, "max-resolution takes target resolution"),
        (("kick", "p1", "p2"), OperatorError, "kick takes target"),
        (("explode", "p1"), OperatorError, "there is no command 'explode'"),
    ],
)
def test_commands_that_are_not_possible(words: tuple[str, ...], error: type[Exception], text: str) -> None:
    stage = Stage()
    stage.join(1, "alice")
    stage.heard(1)
    before = (stage.core.participants, len(stage.told))
    with pytest.raises(error, match=re.escape(text)) as raised:
        stage.operate(*words)
    assert type(raised.value) is error
    assert (stage.core.participants, len(stage.told)) == before and stage.heard(1) == []


def test_commands_by_name_as_json_has_them() -> None:
    assert command_of("stop-mic", {"target": "p1", "forced": True}) == commands.StopMic(target="p1", forced=True)
    for values in (
        {},
        {"target": "p1", "loud": "yes"},
        {"target": 1},
        {"target": "p1", "forced": None},
        {"target": ["p1"]},
    ):
        with pytest.raises(OperatorError):
            command_of("stop-mic", values)
    with pytest.raises(OperatorError, match="is no command"):
        Stage().do("kick p1")


def test_those_who_wait_are_told_nothing_else() -> None:
    stage = Stage()
    stage.join(1, "55")
    with pytest.raises(OperatorError, match="p1 waits in the lobby"):
        stage.operate("start-mic", "p1")


def test_accounts_are_told_outside_of_calls() -> None:
    stage = Stage()
    stage.connect(1, "alice")
    stage.join(2, "bob")
    stage.operate("account-changed", "alice")
    stage.operate("account-deleted", "alice")
    assert stage.notified(1) == [AccountChanged(), AccountDeleted()]
    assert stage.notified(2) == []


# -- what participants tell and ask ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "known"),
    [
        (Channels(input="100,1", output="2"), {"channels": Channels(input="100,1", output="2")}),
        (MediaState(cam=True, mic=False), {"cam": True, "mic": False}),
        (RefusalToTurnOn(device=Device.CAM), {"refused": (Device.CAM,)}),
        (AvailableIncomingBitrate(bitrate=1_000_000), {"bitrate": 1_000_000}),
        (EnterRoom(room="p2pAtoB", direct_peer_to_peer=True), {"room": "800"}),
        (STOPPED, {"presenting": False}),
        (ShareState(state=Share.MUST_STOP), {"presenting": False}),
        (AskToEnableCam(), {}),
    ],
)
def test_what_clients_tell_is_taken_note_of(message: ConferenceMessage, known: dict[str, object]) -> None:
    stage = Stage()
    stage.join(1, "alice")
    assert stage.say(1, message) == 200
    assert {name: getattr(info(stage, "p1"), name) for name in known} == known


def test_a_device_that_is_turned_on_is_not_refused_any_more() -> None:
    stage = Stage()
    stage.join(1, "alice")
    for device in (Device.CAM, Device.MIC, Device.CAM):
        stage.say(1, RefusalToTurnOn(device=device))
    assert info(stage, "p1").refused == (Device.CAM, Device.MIC)
    stage.say(1, MediaState(cam=True, mic=False))
    assert info(stage, "p1").refused == (Device.MIC,)


@pytest.mark.parametrize(
    ("content_type", "headers", "status"),
    [
        ("application/vinteo.webrtc.teleport", (), 415),
        ("application/vinteo.webrtc.sharedesktop", (), 400),
        ("application/vinteo.webrtc.sharedesktop", (("x-webrtc-share-state", "DANCE"),), 400),
        ("application/vinteo.webrtc.refusal", (("X-Vinteo-Media-Type", "7"),), 400),
        ("application/vinteo.webrtc.uselic", (("X-WEBRTC-USE-LICENSE", "AUDIO"),), 403),  # the server says that
        ("text/plain", (), 415),
    ],
)
def test_infos_that_are_refused(content_type: str, headers: tuple[tuple[str, str], ...], status: int) -> None:
    stage = Stage()
    stage.join(1, "alice")
    before = stage.core.participants
    assert stage.send_info(1, content_type, headers) == status
    assert stage.core.participants == before


@pytest.mark.parametrize("what", ["presentation", "camera"])
@pytest.mark.parametrize(("verdict", "status"), [(Verdict.ALLOW, 200), (Verdict.DENY, 603)])
def test_permissions_by_policy(what: str, verdict: Verdict, status: int) -> None:
    stage = Stage()
    stage.join(1, "alice")
    stage.operate(f"{what}-policy", verdict.value)
    assert stage.say(1, LET_ME_START if what == "presentation" else AskToEnableCam()) == status
    decided = PermissionDecided(participant="p1", what=what, granted=status == 200)
    assert stage.events(PermissionDecided) == [decided]


@pytest.mark.parametrize("what", ["presentation", "camera"])
@pytest.mark.parametrize(("word", "status"), [("allow", 200), ("deny", 603), (None, 603)])
def test_permissions_by_the_operator(what: str, word: str | None, status: int) -> None:
    stage = Stage(policy=ConferencePolicy(presentation=Verdict.ASK, camera=Verdict.ASK, ask_timeout=8.0))
    stage.join(1, "alice", waits=Waits(info=30.0))
    assert stage.say(1, LET_ME_START if what == "presentation" else AskToEnableCam()) is None
    assert stage.events(PermissionWanted) == [PermissionWanted(participant="p1", what=what, timeout=8.0)]
    if word is None:
        stage.pass_time(7.9)
        assert stage.status(1) is None
        stage.pass_time(0.1)
    else:
        stage.operate(word, "p1", what)
    assert stage.status(1) == status
    with pytest.raises(OperatorError):
        stage.operate("allow", "p1", what)


def test_who_may_not_present() -> None:
    stage = Stage()
    stage.join(1, "55")
    assert stage.say(1, LET_ME_START) == 603, "who waits in the lobby"
    stage.join(2, "bob")
    stage.operate("spectator", "p2")
    assert stage.say(2, LET_ME_START) == 603, "a spectator"


# -- the second stream -----------------------------------------------------------------------------------------------


def two(**more: Any) -> Stage:
    stage = Stage(**more)
    for flow, user in ((1, "alice"), (2, "bob")):
        stage.join(flow, user)
    for flow in (1, 2):
        stage.heard(flow)
    return stage


def begin(stage: Stage, flow: int) -> None:
    assert stage.say(flow, LET_ME_START) == 200
    add_line(stage, flow)


def add_line(stage: Stage, flow: int) -> None:
    stage.command(flow, i.ChangeMedia, call="c", add=(("video", Direction.SENDRECV),))
    assert isinstance(stage.outcome(flow), o.CommandSucceeded)


def test_a_presentation_reaches_the_others_and_ends() -> None:
    stage = two()
    begin(stage, 1)
    assert stage.lines(1)["2"] == ("video", "sendonly") and stage.lines(2)["2"] == ("video", "recvonly")
    assert stage.heard(2) == [ShareState(state=Share.AVAILABLE, codec="VP8")] and stage.heard(1) == []
    assert stage.arranged("p2").video == (VideoFrom(call="in-1", line=0), VideoFrom(call="in-1", line=1))
    assert stage.arranged("p1").video == (VideoFrom(call="in-2", line=0),)
    assert info(stage, "p1").presenting and stage.core.rooms[1].presenter == "p1"
    assert stage.events(PresentationStarted) == [PresentationStarted(room="800", participant="p1")]

    assert stage.say(1, STOPPED) == 200
    assert stage.heard(2) == [ShareState(state=Share.ENDED)]
    assert stage.lines(2)["2"] == ("video", "recvonly"), "a browser presents on this line only while it receives on it"
    assert stage.arranged("p2").video == (VideoFrom(call="in-1", line=0),)
    assert not info(stage, "p1").presenting and len(stage.events(PresentationEnded)) == 1


def test_lines_are_used_again() -> None:
    stage = two()
    begin(stage, 1)
    stage.say(1, STOPPED)
    assert stage.say(1, LET_ME_START) == 200  # the original SDK puts another track on the line that it has
    assert stage.heard(2)[-1] == ShareState(state=Share.AVAILABLE, codec="VP8")
    assert set(stage.lines(2)) == {"0", "1", "2"} and stage.lines(2)["2"] == ("video", "recvonly")
    stage.say(1, STOPPED)
    begin(stage, 2)  # a viewer with an idle line adds another
    assert stage.arranged("p1").video[1] == VideoFrom(call="in-2", line=2)
    assert stage.lines(1)["2"] == ("video", "sendrecv"), "the line that alice has presented on"


def test_a_viewer_who_presents_on_the_line_of_the_server() -> None:
    """As browsers do: a track is put on a line that only receives, and its direction changes."""
    stage = two(policy=ConferencePolicy(second_presenter=Rival.REPLACE))
    begin(stage, 1)
    assert stage.say(2, LET_ME_START) == 200
    assert stage.heard(1)[0] == ShareState(state=Share.MUST_STOP)
    stage.command(2, i.ChangeMedia, call="c", directions=(("2", Direction.SENDRECV),))
    assert stage.lines(2)["2"] == ("video", "sendrecv")
    assert stage.arranged("p1").video[1] == VideoFrom(call="in-2", line=1)
    assert stage.arranged("p2").video == (VideoFrom(call="in-1", line=0),), "who presents is shown no presentation"
    assert info(stage, "p2").presenting and not info(stage, "p1").presenting
    assert stage.say(1, STOPPED) == 200, "what the first one says of that changes nothing"
    assert info(stage, "p2").presenting


def test_lines_do_not_grow_however_often_they_present_in_turn() -> None:
    """As browsers do: the first presentation adds a line, or takes the one that it is seen by."""
    stage = two()
    begin(stage, 1)
    stage.say(1, STOPPED)
    for presenter, viewer in ((2, 1), (1, 2), (2, 1)):
        assert stage.say(presenter, LET_ME_START) == 200
        stage.command(presenter, i.ChangeMedia, call="c", directions=(("2", Direction.SENDRECV),))
        assert info(stage, f"p{presenter}").presenting
        assert stage.arranged(f"p{viewer}").video[1] == VideoFrom(call=f"in-{presenter}", line=1)
        assert len(stage.arranged(f"p{presenter}").video) == 1
        stage.say(presenter, STOPPED)
        assert len(stage.arranged(f"p{viewer}").video) == 1
    assert set(stage.lines(1)) == set(stage.lines(2)) == {"0", "1", "2"}


def test_one_presents_at_a_time() -> None:
    stage = two()
    begin(stage, 1)
    assert stage.say(2, LET_ME_START) == 603
    assert info(stage, "p1").presenting
    stage.operate("stop-presentation", "p1")
    assert stage.heard(1) == [ShareState(state=Share.MUST_STOP)]
    assert stage.say(2, LET_ME_START) == 200


def test_a_permission_that_is_not_made_use_of_lapses() -> None:
    stage = two()
    assert stage.say(1, LET_ME_START) == 200
    assert stage.say(2, LET_ME_START) == 603
    stage.pass_time(30.0)
    assert stage.say(2, LET_ME_START) == 200
    assert not stage.events(PresentationStarted) and not stage.events(PresentationEnded)


@pytest.mark.parametrize("how", ["hang-up", "kick", "spectator", "move"])
def test_a_presentation_ends_with_its_presenter(how: str) -> None:
    stage = two(services=SERVICES)
    begin(stage, 1)
    stage.heard(2)
    match how:
        case "hang-up":
            stage.command(1, i.HangUp, call="c")
        case "move":
            stage.operate("admit", "p1", "Open Room")
        case _:
            stage.operate(how, "p1")
    assert stage.heard(2) == [ShareState(state=Share.ENDED)]
    assert len(stage.arranged("p2").video) < 2, "nothing is sent on its line any more"
    assert stage.say(2, LET_ME_START) == 200


def test_a_viewer_who_is_moved_sees_it_no_more() -> None:
    stage = two(services=SERVICES)
    begin(stage, 1)
    stage.heard(2)
    stage.operate("admit", "p2", "Open Room")
    ended, entry, *_ = stage.heard(2)
    assert ended == ShareState(state=Share.ENDED)
    assert isinstance(entry, EnterRoom) and entry.room == "Open Room"
    assert stage.arranged("p2").video == (None,)


def test_a_viewer_who_was_away_is_given_what_there_is_now() -> None:
    stage = two()
    stage.lose(2)
    begin(stage, 1)
    assert set(stage.lines(2)) == {"0", "1"}
    stage.reconnect(2)
    assert isinstance(stage.last(2, o.CallRecovered), o.CallRecovered)
    stage.pass_time(4.0)  # both sides ask for something after a loss, one waits for the other
    assert stage.lines(2)["2"] == ("video", "recvonly")
    assert stage.arranged("p2").video[1] == VideoFrom(call="in-1", line=1)
    assert len(stage.core.participants) == 2


def test_a_viewer_who_is_away_at_the_end_is_sent_nothing_more() -> None:
    stage = two()
    begin(stage, 1)
    stage.lose(2)
    stage.say(1, STOPPED)
    stage.reconnect(2)
    stage.pass_time(4.0)
    assert stage.arranged("p2").video == (VideoFrom(call="in-1", line=0),)
    assert stage.say(2, LET_ME_START) == 200
    assert len(stage.core.participants) == 2


def test_who_comes_later_sees_it_too() -> None:
    stage = two()
    begin(stage, 1)
    stage.join(3, "55")
    stage.operate("admit", "p3")
    assert stage.heard(3)[-1] == ShareState(state=Share.AVAILABLE, codec="VP8")
    assert stage.lines(3)["2"] == ("video", "recvonly")
    assert stage.arranged("p3").video == (VideoFrom(call="in-2", line=0), VideoFrom(call="in-1", line=1))


def test_who_has_no_video_is_told_and_not_asked_for_a_line() -> None:
    stage = Stage()
    stage.join(1, "alice")
    stage.join(2, "bob", media=(("audio", Direction.SENDRECV),))
    stage.heard(2)
    begin(stage, 1)
    assert stage.heard(2) == [ShareState(state=Share.AVAILABLE, codec="VP8")]
    assert set(stage.lines(2)) == {"0"}


def no_third_line(sdp: bytes, /) -> bytes:
    if sdp.count(b"m=") > 2:
        raise ValueError("one line of video is all that this phone has")
    return sdp


def test_a_participant_who_refuses_the_second_line_keeps_the_call() -> None:
    stage = Stage()
    stage.join(1, "alice")
    stage.join(2, "bob", transform_remote_sdp=no_third_line)  # 488 to the re-INVITE
    stage.join(3, "mallory", new_lines=Direction.INACTIVE)  # 200, without the line
    begin(stage, 1)
    assert [(x.participant, x.what) for x in stage.events(Undelivered)] == [("p2", "media")]
    assert len(stage.core.participants) == 3 and info(stage, "p1").presenting
    offers = [x for x in stage.told if isinstance(x, o.SendData) and x.data.startswith(b"INVITE")]
    assert len(offers) == 2, "each is asked once for one presentation"
    stage.say(1, STOPPED)
    assert stage.say(1, LET_ME_START) == 200
    offers = [x for x in stage.told if isinstance(x, o.SendData) and x.data.startswith(b"INVITE")]
    assert len(offers) == 4 and len(stage.core.participants) == 3


# -- who sees whom ---------------------------------------------------------------------------------------------------


def test_everybody_sees_the_newest_of_the_others() -> None:
    stage = Stage()
    stage.join(1, "alice")
    assert stage.arranged("p1").video == (None,)
    stage.join(2, "bob")
    stage.join(3, "mallory")
    shown = {p: stage.arranged(p).video[0] for p in ("p1", "p2", "p3")}
    assert shown == {"p1": VideoFrom(call="in-3"), "p2": VideoFrom(call="in-3"), "p3": VideoFrom(call="in-2")}
    stage.say(3, MediaState(cam=False, mic=True))
    assert stage.arranged("p1").video[0] == VideoFrom(call="in-2"), "a camera that is off shows nothing"
    stage.operate("spectator", "p2")
    assert stage.arranged("p1").video[0] is None and stage.arranged("p3").video[0] == VideoFrom(call="in-1")
    stage.say(3, MediaState(cam=True, mic=True))
    stage.command(3, i.HangUp, call="c")
    assert stage.arranged("p1").video[0] is None
