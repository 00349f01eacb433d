"""Doing again what was recorded, and comparing."""

from __future__ import annotations

import difflib
import itertools

from attrs import evolve, frozen

from sipproto.agent import Output, UserAgent
from sipproto.agent.outputs import ProtocolViolated
from sipproto.errors import Fault, LocalProtocolError, SipProtoError
from sipproto.tokens import SeededTokens
from sipproto.trace._errors import TranscriptError
from sipproto.trace._model import Draw, Raised, Step, Transcript
from sipproto.trace._redact import Redactor
from sipproto.trace._values import field_lines

_MAX_EXTRA_DRAWS = (
    1000  # tokens beyond those recorded for a step: an engine that wants more than that goes round in circles
)


@frozen(kw_only=True)
class Difference:
    """The first thing that came out differently: at which step, and what. None: nothing was recorded, or came.

    number: of the step, from 1. line: of its input in the file. position: of the output in the step, from 0.
    """

    number: int
    line: int
    now: float
    position: int
    expected: Output | Raised | None
    got: Output | Raised | None


@frozen(kw_only=True)
class ReplayResult:
    """How a replay went: what was compared, and what differs."""

    steps: int
    outputs: int
    differences: int
    first: Difference | None = None

    @property
    def equal(self) -> bool:
        return self.differences == 0


class _TooManyTokens(Exception):
    pass


class ReplayTokens:
    """The tokens of a recording, step by step. An engine that asks for others than the recorded one gets made-up ones."""

    def __init__(self) -> None:
        self._left: list[Draw] = []
        self._others = SeededTokens(0)
        self._extra = 0

    def load(self, draws: tuple[Draw, ...]) -> None:
        self._left = list(reversed(draws))
        self._extra = 0

    def bits(self, count: int) -> int:
        if self._left and self._left[-1].count == count:
            return self._left.pop().value
        self._extra += 1
        if self._extra > _MAX_EXTRA_DRAWS:
            raise _TooManyTokens
        return self._others.bits(count)


def replay(transcript: Transcript) -> ReplayResult:
    """Gives the recorded inputs to a new agent at the recorded times and compares all that comes of it, octet for octet.

    The passwords are not there: what depends on them (the response of a digest, the proof of a server) is covered on both
    sides. Of a transcript
    without an end the last step is compared as far as it goes.

    This runs the engine with the configuration of the file. Raises TranscriptError when no agent can be made of it.
    """
    tokens = ReplayTokens()
    tokens.load(transcript.tokens)
    try:
        agent = UserAgent(evolve(transcript.config, tokens=tokens))
    except (SipProtoError, _TooManyTokens) as error:
        raise TranscriptError(f"no agent can be made of this configuration: {error}") from None
    redactor = Redactor(bodies=transcript.header.bodies, replaying=True)
    compared = differences = 0
    first: Difference | None = None
    for step in transcript.steps:
        tokens.load(step.tokens)
        got = _without_proofs(_perform(agent, step, redactor))
        expected = _without_proofs(_results(step))
        if not transcript.complete and step is transcript.steps[-1]:
            got = got[: len(expected)]
        for position, (wanted, came) in enumerate(itertools.zip_longest(expected, got)):
            compared += 1
            if not _same(wanted, came):
                differences += 1
                first = first or Difference(
                    number=step.number, line=step.line, now=step.now, position=position, expected=wanted, got=came
                )
    return ReplayResult(steps=len(transcript.steps), outputs=compared, differences=differences, first=first)


def _results(step: Step) -> list[Output | Raised]:
    return list(step.outputs) if step.raised is None else [step.raised]


def _without_proofs(results: list[Output | Raised]) -> list[Output | Raised]:
    """Whether a server has proven that it knows the password cannot be found out again without the password."""
    return [r for r in results if not (isinstance(r, ProtocolViolated) and r.fault is Fault.SERVER_PROOF)]


def _perform(agent: UserAgent, step: Step, redactor: Redactor) -> list[Output | Raised]:
    out: list[Output | Raised] = []
    try:
        out += agent.handle(step.what, step.now)
    except Exception as error:  # a fault of the engine is what was recorded, or a difference
        text = str(error) if isinstance(error, LocalProtocolError) else ""
        out.append(Raised(error=type(error).__name__, text=text))
    return [redactor.value(result) for result in out]


def _same(one: object, two: object) -> bool:
    """By what would be written: that is exact for every value, NaN included."""
    return type(one) is type(two) and (one == two or field_lines(one) == field_lines(two))


def describe(difference: Difference) -> list[str]:
    """A difference in lines for people: what was recorded with -, what came with +, what both have with a space."""
    before, after = (
        [] if value is None else [type(value).__name__, *field_lines(value)]
        for value in (difference.expected, difference.got)
    )
    lines = list(difflib.unified_diff(before, after, lineterm="", n=1000))[2:]
    where = (
        f"step {difference.number} (line {difference.line}, {difference.now:.6f} s), output {difference.position + 1}"
    )
    return [where, *(line for line in lines if not line.startswith("@"))]
