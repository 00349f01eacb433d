"""Which codec of ours is which codec of theirs (RFC 3264 6.1, RFC 6184 8.2.2, RFC 4588 8)."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.sdp import Codec


def match_codecs(ours: tuple[Codec, ...], theirs: tuple[Codec, ...]) -> list[tuple[Codec, Codec]]:
    """Pairs (ours, theirs) of the same codec, in our order of preference; rtx goes with the codec that it repeats."""
    return _paired(ours, theirs, (is_same_codec,))


def match_answer(ours: tuple[Codec, ...], theirs: tuple[Codec, ...]) -> list[tuple[Codec, Codec]]:
    """The same for an answer to our offer, where a payload type of ours means what we said that it means (RFC 3264 6.1).

    LENIENT: the answer has to repeat some parameters (RFC 6184 8.2.2), but not all do: webrtcbin leaves out the profile of
    H.264, which would make it another one.
    """
    return _paired(ours, theirs, (_has_number_of, is_same_codec))


def _paired(
    ours: tuple[Codec, ...], theirs: tuple[Codec, ...], rules: tuple[Callable[[Codec, Codec], bool], ...]
) -> list[tuple[Codec, Codec]]:
    """The first rule that finds something for a codec decides, before the next one is asked for any."""
    found: dict[Codec, Codec] = {}
    for fits in rules:
        for mine in ours:
            free = (other for other in theirs if other not in found.values() and fits(mine, other))
            if not mine.is_rtx and mine not in found and (other := next(free, None)) is not None:
                found[mine] = other
    pairs = [(mine, found[mine]) for mine in ours if mine in found]
    types = {mine.payload_type: other.payload_type for mine, other in pairs}
    for mine in ours:
        for other in theirs:
            if mine.is_rtx and other.is_rtx and mine.apt in types and types[mine.apt] == other.apt:
                pairs.append((mine, other))
                break
    return pairs


def _has_number_of(one: Codec, other: Codec) -> bool:
    return one.payload_type == other.payload_type and _has_name_of(one, other)


def _has_name_of(one: Codec, other: Codec) -> bool:
    names = one.name.lower(), other.name.lower()
    return names[0] == names[1] and (one.clock_rate, one.channels) == (other.clock_rate, other.channels)


def is_same_codec(one: Codec, other: Codec) -> bool:
    """Whether two payload types, each of its own description, mean the same; rtx: within one description."""
    distinctions = _DISTINCTIONS.get(one.name.lower(), ())
    return _has_name_of(one, other) and all(read(one) == read(other) for read in distinctions)


def _h264_profile(codec: Codec) -> str:
    """Baseline ("42") or constrained baseline ("42e0") and the like; Baseline is the default (RFC 6184 8.1)."""
    value = (codec.parameter("profile-level-id") or "420010").lower()
    constrained = value[:2] == "42" and value[2:3] in ("c", "d", "e", "f")
    return "42e0" if constrained else value[:4]


def _packetization_mode(codec: Codec) -> str:
    return codec.parameter("packetization-mode") or "0"


def _vp9_profile(codec: Codec) -> str:
    return codec.parameter("profile-id") or "0"


def _av1_profile(codec: Codec) -> str:
    return codec.parameter("profile") or "0"


# What beside name, rate and channels makes two formats different: RFC 6184 8.2.2 (the level may differ), RFC 9628 6,
# the payload format of AV1 7.2.2 (each side declares a level and a tier of its own), RFC 4588 8.1.
_DISTINCTIONS: dict[str, tuple[Callable[[Codec], object], ...]] = {
    "h264": (_packetization_mode, _h264_profile),
    "vp9": (_vp9_profile,),
    "av1": (_av1_profile,),
    "rtx": (lambda codec: codec.apt,),
}
