"""One call: its operations in order, its transports and lines, and the state of all of them together."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import frozen

from sipproto.agent.media import (
    ApplyMedia,
    AskKeyFrame,
    CollectStats,
    DigitHeard,
    DigitSent,
    KeyFrameAsked,
    MediaApplied,
    MediaFailed,
    MediaInput,
    MediaOpened,
    MediaReport,
    MediaState,
    MediaStateChanged,
    OpenMedia,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
    StatsCollected,
)
from sipproto.agent.parameters import SenderParameters
from sipproto.negotiation import MediaLine, NegotiatedSession
from sipproto_aiortc._ice import Credentials
from sipproto_aiortc._line import Line
from sipproto_aiortc._servers import IceOptions
from sipproto_aiortc._stats import collect
from sipproto_aiortc._transport import Certificate, Slot, SlotState
from sipproto_devices import MediaSetup, Outlets

_log = logging.getLogger("sipproto.media")
_WATCH_INTERVAL = 0.25
_CLOSED = "the media of the call was closed"

Report = Callable[[MediaInput], None]
Request = OpenMedia | ApplyMedia | CollectStats | SetSenderParameters | AskKeyFrame | SendDigit


@frozen(kw_only=True)
class CallOptions:
    """What all calls of an engine have in common. Times in seconds."""

    ice: IceOptions
    certificate: Callable[[], Certificate]
    connect_timeout: float = 15.0
    silence_timeout: float = 5.0


def safe_report(report: Report, message: MediaInput) -> None:
    """`report` is the user's: whatever it raises is logged."""
    try:
        report(message)
    except Exception:
        _log.exception("a media report raised")


class Call:
    """All methods run on the media thread."""

    def __init__(self, name: str, options: CallOptions, setup: MediaSetup) -> None:
        self._name = name
        self._options = options
        self._setup = setup
        self._requests: asyncio.Queue[tuple[Request, Report]] = asyncio.Queue()
        self._running: tuple[Request, Report] | None = None
        self._report: Report = lambda message: None
        self._slots: dict[int, Slot] = {}
        self._lines: dict[int, Line] = {}
        self._outlets = Outlets(lambda close: asyncio.get_running_loop().run_in_executor(None, close))
        self._with_video: bool | None = None  # before the first session nobody knows
        self._parameters: dict[int, SenderParameters] = {}  # by line, also for lines that are made anew
        self._prepared = False
        self._state = MediaState.CONNECTING
        self._told: MediaState | None = None
        self._aside: set[asyncio.Task[MediaInput]] = set()
        self._work_task = asyncio.create_task(self._work())
        self._watch_task: asyncio.Task[None] | None = None

    def submit(self, request: Request, report: Report) -> None:
        self._requests.put_nowait((request, report))

    def use(self, setup: MediaSetup) -> None:
        """Goes over to other sources and sinks: at once where lines are there, else with the first session."""
        self._setup = setup
        if self._with_video is not None:
            self._outlets.use(setup, with_video=self._with_video)
        for line in self._lines.values():
            line.use(setup)

    async def close(self) -> None:
        """Releases everything; requests that wait are answered with MediaFailed."""
        tasks: list[asyncio.Task[Any]] = [self._work_task, *self._aside]
        for task in tasks:
            task.cancel()
        if self._watch_task is not None:
            self._watch_task.cancel()
            tasks.append(self._watch_task)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_waiting()
        await asyncio.gather(*(line.close() for line in self._lines.values()), return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self._slots.values()), return_exceptions=True)
        self._lines.clear()
        self._slots.clear()
        loop = asyncio.get_running_loop()
        closing = [loop.run_in_executor(None, close) for close in self._outlets.close()]
        await asyncio.gather(*closing, return_exceptions=True)

    # -- operations, one after the other -----------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            request, report = await self._requests.get()
            self._report = report
            if isinstance(request, SendDigit):  # takes as long as somebody presses a key: nothing waits for that
                self._begin_aside(request, report)
                continue
            self._running = (request, report)
            answer = await self._answer(request)
            self._running = None
            safe_report(report, answer)
            if isinstance(answer, MediaApplied):
                self._update_state()

    async def _answer(self, request: Request) -> MediaInput:
        try:
            return await self._perform(request)
        except Exception as error:
            return MediaFailed(request=request.request, error=_one_line(error))

    def _begin_aside(self, request: Request, report: Report) -> None:
        def answered(task: asyncio.Task[MediaInput]) -> None:
            self._aside.discard(task)
            closed = MediaFailed(request=request.request, error=_CLOSED)
            safe_report(report, closed if task.cancelled() else task.result())

        task = asyncio.create_task(self._answer(request))
        self._aside.add(task)
        task.add_done_callback(answered)

    def _fail_waiting(self) -> None:
        waiting = [self._running] if self._running is not None else []
        while not self._requests.empty():
            request, report = self._requests.get_nowait()
            waiting.append((request, report))
        for request, report in waiting:
            safe_report(report, MediaFailed(request=request.request, error=_CLOSED))

    async def _perform(self, request: Request) -> MediaInput:
        match request:
            case OpenMedia():
                return await self._open(request)
            case ApplyMedia():
                await self._apply(request.session)
                return MediaApplied(request=request.request)
            case CollectStats():
                return StatsCollected(request=request.request, report=await self._measured())
            case SetSenderParameters():
                effective = self._line_at(request.line).set_parameters(request.parameters)
                self._parameters[request.line] = request.parameters
                return SenderParametersSet(request=request.request, effective=effective)
            case AskKeyFrame():
                await self._line_at(request.line).ask_key_frame(ours=request.ours)
                return KeyFrameAsked(request=request.request)
            case SendDigit():
                await self._line_at(request.line).send_digit(request.event, request.duration, request.codec)
                return DigitSent(request=request.request)

    def _line_at(self, index: int) -> Line:
        if index not in self._lines:
            raise ValueError(f"the call has no media line {index}")
        return self._lines[index]

    async def _open(self, request: OpenMedia) -> MediaOpened:
        if not self._prepared:
            await asyncio.get_running_loop().run_in_executor(None, self._setup.check)
            self._prepared = True
        if request.restart:
            return await self._reopen(request)
        # One for all that are opened together, as browsers do: some peers (GStreamer) take no BUNDLE group of several, and for
        # others (Firefox) the lines that leave theirs for the bundle's restart ICE, half of all.
        credentials = Credentials.fresh()
        new = {
            number: Slot(
                self._options.ice,
                self._options.certificate(),
                credentials,
                self._options.connect_timeout,
                self._slot_changed,
            )
            for number in request.slots
            if number not in self._slots
        }
        try:
            await asyncio.gather(*(slot.open() for slot in new.values()))
            known = {**self._slots, **new}
            transports = tuple((number, known[number].local()) for number in request.slots)
        except BaseException:
            await asyncio.gather(*(slot.close() for slot in new.values()), return_exceptions=True)
            raise
        self._slots.update(new)
        return MediaOpened(request=request.request, transports=transports)

    async def _reopen(self, request: OpenMedia) -> MediaOpened:
        self._require_open(request.slots)
        slots = [self._slots[number] for number in request.slots]
        credentials = Credentials.fresh()
        results = await asyncio.gather(*(slot.reopen(credentials) for slot in slots), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                for slot in slots:
                    slot.drop_reopened()
                raise result
        opened = [result for result in results if not isinstance(result, BaseException)]
        return MediaOpened(request=request.request, transports=tuple(zip(request.slots, opened, strict=True)))

    def _require_open(self, numbers: Iterable[int]) -> None:
        if missing := sorted(set(numbers) - set(self._slots)):
            raise ValueError(f"the media transports {missing} are not open")

    async def _apply(self, session: NegotiatedSession) -> None:
        pairs = {pair.slot: pair for pair in session.transports}
        self._require_open(pairs)
        if stray := sorted({line.slot for line in session.lines} - set(pairs)):
            raise ValueError(f"media lines use the transports {stray}, which were not agreed on")
        for number, pair in pairs.items():
            self._slots[number].check(pair)
        self._with_video = any(line.kind == "video" for line in session.lines)
        self._outlets.use(self._setup, with_video=self._with_video)
        for number, pair in pairs.items():
            self._slots[number].take(pair)
        agreed = {line.index: line for line in session.lines}
        for index, line in list(self._lines.items()):
            if index not in agreed or line.transport is not self._slots[agreed[index].slot].dtls:
                # Shielded: a call closed just now has to find what it closes either here or finished.
                await asyncio.shield(line.close())
                del self._lines[index]
                if index not in agreed:
                    self._parameters.pop(index, None)  # the next line in this place is another one
        for number in set(self._slots) - set(pairs):
            await asyncio.shield(self._slots[number].close())
            del self._slots[number]
        for number in pairs:
            await asyncio.shield(self._slots[number].close_left())
            self._slots[number].connect()
        for index, facts in agreed.items():
            await self._apply_line(index, facts, session.cname)
        if self._watch_task is None:
            self._watch_task = asyncio.create_task(self._watch())

    async def _apply_line(self, index: int, facts: MediaLine, cname: str) -> None:
        slot = self._slots[facts.slot]
        if slot.dtls.state == "closed":
            raise ValueError("the peer has closed the media transport")
        line = self._lines.get(index)
        if line is None:
            parameters = self._parameters.get(index, SenderParameters())
            heard = partial(self._digit_heard, index)
            number = self._free_number(facts.kind)
            line = Line(slot.dtls, facts, cname, number, self._setup, self._outlets, parameters, heard)
            self._lines[index] = line
        await line.apply(facts)
        line.flow(slot.state is SlotState.CONNECTED)  # as it is now: it may have connected meanwhile

    def _free_number(self, kind: str) -> int:
        """The lowest number that no other line of this kind has: a line keeps its own for life."""
        taken = {line.number for line in self._lines.values() if line.agreed.kind == kind}
        return next(number for number in itertools.count() if number not in taken)

    def _digit_heard(self, line: int, event: int, duration: int) -> None:
        safe_report(self._report, DigitHeard(call=self._name, line=line, event=event, duration=duration))

    async def _measured(self) -> MediaReport:
        lines = [line for _, line in sorted(self._lines.items())]
        analysed = [await line.stats() for line in lines]
        stats = collect([line.counted() for line in lines], {n: slot.facts() for n, slot in self._slots.items()})
        return MediaReport(state=self._state, lines=tuple(analysed), stats=stats)

    # -- the state ---------------------------------------------------------------------------------------------------

    def _slot_changed(self) -> None:
        self._update_state()
        for line in self._lines.values():
            slot = self._slots.get(line.agreed.slot)
            line.flow(slot is not None and slot.state is SlotState.CONNECTED)

    async def _watch(self) -> None:
        """Notices silence: aiortc itself says nothing before consent is lost, after half a minute."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            self._update_state()

    def _update_state(self) -> None:
        self._state = self._judge()
        # Not before MediaApplied: the notices belong to a session that the core knows to be taken over.
        if self._state is not self._told and self._watch_task is not None and not self._applying:
            self._told = self._state
            safe_report(self._report, MediaStateChanged(call=self._name, state=self._state))

    @property
    def _applying(self) -> bool:
        return self._running is not None and isinstance(self._running[0], ApplyMedia)

    def _judge(self) -> MediaState:
        used = [slot for slot in self._slots.values() if slot.state is not SlotState.OPEN]
        states = {slot.state for slot in used}
        if SlotState.FAILED in states:
            return MediaState.FAILED
        if SlotState.CONNECTING in states or not states:
            return MediaState.CONNECTING
        if states & {SlotState.ENDED, SlotState.LOST} or any(self._silent(slot) for slot in used):
            return MediaState.DISCONNECTED
        return MediaState.CONNECTED

    def _silent(self, slot: Slot) -> bool:
        """Nothing arrived for too long, although something should: on hold a peer may rightly send nothing at all."""
        expected = any(line.agreed.direction.receives and line.transport is slot.dtls for line in self._lines.values())
        idle = asyncio.get_running_loop().time() - slot.last_received
        return expected and idle > self._options.silence_timeout


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__
