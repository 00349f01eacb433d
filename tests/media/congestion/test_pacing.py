"""When packets leave."""

from __future__ import annotations

import pytest

from sipproto.media.congestion import PACE, Pacer, Priority, Probe


class Clock:
    """Drives a pacer whose timers are exact, or late by as much as told."""

    def __init__(self, bitrate: int, *, late: float = 0.0) -> None:
        self.pacer: Pacer[str] = Pacer(bitrate)
        self.now = 100.0
        self.left: list[tuple[float, str, Probe | None]] = []
        self.padded = 0
        self._late = late

    def push(self, *items: str, octets: int = 1250, priority: Priority = Priority.MEDIA) -> None:
        for item in items:
            self.pacer.push(item, octets, priority, self.now)

    def run(self, until: float) -> None:
        while True:
            while (entry := self.pacer.pop(self.now)) is not None:
                self.left.append((self.now, *entry))
            if self.pacer.pads(self.now):
                self.padded += 1
                self.push("padding", octets=300, priority=Priority.REPAIR)
                continue
            due = self.pacer.due(self.now)
            if due is None or self.now + due > until:
                self.now = until
                return
            self.now += max(due, 0.0001) + self._late


def names(clock: Clock) -> list[str]:
    return [item for _, item, _ in clock.left]


def test_a_picture_leaves_at_its_pace_and_no_packet_is_lost_or_turned() -> None:
    clock = Clock(1_000_000)
    packets = [str(number) for number in range(20)]  # 0.2 s of the bit rate, as a key frame
    clock.push(*packets)
    clock.run(101)
    assert names(clock) == packets
    took = clock.left[-1][0] - clock.left[0][0]
    assert took == pytest.approx(0.2 / PACE, abs=0.01)
    assert len(clock.pacer) == 0 and clock.pacer.due(clock.now) is None


@pytest.mark.parametrize("late", [0.001, 0.003])
def test_timers_that_are_late_do_not_slow_it_down_by_much(late: float) -> None:
    clock = Clock(1_000_000, late=late)
    clock.push(*[str(number) for number in range(20)])
    clock.run(101)
    assert clock.left[-1][0] - clock.left[0][0] <= 0.1


def test_a_small_picture_leaves_at_once() -> None:
    clock = Clock(1_000_000)
    clock.push("a")
    clock.run(100)
    assert names(clock) == ["a"]


def test_nothing_waits_longer_than_a_frame_interval() -> None:
    clock = Clock(50_000)
    for number in range(30):
        clock.push(*[f"{number}"] * 10)
        clock.run(clock.now + 0.033)
    clock.run(clock.now + 1)
    assert len(clock.left) == 300
    moments = [moment for moment, item, _ in clock.left if item == "0"]
    assert max(moments) <= 100.11
    last = [moment for moment, item, _ in clock.left if item == "29"]
    assert max(last) <= 100 + 29 * 0.033 + 0.11


def test_a_queue_without_end_is_none() -> None:
    clock = Clock(50_000)
    clock.push(*["x"] * 2500)
    clock.run(100)
    assert len(clock.pacer) <= 2000


def test_repairs_go_first() -> None:
    clock = Clock(100_000)
    clock.push("a", "b", "c")
    clock.run(100)
    clock.push("again", priority=Priority.REPAIR)
    clock.run(101)
    assert names(clock) == ["a", "again", "b", "c"]


def test_what_is_hurried_leaves_at_once_in_order_and_what_comes_after_it_is_paced() -> None:
    clock = Clock(100_000)
    clock.push("a", "b", "c", "d")
    clock.run(100.001)
    assert names(clock) == ["a"]
    clock.push("again", priority=Priority.REPAIR)
    clock.pacer.probe((PROBE,))
    clock.pacer.hurry(clock.now)
    clock.push("e", "f", "g")
    clock.run(100.002)
    assert names(clock)[:5] == ["a", "again", "b", "c", "d"] and len(clock.left) < 8
    clock.run(101)
    assert names(clock)[5:] == ["e", "f", "g"] and {probe for _, _, probe in clock.left} == {None}


def test_what_is_cleared_is_forgotten() -> None:
    clock = Clock(100_000)
    clock.push("a", "b")
    clock.push("again", priority=Priority.REPAIR)
    clock.pacer.clear()
    assert len(clock.pacer) == 0 and clock.pacer.pop(200) is None and clock.pacer.due(200) is None


def test_pictures_wait_no_longer_behind_repairs_without_end() -> None:
    clock = Clock(300_000)
    clock.push("a", "b")
    for _ in range(300):  # 10 Mbit/s: a peer that asks for everything again and again
        clock.push("again", octets=12_500, priority=Priority.REPAIR)
        clock.run(clock.now + 0.01)
    pictures = [moment for moment, item, _ in clock.left if item != "again"]
    assert len(pictures) == 2 and max(pictures) <= 100.12


PROBE = Probe(number=1, bitrate=2_000_000, octets=3750, packets=5)


def measured(clock: Clock) -> tuple[int, int, float]:
    """Packets, octets and bits per second of what was part of a probe."""
    part = [(moment, 300 if item == "padding" else 1250) for moment, item, probe in clock.left if probe is not None]
    octets = sum(size for _, size in part)
    passed = part[-1][0] - part[0][0]
    return len(part), octets, (octets - part[-1][1]) * 8 / passed if passed else 0.0


@pytest.mark.parametrize("late", [0.0, 0.0015])
def test_a_probe_begins_with_a_picture_and_is_filled_up(late: float) -> None:
    clock = Clock(300_000, late=late)
    clock.pacer.can_pad = True
    clock.pacer.probe((PROBE,))
    clock.run(100.1)
    assert clock.left == []  # nothing is sent for a probe alone
    clock.push("a", "b")
    clock.run(101)
    packets, octets, bitrate = measured(clock)
    assert packets >= 5 and 3750 <= octets <= 3750 + 1250
    assert bitrate == pytest.approx(2_000_000, rel=0.15)
    assert clock.padded == packets - 2 and clock.pacer.due(clock.now) is None


def test_without_padding_a_probe_waits_for_a_picture_that_is_large_enough() -> None:
    clock = Clock(300_000)
    clock.pacer.probe((PROBE,))
    clock.push("a", "b")
    clock.run(100.2)
    assert [probe for _, _, probe in clock.left] == [None, None]
    clock.push(*"cdefgh")
    clock.run(101)
    assert measured(clock)[0] == 5 and clock.padded == 0
    assert [probe for _, item, probe in clock.left if item == "h"] == [None]


def test_a_slow_probe_keeps_nothing_waiting() -> None:
    clock = Clock(1_000_000)
    clock.pacer.can_pad = True
    clock.pacer.probe((Probe(number=1, bitrate=50_000, octets=90_000, packets=5),))
    clock.push(*["x"] * 20)
    clock.run(100.11)
    assert names(clock).count("x") == 20


def test_a_probe_that_cannot_be_filled_up_any_more_ends() -> None:
    clock = Clock(300_000)
    clock.pacer.can_pad = True
    clock.pacer.probe((PROBE,))
    clock.push("a")
    clock.pacer.pop(clock.now)
    clock.pacer.can_pad = False
    assert clock.pacer.due(clock.now) is None
    clock.now += 1
    clock.push("b")
    clock.run(102)
    assert clock.left[-1][2] is None
