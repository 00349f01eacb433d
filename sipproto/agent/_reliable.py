"""Reliable provisional responses (RFC 3262), from both sides."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import frozen

from sipproto.agent._hub import Exchange
from sipproto.dialog import Dialog, Pairs
from sipproto.message import RAck, Request, Response, fields
from sipproto.transaction import RequestReceived

if TYPE_CHECKING:
    from sipproto.agent._call import Call

TAG = "100rel"
_MAX_QUEUED = 16


def is_reliable(response: Response) -> bool:
    return any(tag.lower() == TAG for tag in response.headers.all(fields.REQUIRE))


class Provisionals:
    """The caller's side: each reliable provisional response is taken once, in order, and acknowledged with PRACK."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last: dict[str, int] = {}  # RSeq by To tag

    def take(self, response: Response, dialog: Dialog | None) -> bool:
        """Whether the response is news. A reliable one without a dialog to answer in is none."""
        number = response.headers.get(fields.RSEQ)
        if not is_reliable(response) or number is None:
            return True
        if dialog is None:
            return False
        tag = dialog.remote.tag or ""
        last = self._last.get(tag)
        if last is not None and number != last + 1:
            return False  # 4: repeated, or one before it is missing
        self._last[tag] = number
        self._prack(dialog, response, number)
        return True

    def _prack(self, dialog: Dialog, response: Response, number: int) -> None:
        hub = self._call.hub
        cseq = response.headers.require(fields.CSEQ)
        rack = RAck(number, cseq.number, cseq.method)

        def build(credentials: Pairs) -> Request:
            return dialog.next_request("PRACK", extra=[*credentials, ("RAck", rack), *hub.common_headers()])

        # Whatever becomes of it, the INVITE's own answer decides.
        hub.start(
            Exchange(
                flow=self._call.flow,
                build=build,
                method="PRACK",
                target=dialog.remote_target,
                to=str(dialog.remote.uri),
                on_final=lambda _: None,
                on_failure=lambda _: None,
            )
        )


@frozen(kw_only=True)
class Provisional:
    """One that is still to be sent, or acknowledged."""

    number: int
    response: Response
    has_description: bool


class ReliableSender:
    """The called side: one at a time is repeated until its PRACK comes (3)."""

    def __init__(self, call: Call, received: RequestReceived) -> None:
        self._call = call
        self._received = received
        self._next = 1 + call.hub.tokens.bits(16)  # 7.1: 1 to 2**31 - 1, of chance
        self._queue: deque[Provisional] = deque()
        self._interval = 0.0

    @property
    def blocks_answer(self) -> bool:
        """3: no 2xx before the PRACK for a provisional response with a session description."""
        return any(item.has_description for item in self._queue)

    def send(self, response: Response, has_description: bool) -> None:
        """Sends it, or keeps it until those before it are acknowledged. More than a few are dropped: each is only news."""
        if len(self._queue) >= _MAX_QUEUED:
            return
        headers = response.headers.with_("Require", TAG).with_("RSeq", self._next)
        reliable = Response(response.status, response.reason, headers, response.body)
        self._queue.append(Provisional(number=self._next, response=reliable, has_description=has_description))
        self._next += 1
        if len(self._queue) == 1:
            self._transmit()

    def _transmit(self) -> None:
        self._interval = self._call.hub.config.timers.t1
        self._call.start_timer("1xx", self._interval)
        self._call.start_timer("prack", self._call.hub.config.timers.t1_64)
        self._again()

    def _again(self) -> None:
        hub = self._call.hub
        if hub.transactions.state_of(self._received.transaction) is not None:
            hub.dispatch(hub.transactions.respond(self._received.transaction, self._queue[0].response, hub.now))

    def resend(self) -> None:
        if self._queue:
            self._interval *= 2
            self._call.start_timer("1xx", self._interval)
            self._again()

    def pracked(self, request: Request) -> Provisional | None:
        """The provisional response that a PRACK is for; None when it is for none (481)."""
        rack = request.headers.get(fields.RACK)
        cseq = self._received.request.headers.require(fields.CSEQ)
        if rack is None or not self._queue:
            return None
        first = self._queue[0]
        if (rack.rseq, rack.cseq, rack.method) != (first.number, cseq.number, cseq.method):
            return None
        self._queue.popleft()
        self._call.stop_timer("1xx", "prack")
        return first

    def go_on(self) -> None:
        """Sends what has waited for the PRACK, whose own answer is out by now: peers expect that one first."""
        if self._queue:
            self._transmit()

    def stop(self) -> None:
        """The final answer is out: what was not acknowledged needs it no more."""
        self._queue.clear()
        self._call.stop_timer("1xx", "prack")
