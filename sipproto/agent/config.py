"""What an agent is told once, at its start."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import Attribute, field, frozen

from sipproto._entropy import SystemTokens
from sipproto.auth import AuthPolicy, Credential
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import Headers, MessageLimits, SipUri, is_token, parse_sip_uri
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import Direction
from sipproto.timers import TimerValues
from sipproto.tokens import TokenSource


@frozen(kw_only=True)
class AgentLimits:
    """How much a peer or an application can make an agent hold. Passing a limit has a defined answer, given beside it."""

    message: MessageLimits = MessageLimits()  # the message is dropped, a stream closed
    calls: int = 1000  # 486 to an INVITE; LocalProtocolError to the application
    early_dialogs: int = 16  # per call; further forks are ignored, also those that answer after the first
    server_transactions: int = 10_000  # requests are ignored until one ends
    transfers: int = 100  # asked for by peers and not over; 603
    exchanges: int = 10_000  # LocalProtocolError to the application
    subscriptions: int = 1000  # of ours, each with one dialog; LocalProtocolError to the application
    watchers: int = 1000  # peers that have subscribed; 503 to a SUBSCRIBE
    notifications: int = 64  # waiting in one subscription of a peer; LocalProtocolError to the application
    publications: int = 100  # LocalProtocolError to the application


@frozen(kw_only=True)
class Waits:
    """How long an agent waits, in seconds. No wait is without end."""

    connect: float = 12.0  # for a flow to open
    ring: float = 180.0  # for the final answer to our INVITE, counted from its first provisional
    answer: float = 60.0  # for the application to answer a call (then 480)
    media: float = 20.0  # for a reply of the media engine
    request: float = 32.0  # for the answer to a request outside calls; timer F ends it at 64*T1 at the latest
    transfer: float = 180.0  # for the outcome of a transfer that the peer has agreed to
    info: float = 10.0  # for the answer to INFO: some servers never give one
    info_answer: float = 5.0  # for the application to answer an INFO (then 480), where it does that itself
    subscription: float = 10.0  # for the application to answer a SUBSCRIBE (then 480)
    shutdown: float = 3.0  # for BYE, un-SUBSCRIBE and un-REGISTER when the agent ends


@frozen(kw_only=True)
class Recovery:
    """What happens when the connection to the server is lost, or the media of a call are. Delays in seconds.

    reconnect: try again, for as long as the agent lives or until Disconnect: each time after a delay of chance between 0
    and a limit, which doubles with each round that failed from `first_delay` up to `max_delay`; then register again.
    grace: how long an established call waits for a connection and for its peer to agree to go on; 0 ends calls at once.
    """

    reconnect: bool = True
    first_delay: float = 1.0
    max_delay: float = 30.0
    grace: float = 60.0


def _agrees_to_its_own(timers: SessionTimers, _: object, value: bool) -> None:
    if timers.expires and not value:
        raise LocalProtocolError("who asks for session timers agrees to them, too")


@frozen(kw_only=True)
class SessionTimers:
    """Session timers (RFC 4028), in seconds: a call whose peer is silently gone is found out.

    expires: what we ask for; 0: we ask for none. minimum: less is answered 422; never under 90 (RFC 4028 5). agree: whether
    to agree to those of peers; False, with `expires` 0: only to one who requires it, or who leaves the refreshing to us all
    the same, because the call would be lost otherwise.
    """

    expires: int = 1800
    minimum: int = 90
    agree: bool = field(default=True, validator=_agrees_to_its_own)


class SdpTransform(Protocol):
    """Gets a session description of the peer and gives the one to be worked with; the same for the same (no I/O, no clock).

    An exception is taken for a description that cannot be used: an offer is refused with 488.
    """

    def __call__(self, sdp: bytes, /) -> bytes: ...


def unchanged(sdp: bytes, /) -> bytes:
    """The SdpTransform that does nothing."""
    return sdp


def _no_credentials_in_aor(_: object, __: object, value: str) -> None:
    try:
        uri = parse_sip_uri(value)
    except MessageSyntaxError as error:
        raise LocalProtocolError(f"the address of record {value!r} is no SIP URI: {error}") from None
    if uri.user is None or uri.password is not None or uri.headers:
        raise LocalProtocolError("an address of record has a user, and neither a password nor headers")


def _tokens(_: object, attribute: Attribute[Any], value: tuple[str, ...]) -> None:
    if not all(map(is_token, value)):
        raise LocalProtocolError(f"{attribute.name.replace('_', ' ')} have tokens for names")


def _no_control(_: object, attribute: Attribute[Any], value: str | None) -> None:
    Headers([(attribute.name.replace("_", "-"), value or "")])  # raises LocalProtocolError: it will stand in headers


def _header_lines(_: object, __: object, value: tuple[tuple[str, str], ...]) -> None:
    Headers(value)


def _under_an_hour(_: object, __: object, value: int) -> None:
    # RFC 6665 4.2.1.1: a lifetime of an hour or more must not be refused as too short.
    if not 1 <= value <= 3600:
        raise LocalProtocolError("the least lifetime of a subscription is 1 to 3600 s")


@frozen(kw_only=True)
class AgentConfig:
    """Configuration of one agent.

    aor: the address of record, e.g. `sip:alice@example.com`. secrets: user names and passwords, or tokens.
    register_expires: wanted lifetime of a registration in seconds (60 to 86400 are sensible).
    capabilities: what the media engine can do; None for an agent whose application brings session descriptions itself.
    new_lines: what a media line may do that the peer adds in mid-call; inactive refuses it. transform_remote_sdp: to mend
    what a peer writes, before anything else sees it; transcripts do not contain it.
    any_user: accept calls to every user part, as a server does, and not only to our own.
    accept_notifications: take NOTIFYs that nobody has subscribed to, such as those of a voice mail; else 481.
    events: the packages that peers may subscribe to, e.g. `presence`; others are answered 489. min_subscription and
    max_subscription: their lifetimes in seconds; less is answered 423, more is cut.
    keep_alive: seconds between two pings (CRLF, RFC 5626 3.5.1) on TCP, TLS and UDP; 0: none. A WebSocket has its own.
    register_headers: lines that each REGISTER carries.
    answer_infos: the application answers each INFO with AnswerInfo; else all are answered 200. Digits are answered anyway.
    info_packages: names of the INFO packages that the application understands (RFC 6086); others are answered 469.
    tokens: the source of randomness; give SeededTokens to make an agent repeat itself.
    """

    aor: str = field(validator=_no_credentials_in_aor)
    display_name: str = field(default="", validator=_no_control)
    secrets: tuple[Credential, ...] = ()
    auth_policy: AuthPolicy = AuthPolicy()
    user_agent: str = field(default="sipproto", validator=_no_control)
    # A URN, e.g. "urn:uuid:..." (RFC 5626 4.1); made from tokens when None
    instance_id: str | None = field(default=None, validator=_no_control)
    register_expires: int = 600
    register_headers: tuple[tuple[str, str], ...] = field(default=(), validator=_header_lines)
    capabilities: MediaCapabilities | None = None
    new_lines: Direction = Direction.RECVONLY
    transform_remote_sdp: SdpTransform = unchanged
    any_user: bool = False
    accept_messages: bool = True
    accept_transfers: bool = True
    answer_infos: bool = False
    info_packages: tuple[str, ...] = field(default=(), validator=_tokens)
    accept_notifications: bool = True
    events: tuple[str, ...] = field(default=(), validator=_tokens)
    min_subscription: int = field(default=60, validator=_under_an_hour)
    max_subscription: int = 3600
    recovery: Recovery = Recovery()
    session_timers: SessionTimers = SessionTimers()
    keep_alive: float = 25.0
    timers: TimerValues = TimerValues()
    waits: Waits = Waits()
    limits: AgentLimits = AgentLimits()
    tokens: TokenSource = field(factory=SystemTokens, repr=False)

    @property
    def uri(self) -> SipUri:
        return parse_sip_uri(self.aor)

    @property
    def registrar(self) -> str:
        """Where REGISTER goes: the domain of the address of record (RFC 3261 10.2)."""
        uri = self.uri
        return str(SipUri(scheme=uri.scheme, host=uri.host, port=uri.port))
