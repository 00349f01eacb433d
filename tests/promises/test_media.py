"""What is promised of media, with real ones over loopback: recognised, and measured at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from sipproto.agent.inputs import DigitWay
from sipproto.agent.media import CollectStats, LineStats
from sipproto.agent.parameters import Encoding
from sipproto.connector import ConnectorConfig
from sipproto.connector.events import IceRestarted
from sipproto.testing import FakeMediaEngine
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup, TestPattern, Tone
from sipproto_anyio import open_connector
from sipproto_client import SipConnector, SipConnectorFacade, StatsPeerConnection, VideoBalancerOptions, tools
from sipproto_server.aiortc import AiortcServices
from tests.media._detail import write_clip
from tests.promises.rig import Log, Venue, application, enter, until, venue

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)
LONG = 90.0  # seconds for a scenario with real media on a busy machine


def picture(color: tuple[int, int, int], width: int = 320, height: int = 240) -> TestPattern:
    return TestPattern(width=width, height=height, color=color)


@asynccontextmanager
async def real(place: Venue, *users: str, **more: Any) -> AsyncIterator[list[SipConnector]]:
    """Registered connectors with engines of their own."""
    async with AsyncExitStack() as stack:
        those = []
        for user in users:
            engine = stack.enter_context(closing(AiortcEngine(include_loopback=True)))
            one = await stack.enter_async_context(open_connector(media=engine, **more))
            await one.connect(**place.account(user))
            those.append(one)
        yield those


async def call_each_other(alice: SipConnector, bob: SipConnector, ours: MediaSetup, theirs: MediaSetup) -> None:
    bob.once("incoming-call:incomingCall", lambda _: bob.answer_to_incoming_call(theirs))
    await alice.call("bob", ours)
    await until(lambda: bob.is_call_active)


async def line_of(one: SipConnector, kind: str, number: int = 0) -> LineStats | None:
    report = await one.stats_manager.collect()
    return next(iter([line for line in report.lines if line.kind == kind][number:]), None)


async def measured(
    one: SipConnector, good: Callable[[LineStats], object], kind: str = "video", number: int = 0
) -> LineStats:
    """Waits until a line is as it should be."""
    deadline = anyio.current_time() + 20
    while (line := await line_of(one, kind, number)) is None or not good(line):
        assert anyio.current_time() < deadline, line
        await anyio.sleep(0.1)
    return line


def shows(color: tuple[int, int, int], size: tuple[int, int] | None = None) -> Callable[[LineStats], bool]:
    def good(line: LineStats) -> bool:
        seen = line.color is not None and all(abs(x - y) < 60 for x, y in zip(line.color, color, strict=True))
        return seen and size in (None, (line.frame_width, line.frame_height))

    return good


def hears(frequency: float) -> Callable[[LineStats], bool]:
    return lambda line: abs((line.audio_frequency or 0) - frequency) < 30


async def goes_on(one: SipConnector) -> None:
    """New pictures and new sound arrive."""
    for kind in ("audio", "video"):
        before = await line_of(one, kind)
        assert before is not None
        count = before.packets_received
        await measured(one, lambda line, count=count: line.packets_received > count + 5, kind)  # type: ignore[misc]


async def bit_rate(one: SipConnector, number: int, seconds: float) -> float:
    """What arrives on a video line, in bits per second."""
    began, before = anyio.current_time(), await line_of(one, "video", number)
    await anyio.sleep(seconds)
    ended, after = anyio.current_time(), await line_of(one, "video", number)
    assert before is not None and after is not None
    return (after.bytes_received - before.bytes_received) * 8 / (ended - began)


def test_a_call_with_its_media() -> None:
    """Codecs by preference, what each sees and hears, another stream, digits in RTP, an ICE restart, statistics."""

    async def scenario() -> None:
        codecs = {
            "preferred_mime_types_video_codecs": ["video/AV1", "video/VP9"],
            "exclude_mime_types_video_codecs": ["video/H264"],
        }
        async with venue() as place, real(place, "alice", "bob", **codecs) as (alice, bob):
            facade, samples = SipConnectorFacade(alice), list[Any]()
            end = facade.on_stats(samples.append)
            ours = MediaSetup(audio=Tone(1000.0), video=picture(RED))
            await call_each_other(alice, bob, ours, MediaSetup(audio=Tone(600.0), video=picture(BLUE, 160, 120)))
            assert alice.connection is not None
            assert tools.get_codec_from_sender(alice.connection) == tools.MimeTypesVideoCodecs.VP9
            await measured(bob, shows(RED, (320, 240)))
            await measured(bob, hears(1000), "audio")
            await measured(alice, shows(BLUE, (160, 120)))
            await measured(alice, hears(600), "audio")

            await facade.replace_media_stream(MediaSetup(audio=Tone(1400.0), video=picture(GREEN, 240, 180)))
            await measured(bob, shows(GREEN, (240, 180)))
            await measured(bob, hears(1400), "audio")

            digits: list[str] = []
            bob.on("call:newDTMF", lambda digit: digits.append(digit.digit))
            await facade.send_dtmf("42", duration=60, gap=0.05, way=DigitWay.RTP)
            await until(lambda: digits == ["4", "2"])

            assert await alice.call_manager.restart_ice(use_update=True)
            await goes_on(bob)
            await goes_on(alice)
            assert await bob.call_manager.restart_ice()
            await goes_on(alice)

            await until(lambda: len(samples) >= 2)
            newest = samples[-1]
            sent, got = newest.outbound.video, newest.inbound.video
            assert sent.outbound_rtp is not None and (sent.outbound_rtp.packets_sent or 0) > 0
            assert sent.codec is not None and sent.codec.mime_type == "video/VP9"
            assert got.inbound_rtp is not None and got.inbound_rtp.frames_decoded
            assert newest.inbound.audio.inbound_rtp is not None and newest.outbound.second_video.outbound_rtp is None
            lost = newest.outbound.packets_lost
            assert lost is None or 0 <= lost <= 1
            connection = newest.inbound.additional
            assert connection.candidate_pair is not None and connection.candidate_pair.nominated
            assert connection.transport is not None and connection.transport.dtls_state == "connected"
            assert connection.certificate is not None and connection.local_candidate is not None
            end()

    application(scenario, LONG)


@pytest.mark.interop  # takes a few seconds, and needs no peer
def test_a_presentation_with_its_bit_rate(tmp_path: Path) -> None:
    """A bit rate that is asked for is the most that is measured at the other end; what cannot be done is said."""
    screen = MediaSetup(video=FileSource(write_clip(tmp_path / "screen.mp4", 480, 288), loop=True))

    async def scenario() -> None:
        async with venue() as place, real(place, "alice", "bob") as (alice, bob):
            await call_each_other(alice, bob, MediaSetup(video=picture(RED)), MediaSetup(video=picture(BLUE)))
            facade = SipConnectorFacade(alice)
            effective = await facade.start_presentation(
                media_stream=screen,
                is_p2p=True,
                content_hint="detail",
                degradation_preference="maintain-resolution",
                max_bitrate=250_000,
                send_encodings=[Encoding(scalability_mode="L3T3_KEY"), Encoding(scale_resolution_down_by=2.0)],
            )
            assert len(effective.encodings) == 1 and len(effective.ignored) == 2, effective.ignored
            line = await measured(bob, lambda line: (line.frames_decoded or 0) > 10, number=1)
            assert (line.frame_width, line.frame_height) == (480, 288)
            streams = bob.get_remote_streams() or ()
            assert [stream.video for stream in streams] == [x.mid for x in bob.connection.lines if x.kind == "video"]  # type: ignore[union-attr]
            low = await bit_rate(bob, 1, 1.5)
            assert 20_000 < low < 325_000
            await facade.update_presentation(media_stream=screen, is_p2p=True, max_bitrate=1_000_000)
            deadline = anyio.current_time() + 20
            while (high := await bit_rate(bob, 1, 1.0)) < 450_000:  # a busy machine encodes fewer pictures
                assert anyio.current_time() < deadline, (low, high)
            assert high < 1_300_000
            await facade.stop_share_sip_connector(is_p2p=True)
            await until(lambda: len(bob.get_remote_streams() or ()) == 1)
            await goes_on(bob)
            await measured(bob, shows(RED))

    application(scenario, LONG)


def test_a_conference_with_balancing_and_a_restart_of_the_server() -> None:
    """What the server wants of the camera is seen at the other end, also what it said before balancing began."""

    async def scenario() -> None:
        told: list[object] = []
        balancer = VideoBalancerOptions(balancing_start_delay=1.0, on_set_parameters=told.append)
        with closing(AiortcServices()) as media:
            async with (
                venue(media) as place,
                real(place, "alice", "bob", video_balancer_options=balancer) as (alice, bob),
            ):
                events = ["balancing-scheduled", "balancing-started", "balancing-stopped", "parameters-updated"]
                log = Log(alice, *(f"video-balancer:{event}" for event in events))
                await enter(alice, MediaSetup(audio=Tone(1000.0), video=picture(RED, 640, 480)))
                p1 = place.participant("alice").participant
                place.operate("max-resolution", p1, "320x240")
                assert log.names == ["video-balancer:balancing-scheduled"] and log.payloads[0].delay == 1.0
                await enter(bob, MediaSetup(audio=Tone(600.0), video=picture(BLUE)))
                await measured(bob, shows(RED, (320, 240)))
                await measured(bob, hears(1000), "audio")
                started = log.names.index("video-balancer:balancing-started")
                assert log.payloads[started].delay == 1.0 and told

                place.operate("max-resolution", p1, "160x120")
                await measured(bob, shows(RED, (160, 120)))
                await alice.video_sending_balancer_manager.stop_balancing()
                await measured(bob, shows(RED, (640, 480)))
                assert log.names.count("video-balancer:balancing-stopped") == 1
                await alice.video_sending_balancer_manager.start_balancing()
                await measured(bob, shows(RED, (160, 120)))

                restarts: list[object] = []
                alice.endpoint.on_event(restarts.append)
                place.operate("restart", p1)
                await until(lambda: any(isinstance(event, IceRestarted) and event.done for event in restarts))
                await goes_on(bob)
                await goes_on(alice)
                await alice.start_presentation(MediaSetup(video=picture(GREEN)))
                await measured(bob, shows(GREEN), number=1)

    application(scenario, LONG)


# -- statistics --------------------------------------------------------------------------------------------------------


def test_one_failing_sample_does_not_stop_the_next() -> None:
    async def scenario() -> None:
        engine = FakeMediaEngine(seed=2)
        config = ConnectorConfig(statistics_interval=0.05)
        async with venue() as place, open_connector(media=engine, config=config) as alice:
            assert tools.has_available_stats(alice)
            await alice.connect(**place.account("alice"))
            collected: list[Any] = []
            facade = SipConnectorFacade(alice)
            facade.on_stats(collected.append)
            await alice.call("800", MediaSetup())
            await until(lambda: len(collected) >= 2)
            for _ in range(3):
                engine.fail(CollectStats, "not now")
            count, asked = len(collected), len(engine.asked(CollectStats))
            await until(lambda: len(collected) >= count + 2)
            assert len(engine.asked(CollectStats)) >= asked + 5
            facade.off_stats(collected.append)

            own: list[Any] = []
            statistics = StatsPeerConnection(alice)
            end = statistics.on("collected", own.append)
            with pytest.raises(ValueError, match="only 'collected'"):
                statistics.on("stopped", own.append)
            assert alice.connection is not None
            statistics.start(alice.connection, interval=0.02)
            await until(lambda: len(own) >= 2)
            statistics.stop()
            end()
            await alice.hang_up()
            count = len(engine.asked(CollectStats))
            await anyio.sleep(0.15)
            assert len(engine.asked(CollectStats)) == count, "no call, no statistics"

    application(scenario)


def test_a_connector_without_an_engine_measures_nothing() -> None:
    async def scenario() -> None:
        async with open_connector() as one:
            assert not tools.has_available_stats(one)

    application(scenario)
