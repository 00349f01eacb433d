"""Rooms and who is in them: their state, and the rules of who sees whom."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field, frozen

from sipproto.agent.media import CallId
from sipproto.agent.outputs import LineInfo
from sipproto.conference import Channels, Device, License, Role, SpectatorMode
from sipproto_server._speaking import Speakers


@frozen(kw_only=True)
class ParticipantInfo:
    """What is known of a participant.

    user: who has shown the password of this account, None for a guest. room: `purgatory` before they are admitted to
    `wanted_room`. cam and mic: as they told last, None before. refused: what they were asked to turn on and did not.
    bitrate: what they can receive, in bits per second, as they told last.
    """

    participant: str
    name: str
    user: str | None
    room: str
    wanted_room: str
    role: Role = Role.PARTICIPANT
    spectator_mode: SpectatorMode | None = None
    audio_id: str | None = None
    moderator: bool = False
    license: License = License.VIDEO
    channels: Channels | None = None
    cam: bool | None = None
    mic: bool | None = None
    refused: tuple[Device, ...] = ()
    bitrate: int | None = None
    presenting: bool = False


@frozen(kw_only=True)
class RoomInfo:
    """What is known of a room; `presenter` is the name of a participant."""

    room: str
    participants: tuple[str, ...]
    presenter: str | None


@frozen(kw_only=True)
class ParticipantEntered:
    """Somebody has come into a room, or into the lobby."""

    participant: ParticipantInfo


@frozen(kw_only=True)
class ParticipantChanged:
    participant: ParticipantInfo


@frozen(kw_only=True)
class ParticipantLeft:
    """The call of a participant is over."""

    participant: ParticipantInfo
    detail: str


@frozen(kw_only=True)
class PermissionWanted:
    """The operator is asked; `timeout`: seconds until it is denied. what: "presentation" or "camera"."""

    participant: str
    what: str
    timeout: float


@frozen(kw_only=True)
class PermissionDecided:
    participant: str
    what: str
    granted: bool


@frozen(kw_only=True)
class PresentationStarted:
    room: str
    participant: str


@frozen(kw_only=True)
class PresentationEnded:
    room: str
    participant: str


@frozen(kw_only=True)
class Undelivered:
    """A participant did not take something; the call goes on. what: the message, or "media". detail: one line."""

    participant: str
    what: str
    detail: str


@define(kw_only=True, eq=False)
class Participant:
    """A call in a conference. Video lines are numbered from 0 by kind, each for its life, as media engines do.

    changing: a re-INVITE of ours is under way. tried: whether they were last to see a presentation, for which a line was
    tried. told: that there is a presentation. granting: the INFO that is answered as soon as the media are ready.
    """

    info: ParticipantInfo
    call: CallId
    lines: dict[int, LineInfo] = field(factory=dict)
    changing: bool = False
    tried: bool = False
    told: bool = False
    granting: str | None = None

    @property
    def ident(self) -> str:
        return self.info.participant

    def negotiated(self, lines: tuple[LineInfo, ...]) -> None:
        """Takes over what was agreed on."""
        old = {line.mid: number for number, line in self.lines.items()}
        video = [line for line in lines if line.kind == "video"]
        taken = {old[line.mid]: line for line in video if line.mid in old}
        for line in video:
            if line.mid not in old:
                taken[next(n for n in range(len(taken) + 1) if n not in taken)] = line
        self.lines = dict(sorted(taken.items()))

    @property
    def main_line(self) -> int | None:
        """The line by which others can see this participant."""
        seen = self.info.role is Role.PARTICIPANT and self.info.cam is not False
        return 0 if seen and 0 in self.lines and self.lines[0].direction.receives else None

    @property
    def content_in(self) -> int | None:
        """The line that a presentation of theirs comes by: the last one that we receive beside the first."""
        return max((n for n, line in self.lines.items() if n and line.direction.receives), default=None)

    @property
    def content_out(self) -> int | None:
        """The line that they see the presentation of somebody else by."""
        return min((n for n, line in self.lines.items() if n and line.direction.sends), default=None)

    @property
    def spare_line(self) -> int | None:
        """A line beside the first that a presentation can be given by: best one that nothing comes by."""
        further = [n for n in self.lines if n]
        return min(further, key=lambda n: (self.lines[n].direction.receives, n), default=None)


@define(kw_only=True, eq=False)
class Room:
    """members: in the order in which they have come. presenter: who may present. showing: whether there is a picture.

    permitted_until: when a permission lapses that nobody has made use of. speakers: who has spoken.
    """

    name: str
    members: list[Participant] = field(factory=list)
    presenter: Participant | None = None
    showing: bool = False
    permitted_until: float | None = None
    speakers: Speakers = field(factory=Speakers)

    def main_for(self, viewer: Participant) -> Participant | None:
        """Whom somebody sees: of the others the one who has spoken last, before anybody has the one who has come last."""
        calls = {one.call: one for one in self.members}
        spoken = (calls[call] for call in self.speakers.order if call in calls)
        others = (one for one in (*spoken, *reversed(self.members)) if one is not viewer and one.main_line is not None)
        return next(others, None)

    @property
    def info(self) -> RoomInfo:
        return RoomInfo(
            room=self.name,
            participants=tuple(one.ident for one in self.members),
            presenter=self.presenter.ident if self.presenter is not None and self.showing else None,
        )


def changed(participant: Participant, **what: Any) -> bool:
    """Takes over new values; False when they are those of before."""
    new = evolve(participant.info, **what)
    different = new != participant.info
    participant.info = new
    return different
