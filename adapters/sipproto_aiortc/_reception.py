"""What a line receives, counted by streams: packets, loss, jitter, repetitions, frames."""

from __future__ import annotations

import time

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtpPacket,
    unpack_remb_fci,
)
from attrs import define, frozen
from av import AudioFrame, VideoFrame
from av.frame import Frame

from sipproto.sdp import Codec
from sipproto_aiortc._counters import Octets, Pictures, Playing, Sound, is_key_frame, mean_square
from sipproto_aiortc._digits import is_event

STREAMS = 8  # of a line: a peer that changes its SSRC more often is told of no longer ones heard long ago
_DROPOUT, _MISORDER = 3000, 100  # packets ahead or behind, from which it is another sequence (RFC 3550 A.1)
_PACKETS_LOST = 0x7FFFFF  # the most that a report can tell (RFC 3550 6.4.1)


class Sequence:
    """Loss and jitter of a stream (RFC 3550 A.3, A.8), over restarts after which nothing is known to be lost."""

    def __init__(self) -> None:
        self.received = 0
        self.highest = 0  # counted on beyond 16 bits
        self._expected_before = 0
        self._first: int | None = None
        self._jumped_to: int | None = None  # the number behind one that was far off
        self._jitter = 0.0  # clock units
        self._clock = 0
        self._last: tuple[float, int] | None = None  # arrival and timestamp of the last packet in order

    def restart(self) -> None:
        """The peer may go on anywhere after a pause, which is no loss."""
        self._expected_before = self.expected
        self._first = self._last = self._jumped_to = None

    def add(self, packet: RtpPacket, clock: int, arrival: float) -> None:
        """`clock` in Hz, `arrival` in seconds of a monotonic clock."""
        number = packet.sequence_number
        ahead = (number - self.highest + 0x8000) % 0x10000 - 0x8000
        if self._first is not None and not -_MISORDER < ahead < _DROPOUT:
            if number != self._jumped_to:  # one alone is nothing; two in a row begin a sequence
                self._jumped_to = (number + 1) % 0x10000
                return
            self.restart()
        self.received += 1
        if self._first is None:
            self._first = self.highest = number
        elif ahead <= 0:
            return  # late, or a second time
        else:
            self.highest += ahead
        if clock != self._clock:
            self._clock, self._jitter, self._last = clock, 0.0, None
        if self._last is not None and self._last[1] != packet.timestamp:
            passed = (packet.timestamp - self._last[1] + 0x80000000) % 0x100000000 - 0x80000000
            difference = abs((arrival - self._last[0]) * clock - passed)
            self._jitter += (difference - self._jitter) / 16
        if self._last is None or self._last[1] != packet.timestamp:
            self._last = arrival, packet.timestamp

    @property
    def expected(self) -> int:
        return self._expected_before + (self.highest - self._first + 1 if self._first is not None else 0)

    @property
    def lost(self) -> int:
        return self.expected - self.received

    @property
    def jitter(self) -> float | None:
        """Seconds."""
        return self._jitter / self._clock if self._clock else None


class ReportedStream:
    """What our reports tell the peer of a stream (RFC 3550 6.4.1), with the members of aiortc's StreamStatistics.

    That one takes each wrap of the timestamps for hours of jitter, which may be more than a report can hold: then it ends
    the reports of the line. And it leaves out how often the sequence numbers went round.
    """

    def __init__(self, clockrate: int) -> None:
        self._clock = clockrate
        self._sequence = Sequence()
        self._before = 0, 0  # expected and received until the last report

    def add(self, packet: RtpPacket) -> None:
        self._sequence.add(packet, self._clock, time.monotonic())

    @property
    def packets_received(self) -> int:
        return self._sequence.received

    @property
    def packets_lost(self) -> int:
        return max(-_PACKETS_LOST - 1, min(self._sequence.lost, _PACKETS_LOST))

    @property
    def fraction_lost(self) -> int:
        """In 256ths, since it was asked for last."""
        now = self._sequence.expected, self._sequence.received
        expected, received = now[0] - self._before[0], now[1] - self._before[1]
        self._before = now
        return min(255, max(0, expected - received) * 256 // expected) if expected else 0

    @property
    def max_seq(self) -> int:
        return self._sequence.highest % (1 << 32)

    @property
    def jitter(self) -> int:
        """Clock units."""
        return min(round((self._sequence.jitter or 0.0) * self._clock), (1 << 32) - 1)


@frozen(kw_only=True)
class SenderReport:
    """The last RTCP SR of a stream and how many there were; `arrival` in monotonic seconds."""

    info: RtcpSenderInfo
    arrival: float
    count: int


@define
class Asked:
    """How often we asked a sender for something: for packets again, and for key frames in one way or the other."""

    nacks: int = 0
    plis: int = 0
    firs: int = 0


class Stream:
    """One SSRC with its repetitions, and what became of it."""

    def __init__(self, ssrc: int, codec: Codec, asked: Asked) -> None:
        self.ssrc = ssrc
        self.codec = codec
        self.rtx_ssrc: int | None = None
        self.all = Octets()
        self.repeated = Octets()
        self.sequence = Sequence()
        self.last_received = 0.0  # monotonic seconds, as all moments here
        self.report: SenderReport | None = None
        self.asked = asked
        self.frames = self.key_frames = self.dropped = 0
        self.pictures = Pictures()
        self.sound = Sound()
        self.playing = Playing()


class Reception:
    """Counts what a line receives, over all its receivers. Sizes with RTP header, without SRTP."""

    def __init__(self) -> None:
        self.packets = 0
        self.octets = 0
        self.decoded = 0  # frames
        self.current: Stream | None = None  # the one heard last
        self.estimate: int | None = None  # bits per second: what we told the peer that it may send (REMB)
        self._streams: dict[int, Stream] = {}
        self._asked: dict[int, Asked] = {}
        self._lost_before = 0

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(self._streams.values())

    def add(self, packet: RtpPacket, codec: Codec | None, size: int, arrival: float) -> None:
        """A packet arrived, at this monotonic time in seconds. `codec`: that of the payload type, if it is known."""
        self.packets += 1
        self.octets += size
        if codec is None:
            return
        if codec.is_rtx:
            # Which SSRC repeats which is not part of the negotiated line; there is one stream, so it is that one.
            if self.current is not None:
                self.current.rtx_ssrc = packet.ssrc
                self.current.all.add(len(packet.payload), size)
                if packet.payload:  # else nothing is repeated: padding, with which the peer probes the path
                    self.current.repeated.add(len(packet.payload), size)
            return
        stream = self._stream(packet.ssrc, codec)
        stream.all.add(len(packet.payload), size)
        stream.sequence.add(packet, stream.codec.clock_rate, arrival)
        stream.last_received = arrival
        self.current = stream

    def _stream(self, ssrc: int, codec: Codec) -> Stream:
        stream = self._streams.get(ssrc)
        if stream is None:
            if len(self._streams) >= STREAMS:
                oldest = min(self._streams.values(), key=lambda one: one.last_received)
                self._lost_before += oldest.sequence.lost
                del self._streams[oldest.ssrc]
                self._asked.pop(oldest.ssrc, None)
            stream = self._streams[ssrc] = Stream(ssrc, codec, self._asked_of(ssrc))
        if not is_event(codec):
            stream.codec = codec
        return stream

    def _asked_of(self, ssrc: int) -> Asked:
        """Also of a stream that is announced but not heard yet: we may ask it for a key frame to begin with."""
        if ssrc not in self._asked and len(self._asked) >= 2 * STREAMS:
            del self._asked[next(one for one in self._asked if one not in self._streams)]
        return self._asked.setdefault(ssrc, Asked())

    def reported(self, ssrc: int, info: RtcpSenderInfo) -> None:
        """An RTCP sender report came."""
        stream = self._streams.get(ssrc)
        if stream is not None:
            before = stream.report.count if stream.report is not None else 0
            stream.report = SenderReport(info=info, arrival=time.monotonic(), count=before + 1)

    def feedback(self, packet: AnyRtcpPacket) -> None:
        """We send RTCP."""
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            self.estimate = unpack_remb_fci(packet.fci)[0]
        elif isinstance(packet, RtcpPsfbPacket | RtcpRtpfbPacket):
            asked = self._asked_of(packet.media_ssrc)
            match packet:
                case RtcpRtpfbPacket(fmt=fmt) if fmt == RTCP_RTPFB_NACK:
                    asked.nacks += 1
                case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_PLI:
                    asked.plis += 1
                case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_FIR:
                    asked.firs += 1
                case _:
                    pass

    def frame(self, data: bytes) -> None:
        """A frame is complete and goes to the decoder."""
        if (stream := self.current) is not None:
            stream.frames += 1
            stream.key_frames += is_key_frame(stream.codec.name, data) is True

    def frame_dropped(self) -> None:
        """A frame was not decoded: the decoder is behind, or refused it."""
        if self.current is not None:
            self.current.dropped += 1

    def emitted(self, frame: Frame) -> None:
        """A frame goes to those who hear or see it. Audio may be made up."""
        stream = self.current
        if stream is None:
            return
        if isinstance(frame, AudioFrame):
            stream.sound.add(mean_square(frame), frame.samples, frame.sample_rate)
        elif isinstance(frame, VideoFrame):
            self.decoded += 1
            stream.pictures.add(frame.width, frame.height, time.monotonic())

    # -- audio, on its way out of the buffer -----------------------------------------------------------------------------

    def played(self, count: int, *, stretched: int, delay: float, target: float, after_silence: bool) -> None:
        """A packet was decoded; as `Playing.emit`."""
        self.decoded += 1
        if self.current is not None:
            self.current.playing.emit(
                count, stretched=stretched, delay=delay, target=target, after_silence=after_silence
            )

    def concealed(self, count: int, *, silent: bool, known_lost: bool) -> None:
        """Samples were made up; as `Playing.conceal`."""
        if self.current is not None:
            self.current.playing.conceal(count, silent=silent, known_lost=known_lost)

    def fec(self) -> None:
        """A packet came that repeats the one before it."""
        if self.current is not None:
            self.current.playing.fec += 1

    def rests(self) -> None:
        """Nothing comes any more: what was missing last was lost, as far as anybody can tell."""
        if self.current is not None:
            self.current.playing.settle()

    def discarded(self, count: int) -> None:
        """So many packets were of no use, because they came too late."""
        if self.current is not None:
            self.current.playing.discarded += count

    def restart(self) -> None:
        """Forgets the sequence numbers: the peer may go on anywhere after a pause, which is no loss."""
        for stream in self._streams.values():
            stream.sequence.restart()

    @property
    def lost(self) -> int | None:
        if not self._streams and not self.packets:
            return None
        return self._lost_before + sum(stream.sequence.lost for stream in self._streams.values())

    @property
    def jitter(self) -> float | None:
        """Seconds (RFC 3550 6.4.1), of the stream heard last."""
        return self.current.sequence.jitter if self.current is not None else None
