"""The W3C statistics of a call, put together from what is counted on its lines and known of its transports.

Nothing here measures: a report that nobody asks for costs nothing but counters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from sipproto.agent.stats import (
    CandidatePairStats,
    CertificateStats,
    CodecStats,
    InboundRtpStats,
    LocalCandidateStats,
    MediaSourceStats,
    OutboundRtpStats,
    RemoteCandidateStats,
    RemoteInboundRtpStats,
    RemoteOutboundRtpStats,
    Stats,
    TransportStats,
)
from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._counters import knows_key_frames
from sipproto_aiortc._facts import CandidateFacts, CertificateFacts, IceFacts, PairFacts
from sipproto_aiortc._outlet import Flow
from sipproto_aiortc._reception import Reception, Stream
from sipproto_aiortc._sending import Encoding, Sending

_DECODERS = {
    "opus": "libopus",
    "g722": "g722",
    "pcmu": "pcm_mulaw",
    "pcma": "pcm_alaw",
    "vp8": "vp8",
    "vp9": "vp9",
    "h264": "h264",
    "av1": "libdav1d",
}
_EPOCH = 2_208_988_800  # 1970 in NTP seconds


@frozen(kw_only=True)
class LineCounters:
    """What is counted on a line. `sent` and `repaired`: what leaves as it is, and what leaves again (RTX)."""

    agreed: MediaLine
    reception: Reception
    sending: Sending | None
    encoding: Encoding | None
    sent: Flow
    repaired: Flow


def collect(lines: Sequence[LineCounters], transports: Mapping[int, IceFacts]) -> tuple[Stats, ...]:
    """All that is known now, by lines and then by transports (slots)."""
    now = time.monotonic()
    out: dict[str, Stats] = {}
    for line in lines:
        for entry in (*_inbound(line, now), *_outbound(line, now)):
            out.setdefault(entry.id, entry)
    for slot, facts in sorted(transports.items()):
        for entry in _transport(slot, facts, [line for line in lines if line.agreed.slot == slot], now):
            out.setdefault(entry.id, entry)
    return tuple(out.values())


def _transport_id(slot: int) -> str:
    return f"transport-{slot}"


def _codec(line: MediaLine, codec: Codec, direction: str, now: float) -> CodecStats:
    return CodecStats(
        id=f"codec-{line.mid}-{direction}-{codec.payload_type}",
        timestamp=now,
        payload_type=codec.payload_type,
        mime_type=f"{line.kind}/{codec.name}",
        clock_rate=codec.clock_rate,
        transport_id=_transport_id(line.slot),
        channels=codec.channels if line.kind == "audio" else None,
        sdp_fmtp_line=codec.parameters or None,
    )


# -- received ----------------------------------------------------------------------------------------------------------


def _inbound(line: LineCounters, now: float) -> Iterable[Stats]:
    agreed = line.agreed
    for stream in line.reception.streams:
        codec = _codec(agreed, stream.codec, "in", now)
        yield codec
        yield _inbound_rtp(agreed, stream, codec.id, now)
        if (report := stream.report) is not None:
            yield RemoteOutboundRtpStats(
                id=f"remote-outbound-{agreed.mid}-{stream.ssrc}",
                timestamp=report.arrival,
                ssrc=stream.ssrc,
                kind=agreed.kind,
                transport_id=_transport_id(agreed.slot),
                codec_id=codec.id,
                local_id=_inbound_id(agreed, stream),
                packets_sent=report.info.packet_count,
                bytes_sent=report.info.octet_count,
                remote_timestamp=report.info.ntp_timestamp / (1 << 32) - _EPOCH,
                reports_sent=report.count,
            )


def _inbound_id(agreed: MediaLine, stream: Stream) -> str:
    return f"inbound-{agreed.mid}-{stream.ssrc}"


def _inbound_rtp(agreed: MediaLine, stream: Stream, codec: str, now: float) -> InboundRtpStats:
    is_video, repairs = agreed.kind == "video", any(one.is_rtx for one in agreed.receive)
    pictures, sound, playing = stream.pictures, stream.sound, stream.playing
    return InboundRtpStats(
        id=_inbound_id(agreed, stream),
        timestamp=now,
        ssrc=stream.ssrc,
        kind=agreed.kind,
        transport_id=_transport_id(agreed.slot),
        codec_id=codec,
        mid=agreed.mid,
        remote_id=f"remote-outbound-{agreed.mid}-{stream.ssrc}" if stream.report is not None else None,
        rtx_ssrc=stream.rtx_ssrc,
        packets_received=stream.all.packets,
        bytes_received=stream.all.payload,
        header_bytes_received=stream.all.header,
        packets_lost=stream.sequence.lost,
        jitter=stream.sequence.jitter,
        last_packet_received_timestamp=stream.last_received,
        retransmitted_packets_received=stream.repeated.packets if repairs else None,
        retransmitted_bytes_received=stream.repeated.payload if repairs else None,
        nack_count=stream.asked.nacks if is_video else None,
        pli_count=stream.asked.plis if is_video else None,
        fir_count=stream.asked.firs if is_video else None,
        frames_received=stream.frames if is_video else None,
        frames_decoded=pictures.count if is_video else None,
        frames_dropped=stream.dropped if is_video else None,
        key_frames_decoded=stream.key_frames if is_video and knows_key_frames(stream.codec.name) else None,
        frame_width=pictures.width,
        frame_height=pictures.height,
        frames_per_second=pictures.rate(now),
        audio_level=sound.level,
        total_audio_energy=None if is_video else sound.energy,
        total_samples_duration=None if is_video else sound.duration,
        total_samples_received=None if is_video else sound.samples,
        packets_discarded=None if is_video else playing.discarded,
        concealed_samples=None if is_video else playing.concealed,
        silent_concealed_samples=None if is_video else playing.silent,
        concealment_events=None if is_video else playing.events,
        inserted_samples_for_deceleration=None if is_video else playing.inserted,
        removed_samples_for_acceleration=None if is_video else playing.removed,
        jitter_buffer_delay=None if is_video else playing.delay,
        jitter_buffer_target_delay=None if is_video else playing.target_delay,
        jitter_buffer_emitted_count=None if is_video else playing.emitted,
        fec_packets_received=playing.fec if stream.codec.name.lower() == "opus" else None,
        decoder_implementation=_DECODERS.get(stream.codec.name.lower()),
    )


# -- sent --------------------------------------------------------------------------------------------------------------


def _outbound(line: LineCounters, now: float) -> Iterable[Stats]:
    agreed, sending, encoding = line.agreed, line.sending, line.encoding
    if sending is None or encoding is None:
        return
    codec = _codec(agreed, encoding.codec, "out", now)
    yield codec
    yield _outbound_rtp(line, sending, encoding, codec.id, now)
    yield _source(agreed, sending, now)
    if (report := sending.feedback.report) is not None:
        yield RemoteInboundRtpStats(
            id=f"remote-inbound-{agreed.mid}-{agreed.ssrc}",
            timestamp=report.arrival,
            ssrc=agreed.ssrc,
            kind=agreed.kind,
            transport_id=_transport_id(agreed.slot),
            codec_id=codec.id,
            local_id=f"outbound-{agreed.mid}-{agreed.ssrc}",
            packets_lost=report.lost,
            jitter=report.jitter / encoding.codec.clock_rate,
            fraction_lost=report.fraction_lost,
            round_trip_time=report.round_trip_time,
            total_round_trip_time=report.total_round_trip_time,
            round_trip_time_measurements=report.measurements,
        )


def _outbound_rtp(line: LineCounters, sending: Sending, encoding: Encoding, codec: str, now: float) -> OutboundRtpStats:
    agreed, sent, repaired, feedback = line.agreed, line.sent.sent, line.repaired.sent, sending.feedback
    is_video, repairs = agreed.kind == "video", any(one.is_rtx for one in agreed.send)
    pictures, padding = sending.pictures, line.repaired.padding
    return OutboundRtpStats(
        id=f"outbound-{agreed.mid}-{agreed.ssrc}",
        timestamp=now,
        ssrc=agreed.ssrc,
        kind=agreed.kind,
        transport_id=_transport_id(agreed.slot),
        codec_id=codec,
        mid=agreed.mid,
        media_source_id=_source_id(agreed),
        remote_id=f"remote-inbound-{agreed.mid}-{agreed.ssrc}" if feedback.report is not None else None,
        rtx_ssrc=agreed.rtx_ssrc if repairs else None,
        active=line.sent.open and encoding.active,
        packets_sent=sent.packets + repaired.packets,
        bytes_sent=sent.payload + repaired.payload,
        header_bytes_sent=sent.header + repaired.header,
        retransmitted_packets_sent=repaired.packets - padding.packets if repairs else None,
        retransmitted_bytes_sent=repaired.payload - padding.payload if repairs else None,
        nack_count=feedback.nacks if is_video else None,
        pli_count=feedback.plis if is_video else None,
        fir_count=feedback.firs if is_video else None,
        frames_encoded=pictures.count if is_video else None,
        key_frames_encoded=sending.key_frames if is_video and knows_key_frames(encoding.codec.name) else None,
        frames_sent=line.sent.frames if is_video else None,
        frame_width=pictures.width,
        frame_height=pictures.height,
        frames_per_second=pictures.rate(now),
        target_bitrate=encoding.target_bitrate,
        total_encode_time=sending.encode_time,
        total_packet_send_delay=line.sent.delay + line.repaired.delay,
        encoder_implementation=encoding.implementation,
    )


def _source_id(agreed: MediaLine) -> str:
    return f"source-{agreed.mid}"


def _source(agreed: MediaLine, sending: Sending, now: float) -> MediaSourceStats:
    is_video, source, sound = agreed.kind == "video", sending.source, sending.sound
    return MediaSourceStats(
        id=_source_id(agreed),
        timestamp=now,
        kind=agreed.kind,
        track_identifier=agreed.track_id,
        audio_level=sound.level,
        total_audio_energy=None if is_video else sound.energy,
        total_samples_duration=None if is_video else sound.duration,
        width=source.width,
        height=source.height,
        frames=source.count if is_video else None,
        frames_per_second=source.rate(now),
    )


# -- transports --------------------------------------------------------------------------------------------------------


def _transport(slot: int, facts: IceFacts, lines: Sequence[LineCounters], now: float) -> Iterable[Stats]:
    ours, theirs = facts.local_certificate, facts.remote_certificate
    yield TransportStats(
        id=_transport_id(slot),
        timestamp=now,
        packets_sent=facts.packets_sent,
        packets_received=facts.packets_received,
        bytes_sent=facts.bytes_sent,
        bytes_received=facts.bytes_received,
        ice_role=facts.ice_role,
        ice_state=facts.ice_state,
        ice_local_username_fragment=facts.local_ufrag,
        dtls_state=facts.dtls_state,
        dtls_role=facts.dtls_role,
        tls_version=facts.tls_version,
        dtls_cipher=facts.dtls_cipher,
        srtp_cipher=facts.srtp_cipher,
        selected_candidate_pair_id=_pair_id(slot, facts.selected) if facts.selected is not None else None,
        selected_candidate_pair_changes=facts.selected_pair_changes,
        local_certificate_id=_certificate_id(ours),
        remote_certificate_id=_certificate_id(theirs) if theirs is not None else None,
    )
    for certificate in (ours, theirs):
        if certificate is not None:
            yield CertificateStats(
                id=_certificate_id(certificate),
                timestamp=now,
                fingerprint=certificate.fingerprint,
                fingerprint_algorithm=certificate.algorithm,
                base64_certificate=certificate.base64,
            )
    for candidate in (*facts.local_candidates, *(pair.local for pair in facts.pairs)):
        yield _local_candidate(slot, facts, candidate, now)
    for candidate in (*facts.remote_candidates, *(pair.remote for pair in facts.pairs)):
        yield _remote_candidate(slot, facts, candidate, now)
    for pair in facts.pairs:
        yield _pair(slot, facts, pair, lines, now)


def _certificate_id(certificate: CertificateFacts) -> str:
    return "certificate-" + certificate.fingerprint.replace(":", "").lower()


def _candidate_id(slot: int, whose: str, candidate: CandidateFacts) -> str:
    return f"candidate-{slot}-{whose}-{candidate.foundation}-{candidate.protocol}-{candidate.address}-{candidate.port}"


def _local_candidate(slot: int, facts: IceFacts, candidate: CandidateFacts, now: float) -> LocalCandidateStats:
    return LocalCandidateStats(
        id=_candidate_id(slot, "local", candidate),
        timestamp=now,
        transport_id=_transport_id(slot),
        candidate_type=candidate.type,
        address=candidate.address,
        port=candidate.port,
        protocol=candidate.protocol,
        priority=candidate.priority,
        foundation=candidate.foundation,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        username_fragment=facts.local_ufrag,
        url=candidate.url,
        relay_protocol=candidate.relay_protocol,
    )


def _remote_candidate(slot: int, facts: IceFacts, candidate: CandidateFacts, now: float) -> RemoteCandidateStats:
    return RemoteCandidateStats(
        id=_candidate_id(slot, "remote", candidate),
        timestamp=now,
        transport_id=_transport_id(slot),
        candidate_type=candidate.type,
        address=candidate.address,
        port=candidate.port,
        protocol=candidate.protocol,
        priority=candidate.priority,
        foundation=candidate.foundation,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        username_fragment=facts.remote_ufrag,
    )


def _pair_id(slot: int, pair: PairFacts) -> str:
    return f"pair-{_candidate_id(slot, 'local', pair.local)}-{_candidate_id(slot, 'remote', pair.remote)}"


def _pair(slot: int, facts: IceFacts, pair: PairFacts, lines: Sequence[LineCounters], now: float) -> CandidatePairStats:
    is_selected = pair == facts.selected
    to_monotonic = now - time.time()
    sent, received = pair.last_packet_sent, pair.last_packet_received
    return CandidatePairStats(
        id=_pair_id(slot, pair),
        timestamp=now,
        transport_id=_transport_id(slot),
        local_candidate_id=_candidate_id(slot, "local", pair.local),
        remote_candidate_id=_candidate_id(slot, "remote", pair.remote),
        state=pair.state,
        nominated=pair.nominated,
        priority=_pair_priority(facts.ice_role == "controlling", pair),
        writable=facts.ice_state == "connected" if is_selected else None,
        packets_sent=pair.packets_sent,
        packets_received=pair.packets_received,
        bytes_sent=pair.bytes_sent,
        bytes_received=pair.bytes_received,
        last_packet_sent_timestamp=sent + to_monotonic if sent is not None else None,
        last_packet_received_timestamp=received + to_monotonic if received is not None else None,
        current_round_trip_time=pair.current_round_trip_time,
        total_round_trip_time=pair.total_round_trip_time,
        requests_sent=pair.requests_sent,
        requests_received=pair.requests_received,
        responses_sent=pair.responses_sent,
        responses_received=pair.responses_received,
        consent_requests_sent=pair.consent_requests_sent,
        available_outgoing_bitrate=_outgoing_bitrate(facts, lines) if is_selected else None,
        available_incoming_bitrate=_incoming_bitrate(lines) if is_selected else None,
    )


def _pair_priority(controlling: bool, pair: PairFacts) -> int:
    """RFC 8445 6.1.2.3."""
    ours, theirs = pair.local.priority, pair.remote.priority
    lead, other = (ours, theirs) if controlling else (theirs, ours)
    return (min(lead, other) << 32) + 2 * max(lead, other) + (lead > other)


def _outgoing_bitrate(facts: IceFacts, lines: Sequence[LineCounters]) -> float | None:
    """Our estimate, else the sum of what the peer says of disjoint streams: one message may be about several."""
    if facts.available_outgoing_bitrate is not None:
        return facts.available_outgoing_bitrate
    said = {
        (estimate.reporter, estimate.ssrcs): estimate.bitrate
        for line in lines
        if line.sending is not None and (estimate := line.sending.feedback.estimate) is not None
    }
    return float(sum(said.values())) if said else None


def _incoming_bitrate(lines: Sequence[LineCounters]) -> float | None:
    told = [line.reception.estimate for line in lines if line.reception.estimate is not None]
    return float(sum(told)) if told else None
