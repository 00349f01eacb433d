"""DTMF digits in RTP (RFC 4733): sent in place of the audio, and heard beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import pack_into, unpack_from

from aiortc.rtp import RtpPacket
from attrs import define

from sipproto.sdp import Codec
from sipproto_aiortc._clock import Clock, Timer
from sipproto_aiortc._counters import header_size

_LAST_DIGIT = 15  # events above are no digits, e.g. 16, a hook flash (RFC 4733 3.2)
_VOLUME = 10  # below 0 dBm0
_END = 0x80
_REPEAT = 3  # times that the last packet of an event, or of a segment of it, is sent (2.5.1.4)
_LONGEST = 0xFFFF  # units of a segment (2.5.1.3)
_WAITING = 16  # digits that may wait for the one being sent
_PATIENCE = 2.0  # seconds beyond an event's duration until it has to be through
_SHORTEST, _LONGEST_EVENT = 40, 60_000  # milliseconds
_SILENCE = 0.1  # seconds without an update after which an event is over, or three updates (2.5.2.2)
_LONGEST_SILENCE = 0.5
_DONE = 16  # events that are over, whose late packets are known
_MOST = 30  # digits a second: nobody dials faster, and a flood of them must not reach the application


def is_event(codec: Codec) -> bool:
    return codec.name.lower() == "telephone-event"


@define
class _Sent:
    """An event under way. Timestamps and durations are RTP units of `clock`, those of audio units of `audio_clock`."""

    event: int
    wanted: int
    payload_type: int
    clock: int
    audio_clock: int
    step: int
    through: asyncio.Future[None]
    origin: int | None = None  # the timestamp of the audio when it began
    segment: int = 0  # units before the present segment
    repeats: int = 0  # of the last packet of the event, or of the segment
    sent: int = 0


class DigitSender:
    """Sends digits, one at a time, by rewriting the audio packets of a line (`rewrite`). Media thread only.

    Sequence numbers, SSRC and header extensions stay those of the audio, which so goes on without a hole.
    """

    def __init__(self) -> None:
        self._event: _Sent | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed: str | None = "the line sends nothing now"

    async def send(self, event: int, duration: int, codec: Codec, audio: Codec) -> None:
        """Returns when the last packet has left. Raises ValueError for what is no digit, RuntimeError when it cannot be sent.

        duration: milliseconds, 40 to 60000. codec: the telephone-event; audio: what the line is sent with.
        """
        if not 0 <= event <= _LAST_DIGIT or not _SHORTEST <= duration <= _LONGEST_EVENT:
            raise ValueError(f"no digit: event {event} of {duration} ms")
        if not is_event(codec):
            raise ValueError(f"digits are not sent with {codec.name}")
        if self._waiting >= _WAITING:
            raise RuntimeError("too many digits wait to be sent")
        self._waiting += 1
        try:
            async with self._turn:
                await self._send(event, duration, codec, audio.clock_rate)
        finally:
            self._waiting -= 1

    async def _send(self, event: int, duration: int, codec: Codec, audio_clock: int) -> None:
        if self._closed is not None:
            raise RuntimeError(self._closed)
        through: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._event = _Sent(
            event=event,
            wanted=duration * codec.clock_rate // 1000,
            payload_type=codec.payload_type,
            clock=codec.clock_rate,
            audio_clock=audio_clock,
            step=codec.clock_rate // 50,
            through=through,
        )
        try:
            async with asyncio.timeout(duration / 1000 + _PATIENCE):
                await through
        except TimeoutError:
            raise RuntimeError("the line sends no audio in place of which a digit could go") from None
        finally:
            self._event = None

    @property
    def busy(self) -> bool:
        """Whether a digit is being sent, for which audio packets are needed."""
        return self._event is not None and not self._event.through.done()

    def open(self) -> None:
        """The line sends from now on."""
        self._closed = None

    def close(self, reason: str) -> None:
        """The line sends nothing any more: what is under way, and what waits, fails for this reason."""
        self._closed = reason
        if self._event is not None and not self._event.through.done():
            self._event.through.set_exception(RuntimeError(reason))

    def rewrite(self, data: bytes) -> bytes:
        """An audio packet, or what is sent in its place."""
        event = self._event
        if event is None or not self.busy:
            return data
        (timestamp,) = unpack_from("!L", data, 4)
        if event.origin is None:
            event.origin = timestamp
        passed = (timestamp - event.origin) % (1 << 32) * event.clock // event.audio_clock + event.step
        duration = min(passed, event.wanted) - event.segment
        out = bytearray(data[: header_size(data)] + bytes(4))
        out[0] &= ~0x20  # without padding
        out[1] = event.payload_type | (0x80 if event.sent == 0 else 0)
        is_last, ends = event.segment + _LONGEST >= event.wanted, duration >= _LONGEST or passed >= event.wanted
        flags = _VOLUME | (_END if is_last and ends else 0)
        pack_into("!L", out, 4, (event.origin + event.segment) % (1 << 32))
        pack_into("!BBH", out, len(out) - 4, event.event, flags, min(duration, _LONGEST))
        event.sent += 1
        if ends:
            event.repeats += 1
            if event.repeats == _REPEAT and is_last:
                event.through.set_result(None)
            elif event.repeats == _REPEAT:
                event.segment, event.repeats = event.segment + _LONGEST, 0
        return bytes(out)


@define
class _Heard:
    """An event under way. Timestamps and durations are RTP units of `clock`."""

    event: int
    ssrc: int
    timestamp: int
    clock: int
    duration: int
    silence: Timer
    before: int = 0  # units in the segments before


class DigitReceiver:
    """Hears digits in the packets of a line and tells of each one once, when it ends. Media thread only.

    `heard` gets the event and its duration in milliseconds. What is no digit is ignored.
    """

    def __init__(self, heard: Callable[[int, int], object], clock: Clock) -> None:
        self._heard = heard
        self._clock = clock
        self._event: _Heard | None = None
        self._last: _Heard | None = None  # that which is over
        self._done: deque[tuple[int, int]] = deque(maxlen=_DONE)
        self._told: deque[float] = deque(maxlen=_MOST)

    def receive(self, packet: RtpPacket, codec: Codec) -> None:
        """A packet of the payload type of telephone-event."""
        if len(packet.payload) < 4:
            return
        event, flags, duration = unpack_from("!BBH", packet.payload)
        key = packet.ssrc, packet.timestamp
        if event > _LAST_DIGIT or key in self._done:
            return
        current = self._event
        if current is not None and key != (current.ssrc, current.timestamp):
            if current.ssrc == packet.ssrc and (packet.timestamp - current.timestamp) % (1 << 32) >= 1 << 31:
                return  # late, of an event before
            if not self._continues(current, packet, event):
                self.finish()
                current = None
            else:
                self._done.append((current.ssrc, current.timestamp))
                current.before += _LONGEST
                current.timestamp, current.duration = packet.timestamp, 0
        if current is None and self._last is not None and self._continues(self._last, packet, event):
            self._last.timestamp = packet.timestamp  # of an event that was held to be over
            self._done.append(key)
            return
        if current is None:
            current = self._event = _Heard(
                event=event,
                ssrc=packet.ssrc,
                timestamp=packet.timestamp,
                clock=codec.clock_rate,
                duration=0,
                silence=self._ends_in(_LONGEST_SILENCE),
            )
        elif current.event != event:
            return  # one timestamp, two events: nobody can tell what is meant
        self._updated(current, duration)
        if flags & _END:
            self.finish()

    @staticmethod
    def _continues(current: _Heard, packet: RtpPacket, event: int) -> bool:
        """Whether it is the next segment of the same event (RFC 4733 2.5.1.3)."""
        adjoins = packet.timestamp == (current.timestamp + _LONGEST) % (1 << 32)
        return adjoins and event == current.event and packet.ssrc == current.ssrc and not packet.marker

    def _updated(self, current: _Heard, duration: int) -> None:
        step = (duration - current.duration) / current.clock
        current.duration = max(current.duration, duration)
        current.silence.cancel()
        patience = min(max(_SILENCE, 3 * step), _LONGEST_SILENCE)
        current.silence = self._ends_in(patience)

    def _ends_in(self, seconds: float) -> Timer:
        return self._clock.call_at(self._clock.time() + seconds, self.finish)

    def finish(self) -> None:
        """The event under way is over: it ended, another began, its packets stopped, or the line did."""
        event, self._event = self._event, None
        if event is None:
            return
        event.silence.cancel()
        self._last = event
        self._done.append((event.ssrc, event.timestamp))
        now = self._clock.time()
        if len(self._told) < _MOST or now - self._told[0] > 1:
            self._told.append(now)
            self._heard(event.event, round((event.before + event.duration) * 1000 / event.clock))
