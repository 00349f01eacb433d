"""The media lines of a call, out of what an application says of its stream."""

from __future__ import annotations

from sipproto.agent.inputs import Media
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto.sdp import direction as direction_of


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
