"""Makes `sipproto phone` the program for sip: and tel: links, where the system lets a user do that with a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sipproto_phone.files import StorageError

SCHEMES = ("sip", "tel")
FILE = "sipproto-phone.desktop"
_LIMIT = 10.0  # seconds for xdg-mime


def applications_directory() -> Path:
    """Where the XDG base directory specification has the starters of a user."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "applications"


def desktop_entry(executable: str) -> str:
    """The starter, by the Desktop Entry Specification 1.5. executable: an absolute path."""
    types = "".join(f"x-scheme-handler/{scheme};" for scheme in SCHEMES)
    return (
        "[Desktop Entry]\nType=Application\nVersion=1.5\nName=sipproto phone\nName[ru]=Телефон sipproto\n"
        f"Comment=SIP telephone\nComment[ru]=SIP-телефон\nExec={_quoted(executable)} phone %u\nIcon=call-start\n"
        f"Terminal=false\nCategories=Network;Telephony;\nMimeType={types}\n"
    )


def _quoted(path: str) -> str:
    """As the specification quotes an argument of Exec: the string escapes come on top of those of the argument."""
    for char in ("\\", '"', "`", "$"):
        path = path.replace(char, "\\" + char)
    return '"' + path.replace("\\", "\\\\").replace("%", "%%") + '"'


def install_link_handler(directory: Path | None = None, platform: str = sys.platform) -> str:
    """Writes the starter and, with xdg-mime, makes it the one for the links. Returns a line that says what was done.

    Raises StorageError where that is not possible.
    """
    if not platform.startswith("linux"):
        raise StorageError(
            "sip: and tel: links can be given to the phone on Linux only; elsewhere choose the program in the system settings"
        )
    executable = shutil.which(sys.argv[0]) or shutil.which("sipproto")
    if executable is None:
        raise StorageError("the program sipproto is not on the PATH, so that no link can start it")
    path = (directory or applications_directory()) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(desktop_entry(str(Path(executable).absolute())), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    tool = shutil.which("xdg-mime")
    if tool is None:
        return f"wrote {path}; xdg-mime is not installed, so choose it for sip: and tel: links in the settings of the desktop"
    for scheme in SCHEMES:
        try:
            command = [tool, "default", FILE, f"x-scheme-handler/{scheme}"]
            subprocess.run(command, check=True, timeout=_LIMIT)  # noqa: S603  no part of it comes from others
        except (OSError, subprocess.SubprocessError):
            return (
                f"wrote {path}, but xdg-mime failed: choose it for sip: and tel: links in the settings of the desktop"
            )
    return f"wrote {path}; sip: and tel: links now start the phone"
