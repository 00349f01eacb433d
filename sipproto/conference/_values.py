"""What a conference server and its clients tell each other. The forms on the wire are in docs/conference-protocol.md."""

from __future__ import annotations

import enum

from attrs import field, frozen

PURGATORY = "purgatory"  # the room in which callers wait who are not admitted yet


class License(enum.Enum):
    """What the server counts a participant as."""

    AUDIO = "AUDIO"
    VIDEO = "VIDEO"
    AUDIO_PLUS_PRESENTATION = "AUDIOPLUSPRESENTATION"


class MainCam(enum.Enum):
    """What the server wants of the main video of a participant."""

    PAUSE = "PAUSEMAINCAM"
    RESUME = "RESUMEMAINCAM"
    MAX_RESOLUTION = "MAXMAINCAMRESOLUTION"
    ADMIN_STOP = "ADMINSTOPMAINCAM"
    ADMIN_START = "ADMINSTARTMAINCAM"


class Mic(enum.Enum):
    """What the server wants of the microphone of a participant."""

    ADMIN_STOP = "ADMINSTOPMIC"
    ADMIN_START = "ADMINSTARTMIC"


class Device(enum.Enum):
    """What a participant does not turn on."""

    MIC = "0"
    CAM = "1"


class Role(enum.Enum):
    PARTICIPANT = "PARTICIPANT"
    SPECTATOR = "SPECTATOR"
    SPECTATOR_OVER_SFU = "SPECTATOROVERSFU"


class SpectatorMode(enum.Enum):
    """How somebody became a spectator. Only BY_CAMERA leaves them free to send media."""

    MANUAL = "0"
    BY_CAMERA = "1"
    FORCED = "2"


class Share(enum.Enum):
    """The second stream: what there is of it, and what is asked for."""

    AVAILABLE = "YOUCANRECEIVECONTENT"
    ENDED = "CONTENTEND"
    MUST_STOP = "YOUMUSTSTOPSENDCONTENT"
    LET_ME_START = "LETMESTARTPRESENTATION"
    STOPPED = "STOPPRESENTATION"


class TracksDirection(enum.Enum):
    SENDRECV = "SENDRECV"
    SENDONLY = "SENDONLY"
    RECVONLY = "RECVONLY"


@frozen(kw_only=True)
class Channels:
    """Ids of channels, separated by commas, as the server writes them. From the client: its answer to an EnterRoom."""

    input: str
    output: str


# -- server to client ------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class EnterRoom:
    """The participant is in this room now, under this name. `bearer_token` is for that room."""

    room: str
    participant_name: str | None = None
    channels: Channels | None = None
    bearer_token: str | None = field(default=None, repr=False)
    direct_peer_to_peer: bool | None = None


@frozen(kw_only=True)
class UseLicense:
    license: License


@frozen(kw_only=True)
class MainCamControl:
    """`forced`: None when the server does not say. `resolution` as the server writes it, such as "1280x720"."""

    command: MainCam | None = None
    resolution: str | None = None
    forced: bool | None = None


@frozen(kw_only=True)
class MicControl:
    command: Mic
    forced: bool = False


@frozen(kw_only=True)
class ParticipantState:
    """A new role. audio_id: of the audio channel that a spectator is to receive."""

    role: Role
    audio_id: str | None = None
    mode: SpectatorMode | None = None


@frozen(kw_only=True)
class ShareState:
    """Both ways. `codec`: the SDP name of the codec of the second stream, such as "H264"."""

    state: Share
    codec: str | None = None


@frozen(kw_only=True)
class Restart:
    """The server wants ICE to be restarted. None: it does not say, or not in a form that can be read."""

    tracks_direction: TracksDirection | None = None
    audio_track_count: int | None = None
    video_track_count: int | None = None


# -- notify commands -------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ChannelsNotified:
    input: str
    output: str


@frozen(kw_only=True)
class AddedToModerators:
    conference: str


@frozen(kw_only=True)
class RemovedFromModerators:
    conference: str


@frozen(kw_only=True)
class ParticipationAccepted:
    """The word that was asked for is given."""

    conference: str


@frozen(kw_only=True)
class ParticipationRejected:
    conference: str


@frozen(kw_only=True)
class MovedToWebcast:
    conference: str


@frozen(kw_only=True)
class WebcastStarted:
    """`type` such as "hls"."""

    conference: str
    type: str


@frozen(kw_only=True)
class WebcastStopped:
    conference: str
    type: str


@frozen(kw_only=True)
class AccountChanged:
    pass


@frozen(kw_only=True)
class AccountDeleted:
    pass


@frozen(kw_only=True)
class ParticipantTokenIssued:
    conference: str
    participant: str
    jwt: str = field(repr=False)


# -- client to server ------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class MediaState:
    """Which of its devices a participant has on."""

    cam: bool
    mic: bool


@frozen(kw_only=True)
class RefusalToTurnOn:
    device: Device


@frozen(kw_only=True)
class AskToEnableCam:
    pass


@frozen(kw_only=True)
class AvailableIncomingBitrate:
    """In bits per second."""

    bitrate: int


Notification = (
    ChannelsNotified
    | AddedToModerators
    | RemovedFromModerators
    | ParticipationAccepted
    | ParticipationRejected
    | MovedToWebcast
    | WebcastStarted
    | WebcastStopped
    | AccountChanged
    | AccountDeleted
    | ParticipantTokenIssued
)
ConferenceMessage = (
    EnterRoom
    | UseLicense
    | MainCamControl
    | MicControl
    | ParticipantState
    | ShareState
    | Restart
    | Notification
    | Channels
    | MediaState
    | RefusalToTurnOn
    | AskToEnableCam
    | AvailableIncomingBitrate
)


@frozen(kw_only=True)
class Unusable:
    """A message of the protocol that says nothing we could act on; `detail` is one line for a log, without secrets."""

    content_type: str
    detail: str


@frozen(kw_only=True)
class Info:
    """The form on the wire: an INFO without a body (or, for a Notification, also a NOTIFY outside of calls)."""

    content_type: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
