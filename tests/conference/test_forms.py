"""Each row of the protocol, both ways, and what becomes of rows that are spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from sipproto.conference import (
    AskToEnableCam,
    AvailableIncomingBitrate,
    Channels,
    ConferenceMessage,
    EnterRoom,
    MainCam,
    MainCamControl,
    MediaState,
    Mic,
    MicControl,
    MovedToWebcast,
    Notification,
    ParticipantState,
    Restart,
    Role,
    Share,
    ShareState,
    Unusable,
    WebcastStarted,
    parse_info,
    parse_notify,
    write_info,
    write_notify,
)
from sipproto.errors import LocalProtocolError

from .frames import Frame, frames
from .golden import HEADERS, NOTIFICATIONS, content_type, headers

ROWS = [*HEADERS, *NOTIFICATIONS]
NOTIFY = "application/vinteo.webrtc.notify"
# Without one of these a message says nothing; all other headers may be missing.
REQUIRED = {
    *("x-webrtc-enter-room", "x-webrtc-use-license", "x-webrtc-mic", "x-webrtc-partstate", "x-webrtc-share-state"),
    *("x-webrtc-media-state", "x-vinteo-maincam-state", "x-vinteo-mic-state", "x-vinteo-media-type"),
    *("x-webrtc-available-incoming-bitrate", "x-webrtc-request-enable-media-device", "x-vinteo-notify"),
}
FREE_TEXT = {
    *("x-webrtc-enter-room", "x-webrtc-participant-name", "x-webrtc-input-channels", "x-webrtc-output-channels"),
    *("x-bearer-token", "x-webrtc-maincam-resolution", "x-webrtc-audioid", "x-webrtc-share-codec", "x-vinteo-notify"),
}

BOOLEAN = {"x-webrtc-is-direct-p2p"}


def read(kind: str, *pairs: tuple[str, str]) -> ConferenceMessage | Unusable:
    (message,) = parse_info(f"application/vinteo.webrtc.{kind}", pairs)
    return message


def notified(text: str) -> Notification | Unusable | None:
    return parse_notify([("X-VINTEO-NOTIFY", text)])


@pytest.mark.parametrize(("message", "text"), ROWS)
def test_both_ways(message: ConferenceMessage, text: str) -> None:
    info = write_info(message)
    assert (info.content_type, info.headers) == (content_type(text), headers(text))
    assert parse_info(info.content_type, info.headers) == (message,)


def test_no_message_is_left_out() -> None:
    assert {type(message) for message, _ in ROWS} == set(get_args(ConferenceMessage))
    assert {type(message) for message, _ in NOTIFICATIONS} == set(get_args(Notification))


@pytest.mark.parametrize(("message", "text"), ROWS)
def test_any_letter_case_and_blanks(message: ConferenceMessage, text: str) -> None:
    for case in (str.upper, str.lower, str.title):
        changed = [
            (case(name), f" \t{value if name.lower() in FREE_TEXT else case(value)}  ") for name, value in headers(text)
        ]
        kind = f" {case(content_type(text))} ; charset=UTF-8"
        assert parse_info(kind, [("Via", "x"), *changed, ("X-Else", "y")], b"a body") == (message,)


@pytest.mark.parametrize(("message", "text"), ROWS)
def test_a_header_is_missing_or_blank(message: ConferenceMessage, text: str) -> None:
    pairs = headers(text)
    for index, (name, _) in enumerate(pairs):
        rest = [*pairs[:index], *pairs[index + 1 :]]
        (without,) = parse_info(content_type(text), rest)
        blank = [*pairs[:index], (name, " \t "), *pairs[index + 1 :]]
        assert parse_info(content_type(text), blank) == (without,)
        if name.lower() in REQUIRED or isinstance(message, Channels):
            assert isinstance(without, Unusable) and f"{name} is missing" in without.detail
        elif not isinstance(message, MainCamControl):
            assert type(without) is type(message)


@pytest.mark.parametrize(("message", "text"), [row for row in HEADERS if row[1].count("\n") > 0])
def test_values_that_nobody_knows(message: ConferenceMessage, text: str) -> None:
    pairs = headers(text)
    for index, (name, _) in enumerate(pairs):
        if name.lower() in FREE_TEXT:
            continue
        for nonsense in ("NONSENSE", "-1", "1e3", "0x1", "9" * 16, "true false"):
            spoilt = [*pairs[:index], (name, nonsense), *pairs[index + 1 :]]
            (found,) = parse_info(content_type(text), spoilt)
            if name.lower() in REQUIRED:
                assert isinstance(found, Unusable) and found.detail.count(f"{name} has the unknown value") == 1
            elif name == "X-WEBRTC-SYNC":  # forced is 1 and nothing else
                assert isinstance(found, MainCamControl | MicControl) and found.forced is False
            elif parse_info(content_type(text), [*pairs[:index], *pairs[index + 1 :]]) != (found,):  # as if not there
                assert isinstance(message, MainCamControl) and isinstance(found, Unusable)


@pytest.mark.parametrize(("message", "text"), ROWS)
def test_of_several_headers_the_first_counts(message: ConferenceMessage, text: str) -> None:
    others = [(name.title(), "other") for name, _ in headers(text)]
    assert parse_info(content_type(text), [*headers(text), *others]) == (message,)


@pytest.mark.parametrize("kind", ["", "application/dtmf-relay", "application/sdp", "text/plain", "vinteo.webrtc.mic"])
def test_other_content_types_are_not_of_this_protocol(kind: str) -> None:
    assert parse_info(kind, [("X-WEBRTC-MIC", "ADMINSTOPMIC"), ("X-VINTEO-NOTIFY", "{}")]) == ()
    assert parse_info("application/vinteo.webrtc.unknown", [("X-WEBRTC-MIC", "ADMINSTOPMIC")]) == ()


@pytest.mark.parametrize("frame", frames(), ids=lambda frame: f"v{frame.version} {frame.own}")
def test_frames_of_the_original(frame: Frame) -> None:
    (message,) = parse_info(frame.content_type, frame.request.headers, frame.request.body)
    if frame.own[0] == ("X-VINTEO-NOTIFY", '{"cmd":"webcast","body":{"conference":"100","type":"HLS"}}'):
        assert message == Unusable(content_type=NOTIFY, detail="X-VINTEO-NOTIFY has the unknown cmd 'webcast'")
        return
    assert not isinstance(message, Unusable)
    own = frame.own
    if isinstance(message, Restart):  # "incoming" is in its documentation, but no direction
        assert message == Restart(audio_track_count=1, video_track_count=1)
        own = own[1:]
    written = write_info(message).headers
    if frame.version == "16":
        assert written == own
    else:  # the same in lower case
        assert [(name.lower(), value) for name, value in written] == [(name.lower(), value) for name, value in own]


def test_the_frames_hold_what_a_client_sends() -> None:
    sent = {
        type(parse_info(frame.content_type, frame.own)[0]).__name__ for frame in frames() if frame.sender == "client"
    }
    assert sent == {
        *("MediaState", "Channels", "RefusalToTurnOn", "AskToEnableCam", "AvailableIncomingBitrate", "ShareState"),
        "EnterRoom",  # to a peer
    }


def test_the_page_of_the_documentation_has_each_header_and_command() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "conference-protocol.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    notified_of = {
        value.strip("`"): json_text.strip("`") for value, json_text in (row for row in rows if len(row) == 2)
    }
    for message, _ in NOTIFICATIONS:
        assert type(notified(notified_of[type(message).__name__])) is type(message)
    forms = [row for row in rows if len(row) == 5]
    for message, golden in HEADERS:
        start = next(index for index, row in enumerate(forms) if row[0] == f"`{type(message).__name__}`")
        assert forms[start][1] == f"`{golden.splitlines()[0]}`"
        end = next((index for index, row in enumerate(forms) if index > start and row[0]), len(forms))
        shown = "".join(row[3] + row[4] for row in forms[start:end])
        for name, value in headers(golden):
            assert f"`{name}`" in shown
            assert (f"**`{name}`**" in shown) == (name.lower() in REQUIRED or isinstance(message, Channels))
            assert f"`{value}`" in shown or name.lower() in FREE_TEXT | BOOLEAN or value.isdecimal()


# -- what is special -------------------------------------------------------------------------------------------------


def test_texts_keep_their_letters() -> None:
    entered = read(
        "roomname",
        ("X-WEBRTC-ENTER-ROOM", "  Room-A "),
        ("x-webrtc-participant-name", "Ivan  PETROV"),
        ("x-webrtc-input-channels", "A,b"),
        ("x-webrtc-output-channels", "C"),
        ("X-Bearer-Token", "AbC.dEf"),
    )
    assert entered == EnterRoom(
        room="Room-A",
        participant_name="Ivan  PETROV",
        channels=Channels(input="A,b", output="C"),
        bearer_token="AbC.dEf",
    )


def test_channels_need_each_other() -> None:
    room = ("x-webrtc-enter-room", "1")
    assert read("roomname", room, ("X-WEBRTC-INPUT-CHANNELS", "1")) == EnterRoom(room="1")
    assert read("roomname", room, ("X-WEBRTC-OUTPUT-CHANNELS", "1")) == EnterRoom(room="1")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("FALSE", False), ("0", False), ("yes", None)]
)
def test_booleans(text: str, value: bool | None) -> None:
    assert read("roomname", ("x-webrtc-enter-room", "1"), ("x-webrtc-is-direct-p2p", text)) == EnterRoom(
        room="1", direct_peer_to_peer=value
    )
    state = (("X-WEBRTC-MEDIA-STATE", "currentstate"), ("X-Vinteo-MainCam-State", text), ("X-Vinteo-Mic-State", "1"))
    if value is None:
        assert isinstance(read("mediastate", *state), Unusable)
    else:
        assert read("mediastate", *state) == MediaState(cam=value, mic=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("2500000", 2_500_000), ("007", 7), ("1234.56", 1234), ("9" * 15, 10**15 - 1)),
        *((text, None) for text in ("9" * 16, "-1", "+1", "1.", "١", "NaN", "1 000", "1e3")),
    ],
)
def test_numbers(text: str, value: int | None) -> None:
    found = read("stats", ("X-WEBRTC-AVAILABLE-INCOMING-BITRATE", text))
    assert found == AvailableIncomingBitrate(bitrate=value) if value is not None else isinstance(found, Unusable)
    assert read("restart", ("X-WEBRTC-VIDEO-TRACK-COUNT", text)) == Restart(video_track_count=value)


@pytest.mark.parametrize(("text", "forced"), [("1", True), ("0", False), ("true", False), ("2", False), ("", None)])
def test_forced(text: str, forced: bool | None) -> None:
    sync = ("X-WEBRTC-SYNC", text)
    assert read("maincam", ("X-WEBRTC-MAINCAM", "pausemaincam"), sync) == MainCamControl(
        command=MainCam.PAUSE, forced=forced
    )
    assert read("mic", ("X-WEBRTC-MIC", "AdminStopMic"), sync) == MicControl(
        command=Mic.ADMIN_STOP, forced=forced is True
    )


def test_unknown_optional_values_are_absent() -> None:
    share = (("x-webrtc-share-state", "contentend"), ("x-webrtc-share-codec", "h265"))
    assert read("sharedesktop", *share) == ShareState(state=Share.ENDED, codec="h265")
    state = (("X-WEBRTC-PARTSTATE", "spectator"), ("x-webrtc-spectator-mode", "9"))
    assert read("partstate", *state) == ParticipantState(role=Role.SPECTATOR)
    cam = (("X-WEBRTC-MAINCAM", "SPINMAINCAM"), ("X-WEBRTC-MAINCAM-RESOLUTION", "1x1"))
    assert read("maincam", *cam) == MainCamControl(resolution="1x1")


def test_a_request_for_the_camera_is_told_from_a_command() -> None:
    ask = ("X-WEBRTC-REQUEST-ENABLE-MEDIA-DEVICE", "letmestartmaincam")
    assert read("maincam", ask, ("X-WEBRTC-SYNC", "1")) == AskToEnableCam()
    nothing = read("maincam", ("X-WEBRTC-MAINCAM", "SPINMAINCAM"), ("X-WEBRTC-SYNC", "1"))
    assert isinstance(nothing, Unusable) and "X-WEBRTC-MAINCAM has the unknown value 'SPINMAINCAM'" in nothing.detail
    assert isinstance(read("maincam", ("X-WEBRTC-SYNC", "1")), Unusable)


# -- notifications ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "text"), NOTIFICATIONS)
def test_notifications_outside_of_calls(message: Notification, text: str) -> None:
    assert write_notify(message) == write_info(message)
    assert parse_notify([("Event", "x"), *headers(text)]) == message
    data = json.loads(headers(text)[0][1])
    more = json.dumps({"new": [1, {}], **data}, indent=2, ensure_ascii=False)
    assert notified(more) == message


def test_a_notify_without_the_header() -> None:
    assert parse_notify([]) is None
    assert parse_notify([("Event", "message-summary"), ("X-VINTEO-NOTIFY", "  ")]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("plain", "is no JSON"),
        ('{"cmd":"accountChanged"', "is no JSON"),
        ("[" * 60_000, "is no JSON"),
        ('{"a":' * 13_000, "is no JSON"),
        ('{"cmd":' + "1" * 5000 + "}", "is no JSON"),
        ("[" * 500 + "]" * 500, "has no cmd"),
        ("[]", "has no cmd"),
        ("null", "has no cmd"),
        ('"accountChanged"', "has no cmd"),
        ("{}", "has no cmd"),
        ('{"cmd":null}', "has no cmd"),
        ('{"cmd":["accountChanged"]}', "has no cmd"),
        ('{"CMD":"accountChanged"}', "has no cmd"),
        ('{"cmd":"AccountChanged"}', "unknown cmd 'AccountChanged'"),
        ('{"cmd":"a\\nb"}', "unknown cmd 'a\\\\x0ab'"),
        ('{"cmd":"WebcastStarted"}', "WebcastStarted has no body"),
        ('{"cmd":"WebcastStarted","body":[]}', "WebcastStarted has no body"),
        ('{"cmd":"WebcastStarted","conference":"1","type":"hls"}', "WebcastStarted has no body"),
        ('{"cmd":"WebcastStarted","body":{"conference":"1"}}', "WebcastStarted has no type"),
        ('{"cmd":"WebcastStarted","body":{"conference":1,"type":"hls"}}', "WebcastStarted has no conference"),
        ('{"cmd":"WebcastStarted","body":{"conference":" ","type":"hls"}}', "WebcastStarted has no conference"),
        ('{"cmd":"WebcastStarted","body":{"conference":"a\\r\\nb","type":"hls"}}', "WebcastStarted has no conference"),
        ('{"cmd":"WebcastStarted","body":{"conference":"\\ud800","type":"hls"}}', "WebcastStarted has no conference"),
        ('{"cmd":"channels","body":{"input":"1","output":"2"}}', "channels has no input"),
        ('{"cmd":"accountChanged","x":"' + "x" * 65_536 + '"}', "more than 65536 characters"),
    ],
    ids=range(26),
)
def test_notifications_that_cannot_be_used(text: str, says: str) -> None:
    found = notified(text)
    assert isinstance(found, Unusable) and says in found.detail, found
    assert found.content_type == NOTIFY and found.detail.startswith("X-VINTEO-NOTIFY ") and found.detail.isprintable()
    assert parse_info(NOTIFY, [("x-vinteo-notify", text)]) == (found,)


def test_a_large_notification_is_read() -> None:
    text = json.dumps({"cmd": "channels", "input": "1," * 32_000 + "1", "output": "2"})
    found = notified(text)
    assert found is not None and not isinstance(found, Unusable)


# -- what cannot be written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        EnterRoom(room=""),
        EnterRoom(room="  "),
        EnterRoom(room="a\r\nX-Evil: 1"),
        EnterRoom(room="1", participant_name="a\x00b"),
        EnterRoom(room="1", participant_name="\ud800"),
        EnterRoom(room="1", channels=Channels(input="1", output="")),
        Channels(input="", output="1"),
        MainCamControl(),
        MainCamControl(forced=True),
        AvailableIncomingBitrate(bitrate=-1),
        AvailableIncomingBitrate(bitrate=10**15),
        Restart(audio_track_count=-1),
        *(MovedToWebcast(conference=bad) for bad in ("", " ", "a\nb", "a\x7f", "\ud800")),
        WebcastStarted(conference="1", type=""),
    ],
)
def test_what_could_not_be_read_is_not_written(message: ConferenceMessage) -> None:
    with pytest.raises(LocalProtocolError):
        write_info(message)


def test_blanks_are_not_written() -> None:
    info = write_info(EnterRoom(room=" Room A ", participant_name="", bearer_token="  "))
    assert info.headers == (("x-webrtc-enter-room", "Room A"),)
