"""Session descriptions: lossless lines and the meaning of the attributes used in calls."""

from sipproto.sdp._media import (
    STATIC_CODECS,
    Codec,
    Direction,
    RemoteTransport,
    bundle_groups,
    codecs_of,
    direction,
    direction_of,
    extensions_of,
    is_rejected,
    packet_time_of,
    ssrcs_of,
    streams_of,
    transport_of,
)
from sipproto.sdp._model import MediaDescription, Section, SessionDescription, build_sdp, parse_sdp

__all__ = [
    "STATIC_CODECS",
    "Codec",
    "Direction",
    "MediaDescription",
    "RemoteTransport",
    "Section",
    "SessionDescription",
    "build_sdp",
    "bundle_groups",
    "codecs_of",
    "direction",
    "direction_of",
    "extensions_of",
    "is_rejected",
    "packet_time_of",
    "parse_sdp",
    "ssrcs_of",
    "streams_of",
    "transport_of",
]
