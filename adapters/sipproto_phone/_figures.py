"""What is shown of the quality of a call, and how it is reckoned.

The quality follows the transmission rating R of ITU-T G.107 (E-model), of which three things are known here: loss, jitter
and round trip.

    delay = round trip / 2 + 2 * jitter + 30 ms     (network, jitter buffer, encoding and one frame of either side)
    Id    = 0.024 * delay + 0.11 * max(0, delay - 177.3)                                             (delay in ms)
    Ie    = 95 * loss / (loss + 10)      (loss in percent; 10 is a codec with little concealment, ITU-T G.113 app. I)
    R     = 93.2 - Id - Ie

and R is told in the steps of G.109: 80 and more is 4 (satisfied), 70: 3, 60: 2, 50: 1, less: 0. Loss is that of the last
five seconds, the worse of both directions, as far as the other side reports it.
"""

from __future__ import annotations

from collections import deque

from sipproto.agent.media import MediaReport
from sipproto.agent.stats import RemoteInboundRtpStats
from sipproto_phone.model import Figures

_WINDOW = 5  # reports, a second apart
_STEPS = (80.0, 70.0, 60.0, 50.0)


def quality_of(loss: float | None, jitter: float | None, round_trip: float | None) -> int | None:
    """0 (bad) to 4 (good); None when nothing is known. loss: 0 to 1; the others in seconds."""
    if loss is None and jitter is None and round_trip is None:
        return None
    delay = 1000 * ((round_trip or 0.0) / 2 + 2 * (jitter or 0.0)) + 30
    percent = 100 * (loss or 0.0)
    rating = 93.2 - 0.024 * delay - 0.11 * max(0.0, delay - 177.3) - 95 * percent / (percent + 10)
    return len(_STEPS) - next((place for place, step in enumerate(_STEPS) if rating >= step), len(_STEPS))


class Measured:
    """The figures of one call, out of what its media engine measures each second. began: when it was answered, as `now`."""

    def __init__(self, began: float) -> None:
        self._before: deque[tuple[float, int, int, int, int]] = deque([(began, 0, 0, 0, 0)], maxlen=_WINDOW + 1)

    def figures(self, report: MediaReport, now: float) -> Figures:
        """now: seconds of any clock that only goes forward."""
        line = report.line("audio")
        if line is None:
            return Figures()
        entry = (now, line.packets_received, line.packets_lost or 0, line.bytes_received, line.bytes_sent)
        self._before.append(entry)
        first = self._before[0]
        seconds = entry[0] - first[0]
        received, lost = entry[1] - first[1], max(0, entry[2] - first[2])
        loss = lost / (received + lost) if received + lost > 0 else None
        theirs = [s.fraction_lost for s in report.stats if isinstance(s, RemoteInboundRtpStats) and s.kind == "audio"]
        worst = max((part for part in (loss, *theirs) if part is not None), default=None)
        return Figures(
            codec=(line.codec or "").removeprefix("audio/"),
            loss=worst,
            jitter=line.jitter,
            round_trip=line.round_trip_time,
            bitrate_in=8 * (entry[3] - first[3]) / seconds if seconds > 0 else None,
            bitrate_out=8 * (entry[4] - first[4]) / seconds if seconds > 0 else None,
            level_in=line.audio_level,
            quality=quality_of(worst, line.jitter, line.round_trip_time) if received else None,
        )
