"""What the views of the phone see: values of plain fields, told anew whenever they change. No secret is ever among them."""

from __future__ import annotations

import enum
from typing import Any

from attrs import asdict, field, frozen


class Online(enum.Enum):
    """The status light."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    REGISTERING = "registering"
    ONLINE = "online"
    RETRYING = "retrying"
    FAILED = "failed"


class Problem(enum.Enum):
    """Why the phone is not online, in words that a view translates."""

    WRONG_PASSWORD = "wrong_password"
    UNKNOWN_HOST = "unknown_host"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    NO_PASSWORD = "no_password"
    SETTINGS = "settings"  # they cannot be used; `detail` says which


@frozen(kw_only=True)
class UntrustedCertificate:
    """The server's certificate is trusted by nobody: what it says of itself, for a user to compare."""

    host: str
    fingerprint: str  # SHA-256, hexadecimal, octets separated by colons
    subject: str
    issuer: str
    not_after: str


@frozen(kw_only=True)
class Connection:
    """`retry_in`: seconds from when this was told; None: not retrying. `detail`: one line for a tooltip."""

    online: Online = Online.OFFLINE
    problem: Problem | None = None
    detail: str = ""
    retry_in: float | None = None
    certificate: UntrustedCertificate | None = None


class Phase(enum.Enum):
    """Where a call is."""

    DIALLING = "dialling"
    RINGING = "ringing"  # at the other end
    INCOMING = "incoming"
    TALKING = "talking"
    HELD = "held"  # by us
    RECONNECTING = "reconnecting"
    ENDED = "ended"  # shown for some seconds


class Outcome(enum.Enum):
    """How a call ended; also in the journal."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    CANCELED = "canceled"
    MISSED = "missed"
    ELSEWHERE = "elsewhere"  # answered by another device
    FAILED = "failed"


@frozen(kw_only=True)
class Figures:
    """What is measured of a call that is up. Loss: 0 to 1; jitter and round trip: seconds; bit rates: bits per second.

    quality: 0 (bad) to 4 (good), for the bar; None while it is not known.
    """

    codec: str = ""
    loss: float | None = None
    jitter: float | None = None
    round_trip: float | None = None
    bitrate_in: float | None = None
    bitrate_out: float | None = None
    level_in: float | None = None
    quality: int | None = None


@frozen(kw_only=True)
class CallView:
    """A call as it is shown.

    answered_at: seconds of the clock of the event loop, which nobody sets; the timer counts from it. `held_by_peer`: they
    hold us. number and name: of the other side; name "" when nothing but the number is known. transfer: the last status of
    a transfer that is under way. entry: of the journal.
    """

    id: str
    phase: Phase
    incoming: bool
    number: str
    name: str = ""
    shown_number: str = ""  # as phonenumbers writes it
    answered_at: float | None = None
    held_by_peer: bool = False
    muted: bool = False
    outcome: Outcome | None = None
    detail: str = ""
    digits: str = ""  # that were sent
    transfer: int | None = None
    figures: Figures = Figures()
    entry: int | None = None


@frozen(kw_only=True)
class AudioDevice:
    """name: what it is chosen by; "" stands for the default of the system."""

    name: str
    label: str


@frozen(kw_only=True)
class Devices:
    """What there is, and what is chosen. `problem`: why there is no sound, in one line."""

    microphones: tuple[AudioDevice, ...] = ()
    speakers: tuple[AudioDevice, ...] = ()
    microphone: str = ""
    speaker: str = ""
    ringer: str = ""
    problem: str = ""


@frozen(kw_only=True)
class Mailbox:
    """Messages that wait (RFC 3842). None: the server does not say."""

    new: int | None = None
    old: int | None = None


@frozen(kw_only=True)
class AccountView:
    """An account without its password. `has_password`: one is stored."""

    id: str
    display_name: str
    server: str
    login: str
    transport: str
    has_password: bool
    active: bool


@frozen(kw_only=True)
class PhoneState:
    """Everything that is shown at once. `revision` grows with each change. volume: 0 to 1, of what is heard.

    keyring: whether passwords are kept in the keyring of the system; else `keyring_detail` says where they are instead.
    """

    revision: int = 0
    connection: Connection = Connection()
    accounts: tuple[AccountView, ...] = ()
    calls: tuple[CallView, ...] = ()
    devices: Devices = Devices()
    volume: float = 1.0
    mailbox: Mailbox = Mailbox()
    language: str = "en"
    keyring: bool = True
    keyring_detail: str = ""
    last_number: str = ""
    demo: bool = False
    notice: str = ""  # the last thing that went wrong, in one line; "" after it was dismissed
    version: str = field(default="")


def as_json(value: Any) -> Any:
    """Plain values for JSON: enums by their values, attrs values as objects."""

    def plain(_: Any, __: Any, inner: Any) -> Any:
        return inner.value if isinstance(inner, enum.Enum) else inner

    return asdict(value, value_serializer=plain)
