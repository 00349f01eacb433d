"""The media port: what the core asks of a media engine, and what the engine answers.

The core decides (SDP, directions, codecs, roles), the engine executes. Each operation with a `request` gets exactly one
reply that carries the same number: the reply named beside it, or `MediaFailed`. Notices come unasked.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol, TypeVar

from attrs import frozen

from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.agent.stats import CandidatePairStats, InboundRtpStats, OutboundRtpStats, Stats, TransportStats, as_w3c
from sipproto.negotiation import LocalTransport, MediaCapabilities, NegotiatedSession
from sipproto.sdp import Codec

_S = TypeVar("_S")

CallId = str
CommandId = int
RequestId = int

DIGITS = "0123456789*#ABCDR"  # by event code (RFC 4733 3.2); R, a hook flash, can be heard but is not sent


@frozen(kw_only=True)
class OpenMedia:
    """Open an ICE and DTLS transport for each slot and gather its candidates. Reply: MediaOpened.

    All that one operation opens has the same ICE credentials: when a peer then takes BUNDLE, all lines but one go over to
    another transport, and other credentials of theirs would be an ICE restart of some lines only, which Firefox refuses.

    With `restart` the slots are open already and get new ICE credentials and candidates beside those in use, which go on
    carrying media; certificate and DTLS association stay (RFC 8445 9, RFC 8842 5.5). The next ApplyMedia that names a slot
    with other remote ICE credentials than before goes over to the new ones as soon as they are connected. One with the
    same remote credentials, or another OpenMedia with `restart`, drops what was opened and not used.
    """

    request: RequestId
    call: CallId
    slots: tuple[int, ...]
    restart: bool = False


@frozen(kw_only=True)
class ApplyMedia:
    """Bring about what was negotiated: connect transports, start, change or stop RTP on each line. Reply: MediaApplied.

    The reply means that the engine has taken the session over, not that ICE and DTLS are through: that is said by
    `MediaStateChanged`. Transports that the session does not name are closed.

    Other ICE credentials of the peer than before, when nothing was opened for a restart, mean another peer that answered
    the same offer of ours (a fork of the call): the engine goes over to it with the credentials it was told, or fails.
    """

    request: RequestId
    call: CallId
    session: NegotiatedSession


@frozen(kw_only=True)
class CollectStats:
    """Reply: StatsCollected."""

    request: RequestId
    call: CallId


@frozen(kw_only=True)
class SetSenderParameters:
    """Send a line with these parameters from now on, without a new offer. Reply: SenderParametersSet.

    `line` is the index of an agreed line. The parameters hold until others are set, also over later sessions.
    """

    request: RequestId
    call: CallId
    line: int
    parameters: SenderParameters


@frozen(kw_only=True)
class AskKeyFrame:
    """Have the next picture of a video line be one that can be decoded alone. Reply: KeyFrameAsked, when that is under way.

    `ours`: the one that we send; else the peer is asked for one (RTCP PLI, RFC 4585 6.3.1).
    """

    request: RequestId
    call: CallId
    line: int
    ours: bool


@frozen(kw_only=True)
class SendDigit:
    """Send one DTMF digit in the RTP of an audio line in place of its audio (RFC 4733). Reply: DigitSent, after its end.

    event: 0 to 15 (RFC 4733 3.2). duration: milliseconds. codec: the telephone-event that was agreed on, to be sent with.
    """

    request: RequestId
    call: CallId
    line: int
    event: int
    duration: int
    codec: Codec


@frozen(kw_only=True)
class CloseMedia:
    """Release everything of the call. No reply; unanswered requests of the call may stay unanswered."""

    call: CallId


MediaOperation = OpenMedia | ApplyMedia | CollectStats | SetSenderParameters | AskKeyFrame | SendDigit | CloseMedia


class MediaState(enum.Enum):
    """The state of all transports of a call taken together (W3C RTCPeerConnectionState).

    An ICE restart may lead from DISCONNECTED and from FAILED back to CONNECTED.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    FAILED = "failed"


@frozen(kw_only=True)
class LineStats:
    """Figures of one media line since it started. None: this engine cannot tell.

    Sizes are octets of RTP payload and headers without IP and UDP; jitter and round-trip time are seconds; the level is
    the RMS of the decoded audio relative to full scale (0 to 1); the frequency is the strongest one in the last
    received audio, in Hz; the colour is the mean red, green, blue (0 to 255) of the last decoded frame.
    """

    mid: str
    kind: str
    direction: str
    codec: str | None = None
    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    packets_lost: int | None = None
    jitter: float | None = None
    round_trip_time: float | None = None
    frames_decoded: int | None = None
    frame_width: int | None = None
    frame_height: int | None = None
    audio_level: float | None = None
    audio_frequency: float | None = None
    color: tuple[int, int, int] | None = None


@frozen(kw_only=True)
class MediaReport:
    """What an engine measured of one call: `lines` what W3C has no name for, `stats` what it has (sipproto.agent.stats).

    All of `stats` have ids of their own, which name each other. An engine that does not know them leaves them out.
    """

    state: MediaState
    lines: tuple[LineStats, ...] = ()
    stats: tuple[Stats, ...] = ()

    def line(self, kind: str) -> LineStats | None:
        """The first line of a kind."""
        return next((line for line in self.lines if line.kind == kind), None)

    def inbound(self, kind: str, number: int = 0) -> InboundRtpStats | None:
        """What is received on a line, the `number`th of its kind from 0. Of several streams the one that was heard last."""
        mid = self._mid(kind, number)
        streams = [entry for entry in self._all(InboundRtpStats) if mid is not None and entry.mid == mid]
        return max(streams, key=lambda entry: entry.last_packet_received_timestamp or 0.0, default=None)

    def outbound(self, kind: str, number: int = 0) -> OutboundRtpStats | None:
        """What is sent on a line, the `number`th of its kind from 0."""
        mid = self._mid(kind, number)
        return next((entry for entry in self._all(OutboundRtpStats) if mid is not None and entry.mid == mid), None)

    @property
    def selected_pair(self) -> CandidatePairStats | None:
        """The candidate pair in use, of the first transport that has one."""
        chosen = [entry.selected_candidate_pair_id for entry in self._all(TransportStats)]
        ident = next((ident for ident in chosen if ident is not None), None)
        return next((entry for entry in self._all(CandidatePairStats) if entry.id == ident), None)

    def get(self, ident: str | None) -> Stats | None:
        """What an id of another value names."""
        return next((entry for entry in self.stats if entry.id == ident), None)

    def as_w3c(self) -> dict[str, dict[str, object]]:
        """RTCStatsReport: the dictionaries of W3C by their ids, of plain values that JSON can hold."""
        return {entry.id: as_w3c(entry) for entry in self.stats}

    def _mid(self, kind: str, number: int) -> str | None:
        return next((line.mid for line in [line for line in self.lines if line.kind == kind][number:]), None)

    def _all(self, kind: type[_S]) -> list[_S]:
        return [entry for entry in self.stats if isinstance(entry, kind)]


@frozen(kw_only=True)
class MediaOpened:
    request: RequestId
    transports: tuple[tuple[int, LocalTransport], ...]


@frozen(kw_only=True)
class MediaApplied:
    request: RequestId


@frozen(kw_only=True)
class StatsCollected:
    request: RequestId
    report: MediaReport


@frozen(kw_only=True)
class SenderParametersSet:
    """`effective` says what the line is sent with now, and what of the wish this engine cannot do."""

    request: RequestId
    effective: EffectiveParameters


@frozen(kw_only=True)
class KeyFrameAsked:
    request: RequestId


@frozen(kw_only=True)
class DigitSent:
    request: RequestId


@frozen(kw_only=True)
class MediaFailed:
    """The operation failed; `error` says why, in one line fit for a user."""

    request: RequestId
    error: str


@frozen(kw_only=True)
class MediaStateChanged:
    """Notice: the transports of a call changed state."""

    call: CallId
    state: MediaState


@frozen(kw_only=True)
class DigitHeard:
    """Notice: the peer sent a DTMF digit in RTP. Once for each, when it ends (RFC 4733 2.5.2.2); duration in milliseconds."""

    call: CallId
    line: int
    event: int
    duration: int


MediaReply = MediaOpened | MediaApplied | StatsCollected | SenderParametersSet | KeyFrameAsked | DigitSent | MediaFailed
MediaInput = MediaReply | MediaStateChanged | DigitHeard


class MediaEngine(Protocol):
    """A media engine. `perform` returns at once and never raises; `report` may be called from any thread."""

    @property
    def capabilities(self) -> MediaCapabilities: ...

    def perform(self, operation: MediaOperation, report: Callable[[MediaInput], None]) -> None: ...

    def close(self) -> None:
        """Releases every call and every thread; waits at most a few seconds."""
        ...
