"""What a server asks of the main camera, and what is sent then. With real media, measured at the encoder."""

import anyio

from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import SipConnector, VideoBalancerOptions
from sipproto_server import Server, ServerConfig, commands, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN, CAMERA = "example.invalid", TestPattern(width=640, height=360, frame_rate=10)
limits: list[int | None] = []  # that were set, one after the other
OPTIONS = VideoBalancerOptions(
    ignore_for_codec="H264",
    balancing_start_delay=0.2,  # 10 s unless told otherwise
    on_set_parameters=lambda updated: limits.append(updated.parameters.encodings[0].max_bitrate),
)


async def main() -> None:
    services, media = AiortcServices(), AiortcEngine(include_loopback=True)
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    try:
        async with (
            run_server(AnyioRuntime(), config, media=services) as server,
            open_connector(
                media=media, video_balancer_options=OPTIONS, preferred_mime_types_video_codecs=["video/VP8"]
            ) as sip_connector,
        ):
            url = f"ws://127.0.0.1:{server.port}/"
            await sip_connector.connect(
                sip_server_url=DOMAIN, sip_web_socket_server_url=url, user="1001", password="secret", register=True
            )
            with anyio.fail_after(30):
                await balance(sip_connector, server)
    finally:
        media.close()
        services.close()


async def balance(sip_connector: SipConnector, server: Server) -> None:
    events = [f"video-balancer:balancing-{what}" for what in ("scheduled", "started", "stopped")]
    sip_connector.on_race(events, lambda _, name: print(name))
    with sip_connector.events("video-balancer:balancing-started") as started:
        await sip_connector.call("800", MediaSetup(video=CAMERA))
        await anext(started)
    print("before any wish:", await sent_with(sip_connector, 640, 500_000))
    server.operate(commands.MaxResolution("p1", "320x180"))
    print("the server wants 320x180:", await sent_with(sip_connector, 320, 320_000))
    server.operate(commands.PauseCamera("p1"))
    print("it pauses the camera:", await sent_with(sip_connector, 16, 60_000))
    manager = sip_connector.video_sending_balancer_manager
    await manager.stop_balancing()
    print("as without balancing:", await sent_with(sip_connector, 640, None))
    server.operate(commands.ResumeCamera("p1"))
    await manager.start_balancing()
    print("the server wants the camera again:", await sent_with(sip_connector, 640, 500_000))


async def sent_with(sip_connector: SipConnector, width: int, bitrate: int | None) -> str:
    """Waits until pictures of that width are encoded, with that limit."""
    encoded = None
    while (encoded, limits[-1]) != (width, bitrate):
        await anyio.sleep(0.05)
        sent = (await sip_connector.stats_manager.collect()).outbound("video")
        encoded = sent.frame_width if sent is not None else None
    return f"{encoded} wide, {limits[-1]} bit/s"


if __name__ == "__main__":
    anyio.run(main)
