"""The bit rates that conference clients send pictures of a size with, in bits per second."""

from __future__ import annotations

from sipproto.media.resolution import Resolution

# The longer side of the picture in pixels, at most, and the bit rate for it.
BITRATES: tuple[tuple[int, int], ...] = (
    (64, 60_000),
    (128, 120_000),
    (256, 250_000),
    (384, 320_000),
    (426, 380_000),
    (640, 500_000),
    (848, 700_000),
    (1280, 1_000_000),
    (1920, 2_000_000),
)
_LARGEST = 4_000_000  # for what is larger
_AV1_PERCENT = 60  # AV1 needs so much of it for the same picture


def minimum_bitrate(codec: str) -> int:
    """What a paused picture is sent with. `codec` is an SDP name or a MIME type in any letter case, "" when not known."""
    return _for_codec(BITRATES[0][1], codec)


def maximum_bitrate(codec: str) -> int:
    """What a picture is sent with at most."""
    return _for_codec(_LARGEST, codec)


def balanced_bitrate(size: Resolution | float | None, codec: str) -> int:
    """The bit rate for pictures of a size, or with a longer side of so many pixels; None, not known: the maximum.

    The longer side counts, so that a picture and the same one on its side get the same.
    """
    if size is None:
        return maximum_bitrate(codec)
    side = size.longer_side if isinstance(size, Resolution) else size
    return _for_codec(next((bitrate for limit, bitrate in BITRATES if side <= limit), _LARGEST), codec)


def _for_codec(bitrate: int, codec: str) -> int:
    return bitrate * _AV1_PERCENT // 100 if "av1" in codec.lower() else bitrate
