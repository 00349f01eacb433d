"""Files of the phone: written completely or not at all, and for their owner only."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from sipproto.errors import SipProtoError

APPLICATION = "sipproto"


class StorageError(SipProtoError):
    """A file cannot be read or written; the text is one line for the user."""


def config_directory() -> Path:
    """Where the settings are, as the system has it."""
    return Path(platformdirs.user_config_path(APPLICATION))


def data_directory() -> Path:
    """Where the journal is."""
    return Path(platformdirs.user_data_path(APPLICATION))


def private_directory(path: Path) -> Path:
    """Makes a directory that only its owner can look into. Raises StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make the directory {path}: {error.strerror}") from None
    return path


def write_private(path: Path, value: Any) -> None:
    """Writes JSON: a crash, or a full disk, leaves the file as it was. Raises StorageError."""
    private_directory(path.parent)
    temporary = ""
    try:
        # mkstemp makes files of mode 0600.
        descriptor, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def read_private(path: Path) -> Any:
    """What `write_private` has written; None when there is no file.

    One that is no JSON is put aside (`<name>.broken`), so that nothing is lost, and counts as none; StorageError says so.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise StorageError(f"cannot read {path}: {reason}") from None
    try:
        return json.loads(text)
    except ValueError:
        aside = path.with_name(path.name + ".broken")
        os.replace(path, aside)
        raise StorageError(f"{path} could not be read and was put aside as {aside.name}") from None
