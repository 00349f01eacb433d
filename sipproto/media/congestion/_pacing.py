"""When packets leave: the pictures of a call evenly, so that none is a burst to the path."""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import Generic, TypeVar

from attrs import define, frozen

T = TypeVar("T")

PACE = 2.5  # times the target bit rate, as browsers have it
_LONGEST_WAIT = 0.1  # seconds: about a frame interval; what has waited so long leaves whatever the rate
_BURST = 0.005  # seconds of the rate that may leave at once: a timer for each packet would cost more than it is worth
_MOST = 2000  # packets that wait, some megabytes; what is more leaves at once
_LATE = 0.002  # seconds that a timer may be late without the rate suffering
_PROBE_BURST = 0.001  # likewise in a probe, which is a few times as long
_LATE_PROBE = 0.02  # likewise: of a whole probe, so that it has its bit rate on average
_LONGEST_PROBE = 0.5  # seconds; what has not come together by then is given up


class Priority(enum.IntEnum):
    """In the order of leaving."""

    REPAIR = 0
    MEDIA = 1


@frozen(kw_only=True)
class Probe:
    """Packets that are to leave at a bit rate of their own, to see whether the path takes it.

    At least `packets`, and `octets` of them, in the order of `number`.
    """

    number: int
    bitrate: int
    octets: int
    packets: int


@define
class _Waiting(Generic[T]):
    item: T
    octets: int
    since: float


@define
class _Running:
    probe: Probe
    until: float
    octets: int = 0
    packets: int = 0

    @property
    def done(self) -> bool:
        return self.octets >= self.probe.octets and self.packets >= self.probe.packets


class Pacer(Generic[T]):
    """A queue that lets packets out at PACE times `bitrate` (bits per second), and faster before one waits too long.

    `now` is in seconds of a clock that only advances. A caller pushes packets, takes what `pop` gives until that is None,
    and does so again when `due` says. With `can_pad` it can make packets of no use to the receiver, and does when `pads` asks
    for one; otherwise probes wait for a picture that is large enough. Of a priority what was pushed first leaves first.
    """

    def __init__(self, bitrate: int) -> None:
        self.bitrate = bitrate
        self.can_pad = False
        self._queues: tuple[deque[_Waiting[T]], ...] = tuple(deque() for _ in Priority)
        self._octets = 0
        self._free = 0.0  # when the packets before have left at their rate
        self._probes: deque[Probe] = deque()
        self._running: _Running | None = None

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def push(self, item: T, octets: int, priority: Priority, now: float) -> None:
        """`octets`: the size of the packet."""
        self._queues[priority].append(_Waiting(item, octets, now))
        self._octets += octets

    def probe(self, probes: tuple[Probe, ...]) -> None:
        """These are to be sent next, instead of those asked for before that have not begun."""
        self._probes = deque(probes)

    def hurry(self, now: float) -> None:
        """All that waits leaves at once; what was to be probed is forgotten."""
        for queue in self._queues:
            for waiting in queue:
                waiting.since = -math.inf
        self._free = min(self._free, now)
        self._probes.clear()
        self._running = None

    def clear(self) -> None:
        """Forgets what waits, and what was to be probed."""
        for queue in self._queues:
            queue.clear()
        self._octets = 0
        self._probes.clear()
        self._running = None

    def pop(self, now: float) -> tuple[T, Probe | None] | None:
        """The packet to leave now, and the probe that it is part of; None: nothing, or not yet."""
        queue = next((queue for queue in self._queues if queue), None)
        if queue is None:
            return None
        probing = self._probing(now)
        if self._free > now + (_PROBE_BURST if probing is not None else _BURST):
            return None
        bitrate = max(probing.probe.bitrate if probing is not None else PACE * self.bitrate, self._needed(now))
        waiting = queue.popleft()
        self._octets -= waiting.octets
        earliest = now - (_LATE_PROBE if probing is not None else _LATE)
        self._free = max(self._free, earliest) + waiting.octets * 8 / bitrate
        if probing is None:
            return waiting.item, None
        probing.octets += waiting.octets
        probing.packets += 1
        if probing.done:
            self._running = None
        return waiting.item, probing.probe

    def due(self, now: float) -> float | None:
        """The seconds until something may leave; None: nothing waits to."""
        if not len(self) and not self._wants_padding(now):
            return None
        return max(0.0, self._free - now)

    def pads(self, now: float) -> bool:
        """Whether a packet of no use is wanted now, for a probe."""
        return not len(self) and self._wants_padding(now) and self._free <= now + _PROBE_BURST

    def _wants_padding(self, now: float) -> bool:
        return self.can_pad and self._running is not None and now < self._running.until

    def _needed(self, now: float) -> float:
        """The bits per second with which all is gone when the oldest packet has waited as long as one may.

        Repairs without end, or a slow probe, would otherwise keep pictures waiting.
        """
        left = min(queue[0].since for queue in self._queues if queue) + _LONGEST_WAIT - now
        return self._octets * 8 / left if left > 0 and len(self) <= _MOST else math.inf

    def _probing(self, now: float) -> _Running | None:
        """The probe under way, or begun now. It begins with packets that leave anyway."""
        if self._running is not None and now >= self._running.until:
            self._running = None
        if self._running is None and self._probes and (self.can_pad or self._octets >= self._probes[0].octets):
            self._running = _Running(self._probes.popleft(), now + _LONGEST_PROBE)
            self._free = max(self._free, now)
        return self._running
