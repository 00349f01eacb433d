"""The table of what an operator can do: the name of each command, its value, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import NOTHING, Attribute, fields, frozen

from sipproto.conference import (
    PURGATORY,
    AccountChanged,
    AccountDeleted,
    AddedToModerators,
    ChannelsNotified,
    ConferenceMessage,
    MainCam,
    MainCamControl,
    Mic,
    MicControl,
    MovedToWebcast,
    Notification,
    ParticipantState,
    ParticipationAccepted,
    ParticipationRejected,
    RemovedFromModerators,
    Restart,
    Role,
    TracksDirection,
    UseLicense,
    WebcastStarted,
    WebcastStopped,
    write_notify,
)
from sipproto_server import _commands as c
from sipproto_server._commands import OperatorError, UnknownTarget
from sipproto_server._conference import Conference
from sipproto_server._room import Participant

Effect = Callable[[Conference, Any, float], None]
_Each = Callable[[Conference, Participant, Any, float], None]
_Fits = Callable[[Conference, Participant, Any], bool]


@frozen
class Operation:
    """One row of the table."""

    command: type
    effect: Effect

    @property
    def parameters(self) -> tuple[Attribute[Any], ...]:
        return tuple(fields(self.command))

    @property
    def usage(self) -> str:
        """The parameters in their order, those that may be left out in brackets."""
        names = [a.name if a.default is NOTHING else f"[{a.name}]" for a in self.parameters]
        return " ".join(names)

    @property
    def help(self) -> str:
        return self.command.__doc__ or ""


# -- whom it is for --------------------------------------------------------------------------------------------------


def _targets(conference: Conference, target: str) -> tuple[Participant, ...]:
    if target.startswith("@"):
        if not conference.has_room(target[1:]):
            raise UnknownTarget(f"there is no room {target[1:]!r}")
        return conference.members(target[1:])
    found = tuple(one for one in conference.everybody if one.ident == target)
    if not found:
        raise UnknownTarget(f"there is no participant {target!r}")
    return found


def _anybody(_: Conference, __: Participant, ___: object) -> bool:
    return True


def _inside(_: Conference, participant: Participant, __: object) -> bool:
    return participant.info.room != PURGATORY


def _each(do: _Each, fits: _Fits = _inside, otherwise: str = "waits in the lobby") -> Effect:
    """For every participant that a command is for and that it fits; an error when there is none."""

    def effect(conference: Conference, command: Any, now: float) -> None:
        targets = _targets(conference, command.target)
        fitting = [one for one in targets if fits(conference, one, command)]
        if not fitting:
            raise OperatorError(f"{command.target} {otherwise if targets else 'is empty'}")
        for participant in fitting:
            do(conference, participant, command, now)

    return effect


def _tell(message: Callable[[Participant, Any], ConferenceMessage], fits: _Fits = _inside, **notes: object) -> Effect:
    """What is no more than a message, and what is known of the participant with it."""

    def do(conference: Conference, participant: Participant, command: Any, _: float) -> None:
        conference.tell(participant, message(participant, command))
        conference.note(participant, **notes)

    return _each(do, fits)


# -- what it does ----------------------------------------------------------------------------------------------------


def _admit(conference: Conference, participant: Participant, command: c.Admit, _: float) -> None:
    room = command.room or participant.info.wanted_room
    if not conference.has_room(room) or room == PURGATORY:
        raise UnknownTarget(f"there is no room {room!r}")
    conference.move(participant, room)


def _has_to_move(_: Conference, participant: Participant, command: c.Admit) -> bool:
    return participant.info.room != (command.room or participant.info.wanted_room)


def _end(conference: Conference, participant: Participant, _: object, __: float) -> None:
    conference.end(participant)


def _make_spectator(conference: Conference, participant: Participant, command: c.MakeSpectator, _: float) -> None:
    role = Role.SPECTATOR_OVER_SFU if command.over_sfu else Role.SPECTATOR
    conference.tell(participant, ParticipantState(role=role, audio_id=command.audio_id, mode=command.mode))
    conference.stop_presentation(participant)
    conference.note(participant, role=role, audio_id=command.audio_id, spectator_mode=command.mode)


def _set_license(conference: Conference, participant: Participant, command: c.SetLicense, _: float) -> None:
    conference.tell(participant, UseLicense(license=command.license))
    conference.note(participant, license=command.license)


def _decide(granted: bool) -> Effect:
    def do(conference: Conference, participant: Participant, command: c.Allow | c.Deny, now: float) -> None:
        conference.wishes.decide(participant, command.what.value, granted, now)

    def waits(conference: Conference, participant: Participant, command: c.Allow | c.Deny) -> bool:
        return conference.wishes.waiting(participant, command.what.value)

    return _each(do, waits, "has asked for nothing of that kind")


def _presents(conference: Conference, participant: Participant, _: object) -> bool:
    return conference.room_of(participant).presenter is participant


def _account(notification: Notification) -> Effect:
    """In the call for participants, by NOTIFY for registered users."""
    inside = _tell(lambda _, __: notification, _anybody)

    def effect(conference: Conference, command: c.Targeted, now: float) -> None:
        known = command.target.startswith("@") or any(one.ident == command.target for one in conference.everybody)
        if known:
            inside(conference, command, now)
        elif not conference.focus.notify(command.target, write_notify(notification)):
            raise UnknownTarget(f"there is no participant and no registered user {command.target!r}")

    return effect


def _camera(command: MainCam) -> Effect:
    return _tell(lambda _, given: MainCamControl(command=command, forced=getattr(given, "forced", None)))


def _mic(command: Mic) -> Effect:
    return _tell(lambda _, given: MicControl(command=command, forced=given.forced))


OPERATIONS: Mapping[str, Operation] = {
    "admit": Operation(c.Admit, _each(_admit, _has_to_move, "is there already")),
    "refuse": Operation(
        c.Refuse, _each(_end, lambda _, one, __: one.info.room == PURGATORY, "does not wait in the lobby")
    ),
    "kick": Operation(c.Kick, _each(_end, _anybody)),
    "start-camera": Operation(c.StartCamera, _camera(MainCam.ADMIN_START)),
    "stop-camera": Operation(c.StopCamera, _camera(MainCam.ADMIN_STOP)),
    "start-mic": Operation(c.StartMic, _mic(Mic.ADMIN_START)),
    "stop-mic": Operation(c.StopMic, _mic(Mic.ADMIN_STOP)),
    "pause-camera": Operation(c.PauseCamera, _camera(MainCam.PAUSE)),
    "resume-camera": Operation(c.ResumeCamera, _camera(MainCam.RESUME)),
    "max-resolution": Operation(
        c.MaxResolution,
        _tell(lambda _, given: MainCamControl(command=MainCam.MAX_RESOLUTION, resolution=given.resolution)),
    ),
    "spectator": Operation(c.MakeSpectator, _each(_make_spectator)),
    "participant": Operation(
        c.MakeParticipant,
        _tell(
            lambda _, __: ParticipantState(role=Role.PARTICIPANT),
            role=Role.PARTICIPANT,
            audio_id=None,
            spectator_mode=None,
        ),
    ),
    "add-moderator": Operation(
        c.AddModerator, _tell(lambda one, _: AddedToModerators(conference=one.info.room), moderator=True)
    ),
    "remove-moderator": Operation(
        c.RemoveModerator, _tell(lambda one, _: RemovedFromModerators(conference=one.info.room), moderator=False)
    ),
    "license": Operation(c.SetLicense, _each(_set_license)),
    "allow": Operation(c.Allow, _decide(True)),
    "deny": Operation(c.Deny, _decide(False)),
    "stop-presentation": Operation(
        c.StopPresentation,
        _each(lambda conference, one, _, __: conference.wishes.must_stop(one), _presents, "does not present"),
    ),
    "restart": Operation(
        c.RestartMedia,
        _tell(
            lambda one, _: Restart(
                tracks_direction=TracksDirection.SENDRECV, audio_track_count=1, video_track_count=len(one.lines)
            )
        ),
    ),
    "token": Operation(c.IssueToken, _each(lambda conference, one, _, __: conference.issue_token(one))),
    "channels": Operation(
        c.TellChannels, _tell(lambda _, given: ChannelsNotified(input=given.input, output=given.output))
    ),
    "webcast-started": Operation(
        c.StartWebcast, _tell(lambda one, given: WebcastStarted(conference=one.info.room, type=given.type))
    ),
    "webcast-stopped": Operation(
        c.StopWebcast, _tell(lambda one, given: WebcastStopped(conference=one.info.room, type=given.type))
    ),
    "give-word": Operation(c.GiveWord, _tell(lambda one, _: ParticipationAccepted(conference=one.info.room))),
    "refuse-word": Operation(c.RefuseWord, _tell(lambda one, _: ParticipationRejected(conference=one.info.room))),
    "move-to-webcast": Operation(c.MoveToWebcast, _tell(lambda one, _: MovedToWebcast(conference=one.info.room))),
    "account-changed": Operation(c.ChangeAccount, _account(AccountChanged())),
    "account-deleted": Operation(c.DeleteAccount, _account(AccountDeleted())),
    "presentation-policy": Operation(
        c.SetPresentationPolicy, lambda conference, given, _: conference.set_policy(presentation=given.verdict)
    ),
    "camera-policy": Operation(
        c.SetCameraPolicy, lambda conference, given, _: conference.set_policy(camera=given.verdict)
    ),
    "second-presenter": Operation(
        c.SetRivalPolicy, lambda conference, given, _: conference.set_policy(second_presenter=given.rival)
    ),
}
_BY_TYPE = {operation.command: operation for operation in OPERATIONS.values()}


# -- how it is asked for ---------------------------------------------------------------------------------------------


def carry_out(conference: Conference, command: object, now: float) -> None:
    """Does what a command of `sipproto_server.commands` says. Raises OperatorError, and has done nothing of it then."""
    operation = _BY_TYPE.get(type(command))
    if operation is None:
        raise OperatorError(f"{type(command).__name__} is no command of an operator")
    operation.effect(conference, command, now)


def command_of(name: str, values: Sequence[str] | Mapping[str, object]) -> object:
    """The command of a name, of values in the order of its parameters or by their names. Raises OperatorError."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise OperatorError(f"there is no command {name[:40]!r}")
    names = [a.name for a in operation.parameters]
    if isinstance(values, Mapping):
        given = dict(values)
    else:
        given = dict(zip(names, values, strict=False))
        if len(values) > len(names):
            raise OperatorError(f"{name} takes {operation.usage}")
    missing = [a.name for a in operation.parameters if a.default is NOTHING and a.name not in given]
    odd = [key for key, value in given.items() if key not in names or not isinstance(value, str | bool | None)]
    if missing or odd:
        raise OperatorError(f"{name} takes {operation.usage}")
    return operation.command(**given)
