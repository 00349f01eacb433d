"""Presents a second picture in a conference, changes it, and has it ended by the server. With real media."""

import anyio

from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnectorFacade
from sipproto_server import Server, ServerConfig, Verdict, commands, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN = "example.invalid"
CAMERA = MediaSetup(audio=Tone(440.0), video=TestPattern(color=(200, 30, 30)))
SCREEN = MediaSetup(video=TestPattern(width=1280, height=720, frame_rate=5))  # with a screen: Screen()


async def main() -> None:
    services, media = AiortcServices(), AiortcEngine(include_loopback=True)
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    try:
        async with (
            run_server(AnyioRuntime(), config, media=services) as server,
            open_connector(media=media) as sip_connector,
        ):
            facade = SipConnectorFacade(sip_connector)
            await facade.connect_to_server(
                sip_server_url=DOMAIN,
                sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/",
                name="1001",
                password="secret",
                is_registered_user=True,
            )
            with facade.events("api:enterRoom") as entered:
                await facade.call_to_server(conference="800", media_stream=CAMERA)
                await anext(entered)
            await present(facade, server)
            await facade.disconnect_from_server()
    finally:
        media.close()
        services.close()


async def present(facade: SipConnectorFacade, server: Server) -> None:
    facade.on("presentation:started", lambda _: print("the presentation has started"))
    facade.on("presentation:ended", lambda ended: print("it has ended, by the server:", ended.by_server))
    effective = await facade.start_presentation(
        media_stream=SCREEN,
        content_hint="text",
        max_bitrate=4_000_000,
        degradation_preference="maintain-resolution",
        send_encodings=[{"width": 640, "height": 360}],
    )
    print("sent at 1 /", effective.encodings[0].scale_resolution_down_by, "of its size; ignored:", effective.ignored)
    await facade.update_presentation(media_stream=SCREEN, max_bitrate=6_000_000, content_hint="detail")
    await facade.stop_share_sip_connector()

    await facade.start_presentation(media_stream=SCREEN)
    with facade.events("stopped-presentation-by-server-command") as stopped:
        server.operate(commands.StopPresentation("p1"))
        await anext(stopped)

    server.operate(commands.SetPresentationPolicy(Verdict.DENY))
    try:
        await facade.start_presentation(media_stream=SCREEN)
    except ConnectorError as error:
        print("refused:", error.code, error.status)


if __name__ == "__main__":
    anyio.run(main)
