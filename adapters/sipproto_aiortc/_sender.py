"""The RTP sender of a line: aiortc's, with what a SIP call needs on top."""

from __future__ import annotations

import asyncio
import logging
import math
import struct
import time
from typing import Any

from aiortc import RTCRtcpParameters, RTCRtpCodecParameters, RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTP_HISTORY_SIZE,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)
from av import AudioFrame, VideoFrame
from av.frame import Frame

from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.media import VideoControl, VideoTarget, effective_parameters
from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._counters import mean_square
from sipproto_aiortc._digits import DigitSender
from sipproto_aiortc._encoders import AudioTarget, FixedAudioEncoder, LineEncoder, OpusEncoder, Target
from sipproto_aiortc._opus import library
from sipproto_aiortc._outlet import Flow
from sipproto_aiortc._rtp import codec_parameters, header_extensions, sending_codec
from sipproto_aiortc._sending import Encoding, Sending
from sipproto_aiortc._tracks import AudioTrack, VideoTrack
from sipproto_aiortc._transport import DtlsTransport
from sipproto_aiortc._video_encoder import VIDEO_FORMATS, VideoEncoder

_log = logging.getLogger("sipproto.media")
_PADDING = 255  # octets, the most that a packet can have (RFC 3550 5.1)
_REPEATED_AGAIN = 0.02  # seconds, or half a round trip: before that nobody can know that a repetition was lost
# Who encodes, in FFmpeg's names.
_IMPLEMENTATIONS = {
    "opus": "libopus",
    "g722": "g722",
    "pcmu": "pcm_mulaw",
    "pcma": "pcm_alaw",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "h264": "libx264",
}


def new_encoder(kind: str, codec: Codec, packet_time: int | None = None) -> LineEncoder:
    """`packet_time`: milliseconds of audio that the peer wants in a packet. Raises KeyError and ValueError for a codec that
    cannot be sent with."""
    name = codec.name.lower()
    if kind == "video":
        return VideoEncoder(VIDEO_FORMATS[name](codec))
    if name == "opus" and library() is not None:
        return OpusEncoder(codec, packet_time)
    return FixedAudioEncoder(codec_parameters(kind, codec), None if name == "opus" else packet_time)


def line_parameters(line: MediaLine, parameters: SenderParameters) -> EffectiveParameters:
    """What a line is sent with when these parameters were asked for."""
    codec = sending_codec(line)
    return effective_parameters(line.kind, codec.name if codec is not None else "", parameters)


class _SwitchableEncoder:
    """An encoder whose codec can change under way.

    aiortc's sender takes its codec once. A second sender on the same SSRC would start with a random sequence number,
    which libsrtp refuses as a replay when it is lower than the last; so the one sender goes on and its encoder, the
    payload type (read from `parameters` for each packet) and the RTP clock change together.
    """

    def __init__(self, kind: str, codec: Codec, packet_time: int | None) -> None:
        self._kind = kind
        self.parameters = codec_parameters(kind, codec)
        self._inner = new_encoder(kind, codec, packet_time)
        self._next: tuple[Codec, int | None] | None = None
        self._offset: int | None = 0
        self._last = 0

    def change(self, codec: Codec, packet_time: int | None) -> None:
        """Takes effect with the next frame."""
        self._next = codec, packet_time

    # One call at a time, on a worker thread unless it is quick.
    def encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[list[bytes], int]:
        if self._next is not None:
            self._take(*self._next)
        payloads, timestamp = self._inner.encode(frame, target, key_frame)
        if not payloads:
            return payloads, timestamp
        if self._offset is None:  # the new codec may count in another unit; the timestamps have to go on
            self._offset = self._last + self.parameters.clockRate // 50 - timestamp
        self._last = (timestamp + self._offset) & 0xFFFFFFFF
        return payloads, self._last

    @property
    def quick(self) -> bool:
        return self._inner.quick

    @property
    def seconds(self) -> float:
        return self._inner.seconds

    def _take(self, codec: Codec, packet_time: int | None) -> None:
        self._next = None
        self._inner = new_encoder(self._kind, codec, packet_time)
        parameters = codec_parameters(self._kind, codec)
        self.parameters.mimeType = parameters.mimeType
        self.parameters.clockRate = parameters.clockRate
        self.parameters.channels = parameters.channels
        self.parameters.payloadType = parameters.payloadType
        self._offset = None


class Sender(RTCRtpSender):
    """Sends a track with the SSRCs of a line. Raises ValueError when no codec of the line can be sent with."""

    def __init__(
        self,
        track: AudioTrack | VideoTrack,
        transport: DtlsTransport,
        line: MediaLine,
        parameters: EffectiveParameters,
        digits: DigitSender,
        flow: Flow,
    ) -> None:
        """`flow`: what leaves of it. `digits` go in place of audio, also while that is not to be sent."""
        super().__init__(track, transport)
        self._ssrc, self._rtx_ssrc = line.ssrc, line.rtx_ssrc
        self._stream_id, self._track_id = line.stream_id, line.track_id
        codec = sending_codec(line)
        if codec is None:
            raise ValueError(f"no codec of the {line.kind} line can be sent with")
        self.codec = codec
        self._packet_time = line.packet_time
        self._switchable = _SwitchableEncoder(line.kind, codec, line.packet_time)
        self._source = track
        self._parameters = parameters
        self._control = VideoControl(parameters, codec.name)
        self._digits = digits
        self._target: Target | None = None  # of the last frame
        self._faulty = False
        self._dtls = transport
        self._flow = flow
        self._mid = line.mid
        self._repeated: dict[int, tuple[int, float]] = {}  # by place in aiortc's history: number, and when
        self.sending = Sending(line.ssrc)

    async def begin(self, line: MediaLine, cname: str) -> None:
        codecs = [self._switchable.parameters]
        codecs += [codec_parameters(line.kind, c) for c in line.send if c.is_rtx and c.apt == self.codec.payload_type]
        if line.kind == "video":
            self._dtls.outlet.add(self)
            if line.transport_cc:
                self._dtls.outlet.number()
        await self.send(
            RTCRtpSendParameters(
                codecs=codecs,
                headerExtensions=header_extensions(line),
                muxId=line.mid,
                rtcp=RTCRtcpParameters(cname=cname),
            )
        )

    def change_codec(self, line: MediaLine) -> None:
        """Goes over to the codec that the line now sends with, if it is another one."""
        codec = sending_codec(line)
        if codec is None or (codec, line.packet_time) == (self.codec, self._packet_time):
            return
        self.codec, self._packet_time = codec, line.packet_time
        self._switchable.change(codec, line.packet_time)
        repair = next((c.payload_type for c in line.send if c.is_rtx and c.apt == codec.payload_type), None)
        vars(self)["_RTCRtpSender__rtx_payload_type"] = repair

    def use(self, parameters: EffectiveParameters) -> None:
        """Sends with these parameters from the next frame on; for the codec that the line sends with now."""
        self._parameters = parameters
        self._control.use(parameters, self.codec.name)

    def _send_keyframe(self) -> None:
        """Makes the next picture one that can be decoded alone; aiortc calls it when the peer asks for one."""
        self._control.ask_key_frame()

    key_frame = _send_keyframe

    async def stop(self) -> None:
        if self.kind == "video":
            self._dtls.outlet.remove(self)
        await super().stop()

    # -- as what paces it knows it ---------------------------------------------------------------------------------

    @property
    def wanted_bitrate(self) -> int:
        return self._control.wanted if self._flow.open and self._control.active else 0

    @property
    def target_bitrate(self) -> int:
        return self._target.bitrate if isinstance(self._target, VideoTarget) else 0

    @property
    def can_pad(self) -> bool:
        repairs = vars(self)["_RTCRtpSender__rtx_payload_type"] is not None
        return repairs and self.wanted_bitrate > 0 and self._flow.sent.packets > 0

    def path(self, bitrate: int | None, *, probed: bool) -> None:
        """Feedback may be on its way when it was agreed that there is none any more: then it bounds nothing."""
        self._control.path(bitrate if self._flow.number_id is not None else None, probed=probed)

    async def pad(self) -> None:
        """Padding goes with the SSRC of repetitions, whose numbers may have holes for the receiver (RFC 4588)."""
        private: dict[str, Any] = vars(self)
        number: int = private["_RTCRtpSender__rtx_sequence_number"]
        private["_RTCRtpSender__rtx_sequence_number"] = (number + 1) & 0xFFFF
        packet = RtpPacket(
            payload_type=private["_RTCRtpSender__rtx_payload_type"],
            sequence_number=number,
            timestamp=private["_RTCRtpSender__rtp_timestamp"],
            ssrc=self._rtx_ssrc,
        )
        packet.padding_size = _PADDING
        packet.extensions.abs_send_time = 0  # written when it leaves
        packet.extensions.mid = self._mid
        await self._dtls._send_rtp(packet.serialize(private["_RTCRtpSender__rtp_header_extensions_map"]))

    @property
    def encoding(self) -> Encoding:
        return Encoding(
            codec=self.codec,
            implementation=_IMPLEMENTATIONS.get(self.codec.name.lower()),
            target_bitrate=self._target.bitrate if isinstance(self._target, VideoTarget) else None,
            active=self._control.active,
        )

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and (flow := self._dtls.flows.get(self._ssrc)) is not None:
                # aiortc counts what was encoded, also what was not sent, and digits with the size of the audio.
                packet.sender_info.packet_count = flow.sent.packets & 0xFFFFFFFF
                packet.sender_info.octet_count = flow.sent.payload & 0xFFFFFFFF
            self.sending.feedback.sent(packet)
        await super()._send_rtcp(packets)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        self.sending.feedback.received(packet)
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    self._control.report(report.fraction_lost / 256, asyncio.get_running_loop().time())
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            self._take_remb(packet.fci)
            return
        await super()._handle_rtcp_packet(packet)

    async def _retransmit(self, sequence_number: int) -> None:
        """Repeats a packet that the peer asks for, once at a time: a datagram can ask for the same hundreds of times."""
        place, now = sequence_number % RTP_HISTORY_SIZE, time.monotonic()
        packet = vars(self)["_RTCRtpSender__rtp_history"].get(place)
        if packet is None or packet.sequence_number != sequence_number:
            return  # too old
        report = self.sending.feedback.report
        wait = max(_REPEATED_AGAIN, (report.round_trip_time or 0.0) / 2 if report is not None else 0.0)
        number, moment = self._repeated.get(place, (None, 0.0))
        if number == sequence_number and now - moment < wait:
            return
        self._repeated[place] = sequence_number, now
        await super()._retransmit(sequence_number)

    def _take_remb(self, data: bytes) -> None:
        try:
            bitrate, ssrcs = unpack_remb_fci(data)
        except (ValueError, struct.error):
            return  # feedback of another kind, or cut off
        if self._ssrc in ssrcs:
            self._control.remb(bitrate)

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        """Replaces aiortc's: there an encoder's error ends the sender, and the level costs more than the encoding.

        The next frame is not asked for before this one is encoded: what the source has meanwhile is never queued, and
        when the encoder is the slower one, pictures are left out.
        """
        frame = await self._source.recv()
        self.sending.taken(frame)
        order = self._order(frame)
        if order is None:
            return None
        target, key_frame = order
        self._target = target
        try:
            if self._switchable.quick:
                encoded, seconds = self._encode(frame, target, key_frame)
            else:
                loop = asyncio.get_running_loop()
                encoded, seconds = await loop.run_in_executor(None, self._encode, frame, target, key_frame)
        except Exception as error:  # one frame is lost, not the line
            if key_frame:
                self._control.ask_key_frame()
            if not self._faulty:
                self._faulty = True
                _log.warning("a %s frame could not be encoded: %r", self.kind, error)
            return None
        if isinstance(target, VideoTarget):
            octets = sum(len(payload) for payload in encoded.payloads) if encoded is not None else 0
            self._control.encoded(target, octets, self._switchable.seconds)
        if encoded is not None:
            size = (target.width, target.height) if isinstance(target, VideoTarget) else None
            self.sending.encoded(self.codec.name, encoded.payloads, seconds, size)
        return encoded if self._control.active or self._digits.busy else None

    def _order(self, frame: Frame) -> tuple[Target, bool] | None:
        """What to encode the frame to, and whether as a key frame; None: it is not to be sent."""
        if not isinstance(frame, VideoFrame) or not isinstance(self._source, VideoTrack):
            encoding = self._parameters.encodings[0]
            active = encoding.active or self._digits.busy
            sound = AudioTarget(
                max_bitrate=encoding.max_bitrate,
                loss=self.sending.feedback.loss,
                unbroken=self._digits.busy,
            )
            return (sound, False) if active else None
        moment = frame.time or 0.0
        target = self._control.picture(frame.width, frame.height, moment, 1 / self._source.producer.interval)
        return (target, self._control.key_frame(moment)) if target is not None else None

    def _encode(self, frame: Frame, target: Target, key_frame: bool) -> tuple[RTCEncodedFrame | None, float]:
        """The encoded frame, and the seconds that it took."""
        began = time.perf_counter()
        payloads, timestamp = self._switchable.encode(frame, target, key_frame)
        seconds = time.perf_counter() - began
        # Without a level the header extension is left out; aiortc declares it as never absent.
        level: Any = None
        if isinstance(frame, AudioFrame):
            power = mean_square(frame)
            self.sending.heard(frame, power)
            level = _in_decibels(power)
        if not payloads:  # kept back by a resampler, or left out to keep the bit rate
            return None, seconds
        return RTCEncodedFrame(payloads, timestamp, level), seconds


def _in_decibels(power: float) -> int:
    """The level relative to full scale, -127 to 0 (RFC 6465 appendix A)."""
    return max(-127, min(0, round(10 * math.log10(power)))) if power > 0 else -127
