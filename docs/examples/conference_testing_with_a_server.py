"""An application and its tests: at a real conference server, without media. With pytest each `test_` would be one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from sipproto.agent.media import OpenMedia
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnector, SipConnectorFacade
from sipproto_devices import MediaSetup, TestPattern
from sipproto_server import Server, ServerConfig, command_of, run_server

DOMAIN = "example.invalid"
CAMERA, SCREEN = MediaSetup(video=TestPattern()), MediaSetup(video=TestPattern(width=1280, height=720))


# -- the application -----------------------------------------------------------------------------------------------------


async def join_and_present(facade: SipConnectorFacade, url: str) -> str:
    """Joins the room 800 and presents at once; says what came of it."""
    await facade.connect_to_server(
        sip_server_url=DOMAIN, sip_web_socket_server_url=url, name="1001", password="secret", is_registered_user=True
    )
    try:
        with facade.events("api:enterRoom") as entered:
            await facade.call_to_server(conference="800", media_stream=CAMERA)
            await anext(entered)
        await facade.start_presentation(media_stream=SCREEN)
    except ConnectorError as error:
        return f"no: {error.code}"
    return "presenting"


# -- its tests -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Server, SipConnector, FakeMediaEngine, str]]:
    services, media = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"}, capabilities=services.capabilities)
    with anyio.fail_after(10):
        async with (
            run_server(AnyioRuntime(), config, media=services) as server,
            open_connector(media=media) as sip_connector,
        ):
            yield server, sip_connector, media, f"ws://127.0.0.1:{server.port}/"


async def test_it_presents() -> None:
    async with stage() as (server, sip_connector, media, url):
        assert await join_and_present(SipConnectorFacade(sip_connector), url) == "presenting"
        assert media.calls[0].prepared[-1] == MediaSetup(video=CAMERA.video, further_video=(SCREEN.video,))
        assert [room.presenter for room in server.core.rooms if room.room == "800"] == ["p1"]


async def test_a_refusal_is_told() -> None:
    async with stage() as (server, sip_connector, _, url):
        server.operate(command_of("presentation-policy", ("deny",)))
        assert await join_and_present(SipConnectorFacade(sip_connector), url) == "no: REFUSED"
        assert sip_connector.is_call_active


async def test_an_engine_that_fails_is_told() -> None:
    async with stage() as (_, sip_connector, media, url):
        media.fail(OpenMedia, "no sockets are left")
        assert await join_and_present(SipConnectorFacade(sip_connector), url) == "no: MEDIA_FAILED"


async def main() -> None:
    await test_it_presents()
    await test_a_refusal_is_told()
    await test_an_engine_that_fails_is_told()
    print("the application does what it should")


if __name__ == "__main__":
    anyio.run(main)
