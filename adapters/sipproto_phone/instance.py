"""One phone at a time: where the page of the running one is, in a private file, and how a second start reaches it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from filelock import FileLock, Timeout

from sipproto_phone.commands import CommandProblem
from sipproto_phone.files import StorageError, data_directory, private_directory, read_private, write_private
from sipproto_phone.web import Page

FILE = "running.json"
OPENER = "open-phone.html"
LOCK = "running.lock"
_LIMIT = 5.0  # seconds for the running phone to answer
_PATIENCE = 20.0  # seconds for a phone that starts to answer, or for one that ends to be gone
_LOOK = 0.1  # seconds between two looks at it


@contextmanager
def told(page: Page, directory: Path | None = None) -> Iterator[Path]:
    """Says where the page is, for the length of a block; yields a file that takes a browser there.

    By a file, because the command line of a browser is seen by all users of the machine, and the address holds the token.
    """
    place = private_directory(directory or data_directory())
    running, opener = place / FILE, place / OPENER
    write_private(running, {"port": page.port, "token": page.token})
    _write_opener(opener, page)
    try:
        yield opener
    finally:
        if _page_of(running) == page:  # else a later phone has written its own
            running.unlink(missing_ok=True)
            opener.unlink(missing_ok=True)


def _write_opener(path: Path, page: Page) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>sipproto</title>'
            f'<meta http-equiv="refresh" content="0; url={page.url}">\n'
        )


def _page_of(running: Path) -> Page | None:
    try:
        read = read_private(running)
    except StorageError:
        return None
    if not isinstance(read, dict):
        return None
    port, token = read.get("port"), read.get("token")
    if not isinstance(port, int) or not isinstance(token, str) or not 0 < port < 65536 or not token.isascii():
        return None
    return Page(port=port, token=token)


class Running:
    """A phone that runs already. `opener`: the file that takes a browser to its page."""

    def __init__(self, http: httpx.Client, opener: Path) -> None:
        self._http = http
        self.opener = opener

    def do(self, command: str, **fields: Any) -> Any:
        """Has a command carried out there. Raises CommandProblem."""
        try:
            answer = self._http.post("/do", json={"command": command, "fields": fields})
            value = answer.json()
        except (httpx.HTTPError, ValueError):
            raise CommandProblem("the running phone does not answer", "gone") from None
        if not isinstance(value, dict) or "error" in value or answer.status_code != 200:
            error = value.get("error") if isinstance(value, dict) else None
            text = error.get("text") if isinstance(error, dict) else None
            raise CommandProblem(str(text or "the running phone refused"), "refused")
        return value.get("result")


@contextmanager
def running_phone(directory: Path | None = None) -> Iterator[Running | None]:
    """The phone of this user that runs already; None when there is none, or it does not answer."""
    place = directory or data_directory()
    page = _page_of(place / FILE)
    if page is None:
        yield None
        return
    address = f"http://127.0.0.1:{page.port}"
    # Not by a proxy of the environment: this is for nobody but the phone.
    with httpx.Client(base_url=address, headers={"Origin": address}, timeout=_LIMIT, trust_env=False) as http:
        try:
            answer = http.post("/enter", content=page.token)
            entered = answer.status_code == 200
            http.headers["Authorization"] = f"Bearer {answer.text}"
        except (httpx.HTTPError, UnicodeEncodeError):
            entered = False
        yield Running(http, place / OPENER) if entered else None


@contextmanager
def only_phone(directory: Path | None = None, *, patience: float = _PATIENCE) -> Iterator[Running | None]:
    """Makes this the one phone of the user for the length of a block: None. For every other start, the phone that runs.

    The lock is the system's, and gone with the process that holds it, however that ended. Waits while another phone starts
    or ends. Raises CommandProblem when that one does neither within `patience` seconds, StorageError without a lock file.
    """
    place = private_directory(directory or data_directory())
    lock = FileLock(place / LOCK, timeout=0, mode=0o600)
    deadline = time.monotonic() + patience
    while not _taken(lock):
        with running_phone(place) as running:
            if running is not None:
                yield running
                return
        if time.monotonic() >= deadline:
            raise CommandProblem("another phone of yours runs, but does not answer", "gone")
        time.sleep(_LOOK)  # before there is an event loop: nobody else waits for this thread
    try:
        yield None
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    except OSError as error:
        raise StorageError(f"cannot lock {lock.lock_file}: {error.strerror}") from None
    return True


def number_of_link(text: str) -> str:
    """What to dial for what a link or a user gives: `tel:` and `sip:` links, or a plain number.

    Parameters of tel: links (RFC 3966) are left out; sip: addresses stay whole. Raises CommandProblem.
    """
    text = text.strip()
    scheme = urlsplit(text).scheme.lower() if ":" in text else ""
    if scheme == "tel":
        text = text[4:].lstrip("/").partition(";")[0]
    elif scheme == "sip":
        text = "sip:" + text[4:].lstrip("/")
    if not text or any(not c.isprintable() for c in text):
        raise CommandProblem("there is no number to call", "bad_number")
    return text
