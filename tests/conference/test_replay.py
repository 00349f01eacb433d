"""Our client beside the recorded one, before a server that says what that one was told."""

from __future__ import annotations

import pytest

from sipproto.agent import AgentConfig, SessionTimers
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto_client import Call, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from tests.client.rig import play, url

from .compare import Comparison, Verdict, compare, table
from .recorded import VERSIONS, Recording, own_lines, recording
from .replay import Replay, replay

MEDIA = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
INSTANCE = "urn:uuid:00000000-0000-4000-8000-0000000000e1"
# Ours shows its password at once where it was asked for it before, so that nothing is refused a second time.
NEVER_SAID = {"invite", "ack of refusal", "unregister"}
each_version = pytest.mark.parametrize("version", VERSIONS)


def config(recorded: Recording, media: FakeMediaEngine) -> AgentConfig:
    return AgentConfig(
        aor="sip:erin@rig.test",
        display_name="erin",
        secrets=(Secret(username="erin", password="any"),),
        capabilities=media.capabilities,
        instance_id=INSTANCE,
        register_expires=300,
        session_timers=SessionTimers(expires=0),
        register_headers=own_lines(recorded.request("register")),
    )


async def say_info(endpoint: Endpoint, call: Call, recorded: Request) -> None:
    content_type = str(recorded.headers.first("Content-Type"))
    lines, body = own_lines(recorded), recorded.body
    await endpoint.run(
        lambda n: i.SendInfo(command=n, call=call.ident, content_type=content_type, headers=lines, body=body)
    )


async def say_everything(endpoint: Endpoint, server: Replay) -> None:
    """What the SDK did, in its order."""
    recorded = server.recording
    await endpoint.connect(url(server.port))
    await endpoint.register()
    assert await endpoint.options("sip:erin@rig.test") == 200
    call = await endpoint.call("sip:bob@rig.test", MEDIA)
    for name in recorded.names(sent=True):
        if recorded.request(name).method == "INFO" and not name.endswith("of call"):
            await say_info(endpoint, call, recorded.request(name))
        elif name == "presentation offer":
            await call.change_media(add=(("video", Direction.SENDRECV),))
    await call.hang_up()
    await server.expect("bye")
    await endpoint.unregister()


@each_version
def test_client_beside_the_recorded_one(version: str) -> None:
    recorded = recording(version)
    found: dict[str, list[Comparison]] = {}

    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine()
        async with replay(runtime, recorded) as server:
            async with run_endpoint(runtime, config(recorded, media), media=media) as endpoint:
                await say_everything(endpoint, server)
            assert [request for name, request in server.said if name is None] == []
            wanted = {name for name in recorded.names(sent=True) if not name.endswith("of call")}
            assert server.requests().keys() == wanted - NEVER_SAID
            for name, request in server.requests().items():
                found[name] = compare(request, recorded.request(name))

    play("anyio-asyncio", scenario)
    assert not any(one.verdict is Verdict.DIFFERENT for row in found.values() for one in row), table(found)


@each_version
def test_what_the_server_says_by_itself(version: str) -> None:
    recorded = recording(version)

    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine()
        async with (
            replay(runtime, recorded) as server,
            run_endpoint(runtime, config(recorded, media), media=media) as endpoint,
        ):
            await endpoint.connect(url(server.port))
            await endpoint.register()
            call = await endpoint.call("sip:bob@rig.test", MEDIA)
            with call.events() as events:
                for name in recorded.names(sent=False):
                    request = recorded.request(name)
                    if request.method != "INFO":
                        continue
                    assert (await server.ask(name)).status == 200
                    async for event in events:
                        if isinstance(event, o.InfoReceived):
                            assert event.content_type == request.headers.first("Content-Type")
                            assert set(own_lines(request)) <= set(event.headers)
                            break
            await call.hang_up()

    play("anyio-asyncio", scenario)


@each_version
def test_the_server_calls(version: str) -> None:
    recorded = recording(version)

    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine()
        async with (
            replay(runtime, recorded) as server,
            run_endpoint(runtime, config(recorded, media), media=media) as endpoint,
            runtime.task_group() as tasks,
        ):
            await endpoint.connect(url(server.port))
            await endpoint.register()

            async def answer() -> None:
                async for call in endpoint.incoming_calls():
                    await call.answer(MEDIA)
                    return

            tasks.start_soon(answer)
            answered = await server.ask("call")
            (theirs,) = [response for response in recorded.responses("call") if response.status == 200]
            assert not [c for c in compare(answered, theirs) if c.verdict is Verdict.DIFFERENT]
            assert (await server.ask("bye of call")).status == 200

    play("anyio-asyncio", scenario)
