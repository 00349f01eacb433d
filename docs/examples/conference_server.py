"""A conference server: a guest waits in the lobby, the operator admits, mutes and ends; the HTTP API says who is there."""

import json
import urllib.request

import anyio
from anyio import to_thread

from sipproto import AgentConfig
from sipproto.agent import outputs as o
from sipproto.conference import EnterRoom, MicControl, parse_info
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call
from sipproto_server import ServerConfig, Service, commands, run_server
from sipproto_server.aiortc import AiortcServices
from sipproto_server.http import run_http_api

DOMAIN, TOKEN = "example.invalid", "a-secret-of-this-run"


async def told(call: Call, kind: type) -> object:
    """Waits for a message of the server."""
    with call.events() as events:
        async for event in events:
            if isinstance(event, o.InfoReceived):
                for message in parse_info(event.content_type, event.headers):
                    if isinstance(message, kind):
                        return message
    raise RuntimeError("the call is over")


def ask(port: int, path: str) -> object:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


async def main() -> None:
    runtime, media = AnyioRuntime(), AiortcServices()
    config = ServerConfig(
        realm=DOMAIN,
        services={"800": Service(kind="conference", room="weekly")},
        guests=True,
        capabilities=media.capabilities,
    )
    engine = AiortcEngine(include_loopback=True)
    guest = AgentConfig(aor=f"sip:4711@{DOMAIN}", display_name="Anna", capabilities=engine.capabilities)
    try:
        async with (
            run_server(runtime, config, media=media) as server,
            run_http_api(runtime, server, token=TOKEN) as port,
            open_endpoint(guest, media=engine) as anna,
        ):
            await anna.connect(f"ws://127.0.0.1:{server.port}/")
            call = await anna.call(f"sip:800@{DOMAIN}", (("audio", Direction.SENDRECV),))
            lobby = await told(call, EnterRoom)
            print("the guest is told:", lobby)
            server.operate(commands.Admit(target="p1"))
            print("after admit:", await told(call, EnterRoom))
            print("rooms:", await to_thread.run_sync(ask, port, "/rooms"))
            server.operate(commands.StopMic(target="@weekly", forced=True))
            print("after stop-mic:", await told(call, MicControl))
            server.operate(commands.Kick(target="p1"))
            print("the call is over:", (await call.wait_ended()).cause.value)
    finally:
        engine.close()
        media.close()


if __name__ == "__main__":
    anyio.run(main)
