"""What the phone needs of its surroundings, and what they get of it."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import field, frozen

from sipproto_phone.model import Outcome


@frozen(kw_only=True)
class Account:
    """What to be registered as. transport: wss, ws, tls, tcp or udp. port 0: that of the transport.

    server: the domain of the address. path: of the WebSocket. proxy: a whole server address that takes the place of
    server, transport, port and path as where to connect to. hosts: lines `host=address[:port]`. ca_file: authorities
    (PEM) beside those of the system. ice_servers: URLs of STUN and TURN servers. turn_user: their user name;
    the password is in the password store, under `<id>/turn`. expires: seconds of a registration.
    """

    id: str
    display_name: str = ""
    server: str = ""
    login: str = ""
    transport: str = "wss"
    port: int = 0
    path: str = "/ws"
    proxy: str = ""
    hosts: tuple[str, ...] = ()
    ca_file: str = ""
    pins: tuple[str, ...] = ()  # `host=fingerprint` of certificates that the user trusts
    ice_servers: tuple[str, ...] = ()
    turn_user: str = ""
    expires: int = 300


@frozen(kw_only=True)
class Settings:
    """Settings of the phone that belong to no account.

    language: ru, en or "" for that of the system. region: for numbers without a country, ISO 3166. call_waiting: a second
    caller rings; else 486. ring_seconds: until a caller is rejected. webhook: an URL that gets each ticket as JSON.
    """

    language: str = ""
    region: str = "RU"
    call_waiting: bool = True
    ring_seconds: float = 30.0
    microphone: str = ""
    speaker: str = ""
    ringer: str = ""
    volume: float = 1.0
    echo_cancellation: bool = False
    webhook: str = ""
    active_account: str = ""
    accounts: tuple[Account, ...] = ()


class SettingsStore(Protocol):
    """Keeps the settings; nothing of them is secret. Saving is complete or not at all: then it raises StorageError."""

    def load(self) -> Settings: ...

    def save(self, settings: Settings) -> None: ...


class PasswordStore(Protocol):
    """Keeps passwords by account. `is_keyring`: whether that is the keyring of the system; else `detail` says where.

    `set` and `remove` raise StorageError when they cannot.
    """

    @property
    def is_keyring(self) -> bool: ...

    @property
    def detail(self) -> str: ...

    def get(self, account: str) -> str | None: ...

    def set(self, account: str, password: str) -> None: ...

    def remove(self, account: str) -> None: ...


@frozen(kw_only=True)
class JournalEntry:
    """A call of the past. started: seconds since 1970; duration: seconds from the answer on, 0 without one."""

    id: int
    started: float
    incoming: bool
    number: str
    name: str
    duration: float
    outcome: Outcome
    account: str = ""
    open: bool = False  # it was not ended when the phone last wrote: the process died, or the call goes on


@frozen(kw_only=True)
class Ticket:
    id: int
    created: float
    changed: float
    customer: str
    contact: str
    number: str
    text: str = field(repr=False)
    status: str = "open"
    call: int | None = None


class Journal(Protocol):
    """Calls and tickets. A call is written when it begins, so that it is not lost when the process dies."""

    def call_began(self, *, started: float, incoming: bool, number: str, name: str, account: str) -> int: ...

    def call_answered(self, entry: int, at: float) -> None: ...

    def call_ended(self, entry: int, *, at: float, outcome: Outcome) -> None: ...

    def calls(self, *, search: str, missed: bool, before: int | None, limit: int) -> tuple[JournalEntry, ...]: ...

    def export_csv(self) -> str: ...

    def import_csv(self, text: str) -> int: ...

    def clear_calls(self) -> None: ...

    def tickets(self, *, search: str, status: str, before: int | None, limit: int) -> tuple[Ticket, ...]: ...

    def save_ticket(self, values: dict[str, Any], now: float) -> Ticket: ...

    def remove_ticket(self, ident: int) -> None: ...

    def close(self) -> None: ...
