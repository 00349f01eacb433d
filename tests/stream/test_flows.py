"""Endpoints over UDP, TCP and TLS: how servers are found and failed over, and peers that come to us."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trustme
from attrs import evolve

from sipproto.agent import outputs as o
from sipproto.agent.inputs import DataReceived, FlowClosed, FlowOpened, OpenFlowFailed
from sipproto.errors import LocalProtocolError
from sipproto_client import (
    CommandError,
    Endpoint,
    Flow,
    FlowSettings,
    Opening,
    SipTransport,
    WebSocketTransport,
    parse_host_mapping,
    run_endpoint,
)
from sipproto_client._sip import _default_resolver
from sipproto_client.port import Runtime, Stream
from sipproto_server import ServerConfig, run_server
from sipproto_stream import Answer, Found, HostMapping, LookupFailed, Question, QuestionKind, Srv
from tests.client.rig import ANSWER, OFFER, REALM, RUNTIMES, USERS, config, connect_error, play, raw_server
from tests.stream.rig import ZoneResolver, server_context

runtimes = pytest.mark.parametrize("name", RUNTIMES)


def settings(zone: dict[tuple[str, str], Answer], base: FlowSettings | None = None, **more: Any) -> FlowSettings:
    sip = SipTransport(resolver=ZoneResolver(zone), **more)
    return evolve(base or FlowSettings(), transports=(WebSocketTransport(), sip))


@runtimes
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_two_endpoints_call_one_another(
    name: str, transport: str, authority: trustme.CA, trusting: FlowSettings
) -> None:
    """One listens, the other calls, in both directions over the flow."""
    tls = server_context(authority, "sip.test") if transport == "tls" else None

    async def scenario(runtime: Runtime) -> None:
        seen: list[FlowOpened] = []

        def tap(_: str, what: object) -> None:
            if isinstance(what, FlowOpened):
                seen.append(what)

        async with run_endpoint(runtime, config("bob"), tap=tap) as bob:
            listener = await bob.listen(f"{transport}:127.0.0.1:0", tls=tls)
            async with run_endpoint(runtime, config("alice"), flow=trusting, tap=tap) as alice:
                await alice.connect(f"sip:sip.test:{listener.port};transport={transport}")
                await talk(runtime, alice, bob, f"sip:bob@{REALM}")
            assert {what.transport for what in seen} == {transport.upper()}
            ours, theirs = sorted(seen, key=lambda what: -what.flow)
            assert (ours.flow, theirs.flow) == (1, -1)
            assert ours.local == theirs.remote and ours.remote == theirs.local == ("127.0.0.1", listener.port)

    play(name, scenario)


async def talk(runtime: Runtime, alice: Endpoint, bob: Endpoint, target: str) -> None:
    assert await alice.options(target) == 200
    done = runtime.event()

    async def answer() -> None:
        with bob.incoming_calls() as incoming:
            ready.set()
            call = await anext(incoming)
            await call.answer(body=ANSWER)
            assert await call.send_info("text/plain", b"hello") == 200
            assert (await call.wait_ended()).cause is o.Cause.TERMINATED
        done.set()

    ready = runtime.event()
    async with runtime.task_group() as tasks:
        tasks.start_soon(answer)
        await ready.wait()
        call = await alice.call(target, body=OFFER)
        with call.events() as events:
            info = await anext(events)
            assert isinstance(info, o.InfoReceived) and info.body == b"hello"
        await call.hang_up()
        await done.wait()


@runtimes
def test_the_next_server_is_tried(name: str) -> None:
    zone: dict[tuple[str, str], Answer] = {
        ("SRV", "_sip._tcp.example.com"): Found(
            (
                Srv(priority=0, weight=0, port=1, target="a.example.com."),
                Srv(priority=1, weight=0, port=2, target="a.example.com."),
            )
        ),
        ("HOST", "a.example.com"): Found(("127.0.0.1",)),
    }

    async def scenario(runtime: Runtime) -> None:
        error = await connect_error(runtime, "sip:example.com", settings(zone))
        assert error == (
            "no server of example.com can be reached: nothing listens at 127.0.0.1:1: connection refused; "
            "nothing listens at 127.0.0.1:2: connection refused"
        )
        tried: list[str] = []
        async with raw_server(runtime, _silent) as port, run_endpoint(runtime, config("alice")) as bob:
            listener = await bob.listen("tcp:127.0.0.1:0")
            servers = (
                Srv(priority=0, weight=0, port=port, target="silent.example.com."),
                Srv(priority=1, weight=0, port=listener.port, target="a.example.com."),
            )
            both = {**zone, ("SRV", "_sips._tcp.example.com"): Found(servers[:1])}
            both["HOST", "silent.example.com"] = Found(("127.0.0.1",))
            both["SRV", "_sip._tcp.example.com"] = Found(servers)
            # a server that does not answer the TLS handshake is left, but not for one without TLS
            error = await connect_error(runtime, "sip:example.com", settings(both, attempt=0.1))
            assert error == f"no answer from 127.0.0.1:{port} (TLS) within 0.1 s"
            flow = settings(both, attempt=0.1)
            channel = await flow.transports[-1].open(
                "sip:example.com;transport=tcp", Opening(runtime=runtime, settings=flow)
            )
            tried.append(str(channel.remote))
            await channel.aclose()
            assert tried == [str(("127.0.0.1", port))]  # TCP is accepted by the system already

    play(name, scenario)


async def _silent(stream: Stream) -> None:
    while await stream.receive():
        pass


@runtimes
def test_a_server_that_failed_is_tried_last(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        live = await runtime.datagrams(local=("127.0.0.1", 0))
        live_address = live.local
        zone: dict[tuple[str, str], Answer] = {
            ("SRV", "_sip._udp.example.com"): Found(
                (
                    Srv(priority=0, weight=0, port=1, target="127.0.0.1"),
                    Srv(priority=1, weight=0, port=live.local[1], target="127.0.0.1"),
                )
            ),
        }
        flow = settings(zone)
        opening = Opening(runtime=runtime, settings=flow, transport="UDP")
        said: list[object] = []
        for heard in (2, 3):
            runner = Flow(runtime, 1, said.append)
            async with runtime.task_group() as tasks:
                tasks.start_soon(runner.run, lambda: flow.transports[-1].open("sip:example.com", opening))
                await until(runtime, lambda: bool(said))
                runner.send(b"x")
                await until(runtime, lambda heard=heard: len(said) == heard)  # type: ignore[misc]
                runner.close()
        await live.aclose()
        # UDP: that nobody is there is heard later, and remembered for the next time
        first, closed, second = said
        assert isinstance(first, FlowOpened) and first.remote == ("127.0.0.1", 1)
        assert closed == FlowClosed(flow=1, error="nothing listens at 127.0.0.1:1: connection refused")
        assert isinstance(second, FlowOpened) and second.remote == live_address

    play(name, scenario)


@runtimes
def test_certificates_are_for_the_domain(name: str, authority: trustme.CA, trusting: FlowSettings) -> None:
    """RFC 5922: not for the server that the DNS names; host mapping does not change that either."""

    async def refused(runtime: Runtime, names: str, flow: FlowSettings, server: str) -> str | None:
        async with run_endpoint(runtime, config("bob")) as bob:
            listener = await bob.listen("tls:127.0.0.1:0", tls=server_context(authority, names))
            zone: dict[tuple[str, str], Answer] = {
                ("SRV", "_sips._tcp.example.com"): Found(
                    (Srv(priority=0, weight=0, port=listener.port, target="node.example.net."),)
                ),
                ("HOST", "node.example.net"): Found(("127.0.0.1",)),
            }
            async with run_endpoint(runtime, config("alice"), flow=settings(zone, flow)) as alice:
                try:
                    await alice.connect(server.format(port=listener.port))
                except CommandError as error:
                    return error.detail
        return None

    async def scenario(runtime: Runtime) -> None:
        assert await refused(runtime, "example.com", trusting, "sip:example.com") is None
        wrong = await refused(runtime, "node.example.net", trusting, "sips:example.com")
        assert wrong is not None and wrong.startswith("the certificate of example.com does not verify")
        assert await refused(runtime, "sip.test", trusting, "tls://sip.test:{port}") is None
        wrong = await refused(runtime, "127.0.0.1", trusting, "sips:sip.test:{port}")
        assert wrong is not None and wrong.startswith("the certificate of sip.test does not verify")
        untrusted = evolve(trusting, tls=FlowSettings().tls)
        wrong = await refused(runtime, "sip.test", untrusted, "sips:sip.test:{port}")
        assert wrong is not None and wrong.startswith("the certificate of sip.test does not verify")

    play(name, scenario)


@runtimes
def test_a_mapped_websocket_host_keeps_its_name(name: str, authority: trustme.CA, trusting: FlowSettings) -> None:
    async def scenario(runtime: Runtime) -> None:
        names: list[str | None] = []
        context = server_context(authority, "sip.test")

        def noted(_: ssl.SSLObject, server_name: str | None, __: ssl.SSLContext) -> None:
            names.append(server_name)

        context.sni_callback = noted
        heads: list[bytes] = []

        async def handle(stream: Stream) -> None:
            heads.append(await stream.receive())

        async with raw_server(runtime, handle, context) as port:
            hosts = (HostMapping(name="sip.test", address="127.0.0.1", port=port),)
            error = await connect_error(runtime, "wss://sip.test:4433/x", evolve(trusting, hosts=hosts))
            assert error == "the connection was cut"
            assert names == ["sip.test"] and b"\r\nHost: sip.test:4433\r\n" in heads[0]

    play(name, scenario)


@runtimes
def test_a_transport_that_is_insisted_on(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            run_endpoint(runtime, config("bob")) as bob,
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
        ):
            listener = await bob.listen("tcp:127.0.0.1:0")
            opened: list[str] = []
            for address, insist in (
                (f"sip:127.0.0.1:{listener.port};transport=udp", "TCP"),
                (f"sip:127.0.0.1:{listener.port};transport=tcp", "UDP"),
                (f"ws://127.0.0.1:{server.port}/", "WS"),
            ):
                opening = Opening(runtime=runtime, settings=FlowSettings(), transport=insist)
                channel = await opening.settings.transport_of(address).open(address, opening)
                opened.append(channel.transport)
                await channel.aclose()
            assert opened == ["TCP", "UDP", "WS"]
            said: list[object] = []
            for address, insist in (("sips:127.0.0.1", "UDP"), ("ws://127.0.0.1/", "TCP"), ("sip:h", "SCTP")):
                opening = Opening(runtime=runtime, settings=FlowSettings(), transport=insist)
                await Flow(runtime, 1, said.append).run(
                    partial(opening.settings.transport_of(address).open, address, opening)
                )
            assert len(said) == 3 and all(isinstance(w, OpenFlowFailed) and "cannot be" in w.error for w in said)

    play(name, scenario)


@runtimes
def test_hosts_are_found_as_the_system_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without name servers, and without dnspython."""

    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("bob")) as bob:
            listener = await bob.listen("tcp:127.0.0.1:0")
            async with run_endpoint(runtime, config("alice")) as alice:
                await alice.connect(f"tcp://localhost:{listener.port}")
                assert await alice.options("sip:localhost") == 200
        monkeypatch.setitem(sys.modules, "sipproto_stream.lookup", None)
        nothing = _default_resolver()
        assert await nothing.ask(Question(QuestionKind.HOST, "localhost")) is None
        assert await nothing.ask(Question(QuestionKind.SRV, "x")) == LookupFailed("dnspython is not installed")

    play(name, scenario)


@runtimes
def test_large_datagrams_are_refused(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        peer = await runtime.datagrams(local=("127.0.0.1", 0))
        said: list[object] = []
        flow = Flow(runtime, 1, said.append)
        opening = Opening(runtime=runtime, settings=FlowSettings())
        async with runtime.task_group() as tasks:
            tasks.start_soon(flow.run, lambda: SipTransport().open(f"udp://127.0.0.1:{peer.local[1]}", opening))
            while not said:
                await runtime.wait(runtime.event(), 0.001)
            flow.send(bytes(65_507))
            flow.send(bytes(65_508))
        assert len((await peer.receive())[0]) == 65_507
        assert said[1:] == [FlowClosed(flow=1, error="a message of 65508 octets does not fit into a datagram")]
        await peer.aclose()

    play(name, scenario)


@runtimes
def test_peers_are_bounded_and_forgotten(name: str) -> None:
    """UDP: one flow for each address, so many at most, each forgotten after its silence."""

    async def scenario(runtime: Runtime) -> None:
        said: list[object] = []

        def tap(way: str, what: object) -> None:
            if way == "in" and isinstance(what, FlowOpened | FlowClosed | DataReceived):
                said.append(what)

        few = FlowSettings(max_accepted=2, udp_idle=0.2)
        async with run_endpoint(runtime, config("bob"), flow=few, tap=tap) as bob:
            listener = await bob.listen("udp:0.0.0.0:0")
            peers = [await runtime.datagrams(remote=("127.0.0.1", listener.port)) for _ in range(3)]
            await peers[0].send(b"")
            await peers[0].send(b"\r\n\r\n")  # of a stranger: nobody is remembered for it
            for peer in peers:
                await peer.send(b"x")
                await runtime.wait(runtime.event(), 0.03)
            opened = [what for what in said if isinstance(what, FlowOpened)]
            assert [what.remote for what in opened] == [peer.local for peer in peers[:2]]
            # the address that this peer can reach, not the one that stands for all
            assert {what.local for what in opened} == {("127.0.0.1", listener.port)}
            await peers[0].send(b"\r\n\r\n")
            assert (await peers[0].receive())[0] == b"\r\n"
            await until(runtime, lambda: sum(isinstance(what, FlowClosed) for what in said) == 2)
            await peers[2].send(b"x")
            await until(runtime, lambda: said[-1] == DataReceived(flow=-3, data=b"x"))
            for peer in peers:
                await peer.aclose()

    play(name, scenario)


@runtimes
def test_accepted_connections_are_bounded_and_end_with_the_listener(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        said: list[object] = []

        def tap(way: str, what: object) -> None:
            if isinstance(what, FlowOpened | FlowClosed):
                said.append(what)

        async with run_endpoint(runtime, config("bob"), flow=FlowSettings(max_accepted=2), tap=tap) as bob:
            listener = await bob.listen("tcp:127.0.0.1:0")
            streams = [await runtime.connect("127.0.0.1", listener.port, None, "") for _ in range(3)]
            await until(runtime, lambda: len(said) == 2)
            assert await streams[2].receive() == b""
            with pytest.raises(OSError):
                await bob.listen(f"tcp:127.0.0.1:{listener.port}")
            again = await bob.listen(f"udp:127.0.0.1:{listener.port}")  # another protocol
            with pytest.raises(OSError):
                await bob.listen(f"udp:127.0.0.1:{again.port}")
            listener.close()
            await until(runtime, lambda: sum(isinstance(what, FlowClosed) for what in said) == 2)
            with pytest.raises(OSError):
                await runtime.connect("127.0.0.1", listener.port, None, "")
            for stream in streams:
                await stream.aclose()

    play(name, scenario)


async def until(runtime: Runtime, condition: Callable[[], bool]) -> None:
    deadline = runtime.now() + 5.0
    while not condition():
        assert runtime.now() < deadline
        await runtime.wait(runtime.event(), 0.005)


@runtimes
def test_what_cannot_be_listened_at(name: str, authority: trustme.CA) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with run_endpoint(runtime, config("bob")) as bob:
            for text in ("", "udp", "udp:1", "udp:localhost:0", "ws:127.0.0.1:0", "tcp:::1:0", "tcp:127.0.0.1:65536"):
                with pytest.raises(LocalProtocolError, match="no address to listen at"):
                    await bob.listen(text)
            with pytest.raises(LocalProtocolError, match="certificate"):
                await bob.listen("tls:127.0.0.1:0")
            with pytest.raises(LocalProtocolError, match="certificate"):
                await bob.listen("tcp:127.0.0.1:0", tls=server_context(authority, "x"))
            with pytest.raises(OSError):
                await bob.listen("udp:192.0.2.1:0")  # not ours

    play(name, scenario)


@runtimes
def test_streams_that_carry_no_sip(name: str) -> None:
    """What is no SIP ends the connection, on either side of it, and nothing else."""

    async def garbage(stream: Stream) -> None:
        await stream.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: nothing\r\n\r\n")
        await stream.receive()

    async def scenario(runtime: Runtime) -> None:
        async with raw_server(runtime, garbage) as port, run_endpoint(runtime, config("alice")) as alice:
            lost = alice.events(
                lambda e: isinstance(e, o.ConnectionChanged) and e.state is o.ConnectionState.RECONNECTING
            )
            await alice.connect(f"tcp://127.0.0.1:{port}")
            change = await anext(lost)
            assert isinstance(change, o.ConnectionChanged) and "cannot be read" in (change.error or "")
            listener = await alice.listen("tcp:127.0.0.1:0")
            stream = await runtime.connect("127.0.0.1", listener.port, None, "")
            await stream.send(b"\x16\x03\x01" * 100 + b"\r\n\r\n")
            while await stream.receive():
                pass
            await stream.aclose()

    play(name, scenario)


@pytest.mark.parametrize(
    "text",
    [
        *("sip:", "sip:user:secret@h", "sips://h", "tcp:h:1", "tcp://", "tcp://h:0", "tcp://h:99999", "udp://a..b"),
        *("tls://h/path", "tcp://h;lr", "tcp://user@h", "sip:h:0", "sip:h\r\n", "tcp://h\x00", "foo:h", "h", ""),
        *(f"tcp://{'a' * 70}.com", "tls://[::1", "sip:[::g]", "sctp://h"),
    ],
)
def test_bad_server_addresses(text: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        FlowSettings().host_of(text)
    assert str(refused.value).isprintable() and "secret" not in str(refused.value)


def test_server_addresses() -> None:
    flow = FlowSettings(hosts=(parse_host_mapping("a=192.0.2.1"),))
    for text, host in (
        ("sip:Example.com", "example.com"),
        ("SIPS:example.com:99;transport=tcp", "example.com"),
        ("sip:proxy.example.com;lr", "proxy.example.com"),
        ("udp://192.0.2.1:5060", "192.0.2.1"),
        ("TLS://[2001:DB8::1]", "2001:db8::1"),
        ("tcp://host_name/", "host_name"),
        ("wss://[::1]/ws", "::1"),
    ):
        assert flow.host_of(text) == host
