"""What clients of the original SDK have sent, and a peer in the place of their server."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from sipproto.message import Request, parse_message

FILE = Path(__file__).resolve().parents[1] / "vectors" / "conference.frames"


@frozen
class Frame:
    version: str
    sender: str
    data: bytes

    @property
    def request(self) -> Request:
        message = parse_message(self.data)
        assert isinstance(message, Request)
        return message

    @property
    def content_type(self) -> str:
        return self.request.headers.first("Content-Type") or ""

    @property
    def own(self) -> tuple[tuple[str, str], ...]:
        """The headers that are of the protocol."""
        return tuple((name, value) for name, value in self.request.headers if name.lower().startswith("x-"))


def frames() -> list[Frame]:
    found = re.findall(r"(?ms)^=== v(\d+), (\w+)\n(.*?)\n\n", FILE.read_text())
    return [Frame(version, sender, (text + "\n\n").replace("\n", "\r\n").encode()) for version, sender, text in found]
