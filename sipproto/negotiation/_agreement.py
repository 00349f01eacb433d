"""What a negotiation keeps: values only, so that a rollback is the return to an older one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
    is_rejected,
)


@frozen(kw_only=True)
class Line:
    """A line (a transceiver, in W3C's words). `wanted` is what the application asked for, without hold."""

    kind: str
    wanted: Direction
    mid: str
    slot: int
    group: int | None = 0  # which BUNDLE group it is in; None: in none
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
    def groups(self) -> list[list[str]]:
        """The mids of each BUNDLE group, in the order of the lines (RFC 9143 7)."""
        bundled = [line for line in self.lines if not line.rejected and line.group is not None]
        numbers = dict.fromkeys(line.group for line in bundled)
        return [[line.mid for line in bundled if line.group == number] for number in numbers]

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


def dtls_roles(
    before: Agreement, decided: tuple[tuple[int, bool], ...], lines: tuple[Line, ...], *, offered: bool
) -> tuple[tuple[int, bool], ...]:
    """Whether we are the DTLS client, by slot: `decided` once for each association (RFC 8842 5.2, 5.3).

    A peer that wants our role wants a new association (RFC 8842 3.1), which takes an ICE restart as any (RFC 9429 5.11).
    LENIENT: without a restart it is not meant so, nor is "active" in an answer, which Firefox says whatever it is, and goes on.
    """
    known, kept = remotes(before.lines), dict(decided)
    roles: dict[int, bool] = {}
    for slot, remote in remotes(lines).items():
        goes_on = slot in kept and slot in known and remote.same_dtls(known[slot])
        ours = "active" if kept.get(slot) else "passive"
        if goes_on and remote.setup == ours and not remote.same_ice(known[slot]):
            goes_on = offered and ours == "active"
        if goes_on:
            roles[slot] = kept[slot]
        elif offered:  # the answerer's choice; an "actpass" in an answer is a fault, read as active
            roles[slot] = remote.setup == "passive"
        else:  # ours: we are active where we may be
            roles[slot] = remote.setup != "active"
    return tuple(sorted(roles.items()))


def is_another(media: MediaDescription, line: Line) -> bool:
    """Whether an offer puts another line in the place of one that is over (RFC 3264 8.2), and does not just repeat it.

    What the peer ended, or could not be used, it may begin anew, be it with the same mid or without one. What we refused
    stays refused, unless it is of another mid or kind.
    """
    named_anew = media.attribute("mid") not in (None, line.mid)
    return line.rejected and not is_rejected(media) and (not line.refused or named_anew or media.kind != line.kind)


def made_up_mid(sdp: SessionDescription, index: int, known: Sequence[Line]) -> str:
    """For a line of an offer that has none: its index, unless another line is named so."""
    used = {media.attribute("mid") for media in sdp.media}
    used |= {line.mid for other, line in enumerate(known) if other != index}
    return next(name for name in map(str, itertools.count(index)) if name not in used)


def number_after(mid: str) -> int:
    """The first number that no mid up to this one can be."""
    return int(mid) + 1 if mid.isascii() and mid.isdecimal() and len(mid) < 6 else 0


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
