"""How a picture is sent, out of what applications write: words in place of enumerations, sizes in place of scales."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from attrs import evolve

from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding, SenderParameters
from sipproto.errors import LocalProtocolError
from sipproto.media.resolution import Resolution
from sipproto.media.send_encodings import fit_encoding, resolve_send_encodings

_E = TypeVar("_E", bound=enum.Enum)
_NO_HINT = "none"  # as the original writes it


def content_hint_of(hint: str | ContentHint) -> ContentHint:
    """Raises LocalProtocolError for a word that is none."""
    return ContentHint.NONE if hint == _NO_HINT else _member(ContentHint, hint)


def degradation_preference_of(preference: str | DegradationPreference) -> DegradationPreference:
    """Raises LocalProtocolError for a word that is none."""
    return _member(DegradationPreference, preference)


def encodings_of(
    wanted: Iterable[Encoding | Mapping[str, Any]],
    track: Resolution | None = None,
    max_resolution: Resolution | None = None,
) -> tuple[Encoding, ...]:
    """Encodings out of values or out of mappings of their fields, which may have `width` and `height`, in pixels.

    track: the size of the picture before it is encoded; a picture of unknown size is not scaled to one that is asked for.
    max_resolution: no encoding is to be larger, also the one that is used where none is wanted.
    Raises LocalProtocolError for what is no encoding.
    """
    encodings = tuple(one if isinstance(one, Encoding) else _encoding(dict(one), track) for one in wanted)
    return encodings if track is None else resolve_send_encodings(encodings, track, max_resolution)


def _encoding(fields: dict[str, Any], track: Resolution | None) -> Encoding:
    try:
        width, height = fields.pop("width", None), fields.pop("height", None)
        encoding = Encoding(**fields)
        if width is None and height is None:
            return encoding
        if width is None or height is None:
            raise ValueError("a size is a width and a height")
        return fit_encoding(encoding, Resolution(width, height), track)
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"no encoding: {error}") from None


def sender_parameters(
    *,
    content_hint: str | ContentHint | None = None,
    degradation_preference: str | DegradationPreference | None = None,
    send_encodings: Iterable[Encoding | Mapping[str, Any]] = (),
    max_bitrate: int | None = None,
    track: Resolution | None = None,
    max_resolution: Resolution | None = None,
) -> SenderParameters | None:
    """What a line is to be sent with; None when nothing is said of it. max_bitrate: of each encoding that has none."""
    encodings = encodings_of(send_encodings, track, max_resolution)
    if not encodings and max_bitrate is None and content_hint is None and degradation_preference is None:
        return None
    try:
        limited = tuple(evolve(one, max_bitrate=one.max_bitrate or max_bitrate) for one in encodings or (Encoding(),))
    except ValueError as error:
        raise LocalProtocolError(f"no bit rate: {error}") from None
    wish = SenderParameters(encodings=limited)
    if content_hint is not None:
        wish = evolve(wish, content_hint=content_hint_of(content_hint))
    if degradation_preference is not None:
        wish = evolve(wish, degradation_preference=degradation_preference_of(degradation_preference))
    return wish


def _member(kind: type[_E], value: str | _E) -> _E:
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(repr(member.value) for member in kind)
        raise LocalProtocolError(f"{value!r} is none of {words}") from None
