"""Statistics in the shape in which the original SDK hands them out: by way, by line, and the figures of the connection."""

from __future__ import annotations

from attrs import frozen

from sipproto.agent import stats as s
from sipproto.agent.media import MediaReport


@frozen(kw_only=True)
class OutboundLine:
    """What a line sends. None: the line is not there, or the engine does not know."""

    outbound_rtp: s.OutboundRtpStats | None = None
    media_source: s.MediaSourceStats | None = None
    codec: s.CodecStats | None = None
    remote_inbound_rtp: s.RemoteInboundRtpStats | None = None


@frozen(kw_only=True)
class InboundLine:
    """What a line receives."""

    inbound_rtp: s.InboundRtpStats | None = None
    codec: s.CodecStats | None = None
    remote_outbound_rtp: s.RemoteOutboundRtpStats | None = None


@frozen(kw_only=True)
class Additional:
    """The connection: its candidate pair in use, not just any."""

    candidate_pair: s.CandidatePairStats | None = None
    local_candidate: s.LocalCandidateStats | None = None
    remote_candidate: s.RemoteCandidateStats | None = None
    transport: s.TransportStats | None = None
    certificate: s.CertificateStats | None = None


@frozen(kw_only=True)
class OutboundStats:
    """`video` is the first video line, `second_video` the second, which presentations are on. `packets_lost`: a fraction
    (0 to 1) of what the peer says that it has lost lately, of the line that lost most; None when it has said nothing.
    """

    video: OutboundLine = OutboundLine()
    second_video: OutboundLine = OutboundLine()
    audio: OutboundLine = OutboundLine()
    additional: Additional = Additional()

    @property
    def packets_lost(self) -> float | None:
        remotes = [line.remote_inbound_rtp for line in (self.audio, self.video, self.second_video)]
        losses = [one.fraction_lost for one in remotes if one is not None and one.fraction_lost is not None]
        return max(losses, default=None)


@frozen(kw_only=True)
class InboundStats:
    """As OutboundStats, of what is received."""

    video: InboundLine = InboundLine()
    second_video: InboundLine = InboundLine()
    audio: InboundLine = InboundLine()
    additional: Additional = Additional()


@frozen(kw_only=True)
class CollectedStats:
    """One sample; `report` is all of it, `elapsed` the seconds that it took."""

    outbound: OutboundStats
    inbound: InboundStats
    report: MediaReport
    elapsed: float = 0.0


def collected(report: MediaReport, elapsed: float = 0.0) -> CollectedStats:
    """A report in that shape."""
    lines = {"video": ("video", 0), "second_video": ("video", 1), "audio": ("audio", 0)}
    additional = _additional(report)
    return CollectedStats(
        outbound=OutboundStats(additional=additional, **{name: _sent(report, *line) for name, line in lines.items()}),
        inbound=InboundStats(additional=additional, **{name: _received(report, *line) for name, line in lines.items()}),
        report=report,
        elapsed=elapsed,
    )


def _sent(report: MediaReport, kind: str, number: int) -> OutboundLine:
    rtp = report.outbound(kind, number)
    if rtp is None:
        return OutboundLine()
    source, codec, remote = (report.get(ident) for ident in (rtp.media_source_id, rtp.codec_id, rtp.remote_id))
    return OutboundLine(
        outbound_rtp=rtp,
        media_source=source if isinstance(source, s.MediaSourceStats) else None,
        codec=codec if isinstance(codec, s.CodecStats) else None,
        remote_inbound_rtp=remote if isinstance(remote, s.RemoteInboundRtpStats) else None,
    )


def _received(report: MediaReport, kind: str, number: int) -> InboundLine:
    rtp = report.inbound(kind, number)
    if rtp is None:
        return InboundLine()
    codec, remote = report.get(rtp.codec_id), report.get(rtp.remote_id)
    return InboundLine(
        inbound_rtp=rtp,
        codec=codec if isinstance(codec, s.CodecStats) else None,
        remote_outbound_rtp=remote if isinstance(remote, s.RemoteOutboundRtpStats) else None,
    )


def _additional(report: MediaReport) -> Additional:
    pair = report.selected_pair
    if pair is None:
        return Additional()
    local, remote = report.get(pair.local_candidate_id), report.get(pair.remote_candidate_id)
    transport = report.get(pair.transport_id)
    certificate = report.get(transport.local_certificate_id) if isinstance(transport, s.TransportStats) else None
    return Additional(
        candidate_pair=pair,
        local_candidate=local if isinstance(local, s.LocalCandidateStats) else None,
        remote_candidate=remote if isinstance(remote, s.RemoteCandidateStats) else None,
        transport=transport if isinstance(transport, s.TransportStats) else None,
        certificate=certificate if isinstance(certificate, s.CertificateStats) else None,
    )
