"""How a line is sent: W3C RTCRtpSendParameters, as far as they concern a SIP call."""

from __future__ import annotations

import enum
import math
from typing import Any

from attrs import Attribute, field, frozen, validators


class DegradationPreference(enum.Enum):
    """What to keep when the bit rate does not suffice for both (W3C mst-content-hint 5)."""

    MAINTAIN_FRAMERATE = "maintain-framerate"
    MAINTAIN_RESOLUTION = "maintain-resolution"
    BALANCED = "balanced"


class ContentHint(enum.Enum):
    """What a picture shows (W3C mst-content-hint 3). NONE: unknown, treated as MOTION."""

    NONE = ""
    MOTION = "motion"
    DETAIL = "detail"
    TEXT = "text"


def _above_zero(_: object, attribute: Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{attribute.name} is to be above 0 and finite, not {value}")


@frozen(kw_only=True)
class Encoding:
    """One encoding (W3C RTCRtpEncodingParameters). None: as the engine likes.

    max_bitrate: bits per second, above 0. max_framerate: pictures per second, above 0. scale_resolution_down_by: 1 and more.
    Raises ValueError for others, infinity included.
    """

    rid: str | None = None
    active: bool = True
    max_bitrate: int | None = field(default=None, validator=_above_zero)
    max_framerate: float | None = field(default=None, validator=_above_zero)
    scale_resolution_down_by: float = field(default=1.0, validator=[validators.ge(1), validators.lt(math.inf)])
    scalability_mode: str | None = None


@frozen(kw_only=True)
class SenderParameters:
    """What a line is to be sent with. An engine that cannot send several encodings sends one of them."""

    encodings: tuple[Encoding, ...] = field(default=(Encoding(),), validator=validators.min_len(1))
    degradation_preference: DegradationPreference = DegradationPreference.BALANCED
    content_hint: ContentHint = ContentHint.NONE


@frozen(kw_only=True)
class EffectiveParameters:
    """What a line is sent with. `ignored` names what of the wish the engine cannot do, a line fit for a user for each."""

    encodings: tuple[Encoding, ...]
    degradation_preference: DegradationPreference
    content_hint: ContentHint
    ignored: tuple[str, ...] = ()
