"""Bad networks: what comes late, out of order or not at all. The longer cases are in tests/interop/test_impaired.py."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import RtpPacket

from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern
from sipproto_aiortc._counters import is_key_frame
from sipproto_aiortc._order import AudioOrder, VideoOrder
from tests.media._rig import End, connect, until
from tests.media.impaired import Case, Ear, Network, measure
from tests.sim.network import Link

KEY, DELTA = b"\x00\x00\x00\x9d\x01\x2a", b"\x01\x00\x00\x00\x00\x00"


def packet(number: int, data: bytes = b"", *, timestamp: int | None = None) -> RtpPacket:
    made = RtpPacket(sequence_number=number % 65536, timestamp=number if timestamp is None else timestamp)
    vars(made)["_data"] = data
    return made


class Audio:
    """An order with what came out of it."""

    def __init__(self) -> None:
        self.due: list[int] = []
        self.order = AudioOrder(lambda packet: self.due.append(packet.sequence_number))

    def add(self, *numbers: int) -> list[int]:
        """What comes out when these come in."""
        self.due.clear()
        for number in numbers:
            self.order.add(packet(number))
        return list(self.due)


def test_audio_in_order_passes_at_once() -> None:
    audio = Audio()
    assert [audio.add(number) for number in (65534, 65535, 65536, 65537)] == [[65534], [65535], [0], [1]]


def test_audio_behind_a_hole_comes_out_in_order_and_together() -> None:
    audio = Audio()
    assert audio.add(10, 12, 13) == [10]
    assert audio.add(11) == [11, 12, 13]
    assert audio.add(11, 12, 14) == [14]


def test_lost_audio_is_waited_for_until_three_packets_came() -> None:
    audio = Audio()
    assert audio.add(10, 12, 13) == [10]
    assert audio.add(14) == [12, 13, 14]
    assert audio.add(15) == [15]


def test_audio_that_comes_too_late_is_waited_for_longer_the_next_time() -> None:
    audio = Audio()
    for first in (10, 20):
        audio.add(*range(first, first + 4), *range(first + 5, first + 8), first + 4, *range(first + 8, first + 10))
    assert audio.order.depth == 4  # the second time four were waited for, and it came before
    assert audio.add(30, 32, 33, 34, 31) == [30, 31, 32, 33, 34]
    assert audio.add(31, 32) == [] and audio.order.depth == 4, "twice is not late"


def test_the_wait_for_audio_is_bounded_and_becomes_short_again() -> None:
    audio, number = Audio(), 0
    for _ in range(20):
        audio.add(*range(number, number + 20), *range(number + 21, number + 40), number + 20)
        number += 40
    assert audio.order.depth == 10
    audio.add(*range(number, number + 5000))
    assert audio.order.depth == 3


def test_another_stream_of_audio_begins_at_once() -> None:
    audio = Audio()
    assert audio.add(10, 11, 30000, 30001) == [10, 11, 30000, 30001]


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_nearly_all_audio_survives_jitter_of_five_packets(loss: float) -> None:
    chance, audio, count = random.Random(7), Audio(), 3000
    arrivals = sorted((number + 5 * chance.random(), number) for number in range(count) if chance.random() >= loss)
    due = audio.add(*(number for _, number in arrivals))
    assert due == sorted(due)
    assert len(due) > 0.99 * len(arrivals)


# -- video -------------------------------------------------------------------------------------------------------------


def test_video_begins_with_a_key_frame_and_then_passes_everything() -> None:
    told: list[bytes] = []
    order = VideoOrder(lambda payload_type: "VP8", told.append, lambda: 0.0)
    frames = [order.add(packet(number, data))[1] for number, data in enumerate((DELTA, DELTA, KEY, DELTA, DELTA))]
    assert [frame.data if frame else None for frame in frames] == [None, None, None, KEY, DELTA]
    assert told == [KEY, DELTA]


def test_video_without_key_frames_is_shown_after_a_while() -> None:
    now = 0.0
    order = VideoOrder(lambda payload_type: "H264", lambda data: None, lambda: now)
    assert order.add(packet(1, DELTA))[1] is order.add(packet(2, DELTA))[1] is None
    now = 4.0
    assert order.add(packet(3, DELTA))[1] is not None


@pytest.mark.parametrize(
    ("codec", "data", "expected"),
    [
        ("VP8", KEY, True),
        ("VP8", DELTA, False),
        ("VP8", b"", False),
        ("VP8", b"\x00\x00\x00\x00\x00\x00", False),
        ("H264", b"\0\0\0\1\x67abc\0\0\0\1\x68d\0\0\1\x65e", True),
        ("H264", b"\0\0\0\1\x41abc", False),
        ("H264", b"abc", False),
        ("AV1", b"abc", False),
        ("H265", b"abc", None),
    ],
)
def test_key_frames_are_recognised(codec: str, data: bytes, expected: bool | None) -> None:
    assert is_key_frame(codec, data) is expected


# -- calls -------------------------------------------------------------------------------------------------------------


def test_a_call_survives_loss_and_a_blackout() -> None:
    # So many pictures are missed that the sender has not kept them all to be asked for again.
    pattern = TestPattern(width=160, height=120, frame_rate=60)
    case = Case(name="loss and a blackout", link=Link(loss=0.05), blackout=2.5, video=pattern)
    with Ear().open() as ear:
        figures = measure(case, 3.0, ear)
    assert figures.connected
    assert figures.dropped > 100
    assert figures.audio_back is not None and figures.audio_back < 1
    assert figures.video_back is not None and figures.video_back < 2
    assert figures.tone > 0.75
    assert figures.pictures > 10


class _Unlucky(Network):
    """Loses one packet of video, and the first time that it is sent again."""

    def __init__(self) -> None:
        self.to_lose: list[int] = []
        super().__init__(Link(latency=0.0))

    def treat(self, index: int, data: bytes) -> None:
        if index == 1 and len(data) > 1 and self.to_lose[:1] == [data[1] & 0x7F]:
            del self.to_lose[0]
        else:
            super().treat(index, data)


def test_a_repetition_that_is_lost_is_asked_for_again() -> None:
    network, engine = _Unlucky(), AiortcEngine(include_loopback=True)
    a, b = End(engine, MediaSetup(video=TestPattern(frame_rate=30))), End(engine)
    connect(a, b, "audio video", network.change)
    until(lambda: (b.line("video").frames_decoded or 0) > 3)
    network.to_lose = [96, 97]
    until(lambda: not network.to_lose)
    before = b.line("video").frames_decoded or 0
    until(lambda: (b.line("video").frames_decoded or 0) > before + 15, timeout=3)
    engine.close()
    network.close()
