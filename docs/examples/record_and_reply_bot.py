"""A bot that asks, records until its caller is silent, plays that back and hangs up. On trio, through an embedded server."""

import math
import struct

import trio

from sipproto import AgentConfig, Secret
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine
from sipproto_client import Call, CallAudio, Endpoint
from sipproto_server import ServerConfig, run_server
from sipproto_trio import TrioRuntime, open_endpoint

DOMAIN, USERS, AUDIO = "example.invalid", {"bot": "one", "alice": "two"}, (("audio", Direction.SENDRECV),)
RATE = 16000


def tone(frequency: float, seconds: float) -> bytes:
    """Instead of a file or a voice that was made elsewhere: mono, 16 bits, RATE samples a second."""
    numbers = range(round(seconds * RATE))
    return b"".join(struct.pack("<h", round(9000 * math.sin(math.tau * frequency * n / RATE))) for n in numbers)


async def record(audio: CallAudio) -> bytes:
    """What is said from the first word to the first silence of half a second, at most for 30 seconds."""
    recording = bytearray()
    with trio.move_on_after(30):  # a caller on hold sends nothing at all
        async for chunk in audio:
            if chunk.speaking:
                recording += chunk.pcm
            elif recording:
                break
    return bytes(recording)


async def serve(call: Call) -> None:
    async with call.audio(rate=RATE, hangover=0.5) as audio:
        await call.answer(AUDIO)
        await audio.write(tone(440.0, 0.6))
        await audio.drained()
        recording = await record(audio)
        print(f"the bot has recorded {len(recording) / 2 / RATE:.0f} s")
        await audio.write(recording)
        await audio.drained()
        await trio.sleep(0.2)  # what was handed over last is still on its way
    await call.hang_up()


async def bot(endpoint: Endpoint) -> None:
    async for call in endpoint.incoming_calls():
        await serve(call)
        return


async def talk_to_the_bot(endpoint: Endpoint) -> None:
    call = endpoint.new_call()
    async with call.audio(rate=RATE, hangover=0.2) as audio:
        await endpoint.call(f"sip:bot@{DOMAIN}", AUDIO, call=call)
        await record(audio)
        print("alice has heard the question")
        await audio.write(tone(660.0, 1.5))
        answer = await record(audio)
        print(f"alice hears {len(answer) / 2 / RATE:.0f} s of her own words")
        async for _ in audio:
            pass  # until the bot hangs up
    assert call.ended is not None
    print("the end:", call.ended.cause.value)


def config(user: str, media: AiortcEngine) -> AgentConfig:
    secret = Secret(username=user, password=USERS[user])
    return AgentConfig(aor=f"sip:{user}@{DOMAIN}", secrets=(secret,), capabilities=media.capabilities)


async def main() -> None:
    bots, callers = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    try:
        async with (
            run_server(TrioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server,
            open_endpoint(config("bot", bots), media=bots) as answering,
            open_endpoint(config("alice", callers), media=callers) as calling,
            trio.open_nursery() as nursery,
        ):
            for endpoint in (answering, calling):
                await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
                await endpoint.register()
            nursery.start_soon(bot, answering)
            await trio.lowlevel.checkpoint()
            await talk_to_the_bot(calling)
    finally:
        bots.close()
        callers.close()


if __name__ == "__main__":
    trio.run(main)
