"""Everything that a view can ask of the phone: one table for the page, the terminal and tests.

A command has a name and fields; its answer is a JSON value. Wrong fields are a CommandProblem with a line for the user.
"""

from __future__ import annotations

from typing import Any

from attrs import NOTHING, field, fields, frozen

from sipproto.errors import SipProtoError


class CommandProblem(SipProtoError):
    """A command that cannot be carried out; the text is one line for the user. `code`: stable, for translations."""

    def __init__(self, text: str, code: str = "not_possible") -> None:
        super().__init__(text)
        self.code = code


# -- calls: `call` is the id of a CallView -----------------------------------------------------------------------------


@frozen(kw_only=True)
class Dial:
    """Call a number, or a whole SIP address. Returns the id of the call at once."""

    number: str


@frozen(kw_only=True)
class Redial:
    pass


@frozen(kw_only=True)
class Answer:
    """Answer a caller; a call that we talk in is held first."""

    call: str


@frozen(kw_only=True)
class HangUp:
    """End a call in whatever state it is; a caller who is not answered is rejected."""

    call: str


@frozen(kw_only=True)
class Hold:
    call: str


@frozen(kw_only=True)
class Resume:
    """Talk in this call again; another that we talk in is held first."""

    call: str


@frozen(kw_only=True)
class Mute:
    call: str
    muted: bool


@frozen(kw_only=True)
class SendDigits:
    call: str
    digits: str


@frozen(kw_only=True)
class Transfer:
    """To a number (blind), or to the other side of another call of ours (attended)."""

    call: str
    number: str = ""
    other: str = ""


# -- sound -------------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class SetVolume:
    volume: float


@frozen(kw_only=True)
class ChooseDevices:
    """By AudioDevice.name; None: leave as it is."""

    microphone: str | None = None
    speaker: str | None = None
    ringer: str | None = None


@frozen(kw_only=True)
class RefreshDevices:
    pass


# -- accounts and settings ---------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class SaveAccount:
    """Store an account and connect with it. id "": a new one. password None: as it was. The fields are those of Account."""

    account: dict[str, Any] = field(repr=False)
    password: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class UseAccount:
    """Connect with another account."""

    id: str


@frozen(kw_only=True)
class RemoveAccount:
    id: str


@frozen(kw_only=True)
class GetAccount:
    """All fields of an account but its password."""

    id: str


@frozen(kw_only=True)
class Connect:
    """Try now."""


@frozen(kw_only=True)
class Disconnect:
    pass


@frozen(kw_only=True)
class TrustCertificate:
    """Trust the certificate with this fingerprint for this host, and connect again."""

    host: str
    fingerprint: str


@frozen(kw_only=True)
class GetSettings:
    """The settings of the phone that belong to no account."""


@frozen(kw_only=True)
class SaveSettings:
    """Some of the fields of Settings."""

    settings: dict[str, Any]


@frozen(kw_only=True)
class DismissNotice:
    pass


# -- journal and tickets -----------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ListCalls:
    """The journal, the newest first. search: in names and numbers. before: the id of the last one shown."""

    search: str = ""
    missed: bool = False
    before: int | None = None
    limit: int = 50


@frozen(kw_only=True)
class ExportCalls:
    """The journal as CSV text."""


@frozen(kw_only=True)
class ImportCalls:
    """Take calls into the journal from what ExportCalls gave. Returns how many."""

    csv: str


@frozen(kw_only=True)
class ClearCalls:
    pass


@frozen(kw_only=True)
class ListTickets:
    """status: open, closed or "" for all."""

    search: str = ""
    status: str = ""
    before: int | None = None
    limit: int = 50


@frozen(kw_only=True)
class SaveTicket:
    """Make a ticket (id None) or change one. call: of the journal, if it comes from one."""

    id: int | None = None
    customer: str = ""
    contact: str = ""
    number: str = ""
    text: str = ""
    status: str = "open"
    call: int | None = None


@frozen(kw_only=True)
class RemoveTicket:
    id: int


@frozen(kw_only=True)
class GetState:
    """The PhoneState."""


@frozen(kw_only=True)
class Quit:
    pass


COMMANDS: dict[str, type] = {
    "dial": Dial,
    "redial": Redial,
    "answer": Answer,
    "hang_up": HangUp,
    "hold": Hold,
    "resume": Resume,
    "mute": Mute,
    "send_digits": SendDigits,
    "transfer": Transfer,
    "set_volume": SetVolume,
    "choose_devices": ChooseDevices,
    "refresh_devices": RefreshDevices,
    "save_account": SaveAccount,
    "use_account": UseAccount,
    "remove_account": RemoveAccount,
    "get_account": GetAccount,
    "connect": Connect,
    "disconnect": Disconnect,
    "trust_certificate": TrustCertificate,
    "get_settings": GetSettings,
    "save_settings": SaveSettings,
    "dismiss_notice": DismissNotice,
    "list_calls": ListCalls,
    "export_calls": ExportCalls,
    "import_calls": ImportCalls,
    "clear_calls": ClearCalls,
    "list_tickets": ListTickets,
    "save_ticket": SaveTicket,
    "remove_ticket": RemoveTicket,
    "get_state": GetState,
    "quit": Quit,
}
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "float": (int, float),
    "int": (int,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "dict[str, Any]": (dict,),
}


def command_of(name: str, values: dict[str, Any]) -> Any:
    """The command of this name. Raises CommandProblem for an unknown one, and for fields that it has not or cannot have."""
    kind = COMMANDS.get(name)
    if kind is None:
        raise CommandProblem(f"there is no command {name!r}", "unknown_command")
    known = {attribute.name: attribute for attribute in fields(kind)}
    for key, value in values.items():
        attribute = known.get(key)
        if attribute is None:
            raise CommandProblem(f"{name} has no field {key!r}", "bad_field")
        allowed = _PLAIN[str(attribute.type)]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise CommandProblem(f"{key} of {name} has to be {attribute.type}", "bad_field")
    for key, attribute in known.items():
        if attribute.default is NOTHING and key not in values:
            raise CommandProblem(f"{name} needs {key}", "bad_field")
    return kind(**values)
