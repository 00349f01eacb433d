"""The sender's part of transport-wide congestion control: what leaves and what of it arrives, in; an estimate, out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from attrs import frozen

from sipproto.media.congestion._delay import DelayDetector, Usage
from sipproto.media.congestion._feedback import REFERENCE, TICKS, TransportFeedback, unwrapped
from sipproto.media.congestion._pacing import Probe
from sipproto.media.congestion._probing import ProbeControl, ProbeResults
from sipproto.media.congestion._rate import AcknowledgedRate, RateControl

START_ESTIMATE = 300_000  # bits per second, as browsers begin

_MOST = 8192  # packets whose fate is not known
_OLDEST = 10.0  # seconds; who tells of older ones tells nothing of the path as it is
_ROUND_TRIP = 0.2  # seconds, before it was measured
_MEASURED = 1.0  # seconds over which is measured what is sent
_SILENCE = 2.0  # seconds without feedback after which none is waited for
_PAYLOAD_SHARE = 0.92  # of full packets with all their headers
_LIMITED = 0.5  # of the estimate: who sends less has no more to send


@frozen
class _Sent:
    moment: float
    octets: int
    probe: Probe | None


class SentRates:
    """What was sent lately, in bits per second: pictures apart from the rest, and how much of them is payload."""

    def __init__(self) -> None:
        self._packets: deque[tuple[float, int, int | None]] = deque()
        self._payload = self._pictures = self._others = 0

    def add(self, octets: int, payload: int | None, now: float) -> None:
        """A packet of `octets` leaves. `payload`: octets of a picture, or of padding, in it; None: it carries none."""
        self._packets.append((now, octets, payload))
        self._count(octets, payload, 1)
        while now - self._packets[0][0] > _MEASURED:
            _, old, carried = self._packets.popleft()
            self._count(old, carried, -1)

    def _count(self, octets: int, payload: int | None, sign: int) -> None:
        if payload is None:
            self._others += sign * octets
        else:
            self._pictures += sign * octets
            self._payload += sign * payload

    @property
    def others(self) -> float:
        """Bits per second of audio."""
        return self._others * 8 / _MEASURED

    @property
    def total(self) -> float:
        """Bits per second of all."""
        return (self._others + self._pictures) * 8 / _MEASURED

    @property
    def headers(self) -> float:
        """Bits per second of headers in the packets of pictures."""
        return (self._pictures - self._payload) * 8 / _MEASURED


class CongestionController:
    """How much a transport takes, by the delay of its packets (draft-ietf-rmcat-gcc-02). `now`: seconds, only advancing.

    Octets are those of whole datagrams with their IP headers. A caller tells of each packet with `sent`, which numbers it, of
    what would be sent at most with `want`, and hands in feedback; `take_probes` says what to probe then.
    """

    def __init__(self) -> None:
        self.rates = SentRates()
        self.round_trip = _ROUND_TRIP
        self._detector = DelayDetector()
        self._rate = RateControl(START_ESTIMATE)
        self._acknowledged = AcknowledgedRate()
        self._probe_control = ProbeControl()
        self._results = ProbeResults()
        self._probes: tuple[Probe, ...] | None = None
        self._packets: dict[int, _Sent] = {}
        self._last = 0  # number, counted on beyond 16 bits
        self._reference: int | None = None  # of the last feedback, likewise beyond 24 bits
        self._began: float | None = None  # when the first packet left
        self._heard = False  # of any packet of ours
        self._probed = False

    @property
    def estimate(self) -> int:
        """Bits per second that the path takes."""
        return int(self._rate.bitrate)

    @property
    def acknowledged(self) -> float | None:
        """Bits per second that arrive; None: not known."""
        return self._acknowledged.bitrate

    @property
    def has_feedback(self) -> bool:
        """Whether some has come that says anything of what was sent."""
        return self._heard

    def is_silent(self, now: float) -> bool:
        """Whether the peer gives no feedback, although it agreed to: then nothing is known of the path."""
        return not self.has_feedback and self._began is not None and now - self._began > _SILENCE

    @property
    def usage(self) -> Usage:
        return self._detector.usage

    @property
    def for_pictures(self) -> int:
        """Bits per second of payload of video that fit into the estimate beside what else is sent."""
        left = self._rate.bitrate - self.rates.others
        return max(0, int(min(left * _PAYLOAD_SHARE, left - self.rates.headers)))  # small packets are mostly header

    def sent(self, octets: int, now: float, *, payload: int | None = None, probe: Probe | None = None) -> int:
        """A packet leaves now; gives the number that it has to bear, 16 bits. `payload`: that of a picture, or padding."""
        if self._began is None:
            self._began = now
        self._last += 1
        self._packets[self._last] = _Sent(now, octets, probe)
        self._packets.pop(self._last - _MOST, None)
        self.rates.add(octets, payload, now)
        return self._last & 0xFFFF

    def want(self, payload: int, now: float) -> None:
        """So many bits per second of pictures would be sent if the path took them; 0: none."""
        wanted = payload / _PAYLOAD_SHARE + self.rates.others if payload else 0.0
        self._ask(self._probe_control.want(wanted, self._rate.bitrate, now))

    def feedback(self, feedback: TransportFeedback, now: float) -> None:
        """What the peer says of what arrived. What was never sent, or is known already, says nothing."""
        reference = feedback.reference
        if self._reference is not None:
            reference = unwrapped(feedback.reference, self._reference, 24)
        self._reference = reference
        start = reference * REFERENCE
        base = unwrapped(feedback.base, self._last)
        arrived: list[tuple[float, _Sent]] = []
        for place, ticks in feedback.arrivals:
            packet = self._packets.pop(base + place, None)
            if packet is not None and now - packet.moment <= _OLDEST:
                arrived.append(((start + ticks) / TICKS, packet))
        if arrived:
            self._heard = True
            self._arrived(arrived, now)

    def _arrived(self, arrived: Sequence[tuple[float, _Sent]], now: float) -> None:
        self.round_trip = max(0.0, now - max(packet.moment for _, packet in arrived))
        found: float | None = None
        overused = False
        for moment, packet in sorted(arrived, key=lambda one: one[0]):
            self._acknowledged.add(moment, packet.octets)
            self._detector.add(packet.moment * 1000, moment * 1000)
            overused = overused or self._detector.usage is Usage.OVERUSING
            if packet.probe is not None:
                result = self._results.add(packet.probe, packet.moment, moment, packet.octets)
                found = result if result is not None else found
        usage = Usage.OVERUSING if overused else self._detector.usage
        before = self._rate.bitrate
        if found is not None and usage is not Usage.OVERUSING:
            self._rate.set(max(found, before), now)  # what takes less shows in the delay
            self._probed = self._rate.bitrate > before
            self._ask(self._probe_control.found(self._rate.bitrate, now))
        else:
            limited = self.rates.total < _LIMITED * before
            if self._rate.update(usage, self._acknowledged.bitrate, self.round_trip, now, limited=limited):
                self._probe_control.changed(before, self._rate.bitrate, now)
        if usage is Usage.NORMAL:
            self._ask(self._probe_control.recovered(self._rate.bitrate, now))

    def _ask(self, probes: tuple[Probe, ...]) -> None:
        if probes:
            self._probes = probes

    def take_probed(self) -> bool:
        """Whether a probe has raised the estimate since this was last asked."""
        probed, self._probed = self._probed, False
        return probed

    def take_probes(self) -> tuple[Probe, ...]:
        """What is to be probed now, once."""
        probes, self._probes = self._probes or (), None
        return probes
