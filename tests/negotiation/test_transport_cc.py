"""Transport-wide congestion control in offer and answer: the header extension and the feedback, on both kinds of lines."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sipproto.negotiation import TRANSPORT_CC, MediaCapabilities, NegotiatedSession
from sipproto.sdp import Codec
from tests.negotiation.test_negotiator import BOTH, answer, end, offer

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
WITH = MediaCapabilities(
    audio=(Codec(payload_type=111, name="opus", clock_rate=48000, channels=2, feedback=("transport-cc",)),),
    video=(
        Codec(payload_type=96, name="VP8", clock_rate=90000, feedback=("nack", "goog-remb", "transport-cc")),
        Codec(payload_type=97, name="rtx", clock_rate=90000, parameters="apt=96"),
    ),
    audio_extensions=(MID, TRANSPORT_CC),
    video_extensions=(MID, TRANSPORT_CC),
)
WITHOUT = MediaCapabilities(
    audio=(Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),),
    video=(Codec(payload_type=96, name="VP8", clock_rate=90000, feedback=("nack", "goog-remb")),),
    audio_extensions=(MID,),
    video_extensions=(MID,),
)


def agreed(
    ours: MediaCapabilities, theirs: MediaCapabilities, change: Callable[[str], str] = lambda sdp: sdp
) -> tuple[NegotiatedSession, NegotiatedSession]:
    a, b = end(1, ours), end(2, theirs)
    for kind in ("audio", "video"):
        a.add_line(kind)
    b.receive_offer(change(offer(a)), BOTH)
    text, session = answer(b)
    return a.receive_answer(change(text)), session


def uses(session: NegotiatedSession) -> list[bool]:
    return [line.transport_cc for line in session.lines]


def test_both_lines_of_both_ends_use_it_with_one_id() -> None:
    sessions = agreed(WITH, WITH)
    assert [uses(session) for session in sessions] == [[True, True]] * 2
    assert len({dict(line.extensions)[TRANSPORT_CC] for session in sessions for line in session.lines}) == 1


@pytest.mark.parametrize(("ours", "theirs"), [(WITH, WITHOUT), (WITHOUT, WITH), (WITHOUT, WITHOUT)])
def test_it_takes_two(ours: MediaCapabilities, theirs: MediaCapabilities) -> None:
    assert [uses(session) for session in agreed(ours, theirs)] == [[False, False]] * 2


@pytest.mark.parametrize("left_out", [r"a=extmap:\d+ \S+transport-wide-cc\S+\r\n", r"a=rtcp-fb:\d+ transport-cc\r\n"])
def test_the_extension_without_the_feedback_is_of_no_use_nor_the_other_way_round(left_out: str) -> None:
    assert uses(agreed(WITH, WITH, lambda sdp: re.sub(left_out, "", sdp))[0]) == [False, False]


def test_feedback_for_all_formats_is_understood() -> None:
    sessions = agreed(WITH, WITH, lambda sdp: re.sub(r"a=rtcp-fb:\d+ transport-cc", "a=rtcp-fb:* transport-cc", sdp))
    assert [uses(session) for session in sessions] == [[True, True]] * 2
