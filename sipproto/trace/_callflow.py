"""A transcript as a call flow: who told whom what, in words. Ladders and diffs are made of it."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import attrs
from attrs import frozen

from sipproto.agent import Command, Event, MediaInput, MediaOperation, Outcome
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import MessageSyntaxError
from sipproto.message import Message, Request, fields, parse_message
from sipproto.sdp import direction_of, is_rejected, parse_sdp
from sipproto.trace._framing import is_stream, split_stream
from sipproto.trace._model import Step, Transcript
from sipproto.trace._values import members

APPLICATION, AGENT = "application", "agent"
_COMMANDS, _MEDIA = members(Command), members(MediaInput | MediaOperation)
_TOLD = members(Outcome | Event)
_MAX_SEEN = 100_000


@frozen(kw_only=True)
class Entry:
    """One arrow, or a note when `source` and `target` are the same. `when`: seconds since the first step.

    Participants are APPLICATION, AGENT and flows by their number. `data`: the octets of a SIP message.
    """

    when: float
    source: str | int
    target: str | int
    label: str
    data: bytes | None = None


def call_flow(transcript: Transcript) -> Iterator[Entry]:
    """Everything that happened, in order. Time-outs are seen by what they bring about."""
    start = transcript.steps[0].now if transcript.steps else 0.0
    flow = _CallFlow()
    for step in transcript.steps:
        yield from flow.step(step, max(0.0, step.now - start))


def flows_of(transcript: Transcript) -> dict[int, str]:
    """The flows in the order in which they appear, with their transports; "" where none is known."""
    out: dict[int, str] = {}
    for step in transcript.steps:
        for item in (step.what, *step.outputs):
            number = getattr(item, "flow", None)
            if isinstance(number, int):
                out.setdefault(number, "")
                if isinstance(item, i.FlowOpened):
                    out[number] = printable(item.transport)
    return out


class _CallFlow:
    def __init__(self) -> None:
        self._streams: set[int] = set()
        self._seen: set[tuple[int, bool, bytes]] = set()

    def step(self, step: Step, when: float) -> Iterator[Entry]:
        what = step.what
        match what:
            case i.DataReceived(flow=flow, data=data):
                for message in split_stream(data)[0] if flow in self._streams else [data]:
                    yield self._message(when, flow, message, sent=False)
            case i.TimeoutElapsed():
                pass
            case _:
                if isinstance(what, i.FlowOpened) and is_stream(what.transport):
                    self._streams.add(what.flow)
                yield self._entry(when, what)
        for output in step.outputs:
            if isinstance(output, o.SendData):
                yield self._message(when, output.flow, output.data, sent=True)
            else:
                yield self._entry(when, output)
        if step.raised is not None:
            yield Entry(when=when, source=AGENT, target=APPLICATION, label=f"refused: {printable(step.raised.text)}")

    def _message(self, when: float, flow: int, data: bytes, *, sent: bool) -> Entry:
        key = (flow, sent, data)
        again = " (again)" if key in self._seen and data.strip(b"\r\n") else ""
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(key)
        ends: tuple[str | int, str | int] = (AGENT, flow) if sent else (flow, AGENT)
        return Entry(when=when, source=ends[0], target=ends[1], label=summary(data) + again, data=data)

    @staticmethod
    def _entry(when: float, what: object) -> Entry:
        if isinstance(what, _COMMANDS):
            return Entry(when=when, source=APPLICATION, target=AGENT, label=brief(what))
        if isinstance(what, _TOLD):
            return Entry(when=when, source=AGENT, target=APPLICATION, label=brief(what))
        flow = getattr(what, "flow", None)
        place = flow if isinstance(flow, int) and not isinstance(what, _MEDIA) else AGENT
        return Entry(when=when, source=place, target=place, label=brief(what))


# -- words -----------------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """What peers wrote, without what would command a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def message_of(data: bytes) -> Message | None:
    try:
        return parse_message(data)
    except MessageSyntaxError:
        return None


def summary(data: bytes) -> str:
    """A SIP message in a few words: method or status, CSeq, and the directions of its session description."""
    if not data.strip(b"\r\n"):
        return "keep-alive"
    message = message_of(data)
    if message is None:
        return f"{len(data)} octets that are no SIP message"
    cseq = message.headers.get(fields.CSEQ)
    if isinstance(message, Request):
        words = [message.method] if cseq is None else [message.method, str(cseq.number)]
    else:
        words = [str(message.status), message.reason] + ([] if cseq is None else [f"({cseq})"])
    content = description(message.body)
    return printable(" ".join([*words, *([f"[{content}]"] if content else [])]))


def description(body: bytes) -> str:
    """The media lines of a session description with their directions; "" for what is none."""
    if not body.startswith(b"v=0"):
        return ""
    try:
        sdp = parse_sdp(body)
    except MessageSyntaxError:
        return "broken SDP"
    lines = [f"{m.kind} {'rejected' if is_rejected(m) else direction_of(sdp, m).value}" for m in sdp.media]
    return ", ".join(lines) or "SDP without media"


def brief(value: Any) -> str:
    """An input or output in a few words: its name and the fields that say something."""
    words = [type(value).__name__]
    for a in attrs.fields(type(value)):
        item = getattr(value, a.name)
        if a.name in ("headers", "flow") or item is None or item is False or item in ("", b"", ()):
            continue
        if a.name == "content_type" and (item == "application/sdp" or not getattr(value, "body", b"")):
            continue
        text = _word(item)
        if a.name in ("command", "request"):
            text = f"#{text}"
        elif isinstance(item, int | float):
            text = a.name if item is True else f"{a.name}={text}"
        elif a.name == "call":
            text = f"<{text}>"
        words.append(text)
    return printable(" ".join(filter(None, words)))


def _word(item: object) -> str:
    match item:
        case enum.Enum():
            return item.value if isinstance(item.value, str) else item.name.lower()
        case bytes():
            text = description(item)
            return f"[{text}]" if text else f"{len(item)} octets"
        case tuple():
            if len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], int):
                return f"{item[0]}:{item[1]}"
            return " ".join(filter(None, map(_word, item)))
        case str() | int() | float():
            return str(item)
        case _:
            return ""
