"""Payload formats of VP8 (RFC 7741) and H.264 (RFC 6184): encoded pictures into RTP payloads."""

from __future__ import annotations

from collections.abc import Iterator

PAYLOAD_MAX = (
    1200  # octets; leaves room for header extensions, SRTP, TURN and tunnels in a path of 1500 or of 1280 with UDP
)

_STAP_A, _FU_A = 24, 28  # RFC 6184 5.4


def vp8_payloads(picture: bytes, picture_id: int) -> list[bytes]:
    """With a 15-bit picture id (RFC 7741 4.2); partitions are not told apart, so that all is in partition 0."""
    extension = b"\x80" + (0x8000 | picture_id).to_bytes(2, "big")
    room = PAYLOAD_MAX - 1 - len(extension)
    return [
        (b"\x90" if start == 0 else b"\x80") + extension + picture[start : start + room]
        for start in range(0, len(picture), room)
    ]


def h264_payloads(picture: bytes, *, single: bool) -> list[bytes]:
    """`picture` in byte stream format. `single`: packetization mode 0, one NAL unit in a packet (RFC 6184 6.2), whose units the
    encoder has to keep small enough; else mode 1, with STAP-A and FU-A (6.3)."""
    if single:
        return list(nal_units(picture))
    payloads: list[bytes] = []
    together: list[bytes] = []
    for unit in nal_units(picture):
        if together and _aggregated_size([*together, unit]) > PAYLOAD_MAX:
            payloads.append(_aggregated(together))
            together = []
        if len(unit) > PAYLOAD_MAX:
            payloads += _fragments(unit)
        else:
            together.append(unit)
    return [*payloads, _aggregated(together)] if together else payloads


def nal_units(stream: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream (ITU-T H.264 B.1), without start codes and the zeros before them."""
    start = stream.find(b"\x00\x00\x01")
    while start >= 0:
        end = stream.find(b"\x00\x00\x01", start + 3)
        unit = stream[start + 3 : end if end >= 0 else len(stream)].rstrip(b"\x00")
        if unit:
            yield unit
        start = end


def _aggregated_size(units: list[bytes]) -> int:
    return 1 + sum(2 + len(unit) for unit in units)


def _aggregated(units: list[bytes]) -> bytes:
    """STAP-A (RFC 6184 5.7.1), or the one unit as it is."""
    if len(units) == 1:
        return units[0]
    forbidden = max(unit[0] & 0x80 for unit in units)
    importance = max(unit[0] & 0x60 for unit in units)
    return bytes([forbidden | importance | _STAP_A]) + b"".join(len(u).to_bytes(2, "big") + u for u in units)


def _fragments(unit: bytes) -> list[bytes]:
    """FU-A (RFC 6184 5.8)."""
    room = PAYLOAD_MAX - 2
    starts = range(1, len(unit), room)
    indicator, kind = unit[0] & 0xE0 | _FU_A, unit[0] & 0x1F
    return [
        bytes([indicator, kind | (0x80 if start == 1 else 0) | (0x40 if start == starts[-1] else 0)])
        + unit[start : start + room]
        for start in starts
    ]
