"""Which codec of ours is which codec of theirs (RFC 3264 6.1, RFC 6184 8.2.2, RFC 4588 8)."""

from __future__ import annotations

from collections.abc import Callable

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
    different = _DIFFERENT.get(mine.name.lower(), ())
    return all(value(mine) == value(other) for value in different)


def _h264_profile(codec: Codec) -> str:
    """Baseline ("42") or constrained baseline ("42e0") and the like; Baseline is the default (RFC 6184 8.1)."""
    value = (codec.parameter("profile-level-id") or "420010").lower()
    constrained = value[:2] == "42" and value[2:3] in ("c", "d", "e", "f")
    return "42e0" if constrained else value[:4]


def _parameter(name: str, default: str) -> Callable[[Codec], str]:
    return lambda codec: codec.parameter(name) or default


# What makes two codecs of one name different ones. Of H.264 packetization-mode and profile have to agree, the level may differ
# (RFC 6184 8.2.2); of VP9 the profile (RFC 9628 6.3).
_DIFFERENT: dict[str, tuple[Callable[[Codec], str], ...]] = {
    "h264": (_parameter("packetization-mode", "0"), _h264_profile),
    "vp9": (_parameter("profile-id", "0"),),
}
