"""Reading transcripts, from anybody."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from attrs import define, evolve, field, frozen

from sipproto.agent import AgentConfig, Input, Output
from sipproto.tokens import SeededTokens
from sipproto.trace._errors import (
    TranscriptDamaged,
    TranscriptTooLarge,
    TranscriptTruncated,
    TranscriptVersionError,
)
from sipproto.trace._model import FORMAT, MAGIC, Draw, Header, Raised, Step, Transcript
from sipproto.trace._text import Node, NotationError, Structure, read_octet_line, read_value
from sipproto.trace._values import build, members

_FIELD = re.compile(r"  ([a-zA-Z_][a-zA-Z0-9_]*) = (.*)")
_OCTETS = re.compile(r"octets ([0-9]{1,12})")
_RECORD = re.compile(r"(-?[0-9][0-9.e+-]{0,40}) (in|out|raised) ([A-Za-z_][A-Za-z0-9_]*)")
_DRAW = re.compile(r"([0-9]{1,5}):([0-9a-f]{1,4096})")
_END = re.compile(r"end ([0-9]{1,12})")
_LAST_LINE = re.compile(r"\nend [0-9]+\s*\Z")
_NO_TOKENS = SeededTokens(0)  # those of the recording are with its steps
_CONTINUED = "    "


@frozen(kw_only=True)
class TranscriptLimits:
    """How much a file can make us hold. Passing a limit raises TranscriptTooLarge.

    max_size: octets of the file. max_steps: inputs. max_depth: values within values.
    """

    max_size: int = 256 * 1024 * 1024
    max_steps: int = 1_000_000
    max_depth: int = 32


@frozen
class _Line:
    number: int
    text: str


@define
class _Record:
    """The first line of a record and the lines of its fields."""

    head: _Line
    body: list[_Line] = field(factory=list)


@define
class _Building:
    """A step that is being read."""

    step: Step
    outputs: list[Output] = field(factory=list)
    tokens: list[Draw] = field(factory=list)

    def done(self) -> Step:
        return evolve(self.step, outputs=tuple(self.outputs), tokens=tuple(self.tokens))


def read_transcript(
    data: bytes | str, *, limits: TranscriptLimits = TranscriptLimits(), partial: bool = False
) -> Transcript:
    """Reads a whole transcript. With `partial`, one whose end is missing is read as far as its records are whole.

    Raises TranscriptVersionError, TranscriptDamaged, TranscriptTruncated or TranscriptTooLarge; all of them are
    TranscriptError and name the line.
    """
    if len(data) > limits.max_size:
        raise TranscriptTooLarge(f"more than {limits.max_size} octets")
    try:
        text = data if isinstance(data, str) else data.decode()
    except UnicodeDecodeError as error:
        raise TranscriptDamaged("not UTF-8", error.object.count(b"\n", 0, error.start) + 1) from None
    return _Reader(limits).read(text, partial)


def _records(text: str) -> Iterator[_Record]:
    record: _Record | None = None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")  # of an editor: a recorder escapes every CR
        if not line or line.startswith("#"):
            continue
        if line.startswith(" "):
            if record is None:
                raise TranscriptDamaged("a field before the first record", number)
            record.body.append(_Line(number, line))
        else:
            if record is not None:
                yield record
            record = _Record(_Line(number, line))
    if record is not None:
        yield record


class _Reader:
    def __init__(self, limits: TranscriptLimits) -> None:
        self._limits = limits
        self._inputs = {cls.__name__: cls for cls in members(Input)}
        self._outputs = {cls.__name__: cls for cls in members(Output)}
        self._steps: list[Step] = []
        self._open: _Building | None = None
        self._first_tokens: list[Draw] = []
        self._ended = False

    def read(self, text: str, partial: bool) -> Transcript:
        if not text.startswith(MAGIC):
            raise TranscriptVersionError("this is no sipproto transcript", 1)
        first = text.partition("\n")[0].removesuffix("\r")
        if first != f"{MAGIC} {FORMAT}":
            raise TranscriptVersionError(f"{first[:60]!r} is not of format {FORMAT}, which is the one read here", 1)
        ended = _LAST_LINE.search(text) is not None
        if not ended and not partial:
            raise TranscriptTruncated("the file ends before its end record", text.count("\n") + 1)
        records = list(_records(text))
        if not ended:
            records.pop()  # it may not be all there
        if len(records) < 2:
            raise TranscriptTruncated("the file ends before its configuration", text.count("\n") + 1)
        header = self._fields(records[0], Header)
        config = self._config(records[1])
        for record in records[2:]:
            self._take(record)
        self._close_step()
        return Transcript(
            header=header,
            config=config,
            tokens=tuple(self._first_tokens),
            steps=tuple(self._steps),
            complete=ended,
        )

    # -- records -----------------------------------------------------------------------------------------------------

    def _config(self, record: _Record) -> AgentConfig:
        if record.head.text != "config AgentConfig":
            raise TranscriptDamaged("the configuration is expected here", record.head.number)
        config: AgentConfig = self._fields(record, AgentConfig)
        return evolve(config, tokens=_NO_TOKENS)

    def _take(self, record: _Record) -> None:
        head = record.head
        if self._ended:
            raise TranscriptDamaged("a record after the end", head.number)
        if match := _RECORD.fullmatch(head.text):
            self._take_value(record, self._time(match[1], head.number), match[2], match[3])
            return
        end = _END.fullmatch(head.text)
        if end is None and not head.text.startswith("tokens "):
            raise TranscriptDamaged(f"unknown record {head.text[:60]!r}", head.number)
        if record.body:
            raise TranscriptDamaged("fields that belong to nothing", record.body[0].number)
        if end is None:
            self._take_tokens(head)
        else:
            self._close_step()
            if int(end[1]) != len(self._steps):
                raise TranscriptDamaged(f"{len(self._steps)} steps where {end[1]} were written", head.number)
            self._ended = True

    def _take_value(self, record: _Record, now: float, kind: str, name: str) -> None:
        line = record.head.number
        if kind == "in":
            self._close_step()
            if len(self._steps) >= self._limits.max_steps:
                raise TranscriptTooLarge(f"more than {self._limits.max_steps} steps", line)
            what = self._fields(record, self._class(self._inputs, name, line))
            self._open = _Building(Step(number=len(self._steps) + 1, line=line, now=now, what=what))
            return
        step = self._open
        if step is None or step.step.now != now or step.step.raised is not None:
            raise TranscriptDamaged("this belongs to no input", line)
        if kind == "out":
            step.outputs.append(self._fields(record, self._class(self._outputs, name, line)))
        elif name != "Raised" or step.outputs:
            raise TranscriptDamaged("nothing is raised here", line)
        else:
            step.step = evolve(step.step, raised=self._fields(record, Raised))

    def _take_tokens(self, line: _Line) -> None:
        for text in line.text.split(" ")[1:]:
            match = _DRAW.fullmatch(text)
            if match is None or int(match[2], 16) >> int(match[1]):
                raise TranscriptDamaged("not a token", line.number)
            tokens = self._first_tokens if self._open is None else self._open.tokens
            tokens.append(Draw(count=int(match[1]), value=int(match[2], 16)))

    def _close_step(self) -> None:
        if self._open is not None:
            self._steps.append(self._open.done())
            self._open = None

    @staticmethod
    def _class(known: dict[str, type], name: str, line: int) -> type:
        if name not in known:
            raise TranscriptDamaged(f"unknown record {name}", line)
        return known[name]

    @staticmethod
    def _time(text: str, line: int) -> float:
        try:
            now = float(text)
        except ValueError:
            now = math.nan
        if not math.isfinite(now):
            raise TranscriptDamaged(f"{text} is no time", line)
        return now

    # -- fields ------------------------------------------------------------------------------------------------------

    def _fields(self, record: _Record, cls: type) -> Any:
        fields: dict[str, Node] = {}
        lines = record.body
        at = 0
        while at < len(lines):
            line = lines[at]
            match = _FIELD.fullmatch(line.text)
            if match is None or match[1] in fields:
                raise TranscriptDamaged("a field is expected", line.number)
            more: list[_Line] = []
            at += 1
            while at < len(lines) and lines[at].text.startswith(_CONTINUED):
                more.append(lines[at])
                at += 1
            if octets := _OCTETS.fullmatch(match[2]):
                fields[match[1]] = _octets(line, more, int(octets[1]))
            else:
                fields[match[1]] = self._value(line, match[2], more)
        try:
            return build(Structure(cls.__name__, fields), cls)
        except NotationError as error:
            raise TranscriptDamaged(str(error), record.head.number) from None

    def _value(self, line: _Line, first: str, more: list[_Line]) -> Node:
        text = "\n".join([first, *(item.text for item in more)])
        try:
            return read_value(text, self._limits.max_depth)
        except NotationError as error:
            at = text.count("\n", 0, error.at)
            _damaged(error, ([line, *more])[at])


def _octets(line: _Line, more: list[_Line], count: int) -> bytes:
    out = bytearray()
    for item in more:
        text = item.text[len(_CONTINUED) :]
        if text != "|" and not text.startswith("| "):
            raise TranscriptDamaged("octets are expected", item.number)
        try:
            out += read_octet_line(text[2:])
        except NotationError as error:
            _damaged(error, item)
    if len(out) != count:
        raise TranscriptDamaged(f"{len(out)} octets where {count} were written", line.number)
    return bytes(out)


def _damaged(error: NotationError, line: _Line) -> NoReturn:
    raise TranscriptDamaged(str(error), line.number) from None
