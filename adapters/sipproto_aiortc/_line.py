"""One media line of a call: its sender, its receiver, and what stands at either end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import MediaStreamError
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from av import AudioFrame, AudioResampler, VideoFrame
from av.frame import Frame

from sipproto.agent.media import LineStats
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.media.congestion import Priority
from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec
from sipproto_aiortc._digits import DigitReceiver, DigitSender
from sipproto_aiortc._outlet import Flow
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._rtp import Receiver, sending_codec, stamp_ids
from sipproto_aiortc._sender import Sender, line_parameters
from sipproto_aiortc._sending import TalkSpurts
from sipproto_aiortc._stats import LineCounters
from sipproto_aiortc._tracks import AudioTrack, VideoTrack
from sipproto_aiortc._transport import DtlsTransport
from sipproto_devices import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    AudioSource,
    BlackProducer,
    EchoSource,
    FrameBuffer,
    LatestFrame,
    MediaSetup,
    MixerMember,
    Outlets,
    SourceError,
    Trouble,
    VideoSource,
    analyse_audio,
    mean_color,
    samples_of,
)

_log = logging.getLogger("sipproto.media")
_STOP_TIMEOUT = 2.0
_WINDOW_FRAMES = 60  # enough for half a second of frames of 10 ms; the analysis takes what it needs


class Line:
    """Brings about what is agreed on a line. All methods run on the media thread, one at a time.

    `number` counts the lines of its kind from 0, as sources and sinks do. `outlets` are those of its call.
    """

    def __init__(
        self,
        transport: DtlsTransport,
        agreed: MediaLine,
        cname: str,
        number: int,
        setup: MediaSetup,
        outlets: Outlets,
        parameters: SenderParameters,
        heard: Callable[[int, int], object],
    ) -> None:
        """`heard` is told of each digit that the peer sent in RTP: its event, and its duration in milliseconds."""
        self.transport = transport
        self.agreed = agreed
        self.number = number
        self._cname = cname
        self._outlets = outlets
        self._member: MixerMember | None = None
        self._setup = MediaSetup()
        self._source: AudioSource | VideoSource | EchoSource | None = None  # what the track has a producer of
        self._parameters = parameters
        self._digits = DigitSender()
        self._spurts = TalkSpurts()
        if agreed.kind == "audio":
            self._flow, self._repairs = Flow(rewrite=self._rewrite), Flow()
        else:
            self._flow, self._repairs = Flow(priority=Priority.MEDIA), Flow(priority=Priority.REPAIR)
        self._sender: Sender | None = None
        self._track: AudioTrack | VideoTrack = (
            AudioTrack(self._source_failed) if agreed.kind == "audio" else VideoTrack(self._source_failed)
        )
        self._receiver: Receiver | None = None
        self._connected = False
        self._recovering: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._reception = Reception()
        self._digits_heard = DigitReceiver(heard, asyncio.get_running_loop())
        self._echo_audio = FrameBuffer()
        self._echo_video = LatestFrame()
        self._resampler: AudioResampler | None = None
        self._resampled: tuple[int, str] | None = None
        self._heard: deque[AudioFrame] = deque(maxlen=_WINDOW_FRAMES)
        self._seen: VideoFrame | None = None
        self.use(setup)

    async def apply(self, agreed: MediaLine) -> None:
        """To be followed by `flow`. Raises ValueError when nothing can be sent on a line that is to send."""
        before, self.agreed = self.agreed, agreed
        for flow in (self._flow, self._repairs):
            flow.time_id, flow.number_id = stamp_ids(agreed)
        if agreed.transport_cc:
            self.transport.outlet.number()
            self.transport.told.begin(agreed.ssrc)
        if self._sender is None and agreed.direction.sends:
            parameters = line_parameters(agreed, self._parameters)
            self._sender = Sender(self._track, self.transport, agreed, parameters, self._digits, self._flow)
            self.transport.flows[agreed.ssrc] = self._flow
            self.transport.flows[agreed.rtx_ssrc] = self._repairs
            await self._sender.begin(agreed, self._cname)
        elif self._sender is not None:
            self._sender.change_codec(agreed)
            self._sender.use(line_parameters(agreed, self._parameters))
            if not agreed.transport_cc:
                self._sender.path(None, probed=False)
        await self._apply_receiving(before, agreed)

    async def _apply_receiving(self, before: MediaLine, agreed: MediaLine) -> None:
        """A receiver lives as long as we receive: after a pause the jitter buffer of an old one would stall."""
        changed = (before.mid, before.receive, before.extensions, before.remote_ssrcs) != (
            agreed.mid,
            agreed.receive,
            agreed.extensions,
            agreed.remote_ssrcs,
        )
        if self._receiver is not None and (changed or not agreed.direction.receives):
            # Shielded: what a call that is closed just now does not find any more has to come to its end.
            await asyncio.shield(self._stop_receiving())
        if self._receiver is None and agreed.direction.receives:
            self._receiver = Receiver(self.transport, agreed, self._reception, self._digits_heard)
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
        if self._flow.open and not open_now:
            self.transport.outlet.hurry()
        self._flow.open = self._repairs.open = open_now
        self._track.flowing = open_now
        if self.agreed.direction.sends:
            self._digits.open()  # one that is to be sent while there is no path waits for it a little
        else:
            self._digits.close("the line sends nothing now")

    def _rewrite(self, packet: bytes) -> bytes:
        """What leaves in place of a packet of audio."""
        return self._digits.rewrite(self._spurts.mark(packet))

    async def send_digit(self, event: int, duration: int, codec: Codec) -> None:
        """As DigitSender.send. Raises ValueError on a line of video."""
        if self.agreed.kind != "audio":
            raise ValueError("digits can be sent on lines of audio only")
        await self._digits.send(event, duration, codec, self.agreed.codec)

    # -- what is sent ------------------------------------------------------------------------------------------------

    def set_parameters(self, parameters: SenderParameters) -> EffectiveParameters:
        """From now on; also for a sender that is made later."""
        self._parameters = parameters
        effective = line_parameters(self.agreed, parameters)
        if self._sender is not None:
            self._sender.use(effective)
        return effective

    async def ask_key_frame(self, *, ours: bool) -> None:
        """Raises ValueError when there is no picture to ask for."""
        if self.agreed.kind != "video":
            raise ValueError(f"the media line {self.agreed.index} is one of {self.agreed.kind}, without pictures")
        end = self._sender if ours else self._receiver
        if end is None or not (self.agreed.direction.sends if ours else self.agreed.direction.receives):
            raise ValueError(f"no video is {'sent' if ours else 'received'} on the media line {self.agreed.index}")
        if isinstance(end, Sender):
            end.key_frame()
        else:
            await end.ask_key_frame()

    def use(self, setup: MediaSetup) -> None:
        """Goes over to the source and the mixer of a setup; an equal one goes on as it is."""
        before, self._setup = self._setup, setup
        try:
            if isinstance(self._track, AudioTrack):
                self._use_audio(self._track, setup.audio_of(self.number))
            else:
                self._use_video(self._track, setup.video_of(self.number))
        except Exception as error:
            self._track.rest()
            self._source_failed(error)
        if isinstance(self._track, AudioTrack) and before.mixer is not setup.mixer:
            self._leave_mixer()
            self._member = None if setup.mixer is None else setup.mixer.join(self._outlets)
            self._track.mixer = self._member
        if not setup.meter:
            self._heard.clear()
            self._seen = None

    def _use_audio(self, track: AudioTrack, source: AudioSource | EchoSource) -> None:
        if source != self._source:
            track.replace(self._echo_audio if isinstance(source, EchoSource) else source.open_audio())
            self._source = source

    def _use_video(self, track: VideoTrack, source: VideoSource | EchoSource | None) -> None:
        if source == self._source:
            return
        if source is None:
            track.replace(BlackProducer())
        else:
            track.replace(self._echo_video if isinstance(source, EchoSource) else source.open_video())
        self._source = source

    @property
    def _echoes(self) -> bool:
        return isinstance(self._source, EchoSource)

    def _source_failed(self, error: Exception) -> None:
        self._source = None  # the same one may be tried again
        text = str(error) if isinstance(error, SourceError) else repr(error)
        self._setup.tell(Trouble(part=self.agreed.kind, line=self.number, error=text))

    def _leave_mixer(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None

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
        self._reception.emitted(frame)
        if isinstance(frame, AudioFrame):
            if self._setup.meter:
                self._heard.append(frame)
            self._hand_on_audio(frame)
        elif isinstance(frame, VideoFrame):
            if self._setup.meter:
                self._seen = frame
            if self._echoes:
                self._echo_video.push(frame)
            self._outlets.video(frame, self.number)

    def _hand_on_audio(self, frame: AudioFrame) -> None:
        if not (self._echoes or self._member or self._outlets.wanted):
            return
        shape = (frame.sample_rate, frame.layout.name)
        if self._resampler is None or shape != self._resampled:  # the codec changed, or it is the first
            self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE, frame_size=FRAME_SAMPLES)
            self._resampled = shape
        for part in self._resampler.resample(frame):
            samples = samples_of(part)
            if self._echoes:
                self._echo_audio.push(samples)
            if self._member is not None and self._setup.speaks:
                self._member.push(samples)
            self._outlets.audio(samples, self.number)

    async def _stop_receiving(self) -> None:
        receiver, self._receiver = self._receiver, None
        drain, self._drain = self._drain, None
        if receiver is not None:
            await _bounded(receiver.stop())
        if drain is not None:
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
        self._reception.restart()
        self._digits_heard.finish()
        self._resampler = None
        self._heard.clear()
        self._seen = None
        self._echo_audio.close()
        self._echo_video.close()

    # -- the end, and figures ----------------------------------------------------------------------------------------

    async def close(self) -> None:
        self.flow(False)
        self._digits.close("the line was closed")
        if self._recovering is not None:
            self._recovering.cancel()
        if self._sender is not None:
            await _bounded(self._sender.stop())
        await self._stop_receiving()
        self._leave_mixer()
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
            packets_sent=self._flow.sent.packets + self._repairs.sent.packets,
            bytes_sent=self._flow.sent.size + self._repairs.sent.size,
            packets_received=self._reception.packets,
            bytes_received=self._reception.octets,
            packets_lost=self._reception.lost,
            jitter=self._reception.jitter,
            round_trip_time=self._round_trip_time,
            frames_decoded=self._reception.decoded,
            frame_width=seen.width if seen is not None else None,
            frame_height=seen.height if seen is not None else None,
            audio_level=level,
            audio_frequency=frequency,
            color=color,
        )

    @property
    def _round_trip_time(self) -> float | None:
        report = self._sender.sending.feedback.report if self._sender is not None else None
        return report.round_trip_time if report is not None else None

    def counted(self) -> LineCounters:
        """What the W3C statistics are made of."""
        return LineCounters(
            agreed=self.agreed,
            reception=self._reception,
            sending=self._sender.sending if self._sender is not None else None,
            encoding=self._sender.encoding if self._sender is not None else None,
            sent=self._flow,
            repaired=self._repairs,
        )


async def _bounded(stopping: Coroutine[Any, Any, None]) -> None:
    """Waits for aiortc to stop something, but not for ever."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await stopping
    except Exception as error:
        _log.warning("closing a media line: %r", error)
