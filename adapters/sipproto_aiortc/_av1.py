"""The payload format of AV1 (AOMedia's "RTP Payload Format For AV1" 1.0), received, with any layers.

The dependency descriptor of layers is for those who forward; as a header extension that was not agreed on it is passed over.

An OBU may go on in the next packet, so that one packet alone is no piece of the stream: `av1_depayload` takes a payload
apart, and `av1_picture` makes a temporal unit of the parts of all its packets, one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import frozen

# The aggregation header (4.4). W, the number of elements, is 0 where each has its length.
_CONTINUES, _GOES_ON, _SEQUENCE = 0x80, 0x40, 0x08  # Z, Y, N
_COUNT_SHIFT, _COUNT_MAX = 4, 3

# The header of an OBU (AV1 5.3.2), and its types (AV1 6.2.2).
_FORBIDDEN, _EXTENSION, _SIZE = 0x80, 0x04, 0x02
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _FRAME_HEADER, _FRAME, _TILE_LIST, _PADDING = 1, 2, 3, 6, 8, 15
_LEFT_OUT = frozenset({_TEMPORAL_DELIMITER, _TILE_LIST, _PADDING})  # 5; padding says nothing
_DELIMITER = b"\x12\x00"
_NOT_KEY_FRAME = 0xE0  # show_existing_frame, and the frame type, which is 0 for a key frame (AV1 5.9.2)

_LENGTH_OCTETS = 8  # of a leb128 at most (AV1 4.10.5)
_PART_HEADER = 3  # what `_part` puts before an element


@frozen
class _Part:
    """An OBU, or a fragment of one."""

    data: bytes
    continues: bool = False
    goes_on: bool = False


def av1_depayload(payload: bytes) -> bytes:
    """The parts of a payload, for `av1_picture`. Raises ValueError for a payload that is none."""
    if not payload:
        raise ValueError("an AV1 payload is empty")
    header = payload[0]
    if header & _SEQUENCE and header & _CONTINUES:
        raise ValueError("an AV1 payload begins a sequence in the middle of an OBU")
    elements = list(_elements(payload, header >> _COUNT_SHIFT & _COUNT_MAX))
    last = len(elements) - 1
    return b"".join(
        _part(_Part(data, number == 0 and bool(header & _CONTINUES), number == last and bool(header & _GOES_ON)))
        for number, data in enumerate(elements)
    )


def av1_picture(parts: bytes) -> bytes:
    """A temporal unit in the low-overhead format; empty when there is nothing in it to decode. Raises ValueError when a
    part of it is missing, or it is none."""
    obus = [obu for obu in (_with_size(obu) for obu in _joined(_parts(parts))) if obu]
    return _DELIMITER + b"".join(obus) if obus else b""


def av1_is_key_frame(parts: bytes) -> bool:
    """Whether a temporal unit begins a coded video sequence: a sequence header, and a key frame first (AV1 7.5)."""
    sequence = False
    try:
        for part in _parts(parts):
            header = 0 if part.continues else part.data[0]
            kind = _kind(header)
            if kind == _SEQUENCE_HEADER:
                sequence = True
            elif kind in (_FRAME_HEADER, _FRAME):
                return sequence and not part.data[_content_start(part.data)] & _NOT_KEY_FRAME
    except (ValueError, IndexError):
        pass  # it is no temporal unit
    return False


# -- packets ---------------------------------------------------------------------------------------------------------------


def _elements(payload: bytes, count: int) -> Iterator[bytes]:
    position, number = 1, 0
    while position < len(payload):
        number += 1
        size = len(payload) - position
        if number != count:
            size, position = _read_leb128(payload, position)
        if not 0 < size <= len(payload) - position:
            raise ValueError("an OBU element in an AV1 payload is empty or cut off")
        yield payload[position : position + size]
        position += size
    if not number or number < count:
        raise ValueError("an AV1 payload has fewer OBU elements than it says")


# -- between packets and pictures --------------------------------------------------------------------------------------------


def _part(part: _Part) -> bytes:
    flags = (_CONTINUES if part.continues else 0) | (_GOES_ON if part.goes_on else 0)
    return bytes([flags]) + len(part.data).to_bytes(2, "big") + part.data


def _parts(data: bytes) -> Iterator[_Part]:
    """The reverse of `_part` for one after the other. Anything may be read: at a change of codec it is of another one."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + _PART_HEADER], "big")
        start = position + _PART_HEADER
        if not 0 < size <= len(data) - start:
            raise ValueError("what was received is not AV1")
        yield _Part(data[start : start + size], bool(data[position] & _CONTINUES), bool(data[position] & _GOES_ON))
        position = start + size


def _joined(parts: Iterable[_Part]) -> Iterator[bytes]:
    """Whole OBUs."""
    begun: list[bytes] = []
    for part in parts:
        if part.continues != bool(begun):
            raise ValueError("a fragment of an OBU is missing")
        begun.append(part.data)
        if not part.goes_on:
            yield b"".join(begun)
            begun.clear()
    if begun:
        raise ValueError("the end of an OBU is missing")


# -- OBUs ------------------------------------------------------------------------------------------------------------------


def _with_size(obu: bytes) -> bytes:
    """A received OBU with its size field; empty when it is to be ignored (5)."""
    header = obu[0]
    if header & _FORBIDDEN:
        raise ValueError("the header of an OBU is none")
    if _kind(header) in _LEFT_OUT:
        return b""
    content = _content(obu)
    return bytes([header | _SIZE]) + obu[1 : _header_size(header)] + _leb128(len(content)) + content


def _content(obu: bytes) -> bytes:
    """What is behind the header, and behind the size field that senders should leave out (4.5)."""
    start = _content_start(obu)
    size = _read_leb128(obu, _header_size(obu[0]))[0] if obu[0] & _SIZE else len(obu) - start
    if not 0 <= size <= len(obu) - start:
        raise ValueError("an OBU is shorter than it says")
    return obu[start : start + size]


def _content_start(obu: bytes) -> int:
    start = _header_size(obu[0])
    return _read_leb128(obu, start)[1] if obu[0] & _SIZE else start


def _kind(header: int) -> int:
    return header >> 3 & 0x0F


def _header_size(header: int) -> int:
    return 2 if header & _EXTENSION else 1


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """The value, and the position behind it. Raises ValueError when it is cut off or too long."""
    value = 0
    for number, octet in enumerate(data[position : position + _LENGTH_OCTETS]):
        value |= (octet & 0x7F) << (7 * number)
        if not octet & 0x80:
            return value, position + number + 1
    raise ValueError("a length in AV1 is cut off or too long")
