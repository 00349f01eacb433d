"""RTP senders and receivers: aiortc's, with what a SIP call needs on top."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aiortc import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiver,
    RTCRtpSender,
)
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import NackGenerator, RemoteStreamTrack
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpSrPacket, RtpPacket
from av import AudioFrame, VideoFrame
from av.frame import Frame
from av.packet import Packet
from av.video.frame import PictureType

from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._counters import mean_square
from sipproto_aiortc._digits import DigitReceiver, is_event
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._sending import Encoding, Sending
from sipproto_aiortc._tracks import AudioTrack, VideoTrack
from sipproto_aiortc._transport import DtlsTransport

_log = logging.getLogger("sipproto.media")

# aiortc compares names with case; these are its spellings.
_NAMES = {"opus": "opus", "g722": "G722", "pcmu": "PCMU", "pcma": "PCMA", "vp8": "VP8", "h264": "H264", "rtx": "rtx"}
# Who encodes, in FFmpeg's names.
_ENCODERS = {
    "opus": "libopus",
    "g722": "g722",
    "pcmu": "pcm_mulaw",
    "pcma": "pcm_alaw",
    "vp8": "libvpx",
    "h264": "libx264",
}
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
    """Those that aiortc can encode and decode (rtx included)."""
    return tuple(codec for codec in codecs if codec.name.lower() in _NAMES)


def sending_codec(line: MediaLine) -> Codec | None:
    """The codec to send with: the first that we can encode."""
    return next((codec for codec in known_codecs(line.send) if not codec.is_rtx), None)


def _extensions(line: MediaLine) -> list[RTCRtpHeaderExtensionParameters]:
    return [RTCRtpHeaderExtensionParameters(id=ident, uri=uri) for uri, ident in line.extensions]


class _SwitchableEncoder(Encoder):
    """An encoder whose codec can change under way.

    aiortc's sender takes its codec once. A second sender on the same SSRC would start with a random sequence number,
    which libsrtp refuses as a replay when it is lower than the last; so the one sender goes on and its encoder, the
    payload type (read from `parameters` for each packet) and the RTP clock change together.
    """

    def __init__(self, parameters: RTCRtpCodecParameters) -> None:
        self.parameters = parameters
        self._inner = get_encoder(parameters)
        self._next: RTCRtpCodecParameters | None = None
        self._offset: int | None = 0
        self._last = 0

    def change(self, parameters: RTCRtpCodecParameters) -> None:
        """Takes effect with the next frame."""
        self._next = parameters

    # On a worker thread, one call at a time.
    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        if self._next is not None:
            self._take(self._next)
            force_keyframe = True
        payloads, timestamp = self._inner.encode(frame, force_keyframe)
        if not payloads:
            return payloads, timestamp
        if self._offset is None:  # the new codec may count in another unit; the timestamps have to go on
            self._offset = self._last + self.parameters.clockRate // 50 - timestamp
        self._last = (timestamp + self._offset) & 0xFFFFFFFF
        return payloads, self._last

    def pack(self, packet: Packet[Any]) -> tuple[list[bytes], int]:
        return self._inner.pack(packet)

    def _take(self, parameters: RTCRtpCodecParameters) -> None:
        self._next = None
        self._inner = get_encoder(parameters)
        self.parameters.mimeType = parameters.mimeType
        self.parameters.clockRate = parameters.clockRate
        self.parameters.channels = parameters.channels
        self.parameters.payloadType = parameters.payloadType
        self._offset = None

    @property
    def target_bitrate(self) -> int:
        return getattr(self._inner, "target_bitrate", 0)

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        if hasattr(self._inner, "target_bitrate"):
            setattr(self._inner, "target_bitrate", bitrate)  # noqa: B010 - not an attribute of every encoder


class Sender(RTCRtpSender):
    """Sends a track with the SSRCs of a line. Raises ValueError when no codec of the line can be sent with."""

    def __init__(self, track: AudioTrack | VideoTrack, transport: DtlsTransport, line: MediaLine) -> None:
        super().__init__(track, transport)
        self._ssrc, self._rtx_ssrc = line.ssrc, line.rtx_ssrc
        self._stream_id, self._track_id = line.stream_id, line.track_id
        codec = sending_codec(line)
        if codec is None:
            raise ValueError(f"no codec of the {line.kind} line can be sent with")
        self.codec = codec
        self._switchable = _SwitchableEncoder(codec_parameters(line.kind, codec))
        self._source = track
        self._key_frame_due = False
        self._faulty = False
        self._dtls = transport
        self.sending = Sending(line.ssrc)
        # Here aiortc looks for the bit rate that the peer can take (REMB).
        vars(self)["_RTCRtpSender__encoder"] = self._switchable

    async def begin(self, line: MediaLine, cname: str) -> None:
        codecs = [self._switchable.parameters]
        codecs += [codec_parameters(line.kind, c) for c in line.send if c.is_rtx and c.apt == self.codec.payload_type]
        await self.send(
            RTCRtpSendParameters(
                codecs=codecs, headerExtensions=_extensions(line), muxId=line.mid, rtcp=RTCRtcpParameters(cname=cname)
            )
        )

    def change_codec(self, line: MediaLine) -> None:
        """Goes over to the codec that the line now sends with, if it is another one."""
        codec = sending_codec(line)
        if codec is None or codec == self.codec:
            return
        self.codec = codec
        self._switchable.change(codec_parameters(line.kind, codec))
        repair = next((c.payload_type for c in line.send if c.is_rtx and c.apt == codec.payload_type), None)
        vars(self)["_RTCRtpSender__rtx_payload_type"] = repair

    @property
    def encoding(self) -> Encoding:
        name = self.codec.name.lower()
        return Encoding(
            codec=self.codec,
            implementation=_ENCODERS.get(name),
            target_bitrate=self._switchable.target_bitrate or None,
        )

    def _send_keyframe(self) -> None:
        """Makes the next picture one that can be decoded alone; aiortc calls it when the peer asks for one."""
        self._key_frame_due = True

    key_frame = _send_keyframe

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        """Replaces aiortc's: there an encoder's error ends the sender, and the level costs more than the encoding."""
        frame = await self._source.recv()
        self.sending.taken(frame)
        key_frame, self._key_frame_due = self._key_frame_due, False
        try:
            encoded, seconds = await asyncio.get_running_loop().run_in_executor(None, self._encode, frame, key_frame)
        except Exception as error:  # one frame is lost, not the line
            if not self._faulty:
                self._faulty = True
                _log.warning("a %s frame could not be encoded: %r", self.kind, error)
            return None
        if encoded is not None:
            size = (frame.width, frame.height) if isinstance(frame, VideoFrame) else None
            self.sending.encoded(self.codec.name, encoded.payloads, seconds, size)
        return encoded

    def _encode(self, frame: Frame, key_frame: bool) -> tuple[RTCEncodedFrame | None, float]:
        """On a worker. The encoded frame, and the seconds that it took."""
        if isinstance(frame, VideoFrame):
            frame.pict_type = PictureType.NONE  # a picture sent again may still be marked as a key frame
        began = time.perf_counter()
        payloads, timestamp = self._switchable.encode(frame, key_frame)
        seconds = time.perf_counter() - began
        # Without a level the header extension is left out; aiortc declares it as never absent.
        level: Any = None
        if isinstance(frame, AudioFrame):
            power = mean_square(frame)
            self.sending.heard(frame, power)
            level = _in_decibels(power)
        if not payloads:  # kept back by a resampler
            return None, seconds
        return RTCEncodedFrame(payloads, timestamp, level), seconds

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        self.sending.feedback.received(packet)
        await super()._handle_rtcp_packet(packet)

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and (flow := self._dtls.flows.get(self._ssrc)) is not None:
                # aiortc counts what was encoded, also what was not sent, and digits with the size of the audio.
                packet.sender_info.packet_count = flow.sent.packets & 0xFFFFFFFF
                packet.sender_info.octet_count = flow.sent.payload & 0xFFFFFFFF
            self.sending.feedback.sent(packet)
        await super()._send_rtcp(packets)


def _in_decibels(power: float) -> int:
    """The level relative to full scale, -127 to 0 (RFC 6465 appendix A)."""
    return max(-127, min(0, round(10 * math.log10(power)))) if power > 0 else -127


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
                headerExtensions=_extensions(line),
                muxId=line.mid,
                encodings=[RTCRtpDecodingParameters(ssrc=ssrc, payloadType=0) for ssrc in line.remote_ssrcs],
            )
        )

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
