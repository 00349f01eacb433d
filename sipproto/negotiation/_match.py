"""Which codec of ours is which codec of theirs (RFC 3264 6.1, RFC 6184 8.2.2, RFC 4588 8)."""

from __future__ import annotations

from sipproto.sdp import Codec


def match_codecs(ours: tuple[Codec, ...], theirs: tuple[Codec, ...]) -> list[tuple[Codec, Codec]]:
    """Pairs (ours, theirs) of the same codec, in our order of preference; rtx goes with the codec that it repeats."""
    pairs: list[tuple[Codec, Codec]] = []
    used: set[int] = set()
    for mine in ours:
        for other in theirs:
            if not mine.is_rtx and other.payload_type not in used and _same(mine, other):
                used.add(other.payload_type)
                pairs.append((mine, other))
                break
    types = {mine.payload_type: other.payload_type for mine, other in pairs}
    for mine in ours:
        for other in theirs:
            if mine.is_rtx and other.is_rtx and mine.apt in types and types[mine.apt] == other.apt:
                pairs.append((mine, other))
                break
    return pairs


def _same(mine: Codec, other: Codec) -> bool:
    if (mine.name.lower(), mine.clock_rate, mine.channels) != (other.name.lower(), other.clock_rate, other.channels):
        return False
    if mine.name.lower() != "h264":
        return True
    # RFC 6184 8.2.2: packetization-mode and profile have to agree, the level may differ.
    return (mine.parameter("packetization-mode") or "0") == (other.parameter("packetization-mode") or "0") and (
        _h264_profile(mine) == _h264_profile(other)
    )


def _h264_profile(codec: Codec) -> str:
    """Baseline ("42") or constrained baseline ("42e0") and the like; Baseline is the default (RFC 6184 8.1)."""
    value = (codec.parameter("profile-level-id") or "420010").lower()
    constrained = value[:2] == "42" and value[2:3] in ("c", "d", "e", "f")
    return "42e0" if constrained else value[:4]
