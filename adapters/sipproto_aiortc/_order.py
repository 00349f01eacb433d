"""Received pictures on their way to the decoder; audio is in `_playout`."""

from __future__ import annotations

from collections.abc import Callable

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from sipproto_aiortc._counters import is_key_frame

_KEY_FRAME_PATIENCE = 3.0  # seconds; a peer may refresh its picture bit by bit instead of ever sending a key frame


class VideoOrder(JitterBuffer):
    """aiortc's jitter buffer, which begins with a picture that can be decoded alone.

    `codec` is asked for the name of the codec of a payload type, `clock` for seconds; `due` is told of each frame for the
    decoder, from which those without content are kept. It `began` when it was
    made; `progress` is when a frame was complete last, at first the same.
    """

    def __init__(self, codec: Callable[[int], str], due: Callable[[bytes], object], clock: Callable[[], float]) -> None:
        super().__init__(capacity=512, is_video=True)
        self._codec = codec
        self._due = due
        self._clock = clock
        self.began = self.progress = clock()
        self.begun = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        key_frame_needed, frame = super().add(packet)
        if frame is None or not frame.data:
            return key_frame_needed, None
        now = self._clock()
        self.begun = (
            self.begun
            or is_key_frame(self._codec(packet.payload_type), frame.data) is not False
            or now > self.began + _KEY_FRAME_PATIENCE
        )
        self.progress = now
        if not self.begun:
            return key_frame_needed, None
        self._due(frame.data)
        return key_frame_needed, frame
