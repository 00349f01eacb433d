"""Offers and answers, between two negotiators and against descriptions as peers write them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.errors import LocalProtocolError
from sipproto.negotiation import (
    TRANSITIONS,
    CodecPreferences,
    MediaCapabilities,
    NegotiatedSession,
    NegotiationError,
    Negotiator,
    SignalingState,
    Step,
)
from sipproto.negotiation._codecs import answered_codecs
from sipproto.negotiation._match import match_codecs
from sipproto.sdp import Codec, Direction, codecs_of, parse_sdp
from sipproto.tokens import SeededTokens
from tests.sim.network import CAPABILITIES, local_transport

BOTH = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
S = SignalingState
TRANSPORT = "a=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuvwx\na=fingerprint:sha-256 AA:BB\n"
HEAD = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"
AUDIO = f"m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\na=rtcp-mux\n{TRANSPORT}a=setup:actpass\n"


def end(seed: int = 1, capabilities: MediaCapabilities = CAPABILITIES) -> Negotiator:
    return Negotiator(capabilities, SeededTokens(seed))


def open_(who: Negotiator) -> None:
    for slot in who.missing_slots():
        who.add_transport(slot, local_transport(slot))


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


def answered(text: str) -> tuple[str, NegotiatedSession]:
    who = end()
    who.receive_offer(text.replace("\n", "\r\n"), BOTH)
    return answer(who)


# -- the state machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "step"), list(itertools.product(S, Step)))
def test_transitions(state: SignalingState, step: Step) -> None:
    expected = {
        S.STABLE: {Step.CREATE_OFFER: S.HAVE_LOCAL_OFFER, Step.RECEIVE_OFFER: S.HAVE_REMOTE_OFFER},
        S.HAVE_LOCAL_OFFER: {Step.RECEIVE_ANSWER: S.STABLE, Step.ROLLBACK: S.STABLE},
        S.HAVE_REMOTE_OFFER: {Step.CREATE_ANSWER: S.STABLE, Step.ROLLBACK: S.STABLE},
    }[state]
    assert TRANSITIONS.get((state, step)) == expected.get(step)
    a, b = pair("audio")
    theirs = offer(b)
    b.rollback()
    if state is S.HAVE_LOCAL_OFFER:
        b.receive_offer(offer(a))
        theirs_answer = answer(b)[0]
    else:
        theirs_answer = ""
        if state is S.HAVE_REMOTE_OFFER:
            a.receive_offer(theirs)
    steps: dict[Step, Callable[[], object]] = {
        Step.CREATE_OFFER: lambda: a.create_offer(),
        Step.RECEIVE_OFFER: lambda: a.receive_offer(theirs),
        Step.RECEIVE_ANSWER: lambda: a.receive_answer(theirs_answer),
        Step.CREATE_ANSWER: lambda: a.create_answer(),
        Step.ROLLBACK: lambda: a.rollback(),
    }
    if step in expected:
        steps[step]()
        assert a.state is expected[step]
    else:
        with pytest.raises(LocalProtocolError):
            steps[step]()
        assert a.state is state
    if a.state is not S.STABLE:
        with pytest.raises(LocalProtocolError):
            a.hold = True
        with pytest.raises(LocalProtocolError):
            a.add_line("audio")
        with pytest.raises(LocalProtocolError):
            a.restart_ice()


# -- first offers and answers ----------------------------------------------------------------------------------------


def test_bundle() -> None:
    a, b = end(1), end(2)
    a.add_line("audio")
    a.add_line("video")
    ours, theirs = exchange(a, b)
    for session in (ours, theirs):
        assert [line.kind for line in session.lines] == ["audio", "video"]
        assert {line.slot for line in session.lines} == {0}
        assert len(session.transports) == 1
        assert not session.remote_hold
    assert ours.transports[0].ice_controlling
    assert not theirs.transports[0].ice_controlling
    assert theirs.transports[0].dtls_client  # active where we may be
    assert not ours.transports[0].dtls_client


def test_second_video_line_is_added_and_bundled() -> None:
    a, b = pair("audio", "video")
    a.add_line("video")
    assert a.missing_slots() == ()
    b.receive_offer(offer(a), [("video", Direction.RECVONLY)])
    text, theirs = answer(b)
    ours = a.receive_answer(text)
    # a kind's permission is for its first line: the third one is refused
    assert [line.index for line in ours.lines] == [0, 1]
    assert [line.index for line in theirs.lines] == [0, 1]
    b.add_line("video")
    open_(b)
    text = b.create_offer().text
    assert text.count("m=video") == 2  # in the place of the refused one, with a mid that was never used
    assert "a=group:BUNDLE 0 1 3" in text


def test_no_bundle_and_no_mid() -> None:
    second = AUDIO.replace("m=audio", "m=video").replace("FAULT", "").replace("SAVPF 0", "SAVPF 96")
    text = (HEAD + AUDIO + second + "a=rtpmap:96 VP8/90000\n").replace("a=mid:0\n", "")
    sdp, session = answered(text)
    assert {line.slot for line in session.lines} == {0, 1}
    assert len(session.transports) == 2
    assert "a=mid" not in sdp
    assert "BUNDLE" not in sdp
    assert "\r\na=ice-options:ice2\r\n" in sdp[: sdp.index("m=")]


def test_static_payload_type_without_rtpmap() -> None:
    sdp, session = answered(HEAD + AUDIO)
    assert [codec.name for codec in session.lines[0].send] == ["PCMU"]
    assert "a=rtpmap:0 PCMU/8000" in sdp


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m=audio 9", "m=audio 0"),
        ("a=rtcp-mux\n", ""),
        ("a=ice-ufrag:abcd\n", ""),
        ("a=fingerprint:sha-256 AA:BB\n", ""),
        ("SAVPF 0", "SAVPF 18"),
        ("UDP/TLS/RTP/SAVPF", "TCP/RTP/AVP"),
        ("m=audio", "m=application"),
        ("v=0", "v=1"),
    ],
)
def test_offers_that_cannot_be_accepted(old: str, new: str) -> None:
    who = end()
    with pytest.raises(NegotiationError) as error:
        who.receive_offer((HEAD + AUDIO).replace(old, new), BOTH)
    assert error.value.status_hint == 488
    assert who.state is S.STABLE
    who.receive_offer(HEAD + AUDIO, BOTH)  # nothing has changed


def test_refused_lines_keep_their_place() -> None:
    text = f"{HEAD}a=group:BUNDLE 0 x\n{AUDIO}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:x\n{TRANSPORT}"
    sdp, session = answered(text)
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel" in sdp
    assert "a=group:BUNDLE 0\r\n" in sdp
    assert [line.index for line in session.lines] == [0]


def test_video_refused_in_the_answer() -> None:
    a, b = end(1), end(2)
    a.add_line("audio")
    a.add_line("video")
    b.receive_offer(offer(a), [("audio", Direction.SENDRECV)])
    text, _ = answer(b)
    assert "m=video 0 " in text
    session = a.receive_answer(text)
    assert [line.kind for line in session.lines] == ["audio"]


def test_first_line_of_a_bundle_removed_later() -> None:
    """The lines that stay go on using the transport of the slot, whoever's line it was at first."""
    a, b = pair("audio", "video")
    text = offer(b)
    start, stop = text.index("m=audio"), text.index("m=video")
    removed = f"{text[:start]}m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{text[stop:]}".replace(
        "BUNDLE 0 1", "BUNDLE 1"
    )
    b.rollback()
    a.receive_offer(removed)
    sdp, session = answer(a)
    assert [line.kind for line in session.lines] == ["video"]
    own = offer(a)
    assert "m=audio 0" in own
    reply = f"{sdp[: sdp.index('m=audio')]}m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{text[stop:]}".replace(
        "actpass", "active"
    )
    session = a.receive_answer(reply)
    assert [line.kind for line in session.lines] == ["video"]
    assert len(session.transports) == 1


def test_answer_that_bundles_less() -> None:
    a = end()
    a.add_line("audio")
    a.add_line("video")
    text = offer(a)
    assert "a=group:BUNDLE 0 1" in text
    video = (
        AUDIO.replace("m=audio", "m=video")
        .replace("mid:0", "mid:1")
        .replace("SAVPF 0", "SAVPF 96")
        .replace("abcd", "efgh")
    )
    reply = HEAD + "a=group:BUNDLE 0\n" + AUDIO + video + "a=rtpmap:96 VP8/90000\n"
    session = a.receive_answer(reply.replace("actpass", "active"))
    assert [line.slot for line in session.lines] == [0, 1]
    assert [pair.remote.ice_ufrag for pair in session.transports] == ["abcd", "efgh"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: text.index("m=")],
        lambda text: text.replace("m=audio", "m=video"),
        lambda text: text.replace("a=rtcp-mux\r\n", ""),
        lambda text: text.replace("m=audio 4000", "m=audio 0"),
        lambda text: text.replace("SAVPF 111 0", "SAVPF 18"),
        lambda _: "",
    ],
)
def test_bad_answers_change_nothing(damage: object) -> None:
    a, b = end(1), end(2)
    a.add_line("audio")
    b.receive_offer(offer(a), BOTH)
    good = answer(b)[0]
    assert callable(damage)
    with pytest.raises(NegotiationError):
        a.receive_answer(damage(good))
    assert a.state is S.HAVE_LOCAL_OFFER
    a.receive_answer(good)


@pytest.mark.parametrize(("setup", "client"), [("actpass", True), ("passive", True), ("active", False)])
def test_dtls_roles_stay(setup: str, client: bool) -> None:
    who = end()
    text = (HEAD + AUDIO).replace("actpass", setup)
    who.receive_offer(text, BOTH)
    sdp, session = answer(who)
    assert session.transports[0].dtls_client is client
    assert f"a=setup:{'active' if client else 'passive'}" in sdp
    who.receive_offer(HEAD + AUDIO, BOTH)
    sdp, session = answer(who)
    assert session.transports[0].dtls_client is client
    offer(who)
    session = who.receive_answer((HEAD + AUDIO).replace("actpass", "passive" if client else "active"))
    assert session.transports[0].dtls_client is client


def test_ice_lite_peer_never_controls() -> None:
    _, session = answered(HEAD + "a=ice-lite\n" + AUDIO)
    assert session.transports[0].ice_controlling


def test_receiving_only_is_no_hold() -> None:
    a, b = end(1), end(2)
    a.add_line("audio", Direction.RECVONLY)
    ours, theirs = exchange(a, b)
    assert ours.lines[0].direction is Direction.RECVONLY
    assert not ours.remote_hold
    assert not theirs.remote_hold


# -- codecs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "other", "same"),
    [
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42e034;packetization-mode=1", True),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42c01f;packetization-mode=1", True),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42001f;packetization-mode=1", False),
        ("profile-level-id=42e01f;packetization-mode=1", "profile-level-id=42e01f", False),
        ("profile-level-id=42001f", "", True),
        ("profile-level-id=64001f", "profile-level-id=640c1f", False),
    ],
)
def test_h264_profiles(mine: str, other: str, same: bool) -> None:
    one = Codec(payload_type=96, name="H264", clock_rate=90000, parameters=mine)
    two = Codec(payload_type=102, name="h264", clock_rate=90000, parameters=other)
    assert bool(match_codecs((one,), (two,))) is same


@pytest.mark.parametrize(
    ("mine", "other", "same"),
    [
        ("level-idx=5;profile=0;tier=0", "", True),
        ("level-idx=5;profile=0;tier=0", "profile=0; level-idx=8; tier=1", True),
        ("level-idx=5;profile=0;tier=0", "level-idx=5;profile=1;tier=0", False),
        ("level-idx=5;profile=0;tier=0", "profile-id=2", True),  # which is not of AV1, and so to be ignored
    ],
)
def test_av1_profiles(mine: str, other: str, same: bool) -> None:
    """Levels and tiers are asymmetrical (payload format of AV1, 7.2.2), profiles in practice payload types of their own."""
    one = Codec(payload_type=96, name="AV1", clock_rate=90000, parameters=mine)
    two = Codec(payload_type=45, name="av1", clock_rate=90000, parameters=other)
    assert bool(match_codecs((one,), (two,))) is same
    answered, sent = answered_codecs((one,), (two,), CodecPreferences())
    assert [codec.parameters for codec in answered] == ([mine] if same else [])
    assert [codec.parameters for codec in sent] == ([other] if same else [])


def test_rtx_goes_with_its_codec() -> None:
    theirs = (
        Codec(payload_type=120, name="rtx", clock_rate=90000, parameters="apt=121"),
        Codec(payload_type=121, name="VP8", clock_rate=90000),
        Codec(payload_type=122, name="rtx", clock_rate=90000, parameters="apt=123"),
    )
    pairs = match_codecs(CAPABILITIES.video, theirs)
    assert [(mine.payload_type, other.payload_type) for mine, other in pairs] == [(96, 121), (97, 120)]


# -- re-offers -------------------------------------------------------------------------------------------------------


def without_version(text: str) -> str:
    return "\n".join(line for line in text.split("\r\n") if not line.startswith("o="))


def version(text: str) -> tuple[int, int]:
    line = next(line for line in text.split("\r\n") if line.startswith("o="))
    return int(line.split()[1]), int(line.split()[2])


def test_simulcast_is_not_agreed_on() -> None:
    """One encoding is sent to who understands no simulcast: its lines are left out of the answer (RFC 8853 5.3.2)."""
    rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
    text, session = answered(
        f"{HEAD}m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:0\na=rtcp-mux\n{TRANSPORT}a=setup:actpass\na=rtpmap:96 VP8/90000\n"
        f"a=extmap:4 {rid}\na=rid:h send\na=rid:l send pt=96;max-width=320\na=simulcast:send h;l\n"
    )
    assert session.lines[0].direction is Direction.SENDRECV
    assert session.lines[0].extensions == ()
    assert not re.search("a=(rid|simulcast|extmap)", text)


def test_reoffers_keep_everything_but_the_version() -> None:
    a, b = pair("audio", "video")
    first = offer(a)
    b.receive_offer(first)
    first_answer, session = answer(b)
    a.receive_answer(first_answer)
    again = offer(a)
    assert without_version(again) == without_version(first)
    assert version(again) == version(first)  # RFC 3264 8: nothing has changed
    b.receive_offer(again)
    second_answer, second = answer(b)
    assert without_version(second_answer) == without_version(first_answer)
    assert version(second_answer) == version(first_answer)
    assert second == session
    a.receive_answer(second_answer)
    theirs = offer(b)  # with the roles of offerer and answerer swapped
    a.receive_offer(theirs)
    text, _ = answer(a)
    for mine, before in zip(parse_sdp(text).media, parse_sdp(first).media, strict=True):
        assert codecs_of(mine) == codecs_of(before)
        for name in ("mid", "extmap", "ssrc", "ice-ufrag"):
            assert mine.attributes(name) == before.attributes(name)


def test_rollback_restores_exactly() -> None:
    a, b = pair("audio")
    before = without_version(offer(a))
    a.rollback()
    a.hold = True
    a.add_line("video")
    offer(a)
    a.rollback()
    assert a.hold is False
    assert without_version(offer(a)) == before
    a.rollback()
    b.add_line("video")
    a.receive_offer(offer(b), BOTH)
    a.rollback()
    assert without_version(offer(a)) == before


D = Direction


def test_an_offer_to_who_holds_does_not_ask_it_to_resume() -> None:
    """A refresh of the session is no reason: some peers would take it for one."""
    a, b = pair("audio")
    a.hold = True
    exchange(a, b)
    text = offer(b)
    assert "a=recvonly" in text
    a.receive_offer(text)
    text, _ = answer(a)
    assert "a=sendonly" in text and b.receive_answer(text).remote_hold
    a.hold = False
    ours, theirs = exchange(a, b)
    assert not theirs.remote_hold
    assert {ours.lines[0].direction, theirs.lines[0].direction} == {Direction.SENDRECV}
    assert "a=sendrecv" in offer(b)


def test_a_direction_that_did_not_send_may_send_again() -> None:
    """That the peer took nothing then was our doing, and no hold."""
    a, b = pair("audio", "video")
    audio, video = (line.mid for line in exchange(a, b)[0].lines)
    for wanted in (D.RECVONLY, D.SENDONLY, D.INACTIVE, D.SENDRECV):
        a.change_line(video, wanted)
        ours, theirs = exchange(a, b)
        assert ours.lines[1].direction is wanted
        assert not ours.remote_hold and not theirs.remote_hold
    for mid in (audio, video):
        a.change_line(mid, D.RECVONLY)
    assert not exchange(a, b)[0].remote_hold
    b.hold = True  # which our offers that do not send do not end
    assert exchange(b, a)[1].remote_hold is False  # there is nothing that it could hold
    for mid in (audio, video):
        a.change_line(mid, D.SENDRECV)
    assert exchange(a, b)[0].remote_hold


def test_a_line_of_the_peer_s_may_be_asked_to_take_something() -> None:
    a, b = pair("audio")
    mid = b.add_line("video", D.SENDONLY)
    a.receive_offer(offer(b), (), D.RECVONLY)
    b.receive_answer(answer(a)[0])
    assert offer(a).count("a=recvonly") == 1
    a.rollback()
    a.change_line(mid, D.SENDRECV)
    assert offer(a).count("a=sendrecv") == 2


def test_a_presentation_does_not_end_the_hold_of_the_peer() -> None:
    a, b = pair("audio")
    b.hold = True
    assert exchange(b, a)[1].remote_hold
    a.add_line("video", D.SENDONLY)
    b.receive_offer(offer(a), (("video", D.SENDRECV),))
    text = answer(b)[0].replace("a=inactive", "a=recvonly")  # which a browser answers, whoever holds
    session = a.receive_answer(text)
    assert [line.direction for line in session.lines] == [D.RECVONLY, D.SENDONLY]
    assert session.remote_hold
    b.hold = False
    assert not exchange(b, a)[1].remote_hold


# (A holds, B holds): direction at A, direction at B, remote hold at A, at B
HOLDS = {
    (False, False): (D.SENDRECV, D.SENDRECV, False, False),
    (True, False): (D.SENDONLY, D.RECVONLY, False, True),
    (False, True): (D.RECVONLY, D.SENDONLY, True, False),
    (True, True): (D.INACTIVE, D.INACTIVE, True, True),
}


@pytest.mark.parametrize(("start", "goal"), list(itertools.product(HOLDS, HOLDS)))
def test_hold_and_resume(start: tuple[bool, bool], goal: tuple[bool, bool]) -> None:
    a, b = pair("audio")
    for hold_a, hold_b in (start, goal):
        a.hold = hold_a
        exchange(a, b)
        b.hold = hold_b
        theirs, ours = exchange(b, a)
        expected = HOLDS[(hold_a, hold_b)]
        assert (ours.lines[0].direction, theirs.lines[0].direction, ours.remote_hold, theirs.remote_hold) == expected


# -- two ends that do anything ---------------------------------------------------------------------------------------


ACTIONS = st.tuples(
    st.booleans(), st.sampled_from(["hold", "resume", "audio", "video", "rollback", "refused", "plain"])
)


@given(st.lists(ACTIONS, max_size=12))
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
def test_both_ends_always_agree(actions: list[tuple[bool, str]]) -> None:
    ends = pair("audio", "video")
    added = 2
    for first, action in actions:
        a, b = ends if first else ends[::-1]
        wanted = BOTH
        if action in ("hold", "resume"):
            a.hold = action == "hold"
        elif action in ("audio", "video", "rollback") and added < 10:
            a.add_line(action if action != "rollback" else "video")
            added += action != "rollback"
        text = offer(a)
        if action == "rollback":
            a.rollback()
            if added % 2:
                b.receive_offer(text, wanted)
                b.rollback()
            continue
        b.receive_offer(text, () if action == "refused" else wanted)
        reply, theirs = answer(b)
        ours = a.receive_answer(reply)
        assert a.state is b.state is S.STABLE
        assert [line.index for line in ours.lines] == [line.index for line in theirs.lines]
        for mine, other in zip(ours.lines, theirs.lines, strict=True):
            assert mine.direction is other.direction.reversed
            assert (mine.mid, mine.kind, mine.slot) == (other.mid, other.kind, other.slot)
            assert mine.remote_ssrcs == (other.ssrc,)
            assert [evolve(c, feedback=()) for c in mine.send] == [evolve(c, feedback=()) for c in other.receive]
            assert dict(mine.extensions) == dict(other.extensions)
        for left, right in zip(ours.transports, theirs.transports, strict=True):
            assert left.slot == right.slot
            assert left.dtls_client is not right.dtls_client
            assert left.ice_controlling is not right.ice_controlling


# -- length of packets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", None),
        ("a=ptime:40\n", 40),
        ("a=ptime:40\na=maxptime:30\n", 30),
        ("a=maxptime:30\n", None),
        ("a=ptime:20 \n", 20),
        ("a=ptime:0\n", None),
        ("a=ptime:12345\n", None),
        ("a=ptime:2.5\n", None),
        ("a=ptime\n", None),
    ],
)
def test_the_peer_says_how_long_packets_of_audio_should_be(attributes: str, expected: int | None) -> None:
    called = end()
    called.receive_offer(HEAD + AUDIO + attributes, BOTH)
    assert [line.packet_time for line in answer(called)[1].lines] == [expected]
    caller = end()
    caller.add_line("audio")
    assert "ptime" not in offer(caller)
    session = caller.receive_answer(HEAD + AUDIO.replace("actpass", "active") + attributes)
    assert [line.packet_time for line in session.lines] == [expected]
