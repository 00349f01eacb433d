"""RTP receivers: aiortc's, with what a SIP call needs on top; and codecs as aiortc names them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from aiortc import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpDecodingParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import NackGenerator, RemoteStreamTrack, TimestampMapper
from aiortc.rtp import RTCP_PSFB_APP, AnyRtcpPacket, RtcpByePacket, RtcpPsfbPacket, RtcpSrPacket, RtpPacket
from av import AudioFrame

from sipproto.negotiation import TRANSPORT_CC, MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._audio import AudioPlayer
from sipproto_aiortc._digits import DigitReceiver, is_event
from sipproto_aiortc._order import VideoOrder
from sipproto_aiortc._recent import Recent
from sipproto_aiortc._reception import STREAMS, Reception
from sipproto_aiortc._transport import DtlsTransport

SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
# aiortc compares names with case; these are its spellings.
_NAMES = {name.lower(): name for name in ("opus", "G722", "PCMU", "PCMA", "VP8", "VP9", "H264", "AV1", "rtx")}
# SVT-AV1, the encoder in PyAV's wheels, stops for good now and then on a busy machine (docs/media.md).
RECEIVE_ONLY = ("AV1",)
_DECODER_BACKLOG = 100  # encoded frames waiting for the decoder; aiortc would queue without a bound
_ASK_AGAIN = 0.2  # seconds after which missing packets, or a key frame, are asked for again
_JUMP = 512  # packets ahead or behind, from which it is another stream: none of them has room beside the others
_GIVE_UP = 1.0  # seconds without a picture after which missing packets are given up for a key frame


def codec_parameters(kind: str, codec: Codec) -> RTCRtpCodecParameters:
    parameters: dict[str, int | str | None] = {}
    if codec.is_rtx:
        parameters["apt"] = codec.apt
    feedback = [RTCRtcpFeedback(*value.split(" ", 1)) for value in codec.feedback]
    return RTCRtpCodecParameters(
        mimeType=f"{kind}/{_NAMES.get(codec.name.lower(), codec.name)}",
        clockRate=codec.clock_rate,
        channels=codec.channels if kind == "audio" else None,
        payloadType=codec.payload_type,
        rtcpFeedback=feedback,
        parameters=parameters,
    )


def known_codecs(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Those that we can decode (rtx included); all but those for receiving we can encode, too."""
    return tuple(codec for codec in codecs if codec.name.lower() in _NAMES)


def sending_codec(line: MediaLine) -> Codec | None:
    """The codec to send with: the first that we can encode."""
    codecs = (codec for codec in known_codecs(line.send) if _NAMES[codec.name.lower()] not in RECEIVE_ONLY)
    return next((codec for codec in codecs if not codec.is_rtx), None)


def header_extensions(line: MediaLine) -> list[RTCRtpHeaderExtensionParameters]:
    """Those in use: packets are numbered only where that is of use."""
    return [
        RTCRtpHeaderExtensionParameters(id=ident, uri=uri)
        for uri, ident in line.extensions
        if uri != TRANSPORT_CC or line.transport_cc
    ]


def stamp_ids(line: MediaLine) -> tuple[int | None, int | None]:
    """The ids of the header extensions that are written when a packet leaves: abs-send-time and the number in the transport."""
    ids = dict(line.extensions)
    return ids.get(SEND_TIME), ids.get(TRANSPORT_CC) if line.transport_cc else None


class _Refusals(threading.Event):
    """aiortc sets it, in the decoder's thread, for each frame that cannot be decoded."""

    def __init__(self, refused: Callable[[], object]) -> None:
        super().__init__()
        self._refused = refused

    def set(self) -> None:
        self._refused()
        super().set()


class Receiver(RTCRtpReceiver):
    """Receives a line into `incoming`, which somebody has to drain."""

    def __init__(self, transport: DtlsTransport, line: MediaLine, reception: Reception, digits: DigitReceiver) -> None:
        super().__init__(line.kind, transport)
        self._dtls = transport
        self._line = line
        self._reception = reception
        self._digits = digits
        self._events = {codec.payload_type: codec for codec in line.receive if is_event(codec)}
        self._codecs = {codec.payload_type: codec for codec in known_codecs(line.receive)}
        self._audio_type = next(iter(self._codecs), 0)
        self._media_ssrc: int | None = line.remote_ssrcs[0] if line.remote_ssrcs else None
        self.incoming = RemoteStreamTrack(line.kind)
        self._track = self.incoming
        self._set_rtcp_ssrc(line.ssrc)
        refused = partial(asyncio.get_running_loop().call_soon_threadsafe, reception.frame_dropped)
        vars(self)["_RTCRtpReceiver__decoder_error"] = _Refusals(refused)
        self._parameters = {
            number: codec_parameters(line.kind, codec) for number, codec in (self._codecs | self._events).items()
        }
        self._audio: AudioPlayer | None = None
        self._video: VideoOrder | None = None
        self._timestamps = TimestampMapper()  # of pictures
        self._asked = 0.0  # loop time
        self._bound()
        self._floor: int | None = None  # sequence number below which nothing is wanted any more
        if line.kind == "audio":
            # It decodes by itself: aiortc would decode one frame for each packet that arrives, and nothing for the others.
            self._audio = AudioPlayer(self._parameters, reception, self._heard, asyncio.get_running_loop())
            vars(self)["_RTCRtpReceiver__jitter_buffer"] = self._audio
        else:
            self._begin_video()

    def _bound(self) -> None:
        """A peer with a new SSRC for each packet takes no memory, and has our reports go on: they hold 31 streams."""
        private: dict[str, Any] = vars(self)
        for name in ("active_ssrc", "lsr", "lsr_time", "remote_streams", "rtx_ssrc"):
            private[f"_RTCRtpReceiver__{name}"] = Recent(STREAMS)
        estimator = private["_RTCRtpReceiver__remote_bitrate_estimator"]
        if estimator is not None:
            estimator.ssrcs = Recent(STREAMS)

    def _begin_video(self) -> None:
        clock = asyncio.get_running_loop().time
        self._video = VideoOrder(lambda number: self._codecs[number].name, self._decode_picture, clock)
        self._asked = clock()
        vars(self)["_RTCRtpReceiver__jitter_buffer"] = self._video
        vars(self)["_RTCRtpReceiver__nack_generator"] = NackGenerator()

    def _heard(self, frame: AudioFrame) -> None:
        if self.incoming.readyState == "live":  # or else nobody drains it any more
            self.incoming._queue.put_nowait(frame)

    async def stop(self) -> None:
        if self._audio is not None:
            self._audio.close()
        await super().stop()

    def _decode_picture(self, payload_type: int, frame: JitterFrame) -> None:
        """A frame of video that is complete."""
        self._reception.frame(frame.data)
        frame.timestamp = self._timestamps.map(frame.timestamp)
        vars(self)["_RTCRtpReceiver__decoder_queue"].put((self._parameters[payload_type], frame))

    async def begin(self) -> None:
        line = self._line
        await self.receive(
            RTCRtpReceiveParameters(
                codecs=list(self._parameters.values()),
                headerExtensions=header_extensions(line),
                muxId=line.mid,
                encodings=[RTCRtpDecodingParameters(ssrc=ssrc, payloadType=0) for ssrc in line.remote_ssrcs],
            )
        )

    async def ask_key_frame(self) -> None:
        """Asks the peer for a picture that can be decoded alone. Raises ValueError as long as its SSRC is not known."""
        if self._media_ssrc is None:
            raise ValueError("nothing has been received on the line yet")
        await self._send_rtcp_pli(self._media_ssrc)

    async def recover(self) -> None:
        """Goes on with the next picture that can be decoded alone, and asks for one."""
        if self._video is not None and self._media_ssrc is not None:
            self._floor = self._nacks.max_seq
            self._begin_video()
            await self._send_rtcp_pli(self._media_ssrc)

    @property
    def _nacks(self) -> NackGenerator:
        found: NackGenerator = vars(self)["_RTCRtpReceiver__nack_generator"]
        return found

    def _is_another(self, packet: RtpPacket) -> bool:
        """Whether it is of another stream than before. aiortc would ask for all numbers between, one by one, or for none
        until the numbers came there again."""
        if packet.ssrc != self._media_ssrc:
            return self._media_ssrc is not None
        last = self._nacks.max_seq
        return last is not None and (packet.sequence_number - last + _JUMP) % 0x10000 > 2 * _JUMP

    def _given_up(self, packet: RtpPacket, *, repeated: bool) -> bool:
        """Whether it belongs to what was given up a moment ago: to aiortc it would be the beginning of a new stream."""
        if self._video is None or self._floor is None:
            return False
        if asyncio.get_running_loop().time() > self._video.began + _GIVE_UP:
            self._floor = None
            return False
        number = int.from_bytes(packet.payload[:2], "big") if repeated else packet.sequence_number
        return (number - self._floor) % 0x10000 >= 0x8000

    async def _repair(self, video: VideoOrder, ssrc: int) -> None:
        """Asks again. aiortc does once, and when that goes astray waits until its buffer of 512 packets is full."""
        now, missing = asyncio.get_running_loop().time(), self._nacks.missing
        if missing and now > video.progress + _GIVE_UP:
            await self.recover()
        elif now > max(video.progress if video.begun else 0.0, self._asked) + _ASK_AGAIN:
            self._asked = now
            if not video.begun:
                await self._send_rtcp_pli(ssrc)
            if missing:
                await self._send_rtcp_nack(ssrc, sorted(missing))

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        codec = self._codecs.get(packet.payload_type)
        event = self._events.get(packet.payload_type)
        self._reception.add(packet, codec or event, self._dtls.packet_size, self._dtls.arrival)
        private: dict[str, Any] = vars(self)
        if event is not None:
            self._digits.receive(packet, event)
            # From here on it is audio without content, so that its number is missed neither here nor in our reports.
            packet.payload_type, packet.payload = self._audio_type, b""
        elif codec is not None and not codec.is_rtx:
            self._audio_type = packet.payload_type
        if codec is not None and codec.is_rtx:
            # Which SSRC repeats which is not part of the negotiated line; there is one stream, so it is that one.
            if self._media_ssrc is not None:
                private["_RTCRtpReceiver__rtx_ssrc"][packet.ssrc] = self._media_ssrc
        elif codec is not None or event is not None:
            if self._video is not None and self._is_another(packet):
                self._floor = None
                self._begin_video()
            self._media_ssrc = packet.ssrc
        if self._given_up(packet, repeated=codec is not None and codec.is_rtx):
            return
        if private["_RTCRtpReceiver__decoder_queue"].qsize() > _DECODER_BACKLOG:
            if packet.marker and codec is not None:
                self._reception.frame_dropped()
            return  # the decoder cannot keep up; the gap makes aiortc ask for a key frame
        await super()._handle_rtp_packet(packet, arrival_time_ms)
        if self._video is not None and self._media_ssrc is not None:
            await self._repair(self._video, self._media_ssrc)

    async def _send_rtcp(self, packet: AnyRtcpPacket) -> None:
        self._reception.feedback(packet)
        if self._line.transport_cc and isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            return  # REMB: the peer estimates by itself, as between browsers; ours is for the statistics
        await super()._send_rtcp(packet)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            self._reception.reported(packet.ssrc, packet.sender_info)
        # A BYE would end the decoder, and with it the line, although the peer may go on with another SSRC.
        if not isinstance(packet, RtcpByePacket):
            await super()._handle_rtcp_packet(packet)
