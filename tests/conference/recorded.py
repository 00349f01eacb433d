"""What the conference SDK said and heard on its WebSocket, as it was recorded: recordings/v16.txt and recordings/v31.txt."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from attrs import frozen

from sipproto.message import Message, Request, Response, parse_message

FOLDER = Path(__file__).resolve().parent / "recordings"
VERSIONS = ("v16", "v31")
_OWN_LINES = ("x-webrtc-", "x-vinteo-", "x-bearer-token")


@frozen
class Frame:
    """A message; an exchange, that is a request with its answers, has one name. `sent`: by the SDK."""

    name: str
    sent: bool
    message: Message


@frozen
class Recording:
    version: str
    frames: tuple[Frame, ...]

    def request(self, name: str) -> Request:
        """Raises KeyError."""
        for frame in self.frames:
            if frame.name == name and isinstance(frame.message, Request):
                return frame.message
        raise KeyError(f"{self.version} has no request {name!r}")

    def responses(self, name: str) -> tuple[Response, ...]:
        """In the order in which they came; none for an ACK."""
        return tuple(f.message for f in self.frames if f.name == name and isinstance(f.message, Response))

    def names(self, *, sent: bool) -> list[str]:
        """Of the requests of that side, in order."""
        return [f.name for f in self.frames if f.sent is sent and isinstance(f.message, Request)]


@cache
def recording(version: str) -> Recording:
    text = (FOLDER / f"{version}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^=== (sent|received): (.+)\n", text, flags=re.MULTILINE)
    triples = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    return Recording(version, tuple(Frame(name, way == "sent", _message(lines)) for way, name, lines in triples))


def _message(lines: str) -> Message:
    """The length of a session description is not that of the original, because not all of it was kept."""
    head, _, body = lines.removesuffix("\n").partition("\n\n")
    if "\nContent-Length:" not in head:
        body += "\n"
        length = len(body.replace("\n", "\r\n"))
        head += f"\nContent-Length: {length}"
    return parse_message(f"{head}\n\n{body}".replace("\n", "\r\n").encode())


def own_lines(message: Message) -> tuple[tuple[str, str], ...]:
    """The header lines that are the conference's and not SIP's."""
    return tuple((name, value) for name, value in message.headers if name.lower().startswith(_OWN_LINES))
