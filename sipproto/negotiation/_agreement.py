"""What a negotiation keeps: values only, so that a rollback is the return to an older one."""

from __future__ import annotations

from attrs import frozen

from sipproto.negotiation._values import (
    CodecPreferences,
    LocalTransport,
    MediaLine,
    NegotiatedSession,
    NegotiationError,
    TransportPair,
)
from sipproto.sdp import (
    Codec,
    Direction,
    MediaDescription,
    RemoteTransport,
    SessionDescription,
    bundle_groups,
    is_rejected,
    transport_of,
)


@frozen(kw_only=True)
class Line:
    """A line (a transceiver, in W3C's words). `wanted` is what the application asked for, without hold."""

    kind: str
    wanted: Direction
    mid: str
    slot: int
    ssrc: int
    rtx_ssrc: int
    track_id: str
    codecs: tuple[Codec, ...] = ()  # ours: what we receive
    send_codecs: tuple[Codec, ...] = ()
    extensions: tuple[tuple[str, int], ...] = ()
    current: Direction = Direction.INACTIVE
    rejected: bool = False
    refused: bool = False  # rejected because we do not want it
    remote: RemoteTransport | None = None
    remote_direction: Direction = Direction.INACTIVE
    declines: bool = (
        False  # the peer takes nothing of ours; an answer to what we did not offer to send says nothing of that
    )
    remote_ssrcs: tuple[int, ...] = ()
    remote_streams: tuple[str, ...] = ()
    packet_time: int | None = None
    protocol: str = "UDP/TLS/RTP/SAVPF"
    formats: tuple[str, ...] = ("0",)  # of a rejected line, echoed


@frozen(kw_only=True)
class Agreement:
    """Everything that a rollback has to restore, in one immutable value. What belongs to transports goes by slot."""

    lines: tuple[Line, ...] = ()
    next_mid: int = 0
    codecs: tuple[Codec, ...] = ()  # all that have a payload type in this session
    preferences: CodecPreferences = CodecPreferences()
    bundled: bool = True
    with_mids: bool = True
    transports: tuple[tuple[int, LocalTransport], ...] = ()
    renewed: tuple[tuple[int, LocalTransport], ...] = ()  # opened for an ICE restart that is not agreed on yet
    restart: frozenset[int] = frozenset()  # what the next description of ours has to have new credentials for
    restart_wanted: frozenset[int] = frozenset()  # what our own next offer is to restart
    dtls_client: tuple[tuple[int, bool], ...] = ()  # once decided
    ice_controlling: bool | None = None
    hold: bool = False

    @property
    def slots(self) -> frozenset[int]:
        """The slots in use."""
        return frozenset(line.slot for line in self.lines if not line.rejected)

    @property
    def local(self) -> dict[int, LocalTransport]:
        """Our transports as the next description of ours shows them."""
        return dict(self.transports) | {slot: new for slot, new in self.renewed if slot in self.restart}

    @property
    def ice_lite(self) -> bool:
        return any(remote.ice_lite for remote in remotes(self.lines).values())


def remotes(lines: tuple[Line, ...]) -> dict[int, RemoteTransport]:
    """The peer's transports."""
    out: dict[int, RemoteTransport] = {}
    for line in lines:
        if not line.rejected and line.remote is not None:
            out.setdefault(line.slot, line.remote)
    return out


def restarted_slots(before: tuple[Line, ...], after: tuple[Line, ...]) -> frozenset[int]:
    """The slots on which the peer has new ICE credentials (RFC 8839 4.4.1.1.1).

    Raises NegotiationError for a new DTLS association on an ICE session that stays: packets of both would arrive at one
    port and could not be told apart, so a restart of ICE is required (RFC 9429 5.11).
    """
    known = remotes(before)
    out = set()
    for slot, remote in remotes(after).items():
        if slot not in known:
            continue
        if not remote.same_ice(known[slot]):
            out.add(slot)
        elif not remote.same_dtls(known[slot]):
            raise NegotiationError("the peer changed its certificate without an ICE restart")
    return frozenset(out)


@frozen(kw_only=True)
class Bundle:
    mids: tuple[str, ...]
    slot: int
    remote: RemoteTransport | None


def answered_bundle(sdp: SessionDescription, lines: tuple[Line, ...]) -> Bundle | None:
    """What carries every bundled line of an answer: the group's first line that is accepted. None without BUNDLE."""
    groups = bundle_groups(sdp)
    if not groups:
        return None
    for media, line in zip(sdp.media, lines, strict=True):
        if media.port != 0 and (media.attribute("mid") or line.mid) in groups[0]:
            return Bundle(mids=tuple(groups[0]), slot=line.slot, remote=transport_of(sdp, media))
    return None


def is_another(media: MediaDescription, line: Line) -> bool:
    """Whether an offer puts another line in the place of one that is over (RFC 3264 8.2), and does not just repeat it.

    Without mids it may be the same one again: what the peer ended, it may begin anew; what we refused stays refused.
    """
    mid = media.attribute("mid")
    return line.rejected and not is_rejected(media) and (not line.refused if mid is None else mid != line.mid)


def session_of(agreed: Agreement, stream_id: str, cname: str) -> NegotiatedSession:
    """What both sides agreed on, for the media engine."""
    roles = dict(agreed.dtls_client)
    lines: list[MediaLine] = []
    transports: dict[int, TransportPair] = {}
    for index, line in enumerate(agreed.lines):
        if line.rejected or line.remote is None:
            continue
        transports.setdefault(
            line.slot,
            TransportPair(
                slot=line.slot,
                remote=line.remote,
                ice_controlling=bool(agreed.ice_controlling),
                dtls_client=roles[line.slot],
            ),
        )
        lines.append(
            MediaLine(
                index=index,
                mid=line.mid,
                kind=line.kind,
                slot=line.slot,
                direction=line.current,
                send=line.send_codecs,
                receive=line.codecs,
                extensions=line.extensions,
                ssrc=line.ssrc,
                rtx_ssrc=line.rtx_ssrc,
                stream_id=stream_id,
                track_id=line.track_id,
                remote_ssrcs=line.remote_ssrcs,
                remote_direction=line.remote_direction,
                remote_streams=line.remote_streams,
                packet_time=line.packet_time,
            )
        )
    return NegotiatedSession(
        lines=tuple(lines),
        transports=tuple(transports.values()),
        cname=cname,
        remote_hold=_is_held(agreed.lines),
    )


def _is_held(lines: tuple[Line, ...]) -> bool:
    """Whether the peer takes none of what we would send.

    A line on which we send nothing says nothing about that. One on which we only send, such as a presentation, is taken
    by those who hold, too: it counts when there is no other.
    """
    sending = [line for line in lines if not line.rejected and line.wanted.sends]
    talking = [line for line in sending if line.wanted.receives]
    return bool(sending) and all(line.declines for line in talking or sending)
