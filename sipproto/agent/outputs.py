"""Everything that an agent tells: effects to bring about, outcomes of commands, and events."""

from __future__ import annotations

import enum

from attrs import field, frozen

from sipproto.agent.event_outputs import *  # noqa: F403  what belongs here, too
from sipproto.agent.event_outputs import EventEvent
from sipproto.agent.inputs import CommandId
from sipproto.agent.media import CallId, MediaOperation, MediaState
from sipproto.auth import BearerChallenge
from sipproto.errors import Fault
from sipproto.transaction import FlowId


class Cause(enum.Enum):
    """Why something failed or ended. The values are stable: programs may depend on them."""

    TERMINATED = "terminated"  # a normal BYE
    CANCELED = "canceled"
    BUSY = "busy"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    UNAVAILABLE = "unavailable"
    NOT_FOUND = "not_found"
    ADDRESS_INCOMPLETE = "address_incomplete"
    INCOMPATIBLE_MEDIA = "incompatible_media"
    AUTHENTICATION_ERROR = "authentication_error"
    NO_PASSWORD = "no_password"  # a realm asks for credentials that we do not have
    REQUEST_TIMEOUT = "request_timeout"
    NO_ANSWER = "no_answer"
    NO_ACK = "no_ack"
    CONNECTION_ERROR = "connection_error"
    MEDIA_ERROR = "media_error"
    DIALOG_ERROR = "dialog_error"  # the peer does not know the call any more
    EXPIRED = "expired"  # the session was not refreshed in time
    SUPERSEDED = "superseded"  # a later command took the place of this one
    SIP_FAILURE_CODE = "sip_failure_code"


_CAUSE_OF_STATUS = {
    401: Cause.AUTHENTICATION_ERROR,
    407: Cause.AUTHENTICATION_ERROR,
    404: Cause.NOT_FOUND,
    604: Cause.NOT_FOUND,
    408: Cause.REQUEST_TIMEOUT,
    410: Cause.UNAVAILABLE,
    430: Cause.UNAVAILABLE,
    480: Cause.UNAVAILABLE,
    424: Cause.ADDRESS_INCOMPLETE,
    484: Cause.ADDRESS_INCOMPLETE,
    481: Cause.DIALOG_ERROR,
    486: Cause.BUSY,
    600: Cause.BUSY,
    487: Cause.CANCELED,
    488: Cause.INCOMPATIBLE_MEDIA,
    606: Cause.INCOMPATIBLE_MEDIA,
    403: Cause.REJECTED,
    603: Cause.REJECTED,
    607: Cause.REJECTED,
    608: Cause.REJECTED,
}


def cause_of(status: int) -> Cause:
    """The cause that a final status stands for."""
    if 300 <= status < 400:
        return Cause.REDIRECTED
    return _CAUSE_OF_STATUS.get(status, Cause.SIP_FAILURE_CODE)


class Originator(enum.Enum):
    LOCAL = "local"
    REMOTE = "remote"


# -- effects ---------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class OpenFlow:
    """Connect to `server` and say FlowOpened or OpenFlowFailed.

    `transport`: insist on this one (UDP, TCP, TLS) where `server` leaves a choice: a request that is too large for UDP has
    to go by TCP (RFC 3261 18.1.1). None: as `server` says.
    """

    flow: FlowId
    server: str
    transport: str | None = None


@frozen(kw_only=True)
class SendData:
    """Send these octets on the flow: as one WebSocket message or datagram, or in order on a stream."""

    flow: FlowId
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class CloseFlow:
    """Close the flow. No FlowClosed is expected after it."""

    flow: FlowId


# -- outcomes: exactly one for each command --------------------------------------------------------------------------


@frozen(kw_only=True)
class CommandSucceeded:
    """`result`: an int (status) for requests, a MediaReport for GetStats, a Registration for Register, else None.

    For Subscribe and Publish it is the lifetime that was granted, in seconds.
    """

    command: CommandId
    result: object = None


@frozen(kw_only=True)
class CommandFailed:
    """`status` is the SIP status that said so, if one did; `detail` is one line fit for a user."""

    command: CommandId
    cause: Cause
    detail: str
    status: int | None = None


# -- events ----------------------------------------------------------------------------------------------------------


class ConnectionState(enum.Enum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"  # lost, and tried for again
    DISCONNECTED = "disconnected"


@frozen(kw_only=True)
class ConnectionChanged:
    """The flow to our server. `error` says why it was lost or not had; None when it was ended by us.

    `retry_in`: seconds until the next attempt, while reconnecting.
    """

    state: ConnectionState
    error: str | None = None
    retry_in: float | None = None


class RegistrationState(enum.Enum):
    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    FAILED = "failed"


@frozen(kw_only=True)
class Registration:
    """A registration as the server granted it; `expires` in seconds.

    public_gruu and temporary_gruu: addresses of this very device (RFC 5627), the second without our name in it.
    service_route: what requests go through (RFC 3608). bindings: every contact of the address, ours among them.
    """

    expires: int
    contact: str
    public_gruu: str | None = None
    temporary_gruu: str | None = None
    service_route: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()


@frozen(kw_only=True)
class RegistrationChanged:
    """`retry_in`: seconds until the agent tries again by itself; None when it does not."""

    state: RegistrationState
    cause: Cause | None = None
    detail: str = ""
    status: int | None = None
    registration: Registration | None = None
    retry_in: float | None = None


@frozen(kw_only=True)
class TokenWanted:
    """A request failed because the server asks for a token (RFC 8898): get one, SetSecrets, and try again."""

    challenges: tuple[BearerChallenge, ...]


@frozen(kw_only=True)
class IncomingCall:
    """Somebody calls. Answer or HangUp; else the agent refuses by itself after `waits.answer`.

    audio and video: what is offered. `offer` is the session description as it came; b"" when the peer leaves the offer to
    us. `headers` are all header lines of the INVITE.
    """

    call: CallId
    from_uri: str
    display_name: str
    to_uri: str
    audio: bool
    video: bool
    offer: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)


@frozen(kw_only=True)
class CallStarted:
    """Our INVITE is on its way."""

    call: CallId
    target: str


@frozen(kw_only=True)
class CallProgressed:
    """A provisional answer of 101 to 199, with something new in it.

    dialog: which of the parties that the call reaches says so (its To tag). early_media: what that party sends is heard
    already. `body` is its description in calls whose application negotiates itself.
    """

    call: CallId
    status: int
    reason: str
    dialog: str = ""
    early_media: bool = False
    body: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class CallOffered:
    """Our INVITE left the offer to the peer, and here it is. Answer with a body; after `waits.answer` the call ends."""

    call: CallId
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class CallRedirected:
    """A 3xx: `contacts` are where to go on, the best first. Redirect or HangUp; after `waits.answer` the call ends."""

    call: CallId
    status: int
    contacts: tuple[str, ...]


@frozen(kw_only=True)
class CallEstablished:
    """The call is up. `body` is the peer's description in calls whose application negotiates itself."""

    call: CallId
    originator: Originator
    body: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class CallHeld:
    """One side holds the call now."""

    call: CallId
    originator: Originator


@frozen(kw_only=True)
class CallResumed:
    """That side does not hold the call any more."""

    call: CallId
    originator: Originator


@frozen(kw_only=True)
class CallReconnecting:
    """The connection to the server, or that of the media, is lost: the call waits for it, `waits` seconds at most."""

    call: CallId
    reason: str
    waits: float


@frozen(kw_only=True)
class CallRecovered:
    """The peer has agreed to go on: the call is what it was. `gap`: seconds since CallReconnecting."""

    call: CallId
    gap: float


@frozen(kw_only=True)
class CallEnded:
    """The call is over; its name is free again. `originator` is who ended it."""

    call: CallId
    cause: Cause
    originator: Originator
    detail: str = ""
    status: int | None = None


@frozen(kw_only=True)
class MediaChanged:
    """The media transports of a call changed state."""

    call: CallId
    state: MediaState


@frozen(kw_only=True)
class InfoReceived:
    """INFO from the peer; it has been answered 200."""

    call: CallId
    content_type: str
    body: bytes


@frozen(kw_only=True)
class DtmfReceived:
    """A digit from the peer; `duration` in milliseconds, None when not said."""

    call: CallId
    digit: str
    duration: int | None


@frozen(kw_only=True)
class MessageReceived:
    """An instant message; it has been answered 200."""

    from_uri: str
    display_name: str
    content_type: str
    body: bytes


@frozen(kw_only=True)
class ProtocolViolated:
    """The peer broke a rule. It has been answered as the RFC says, or dropped; for diagnosis only."""

    flow: FlowId
    fault: Fault
    detail: str


Effect = OpenFlow | SendData | CloseFlow | MediaOperation
Outcome = CommandSucceeded | CommandFailed
Event = (
    ConnectionChanged
    | RegistrationChanged
    | TokenWanted
    | IncomingCall
    | CallStarted
    | CallProgressed
    | CallOffered
    | CallRedirected
    | CallEstablished
    | CallHeld
    | CallResumed
    | CallReconnecting
    | CallRecovered
    | CallEnded
    | MediaChanged
    | InfoReceived
    | DtmfReceived
    | MessageReceived
    | EventEvent
    | ProtocolViolated
)
Output = Effect | Outcome | Event
