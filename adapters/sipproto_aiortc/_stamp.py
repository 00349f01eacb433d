"""Header extensions that only the moment of leaving knows, written into RTP packets of ours that are otherwise done."""

from __future__ import annotations

from collections.abc import Iterator

from sipproto_aiortc._counters import header_size

_ONE_BYTE, _TWO_BYTE = 0xBEDE, 0x1000  # RFC 8285 4.2, 4.3
_LONGEST = 16  # octets of a value, and the highest id, that a header of one byte can tell
_HIGHEST = 14


def send_time(now: float) -> int:
    """The 24 bits of abs-send-time: 6 of seconds, 18 of their fractions. `now`: seconds since 1970, as good as NTP's here."""
    return int(now * (1 << 18)) & 0xFFFFFF


def stamped(packet: bytes, *, time_id: int | None, time: int, number_id: int | None, number: int) -> bytes:
    """An RTP packet with its number in the transport put in, and with its abs-send-time, where it has one, set.

    The ids are those of the header extensions; None: not agreed on.
    """
    begin, end = 12 + 4 * (packet[0] & 0x0F), header_size(packet)
    elements = list(_elements(packet, begin, end)) if packet[0] & 0x10 else []
    elements = [(ident, time.to_bytes(3, "big") if ident == time_id else value) for ident, value in elements]
    if number_id is not None:
        elements.append((number_id, number.to_bytes(2, "big")))
    if not elements:
        return packet
    if all(ident <= _HIGHEST and 0 < len(value) <= _LONGEST for ident, value in elements):
        profile, block = _ONE_BYTE, b"".join(bytes([ident << 4 | len(value) - 1]) + value for ident, value in elements)
    else:
        profile, block = _TWO_BYTE, b"".join(bytes([ident, len(value)]) + value for ident, value in elements)
    block += bytes(-len(block) % 4)
    head = profile.to_bytes(2, "big") + (len(block) // 4).to_bytes(2, "big")
    return b"".join((bytes([packet[0] | 0x10]), packet[1:begin], head, block, packet[end:]))


def _elements(packet: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The header extensions of a packet: ids and values."""
    one_byte = int.from_bytes(packet[begin : begin + 2], "big") == _ONE_BYTE
    at = begin + 4
    while at < end:
        first = packet[at]
        at += 1
        if not first:
            continue  # padding
        if one_byte:
            ident, size = first >> 4, (first & 0x0F) + 1
        else:
            ident, size = first, packet[at]
            at += 1
        yield ident, packet[at : at + size]
        at += size
