"""A bot that says back what it hears, and somebody who calls it with a tone; through an embedded server, on asyncio."""

import anyio

from sipproto import AgentConfig, Secret
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Endpoint, FramesEnded
from sipproto_server import ServerConfig, run_server

DOMAIN, USERS, AUDIO = "example.invalid", {"bot": "one", "alice": "two"}, (("audio", Direction.SENDRECV),)


async def echo(endpoint: Endpoint) -> None:
    """The bot: answers one call."""
    async for call in endpoint.incoming_calls():
        async with call.audio(rate=16000) as audio:
            await call.answer(AUDIO)
            try:
                async for chunk in audio:  # 20 ms each; the loop ends with the call
                    await audio.write(chunk.pcm)
            except FramesEnded:
                pass  # the caller hung up in the middle of a word
        print("the call is over")
        return


async def call_the_bot(endpoint: Endpoint) -> None:
    call = await endpoint.call(f"sip:bot@{DOMAIN}", AUDIO, setup=MediaSetup(audio=Tone(1000.0)))
    frequency = 0.0
    with anyio.fail_after(10):
        while abs(frequency - 1000.0) > 20:
            await anyio.sleep(0.1)
            line = (await call.stats()).line("audio")
            frequency = (line.audio_frequency if line is not None else None) or 0.0
    print(f"the bot says {frequency:.0f} Hz")
    await call.hang_up()


def config(user: str, media: AiortcEngine) -> AgentConfig:
    secret = Secret(username=user, password=USERS[user])
    return AgentConfig(aor=f"sip:{user}@{DOMAIN}", secrets=(secret,), capabilities=media.capabilities)


async def main() -> None:
    media = AiortcEngine(include_loopback=True)  # two endpoints with calls of their own need two engines
    others = AiortcEngine(include_loopback=True)
    try:
        async with (
            run_server(AnyioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server,
            open_endpoint(config("bot", media), media=media) as bot,
            open_endpoint(config("alice", others), media=others) as alice,
            anyio.create_task_group() as tasks,
        ):
            for endpoint in (bot, alice):
                await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
                await endpoint.register()
            tasks.start_soon(echo, bot)
            await call_the_bot(alice)
    finally:
        media.close()
        others.close()


if __name__ == "__main__":
    anyio.run(main)
