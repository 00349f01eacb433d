"""What comes out of order or not at all: received packets on their way to the decoder.

Both classes have the place of aiortc's jitter buffer and offer its method `add`: (whether a key frame is needed, a frame
that is due).
"""

from __future__ import annotations

from collections.abc import Callable

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

_KEY_FRAME_PATIENCE = 3.0  # seconds; a peer may refresh its picture bit by bit instead of ever sending a key frame
_SLICE, _IDR = 1, 5


class AudioOrder:
    """Hands packets on to `due`, in order: one in order at once, those behind a hole when they are its `depth`.

    aiortc's buffer holds back four frames always, and drops the frames it holds at every hole: a tenth lost on the way
    became four tenths lost. `depth` grows when a packet comes after its hole was given up, and shrinks again when none
    has for a while: on a path that keeps the order a loss delays less than on one that does not.
    """

    _DEPTHS = range(3, 11)  # packets: up to 200 ms of the usual 20
    _CALM = 500  # packets in a row without a late one, after which the depth shrinks by one
    _JUMP = 1000  # packets: farther ahead or behind it is another stream, not another order

    def __init__(self, due: Callable[[RtpPacket], object]) -> None:
        self._due = due
        self._waiting: dict[int, RtpPacket] = {}  # by sequence number, counted on beyond 16 bits
        self._given_up: set[int] = set()
        self._next: int | None = None
        self._calm = 0
        self.depth = self._DEPTHS[0]

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        if self._next is None:
            self._next = packet.sequence_number
        ahead = (packet.sequence_number - self._next + 0x8000) % 0x10000 - 0x8000
        if abs(ahead) > self._JUMP:
            self._waiting.clear()
            self._given_up.clear()
            self._next, ahead = packet.sequence_number, 0
        number = self._next + ahead
        if ahead < 0:
            self._late(number)
            return False, None
        self._waiting[number] = packet
        self._keep_calm()
        while self._waiting and (self._next in self._waiting or len(self._waiting) >= self.depth):
            first = min(self._waiting)
            self._given_up.update(range(self._next, first))
            self._next = first + 1
            self._due(self._waiting.pop(first))
        return False, None

    def _late(self, number: int) -> None:
        if number in self._given_up:  # or else it comes a second time
            self._given_up.discard(number)
            self._calm = 0
            self.depth = min(self.depth + 1, self._DEPTHS[-1])

    def _keep_calm(self) -> None:
        self._calm += 1
        if self._calm < self._CALM:
            return
        self._calm = 0
        self._given_up.clear()  # they are lost
        self.depth = max(self.depth - 1, self._DEPTHS[0])


class VideoOrder(JitterBuffer):
    """aiortc's, which begins with a picture that can be decoded alone.

    `codec` is asked for the name of the codec of a payload type, `clock` for seconds. It `began` when it was
    made; `progress` is when a frame was complete last, at first the same.
    """

    def __init__(self, codec: Callable[[int], str], clock: Callable[[], float]) -> None:
        super().__init__(capacity=512, is_video=True)
        self._codec = codec
        self._clock = clock
        self.began = self.progress = clock()
        self.begun = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        key_frame_needed, frame = super().add(packet)
        if frame is None:
            return key_frame_needed, None
        now = self._clock()
        self.begun = (
            self.begun
            or is_key_frame(self._codec(packet.payload_type), frame.data) is not False
            or now > self.began + _KEY_FRAME_PATIENCE
        )
        self.progress = now
        return key_frame_needed, frame if self.begun else None


def is_key_frame(codec: str, data: bytes) -> bool | None:
    """Whether a whole encoded frame can be decoded alone; None for a codec that this cannot be told of.

    VP8: the first bit of the frame tag, and the start code behind it (RFC 6386 9.1): the rest of a frame whose beginning
    is missing has none. H.264: an IDR slice comes before any other (H.264 table 7-1).
    """
    match codec.lower():
        case "vp8":
            return data[3:6] == b"\x9d\x01\x2a" and not data[0] & 1
        case "h264":
            return _first_slice(data) == _IDR
        case _:
            return None


def _first_slice(data: bytes) -> int | None:
    """The type of the first slice in a frame of NAL units with start codes."""
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        kind = data[at + 3] & 0x1F
        if kind in (_SLICE, _IDR):
            return kind
        at = data.find(b"\0\0\1", at + 3)
    return None
