"""When received audio is played, in simulated time: packets come as a path brings them, and are asked for when due."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, evolve, field

from sipproto_aiortc._playout import Act, AudioPacket, Pace, Playout, Step

FRAME = 0.02
STRETCH = 0.008  # seconds that a stretched packet is longer or shorter, as with a voice of 125 Hz


def packet(number: int, arrival: float, **changes: Any) -> AudioPacket:
    """20 ms of Opus, sent `number * 20 ms` after the first."""
    made = AudioPacket(
        ssrc=1,
        number=number % 65536,
        timestamp=number * 960 % (1 << 32),
        payload_type=111,
        clock=48000,
        duration=960,
        data=b"audio",
        arrival=arrival,
    )
    return evolve(made, **changes)


@define
class Played:
    moment: float
    step: Step

    @property
    def number(self) -> int | None:
        return self.step.packet.number if self.step.packet is not None else None


@define
class Simulation:
    """Plays what arrives until the last packet is due and nothing comes any more."""

    playout: Playout = field(factory=Playout)
    steps: list[Played] = field(factory=list)

    def run(self, packets: Iterable[AudioPacket], until: float = 1e9) -> list[Played]:
        arriving = sorted(packets, key=lambda one: one.arrival)[::-1]
        due: float | None = None
        before = len(self.steps)
        while arriving or due is not None:
            if due is None or (arriving and arriving[-1].arrival <= due):
                self.playout.put(arriving.pop())
                due = due if due is not None else self.playout.begins_at()
                continue
            if due > until:
                break
            step = self.playout.take(due)
            if step is None:
                begins = self.playout.begins_at()
                due = max(begins, due + 1e-6) if begins is not None else None
                continue
            self.steps.append(Played(due, step))
            due += step.seconds + STRETCH * step.pace.value
        return self.steps[before:]


def acts(played: list[Played], *, rest: bool = False) -> list[Act | int]:
    """Numbers of the packets that were played, and what else there was; not what comes behind the last packet."""
    out = [one.number if one.step.act is Act.PLAY and one.number is not None else one.step.act for one in played]
    while out and not rest and not isinstance(out[-1], int):
        del out[-1]
    return out


def on_time(count: int, delay: Callable[[int], float] = lambda number: 0.0, first: int = 0) -> list[AudioPacket]:
    return [packet(number, number * FRAME + delay(number)) for number in range(first, first + count)]


def delays(played: list[Played]) -> list[float]:
    """How long after it was sent each packet was played."""
    return [one.moment - one.number * FRAME for one in played if one.step.act is Act.PLAY and one.number is not None]


def test_packets_on_time_are_played_one_after_the_other_with_little_delay() -> None:
    played = Simulation().run(on_time(100))
    assert acts(played) == list(range(100))
    assert all(delay < 0.0401 for delay in delays(played))
    assert all(one.step.pace is Pace.EVEN for one in played[:100])


def test_packets_out_of_order_are_played_in_order() -> None:
    assert acts(Simulation().run(on_time(60, lambda n: 0.03 if n % 3 == 0 else 0.0))) == list(range(60))


def test_each_lost_packet_is_made_up_in_its_time() -> None:
    played = Simulation().run([one for one in on_time(50) if one.number not in (10, 20, 21, 22)])
    expected: list[Act | int] = list(range(50))
    expected[10] = expected[20] = expected[21] = expected[22] = Act.CONCEAL
    assert acts(played) == expected
    assert abs(sum(one.step.seconds for one in played[:50]) - 1.0) < 1e-9


def test_long_packets_are_made_up_piece_by_piece() -> None:
    packets = [
        evolve(one, timestamp=one.number * 2880, duration=2880, arrival=one.number * 0.06) for one in on_time(20)
    ]
    played = Simulation().run([one for one in packets if one.number != 7])
    assert acts(played) == [*range(7), *[Act.CONCEAL] * 3, *range(8, 20)]
    assert abs(sum(one.step.seconds for one in played[:22]) - 20 * 0.06) < 1e-9


def test_the_last_of_what_is_lost_is_made_of_the_packet_behind_it() -> None:
    packets = [evolve(one, repairs=True) for one in on_time(60) if one.number not in (20, 30, 31)]
    played = Simulation().run(packets)
    expected: list[Act | int] = list(range(60))
    expected[20] = expected[31] = Act.REPAIR
    expected[30] = Act.CONCEAL
    assert acts(played) == expected
    assert [one.number for one in played if one.step.act is Act.REPAIR] == [21, 32]


def test_packets_that_repair_are_waited_for() -> None:
    """Without a delay of a packet the one behind is never there when one is missing."""
    simulation = Simulation()
    simulation.run(on_time(600))
    assert simulation.playout.path.target < FRAME + 0.001
    simulation.run([evolve(one, repairs=True) for one in on_time(600, first=600)])
    assert simulation.playout.path.target > 2 * FRAME - 0.001


def test_what_the_sender_did_not_send_is_silent_and_no_loss() -> None:
    """Opus with DTX: a packet each 400 ms says that there is nothing; numbers go on."""
    spoken = on_time(20)
    pauses = [
        packet(20 + n, (20 + 20 * n) * FRAME, timestamp=(20 + 20 * n) * 960, quiet=True, data=b"\0") for n in range(4)
    ]
    again = [packet(24 + n, (100 + n) * FRAME, timestamp=(100 + n) * 960) for n in range(20)]
    played = Simulation().run([*spoken, *pauses, *again])
    heard = acts(played)
    assert [one for one in heard if isinstance(one, int)] == list(range(44))
    assert Act.CONCEAL not in heard
    assert abs(sum(one.step.seconds for one in played[: len(heard)]) - 120 * FRAME) < 0.041


def test_a_pause_that_was_not_announced_is_told_from_a_loss_afterwards() -> None:
    """Silence suppression of a telephone: numbers go on, timestamps jump."""
    played = Simulation().run(
        [*on_time(20), *[packet(20 + n, (50 + n) * FRAME, timestamp=(50 + n) * 960) for n in range(5)]]
    )
    assert acts(played).count(Act.CONCEAL) >= 28
    assert next(one for one in played if one.number == 20).step.after_silence
    assert not any(one.step.known_lost for one in played)


def test_events_have_their_place_and_are_silent() -> None:
    """Digits come as packets without content, whose timestamp stands still."""
    digits = [packet(20 + n, (20 + n) * FRAME, timestamp=20 * 960, duration=0, data=b"") for n in range(10)]
    played = Simulation().run([*on_time(20), *digits, *on_time(20, first=30)])
    heard = acts(played)
    assert Act.CONCEAL not in heard and len(heard) in (49, 50, 51)
    assert [one for one in heard if isinstance(one, int)] == [*range(20), *range(30, 50)]


def test_a_pause_of_everything_ends_in_rest_and_begins_anew() -> None:
    simulation = Simulation()
    first = simulation.run(on_time(50))
    assert sum(one.step.seconds for one in first) < 50 * FRAME + 1.05
    played = simulation.run(on_time(50, first=550))
    assert acts(played) == list(range(550, 600))
    assert all(delay < 0.05 for delay in delays(played))


def test_another_stream_begins_at_once_and_without_a_hole() -> None:
    other = [packet(30_000 + n, (50 + n) * FRAME, ssrc=2, timestamp=77) for n in range(1)]
    other += [packet(30_000 + n, (50 + n) * FRAME, ssrc=2, timestamp=77 + 960 * n) for n in range(1, 50)]
    played = Simulation().run([*on_time(50), *other])
    heard = acts(played)
    assert [one for one in heard if isinstance(one, int)][-50:] == list(range(30_000, 30_050))
    assert sum(one.step.seconds for one in played[: len(heard)]) > 99 * FRAME


def test_of_two_streams_at_once_one_is_heard_whole() -> None:
    """A peer that mixes what it forks, or the last packets of the stream before: they do not silence the other one."""
    for gap in (0.0, 0.01):
        other = [packet(n, n * FRAME + gap, ssrc=2) for n in range(100, 400)]
        played = Simulation().run([*on_time(600), *other])
        heard = [one.step.packet for one in played if one.step.packet is not None]
        assert [one.number for one in heard if one.ssrc == 2] == list(range(100, 400))
        assert [one.number for one in heard if one.ssrc == 1][-180:] == list(range(420, 600)), "it was there before"


def test_thousands_of_streams_are_bounded() -> None:
    playout = Playout()
    for number in range(5000):
        playout.put(packet(number % 7, number * 0.001, ssrc=number))
        playout.take(number * 0.001)
    assert len(playout._waiting) <= 1 and len(playout._left) <= 8
    simulation = Simulation(playout)
    assert acts(simulation.run(on_time(50, lambda n: 10.0))) == list(range(50))


def test_a_packet_that_comes_twice_is_heard_once_and_was_neither_late_nor_lost() -> None:
    """What is repeated 0.1 s later for safety says nothing of the path, and is nothing discarded (RFC 7002)."""
    simulation = Simulation()
    packets = on_time(1000)
    played = simulation.run([*packets, *[evolve(one, arrival=one.arrival + 0.1) for one in packets], *packets])
    assert acts(played) == list(range(1000))
    assert simulation.playout.discarded == 0
    assert max(delays(played)) < 0.0401
    assert simulation.playout.path.target < 0.0201


def test_a_packet_that_comes_too_late_is_discarded_once() -> None:
    simulation = Simulation()
    late = [packet(20, 1.0 + again) for again in (0.0, 0.1)]
    simulation.run([*[one for one in on_time(100) if one.number != 20], *late])
    assert simulation.playout.discarded == 1


def test_another_clock_goes_on_in_the_order() -> None:
    """A change of codec: the timestamps count in other units from then on."""
    g711 = [
        packet(50 + n, (50 + n) * FRAME, timestamp=50 * 960 + 160 * n, clock=8000, duration=160, payload_type=0)
        for n in range(50)
    ]
    assert acts(Simulation().run([*on_time(50), *g711])) == list(range(100))


def test_numbers_and_timestamps_wrap() -> None:
    first = (1 << 32) // 960 - 20
    first += 65536 - 30 - first % 65536  # both within these packets, or near them
    packets = [packet(first + n, n * FRAME) for n in range(4500)]
    assert [one.step.act for one in Simulation().run(packets)[:4500]] == [Act.PLAY] * 4500


# -- delay ---------------------------------------------------------------------------------------------------------------


def test_the_delay_follows_the_jitter_and_comes_back() -> None:
    chance, simulation = random.Random(5), Simulation()
    simulation.run(on_time(3000, lambda n: 0.1 * chance.random() if 1000 <= n < 2000 else 0.0), until=60.0)
    played = [one for one in simulation.steps if one.step.act is Act.PLAY]
    late = [one for one in simulation.steps if one.step.act is Act.CONCEAL]
    assert sum(one.step.seconds for one in late if 21 < one.moment < 40) < 0.03 * 19, "once it is known"
    told = delays(played)
    assert max(told) < 0.2
    assert told[1900] > 0.08
    assert told[-1] < 0.08
    assert simulation.playout.discarded < 30


def test_nearly_all_audio_survives_jitter_of_five_packets_and_loss() -> None:
    chance, simulation = random.Random(7), Simulation()
    packets = [one for one in on_time(3000, lambda n: 0.1 * chance.random()) if chance.random() >= 0.05]
    played = [one for one in simulation.run(packets) if one.step.act is Act.PLAY]
    numbers = [one.number for one in played]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    assert len(played) > 0.97 * len(packets)


def drifting(seconds: float, drift: float, jitter: float, loss: float = 0.0) -> list[AudioPacket]:
    """A sender whose clock runs faster than ours by that share (below 0: slower)."""
    chance = random.Random(11)
    count = round(seconds / FRAME * (1 + drift))
    return [
        one
        for one in on_time(count, lambda n: n * FRAME / (1 + drift) - n * FRAME + jitter * chance.random())
        if chance.random() >= loss
    ]


def test_another_clock_changes_no_delay() -> None:
    """Ten minutes at 0.1 %: 0.6 s of audio too much, or too little."""
    for drift in (0.001, -0.001):
        simulation = Simulation()
        played = simulation.run(drifting(600.0, drift, 0.02))
        waits = [one.moment - one.step.packet.arrival for one in played if one.step.packet is not None]
        assert max(waits) < 0.12, drift
        concealed = sum(one.step.seconds for one in played if one.step.act is Act.CONCEAL and one.moment < 598)
        assert concealed < 600 * 0.002, (drift, concealed)
        wanted = Pace.FASTER if drift > 0 else Pace.SLOWER
        stretched: list[Pace] = [one.step.pace for one in played if one.step.pace is not Pace.EVEN]
        assert stretched.count(wanted) > 0.9 * len(stretched)


def paused(seconds: float, drift: float, offset: float = 0.0) -> list[AudioPacket]:
    """Ten seconds, nothing for so long, and twenty seconds with timestamps that are off by `offset` seconds."""
    gap = round(seconds / FRAME)
    return [
        packet(
            n,
            (n + gap * (n >= 500)) * FRAME / (1 + drift),
            timestamp=round((n + gap * (n >= 500)) * 960 + offset * 48000 * (n >= 500)),
        )
        for n in range(1500)
    ]


def test_a_long_pause_is_told_from_a_delay() -> None:
    """In an hour clocks that are 0.02 % apart go 0.72 s apart; the timestamps of others stand still while they are mute."""
    for seconds, drift, offset in ((3600.0, 2e-4, 0.0), (3600.0, -2e-4, 0.0), (5.0, 0.0, -0.9), (5.0, 0.0, 0.9)):
        simulation = Simulation()
        played = simulation.run(paused(seconds, drift, offset))
        told = (seconds, drift, offset)
        assert [one.number for one in played if one.step.act is Act.PLAY] == list(range(1500)), told
        assert sum(one.step.seconds for one in played if one.step.act is Act.CONCEAL) < 2.1, told
        assert max(one.moment - one.step.packet.arrival for one in played if one.step.packet is not None) < 0.05, told


def test_a_path_that_gets_much_longer_is_followed_at_once() -> None:
    for longer in (0.3, 0.5, 0.8, 0.95, 1.5):
        delay = [0.0] * 1000 + [longer] * 2000
        played = Simulation().run(on_time(3000, delay.__getitem__))
        assert [one.number for one in played if one.step.act is Act.PLAY] == list(range(3000)), longer
        made_up = [one.step.seconds for one in played if one.step.act is Act.CONCEAL and one.moment < 1000 * FRAME + 12]
        assert sum(made_up) < min(longer, 1.0) + 0.3, longer  # after a second it rests


def test_timestamps_that_jump_ahead_are_no_shorter_path() -> None:
    """A sender that left out 0.9 s: what came before is not late since then."""
    simulation = Simulation()
    packets = [packet(n, n * FRAME, timestamp=n * 960 + (43200 if n >= 1000 else 0)) for n in range(3000)]
    played = simulation.run(packets, until=1000 * FRAME + 3)
    assert simulation.playout.path.target < 0.03
    assert simulation.playout.discarded <= 3 and acts(played).count(Act.CONCEAL) == 0


def test_one_timestamp_that_is_far_off_stops_nothing() -> None:
    """What it is behind would be silence for hours; also when it is among the last packets that come."""
    for last in (100, 23):
        packets = on_time(last)
        packets[20] = evolve(packets[20], timestamp=packets[20].timestamp + 2_000_000_000)
        played = Simulation().run(packets, until=60.0)
        assert [one.number for one in played if one.step.act is Act.PLAY] == list(range(last))
        assert sum(one.step.seconds for one in played) < last * FRAME + 1.3


def test_pauses_of_dtx_do_not_hide_another_clock() -> None:
    """With a packet each 0.4 s five hundred of them tell of more than three minutes."""
    for drift in (5e-4, -5e-4):
        simulation, slot, packets = Simulation(), 0, []
        for number in range(2000):
            packets.append(packet(number, slot * FRAME / (1 + drift), timestamp=slot * 960, quiet=number % 400 >= 100))
            slot += 20 if number % 400 >= 100 else 1
        played = simulation.run(packets)
        assert simulation.playout.path.target < 0.03
        assert max(one.moment - one.step.packet.arrival for one in played if one.step.packet is not None) < 0.05


def test_the_delay_for_repairs_ends_with_them() -> None:
    simulation = Simulation()
    simulation.run([evolve(one, repairs=True) for one in on_time(600)])
    assert simulation.playout.path.target > 2 * FRAME - 0.001
    simulation.run(on_time(1200, first=600))
    assert simulation.playout.path.target < FRAME + 0.001


def test_a_burst_of_the_shortest_packets_is_not_too_much() -> None:
    """0.28 s in packets of 2.5 ms."""
    packets = [packet(n, max(n * 0.0025, 0.28), timestamp=n * 120, duration=120) for n in range(1000)]
    simulation = Simulation()
    simulation.run(packets)
    assert simulation.playout.discarded == 0


def test_packets_of_a_sample_do_not_make_work() -> None:
    simulation = Simulation()
    played = simulation.run([packet(0, 0.0, duration=1, clock=8000, timestamp=0)])
    assert len(played) < 500


def test_a_burst_after_a_stall_is_left_behind() -> None:
    """Two seconds come at once: what is old is left out rather than heard late for ever."""
    simulation = Simulation()
    packets = on_time(1000, lambda n: 2.0 - (n - 100) * FRAME if 100 <= n < 200 else 0.0)
    played = simulation.run(packets)
    assert all(one.moment - one.step.packet.arrival < 0.75 for one in played if one.step.packet is not None)
    assert delays(played)[-1] < 0.1


def test_a_flood_is_bounded() -> None:
    playout = Playout()
    for number in range(5000):
        playout.put(packet(number, 0.0, timestamp=0))
    assert len(playout._waiting) <= 300
    assert playout.discarded >= 4700
    for number in range(900):
        playout.put(packet(number * 2, 0.0, duration=0, data=b""))
        playout.take(float(number))


def test_no_packet_breaks_it() -> None:
    """Whatever arrives, each moment has an answer of a sane length, and the delay stays bounded."""
    for seed in range(30):
        chance, playout, now = random.Random(seed), Playout(), 0.0
        for _ in range(1500):
            now += 0.05 * chance.random()
            for _ in range(chance.randrange(4)):
                playout.put(
                    packet(
                        chance.choice(
                            (chance.randrange(65536), round(now * 50), round(now * 50) - chance.randrange(9))
                        ),
                        now,
                        timestamp=chance.choice((chance.randrange(1 << 32), round(now * 48000), 0)),
                        ssrc=chance.choice((1, 1, 1, 2)),
                        clock=chance.choice((8000, 48000)),
                        duration=chance.choice((0, 0, 160, 960, 5760)),
                        repairs=chance.random() < 0.2,
                    )
                )
            step = playout.take(now)
            assert step is None or 0 < step.seconds <= 0.72
            assert 0.02 <= playout.path.target <= 0.4
            assert step is not None or playout.begins_at() is None or playout.begins_at() > now - 1e-9  # type: ignore[operator]
