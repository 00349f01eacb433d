"""The awaitable client on every runtime: one scenario file for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sipproto.agent import Recovery
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto_client import Call, CommandError, Endpoint, EndpointClosed, EventsLost, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from tests.client.rig import ANSWER, OFFER, REALM, RUNTIMES, USERS, config, play, url, world

BOB = f"sip:bob@{REALM}"
runtimes = pytest.mark.parametrize("name", RUNTIMES)


async def establish(runtime: Runtime, alice: Endpoint, bob: Endpoint) -> tuple[Call, Call]:
    calls: list[Call] = []
    done = runtime.event()

    with bob.incoming_calls() as incoming:

        async def answer() -> None:
            call = await anext(incoming)
            await call.answer(body=ANSWER)
            calls.append(call)
            done.set()

        async with runtime.task_group() as tasks:
            tasks.start_soon(answer)
            call = await alice.call(BOB, body=OFFER)
            await done.wait()
    return call, calls[0]


@runtimes
def test_a_call_with_everything_in_it(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (server, (alice, bob)):
            assert server.core.registered == {"alice": 1, "bob": 1}
            ours, theirs = await establish(runtime, alice, bob)
            assert theirs.incoming is not None
            assert theirs.incoming.from_uri == f"sip:alice@{REALM}" and theirs.incoming.offer == OFFER
            with theirs.events() as events:
                assert await ours.send_info("text/plain", b"hello") == 200
                await ours.send_dtmf("1#", gap=0.01)
                info = await anext(events)
                assert isinstance(info, o.InfoReceived) and info.body == b"hello"
                digits = [await anext(events), await anext(events)]
                assert [d.digit for d in digits if isinstance(d, o.DtmfReceived)] == ["1", "#"]
            with alice.events(lambda event: isinstance(event, o.MessageReceived)) as messages:
                assert await bob.send_message(f"sip:alice@{REALM}", "grüße") == 200
                message = await anext(messages)
                assert isinstance(message, o.MessageReceived) and message.body == "grüße".encode()
            assert await alice.options(BOB) == 200
            assert await alice.options(f"sip:{REALM}") == 200
            await ours.hang_up()
            await ours.hang_up()  # fine when it has ended already
            assert (await theirs.wait_ended()).cause is o.Cause.TERMINATED
            ours, theirs = await establish(runtime, alice, bob)
            await theirs.hang_up()
            ended = await ours.wait_ended()
            assert ended.cause is o.Cause.TERMINATED and ended.originator is o.Originator.REMOTE
            await alice.unregister()
            assert server.core.registered == {"bob": 1}

    play(name, scenario)


@runtimes
def test_reject_and_absent_users(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (_, (alice, bob)):
            incoming = bob.incoming_calls()

            async def reject() -> None:
                await (await anext(incoming)).hang_up(486)

            async with runtime.task_group() as tasks:
                tasks.start_soon(reject)
                with pytest.raises(CommandError) as busy:
                    await alice.call(BOB, body=OFFER)
            assert (busy.value.cause, busy.value.status, busy.value.code) == (o.Cause.BUSY, 486, "busy")
            with pytest.raises(CommandError) as nobody:
                await alice.call(f"sip:nobody@{REALM}", body=OFFER)
            assert nobody.value.cause is o.Cause.NOT_FOUND
            await bob.unregister()
            with pytest.raises(CommandError) as gone:
                await alice.call(BOB, body=OFFER)
            assert gone.value.cause is o.Cause.UNAVAILABLE
            assert alice.agent.calls == () and bob.agent.calls == ()

    play(name, scenario)


@runtimes
@pytest.mark.parametrize("by_task", [False, True])
def test_cancel_while_it_rings(name: str, by_task: bool) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (_, (alice, bob)):
            incoming = bob.incoming_calls()
            call = alice.new_call()
            failures: list[CommandError] = []

            async def dial() -> None:
                try:
                    await alice.call(BOB, body=OFFER, call=call)
                except CommandError as error:
                    failures.append(error)

            async with runtime.task_group() as tasks:
                tasks.start_soon(dial)
                theirs = await anext(incoming)
                if by_task:
                    tasks.cancel()
                else:
                    await call.hang_up()
            assert (await theirs.wait_ended()).cause is o.Cause.CANCELED
            assert alice.agent.calls == () and call.ended is not None
            assert by_task or failures[0].cause is o.Cause.CANCELED

    play(name, scenario)


@runtimes
def test_the_server_goes_away_in_a_call(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        without = Recovery(reconnect=False)
        a, b = (run_endpoint(runtime, config(user, recovery=without)) for user in ("alice", "bob"))
        async with a as alice, b as bob:
            async with run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server:
                for endpoint in (alice, bob):
                    await endpoint.connect(url(server.port))
                    await endpoint.register()
                ours, theirs = await establish(runtime, alice, bob)
                events = alice.events(lambda event: isinstance(event, o.ConnectionChanged))
            change = await anext(events)
            assert isinstance(change, o.ConnectionChanged) and change.state is o.ConnectionState.DISCONNECTED
            for call in (ours, theirs):
                assert (await call.wait_ended()).cause is o.Cause.CONNECTION_ERROR
            with pytest.raises(LocalProtocolError, match="not connected"):
                await alice.call(BOB, body=OFFER)

    play(name, scenario)


@runtimes
def test_leaving_the_block_ends_the_call_and_the_registration(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)):
            async with run_endpoint(runtime, config("alice")) as alice:
                await alice.connect(url(server.port))
                await alice.register()
                ours, theirs = await establish(runtime, alice, bob)
                waiting = alice.events()
                start = runtime.now()
            assert runtime.now() - start < 1.0
            assert (await theirs.wait_ended()).cause is o.Cause.TERMINATED
            assert (await ours.wait_ended()).originator is o.Originator.LOCAL
            assert server.core.registered == {"bob": 1}
            assert [e async for e in waiting if isinstance(e, o.CallEnded)] != []  # what came is read, then it ends
            with pytest.raises(EndpointClosed):
                await alice.register()

    play(name, scenario)


@runtimes
def test_leaving_the_block_by_cancellation_too(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)):
            calls: list[Call] = []
            talking = runtime.event()

            async def talk() -> None:
                async with run_endpoint(runtime, config("alice")) as alice:
                    await alice.connect(url(server.port))
                    await alice.register()
                    calls.extend(await establish(runtime, alice, bob))
                    talking.set()
                    await runtime.wait(runtime.event(), None)

            async with runtime.task_group() as tasks:
                tasks.start_soon(talk)
                await talking.wait()
                tasks.cancel()
            assert (await calls[1].wait_ended()).cause is o.Cause.TERMINATED
            assert server.core.registered == {"bob": 1}

    play(name, scenario)


@runtimes
def test_cancellation_at_any_point_leaves_nothing_open(name: str) -> None:
    """The story of a call, cancelled after a growing number of steps of the engine."""

    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "bob") as (server, (bob,)):
            for steps in range(1, 24, 2):
                seen = 0

                async def story(stop: Callable[[], None], steps: int = steps) -> None:
                    def tap(_: str, what: object) -> None:
                        nonlocal seen
                        seen += 1
                        if seen == steps:
                            stop()

                    async with run_endpoint(runtime, config("alice"), tap=tap) as alice:
                        await alice.connect(url(server.port))
                        await alice.register()
                        await establish(runtime, alice, bob)

                async with runtime.task_group() as tasks:
                    tasks.start_soon(story, tasks.cancel)
                assert seen >= steps
                for call in bob.agent.calls:
                    if (theirs := bob.call_of(call)) is not None:
                        await theirs.wait_ended()

    play(name, scenario)


@runtimes
def test_a_slow_subscriber_is_told(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("alice")) as alice:
            with alice.events() as events:
                change = o.ConnectionChanged(state=o.ConnectionState.CONNECTED)
                for _ in range(3000):
                    events.offer(change)
                with pytest.raises(EventsLost):
                    async for _ in events:
                        pass

    play(name, scenario)


@runtimes
def test_two_tasks_may_share_a_subscription(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("alice")) as alice:
            events = alice.events()
            taken = 0
            change = o.ConnectionChanged(state=o.ConnectionState.CONNECTED)

            async def take() -> None:
                nonlocal taken
                async for _ in events:
                    taken += 1

            async with runtime.task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(take)
                for _ in range(20):
                    await runtime.wait(runtime.event(), 0.001)
                    events.offer(change)
                events.finish()
            assert taken == 20

    play(name, scenario)


async def _wrong_password(endpoint: Endpoint, port: int) -> None:
    await endpoint.connect(url(port))
    await endpoint.register()


async def _value_error(_: Endpoint, __: int) -> None:
    raise ValueError("the application's own")


async def _not_connected(endpoint: Endpoint, _: int) -> None:
    await endpoint.register()


@runtimes
@pytest.mark.parametrize(
    ("act", "expected"),
    [(_wrong_password, CommandError), (_value_error, ValueError), (_not_connected, LocalProtocolError)],
)
def test_an_error_in_the_block_comes_out_as_itself(
    name: str, act: Callable[[Endpoint, int], Awaitable[None]], expected: type[Exception]
) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, config("alice", "wrong")) as endpoint,
        ):
            await act(endpoint, server.port)

    with pytest.raises(expected) as raised:
        play(name, scenario)
    assert not isinstance(raised.value, BaseExceptionGroup)
    if isinstance(raised.value, CommandError):
        assert raised.value.cause is o.Cause.AUTHENTICATION_ERROR


@runtimes
def test_a_group_of_the_application_stays_one(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("alice")):
            raise ExceptionGroup("mine", [ValueError("one")])

    with pytest.raises(ExceptionGroup, match="mine"):
        play(name, scenario)


@runtimes
def test_wrong_use_changes_nothing(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (_, (alice, bob)):
            ours, theirs = await establish(runtime, alice, bob)
            with pytest.raises(LocalProtocolError):
                await alice.call(BOB, body=OFFER, call=ours)
            for bad in ("sip:bob@x\r\nX: y", "bob", "sip:bob@x>"):
                with pytest.raises(LocalProtocolError):
                    await alice.call(bad, body=OFFER)
            with pytest.raises(LocalProtocolError):
                await alice.call(BOB, body=OFFER, headers=(("X-Mine", "a\r\nVia: b"),))
            with pytest.raises(LocalProtocolError):
                await ours.send_info("text/plain\r\nX: y", b"")
            with pytest.raises(LocalProtocolError):
                await alice.connect(url(1))
            assert ours.ended is None and theirs.ended is None and len(alice.agent.calls) == 1

    play(name, scenario)


@runtimes
def test_who_waits_for_an_end_that_nobody_will_tell_is_woken(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("alice")) as alice:
            call = alice.new_call()
        with pytest.raises(EndpointClosed):
            await call.wait_ended()

    play(name, scenario)


@runtimes
def test_a_transfer_that_was_asked_for_is_heard_from_its_start(name: str) -> None:
    """The call is made by the application, so that it hears how it goes before it is established."""

    async def scenario(runtime: Runtime) -> None:
        async with world(runtime, "alice", "bob") as (_, (alice, bob)):
            first, at_bob = await establish(runtime, alice, bob)

            async def answer() -> None:
                with bob.incoming_calls() as calls:
                    await (await anext(calls)).answer(body=ANSWER)

            async with runtime.task_group() as tasks:
                tasks.start_soon(answer)
                with alice.events(lambda event: isinstance(event, o.TransferRequested)) as asked:
                    tasks.start_soon(at_bob.transfer, BOB)
                    requested = await anext(asked)
                assert isinstance(requested, o.TransferRequested) and requested.call == first.ident
                made = alice.new_call()
                with made.events() as events:
                    assert await alice.accept_transfer(requested, call=made, body=OFFER) is made
                    await made.hang_up()
                    told = [type(event).__name__ async for event in events]
                assert told[0] == "CallStarted" and told[-1] == "CallEnded" and "CallEstablished" in told

    play(name, scenario)
