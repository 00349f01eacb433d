"""What the balancer of the main video does, by the names of its events."""

from __future__ import annotations

import pytest

from sipproto.testing import FakeMediaEngine
from sipproto_client import VideoBalancerOptions, run_connector
from sipproto_client.port import Runtime
from tests.client.conference import STREAM, conference
from tests.client.rig import RUNTIMES, play


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_balancer_tells_what_it_does(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        updated: list[object] = []
        options = VideoBalancerOptions(balancing_start_delay=0.05, on_set_parameters=updated.append)
        async with (
            conference(runtime) as room,
            run_connector(runtime, media=FakeMediaEngine(seed=2), video_balancer_options=options) as alice,
        ):
            await alice.connect(**room.settings("alice"))
            with alice.events(
                "video-balancer:balancing-scheduled",
                "video-balancer:balancing-started",
                "video-balancer:parameters-updated",
                "video-balancer:balancing-stopped",
            ) as events:
                await alice.call("800", STREAM)
                names = [(await anext(events)).name.partition(":")[2] for _ in range(3)]
                assert names == ["balancing-scheduled", "parameters-updated", "balancing-started"]
                room.operate("max-resolution", "p1", "320x240")
                changed = await anext(events)
                assert changed.name == "video-balancer:parameters-updated" and changed.payload == updated[-1]
                await alice.hang_up()
                assert (await anext(events)).name == "video-balancer:balancing-stopped"

    play(name, scenario)
