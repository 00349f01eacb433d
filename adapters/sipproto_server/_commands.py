"""What an operator can ask for, as values. What each does is in `_operations.py`; docs/server.md has the list.

`target` is a participant, such as "p3", or all in a room, such as "@800" or "@purgatory". Texts are taken for what they
stand for, as a console and JSON have them. Raises OperatorError for a value that cannot be.
"""

from __future__ import annotations

import enum
import re
from typing import TypeVar

from attrs import field, frozen

from sipproto.conference import License, SpectatorMode
from sipproto.errors import LocalProtocolError
from sipproto_server._config import Rival, Verdict

_RESOLUTION = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")
_MAX_TEXT = 200  # characters
_YES, _NO = ("yes", "true", "1", "forced"), ("no", "false", "0", "asked")
_E = TypeVar("_E", bound=enum.Enum)


class OperatorError(LocalProtocolError):
    """A command cannot be carried out, and nothing of it has been; the text is one line fit for a user."""


class UnknownTarget(OperatorError):
    """There is no such participant, room or user."""


def _choice(kind: type[_E], value: _E | str) -> _E:
    for member in kind:
        if value is member or (isinstance(value, str) and value.lower() == str(member.value).lower()):
            return member
    raise OperatorError(f"{str(value)[:40]!r} is none of {', '.join(str(member.value) for member in kind)}")


def _license(value: License | str) -> License:
    return _choice(License, value)


def _mode(value: SpectatorMode | str | None) -> SpectatorMode | None:
    return None if value is None else _choice(SpectatorMode, value)


def _verdict(value: Verdict | str) -> Verdict:
    return _choice(Verdict, value)


def _rival(value: Rival | str) -> Rival:
    return _choice(Rival, value)


class Wish(enum.Enum):
    """What a participant may ask for."""

    PRESENTATION = "presentation"
    CAMERA = "camera"


def _wish(value: Wish | str) -> Wish:
    return _choice(Wish, value)


def _flag(value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in (*_YES, *_NO):
        raise OperatorError(f"{str(value)[:40]!r} is neither yes nor no")
    return str(value).lower() in _YES


def _text(value: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT or not value.isprintable():
        raise OperatorError(f"a text of 1 to {_MAX_TEXT} characters in one line is wanted")
    return value.strip()


def _optional_text(value: str | None) -> str | None:
    return None if value is None else _text(value)


def _resolution(value: str) -> str:
    if not isinstance(value, str) or not _RESOLUTION.fullmatch(value):
        raise OperatorError("a resolution is written as 1280x720")
    return value


@frozen
class Targeted:
    target: str = field(converter=_text)


@frozen
class Admit(Targeted):
    """Lets them out of the lobby, or moves them: into the room that they have called, or into another."""

    room: str | None = field(default=None, converter=_optional_text)


@frozen
class Refuse(Targeted):
    """Ends the call of somebody who waits in the lobby."""


@frozen
class Kick(Targeted):
    """Ends the call."""


@frozen
class StartCamera(Targeted):
    """Asks them to turn the camera on; forced: has it turned on."""

    forced: bool = field(default=False, converter=_flag)


@frozen
class StopCamera(Targeted):
    """Asks them to turn the camera off; forced: has it turned off."""

    forced: bool = field(default=False, converter=_flag)


@frozen
class StartMic(Targeted):
    """Asks them to turn the microphone on; forced: has it turned on."""

    forced: bool = field(default=False, converter=_flag)


@frozen
class StopMic(Targeted):
    """Asks them to turn the microphone off; forced: has it turned off."""

    forced: bool = field(default=False, converter=_flag)


@frozen
class PauseCamera(Targeted):
    """Has them send as little main video as they can."""


@frozen
class ResumeCamera(Targeted):
    """Has them send the main video as before."""


@frozen
class MaxResolution(Targeted):
    """Has them send no larger main video than this, such as 1280x720."""

    resolution: str = field(converter=_resolution)


@frozen
class MakeSpectator(Targeted):
    """Makes them a spectator, who is neither heard nor seen; mode: 0 by hand, 1 by the camera, 2 forced."""

    audio_id: str | None = field(default=None, converter=_optional_text)
    mode: SpectatorMode | None = field(default=None, converter=_mode)
    over_sfu: bool = field(default=False, converter=_flag)


@frozen
class MakeParticipant(Targeted):
    """Makes a spectator a participant again."""


@frozen
class AddModerator(Targeted):
    """Puts them on the list of moderators."""


@frozen
class RemoveModerator(Targeted):
    """Takes them off the list of moderators."""


@frozen
class SetLicense(Targeted):
    """Counts them as AUDIO, VIDEO or AUDIOPLUSPRESENTATION."""

    license: License = field(converter=_license)


@frozen
class Allow(Targeted):
    """Allows what they wait for: presentation or camera."""

    what: Wish = field(default=Wish.PRESENTATION, converter=_wish)


@frozen
class Deny(Targeted):
    """Denies what they wait for: presentation or camera."""

    what: Wish = field(default=Wish.PRESENTATION, converter=_wish)


@frozen
class StopPresentation(Targeted):
    """Has them stop presenting."""


@frozen
class RestartMedia(Targeted):
    """Has them restart ICE."""


@frozen
class IssueToken(Targeted):
    """Gives them another token for their room."""


@frozen
class TellChannels(Targeted):
    """Tells them their channels: ids with commas between them."""

    input: str = field(converter=_text)
    output: str = field(converter=_text)


@frozen
class StartWebcast(Targeted):
    """Tells them that the webcast of their room has started."""

    type: str = field(default="hls", converter=_text)


@frozen
class StopWebcast(Targeted):
    """Tells them that the webcast of their room has stopped."""

    type: str = field(default="hls", converter=_text)


@frozen
class GiveWord(Targeted):
    """Gives them the word that they have asked for."""


@frozen
class RefuseWord(Targeted):
    """Does not give them the word that they have asked for."""


@frozen
class MoveToWebcast(Targeted):
    """Tells them that they watch the webcast from now on."""


@frozen
class ChangeAccount(Targeted):
    """Tells a participant, a room, or a registered user (by NOTIFY) that the account was changed."""


@frozen
class DeleteAccount(Targeted):
    """Tells a participant, a room, or a registered user (by NOTIFY) that the account was deleted."""


@frozen
class SetPresentationPolicy:
    """Who may present: allow (all), deny (nobody), ask (the operator)."""

    verdict: Verdict = field(converter=_verdict)


@frozen
class SetCameraPolicy:
    """Who may turn a camera on that the server has turned off: allow (all), deny (nobody), ask (the operator)."""

    verdict: Verdict = field(converter=_verdict)


@frozen
class SetRivalPolicy:
    """A second one who wants to present: refuse, or replace the first."""

    rival: Rival = field(converter=_rival)
