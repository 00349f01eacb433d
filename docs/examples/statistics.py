"""Measures a call with the echo of an embedded server three times, and shows the last report as W3C has it."""

import json

import anyio

from sipproto import AgentConfig, Secret
from sipproto.agent import MediaReport
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call
from sipproto_server import ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN, BOTH = "example.invalid", (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


async def watch(call: Call) -> MediaReport:
    """The third report. Leaving the block ends the measuring; the end of the call would, too."""
    count = 0
    async with call.watch_stats(interval=0.5) as samples:
        async for report in samples:
            audio, video, pair = report.inbound("audio"), report.inbound("video"), report.selected_pair
            if audio is None or video is None or pair is None:
                continue  # nothing has come yet
            print(f"{audio.packets_received} packets of audio, {video.frames_decoded} pictures, {pair.state}")
            count += 1
            if count == 3:
                return report
    raise RuntimeError("the call has ended")


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
            setup = MediaSetup(audio=Tone(440.0), video=TestPattern())
            call = await endpoint.call(f"sip:600@{DOMAIN}", BOTH, setup=setup)
            with anyio.fail_after(20):
                report = await watch(call)
            video = report.inbound("video")
            assert video is not None
            print(json.dumps(report.as_w3c()[video.id], indent=2))
            await call.hang_up()
    finally:
        media.close()
        services.close()


if __name__ == "__main__":
    anyio.run(main)
