"""What the embedded server is told at its start, and what it tells beside what its user agent does."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen, validators

from sipproto._entropy import SystemTokens
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.negotiation import MediaCapabilities
from sipproto.tokens import TokenSource
from sipproto_server._room import (
    ParticipantChanged,
    ParticipantEntered,
    ParticipantLeft,
    PermissionDecided,
    PermissionWanted,
    PresentationEnded,
    PresentationStarted,
    Undelivered,
)


@frozen(kw_only=True)
class Service:
    """A number that the server answers itself.

    kind: "echo" gives back what it gets, "room" mixes all its callers, "conference" is a room that speaks the protocol of
    conference servers (docs/server.md). lobby: guests of a conference wait until an operator admits them.
    """

    kind: str
    room: str = ""
    lobby: bool = True


DEFAULT_SERVICES = {
    "600": Service(kind="echo"),
    "700": Service(kind="room", room="700"),
    "800": Service(kind="conference", room="800"),
}


class Verdict(enum.Enum):
    """What becomes of a wish of a participant."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"  # the operator


class Rival(enum.Enum):
    """What becomes of a second one who wants to present."""

    REFUSE = "refuse"
    REPLACE = "replace"  # the first one is told to stop


@frozen(kw_only=True)
class ConferencePolicy:
    """Who may do what in conferences. ask_timeout: seconds for the operator to say so; then it is denied."""

    presentation: Verdict = Verdict.ALLOW
    camera: Verdict = Verdict.ALLOW
    second_presenter: Rival = Rival.REFUSE
    ask_timeout: float = field(default=20.0, validator=[validators.gt(0), validators.le(25)])  # under timer F of peers


@frozen(kw_only=True)
class ServerConfig:
    """users: name to password. services: user part to what answers there. realm: also the domain of the users.

    guests: who is not among the users may call conferences without a password. max_participants: of all conferences
    together; who comes then is answered 486. follow_speaker: rooms show who speaks, else who came last.
    """

    realm: str = "sipproto.invalid"
    users: Mapping[str, str] = field(factory=dict, repr=False)
    services: Mapping[str, Service] = field(factory=lambda: dict(DEFAULT_SERVICES))
    guests: bool = False
    policy: ConferencePolicy = ConferencePolicy()
    max_participants: int = 100
    follow_speaker: bool = True
    capabilities: MediaCapabilities | None = None
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    max_bindings: int = 10_000
    tokens: TokenSource = field(factory=SystemTokens, repr=False)


@frozen(kw_only=True)
class PrepareMedia:
    """Tell the media engine what the next operations on `call` are for."""

    call: CallId
    service: Service


@frozen(kw_only=True)
class VideoFrom:
    """The video line of a call that a picture comes from, counted from 0."""

    call: CallId
    line: int = 0


@frozen(kw_only=True)
class Arrangement:
    """What a call of a conference hears and sees from now on.

    room: whose members it hears, None for silence. speaks: whether they hear it. video: what its video lines show, in
    their order; None for black.
    """

    room: str | None = None
    speaks: bool = True
    video: tuple[VideoFrom | None, ...] = ()


@frozen(kw_only=True)
class ArrangeMedia:
    """Tell the media engine what a call hears and sees: before its first operation, and whenever it changes."""

    call: CallId
    arrangement: Arrangement


@frozen(kw_only=True)
class Loudness:
    """Notice of the media engine: how loud a call of a conference is. level: RMS in dBFS, of a quarter of a second."""

    call: CallId
    level: float


@frozen(kw_only=True)
class UserChanged:
    """For the log: a user has registered (`contact`) or is gone (None)."""

    user: str
    contact: str | None


@frozen(kw_only=True)
class Relayed:
    """For the log: a request went from one registered user to another."""

    method: str
    target: str


ConferenceEvent = (
    ParticipantEntered
    | ParticipantChanged
    | ParticipantLeft
    | PermissionWanted
    | PermissionDecided
    | PresentationStarted
    | PresentationEnded
    | Undelivered
)
ServerOutput = o.Output | PrepareMedia | ArrangeMedia | UserChanged | Relayed | ConferenceEvent
