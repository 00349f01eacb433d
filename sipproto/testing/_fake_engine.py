"""A media engine without media: it answers every operation at once, and does to a call what a test wants to see."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import TypeVar, get_args

from attrs import frozen

from sipproto.agent.media import (
    DIGITS,
    ApplyMedia,
    CallId,
    CloseMedia,
    DigitHeard,
    MediaFailed,
    MediaInput,
    MediaOperation,
    MediaState,
    MediaStateChanged,
    OpenMedia,
)
from sipproto.negotiation import MediaCapabilities, MediaLine
from sipproto.sdp import Codec
from sipproto.testing._fake_call import FakeCall, Refused, Request, TransportSource, is_event

Report = Callable[[MediaInput], None]
_O = TypeVar("_O", bound=MediaOperation)

_KEPT = 10_000  # operations, and calls that are over
_MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
_FEEDBACK = ("nack", "nack pli")

FAKE_CAPABILITIES = MediaCapabilities(
    audio=(
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
        Codec(payload_type=110, name="telephone-event", clock_rate=48000, parameters="0-16"),
        Codec(payload_type=126, name="telephone-event", clock_rate=8000, parameters="0-16"),
    ),
    video=(
        Codec(payload_type=96, name="VP8", clock_rate=90000, feedback=_FEEDBACK),
        Codec(payload_type=97, name="rtx", clock_rate=90000, parameters="apt=96"),
        Codec(payload_type=98, name="VP9", clock_rate=90000, feedback=_FEEDBACK),
        Codec(payload_type=99, name="rtx", clock_rate=90000, parameters="apt=98"),
    ),
    audio_extensions=(_MID,),
    video_extensions=(_MID,),
)


@frozen
class _Fault:
    """What becomes of an operation in place of its result: it fails for this reason or, None, stays without a reply."""

    error: str | None


class FakeMediaEngine:
    """A `sipproto.agent.media.MediaEngine` for tests, without media: nothing is opened, sent or received.

    Every operation is answered within `perform`, as a real engine would: what is impossible fails. Credentials, candidates
    and the certificate come from counters and the `seed`, so that a test repeats itself octet for octet; give each
    engine of a test a seed of its own to tell them apart. A call connects as soon as its session is applied, with `connects`
    False not before `change_state`. What `report` raises comes out of `perform`, for the test to see.

    Any thread may use it: each method is a single step on a call. The last 10,000 operations and ended calls are kept.
    """

    def __init__(
        self, *, seed: int = 0, capabilities: MediaCapabilities = FAKE_CAPABILITIES, connects: bool = True
    ) -> None:
        self._capabilities = capabilities
        self.connects = connects
        self._source = TransportSource(seed, itertools.count(1))
        self._calls: dict[CallId, FakeCall] = {}
        self._reports: dict[CallId, Report] = {}  # of the calls that are open
        self._ended: deque[FakeCall] = deque()
        self._operations: deque[MediaOperation] = deque(maxlen=_KEPT)
        self._next: dict[type[Request], deque[_Fault]] = {kind: deque() for kind in get_args(Request)}
        self._always: dict[type[Request], _Fault] = {}
        self._closed = False

    # -- the port ------------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> MediaCapabilities:
        return self._capabilities

    def prepare(self, call_id: CallId, setup: object) -> None:
        """Keeps whatever the application gave as the `setup` of a call, see `FakeCall.prepared`."""
        self._known(call_id).prepared.append(setup)

    serve = arrange = prepare  # what an embedded server says of its calls (sipproto_server.ServiceEngine)

    def perform(self, operation: MediaOperation, report: Report) -> None:
        self._operations.append(operation)
        if isinstance(operation, CloseMedia):
            self._close_call(operation.call)
            return
        fault = self._fault(type(operation))
        if self._closed:
            report(MediaFailed(request=operation.request, error="the media engine is closed"))
        elif fault is None:
            self._carry_out(operation, report)
        elif fault.error is not None:
            report(MediaFailed(request=operation.request, error=fault.error))

    def close(self) -> None:
        """Ends every call. Operations fail from now on."""
        self._closed = True
        for call in self.calls:
            self._close_call(call.ident)

    # -- what a test looks at ------------------------------------------------------------------------------------------

    @property
    def operations(self) -> tuple[MediaOperation, ...]:
        """Everything that was asked for, in order, also what failed."""
        return tuple(self._operations)

    def asked(self, kind: type[_O], call: CallId | None = None) -> tuple[_O, ...]:
        """The operations of a kind, of all calls or of one."""
        return tuple(
            operation
            for operation in self._operations
            if isinstance(operation, kind) and (call is None or operation.call == call)
        )

    @property
    def calls(self) -> tuple[FakeCall, ...]:
        """All calls, in the order in which they began, also those that are over."""
        return tuple(self._calls.values())

    def call(self, ident: CallId) -> FakeCall:
        """A call by its name. Raises LookupError when this engine was asked for nothing for it."""
        known = self._calls.get(ident)
        if known is None:
            raise LookupError(f"this engine has no call {ident!r}, but {sorted(self._calls)}")
        return known

    # -- what a test causes --------------------------------------------------------------------------------------------

    def fail(self, kind: type[Request], error: str, *, always: bool = False) -> None:
        """Has the next operation of a kind fail, or all from now on; several wait for one operation each.

        The error becomes that of MediaFailed. Raises ValueError for CloseMedia, which has no reply.
        """
        self._arrange(kind, _Fault(error), always)

    def silent(self, kind: type[Request], *, always: bool = False) -> None:
        """Like `fail`, but without any reply: the agent waits `waits.media` seconds and goes on without."""
        self._arrange(kind, _Fault(None), always)

    def heal(self) -> None:
        """Takes back what `fail` and `silent` have arranged and was not met yet."""
        self._always.clear()
        for waiting in self._next.values():
            waiting.clear()

    def change_state(self, call: CallId, state: MediaState) -> None:
        """Reports a state of the transports, e.g. DISCONNECTED when the path is lost.

        Raises LookupError for an unknown call, ValueError for one without an agreed session or that is over.
        """
        known = self._in_use(call)
        self._tell_state(known, state)

    def hear_digit(self, call: CallId, digit: str, *, duration: int = 160) -> None:
        """Reports a digit of the peer on the first line of audio that we receive; `duration` in milliseconds.

        Raises LookupError for an unknown call, ValueError when nothing like that could come: the digit is none, the
        session has no such line or no telephone-event, or the call is over.
        """
        known = self._in_use(call)
        if len(digit) != 1 or digit not in DIGITS:
            raise ValueError(f"{digit!r} is not one of the digits {DIGITS}")
        line = next((line for line in known.lines if _takes_digits(line)), None)
        if line is None:
            raise ValueError(f"call {call!r} receives no audio with telephone-event")
        heard = DigitHeard(call=call, line=line.index, event=DIGITS.index(digit), duration=duration)
        self._reports[call](heard)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _arrange(self, kind: type[Request], fault: _Fault, always: bool) -> None:
        if kind not in self._next:
            raise ValueError(f"{getattr(kind, '__name__', kind)} is no operation with a reply")
        if always:
            self._always[kind] = fault
        else:
            self._next[kind].append(fault)

    def _fault(self, kind: type[Request]) -> _Fault | None:
        waiting = self._next[kind]
        return waiting.popleft() if waiting else self._always.get(kind)

    def _known(self, ident: CallId) -> FakeCall:
        """The call of that name; a new one when there is none, or it is over."""
        known = self._calls.get(ident)
        if known is None or known.is_closed:
            known = self._calls[ident] = FakeCall(ident=ident)
        return known

    def _in_use(self, ident: CallId) -> FakeCall:
        known = self.call(ident)
        if known.is_closed or known.session is None:
            raise ValueError(f"call {ident!r} {'is over' if known.is_closed else 'has no agreed session yet'}")
        return known

    def _close_call(self, ident: CallId) -> None:
        known = self._calls.get(ident)
        if known is None or known.is_closed:
            return
        known.is_closed = True
        self._reports.pop(ident, None)
        self._ended.append(known)
        if len(self._ended) > _KEPT:
            oldest = self._ended.popleft()
            if self._calls.get(oldest.ident) is oldest:
                del self._calls[oldest.ident]

    def _carry_out(self, operation: Request, report: Report) -> None:
        connects = False
        try:
            known = self._wanted(operation)
            if isinstance(operation, ApplyMedia):
                connects = known.has_to_connect(operation.session)
            reply = known.carry_out(operation, self._source)
        except Refused as refused:
            report(MediaFailed(request=operation.request, error=str(refused)))
            return
        self._reports[operation.call] = report
        report(reply)
        if connects:
            self._connect(known)

    def _wanted(self, operation: Request) -> FakeCall:
        if isinstance(operation, OpenMedia) and not operation.restart:
            return self._known(operation.call)
        known = self._calls.get(operation.call)
        if known is None or known.is_closed or not known.transports:
            raise Refused(f"no media is open for the call {operation.call!r}")
        return known

    def _connect(self, call: FakeCall) -> None:
        """After the reply, as with real engines: the notices are about a session that was taken over."""
        if call.state is None:
            self._tell_state(call, MediaState.CONNECTING)
        if self.connects and call.state is not MediaState.CONNECTED:
            self._tell_state(call, MediaState.CONNECTED)

    def _tell_state(self, call: FakeCall, state: MediaState) -> None:
        if not call.is_closed:  # `report` may have closed it
            call.state = state
            self._reports[call.ident](MediaStateChanged(call=call.ident, state=state))


def _takes_digits(line: MediaLine) -> bool:
    return line.kind == "audio" and line.direction.receives and any(is_event(codec) for codec in line.receive)
