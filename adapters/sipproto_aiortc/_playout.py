"""When received audio is played: packets in as they arrive, and what is due each moment out. Without a clock or samples.

The delay follows the path: long enough for nearly all packets of the last seconds to be there in time, and no longer.
What is missing when it is due is concealed, so that the audio gets no shorter by losses; sound is stretched a little
where the delay is not what it should be, also when the clock of the sender runs faster or slower than ours.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections import deque

from attrs import define, frozen

_LEAST, _MOST = 0.02, 0.4  # seconds of delay that is aimed at
_SPARE = 0.01  # seconds, for packets that come and are asked for at odd times
_IN_TIME = 0.98  # share of the packets that the delay has to suffice for
_WINDOW, _WINDOW_SECONDS = 500, 10.0  # packets by which the path is judged, and how old they may be
_JUDGED_EVERY = 10  # packets
_RECENT = 25  # packets by which a path is seen to be another one
_TOO_SHORT, _TOO_LONG = 0.005, 0.025  # seconds that the delay may be off without anything being done about it
_FAR_OFF = 0.1  # seconds beyond which everything is done about it
_OVERDUE = 0.3  # seconds of audio that may wait above the delay aimed at; what is more is left out
_EVERY = 3  # packets of which one is stretched
_PIECE = 0.02  # seconds that are concealed at once at most: meanwhile the missing packet may come
_LEAST_PIECE = 0.0025  # seconds, that of Opus: packets may be as short as a sample
_ROUNDING = 0.01  # of a packet
_REST = 1.0  # seconds without anything to play, after which playing ends until something comes
_JUMP = 1000  # packets: farther ahead or behind it is another stream, not another order
_RESYNC = 1.0  # seconds between the delays of two packets in a row that no path explains: the sender's clock was set
_GONE = 0.2  # seconds without a packet after which a stream may be given up for one that was there before
_LEFT = 8  # streams that are known to have been there before
_LIMIT = 300  # packets that wait: 0.75 s of the shortest, and that their numbers are known after they had their turn


@frozen(kw_only=True)
class AudioPacket:
    """A packet as it arrives. number and timestamp: of RTP. duration: in units of the clock (Hz); 0: it has no content.

    repairs: it can stand for the one before it, too. quiet: the sender says with it that it will say nothing for a while.
    payload_type says what `data` is encoded with. arrival: seconds.
    """

    ssrc: int
    number: int
    timestamp: int
    payload_type: int
    clock: int
    duration: int
    data: bytes
    arrival: float
    repairs: bool = False
    quiet: bool = False


class Act(enum.Enum):
    """What is to be played: a packet, the one before a packet out of that, a guess of what is missing, or silence."""

    PLAY = "play"
    REPAIR = "repair"
    CONCEAL = "conceal"
    SILENCE = "silence"


class Pace(enum.Enum):
    """How fast: the packet as it is, or with a little inserted or removed."""

    EVEN = 0
    SLOWER = 1
    FASTER = -1


@frozen(kw_only=True)
class Step:
    """What is due. seconds: how long it is, before it is stretched. packet: for PLAY and REPAIR.

    regardless: the pace is kept even where that is heard.
    after_silence: what was concealed before this packet was never sent. known_lost: not just late, a later packet is there.
    """

    act: Act
    seconds: float
    packet: AudioPacket | None = None
    pace: Pace = Pace.EVEN
    regardless: bool = False
    after_silence: bool = False
    known_lost: bool = False


@define
class _Waiting:
    packet: AudioPacket
    number: int  # counted on beyond 16 bits
    timestamp: int  # counted on beyond 32 bits


def _seconds(packet: AudioPacket) -> float:
    return packet.duration / packet.clock


class Path:
    """What the last packets say of the delays of a path: how much longer than the fastest the slow ones take."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=_WINDOW)  # and transits; seconds
        self._unjudged = 0
        self._needed = 0.0  # when `least` was asked for last
        self.fastest = 0.0  # transit: the arrival less the timestamp, in seconds; only differences mean anything
        self.least = self.target = _LEAST  # seconds of delay that is aimed at, in any case and now

    def restart(self) -> None:
        """Another clock counts from now on. What is aimed at stays until something is known of it."""
        self._arrivals.clear()

    def need(self, least: float, now: float) -> None:
        """Not less than so many seconds of delay, as long as that is said again."""
        self._needed = now
        self.least = min(least, _MOST)
        self.target = max(self.target, self.least)

    def add(self, arrival: float, transit: float) -> None:
        known = self._arrivals
        # Over a pause the clocks drift apart, or the sender's stood still.
        if known and (abs(transit - known[-1][1]) > _RESYNC or arrival - known[-1][0] > _REST):
            self.restart()
        self.fastest = min(self.fastest, transit) if known else transit
        known.append((arrival, transit))
        while arrival - known[0][0] > _WINDOW_SECONDS:
            known.popleft()
        self._unjudged += 1
        if self._unjudged >= _JUDGED_EVERY and len(known) >= _JUDGED_EVERY:
            self._judge(arrival)

    def _judge(self, now: float) -> None:
        self._unjudged = 0
        if now - self._needed > _WINDOW_SECONDS:
            self.least = _LEAST
        self._forget_another_path()
        ordered = sorted(transit for _, transit in self._arrivals)
        self.fastest = ordered[0]
        slow = ordered[int(_IN_TIME * (len(ordered) - 1))] - self.fastest
        self.target = min(max(slow + _SPARE, self.least), _MOST)

    def _forget_another_path(self) -> None:
        """Of delays that no target bridges only the recent ones count."""
        known = list(self._arrivals)
        before, recent = known[:-_RECENT], known[-_RECENT:]
        fastest = min(transit for _, transit in recent)
        if before and abs(fastest - min(transit for _, transit in before)) > _MOST:
            self._arrivals = deque((one for one in recent if one[1] - fastest <= _MOST), maxlen=_WINDOW)


class Playout:
    """The packets that wait, and the decision on each moment. Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self.path = Path()
        self.discarded = 0  # packets that came too late, or were left out to catch up
        self._waiting: dict[int, _Waiting] = {}  # by number
        self._settled: deque[int] = deque(maxlen=_LIMIT)  # numbers of packets that had their turn
        self._ssrc: int | None = None
        self._heard = 0.0  # when something came from it
        self._left: deque[int] = deque(maxlen=_LEFT)  # SSRCs before it
        self._last = (0, 0)  # number and timestamp of the packet that came last, counted on
        self._clock = 0  # of that packet
        self._due: int | None = None  # the number to be played next; None: that of the first packet that comes
        self._moment = 0  # the timestamp of what is to be played next
        self._playing_clock = 0
        self._frame = _PIECE  # seconds of the packet played last
        self._filled = 0.0  # seconds concealed since then in want of any packet
        self._quiet = True  # nothing is expected to be heard
        self._since_stretch = 0

    def begins_at(self) -> float | None:
        """When playing may begin, or go on after a rest; None: nothing is there."""
        if not self._waiting:
            return None
        return self._waiting[min(self._waiting)].packet.arrival + self.path.target

    def put(self, packet: AudioPacket) -> None:
        if packet.ssrc != self._ssrc and packet.ssrc in self._left and packet.arrival < self._heard + _GONE:
            self.discarded += 1  # of the stream before this one, or of two at once: both cannot be heard
            return
        self._heard = packet.arrival
        number, timestamp = self._counted_on(packet)
        if self._ssrc != packet.ssrc or abs(number - self._last[0]) > _JUMP:
            self._restart(packet)
            number, timestamp = packet.number, packet.timestamp
        elif number <= self._last[0] and (number in self._waiting or number in self._settled):
            return  # a second time: it says nothing of the path
        set_back = packet.duration and number > self._last[0] and timestamp < self._last[1]
        if packet.clock != self._clock or set_back:
            self._clock = packet.clock
            self.path.restart()
        if number >= self._last[0]:
            self._last = number, timestamp
        if packet.duration:
            self.path.add(packet.arrival, packet.arrival - timestamp / packet.clock)
        if packet.repairs:  # a sender adds that when packets are lost; it takes having the next one when one is missing
            self.path.need(_LEAST + packet.duration / packet.clock, packet.arrival)
        self._waiting[number] = _Waiting(packet, number, timestamp)
        if self._due is not None and number < self._due:
            self._leave_out(number)
        elif len(self._waiting) > _LIMIT:
            self._leave_out(min(self._waiting))

    def _counted_on(self, packet: AudioPacket) -> tuple[int, int]:
        number, timestamp = self._last
        return (
            number + (packet.number - number + 0x8000) % 0x10000 - 0x8000,
            timestamp + (packet.timestamp - timestamp + 0x80000000) % 0x100000000 - 0x80000000,
        )

    def _restart(self, packet: AudioPacket) -> None:
        self._waiting.clear()
        self._settled.clear()
        self.path.restart()
        if self._ssrc is not None and self._ssrc != packet.ssrc:
            self._left.append(self._ssrc)
        self._ssrc = packet.ssrc
        self._last = packet.number, packet.timestamp
        self._due = None

    def _settle(self, number: int) -> None:
        del self._waiting[number]
        self._settled.append(number)

    def _leave_out(self, number: int) -> None:
        self._settle(number)
        self.discarded += 1

    def _catch_up(self) -> None:
        """Leaves out what waits in front of more audio than there should be."""
        numbers = sorted(self._waiting)
        behind = sum(_seconds(self._waiting[number].packet) for number in numbers[1:])
        for number, following in itertools.pairwise(numbers):
            if behind <= self.path.target + _OVERDUE:
                break
            behind -= _seconds(self._waiting[following].packet)
            self._leave_out(number)
            first = self._waiting[following]
            self._due, self._moment = first.number, first.timestamp

    def take(self, now: float) -> Step | None:
        """What is due now; None: there is nothing to play, and will not be before the time `begins_at` then."""
        if len(self._waiting) > 1:
            self._catch_up()
        while self._waiting:
            first = self._waiting[min(self._waiting)]
            if self._due is None and now < first.packet.arrival + self.path.target:
                break
            if not first.packet.duration:  # an event, or padding: it only has its place
                if first.number != self._due and now < first.packet.arrival + self.path.target:
                    break
                self._pass(first)
            else:
                return self._go_on(first, now)
        return self._wait()

    def _pass(self, first: _Waiting) -> None:
        self._settle(first.number)
        self._due = first.number + 1
        self._quiet = True

    def _delay(self, first: _Waiting, now: float) -> float:
        """How long after the fastest it could have come a packet would be played now.

        That is no less than it has waited, whatever is known of the path since another clock counts.
        """
        waited = now - first.packet.arrival
        if first.packet.clock != self._clock:
            return waited
        return max(waited, now - first.timestamp / first.packet.clock - self.path.fastest)

    def _go_on(self, first: _Waiting, now: float) -> Step:
        clock = first.packet.clock
        if self._due is None or clock != self._playing_clock:
            self._due = first.number if self._due is None else self._due
            self._moment, self._playing_clock = first.timestamp, clock
        missing = (first.timestamp - self._moment) / clock - self._filled
        delay = self._delay(first, now)
        if first.number == self._due:
            silent = first.timestamp > self._moment
            if silent and missing > _ROUNDING * _PIECE and delay < self.path.target:
                return self._fill(Act.SILENCE, min(_PIECE, missing))
            return self._play(first, delay, after_silence=silent)
        if missing <= _ROUNDING * _PIECE or delay > self.path.target + _FAR_OFF:
            return self._play(first, delay, after_silence=False)
        return self._make_up(first, missing)

    def _make_up(self, first: _Waiting, missing: float) -> Step:
        """A piece of what is missing before a packet. What comes of it from now on comes too late."""
        packet, own = first.packet, first.packet.duration / first.packet.clock
        repair = packet.repairs and missing <= own
        seconds = missing if repair else min(_PIECE, missing)
        left = missing - seconds
        self._moment = first.timestamp - round(left * packet.clock)
        self._filled = 0.0
        self._due = max(self._due or 0, first.number - math.ceil(left / own - _ROUNDING))
        return Step(
            act=Act.REPAIR if repair else Act.CONCEAL,
            seconds=seconds,
            packet=packet if repair else None,
            known_lost=True,
        )

    def _play(self, first: _Waiting, delay: float, *, after_silence: bool) -> Step:
        packet, excess = first.packet, delay - self.path.target
        self._settle(first.number)
        self._due, self._moment = first.number + 1, first.timestamp + packet.duration
        self._frame = packet.duration / packet.clock
        self._filled = 0.0
        self._quiet = packet.quiet
        return Step(
            act=Act.PLAY,
            seconds=self._frame,
            packet=packet,
            pace=self._pace(excess),
            regardless=abs(excess) >= _FAR_OFF,
            after_silence=after_silence,
        )

    def _pace(self, excess: float) -> Pace:
        self._since_stretch += 1
        if -_TOO_SHORT <= excess <= _TOO_LONG or (abs(excess) < _FAR_OFF and self._since_stretch < _EVERY):
            return Pace.EVEN
        self._since_stretch = 0
        return Pace.FASTER if excess > 0 else Pace.SLOWER

    def _wait(self) -> Step | None:
        """Nothing is there that could be played."""
        if self._filled >= _REST or (self._due is None and not self._filled and self._quiet):
            self._due, self._filled, self._quiet = None, 0.0, True
            return None
        return self._fill(Act.SILENCE if self._quiet else Act.CONCEAL, min(max(self._frame, _LEAST_PIECE), _PIECE))

    def _fill(self, act: Act, seconds: float) -> Step:
        self._filled += seconds
        return Step(act=act, seconds=seconds)
