"""BUNDLE groups: several of them, lines that leave theirs, and what is wrong about them (RFC 9143)."""

from __future__ import annotations

import re

import pytest

from sipproto.negotiation import NegotiatedSession, NegotiationError, Negotiator, SignalingState
from sipproto.sdp import Direction, bundle_groups, parse_sdp
from tests.negotiation.test_odd_peers import HEAD, answer, audio, end, mids, ports, transport, video
from tests.sim.network import local_transport

FOUR = tuple((kind, Direction.SENDRECV) for kind in ("audio", "video", "audio", "video"))
TWO_GROUPS = (
    f"{HEAD}a=group:BUNDLE 0 1\na=group:BUNDLE 2 3\n{audio()}{video()}"
    f"{audio('2', more=transport('ijkl'))}{video('3', more=transport('mnop'))}"
)


def take(who: Negotiator, offer: str) -> tuple[str, NegotiatedSession]:
    who.receive_offer(offer, FOUR)
    return given(who)


def given(who: Negotiator) -> tuple[str, NegotiatedSession]:
    open_(who)
    description, session = who.create_answer()
    return description.text, session


def open_(who: Negotiator, salt: int = 0) -> None:
    for slot in who.missing_slots():
        who.add_transport(slot, local_transport(slot, salt))


def offer(who: Negotiator) -> str:
    open_(who)
    return who.create_offer().text


def groups(text: str) -> list[list[str]]:
    return bundle_groups(parse_sdp(text))


def test_each_group_of_an_offer_is_answered() -> None:
    """RFC 9143 5, 7.3: each has a transport of its own."""
    text, session = take(end(), TWO_GROUPS)
    assert groups(text) == [["0", "1"], ["2", "3"]]
    assert [line.slot for line in session.lines] == [0, 0, 2, 2]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["abcd", "ijkl"]
    shown = [media.attribute("ice-ufrag") for media in parse_sdp(text).media]
    assert shown[0] == shown[1] != shown[2] == shown[3]


def test_our_offers_keep_the_groups() -> None:
    """A line is not moved from one group to another (RFC 9143 7.5.2); a new one comes to the first."""
    who = end()
    take(who, TWO_GROUPS)
    new = who.add_line("audio")
    text = offer(who)
    assert groups(text) == [["0", "1", new], ["2", "3"]]
    reply = TWO_GROUPS.replace("BUNDLE 0 1", f"BUNDLE 0 1 {new}") + audio(new, more="")
    session = who.receive_answer(reply)
    assert [line.slot for line in session.lines] == [0, 0, 2, 2, 0]
    who.remove_line("0")
    assert groups(offer(who)) == [["1", new], ["2", "3"]]


def test_two_ends_with_two_groups() -> None:
    ours, theirs = end(), end()
    for kind, _ in FOUR:
        theirs.add_line(kind)
    open_(theirs, salt=1)
    split = theirs.create_offer().text.replace("BUNDLE 0 1 2 3", "BUNDLE 0 1\r\na=group:BUNDLE 2 3")
    text, session = take(ours, split)
    for one in (theirs.receive_answer(text), session):
        assert [line.slot for line in one.lines] == [0, 0, 2, 2]
        assert len(one.transports) == 2
    again = offer(theirs)
    assert groups(again) == [["0", "1"], ["2", "3"]]
    ours.receive_offer(again)
    assert ours.missing_slots() == () and ours.restart_slots() == ()
    assert groups(given(ours)[0]) == [["0", "1"], ["2", "3"]]


def test_a_group_of_which_nothing_is_wanted() -> None:
    who = end()
    who.receive_offer(TWO_GROUPS, FOUR[:2])
    text, session = given(who)
    assert groups(text) == [["0", "1"]]
    assert ports(text)[2:] == [0, 0]
    assert len(session.transports) == 1


@pytest.mark.parametrize("second", ["1 2", "2 0"])
def test_a_line_in_two_groups(second: str) -> None:
    """RFC 9143 5: it cannot be known what carries it."""
    who = end()
    offered = f"{HEAD}a=group:BUNDLE 0 1\na=group:BUNDLE {second}\n{audio()}{video()}{audio('2')}"
    with pytest.raises(NegotiationError, match="two BUNDLE groups"):
        who.receive_offer(offered, FOUR)
    assert who.state is SignalingState.STABLE
    take(who, TWO_GROUPS)  # nothing has changed


def test_a_name_that_a_group_repeats_or_makes_up() -> None:
    text, session = answer(end(), f"{HEAD}a=group:BUNDLE 0 0 x 1 0\n{audio()}{video()}")
    assert groups(text) == [["0", "1"]]
    assert len(session.transports) == 1


# -- lines that leave their group --------------------------------------------------------------------------------------

BUNDLED = f"{HEAD}a=group:BUNDLE 0 1\n{audio()}{video(more='')}"


def test_a_line_that_leaves_gets_a_transport_of_its_own() -> None:
    """RFC 9143 7.5.2: it has another address then. Sent to that of the others, its media would be lost."""
    who = end()
    first, _ = answer(who, BUNDLED)
    text, session = answer(who, f"{HEAD}a=group:BUNDLE 0\n{audio()}{video()}")
    assert groups(text) == [["0"]]
    assert [line.slot for line in session.lines] == [0, 1]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["abcd", "efgh"]
    before, after = ([m.attribute("ice-ufrag") for m in parse_sdp(each).media] for each in (first, text))
    assert before[0] == before[1] == after[0] != after[1]  # no restart for those that stay


def test_who_stays_keeps_the_transport_and_not_who_comes_first() -> None:
    who = end()
    first, _ = answer(who, BUNDLED)
    text, session = answer(who, f"{HEAD}{audio(more=transport('wxyz'))}{video(more=transport())}")
    assert [line.slot for line in session.lines] == [1, 0]
    before, after = ([m.attribute("ice-ufrag") for m in parse_sdp(each).media] for each in (first, text))
    assert after[1] == before[1] != after[0]


def test_a_line_comes_back_into_the_group() -> None:
    who = end()
    answer(who, BUNDLED)
    answer(who, f"{HEAD}{audio()}{video()}")
    text, session = answer(who, BUNDLED)
    assert groups(text) == [["0", "1"]]
    assert len(session.transports) == 1


def test_a_group_that_is_only_forgotten() -> None:
    """The lines name one transport, the one that they share, as before."""
    who = end()
    answer(who, BUNDLED)
    who.receive_offer(f"{HEAD}{audio()}{video(more=transport())}")
    assert who.missing_slots() == ()
    text, session = given(who)
    assert groups(text) == [] and 0 not in ports(text)
    assert len(session.transports) == 1
    who.create_offer()
    session = who.receive_answer(f"{HEAD}{audio()}{video(more=transport())}")
    assert len(session.transports) == 1


def test_an_answer_does_not_take_a_line_out() -> None:
    """RFC 9143 7.3.2; our line has no other address."""
    who = end()
    answer(who, BUNDLED)
    who.create_offer()
    with pytest.raises(NegotiationError, match="takes a line out"):
        who.receive_answer(f"{HEAD}{audio()}{video()}")
    who.rollback()
    answer(who, BUNDLED)


def test_an_answer_bundles_nothing_that_was_not_offered_so() -> None:
    who = end()
    answer(who, f"{HEAD}{audio()}{video()}")
    text = who.create_offer().text
    assert groups(text) == []
    session = who.receive_answer(f"{HEAD}a=group:BUNDLE 0 1\n{audio()}{video()}")
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["abcd", "efgh"]
    assert groups(who.create_offer().text) == []


def test_an_answer_names_each_line_once() -> None:
    who = end()
    for kind, _ in FOUR[:2]:
        who.add_line(kind)
    offer(who)
    with pytest.raises(NegotiationError, match="the same mid"):
        who.receive_answer(HEAD + audio("0") + video("0"))


# -- lines that come back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_us", [False, True])
def test_a_line_that_has_ended_may_begin_anew_under_its_name(by_us: bool) -> None:
    """RFC 3264 8.2 lets an offerer use the place again; not all peers take another mid for it as browsers do."""
    who = end()
    _, session = answer(who, HEAD + audio() + video())
    if by_us:
        who.remove_line("1")
        offer(who)
        who.receive_answer(HEAD + audio() + video(port=0))
    else:
        who.receive_offer(HEAD + audio() + video(port=0))
        given(who)
    who.receive_offer(HEAD + audio() + video(), (), Direction.RECVONLY)
    text, again = given(who)
    assert 0 not in ports(text) and mids(text) == ["0", "1"]
    assert again.lines[1].direction is Direction.RECVONLY
    assert again.lines[1].ssrc != session.lines[1].ssrc  # RFC 3550 8: another stream


def test_a_line_without_a_codec_in_common_may_come_back_with_one() -> None:
    who = end()
    text, _ = answer(who, HEAD + audio() + video().replace("VP8", "H261"))
    assert ports(text)[1] == 0
    text, session = answer(who, HEAD + audio() + video())
    assert [line.kind for line in session.lines] == ["audio", "video"]
    assert not re.search(r"m=video 0 ", text)
