"""Statistics, what the server is told of them, and balancing, in a call of a connector."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CollectStats, LineStats, MediaReport, MediaState, SetSenderParameters
from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.agent.stats import (
    CandidatePairStats,
    InboundRtpStats,
    MediaSourceStats,
    OutboundRtpStats,
    TransportStats,
)
from sipproto.conference import AvailableIncomingBitrate, MainCam, MainCamControl, Share, ShareState
from sipproto.connector import ConnectorConfig
from sipproto.connector import inputs as c
from sipproto.connector.events import MainVideoProblem, ProblemStep, RemoteStreamsChanged, ReportCollected
from sipproto.errors import LocalProtocolError
from sipproto.media.stream_health import StreamProblem
from sipproto.media.video_balancer import (
    BalancerState,
    BalancingStarted,
    BalancingStopped,
    ParametersUpdated,
)
from tests.connector.world import World, in_call


def measures(world: World, *, width: int = 1280, height: int = 720, bitrate: float | None = None) -> None:
    """From now on the engine measures this."""
    mids = {line.kind: line.mid for line in world.connector.call.lines}
    pair = CandidatePairStats(
        id="P",
        timestamp=0.0,
        transport_id="T",
        local_candidate_id="L",
        remote_candidate_id="R",
        state="succeeded",
        nominated=True,
        available_incoming_bitrate=bitrate,
    )
    world.engine.call("out-1").report = MediaReport(
        state=MediaState.CONNECTED,
        lines=tuple(LineStats(mid=mid, kind=kind, direction="sendrecv") for kind, mid in mids.items()),
        stats=(
            OutboundRtpStats(
                id="OV", timestamp=0.0, ssrc=1, kind="video", mid=mids["video"], media_source_id="S", transport_id="T"
            ),
            InboundRtpStats(id="IV", timestamp=0.0, ssrc=2, kind="video", mid=mids["video"], transport_id="T"),
            MediaSourceStats(id="S", timestamp=0.0, kind="video", track_identifier="t", width=width, height=height),
            TransportStats(id="T", timestamp=0.0, selected_candidate_pair_id="P", dtls_state="connected"),
            pair,
        ),
    )


def limits(world: World) -> list[Encoding]:
    """What the main video was given."""
    return [operation.parameters.encodings[0] for operation in world.all(SetSenderParameters)]


def told(world: World) -> list[int]:
    return [message.bitrate for message in world.focus.heard if isinstance(message, AvailableIncomingBitrate)]


def test_samples_once_a_second() -> None:
    world = in_call()
    measures(world)
    world.wait(10.05)
    samples = world.all(ReportCollected)
    assert len(samples) == 10
    source = samples[0].sample.outbound.video.media_source
    assert source is not None and source.width == 1280
    world.engine.fail(CollectStats, "busy")
    world.take()
    world.wait(5)
    assert len(world.all(ReportCollected)) == 4  # an error in one does not stop the next
    world.do(c.HangUpCall)
    world.take()
    world.wait(100)
    assert world.out == []
    world = in_call(ConnectorConfig(statistics_interval=0, balancing_start_delay=None))
    world.wait(100)
    assert not world.all(ReportCollected)


def test_the_server_is_told_of_great_changes() -> None:
    world = in_call()
    for bitrate in (1000, 1249, 1300, 1625, 0, 0, 5, None, 100, 130):
        measures(world, bitrate=bitrate)
        world.wait(1.0)
    assert told(world) == [1625, 0, 5, 130]
    world.focus.verdict = lambda _: 500
    measures(world, bitrate=10_000)
    world.wait(5)
    assert world.connector.call.is_established


def test_balanced_after_a_while() -> None:
    world = in_call()
    measures(world)
    assert world.connector.media.balancer.state is BalancerState.SCHEDULED
    world.say(MainCamControl(command=MainCam.MAX_RESOLUTION, resolution="640x360"))  # before it starts: not lost
    world.wait(9.9)
    assert limits(world) == []
    world.wait(0.2)
    assert limits(world) == [Encoding(max_bitrate=500_000, scale_resolution_down_by=2.0)]
    assert world.one(BalancingStarted).delay == 10.0
    assert world.one(ParametersUpdated).parameters.encodings == tuple(limits(world))
    world.take()
    world.say(MainCamControl(command=MainCam.PAUSE))
    world.say(MainCamControl(command=MainCam.RESUME))
    assert limits(world) == [
        Encoding(max_bitrate=60_000, scale_resolution_down_by=200.0),
        Encoding(max_bitrate=1_000_000),
    ]
    world.take()
    measures(world, width=640, height=360)
    world.wait(1.1)  # the next sample shows it
    assert limits(world) == [Encoding(max_bitrate=500_000)]
    world.do(c.HangUpCall)
    assert len(world.all(BalancingStopped)) == 1


def test_by_hand() -> None:
    parameters = SenderParameters(encodings=(Encoding(max_bitrate=2_000_000),))
    world = in_call(parameters=parameters)
    measures(world)
    assert isinstance(world.do(c.StartBalancing), o.CommandSucceeded)
    assert limits(world) == [Encoding(max_bitrate=1_000_000)]
    assert isinstance(world.do(c.StopBalancing), o.CommandSucceeded)
    assert limits(world)[-1] == parameters.encodings[0]  # as the application had it
    world.take()
    assert world.do(c.Balance).result is not None
    assert limits(world) == [Encoding(max_bitrate=1_000_000)]
    world.do(c.HangUpCall)
    for command in (c.StartBalancing, c.Balance):
        with pytest.raises(LocalProtocolError, match="no established call"):
            world.do(command)
    assert isinstance(world.do(c.StopBalancing), o.CommandSucceeded)


def test_what_the_engine_refused_is_not_given_back() -> None:
    world = in_call()
    measures(world)
    world.engine.fail(SetSenderParameters, "no")
    refused = SenderParameters(encodings=(Encoding(max_bitrate=2_000_000),))
    world.do(c.ChangeCallMedia, parameters=refused)
    world.do(c.StartBalancing)
    world.take()
    world.do(c.StopBalancing)
    assert limits(world) == [Encoding()]


def test_streams_of_the_others() -> None:
    world = in_call()
    streams = world.connector.call.streams
    assert streams is not None and streams.main is not None
    assert streams.contented is None
    world.say(ShareState(state=Share.AVAILABLE, codec="VP8"))
    assert world.all(RemoteStreamsChanged) == []  # it is said, but there is no second line yet
    add = (("video", world.connector.call.lines[0].direction),)
    world.tell_focus(i.ChangeMedia(command=0, call=world.focus.call or "", add=add))
    changed = world.all(RemoteStreamsChanged)[-1]
    assert changed.contented is not None and changed.contented.video != streams.main.video
    world.say(ShareState(state=Share.ENDED))
    assert world.all(RemoteStreamsChanged)[-1].contented is None
    assert len(world.all(RemoteStreamsChanged)[-1].streams) == 1  # the line is there, and nothing is sent on it


def test_a_further_video_is_a_stream_while_something_comes() -> None:
    """Of which the server says nothing: a line alone is none."""
    world = in_call()
    add = (("video", world.connector.call.lines[0].direction),)
    world.tell_focus(i.ChangeMedia(command=0, call=world.focus.call or "", add=add))
    mids = [(line.kind, line.mid) for line in world.connector.call.lines]

    def told(packets: int, *, samples: int = 1) -> int:
        lines = tuple(
            LineStats(mid=mid, kind=kind, direction="sendrecv", packets_received=packets if mid == mids[2][1] else 0)
            for kind, mid in mids
        )
        world.engine.call("out-1").report = MediaReport(state=MediaState.CONNECTED, lines=lines)
        for _ in range(samples):
            before = len(world.all(ReportCollected))
            while len(world.all(ReportCollected)) == before:
                world.wait(0.1)
        streams = world.connector.call.streams
        assert streams is not None
        return len(streams.streams)

    assert told(0) == 1
    assert told(5) == 2
    assert told(5, samples=2) == 2  # a still picture
    assert told(5) == 1
    assert told(9) == 2


def test_problems_of_the_main_video_are_told_once_and_so_is_their_end() -> None:
    world = in_call()
    measures(world)  # by which nothing comes
    world.wait(3.5)
    (problem,) = world.all(MainVideoProblem)
    assert (problem.problem, problem.step) == (StreamProblem.NO_TRAFFIC, ProblemStep.DETECTED)
    report = world.engine.call("out-1").report
    assert report is not None
    stats = tuple(
        evolve(one, packets_received=100, bytes_received=90_000) if isinstance(one, InboundRtpStats) else one
        for one in report.stats
    )
    world.engine.call("out-1").report = evolve(report, stats=stats)
    world.wait(1.5)
    assert [one.step for one in world.all(MainVideoProblem)] == [ProblemStep.DETECTED, ProblemStep.RESOLVED]
    world.wait(4)  # it has come to a standstill
    assert world.all(MainVideoProblem)[-1].problem is StreamProblem.STALLED
    world.do(c.HangUpCall)
    assert world.all(MainVideoProblem)[-1].step is ProblemStep.RESET
