"""One media line of a call: its sender, its receiver, and what stands at either end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from aiortc import MediaStreamError
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from av import AudioFrame, AudioResampler, VideoFrame
from av.frame import Frame

from sipproto.agent.media import LineStats
from sipproto.negotiation import MediaLine
from sipproto_aiortc._analysis import analyse_audio, mean_color
from sipproto_aiortc._mixer import MixerMember
from sipproto_aiortc._rtp import Receiver, Reception, Sender, sending_codec
from sipproto_aiortc._setup import MediaSetup, audio_producer, video_producer
from sipproto_aiortc._sinks import Null, Recorder
from sipproto_aiortc._sources import FRAME_SAMPLES, SAMPLE_RATE, EchoSource, FrameBuffer, LatestFrame, samples_of
from sipproto_aiortc._tracks import AudioTrack, VideoTrack
from sipproto_aiortc._transport import DtlsTransport, Flow

_log = logging.getLogger("sipproto.media")
_STOP_TIMEOUT = 2.0
_WINDOW_FRAMES = 60  # enough for half a second of frames of 10 ms; the analysis takes what it needs


class Line:
    """Brings about what is agreed on a line. All methods run on the media thread, one at a time."""

    def __init__(
        self,
        transport: DtlsTransport,
        agreed: MediaLine,
        cname: str,
        recorder: Recorder | None,
        member: MixerMember | None,
    ) -> None:
        self.transport = transport
        self.agreed = agreed
        self._cname = cname
        self._recorder = recorder
        self._member = member
        self._setup: MediaSetup | None = None
        self._flow = Flow()
        self._sender: Sender | None = None
        self._track: AudioTrack | VideoTrack = AudioTrack() if agreed.kind == "audio" else VideoTrack()
        self._receiver: Receiver | None = None
        self._connected = False
        self._recovering: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._reception = Reception()
        self._echo_audio = FrameBuffer()
        self._echo_video = LatestFrame()
        self._resampler: AudioResampler | None = None
        self._resampled: tuple[int, str] | None = None
        self._heard: deque[AudioFrame] = deque(maxlen=_WINDOW_FRAMES)
        self._seen: VideoFrame | None = None
        self._frames = 0

    async def apply(self, agreed: MediaLine, setup: MediaSetup, *, connected: bool) -> None:
        """Raises ValueError when nothing can be sent on a line that is to send."""
        before, self.agreed = self.agreed, agreed
        self._use(setup)
        if self._sender is None and agreed.direction.sends:
            self._sender = Sender(self._track, self.transport, agreed)
            for ssrc in (agreed.ssrc, agreed.rtx_ssrc):
                self.transport.flows[ssrc] = self._flow
            await self._sender.begin(agreed, self._cname)
        elif self._sender is not None:
            self._sender.change_codec(agreed)
        await self._apply_receiving(before, agreed)
        self.flow(connected)

    async def _apply_receiving(self, before: MediaLine, agreed: MediaLine) -> None:
        """A receiver lives as long as we receive: after a pause the jitter buffer of an old one would stall."""
        changed = (before.receive, before.extensions, before.remote_ssrcs) != (
            agreed.receive,
            agreed.extensions,
            agreed.remote_ssrcs,
        )
        if self._receiver is not None and (changed or not agreed.direction.receives):
            # Shielded: what a call that is closed just now does not find any more has to come to its end.
            await asyncio.shield(self._stop_receiving())
        if self._receiver is None and agreed.direction.receives:
            self._receiver = Receiver(self.transport, agreed, self._reception)
            self._drain = asyncio.create_task(self._read(self._receiver.incoming))
            await self._receiver.begin()

    def flow(self, connected: bool) -> None:
        """Lets RTP out, or not: only over a connected transport, and only when the line sends."""
        if connected and not self._connected and self._receiver is not None:
            self._recovering = asyncio.create_task(self._receiver.recover())
        self._connected = connected
        open_now = connected and self.agreed.direction.sends
        if open_now and not self._flow.open and self._sender is not None:
            self._sender.key_frame()
        self._flow.open = open_now
        self._track.flowing = open_now

    # -- what is sent ------------------------------------------------------------------------------------------------

    def _use(self, setup: MediaSetup) -> None:
        before, self._setup = self._setup, setup
        if isinstance(self._track, AudioTrack):
            self._track.mixer = self._member
            if before is None or before.audio != setup.audio:
                self._track.producer.close()
                self._track.producer = audio_producer(setup.audio, self._echo_audio)
        elif before is None or before.video != setup.video:
            self._track.producer.close()
            self._track.producer = video_producer(setup.video, self._echo_video)

    # -- what is received --------------------------------------------------------------------------------------------

    async def _read(self, track: RemoteStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            try:
                self._received(frame)
            except Exception as error:
                _log.warning("a received %s frame could not be used: %r", self.agreed.kind, error)

    def _received(self, frame: Frame) -> None:
        self._frames += 1
        setup = self._setup or MediaSetup()
        keep = not isinstance(setup.sink, Null)
        if isinstance(frame, AudioFrame):
            if keep:
                self._heard.append(frame)
            self._hand_on_audio(frame, setup)
        elif isinstance(frame, VideoFrame):
            if keep:
                self._seen = frame
            if isinstance(setup.video, EchoSource):
                self._echo_video.push(frame)
            if self._recorder is not None:
                self._recorder.video(frame)

    def _hand_on_audio(self, frame: AudioFrame, setup: MediaSetup) -> None:
        echo = isinstance(setup.audio, EchoSource)
        if not (echo or self._recorder or self._member):
            return
        shape = (frame.sample_rate, frame.layout.name)
        if self._resampler is None or shape != self._resampled:  # the codec changed, or it is the first
            self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE, frame_size=FRAME_SAMPLES)
            self._resampled = shape
        for part in self._resampler.resample(frame):
            samples = samples_of(part)
            if echo:
                self._echo_audio.push(samples)
            if self._member is not None:
                self._member.push(samples)
            if self._recorder is not None:
                self._recorder.audio(samples)

    async def _stop_receiving(self) -> None:
        receiver, self._receiver = self._receiver, None
        drain, self._drain = self._drain, None
        if receiver is not None:
            await _bounded(receiver.stop())
        if drain is not None:
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
        self._reception.restart()
        self._resampler = None
        self._heard.clear()
        self._seen = None
        self._echo_audio.close()
        self._echo_video.close()

    # -- the end, and figures ----------------------------------------------------------------------------------------

    async def close(self) -> None:
        self.flow(False)
        if self._recovering is not None:
            self._recovering.cancel()
        if self._sender is not None:
            await _bounded(self._sender.stop())
        await self._stop_receiving()
        for ssrc in (self.agreed.ssrc, self.agreed.rtx_ssrc):
            self.transport.flows.pop(ssrc, None)
        self._track.producer.close()
        self._track.stop()

    async def stats(self) -> LineStats:
        loop = asyncio.get_running_loop()
        level = frequency = color = None
        if self._heard:
            level, frequency = await loop.run_in_executor(None, analyse_audio, list(self._heard))
        seen = self._seen
        if seen is not None:
            color = await loop.run_in_executor(None, mean_color, seen)
        codec = self._sender.codec if self._sender is not None else sending_codec(self.agreed)
        return LineStats(
            mid=self.agreed.mid,
            kind=self.agreed.kind,
            direction=self.agreed.direction.value,
            codec=codec.name if codec is not None else None,
            packets_sent=self._flow.packets,
            bytes_sent=self._flow.octets,
            packets_received=self._reception.packets,
            bytes_received=self._reception.octets,
            packets_lost=self._reception.lost,
            jitter=self._reception.jitter,
            round_trip_time=await self._round_trip_time(),
            frames_decoded=self._frames,
            frame_width=seen.width if seen is not None else None,
            frame_height=seen.height if seen is not None else None,
            audio_level=level,
            audio_frequency=frequency,
            color=color,
        )

    async def _round_trip_time(self) -> float | None:
        if self._sender is None:
            return None
        for entry in (await self._sender.getStats()).values():
            if entry.type == "remote-inbound-rtp":
                value: float | None = entry.roundTripTime
                return value
        return None


async def _bounded(stopping: Coroutine[Any, Any, None]) -> None:
    """Waits for aiortc to stop something, but not for ever."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await stopping
    except Exception as error:
        _log.warning("closing a media line: %r", error)
