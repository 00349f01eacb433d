"""The settings in a file of their own; passwords are elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from attrs import asdict, fields

from sipproto_phone.files import StorageError, config_directory, read_private, write_private
from sipproto_phone.ports import Account, Settings

_T = TypeVar("_T", Account, Settings)
FILE = "phone.json"


class SettingsFile:
    """A SettingsStore. `problem`: why the settings of before could not be used, "" when they could."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_directory() / FILE
        self.problem = ""

    def load(self) -> Settings:
        """The settings; those of a fresh phone when there are none, or none that can be read (`problem`)."""
        self.problem = ""
        try:
            read = read_private(self.path)
        except StorageError as error:
            self.problem = str(error)
            return Settings()
        return settings_of(read)

    def save(self, settings: Settings) -> None:
        """Raises StorageError when that is not possible; the file is as it was then."""
        write_private(self.path, asdict(settings))


def settings_of(read: Any) -> Settings:
    """What can be used of a file; a field that cannot is as in a fresh phone. Never raises."""
    if not isinstance(read, dict):
        return Settings()
    found = read.get("accounts")
    accounts = [_taken(Account, one, id=one["id"]) for one in _list(found) if _is_account(one)]
    unique = {account.id: account for account in accounts}
    return _taken(Settings, {**read, "accounts": None}, accounts=tuple(unique.values()))


def _is_account(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str) and bool(value["id"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _taken(kind: type[_T], read: dict[str, Any], **fixed: Any) -> _T:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for attribute in fields(kind):
        name = attribute.name
        if name in read and name not in fixed and (value := _value(hints[name], read[name])) is not None:
            values[name] = value
    return kind(**{**values, **fixed})


def _value(hint: Any, value: Any) -> Any:
    """The value as its type has it; None when it is another one."""
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else None
    if hint is float:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if hint is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(hint, type) and isinstance(value, hint) else None
