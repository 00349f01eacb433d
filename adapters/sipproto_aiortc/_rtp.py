"""RTP receivers: aiortc's, with what a SIP call needs on top; and codecs as aiortc names them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from aiortc import RTCRtpCodecParameters, RTCRtpHeaderExtensionParameters, RTCRtpReceiver
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpDecodingParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import NackGenerator, RemoteStreamTrack
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpSrPacket, RtpPacket

from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._digits import DigitReceiver, is_event
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._transport import DtlsTransport

# aiortc compares names with case; these are its spellings.
_NAMES = {name.lower(): name for name in ("opus", "G722", "PCMU", "PCMA", "VP8", "VP9", "H264", "rtx")}
_DECODER_BACKLOG = 100  # encoded frames waiting for the decoder; aiortc would queue without a bound


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
    """Those that we can encode and decode (rtx included)."""
    return tuple(codec for codec in codecs if codec.name.lower() in _NAMES)


def sending_codec(line: MediaLine) -> Codec | None:
    """The codec to send with: the first that we can encode."""
    return next((codec for codec in known_codecs(line.send) if not codec.is_rtx), None)


def header_extensions(line: MediaLine) -> list[RTCRtpHeaderExtensionParameters]:
    return [RTCRtpHeaderExtensionParameters(id=ident, uri=uri) for uri, ident in line.extensions]


class AudioOrder:
    """Puts audio packets in order; has the place of aiortc's jitter buffer, whose method it offers.

    That one holds back four frames always, and drops the frames it holds at every hole: a tenth lost on the way became
    four tenths lost. Here a packet in order passes at once and a hole is waited for until two later packets came.
    """

    _DEPTH = 3
    _JUMP = 1000  # packets: farther ahead or behind it is another stream, not another order

    def __init__(self, on_frame: Callable[[bytes], object]) -> None:
        self._on_frame = on_frame
        self._waiting: dict[int, RtpPacket] = {}  # by sequence number, counted on beyond 16 bits
        self._next: int | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Takes a packet in; gives (whether a key frame is needed: never, a frame to decode if one is due)."""
        if self._next is None:
            self._next = packet.sequence_number
        ahead = (packet.sequence_number - self._next + 0x8000) % 0x10000 - 0x8000
        if abs(ahead) > self._JUMP:
            self._waiting.clear()
            self._next, ahead = packet.sequence_number, 0
        if ahead < 0:
            return False, None  # late, or a second time
        self._waiting[self._next + ahead] = packet
        while self._waiting:
            first = min(self._waiting)
            if first != self._next and len(self._waiting) < self._DEPTH:
                break
            due = self._waiting.pop(first)
            self._next = first + 1
            data: bytes = vars(due)["_data"]  # where aiortc puts the payload without its format's header
            # One without a payload only has its place: to a decoder it would be the end of all, for good.
            if data:
                self._on_frame(data)
                return False, JitterFrame(data=data, timestamp=due.timestamp)
        return False, None


class VideoOrder(JitterBuffer):
    """aiortc's, which tells of the frames that are complete and keeps those without content from the decoder."""

    def __init__(self, on_frame: Callable[[bytes], object]) -> None:
        super().__init__(capacity=512, is_video=True)
        self._on_frame = on_frame

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        key_frame_needed, frame = super().add(packet)
        if frame is None or not frame.data:
            return key_frame_needed, None
        self._on_frame(frame.data)
        return key_frame_needed, frame


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
        order = AudioOrder(reception.frame) if line.kind == "audio" else VideoOrder(reception.frame)
        vars(self)["_RTCRtpReceiver__jitter_buffer"] = order
        refused = partial(asyncio.get_running_loop().call_soon_threadsafe, reception.frame_dropped)
        vars(self)["_RTCRtpReceiver__decoder_error"] = _Refusals(refused)

    async def begin(self) -> None:
        line = self._line
        await self.receive(
            RTCRtpReceiveParameters(
                codecs=[codec_parameters(line.kind, codec) for codec in (self._codecs | self._events).values()],
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
        """After a time without a path: goes on with the next picture that can be decoded alone, and asks for one.

        aiortc asks once for what is missing; when that goes astray, it waits for it until its buffer is full.
        """
        if self._line.kind == "video" and self._media_ssrc is not None:
            vars(self)["_RTCRtpReceiver__jitter_buffer"] = VideoOrder(self._reception.frame)
            vars(self)["_RTCRtpReceiver__nack_generator"] = NackGenerator()
            await self._send_rtcp_pli(self._media_ssrc)

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        codec = self._codecs.get(packet.payload_type)
        event = self._events.get(packet.payload_type)
        self._reception.add(packet, codec or event, self._dtls.packet_size)
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
                private["_RTCRtpReceiver__rtx_ssrc"].setdefault(packet.ssrc, self._media_ssrc)
        else:
            self._media_ssrc = packet.ssrc
        if private["_RTCRtpReceiver__decoder_queue"].qsize() > _DECODER_BACKLOG:
            if packet.marker and codec is not None:
                self._reception.frame_dropped()
            return  # the decoder cannot keep up; the gap makes aiortc ask for a key frame
        await super()._handle_rtp_packet(packet, arrival_time_ms)

    async def _send_rtcp(self, packet: AnyRtcpPacket) -> None:
        self._reception.feedback(packet)
        await super()._send_rtcp(packet)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            self._reception.reported(packet.ssrc, packet.sender_info)
        # A BYE would end the decoder, and with it the line, although the peer may go on with another SSRC.
        if not isinstance(packet, RtcpByePacket):
            await super()._handle_rtcp_packet(packet)
