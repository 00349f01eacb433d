"""Everything that can happen to an agent. What happened is in the past tense, what is asked for in the imperative.

Identifiers are chosen by whoever creates the thing: `command` and the `call` of an Invite by the caller, `flow` by the
agent for `OpenFlow` and by the runtime for accepted connections (any number not in use).
"""

from __future__ import annotations

import enum

from attrs import Attribute, field, frozen

from sipproto.agent.causes import ConnectFailure, Reason
from sipproto.agent.config import Recovery, SessionTimers
from sipproto.agent.event_inputs import *  # noqa: F403  what belongs here, too
from sipproto.agent.event_inputs import EventCommand
from sipproto.agent.media import CallId, MediaInput
from sipproto.agent.media import CommandId as CommandId
from sipproto.agent.parameters import SenderParameters
from sipproto.auth import Credential
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction
from sipproto.transaction import FlowId

Media = tuple[tuple[str, Direction], ...]  # pairs of kind and direction


def _pairs(_: object, attribute: Attribute[Media], value: Media) -> None:
    """attrs validator: else it is noticed when a description is written, long after the command was taken."""
    try:
        valid = all(isinstance(name, str) and isinstance(wanted, Direction) for name, wanted in value)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise TypeError(f"{attribute.name} is to be a tuple of pairs of a text and a Direction, not {value!r}")


@frozen(kw_only=True)
class FlowOpened:
    """A connection is ready for SIP: one asked for with `OpenFlow`, or one that a server has accepted.

    transport: the name for Via: UDP, TCP, TLS, WS or WSS. local: our (host, port), for Via and Contact of flows that are
    not WebSocket (RFC 7118 5 hides the address of those). remote: the peer's, for `received` and `rport` (RFC 3581 4).
    """

    flow: FlowId
    transport: str
    local: tuple[str, int] | None = None
    remote: tuple[str, int] | None = None


@frozen(kw_only=True)
class OpenFlowFailed:
    """An `OpenFlow` did not succeed; `error` says why in one line fit for a user.

    failure: the same for programs, None when it is none of those. certificate: that of the server (DER), when it does not
    verify and was asked for.
    """

    flow: FlowId
    error: str
    failure: ConnectFailure | None = None
    certificate: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class DataReceived:
    """One WebSocket message, one datagram, or any piece of a stream."""

    flow: FlowId
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class FlowClosed:
    """The connection is gone. `error` is None when it was closed in order."""

    flow: FlowId
    error: str | None = None


@frozen(kw_only=True)
class TimeoutElapsed:
    """`next_timeout()` may have passed. Too early does nothing; too late fires all that is due, in order."""


@frozen(kw_only=True)
class Server:
    """One of several servers. Those of the greatest weight are tried first, equal ones in an order of chance."""

    url: str
    weight: int = 1


@frozen(kw_only=True)
class Connect:
    """Open the flow to a server, e.g. `wss://sip.example.com:443/ws`, or to the first of several that takes it.

    All requests go there. When the connection is lost later it is tried for again (`AgentConfig.recovery`). While that
    goes on another Connect tries at once, with the servers that it names.
    """

    command: CommandId
    server: str | tuple[Server, ...]


@frozen(kw_only=True)
class HurryConnection:
    """Try for a lost connection at once, not when the back-off is over. When that fails it goes on as before, calls included.

    Otherwise it does nothing. Succeeds at once: what comes of it is told by ConnectionChanged.
    """

    command: CommandId


@frozen(kw_only=True)
class Disconnect:
    """Close the flow and do not try for another. Calls end without a BYE: to end in order, use Shutdown."""

    command: CommandId


@frozen(kw_only=True)
class SetSecrets:
    """Use these from the next request on: a password has changed, a token was renewed. Ends at once."""

    command: CommandId
    secrets: tuple[Credential, ...] = field(repr=False)


@frozen(kw_only=True)
class UseAccount:
    """Be somebody else from now on: without a connection, and without calls. The fields are those of AgentConfig.

    Ends at once. Raises LocalProtocolError while there is a connection, a call or a subscription.
    """

    command: CommandId
    aor: str
    display_name: str = ""
    secrets: tuple[Credential, ...] = field(default=(), repr=False)
    user_agent: str = "sipproto"
    register_expires: int = 600
    register_headers: tuple[tuple[str, str], ...] = ()
    recovery: Recovery = Recovery()
    session_timers: SessionTimers = SessionTimers()


@frozen(kw_only=True)
class SetDisplayName:
    """The name in requests from the next one on. Ends at once."""

    command: CommandId
    display_name: str


@frozen(kw_only=True)
class Register:
    """Register, and keep registered until Unregister. `expires`: seconds, or the configured value."""

    command: CommandId
    expires: int | None = None


@frozen(kw_only=True)
class Unregister:
    """Remove our binding. Succeeds at once when there is none.

    everything: remove all bindings of the address, those of other devices too (`Contact: *`, RFC 3261 10.2.2).
    """

    command: CommandId
    everything: bool = False


@frozen(kw_only=True)
class Invite:
    """Call `target`. `call` is a name of the caller's choice that is not in use.

    With `media` (pairs of kind and direction) the agent negotiates; else `body` is sent as it is. The command ends when
    the call is established or has failed. `headers` are added to the INVITE. Raises LocalProtocolError when nothing is
    said to offer, and the offer is not left to the peer either.

    codecs: which to prefer and to leave out, until a ChangeMedia says otherwise.

    late_offer: leave the offer to the peer; the answer is in our ACK (RFC 3261 13.2.1). With media the agent makes it, without
    the application gets CallOffered, and has to Answer. choose_redirect: a 3xx does not end the call, but is reported as
    CallRedirected, and waits for Redirect or HangUp.
    """

    command: CommandId
    call: CallId
    target: str
    media: Media = field(default=(), validator=_pairs)
    codecs: CodecPreferences = CodecPreferences()
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/sdp"
    headers: tuple[tuple[str, str], ...] = ()
    late_offer: bool = False
    choose_redirect: bool = False


@frozen(kw_only=True)
class Redirect:
    """Go on with a redirected call at `target`, one of its contacts or any other. Ends at once."""

    command: CommandId
    call: CallId
    target: str


@frozen(kw_only=True)
class Progress:
    """Tell the caller of an incoming call how it goes: a provisional answer of 101 to 199, e.g. 183 with early media.

    With `media` or `body` it carries our answer already (or our offer, where the INVITE has none), and media may flow; the
    Answer later needs none. It is sent reliably (RFC 3262) when it carries a description and the caller can do that, or
    when the caller insists. Ends when it is on its way.
    """

    command: CommandId
    call: CallId
    status: int = 183
    reason: str | None = None
    media: Media = field(default=(), validator=_pairs)
    codecs: CodecPreferences = CodecPreferences()
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/sdp"
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Answer:
    """Answer an incoming call, or the offer that a CallOffered has brought.

    With `media`, one pair for each line of a kind, in their order; lines beyond are refused. Else `body` is the answer as
    it is. codecs: as in Invite. Raises LocalProtocolError without either, unless a Progress has given them.
    """

    command: CommandId
    call: CallId
    media: Media = field(default=(), validator=_pairs)
    codecs: CodecPreferences = CodecPreferences()
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/sdp"
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class HangUp:
    """End a call in whatever state it is: CANCEL, BYE, or a refusal with `status` (300 to 699) of an incoming one.

    The call is over for the application when the command ends, which is at once (RFC 3261 15.1.1). reason: the phrase of a
    refusal. reasons: told in CANCEL, BYE or the refusal (RFC 3326).
    """

    command: CommandId
    call: CallId
    status: int = 603
    reason: str | None = None
    reasons: tuple[Reason, ...] = ()


@frozen(kw_only=True)
class Hold:
    """Hold a call. A refusal leaves the call as it was."""

    command: CommandId
    call: CallId


@frozen(kw_only=True)
class Resume:
    """End our hold."""

    command: CommandId
    call: CallId


@frozen(kw_only=True)
class ChangeMedia:
    """Change the media lines of a call by one re-INVITE or UPDATE: all of it, or nothing when the peer refuses.

    add: new lines, by kind and direction. directions and remove: of lines there are, by mid. codecs: which to prefer and
    to leave out from now on, None: as before. A line of the peer that was added in mid-call is taken as
    `AgentConfig.new_lines` says and may be changed here. The result is the mids of the lines added.
    """

    command: CommandId
    call: CallId
    add: Media = field(default=(), validator=_pairs)
    directions: tuple[tuple[str, Direction], ...] = field(default=(), validator=_pairs)
    remove: tuple[str, ...] = ()
    codecs: CodecPreferences | None = None
    use_update: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class RestartIce:
    """Have both sides look for a new way for the media (RFC 8445 9), by re-INVITE or UPDATE.

    The result is whether they do: False when the peer ignored the wish. A refusal leaves all as it was, and so does a
    peer that does not answer, whatever RFC 3261 14.1 says: a call whose media are in trouble is not ended for that.
    """

    command: CommandId
    call: CallId
    use_update: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Refer:
    """Transfer a call: ask its peer to call `target` (blind), or the peer of our call `other` in place of us (attended).

    Ends when the peer tells what became of the new call; the result is the status told last. Without `notify` the peer is
    asked not to tell (RFC 4488), and the command ends with its agreement. Our own call goes on until somebody hangs up:
    after an attended transfer that succeeded the other two have each other, and `other` is ended by its peer.
    """

    command: CommandId
    call: CallId
    target: str = ""
    other: CallId | None = None
    notify: bool = True
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class AcceptTransfer:
    """Do what a TransferRequested asks for: call its target, as the new call `call`. The peer is told how that goes.

    The rest is as in Invite, but the offer is ours. Ends when the new call is established or has failed.
    """

    command: CommandId
    transfer: str
    call: CallId
    media: Media = field(default=(), validator=_pairs)
    codecs: CodecPreferences = CodecPreferences()
    body: bytes = field(default=b"", repr=False)
    content_type: str = "application/sdp"
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class RejectTransfer:
    """Do not do what a TransferRequested asks for; `status`: 300 to 699. Ends at once."""

    command: CommandId
    transfer: str
    status: int = 603


@frozen(kw_only=True)
class SendInfo:
    """INFO in a call. The result is the status of the answer; a refusal or silence never ends the call.

    package: of RFC 6086; without one it is a legacy INFO.
    """

    command: CommandId
    call: CallId
    content_type: str
    body: bytes
    package: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class AnswerInfo:
    """Answer an INFO that an InfoReceived has told of (`AgentConfig.answer_infos`), with 200 to 699. Ends at once."""

    command: CommandId
    call: CallId
    info: str
    status: int = 200
    reason: str | None = None


class DigitWay(enum.Enum):
    """How digits go: AUTO is RTP where the peer takes telephone-event and we send audio, else INFO."""

    AUTO = "auto"
    RTP = "rtp"  # RFC 4733
    INFO = "info"  # application/dtmf-relay


@frozen(kw_only=True)
class SendDtmf:
    """Digits (0-9 A-D * #, and "," for a pause of two seconds), one after the other; a later command waits for them.

    duration: of each digit in milliseconds, 40 to 6000. gap: seconds between two digits.
    """

    command: CommandId
    call: CallId
    digits: str
    duration: int = 160
    gap: float = 0.1
    way: DigitWay = DigitWay.AUTO


@frozen(kw_only=True)
class SendMessage:
    """An instant message outside of calls (RFC 3428)."""

    command: CommandId
    target: str
    body: bytes
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class SendOptions:
    """OPTIONS outside of calls. Any final answer is a success: the server is there. `timeout`: seconds.

    content_type: of a body, if there is one.
    """

    command: CommandId
    target: str
    timeout: float | None = None
    body: bytes = field(default=b"", repr=False)
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class GetStats:
    """What the media engine measures of a call. The result is a MediaReport."""

    command: CommandId
    call: CallId


@frozen(kw_only=True)
class SetParameters:
    """Send a line, named by its mid, with these parameters from now on; the peer is not asked.

    The result is EffectiveParameters.
    """

    command: CommandId
    call: CallId
    line: str
    parameters: SenderParameters


@frozen(kw_only=True)
class RequestKeyFrame:
    """Have the peer send a picture that can be decoded alone, or do so ourselves (`ours`). The line is named by its mid."""

    command: CommandId
    call: CallId
    line: str
    ours: bool = False


@frozen(kw_only=True)
class Shutdown:
    """End every call, remove the registration, close the flows. Ends after `waits.shutdown` at the latest."""

    command: CommandId


Command = (
    Connect
    | HurryConnection
    | Disconnect
    | SetSecrets
    | UseAccount
    | SetDisplayName
    | Register
    | Unregister
    | Invite
    | Redirect
    | Progress
    | Answer
    | HangUp
    | Hold
    | Resume
    | ChangeMedia
    | RestartIce
    | Refer
    | AcceptTransfer
    | RejectTransfer
    | SendInfo
    | AnswerInfo
    | SendDtmf
    | SendMessage
    | SendOptions
    | GetStats
    | SetParameters
    | RequestKeyFrame
    | EventCommand
    | Shutdown
)
Notice = FlowOpened | OpenFlowFailed | DataReceived | FlowClosed | TimeoutElapsed
Input = Notice | Command | MediaInput
