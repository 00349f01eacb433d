"""Header extensions that only the moment of leaving knows, written into RTP packets that are otherwise done."""

from __future__ import annotations

from sipproto_aiortc._counters import header_size

_ONE_BYTE, _TWO_BYTE = 0xBEDE, 0x1000  # RFC 8285 4.2, 4.3
_LONGEST_ONE_BYTE_ID = 14


def send_time(now: float) -> int:
    """The 24 bits of abs-send-time: 6 of seconds, 18 of their fractions. `now`: seconds since 1970, as good as NTP's here."""
    return int(now * (1 << 18)) & 0xFFFFFF


def stamped(packet: bytes, *, time_id: int | None, time: int, number_id: int | None, number: int) -> bytes:
    """An RTP packet with its number in the transport put in, and with its abs-send-time, where it has one, set.

    The ids are those of the header extensions; None: not agreed on.
    """
    out, limit = bytearray(packet), header_size(packet)
    begin = 12 + 4 * (out[0] & 0x0F)
    if not out[0] & 0x10:
        if number_id is None:
            return packet
        out[0] |= 0x10
        out[begin:begin] = (_ONE_BYTE if number_id <= _LONGEST_ONE_BYTE_ID else _TWO_BYTE).to_bytes(2, "big") + bytes(2)
        limit += 4
    one_byte = int.from_bytes(out[begin : begin + 2], "big") == _ONE_BYTE
    end = _set_time(out, begin + 4, limit, one_byte, time_id, time)
    if number_id is None:
        return bytes(out)
    head = bytes([number_id << 4 | 1]) if one_byte else bytes([number_id, 2])
    element = head + number.to_bytes(2, "big")
    size = end - begin - 4 + len(element)
    out[end:limit] = element + bytes(-size % 4)
    out[begin + 2 : begin + 4] = ((size + 3) // 4).to_bytes(2, "big")
    return bytes(out)


def _set_time(out: bytearray, at: int, limit: int, one_byte: bool, time_id: int | None, time: int) -> int:
    """Writes the time into its element, if it is there; gives where the elements end and the padding begins."""
    end = at
    while at < limit:
        if out[at] == 0:
            at += 1
            continue
        ident, size, head = (out[at] >> 4, (out[at] & 0x0F) + 1, 1) if one_byte else (out[at], out[at + 1], 2)
        if ident == time_id and size == 3:
            out[at + head : at + 4 + head - 1] = time.to_bytes(3, "big")
        at += head + size
        end = at
    return end
