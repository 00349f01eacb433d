"""One line of an offer or answer of the peer: what becomes of ours with it (RFC 3264 6, 7)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from sipproto.negotiation._agreement import Line
from sipproto.negotiation._codecs import carry_media
from sipproto.negotiation._match import match_answer
from sipproto.negotiation._obstacles import line_obstacle, transport_obstacle
from sipproto.negotiation._values import NegotiationError
from sipproto.sdp import (
    Codec,
    Direction,
    MediaDescription,
    SessionDescription,
    codecs_of,
    direction,
    direction_of,
    extensions_of,
    packet_time_of,
    ssrcs_of,
    streams_of,
)


def answered_line(sdp: SessionDescription, media: MediaDescription, line: Line, offered: Direction) -> Line:
    """A line of ours with its answer; it has what carries it. Raises NegotiationError for an answer that is none."""
    if line.rejected:
        return evolve(line, current=Direction.INACTIVE, formats=media.formats or ("0",))
    theirs = codecs_of(media)
    pairs = match_answer(line.codecs, theirs)
    pairs.sort(key=lambda pair: theirs.index(pair[1]))  # the answerer's preferences (RFC 3264 6.1)
    obstacle = line_obstacle(media, codecs=carry_media(codec for _, codec in pairs))
    if obstacle is not None or line.remote is None:
        obstacle = obstacle or transport_obstacle(sdp, media) or "in a bundle without a transport"
        raise NegotiationError(f"{line.kind} is answered {obstacle}")
    remote_direction, answered = direction_of(sdp, media), extensions_of(sdp, media)
    return evolve(
        _described(line, media, remote_direction),
        send_codecs=tuple(codec for _, codec in pairs),
        codecs=tuple(ours for ours, _ in pairs),
        extensions=tuple((uri, i) for uri, i in line.extensions if uri in answered),
        current=direction(offered.sends and remote_direction.receives, offered.receives and remote_direction.sends),
        declines=not remote_direction.receives if offered.sends else line.declines,
    )


def offered_line(
    sdp: SessionDescription,
    media: MediaDescription,
    line: Line,
    codecs: tuple[tuple[Codec, ...], tuple[Codec, ...]],
    extensions: Iterable[str],
) -> Line:
    """A line that the peer offers and we take. codecs: what we answer and what we send with. extensions: what we can."""
    offered, remote_direction = extensions_of(sdp, media), direction_of(sdp, media)
    return evolve(
        _described(line, media, remote_direction),
        codecs=codecs[0],
        send_codecs=codecs[1],
        extensions=tuple((uri, offered[uri]) for uri in extensions if uri in offered),
        declines=not remote_direction.receives,
    )


def _described(line: Line, media: MediaDescription, remote_direction: Direction) -> Line:
    return evolve(
        line,
        remote_direction=remote_direction,
        remote_ssrcs=ssrcs_of(media),
        remote_streams=streams_of(media),
        packet_time=packet_time_of(media),
    )
