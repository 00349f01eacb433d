"""What is probed, and what a probe tells."""

from __future__ import annotations

import itertools

import pytest

from sipproto.media.congestion import Probe
from sipproto.media.congestion._probing import ProbeControl, ProbeResults, ProbeState


def rates(probes: tuple[Probe, ...]) -> list[int]:
    return [probe.bitrate for probe in probes]


def done(wanted: float, estimate: float) -> ProbeControl:
    """After the probes of the beginning."""
    control = ProbeControl()
    control.want(wanted, estimate, 0.0)
    control.recovered(estimate, 1.5)
    assert control.state is ProbeState.DONE
    return control


def test_a_call_begins_with_three_and_six_times_its_bit_rate() -> None:
    control = ProbeControl()
    assert control.want(0, 300_000, 0.0) == ()  # no pictures yet
    first = control.want(10_000_000, 300_000, 1.0)
    assert rates(first) == [900_000, 1_800_000]
    assert all(probe.packets == 5 and probe.octets == int(probe.bitrate * 0.015 / 8) for probe in first)
    assert len({probe.number for probe in first}) == 2


def test_what_is_found_leads_further_until_all_that_is_wanted_was_tried() -> None:
    control = ProbeControl()
    control.want(5_000_000, 300_000, 0.0)
    assert control.found(880_000, 0.1) == ()  # of the first; the second has not come
    assert rates(control.found(1_700_000, 0.2)) == [3_400_000]
    assert rates(control.found(3_300_000, 0.3)) == [5_000_000]
    assert control.found(4_900_000, 0.4) == () and control.state is ProbeState.DONE


def test_nothing_above_what_is_wanted_is_probed() -> None:
    assert rates(ProbeControl().want(700_000, 300_000, 0.0)) == [700_000]
    assert rates(ProbeControl().want(50_000_000, 9_000_000, 0.0)) == [20_000_000]


def test_a_maximum_that_is_raised_is_probed_and_one_that_creeps_is_not() -> None:
    control = done(1_000_000, 1_000_000)
    assert control.want(1_050_000, 1_000_000, 2.0) == ()
    assert rates(control.want(2_000_000, 1_000_000, 2.1)) == [2_000_000]
    assert control.want(4_000_000, 1_000_000, 2.2) == ()  # one at a time
    control.recovered(1_900_000, 3.5)
    assert rates(control.want(4_000_000, 1_900_000, 3.6)) == [4_000_000]
    control.recovered(4_000_000, 5.0)
    assert control.want(1_000_000, 4_000_000, 6.0) == ()
    assert control.want(2_000_000, 4_000_000, 6.1) == ()  # the path is known to take it


def test_a_drop_is_probed_when_it_is_over() -> None:
    control = done(2_500_000, 2_000_000)
    control.changed(2_000_000, 500_000, 2.0)
    assert rates(control.recovered(500_000, 2.5)) == [1_700_000]
    assert control.recovered(500_000, 2.6) == ()
    control.changed(1_700_000, 500_000, 4.0)
    assert control.recovered(500_000, 4.5) == ()  # not again so soon


def test_a_small_decrease_is_no_drop() -> None:
    control = done(2_500_000, 2_000_000)
    control.changed(2_000_000, 1_700_000, 2.0)
    assert control.recovered(1_700_000, 2.5) == ()


def test_while_less_goes_than_is_wanted_more_is_tried_seldom() -> None:
    control = done(2_500_000, 500_000)
    tried = [now / 10 for now in range(20, 200) if control.recovered(500_000, now / 10)]
    assert len(tried) == 3
    assert all(after - before >= 5 for before, after in itertools.pairwise(tried))
    satisfied = done(400_000, 500_000)
    assert [now for now in range(2, 20) if satisfied.recovered(500_000, now)] == []


PROBE = Probe(number=1, bitrate=2_000_000, octets=5000, packets=5)


def result(sent_step: float, arrived_step: float, *, packets: int = 5, octets: int = 1000) -> float | None:
    results, last = ProbeResults(), None
    for number in range(packets):
        found = results.add(PROBE, 10 + number * sent_step, 500 + number * arrived_step, octets)
        last = found if found is not None else last
    return last


def test_a_probe_that_arrives_as_it_was_sent_tells_its_bit_rate() -> None:
    assert result(0.004, 0.004) == pytest.approx(2_000_000)


def test_one_that_arrives_more_slowly_tells_what_the_path_takes() -> None:
    assert result(0.004, 0.008) == pytest.approx(950_000)


@pytest.mark.parametrize("arrived_step", [0.0001, 0.00015])
def test_one_that_left_late_in_one_go_tells_no_more_than_was_tried(arrived_step: float) -> None:
    assert result(0.0001, arrived_step) == 2_000_000


@pytest.mark.parametrize(
    ("sent_step", "arrived_step", "packets"),
    [(0.004, 0.001, 5), (0.004, 0.0, 5), (0.0, 0.004, 5), (0.5, 0.5, 5), (0.004, 0.004, 3)],
)
def test_one_that_says_nothing(sent_step: float, arrived_step: float, packets: int) -> None:
    assert result(sent_step, arrived_step, packets=packets) is None


def test_clusters_are_forgotten() -> None:
    results = ProbeResults()
    for number in range(1000):
        results.add(Probe(number=number, bitrate=1_000_000, octets=5000, packets=5), 1.0, 1.0, 100)
    assert len(results._clusters) <= 16
