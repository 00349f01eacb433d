"""What a receiver tells of the packets that arrived."""

from __future__ import annotations

import random

import pytest

from sipproto.media.congestion import Arrivals, parse_feedback


def told(arrivals: Arrivals, now: float) -> dict[int, float | None]:
    """Seconds of arrival, by number of 16 bits; None: told to be missing."""
    out: dict[int, float | None] = {}
    for octets in arrivals.feedback(now):
        message = parse_feedback(octets)
        out |= {(message.base + place) & 0xFFFF: None for place in range(message.packets)}
        for place, ticks in message.arrivals:
            out[(message.base + place) & 0xFFFF] = (message.reference_ticks + ticks) / 4000
    return out


def test_each_arrival_is_told_once_with_its_moment() -> None:
    arrivals = Arrivals(1)
    moments = {number & 0xFFFF: 100 + 0.0071 * place for place, number in enumerate(range(65530, 65546))}
    for number, moment in moments.items():
        arrivals.arrived(number, 5, 1000, moment)
    assert told(arrivals, 100.2) == {number: pytest.approx(moment, abs=0.00025) for number, moment in moments.items()}
    assert arrivals.feedback(100.3) == []


def test_what_is_missing_is_told_and_what_comes_late_is_told_then() -> None:
    arrivals = Arrivals(1)
    for number in (1, 2, 5):
        arrivals.arrived(number, 5, 1000, 10.0)
    assert [number for number, moment in told(arrivals, 10.1).items() if moment is None] == [3, 4]
    arrivals.arrived(4, 5, 1000, 10.11)
    arrivals.arrived(6, 5, 1000, 10.12)
    again = told(arrivals, 10.2)
    assert again[4] == pytest.approx(10.11, abs=0.00025) and again[5] is not None and again[6] is not None


def test_a_packet_that_comes_twice_keeps_its_first_moment() -> None:
    arrivals = Arrivals(1)
    arrivals.arrived(1, 5, 1000, 10.0)
    arrivals.arrived(1, 5, 1000, 10.05)
    assert told(arrivals, 10.1) == {1: pytest.approx(10.0, abs=0.00025)}


def test_messages_count_and_bear_the_ssrcs() -> None:
    arrivals = Arrivals(0xFFFFFFFF)
    messages = []
    for number in range(300):
        arrivals.arrived(number, 7, 1000, float(number))
        messages += [parse_feedback(octets) for octets in arrivals.feedback(float(number))]
    assert [message.count for message in messages] == [(number + 1) & 0xFF for number in range(300)]
    assert {(message.sender_ssrc, message.media_ssrc) for message in messages} == {(0xFFFFFFFF, 7)}


def test_arrivals_far_from_each_other_are_told_in_messages_of_their_own() -> None:
    arrivals = Arrivals(1)
    arrivals.arrived(1, 5, 1000, 10.0)
    arrivals.arrived(2, 5, 1000, 30.0)
    assert told(arrivals, 30.0) == {1: pytest.approx(10.0, abs=0.00025), 2: pytest.approx(30.0, abs=0.00025)}


def test_another_numbering_begins_anew() -> None:
    arrivals = Arrivals(1)
    arrivals.arrived(1, 5, 1000, 10.0)
    arrivals.arrived(30000, 5, 1000, 10.1)
    assert set(told(arrivals, 10.2)) == {30000}


def test_the_interval_follows_the_bit_rate() -> None:
    slow, fast = Arrivals(1), Arrivals(1)
    for arrivals, step in ((slow, 0.5), (fast, 0.005)):
        for number in range(400):
            arrivals.arrived(number, 5, 1200, step * number)
            if number % 20 == 19:
                arrivals.feedback(step * number)
    assert (slow.interval, fast.interval) == (0.25, 0.05)


def test_the_interval_is_short_from_the_beginning_and_after_a_pause() -> None:
    arrivals = Arrivals(1)
    for start in (5000.0, 6000.0):
        for number in range(20):
            arrivals.arrived(number, 5, 1200, start + number / 400)
        arrivals.feedback(start + 0.05)
        assert arrivals.interval == 0.05, start


def test_hostile_numbers_cost_little() -> None:
    arrivals, chance = Arrivals(1), random.Random(1)
    for place in range(20_000):
        arrivals.arrived(chance.randrange(65536), 5, 100, place / 10_000)
        if place % 500 == 499:
            sizes = [len(octets) for octets in arrivals.feedback(place / 10_000)]
            assert sum(sizes) < 20_000
    assert len(arrivals._ticks) < 10_000
