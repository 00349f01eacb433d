"""Restarts ICE: by hand, with UPDATE and a header of our own, and by itself when the server wants it. Without media."""

import io

import anyio

from sipproto.connector.events import IceRestarted
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import SipConnector
from sipproto_devices import MediaSetup, TestPattern, Tone
from sipproto_server import Server, ServerConfig, commands, run_server

DOMAIN = "example.invalid"


async def main() -> None:
    services, media, wire = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2), io.StringIO()
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    async with (
        run_server(AnyioRuntime(), config, media=services) as server,
        open_connector(media=media, trace=wire) as sip_connector,
    ):
        url = f"ws://127.0.0.1:{server.port}/"
        await sip_connector.connect(
            sip_server_url=DOMAIN, sip_web_socket_server_url=url, user="1001", password="secret", register=True
        )
        with sip_connector.events("api:enterRoom") as entered:
            await sip_connector.call("800", MediaSetup(audio=Tone(440.0), video=TestPattern()))
            await anext(entered)
        fragments = [media.calls[0].transports[0].ice_ufrag]  # what ICE knows our side by
        await by_hand(sip_connector)
        fragments.append(media.calls[0].transports[0].ice_ufrag)
        await by_the_server(sip_connector, server)
        fragments.append(media.calls[0].transports[0].ice_ufrag)
    print("ICE is another one each time:", len(set(fragments)) == 3)
    assert "UPDATE sip:" in wire.getvalue() and "X-Restart-Reason: High-Packet-Loss" in wire.getvalue()


async def by_hand(sip_connector: SipConnector) -> None:
    done = await sip_connector.call_manager.restart_ice(  # False: the peer refused, and the call goes on as it is
        use_update=True,
        extra_headers=["X-Restart-Reason: High-Packet-Loss"],
        rtc_offer_constraints={"offer_to_receive_audio": True, "offer_to_receive_video": True},
    )
    print("restarted by hand:", done)


async def by_the_server(sip_connector: SipConnector, server: Server) -> None:
    """With `ConnectorConfig(restart_ice=False)` it would only be told."""
    sip_connector.on("api:restart", lambda wish: print("the server wants it:", wish.tracks_direction.value))
    over = anyio.Event()

    def happened(event: object) -> None:
        if isinstance(event, IceRestarted):
            print(f"restarted: {event.done}, automatically: {event.automatic}")
            over.set()

    sip_connector.endpoint.on_event(happened)  # all that the engine tells, also what has no name
    server.operate(commands.RestartMedia("p1"))
    with anyio.fail_after(10):
        await over.wait()


if __name__ == "__main__":
    anyio.run(main)
