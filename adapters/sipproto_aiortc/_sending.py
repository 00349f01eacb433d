"""What a line sends, counted: frames before and after the encoder, and what the peer says of them in RTCP."""

from __future__ import annotations

import struct
import time
from collections import deque

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    unpack_remb_fci,
)
from attrs import define, frozen
from av import AudioFrame, VideoFrame
from av.frame import Frame

from sipproto.sdp import Codec
from sipproto_aiortc._counters import Pictures, Sound, are_key_frame

_REPORTS = 8  # sender reports whose answer is waited for
_UNITS = 65536  # of RTCP delays, in a second
_LOSS_FADES = 0.8  # of what it was before, with each report of less
_LOSS_MOST = 40  # per cent: with more, FEC costs more than it mends


@frozen(kw_only=True)
class Estimate:
    """What a peer can take (REMB): bits per second for all these SSRCs together, said by the SSRC `reporter`."""

    bitrate: int
    reporter: int
    ssrcs: frozenset[int]


@define
class RemoteReport:
    """What the peer says of our stream in its RTCP reports. Times are seconds, `jitter` is in clock units."""

    arrival: float
    lost: int
    fraction_lost: float
    jitter: int
    round_trip_time: float | None = None
    total_round_trip_time: float = 0.0
    measurements: int = 0


@frozen(kw_only=True)
class Encoding:
    """What a sender encodes with. `target_bitrate`: bits per second; None: not known, or it has none."""

    codec: Codec
    implementation: str | None
    target_bitrate: int | None
    active: bool = True


class Feedback:
    """What comes and goes as RTCP for a stream of ours."""

    def __init__(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._sent: deque[tuple[int, float]] = deque(maxlen=_REPORTS)  # middle of the NTP time, and when it left
        self.nacks = self.plis = self.firs = 0
        self.estimate: Estimate | None = None
        self.report: RemoteReport | None = None
        self._loss = 0.0

    @property
    def loss(self) -> int:
        """Per cent of our packets that got lost lately: it rises at once and falls slowly, because losses come in bursts."""
        return min(round(100 * self._loss), _LOSS_MOST)

    def sent(self, packet: AnyRtcpPacket) -> None:
        """An RTCP packet of ours leaves: a report is what the peer's answer is measured from."""
        if isinstance(packet, RtcpSrPacket):
            middle = packet.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
            self._sent = deque((one for one in self._sent if one[0] != middle), maxlen=_REPORTS)
            self._sent.append((middle, time.monotonic()))

    def received(self, packet: AnyRtcpPacket) -> None:
        match packet:
            case RtcpRrPacket() | RtcpSrPacket():
                for report in packet.reports:
                    if report.ssrc == self._ssrc:
                        self._reported(report.packets_lost, report.fraction_lost / 256, report.jitter)
                        self._measure(report.lsr, report.dlsr / _UNITS)
            case RtcpRtpfbPacket(fmt=fmt) if fmt == RTCP_RTPFB_NACK:
                self.nacks += 1
            case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_PLI:
                self.plis += 1
            case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_FIR:
                self.firs += 1
            case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_APP:
                self._estimated(packet)
            case _:
                pass

    def _reported(self, lost: int, fraction_lost: float, jitter: int) -> None:
        now = time.monotonic()
        self._loss = max(fraction_lost, _LOSS_FADES * self._loss)
        if self.report is None:
            self.report = RemoteReport(arrival=now, lost=lost, fraction_lost=fraction_lost, jitter=jitter)
        else:
            self.report.arrival, self.report.jitter = now, jitter
            self.report.lost, self.report.fraction_lost = lost, fraction_lost

    def _measure(self, last_report: int, delay: float) -> None:
        """The round trip (RFC 3550 6.4.1): from our report to its echo, less the time that the peer kept it."""
        left = dict(self._sent).get(last_report)
        if left is None or self.report is None or not last_report:
            return
        passed = time.monotonic() - left - delay
        if passed >= 0:  # else the clocks of the two disagree on how long the delay was
            self.report.round_trip_time = passed
            self.report.total_round_trip_time += passed
            self.report.measurements += 1

    def _estimated(self, packet: RtcpPsfbPacket) -> None:
        try:
            bitrate, ssrcs = unpack_remb_fci(packet.fci)
        except (ValueError, struct.error):
            return  # another message of the application layer, or cut off
        if self._ssrc in ssrcs:
            self.estimate = Estimate(bitrate=bitrate, reporter=packet.ssrc, ssrcs=frozenset(ssrcs))


class TalkSpurts:
    """The marker of audio: on the first packet of all and on those behind a pause, on no other (RFC 3551 4.1)."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._step = 0

    def mark(self, packet: bytes) -> bytes:
        """An RTP packet with the marker as it has to be."""
        (timestamp,) = struct.unpack_from("!L", packet, 4)
        step = (timestamp - self._last) % (1 << 32) if self._last is not None else 0
        starts = self._last is None or step > self._step > 0
        self._last, self._step = timestamp, step
        return packet[:1] + bytes([packet[1] & 0x7F | 0x80 * starts]) + packet[2:]


class Sending:
    """Counts what a sender encodes. Media thread, except `heard`, which is called on a worker, one call at a time."""

    def __init__(self, ssrc: int) -> None:
        self.feedback = Feedback(ssrc)
        self.source = Pictures()
        self.sound = Sound()
        self.pictures = Pictures()
        self.key_frames = 0
        self.encode_time = 0.0  # seconds

    def taken(self, frame: Frame) -> None:
        """A frame comes from the source."""
        if isinstance(frame, VideoFrame):
            self.source.add(frame.width, frame.height, time.monotonic())

    def heard(self, frame: AudioFrame, power: float) -> None:
        """A frame of audio comes from the source; `power` as `mean_square` gives it."""
        self.sound.add(power, frame.samples, frame.sample_rate)

    def encoded(self, codec: str, payloads: list[bytes], seconds: float, size: tuple[int, int] | None) -> None:
        """A frame was encoded into these payloads, which took so long. `size`: width and height of a picture."""
        self.encode_time += seconds
        self.key_frames += are_key_frame(codec, payloads) is True
        if size is not None:
            self.pictures.add(*size, time.monotonic())
