"""Subscriptions and publications of the awaitable client, on every runtime."""

from __future__ import annotations

import pytest
from attrs import evolve
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from sipproto.agent import AgentConfig, PublicationState, SubscriptionState
from sipproto.agent import outputs as o
from sipproto.dialog import build_response
from sipproto.message import Request, parse_message
from sipproto_client import CommandError, Watcher, run_endpoint
from sipproto_client.port import Runtime, Stream
from sipproto_server import ServerConfig, run_server
from tests.client.rig import REALM, RUNTIMES, USERS, config, play, raw_server, url

runtimes = pytest.mark.parametrize("name", RUNTIMES)
BOB = f"sip:bob@{REALM}"


def watched(user: str) -> AgentConfig:
    return evolve(config(user), events=("presence",))


@runtimes
def test_subscribe_and_notify(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, watched("alice")) as alice,
            run_endpoint(runtime, watched("bob")) as bob,
        ):
            for endpoint in (alice, bob):
                await endpoint.connect(url(server.port))
                await endpoint.register()
            found: list[Watcher] = []
            watchers = bob.watchers()

            async def tell() -> None:
                watcher = await anext(watchers)
                found.append(watcher)
                await watcher.accept(b"one", "text/plain", state=SubscriptionState.PENDING)
                await watcher.notify(b"two", "text/plain", state=SubscriptionState.ACTIVE)

            async with runtime.task_group() as tasks:
                tasks.start_soon(tell)
                async with alice.subscribe(BOB, "presence", expires=600) as presence:
                    first, second = await anext(presence), await anext(presence)
                    assert (first.body, second.body, second.content_type) == (b"one", b"two", "text/plain")
                    assert presence.state is SubscriptionState.ACTIVE
                    with bob.events(lambda event: isinstance(event, o.SubscriptionEnded)) as ends:
                        presence.close()
                        ended = await anext(ends)
                        assert isinstance(ended, o.SubscriptionEnded) and ended.subscription == found[0].ident
                    assert [event async for event in presence] == []

            async def refuse() -> None:
                await (await anext(watchers)).reject(403)

            async with runtime.task_group() as tasks:
                tasks.start_soon(refuse)
                with pytest.raises(CommandError) as refused:
                    async with alice.subscribe(BOB, "presence"):
                        raise AssertionError("it was taken")
            assert refused.value.cause is o.Cause.REJECTED
            with pytest.raises(CommandError) as unknown:
                async with alice.subscribe(BOB, "conference"):
                    raise AssertionError("it was taken")
            assert unknown.value.status == 489

    play(name, scenario)


@runtimes
def test_the_notifier_ends_it_and_fetching(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, watched("alice")) as alice,
            run_endpoint(runtime, watched("bob")) as bob,
        ):
            for endpoint in (alice, bob):
                await endpoint.connect(url(server.port))
                await endpoint.register()
            with bob.watchers() as watchers:

                async def tell() -> None:
                    fetching = await anext(watchers)
                    await fetching.accept(b"fetched", "text/plain")
                    watcher = await anext(watchers)
                    await watcher.accept(b"one", "text/plain")
                    await watcher.end("rejected")

                async with runtime.task_group() as tasks:
                    tasks.start_soon(tell)
                    async with alice.subscribe(BOB, "presence", expires=0) as once:
                        assert [event.body async for event in once] == [b"fetched"]
                        assert [event async for event in once] == []  # it stays at its end
                    async with alice.subscribe(BOB, "presence") as presence:
                        bodies = [event.body async for event in presence]
                        assert bodies == [b"one", b""]
                        assert presence.ended is not None and presence.ended.reason == "rejected"

    play(name, scenario)


@runtimes
def test_cancelled_while_it_waits(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, watched("alice")) as alice,
            run_endpoint(runtime, watched("bob")) as bob,
        ):
            for endpoint in (alice, bob):
                await endpoint.connect(url(server.port))
                await endpoint.register()
            watchers = bob.watchers()

            async def subscribe() -> None:
                async with alice.subscribe(BOB, "presence"):
                    raise AssertionError("nobody has taken it")

            async with runtime.task_group() as tasks:
                tasks.start_soon(subscribe)
                watcher = await anext(watchers)
                tasks.cancel()
            # The subscription is over for alice; what bob tells is answered, and then ended by her agent.
            with bob.events(lambda event: isinstance(event, o.SubscriptionEnded)) as ends:
                await watcher.accept(b"late", "text/plain")
                ended = await anext(ends)
            assert isinstance(ended, o.SubscriptionEnded) and ended.reason == "timeout"

    play(name, scenario)


async def compositor(stream: Stream, seen: list[Request]) -> None:
    """A server that takes every PUBLISH, as few lines as WebSocket allows."""
    connection = WSConnection(ConnectionType.SERVER)
    while data := await stream.receive():
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, ws.Request):
                await stream.send(connection.send(ws.AcceptConnection(subprotocol="sip")))
            elif isinstance(event, ws.TextMessage | ws.BytesMessage):
                text = event.data if isinstance(event, ws.BytesMessage) else event.data.encode()
                request = parse_message(bytes(text))
                assert isinstance(request, Request)
                seen.append(request)
                extra = [("SIP-ETag", f"tag-{len(seen)}"), ("Expires", request.headers.first("Expires"))]
                status = 403 if request.body == b"bad" else 200
                answer = build_response(request, status, to_tag="server", extra=extra)
                await stream.send(connection.send(ws.Message(data=answer.to_bytes().decode())))
            elif isinstance(event, ws.CloseConnection):
                await stream.send(connection.send(event.response()))
                return


@runtimes
def test_publish(name: str) -> None:
    seen: list[Request] = []

    async def scenario(runtime: Runtime) -> None:
        target = f"sip:alice@{REALM}"
        async with (
            raw_server(runtime, lambda stream: compositor(stream, seen)) as port,
            run_endpoint(runtime, config("alice")) as alice,
        ):
            await alice.connect(url(port))
            async with alice.publish(target, "presence", "text/plain", b"open", expires=600) as publication:
                await publication.update(b"closed")
                assert publication.state is PublicationState.PUBLISHED
            assert publication.ended is not None and publication.ended.cause is o.Cause.TERMINATED
            with pytest.raises(CommandError) as refused:
                async with alice.publish(target, "presence", "text/plain", b"bad"):
                    raise AssertionError("it was taken")
            assert refused.value.status == 403

    play(name, scenario)
    first, second, third, *_ = seen
    assert (first.body, first.headers.first("SIP-If-Match")) == (b"open", None)
    assert (second.body, second.headers.first("SIP-If-Match")) == (b"closed", "tag-1")
    assert (third.body, third.headers.first("SIP-If-Match"), third.headers.first("Expires")) == (b"", "tag-2", "0")
