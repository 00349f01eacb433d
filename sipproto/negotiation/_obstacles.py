"""What keeps a media line of the peer from being used, in words that go on after "audio is offered" and "audio is answered"."""

from __future__ import annotations

from sipproto.errors import excerpt
from sipproto.sdp import MediaDescription, SessionDescription, transport_of

# LENIENT: RTP/SAVPF and RTP/SAVP are how some servers call DTLS-SRTP; what counts is the fingerprint.
_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"})


def protocol_obstacle(media: MediaDescription) -> str | None:
    return None if media.protocol in _PROTOCOLS else f"as {excerpt(media.protocol)}, which is not DTLS-SRTP"


def line_obstacle(media: MediaDescription, *, codecs: bool) -> str | None:
    """`codecs`: whether there is one in common that carries media."""
    if not codecs:
        return "without a codec in common"
    # The only way we have (RFC 8834 4.5 allows to insist on it)
    if media.attribute("rtcp-mux") is None and media.attribute("rtcp-mux-only") is None:
        return "without rtcp-mux"
    return None


def transport_obstacle(sdp: SessionDescription, media: MediaDescription) -> str | None:
    """ICE and DTLS-SRTP are what a WebRTC endpoint has to insist on (RFC 8835 3.4, RFC 8827 6.5)."""
    if transport_of(sdp, media) is not None:
        return None
    with_ice = sdp.inherited(media, "ice-ufrag") and sdp.inherited(media, "ice-pwd")
    return "without a certificate fingerprint" if with_ice else "without ICE"
