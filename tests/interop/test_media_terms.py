"""On what terms media flow between us and JsSIP in Chromium and in Firefox: codecs, certificates, paths, bundles, and what is refused.

Whatever flows is recognised, audio by its frequency and pictures by their colour, and counted anew on both sides.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import pytest

from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay
from sipproto.agent.parameters import EffectiveParameters, Encoding, SenderParameters
from sipproto.message import Response
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction, codecs_of, parse_sdp
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_client import Call, CommandError

from .child import PATIENCE
from .kamailio import Kamailio
from .media_calls import AUDIO, BLUE, GREEN, RED, VIDEO, YELLOW, MediaCall, Pair, gaps, is_color, pair_of, until
from .ours import Ours, lines
from .peers import HERTZ, BrowserPeer, PeerError, each_browser
from .relay import TcpRelay

pytestmark = [pytest.mark.interop, each_browser]
Record = Callable[[str, object], None]
either_side = pytest.mark.parametrize("who", ["alice", "bob"])
either_caller = pytest.mark.parametrize("caller", ["alice", "bob"])


@pytest.fixture(scope="module")
def open_pair(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Pair]:
    with pair_of(kamailio, browser, "terms") as pair:
        yield pair


@pytest.fixture
def pair(open_pair: Pair) -> Iterator[Pair]:
    yield open_pair
    open_pair.end_calls()


def renegotiate(call: MediaCall, **options: object) -> None:
    call.bob("renegotiate", **options)


# -- codecs ------------------------------------------------------------------------------------------------------------


def codec_names(description: str, index: int) -> set[str]:
    media = parse_sdp(description).media[index]
    return {codec.name.lower() for codec in codecs_of(media)} - {"rtx", "telephone-event"}


def both_use(call: MediaCall, audio: str, video: str) -> None:
    """Both send these codecs, and what they send is recognised."""
    call.both_use("audio", audio)
    call.both_use("video", video)
    call.talk()
    call.watch()


CODEC_CHANGES = [("PCMU", "H264"), ("opus", "VP9"), ("G722", "VP8"), ("PCMA", "VP9")]


@either_side
def test_codecs_change_in_the_call(who: str, pair: Pair, browser: BrowserPeer, record_property: Record) -> None:
    call = pair.call(media=(AUDIO, VIDEO))
    both_use(call, "opus", "VP8")
    for audio, video in CODEC_CHANGES:
        if browser.lacks(video):
            continue
        with gaps(call, record_property, f"to {audio} and {video} by {who}"):
            if who == "alice":
                preferences = CodecPreferences(prefer=(f"audio/{audio}", f"video/{video}"))
                pair.alice.do(call.call.change_media, codecs=preferences)
            else:
                call.bob("change_lines", codecs={"audio": [f"audio/{audio}"], "video": [f"video/{video}"]})
                renegotiate(call)
            both_use(call, audio, video)


@pytest.mark.browsers("chromium")  # Firefox knows no scalabilityMode
@either_caller
def test_av1_is_received(caller: str, pair: Pair, tmp_path: Path) -> None:
    """On a line on which we do not send; with layers in time, and changed to and from in the call."""
    path = tmp_path / "call.mkv"
    setup = MediaSetup(audio=Tone(HERTZ["alice"]), record=str(path))
    watching = (AUDIO, ("video", Direction.RECVONLY))
    call = pair.call(
        caller=caller, media=watching, setup=setup, codecs=CodecPreferences(prefer=("video/AV1",)), video=True
    )
    mid = call.line("video")

    def received_as(codec: str, layers: str) -> None:
        until(lambda: call.theirs(mid), lambda line: line["codec_sent"] == f"video/{codec}", f"{codec} is not sent")
        until(lambda: call.theirs(mid), lambda line: line["layers_sent"] == layers, f"{layers} is not sent")
        call.we_see()
        got = pair.alice.do(call.call.stats).inbound("video")
        assert got is not None and (got.decoder_implementation == "libdav1d") is (codec == "AV1")

    received_as("AV1", "L1T1")
    for layers in ("L1T2", "L1T3"):
        call.bob("change_lines", layers={"video": layers})
        before, began = call.ours(mid).frames_decoded or 0, time.monotonic()
        received_as("AV1", layers)
        until(lambda least=before + 30: (call.ours(mid).frames_decoded or 0) >= least, bool, "few pictures")  # type: ignore[misc]
        assert 30 / (time.monotonic() - began) > 5, "pictures of a layer are missing"
    call.bob("change_lines", layers={"video": "L1T1"})
    for codec in ("VP8", "AV1"):
        call.bob("change_lines", codecs={"video": [f"video/{codec}"]})
        renegotiate(call)
        received_as(codec, "L1T1")
    pair.alice.do(call.call.hang_up)
    until(lambda: path.exists() and recorded_color(path), lambda color: color and is_color(color, BLUE), "not recorded")


def recorded_color(path: Path) -> tuple[int, ...] | None:
    """The mean colour of the last picture of a file; None as long as it cannot be read."""
    try:
        with av.open(str(path)) as container:
            *_, last = container.decode(video=0)
    except (av.FFmpegError, ValueError):
        return None
    return tuple(int(value) for value in last.to_ndarray(format="rgb24").reshape(-1, 3).mean(axis=0))


@either_caller
def test_preferred_and_excluded_codecs(caller: str, pair: Pair, browser: BrowserPeer) -> None:
    """In our offer as in our answer."""
    preferences = CodecPreferences(prefer=("audio/PCMA", "video/H264"), exclude=("audio/opus", "video/VP8"))
    call = pair.call(caller=caller, media=(AUDIO, VIDEO), codecs=preferences)
    both_use(call, "PCMA", "VP9" if browser.lacks("H264") else "H264")
    ours, _ = call.descriptions()
    assert codec_names(ours, 0) == {"pcma", "g722", "pcmu"}
    missing = {"h264"} if browser.lacks("H264") and caller == "bob" else set()
    assert codec_names(ours, 1) == {"h264", "vp9"} - missing


def test_digits_in_rtp_follow_the_codec(pair: Pair) -> None:
    """The clock of telephone-event is that of the audio codec (RFC 4733 2.1). A browser sends digits and hears none."""
    call = pair.call()
    call.talk()
    for codec in ("opus", "PCMU"):
        pair.alice.do(call.call.change_media, codecs=CodecPreferences(prefer=(f"audio/{codec}",)))
        call.bob("dtmf", digits="5#", transport="RFC2833")
        heard = [pair.alice.expect(o.DtmfReceived) for _ in range(2)]
        assert [(one.digit, one.way) for one in heard] == [("5", DigitWay.RTP), ("#", DigitWay.RTP)]
        pair.alice.do(call.call.send_dtmf, "7", way=DigitWay.RTP)
        call.talk()


# -- sender parameters and key frames --------------------------------------------------------------------------------------


def test_sender_parameters_are_seen_by_the_page(pair: Pair) -> None:
    call = pair.call(media=(AUDIO, VIDEO))
    call.watch()
    mid = call.line("video")

    def send_with(**encoding: Any) -> EffectiveParameters:
        parameters = SenderParameters(encodings=(Encoding(**encoding),))
        return pair.alice.do(call.call.set_parameters, mid, parameters)

    assert not send_with(scale_resolution_down_by=2).ignored
    until(lambda: call.theirs(mid), lambda line: (line["width"], line["height"]) == (160, 120), "not scaled down")
    send_with(active=False)
    call.nothing_reaches(them=["video"])
    call.talk()
    send_with(max_framerate=5)
    call.they_see()
    until(lambda: call.theirs(mid), lambda line: (line["width"], line["height"]) == (320, 240), "not scaled up")

    def frame_rate() -> float:
        before, began = call.theirs(mid)["frames_decoded"], time.monotonic()
        time.sleep(1.2)
        return float((call.theirs(mid)["frames_decoded"] - before) / (time.monotonic() - began))

    assert until(frame_rate, lambda rate: rate >= 2, "fewer than 5 pictures a second") <= 7


def test_key_frames_on_request(pair: Pair) -> None:
    call = pair.call(media=(AUDIO, VIDEO))
    call.watch()
    mid = call.line("video")

    def decoded(ours: bool) -> int:
        """Key frames of ours or of theirs, where they are received."""
        inbound = pair.alice.do(call.call.stats).inbound("video")
        assert inbound is not None and inbound.key_frames_decoded is not None
        return int(call.theirs(mid)["key_frames_decoded"]) if ours else inbound.key_frames_decoded

    for ours in (False, True):
        before = decoded(ours)
        pair.alice.do(call.call.request_key_frame, mid, ours=ours)
        until(partial(decoded, ours), partial(operator.lt, before), f"no key frame of {'ours' if ours else 'theirs'}")
    call.watch()


# -- certificates, bundles, and what a server may write ----------------------------------------------------------------


@either_caller
@pytest.mark.parametrize("algorithm", ["RSA", "ECDSA"])
def test_certificate_of_the_page(algorithm: str, caller: str, pair: Pair) -> None:
    call = pair.call(caller=caller, connection={"certificate": algorithm})
    call.talk()


@either_caller
@pytest.mark.parametrize(
    ("bundle", "rtcp_mux"), [("max-compat", "negotiate"), ("balanced", "require"), ("max-bundle", "require")]
)
def test_bundle_policy_of_the_page(bundle: str, rtcp_mux: str, caller: str, pair: Pair) -> None:
    connection = {"bundlePolicy": bundle, "rtcpMuxPolicy": rtcp_mux}
    call = pair.call(caller=caller, media=(AUDIO, VIDEO), connection=connection)
    call.talk()
    call.watch()


@either_caller
def test_page_without_bundle(caller: str, pair: Pair) -> None:
    """The group is taken out of both descriptions on their way: each line has a transport of its own."""
    edits = {way: [["^a=group:BUNDLE.*\\r\\n", ""]] for way in ("local", "remote")}
    call = pair.call(caller=caller, media=(AUDIO, VIDEO), edits=edits)
    call.talk()
    call.watch()
    for description in call.descriptions():
        assert len({line.split()[1] for line in lines(description.encode(), "m=")}) == 2, "the lines share a port"


def test_remote_descriptions_are_mended(kamailio: Kamailio, browser: BrowserPeer) -> None:
    """A page behind something that takes out rtcp-mux, without which nothing can be agreed on."""

    def mend(sdp: bytes) -> bytes:
        return sdp.replace(b"a=x-muxed", b"a=rtcp-mux")

    edits = {"local": [["^a=rtcp-mux", "a=x-muxed"]]}
    with pair_of(kamailio, browser, "mended", transform_remote_sdp=mend) as pair:
        for caller in ("alice", "bob"):
            call = pair.call(caller=caller, edits=edits)
            call.talk()
            assert "a=x-muxed" in call.descriptions()[1]  # told as it came
            call.bob("edit", **edits)
            renegotiate(call)
            call.talk()
            pair.end_calls()


# -- ICE restarts that are no matter of course ----------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["alice", "bob"])
@either_side
def test_ice_restart_while_held(who: str, holder: str, pair: Pair) -> None:
    call = pair.call()
    call.talk()
    if holder == "alice":
        pair.alice.do(call.call.hold)
    else:
        call.bob("hold")
        pair.alice.expect(o.CallHeld, originator=o.Originator.REMOTE)
    before = call.descriptions()
    if who == "alice":
        assert pair.alice.do(call.call.restart_ice)
    else:
        renegotiate(call, ice_restart=True)
    for old, new in zip(before, call.descriptions(), strict=True):
        assert not lines(old.encode(), "a=ice-pwd:") & lines(new.encode(), "a=ice-pwd:")
    assert len(call.call.held_by) == 1
    if holder == "alice":
        call.they_hear()  # who holds goes on sending
        pair.alice.do(call.call.resume)
    else:
        # JsSIP switches its tracks off: silence, which is sent.
        call.nothing_reaches(them=["audio"])
        call.bob("resume")
        pair.alice.expect(o.CallResumed, originator=o.Originator.REMOTE)
    call.talk()


# -- what the page refuses ------------------------------------------------------------------------------------------------


def each_change(call: MediaCall) -> dict[str, Callable[[], object]]:
    change, do = call.call.change_media, call.alice.do
    return {
        "line": lambda: do(change, add=(("video", Direction.SENDONLY),)),
        "removal": lambda: do(change, remove=(call.line("video"),)),
        "directions": lambda: do(change, directions=((call.line("audio"), Direction.RECVONLY),)),
        "codecs": lambda: do(change, codecs=CodecPreferences(prefer=("audio/PCMU", "video/H264"))),
        "update": lambda: do(change, directions=((call.line("video"), Direction.INACTIVE),), use_update=True),
        "hold": lambda: do(call.call.hold),
    }


@pytest.mark.parametrize("refusal", [488, "browser"])
def test_page_refuses_our_offers(refusal: object, pair: Pair, record_property: Record) -> None:
    """By itself, or because its browser cannot use them: everything goes on as it was."""
    call = pair.call(media=(AUDIO, VIDEO))
    call.talk()
    call.watch()
    lines_before = call.call.lines
    with gaps(call, record_property, f"offers refused by {refusal}"):
        for change in each_change(call).values():
            call.bob("refuse", offers=[refusal])
            with pytest.raises(CommandError) as error:
                change()
            assert error.value.status == 488
            assert call.call.lines == lines_before
            assert not call.call.held_by
        call.bob("refuse", offers=[refusal])
        assert pair.alice.do(call.call.restart_ice) is False
        call.talk()
        call.watch()
    both_use(call, "opus", "VP8")
    # Nothing of what was refused comes about with what is accepted later.
    assert pair.alice.do(call.call.restart_ice) is True
    assert [line.direction for line in call.call.lines] == [Direction.SENDRECV] * 2
    both_use(call, "opus", "VP8")
    each_change(call)["line"]()
    call.they_see(YELLOW, 1)


def test_page_whose_offer_we_refuse_hangs_up(pair: Pair) -> None:
    """JsSIP ends the call when its offer is refused; nothing is left."""
    call = pair.call(media=(AUDIO, VIDEO))
    call.talk()
    call.bob("edit", local=[["^a=rtcp-mux.*\\r\\n", ""]])
    with pytest.raises(PeerError, match="webrtc_error"):
        renegotiate(call)
    ended = pair.alice.do(call.call.wait_ended)
    assert (ended.originator, ended.cause) == (o.Originator.REMOTE, o.Cause.TERMINATED)
    assert [m.status for m in pair.alice.sent("INVITE") if isinstance(m, Response)][-1] == 488


# -- several calls, and changes at the same time ------------------------------------------------------------------------

TONES = (400.0, 1000.0, 1500.0)
PICTURES = (RED, GREEN, YELLOW)


def test_several_calls_of_one_engine_and_one_page(pair: Pair) -> None:
    """Each has its own media, and what happens to one is nothing to the others."""
    calls = [
        pair.call(
            caller=("alice", "bob")[n % 2],
            media=(AUDIO, VIDEO),
            setup=MediaSetup(audio=Tone(tone), video=TestPattern(color=color)),
        )
        for n, (tone, color) in enumerate(zip(TONES, PICTURES, strict=True))
    ]

    def all_flow(left: list[int]) -> None:
        for n in left:
            calls[n].they_hear(TONES[n])
            calls[n].they_see(PICTURES[n])
            calls[n].we_hear()
            calls[n].we_see()

    all_flow([0, 1, 2])
    held, changed, ended = calls
    pair.alice.do(held.call.hold)
    pair.alice.do(changed.call.change_media, codecs=CodecPreferences(prefer=("audio/PCMU", "video/H264")))
    pair.alice.do(ended.call.hang_up)
    ended.bob.expect("call", state="ended")
    held.nothing_reaches(us=["audio", "video"])
    all_flow([1])
    pair.alice.do(held.call.resume)
    all_flow([0, 1])


def test_our_change_waits_for_the_page_s(pair: Pair, record_property: Record) -> None:
    """Asked for while an offer of the page is under way, ours is made after it: both are done."""
    call = pair.call()
    call.talk()
    with gaps(call, record_property, "both change"):
        for _ in range(3):
            before = len(call.call.lines)
            call.bob("change_lines", codecs={"audio": ["audio/PCMU" if before % 4 == 1 else "audio/opus"]})
            theirs = call.bob.send("renegotiate")
            pair.alice.expect_request("INVITE")
            pair.alice.do(call.call.change_media, add=(("video", Direction.SENDONLY),))
            call.bob.peer.wait_reply(theirs)
            assert len(call.call.lines) == before + 1
            call.they_see(RED if before == 1 else YELLOW, before - 1)
            call.talk()


def test_glare_of_new_lines(kamailio: Kamailio, browser: BrowserPeer) -> None:
    """JsSIP does not survive it (see test_dialogs.py); we do, with everything released."""
    with TcpRelay(kamailio.tcp_port) as relay, pair_of(kamailio, browser, "glare", via=relay.port) as pair:
        call = pair.call(media=(AUDIO, VIDEO))
        call.watch()
        call.bob("add_line", direction="sendonly")
        relay.pause()
        ours = pair.alice.start(call.call.change_media, add=(("video", Direction.SENDONLY),))
        theirs = call.bob.send("renegotiate")
        until(lambda: call.bob("evaluate", expression=OFFERED)["result"], bool, "the page does not offer")
        relay.resume()
        ended = pair.alice.do(call.call.wait_ended)
        assert ended.originator is o.Originator.REMOTE and "Media Renegotiation Failed" in ended.detail
        assert ours.exception(1) is None or isinstance(ours.exception(1), CommandError)
        with pytest.raises(PeerError, match="webrtc_error"):
            call.bob.peer.wait_reply(theirs)
        pair.end_calls()
        again = pair.call(media=(AUDIO, VIDEO))
        again.watch()
        pair.end_calls()


# The page has said its offer, and has no answer.
OFFERED = 'Array.from(rig.calls.values()).at(-1).session.connection.signalingState === "have-local-offer"'


def color_of(party: Ours, call: Call, mid: str) -> tuple[int, int, int] | None:
    return next((line.color for line in party.do(call.stats).lines if line.mid == mid), None)


def test_glare_of_new_lines_between_two_of_ours(kamailio: Kamailio) -> None:
    """Each is refused once, waits a time of its own, and gets its line."""
    setups = [
        MediaSetup(audio=Tone(hertz), video=TestPattern(color=color), further_video=(TestPattern(color=color),))
        for hertz, color in ((500, RED), (900, GREEN))
    ]
    with (
        TcpRelay(kamailio.tcp_port) as relay,
        Ours("anyio-asyncio", "alice") as alice,
        Ours("anyio-asyncio", "carol") as carol,
    ):
        for party in (alice, carol):
            party.connect(f"ws://127.0.0.1:{relay.port}")
        calling = alice.call("carol", setup=setups[0])
        theirs = carol.answer(setup=setups[1])
        ours = calling.result(PATIENCE)
        alice.hears(ours, 900)
        relay.pause()
        pairs = [(alice, ours), (carol, theirs)]
        changes = [party.start(call.change_media, add=(("video", Direction.SENDONLY),)) for party, call in pairs]
        for party, _ in pairs:
            until(partial(party.requests, "INVITE"), lambda sent: sent and b"m=video" in sent[-1].body, "no offer")
        relay.resume()
        mids = [change.result(PATIENCE)[0] for change in changes]
        assert len(set(mids)) == 2
        for party, _ in pairs:
            assert any(isinstance(m, Response) and m.status == 491 for m in party.sent("INVITE"))
        for (party, call), mid, color in zip(pairs, reversed(mids), (GREEN, RED), strict=True):
            until(partial(color_of, party, call, mid), partial(is_color, wanted=color), "the new line of the other")
        alice.hears(ours, 900)
        carol.hears(theirs, 500)
        alice.do(ours.hang_up)
