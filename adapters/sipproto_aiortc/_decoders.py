"""Receiving: codecs that aiortc does not know, and pictures without content.

aiortc looks the payload format and the decoder of a packet up by functions of its module `rtcrtpreceiver`. They are
replaced by ones that know the codecs here and ask aiortc's for everything else. So is what it counts for its reports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiortc import RTCRtpCodecParameters, codecs, rtcrtpreceiver
from aiortc.codecs.base import Decoder
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import VIDEO_TIME_BASE
from attrs import frozen
from av import CodecContext
from av.error import InvalidDataError
from av.frame import Frame
from av.packet import Packet

from sipproto_aiortc._av1 import av1_depayload, av1_picture
from sipproto_aiortc._reception import ReportedStream
from sipproto_aiortc._vp9 import vp9_depayload

_INVALID_DATA = 0x41444E49  # AVERROR_INVALIDDATA, "INDA"
# Of a picture, 4096x2304, as much as level 5.1 of H.264 has. A header of some octets may claim 16384x16384, and a decoder takes
# a gigabyte for that before it finds that there is no picture.
_MOST_PIXELS = 4096 * 2304


@frozen(kw_only=True)
class _Reception:
    """`decoder`: FFmpeg's name. `depayload` is called for each packet, `picture` for what it gave for all of a picture,
    in its order; both raise ValueError for what is none."""

    decoder: str
    depayload: Callable[[bytes], bytes]
    picture: Callable[[bytes], bytes] = bytes


_RECEPTIONS = {
    # FFmpeg's own: libvpx takes its memory before FFmpeg can look at the size.
    "vp8": _Reception(decoder="vp8", depayload=vp8_depayload),
    "vp9": _Reception(decoder="vp9", depayload=vp9_depayload),
    "h264": _Reception(decoder="h264", depayload=h264_depayload),
    "av1": _Reception(decoder="libdav1d", depayload=av1_depayload, picture=av1_picture),
}


class VideoDecoder(Decoder):
    def __init__(self, reception: _Reception, most_pixels: int) -> None:
        self._picture = reception.picture
        self._codec: Any = CodecContext.create(reception.decoder, "r")
        self._codec.options = {"max_pixels": str(most_pixels)}
        self._codec.thread_count = 1  # with more, dav1d gives a picture out when later ones have come

    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        try:
            data = self._picture(encoded_frame.data)
        except ValueError as error:  # aiortc knows decoders' errors only
            raise InvalidDataError(_INVALID_DATA, str(error)) from error
        if not data:
            return []
        packet = Packet(data)
        packet.pts = encoded_frame.timestamp
        packet.time_base = VIDEO_TIME_BASE
        frames: list[Frame] = self._codec.decode(packet)
        return frames


class _NeverFlushed(Decoder):
    """An empty packet means the end to FFmpeg, after which it decodes nothing more; in RTP it is padding."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def decode(self, encoded_frame: JitterFrame) -> list[Frame]:
        return self._decoder.decode(encoded_frame) if encoded_frame.data else []


def get_decoder(codec: RTCRtpCodecParameters, *, most_pixels: int = _MOST_PIXELS) -> Decoder:
    """What is larger than `most_pixels` raises av.FFmpegError, as all that cannot be decoded."""
    known = _RECEPTIONS.get(codec.name.lower())
    return _NeverFlushed(VideoDecoder(known, most_pixels) if known is not None else codecs.get_decoder(codec))


def depayload(codec: RTCRtpCodecParameters, payload: bytes) -> bytes:
    """Raises ValueError for a payload that is none."""
    known = _RECEPTIONS.get(codec.name.lower())
    return known.depayload(payload) if known is not None else codecs.depayload(codec, payload)


def extend_aiortc() -> None:
    """Once is enough; a second time does no harm."""
    module: Any = rtcrtpreceiver  # which exports none of them
    module.get_decoder = get_decoder
    module.depayload = depayload
    module.StreamStatistics = ReportedStream
