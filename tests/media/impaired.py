"""Calls of two engines over bad networks: `python -m tests.media.impaired [seconds]` prints what is left of them.

Every datagram passes a relay that treats it as a `Link` of the simulator does. What is random comes from a seed; the
clock and the order of arrivals are real, so figures differ a little from run to run.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import random
import select
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import numpy
from attrs import field, frozen
from av import AudioFrame
from av.frame import Frame

from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_aiortc._line import Line
from sipproto_devices._analysis import mono
from tests.media._rig import End, Relay, connect, until
from tests.media._sending import only
from tests.sim.network import Link

_QUEUE = 0.3  # seconds of a slow path's bit rate that wait before it; what is more is dropped
_HEADERS = 28  # octets of IPv4 and UDP around each datagram


class Network(Relay):
    """A relay whose two directions behave like `link`, at most `rate` bits per second each (0: without a limit)."""

    def __init__(self, link: Link, *, rate: int = 0, seed: int = 1, address: str = "127.0.0.1") -> None:
        self.link = link
        self.rate = rate
        self.lost = 0
        self.waits: list[float] = []  # seconds that each datagram waited before a slow path
        self._random = random.Random(seed)
        self._free = [0.0, 0.0]  # when the slow path of a direction has sent what it was given
        self._number = 0
        self._sources: dict[int, tuple[str, int]] = {}  # who was heard last on either socket
        self._under_way: list[tuple[float, int, int, bytes]] = []
        super().__init__(address)

    def _run(self) -> None:
        while not self._stopped.is_set():
            due = self._under_way[0][0] - time.monotonic() if self._under_way else 0.05
            for sock in select.select(self._sockets, [], [], min(max(due, 0.0), 0.05))[0]:
                data, source = sock.recvfrom(65536)
                index = self._sockets.index(sock)
                self._sources[index] = source
                self.treat(index, data)
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, index, data = heapq.heappop(self._under_way)
                self._deliver(index, data)

    def stand_for(self, port: int) -> int:
        """The port that the peer of an end is to be told instead of this one; the peer is learnt from what it sends."""
        self._real = [("127.0.0.1", port)]
        told: int = self._sockets[0].getsockname()[1]
        return told

    def treat(self, index: int, data: bytes) -> None:
        """Loses a datagram, or sends it on in time. `index`: 0 for the direction towards the one that offered."""
        link, chance, now = self.link, self._random.random, time.monotonic()
        if self.cut or chance() < link.loss:
            self.lost += 1
            return
        if self.rate:
            self.waits.append(max(0.0, self._free[index] - now))
            if self._free[index] > now + _QUEUE:
                self.lost += 1
                return
            now = self._free[index] = max(self._free[index], now) + 8 * (len(data) + _HEADERS) / self.rate
        for _ in range(2 if chance() < link.duplicate else 1):
            delay = link.latency + link.jitter * chance()
            if chance() < link.reorder:
                delay += 5 * link.latency
            self._number += 1
            heapq.heappush(self._under_way, (now + delay, self._number, index, data))

    def _deliver(self, index: int, data: bytes) -> None:
        target = self._real[index] if index < len(self._real) else self._sources.get(1 - index)
        if target is not None:
            self._sockets[1 - index].sendto(data, target)


# -- what is measured --------------------------------------------------------------------------------------------------


@frozen
class Heard:
    """A decoded frame: when it came, of which length in seconds it is, and whether the tone is in it. Video: 0, False."""

    moment: float
    length: float = 0.0
    tone: bool = False


def has_tone(frame: AudioFrame, frequency: float) -> bool:
    """Whether at least half of the energy is at this frequency."""
    wave = mono(frame)
    energy = float(wave @ wave)
    turn = numpy.exp(-2j * numpy.pi * frequency / frame.sample_rate * numpy.arange(len(wave)))
    return energy > 1e-4 * len(wave) and 2 * abs(wave @ turn) ** 2 / len(wave) > 0.5 * energy


class Ear:
    """Notes every frame that a line of an engine decodes, while it is open."""

    def __init__(self) -> None:
        self._frames: dict[Line, list[tuple[float, AudioFrame | None]]] = defaultdict(list)

    @contextmanager
    def open(self) -> Iterator[Self]:
        received = Line._received

        def note(line: Line, frame: Frame) -> None:
            self._frames[line].append((time.monotonic(), frame if isinstance(frame, AudioFrame) else None))
            received(line, frame)

        Line._received = note  # type: ignore[method-assign, assignment]
        try:
            yield self
        finally:
            Line._received = received  # type: ignore[method-assign]

    def heard(self, end: End, kind: str, frequency: float) -> list[Heard]:
        """What an end decoded since this was last asked; of audio, where the tone is."""
        line = next(line for line in end.engine._calls[end.call]._lines.values() if line.agreed.kind == kind)
        frames, self._frames[line] = self._frames[line], []
        return [
            Heard(moment)
            if frame is None
            else Heard(moment, frame.samples / frame.sample_rate, has_tone(frame, frequency))
            for moment, frame in frames
        ]


def longest_gap(heard: Sequence[Heard], start: float, end: float) -> float:
    """Seconds without any of these between the two moments."""
    moments = [start, *(one.moment for one in heard if start <= one.moment <= end), end]
    return max(after - before for before, after in itertools.pairwise(moments))


@frozen(kw_only=True)
class Case:
    """A network. A `blackout` in seconds comes first; what is measured begins after it, but for the lost packets."""

    name: str
    link: Link = field(factory=Link)
    rate: int = 0
    blackout: float = 0.0
    seed: int = 1
    video: TestPattern = TestPattern()
    audio: str = "opus"


@frozen(kw_only=True)
class Figures:
    """Of the end that got the worse of it, each. Times in seconds; `back`: after a blackout, else None."""

    audio_lost: float  # share of the packets
    video_lost: float
    tone: float  # share of what was sent in which the tone was heard
    made_up: float  # share of what was heard
    audio_gap: float
    video_gap: float
    pictures: float  # per second
    audio_back: float | None
    video_back: float | None
    connected: bool
    dropped: int  # datagrams, of both directions
    waited: float | None  # seconds before a slow path, 95 % of the datagrams at most; None: it is not slow


CASES = (
    Case(name="nothing wrong"),
    Case(name="5 % loss", link=Link(loss=0.05)),
    Case(name="100 ms jitter", link=Link(jitter=0.1)),
    Case(name="5 % loss, 100 ms jitter", link=Link(loss=0.05, jitter=0.1)),
    Case(name="5 % reordered, 2 % doubled", link=Link(reorder=0.05, duplicate=0.02)),
    Case(name="20 % loss", link=Link(loss=0.2)),
    Case(name="20 % loss, G.711", link=Link(loss=0.2), audio="PCMU"),
    Case(name="10 s blackout", blackout=10.0),
    Case(name="300 kbit/s", rate=300_000),
    Case(name="300 kbit/s, 640x480 at 30/s", rate=300_000, video=TestPattern(width=640, height=480, frame_rate=30)),
)
_TONES = 500.0, 800.0


def _shares_lost(before: dict[str, int], end: End, other: End, kind: str) -> float:
    sent = other.line(kind).packets_sent - before[kind + " sent"]
    lost = (end.line(kind).packets_lost or 0) - before[kind + " lost"]
    return max(lost, 0) / max(sent, 1)


def _counters(end: End, other: End) -> dict[str, int]:
    counters = {f"{kind} sent": other.line(kind).packets_sent for kind in ("audio", "video")}
    return counters | {f"{kind} lost": end.line(kind).packets_lost or 0 for kind in ("audio", "video")}


def _made_up(end: End) -> tuple[int, int]:
    """Samples of audio that were made up, and all of them."""
    audio = end.stats().inbound("audio")
    assert audio is not None
    return audio.concealed_samples or 0, audio.total_samples_received or 0


def measure(case: Case, seconds: float, ear: Ear) -> Figures:
    """A call that is connected while the network is good, which then becomes that of the case."""
    network = Network(Link(), seed=case.seed)
    engine = AiortcEngine(include_loopback=True)
    try:
        codecs = only(engine.capabilities, "audio", case.audio)
        a, b = (End(engine, MediaSetup(audio=Tone(hertz), video=case.video), codecs) for hertz in _TONES)
        connect(a, b, "audio video", network.change)
        until(lambda: all(end.line(kind).frames_decoded for end in (a, b) for kind in ("audio", "video")))
        network.link, network.rate = case.link, case.rate
        return _measure(case, seconds, network, ear, (a, b))
    finally:
        engine.close()
        network.close()


def _measure(case: Case, seconds: float, network: Network, ear: Ear, ends: tuple[End, End]) -> Figures:
    pairs = ((ends[0], ends[1], _TONES[1]), (ends[1], ends[0], _TONES[0]))
    before = [_counters(end, other) for end, other, _ in pairs]
    network.cut = bool(case.blackout)
    time.sleep(case.blackout)
    network.cut = False
    start = time.monotonic()
    began = [other.line("audio").packets_sent for _, other, _ in pairs]
    heard_before = [_made_up(end) for end, _, _ in pairs]
    time.sleep(seconds)
    stop = time.monotonic()
    worst: dict[str, list[float]] = defaultdict(list)
    for (end, other, hertz), counters, first, earlier in zip(pairs, before, began, heard_before, strict=True):
        made_up, samples = (now - then for now, then in zip(_made_up(end), earlier, strict=True))
        worst["made up"].append(made_up / max(samples, 1))
        for kind in ("audio", "video"):
            heard = [one for one in ear.heard(end, kind, hertz) if one.moment >= start]
            if kind == "audio":
                heard = [one for one in heard if one.tone]
            back = min((one.moment for one in heard), default=math.inf) - start
            worst[kind + " back"].append(back)
            begin = start + back if case.blackout and heard else start
            worst[kind + " gap"].append(longest_gap(heard, begin, stop))
            worst[kind + " lost"].append(_shares_lost(counters, end, other, kind))
            if kind == "audio":
                sent = other.line(kind).packets_sent - first
                worst["tone"].append(-sum(one.length for one in heard) / (0.02 * sent))
            else:
                worst["pictures"].append(-len(heard) / (stop - begin))
    return Figures(
        audio_lost=max(worst["audio lost"]),
        video_lost=max(worst["video lost"]),
        tone=min(1.0, -max(worst["tone"])),
        made_up=max(worst["made up"]),
        audio_gap=max(worst["audio gap"]),
        video_gap=max(worst["video gap"]),
        pictures=-max(worst["pictures"]),
        audio_back=max(worst["audio back"]) if case.blackout else None,
        video_back=max(worst["video back"]) if case.blackout else None,
        connected=all(end.connected for end in ends),
        dropped=network.lost,
        waited=sorted(network.waits)[int(0.95 * len(network.waits))] if network.waits else None,
    )


# -- the table ---------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "audio lost",
    "video lost",
    "tone heard",
    "made up",
    "audio gap",
    "video gap",
    "pictures/s",
    "audio back",
    "video back",
    "waited",
)


def row(figures: Figures) -> tuple[str, ...]:
    def seconds(value: float | None) -> str:
        return "" if value is None else "never" if math.isinf(value) else f"{value:.2f} s"

    return (
        f"{figures.audio_lost:.1%}",
        f"{figures.video_lost:.1%}",
        f"{figures.tone:.1%}",
        f"{figures.made_up:.1%}",
        seconds(figures.audio_gap),
        seconds(figures.video_gap),
        f"{figures.pictures:.1f}",
        seconds(figures.audio_back),
        seconds(figures.video_back),
        seconds(figures.waited),
    )


def measure_all(cases: Sequence[Case], seconds: float, *, at_once: int) -> dict[str, Figures]:
    with Ear().open() as ear, ThreadPoolExecutor(at_once) as pool:
        measured = pool.map(lambda case: measure(case, seconds, ear), cases)
        return {case.name: figures for case, figures in zip(cases, measured, strict=True)}


def main(seconds: float) -> None:
    print(
        f"two engines, Opus or G.711 and VP8 320x240 at 15/s, {seconds:g} s each; load of the machine {os.getloadavg()[0]:.1f}\n"
    )
    print(f"| network | {' | '.join(_COLUMNS)} |")
    print(f"| --- |{' --- |' * len(_COLUMNS)}")
    for name, figures in measure_all(CASES, seconds, at_once=2).items():
        print(f"| {name} | {' | '.join(row(figures))} |" + ("" if figures.connected else " not connected"))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
