"""Connects to a conference server, calls a conference, reads statistics and leaves. The server is the embedded one."""

import anyio

from sipproto.media.remote_streams import RemoteStream
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnectorFacade, StatsPeerConnection, tools
from sipproto_server import ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN = "example.invalid"


async def main() -> None:
    services, media = AiortcServices(), AiortcEngine(include_loopback=True)
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    try:
        async with (
            run_server(AnyioRuntime(), config, media=services) as server,
            open_connector(
                media=media,
                preferred_mime_types_video_codecs=["video/VP9", "video/VP8"],
                exclude_mime_types_video_codecs=["video/H264"],
            ) as sip_connector,
        ):
            await use(SipConnectorFacade(sip_connector), f"ws://127.0.0.1:{server.port}/")
    finally:
        media.close()
        services.close()


async def use(facade: SipConnectorFacade, url: str) -> None:
    try:
        await facade.connect_to_server(
            user_agent=tools.get_user_agent(app_name="MyApp"),
            sip_web_socket_server_url=url,
            sip_server_url=f"sip:{DOMAIN}",
            name="1001",
            password="secret",
            is_registered_user=True,
        )
    except ConnectorError as error:
        if error.code == "CONNECTION_FAILED":
            print("the server cannot be reached:", error.detail)
        raise

    shown = anyio.Event()

    def set_remote_streams(streams: tuple[RemoteStream, ...]) -> None:
        print("remote streams:", len(streams))
        shown.set()

    local_stream = MediaSetup(audio=Tone(440.0), video=TestPattern())  # with devices: Microphone(), Camera()
    call = await facade.call_to_server(
        conference="800",
        media_stream=local_stream,
        set_remote_streams=set_remote_streams,
        on_enter_conference=lambda **_: print("we are in"),
        on_ended_call=lambda: print("the call has ended"),
    )
    print("video is sent as", tools.get_codec_from_sender(call))

    enough = anyio.Event()
    stats = StatsPeerConnection(facade.sip_connector)
    stats.on("collected", lambda sample: enough.set() if sample.inbound.audio.inbound_rtp is not None else None)
    stats.start(call, interval=0.1)
    with anyio.fail_after(10):
        await enough.wait()
        await shown.wait()
    print("media are received")
    await facade.disconnect_from_server()


if __name__ == "__main__":
    anyio.run(main)
