"""Statistics of a call, of the connector and at an interval of our own, and what slow measuring does. With real media."""

import anyio

from sipproto.agent.inputs import TimeoutElapsed
from sipproto.connector import ConnectorConfig
from sipproto.media import SampleDone, StartPolling, StatisticsPolling
from sipproto.media.sample import StatsSample, available_incoming_bitrate
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import SipConnectorFacade, StatsPeerConnection, tools
from sipproto_server import ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN = "example.invalid"


async def main() -> None:
    services, media = AiortcServices(), AiortcEngine(include_loopback=True)
    server_config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    try:
        async with (
            run_server(AnyioRuntime(), server_config, media=services) as server,
            open_connector(media=media, config=ConnectorConfig(statistics_interval=0.2)) as sip_connector,
        ):
            print("there is something to measure:", tools.has_available_stats(sip_connector))
            url = f"ws://127.0.0.1:{server.port}/"
            await sip_connector.connect(
                sip_server_url=DOMAIN, sip_web_socket_server_url=url, user="1001", password="secret", register=True
            )
            with anyio.fail_after(30):
                await watch(SipConnectorFacade(sip_connector))
    finally:
        media.close()
        services.close()


async def watch(facade: SipConnectorFacade) -> None:
    call = await facade.call_to_server(  # 600 is the echo
        conference="600", media_stream=MediaSetup(audio=Tone(440.0), video=TestPattern(frame_rate=10))
    )
    both, bitrate = anyio.Event(), anyio.Event()

    def show(sample: StatsSample) -> None:
        sent, received = sample.outbound.video.outbound_rtp, sample.inbound.video.inbound_rtp
        if sent is not None and received is not None and received.frames_decoded and not both.is_set():
            print(f"video: sent {sent.frame_width} wide, received {received.frame_width} wide")
            both.set()

    unsubscribe = facade.on_stats(show)
    await both.wait()
    unsubscribe()

    def estimate(sample: StatsSample) -> None:
        if available_incoming_bitrate(sample) is not None:  # None until the engine has an estimate
            bitrate.set()

    statistics = StatsPeerConnection(facade.sip_connector)
    statistics.on("collected", estimate)
    statistics.start(call, interval=0.1)
    await bitrate.wait()
    statistics.stop()
    print("the available incoming bit rate is known")


def adaptive_interval() -> None:
    polling = StatisticsPolling(interval=1.0)
    polling.handle(StartPolling(), 0.0)
    for number, elapsed in enumerate((0.004, 0.020, 0.040, 0.060), start=1):
        now = polling.next_timeout() or 0.0
        polling.handle(TimeoutElapsed(), now)
        polling.handle(SampleDone(number=number, elapsed=elapsed), now)
        print(f"after one of {1000 * elapsed:g} ms the next in {(polling.next_timeout() or 0.0) - now:g} s")


if __name__ == "__main__":
    anyio.run(main)
    adaptive_interval()
