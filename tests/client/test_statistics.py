"""Statistics of a call over and over, on every runtime, with real media."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from attrs import evolve

from sipproto.agent.media import MediaReport
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_client import Call, run_endpoint
from sipproto_client._statistics import sampled
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices
from tests.client.rig import REALM, RUNTIMES, USERS, config, play, url

runtimes = pytest.mark.parametrize("name", RUNTIMES)
AUDIO = (("audio", Direction.SENDRECV),)


@asynccontextmanager
async def echoed(runtime: Runtime) -> AsyncIterator[Call]:
    """A call to the echo of a server."""
    with closing(AiortcServices()) as services, closing(AiortcEngine(include_loopback=True)) as media:
        settings = ServerConfig(realm=REALM, users=USERS, capabilities=services.capabilities)
        agent = evolve(config("alice"), capabilities=media.capabilities)
        async with (
            run_server(runtime, settings, media=services) as server,
            run_endpoint(runtime, agent, media=media) as endpoint,
        ):
            await endpoint.connect(url(server.port))
            yield await endpoint.call(f"sip:600@{REALM}", AUDIO, setup=MediaSetup(audio=Tone(1000.0)))


@runtimes
def test_samples_come_until_the_call_ends(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with echoed(runtime) as call:
            reports: list[MediaReport] = []
            began = runtime.now()
            async with call.watch_stats(interval=0.1) as samples:
                async for report in samples:
                    reports.append(report)
                    if len(reports) == 4:
                        await call.hang_up()
            assert runtime.now() - began > 0.35
            assert 4 <= len(reports) <= 5
            counts = [found.packets_sent for report in reports if (found := report.outbound("audio")) is not None]
            assert counts == sorted(counts) and counts[-1] > counts[0]
            assert all(report.selected_pair is not None for report in reports)
            async with call.watch_stats(interval=0.1) as samples:
                assert [report async for report in samples] == []  # it is over

    play(name, scenario)


@runtimes
def test_who_is_slow_gets_the_newest(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with echoed(runtime) as call:
            async with call.watch_stats(interval=0.05) as samples:
                first = await anext(samples)
                await runtime.wait(runtime.event(), 0.5)
                second = await anext(samples)
                sent = [found.packets_sent for one in (first, second) if (found := one.outbound("audio")) is not None]
                assert sent[1] - sent[0] > 10
            with pytest.raises(ZeroDivisionError):
                async with call.watch_stats():
                    raise ZeroDivisionError  # and comes out as itself
            with pytest.raises(ValueError):
                async with call.watch_stats(interval=0.0):
                    raise AssertionError("entered")

    play(name, scenario)


@runtimes
def test_what_fails_is_left_out(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        taken: list[int] = []

        async def measure() -> MediaReport:
            taken.append(len(taken))
            if len(taken) <= 2:
                raise LocalProtocolError("no media yet")
            raise ZeroDivisionError  # a fault of ours is not hidden

        async def watch() -> None:
            async with sampled(runtime, measure, runtime.event(), 0.02) as samples:
                async for _ in samples:
                    raise AssertionError("nothing was measured")

        with pytest.raises(ZeroDivisionError):
            await watch()
        assert taken == [0, 1, 2]

    play(name, scenario)
