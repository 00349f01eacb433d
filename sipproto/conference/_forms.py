"""The forms on the wire, as tables that reading and writing share. docs/conference-protocol.md has them in words."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from sipproto.conference import _values as v
from sipproto.errors import LocalProtocolError
from sipproto.message import Headers

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"([0-9]{1,15})(?:\.[0-9]{1,20})?")  # a browser's statistics may have a fraction


@frozen
class Code:
    """How a value stands in a header. `read` gives None for what is no such value; blanks around it are cut before."""

    read: Callable[[str], object]
    write: Callable[[Any], str]


@frozen
class Header:
    """One header of a form, named as it is sent. `attribute`: of the message; None when it always says the same."""

    name: str
    attribute: str | None
    code: Code
    required: bool = field(default=False, kw_only=True)


@frozen
class Part:
    """A value within a message: all of its required headers are there, or `attribute` is None."""

    attribute: str
    message: type[v.Channels]
    headers: tuple[Header, ...]


@frozen
class Form:
    """The headers in which one message is sent. `one_of`: attributes of which the message has one at least."""

    content_type: str
    message: type[v.ConferenceMessage]
    headers: tuple[Header | Part, ...]
    one_of: tuple[str, ...] = field(default=(), kw_only=True)


@frozen(kw_only=True)
class Command:
    """One `cmd` of a notification. `keys`: texts, named alike in JSON and in the message; in_body: under `body`."""

    cmd: str
    message: type[v.Notification]
    keys: tuple[str, ...] = ()
    in_body: bool = True


def _choice(kind: type[enum.Enum]) -> Code:
    members = {member.value.upper(): member for member in kind}
    return Code(lambda text: members.get(text.upper()), lambda member: str(member.value))


def _always(word: str) -> Code:
    return Code(lambda text: word if text.upper() == word.upper() else None, lambda _: word)


def _read_number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def _read_boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


TEXT = Code(str, str.strip)
NUMBER = Code(_read_number, str)
ON_OFF = Code(_read_boolean, lambda value: "1" if value else "0")
TRUE_FALSE = Code(_read_boolean, lambda value: "true" if value else "false")
FORCED = Code(lambda text: text == "1", ON_OFF.write)


def _kind(suffix: str) -> str:
    return f"application/vinteo.webrtc.{suffix}"


NOTIFY = _kind("notify")
NOTIFY_HEADER = "X-VINTEO-NOTIFY"
_MAINCAM = _kind("maincam")
_SYNC = Header("X-WEBRTC-SYNC", "forced", FORCED)
_CHANNELS = (
    Header("X-WEBRTC-INPUT-CHANNELS", "input", TEXT, required=True),
    Header("X-WEBRTC-OUTPUT-CHANNELS", "output", TEXT, required=True),
)

# Of two forms of one content type the first that can be read counts. The letter case of names and the order are those
# of the original SDK on the wire.
FORMS: tuple[Form, ...] = (
    Form(
        _kind("roomname"),
        v.EnterRoom,
        (
            Header("x-webrtc-enter-room", "room", TEXT, required=True),
            Header("X-WEBRTC-PARTICIPANT-NAME", "participant_name", TEXT),
            Part("channels", v.Channels, _CHANNELS),
            Header("x-bearer-token", "bearer_token", TEXT),
            Header("x-webrtc-is-direct-p2p", "direct_peer_to_peer", TRUE_FALSE),
        ),
    ),
    Form(_kind("channels"), v.Channels, _CHANNELS),
    Form(
        _kind("uselic"),
        v.UseLicense,
        (Header("X-WEBRTC-USE-LICENSE", "license", _choice(v.License), required=True),),
    ),
    Form(
        _MAINCAM,
        v.AskToEnableCam,
        (Header("X-WEBRTC-REQUEST-ENABLE-MEDIA-DEVICE", None, _always("LETMESTARTMAINCAM"), required=True),),
    ),
    Form(
        _MAINCAM,
        v.MainCamControl,
        (
            Header("X-WEBRTC-MAINCAM", "command", _choice(v.MainCam)),
            Header("X-WEBRTC-MAINCAM-RESOLUTION", "resolution", TEXT),
            _SYNC,
        ),
        one_of=("command", "resolution"),
    ),
    Form(
        _kind("mic"),
        v.MicControl,
        (Header("X-WEBRTC-MIC", "command", _choice(v.Mic), required=True), _SYNC),
    ),
    Form(
        _kind("partstate"),
        v.ParticipantState,
        (
            Header("X-WEBRTC-PARTSTATE", "role", _choice(v.Role), required=True),
            Header("x-webrtc-audioid", "audio_id", TEXT),
            Header("x-webrtc-spectator-mode", "mode", _choice(v.SpectatorMode)),
        ),
    ),
    Form(
        _kind("sharedesktop"),
        v.ShareState,
        (
            Header("x-webrtc-share-state", "state", _choice(v.Share), required=True),
            Header("x-webrtc-share-codec", "codec", TEXT),
        ),
    ),
    Form(
        _kind("restart"),
        v.Restart,
        (
            Header("X-WEBRTC-TRACKS-DIRECTION", "tracks_direction", _choice(v.TracksDirection)),
            Header("X-WEBRTC-AUDIO-TRACK-COUNT", "audio_track_count", NUMBER),
            Header("X-WEBRTC-VIDEO-TRACK-COUNT", "video_track_count", NUMBER),
        ),
    ),
    Form(
        _kind("mediastate"),
        v.MediaState,
        (
            Header("X-WEBRTC-MEDIA-STATE", None, _always("currentstate"), required=True),
            Header("X-Vinteo-MainCam-State", "cam", ON_OFF, required=True),
            Header("X-Vinteo-Mic-State", "mic", ON_OFF, required=True),
        ),
    ),
    Form(
        _kind("refusal"),
        v.RefusalToTurnOn,
        (Header("X-Vinteo-Media-Type", "device", _choice(v.Device), required=True),),
    ),
    Form(
        _kind("stats"),
        v.AvailableIncomingBitrate,
        (Header("X-WEBRTC-AVAILABLE-INCOMING-BITRATE", "bitrate", NUMBER, required=True),),
    ),
)

_CONFERENCE = ("conference",)
COMMANDS: tuple[Command, ...] = (
    Command(cmd="channels", message=v.ChannelsNotified, keys=("input", "output"), in_body=False),
    Command(cmd="addedToListModerators", message=v.AddedToModerators, keys=_CONFERENCE, in_body=False),
    Command(cmd="removedFromListModerators", message=v.RemovedFromModerators, keys=_CONFERENCE, in_body=False),
    Command(cmd="ParticipationRequestAccepted", message=v.ParticipationAccepted, keys=_CONFERENCE),
    Command(cmd="ParticipationRequestRejected", message=v.ParticipationRejected, keys=_CONFERENCE),
    Command(cmd="ParticipantMovedToWebcast", message=v.MovedToWebcast, keys=_CONFERENCE),
    Command(cmd="WebcastStarted", message=v.WebcastStarted, keys=("conference", "type")),
    Command(cmd="WebcastStopped", message=v.WebcastStopped, keys=("conference", "type")),
    Command(cmd="accountChanged", message=v.AccountChanged, in_body=False),
    Command(cmd="accountDeleted", message=v.AccountDeleted, in_body=False),
    Command(
        cmd="ConferenceParticipantTokenIssued",
        message=v.ParticipantTokenIssued,
        keys=("conference", "participant", "jwt"),
    ),
)


def is_writable(text: str) -> bool:
    """Whether a text may stand in a header."""
    try:
        Headers([("X", text)])
    except LocalProtocolError:
        return False
    return True
