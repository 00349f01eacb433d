"""Everything that an agent tells: effects to bring about, outcomes of commands, and events."""

from __future__ import annotations

import enum

from attrs import field, frozen

from sipproto.agent.causes import Cause as Cause
from sipproto.agent.causes import ConnectFailure as ConnectFailure
from sipproto.agent.causes import Originator as Originator
from sipproto.agent.causes import Reason as Reason
from sipproto.agent.causes import cause_of as cause_of
from sipproto.agent.event_outputs import *  # noqa: F403  what belongs here, too
from sipproto.agent.event_outputs import EventEvent
from sipproto.agent.inputs import CommandId, DigitWay
from sipproto.agent.media import CallId, MediaOperation, MediaState
from sipproto.auth import BearerChallenge
from sipproto.errors import Fault
from sipproto.sdp import Direction
from sipproto.transaction import FlowId

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
    """`result`: a status for requests and transfers, a MediaReport for GetStats, a Registration for Register, else None.

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

    `retry_in`: seconds until the next attempt, while reconnecting. failure: what stood in the way of the last attempt; None
    when it is not known, or a connection was lost. certificate: as in OpenFlowFailed.
    """

    state: ConnectionState
    error: str | None = None
    retry_in: float | None = None
    failure: ConnectFailure | None = None
    certificate: bytes | None = field(default=None, repr=False)


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
    us. `headers` are all header lines of the INVITE. replaces: the call of ours that this one takes the place of, when it
    is answered (RFC 3891).
    """

    call: CallId
    from_uri: str
    display_name: str
    to_uri: str
    audio: bool
    video: bool
    offer: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    replaces: CallId | None = None


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
    """Our INVITE left the offer to the peer, and here it is: Answer with media or a body.

    The peer waits for half a minute (RFC 3261 13.3.1.4); without an answer the call ends then, or after `waits.answer`.
    audio, video: whether the offer has such a line.
    """

    call: CallId
    audio: bool
    video: bool
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
class TransferProgressed:
    """What the peer tells of the call that it was asked to make: a status as of an answer to it."""

    call: CallId
    status: int
    reason: str


@frozen(kw_only=True)
class TransferRequested:
    """The peer of `call` asks us to call `target`. AcceptTransfer or RejectTransfer; else we refuse after `waits.answer`.

    replaces: the dialog at the target whose place the new call takes (RFC 3891); AcceptTransfer sees to it. referred_by: who
    asks, as far as we are told (RFC 3892): it proves nothing.
    """

    call: CallId
    transfer: str
    target: str
    replaces: str | None
    referred_by: str | None


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
    """The call is over; its name is free again. `originator` is who ended it.

    reasons: why, as the message that ended it says: BYE, CANCEL or a final response (RFC 3326; RFC 6432 for responses).
    """

    call: CallId
    cause: Cause
    originator: Originator
    detail: str = ""
    status: int | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def answered_elsewhere(self) -> bool:
        """Whether the caller took the call back because another device has answered it (RFC 3326 3.1)."""
        return self.cause is Cause.CANCELED and any(
            reason.protocol == "SIP" and reason.cause is not None and 200 <= reason.cause < 300
            for reason in self.reasons
        )


@frozen(kw_only=True)
class MediaChanged:
    """The media transports of a call changed state."""

    call: CallId
    state: MediaState


@frozen(kw_only=True)
class LineInfo:
    """A media line as it was agreed on. `direction` is ours; `codec` the MIME type that we send with.

    remote_streams: the ids of the streams that the peer's media belong to (RFC 8830), empty when it does not say.
    """

    mid: str
    kind: str
    direction: Direction
    remote_direction: Direction
    codec: str
    remote_streams: tuple[str, ...] = ()


@frozen(kw_only=True)
class MediaNegotiated:
    """Offer and answer have led to other lines than before, or to the first ones. Lines that are over are left out."""

    call: CallId
    lines: tuple[LineInfo, ...]


@frozen(kw_only=True)
class InfoReceived:
    """INFO from the peer. `package`: of RFC 6086, if it belongs to one of ours. `headers`: all lines of the request.

    It has been answered 200, unless it has a name, `info`: then AnswerInfo; else it is refused after `waits.info_answer`.
    """

    call: CallId
    content_type: str
    body: bytes
    package: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    info: str = ""


@frozen(kw_only=True)
class DtmfReceived:
    """A digit from the peer (R: flash); `duration` in milliseconds, None when not said. way: RTP or INFO."""

    call: CallId
    digit: str
    duration: int | None
    way: DigitWay = DigitWay.INFO


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
    | TransferProgressed
    | TransferRequested
    | CallReconnecting
    | CallRecovered
    | CallEnded
    | MediaChanged
    | MediaNegotiated
    | InfoReceived
    | DtmfReceived
    | MessageReceived
    | EventEvent
    | ProtocolViolated
)
Output = Effect | Outcome | Event
