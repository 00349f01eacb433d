"""What participants tell and ask for by INFO. The status of the answer is the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.conference import (
    PURGATORY,
    AskToEnableCam,
    AvailableIncomingBitrate,
    Channels,
    Device,
    EnterRoom,
    MediaState,
    RefusalToTurnOn,
    Role,
    Share,
    ShareState,
    Unusable,
    parse_info,
)
from sipproto_server._config import Rival, Verdict
from sipproto_server._room import Participant, PermissionDecided, PermissionWanted

if TYPE_CHECKING:
    from sipproto_server._conference import Conference

PRESENTATION, CAMERA = "presentation", "camera"
_OK, _BAD, _FORBIDDEN, _UNKNOWN, _DECLINED = 200, 400, 403, 415, 603
_TO_BEGIN = 30.0  # seconds in which who may present has to begin with it


@frozen(kw_only=True)
class Asked:
    """A wish that waits for the operator."""

    participant: Participant
    what: str
    info: str
    until: float


class Wishes:
    """One INFO, one answer: 200, or 603 to what is denied, 400 to what cannot be read, 415 to what is not known."""

    def __init__(self, conference: Conference) -> None:
        self._conference = conference
        self._asked: list[Asked] = []
        # What is only taken note of: a message, and the state that follows from it.
        self._notes: dict[type, Callable[[Participant, Any], dict[str, object]]] = {
            Channels: lambda _, told: {"channels": told},
            MediaState: _with_media_state,
            AvailableIncomingBitrate: lambda _, told: {"bitrate": told.bitrate},
            RefusalToTurnOn: lambda one, told: {"refused": tuple(dict.fromkeys((*one.info.refused, told.device)))},
            EnterRoom: lambda _, told: {},  # of peer-to-peer calls; who sends it to us loses the call without a 200
        }

    def received(self, participant: Participant, info: o.InfoReceived, now: float) -> None:
        """An INFO that has to be answered."""
        (message, *_) = parse_info(info.content_type, info.headers, info.body) or (None,)
        match message:
            case None:
                self._answer(participant, info.info, _UNKNOWN)
            case Unusable():
                self._answer(participant, info.info, _BAD)
            case AskToEnableCam():
                self._wish(participant, CAMERA, info.info, now)
            case ShareState(
                state=Share.LET_ME_START | Share.AVAILABLE
            ):  # the second: of a call for a presentation only
                self._wish(participant, PRESENTATION, info.info, now)
            case ShareState(state=state):
                self._answer(participant, info.info, _OK)
                if state is not Share.MUST_STOP:
                    self._conference.stop_presentation(participant)
            case _ if type(message) in self._notes:
                self._answer(participant, info.info, _OK)
                self._conference.note(participant, **self._notes[type(message)](participant, message))
            case _:  # what only a server says
                self._answer(participant, info.info, _FORBIDDEN)

    def _answer(self, participant: Participant, info: str, status: int) -> None:
        self._conference.focus.command(
            lambda command: i.AnswerInfo(command=command, call=participant.call, info=info, status=status),
            lambda error: None,  # it took too long, and the agent has refused
        )

    # -- permissions -------------------------------------------------------------------------------------------------

    def _wish(self, participant: Participant, what: str, info: str, now: float) -> None:
        if not self._may_ask(participant, what):
            self._decide(participant, what, info, False, now)
            return
        policy = self._conference.policy
        verdict = policy.presentation if what == PRESENTATION else policy.camera
        if verdict is not Verdict.ASK:
            self._decide(participant, what, info, verdict is Verdict.ALLOW, now)
            return
        self._asked.append(Asked(participant=participant, what=what, info=info, until=now + policy.ask_timeout))
        wanted = PermissionWanted(participant=participant.ident, what=what, timeout=policy.ask_timeout)
        self._conference.focus.emit(wanted)

    def _may_ask(self, participant: Participant, what: str) -> bool:
        room = self._conference.room_of(participant)
        if room.name == PURGATORY or participant not in room.members:
            return False
        if what == CAMERA:
            return True
        rival = room.presenter not in (None, participant)
        refused = rival and self._conference.policy.second_presenter is Rival.REFUSE
        return participant.info.role is Role.PARTICIPANT and not refused and participant.granting is None

    def _decide(self, participant: Participant, what: str, info: str, granted: bool, now: float) -> None:
        self._conference.focus.emit(PermissionDecided(participant=participant.ident, what=what, granted=granted))
        if not granted or what == CAMERA:
            self._answer(participant, info, _OK if granted else _DECLINED)
            return
        room = self._conference.room_of(participant)
        if room.presenter not in (None, participant):
            self.must_stop(room.presenter)
        if room.presenter is None:
            room.presenter, room.permitted_until = participant, now + _TO_BEGIN
        participant.granting = info
        self._conference.pictures.refresh(room)
        self._conference.pictures.settle(room, participant)

    def must_stop(self, presenter: Participant | None) -> None:
        """Ends a presentation from our side."""
        if presenter is not None:
            self._conference.tell(presenter, ShareState(state=Share.MUST_STOP))
            self._conference.stop_presentation(presenter)

    def waiting(self, participant: Participant, what: str) -> bool:
        return any(asked.participant is participant and asked.what == what for asked in self._asked)

    def decide(self, participant: Participant, what: str, granted: bool, now: float) -> None:
        """The operator has decided on what somebody waits for."""
        for asked in [a for a in self._asked if a.participant is participant and a.what == what]:
            self._asked.remove(asked)
            self._decide(participant, what, asked.info, granted and self._may_ask(participant, what), now)

    def forget(self, participant: Participant) -> None:
        """They leave the room: what they have asked for is denied."""
        for asked in [a for a in self._asked if a.participant is participant]:
            self._asked.remove(asked)
            self._answer(participant, asked.info, _DECLINED)
        if participant.granting is not None:
            self._answer(participant, participant.granting, _DECLINED)
            participant.granting = None

    @property
    def waiting_count(self) -> int:
        return len(self._asked)

    def next_timeout(self) -> float | None:
        return min((asked.until for asked in self._asked), default=None)

    def expire(self, now: float) -> None:
        for asked in [a for a in self._asked if a.until <= now]:
            self._asked.remove(asked)
            self._decide(asked.participant, asked.what, asked.info, False, now)


def _with_media_state(participant: Participant, told: MediaState) -> dict[str, object]:
    off = {Device.CAM: not told.cam, Device.MIC: not told.mic}
    still = tuple(device for device in participant.info.refused if off[device])
    return {"cam": told.cam, "mic": told.mic, "refused": still}
