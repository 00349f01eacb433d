"""Offers of real telephones, baresip 1.0.0 and Linphone 5.1.65, as they came (`tests/vectors/telephones`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipproto.negotiation import MediaCapabilities, NegotiationError, Negotiator
from sipproto.sdp import Codec, Direction, parse_sdp
from sipproto.tokens import SeededTokens
from tests.sim.network import local_transport

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "telephones"
WANTED = (("audio", Direction.SENDRECV),)
OURS = MediaCapabilities(
    audio=(
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
        Codec(payload_type=101, name="telephone-event", clock_rate=48000),
        Codec(payload_type=126, name="telephone-event", clock_rate=8000),
    )
)
# What a name of a file stands for: the codecs of our answer, and where digits can go with Opus
TAKEN = {
    "baresip-ice": ("96 0 101", 101),
    "linphone-ice": ("96 0 99 101", 99),
    "linphone-capneg": ("96 0 99 101", 99),  # what it would rather have (RFC 5939) is not asked for
}
REFUSED = {
    "baresip-without-ice": "audio is offered without ICE",
    "baresip-without-rtcp-mux": "audio is offered without rtcp-mux",
    "baresip-sdes": "audio is offered without a certificate fingerprint",
    "baresip-rtp": "audio is offered as RTP/AVP, which is not DTLS-SRTP",
    "linphone-without-ice": "audio is offered without ICE",
    "linphone-without-rtcp-mux": "audio is offered without rtcp-mux",
    "linphone-sdes": "audio is offered without a certificate fingerprint",
    "linphone-rtp": "audio is offered as RTP/AVP, which is not DTLS-SRTP",
}


def read(name: str) -> str:
    return (VECTORS / f"{name}.sdp").read_bytes().decode()


def negotiator() -> Negotiator:
    return Negotiator(OURS, SeededTokens(1))


def accepted(offer: str) -> Negotiator:
    ours = negotiator()
    ours.receive_offer(offer, WANTED)
    for slot in ours.missing_slots():
        ours.add_transport(slot, local_transport(slot))
    return ours


def test_every_vector_is_named() -> None:
    assert {file.stem for file in VECTORS.glob("*.sdp")} == TAKEN.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    answer, session = accepted(read(name)).create_answer()
    (line,) = session.lines
    formats, digits = TAKEN[name]
    assert answer.media[0].formats == tuple(formats.split())
    assert answer.media[0].protocol == parse_sdp(read(name)).media[0].protocol
    assert line.codec.name == "opus"
    assert (line.telephone_event and line.telephone_event.payload_type) == digits
    assert "tcap" not in answer.text and "acfg" not in answer.text
    (pair,) = session.transports
    assert pair.dtls_client and not pair.ice_controlling
    assert len(pair.remote.candidates) >= 2


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """With a reason that names what is missing; nothing is begun."""
    ours = negotiator()
    with pytest.raises(NegotiationError) as refused:
        ours.receive_offer(read(name), WANTED)
    assert refused.value.detail == REFUSED[name]
    assert refused.value.status_hint == 488
    assert ours.missing_slots() == ()


@pytest.mark.parametrize("first", ["linphone-rtp", "baresip-sdes", "baresip-without-ice"])
def test_of_two_ways_for_the_same_sound_the_possible_one_is_taken(first: str) -> None:
    """Some offer each profile as a line of its own: the wish for one audio line goes to the first that can be taken."""
    sdp = parse_sdp(read(first))
    theirs = parse_sdp(read("linphone-ice"))
    head = "\n".join(line for line in sdp.session.lines if not line.startswith(("a=ice-", "a=fingerprint", "a=setup")))
    head += "\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuvwx" if first != "baresip-without-ice" else ""
    more = "".join(f"{line}\n" for line in theirs.session.lines if line.startswith("a=ice-"))
    lines = ["\n".join(one.section.lines) for one in (sdp.media[0], theirs.media[0])]
    ours = accepted(f"{head}\n{lines[0]}\n{lines[1]}\n{more}")
    answer, session = ours.create_answer()
    assert [media.port == 0 for media in answer.media] == [True, False]
    assert [line.index for line in session.lines] == [1]


def test_an_answer_says_what_is_missing_too() -> None:
    theirs = accepted(read("baresip-ice")).create_answer()[0].text
    for left_out, said in (
        ("a=rtcp-mux", "without rtcp-mux"),
        ("a=ice-pwd", "without ICE"),
        ("a=fingerprint", "without a certificate fingerprint"),
        ("a=rtpmap:96 ", None),  # PCMU is left
    ):
        ours = negotiator()
        ours.add_line("audio")
        ours.add_transport(0, local_transport(0))
        ours.create_offer()
        answer = "".join(f"{line}\n" for line in theirs.splitlines() if not line.startswith(left_out))
        if said is None:
            assert ours.receive_answer(answer).lines[0].codec.name == "PCMU"
        else:
            with pytest.raises(NegotiationError) as unusable:
                ours.receive_answer(answer)
            assert unusable.value.detail == f"audio is answered {said}"
