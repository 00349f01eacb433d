"""Which codecs a line offers and answers, and under which payload types (RFC 3264 5.1, 6.1, 8.3.2)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from sipproto.negotiation._match import is_same_codec, match_codecs
from sipproto.negotiation._values import CodecPreferences
from sipproto.sdp import Codec

# RFC 3551 6, RFC 5761 4: 64 to 95 would be taken for RTCP, which has the same port.
_DYNAMIC = (*range(96, 128), *range(35, 64))


def preferred(kind: str, codecs: tuple[Codec, ...], preferences: CodecPreferences) -> tuple[Codec, ...]:
    """Without those excluded, with those preferred first; rtx follows the codec that it repeats."""
    order = [name.lower() for name in preferences.prefer]
    excluded = {name.lower() for name in preferences.exclude}

    def mime(codec: Codec) -> str:
        return f"{kind}/{codec.name}".lower()

    chosen = [codec for codec in codecs if not codec.is_rtx and mime(codec) not in excluded]
    chosen.sort(
        key=lambda codec: (codec.is_auxiliary, order.index(mime(codec)) if mime(codec) in order else len(order))
    )
    repairs = {codec.apt: codec for codec in codecs if codec.is_rtx and mime(codec) not in excluded}
    return tuple(one for codec in chosen for one in (codec, repairs.get(codec.payload_type)) if one is not None)


def as_agreed(codecs: tuple[Codec, ...], agreed: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """In the order of the last answer, and the others behind (RFC 8829 5.2.2)."""

    def place(codec: Codec) -> int:
        return next((i for i, one in enumerate(agreed) if is_same_codec(one, codec)), len(agreed))

    return tuple(sorted(codecs, key=place))


def carry_media(codecs: Iterable[Codec]) -> bool:
    """Whether there is anything among these that sound or pictures can be sent with."""
    return any(not codec.is_auxiliary for codec in codecs)


def offered_codecs(ours: tuple[Codec, ...], known: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """What we offer: `ours`, each with the payload type that it has among those `known` in this session, or a free one.

    A payload type gets no other meaning (RFC 3264 8.3.2), also not on another line: in a bundle it says which codec a
    packet is of (RFC 9143 9.1).
    """
    taken = {codec.payload_type: codec for codec in known}

    def numbered(codec: Codec) -> Codec:
        number = next((n for n, other in taken.items() if is_same_codec(other, codec)), codec.payload_type)
        if number in taken and not is_same_codec(taken[number], codec):
            number = next(n for n in _DYNAMIC if n not in taken)
        taken[number] = evolve(codec, payload_type=number)
        return taken[number]

    out: list[Codec] = []
    for codec in ours:
        if not codec.is_rtx:
            out.append(numbered(codec))
            repairs = (
                evolve(one, parameters=f"apt={out[-1].payload_type}") for one in ours if one.apt == codec.payload_type
            )
            out += [numbered(repair) for repair in repairs]
    return tuple(out)


def answered_codecs(
    ours: tuple[Codec, ...], offered: tuple[Codec, ...], preferences: CodecPreferences
) -> tuple[tuple[Codec, ...], tuple[Codec, ...]]:
    """What we answer and what we send with; both empty without a common codec that carries media.

    Payload types are the offerer's. So is the order (RFC 3264 6.1), but for what was explicitly preferred.
    """
    pairs = match_codecs(ours, offered)
    if not carry_media(theirs for _, theirs in pairs):
        return (), ()
    if not preferences.prefer:
        pairs.sort(key=lambda pair: offered.index(pair[1]))
    answered = [
        evolve(
            mine,
            payload_type=theirs.payload_type,
            parameters=f"apt={theirs.apt}" if mine.is_rtx else mine.parameters,
            feedback=tuple(one for one in mine.feedback if one in theirs.feedback),  # RFC 4585 4.2
        )
        for mine, theirs in pairs
    ]
    return tuple(answered), tuple(theirs for _, theirs in pairs)


def remembered(known: tuple[Codec, ...], codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    """The payload types of the session with those of `codecs`, one for each codec: the latest. Some are always free."""
    out = list(known)
    for codec in codecs:
        out = [one for one in out if one.payload_type != codec.payload_type and not is_same_codec(one, codec)]
        out.append(codec)
    numbers = {one.payload_type for one in out if not one.is_rtx}
    return tuple(one for one in out if not one.is_rtx or one.apt in numbers)
