"""Short clusters of packets at a higher bit rate, to see at once what the path takes: when to send them, and what they tell."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict

from attrs import define

from sipproto.media.congestion._pacing import Probe

_FIRST = 3.0, 6.0  # times the bit rate that a call begins with
_FURTHER = 2.0  # times what the last probe found
_FURTHER_ABOVE = 0.7  # of what was probed last has to be found before more is tried
_PATIENCE = 1.0  # seconds for a result
_DURATION = 0.015  # seconds
_PACKETS = 5
_DROP = 0.66  # a fall of the estimate to less than this is a drop, after which is probed
_RECOVERED = 0.85  # of what there was before
_DROP_INTERVAL = 5.0  # seconds between two probes after drops
_DROP_FORGOTTEN = 5.0
_AGAIN = 5.0  # seconds between two probes while less is known to go than is wanted
_RAISED = 1.1  # times what was tried: to probe for less more would not be worth it
_MOST = 20_000_000  # nothing above is probed

_ENOUGH = 0.8  # of a cluster that has to arrive
_LONGEST = 1.0  # seconds between the first and the last of a cluster
_RATIO_MAX = 2.0  # of the rates at which it arrived and was sent
_LOADED = 0.9  # when it arrives at less of the rate than this, the path takes no more
_LOADED_SHARE = 0.95
_CLUSTERS = 16


class ProbeState(enum.Enum):
    START = "start"  # nothing was sent yet
    WAITING = "waiting"  # for a result
    DONE = "done"


class ProbeControl:
    """Says what to probe. Bit rates in bits per second; `now` in seconds of a clock that only advances.

    Nothing above what is `wanted` is probed: that which would be sent if the path took everything.
    """

    def __init__(self) -> None:
        self.state = ProbeState.START
        self._number = 0
        self._wanted = 0
        self._asked = 0  # what was wanted when that was probed last
        self._probed = 0  # the highest bit rate of those that a result is awaited of
        self._since = -math.inf
        self._before_drop = 0.0
        self._dropped = -math.inf
        self._drop_probed = -math.inf

    def want(self, wanted: float, estimate: float, now: float) -> tuple[Probe, ...]:
        """So much would be sent at the most. When it becomes more than the path was found to take, that is probed."""
        self._wanted = min(int(wanted), _MOST)
        first = self.state is ProbeState.START and bool(wanted)
        raised = self.state is ProbeState.DONE and self._wanted > max(_RAISED * self._asked, estimate)
        if first or raised or self._wanted < self._asked:
            self._asked = self._wanted
        if first:
            return self._probe([factor * estimate for factor in _FIRST], now)
        return self._probe([self._wanted], now) if raised else ()

    def found(self, estimate: float, now: float) -> tuple[Probe, ...]:
        """A probe has a result, which the estimate holds now: more may be tried."""
        if self.state is ProbeState.WAITING and estimate > _FURTHER_ABOVE * self._probed:
            if self._wanted > _RAISED * self._probed:
                return self._probe([_FURTHER * estimate], now)
            self.state = ProbeState.DONE
        return ()

    def changed(self, before: float, estimate: float, now: float) -> None:
        """The path was over-used and the estimate lowered."""
        self._dropped = now
        if estimate < _DROP * before:
            self._before_drop = before

    def recovered(self, estimate: float, now: float) -> tuple[Probe, ...]:
        """No queue grows. What there was before a drop is tried, as it may have been one for a moment; else, seldom, more."""
        if self.state is ProbeState.WAITING and now - self._since > _PATIENCE:
            self.state = ProbeState.DONE
        if self.state is not ProbeState.DONE or _RAISED * estimate >= self._wanted:
            return ()
        if self._before_drop:
            tried, self._before_drop = _RECOVERED * self._before_drop, 0.0
            late = now - self._dropped > _DROP_FORGOTTEN or now - self._drop_probed < _DROP_INTERVAL
            if not late and tried > estimate:
                self._drop_probed = now
                return self._probe([tried], now)
        if now - self._since >= _AGAIN and now - self._dropped >= _PATIENCE:
            return self._probe([_FURTHER * estimate], now)
        return ()

    def _probe(self, bitrates: list[float], now: float) -> tuple[Probe, ...]:
        probes = []
        for bitrate in bitrates:
            self._number += 1
            bounded = int(min(bitrate, self._wanted))
            octets = int(bounded * _DURATION / 8)
            probes.append(Probe(number=self._number, bitrate=bounded, octets=octets, packets=_PACKETS))
            if bitrate >= self._wanted:
                break
        self.state, self._since, self._probed = ProbeState.WAITING, now, probes[-1].bitrate
        return tuple(probes)


@define
class _Cluster:
    probe: Probe
    packets: int = 0
    octets: int = 0
    first_sent: float = math.inf
    last_sent: float = -math.inf
    last_sent_octets: int = 0
    first_arrived: float = math.inf
    last_arrived: float = -math.inf
    first_arrived_octets: int = 0


class ProbeResults:
    """What the clusters tell when their packets are acknowledged. Times in seconds."""

    def __init__(self) -> None:
        self._clusters: OrderedDict[int, _Cluster] = OrderedDict()

    def add(self, probe: Probe, sent: float, arrived: float, octets: int) -> float | None:
        """A packet of a probe arrived. Bits per second that the path takes, when enough of the cluster has.

        Never more than was to be tried: what left in one go, late, shows what a queue takes for a moment.
        """
        one = self._clusters.setdefault(probe.number, _Cluster(probe))
        while len(self._clusters) > _CLUSTERS:
            self._clusters.popitem(last=False)
        one.packets += 1
        one.octets += octets
        one.first_sent = min(one.first_sent, sent)
        if sent > one.last_sent:
            one.last_sent, one.last_sent_octets = sent, octets
        if arrived < one.first_arrived:
            one.first_arrived, one.first_arrived_octets = arrived, octets
        one.last_arrived = max(one.last_arrived, arrived)
        if one.packets < _ENOUGH * probe.packets or one.octets < _ENOUGH * probe.octets:
            return None
        sending, arriving = one.last_sent - one.first_sent, one.last_arrived - one.first_arrived
        if not (0 < sending <= _LONGEST and 0 < arriving <= _LONGEST):
            return None
        sent_rate = (one.octets - one.last_sent_octets) * 8 / sending
        arrived_rate = (one.octets - one.first_arrived_octets) * 8 / arriving
        if arrived_rate > _RATIO_MAX * sent_rate:
            return None
        if arrived_rate < _LOADED * sent_rate:
            return min(_LOADED_SHARE * arrived_rate, probe.bitrate)
        return min(sent_rate, arrived_rate, probe.bitrate)
