"""What a transcript holds."""

from __future__ import annotations

from attrs import frozen

from sipproto.agent import AgentConfig, Input, Output

FORMAT = 1
MAGIC = "sipproto transcript"


@frozen(kw_only=True)
class Header:
    """How a transcript was made.

    engine: the version of this library. bodies: False when bodies other than session descriptions, and digits, are
    covered. started: the POSIX time of the first step, None when it is not known.
    """

    engine: str
    bodies: bool = True
    started: float | None = None


@frozen(kw_only=True)
class Raised:
    """What `handle` raised instead of giving outputs: LocalProtocolError for a command that was not possible."""

    error: str
    text: str = ""


@frozen(kw_only=True)
class Draw:
    """One call of the token source: how many bits were asked for, and which came."""

    count: int
    value: int


@frozen(kw_only=True)
class Step:
    """One call of `handle`: an input, the tokens that it took, and what came of it. `line`: where it stands."""

    number: int
    line: int
    now: float
    what: Input
    tokens: tuple[Draw, ...] = ()
    outputs: tuple[Output, ...] = ()
    raised: Raised | None = None


@frozen(kw_only=True)
class Transcript:
    """A whole recording. `tokens` are those that the agent took when it was made; `complete`: it has its `end`."""

    header: Header
    config: AgentConfig
    tokens: tuple[Draw, ...]
    steps: tuple[Step, ...]
    complete: bool = True
