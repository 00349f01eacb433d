"""Descriptions that are odd, or wrong in one line: what of them is taken, and how it is answered."""

from __future__ import annotations

import pytest

from sipproto.negotiation import NegotiatedSession, NegotiationError, Negotiator
from sipproto.sdp import Direction, bundle_groups, parse_sdp
from sipproto.tokens import SeededTokens
from tests.sim.network import CAPABILITIES, local_transport

HEAD = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"
WANTED = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


def transport(ufrag: str = "abcd") -> str:
    return f"a=ice-ufrag:{ufrag}\na=ice-pwd:abcdefghijklmnopqrstuvwx\na=fingerprint:sha-256 AA:BB\n"


def audio(mid: str | None = "0", *, port: int = 9, more: str = transport(), protocol: str = "UDP/TLS/RTP/SAVPF") -> str:
    name = "" if mid is None else f"a=mid:{mid}\n"
    return f"m=audio {port} {protocol} 0\n{name}a=rtcp-mux\n{more}"


def video(mid: str | None = "1", *, port: int = 9, more: str = transport("efgh")) -> str:
    name = "" if mid is None else f"a=mid:{mid}\n"
    return f"m=video {port} UDP/TLS/RTP/SAVPF 96\n{name}a=rtcp-mux\na=rtpmap:96 VP8/90000\n{more}"


def end() -> Negotiator:
    return Negotiator(CAPABILITIES, SeededTokens(1))


def answer(who: Negotiator, offer: str) -> tuple[str, NegotiatedSession]:
    who.receive_offer(offer, WANTED)
    for slot in who.missing_slots():
        who.add_transport(slot, local_transport(slot))
    for slot in who.restart_slots():
        who.add_transport(slot, local_transport(slot, salt=1))
    description, session = who.create_answer()
    return description.text, session


def ports(text: str) -> list[int]:
    return [media.port for media in parse_sdp(text).media]


def mids(text: str) -> list[str | None]:
    return [media.attribute("mid") for media in parse_sdp(text).media]


def test_an_answer_bundles_no_more_than_the_offer() -> None:
    text, session = answer(end(), f"{HEAD}a=group:BUNDLE 0\n{audio()}{video()}")
    assert bundle_groups(parse_sdp(text)) == [["0"]]
    assert [line.slot for line in session.lines] == [0, 1]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["abcd", "efgh"]


def test_the_group_says_which_line_carries_the_others() -> None:
    text, session = answer(end(), f"{HEAD}a=group:BUNDLE 1 0\n{audio()}{video()}")
    assert bundle_groups(parse_sdp(text)) == [["1", "0"]]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["efgh"]


def test_in_an_answer_too() -> None:
    who = end()
    for kind, _ in WANTED:
        who.add_line(kind)
    for slot in who.missing_slots():
        who.add_transport(slot, local_transport(slot))
    who.create_offer()
    session = who.receive_answer(f"{HEAD}a=group:BUNDLE 1 0\n{audio()}{video()}")
    assert [(pair.slot, pair.remote.ice_ufrag) for pair in session.transports] == [(1, "efgh")]
    assert {line.slot for line in session.lines} == {1}


@pytest.mark.parametrize("group", ["", "a=group:BUNDLE 0\n"])
def test_bundle_only_without_a_bundle(group: str) -> None:
    text, session = answer(end(), HEAD + group + audio() + video(port=0, more=f"a=bundle-only\n{transport()}"))
    assert ports(text)[1] == 0
    assert [line.mid for line in session.lines] == ["0"]


def test_bundle_only_does_not_carry_a_bundle() -> None:
    """What stands on its own carries the group, also when it comes later in it."""
    offer = f"{HEAD}a=group:BUNDLE 0 1\n{audio(port=0, more='a=bundle-only' + chr(10))}{video()}"
    text, session = answer(end(), offer)
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["efgh"]
    assert [line.mid for line in session.lines] == ["0", "1"]
    assert 0 not in ports(text)


@pytest.mark.parametrize("mid", ["0", "1"])
def test_two_lines_of_one_name(mid: str) -> None:
    who = end()
    with pytest.raises(NegotiationError, match="the same mid"):
        who.receive_offer(HEAD + audio(mid) + video(mid), WANTED)
    answer(who, HEAD + audio() + video())  # nothing has changed


def test_a_name_that_is_made_up_is_no_other_s() -> None:
    text, session = answer(end(), HEAD + audio("1") + video(None))
    assert len({line.mid for line in session.lines}) == 2
    assert mids(text)[0] == "1"


def test_lines_are_named_as_the_peer_does_now() -> None:
    """A server may connect us with another agent in mid-call, which names the same lines otherwise."""
    who = end()
    answer(who, f"{HEAD}a=group:BUNDLE 0 1\n{audio()}{video(more='')}")
    offer = f"{HEAD}a=group:BUNDLE a v\n{audio('a', more=transport('wxyz'))}{video('v', more='')}"
    text, session = answer(who, offer)
    assert mids(text) == ["a", "v"]
    assert bundle_groups(parse_sdp(text)) == [["a", "v"]]
    assert [line.mid for line in session.lines] == ["a", "v"]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["wxyz"]


@pytest.mark.parametrize(
    "more",
    [
        "",
        transport().replace("sha-256", "sha-1"),
        transport("ab\udcffcd"),
        transport("ab cd"),
        transport("x" * 257),
        transport().replace("ice-pwd", "ice-password"),
    ],
)
def test_a_line_that_nothing_can_carry(more: str) -> None:
    """It alone is refused; where it is the only one the offer is."""
    text, session = answer(end(), HEAD + audio() + video(more=more))
    assert ports(text)[1] == 0
    assert [line.kind for line in session.lines] == ["audio"]
    with pytest.raises(NegotiationError, match=r"ICE|certificate fingerprint"):
        end().receive_offer(HEAD + video(more=more), WANTED)


def test_a_hash_that_proves_nothing_beside_one_that_does() -> None:
    _, session = answer(end(), HEAD + audio(more=f"a=fingerprint:SHA-1 CC\n{transport()}"))
    assert session.transports[0].remote.fingerprints == (("sha-256", "AA:BB"),)


@pytest.mark.parametrize(
    "protocol",
    [
        "UDP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "RTP/SAVPF",
        "RTP/SAVP",
        "RTP/AVPF",
        "RTP/AVP",
    ],
)
def test_what_counts_is_the_fingerprint(protocol: str) -> None:
    """RFC 9429 5.1.2; the answer names it in the same way."""
    text, session = answer(end(), HEAD + audio(protocol=protocol))
    assert f" {protocol} 0\r\n" in text
    assert len(session.lines) == 1
    with pytest.raises(NegotiationError):
        end().receive_offer(HEAD + audio(protocol=protocol, more=""), WANTED)


def test_a_place_that_is_over_may_be_of_another_kind() -> None:
    who = end()
    fax = "m=image 9 udptl t38\n"
    text, _ = answer(who, HEAD + audio(None) + fax)
    assert ports(text)[1] == 0
    text, session = answer(who, HEAD + audio(None) + video(None))
    assert [line.kind for line in session.lines] == ["audio", "video"]
    assert 0 not in ports(text)


def test_too_many_lines() -> None:
    with pytest.raises(NegotiationError, match="33 media lines, more than 32"):
        end().receive_offer(HEAD + "".join(audio(str(number)) for number in range(33)), WANTED)
