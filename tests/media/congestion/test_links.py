"""Simulated links: how soon and how well a sender adapts. The seeds make each run the same."""

from __future__ import annotations

import functools

import pytest
from attrs import evolve

from sipproto.media.congestion import CongestionController, TransportFeedback, Usage
from tests.media.congestion.links import PATHS, STEPS, Path, Run, Simulation


@functools.cache
def run_of(path: Path) -> Run:
    return Simulation(path).run(60.0)


STEPPED = [path for path in PATHS if path.capacity == STEPS]
NAMES = [path.name for path in STEPPED]


@pytest.mark.parametrize("path", STEPPED, ids=NAMES)
def test_a_path_that_becomes_slow_is_noticed_at_once(path: Path) -> None:
    fallen = run_of(path).fallen(500_000, 20.0)
    assert fallen is not None and fallen < 1.5


@pytest.mark.parametrize("path", STEPPED, ids=NAMES)
def test_what_is_sent_comes_near_the_capacity_and_leaves_no_queue(path: Path) -> None:
    run = run_of(path)
    for start, end, capacity in ((5.0, 20.0, 2_000_000), (25.0, 40.0, 500_000), (50.0, 60.0, 1_500_000)):
        assert 0.5 * capacity < run.mean(start, end) <= 1.05 * capacity, (start, run.mean(start, end))
        waits = run.waits(start, end)
        assert waits[len(waits) // 2] < 0.05
        assert waits[int(0.95 * len(waits))] < 0.25


@pytest.mark.parametrize("path", [path for path in STEPPED if path.padding and not path.jitter], ids=lambda p: p.name)
def test_a_path_that_becomes_fast_is_used_after_one_probe(path: Path) -> None:
    reached = run_of(path).reached(0.8 * 1_500_000, 40.0)
    assert reached is not None and reached < 6


@pytest.mark.parametrize("seed", range(4))
def test_a_call_begins_quickly(seed: int) -> None:
    run = Simulation(Path(name="", capacity=((0.0, 10_000_000),), seed=seed)).run(3.0)
    reached = run.reached(2_000_000, 0.0)
    assert reached is not None and reached < 1
    assert 2 <= len(run.probes) <= 6
    assert all(probe.bitrate <= 2_500_000 * 1.2 for probe in run.probes)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("trouble", ["loss", "jitter"])
def test_loss_and_jitter_without_congestion_do_not_make_it_collapse(trouble: str, seed: int) -> None:
    good = Path(name="", capacity=((0.0, 10_000_000),), seed=seed)
    run = Simulation(evolve(good, loss=0.02) if trouble == "loss" else evolve(good, jitter=0.03)).run(25.0)
    assert min(run.estimates(1.0, 25.0)) > 500_000
    assert run.mean(10.0, 25.0) > 1_800_000


def test_a_maximum_that_is_raised_is_there_at_once() -> None:
    low, high = (Path(name="", capacity=((0.0, 10_000_000),), wanted=wanted) for wanted in (300_000, 2_500_000))
    simulation = Simulation(low)
    simulation.at(10.0, lambda now: setattr(simulation, "path", high))
    run = simulation.run(13.0)
    assert max(run.estimates(5.0, 10.0)) < 900_000
    reached = run.reached(2_300_000, 10.0)
    assert reached is not None and reached < 0.5


def test_on_a_slow_path_the_first_pictures_are_no_flood() -> None:
    run = run_of(next(path for path in PATHS if path.name == "300 kbit/s"))
    waits = run.waits(0.0, 60.0)
    assert waits[int(0.9 * len(waits))] < 0.15
    assert run.dropped < 60
    assert 200_000 < run.mean(5.0, 60.0) < 310_000


def test_packets_of_a_picture_are_spread_but_never_late() -> None:
    for path in PATHS:
        assert max(one.paced for one in run_of(path).deliveries) < 0.13


def test_without_pictures_nothing_is_probed_and_nothing_is_sent_for_it() -> None:
    simulation = Simulation(Path(name="", capacity=((0.0, 2_000_000),), wanted=0))
    simulation._picture = lambda now: None  # type: ignore[method-assign]
    run = simulation.run(20.0)
    assert run.probes == () and len(run.deliveries) <= 1001
    assert simulation.controller.usage is Usage.NORMAL


def test_a_blackout_is_survived() -> None:
    path = Path(name="", capacity=((0.0, 1_500_000),))
    simulation = Simulation(path)
    simulation.at(10.0, lambda now: setattr(simulation, "path", evolve(path, loss=1.0)))
    simulation.at(22.0, lambda now: setattr(simulation, "path", path))
    run = simulation.run(40.0)
    assert len(simulation.controller._packets) <= 8192
    assert run.mean(30.0, 40.0) > 700_000


def test_feedback_that_says_nothing_of_what_was_sent_is_none() -> None:
    controller = CongestionController()
    for number in range(50):
        controller.sent(1200, number / 10, payload=1100)
    told = TransportFeedback(
        sender_ssrc=1, media_ssrc=2, base=30000, packets=2, reference=1, count=0, arrivals=((0, 0), (1, 5))
    )
    controller.feedback(told, 5.0)
    controller.feedback(evolve(told, base=1, arrivals=()), 5.0)
    assert not controller.has_feedback and controller.is_silent(5.0)
    controller.feedback(evolve(told, base=49), 5.0)
    assert controller.has_feedback and not controller.is_silent(5.0)


def test_feedback_of_what_was_sent_long_ago_says_nothing() -> None:
    controller = CongestionController()
    controller.sent(1200, 0.0, payload=1100)
    told = TransportFeedback(sender_ssrc=1, media_ssrc=2, base=1, packets=1, reference=1, count=0, arrivals=((0, 0),))
    before = controller.round_trip
    controller.feedback(told, 60.0)
    assert not controller.has_feedback and controller.round_trip == before


def test_feedback_of_what_was_never_sent_says_nothing() -> None:
    simulation = Simulation(Path(name="", capacity=((0.0, 1_500_000),)))
    run = simulation.run(5.0)
    before = simulation.controller.estimate
    arrivals = tuple((place, 5) for place in range(3000))
    for base in (0, 30000, 65535):
        told = TransportFeedback(
            sender_ssrc=1, media_ssrc=2, base=base, packets=3000, reference=base, count=0, arrivals=arrivals
        )
        simulation.controller.feedback(told, 5.1)
    assert run.moments and abs(simulation.controller.estimate - before) <= 0.2 * before
