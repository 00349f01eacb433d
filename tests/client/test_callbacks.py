"""Functions of the application that raise: no call is lost, and the end comes as ever."""

from __future__ import annotations

import logging

import pytest

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto_client import Endpoint, FlowSettings, run_endpoint
from sipproto_client.port import Runtime
from sipproto_client.transport import Channel, Opening
from sipproto_server import Server
from tests.client.rig import REALM, RUNTIMES, config, play, url, world
from tests.client.test_endpoint import establish

runtimes = pytest.mark.parametrize("name", RUNTIMES)


async def _whole_call(runtime: Runtime, server: Server, alice: Endpoint, bob: Endpoint) -> None:
    await alice.connect(url(server.port))
    await alice.register()
    ours, theirs = await establish(runtime, alice, bob)
    assert await ours.send_info("text/plain", b"hello") == 200
    await theirs.hang_up()
    assert (await ours.wait_ended()).originator is o.Originator.REMOTE


@runtimes
@pytest.mark.parametrize("nth", [1, 2, 20])
def test_a_tap_that_raises_is_dropped(name: str, nth: int, caplog: pytest.LogCaptureFixture) -> None:
    """At the first input, at an output, and in mid-call, where a task of the endpoint runs it."""
    told = 0

    def tap(_: str, what: object) -> None:
        nonlocal told
        told += 1
        if told >= nth:
            raise ValueError("the tap's own")

    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)):
            async with run_endpoint(runtime, config("alice"), tap=tap) as alice:
                await _whole_call(runtime, server, alice, bob)
                await establish(runtime, alice, bob)
                start = runtime.now()
            assert runtime.now() - start < 2.0
            assert server.core.registered == {"bob": 1}  # the end was in order

    with caplog.at_level(logging.ERROR, "sipproto.client"):
        play(name, scenario)
    assert told == nth
    (record,) = [record for record in caplog.records if record.name == "sipproto.client"]
    assert "the tap's own" in str(record.exc_info)


@runtimes
def test_a_handler_that_raises_disturbs_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[object] = []
    heard: list[object] = []

    def broken(event: object) -> None:
        raised.append(event)
        raise KeyError(event)

    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)), run_endpoint(runtime, config("alice")) as alice:
            alice.on_event(broken)
            alice.on_event(heard.append)
            await _whole_call(runtime, server, alice, bob)

    with caplog.at_level(logging.ERROR, "sipproto.client"):
        play(name, scenario)
    assert raised == heard and any(isinstance(event, o.CallEnded) for event in heard)
    assert len([record for record in caplog.records if record.name == "sipproto.client"]) == len(heard)


@runtimes
def test_what_chooses_events_and_raises_tells_who_iterates(name: str) -> None:
    def none_but_raises(event: o.Event) -> bool:
        if isinstance(event, o.RegistrationChanged):
            raise ZeroDivisionError
        return False

    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)), run_endpoint(runtime, config("alice")) as alice:
            with alice.events(none_but_raises) as wanted, alice.events(last=none_but_raises) as last:
                await _whole_call(runtime, server, alice, bob)
                for events in (wanted, last):
                    with pytest.raises(ZeroDivisionError):
                        [_ async for _ in events]
                    with pytest.raises(ZeroDivisionError):
                        await anext(events)

    play(name, scenario)


class _BrokenTransport:
    """A transport of one's own with a fault: it raises what it may not."""

    schemes = ("broken",)

    def host_of(self, address: str) -> str:
        return REALM

    async def open(self, address: str, opening: Opening) -> Channel:
        raise ZeroDivisionError


@runtimes
def test_what_breaks_the_endpoint_comes_out_of_the_block_at_once(name: str) -> None:
    """A fault beneath the engine ends the endpoint: nobody waits for what can never come."""
    took: list[float] = []

    async def scenario(runtime: Runtime) -> None:
        start = runtime.now()
        try:
            settings = FlowSettings(transports=(_BrokenTransport(),))
            async with run_endpoint(runtime, config("alice"), flow=settings) as alice:
                alice.tell(lambda n: i.Connect(command=n, server="broken:x"))
                await runtime.wait(runtime.event(), None)
        finally:
            took.append(runtime.now() - start)

    with pytest.raises(ZeroDivisionError):
        play(name, scenario)
    assert took[0] < 2.0
