"""Descriptions out of lines: one way of writing for offers and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from sipproto.negotiation._values import LocalTransport
from sipproto.sdp import Codec, Direction, SessionDescription, build_sdp


class LineFacts(Protocol):
    """What of a line goes into its description."""

    @property
    def kind(self) -> str: ...
    @property
    def mid(self) -> str: ...
    @property
    def rejected(self) -> bool: ...
    @property
    def codecs(self) -> tuple[Codec, ...]: ...
    @property
    def extensions(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def ssrc(self) -> int: ...
    @property
    def rtx_ssrc(self) -> int: ...
    @property
    def track_id(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def formats(self) -> tuple[str, ...]: ...


@frozen
class WrittenLine:
    line: LineFacts
    direction: Direction
    setup: str
    transport: LocalTransport | None


def write_sdp(
    lines: list[WrittenLine],
    *,
    session_id: int,
    version: int,
    groups: Sequence[Sequence[str]],
    with_mids: bool,
    stream_id: str,
    cname: str,
) -> SessionDescription:
    """The description of these lines. The `o=` line keeps its id; only the version moves (RFC 3264 8).

    `groups`: the mids of each BUNDLE group.
    """
    session = ["v=0", f"o=- {session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if with_mids:
        session += ["a=group:BUNDLE " + " ".join(mids) for mids in groups]
    # RFC 8445 10: so a peer that knows the older ICE as well nominates but one pair.
    session += ["a=ice-options:ice2", "a=msid-semantic:WMS *"]
    media = [
        _rejected(written.line, with_mids)
        if written.line.rejected or written.transport is None
        else _accepted(written, written.transport, with_mids, stream_id, cname)
        for written in lines
    ]
    return build_sdp(session, media)


def _rejected(line: LineFacts, with_mids: bool) -> list[str]:
    """A line with port 0 keeps its place and its kind (RFC 3264 6)."""
    out = [f"m={line.kind} 0 {line.protocol} {' '.join(line.formats)}", "c=IN IP4 0.0.0.0"]
    if with_mids:
        out.append(f"a=mid:{line.mid}")
    return [*out, "a=inactive"]


def _accepted(
    written: WrittenLine, transport: LocalTransport, with_mids: bool, stream_id: str, cname: str
) -> list[str]:
    line = written.line
    formats = " ".join(str(codec.payload_type) for codec in line.codecs)
    family = "IP6" if ":" in transport.address else "IP4"
    out = [f"m={line.kind} {transport.port} {line.protocol} {formats}", f"c=IN {family} {transport.address}"]
    if with_mids:
        out.append(f"a=mid:{line.mid}")
    out += [f"a={written.direction.value}", "a=rtcp-mux"]
    for codec in line.codecs:
        channels = f"/{codec.channels}" if codec.channels > 1 else ""
        out.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if codec.parameters:
            out.append(f"a=fmtp:{codec.payload_type} {codec.parameters}")
        out += [f"a=rtcp-fb:{codec.payload_type} {feedback}" for feedback in codec.feedback]
    out += [f"a=extmap:{ident} {uri}" for uri, ident in line.extensions]
    if written.direction.sends:
        out.append(f"a=msid:{stream_id} {line.track_id}")
    # The SSRC is announced whatever the direction: our RTCP comes from it, and a packet under way when a line stops
    # sending would otherwise be an unknown source to the peer (Chromium then stays silent after the line resumes).
    has_rtx = any(codec.is_rtx for codec in line.codecs)
    if has_rtx:
        out.append(f"a=ssrc-group:FID {line.ssrc} {line.rtx_ssrc}")
    out += [f"a=ssrc:{ssrc} cname:{cname}" for ssrc in ((line.ssrc, line.rtx_ssrc) if has_rtx else (line.ssrc,))]
    out += [f"a=ice-ufrag:{transport.ice_ufrag}", f"a=ice-pwd:{transport.ice_pwd}"]
    out += [f"a=candidate:{candidate}" for candidate in transport.candidates]
    out.append("a=end-of-candidates")
    algorithm, digest = transport.fingerprint
    return [*out, f"a=fingerprint:{algorithm} {digest}", f"a=setup:{written.setup}"]
