"""Which media lines something is received on, by measurements: what is negotiated need not be sent."""

from __future__ import annotations

from sipproto.agent.media import MediaReport

_PATIENCE = 3  # measurements without a packet after which a line is silent: a still picture may be sent that rarely


class ReceivedLines:
    """Takes each measurement of one call; `mids` are the lines on which packets have come lately."""

    def __init__(self) -> None:
        self._packets: dict[str, int] = {}
        self._left: dict[str, int] = {}  # measurements, by lines that are not silent

    @property
    def mids(self) -> frozenset[str]:
        return frozenset(self._left)

    def sample(self, report: MediaReport) -> None:
        packets = {line.mid: line.packets_received for line in report.lines}
        grown = {mid for mid, count in packets.items() if count > self._packets.get(mid, 0)}
        rest = {mid: left - 1 for mid, left in self._left.items() if left > 1 and mid in packets}
        self._left = rest | dict.fromkeys(grown, _PATIENCE)
        self._packets = packets

    def ended(self, mid: str) -> None:
        """Nothing is to come on this line any more, as the peer says."""
        self._left.pop(mid, None)
