"""The workbench of the conformance suite for media engines: ends of calls, driven through the port and by real negotiators."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from attrs import frozen

from sipproto.agent.media import (
    ApplyMedia,
    AskKeyFrame,
    CloseMedia,
    CollectStats,
    DigitHeard,
    DigitSent,
    KeyFrameAsked,
    LineStats,
    MediaApplied,
    MediaEngine,
    MediaFailed,
    MediaInput,
    MediaOpened,
    MediaOperation,
    MediaReply,
    MediaReport,
    MediaState,
    MediaStateChanged,
    OpenMedia,
    RequestId,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
    StatsCollected,
)
from sipproto.negotiation import LocalTransport, MediaLine, NegotiatedSession, Negotiator
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens

Request = OpenMedia | ApplyMedia | CollectStats | SetSenderParameters | AskKeyFrame | SendDigit
_R = TypeVar("_R", bound=MediaReply)

REPLIES: dict[type[Request], type[MediaReply]] = {
    OpenMedia: MediaOpened,
    ApplyMedia: MediaApplied,
    CollectStats: StatsCollected,
    SetSenderParameters: SenderParametersSet,
    AskKeyFrame: KeyFrameAsked,
    SendDigit: DigitSent,
}
_LONGEST_ERROR = 300


@frozen(kw_only=True)
class EngineCase:
    """An engine and what the suite has to know of it, see `check_media_engine`."""

    make_engine: Callable[[], MediaEngine]
    has_media: bool
    unsupported: frozenset[type[MediaOperation]]
    patience: float


class Bench:
    """The engines and ends of one check. Reports of any thread are handed on here, on the thread of the check."""

    def __init__(self, case: EngineCase) -> None:
        self.case = case
        self.arrived: queue.SimpleQueue[tuple[End, RequestId | None, MediaInput]] = queue.SimpleQueue()
        self.numbers = itertools.count(1_000, 7)
        self.secrets: set[str] = set()
        self._names = itertools.count(1)
        self._engines: list[MediaEngine] = []

    def can(self, kind: type[Request]) -> bool:
        return kind not in self.case.unsupported

    @property
    def has_media(self) -> bool:
        return self.case.has_media

    # -- making --------------------------------------------------------------------------------------------------------

    def engine(self) -> MediaEngine:
        engine = self.case.make_engine()
        self._engines.append(engine)
        return engine

    def end(self, engine: MediaEngine | None = None) -> End:
        return End(self, engine or self.engine(), next(self._names))

    def pair(self) -> tuple[End, End]:
        """Two ends, each of an engine of its own."""
        return self.end(), self.end()

    def kinds(self, *ends: End) -> list[str]:
        """The kinds of media that all of these can do."""
        return [
            kind
            for kind in ("audio", "video")
            if all(end.engine.capabilities.can(kind, end.negotiator.preferences) for end in ends)
        ]

    def connected(self, change: Callable[[str], str] = lambda sdp: sdp) -> tuple[End, End]:
        """A call with a line of each kind, up at both ends."""
        a, b = self.pair()
        self.connect(a, b, change)
        return a, b

    def connect(self, a: End, b: End, change: Callable[[str], str] = lambda sdp: sdp) -> None:
        for kind in self.kinds(a, b):
            a.negotiator.add_line(kind)
        exchange(a, b, change)
        self.expect_connected(a, b)

    # -- waiting -------------------------------------------------------------------------------------------------------

    def pump(self, seconds: float) -> None:
        """Waits for one report and hands it to its end."""
        try:
            end, given, message = self.arrived.get(timeout=seconds)
        except queue.Empty:
            return
        end.take(given, message)

    def until(self, condition: Callable[[], bool], complaint: str | Callable[[], str]) -> None:
        deadline = time.monotonic() + self.case.patience
        while not condition():
            left = deadline - time.monotonic()
            told = complaint if isinstance(complaint, str) else complaint()
            assert left > 0, f"{told} (waited {self.case.patience:g} s)"
            self.pump(min(left, 0.02))

    def moment(self) -> None:
        """Lets a hundredth of the patience pass, in which what must not happen would, and takes what is reported."""
        deadline = time.monotonic() + self.case.patience / 100
        while (left := deadline - time.monotonic()) > 0:
            self.pump(left)

    def close(self) -> None:
        """Closes the engines; an error of one does not keep the others open."""
        error: Exception | None = None
        for engine in self._engines:
            try:
                engine.close()
            except Exception as raised:
                error = raised
        assert error is None, f"close() raised {error!r}"

    # -- expecting -----------------------------------------------------------------------------------------------------

    def expect_connected(self, *ends: End) -> None:
        for end in ends:
            self.until(end.is_connected, end.say_states)

    def expect_flow(self, *ends: End) -> None:
        """What is to be sent on each line leaves, and what is to be received arrives."""
        if not self.has_media:
            return
        missing: dict[tuple[End, str, str], int] = {}  # end, mid and counter, with what it was at first
        for end in ends:
            for line, figures in zip(end.lines, end.measure().lines, strict=True):
                if line.direction.sends:
                    missing[end, line.mid, "packets_sent"] = figures.packets_sent
                if line.direction.receives:
                    missing[end, line.mid, "packets_received"] = figures.packets_received

        def is_all_there() -> bool:
            now = {end: end.figures() for end in ends}
            for (end, mid, counter), start in list(missing.items()):
                if getattr(now[end][mid], counter) > start:
                    del missing[end, mid, counter]
            return not missing

        def say_missing() -> str:
            stays = [
                f"{name} stays at {n} on the line {mid!r} of {end.call}" for (end, mid, name), n in missing.items()
            ]
            return "; ".join(stays)

        self.until(is_all_there, say_missing)

    def expect_no_packets(self, end: End, mids: Iterable[str], why: str) -> None:
        """Nothing is sent on some lines any more; what is under way may still leave."""
        if not self.has_media:
            return

        def sent() -> list[int]:
            figures = end.figures()
            return [figures[mid].packets_sent for mid in mids]

        def is_still() -> bool:
            before = sent()
            self.moment()
            return sent() == before

        self.until(is_still, f"packets are still sent on the lines {list(mids)}, {why}")

    def check_error(self, error: str) -> None:
        """What MediaFailed says is a line for users, without secrets."""
        assert error, "the error of MediaFailed is empty"
        assert error.isprintable(), f"the error of MediaFailed is not one line fit for a user: {error!r}"
        assert len(error) <= _LONGEST_ERROR, f"the error of MediaFailed is too long for a user: {error!r}"
        assert not any(secret in error for secret in self.secrets), "the error of MediaFailed contains an ICE password"


class End:
    """One end of a call: an engine's call and a negotiator."""

    def __init__(self, bench: Bench, engine: MediaEngine, number: int) -> None:
        self._bench = bench
        self.engine = engine
        self.call = f"call-{number}"
        self.negotiator = Negotiator(engine.capabilities, SeededTokens(number))
        self.session: NegotiatedSession | None = None
        self.states: list[MediaState] = []
        self.digits: list[DigitHeard] = []
        self.answer = ""  # of ours to the last offer of the peer
        self.is_silent = False  # no notice may come any more
        self._asked: dict[RequestId, type[Request]] = {}
        self._replies: dict[RequestId, MediaReply] = {}

    @property
    def lines(self) -> tuple[MediaLine, ...]:
        return self.session.lines if self.session is not None else ()

    def line(self, kind: str) -> MediaLine | None:
        return next((line for line in self.lines if line.kind == kind), None)

    def is_connected(self) -> bool:
        return self.states[-1:] == [MediaState.CONNECTED]

    def say_states(self) -> str:
        return f"the call should be CONNECTED; the states reported were {[state.value for state in self.states]}"

    # -- the port ------------------------------------------------------------------------------------------------------

    def take(self, given: RequestId | None, message: MediaInput) -> None:
        """A message that came to the `report` of the request `given`."""
        if isinstance(message, MediaStateChanged | DigitHeard):
            self._notice(message)
            return
        number = message.request
        assert number == given, f"{message} came to the report of the request {given}"
        kind = self._asked.pop(number, None)
        assert kind is not None, f"a request is answered a second time: {message}"
        assert isinstance(message, REPLIES[kind] | MediaFailed), f"{kind.__name__} is answered with {message}"
        if isinstance(message, MediaFailed):
            self._bench.check_error(message.error)
        self._replies[number] = message

    def _notice(self, message: MediaStateChanged | DigitHeard) -> None:
        assert message.call == self.call, f"a notice came to the report of {self.call!r}: {message}"
        assert not self.is_silent, f"a notice comes for a call after its end: {message}"
        if isinstance(message, MediaStateChanged):
            self.states.append(message.state)
        else:
            self.digits.append(message)

    def perform(self, operation: MediaOperation) -> None:
        given = None if isinstance(operation, CloseMedia) else operation.request
        arrived = self._bench.arrived
        try:  # `report` may be called on any thread
            self.engine.perform(operation, lambda message: arrived.put((self, given, message)))
        except Exception as error:
            raise AssertionError(f"perform raised {error!r} for {type(operation).__name__}") from error

    def start(self, kind: type[Request], **parameters: Any) -> RequestId:
        """Performs an operation; `reply` waits for what becomes of it."""
        number = next(self._bench.numbers)
        self._asked[number] = kind
        self.perform(kind(request=number, call=self.call, **parameters))
        return number

    def reply(self, number: RequestId) -> MediaReply:
        kind = self._asked.get(number)
        name = kind.__name__ if kind is not None else "a request"
        self._bench.until(lambda: number in self._replies, f"{name} is not answered")
        return self._replies.pop(number)

    def does(self, expected: type[_R], kind: type[Request], **parameters: Any) -> _R:
        """Performs an operation that has to succeed."""
        reply = self.reply(self.start(kind, **parameters))
        assert isinstance(reply, expected), f"{kind.__name__} fails: {reply}"
        return reply

    def fails(self, why: str, kind: type[Request], **parameters: Any) -> None:
        """Performs an operation that has to fail."""
        reply = self.reply(self.start(kind, **parameters))
        assert isinstance(reply, MediaFailed), f"{kind.__name__} should fail, as {why}, but is answered with {reply}"

    def close(self) -> None:
        self.perform(CloseMedia(call=self.call))

    # -- operations ----------------------------------------------------------------------------------------------------

    def open(self, slots: Iterable[int], *, restart: bool = False) -> dict[int, LocalTransport]:
        wanted = tuple(slots)
        reply = self.does(MediaOpened, OpenMedia, slots=wanted, restart=restart)
        self._bench.secrets |= {transport.ice_pwd for _, transport in reply.transports}
        opened = [slot for slot, _ in reply.transports]
        assert sorted(opened) == sorted(wanted), f"of the slots {list(wanted)}, {opened} were opened"
        return dict(reply.transports)

    def apply(self, session: NegotiatedSession) -> None:
        self.session = session
        self.does(MediaApplied, ApplyMedia, session=session)

    def measure(self) -> MediaReport:
        """Statistics, whose lines have to be those that were agreed on."""
        report = self.does(StatsCollected, CollectStats).report
        agreed = [(line.mid, line.kind, line.direction.value) for line in self.lines]
        measured = [(line.mid, line.kind, line.direction) for line in report.lines]
        assert measured == agreed, f"statistics are of the lines {measured}, agreed on were {agreed}"
        return report

    def figures(self) -> dict[str, LineStats]:
        """The statistics of the lines, by mid."""
        return {line.mid: line for line in self.measure().lines}

    def open_needed(self) -> None:
        """Has the engine open what the next description needs."""
        for wanted, restart in ((self.negotiator.missing_slots, False), (self.negotiator.restart_slots, True)):
            if slots := wanted():
                for slot, transport in self.open(slots, restart=restart).items():
                    self.negotiator.add_transport(slot, transport)

    def offer(self) -> str:
        self.open_needed()
        return self.negotiator.create_offer().to_bytes().decode()

    def answer_to(self, offer: str) -> str:
        """Takes an offer with all of its lines, and applies what follows from it."""
        self.negotiator.receive_offer(offer, (), Direction.SENDRECV)
        self.open_needed()
        answer, session = self.negotiator.create_answer()
        self.answer = answer.to_bytes().decode()
        self._bench.secrets |= {pair.remote.ice_pwd for pair in session.transports}
        self.apply(session)
        return self.answer

    def take_answer(self, answer: str) -> None:
        self.apply(self.negotiator.receive_answer(answer))


def exchange(offerer: End, answerer: End, change: Callable[[str], str] = lambda sdp: sdp) -> None:
    """An offer and its answer, applied on both sides. `change` is made to both descriptions on their way."""
    offer = change(offerer.offer())
    offerer.take_answer(change(answerer.answer_to(offer)))
