"""Calls that outlive their server, and connections to one of several, on every runtime."""

from __future__ import annotations

import pytest

from sipproto.agent import Recovery
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Server
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError
from sipproto_client import Call, CommandError, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from tests.client.rig import ANSWER, OFFER, REALM, RUNTIMES, USERS, config, play, url, world

runtimes = pytest.mark.parametrize("name", RUNTIMES)
SERVER = ServerConfig(realm=REALM, users=USERS)
QUICK = Recovery(first_delay=0.1, max_delay=0.2, grace=10.0)


async def establish(runtime: Runtime, alice: Endpoint, bob: Endpoint, *, early: bool = False) -> tuple[Call, Call]:
    with bob.incoming_calls() as incoming:
        theirs: list[Call] = []

        async def answer() -> None:
            call = await anext(incoming)
            if early:
                await call.progress(183, body=ANSWER, reason="Listen")
                await call.answer()
            else:
                await call.answer(body=ANSWER)
            theirs.append(call)

        async with runtime.task_group() as tasks:
            tasks.start_soon(answer)
            ours = await alice.call(f"sip:bob@{REALM}", body=OFFER)
            await runtime.wait(runtime.event(), 0.05)  # the ACK arrives
    return ours, theirs[0]


@runtimes
def test_a_call_outlives_its_server(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        ends = (run_endpoint(runtime, config(user, recovery=QUICK)) for user in ("alice", "bob"))
        async with next(ends) as alice, next(ends) as bob:
            async with run_server(runtime, SERVER) as server:
                for endpoint in (alice, bob):
                    await endpoint.connect(url(server.port))
                    await endpoint.register()
                ours, theirs = await establish(runtime, alice, bob)
                assert not ours.reconnecting and await ours.wait_recovered()  # nothing to wait for
                lost = [call.events() for call in (ours, theirs)]
            for events in lost:
                assert isinstance(await anext(events), o.CallReconnecting)
            assert ours.reconnecting and theirs.reconnecting
            async with run_server(runtime, SERVER, port=server.port):
                assert await ours.wait_recovered() and await theirs.wait_recovered()
                for events in lost:
                    assert isinstance(await anext(events), o.CallRecovered)
                assert await ours.send_info("text/plain", b"still there?") == 200
                await ours.hang_up()
                assert (await theirs.wait_ended()).cause is o.Cause.TERMINATED
                seen = [event async for event in lost[1]]  # ends by itself
                assert isinstance(seen[0], o.InfoReceived) and isinstance(seen[-1], o.CallEnded)

    play(name, scenario)


@runtimes
def test_waiting_for_a_server_that_stays_away(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        short = Recovery(first_delay=0.1, max_delay=0.2, grace=0.3)
        ends = (run_endpoint(runtime, config(user, recovery=short)) for user in ("alice", "bob"))
        async with next(ends) as alice, next(ends) as bob:
            async with run_server(runtime, SERVER) as server:
                for endpoint in (alice, bob):
                    await endpoint.connect(url(server.port))
                    await endpoint.register()
                ours, theirs = await establish(runtime, alice, bob)
                events = ours.events()
            assert isinstance(await anext(events), o.CallReconnecting)
            assert not await ours.wait_recovered()
            assert (await theirs.wait_ended()).cause is o.Cause.CONNECTION_ERROR

    play(name, scenario)


@runtimes
def test_one_of_several_servers_and_disconnect(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_server(runtime, SERVER) as gone:
            pass
        async with run_server(runtime, SERVER) as server, run_endpoint(runtime, config("alice", "old")) as alice:
            with pytest.raises(LocalProtocolError, match="no server address"):
                await alice.connect(url(server.port), "http://127.0.0.1")
            with pytest.raises(LocalProtocolError):
                await alice.connect()
            await alice.connect(Server(url=url(gone.port), weight=2), url(server.port))
            with pytest.raises(CommandError) as refused:
                await alice.register()
            assert refused.value.cause is o.Cause.AUTHENTICATION_ERROR
            await alice.set_secrets(Secret(username="alice", password=USERS["alice"]))
            await alice.register()
            events = alice.events(lambda event: isinstance(event, o.ConnectionChanged))
            await alice.disconnect()
            changed = await anext(events)
            assert isinstance(changed, o.ConnectionChanged) and changed.state is o.ConnectionState.DISCONNECTED
            await alice.connect(url(server.port))
            assert (await alice.register()).expires > 0

    play(name, scenario)


@runtimes
def test_progress_and_ice_restart_without_media(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (_, (alice, bob)):
            heard = alice.events(lambda event: isinstance(event, o.CallProgressed))
            ours, _ = await establish(runtime, alice, bob, early=True)
            while not isinstance(event := await anext(heard), o.CallProgressed) or event.status != 183:
                pass
            assert (event.reason, event.body) == ("Listen", ANSWER)
            with pytest.raises(LocalProtocolError, match="not negotiated here"):
                await ours.restart_ice(use_update=True)
            await ours.hang_up()

    play(name, scenario)
