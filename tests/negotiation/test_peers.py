"""Descriptions of Janus 1.1.2 and of webrtcbin of GStreamer 1.22, as the tests in tests/interop got them."""

from __future__ import annotations

import re
from pathlib import Path

from sipproto.negotiation import NegotiatedSession, Negotiator
from sipproto.sdp import Direction
from sipproto_aiortc._engine import CAPABILITIES
from tests.negotiation.test_negotiator import BOTH, answer, end, offer

RECEIVE = (("audio", Direction.RECVONLY), ("video", Direction.RECVONLY))


def told(name: str) -> str:
    return (Path(__file__).parent / "peers" / f"{name}.sdp").read_bytes().decode()


def taken(who: Negotiator, name: str) -> tuple[str, NegotiatedSession]:
    who.receive_offer(told(name), RECEIVE, Direction.RECVONLY)
    return answer(who)


def test_room_of_janus() -> None:
    """A line that is empty for a while is inactive, keeps its mid and takes the next stream."""
    who = end(1, CAPABILITIES)
    text, session = taken(who, "janus-room-offer")
    assert "playout-delay" not in text, "what is not ours to do is not agreed on"
    assert [line.transport_cc for line in session.lines] == [False, True, True]
    assert [line.remote_ssrcs for line in session.lines] == ssrcs("janus-room-offer")
    assert [line.direction for line in session.lines] == [Direction.RECVONLY] * 3
    _, session = taken(who, "janus-room-offer-less")
    assert [line.direction for line in session.lines] == [Direction.RECVONLY, Direction.INACTIVE, Direction.RECVONLY]
    assert not session.remote_hold
    _, session = taken(who, "janus-room-offer-again")
    assert [line.mid for line in session.lines] == ["0", "1", "2"]
    assert [line.direction for line in session.lines] == [Direction.RECVONLY] * 3
    assert [line.remote_ssrcs for line in session.lines] == ssrcs("janus-room-offer-again")


def ssrcs(name: str) -> list[tuple[int, ...]]:
    """The first of each line: the second is that of the repetitions."""
    media = told(name).split("m=")[1:]
    return [tuple(int(number) for number in re.findall(r"a=ssrc:(\d+)", one)[:1]) for one in media]


def test_line_that_janus_uses_again() -> None:
    """It announces the SSRC 0 and does so only as that which is repeated: then any is taken."""
    who = end(1, CAPABILITIES)
    for kind in ("audio", "video"):
        who.add_line(kind)
    offer(who)
    text = told("janus-echo-answer").replace("a=mid:2", "a=mid:1").replace("BUNDLE 0 2", "BUNDLE 0 1")
    session = who.receive_answer(text)
    assert "a=ssrc-group:FID 0 " in text
    assert [line.kind for line in session.lines] == ["audio", "video"]
    assert session.lines[1].remote_ssrcs == ()
    assert [codec.name for codec in session.lines[1].receive] == ["VP8", "rtx"]


def test_redundancy_of_webrtcbin_is_left_out() -> None:
    """red and ulpfec, which we have not, with the rtx of red; a codec, its rtx and a line that is only in the bundle stay."""
    who = end(1, CAPABILITIES)
    who.receive_offer(told("webrtcbin-offer"), BOTH)
    text, session = answer(who)
    assert "OPUS/48000\r\n" in told("webrtcbin-offer"), "without the channels that RFC 7587 asks for"
    assert "a=rtpmap:111 opus/48000/2\r\n" in text
    assert not re.search("red/|ulpfec/", text)
    audio, video = session.lines
    assert not audio.transport_cc and not video.transport_cc, "it has no header extension for it"
    assert (audio.direction, [codec.name for codec in audio.send]) == (Direction.SENDONLY, ["OPUS"])
    rtx = next(codec for codec in video.receive if codec.is_rtx)
    assert [codec.name for codec in video.receive] == ["VP8", "rtx"] and rtx.apt == video.codec.payload_type
    assert "m=video 0" in told("webrtcbin-offer") and "m=video 0" not in text


def test_answer_of_webrtcbin_without_the_profile() -> None:
    """The payload type, which is ours, says which format of ours it is."""
    who = end(1, CAPABILITIES)
    who.add_line("video")
    text = offer(who)
    number = next(int(n) for n in re.findall(r"a=rtpmap:(\d+) H264", text))
    answered = told("webrtcbin-answer").replace("114", str(number))
    assert "profile-level-id" not in answered
    (line,) = who.receive_answer(answered).lines
    assert [codec.payload_type for codec in line.receive] == [codec.payload_type for codec in line.send] == [number]
    assert line.receive[0].parameter("profile-level-id") == "42e01f"
