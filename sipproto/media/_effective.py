"""Which of the encodings that were asked for is sent, and what of the wish cannot be fulfilled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import evolve

from sipproto.agent.parameters import (
    ContentHint,
    DegradationPreference,
    EffectiveParameters,
    Encoding,
    SenderParameters,
)

_BITRATES = {"audio": (6_000, 510_000), "video": (30_000, 50_000_000)}  # Opus: RFC 6716 2.1.1
_VARIABLE_AUDIO = "opus"  # the other audio codecs have one bit rate


def chosen_encoding(encodings: tuple[Encoding, ...]) -> Encoding:
    """The one to send of several: an active one before others, then the greatest bit rate (no maximum is the greatest), the
    least scaling, the greatest frame rate, the first."""
    return max(
        encodings,
        key=lambda one: (
            one.active,
            one.max_bitrate or math.inf,
            -one.scale_resolution_down_by,
            one.max_framerate or math.inf,
        ),
    )


def effective_parameters(kind: str, codec: str, parameters: SenderParameters) -> EffectiveParameters:
    """What a line of this kind ("audio", "video") with this codec (its SDP name) is sent with, as one encoding."""
    asked = chosen_encoding(parameters.encodings)
    encoding = evolve(asked, scalability_mode=None)
    preference, hint = parameters.degradation_preference, parameters.content_hint
    ignored: list[str] = []
    if (count := len(parameters.encodings)) > 1:
        ignored.append(f"{count} encodings: only one is sent, the best of the active ones")
    if asked.scalability_mode not in (None, "L1T1"):
        ignored.append(f"scalability mode {asked.scalability_mode}: pictures are sent in one layer (L1T1)")
    if kind == "audio":
        ignored += _without_pictures(encoding, preference, hint)
        encoding = evolve(encoding, scale_resolution_down_by=1.0, max_framerate=None)
        preference, hint = DegradationPreference.BALANCED, ContentHint.NONE
    if encoding.max_bitrate is not None:
        bitrate = _possible_bitrate(kind, codec, encoding.max_bitrate)
        if bitrate is None:
            ignored.append(f"maximum bit rate: {codec} has one bit rate only")
        elif bitrate != encoding.max_bitrate:
            ignored.append(f"maximum bit rate of {encoding.max_bitrate} bit/s: {bitrate} is the nearest possible")
        encoding = evolve(encoding, max_bitrate=bitrate)
    return EffectiveParameters(
        encodings=(encoding,), degradation_preference=preference, content_hint=hint, ignored=tuple(ignored)
    )


def _possible_bitrate(kind: str, codec: str, bitrate: int) -> int | None:
    if kind == "audio" and codec.lower() != _VARIABLE_AUDIO:
        return None
    low, high = _BITRATES[kind]
    return max(low, min(bitrate, high))


def _without_pictures(encoding: Encoding, preference: DegradationPreference, hint: ContentHint) -> Iterator[str]:
    for name, asked in (
        ("scaling", encoding.scale_resolution_down_by != 1),
        ("maximum frame rate", encoding.max_framerate is not None),
        ("degradation preference", preference is not DegradationPreference.BALANCED),
        ("content hint", hint is not ContentHint.NONE),
    ):
        if asked:
            yield f"{name}: an audio line has no pictures"
