"""What we measure of a call with a browser, against what that measures of the same call; its digits in RTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sipproto.agent.media import MediaReport
from sipproto.agent.stats import (
    CodecStats,
    LocalCandidateStats,
    RemoteInboundRtpStats,
    RemoteOutboundRtpStats,
    TransportStats,
)
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_client import Call

from .child import PATIENCE
from .kamailio import Kamailio
from .media_calls import until
from .ours import Ours, one_runtime
from .peers import HERTZ, BrowserPeer, Party, each_browser

pytestmark = [pytest.mark.interop, each_browser]
BOTH = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
REPORT = """(async () => {
    const { session } = [...rig.calls.values()].at(-1);
    return [...(await session.connection.getStats()).values()];
})()"""
# Browsers have no way to tell of digits that they hear.
DIAL = """(() => {
    const { session } = [...rig.calls.values()].at(-1);
    session.connection.getSenders().find(({ track }) => track?.kind === "audio").dtmf.insertDTMF("159D*#", 100, 70);
})()"""


@pytest.fixture
def bob(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(kamailio, kamailio.ws_url)
        yield page
    finally:
        page("close")
        browser.forget_events()


def establish(alice: Ours, bob: Party) -> Call:
    setup = MediaSetup(audio=Tone(HERTZ["alice"]), video=TestPattern(width=320, height=240, frame_rate=20))
    calling = alice.start(alice.endpoint.call, "sip:bob@rig.test", BOTH, setup=setup)
    bob.expect("call", state="incoming")
    bob("answer")
    call = calling.result(PATIENCE)
    bob.expect("call", state="established")
    return call


PROBES, PADDED = 10, 300  # packets of padding that a call begins with, and octets of each, which count as header


def theirs(bob: Party, what: str, /, **match: Any) -> dict[str, Any]:
    """One dictionary of the browser's report."""
    entries = bob("evaluate", expression=REPORT)["result"]
    found = [e for e in entries if e["type"] == what and all(e.get(name) == value for name, value in match.items())]
    assert len(found) == 1, (what, match, found)
    return dict(found[0])


def is_steady(report: MediaReport) -> bool:
    """Reports have come for both lines, the last ones without delay, and pictures are as many as there should be."""
    remote = [e for e in report.stats if isinstance(e, RemoteInboundRtpStats) and e.round_trip_time_measurements]
    senders = [e for e in report.stats if isinstance(e, RemoteOutboundRtpStats)]
    video = report.outbound("video")
    return (
        len(remote) == len(senders) == 2
        and all(e.round_trip_time is not None and e.round_trip_time < 0.5 for e in remote)
        and all(e.fraction_lost is not None and e.fraction_lost < 0.2 for e in remote)
        and video is not None
        and video.frames_per_second is not None
        and abs(video.frames_per_second - 20) <= 5
        and (video.frames_sent or 0) > 60
    )


@one_runtime
def test_both_ends_measure_the_same(runtime: str, kamailio: Kamailio, browser: BrowserPeer, bob: Party) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        call = establish(alice, bob)
        until(lambda: alice.do(call.stats), is_steady, "the call does not get steady", 2 * PATIENCE)
        earlier = alice.do(call.stats)
        there = {kind: theirs(bob, "inbound-rtp", kind=kind) for kind in ("audio", "video")}
        from_there = {kind: theirs(bob, "outbound-rtp", kind=kind) for kind in ("audio", "video")}
        later = alice.do(call.stats)
        for kind in ("audio", "video"):
            before, after, received = earlier.outbound(kind), later.outbound(kind), there[kind]
            assert before is not None and after is not None
            assert received["ssrc"] == after.ssrc
            padding = PROBES if kind == "video" and browser.lacks("padding of inbound-rtp") else 0
            slack = 0.05 * after.packets_sent + padding
            assert before.packets_sent - slack <= received["packetsReceived"] <= after.packets_sent
            assert before.bytes_sent * 0.95 <= received["bytesReceived"] <= after.bytes_sent
            least = before.header_bytes_sent * 0.95 - padding * PADDED
            assert least <= received["headerBytesReceived"] <= after.header_bytes_sent
            heard_before, heard, sent = earlier.inbound(kind), later.inbound(kind), from_there[kind]
            assert heard_before is not None and heard is not None
            assert heard.ssrc == sent["ssrc"]
            assert heard_before.packets_received <= sent["packetsSent"] <= heard.packets_received * 1.05 + 5
            assert heard_before.bytes_received <= sent["bytesSent"] <= heard.bytes_received * 1.05 + 5000
            said = later.get(after.remote_id)
            assert isinstance(said, RemoteInboundRtpStats)
            assert said.round_trip_time is not None and 0 <= said.round_trip_time < 0.5
            assert said.fraction_lost is not None and said.fraction_lost < 0.2
            codec = later.get(heard.codec_id)
            assert isinstance(codec, CodecStats)
            used = theirs(bob, "codec", id=sent["codecId"])
            assert (codec.mime_type, codec.clock_rate) == (used["mimeType"], used["clockRate"])
            assert codec.payload_type == used["payloadType"]
        shown, sent_video = there["video"], later.outbound("video")
        assert sent_video is not None and sent_video.frames_sent is not None
        assert shown["framesReceived"] == pytest.approx(sent_video.frames_sent, rel=0.1, abs=5)
        assert (shown["frameWidth"], shown["frameHeight"]) == (sent_video.frame_width, sent_video.frame_height)
        assert shown["keyFramesDecoded"] <= (sent_video.key_frames_encoded or 0)
        assert shown.get("pliCount", 0) == sent_video.pli_count
        assert sent_video.frames_per_second == pytest.approx(20, abs=5)
        seen = later.inbound("video")
        assert seen is not None and seen.frames_decoded
        assert seen.frames_decoded == pytest.approx(from_there["video"]["framesSent"], rel=0.15, abs=5)
        assert (seen.frame_width, seen.frame_height) == (
            from_there["video"]["frameWidth"],
            from_there["video"]["frameHeight"],
        )
        heard = later.inbound("audio")
        assert heard is not None and heard.audio_level is not None
        if not browser.lacks("audioLevel of media-source"):
            source = theirs(bob, "media-source", kind="audio")
            assert heard.audio_level == pytest.approx(source["audioLevel"], rel=0.5)  # theirs is that of peaks
        transport, pair = theirs(bob, "transport"), later.selected_pair
        assert pair is not None
        ours = later.get(pair.transport_id)
        assert isinstance(ours, TransportStats)
        assert (ours.srtp_cipher, ours.tls_version) == (transport["srtpCipher"], transport["tlsVersion"])
        assert {ours.dtls_role, transport["dtlsRole"]} == {"client", "server"}
        chosen = theirs(bob, "candidate-pair", id=transport["selectedCandidatePairId"])
        remote = theirs(bob, "remote-candidate", id=chosen["remoteCandidateId"])
        local = later.get(pair.local_candidate_id)
        assert isinstance(local, LocalCandidateStats)
        assert (local.address, local.port) == (remote["address"], remote["port"])
        print({kind: (later.inbound(kind), later.outbound(kind)) for kind in ("audio", "video")})
        bob("hangup")
        alice.do(call.wait_ended)


@one_runtime
def test_digits_of_the_page_in_rtp(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    from sipproto.agent.media import DigitHeard

    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        call = establish(alice, bob)
        alice.hears(call, HERTZ["bob"])  # the page can send digits as soon as it is connected
        bob("evaluate", expression=DIAL)
        for event in (1, 5, 9, 15, 10, 11):
            heard = alice.expect(DigitHeard)
            assert heard.event == event
            assert heard.duration == pytest.approx(100, abs=25)
        bob("hangup")
        alice.do(call.wait_ended)
