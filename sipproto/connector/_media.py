"""The media of the call: statistics, what the server is told of them, and balancing of the main video."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId, MediaReport
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.conference import AvailableIncomingBitrate, ConferenceMessage, MainCamControl, ShareState
from sipproto.connector._call import CurrentCall
from sipproto.connector._ground import Ground, tell_server
from sipproto.connector._procedures import Ask, Failed, Procedure, ask
from sipproto.connector.events import MainVideoProblem, ProblemStep, RemoteStreamsChanged, ReportCollected
from sipproto.media import SampleDone, SampleFailed, StartPolling, StatisticsPolling, StopPolling, TakeSample
from sipproto.media.received import ReceivedLines
from sipproto.media.remote_streams import (
    Content,
    RemoteStream,
    RemoteStreams,
    content_after,
    select_streams,
    sent_streams,
)
from sipproto.media.resolution import Resolution
from sipproto.media.sample import BitrateReports, StatsSample, available_incoming_bitrate, stats_sample
from sipproto.media.statistics_polling import DropSample, PollingInput
from sipproto.media.stream_health import ProblemDetected, ProblemOver, StreamHealth
from sipproto.media.video_balancer import (
    ApplyParameters,
    BalanceFailed,
    BalanceSucceeded,
    BalancingCommand,
    BalancingInput,
    CallConfirmed,
    CallOver,
    LineGone,
    LineKnown,
    MeasureFailed,
    MeasureSize,
    ParametersApplied,
    ParametersRefused,
    ServerCommand,
    SizeMeasured,
    StopBalancing,
    TrackReplaced,
    VideoBalancer,
)


class CallMedia:
    """Drives the machines of sipproto.media for the current call."""

    def __init__(self, ground: Ground, call: CurrentCall) -> None:
        self._ground = ground
        self._call = call
        call.on_parameters = self._parameters_set
        call.on_lines = self._know_main_line
        config = ground.config
        self._polling = StatisticsPolling(interval=config.statistics_interval or 1.0)
        self.balancer = VideoBalancer(
            start_delay=config.balancing_start_delay,
            ignore_for_codec=config.ignore_for_codec,
            max_resolution=config.max_resolution,
            poll_interval=config.track_poll_interval,
            max_poll_interval=config.track_max_poll_interval,
        )
        self._begin()

    def _begin(self) -> None:
        self._bitrates = BitrateReports()
        self._grouping = RemoteStreams()
        self._content: Content | None = None
        self._received = ReceivedLines()
        self._health = StreamHealth(samples=self._ground.config.problem_samples)
        self.streams: tuple[RemoteStream, ...] = ()  # that are negotiated

    def next_timeout(self) -> float | None:
        times = [t for t in (self._polling.next_timeout(), self.balancer.next_timeout()) if t is not None]
        return min(times, default=None)

    def time(self) -> None:
        """Something may be due."""
        self._poll(i.TimeoutElapsed())
        self._balance(i.TimeoutElapsed())

    # -- what happens --------------------------------------------------------------------------------------------------

    def command(self, command: BalancingCommand) -> None:
        if not isinstance(command, StopBalancing):
            self._call.require()
        self._balance(command)

    def replaced(self) -> None:
        """Another source is sent."""
        self._balance(TrackReplaced())

    def said(self, message: ConferenceMessage) -> None:
        """By the server."""
        match message:
            case MainCamControl():
                self._balance(ServerCommand(control=message))
            case ShareState():
                shown = select_streams(self.streams, self._content).contented
                self._content = content_after(self._content, message)
                if self._content is None and shown is not None and shown.video is not None:
                    self._received.ended(shown.video)
                self._tell_streams()
            case _:
                pass

    def note(self, event: object) -> None:
        match event:
            case o.CallEstablished(call=call) if call == self._call.ident:
                if self._ground.config.statistics_interval:
                    self._poll(StartPolling())
                self._balance(CallConfirmed())
            case o.MediaNegotiated(call=call, lines=lines) if call == self._call.ident:
                self._know_main_line()
                self.streams = self._grouping.negotiated(lines)
                self._tell_streams()
            case o.CallEnded(call=call) if call == self._call.ident:
                self._judge(self._health.reset())
                self._poll(StopPolling())
                self._balance(CallOver())
                self._begin()
            case _:
                pass

    def _know_main_line(self) -> None:
        main = self._call.main_line("video")
        self._balance(LineGone() if main is None else LineKnown(line=main.mid, codec=main.codec))

    def _tell_streams(self) -> None:
        if self._call.ident is not None:
            streams = self.streams
            if self._ground.config.statistics_interval:  # else nobody knows what comes
                streams = sent_streams(streams, self._content, self._received.mids)
            chosen = select_streams(streams, self._content)
            changed = RemoteStreamsChanged(
                call=self._call.ident, streams=streams, main=chosen.main, contented=chosen.contented
            )
            if changed != self._call.streams:
                self._call.streams = changed
                self._ground.emit(changed)

    def _parameters_set(self, line: str, parameters: SenderParameters) -> None:
        """By the application, for the main video."""
        known = next((one for one in self._call.lines if one.mid == line), None)
        if known is not None:
            self._balance(LineKnown(line=line, codec=known.codec, parameters=parameters))

    # -- balancing -----------------------------------------------------------------------------------------------------

    def _balance(self, what: BalancingInput) -> None:
        for output in self.balancer.handle(what, self._ground.now):
            match output:
                case ApplyParameters():
                    self._ground.procedures.start(self._applying(output), lambda _: None)
                case MeasureSize(number=number):
                    self._ground.procedures.start(self._measuring(number), lambda _: None)
                case BalanceSucceeded(command=command, parameters=parameters):
                    self._ground.finish(command, parameters)
                case BalanceFailed(command=command, error=error):
                    self._ground.finish(command, Failed(o.Cause.MEDIA_ERROR, error))
                case _:
                    self._ground.emit(output)

    def _applying(self, apply: ApplyParameters) -> Procedure:
        call = self._call.ident
        try:
            if call is None:
                raise Failed(o.Cause.NOT_POSSIBLE, "there is no call")
            effective = yield from ask(
                lambda n: i.SetParameters(command=n, call=call, line=apply.line, parameters=apply.parameters)
            )
        except Failed as error:
            self._balance(ParametersRefused(number=apply.number, error=error.detail))
        else:
            assert isinstance(effective, EffectiveParameters)
            self._balance(ParametersApplied(number=apply.number, effective=effective))
        return None

    def _measuring(self, number: int) -> Procedure:
        report = yield from self._report(self._call.ident)
        size = None if report is None else _size(report)
        self._balance(MeasureFailed(number=number) if size is None else SizeMeasured(number=number, size=size))
        return None

    # -- statistics ----------------------------------------------------------------------------------------------------

    def _poll(self, what: PollingInput) -> None:
        for output in self._polling.handle(what, self._ground.now):
            match output:
                case TakeSample(number=number) if self._call.ident is not None:
                    self._ground.procedures.start(self._sampling(number, self._call.ident), lambda _: None)
                case TakeSample() | DropSample():
                    pass  # one that is dropped ends by itself, and is not waited for any more

    def _sampling(self, number: int, call: CallId) -> Procedure:
        began = self._ground.now
        report = yield from self._report(call)
        if report is None:
            self._poll(SampleFailed(number=number))
            return None
        elapsed = self._ground.now - began
        self._poll(SampleDone(number=number, elapsed=elapsed))
        if self._call.ident == call and self._call.is_established:
            yield from self._sampled(call, report, elapsed)
        return None

    def _sampled(self, call: CallId, report: MediaReport, elapsed: float) -> Procedure:
        sample = stats_sample(report)
        self._received.sample(report)
        self._tell_streams()
        self._ground.emit(ReportCollected(call=call, report=report, sample=sample, elapsed=elapsed))
        self._look_at_main_video(report, sample)
        if (size := _size(report)) is not None:
            self._balance(SizeMeasured(size=size))
        bitrate = self._bitrates.sample(available_incoming_bitrate(sample))
        if bitrate is not None:
            yield Ask(
                lambda n: tell_server(n, call, AvailableIncomingBitrate(bitrate=bitrate))
            )  # whatever the server answers
        return None

    def _look_at_main_video(self, report: MediaReport, sample: StatsSample) -> None:
        if not report.stats:
            return  # an engine that does not know them says nothing of what comes
        main = self._call.main_line("video")
        if main is None or not main.direction.receives:
            self._judge(self._health.reset())
            return
        known = (line.inbound_rtp for line in (sample.inbound.video, sample.inbound.second_video))
        video = next((rtp for rtp in known if rtp is not None and rtp.mid == main.mid), None)
        self._judge(self._health.sample(video))

    def _judge(self, found: ProblemDetected | ProblemOver | None) -> None:
        if found is not None and self._call.ident is not None:
            step = ProblemStep.DETECTED
            if isinstance(found, ProblemOver):
                step = ProblemStep.RESOLVED if found.resolved else ProblemStep.RESET
            self._ground.emit(MainVideoProblem(call=self._call.ident, problem=found.problem, step=step))

    def _report(self, call: CallId | None) -> Generator[Ask, Any, MediaReport | None]:
        """A measurement; None when there is none to be had."""
        if call is None:
            return None
        outcome = yield Ask(lambda n: i.GetStats(command=n, call=call))
        result = outcome.result if isinstance(outcome, o.CommandSucceeded) else None
        return result if isinstance(result, MediaReport) else None


def _size(report: MediaReport) -> Resolution | None:
    """That of the pictures that the main video is fed with, before any scaling."""
    source = stats_sample(report).outbound.video.media_source
    if source is None or not source.width or not source.height:
        return None
    return Resolution(source.width, source.height)
