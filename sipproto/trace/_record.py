"""Writing transcripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve

from sipproto import __version__
from sipproto.agent import AgentConfig, Input, Output, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.tokens import TokenSource
from sipproto.trace._framing import StreamTails
from sipproto.trace._model import FORMAT, MAGIC, Draw, Header, Raised
from sipproto.trace._redact import Redactor
from sipproto.trace._values import field_lines

_DRAWS_A_LINE = 8


class _RecordingTokens:
    """A token source that remembers what it gave out."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.drawn: list[Draw] = []
        self.recording = True

    def bits(self, count: int) -> int:
        value = self._source.bits(count)
        if self.recording:
            self.drawn.append(Draw(count=count, value=value))
        return value


class Recorder:
    """Writes down what an agent is given and what it answers, without its secrets.

        recorder = Recorder(file.write, config)
        agent = UserAgent(recorder.config)
        outputs = recorder.handle(agent, what, now)     # in place of agent.handle(what, now)
        recorder.finish()

    `write` gets text that is to be kept in this order, a whole step at a time. bodies: False covers what people say to each
    other (bodies that are no session description, and digits). started: the POSIX time, for the reader's use only.

    Recording never disturbs the call: when `write` raises, or a value cannot be written down, it stops and `stopped` says
    why.
    """

    def __init__(
        self, write: Callable[[str], object], config: AgentConfig, *, bodies: bool = True, started: float | None = None
    ) -> None:
        self._write_text = write
        self._tokens = _RecordingTokens(config.tokens)
        self._redactor = Redactor(bodies=bodies)
        self._tails = StreamTails(2 * config.limits.message.max_size)  # head and body
        self._steps = 0
        self._last = 0.0
        self._over = False
        self.stopped: str | None = None
        self.config: AgentConfig = evolve(config, tokens=self._tokens)
        header = Header(engine=__version__, bodies=bodies, started=started)
        self._write(
            lambda: [
                f"{MAGIC} {FORMAT}",
                *field_lines(header),
                "config AgentConfig",
                *field_lines(self._redactor.value(config)),
            ]
        )

    def handle(self, agent: UserAgent, what: Input, now: float) -> tuple[Output, ...]:
        """`agent.handle(what, now)`, written down. Returns and raises the same."""
        if self._over:
            return agent.handle(what, now)
        before = self._drawn()  # when the agent was made
        outputs: tuple[Output, ...] = ()
        raised: Raised | None = None
        try:
            outputs = agent.handle(what, now)
        except Exception as error:
            text = str(error) if isinstance(error, LocalProtocolError) else ""
            raised = Raised(error=type(error).__name__, text=text)
            raise
        finally:
            drawn = self._drawn()
            self._write(lambda: self._step(before, what, float(now), drawn, outputs, raised))
        return outputs

    def finish(self) -> None:
        """Writes the end. Nothing is recorded after it; a second time does nothing."""
        before = self._drawn()
        self._write(lambda: [*_token_lines(before), *self._left_over(), "", f"end {self._steps}"])
        self._end()

    # -- lines -------------------------------------------------------------------------------------------------------

    def _drawn(self) -> list[Draw]:
        drawn, self._tokens.drawn = self._tokens.drawn, []
        return drawn

    def _write(self, make: Callable[[], Iterable[str]]) -> None:
        if self._over:
            return
        try:
            self._write_text("".join(f"{line}\n" for line in make()))
        except Exception as error:  # whatever it is, the call goes on
            self.stopped = str(error) or type(error).__name__
            self._end()

    def _end(self) -> None:
        self._over = True
        self._tokens.recording = False
        self._tokens.drawn = []

    def _step(
        self,
        before: list[Draw],
        what: Input,
        now: float,
        drawn: list[Draw],
        outputs: tuple[Output, ...],
        raised: Raised | None,
    ) -> list[str]:
        self._last = now
        out = _token_lines(before)
        match what:
            case i.FlowOpened(flow=flow, transport=transport) if raised is None:
                self._tails.open(flow, transport)
            case i.FlowClosed(flow=flow):
                out += self._left_of(flow)
            case _:
                pass
        # An engine closes a stream that it cannot read any more, and it may see that before the end of a message.
        closed = any(
            isinstance(output, o.CloseFlow) and output.flow == getattr(what, "flow", None) for output in outputs
        )
        out += self._input(what, now, whole=closed)
        out += _token_lines(drawn)
        for output in outputs:
            out += self._record(now, "out", output)
            if isinstance(output, o.CloseFlow):
                self._tails.close(output.flow)
        if raised is not None:
            out += self._record(now, "raised", raised)
        return out

    def _input(self, what: Input, now: float, *, whole: bool) -> list[str]:
        if not isinstance(what, i.DataReceived):
            return self._begin(now, self._redactor.value(what))
        messages = self._tails.feed(what.flow, bytes(what.data))
        if whole:
            messages.append(self._tails.close(what.flow))
        # Each message is covered for itself: a body ends where its Content-Length says.
        return self._begin(now, evolve(what, data=b"".join(map(self._redactor.message, messages))))

    def _begin(self, now: float, what: Input) -> list[str]:
        self._steps += 1
        return ["", f"{now!r} in {type(what).__name__}", *field_lines(what)]

    def _record(self, now: float, kind: str, value: object) -> list[str]:
        return [f"{now!r} {kind} {type(value).__name__}", *field_lines(self._redactor.value(value))]

    def _left_of(self, flow: int) -> list[str]:
        """The beginning of a message whose end never came. An engine makes nothing of it; a person may."""
        left = self._tails.close(flow)
        return self._begin(self._last, i.DataReceived(flow=flow, data=self._redactor.message(left))) if left else []

    def _left_over(self) -> list[str]:
        return [line for flow in self._tails.flows() for line in self._left_of(flow)]


def _token_lines(draws: list[Draw]) -> list[str]:
    texts = [f"{draw.count}:{draw.value:x}" for draw in draws]
    return [f"tokens {' '.join(texts[n : n + _DRAWS_A_LINE])}" for n in range(0, len(texts), _DRAWS_A_LINE)]
