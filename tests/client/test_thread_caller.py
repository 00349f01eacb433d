"""What another thread asks for runs on the loop, and can use the runtime there: on each loop, however it was started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import anyio
import pytest
import trio
from attrs import evolve

from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime
from sipproto_client import run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from sipproto_trio import TrioRuntime
from tests.client.rig import REALM, USERS, config, url

Scenario = Callable[[Runtime], Awaitable[None]]


def on_asyncio(scenario: Scenario) -> None:
    """As most programs do it: anyio has not started this loop."""

    async def main() -> None:
        async with asyncio.timeout(10):
            await scenario(AnyioRuntime())

    asyncio.run(main())


def on_anyio(scenario: Scenario) -> None:
    async def main() -> None:
        with anyio.fail_after(10):
            await scenario(AnyioRuntime())

    anyio.run(main)


def on_trio(scenario: Scenario) -> None:
    async def main() -> None:
        with trio.fail_after(10):
            await scenario(TrioRuntime())

    trio.run(main)


loops = pytest.mark.parametrize("start", [on_asyncio, on_anyio, on_trio])


@loops
@pytest.mark.parametrize("by_thread", [True, False])
def test_a_function_of_another_thread_can_use_the_runtime(start: Callable[[Scenario], None], by_thread: bool) -> None:
    async def scenario(runtime: Runtime) -> None:
        done, told = runtime.event(), list[object]()
        call_soon = runtime.thread_caller()

        def function() -> None:
            try:
                told.append(runtime.now() > 0 and not runtime.event().is_set())
            except Exception as error:
                told.append(error)
            done.set()

        if by_thread:
            thread = threading.Thread(target=call_soon, args=(function,))
            thread.start()
            thread.join()
        else:
            call_soon(function)
        await done.wait()
        assert told == [True]

    start(scenario)


@loops
def test_a_call_with_media(start: Callable[[Scenario], None]) -> None:
    """A media engine answers by the same way."""

    async def scenario(runtime: Runtime) -> None:
        ours, theirs = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
        media = (("audio", Direction.SENDRECV),)
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, evolve(config("alice"), capabilities=ours.capabilities), media=ours) as alice,
            run_endpoint(runtime, evolve(config("bob"), capabilities=theirs.capabilities), media=theirs) as bob,
            runtime.task_group() as tasks,
        ):
            for endpoint in (alice, bob):
                await endpoint.connect(url(server.port))
                await endpoint.register()
            incoming = bob.incoming_calls()

            async def answer() -> None:
                await (await anext(incoming)).answer(media)

            tasks.start_soon(answer)
            call = await alice.call(f"sip:bob@{REALM}", media)
            assert len((await call.stats()).lines) == 1
            await call.hang_up()

    start(scenario)
