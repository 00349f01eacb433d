"""Transport-wide feedback in RTCP: which packets of a transport arrived, and when.

draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1. Numbers are those of the header extension, 16 bits and one for each
packet of a transport; moments are ticks of 250 microseconds on the receiver's clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack_from

from attrs import frozen

TICKS = 4000  # of a second
REFERENCE = 256  # ticks, the unit of reference times (64 ms)

_RTPFB, _FMT = 205, 15
_REFERENCES = 1 << 24
_NOT_RECEIVED, _SMALL, _LARGE, _RESERVED = range(4)  # the first three are also the octets of the arrival time
_RUN_MAX = 0x1FFF
_ONE_BIT, _TWO_BIT = 14, 7  # statuses in a vector


class FeedbackError(ValueError):
    """Octets that are no transport-wide feedback."""


@frozen(kw_only=True)
class TransportFeedback:
    """What arrived of so many `packets` from the number `base` on (16 bits each).

    `arrivals`: for each that was received how many it is behind `base`, below `packets` and ascending, and the ticks since the
    reference time; the others were not received until then. `reference`: that time in units of 64 ms, 24 bits. `count`
    counts the messages, 8 bits.
    """

    sender_ssrc: int
    media_ssrc: int
    base: int
    packets: int
    reference: int
    count: int
    arrivals: tuple[tuple[int, int], ...]

    @property
    def reference_ticks(self) -> int:
        return self.reference * REFERENCE


def split_feedback(data: bytes) -> tuple[list[bytes], bytes]:
    """The transport-wide feedback in an RTCP datagram, and the rest of it. What cannot be split is all rest."""
    if _RTPFB not in data:
        return [], data
    found: list[bytes] = []
    rest: list[bytes] = []
    at = 0
    while at + 4 <= len(data):
        end = at + 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            break
        is_feedback = data[at + 1] == _RTPFB and data[at] & 0x1F == _FMT and data[at] >> 6 == 2
        (found if is_feedback else rest).append(data[at:end])
        at = end
    return (found, b"".join(rest)) if at == len(data) else ([], data)


def parse_feedback(data: bytes) -> TransportFeedback:
    """Reads one RTCP packet, in a time that follows its size, whatever it claims. Raises FeedbackError for what is none."""
    if len(data) < 20 or len(data) % 4 or data[0] & 0xDF != 0x80 | _FMT or data[1] != _RTPFB:
        raise FeedbackError("no transport-wide feedback")
    if data[0] & 0x20 and not 0 < data[-1] <= len(data) - 20:
        raise FeedbackError("bad padding")
    end = len(data) - (data[-1] if data[0] & 0x20 else 0)
    sender, media, base, packets, last = unpack_from("!LLHHL", data, 4)
    received, at = _received(data[:end], packets)
    arrivals: list[tuple[int, int]] = []
    ticks = 0
    for place, size in received:
        if at + size > end:
            raise FeedbackError("cut off in the arrival times")
        ticks += int.from_bytes(data[at : at + size], "big", signed=size == 2)
        at += size
        arrivals.append((place, ticks))
    return TransportFeedback(
        sender_ssrc=sender,
        media_ssrc=media,
        base=base,
        packets=packets,
        reference=last >> 8,
        count=last & 0xFF,
        arrivals=tuple(arrivals),
    )


def _received(data: bytes, packets: int) -> tuple[list[tuple[int, int]], int]:
    """The places of the packets that were received, each with the octets of its arrival time; and where those begin."""
    out: list[tuple[int, int]] = []
    place, at = 0, 20
    while place < packets:
        if at + 2 > len(data):
            raise FeedbackError("cut off in the packet statuses")
        chunk = int.from_bytes(data[at : at + 2], "big")
        at += 2
        if chunk & 0x8000:
            statuses = _vector(chunk)
            out += [(place + i, status) for i, status in enumerate(statuses[: packets - place]) if status]
            place += len(statuses)
        else:
            status, run = chunk >> 13, min(chunk & _RUN_MAX, packets - place)
            if status and len(out) + run > len(data) - at:  # of each one octet at least has to be there
                raise FeedbackError("cut off in the arrival times")
            out += [(one, status) for one in range(place, place + run)] if status else []
            place += run
    if any(status == _RESERVED for _, status in out):
        raise FeedbackError("a reserved packet status")
    return out, at


def _vector(chunk: int) -> list[int]:
    if chunk & 0x4000:
        return [chunk >> shift & 3 for shift in range(12, -1, -2)]
    return [chunk >> shift & 1 for shift in range(13, -1, -1)]


def write_feedback(feedback: TransportFeedback) -> bytes:
    """One RTCP packet. Raises ValueError for arrivals too far from each other: over 8 s."""
    statuses = [_NOT_RECEIVED] * feedback.packets
    deltas: list[bytes] = []
    last = 0
    for place, ticks in feedback.arrivals:
        delta, last = ticks - last, ticks
        if not -0x8000 <= delta < 0x8000:
            raise ValueError("arrivals too far from each other")
        small = 0 <= delta <= 0xFF
        statuses[place] = _SMALL if small else _LARGE
        deltas.append(delta.to_bytes(1 if small else 2, "big", signed=not small))
    body = b"".join(pack("!H", chunk) for chunk in _chunks(statuses)) + b"".join(deltas)
    missing = -len(body) % 4
    if missing:
        body += bytes(missing - 1) + bytes([missing])
    head = pack(
        "!BBHLLHHL",
        0x80 | (0x20 if missing else 0) | _FMT,
        _RTPFB,
        4 + len(body) // 4,
        feedback.sender_ssrc,
        feedback.media_ssrc,
        feedback.base,
        feedback.packets,
        feedback.reference % _REFERENCES << 8 | feedback.count & 0xFF,
    )
    return head + body


def _chunks(statuses: list[int]) -> Iterator[int]:
    """Runs where they say more than a vector, else the vector that says more."""
    at = 0
    while at < len(statuses):
        first = statuses[at]
        run = 1
        while at + run < len(statuses) and run < _RUN_MAX and statuses[at + run] == first:
            run += 1
        part = statuses[at : at + _ONE_BIT]
        if run >= _ONE_BIT or run == len(part):
            yield first << 13 | run
            at += run
        elif _LARGE not in part:
            yield 0x8000 | _packed(part, _ONE_BIT, 1)
            at += _ONE_BIT
        elif run >= _TWO_BIT:
            yield first << 13 | run
            at += run
        else:
            yield 0xC000 | _packed(part[:_TWO_BIT], _TWO_BIT, 2)
            at += _TWO_BIT


def _packed(statuses: list[int], count: int, bits: int) -> int:
    value = 0
    for place in range(count):
        value = value << bits | (statuses[place] if place < len(statuses) else 0)
    return value


def unwrapped(number: int, near: int, bits: int = 16) -> int:
    """The number nearest to `near` whose last `bits` are these."""
    half = 1 << bits - 1
    return near + (number - near + half) % (1 << bits) - half
