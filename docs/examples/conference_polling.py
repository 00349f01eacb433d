"""How it is noticed that our picture has another size: the machine alone, in time that we make up, and in a connector."""

import anyio

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.agent.media import LineStats, MediaReport, MediaState
from sipproto.agent.stats import MediaSourceStats, OutboundRtpStats
from sipproto.connector import ConnectorConfig
from sipproto.connector.naming import Named
from sipproto.media.resolution import Resolution
from sipproto.media.track_monitor import MeasureSize, SizeMeasured, TrackChanged, TrackMonitor, TrackSent
from sipproto.media.video_balancer import ParametersUpdated
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import EventStream
from sipproto_devices import MediaSetup, TestPattern
from sipproto_server import ServerConfig, run_server

DOMAIN = "example.invalid"


def alone() -> None:
    """A camera that is turned after 40 s. In a call `now` is the clock, and sizes are measured by the media engine."""
    monitor, measured = TrackMonitor(poll_interval=0.5, max_poll_interval=8.0), []
    monitor.handle(TrackSent(size=Resolution(1280, 720)), 0.0)
    while (now := monitor.next_timeout()) is not None and now < 50.0:
        for output in monitor.handle(TimeoutElapsed(), now):
            assert isinstance(output, MeasureSize)
            size = Resolution(720, 1280) if now > 40.0 else Resolution(1280, 720)
            for change in monitor.handle(SizeMeasured(size=size, number=output.number), now):
                assert isinstance(change, TrackChanged)
                print(f"it is {change.size} now, noticed at {now} s")
            measured.append(now)
    print("measured at", *measured, "s")


def shows(width: int, height: int) -> MediaReport:
    """What an engine measures of a picture of that size."""
    line = LineStats(mid="0", kind="video", direction="sendrecv")
    sent = OutboundRtpStats(id="O", timestamp=0.0, ssrc=1, kind="video", mid="0", media_source_id="S")
    source = MediaSourceStats(id="S", timestamp=0.0, kind="video", track_identifier="t", width=width, height=height)
    return MediaReport(state=MediaState.CONNECTED, lines=(line,), stats=(sent, source))


async def in_a_connector() -> None:
    """Without statistics, so that only the monitor measures; the balancer takes each change."""
    services, media = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
    polling = ConnectorConfig(
        track_poll_interval=0.05, track_max_poll_interval=0.2, balancing_start_delay=0.0, statistics_interval=0
    )
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    async with (
        run_server(AnyioRuntime(), config, media=services) as server,
        open_connector(media=media, config=polling) as sip_connector,
    ):
        url = f"ws://127.0.0.1:{server.port}/"
        await sip_connector.connect(
            sip_server_url=DOMAIN, sip_web_socket_server_url=url, user="1001", password="secret", register=True
        )
        with sip_connector.events("video-balancer:parameters-updated") as updates, anyio.fail_after(10):
            await sip_connector.call("800", MediaSetup(video=TestPattern()))
            print("a picture of unknown size:", await bit_rate(updates))
            for width, height in ((1280, 720), (640, 360)):
                media.calls[0].report = shows(width, height)
                print(f"a picture of {width}x{height}:", await bit_rate(updates))


async def bit_rate(updates: EventStream[Named]) -> int | None:
    updated = (await anext(updates)).payload
    assert isinstance(updated, ParametersUpdated)
    return updated.parameters.encodings[0].max_bitrate


if __name__ == "__main__":
    alone()
    anyio.run(in_a_connector)
