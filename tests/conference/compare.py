"""What one client says beside what another one said in its place: field by field."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from sipproto.message import Message, Request, Response, header_key

from .justified import JUSTIFIED, Excuse, find


class Verdict(enum.Enum):
    EQUAL = "equal"
    DYNAMIC = "dynamic"  # made for this one message, connection or call; what of it has a meaning is equal
    JUSTIFIED = "justified"  # different, and a table says why that is well
    DIFFERENT = "different"


@frozen
class Comparison:
    """One field: "method", "uri", "status", "body", or a header's name in small letters. None: not there."""

    what: str
    theirs: str | None = field(repr=False)
    ours: str | None = field(repr=False)
    verdict: Verdict
    excuse: Excuse | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.verdict.value}\n  theirs: {self.theirs}\n  ours:   {self.ours}"


def compare(ours: Message, theirs: Message, justified: Iterable[Excuse] = JUSTIFIED) -> list[Comparison]:
    """Every field that either of them has. Names, order and spelling of headers as SIP ignores them are no difference."""
    names = {header_key(name) for message in (theirs, ours) for name, _ in message.headers}
    headers = [
        _judge(name, _values(theirs, name), _values(ours, name), _FORMS.get(name, str)) for name in sorted(names)
    ]
    found = [*_start(ours, theirs), *headers, _judge("body", _body(theirs), _body(ours), _body_form)]
    return [_excuse(one, kind_of(theirs), justified) for one in found]


def kind_of(message: Message) -> str:
    """As in Excuse.messages."""
    if isinstance(message, Request):
        return message.method
    return f"{message.status} {str(message.headers.first('CSeq')).split()[-1]}"


def differences(ours: Message, theirs: Message, justified: Iterable[Excuse] = JUSTIFIED) -> list[Comparison]:
    return [one for one in compare(ours, theirs, justified) if one.verdict is Verdict.DIFFERENT]


def _start(ours: Message, theirs: Message) -> list[Comparison]:
    if isinstance(ours, Request) and isinstance(theirs, Request):
        return [
            _judge("method", theirs.method, ours.method, str),
            _judge("uri", theirs.target, ours.target, _uri_form),
        ]
    if isinstance(ours, Response) and isinstance(theirs, Response):
        return [_judge("status", str(theirs.status), str(ours.status), str)]
    return [Comparison("method", repr(theirs), repr(ours), Verdict.DIFFERENT)]


def _judge(what: str, theirs: str | None, ours: str | None, form: Callable[[str], object]) -> Comparison:
    if theirs == ours:
        return Comparison(what, theirs, ours, Verdict.EQUAL)
    same = theirs is not None and ours is not None and form(theirs) == form(ours)
    return Comparison(what, theirs, ours, Verdict.DYNAMIC if same else Verdict.DIFFERENT)


def _excuse(one: Comparison, kind: str, justified: Iterable[Excuse]) -> Comparison:
    excuse = find(kind, one.what, one.theirs, one.ours, justified)
    if one.verdict is not Verdict.DIFFERENT or excuse is None:
        return one
    return Comparison(one.what, one.theirs, one.ours, Verdict.JUSTIFIED, excuse)


def _values(message: Message, name: str) -> str | None:
    return "\n".join(message.headers.raw(name)) if name in message.headers else None


def _body(message: Message) -> str | None:
    return message.body.decode("utf-8", "replace") or None


# -- what has a meaning in a value: the rest is dynamic ------------------------------------------------------------------


def _uri_form(text: str) -> tuple[str, ...]:
    """The scheme, whether there is a user, and the names of parameters; within a dialog the rest is the peer's Contact."""
    head, *params = text.split(";")
    return (head.split(":")[0], str("@" in head), *sorted(param.split("=")[0] for param in params))


def _via_form(text: str) -> list[tuple[str, ...]]:
    """The names of the parameters of each; the transport is that of the connection."""
    return [tuple(sorted(param.split("=")[0] for param in line.split(";")[1:])) for line in text.split("\n")]


def _party_form(text: str) -> str:
    """Display name and address as they are, without the tag."""
    return re.sub(r";tag=[^;]+", ";tag=", text)


def _contact_form(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The form of the address, and the parameters; which device it is does not matter."""
    address, _, params = text.removeprefix("<").partition(">")
    values = re.sub(r'(urn:uuid:)[^>"]+', r"\1", params)
    return _uri_form(address), frozenset(values.strip(";").split(";"))


def _list_form(text: str) -> frozenset[str]:
    return frozenset(entry.strip() for line in text.split("\n") for entry in line.split(",") if entry.strip())


def _digest_form(text: str) -> frozenset[str]:
    """All that is not made from a random number."""
    entries = re.sub(r'\b(nonce|cnonce|response|opaque|nc)="?[^",]*"?', r"\1=", text.removeprefix("Digest"))
    return _list_form(entries.replace('"', ""))


def _body_form(text: str) -> object:
    if not text.startswith("v=0"):
        return text.rstrip("\r\n")  # one line end more or less says nothing in the bodies of INFO
    lines = re.split(r"^(?=m=)", text, flags=re.MULTILINE)
    return [_media_form(section) for section in lines[1:]], "a=group:BUNDLE" in lines[0]


_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\b", re.MULTILINE)
_LINE_FACTS = re.compile(r"^a=(mid:\S+|setup:\w+)", re.MULTILINE)


def _media_form(section: str) -> tuple[str, str, str, frozenset[str]]:
    """Kind, protocol, direction, and which line it is. Codecs, candidates and keys are the media engine's."""
    kind, _, protocol, *_ = section.removeprefix("m=").split()
    direction = _DIRECTION.search(section)
    facts = frozenset(match.group(1) for match in _LINE_FACTS.finditer(section))
    return kind, protocol, direction.group(1) if direction else "sendrecv", facts


def _number_form(text: str) -> str:
    return re.sub(r"\d+", "", text)


_FORMS: Mapping[str, Callable[[str], object]] = {
    "via": _via_form,
    "from": _party_form,
    "to": _party_form,
    "call-id": bool,
    "cseq": _number_form,
    "content-length": bool,  # that of the body, which is compared itself
    "contact": _contact_form,
    "allow": _list_form,
    "supported": _list_form,
    "accept": _list_form,
    "authorization": _digest_form,
    "proxy-authorization": _digest_form,
}


def table(rows: Mapping[str, list[Comparison]]) -> str:
    """All that is not equal, a line each, for people: which message, field, verdict, reason or both values."""
    lines = []
    for name, comparisons in rows.items():
        for one in comparisons:
            if one.verdict in (Verdict.JUSTIFIED, Verdict.DIFFERENT):
                why = one.excuse.reason if one.excuse else f"theirs {one.theirs!r}, ours {one.ours!r}"
                lines.append(f"{name:30} {one.what:20} {one.verdict.value:10} {why}")
    return "\n".join(lines)
