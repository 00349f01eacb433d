"""Calls the echo of an embedded server with a tone and hears it come back. On asyncio; see trio_call.py for trio."""

import anyio

from sipproto import AgentConfig, Secret
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call
from sipproto_server import ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN, AUDIO = "example.invalid", (("audio", Direction.SENDRECV),)


async def main() -> None:
    services, media = AiortcServices(), AiortcEngine(include_loopback=True)
    server_config = ServerConfig(realm=DOMAIN, users={"alice": "secret"}, capabilities=services.capabilities)
    config = AgentConfig(
        aor=f"sip:alice@{DOMAIN}",
        secrets=(Secret(username="alice", password="secret"),),
        capabilities=media.capabilities,
    )
    try:
        async with (
            run_server(AnyioRuntime(), server_config, media=services) as server,
            open_endpoint(config, media=media) as endpoint,
        ):
            await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
            call = await endpoint.call(f"sip:600@{DOMAIN}", AUDIO, setup=MediaSetup(audio=Tone(1000.0)))
            frequency = 0.0
            with anyio.fail_after(10):
                while abs(frequency - 1000.0) > 20:
                    await anyio.sleep(0.1)  # figures have to be asked for
                    frequency = await echo_frequency(call)
            print(f"the echo has {frequency:.0f} Hz")
            await call.hang_up()
    finally:
        media.close()
        services.close()


async def echo_frequency(call: Call) -> float:
    line = (await call.stats()).line("audio")
    return 0.0 if line is None or line.audio_frequency is None else line.audio_frequency


if __name__ == "__main__":
    anyio.run(main)
