"""The receiver's part of transport-wide congestion control: what arrived, told to the sender."""

from __future__ import annotations

from sipproto.media.congestion._feedback import REFERENCE, TICKS, TransportFeedback, unwrapped, write_feedback

# As libwebrtc has them.
_INTERVAL = 0.05, 0.25  # seconds between two messages
_SHARE = 0.05  # of what is received, for telling of it
_MESSAGE_BITS = 8 * 68  # of a usual message with its headers
_KEPT = 0.5  # seconds that arrivals are told of again when an older packet comes late
_FAR = 4096  # numbers; one farther away than that is of something else, and all begins anew
_MOST = 8192  # numbers that are told of at once; what is farther back is left out, whatever was skipped
_AT_ONCE = 500  # packets in a message: with two octets for each, and its status, it fits into a datagram
_LONGEST_DELTA = 8 * TICKS  # 16 bits can tell


class Arrivals:
    """Remembers arrivals and writes feedback, bounded and at an interval of 50 to 250 ms that follows the bit rate.

    `now` is in seconds of a clock that only advances. A caller asks for `feedback` when `interval` seconds have passed since
    the first arrival that was not told of.
    """

    def __init__(self, sender_ssrc: int) -> None:
        self._sender_ssrc = sender_ssrc
        self._ticks: dict[int, int] = {}  # arrivals by number, counted on beyond 16 bits
        self._highest: int | None = None
        self._next = 0  # the first number to be told of
        self._count = 0
        self._media_ssrc = 0
        self._octets = 0
        self._since: float | None = None  # the first arrival that was not told of
        self.interval = _INTERVAL[0]

    def arrived(self, number: int, ssrc: int, octets: int, now: float) -> None:
        """A packet with this number (16 bits) arrived, for the first time or again."""
        highest = number if self._highest is None else unwrapped(number, self._highest)
        if self._highest is None or abs(highest - self._highest) > _FAR:
            self._ticks.clear()
            self._highest = self._next = highest
        self._highest = max(self._highest, highest)
        self._media_ssrc = ssrc
        self._octets += octets
        self._since = now if self._since is None else self._since
        if highest not in self._ticks:
            self._ticks[highest] = int(now * TICKS)
            self._next = min(self._next, highest)

    def feedback(self, now: float) -> list[bytes]:
        """RTCP packets that tell of all since the last time; none, if nothing arrived."""
        if self._highest is None or self._highest < self._next:
            return []
        out: list[bytes] = []
        start = max(self._next, self._highest + 1 - _MOST)
        while start <= self._highest:
            message, start = self._message(start, self._highest)
            if message is not None:
                out.append(message)
        self._next = self._highest + 1
        self._measure(now)
        oldest = int((now - _KEPT) * TICKS)
        self._ticks = {number: ticks for number, ticks in self._ticks.items() if ticks >= oldest}
        return out

    def _message(self, start: int, highest: int) -> tuple[bytes | None, int]:
        """What is told from a number on in one message, and where the next one begins."""
        stop = min(highest + 1, start + _AT_ONCE)
        received = [(number, ticks) for number in range(start, stop) if (ticks := self._ticks.get(number)) is not None]
        if not received:
            return None, stop
        reference = received[0][1] // REFERENCE
        origin = last = reference * REFERENCE
        arrivals: list[tuple[int, int]] = []
        for number, ticks in received:
            if abs(ticks - last) > _LONGEST_DELTA:
                stop = number
                break
            last = ticks
            arrivals.append((number - start, ticks - origin))
        self._count += 1
        message = TransportFeedback(
            sender_ssrc=self._sender_ssrc,
            media_ssrc=self._media_ssrc,
            base=start & 0xFFFF,
            packets=stop - start,
            reference=reference & 0xFFFFFF,
            count=self._count & 0xFF,
            arrivals=tuple(arrivals),
        )
        return write_feedback(message), stop

    def _measure(self, now: float) -> None:
        passed = max(now - self._since if self._since is not None else 0.0, _INTERVAL[0])
        bitrate = self._octets * 8 / passed
        self._octets, self._since = 0, None
        self.interval = min(max(_MESSAGE_BITS / (_SHARE * max(bitrate, 1.0)), _INTERVAL[0]), _INTERVAL[1])
