"""Sizes of pictures, as conference servers write them, and how one fits into another."""

from __future__ import annotations

import re

from attrs import field, frozen, validators

_LARGEST = 16_384  # pixels of a side: what VP8 can have at most (RFC 6386 9.1)
_TEXT = re.compile(r"([0-9]{1,5})\s*[xX]\s*([0-9]{1,5})")


@frozen
class Resolution:
    """Width and height in pixels, above 0."""

    width: int = field(validator=validators.gt(0))
    height: int = field(validator=validators.gt(0))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def longer_side(self) -> int:
        return max(self.width, self.height)


def parse_resolution(text: str) -> Resolution | None:
    """Reads "1280x720", also with a capital X or with blanks. None for anything else, and for sides of 0 or beyond 16384."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        return None
    width, height = int(found[1]), int(found[2])
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        return None
    return Resolution(width, height)


def scale_to_fit(current: Resolution | None, target: Resolution) -> float:
    """What both sides of a picture have to be divided by so that it fits into `target`: 1 or more, 1 when it is not known."""
    if current is None:
        return 1.0
    return max(current.width / target.width, current.height / target.height, 1.0)
