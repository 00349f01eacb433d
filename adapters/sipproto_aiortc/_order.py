"""What comes out of order or not at all: received packets on their way to the decoder.

Both classes have the place of aiortc's jitter buffer and offer its method `add`: (whether a key frame is needed, a frame
that is due).
"""

from __future__ import annotations

from collections.abc import Callable

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from sipproto_aiortc._counters import is_key_frame

_KEY_FRAME_PATIENCE = 3.0  # seconds; a peer may refresh its picture bit by bit instead of ever sending a key frame


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
    """aiortc's, which begins with a picture that can be decoded alone, and does not wait for the packet after a picture.

    aiortc's knows that a frame is complete by the next one, so that each is shown a frame too late, the last one before a
    pause never, and it gives one frame for a packet, even when that closes a hole before several.

    `codec` is asked for the name of the codec of a payload type, `clock` for seconds; `due` gets the payload type and the
    content of each frame for the decoder, and its timestamp. It `began` when it was made; `progress` is when a frame was
    complete last, at first the same.
    """

    def __init__(
        self, codec: Callable[[int], str], due: Callable[[int, JitterFrame], object], clock: Callable[[], float]
    ) -> None:
        super().__init__(capacity=512, is_video=True)
        self._codec = codec
        self._due = due
        self._clock = clock
        self.began = self.progress = clock()
        self.begun = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        key_frame_needed, _ = super().add(packet)
        while packets := self._complete():
            self.remove(len(packets))
            data = b"".join(vars(part)["_data"] for part in packets)  # where aiortc puts what it depayloads
            if data:  # else it was padding
                self._pass_on(packets[0].payload_type, JitterFrame(data, packets[0].timestamp))
        return key_frame_needed, None

    def _remove_frame(self, sequence_number: int) -> None:
        """aiortc's `add` asks for the frame that is due; ours does that itself."""

    def _complete(self) -> list[RtpPacket]:
        """The packets of the first frame, when all are there: up to the marker or, from who sets none, another timestamp."""
        packets: list[RtpPacket] = []
        for count in range(self.capacity):
            packet = self._packets[((self._origin or 0) + count) % self.capacity]
            if packet is None:
                return []
            if packets and packet.timestamp != packets[0].timestamp:
                return packets
            packets.append(packet)
            if packet.marker:
                return packets
        return []

    def _pass_on(self, payload_type: int, frame: JitterFrame) -> None:
        now = self._clock()
        self.begun = (
            self.begun
            or is_key_frame(self._codec(payload_type), frame.data) is not False
            or now > self.began + _KEY_FRAME_PATIENCE
        )
        self.progress = now
        if self.begun:
            self._due(payload_type, frame)
