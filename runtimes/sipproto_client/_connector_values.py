"""What the connector of an application is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Required, TypeAlias, TypedDict

from attrs import frozen

from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding
from sipproto.connector import ConnectionParameters
from sipproto.errors import LocalProtocolError
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction

# Pairs of name and value, or lines as on the wire: "X-Restart-Reason: Connection-Reset".
HeaderLines: TypeAlias = Iterable[str | tuple[str, str]]
ParametersProvider: TypeAlias = Callable[[], Awaitable[ConnectionParameters]]


@frozen(kw_only=True)
class VideoBalancerOptions:
    """ignore_for_codec: a piece of the name of a codec that is left alone. balancing_start_delay: seconds from the start of
    a call until its main video is balanced; None: it is not. on_set_parameters: called as a handler of
    `video-balancer:parameters-updated`.
    """

    ignore_for_codec: str | None = None
    balancing_start_delay: float | None = 10.0
    on_set_parameters: Callable[[Any], object] | None = None


class ConnectionSettings(TypedDict, total=False):
    """The fields of ConnectionParameters, by keyword."""

    sip_server_url: Required[str]
    sip_web_socket_server_url: Required[str]
    user: str | None
    password: str | None
    register: bool
    display_name: str
    user_agent: str
    remote_address: str | None
    extra_headers: HeaderLines
    register_expires: int
    connection_recovery: tuple[float, float]
    session_timers: bool
    legacy_display_name: bool
    attempts: int | None


class MediaOptions(TypedDict, total=False):
    """How a call is sent and received.

    direction_audio, direction_video: as in SDP, in place of what follows from the stream. offer_to_receive_audio and _video:
    whether to receive what there is no stream for. The rest is for the first video line: content_hint ("motion", "detail",
    "text", "none"), degradation_preference ("maintain-resolution" ...), send_encodings (Encoding values, or mappings of
    their fields that may have `width` and `height`), max_bitrate (bits per second). codecs: in place of those of the
    connector. extra_headers: of the INVITE, or of the answer to one.
    """

    extra_headers: HeaderLines
    direction_audio: str | Direction | None
    direction_video: str | Direction | None
    offer_to_receive_audio: bool
    offer_to_receive_video: bool
    content_hint: str | ContentHint | None
    degradation_preference: str | DegradationPreference | None
    send_encodings: Iterable[Encoding | Mapping[str, Any]]
    max_bitrate: int | None
    codecs: CodecPreferences | None


class SendingOptions(TypedDict, total=False):
    """How video is sent: see MediaOptions."""

    content_hint: str | ContentHint | None
    degradation_preference: str | DegradationPreference | None
    send_encodings: Iterable[Encoding | Mapping[str, Any]]
    max_bitrate: int | None


def header_lines(lines: HeaderLines) -> tuple[tuple[str, str], ...]:
    """Headers as pairs. Raises LocalProtocolError for a line without a colon."""
    return tuple(_pair(line) if isinstance(line, str) else line for line in lines)


def _pair(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise LocalProtocolError("a header line has a colon after its name")
    return name.strip(), value.strip()
