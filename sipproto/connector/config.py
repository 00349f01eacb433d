"""What a connector is told at its start, and what each connection is made with."""

from __future__ import annotations

import enum

from attrs import field, frozen, validators

from sipproto.agent.inputs import Media
from sipproto.errors import LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.media.resolution import Resolution
from sipproto.message import Headers, escape_user, parse_sip_uri
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction

SENDRECV: Media = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


class BusyPolicy(enum.Enum):
    """What becomes of a caller while there is a call: RING tells the application as ever, REFUSE answers 486."""

    RING = "ring"
    REFUSE = "refuse"


@frozen(kw_only=True)
class ConnectorConfig:
    """Settings for the life of a connector. Times in seconds, bit rates in bits per second.

    attempts, attempt_pause: how often a connection is tried for, and the time in between. probe_limit: how long a ping may
    take. leave_limit: how long un-REGISTER may take when we disconnect. codecs: for calls and presentations that name none.
    presentation_bitrate: the most that a presentation sends, unless it says so itself. presentation_pause: between two
    attempts. balancing_start_delay: from the start of a call until its main video is balanced; None: when asked for only.
    ignore_for_codec: a piece of the name of a codec that is left alone. max_resolution: of our own accord no larger pictures
    of the main video are sent. track_poll_interval, track_max_poll_interval: see sipproto.media.track_monitor.
    statistics_interval: 0: no statistics. problem_samples: a problem of the main video is told when so many in a row have it.
    restart_ice: restart ICE when the server says so. busy: see BusyPolicy. max_incoming: callers that may ring at once; others
    hear 486. max_waiting: commands that may wait for others.
    """

    attempts: int = field(default=3, validator=validators.ge(1))
    attempt_pause: float = field(default=0.3, validator=validators.ge(0))
    probe_limit: float = field(default=10.0, validator=validators.gt(0))
    leave_limit: float = field(default=2.0, validator=validators.gt(0))
    codecs: CodecPreferences = CodecPreferences()
    presentation_bitrate: int = field(default=1_000_000, validator=validators.gt(0))
    presentation_pause: float = field(default=0.3, validator=validators.ge(0))
    balancing_start_delay: float | None = 10.0
    ignore_for_codec: str | None = None
    max_resolution: Resolution | None = None
    track_poll_interval: float = field(default=1.0, validator=validators.gt(0))
    track_max_poll_interval: float | None = None
    statistics_interval: float = field(default=1.0, validator=validators.ge(0))
    problem_samples: int = field(default=3, validator=validators.ge(1))
    restart_ice: bool = True
    busy: BusyPolicy = BusyPolicy.RING
    max_incoming: int = field(default=8, validator=validators.ge(1))
    max_waiting: int = field(default=16, validator=validators.ge(1))


@frozen(kw_only=True)
class AutoConnect:
    """How a connection is tried for until it comes about: whatever fails is tried again, but for what is refused for good.

    first_delay, max_delay: seconds; the first doubles with each attempt up to the second, and of that between a half and all is
    waited, by chance. attempts: the most of them; None: no limit.
    """

    first_delay: float = field(default=1.0, validator=validators.gt(0))
    max_delay: float = field(default=30.0, validator=validators.gt(0))
    attempts: int | None = field(default=None, validator=validators.optional(validators.ge(1)))

    def delay(self, failed: int, chance: float) -> float:
        """Seconds to wait after so many attempts that have failed. chance: from 0 to 1."""
        ceiling = min(self.max_delay, self.first_delay * 2.0 ** min(failed - 1, 30))
        return ceiling * (0.5 + 0.5 * chance)


@frozen(kw_only=True)
class ConnectionParameters:
    """What to connect with. Lifetimes and intervals in seconds.

    sip_server_url: the domain of our address, with or without `sip:`. sip_web_socket_server_url: where to connect to, e.g.
    `wss://sip.example.com/ws`, or any server address that the transports of the runtime know. user, password: needed to
    `register`; without a password we are a guest, whose name is a number of chance. remote_address and extra_headers: lines of
    each REGISTER and, for guests, who send none, of each INVITE. connection_recovery: the shortest and the longest time
    between two attempts when a connection was lost. session_timers: False: we neither ask for them nor agree to those of a
    peer that does not require them (SessionTimers). legacy_display_name: write "_" for each space of the display name, as
    older servers want it. attempts: None: as the connector is configured.
    """

    sip_server_url: str
    sip_web_socket_server_url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    register: bool = False
    display_name: str = ""
    user_agent: str = "sipproto"
    remote_address: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    register_expires: int = 300
    connection_recovery: tuple[float, float] = (2.0, 6.0)
    session_timers: bool = False
    legacy_display_name: bool = False
    attempts: int | None = None

    @property
    def shown_name(self) -> str:
        name = self.display_name.strip()
        return name.replace(" ", "_") if self.legacy_display_name else name

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What REGISTER carries."""
        remote = (("X-Vinteo-Remote", self.remote_address),) if self.remote_address else ()
        return (*remote, *self.extra_headers)

    def check(self) -> None:
        """Raises LocalProtocolError for what cannot be used."""
        if not self.sip_server_url.strip():
            raise LocalProtocolError("sip_server_url is required")
        if not self.sip_web_socket_server_url.strip():
            raise LocalProtocolError("sip_web_socket_server_url is required")
        if self.register and not (self.user or "").strip():
            raise LocalProtocolError("user is required for an authorized connection")
        if self.register and self.password is None:
            raise LocalProtocolError("password is required for an authorized connection")
        if self.attempts is not None and self.attempts < 1:
            raise LocalProtocolError("there is at least one attempt")
        first, last = self.connection_recovery
        if not 0 < first <= last:
            raise LocalProtocolError("the times between two attempts are above 0, the shortest first")
        Headers([("Display-Name", self.display_name), ("User-Agent", self.user_agent), *self.headers])
        self.address((self.user or "").strip() or "1")

    def address(self, user: str) -> str:
        """The address of a user of the server."""
        return address_at(self.sip_server_url, user)


def address_at(server: str, user: str) -> str:
    """`sip:user@domain`, for a server with or without a scheme; a user that is a whole address already stays it.

    Raises LocalProtocolError when that is no address.
    """
    user, scheme, domain = user.strip(), "sip", server.strip().rstrip("/")
    if not user:
        raise LocalProtocolError("a name or a number to call is required")
    if user.lower().startswith(("sip:", "sips:")):
        text = user
    else:
        for prefix in ("sip", "sips"):
            if domain.lower().startswith(prefix + ":"):
                scheme, domain = prefix, domain[len(prefix) + 1 :]
        text = f"{scheme}:{escape_user(user)}@{domain}"
    try:
        return str(parse_sip_uri(text))
    except MessageSyntaxError as error:
        raise LocalProtocolError(f"{excerpt(text)!r} is no address: {error}") from None
