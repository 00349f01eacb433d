"""Passwords in the keyring of the system or, where there is none, in a file that only its owner can read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sipproto_phone.files import StorageError, data_directory, read_private, write_private

_T = TypeVar("_T")
_SERVICE = "sipproto phone"
_PROBE = "is the keyring there"
FILE = "passwords.json"


def keyring_library() -> Any:
    """The package keyring; None when it is not installed."""
    try:
        import keyring
    except ImportError:
        return None
    return keyring


class Passwords:
    """A PasswordStore. library: what to use in place of the package keyring; None: the file.

    May wait for the user, whom a keyring asks for its own password: call it on a thread of its own.
    """

    def __init__(self, library: Any = "keyring", path: Path | None = None) -> None:
        self._path = path or data_directory() / FILE
        self._library = keyring_library() if library == "keyring" else library
        self._reason = "" if self._library is not None else "the package keyring is not installed"
        if self._library is not None:
            self._attempt(lambda: self._library.get_password(_SERVICE, _PROBE))

    @property
    def is_keyring(self) -> bool:
        return not self._reason

    @property
    def detail(self) -> str:
        """Where passwords are, and why not in the keyring; "" when they are."""
        return f"{self._path}, for you alone to read, because {self._reason}" if self._reason else ""

    def get(self, account: str) -> str | None:
        found = self._attempt(lambda: self._library.get_password(_SERVICE, account)) if self.is_keyring else None
        kept = self._kept().get(account) if found is None else found
        return kept if isinstance(kept, str) else None

    def set(self, account: str, password: str) -> None:
        """Raises StorageError when it can be kept nowhere."""
        if self.is_keyring:
            self._attempt(lambda: self._library.set_password(_SERVICE, account, password))
        if self.is_keyring:
            self._forget(account)  # from a time without a keyring
        else:
            write_private(self._path, {**self._kept(), account: password})

    def remove(self, account: str) -> None:
        if self.is_keyring and self.get(account) is not None:
            self._attempt(lambda: self._library.delete_password(_SERVICE, account))
        self._forget(account)

    def _forget(self, account: str) -> None:
        kept = self._kept()
        if kept.pop(account, None) is not None:
            write_private(self._path, kept)

    def _kept(self) -> dict[str, Any]:
        try:
            kept = read_private(self._path)
        except StorageError:
            return {}
        return kept if isinstance(kept, dict) else {}

    def _attempt(self, use: Callable[[], _T]) -> _T | None:
        """Uses the keyring. One that fails is not used any more: what it says could be anything, a password among it."""
        try:
            return use()
        except Exception as error:
            self._reason = f"the keyring of the system cannot be used ({type(error).__name__})"
            return None
