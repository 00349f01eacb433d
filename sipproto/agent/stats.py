"""What is measured of the media, as values that are named and shaped like the dictionaries of W3C webrtc-stats.

A field here is the member of the W3C dictionary written with underscores: `packets_lost` is `packetsLost`. Units are
those of W3C, seconds and octets, and levels and fractions go from 0 to 1; only points in time, milliseconds there,
are seconds here, of the monotonic clock of the engine unless said otherwise. Counters begin at 0 with the stream and
never fall, but for losses. None means absent: the engine does not know it, or it does not apply to this kind of media.
Nothing is ever invented.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import asdict, field, fields, frozen

_MOMENT = {"moment": True}  # a point in time: seconds here, milliseconds in W3C's dictionaries


@frozen(kw_only=True)
class _Stats:
    """RTCStats. `id` stays the same over all reports of a call; `timestamp`: when the figures were true."""

    type: ClassVar[str]

    id: str
    timestamp: float = field(metadata=_MOMENT)


@frozen(kw_only=True)
class CodecStats(_Stats):
    """RTCCodecStats: a codec in use. `mime_type` with its kind, e.g. audio/opus; `clock_rate` in Hz."""

    type: ClassVar[str] = "codec"

    payload_type: int
    mime_type: str
    clock_rate: int
    transport_id: str | None = None
    channels: int | None = None
    sdp_fmtp_line: str | None = None


@frozen(kw_only=True)
class _RtpStats(_Stats):
    """RTCRtpStreamStats. `kind`: audio or video; the ids are those of other values of the report."""

    ssrc: int
    kind: str
    transport_id: str | None = None
    codec_id: str | None = None


@frozen(kw_only=True)
class InboundRtpStats(_RtpStats):
    """RTCInboundRtpStreamStats: a stream that we receive, by its SSRC.

    Packets and bytes include repetitions (RTX); bytes are those of the payload, header bytes those of the RTP header
    with its extensions and of the padding. `packets_lost` is what RFC 3550 A.3 calls so, below 0 when packets came
    twice. `jitter`, delays and durations are seconds, `frames_per_second` the frames decoded in the last second,
    sizes pixels. `audio_level` is the RMS of the last 20 ms, the energy the sum of its square over time. NACK, PLI
    and FIR are the messages that we sent.
    """

    type: ClassVar[str] = "inbound-rtp"

    mid: str | None = None
    track_identifier: str | None = None
    remote_id: str | None = None
    rtx_ssrc: int | None = None
    packets_received: int = 0
    bytes_received: int = 0
    header_bytes_received: int = 0
    packets_lost: int | None = None
    jitter: float | None = None
    last_packet_received_timestamp: float | None = field(default=None, metadata=_MOMENT)
    retransmitted_packets_received: int | None = None
    retransmitted_bytes_received: int | None = None
    fec_packets_received: int | None = None
    fec_packets_discarded: int | None = None
    nack_count: int | None = None
    pli_count: int | None = None
    fir_count: int | None = None
    frames_received: int | None = None
    frames_decoded: int | None = None
    frames_dropped: int | None = None
    key_frames_decoded: int | None = None
    frame_width: int | None = None
    frame_height: int | None = None
    frames_per_second: float | None = None
    qp_sum: int | None = None
    audio_level: float | None = None
    total_audio_energy: float | None = None
    total_samples_duration: float | None = None
    total_samples_received: int | None = None
    packets_discarded: int | None = None
    concealed_samples: int | None = None
    silent_concealed_samples: int | None = None
    concealment_events: int | None = None
    inserted_samples_for_deceleration: int | None = None
    removed_samples_for_acceleration: int | None = None
    jitter_buffer_delay: float | None = None
    jitter_buffer_minimum_delay: float | None = None
    jitter_buffer_target_delay: float | None = None
    jitter_buffer_emitted_count: int | None = None
    decoder_implementation: str | None = None


@frozen(kw_only=True)
class QualityLimitationDurations:
    """Seconds for which a stream was limited by each of these (qualityLimitationDurations)."""

    none: float = 0.0
    cpu: float = 0.0
    bandwidth: float = 0.0
    other: float = 0.0


@frozen(kw_only=True)
class OutboundRtpStats(_RtpStats):
    """RTCOutboundRtpStreamStats: a stream that we send, by its SSRC.

    Packets and bytes are counted as for InboundRtpStats. `active`: whether it is sent just now. `target_bitrate` is
    bits per second, `total_encode_time` seconds, `frames_per_second` the frames encoded in the last second. NACK, PLI
    and FIR are the messages that the peer sent.
    """

    type: ClassVar[str] = "outbound-rtp"

    mid: str | None = None
    rid: str | None = None
    media_source_id: str | None = None
    remote_id: str | None = None
    rtx_ssrc: int | None = None
    active: bool | None = None
    packets_sent: int = 0
    bytes_sent: int = 0
    header_bytes_sent: int = 0
    retransmitted_packets_sent: int | None = None
    retransmitted_bytes_sent: int | None = None
    total_packet_send_delay: float | None = None
    nack_count: int | None = None
    pli_count: int | None = None
    fir_count: int | None = None
    frames_encoded: int | None = None
    key_frames_encoded: int | None = None
    frames_sent: int | None = None
    huge_frames_sent: int | None = None
    frame_width: int | None = None
    frame_height: int | None = None
    frames_per_second: float | None = None
    qp_sum: int | None = None
    target_bitrate: float | None = None
    total_encode_time: float | None = None
    total_encoded_bytes_target: int | None = None
    encoder_implementation: str | None = None
    content_type: str | None = None
    quality_limitation_reason: str | None = None
    quality_limitation_durations: QualityLimitationDurations | None = None
    quality_limitation_resolution_changes: int | None = None


@frozen(kw_only=True)
class RemoteInboundRtpStats(_RtpStats):
    """RTCRemoteInboundRtpStreamStats: what the peer says of a stream that we send, by its last RTCP receiver report.

    `fraction_lost` (0 to 1) is of the time since its report before; `jitter` and the round-trip times are seconds,
    the total is that of all `round_trip_time_measurements`. `local_id` is that of the OutboundRtpStats. The timestamp
    is that of the report's arrival.
    """

    type: ClassVar[str] = "remote-inbound-rtp"

    local_id: str | None = None
    packets_lost: int | None = None
    jitter: float | None = None
    fraction_lost: float | None = None
    round_trip_time: float | None = None
    total_round_trip_time: float | None = None
    round_trip_time_measurements: int | None = None


@frozen(kw_only=True)
class RemoteOutboundRtpStats(_RtpStats):
    """RTCRemoteOutboundRtpStreamStats: what the peer says of a stream that we receive, by its last RTCP sender
    report.

    `remote_timestamp`: when it was sent, in seconds since 1970 by the clock of the peer. `reports_sent` are those
    that arrived. `local_id` is that of the InboundRtpStats. The timestamp is that of the report's arrival.
    """

    type: ClassVar[str] = "remote-outbound-rtp"

    local_id: str | None = None
    packets_sent: int | None = None
    bytes_sent: int | None = None
    remote_timestamp: float | None = field(default=None, metadata=_MOMENT)
    reports_sent: int | None = None
    round_trip_time: float | None = None
    total_round_trip_time: float | None = None
    round_trip_time_measurements: int | None = None


@frozen(kw_only=True)
class MediaSourceStats(_Stats):
    """RTCAudioSourceStats and RTCVideoSourceStats: what an OutboundRtpStats is made of, before it is encoded.

    `audio_level` is the RMS of the last 20 ms; sizes are pixels, `frames_per_second` those of the last second.
    """

    type: ClassVar[str] = "media-source"

    kind: str
    track_identifier: str
    audio_level: float | None = None
    total_audio_energy: float | None = None
    total_samples_duration: float | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    frames_per_second: float | None = None


@frozen(kw_only=True)
class CandidatePairStats(_Stats):
    """RTCIceCandidatePairStats: a way between the two ends. `state`: frozen, waiting, in-progress, failed, succeeded.

    Packets and bytes are those of media and DTLS, bytes their UDP payload. Round-trip times are seconds, of STUN. The
    available bitrates are bits per second: outgoing what the peer said last that it can take, incoming what we told
    it.
    """

    type: ClassVar[str] = "candidate-pair"

    transport_id: str
    local_candidate_id: str
    remote_candidate_id: str
    state: str
    nominated: bool
    priority: int | None = None
    writable: bool | None = None
    packets_sent: int | None = None
    packets_received: int | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    packets_discarded_on_send: int | None = None
    last_packet_sent_timestamp: float | None = field(default=None, metadata=_MOMENT)
    last_packet_received_timestamp: float | None = field(default=None, metadata=_MOMENT)
    current_round_trip_time: float | None = None
    total_round_trip_time: float | None = None
    requests_sent: int | None = None
    requests_received: int | None = None
    responses_sent: int | None = None
    responses_received: int | None = None
    consent_requests_sent: int | None = None
    available_outgoing_bitrate: float | None = None
    available_incoming_bitrate: float | None = None


@frozen(kw_only=True)
class _CandidateStats(_Stats):
    """RTCIceCandidateStats. `candidate_type`: host, srflx, prflx, relay; `protocol`: udp, tcp."""

    transport_id: str
    candidate_type: str
    address: str | None = None
    port: int | None = None
    protocol: str | None = None
    priority: int | None = None
    foundation: str | None = None
    related_address: str | None = None
    related_port: int | None = None
    username_fragment: str | None = None
    tcp_type: str | None = None


@frozen(kw_only=True)
class LocalCandidateStats(_CandidateStats):
    """RTCIceCandidateStats of a candidate of ours. `url` is that of the server which gave it, `relay_protocol` how we
    speak to it.
    """

    type: ClassVar[str] = "local-candidate"

    url: str | None = None
    relay_protocol: str | None = None
    network_type: str | None = None


@frozen(kw_only=True)
class RemoteCandidateStats(_CandidateStats):
    """RTCIceCandidateStats of a candidate of the peer."""

    type: ClassVar[str] = "remote-candidate"


@frozen(kw_only=True)
class TransportStats(_Stats):
    """RTCTransportStats: an ICE and DTLS transport. `selected_candidate_pair_id` names the pair in use.

    Bytes are the UDP payload. `ice_role`: controlling, controlled; `dtls_role`: client, server, unknown; the states
    are those of W3C. `tls_version` is the version field in hex (FEFD is DTLS 1.2), the ciphers have their IANA names.
    """

    type: ClassVar[str] = "transport"

    packets_sent: int | None = None
    packets_received: int | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    ice_role: str | None = None
    ice_state: str | None = None
    ice_local_username_fragment: str | None = None
    dtls_state: str | None = None
    dtls_role: str | None = None
    tls_version: str | None = None
    dtls_cipher: str | None = None
    srtp_cipher: str | None = None
    selected_candidate_pair_id: str | None = None
    selected_candidate_pair_changes: int | None = None
    local_certificate_id: str | None = None
    remote_certificate_id: str | None = None


@frozen(kw_only=True)
class CertificateStats(_Stats):
    """RTCCertificateStats. `fingerprint` in upper-case hex with colons, `base64_certificate` of the DER encoding."""

    type: ClassVar[str] = "certificate"

    fingerprint: str
    fingerprint_algorithm: str
    base64_certificate: str | None = None


RtpStats = InboundRtpStats | OutboundRtpStats | RemoteInboundRtpStats | RemoteOutboundRtpStats
Stats = (
    CodecStats
    | InboundRtpStats
    | OutboundRtpStats
    | RemoteInboundRtpStats
    | RemoteOutboundRtpStats
    | MediaSourceStats
    | CandidatePairStats
    | LocalCandidateStats
    | RemoteCandidateStats
    | TransportStats
    | CertificateStats
)


def as_w3c(stats: Stats) -> dict[str, object]:
    """The dictionary of W3C: its names, points in time in milliseconds (of the same clock), absent members left out."""
    out: dict[str, object] = {"type": stats.type}
    for attribute in fields(type(stats)):
        value = getattr(stats, attribute.name)
        if value is None:
            continue
        if isinstance(value, QualityLimitationDurations):
            value = asdict(value)
        elif attribute.metadata.get("moment"):
            value *= 1000.0
        out[_w3c_name(attribute.name)] = value
    return out


def _w3c_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
