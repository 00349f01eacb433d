"""Lines that come and go in a session, and the codecs and payload types that they have."""

from __future__ import annotations

import itertools
import re

import pytest
from attrs import evolve

from sipproto.errors import LocalProtocolError
from sipproto.negotiation import CodecPreferences, MediaCapabilities, NegotiationError, Negotiator
from sipproto.sdp import Codec, Direction, codecs_of, parse_sdp
from tests.negotiation.test_negotiator import (
    AUDIO,
    BOTH,
    HEAD,
    answer,
    answered,
    end,
    exchange,
    offer,
    pair,
    version,
)

RICH = MediaCapabilities(
    audio=(
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=9, name="G722", clock_rate=8000),
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
        Codec(payload_type=101, name="telephone-event", clock_rate=48000, parameters="0-16"),
        Codec(payload_type=126, name="telephone-event", clock_rate=8000, parameters="0-16"),
    ),
    video=(
        Codec(payload_type=96, name="VP8", clock_rate=90000, feedback=("nack pli", "goog-remb")),
        Codec(payload_type=97, name="rtx", clock_rate=90000, parameters="apt=96"),
        Codec(payload_type=98, name="VP9", clock_rate=90000, feedback=("nack pli",)),
        Codec(payload_type=99, name="rtx", clock_rate=90000, parameters="apt=98"),
    ),
)


def rich(*kinds: str) -> tuple[Negotiator, Negotiator]:
    a, b = end(1, RICH), end(2, RICH)
    for kind in kinds:
        a.add_line(kind)
    exchange(a, b)
    return a, b


def codecs(text: str, index: int = 0) -> dict[int, str]:
    return {codec.payload_type: codec.name for codec in codecs_of(parse_sdp(text).media[index])}


def ports(text: str) -> list[bool]:
    return [media.port != 0 for media in parse_sdp(text).media]


def take(who: Negotiator, text: str, otherwise: Direction = Direction.RECVONLY) -> str:
    who.receive_offer(text, (), otherwise)
    return answer(who)[0]


# -- lines -----------------------------------------------------------------------------------------------------------


def test_a_line_comes_goes_and_its_place_is_used_again() -> None:
    a, b = pair("audio", "video")
    mids = []
    for _ in range(40):  # more often than a session may have lines
        mids.append(a.add_line("video", Direction.SENDONLY))
        ours = a.receive_answer(take(b, offer(a)))
        assert [(line.index, line.direction) for line in ours.lines][2:] == [(2, Direction.SENDONLY)]
        assert [line.direction for line in b.agreed.lines if line.mid == mids[-1]] == [Direction.RECVONLY]  # type: ignore[union-attr]
        a.remove_line(mids[-1])
        text = offer(a)
        assert ports(text) == [True, True, False]
        assert "a=group:BUNDLE 0 1\r\n" in text
        ours = a.receive_answer(take(b, text))
        assert [line.index for line in ours.lines] == [0, 1]
    assert len(set(mids)) == 40


def test_a_place_is_used_again_by_a_line_that_may_only_be_bundled() -> None:
    """Firefox writes port 0 and bundle-only for every line that it adds to a bundle."""
    a, b = pair("audio", "video")
    mid = a.add_line("video", Direction.SENDONLY)
    a.receive_answer(take(b, offer(a)))
    a.remove_line(mid)
    a.receive_answer(take(b, offer(a)))
    again = a.add_line("video", Direction.SENDONLY)
    before, start, line = offer(a).rpartition("m=video ")
    reply = take(b, f"{before}{start}0 {line.partition(' ')[2]}a=bundle-only\r\n")
    assert ports(reply) == [True, True, True]
    assert f"a=group:BUNDLE 0 1 {again}\r\n" in reply


def test_a_removal_is_taken_back_with_a_rollback() -> None:
    a, _ = pair("audio", "video")
    before = a.agreed
    a.remove_line("1")
    assert ports(offer(a)) == [True, False]
    a.rollback()
    assert a.agreed == before
    assert ports(offer(a)) == [True, True]


def test_the_first_line_of_a_bundle_may_go() -> None:
    a, b = pair("audio", "video")
    a.remove_line("0")
    ours = a.receive_answer(take(b, offer(a)))
    assert [(line.kind, line.slot) for line in ours.lines] == [("video", 0)]
    theirs = offer(b)
    assert ports(theirs) == [False, True]
    a.receive_offer(theirs)
    b.receive_answer(answer(a)[0])
    assert b.agreed is not None and [line.kind for line in b.agreed.lines] == ["video"]


def test_directions_change() -> None:
    a, b = pair("audio", "video")
    a.change_line("1", Direction.INACTIVE)
    assert a.receive_answer(take(b, offer(a))).lines[1].direction is Direction.INACTIVE
    a.change_line("1", Direction.RECVONLY)
    assert a.receive_answer(take(b, offer(a))).lines[1].direction is Direction.RECVONLY


@pytest.mark.parametrize("mid", ["2", "", "x"])
def test_a_line_that_is_not_there(mid: str) -> None:
    a, _ = pair("audio", "video")
    with pytest.raises(LocalProtocolError, match="mid"):
        a.remove_line(mid)
    with pytest.raises(LocalProtocolError, match="mid"):
        a.change_line(mid, Direction.SENDRECV)


def test_nothing_is_left() -> None:
    a, b = pair("audio")
    a.remove_line("0")
    with pytest.raises(LocalProtocolError, match="no media line"):
        a.create_offer()
    a.withdraw()
    exchange(a, b)


def test_the_33rd_line() -> None:
    a = end()
    for _ in range(32):
        a.add_line("audio")
    with pytest.raises(LocalProtocolError, match="at most 32"):
        a.add_line("audio")


def test_what_we_refused_stays_refused() -> None:
    """A peer that refreshes its session offers again what we did not want, and must not get it by that."""
    a, b = end(1), end(2)
    a.add_line("audio")
    a.add_line("video")
    first = offer(a)
    b.receive_offer(first, [("audio", Direction.SENDRECV)])
    answer(b)
    assert ports(take(b, first)) == [True, False]
    again = first.replace("a=mid:1", "a=mid:7").replace("BUNDLE 0 1", "BUNDLE 0 7")  # another line in its place
    assert ports(take(b, again)) == [True, True]


def test_without_mids_the_peer_may_begin_its_line_anew() -> None:
    video = AUDIO.replace("m=audio", "m=video").replace("SAVPF 0", "SAVPF 96") + "a=rtpmap:96 VP8/90000\n"
    text = (HEAD + AUDIO + video).replace("a=mid:0\n", "").replace("\n", "\r\n")
    b = end()
    b.receive_offer(text, BOTH)
    answer(b)
    off = text.replace("m=video 9", "m=video 0")
    assert ports(take(b, off)) == [True, False]
    assert ports(take(b, text)) == [True, True]


def test_new_lines_of_the_peer_may_do_what_the_caller_says() -> None:
    a, b = pair("audio")
    a.add_line("video")
    text = offer(a)
    b.receive_offer(text)
    assert ports(answer(b)[0]) == [True, False]
    c, d = pair("audio")
    c.add_line("video")
    reply = take(d, offer(c))
    assert "a=recvonly" in reply


def test_streams_of_the_peer() -> None:
    a, b = pair("audio", "video")
    assert a.agreed is not None and b.agreed is not None
    assert {line.stream_id for line in a.agreed.lines} == {s for line in b.agreed.lines for s in line.remote_streams}


# -- codecs ----------------------------------------------------------------------------------------------------------


def test_codecs_change_in_a_session_and_keep_their_payload_types() -> None:
    a, b = rich("audio", "video")
    first = a.agreed
    assert first is not None and first.lines[0].codec.name == "opus"
    a.preferences = CodecPreferences(prefer=("audio/pcmu", "VIDEO/VP9"), exclude=("audio/opus",))
    text = offer(a)
    assert codecs(text) == {0: "PCMU", 9: "G722", 101: "telephone-event", 126: "telephone-event"}
    assert list(codecs(text, 1)) == [98, 99, 96, 97]
    ours = a.receive_answer(take(b, text))
    assert [line.codec.name for line in ours.lines] == ["PCMU", "VP9"]
    a.preferences = CodecPreferences()  # what was left out comes back under its old number, behind what is in use
    assert list(codecs(offer(a)).items())[:3] == [(0, "PCMU"), (9, "G722"), (111, "opus")]


def test_preferences_in_an_answer() -> None:
    a, b = end(1, RICH), end(2, RICH)
    a.add_line("audio")
    b.preferences = CodecPreferences(prefer=("audio/G722",), exclude=("audio/PCMU",))
    b.receive_offer(offer(a), BOTH)
    text, theirs = answer(b)
    assert list(codecs(text).values())[:2] == ["G722", "opus"]
    assert theirs.lines[0].codec.name == "G722" == a.receive_answer(text).lines[0].codec.name


def test_everything_excluded() -> None:
    a = end(1, RICH)
    a.preferences = CodecPreferences(
        exclude=("audio/opus", "audio/G722", "audio/PCMU")
    )  # telephone-event alone is no call
    with pytest.raises(LocalProtocolError, match="excluded"):
        a.add_line("audio")
    caller = end(2, RICH)
    caller.add_line("audio")
    with pytest.raises(NegotiationError):
        a.receive_offer(offer(caller), BOTH)
    b, _ = rich("audio")
    with pytest.raises(LocalProtocolError, match="no codec is left"):
        b.preferences = a.preferences
    assert b.preferences == CodecPreferences()


def test_preferences_are_taken_back() -> None:
    a, _ = rich("audio")
    a.preferences = CodecPreferences(exclude=("audio/opus",))
    offer(a)
    a.rollback()
    assert 111 in codecs(offer(a))


def test_payload_types_of_the_peer_are_kept_in_our_offers() -> None:
    """As the one who was called we offer later with the peer's numbers, and ours give way (RFC 3264 8.3.2)."""
    text = HEAD + AUDIO.replace("SAVPF 0", "SAVPF 96 0") + "a=rtpmap:96 opus/48000/2\n"
    b = end(1, RICH)
    b.receive_offer(text.replace("\n", "\r\n"), BOTH)
    answer(b)
    b.add_line("video")
    again = offer(b)
    assert codecs(again)[96] == "opus"
    video = codecs(again, 1)
    assert 96 not in video and "VP8" in video.values()
    vp8 = next(number for number, name in video.items() if name == "VP8")
    assert f"apt={vp8}\r\n" in again


def test_an_answer_says_what_we_can() -> None:
    """The parameters of an answer are ours, not an echo; feedback is what both know (RFC 4585 4.2)."""
    text = HEAD + AUDIO.replace("m=audio", "m=video").replace("SAVPF 0", "SAVPF 100 101")
    text += "a=rtpmap:100 VP8/90000\na=rtpmap:101 rtx/90000\na=fmtp:101 apt=100\na=fmtp:100 max-fr=30\n"
    text += "a=rtcp-fb:100 nack pli\na=rtcp-fb:100 transport-cc\n"
    sdp, session = answered(text)
    assert "max-fr" not in sdp and "transport-cc" not in sdp and "a=rtcp-fb:100 nack pli" in sdp
    assert re.search(r"m=video \d+ UDP/TLS/RTP/SAVPF 100 101\r", sdp)
    assert "a=fmtp:101 apt=100" in sdp
    assert session.lines[0].send[0].parameters == "max-fr=30"


def test_telephone_event_goes_with_the_clock_of_the_codec() -> None:
    a, b = rich("audio")
    assert a.agreed is not None
    line = a.agreed.lines[0]
    assert line.telephone_event is not None and line.telephone_event.payload_type == 101
    a.preferences = CodecPreferences(prefer=("audio/PCMU",))
    line = a.receive_answer(take(b, offer(a))).lines[0]
    assert line.telephone_event is not None and line.telephone_event.clock_rate == 8000
    plain = evolve(line, send=tuple(codec for codec in line.send if codec.name == "PCMU"))
    assert plain.telephone_event is None
    fallback = Codec(payload_type=101, name="telephone-event", clock_rate=16000), *line.send
    wide = evolve(line, send=tuple(codec for codec in fallback if codec.name != "PCMU" and codec.clock_rate != 48000))
    assert wide.codec.name == "G722" and wide.telephone_event is not None and wide.telephone_event.clock_rate == 8000


# -- versions --------------------------------------------------------------------------------------------------------


def test_a_version_is_never_used_for_two_descriptions() -> None:
    a, b = pair("audio")
    seen: dict[int, str] = {}
    for step in range(6):
        if step % 2:
            a.hold = not a.hold
        text = offer(a)
        number = version(text)[1]
        assert seen.setdefault(number, text) == text
        if step % 3:
            a.rollback()  # refused with 488; the peer has seen it all the same
        else:
            a.receive_answer(take(b, text))
    assert len(seen) > 2


def test_payload_types_that_move_use_none_up() -> None:
    """A peer that gives its codecs other numbers with each offer does not bring us to the end of ours."""
    b = end(1, RICH)
    numbers = [*range(96, 128), *range(35, 64)]
    for rtx, vp8 in itertools.pairwise(numbers):  # what VP8 had before
        video = AUDIO.replace("m=audio", "m=video").replace("SAVPF 0", f"SAVPF {vp8} {rtx}")
        text = HEAD + video + f"a=rtpmap:{vp8} VP8/90000\na=rtpmap:{rtx} rtx/90000\na=fmtp:{rtx} apt={vp8}\n"
        b.receive_offer(text.replace("\n", "\r\n"), BOTH)
        answer(b)
    b.add_line("audio")
    again = offer(b)
    assert {"VP8", "VP9"} <= set(codecs(again).values()) and "opus" in codecs(again, 1).values()


# -- codecs that are only received -----------------------------------------------------------------------------------

HALF = evolve(RICH, receive_only=("vp9",))


def names(text: str, index: int = 0) -> list[str]:
    return [codec.name for codec in codecs_of(parse_sdp(text).media[index])]


@pytest.mark.parametrize("wanted", list(Direction))
def test_what_is_not_sent_with_is_offered_where_nothing_is_sent(wanted: Direction) -> None:
    a = end(1, HALF)
    a.add_line("video", wanted)
    assert names(offer(a)) == (["VP8", "rtx"] if wanted.sends else ["VP8", "rtx", "VP9", "rtx"])


@pytest.mark.parametrize("wanted", [Direction.SENDRECV, Direction.RECVONLY])
def test_what_is_not_sent_with_is_accepted_where_nothing_is_sent(wanted: Direction) -> None:
    a, b = end(1, RICH), end(2, HALF)
    a.preferences = CodecPreferences(prefer=("video/VP9",))
    a.add_line("video")
    b.receive_offer(offer(a), [("video", wanted)])
    text, ours = answer(b)
    assert names(text) == (["VP8", "rtx"] if wanted.sends else ["VP9", "rtx", "VP8", "rtx"])
    assert ours.lines[0].direction is wanted
    theirs = a.receive_answer(text)
    assert theirs.lines[0].codec.name == ("VP8" if wanted.sends else "VP9")


def test_a_line_that_begins_to_send_goes_on_with_what_it_can_send() -> None:
    a, b = end(1, HALF), end(2, RICH)
    b.preferences = CodecPreferences(prefer=("video/VP9",))
    mid = a.add_line("video", Direction.RECVONLY)
    exchange(a, b)
    assert b.agreed is not None and b.agreed.lines[0].codec.name == "VP9"
    for wanted, expected in ((Direction.SENDRECV, "VP8"), (Direction.RECVONLY, "VP9"), (Direction.SENDRECV, "VP8")):
        a.change_line(mid, wanted)
        text = offer(a)
        assert ("VP9" in names(text)) is not wanted.sends
        ours = a.receive_answer(take(b, text))
        assert ours.lines[0].direction is wanted
        assert b.agreed.lines[0].codec.name == expected
    again = take(a, offer(b))  # and when the peer asks
    assert "VP9" not in names(again)


def test_a_kind_of_which_nothing_can_be_sent_is_none() -> None:
    nothing = CodecPreferences(exclude=("video/VP8",))
    assert RICH.can("video", nothing) and HALF.can("video", CodecPreferences())
    assert not HALF.can("video", nothing)
    a, b = end(1, RICH), end(2, HALF)
    a.preferences = nothing
    a.add_line("video")
    text = offer(a)
    with pytest.raises(NegotiationError, match="without a codec in common"):
        b.receive_offer(text, [("video", Direction.SENDRECV)])
