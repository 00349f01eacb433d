"""Two ends of a call in memory: an engine and a negotiator each, and the port between them driven synchronously."""

from __future__ import annotations

import itertools
import queue
import random
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sipproto.agent.media import (
    ApplyMedia,
    CloseMedia,
    CollectStats,
    DigitHeard,
    LineStats,
    MediaFailed,
    MediaInput,
    MediaOpened,
    MediaReport,
    MediaState,
    MediaStateChanged,
    OpenMedia,
    StatsCollected,
)
from sipproto.negotiation import MediaCapabilities, NegotiatedSession, Negotiator
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens
from sipproto_aiortc import AiortcEngine, MediaSetup

_T = TypeVar("_T")
_numbers = itertools.count(1)
BOTH = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


class End:
    """One end of a call."""

    def __init__(
        self, engine: AiortcEngine, setup: MediaSetup | None = None, capabilities: MediaCapabilities | None = None
    ) -> None:
        self.engine = engine
        self.call = f"call-{next(_numbers)}"
        self.negotiator = Negotiator(capabilities or engine.capabilities, SeededTokens(next(_numbers)))
        self.session = NegotiatedSession(lines=(), transports=(), cname="")
        self.states: list[MediaState] = []
        self.digits: list[DigitHeard] = []
        self._replies: queue.Queue[MediaInput] = queue.Queue()
        if setup is not None:
            engine.prepare(self.call, setup)

    def report(self, message: MediaInput) -> None:
        if isinstance(message, MediaStateChanged):
            self.states.append(message.state)
        elif isinstance(message, DigitHeard):
            self.digits.append(message)
        else:
            self._replies.put(message)

    def reply(self) -> MediaInput:
        return self._replies.get(timeout=30)

    def open(self) -> None:
        for slots, restart in ((self.negotiator.missing_slots(), False), (self.negotiator.restart_slots(), True)):
            if not slots:
                continue
            request = OpenMedia(request=next(_numbers), call=self.call, slots=slots, restart=restart)
            self.engine.perform(request, self.report)
            reply = self.reply()
            assert isinstance(reply, MediaOpened), reply
            for slot, transport in reply.transports:
                self.negotiator.add_transport(slot, transport)

    def apply(self, session: NegotiatedSession) -> MediaInput:
        self.session = session
        return self.perform(session)

    def perform(self, session: NegotiatedSession) -> MediaInput:
        """Like `apply`, without remembering the session."""
        self.engine.perform(ApplyMedia(request=next(_numbers), call=self.call, session=session), self.report)
        return self.reply()

    def stats(self) -> MediaReport:
        self.engine.perform(CollectStats(request=next(_numbers), call=self.call), self.report)
        reply = self.reply()
        assert isinstance(reply, StatsCollected), reply
        return reply.report

    def line(self, kind: str = "audio") -> LineStats:
        line = self.stats().line(kind)
        assert line is not None
        return line

    def close(self) -> None:
        self.engine.perform(CloseMedia(call=self.call), self.report)

    @property
    def connected(self) -> bool:
        return bool(self.states) and self.states[-1] is MediaState.CONNECTED


def exchange(offerer: End, answerer: End, change: Callable[[str], str] = lambda sdp: sdp) -> None:
    """An offer and its answer, applied on both sides. `change` is applied to both descriptions on their way."""
    offerer.open()
    offer = change(offerer.negotiator.create_offer().to_bytes().decode())
    answerer.negotiator.receive_offer(offer, BOTH, Direction.SENDRECV)
    answerer.open()
    answer, session = answerer.negotiator.create_answer()
    reply = answerer.apply(session)
    assert not isinstance(reply, MediaFailed), reply
    reply = offerer.apply(offerer.negotiator.receive_answer(change(answer.to_bytes().decode())))
    assert not isinstance(reply, MediaFailed), reply


def connect(offerer: End, answerer: End, kinds: str = "audio", change: Callable[[str], str] = lambda sdp: sdp) -> None:
    for kind in kinds.split():
        offerer.negotiator.add_line(kind)
    exchange(offerer, answerer, change)
    until(lambda: offerer.connected and answerer.connected)


class Relay:
    """A network between two ends: UDP on this machine that can be cut, lose packets and be poisoned."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.cut = False
        self.lose_every = 0  # of RTP and RTCP packets; 0: none
        self.lose_share = 0.0  # of those packets, by chance; 0: none
        self._chance = random.Random(4733)
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in self._sockets:
            sock.bind((address, 0))
        self._real: list[tuple[str, int]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def change(self, sdp: str) -> str:
        """For `exchange`: both descriptions, the offer first, get the relay for their candidates."""
        found = re.search(rf"a=candidate:\S+ 1 udp \d+ {re.escape(self.address)} (\d+) typ host", sdp)
        assert found
        port = self._sockets[len(self._real)].getsockname()[1]
        self._real.append((self.address, int(found[1])))
        sdp = re.sub(r"a=candidate:[^\r]*\r\n", "", sdp)
        return sdp.replace(
            "a=end-of-candidates", f"a=candidate:1 1 udp 1 {self.address} {port} typ host\r\na=end-of-candidates"
        )

    def poison(self, data: bytes) -> None:
        """Sends something to both ends."""
        for sock, target in zip(self._sockets[::-1], self._real, strict=True):
            sock.sendto(data, target)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def _run(self) -> None:
        count = 0
        while not self._stopped.is_set():
            for sock in select.select(self._sockets, [], [], 0.05)[0]:
                data = sock.recv(65536)
                index = self._sockets.index(sock)
                if 127 < data[0] < 192:
                    count += 1
                lost = 127 < data[0] < 192 and (
                    (self.lose_every > 0 and count % self.lose_every == 0) or self._chance.random() < self.lose_share
                )
                if not self.cut and not lost and index < len(self._real):
                    self._sockets[1 - index].sendto(data, self._real[index])


def until(condition: Callable[[], _T], timeout: float = 30.0) -> _T:
    """Waits for something to become true and returns it. A busy machine takes many times what an idle one does."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout} s (last: {value!r})"
        time.sleep(0.03)


def hears(end: End, frequency: float) -> Callable[[], bool]:
    def check() -> bool:
        heard = end.line().audio_frequency
        return heard is not None and abs(heard - frequency) < 5

    return check


def sees(end: End, color: tuple[int, int, int]) -> Callable[[], bool]:
    def check() -> bool:
        seen = end.line("video").color
        return seen is not None and all(abs(a - b) < 20 for a, b in zip(seen, color, strict=True))

    return check
