"""What a connector tells, beyond the events of its agent, which it passes on."""

from __future__ import annotations

import enum

from attrs import field, frozen

from sipproto.agent.inputs import CommandId
from sipproto.agent.media import CallId, MediaReport
from sipproto.agent.outputs import Cause, Originator
from sipproto.conference import ConferenceMessage, License, Role
from sipproto.media.remote_streams import RemoteStream
from sipproto.media.sample import StatsSample
from sipproto.media.stream_health import StreamProblem

# -- effects -----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ParametersWanted:
    """A ConnectToServer came without parameters: say ParametersResolved."""

    command: CommandId


@frozen(kw_only=True)
class ParametersUnwanted:
    """That command has ended: nobody waits for its parameters any more."""

    command: CommandId


# -- the connection ----------------------------------------------------------------------------------------------------


class ConnectionStatus(enum.Enum):
    """Where the connection is. ESTABLISHED: connected, and registered if that was asked for."""

    IDLE = "idle"
    PREPARING = "preparing"  # an older connection is left, and parameters are waited for
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ESTABLISHED = "established"
    RECONNECTING = "reconnecting"  # lost, and tried for by the agent
    DISCONNECTING = "disconnecting"
    DISCONNECTED = "disconnected"


@frozen(kw_only=True)
class Configuration:
    """What we are connected with, without secrets."""

    sip_server_url: str
    sip_web_socket_server_url: str
    authorization_user: str
    display_name: str
    register: bool
    remote_address: str | None = None


@frozen(kw_only=True)
class ConnectionStatusChanged:
    """`epoch` counts the connections that were asked for: what belongs to an older one is past."""

    epoch: int
    status: ConnectionStatus
    configuration: Configuration | None = None


@frozen(kw_only=True)
class ConnectStarted:
    epoch: int


@frozen(kw_only=True)
class ConnectSucceeded:
    epoch: int
    configuration: Configuration


@frozen(kw_only=True)
class ConnectFailed:
    """Not told of one that was given up or superseded."""

    epoch: int
    cause: Cause
    detail: str
    status: int | None = None


class AttemptStep(enum.Enum):
    """What happens to the attempts of an automatic connect."""

    BEGINS = "begins"
    WAITS = "waits"  # it has failed, and is tried again
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # for good: no other is made
    LIMIT = "limit"  # it has failed, and was the last one
    CANCELED = "canceled"  # given up, or superseded


@frozen(kw_only=True)
class ConnectAttempt:
    """Of an automatic connect. number: from 1. retry_in: seconds, for WAITS. cause, detail: why it failed."""

    epoch: int
    number: int
    step: AttemptStep
    retry_in: float | None = None
    cause: Cause | None = None
    detail: str = ""


# -- calls -------------------------------------------------------------------------------------------------------------


class CallStatus(enum.Enum):
    IDLE = "idle"
    CONNECTING = "connecting"
    ACTIVE = "active"  # established, and the server has named no room
    PURGATORY = "purgatory"
    PEER_TO_PEER = "peer_to_peer"
    IN_ROOM = "in_room"


@frozen(kw_only=True)
class Room:
    """Where a call is. `token` is for this room, None when the server gave none."""

    name: str
    participant_name: str | None = None
    token: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class CallStatusChanged:
    call: CallId
    status: CallStatus
    room: Room | None = None


@frozen(kw_only=True)
class CallerGone:
    """An incoming call is over that nobody has answered: declined by us, ended here, or given up by the caller."""

    call: CallId
    declined: bool
    originator: Originator
    cause: Cause


@frozen(kw_only=True)
class IceRestarted:
    """An attempt to restart ICE is over. `automatic`: the server has asked for it. `detail`: why it did not come about."""

    call: CallId
    done: bool
    automatic: bool
    detail: str = ""


# -- the conference ----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class MessageFromServer:
    """The conference server says something. `call`: None when outside of calls."""

    call: CallId | None
    message: ConferenceMessage


@frozen(kw_only=True)
class MessageNotUnderstood:
    """For a log: a message of the conference server that says nothing we could act on."""

    call: CallId | None
    detail: str


@frozen(kw_only=True)
class RoleChanged:
    """`may_send`: whether a spectator is free to send media all the same."""

    call: CallId
    role: Role
    audio_id: str | None = None
    may_send: bool = True


@frozen(kw_only=True)
class LicenseChanged:
    call: CallId
    license: License


@frozen(kw_only=True)
class ContentChanged:
    """Whether somebody else presents, and with which codec if the server says so."""

    call: CallId
    available: bool
    codec: str | None = None


# -- the presentation --------------------------------------------------------------------------------------------------


class PresentationStep(enum.Enum):
    START = "start"
    STARTED = "started"
    UPDATING = "updating"
    UPDATED = "updated"
    END = "end"
    ENDED = "ended"
    FAILED = "failed"


@frozen(kw_only=True)
class PresentationChanged:
    """Our presentation. `line`: its mid. FAILED says why; `by_server`: whether the server ended it."""

    call: CallId
    step: PresentationStep
    line: str | None = None
    cause: Cause | None = None
    detail: str = ""
    status: int | None = None
    by_server: bool = False


# -- figures -----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ReportCollected:
    """A sample of the statistics; `elapsed`: seconds that it took."""

    call: CallId
    report: MediaReport
    sample: StatsSample
    elapsed: float


class ProblemStep(enum.Enum):
    """RESOLVED: the video arrives again; RESET: the call or the line has changed, and it is looked at anew."""

    DETECTED = "detected"
    RESOLVED = "resolved"
    RESET = "reset"


@frozen(kw_only=True)
class MainVideoProblem:
    """Whether the main video of the others arrives: a problem that has lasted for `problem_samples`, or its end."""

    call: CallId
    problem: StreamProblem
    step: ProblemStep


@frozen(kw_only=True)
class RemoteStreamsChanged:
    """What is received, grouped into streams. `contented`: the presentation of somebody else, while there is one.

    A further video on which nothing comes is none, unless the server says that there is content.
    """

    call: CallId
    streams: tuple[RemoteStream, ...]
    main: RemoteStream | None = None
    contented: RemoteStream | None = None
