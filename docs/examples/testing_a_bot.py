"""A bot and its tests: calls through an embedded server, without any media. With pytest each `test_` would be one of its tests.

The bot plays a greeting; "1" shows the camera, "9" ends the call, and so does a caller whose media are lost.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from sipproto import AgentConfig, Secret
from sipproto.agent.media import AskKeyFrame, MediaState, OpenMedia
from sipproto.agent.outputs import DtmfReceived, MediaChanged, MediaNegotiated
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call, CommandError, Endpoint
from sipproto_server import ServerConfig, run_server

AUDIO, CAMERA = ("audio", Direction.SENDRECV), ("video", Direction.SENDONLY)


# -- the bot -------------------------------------------------------------------------------------------------------------


async def serve(call: Call) -> None:
    """One call. In production `setup` is a MediaSetup for AiortcEngine."""
    with call.events() as events:
        try:
            await call.answer((AUDIO,), setup="greeting.wav")
        except CommandError:
            return  # the caller has been told
        async for event in events:
            match event:
                case DtmfReceived(digit="1"):
                    (camera,) = await call.change_media(add=(CAMERA,))
                    await call.request_key_frame(camera, ours=True)
                case DtmfReceived(digit="9") | MediaChanged(state=MediaState.DISCONNECTED):
                    await call.hang_up()
                case _:
                    pass


async def run_bot(endpoint: Endpoint) -> None:
    async with anyio.create_task_group() as tasks:
        async for call in endpoint.incoming_calls():
            tasks.start_soon(serve, call)


# -- its tests -----------------------------------------------------------------------------------------------------------

DOMAIN, USERS = "example.invalid", {"bot": "one", "alice": "two"}
BOT = f"sip:bot@{DOMAIN}"


def config(user: str, media: FakeMediaEngine) -> AgentConfig:
    secret = Secret(username=user, password=USERS[user])
    return AgentConfig(aor=f"sip:{user}@{DOMAIN}", secrets=(secret,), capabilities=media.capabilities)


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[FakeMediaEngine, Endpoint]]:
    """The media engine of the bot, which is waiting for calls, and somebody to call it."""
    bot_media, alice_media = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
    with anyio.fail_after(10):
        async with (
            run_server(AnyioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server,
            open_endpoint(config("bot", bot_media), media=bot_media) as bot,
            open_endpoint(config("alice", alice_media), media=alice_media) as alice,
            anyio.create_task_group() as tasks,
        ):
            for endpoint in (bot, alice):
                await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
                await endpoint.register()
            tasks.start_soon(run_bot, bot)
            yield bot_media, alice
            tasks.cancel_scope.cancel()


async def test_the_camera_is_shown() -> None:
    async with stage() as (bot_media, alice):
        call = await alice.call(BOT, (AUDIO,))
        with call.events() as events:
            (bot_call,) = bot_media.calls
            assert bot_call.prepared == ["greeting.wav"]
            bot_media.hear_digit(bot_call.ident, "1")
            async for event in events:
                if isinstance(event, MediaNegotiated):
                    break
        assert [line.kind for line in call.lines] == ["audio", "video"]
        while not bot_media.asked(AskKeyFrame):
            await anyio.sleep(0.01)
        assert bot_call.key_frames == [(1, True)]


async def test_nine_ends_the_call() -> None:
    async with stage() as (bot_media, alice):
        call = await alice.call(BOT, (AUDIO,))
        bot_media.hear_digit(bot_media.calls[0].ident, "9")
        print("after 9:", (await call.wait_ended()).cause.value)


async def test_lost_media_end_the_call() -> None:
    async with stage() as (bot_media, alice):
        call = await alice.call(BOT, (AUDIO,))
        bot_media.change_state(bot_media.calls[0].ident, MediaState.DISCONNECTED)
        await call.wait_ended()
        assert bot_media.calls[0].is_closed


async def test_the_bot_survives_an_engine_that_fails() -> None:
    async with stage() as (bot_media, alice):
        bot_media.fail(OpenMedia, "no sockets are left")
        try:
            await alice.call(BOT, (AUDIO,))
        except CommandError as error:
            print("without sockets the caller hears:", error.status)
        await (await alice.call(BOT, (AUDIO,))).hang_up()


async def main() -> None:
    await test_the_camera_is_shown()
    await test_nine_ends_the_call()
    await test_lost_media_end_the_call()
    await test_the_bot_survives_an_engine_that_fails()
    print("the bot does what it should")


if __name__ == "__main__":
    anyio.run(main)
