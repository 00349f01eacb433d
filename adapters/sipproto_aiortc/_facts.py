"""What is known of an ICE and DTLS transport, as values: the raw material of the W3C statistics.

Figures count since the ICE session began, those of `IceFacts` itself since the transport did. Times are seconds,
points in time seconds since 1970. None: not known, or not there yet.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class CandidateFacts:
    """A candidate (RTCIceCandidateStats). `type`: host, srflx, prflx, relay; `protocol`: always udp.

    `url` is that of the server which gave a server-reflexive or relayed candidate of ours, and `relay_protocol` (udp,
    tcp, tls) how we speak with the TURN server. The `address` of a peer may be an mDNS name.
    """

    type: str
    address: str
    port: int
    priority: int
    foundation: str
    protocol: str = "udp"
    related_address: str | None = None
    related_port: int | None = None
    relay_protocol: str | None = None
    url: str | None = None


@frozen(kw_only=True)
class PairFacts:
    """A candidate pair (RTCIceCandidatePairStats). `state`: frozen, waiting, in-progress, failed, succeeded.

    Packets are those of DTLS, RTP and RTCP, bytes their UDP payload. Requests are STUN Binding requests without their
    repetitions; those that only renew consent (RFC 7675) count apart, their responses and round trips do not. The time
    of a request that was repeated is that since its last repetition.
    """

    local: CandidateFacts
    remote: CandidateFacts
    state: str
    nominated: bool
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    last_packet_sent: float | None = None
    last_packet_received: float | None = None
    current_round_trip_time: float | None = None
    total_round_trip_time: float = 0.0
    requests_sent: int = 0
    consent_requests_sent: int = 0
    responses_received: int = 0
    requests_received: int = 0
    responses_sent: int = 0


@frozen(kw_only=True)
class CertificateFacts:
    """A certificate (RTCCertificateStats): `fingerprint` in upper-case hex with colons, `base64` of its DER."""

    fingerprint: str
    algorithm: str
    base64: str


@frozen(kw_only=True)
class ServerError:
    """A STUN or TURN server that was of no use (RTCPeerConnectionIceErrorEvent).

    `code` is what the server said, or 701 when it was not reached. `text` is one line which names the server, fit for
    a user and without credentials.
    """

    url: str
    code: int
    text: str


@frozen(kw_only=True)
class IceFacts:
    """A transport (RTCTransportStats) with its pairs and candidates, those of the ICE session in use.

    `ice_role`: controlling, controlled; `ice_state`: new, checking, connected, disconnected, failed, closed;
    `dtls_state`: new, connecting, connected, closed, failed; `dtls_role`: client, server, unknown. `tls_version` is the
    version field in hex (FEFD is DTLS 1.2), `dtls_cipher` and `srtp_cipher` the names that IANA gives. `selected` is one
    of `pairs`. `packets_dropped` is what could not be sent for want of a path, `available_outgoing_bitrate` the bits per second
    that it takes by the peer's transport-wide feedback.
    """

    ice_role: str
    ice_state: str
    local_ufrag: str
    remote_ufrag: str | None
    dtls_state: str
    dtls_role: str
    tls_version: str | None
    dtls_cipher: str | None
    srtp_cipher: str | None
    local_certificate: CertificateFacts
    remote_certificate: CertificateFacts | None
    local_candidates: tuple[CandidateFacts, ...]
    remote_candidates: tuple[CandidateFacts, ...]
    pairs: tuple[PairFacts, ...]
    selected: PairFacts | None
    selected_pair_changes: int
    packets_sent: int
    bytes_sent: int
    packets_received: int
    bytes_received: int
    packets_dropped: int
    available_outgoing_bitrate: float | None = None
    server_errors: tuple[ServerError, ...] = ()
