"""Streams, of a stream as an application knows it: audio and video that belong together."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from sipproto.agent.inputs import Media
from sipproto.agent.outputs import LineInfo
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto.sdp import direction as direction_of


@frozen(kw_only=True)
class RemoteStream:
    """What belongs together of what the peer sends: media lines by mid. `id`: as the peer calls it, else made of a mid."""

    id: str
    audio: tuple[str, ...] = ()
    video: tuple[str, ...] = ()


def is_received(line: LineInfo) -> bool:
    """Whether the peer sends on this line, and we listen."""
    return line.direction.receives and line.remote_direction.sends


def remote_streams(lines: Iterable[LineInfo]) -> tuple[RemoteStream, ...]:
    """The streams of a call, in the order of its lines: by convention the first is the main one, the second a presentation.

    Lines belong together when the peer says so (RFC 8830). Of those it says nothing of, each video line has the audio line
    right before it; others are streams of their own.
    """
    streams: dict[str, RemoteStream] = {}
    before: LineInfo | None = None  # an audio line without a stream of its name, right before this one
    for line in filter(is_received, lines):
        ident = next(iter(line.remote_streams), "") or f"mid-{line.mid}"
        unnamed = not line.remote_streams
        if line.kind == "video" and unnamed and before is not None:
            ident = f"mid-{before.mid}"
        stream = streams.setdefault(ident, RemoteStream(id=ident))
        if line.kind == "audio":
            streams[ident] = evolve(stream, audio=(*stream.audio, line.mid))
        else:
            streams[ident] = evolve(stream, video=(*stream.video, line.mid))
        before = line if unnamed and line.kind == "audio" else None
    return tuple(streams.values())


def wanted_media(
    *,
    audio: bool,
    video: bool,
    direction_audio: str | Direction | None = None,
    direction_video: str | Direction | None = None,
    offer_to_receive_audio: bool = True,
    offer_to_receive_video: bool = True,
) -> Media:
    """The lines of a call for a stream that has audio or video, or not, and what is to be received.

    A direction that is given, as in SDP, says it all for that kind; but nothing is sent that the stream has not.
    Raises LocalProtocolError for what is no direction, and when no line is left.
    """
    wishes = (
        ("audio", audio, direction_audio, offer_to_receive_audio),
        ("video", video, direction_video, offer_to_receive_video),
    )
    found = ((kind, _direction(has, given, receives)) for kind, has, given, receives in wishes)
    media = tuple((kind, direction) for kind, direction in found if direction is not Direction.INACTIVE)
    if not media:
        raise LocalProtocolError("nothing is to be sent, and nothing to be received")
    return media


def _direction(has: bool, given: str | Direction | None, receives: bool) -> Direction:
    if given is None:
        return direction_of(has, receives)
    try:
        wish = Direction(given)
    except ValueError:
        raise LocalProtocolError(f"{given!r} is no direction: {', '.join(one.value for one in Direction)}") from None
    return direction_of(has and wish.sends, wish.receives)
