"""What always holds, whatever a peer says and however late the timers are."""

from __future__ import annotations

import itertools
import time
from struct import pack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.media.congestion import (
    Arrivals,
    CongestionController,
    DelayDetector,
    Pacer,
    Priority,
    Probe,
    RateControl,
    TransportFeedback,
    Usage,
    parse_feedback,
)
from sipproto.media.congestion._rate import MAXIMUM, MINIMUM, AcknowledgedRate

# -- the pacer ---------------------------------------------------------------------------------------------------------

PROBES = st.builds(
    Probe,
    number=st.integers(1, 9),
    bitrate=st.integers(0, 20_000_000),
    octets=st.integers(0, 40_000),
    packets=st.just(5),
)
STEPS = st.one_of(
    st.tuples(st.just("push"), st.integers(1, 40), st.sampled_from(Priority)),
    st.tuples(st.just("run"), st.floats(0.0, 0.3), st.floats(0.0, 0.03)),
    st.tuples(st.just("probe"), st.lists(PROBES, max_size=3), st.booleans()),
    st.tuples(st.just("bitrate"), st.integers(0, 50_000_000), st.none()),
    st.tuples(st.just("hurry"), st.none(), st.none()),
)


class Paced:
    """A pacer, what went in and what came out. `late`: how late the last timer was."""

    def __init__(self) -> None:
        self.pacer: Pacer[tuple[Priority, int, float]] = Pacer(300_000)
        self.now = 50.0
        self.pushed: dict[Priority, list[int]] = {priority: [] for priority in Priority}
        self.left: dict[Priority, list[int]] = {priority: [] for priority in Priority}
        self.latest = 0.0  # seconds that a packet waited at most, less what a timer was late
        self._numbers = itertools.count()

    def push(self, count: int, priority: Priority) -> None:
        for number in itertools.islice(self._numbers, count):
            self.pushed[priority].append(number)
            self.pacer.push((priority, number, self.now), 100 + number % 1200, priority, self.now)

    def run(self, seconds: float, late: float) -> None:
        end, delay, rounds = self.now + seconds, 0.0, 0
        while True:
            rounds += 1
            assert rounds < 20_000  # it does not spin
            while (entry := self.pacer.pop(self.now)) is not None:
                (priority, number, since), _ = entry
                self.left[priority].append(number)
                self.latest = max(self.latest, self.now - since - delay)
            due = self.pacer.due(self.now)
            if due is None or self.pacer.pads(self.now) or self.now + due > end:
                self.pacer.can_pad = False
                if due is None or self.now + due > end:
                    return
            delay = late
            self.now += max(due, 0.0001) + late


@given(st.lists(STEPS, max_size=25))
@settings(deadline=None, max_examples=60)
def test_a_pacer_loses_and_turns_nothing_and_lets_nothing_wait(steps: list[tuple[str, Any, Any]]) -> None:
    paced = Paced()
    for step, one, other in steps:
        match step:
            case "push":
                paced.push(one, other)
            case "run":
                paced.run(one, other)
            case "probe":
                paced.pacer.probe(tuple(one))
                paced.pacer.can_pad = other
            case "bitrate":
                paced.pacer.bitrate = one
            case _:
                paced.pacer.hurry(paced.now)
    paced.run(2.0, 0.0)
    assert paced.left == paced.pushed
    assert len(paced.pacer) == 0 and paced.pacer.due(paced.now + 1) is None


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from(Priority)), max_size=40), st.floats(0.0, 0.01))
@settings(deadline=None, max_examples=60)
def test_nothing_waits_longer_than_it_may(pictures: list[tuple[int, Priority]], late: float) -> None:
    paced = Paced()
    for count, priority in pictures:
        paced.push(count, priority)
        paced.run(0.033, late)
    paced.run(1.0, late)
    assert paced.left == paced.pushed
    assert paced.latest <= 0.1 + 0.006  # and the burst that may be ahead


# -- the estimate ------------------------------------------------------------------------------------------------------

MOMENTS = st.one_of(st.integers(-(2**15), 2**15), st.integers(0, 400))
MESSAGES = st.builds(
    lambda base, reference, gaps: TransportFeedback(
        sender_ssrc=1,
        media_ssrc=2,
        base=base,
        packets=len(gaps),
        reference=reference,
        count=0,
        arrivals=tuple(
            (place, ticks)
            for place, (gap, ticks) in enumerate(zip(gaps, itertools.accumulate(gaps), strict=True))
            if gap
        ),
    ),
    base=st.one_of(st.integers(0, 80), st.integers(0, 0xFFFF)),
    reference=st.one_of(st.integers(0, 40), st.integers(0, 2**24 - 1)),
    gaps=st.lists(MOMENTS, max_size=40),
)


@given(st.lists(st.tuples(MESSAGES, st.integers(0, 60), st.floats(0.0, 3.0)), max_size=30), st.integers(0, 50_000_000))
@settings(deadline=None, max_examples=150)
def test_no_feedback_drives_the_estimate_out_of_its_bounds(
    told: list[tuple[TransportFeedback, int, float]], wanted: int
) -> None:
    controller, now = CongestionController(), 10.0
    for message, packets, passed in told:
        controller.want(wanted, now)
        probe = next(iter(controller.take_probes()), None)
        for _ in range(packets):
            controller.sent(1200, now, payload=1100, probe=probe)
            now += 0.001
        now += passed
        controller.feedback(message, now)
        assert MINIMUM <= controller.estimate <= MAXIMUM
        assert 0 <= controller.for_pictures <= controller.estimate
        assert 0 <= controller.round_trip <= 10
        assert len(controller._packets) <= 8192


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Usage),
            st.one_of(st.none(), st.floats(0, 1e10)),
            st.floats(0, 1e9),
            st.floats(0, 1e6),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_a_rate_stays_within_its_bounds(updates: list[tuple[Usage, float | None, float, float, bool]]) -> None:
    control, now = RateControl(300_000), 0.0
    for usage, acknowledged, round_trip, passed, limited in updates:
        now += passed
        before = control.bitrate
        lowered = control.update(usage, acknowledged, round_trip, now, limited=limited)
        assert MINIMUM <= control.bitrate <= MAXIMUM
        assert not lowered or control.bitrate <= before
        assert usage is not Usage.OVERUSING or control.bitrate <= before


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e9, 1e9)), max_size=200))
def test_a_detector_keeps_a_bounded_history_and_threshold(packets: list[tuple[float, float]]) -> None:
    detector, sent = DelayDetector(), 0.0
    for gap, arrived in packets:
        sent += gap
        detector.add(sent, arrived)
        assert 6 <= detector._threshold <= 600
        assert len(detector._points) <= 20


# -- what a peer can do to memory and time -----------------------------------------------------------------------------


@given(st.lists(st.floats(-0.29, 0.99), min_size=1, max_size=10), st.integers(1, 100_000))
@settings(deadline=None, max_examples=25)
def test_what_arrives_at_one_moment_for_ever_is_forgotten(steps: list[float], octets: int) -> None:
    rate, arrived = AcknowledgedRate(), 1000.0
    for step in itertools.islice(itertools.cycle([*steps, 0.0, 0.0, 0.0]), 6000):
        arrived += min(step, 0.0)
        rate.add(arrived, octets)
        assert rate.bitrate is None or rate.bitrate >= 0
    assert len(rate._arrivals) <= rate._MOST
    assert rate._octets == sum(one for _, one in rate._arrivals)


@given(st.lists(st.integers(1, 4096), min_size=1, max_size=60), st.integers(0, 0xFFFF))
@settings(deadline=None, max_examples=30)
def test_numbers_that_skip_thousands_are_not_counted_through(gaps: list[int], number: int) -> None:
    arrivals = Arrivals(1)
    for place, gap in enumerate(gaps * 10):
        number = (number + gap) & 0xFFFF
        arrivals.arrived(number, 5, 100, 10 + place / 10_000)
    messages = [parse_feedback(octets) for octets in arrivals.feedback(10.1)]
    assert sum(message.packets for message in messages) <= 8192
    last = messages[-1]
    assert (last.base + last.packets - 1) & 0xFFFF == number and last.arrivals[-1][0] == last.packets - 1


def test_a_datagram_of_short_messages_that_tell_of_thousands_costs_little() -> None:
    message = pack("!BBHLL", 0x8F, 205, 5, 1, 2) + pack("!HHL", 1, 0x1FFF * 2, 1 << 8) + b"\x1f\xff\x1f\xff"
    controller = CongestionController()
    for _ in range(8000):
        controller.sent(1200, 1.0, payload=1100)
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(60):
            controller.feedback(parse_feedback(message), 1.1)
        best = min(best, time.process_time() - start)
    assert best < 0.01  # it is less than 1 ms; when all that is told of was counted through it was 90 ms
    assert not controller.has_feedback
