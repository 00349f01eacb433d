"""W3C statistics of real calls: what one engine says against what the other says of the same streams."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator

import pytest
from aiortc.rtp import RtcpSenderInfo, RtpPacket
from attrs import evolve, fields
from av.frame import Frame

from sipproto.agent.media import MediaReport, MediaState
from sipproto.agent.stats import (
    CandidatePairStats,
    CertificateStats,
    CodecStats,
    InboundRtpStats,
    LocalCandidateStats,
    MediaSourceStats,
    OutboundRtpStats,
    QualityLimitationDurations,
    RemoteCandidateStats,
    RemoteInboundRtpStats,
    RemoteOutboundRtpStats,
    Stats,
    TransportStats,
    as_w3c,
)
from sipproto.sdp import Codec
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone, _rtp, _sender
from sipproto_aiortc._encoders import Target
from sipproto_aiortc._reception import Reception, Sequence
from tests.media import _av1
from tests.media._rig import End, Relay, connect, hears, sees, until
from tests.media._sending import only
from tests.media.test_aiortc_engine import prefer

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def ends(engines: tuple[AiortcEngine, AiortcEngine]) -> Iterator[tuple[End, End]]:
    a = End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern(color=RED)))
    b = End(engines[1], MediaSetup(audio=Tone(1100.0, level=0.5), video=TestPattern()))
    yield a, b
    a.close()
    b.close()


@pytest.fixture(scope="module")
def talking(engines: tuple[AiortcEngine, AiortcEngine]) -> Iterator[tuple[End, End]]:
    """A call that has gone on until RTCP had come both ways."""
    a = End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern(color=RED)))
    b = End(engines[1], MediaSetup(audio=Tone(1100.0, level=0.5), video=TestPattern()))
    connect(a, b, "audio video")
    until(lambda: reported(a) and reported(b))
    until(sees(b, RED))
    yield a, b
    a.close()
    b.close()


def inbound(report: MediaReport, kind: str, number: int = 0) -> InboundRtpStats:
    found = report.inbound(kind, number)
    assert found is not None
    return found


def decoded(end: End, number: int = 0) -> int:
    """Frames of video."""
    found = end.stats().inbound("video", number)
    return found.frames_decoded or 0 if found is not None else 0


def outbound(report: MediaReport, kind: str, number: int = 0) -> OutboundRtpStats:
    found = report.outbound(kind, number)
    assert found is not None
    return found


def named(report: MediaReport, ident: str | None, kind: type[Stats]) -> Stats:
    found = report.get(ident)
    assert isinstance(found, kind), (ident, found)
    return found


def shut(end: End) -> None:
    """Stops what an end sends, while the other goes on receiving."""
    loop, call = end.engine._loop, end.engine._calls[end.call]
    assert loop is not None
    for line in call._lines.values():
        loop.call_soon_threadsafe(line.flow, False)


def reported(end: End) -> bool:
    """Whether both kinds of RTCP reports have come for both lines, and a round trip was measured."""
    report = end.stats()
    remote = [entry for entry in report.stats if isinstance(entry, RemoteInboundRtpStats)]
    senders = [entry for entry in report.stats if isinstance(entry, RemoteOutboundRtpStats)]
    return len(remote) == len(senders) == 2 and all(entry.round_trip_time_measurements for entry in remote)


def test_what_one_sends_the_other_receives(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(lambda: decoded(b) > 0)
    early = a.stats()
    until(lambda: inbound(a.stats(), "video").frames_per_second == pytest.approx(15, abs=3))
    until(lambda: all((inbound(b.stats(), kind).jitter or 0) < 0.2 for kind in ("audio", "video")))
    shut(a)
    until(lambda: not outbound(a.stats(), "video").active)
    before = a.stats()
    until(lambda: inbound(b.stats(), "audio").packets_received == outbound(before, "audio").packets_sent)
    until(lambda: inbound(b.stats(), "video").packets_received == outbound(before, "video").packets_sent)
    until(lambda: inbound(b.stats(), "video").frames_decoded == outbound(before, "video").frames_sent)
    after = b.stats()
    for kind in ("audio", "video"):
        sent, received = outbound(before, kind), inbound(after, kind)
        assert sent.ssrc == received.ssrc
        assert (sent.packets_sent, sent.bytes_sent) == (received.packets_received, received.bytes_received)
        assert sent.header_bytes_sent == received.header_bytes_received >= 12 * sent.packets_sent
        assert received.packets_lost == 0
        last = received.last_packet_received_timestamp
        assert last is not None and early.stats[0].timestamp < last <= received.timestamp
        assert received.jitter is not None and 0 <= received.jitter < 0.2
        then = outbound(early, kind)
        assert sent.packets_sent > then.packets_sent and sent.id == then.id and sent.timestamp > then.timestamp
    sent, received = outbound(before, "video"), inbound(after, "video")
    assert sent.frames_encoded is not None and sent.frames_sent and received.frames_received
    # W3C counts a frame as encoded by the encoder and as sent by the line: one may be in between when the line stops.
    unsent = sent.frames_encoded - sent.frames_sent
    assert unsent in (0, 1)
    assert received.frames_received == sent.frames_sent
    assert received.frames_decoded == received.frames_received and received.frames_dropped == 0
    assert sent.key_frames_encoded is not None and received.key_frames_decoded is not None
    assert 1 <= received.key_frames_decoded <= sent.key_frames_encoded <= received.key_frames_decoded + 1 + unsent
    assert sent.key_frames_encoded < sent.frames_sent / 2  # a still picture is not encoded anew each time
    assert (sent.frame_width, sent.frame_height) == (received.frame_width, received.frame_height) == (320, 240)
    assert (sent.nack_count, sent.retransmitted_packets_sent) == (0, 0)
    assert sent.pli_count == received.pli_count
    assert sent.total_encode_time is not None and 0 < sent.total_encode_time < 5
    assert (sent.encoder_implementation, received.decoder_implementation) == ("libvpx", "vp8")
    assert sent.target_bitrate is not None and 100_000 < sent.target_bitrate < 5_000_000


def test_the_levels_of_a_tone(talking: tuple[End, End]) -> None:
    a, b = talking
    until(hears(b, 700))
    until(hears(a, 1100))
    for end, level in ((a, 0.5), (b, 0.3)):
        rms = level / 2**0.5
        until(lambda: inbound(end.stats(), "audio").audio_level == pytest.approx(rms, rel=0.1))  # noqa: B023
        heard = inbound(end.stats(), "audio")
        assert heard.total_samples_duration is not None and heard.total_samples_received is not None
        assert heard.total_samples_received == pytest.approx(48000 * heard.total_samples_duration)
        assert heard.total_audio_energy == pytest.approx(heard.total_samples_duration * rms**2, rel=0.2)
        other = a if end is b else b
        source = named(report := other.stats(), outbound(report, "audio").media_source_id, MediaSourceStats)
        assert isinstance(source, MediaSourceStats)
        assert source.audio_level == pytest.approx(rms, rel=0.05)
        assert source.total_audio_energy == pytest.approx((source.total_samples_duration or 0) * rms**2, rel=0.05)


def test_the_peer_reports_what_we_know(talking: tuple[End, End]) -> None:
    a, b = talking
    report, other = a.stats(), b.stats()
    for kind in ("audio", "video"):
        said = named(report, outbound(report, kind).remote_id, RemoteInboundRtpStats)
        assert isinstance(said, RemoteInboundRtpStats)
        assert said.local_id == outbound(report, kind).id
        assert (said.packets_lost, said.fraction_lost) == (0, 0.0)
        assert said.jitter is not None and 0 <= said.jitter < 0.2
        assert said.round_trip_time is not None and 0 <= said.round_trip_time < 0.5
        assert said.round_trip_time_measurements and said.total_round_trip_time is not None
        assert said.total_round_trip_time / said.round_trip_time_measurements < 0.5
        assert said.timestamp <= report.stats[0].timestamp
        theirs = named(report, inbound(report, kind).remote_id, RemoteOutboundRtpStats)
        assert isinstance(theirs, RemoteOutboundRtpStats)
        assert theirs.local_id == inbound(report, kind).id
        assert theirs.packets_sent is not None and 0 < theirs.packets_sent <= outbound(other, kind).packets_sent
        assert theirs.bytes_sent is not None and 0 < theirs.bytes_sent <= outbound(other, kind).bytes_sent
        assert theirs.remote_timestamp == pytest.approx(time.time(), abs=4)
        assert theirs.reports_sent and theirs.reports_sent >= 1
        assert theirs.round_trip_time is None
    line = report.line("audio")
    assert line is not None and line.round_trip_time is not None


def test_ids_lead_to_what_they_name(talking: tuple[End, End]) -> None:
    a, b = talking
    report = a.stats()
    assert len({entry.id for entry in report.stats}) == len(report.stats)
    kinds = {"codec": CodecStats, "transport": TransportStats, "media_source": MediaSourceStats}
    for entry in report.stats:
        for attribute in fields(type(entry)):
            value = getattr(entry, attribute.name)
            if attribute.name.endswith("_id") and value is not None:
                target = report.get(value)
                assert target is not None, (entry.type, attribute.name, value)
                assert isinstance(target, kinds.get(attribute.name.removesuffix("_id"), object))
    pair = report.selected_pair
    assert pair is not None and (pair.state, pair.nominated, pair.writable) == ("succeeded", True, True)
    ours = named(report, pair.local_candidate_id, LocalCandidateStats)
    theirs = named(report, pair.remote_candidate_id, RemoteCandidateStats)
    assert isinstance(ours, LocalCandidateStats) and isinstance(theirs, RemoteCandidateStats)
    assert ours.protocol == theirs.protocol == "udp"
    far = b.stats().selected_pair
    assert far is not None and far.priority == pair.priority
    far_local = b.stats().get(far.local_candidate_id)
    assert isinstance(far_local, LocalCandidateStats) and (far_local.address, far_local.port) == (
        theirs.address,
        theirs.port,
    )
    until(
        lambda: (
            (now := a.stats().selected_pair)
            and now.last_packet_received_timestamp == pytest.approx(now.timestamp, abs=1)
        )
    )
    transport = named(report, pair.transport_id, TransportStats)
    assert isinstance(transport, TransportStats)
    assert (transport.ice_role, transport.ice_state, transport.dtls_state) == ("controlling", "connected", "connected")
    remote = named(report, transport.remote_certificate_id, CertificateStats)
    assert isinstance(remote, CertificateStats)
    other = next(entry for entry in b.stats().stats if isinstance(entry, TransportStats))
    assert other.local_certificate_id == remote.id
    assert {transport.dtls_role, other.dtls_role} == {"client", "server"}
    media = sum(outbound(report, kind).packets_sent for kind in ("audio", "video"))
    assert transport.packets_sent is not None and transport.packets_sent > media
    codec = named(report, outbound(report, "audio").codec_id, CodecStats)
    assert isinstance(codec, CodecStats)
    assert (codec.mime_type, codec.clock_rate, codec.channels, codec.payload_type) == ("audio/opus", 48000, 2, 111)


def test_a_report_is_plain_json_with_the_names_of_w3c(talking: tuple[End, End]) -> None:
    _, b = talking
    report = b.stats()
    plain = json.loads(json.dumps(report.as_w3c()))
    assert set(plain) == {entry.id for entry in report.stats}
    video = plain[inbound(report, "video").id]
    assert video["type"] == "inbound-rtp" and video["framesDecoded"] > 0 and "audioLevel" not in video
    assert video["packetsLost"] == 0 and video["timestamp"] == inbound(report, "video").timestamp * 1000
    audio = plain[inbound(report, "audio").id]
    assert audio["audioLevel"] > 0
    assert audio["concealedSamples"] >= 0 and audio["jitterBufferEmittedCount"] > 0
    assert not {"framesDecoded", "nackCount", "frameWidth", "jitterBufferMinimumDelay"} & set(audio)
    assert not any(value is None for entry in plain.values() for value in entry.values())
    assert {entry["type"] for entry in plain.values()} == {
        *("codec", "inbound-rtp", "outbound-rtp", "remote-inbound-rtp", "remote-outbound-rtp", "media-source"),
        *("candidate-pair", "local-candidate", "remote-candidate", "transport", "certificate"),
    }


def test_nothing_is_invented_before_media_flow(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a = End(engines[0])
    try:
        a.negotiator.add_line("audio")
        a.open()
        report = a.stats()
        assert report.selected_pair is None and report.inbound("audio") is None and report.outbound("audio") is None
        (transport,) = (entry for entry in report.stats if isinstance(entry, TransportStats))
        assert (transport.ice_state, transport.dtls_state) == ("new", "new")
        assert transport.remote_certificate_id is None and transport.srtp_cipher is None
        plain = as_w3c(transport)
        assert "selectedCandidatePairId" not in plain and "tlsVersion" not in plain
    finally:
        a.close()


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_loss_is_counted_on_both_sides(engines: tuple[AiortcEngine, AiortcEngine], codec: str) -> None:
    relay = Relay()
    a = End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern(width=640, height=480, frame_rate=30)))
    b = End(engines[1])
    try:
        prefer(a, "video", codec)
        connect(a, b, "audio video", change=relay.change)
        until(lambda: decoded(b) > 10)
        relay.lose_every = 10
        until(lambda: (inbound(b.stats(), "audio").packets_lost or 0) > 5)
        until(lambda: (outbound(a.stats(), "video").retransmitted_packets_sent or 0) > 3, 10)
        until(lambda: (inbound(b.stats(), "video").retransmitted_packets_received or 0) > 1)
        until(lambda: loss_told_of(a), 10)
        there = inbound(b.stats(), "video")
        here = outbound(a.stats(), "video")
        assert there.packets_lost and there.nack_count and here.nack_count
        assert here.retransmitted_packets_sent is not None and there.retransmitted_packets_received is not None
        assert here.retransmitted_packets_sent >= there.retransmitted_packets_received > 0
        assert there.rtx_ssrc == here.rtx_ssrc
        assert here.packets_sent > there.packets_received
    finally:
        a.close()
        b.close()
        relay.close()


def loss_told_of(end: End) -> float:
    """The share of our audio that the peer missed, by its last report."""
    report = end.stats()
    said = report.get(outbound(report, "audio").remote_id)
    return said.fraction_lost or 0.0 if isinstance(said, RemoteInboundRtpStats) else 0.0


@pytest.mark.parametrize("codec", ["VP8", "VP9"])
def test_key_frames_are_asked_for_and_counted(engines: tuple[AiortcEngine, AiortcEngine], codec: str) -> None:
    relay = Relay()
    a, b = End(engines[0], MediaSetup(video=TestPattern())), End(engines[1])
    try:
        prefer(a, "video", codec)
        connect(a, b, "video", change=relay.change)
        until(lambda: decoded(b) > 5)
        before = outbound(a.stats(), "video")
        receiver = b.engine._calls[b.call]._lines[0]._receiver
        assert receiver is not None
        loop = b.engine._loop
        assert loop is not None
        loop.call_soon_threadsafe(lambda: loop.create_task(receiver.recover()))
        until(lambda: (outbound(a.stats(), "video").pli_count or 0) > (before.pli_count or 0))
        wanted = (before.key_frames_encoded or 0) + 1
        until(lambda: (outbound(a.stats(), "video").key_frames_encoded or 0) >= wanted)
        until(lambda: (inbound(b.stats(), "video").key_frames_decoded or 0) >= wanted)
        assert inbound(b.stats(), "video").pli_count == outbound(a.stats(), "video").pli_count
    finally:
        a.close()
        b.close()
        relay.close()


class _Av1Peer:
    """Sends a recorded stream again and again, as the encoder of a line that somebody else has."""

    quick = False
    seconds = 0.0

    def __init__(self) -> None:
        self._units = itertools.cycle(enumerate(_av1.recorded()[:6]))
        self._sent = 0

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        number, unit = next(self._units)
        self._sent += 1
        return _av1.payloads(unit, key_frame=number == 0), 6000 * self._sent


def test_av1_of_a_peer_is_received_repaired_and_counted(
    engines: tuple[AiortcEngine, AiortcEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sender, "new_encoder", lambda *_: _Av1Peer())
    monkeypatch.setattr(_rtp, "RECEIVE_ONLY", ())
    relay = Relay()
    sends = evolve(only(engines[0].capabilities, "video", "AV1"), receive_only=())
    a, b = End(engines[0], MediaSetup(video=TestPattern()), sends), End(engines[1])
    b.negotiator = End(b.engine, capabilities=sends).negotiator
    try:
        connect(a, b, "video", change=relay.change)
        until(lambda: decoded(b) > 5)
        relay.lose_share = 0.1
        until(lambda: (inbound(b.stats(), "video").nack_count or 0) > 2 and decoded(b) > 40, timeout=12)
        relay.lose_share = 0.0
        got = inbound(b.stats(), "video")
        assert (got.frame_width, got.frame_height) == (320, 180)
        assert got.decoder_implementation == "libdav1d"
        assert 40 / 6 - 2 < (got.key_frames_decoded or 0) <= decoded(b) / 6 + 2
        assert got.frames_dropped == 0
    finally:
        a.close()
        b.close()
        relay.close()


def test_two_lines_of_a_kind(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video video")
    until(lambda: b.stats().inbound("video", 1) is not None)
    until(lambda: decoded(b, 1) > 3)
    report, other = b.stats(), a.stats()
    assert inbound(report, "video", 0).ssrc == outbound(other, "video", 0).ssrc
    assert inbound(report, "video", 1).ssrc == outbound(other, "video", 1).ssrc
    assert inbound(report, "video", 0).ssrc != inbound(report, "video", 1).ssrc
    assert report.inbound("video", 2) is None and report.inbound("screen") is None


# -- without a call --------------------------------------------------------------------------------------------------------


def packet(number: int, timestamp: int, ssrc: int = 1, payload: bytes = b"12345") -> RtpPacket:
    return RtpPacket(sequence_number=number & 0xFFFF, timestamp=timestamp & 0xFFFFFFFF, ssrc=ssrc, payload=payload)


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [
        ([1, 2, 3], 0),
        ([1, 2, 5], 2),
        ([1, 2, 5, 3, 4], 0),  # late is not lost
        ([1, 2, 2, 3], -1),  # twice (RFC 3550 A.3)
        ([65534, 65535, 0, 1, 4], 2),
        ([5, 3], -1),
    ],
)
def test_losses(numbers: list[int], lost: int) -> None:
    sequence = Sequence()
    for number in numbers:
        sequence.add(packet(number, number * 960), 48000, number / 50)
    assert sequence.lost == lost
    sequence.restart()
    sequence.add(packet(40_000, 0), 48000, 9.0)
    assert sequence.lost == lost


def test_jitter_is_that_of_rfc_3550() -> None:
    sequence = Sequence()
    start = 0xFFFFFFFF - 3000  # the timestamps go over their end
    for number in range(400):
        late = 0.010 if number % 2 else 0.0
        sequence.add(packet(number, start + number * 960), 48000, number * 0.02 + late)
    assert sequence.jitter == pytest.approx(0.010, rel=0.01)  # each differs from the one before by 10 ms


def test_streams_are_bounded_and_nothing_lost_is_forgotten() -> None:
    reception = Reception()
    codec = Codec(payload_type=0, name="PCMU", clock_rate=8000)
    for ssrc in range(100):
        for number in (1, 3):
            reception.add(packet(number, number * 160, ssrc), codec, 17, 0.02 * number)
    assert len(reception.streams) <= 8
    assert reception.lost == 100 and reception.packets == 200
    assert reception.current is not None and reception.current.ssrc == 99
    assert (reception.current.all.payload, reception.current.all.header) == (10, 24)


def test_reports_of_unknown_streams_are_nothing() -> None:
    reception = Reception()
    info = RtcpSenderInfo(ntp_timestamp=0, rtp_timestamp=0, packet_count=0, octet_count=0)
    reception.reported(5, info)
    assert reception.streams == ()


def test_names_and_units_of_w3c() -> None:
    stats = OutboundRtpStats(
        id="o",
        timestamp=1.5,
        ssrc=1,
        kind="video",
        quality_limitation_durations=QualityLimitationDurations(cpu=2.0),
        rtx_ssrc=4,
    )
    assert as_w3c(stats) == {
        "type": "outbound-rtp",
        "id": "o",
        "timestamp": 1500.0,
        "ssrc": 1,
        "kind": "video",
        "rtxSsrc": 4,
        "packetsSent": 0,
        "bytesSent": 0,
        "headerBytesSent": 0,
        "qualityLimitationDurations": {"none": 0.0, "cpu": 2.0, "bandwidth": 0.0, "other": 0.0},
    }


def test_a_report_without_statistics_has_no_pair() -> None:
    report = MediaReport(state=MediaState.CONNECTED)
    assert report.selected_pair is None and report.as_w3c() == {} and report.get(None) is None
    pair = CandidatePairStats(
        id="p",
        timestamp=0.0,
        transport_id="t",
        local_candidate_id="l",
        remote_candidate_id="r",
        state="succeeded",
        nominated=True,
    )
    assert evolve(report, stats=(pair,)).selected_pair is None  # nominated, but no transport has selected it
