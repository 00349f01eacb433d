"""RTP senders and receivers: aiortc's, with what a SIP call needs on top."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import numpy
from aiortc import (
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiver,
    RTCRtpSender,
)
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpDecodingParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import NackGenerator, RemoteStreamTrack, StreamStatistics, TimestampMapper
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtpPacket
from av import AudioFrame
from av.frame import Frame
from av.packet import Packet

from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._order import AudioOrder, VideoOrder
from sipproto_aiortc._tracks import AudioTrack, VideoTrack
from sipproto_aiortc._transport import DtlsTransport

_log = logging.getLogger("sipproto.media")

# aiortc compares names with case; these are its spellings.
_NAMES = {"opus": "opus", "g722": "G722", "pcmu": "PCMU", "pcma": "PCMA", "vp8": "VP8", "h264": "H264", "rtx": "rtx"}
_DECODER_BACKLOG = 100  # encoded frames waiting for the decoder; aiortc would queue without a bound
_ASK_AGAIN = 0.2  # seconds after which missing packets, or a key frame, are asked for again
_GIVE_UP = 1.0  # seconds without a picture after which missing packets are given up for a key frame


def codec_parameters(kind: str, codec: Codec) -> RTCRtpCodecParameters:
    parameters: dict[str, int | str | None] = {}
    if codec.is_rtx:
        parameters["apt"] = codec.apt
    feedback = [RTCRtcpFeedback(*value.split(" ", 1)) for value in codec.feedback]
    return RTCRtpCodecParameters(
        mimeType=f"{kind}/{_NAMES[codec.name.lower()]}",
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

    def _send_keyframe(self) -> None:
        """Makes the next picture one that can be decoded alone; aiortc calls it when the peer asks for one."""
        self._key_frame_due = True

    key_frame = _send_keyframe

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        """Replaces aiortc's: there an encoder's error ends the sender, and the level costs more than the encoding."""
        frame = await self._source.recv()
        key_frame, self._key_frame_due = self._key_frame_due, False
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._encode, frame, key_frame)
        except Exception as error:  # one frame is lost, not the line
            if not self._faulty:
                self._faulty = True
                _log.warning("a %s frame could not be encoded: %r", self.kind, error)
            return None

    def _encode(self, frame: Frame, key_frame: bool) -> RTCEncodedFrame | None:
        payloads, timestamp = self._switchable.encode(frame, key_frame)
        if not payloads:  # kept back by a resampler
            return None
        # Without a level the header extension is left out; aiortc declares it as never absent.
        level: Any = _audio_level(frame) if isinstance(frame, AudioFrame) else None
        return RTCEncodedFrame(payloads, timestamp, level)


def _audio_level(frame: AudioFrame) -> int:
    """The level in dB relative to full scale, -127 to 0 (RFC 6465 appendix A)."""
    level = float(numpy.sqrt(numpy.mean(frame.to_ndarray().astype(numpy.float32) ** 2))) / 32767
    return max(-127, min(0, round(20 * math.log10(level)))) if level > 0 else -127


class Reception:
    """Counts what a line receives, over all its receivers. Sizes with RTP header, without SRTP."""

    def __init__(self) -> None:
        self.packets = 0
        self.octets = 0
        self.clock_rate = 0
        self.last: StreamStatistics | None = None
        self._streams: dict[int, StreamStatistics] = {}
        self._lost_before = 0

    def add(self, packet: RtpPacket, codec: Codec | None, size: int) -> None:
        self.packets += 1
        self.octets += size
        if codec is None or codec.is_rtx:
            return
        self.clock_rate = codec.clock_rate
        if packet.ssrc not in self._streams and len(self._streams) < 32:
            self._streams[packet.ssrc] = StreamStatistics(codec.clock_rate)
        self.last = self._streams.get(packet.ssrc, self.last)
        if packet.ssrc in self._streams:
            self._streams[packet.ssrc].add(packet)

    def restart(self) -> None:
        """Forgets the sequence numbers: the peer may go on anywhere after a pause, which is no loss."""
        self._lost_before += sum(stream.packets_lost for stream in self._streams.values())
        self._streams.clear()
        self.last = None

    @property
    def lost(self) -> int | None:
        if not self._streams and not self.packets:
            return None
        return self._lost_before + sum(stream.packets_lost for stream in self._streams.values())

    @property
    def jitter(self) -> float | None:
        """Seconds (RFC 3550 6.4.1), of the stream heard last."""
        return self.last.jitter / self.clock_rate if self.last is not None and self.clock_rate else None


class Receiver(RTCRtpReceiver):
    """Receives a line into `incoming`, which somebody has to drain."""

    def __init__(self, transport: DtlsTransport, line: MediaLine, reception: Reception) -> None:
        super().__init__(line.kind, transport)
        self._dtls = transport
        self._line = line
        self._reception = reception
        self._codecs = {codec.payload_type: codec for codec in known_codecs(line.receive)}
        self._media_ssrc: int | None = line.remote_ssrcs[0] if line.remote_ssrcs else None
        self.incoming = RemoteStreamTrack(line.kind)
        self._track = self.incoming
        self._set_rtcp_ssrc(line.ssrc)
        self._parameters = {number: codec_parameters(line.kind, codec) for number, codec in self._codecs.items()}
        self._timestamps = TimestampMapper()
        self._video: VideoOrder | None = None
        self._asked = 0.0  # loop time
        self._floor: int | None = None  # sequence number below which nothing is wanted any more
        if line.kind == "audio":
            vars(self)["_RTCRtpReceiver__jitter_buffer"] = AudioOrder(self._decode)
        else:
            self._begin_video()

    def _begin_video(self) -> None:
        clock = asyncio.get_running_loop().time
        self._video = VideoOrder(lambda payload_type: self._codecs[payload_type].name, clock)
        self._asked = clock()
        vars(self)["_RTCRtpReceiver__jitter_buffer"] = self._video
        vars(self)["_RTCRtpReceiver__nack_generator"] = NackGenerator()

    def _decode(self, packet: RtpPacket) -> None:
        """Audio in its order. aiortc would decode one frame for each packet that arrives, with the codec of that one."""
        data: bytes = vars(packet)["_data"]  # where aiortc puts the payload without its format's header
        frame = JitterFrame(data=data, timestamp=self._timestamps.map(packet.timestamp))
        vars(self)["_RTCRtpReceiver__decoder_queue"].put((self._parameters[packet.payload_type], frame))

    async def begin(self) -> None:
        line = self._line
        await self.receive(
            RTCRtpReceiveParameters(
                codecs=list(self._parameters.values()),
                headerExtensions=_extensions(line),
                muxId=line.mid,
                encodings=[RTCRtpDecodingParameters(ssrc=ssrc, payloadType=0) for ssrc in line.remote_ssrcs],
            )
        )

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
        self._reception.add(packet, codec, self._dtls.packet_size)
        private: dict[str, Any] = vars(self)
        if codec is not None and codec.is_rtx:
            # Which SSRC repeats which is not part of the negotiated line; there is one stream, so it is that one.
            if self._media_ssrc is not None:
                private["_RTCRtpReceiver__rtx_ssrc"].setdefault(packet.ssrc, self._media_ssrc)
        else:
            self._media_ssrc = packet.ssrc
        if self._given_up(packet, repeated=codec is not None and codec.is_rtx):
            return
        if private["_RTCRtpReceiver__decoder_queue"].qsize() > _DECODER_BACKLOG:
            return  # the decoder cannot keep up; the gap makes aiortc ask for a key frame
        await super()._handle_rtp_packet(packet, arrival_time_ms)
        if self._video is not None and self._media_ssrc is not None:
            await self._repair(self._video, self._media_ssrc)

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        # A BYE would end the decoder, and with it the line, although the peer may go on with another SSRC.
        if not isinstance(packet, RtcpByePacket):
            await super()._handle_rtcp_packet(packet)
