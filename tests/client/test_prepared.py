"""What a media engine was told of a call is forgotten with it, whatever became of the call; a call is made but once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest
from attrs import evolve

from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup
from sipproto_client import Call, CommandError, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from tests.client.rig import OFFER, REALM, RUNTIMES, USERS, config, play, url

AUDIO = (("audio", Direction.SENDRECV),)


async def _to_nobody(endpoint: Endpoint, setup: MediaSetup) -> None:
    with pytest.raises(CommandError, match="404"):
        await endpoint.call(f"sip:nobody@{REALM}", AUDIO, setup=setup)


async def _to_no_address(endpoint: Endpoint, setup: MediaSetup) -> None:
    with pytest.raises(LocalProtocolError, match="address"):
        await endpoint.call("nowhere at all", AUDIO, setup=setup)


async def _without_a_codec(endpoint: Endpoint, setup: MediaSetup) -> None:
    with pytest.raises(LocalProtocolError, match="codec"):
        await endpoint.call(f"sip:bob@{REALM}", (("text", Direction.SENDRECV),), setup=setup)


async def _incoming(endpoint: Endpoint, setup: MediaSetup) -> None:
    """An offer that cannot be answered, and an answer after the end."""
    answered: list[Call] = []

    async def answer() -> None:
        call = await anext(incoming)
        with pytest.raises(CommandError):
            await call.answer(AUDIO, setup=setup)
        await call.wait_ended()
        with pytest.raises(LocalProtocolError):
            await call.answer(AUDIO, setup=setup)
        answered.append(call)

    incoming = endpoint.incoming_calls()
    async with endpoint.runtime.task_group() as tasks:
        tasks.start_soon(answer)
        with pytest.raises(CommandError, match="488"):
            await endpoint.call(f"sip:alice@{REALM}", body=OFFER)
    assert answered


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("attempt", [_to_nobody, _to_no_address, _without_a_codec, _incoming])
def test_setups_are_forgotten(name: str, attempt: Callable[[Endpoint, MediaSetup], Awaitable[None]]) -> None:
    async def scenario(runtime: Runtime) -> None:
        media = AiortcEngine(include_loopback=True)
        settings = evolve(config("alice"), capabilities=media.capabilities)
        try:
            async with (
                run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
                run_endpoint(runtime, settings, media=media) as endpoint,
            ):
                await endpoint.connect(url(server.port))
                await endpoint.register()
                setup = MediaSetup()
                kept = weakref.ref(setup)
                await attempt(endpoint, setup)
                del setup
                while kept() is not None:  # the media thread may take a moment
                    await runtime.wait(runtime.event(), 0.02)
                    gc.collect()
        finally:
            media.close()

    play(name, scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_call_is_made_once(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice")) as endpoint,
        ):
            await endpoint.connect(url(server.port))
            call = endpoint.new_call()
            with pytest.raises(CommandError):
                await endpoint.call(f"sip:nobody@{REALM}", call=call, body=OFFER)
            with pytest.raises(LocalProtocolError, match="before"):
                await endpoint.call(f"sip:nobody@{REALM}", call=call, body=OFFER)

    play(name, scenario)
