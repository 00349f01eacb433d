"""The payload format of VP9 (RFC 9628): non-flexible mode, one layer when sending; any layers when receiving."""

from __future__ import annotations

from sipproto_aiortc._payload import PAYLOAD_MAX

# The first octet of the payload descriptor (RFC 9628 4.2).
_PICTURE_ID, _PREDICTED, _LAYERS, _FLEXIBLE, _START, _END, _STRUCTURE = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02
_MORE_REFERENCES = 0x01  # N, with each P_DIFF
_RESOLUTIONS, _GROUP = 0x10, 0x08  # Y and G of the scalability structure (4.2.1)


def vp9_payloads(picture: bytes, picture_id: int, *, key_frame: bool) -> list[bytes]:
    """Each with a 15-bit picture id."""
    room = PAYLOAD_MAX - 3
    common = _PICTURE_ID | (0 if key_frame else _PREDICTED)
    identity = (0x8000 | picture_id).to_bytes(2, "big")
    starts = range(0, len(picture), room)
    return [
        bytes([common | (_START if start == 0 else 0) | (_END if start == starts[-1] else 0)])
        + identity
        + picture[start : start + room]
        for start in starts
    ]


def vp9_depayload(payload: bytes) -> bytes:
    """The payload without its descriptor. Raises ValueError when that is cut off or invalid."""
    reader = _Reader(payload)
    flags = reader.octet()
    if flags & _PICTURE_ID and reader.octet() & 0x80:
        reader.octet()
    if flags & _LAYERS:
        reader.octet()
        if not flags & _FLEXIBLE:
            reader.octet()  # TL0PICIDX
    if flags & _FLEXIBLE and flags & _PREDICTED:
        for _ in range(3):
            if not reader.octet() & _MORE_REFERENCES:
                break
        else:
            raise ValueError("a VP9 payload names more than three references")
    if flags & _STRUCTURE:
        _skip_structure(reader)
    return reader.rest()


def _skip_structure(reader: _Reader) -> None:
    structure = reader.octet()
    if structure & _RESOLUTIONS:
        reader.skip(4 * ((structure >> 5) + 1))
    if structure & _GROUP:
        for _ in range(reader.octet()):
            reader.skip((reader.octet() >> 2) & 3)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def octet(self) -> int:
        self.skip(1)
        return self._data[self._position - 1]

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > len(self._data):
            raise ValueError("a VP9 payload descriptor is cut off")

    def rest(self) -> bytes:
        return self._data[self._position :]
