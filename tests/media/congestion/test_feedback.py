"""Transport-wide feedback in octets: read, written, and refused."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipproto.media.congestion import (
    FeedbackError,
    TransportFeedback,
    parse_feedback,
    split_feedback,
    write_feedback,
)

RECEIVER_REPORT = pack("!BBHL", 0x80, 201, 1, 7)


def packet(base: int, count: int, reference: int, body: str, *, padded: bool = False) -> bytes:
    """A message by hand. `body`: chunks and deltas in hexadecimal, whole words."""
    octets = bytes.fromhex(body)
    head = pack("!BBHLL", 0x8F | (0x20 if padded else 0), 205, 4 + len(octets) // 4, 1, 2)
    return head + pack("!HHL", base, count, reference << 8 | 9) + octets


# The chunks of draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1.3 and 3.1.4, by hand.
BY_HAND = [
    ("a run of small deltas", packet(10, 2, 1, "2002 04 08"), (4, 12)),
    ("a run that was lost, then one", packet(10, 4, 1, "0003 2001 04 000003", padded=True), (None, None, None, 4)),
    ("a vector of one bit", packet(65535, 3, 1, "a800 04 04"), (4, None, 8)),
    ("a vector of two bits", packet(0, 4, 1, "d200 04 fffc 000003", padded=True), (4, None, 0, None)),
    ("large deltas", packet(0, 2, 1, "4002 0400 ff00 0002", padded=True), (1024, 768)),
    ("nothing at all", packet(3, 2, 1, "0002 0002", padded=True), (None, None)),
]


@pytest.mark.parametrize(("name", "octets", "arrivals"), BY_HAND, ids=[one[0] for one in BY_HAND])
def test_what_the_draft_says(name: str, octets: bytes, arrivals: tuple[int | None, ...]) -> None:
    read = parse_feedback(octets)
    assert (read.packets, read.arrivals) == (len(arrivals), received(arrivals))
    assert (read.sender_ssrc, read.media_ssrc, read.reference, read.reference_ticks, read.count) == (1, 2, 1, 256, 9)


def received(ticks: Sequence[int | None]) -> tuple[tuple[int, int], ...]:
    """As feedback tells it; None: it did not arrive."""
    return tuple((place, one) for place, one in enumerate(ticks) if one is not None)


@st.composite
def feedbacks(draw: st.DrawFn) -> TransportFeedback:
    gaps = st.one_of(st.none(), st.integers(-200, 600), st.integers(-30000, 30000), st.just(1))
    ticks, arrivals = 0, []
    for gap in draw(st.lists(gaps, min_size=1, max_size=120)):
        ticks += gap or 0
        arrivals.append(None if gap is None else ticks)
    return TransportFeedback(
        sender_ssrc=draw(st.integers(0, 2**32 - 1)),
        media_ssrc=draw(st.integers(0, 2**32 - 1)),
        base=draw(st.integers(0, 0xFFFF)),
        packets=len(arrivals),
        reference=draw(st.integers(0, 2**24 - 1)),
        count=draw(st.integers(0, 255)),
        arrivals=received(arrivals),
    )


@given(feedbacks())
def test_what_is_written_is_read(feedback: TransportFeedback) -> None:
    octets = write_feedback(feedback)
    assert len(octets) % 4 == 0
    assert parse_feedback(octets) == feedback
    assert split_feedback(RECEIVER_REPORT + octets + RECEIVER_REPORT) == ([octets], RECEIVER_REPORT * 2)


def test_a_second_of_lost_packets_takes_two_octets() -> None:
    arrivals = ((0, 1), (4001, 2))
    octets = write_feedback(
        TransportFeedback(sender_ssrc=1, media_ssrc=2, base=0, packets=4002, reference=1, count=9, arrivals=arrivals)
    )
    assert len(octets) <= 36
    assert parse_feedback(octets).arrivals == arrivals


@given(st.binary(max_size=80))
@example(packet(0, 65535, 1, "3fff 3fff"))
@example(packet(0, 20, 1, "e000 0000"))
def test_hostile_octets_are_refused_or_read(octets: bytes) -> None:
    for data in (octets, packet(0, 5, 1, "2002 04 08")[:20] + octets[: len(octets) // 4 * 4]):
        try:
            read = parse_feedback(data)
        except FeedbackError:
            continue
        assert len(read.arrivals) <= min(read.packets, len(data))
        places = [place for place, _ in read.arrivals]
        assert places == sorted(set(places)) and all(0 <= place < read.packets for place in places)


@given(st.binary(max_size=80))
@example(b"\x8f\xcd")
@example(b"\x8f\xcd\xff\xff" + bytes(16))
def test_splitting_loses_nothing(octets: bytes) -> None:
    found, rest = split_feedback(octets)
    assert len(rest) + sum(map(len, found)) == len(octets)
    assert bool(found) or rest == octets


@pytest.mark.parametrize(
    "octets",
    [
        packet(0, 65535, 1, "3fff 3fff"),  # thousands that arrived, without any time
        packet(0, 3, 1, "2001 04 00"),  # fewer statuses than packets
        packet(0, 300, 1, "212c 04 04"),  # fewer deltas than packets
        packet(0, 1, 1, "6001 0000"),  # status 3 is reserved
        packet(0, 1, 1, "2001 04 00", padded=True),  # padding of no octets
        packet(0, 1, 1, "2001 04 ff", padded=True),  # padding that reaches into the head
        b"\x81" + packet(0, 2, 1, "2002 04 08")[1:],  # a NACK
        packet(0, 2, 1, "2002 04 08")[:-4],
        b"",
    ],
)
def test_what_is_no_feedback(octets: bytes) -> None:
    with pytest.raises(FeedbackError):
        parse_feedback(octets)
