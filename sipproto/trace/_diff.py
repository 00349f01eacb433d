"""Two transcripts compared as call flows: what differs by chance is left out of account."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from attrs import frozen

from sipproto.message import Request, fields
from sipproto.trace._callflow import APPLICATION, Entry, call_flow, message_of, printable
from sipproto.trace._model import Transcript

# Values that are made up anew in every run. The same one gets the same name, so that what belongs together still does.
_NAMED = (
    ("branch", re.compile(r"(?i);\s*branch=([^\s;,]+)")),
    ("tag", re.compile(r"(?i);\s*tag=([^\s;,>]+)")),
    ("call", re.compile(r"(?im)^(?:Call-ID|i)[ \t]*:[ \t]*([^\s@]+)")),
    ("nonce", re.compile(r"(?i)\b(?:c|next)?nonce=\"([^\"]+)\"")),
    ("opaque", re.compile(r"(?i)\bopaque=\"([^\"]+)\"")),
    ("instance", re.compile(r"(?i)urn:uuid:([0-9a-f-]+)")),
    ("host", re.compile(r"([a-z0-9]+)\.invalid\b")),
    ("user", re.compile(r"(?im)^(?:Contact|m)[ \t]*:[^\r\n]*?sips?:([^\s:@;>]+)@")),
)
_REPLACED = (
    (re.compile(r"(?m)^(o=\S+) \S+ \S+ .*$"), r"\1 *"),
    (
        re.compile(r"(?m)^(a=(?:ice-ufrag|ice-pwd|fingerprint|msid|candidate|tls-id|rtcp|end-of-candidates)):.*$"),
        r"\1:*",
    ),
    (re.compile(r"(?m)^(a=ssrc(?:-group)?):.*$"), r"\1:*"),
    (re.compile(r"(?m)^(m=\w+) (?!0 )\d+ "), r"\1 * "),
    (re.compile(r"(?i);(rport|received)=[^\s;,]+"), r";\1=*"),
    (re.compile(r"(?i)\b(response|rspauth)=\"[^\"]*\""), r'\1="*"'),
    (re.compile(r"(?im)^(Content-Length|l|Date|Timestamp)([ \t]*):.*$"), r"\1: *"),
    (re.compile(r"(?im)^(RSeq|RAck)([ \t]*):[ \t]*[0-9 ]+"), r"\1: * "),
    (re.compile(r"(?<=[0-9\]a-z]):[0-9]{4,5}\b"), ":*"),
)
_WORD = re.compile(r"[^\s;,<>=\"@:/()\[\].#]+")
_CSEQ = re.compile(r"(?im)^(CSeq[ \t]*:[ \t]*)\d+")
_MIN_NAMED = 6  # a shorter word may stand for something else elsewhere


@frozen
class _Line:
    """One line of a flow. `when` only for the first line of an entry."""

    text: str
    when: float | None = None


def diff(
    one: Transcript,
    two: Transcript,
    *,
    names: tuple[str, str] = ("a", "b"),
    tolerance: float | None = 0.5,
    brief: bool = False,
    context: int = 3,
) -> list[str]:
    """The lines of a unified diff between two call flows; none when they are the same.

    Tags, branches, Call-IDs, nonces, ports, ICE parameters and the like are left out of account, and so are times that
    differ by no more than `tolerance` seconds (None: all times). brief: compare the arrows, not the lines of messages.
    context: how many equal lines to show around each difference.
    """
    before, after = list(_lines(one, brief)), list(_lines(two, brief))
    changes = list(_changes(before, after, tolerance))
    if all(tag == "equal" for tag, *_ in changes):
        return []
    out = [f"--- {names[0]}", f"+++ {names[1]}"]
    for group in _groups(changes, context):
        (_, a1, _, b1, _), (_, _, a2, _, b2) = group[0], group[-1]
        out.append(f"@@ -{a1 + 1},{a2 - a1} +{b1 + 1},{b2 - b1} @@")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out += [f" {_show(line)}" for line in before[i1:i2]]
            else:
                out += [f"-{_show(line)}" for line in before[i1:i2]]
                out += [f"+{_show(line)}" for line in after[j1:j2]]
    return out


def _show(line: _Line) -> str:
    return f"{' ' * 14}{line.text}" if line.when is None else f"{line.when:11.3f}   {line.text}"


_Change = tuple[str, int, int, int, int]


def _changes(before: list[_Line], after: list[_Line], tolerance: float | None) -> Iterator[_Change]:
    texts = ([line.text for line in before], [line.text for line in after])
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if tag != "equal" or tolerance is None:
            yield tag, i1, i2, j1, j2
            continue
        start = 0
        for number in range(i2 - i1):
            times = (before[i1 + number].when, after[j1 + number].when)
            if times[0] is not None and times[1] is not None and abs(times[0] - times[1]) > tolerance:
                if start < number:
                    yield "equal", i1 + start, i1 + number, j1 + start, j1 + number
                yield "replace", i1 + number, i1 + number + 1, j1 + number, j1 + number + 1
                start = number + 1
        if start < i2 - i1:
            yield "equal", i1 + start, i2, j1 + start, j2


def _groups(changes: list[_Change], context: int) -> Iterator[list[_Change]]:
    """Changes with the equal lines around them; long equal parts divide them."""
    group: list[_Change] = []
    for number, (tag, i1, i2, j1, j2) in enumerate(changes):
        if tag != "equal":
            group.append((tag, i1, i2, j1, j2))
            continue
        first, last = number == 0, number == len(changes) - 1
        if i2 - i1 > 2 * context or first or last:
            if not first:
                end = min(i2, i1 + context)
                yield [*group, ("equal", i1, end, j1, j1 + end - i1)]
            start = max(i1, i2 - context)
            group = [] if last else [("equal", start, i2, j1 + start - i1, j2)]
        else:
            group.append((tag, i1, i2, j1, j2))
    if group:
        yield group


# -- lines -----------------------------------------------------------------------------------------------------------


def _lines(transcript: Transcript, brief: bool) -> Iterator[_Line]:
    names, numbers = _Names(), _Numbers()
    for entry in call_flow(transcript):
        text, label = "", entry.label
        if entry.data is not None:
            text, label = numbers.relative(entry.data, entry.data.decode("utf-8", "surrogateescape"), label)
        message = names.plain(text)
        yield _Line(_arrow(entry, names.plain(label)), entry.when)
        if not brief and text.strip():
            yield from (_Line(f"  {printable(line)}") for line in message.split("\n"))


def _arrow(entry: Entry, label: str) -> str:
    source, target = (f"flow {who}" if isinstance(who, int) else who for who in (entry.source, entry.target))
    if source == target:
        return f"({source}) {label}"
    return f"{source} -> {target}: {label}" if APPLICATION not in (source, target) else f"{source} => {target}: {label}"


class _Numbers:
    """Sequence numbers begin anywhere (RFC 3261 8.1.1.5). They are told relative to the first of their sender."""

    def __init__(self) -> None:
        self._first: dict[tuple[str | None, str | None], int] = {}

    def relative(self, data: bytes, text: str, label: str) -> tuple[str, str]:
        """The text and the label of a message with such numbers."""
        message = message_of(data)
        cseq = None if message is None else message.headers.get(fields.CSEQ)
        if message is None or cseq is None:
            return text, label
        key = (message.headers.first("Call-ID"), message.headers.first("From"))
        number = f"+{cseq.number - self._first.setdefault(key, cseq.number)}"
        text = _CSEQ.sub(rf"\g<1>{number}", text, count=1)
        place = r"(\S+) \d+" if isinstance(message, Request) else r"(.*?\()\d+(?= \w+\))"
        label = re.sub(place, lambda m: f"{m[1]} {number}" if m[1][-1] != "(" else f"{m[1]}{number}", label, count=1)
        return text, label


class _Names:
    """Names for values that are made up anew in every run, in the order in which they appear."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def plain(self, text: str) -> str:
        """The same without such values."""
        text = text.replace("\r\n", "\n")
        for kind, pattern in _NAMED:
            for match in pattern.finditer(text):
                for word in _WORD.findall(match[1]):
                    if len(word) >= _MIN_NAMED and word not in self._names:
                        self._counts[kind] = self._counts.get(kind, 0) + 1
                        self._names[word] = f"*{kind}-{self._counts[kind]}*"
        for pattern, replacement in _REPLACED:
            text = pattern.sub(replacement, text)
        return _WORD.sub(lambda match: self._names.get(match[0], match[0]), text)
