"""The size, frame rate and bit rate to encode a picture with, by what is wished and what the path takes."""

from __future__ import annotations

import math

from attrs import frozen

from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding

_BITS_PER_PIXEL_AMPLE = 2.7  # a second: 2.5 Mbit/s for 1280x720; more is hardly seen
_SCALES = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # few steps: each change of size costs a key frame
_SCALE_FOR_TIME = 2.0  # the time that encoding takes is only partly one for each pixel
_SMALLEST = 160 * 90  # pixels; a lack of bits makes no picture smaller
_LEAST_FRAME_RATE = 1.0
_GROW_RESERVE = 1.25  # so much more than needed has to be there before a picture grows again
_STEADY = (0.9, 1.25)  # a new bit rate in this relation to the one in use is not worth a key frame

# Bits for each pixel of a moving, detailed picture with which it is still fit to be seen. With half of that the encoders
# are at the end of their range, and libvpx's VP8 leaves pictures out.
_NEED = {"vp8": 0.045, "vp9": 0.03, "h264": 0.035, "av1": 0.025}
_NEED_UNKNOWN = 0.045
_HINT_NEED = {ContentHint.NONE: 1.0, ContentHint.MOTION: 1.0, ContentHint.DETAIL: 1.5, ContentHint.TEXT: 1.5}


@frozen
class Sacrifice:
    """What is given up when bits are lacking.

    frame_rate_share: the part of the lack that the frame rate bears, 0 (the size bears all) to 1 (the frame rate does).
    frame_rate_floor: pictures per second; below that the size bears the rest. When the picture is as small as it may get, the
    frame rate goes below its floor, to one picture per second.
    """

    frame_rate_share: float
    frame_rate_floor: float


_Hint, _Keep = ContentHint, DegradationPreference
_MOTION = {
    _Keep.MAINTAIN_FRAMERATE: Sacrifice(0.0, 60.0),
    _Keep.BALANCED: Sacrifice(0.35, 15.0),
    _Keep.MAINTAIN_RESOLUTION: Sacrifice(1.0, 5.0),
}
# W3C mst-content-hint 3: "detail" and "text" keep the size where there is a choice, and text may come rarely.
_DETAIL = {**_MOTION, _Keep.BALANCED: Sacrifice(0.75, 5.0), _Keep.MAINTAIN_RESOLUTION: Sacrifice(1.0, 2.0)}
_TEXT = {**_MOTION, _Keep.BALANCED: Sacrifice(1.0, 5.0), _Keep.MAINTAIN_RESOLUTION: Sacrifice(1.0, 1.0)}
SACRIFICES: dict[ContentHint, dict[DegradationPreference, Sacrifice]] = {
    _Hint.NONE: _MOTION,
    _Hint.MOTION: _MOTION,
    _Hint.DETAIL: _DETAIL,
    _Hint.TEXT: _TEXT,
}


@frozen(kw_only=True)
class VideoTarget:
    """How to encode: size in pixels (even numbers), pictures per second, bits per second.

    `scale`: what the size was divided by for want of bits, beyond what was wished.
    """

    width: int
    height: int
    frame_rate: float
    bitrate: int
    hint: ContentHint = ContentHint.NONE
    scale: float = 1.0


def ample_bitrate(width: int, height: int) -> int:
    """The bit rate of a line without a maximum of its own, in bits per second."""
    return int(width * height * _BITS_PER_PIXEL_AMPLE)


def video_target(
    *,
    encoding: Encoding,
    preference: DegradationPreference,
    hint: ContentHint,
    codec: str,
    available: int,
    width: int,
    height: int,
    frame_rate: float,
    pixel_rate: float | None = None,
    previous: VideoTarget | None = None,
    may_grow: bool = True,
) -> VideoTarget:
    """Decides how to encode a source of this size and frame rate.

    `codec` is its SDP name, in any case. `available`: bits per second that the path takes. `pixel_rate`: pixels per
    second that the encoder manages; a lack of time is met in the same way as one of bits. `previous`: the target in
    use, unless the wishes or the source have changed; small changes then leave size and bit rate as they are.
    `may_grow`: whether the picture may become larger than in `previous`.
    """
    width, height = _scaled(width, height, encoding.scale_resolution_down_by)
    bitrate = min(available, encoding.max_bitrate or ample_bitrate(width, height))
    if previous is not None and _STEADY[0] <= bitrate / previous.bitrate <= _STEADY[1]:
        bitrate = previous.bitrate
    frame_rate = min(frame_rate, encoding.max_framerate or frame_rate)
    need = _NEED.get(codec.lower(), _NEED_UNKNOWN) * _HINT_NEED[hint]
    # Pictures a second of full size for which the bits suffice, and the time.
    by_bits, by_time = bitrate / (need * width * height), (pixel_rate or math.inf) / (width * height)
    sacrifice = SACRIFICES[hint][preference]
    supply = min(1.0, by_bits / frame_rate, by_time / frame_rate)
    floor = min(frame_rate, sacrifice.frame_rate_floor)
    frame_rate = max(floor, frame_rate * supply**sacrifice.frame_rate_share)
    scale_for_bits = _scale(by_bits / frame_rate, width * height, previous)
    scale_for_time = min(_SCALE_FOR_TIME, _scale(by_time / frame_rate, width * height, previous))
    scale = max(scale_for_bits, scale_for_time, 1.0 if previous is None or may_grow else previous.scale)
    frame_rate = min(frame_rate, max(_LEAST_FRAME_RATE, min(by_bits, by_time) * scale**2))
    width, height = _scaled(width, height, scale)
    return VideoTarget(width=width, height=height, frame_rate=frame_rate, bitrate=bitrate, hint=hint, scale=scale)


def _scale(supply: float, pixels: int, previous: VideoTarget | None) -> float:
    """The least scale with which `supply`, the part of what is needed that there is, suffices."""
    allowed = [scale for scale in _SCALES if scale == 1 or pixels / scale**2 >= _SMALLEST]
    for scale in allowed:
        reserve = _GROW_RESERVE if previous is not None and scale < previous.scale else 1.0
        if supply * scale**2 >= reserve * 0.999:  # a frame rate that bears the whole lack leaves 1, or not quite
            return scale
    return allowed[-1]


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    """Even numbers, as 4:2:0 pictures need; at least 16 (a macroblock), or what there is."""

    def side(pixels: int) -> int:
        return max(min(16, pixels), round(pixels / scale)) & ~1 or 2

    return side(width), side(height)
