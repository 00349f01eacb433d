"""Simulated links: what a sender with congestion control makes of them, in no time. `python -m tests.media.congestion.links`.

A source of pictures and audio, `Pacer` and `CongestionController`, a link whose capacity changes, `Arrivals` at the other
end, and feedback on its way back: all in one queue of events, at random from a seed.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable

from attrs import evolve, field, frozen

from sipproto.media.congestion import Arrivals, CongestionController, Pacer, Priority, Probe, Usage, parse_feedback

_HEADERS = 76  # octets: IPv4, UDP, RTP with its extensions, the tag of SRTP
_PAYLOAD = 1150
_AUDIO = 80  # octets of payload, each 20 ms
_KEY_FRAME = 0.15  # seconds of the bit rate
_SEEDS = 5  # of which the table tells
_STEADY = 0.9, 1.25  # changes between are not made, as by the encoders


@frozen(kw_only=True)
class Path:
    """A way to the peer. `capacity`: from which second on, bits per second. Times in seconds; `loss` and `jitter` at random."""

    name: str
    capacity: tuple[tuple[float, int], ...]
    queue: float = 0.3
    delay: float = 0.02
    loss: float = 0.0
    jitter: float = 0.0
    wanted: int = 2_500_000
    padding: bool = True
    seed: int = 1

    def capacity_at(self, now: float) -> int:
        return next(bitrate for since, bitrate in reversed(self.capacity) if since <= now)


@frozen
class Moment:
    time: float
    estimate: int
    sent: int  # what is told the encoder, bits per second of payload
    usage: Usage


@frozen
class Delivery:
    sent: float
    waited: float  # before the link
    paced: float  # before it was sent


@frozen
class Run:
    """What happened: an entry for each picture, and for each packet that was not lost."""

    moments: tuple[Moment, ...]
    deliveries: tuple[Delivery, ...] = field(repr=False)
    dropped: int
    probes: tuple[Probe, ...]

    def estimates(self, start: float, end: float) -> list[int]:
        return [moment.estimate for moment in self.moments if start <= moment.time < end]

    def mean(self, start: float, end: float) -> float:
        found = self.estimates(start, end)
        return sum(found) / len(found)

    def waits(self, start: float, end: float) -> list[float]:
        return sorted(one.waited for one in self.deliveries if start <= one.sent < end)

    def reached(self, bitrate: float, start: float) -> float | None:
        """Seconds after `start` until the estimate is at least so high."""
        return next((m.time - start for m in self.moments if m.time >= start and m.estimate >= bitrate), None)

    def fallen(self, bitrate: float, start: float) -> float | None:
        """Seconds after `start` until the estimate is at most so high."""
        return next((m.time - start for m in self.moments if m.time >= start and m.estimate <= bitrate), None)


class Simulation:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.controller = CongestionController()
        self.pacer: Pacer[tuple[float, int, int | None]] = Pacer(300_000)
        self.arrivals = Arrivals(1)
        self.moments: list[Moment] = []
        self.deliveries: list[Delivery] = []
        self.dropped = 0
        self.probes: list[Probe] = []
        self._chance = random.Random(path.seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._link_free = 0.0
        self._bitrate = 0
        self._debt = 0.0  # octets of the last key frame
        self._awake = False
        self._telling = False

    def at(self, moment: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), event))

    def run(self, seconds: float) -> Run:
        self.at(0.0, self._picture)
        self.at(0.0, self._audio)
        while self._events[0][0] < seconds:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return Run(tuple(self.moments), tuple(self.deliveries), self.dropped, tuple(self.probes))

    # -- the sender ----------------------------------------------------------------------------------------------------

    def _picture(self, now: float) -> None:
        """30 a second; a change of the bit rate begins with a key frame, as with FFmpeg's encoders."""
        told = max(50_000, min(self.controller.for_pictures, self.path.wanted))
        key_frame = not self._bitrate or not _STEADY[0] <= told / self._bitrate <= _STEADY[1]
        if key_frame:
            self._bitrate = told
        octets = self._bitrate / 8 / 30 * self._chance.uniform(0.7, 1.3)
        if key_frame:
            self._debt = self._bitrate / 8 * _KEY_FRAME
            octets += self._debt
        else:  # the encoder saves it from the pictures of the next second
            saved = min(self._debt, octets / 4)
            self._debt -= saved
            octets -= saved
        self.moments.append(Moment(now, self.controller.estimate, self._bitrate, self.controller.usage))
        self._look(now)
        while octets > 0:
            payload = int(min(octets, _PAYLOAD)) or 1
            octets -= payload
            self.pacer.push((now, payload + _HEADERS, payload), payload + _HEADERS, Priority.MEDIA, now)
        self._drain(now)
        self.at(now + 1 / 30, self._picture)

    def _audio(self, now: float) -> None:
        self._leave((now, _AUDIO + _HEADERS, None), None, now)
        self.at(now + 0.02, self._audio)

    def _look(self, now: float) -> None:
        self.controller.want(self.path.wanted, now)
        if probes := self.controller.take_probes():
            self.probes += probes
            self.pacer.probe(probes)
        self.pacer.bitrate = max(self._bitrate, self.controller.estimate)
        self.pacer.can_pad = self.path.padding

    def _drain(self, now: float) -> None:
        self._awake = False
        while (entry := self.pacer.pop(now)) is not None:
            self._leave(*entry, now)
        if self.pacer.pads(now):
            self.pacer.push((now, _PAYLOAD + _HEADERS, _PAYLOAD), _PAYLOAD + _HEADERS, Priority.REPAIR, now)
        due = self.pacer.due(now)
        if due is not None and not self._awake:
            self._awake = True
            self.at(now + max(due, 0.001), self._drain)

    def _leave(self, packet: tuple[float, int, int | None], probe: Probe | None, now: float) -> None:
        since, octets, payload = packet
        number = self.controller.sent(octets, now, payload=payload, probe=probe)
        waited = max(0.0, self._link_free - now)
        if waited > self.path.queue or self._chance.random() < self.path.loss:
            self.dropped += 1
            return
        self._link_free = max(self._link_free, now) + octets * 8 / self.path.capacity_at(now)
        self.deliveries.append(Delivery(now, waited, now - since))
        arrival = self._link_free + self.path.delay + self.path.jitter * self._chance.random()
        self.at(arrival, lambda moment: self._arrived(number, octets, moment))

    # -- the receiver, and the way back --------------------------------------------------------------------------------

    def _arrived(self, number: int, octets: int, now: float) -> None:
        self.arrivals.arrived(number, 2, octets, now + 1000)  # on another clock
        if not self._telling:
            self._telling = True
            self.at(now + self.arrivals.interval, self._tell)

    def _tell(self, now: float) -> None:
        self._telling = False
        for message in self.arrivals.feedback(now + 1000):
            self.at(now + self.path.delay, lambda moment, message=message: self._told(message, moment))  # type: ignore[misc]

    def _told(self, message: bytes, now: float) -> None:
        self.controller.feedback(parse_feedback(message), now)
        self._look(now)


STEPS = ((0.0, 2_000_000), (20.0, 500_000), (40.0, 1_500_000))
PATHS = (
    Path(name="2 Mbit/s, 500k, 1.5M", capacity=STEPS),
    Path(name="the same, 2 % loss", capacity=STEPS, loss=0.02),
    Path(name="the same, without RTX", capacity=STEPS, padding=False),
    Path(name="the same, 30 ms jitter", capacity=STEPS, jitter=0.03),
    Path(name="the same, 100 ms away", capacity=STEPS, delay=0.1),
    Path(name="10 Mbit/s", capacity=((0.0, 10_000_000),)),
    Path(name="10 Mbit/s, 30 ms jitter", capacity=((0.0, 10_000_000),), jitter=0.03),
    Path(name="10 Mbit/s, 2 % loss", capacity=((0.0, 10_000_000),), loss=0.02),
    Path(name="300 kbit/s", capacity=((0.0, 300_000),)),
)


def main() -> None:
    print("| link | seconds | capacity | after | mean | waited, median | 95 % | dropped |")
    print("| --- |" + " --- |" * 7)
    for path in PATHS:
        runs = [Simulation(evolve(path, seed=seed)).run(60.0) for seed in range(1, _SEEDS + 1)]
        dropped = statistics.mean(run.dropped for run in runs)
        for (start, capacity), end in zip(path.capacity, [one for one, _ in path.capacity[1:]] + [60.0], strict=True):
            goal = 0.85 * min(capacity, path.wanted)
            falls = start > 0 and path.capacity_at(start - 0.1) > capacity
            found = [run.fallen(capacity, start) if falls else run.reached(goal, start) for run in runs]
            after = statistics.median(math.inf if one is None else one for one in found)
            waits = sorted(wait for run in runs for wait in run.waits(start + 5, end))
            print(
                f"| {path.name} | {start:g} to {end:g} | {capacity // 1000}k "
                f"| {f'{after:.1f} s' if after < end - start else ''} "
                f"| {statistics.mean(run.mean(start + 5, end) for run in runs) / 1000:.0f}k "
                f"| {1000 * waits[len(waits) // 2]:.0f} ms | {1000 * waits[int(0.95 * len(waits))]:.0f} ms | {dropped:.0f} |"
            )


if __name__ == "__main__":
    main()
