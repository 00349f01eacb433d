"""ICE restarts: who has which credentials when, whoever asks, refuses, ignores or rolls back."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.errors import LocalProtocolError
from sipproto.negotiation import NegotiatedSession, NegotiationError, Negotiator, SignalingState
from sipproto.sdp import Direction, RemoteTransport, parse_sdp, transport_of
from tests.negotiation.test_negotiator import AUDIO, BOTH, HEAD, end
from tests.sim.network import local_transport

S = SignalingState
_salts = itertools.count(1)


def open_(who: Negotiator) -> None:
    for slot in (*who.missing_slots(), *who.restart_slots()):
        who.add_transport(slot, local_transport(slot, next(_salts)))


def offer(who: Negotiator) -> str:
    open_(who)
    return who.create_offer().text


def answer(who: Negotiator) -> tuple[str, NegotiatedSession]:
    open_(who)
    sdp, session = who.create_answer()
    return sdp.text, session


def exchange(a: Negotiator, b: Negotiator) -> tuple[NegotiatedSession, NegotiatedSession]:
    b.receive_offer(offer(a), BOTH)
    text, theirs = answer(b)
    return a.receive_answer(text), theirs


def pair(*kinds: str) -> tuple[Negotiator, Negotiator]:
    a, b = end(1), end(2)
    for kind in kinds:
        a.add_line(kind)
    exchange(a, b)
    return a, b


def unbundled(*kinds: str) -> tuple[Negotiator, Negotiator]:
    a, b = end(1), end(2)
    for kind in kinds:
        a.add_line(kind)
    b.receive_offer(without_bundle(offer(a)), BOTH)
    a.receive_answer(answer(b)[0])
    return a, b


def without_bundle(text: str) -> str:
    return re.sub(r"a=group:BUNDLE[^\r]*\r\n", "", text)


def credentials(text: str) -> list[tuple[str, str]]:
    """Of each line that is not rejected."""
    sdp = parse_sdp(text)
    found = [transport_of(sdp, media) for media in sdp.media if media.port]
    return [(transport.ice_ufrag, transport.ice_pwd) for transport in found if transport is not None]


def remote_of(session: NegotiatedSession, slot: int = 0) -> RemoteTransport:
    return next(pair.remote for pair in session.transports if pair.slot == slot)


def peer(text: str = HEAD + AUDIO) -> Negotiator:
    """Ours, after a first offer of a peer."""
    who = end()
    who.receive_offer(text, BOTH)
    answer(who)
    return who


NEW = (HEAD + AUDIO).replace("abcd\n", "wxyz\n").replace("abcdefgh", "stuvwxyz")


# -- our restart -----------------------------------------------------------------------------------------------------


def test_an_offer_with_new_credentials() -> None:
    a, b = pair("audio", "video")
    plain = offer(a)
    a.rollback()
    assert a.restart_slots() == ()
    a.restart_ice()
    assert (a.missing_slots(), a.restart_slots()) == ((), (0,))
    with pytest.raises(LocalProtocolError, match="need new ICE credentials"):
        a.create_offer()
    text = offer(a)
    assert a.restart_slots() == ()
    old, new = credentials(plain), credentials(text)
    assert len(set(new)) == 1
    assert not {part for each in old for part in each} & {part for each in new for part in each}
    assert re.findall("a=fingerprint:.*", text) == re.findall("a=fingerprint:.*", plain)
    b.receive_offer(text)
    assert b.restart_slots() == (0,)
    with pytest.raises(LocalProtocolError, match="need new ICE credentials"):
        b.create_answer()
    reply, theirs = answer(b)
    ours = a.receive_answer(reply)
    assert credentials(reply)[0] == (remote_of(ours).ice_ufrag, remote_of(ours).ice_pwd)
    assert new[0] == (remote_of(theirs).ice_ufrag, remote_of(theirs).ice_pwd)
    assert (a.restart_slots(), b.restart_slots()) == ((), ())
    assert credentials(offer(a)) == new  # it was for one offer
    assert credentials(offer(b)) == credentials(reply)


def test_a_refused_restart_gives_the_old_credentials_back() -> None:
    a, b = pair("audio")
    plain = credentials(offer(a))
    a.rollback()
    a.restart_ice()
    assert credentials(offer(a)) != plain
    a.rollback()
    assert a.restart_slots() == ()
    assert credentials(offer(a)) == plain
    a.rollback()
    a.receive_offer(offer(b))
    assert credentials(answer(a)[0]) == plain


def test_a_peer_that_ignores_it() -> None:
    a, b = pair("audio")
    plain = offer(a)
    b.receive_offer(plain)
    before = a.receive_answer(answer(b)[0])
    a.restart_ice()
    offer(a)
    b.receive_offer(plain)  # as one sees it that does not look at the credentials
    after = a.receive_answer(answer(b)[0])
    assert after.transports == before.transports
    assert a.restart_slots() == ()
    assert credentials(offer(a)) == credentials(plain)


@pytest.mark.parametrize("by_first", [True, False])
def test_roles_stay(by_first: bool) -> None:
    a, b = pair("audio")
    first, second = (a, b) if by_first else (b, a)
    for who in (first, second):
        who.restart_ice()
        sessions = exchange(who, second if who is first else first)
        mine = sessions[0] if who is a else sessions[1]
        assert mine.transports[0].ice_controlling
        assert not mine.transports[0].dtls_client
        other = sessions[1] if who is a else sessions[0]
        assert not other.transports[0].ice_controlling
        assert other.transports[0].dtls_client


def test_together_with_hold_and_a_new_line() -> None:
    a, b = pair("audio")
    a.hold = True
    a.add_line("video")
    a.restart_ice()
    ours, theirs = exchange(a, b)
    assert [line.direction for line in ours.lines] == [Direction.SENDONLY, Direction.SENDONLY]
    assert {line.slot for line in theirs.lines} == {0}
    assert theirs.remote_hold
    assert len(ours.transports) == len(theirs.transports) == 1


def test_of_several_transports_with_a_new_line() -> None:
    a, b = unbundled("audio", "video")
    a.add_line("video")
    a.restart_ice()
    assert (a.missing_slots(), a.restart_slots()) == ((2,), (0, 1))
    a.add_transport(1, local_transport(1, 900))
    assert a.restart_slots() == (0,)
    text = offer(a)
    assert len(set(credentials(text))) == 3
    b.receive_offer(text)
    assert b.restart_slots() == (0, 1)
    reply, theirs = answer(b)
    ours = a.receive_answer(reply)
    assert [remote_of(ours, slot).ice_ufrag for slot in (0, 1)] == [ufrag for ufrag, _ in credentials(reply)]
    assert [remote_of(theirs, slot).ice_ufrag for slot in (0, 1)] == [ufrag for ufrag, _ in credentials(text)[:2]]


def test_before_anything_is_agreed_on_there_is_nothing_to_restart() -> None:
    a = end()
    a.add_line("audio")
    open_(a)
    a.restart_ice()
    assert a.restart_slots() == ()
    a.create_offer()
    with pytest.raises(LocalProtocolError):
        a.restart_ice()


def test_the_certificate_has_to_stay() -> None:
    a, _ = pair("audio")
    a.restart_ice()
    stranger = evolve(local_transport(0, 5), fingerprint=("sha-256", "00"))
    with pytest.raises(LocalProtocolError, match="certificate"):
        a.add_transport(0, stranger)
    assert a.restart_slots() == (0,)


def test_values_that_nobody_needs_are_dropped() -> None:
    a, _ = pair("audio")
    plain = credentials(offer(a))
    a.rollback()
    a.add_transport(0, local_transport(0, 77))
    assert credentials(offer(a)) == plain
    a.rollback()
    a.restart_ice()
    new = credentials(offer(a))
    a.add_transport(0, local_transport(0, 78))
    a.receive_answer(NEW.replace("actpass", "active"))
    assert credentials(offer(a)) == new


def test_what_the_engine_closed_is_opened_again() -> None:
    """Transports that a session does not name are closed: later lines need others."""
    a, b = unbundled("audio", "video")
    text = offer(b)
    reply = re.sub(r"m=video \d+", "m=video 0", without_bundle(text))
    b.rollback()
    a.receive_offer(reply)
    session = answer(a)[1]
    assert [pair.slot for pair in session.transports] == [0]
    a.add_line("audio")
    assert a.missing_slots() == (1,)  # the place of the line that is over, with a transport of its own
    offer(a)
    a.rollback()
    a.hold = True
    a.add_line("audio")
    assert a.missing_slots() == (1,)  # that one was never agreed on


# -- the peer's ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "restarts"),
    [
        ("", "", False),
        ("ice-ufrag:abcd\n", "ice-ufrag:abce\n", True),
        ("ice-pwd:abcdefgh", "ice-pwd:hgfedcba", True),
        ("setup:actpass", "setup:active", False),
        ("a=rtcp-mux", "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\na=rtcp-mux", False),
    ],
)
def test_what_is_a_restart(old: str, new: str, restarts: bool) -> None:
    who = peer()
    before = credentials(offer(who))
    who.rollback()
    who.receive_offer((HEAD + AUDIO).replace(old, new, 1) if old else HEAD + AUDIO)
    assert who.restart_slots() == ((0,) if restarts else ())
    text, session = answer(who)
    assert (credentials(text) != before) is restarts
    assert not session.transports[0].ice_controlling


def test_each_is_compared_with_the_latest() -> None:
    """Compared with an older one the second restart, back to the first values, would be skipped."""
    who = peer()
    seen = set()
    for text in (NEW, HEAD + AUDIO, NEW):
        who.receive_offer(text)
        assert who.restart_slots() == (0,)
        reply, session = answer(who)
        seen.add(credentials(reply)[0])
        assert remote_of(session).ice_ufrag in text
    assert len(seen) == 3
    offer(who)
    session = who.receive_answer((HEAD + AUDIO).replace("actpass", "passive"))
    assert remote_of(session).ice_ufrag == "abcd"


def test_rolled_back_it_is_noticed_again() -> None:
    who = peer()
    before = credentials(offer(who))
    who.rollback()
    who.receive_offer(NEW)
    open_(who)
    who.rollback()
    assert who.restart_slots() == ()
    assert credentials(offer(who)) == before
    who.rollback()
    who.receive_offer(NEW)
    assert who.restart_slots() == (0,)
    assert credentials(answer(who)[0]) != before


def test_one_transport_of_two() -> None:
    a, b = unbundled("audio", "video")
    text = without_bundle(offer(b))
    ufrag = credentials(text)[1][0]
    b.rollback()
    before = credentials(offer(a))
    a.rollback()
    a.receive_offer(text.replace(f"ice-ufrag:{ufrag}\r", "ice-ufrag:other\r"))
    assert a.restart_slots() == (1,)
    reply, _ = answer(a)
    assert credentials(reply)[0] == before[0]
    assert credentials(reply)[1] != before[1]


def test_it_goes_before_ours_and_fulfils_it() -> None:
    who = peer()
    who.restart_ice()
    who.add_transport(0, local_transport(0, 900))
    opened = (local_transport(0, 900).ice_ufrag, local_transport(0, 900).ice_pwd)
    who.receive_offer(NEW)
    assert who.restart_slots() == ()  # what was opened serves for the answer
    assert credentials(answer(who)[0]) == [opened]
    assert who.restart_slots() == ()
    assert credentials(offer(who)) == [opened]


def test_another_offer_leaves_our_wish() -> None:
    who = peer()
    before = credentials(offer(who))
    who.rollback()
    who.restart_ice()
    open_(who)
    who.receive_offer(HEAD + AUDIO)
    assert who.restart_slots() == ()
    assert credentials(answer(who)[0]) == before
    assert who.restart_slots() == (0,)  # anew: the engine has closed what was not used
    assert credentials(offer(who)) != before
    who.rollback()
    assert who.restart_slots() == ()
    assert credentials(offer(who)) == before


# -- lite agents and new associations --------------------------------------------------------------------------------


def test_against_a_lite_peer_we_control() -> None:
    who = peer(HEAD + "a=ice-lite\n" + AUDIO)
    who.receive_offer(HEAD + "a=ice-lite\n" + NEW.removeprefix(HEAD))
    assert answer(who)[1].transports[0].ice_controlling
    who.receive_offer(HEAD + AUDIO)  # full from now on: its offer, its control
    assert not answer(who)[1].transports[0].ice_controlling
    who.receive_offer(HEAD + "a=ice-lite\n" + NEW.removeprefix(HEAD))
    assert answer(who)[1].transports[0].ice_controlling
    who.restart_ice()
    offer(who)
    reply = (HEAD + "a=ice-lite\n" + AUDIO).replace("actpass", "passive")
    assert who.receive_answer(reply).transports[0].ice_controlling


CERTIFICATE = ("AA:BB", "CC:DD")
TLS_ID = ("a=setup", "a=tls-id:second\na=setup")


@pytest.mark.parametrize("change", [CERTIFICATE, TLS_ID])
@pytest.mark.parametrize(("setup", "client"), [("actpass", True), ("passive", True), ("active", False)])
@pytest.mark.parametrize("as_answer", [True, False])
def test_new_association_with_a_restart(change: tuple[str, str], setup: str, client: bool, as_answer: bool) -> None:
    first = (HEAD + AUDIO).replace("a=setup", "a=tls-id:first\na=setup")
    who = peer(first.replace("actpass", "passive" if setup == "active" else "active"))
    text = NEW.replace(*change).replace("actpass", setup)
    if as_answer:
        who.restart_ice()
        offer(who)
        session = who.receive_answer(text)
        client = setup == "passive"  # as an answer "actpass" is read as active
    else:
        who.receive_offer(text)
        reply, session = answer(who)
        assert f"a=setup:{'active' if client else 'passive'}" in reply
    agreed = session.transports[0]
    assert agreed.dtls_client is client
    assert (agreed.remote.fingerprints[0][1], agreed.remote.tls_id) == (
        ("CC:DD", None) if change is CERTIFICATE else ("AA:BB", "second")
    )


@pytest.mark.parametrize("restarts", [True, False])
@pytest.mark.parametrize("as_answer", [True, False])
@pytest.mark.parametrize("now", ["active", "passive"])
def test_a_peer_that_wants_our_role(now: str, as_answer: bool, restarts: bool) -> None:
    """RFC 8842 3.1: a new association, of which each has to be one end. Without a restart the one of before goes on.

    So it does with "active" in an answer: Firefox says that whatever it is.
    """
    before = "passive" if now == "active" else "active"
    who = peer((HEAD + AUDIO).replace("actpass", before))
    text = (NEW if restarts else HEAD + AUDIO).replace("actpass", now)
    if as_answer:
        if restarts:
            who.restart_ice()
        offer(who)
        session = who.receive_answer(text)
    else:
        who.receive_offer(text)
        reply, session = answer(who)
        assert f"a=setup:{before if restarts else now}" in reply
    changes = restarts and not (as_answer and now == "active")
    assert session.transports[0].dtls_client is ((now if changes else before) == "passive")


@pytest.mark.parametrize("change", [CERTIFICATE, TLS_ID])
def test_new_association_without_a_restart_is_refused(change: tuple[str, str]) -> None:
    first = (HEAD + AUDIO).replace("a=setup", "a=tls-id:first\na=setup")
    who = peer(first)
    with pytest.raises(NegotiationError, match="without an ICE restart") as error:
        who.receive_offer((HEAD + AUDIO).replace(*change))
    assert error.value.status_hint == 488
    assert who.state is S.STABLE
    offer(who)
    with pytest.raises(NegotiationError, match="without an ICE restart"):
        who.receive_answer((HEAD + AUDIO).replace(*change).replace("actpass", "passive"))
    session = who.receive_answer(first.replace("actpass", "passive"))
    assert session.transports[0].dtls_client


def test_more_hashes_of_one_certificate_are_no_new_one() -> None:
    who = peer()
    more = "a=fingerprint:sha-256 AA:BB\na=fingerprint:sha-512 EE:FF\n"
    who.receive_offer((HEAD + AUDIO).replace("a=fingerprint:sha-256 AA:BB\n", more))
    assert answer(who)[1].transports[0].dtls_client


# -- two ends that do anything ---------------------------------------------------------------------------------------


STEPS = st.tuples(
    st.booleans(),
    st.sets(st.sampled_from(["restart", "hold", "resume", "line", "wish of the other"]), max_size=3),
    st.sampled_from(["agreed", "agreed", "agreed", "refused", "answer lost", "ignored", "glare"]),
)


class _Engine:
    """What the engine of an end has: which credentials are valid on each slot."""

    def __init__(self) -> None:
        self.valid: dict[int, tuple[str, str]] = {}
        self.seen: dict[int, tuple[str, str]] = {}

    def take(self, who: Negotiator, session: NegotiatedSession) -> None:
        for agreed in session.transports:
            remote = (agreed.remote.ice_ufrag, agreed.remote.ice_pwd)
            now = credentials_in(who, agreed.slot)
            # New credentials of ours exactly when the peer has new ones: the rule that engines go by.
            if agreed.slot in self.seen:
                assert (remote != self.seen[agreed.slot]) is (now != self.valid[agreed.slot])
            self.seen[agreed.slot], self.valid[agreed.slot] = remote, now


def credentials_in(who: Negotiator, slot: int) -> tuple[str, str]:
    local = dict(who._stable.transports)[slot]
    return local.ice_ufrag, local.ice_pwd


def _prepare(a: Negotiator, b: Negotiator, wishes: set[str]) -> None:
    if "hold" in wishes or "resume" in wishes:
        a.hold = "hold" in wishes
    if "line" in wishes and len(a._next.lines) < 8:
        a.add_line("audio")
    if "restart" in wishes:
        a.restart_ice()
    if "wish of the other" in wishes:
        b.restart_ice()
        open_(b)


def _as_agreed(who: Negotiator) -> str:
    """What an end would say that changes nothing."""
    ghost = copy.copy(who)
    ghost._next = ghost._stable
    return ghost.create_offer().text.replace("actpass", "active")


@given(st.booleans(), st.lists(STEPS, max_size=10))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_both_ends_always_agree(bundled: bool, steps: list[tuple[bool, set[str], str]]) -> None:
    ends = pair("audio", "video") if bundled else unbundled("audio", "video")
    carry: Callable[[str], str] = str if bundled else without_bundle
    engines = {id(ends[0]): _Engine(), id(ends[1]): _Engine()}
    for by_first, wishes, course in steps:
        a, b = ends if by_first else ends[::-1]
        before = [who._stable.transports for who in ends]
        _prepare(a, b, wishes)
        text = carry(offer(a))
        if course == "agreed" or (course == "ignored" and "line" in wishes):
            b.receive_offer(text, BOTH)
            reply, theirs = answer(b)
            ours = a.receive_answer(carry(reply))
            engines[id(a)].take(a, ours)
            engines[id(b)].take(b, theirs)
            _check(a, b, ours, theirs)
            continue
        if course == "ignored":
            engines[id(a)].take(a, a.receive_answer(carry(_as_agreed(b))))
        elif course == "answer lost":
            b.receive_offer(text, BOTH)
            open_(b)
            b.rollback()
        elif course == "glare":
            offer(b)
            b.rollback()
        if course != "ignored":
            a.rollback()
        assert [who._stable.transports for who in ends] == before


def _check(a: Negotiator, b: Negotiator, ours: NegotiatedSession, theirs: NegotiatedSession) -> None:
    assert a.state is b.state is S.STABLE
    for left, right in zip(ours.transports, theirs.transports, strict=True):
        assert left.slot == right.slot
        assert (left.remote.ice_ufrag, left.remote.ice_pwd) == credentials_in(b, right.slot)
        assert (right.remote.ice_ufrag, right.remote.ice_pwd) == credentials_in(a, left.slot)
        assert left.dtls_client is not right.dtls_client
        assert left.ice_controlling is not right.ice_controlling
