"""Bad networks: what comes late, out of order or not at all. The longer cases are in tests/interop/test_impaired.py."""

from __future__ import annotations

import pytest
from aiortc.rtp import RtpPacket
from attrs import evolve

from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_aiortc._counters import is_key_frame
from sipproto_aiortc._order import VideoOrder
from tests.media._rig import End, connect, exchange, until
from tests.media._sending import set_parameters
from tests.media.impaired import Case, Ear, Network, measure
from tests.sim.network import Link

KEY, DELTA = b"\x00\x00\x00\x9d\x01\x2a", b"\x01\x00\x00\x00\x00\x00"


def packet(number: int, data: bytes = b"", *, timestamp: int | None = None, marker: int = 0) -> RtpPacket:
    made = RtpPacket(
        sequence_number=number % 65536, timestamp=number if timestamp is None else timestamp, marker=marker
    )
    vars(made)["_data"] = data
    return made


# -- video -------------------------------------------------------------------------------------------------------------


class Video:
    """An order with what came out of it."""

    def __init__(self, codec: str) -> None:
        self.now = 0.0
        self.due: list[bytes] = []
        self.order = VideoOrder(
            lambda payload_type: codec, lambda payload_type, frame: self.due.append(frame.data), lambda: self.now
        )

    def add(self, *packets: RtpPacket) -> list[bytes]:
        """What comes out when these come in."""
        self.due.clear()
        for one in packets:
            self.order.add(one)
        return list(self.due)


@pytest.mark.parametrize("marker", [0, 1])
def test_video_begins_with_a_key_frame_and_then_passes_everything(marker: int) -> None:
    """A picture comes out with its last packet, or where the sender does not mark that, with the first of the next."""
    video = Video("VP8")
    pictures = (DELTA, DELTA, KEY, DELTA, DELTA)
    out = [video.add(packet(number, data, marker=marker)) for number, data in enumerate(pictures)]
    assert out == ([[], [], [KEY], [DELTA], [DELTA]] if marker else [[], [], [], [KEY], [DELTA]])


def test_a_picture_of_several_packets_comes_out_once_and_whole() -> None:
    video = Video("VP8")
    first, last = packet(1, KEY, timestamp=5), packet(3, b"c", timestamp=5, marker=1)
    assert video.add(first, packet(4, DELTA, timestamp=6, marker=1), last) == []
    assert video.add(packet(2, b"b", timestamp=5)) == [KEY + b"bc", DELTA]  # both: nothing is left to be late for ever
    padding = packet(5, b"", timestamp=6)
    assert video.add(padding, packet(6, DELTA, timestamp=7, marker=1)) == [DELTA]


def test_video_without_key_frames_is_shown_after_a_while() -> None:
    video = Video("H264")
    assert video.add(packet(1, DELTA), packet(2, DELTA)) == []
    video.now = 4.0
    assert video.add(packet(3, DELTA)) == [DELTA]


def test_every_picture_that_was_sent_is_shown() -> None:
    """The last one, too, after which nothing comes."""
    left_engine, right_engine = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    try:
        left, right = End(left_engine, MediaSetup(video=TestPattern(frame_rate=10))), End(right_engine)
        mid = left.negotiator.add_line("video", Direction.RECVONLY)
        exchange(left, right)
        until(lambda: left.connected and right.connected)
        left.negotiator.change_line(mid, Direction.SENDRECV)
        exchange(left, right)
        until(lambda: (right.line("video").frames_decoded or 0) > 2)
        set_parameters(left, SenderParameters(encodings=(Encoding(active=False),)))

        def all_shown() -> bool:
            sent = left.stats().outbound("video")
            return sent is not None and right.line("video").frames_decoded == sent.frames_sent

        until(all_shown)
    finally:
        left_engine.close()
        right_engine.close()


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


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_lost_packets_do_not_make_the_audio_shorter(codec: str) -> None:
    network, engine = Network(Link(latency=0.005), seed=2), AiortcEngine(include_loopback=True)
    only = tuple(one for one in engine.capabilities.audio if one.name == codec)
    a, b = (End(engine, capabilities=evolve(engine.capabilities, audio=only)) for _ in range(2))
    engine.prepare(a.call, MediaSetup(audio=Tone(440.0)))
    connect(a, b, "audio", network.change)
    until(lambda: (b.line().frames_decoded or 0) > 10)
    network.link = Link(latency=0.005, loss=0.15)
    before, sent = b.stats().inbound("audio"), a.line().packets_sent
    until(lambda: a.line().packets_sent > sent + 150, timeout=15)
    after, sent = b.stats().inbound("audio"), a.line().packets_sent - sent
    engine.close()
    network.close()
    assert before is not None and after is not None
    heard = (after.total_samples_duration or 0) - (before.total_samples_duration or 0)
    assert (after.packets_lost or 0) > 10
    passed = after.timestamp - before.timestamp
    # As long as what was sent; on a busy machine that comes late, and the pauses are filled, too.
    slack = 0.05 * 0.02 * sent + 0.1
    assert 0.02 * sent - slack < heard < max(0.02 * sent, passed) + slack, (heard, sent, passed)
    made_up = (after.concealed_samples or 0) - (before.concealed_samples or 0)
    assert made_up > (5 * 960 if codec == "opus" else 5 * 160)
    assert 0 < (after.concealment_events or 0) <= (after.packets_lost or 0) + 30


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
