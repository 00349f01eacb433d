"""The server is stopped and started again in the middle of a call, and the call goes on. See docs/recovery.md."""

import anyio
from anyio.abc import TaskStatus

from sipproto import AgentConfig, Secret
from sipproto.agent import Recovery, outputs
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call, Endpoint, Subscription
from sipproto_server import ServerConfig, run_server

DOMAIN, USERS = "example.invalid", {"alice": "one", "bob": "two"}
AUDIO = (("audio", Direction.SENDRECV),)
POLICY = Recovery(first_delay=0.5, max_delay=5.0, grace=20.0)


def config(user: str, media: AiortcEngine) -> AgentConfig:
    return AgentConfig(
        aor=f"sip:{user}@{DOMAIN}",
        secrets=(Secret(username=user, password=USERS[user]),),
        capabilities=media.capabilities,
        recovery=POLICY,
    )


async def answer_one(endpoint: Endpoint, over: anyio.Event, *, task_status: TaskStatus[None]) -> None:
    with endpoint.incoming_calls() as calls:
        task_status.started()
        call = await anext(calls)
        await call.answer(AUDIO, setup=MediaSetup(audio=Tone(800.0)))
        print("bob sees the end:", (await call.wait_ended()).cause.value)
        over.set()


async def hear(call: Call, hertz: float) -> None:
    with anyio.fail_after(10):
        frequency = 0.0
        while abs(frequency - hertz) > 20:
            await anyio.sleep(0.1)
            line = (await call.stats()).line("audio")
            frequency = 0.0 if line is None else line.audio_frequency or 0.0
    print(f"alice hears {frequency:.0f} Hz")


async def main() -> None:
    media = [AiortcEngine(include_loopback=True) for _ in USERS]
    server_config, runtime = ServerConfig(realm=DOMAIN, users=USERS), AnyioRuntime()
    over = anyio.Event()
    try:
        async with (
            open_endpoint(config("alice", media[0]), media=media[0]) as alice,
            open_endpoint(config("bob", media[1]), media=media[1]) as bob,
            anyio.create_task_group() as tasks,
        ):
            async with run_server(runtime, server_config) as server:
                for endpoint in (alice, bob):
                    await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
                    await endpoint.register()
                await tasks.start(answer_one, bob, over)
                call = await alice.call(f"sip:bob@{DOMAIN}", AUDIO, setup=MediaSetup(audio=Tone(500.0)))
                await hear(call, 800.0)
                events = call.events()
            print("the server is gone")
            await hear(call, 800.0)  # what the two say goes from one to the other, and not by the server
            async with run_server(runtime, server_config, port=server.port):
                print("the server is back, and knows of nothing")
                await wait_recovered(events)
                await hear(call, 800.0)
                await call.hang_up()
                await over.wait()
    finally:
        for engine in media:
            engine.close()


async def wait_recovered(events: Subscription) -> None:
    """Says what becomes of the call. Without the events `await call.wait_recovered()` waits just so."""
    with events:
        async for event in events:
            if isinstance(event, outputs.CallReconnecting):
                print(f"{event.reason}: the call waits up to {event.waits:.0f} s")
            if isinstance(event, outputs.CallRecovered):
                print(f"the call goes on after {event.gap:.1f} s")
                return


if __name__ == "__main__":
    anyio.run(main)
