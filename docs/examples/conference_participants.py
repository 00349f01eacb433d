"""What a conference server says to its participants, and what they answer: the lobby, roles, camera and microphone, ICE."""

import anyio

from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnector, SipConnectorFacade, tools
from sipproto_devices import MediaSetup
from sipproto_server import Server, ServerConfig, command_of, run_server

DOMAIN = "example.invalid"


async def main() -> None:
    services = FakeMediaEngine(seed=1)  # nothing is sent: this is about what is said
    config = ServerConfig(realm=DOMAIN, guests=True, capabilities=services.capabilities)
    async with (
        run_server(AnyioRuntime(), config, media=services) as server,
        open_connector(media=FakeMediaEngine(seed=2)) as sip_connector,
    ):
        facade = SipConnectorFacade(sip_connector)
        await facade.connect_to_server(
            sip_server_url=DOMAIN, sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/", display_name="Guest"
        )
        with sip_connector.events("api:enterRoom") as rooms:
            await facade.call_to_server(
                conference="800",
                media_stream=MediaSetup(),
                extra_headers=tools.get_extra_headers(is_muted_audio=False, is_muted_video=True),
                on_enter_purgatory=lambda: print("waiting to be admitted"),
                on_enter_conference=lambda **_: print("admitted"),
            )
            await anext(rooms)
            server.operate(command_of("admit", ("p1",)))
            await anext(rooms)
        await take_part(facade, sip_connector, server)


async def take_part(facade: SipConnectorFacade, sip_connector: SipConnector, server: Server) -> None:
    facade.on_move_to_spectators(lambda move: print("spectator, may send:", move.is_available_sending_media))
    facade.on_move_to_participants(lambda _: print("participant again"))
    facade.on_use_license(lambda counted: print("license:", counted.value))
    sync = tools.create_sync_media_state(sip_connector=sip_connector)
    sync.start(
        on_stop_mic_forced=lambda: print("muted by an administrator"),
        on_start_main_cam_not_forced=facade.send_refusal_to_turn_on_cam,
    )
    with sip_connector.events("api:participant:move-request-to-participants") as last:
        for name, *values in (
            ("stop-mic", "p1", "forced"),
            ("start-camera", "p1"),
            ("license", "p1", "AUDIO"),
            ("spectator", "p1"),
            ("participant", "p1"),
        ):
            server.operate(command_of(name, values))
        await anext(last)
    await facade.send_media_state(is_enabled_cam=False, is_enabled_mic=True)
    server.operate(command_of("camera-policy", ("deny",)))
    try:
        await facade.ask_permission_to_enable_cam()
    except ConnectorError as error:
        print("the camera stays off:", error.code)
    done = await sip_connector.call_manager.restart_ice(
        use_update=True, extra_headers=["X-Restart-Reason: Connection-Reset"]
    )
    print("ICE restarted:", done)


if __name__ == "__main__":
    anyio.run(main)
