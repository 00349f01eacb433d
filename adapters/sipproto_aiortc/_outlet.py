"""The way out of a transport: pictures are paced, packets numbered, and what the peer tells of them obeyed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import define, field

from sipproto.media import START_BITRATE
from sipproto.media.congestion import (
    CongestionController,
    FeedbackError,
    Pacer,
    Priority,
    Probe,
    parse_feedback,
)
from sipproto_aiortc._counters import Octets, header_size
from sipproto_aiortc._stamp import send_time, stamped

_HEADERS = 28 + 16  # octets of IPv4, UDP and the tag of SRTP around each packet
_PICTURES = (
    0.01  # seconds between two at the least; small ones leave packet by packet, and each would seem to begin one
)
_PADDED = 0x20  # in the first octet of a packet: of ours one that is nothing but padding


@define
class Flow:
    """What leaves on an SSRC; nothing is let in while it is not `open`. `rewrite` may put another packet in place of one.

    `priority`: of pictures, which are paced; None: it leaves at once. `time_id` and `number_id`: the header extensions that
    are written when a packet leaves.
    """

    open: bool = False
    sent: Octets = field(factory=Octets)
    padding: Octets = field(factory=Octets)  # the part of it that is nothing but padding, for a probe
    frames: int = 0  # of video: packets with the marker, which are last of one
    delay: float = 0.0  # seconds that all packets together waited to leave
    rewrite: Callable[[bytes], bytes] | None = None
    priority: Priority | None = None
    time_id: int | None = None
    number_id: int | None = None


@define
class _Packet:
    flow: Flow
    data: bytes
    since: float  # when it came


class PictureSender(Protocol):
    """A sender of video, as what paces it knows it. Bit rates in bits per second."""

    @property
    def wanted_bitrate(self) -> int:
        """That it would send if the path took everything; 0: it sends nothing."""
        ...

    @property
    def target_bitrate(self) -> int:
        """That it sends."""
        ...

    @property
    def can_pad(self) -> bool:
        """Whether it may send packets of no use to the peer."""
        ...

    def path(self, bitrate: int | None, *, probed: bool) -> None:
        """So much is there for it; None: that is not known."""
        ...

    async def pad(self) -> None:
        """Sends a packet of padding."""
        ...


class Outlet:
    """Lets packets out by `send`. Media thread only; nothing of it runs while nothing waits."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._pacer: Pacer[_Packet] = Pacer(START_BITRATE)
        self._senders: list[PictureSender] = []
        self._leaving = asyncio.Lock()  # one at a time, so that the order stays whatever `send` waits for
        self._closed = False
        self._looked = -math.inf  # when it was decided how fast packets may leave
        self._task: asyncio.Task[None] | None = None
        self._hurrying: asyncio.Task[None] | None = None
        self._controller: CongestionController | None = None
        self.malformed = 0  # feedback that could not be read

    # -- who sends ---------------------------------------------------------------------------------------------------

    def add(self, sender: PictureSender) -> None:
        self._senders.append(sender)

    def remove(self, sender: PictureSender) -> None:
        if sender in self._senders:
            self._senders.remove(sender)

    def number(self) -> None:
        """Transport-wide feedback is agreed on from now on."""
        if self._controller is None:
            self._controller = CongestionController()
        self._share(self._controller)

    @property
    def estimate(self) -> float | None:
        """Bits per second that the path takes, by the peer's feedback; None: there was none."""
        controller = self._controller
        return float(controller.estimate) if controller is not None and controller.has_feedback else None

    # -- packets -----------------------------------------------------------------------------------------------------

    async def put(self, flow: Flow, packet: bytes) -> None:
        """An RTP packet: leaves now, or when its turn comes."""
        if self._closed:
            return
        now = time.monotonic()
        waiting = _Packet(flow, packet, now)
        if flow.priority is None:
            await self._leave(waiting, now)
            return
        if not len(self._pacer) and now - self._looked >= _PICTURES:  # a picture begins
            self._look(now)
        self._pacer.push(waiting, len(packet) + _HEADERS, flow.priority, now)
        if self._task is None and not self._leaving.locked():
            await self._begin()

    async def _begin(self) -> None:
        """Lets out what may leave now; the rest follows by itself."""
        await self._drain()
        if self._task is None and not self._closed and self._pacer.due(time.monotonic()) is not None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Lets out what waits, and ends with it."""
        try:
            while (due := self._pacer.due(time.monotonic())) is not None:
                await asyncio.sleep(due)
                await self._drain()
                if self._pacer.pads(time.monotonic()):
                    await self._pad()
        finally:
            self._task = None

    async def _drain(self) -> None:
        """Lets out what may leave now."""
        async with self._leaving:
            while (entry := self._pacer.pop(now := time.monotonic())) is not None:
                packet, probe = entry
                await self._leave(packet, now, probe)

    async def _pad(self) -> None:
        sender = next((sender for sender in self._senders if sender.can_pad), None)
        if sender is not None:
            await sender.pad()  # comes back to `put`, and so to the queue
        if not len(self._pacer):
            self._pacer.can_pad = False

    async def _leave(self, waiting: _Packet, now: float, probe: Probe | None = None) -> None:
        flow, packet = waiting.flow, waiting.data
        payload = len(packet) - header_size(packet)
        controller = self._controller if flow.number_id is not None else None
        number = 0
        if controller is not None:
            pictures = None if flow.priority is None else payload
            number = controller.sent(len(packet) + _HEADERS, now, payload=pictures, probe=probe)
        if controller is not None or flow.time_id is not None:
            number_id = flow.number_id if controller is not None else None
            packet = stamped(
                packet, time_id=flow.time_id, time=send_time(time.time()), number_id=number_id, number=number
            )
        flow.frames += packet[1] >> 7
        flow.sent.add(0 if packet[0] & _PADDED else payload, len(packet))
        if packet[0] & _PADDED:
            flow.padding.add(0, len(packet))
        flow.delay += now - waiting.since
        await self._send(packet)

    def hurry(self) -> None:
        """A line is to send no more: what it had sent leaves now."""
        self._pacer.hurry(time.monotonic())
        if len(self._pacer) and (self._hurrying is None or self._hurrying.done()):
            self._hurrying = asyncio.create_task(self._begin())

    def close(self) -> None:
        """Forgets what waits, and takes nothing any more."""
        self._closed = True
        self._pacer.clear()
        for task in (self._task, self._hurrying):
            if task is not None:
                task.cancel()

    # -- how fast ----------------------------------------------------------------------------------------------------

    def receive(self, feedback: list[bytes]) -> None:
        """The transport-wide feedback of an RTCP datagram. What cannot be read is counted and says nothing."""
        if self._controller is None:
            return
        now = time.monotonic()
        for one in feedback:
            try:
                self._controller.feedback(parse_feedback(one), now)
            except FeedbackError:
                self.malformed += 1
        self._share(self._controller)
        self._look(now)

    def _share(self, controller: CongestionController) -> None:
        """Tells each sender what is there for it: in proportion to what it would send."""
        wanted = [sender.wanted_bitrate for sender in self._senders]
        total, there, probed = sum(wanted), controller.for_pictures, controller.take_probed()
        for sender, part in zip(self._senders, wanted, strict=True):
            if part or not total:
                sender.path(there * part // total if total else there // len(wanted), probed=probed)

    def _look(self, now: float) -> None:
        """How fast packets may leave now, and whether to probe."""
        self._looked = now
        target = sum(sender.target_bitrate for sender in self._senders)
        controller = self._controller
        if controller is not None:
            controller.want(sum(sender.wanted_bitrate for sender in self._senders), now)
            if probes := controller.take_probes():
                self._pacer.probe(probes)
            target = max(target, controller.estimate)
            if controller.is_silent(now):
                for sender in self._senders:
                    sender.path(None, probed=False)
        self._pacer.bitrate = target or START_BITRATE
        self._pacer.can_pad = any(sender.can_pad for sender in self._senders)
