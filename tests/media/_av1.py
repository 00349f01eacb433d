"""AV1 as peers send it: a recorded stream, and its temporal units as RTP payloads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sipproto_aiortc._payload import PAYLOAD_MAX

_DELIMITER = b"\x12\x00"
_LEFT_OUT = (2, 8, 15)  # temporal delimiters, tile lists, padding


def recorded() -> list[bytes]:
    """Six pictures of 320x180 and six of 160x90, moving; of each size the first is a key frame."""
    stream = Path(__file__).with_name("av1.obu").read_bytes()
    return [_DELIMITER + unit for unit in stream.split(_DELIMITER)[1:]]


def payloads(unit: bytes, *, key_frame: bool) -> list[bytes]:
    """A temporal unit with size fields, packed as tightly as it gets."""
    packets: list[list[tuple[bytes, bool, bool]]] = [[]]
    room = PAYLOAD_MAX - 1
    for obu in _without_sizes(unit):
        start = 0
        while start < len(obu):
            if room < 10:
                packets.append([])
                room = PAYLOAD_MAX - 1
            end = min(len(obu), start + room - 2)
            packets[-1].append((obu[start:end], start > 0, end < len(obu)))
            room -= end - start + 2
            start = end
    return [_packet(elements, key_frame and number == 0) for number, elements in enumerate(packets) if elements]


def _packet(elements: list[tuple[bytes, bool, bool]], begins: bool) -> bytes:
    count = len(elements) if len(elements) < 4 else 0
    header = elements[0][1] << 7 | elements[-1][2] << 6 | count << 4 | begins << 3
    out = bytes([header])
    for number, (data, _, _) in enumerate(elements, 1):
        out += data if number == count else _length(len(data)) + data
    return out


def _without_sizes(unit: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(unit):
        start = position + (2 if unit[position] & 4 else 1)
        size = shift = 0
        content = start
        while True:
            size |= (unit[content] & 0x7F) << shift
            content, shift = content + 1, shift + 7
            if not unit[content - 1] & 0x80:
                break
        if unit[position] >> 3 & 15 not in _LEFT_OUT:
            yield bytes([unit[position] & ~2]) + unit[position + 1 : start] + unit[content : content + size]
        position = content + size


def _length(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 0x7F | 0x80, value >> 7])
