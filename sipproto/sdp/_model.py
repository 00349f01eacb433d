"""Session descriptions (RFC 8866): lines kept as they came, meaning read on demand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt

_M_LINE = re.compile(r"([^ /]+) ([0-9]{1,5})(?:/[0-9]+)? ([^ ]+)((?: [^ ]+)*) *")
_LINE = re.compile(r"[a-z]=")
MAX_LINES = 5000


class Section:
    """The lines of the session part or of one media part, each like `a=mid:0`, in order."""

    __slots__ = ("_attributes", "lines")

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        self._attributes: dict[str, list[str]] | None = None

    def _by_name(self) -> dict[str, list[str]]:
        index = self._attributes
        if index is None:
            index = {}
            for line in self.lines:
                if line.startswith("a="):
                    name, _, value = line[2:].partition(":")
                    index.setdefault(name, []).append(value)
            self._attributes = index
        return index

    def attribute(self, name: str) -> str | None:
        """The value of the first `a=name`; "" for a flag, None when it is absent."""
        values = self._by_name().get(name)
        return values[0] if values else None

    def attributes(self, name: str) -> list[str]:
        """The values of every `a=name`."""
        return self._by_name().get(name, [])

    def value(self, letter: str) -> str | None:
        """The value of the first line of that letter."""
        for line in self.lines:
            if line.startswith(letter) and line[1:2] == "=":
                return line[2:]
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Section) and self.lines == other.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    def __repr__(self) -> str:
        return f"<Section {self.lines[0] if self.lines else ''!r}, {len(self.lines)} lines>"


@frozen
class MediaDescription:
    """One `m=` line and what follows it. A port of 0 means that the line is rejected or removed (RFC 3264 5.1, 6)."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    section: Section

    def attribute(self, name: str) -> str | None:
        return self.section.attribute(name)

    def attributes(self, name: str) -> list[str]:
        return self.section.attributes(name)


@frozen
class SessionDescription:
    """A session description. `text` gives back what was parsed, octet for octet."""

    session: Section
    media: tuple[MediaDescription, ...]
    text: str = field(repr=False, eq=False)

    def inherited(self, media: MediaDescription, name: str) -> str | None:
        """An attribute of a media part, or the one of the session that stands for it (RFC 8866 5.13)."""
        value = media.attribute(name)
        return self.session.attribute(name) if value is None else value

    def inherited_all(self, media: MediaDescription, name: str) -> list[str]:
        return media.attributes(name) or self.session.attributes(name)

    def to_bytes(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")


def parse_sdp(data: bytes | str) -> SessionDescription:
    """Parses a session description.

    LENIENT: lines may end with LF alone, the last one with nothing, as several stacks send them.

    Raises MessageSyntaxError (BAD_SDP) for lines that are none, a missing `v=0`, a bad `m=` line, or too many lines.
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    text_lines = text.replace("\r\n", "\n")
    if "\r" in text_lines:  # 5: neither alone nor inside a line; it could end a line of an answer that repeats it
        raise MessageSyntaxError(Fault.BAD_SDP, "a CR stands alone")
    lines = text_lines.rstrip("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise MessageSyntaxError(Fault.BAD_SDP, f"more than {MAX_LINES} lines")
    if lines[0] != "v=0":
        raise MessageSyntaxError(Fault.BAD_SDP, "it does not start with v=0")
    starts = [number for number, line in enumerate(lines) if line.startswith("m=")]
    for line in lines:
        if not _LINE.match(line):
            raise MessageSyntaxError(Fault.BAD_SDP, f"not a line: {excerpt(line)!r}")
    ends = [*starts[1:], len(lines)] if starts else []
    media = tuple(_parse_media(lines[start:end]) for start, end in zip(starts, ends, strict=True))
    return SessionDescription(Section(lines[: starts[0]] if starts else lines), media, text)


def _parse_media(lines: list[str]) -> MediaDescription:
    match = _M_LINE.fullmatch(lines[0][2:])
    if match is None or int(match[2]) > 65535:
        raise MessageSyntaxError(Fault.BAD_SDP, f"bad media line: {excerpt(lines[0])!r}")
    return MediaDescription(match[1].lower(), int(match[2]), match[3], tuple(match[4].split()), Section(lines))


def build_sdp(session: Iterable[str], media: Iterable[Iterable[str]]) -> SessionDescription:
    """A session description from its lines.

    Raises LocalProtocolError for a line end inside a line, and MessageSyntaxError like `parse_sdp`.
    """
    lines = list(session)
    for part in media:
        lines += part
    for line in lines:
        if "\r" in line or "\n" in line:
            raise LocalProtocolError(f"line end in a line of SDP: {excerpt(line)!r}")
    return parse_sdp("\r\n".join(lines) + "\r\n")
