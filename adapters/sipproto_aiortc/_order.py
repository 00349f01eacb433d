"""Received pictures on their way to the decoder; audio is in `_playout`."""

from __future__ import annotations

from collections.abc import Callable

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from sipproto_aiortc._counters import is_key_frame

_KEY_FRAME_PATIENCE = 3.0  # seconds; a peer may refresh its picture bit by bit instead of ever sending a key frame


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
