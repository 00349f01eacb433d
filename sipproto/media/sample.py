"""One measurement of a call in the shape of a conference client: what goes out and what comes in, by role."""

from __future__ import annotations

from typing import TypeVar

from attrs import field, frozen

from sipproto.agent.media import MediaReport, MediaState
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
    TransportStats,
)

_T = TypeVar("_T")
_GROWTH = 0.25  # the share by which the bit rate has to differ to be told


@frozen(kw_only=True)
class OutboundSample:
    """A line that is sent. None: not measured."""

    outbound_rtp: OutboundRtpStats | None = None
    media_source: MediaSourceStats | None = None
    codec: CodecStats | None = None
    remote_inbound_rtp: RemoteInboundRtpStats | None = None


@frozen(kw_only=True)
class InboundSample:
    """A line that is received. None: not measured."""

    inbound_rtp: InboundRtpStats | None = None
    codec: CodecStats | None = None
    remote_outbound_rtp: RemoteOutboundRtpStats | None = None


@frozen(kw_only=True)
class AdditionalSample:
    """The way that the media take: the pair in use, its candidates, its transport and whose certificate it is proven by.

    The certificate is ours among what goes out, and the peer's among what comes in.
    """

    candidate_pair: CandidatePairStats | None = None
    certificate: CertificateStats | None = None
    local_candidate: LocalCandidateStats | None = None
    remote_candidate: RemoteCandidateStats | None = None
    transport: TransportStats | None = None


@frozen(kw_only=True)
class Outbound:
    """What goes out, line by line."""

    video: OutboundSample = OutboundSample()
    second_video: OutboundSample = OutboundSample()
    audio: OutboundSample = OutboundSample()
    additional: AdditionalSample = AdditionalSample()

    @property
    def packets_lost(self) -> float | None:
        """The fraction (0 to 1) that the peer says it has lost lately, of the line that lost most; None: it says nothing."""
        remotes = [line.remote_inbound_rtp for line in (self.audio, self.video, self.second_video)]
        losses = [one.fraction_lost for one in remotes if one is not None and one.fraction_lost is not None]
        return max(losses, default=None)


@frozen(kw_only=True)
class Inbound:
    video: InboundSample = InboundSample()
    second_video: InboundSample = InboundSample()
    audio: InboundSample = InboundSample()
    additional: AdditionalSample = AdditionalSample()


@frozen(kw_only=True)
class StatsSample:
    """`report`: all that was measured, of which this is a part."""

    outbound: Outbound = Outbound()
    inbound: Inbound = Inbound()
    report: MediaReport = field(default=MediaReport(state=MediaState.CONNECTING), eq=False, repr=False)


def stats_sample(report: MediaReport) -> StatsSample:
    """The first audio line and the first two video lines of a report. Each video has the figures of its own line."""
    rtp_out = [report.outbound("audio"), report.outbound("video"), report.outbound("video", 1)]
    rtp_in = [report.inbound("audio"), report.inbound("video"), report.inbound("video", 1)]
    audio_out, video_out, second_out = (_outbound(report, rtp) for rtp in rtp_out)
    audio_in, video_in, second_in = (_inbound(report, rtp) for rtp in rtp_in)
    return StatsSample(
        outbound=Outbound(
            video=video_out,
            second_video=second_out,
            audio=audio_out,
            additional=_additional(report, next((rtp for rtp in rtp_out if rtp is not None), None)),
        ),
        inbound=Inbound(
            video=video_in,
            second_video=second_in,
            audio=audio_in,
            additional=_additional(report, next((rtp for rtp in rtp_in if rtp is not None), None)),
        ),
        report=report,
    )


def available_incoming_bitrate(sample: StatsSample) -> float | None:
    """What we can receive, in bits per second; None: not known."""
    pair = sample.inbound.additional.candidate_pair
    return pair.available_incoming_bitrate if pair is not None else None


class BitrateReports:
    """When the server is to be told how much we can receive: when that differs by a quarter from the sample before."""

    def __init__(self) -> None:
        self._before: float | None = None

    def sample(self, bitrate: float | None) -> int | None:
        """Takes the value of each sample in turn (None: not known), and returns what to tell, if anything."""
        before, self._before = self._before, bitrate
        if bitrate is None or before is None:
            return None
        tells = abs(bitrate - before) >= _GROWTH * before if before else bitrate > 0
        return int(bitrate) if tells else None


def _outbound(report: MediaReport, rtp: OutboundRtpStats | None) -> OutboundSample:
    if rtp is None:
        return OutboundSample()
    return OutboundSample(
        outbound_rtp=rtp,
        media_source=_named(report, rtp.media_source_id, MediaSourceStats),
        codec=_named(report, rtp.codec_id, CodecStats),
        remote_inbound_rtp=_named(report, rtp.remote_id, RemoteInboundRtpStats),
    )


def _inbound(report: MediaReport, rtp: InboundRtpStats | None) -> InboundSample:
    if rtp is None:
        return InboundSample()
    return InboundSample(
        inbound_rtp=rtp,
        codec=_named(report, rtp.codec_id, CodecStats),
        remote_outbound_rtp=_named(report, rtp.remote_id, RemoteOutboundRtpStats),
    )


def _additional(report: MediaReport, rtp: OutboundRtpStats | InboundRtpStats | None) -> AdditionalSample:
    transport = _named(report, rtp.transport_id, TransportStats) if rtp is not None else None
    if rtp is None or transport is None:
        return AdditionalSample()
    ours = isinstance(rtp, OutboundRtpStats)
    certificate = transport.local_certificate_id if ours else transport.remote_certificate_id
    pair = _named(report, transport.selected_candidate_pair_id, CandidatePairStats)
    return AdditionalSample(
        candidate_pair=pair,
        certificate=_named(report, certificate, CertificateStats),
        local_candidate=_named(report, pair.local_candidate_id, LocalCandidateStats) if pair else None,
        remote_candidate=_named(report, pair.remote_candidate_id, RemoteCandidateStats) if pair else None,
        transport=transport,
    )


def _named(report: MediaReport, ident: str | None, kind: type[_T]) -> _T | None:
    found = report.get(ident)
    return found if isinstance(found, kind) else None
