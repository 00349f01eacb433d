"""Video encoders: libvpx and x264 to a size, a frame rate and a bit rate that may change with each picture."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, cast

from av import CodecContext, VideoFrame
from av.frame import Frame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from sipproto.agent.parameters import ContentHint
from sipproto.media import VideoTarget
from sipproto.sdp import Codec
from sipproto_aiortc._encoders import Target
from sipproto_aiortc._payload import PAYLOAD_MAX, h264_payloads, vp8_payloads
from sipproto_aiortc._vp9 import vp9_payloads

_CLOCK = 90000
_SMOOTHING = 0.1
_FRAME_RATE_TRIED = 2 * _CLOCK  # so long an encoder is kept although the frame rate is another than it was told
_GROUP_OF_PICTURES = 3000  # key frames come when they are asked for
_KEY_FRAME_TIME = 0.2  # seconds of the bit rate that a key frame may take

# How coarse the libvpx encoders may become: a picture of detail or text rather comes seldom than coarse.
_QUANTIZER_MAX = {ContentHint.NONE: 63, ContentHint.MOTION: 63, ContentHint.DETAIL: 56, ContentHint.TEXT: 56}
_REALTIME = {
    "deadline": "realtime",
    "lag-in-frames": "0",
    "drop-threshold": "30",  # leaves pictures out rather than exceed the bit rate
    "undershoot-pct": "100",
    "overshoot-pct": "15",
}
_PIXELS_PER_THREAD = 1280 * 720
# What x264 is told; the least that is enough, so that the bit rate is not exceeded.
_FRAME_RATES = (1, 2, 3, 5, 7, 10, 12, 15, 20, 25, 30, 40, 50, 60)


class VideoFormat(Protocol):
    """One codec: its encoder, and how RTP carries what that puts out."""

    def codec(self, target: VideoTarget) -> VideoCodecContext: ...

    def suits(self, target: VideoTarget, used: VideoTarget) -> bool:
        """Whether an encoder made for the target `used` can go on with this one, of the same size and bit rate."""
        ...

    def payloads(self, picture: bytes, key_frame: bool) -> list[bytes]: ...


class _SmoothClock:
    """Time stamps for an encoder's rate control: at the mean distance of the pictures, not at that of each.

    libvpx takes a single longer distance, one picture left out, for a lower frame rate and exceeds the bit rate by half.
    """

    def __init__(self, frame_rate: float) -> None:
        self._distance = _CLOCK / frame_rate
        self._last: int | None = None
        self._now = 0.0

    def next(self, timestamp: int) -> int:
        if self._last is not None:
            distance = timestamp - self._last
            likely = max(self._distance / 3, min(distance, self._distance * 3))
            self._distance += _SMOOTHING * (likely - self._distance)
        self._last = timestamp
        self._now += self._distance
        return round(self._now)


class VideoEncoder:
    """A new size or bit rate means a new encoder and so a key frame: FFmpeg's take neither under way."""

    quick = False

    def __init__(self, form: VideoFormat) -> None:
        self._format = form
        self._codec: VideoCodecContext | None = None
        self._target: VideoTarget | None = None
        self._made = 0  # the time stamp of the first picture of the codec
        self._clock = _SmoothClock(1.0)
        self.seconds = 0.0
        self._reformatter = VideoReformatter()

    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        assert isinstance(frame, VideoFrame) and isinstance(target, VideoTarget) and frame.pts is not None
        timestamp = round(frame.pts * (frame.time_base or Fraction(1, _CLOCK)) * _CLOCK)
        picture = self._reformatter.reformat(frame, target.width, target.height, "yuv420p")
        picture.pict_type = PictureType.I if key_frame else PictureType.NONE
        before, codec = self._codec, self._codec_for(target, timestamp)
        picture.pts, picture.time_base = self._clock.next(timestamp), Fraction(1, _CLOCK)
        start = time.perf_counter()
        try:
            packets = codec.encode(picture)
        except Exception:
            self._codec = None  # of a fresh one no state is in the way of the next picture
            raise
        self.seconds = time.perf_counter() - start if codec is before else 0.0
        data = b"".join(bytes(packet) for packet in packets)
        return self._format.payloads(data, any(packet.is_keyframe for packet in packets)) if data else [], timestamp

    def _codec_for(self, target: VideoTarget, timestamp: int) -> VideoCodecContext:
        used = self._target
        old = abs(timestamp - self._made) > _FRAME_RATE_TRIED
        if (
            self._codec is None
            or used is None
            or not _same(target, used)
            or (old and not self._format.suits(target, used))
        ):
            self._codec = self._format.codec(target)
            self._target, self._made = target, timestamp
            self._clock = _SmoothClock(target.frame_rate)
        return self._codec


def _same(one: VideoTarget, other: VideoTarget) -> bool:
    return (one.width, one.height, one.bitrate, one.hint) == (other.width, other.height, other.bitrate, other.hint)


def _context(name: str, target: VideoTarget, options: dict[str, str]) -> VideoCodecContext:
    codec = cast(VideoCodecContext, CodecContext.create(name, "w"))
    codec.width, codec.height, codec.pix_fmt = target.width, target.height, "yuv420p"
    codec.bit_rate = target.bitrate
    codec.framerate = Fraction(target.frame_rate).limit_denominator(1000)
    codec.time_base = Fraction(1, _CLOCK)
    codec.gop_size = _GROUP_OF_PICTURES
    codec.thread_count = _threads(target.width * target.height)
    codec.options = options
    return codec


def _threads(pixels: int) -> int:
    """Of half the processors at most: libvpx's wait for each other by spinning, and fifty times as long when they lack one."""
    return max(1, min(math.ceil(pixels / _PIXELS_PER_THREAD), (os.cpu_count() or 1) // 2))


class _Vpx:
    """What VP8 and VP9 have in common."""

    def __init__(self) -> None:
        self._picture_id = random.randrange(0x8000)  # noqa: S311 - RFC 7741 4.2 asks for no secret

    def suits(self, target: VideoTarget, used: VideoTarget) -> bool:
        return True  # libvpx measures the frame rate

    def _next_picture_id(self) -> int:
        self._picture_id = (self._picture_id + 1) % 0x8000
        return self._picture_id

    def _rate_control(self, target: VideoTarget) -> dict[str, str]:
        rate = str(target.bitrate)
        share = max(100, round(100 * _KEY_FRAME_TIME * target.frame_rate))  # percent of what a picture has on average
        return {**_REALTIME, "minrate": rate, "maxrate": rate, "bufsize": rate, "max-intra-rate": str(share)}


class Vp8(_Vpx):
    def codec(self, target: VideoTarget) -> VideoCodecContext:
        options = {**self._rate_control(target), "cpu-used": "-6", "static-thresh": "1"}
        if target.hint is ContentHint.TEXT:
            options["screen-content-mode"] = "1"
        codec = _context("libvpx", target, options)
        codec.qmin, codec.qmax = 2, _QUANTIZER_MAX[target.hint]
        return codec

    def payloads(self, picture: bytes, key_frame: bool) -> list[bytes]:
        return vp8_payloads(picture, self._next_picture_id())


class Vp9(_Vpx):
    def codec(self, target: VideoTarget) -> VideoCodecContext:
        speed = "7" if target.width * target.height <= 1280 * 720 else "8"
        options = {
            **self._rate_control(target),
            "cpu-used": speed,
            "row-mt": "1",
            "tile-columns": "2",
            "aq-mode": "3",
        }
        if target.hint is ContentHint.TEXT:
            options["tune-content"] = "screen"
        codec = _context("libvpx-vp9", target, options)
        codec.qmin, codec.qmax = 2, _QUANTIZER_MAX[target.hint]
        return codec

    def payloads(self, picture: bytes, key_frame: bool) -> list[bytes]:
        return vp9_payloads(picture, self._next_picture_id(), key_frame=key_frame)


_PROFILES = {"42": "Baseline", "4d": "Main", "64": "High"}  # profile_idc in hexadecimal (ITU-T H.264 A.2)


class H264:
    """The level is what x264 finds the size, frame rate and bit rate to need.

    The level that a peer declares is no bound here: browsers declare 3.1 (1280x720) whatever they can decode, and so do we.
    """

    def __init__(self, codec: Codec) -> None:
        self._single = (codec.parameter("packetization-mode") or "0") == "0"
        self._profile = _PROFILES.get((codec.parameter("profile-level-id") or "42").lower()[:2], "Baseline")

    def codec(self, target: VideoTarget) -> VideoCodecContext:
        still = target.hint in (ContentHint.DETAIL, ContentHint.TEXT)
        options = {
            "preset": "veryfast" if still else "superfast",
            "tune": "zerolatency,stillimage" if still else "zerolatency",
            "maxrate": str(target.bitrate),
            "bufsize": str(round(target.bitrate * 2 * _KEY_FRAME_TIME)),  # of which x264 gives a key frame about half
            "x264-params": "scenecut=0" + (f":slice-max-size={PAYLOAD_MAX}" if self._single else ""),
        }
        codec = _context("libx264", target, options)
        codec.framerate = Fraction(_told_frame_rate(target))
        codec.profile = self._profile
        return codec

    def suits(self, target: VideoTarget, used: VideoTarget) -> bool:
        """x264 counts pictures: it would need a picture's delay to go by the time stamps."""
        told = _told_frame_rate(used)
        return 0.7 * told <= target.frame_rate <= 1.05 * told

    def payloads(self, picture: bytes, key_frame: bool) -> list[bytes]:
        return h264_payloads(picture, single=self._single)


def _told_frame_rate(target: VideoTarget) -> int:
    return next((rate for rate in _FRAME_RATES if target.frame_rate <= 1.02 * rate), _FRAME_RATES[-1])


VIDEO_FORMATS: dict[str, Callable[[Codec], VideoFormat]] = {
    "vp8": lambda codec: Vp8(),
    "vp9": lambda codec: Vp9(),
    "h264": H264,
}
