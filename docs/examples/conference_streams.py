"""Remote streams of a call, another stream of our own, and a second one while somebody presents. Without media."""

from typing import cast

import anyio

from sipproto.connector.events import RemoteStreamsChanged
from sipproto.connector.naming import Named
from sipproto.media.remote_streams import RemoteStream
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import EventStream, SipConnector, SipConnectorFacade
from sipproto_devices import MediaSetup, TestPattern, Tone
from sipproto_server import ServerConfig, run_server

DOMAIN, USERS = "example.invalid", {"alice": "one", "bob": "two"}
CAMERA = MediaSetup(audio=Tone(440.0), video=TestPattern())
OTHER_CAMERA = MediaSetup(audio=Tone(440.0), video=TestPattern(color=(200, 30, 30)))


async def main() -> None:
    services, media = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
    config = ServerConfig(realm=DOMAIN, users=USERS, capabilities=services.capabilities)
    async with (
        run_server(AnyioRuntime(), config, media=services) as server,
        open_connector(media=media) as alice,
        open_connector(media=FakeMediaEngine(seed=3)) as bob,
    ):
        url = f"ws://127.0.0.1:{server.port}/"
        for who, name in ((alice, "alice"), (bob, "bob")):
            await who.connect(
                sip_server_url=DOMAIN, sip_web_socket_server_url=url, user=name, password=USERS[name], register=True
            )
        with anyio.fail_after(10):
            await watch(SipConnectorFacade(alice))
            await replace(alice, media)
            await see_a_presentation(alice, bob)


async def watch(facade: SipConnectorFacade) -> None:
    shown = anyio.Event()

    def show(streams: tuple[RemoteStream, ...]) -> None:
        print("streams, the same for 0.2 s:", *((stream.audio, stream.video) for stream in streams))
        shown.set()

    ready = facade.resolve_handle_ready_remote_streams(on_ready_remote_streams=lambda: print("a line of video"))
    settled = facade.resolve_handle_ready_remote_streams_debounced(on_ready_remote_streams=show)
    ends = [facade.on("call:peerconnection:ontrack", handler) for handler in (ready, settled)]
    await facade.call_to_server(conference="800", media_stream=CAMERA)
    await shown.wait()
    print("right now:", len(facade.get_remote_streams() or ()))
    for end in ends:
        end()


async def replace(alice: SipConnector, media: FakeMediaEngine) -> None:
    await alice.replace_media_stream(OTHER_CAMERA)  # the same kinds: the peer is not asked
    print("the engine sends the other one:", media.calls[0].prepared[-1] == OTHER_CAMERA)


async def see_a_presentation(alice: SipConnector, bob: SipConnector) -> None:
    with bob.events("api:enterRoom") as entered:
        await bob.call("800", CAMERA)
        await anext(entered)
    with alice.events("call:remote-streams-changed") as changes:
        await bob.start_presentation(MediaSetup(video=TestPattern(width=1280, height=720)))
        print("somebody presents on the line", await content(changes, wanted=True))
        await bob.stop_presentation()
        print("and does so no more:", await content(changes, wanted=False))


async def content(changes: EventStream[Named], *, wanted: bool) -> str | None:
    """The video line that the server says has content; it stays for the next presentation, without any."""
    async for event in changes:
        contented = cast("RemoteStreamsChanged", event.payload).contented
        if (contented is not None) is wanted:
            return contented.video if contented is not None else None
    raise RuntimeError("the connector is closed")


if __name__ == "__main__":
    anyio.run(main)
