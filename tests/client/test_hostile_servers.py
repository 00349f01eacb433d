"""Servers that refuse, lie, stay silent or speak something else: each gives one clear line, soon, on every runtime."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from sipproto.agent import outputs as o
from sipproto.agent.inputs import FlowClosed, FlowOpened, OpenFlowFailed
from sipproto.errors import LocalProtocolError
from sipproto_client import (
    FlowSettings,
    TlsSettings,
    WebSocketFlow,
    parse_server_url,
    run_endpoint,
)
from sipproto_client._websocket import WebSocketChannel
from sipproto_client.port import Runtime, Stream
from sipproto_server import ServerConfig, run_server
from sipproto_wsproto import WebSocketConnection, WebSocketLimits
from tests.client.rig import REALM, RUNTIMES, USERS, config, connect_error, play, raw_server, url

runtimes = pytest.mark.parametrize("name", RUNTIMES)
Handler = Callable[[Stream], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return authority, str(path)


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@runtimes
def test_nobody_there(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        assert await connect_error(runtime, url(1)) == "nothing listens at 127.0.0.1:1: connection refused"
        assert await connect_error(runtime, "ws://nobody.invalid/") == "the host name 'nobody.invalid' is unknown"

    play(name, scenario)


@runtimes
def test_tls(name: str, authority: tuple[trustme.CA, str], tmp_path: Path) -> None:
    ca, ca_file = authority
    trusting = FlowSettings(tls=TlsSettings(ca_file=ca_file))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")

    async def scenario(runtime: Runtime) -> None:
        users = ServerConfig(realm=REALM, users=USERS)
        async with run_server(runtime, users, tls=server_context(ca, "127.0.0.1")) as server:
            async with run_endpoint(runtime, config("alice"), flow=trusting) as alice:
                await alice.connect(url(server.port, "wss"))
                await alice.register()
            error = await connect_error(runtime, url(server.port, "wss"))
            assert error.startswith("the certificate of 127.0.0.1 does not verify: unable to get local issuer")
            error = await connect_error(runtime, url(server.port))  # plain to TLS
            assert "127.0.0.1" in error or "WebSocket" in error or "cut" in error or "closed" in error
            for path, expected in ((str(garbage), "holds no certificates"), ("/nonexistent", "No such file")):
                settings = FlowSettings(tls=TlsSettings(ca_file=path))
                assert expected in await connect_error(runtime, url(server.port, "wss"), settings)
        async with run_server(runtime, users, tls=server_context(ca, "other.test")) as server:
            error = await connect_error(runtime, url(server.port, "wss"), trusting)
            assert error.startswith("the certificate of 127.0.0.1 does not verify: IP address mismatch")
        async with run_server(runtime, users) as server:  # TLS to plain
            error = await connect_error(runtime, url(server.port, "wss"), trusting)
            assert error.startswith(("TLS with 127.0.0.1", "127.0.0.1:")), error

    play(name, scenario)


async def _silent(stream: Stream) -> None:
    while await stream.receive():
        pass


async def _not_found(stream: Stream) -> None:
    await stream.receive()
    await stream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot here\n")


async def _garbage(stream: Stream) -> None:
    await stream.receive()
    await stream.send(b"\x16\x03\x01 garbage\r\n\r\n")


async def _hangs_up(stream: Stream) -> None:
    await stream.receive()


def _accepting(subprotocol: str | None, then: bytes = b"", *, wait: bool = True) -> Handler:
    async def handle(stream: Stream) -> None:
        server = WSConnection(ConnectionType.SERVER)
        server.receive_data(await stream.receive())
        for _ in server.events():
            pass
        await stream.send(server.send(ws.AcceptConnection(subprotocol=subprotocol)) + then)
        while wait and await stream.receive():
            pass

    return handle


@runtimes
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (_silent, "no connection within 0.5 s"),
        (_not_found, "the server refused the WebSocket: HTTP status 404"),
        (_garbage, "the peer does not speak WebSocket properly: Bad HTTP message"),
        (_hangs_up, "the connection was cut"),
        (_accepting(None), "the server does not speak SIP over this WebSocket"),
    ],
)
def test_no_websocket_for_sip(name: str, handler: Handler, expected: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with raw_server(runtime, handler) as port:
            start = runtime.now()
            assert await connect_error(runtime, url(port)) == expected
            assert runtime.now() - start < 3.0

    play(name, scenario)


@runtimes
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"\xff" * 16, "does not speak WebSocket properly"),
        (b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * 400_000, "a message of more than"),
        (b"\x88\x04\x03\xf3no", "closed the connection with code 1011: no"),
        (b"\x88\x02\x03\xe8", "the server closed the connection"),
    ],
)
def test_an_open_connection_goes_wrong(name: str, octets: bytes, expected: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            raw_server(runtime, _accepting("sip", octets)) as port,
            run_endpoint(runtime, config("alice")) as alice,
        ):
            with alice.events() as events:
                await alice.connect(url(port))
                async for event in events:
                    if isinstance(event, o.ConnectionChanged) and event.state is o.ConnectionState.RECONNECTING:
                        assert event.error is not None and expected in event.error
                        break

    play(name, scenario)


@runtimes
def test_what_does_not_hurt(name: str) -> None:
    """Garbage that is no SIP, fragments, binary messages and pings with payload in a connection that stays usable."""
    octets = b"\x82\x03\x00\xff\x00" + b"\x89\x04ping" + b"\x01\x01\r" + b"\x80\x03\n\r\n" + b"\x81\x05hello"

    async def scenario(runtime: Runtime) -> None:
        heard = b""
        told = runtime.event()

        async def handle(stream: Stream) -> None:
            nonlocal heard

            class Noting:
                local = stream.local
                remote = stream.remote
                certificate = None
                send = staticmethod(stream.send)

                async def receive(self) -> bytes:
                    nonlocal heard
                    data = await stream.receive()
                    heard += data
                    if (b"\x8a\x84" in heard and b"\x82\x82" in heard) or b"\x81\x82" in heard:
                        told.set()
                    return data

                async def aclose(self) -> None: ...

            await _accepting("sip", octets)(Noting())

        async with raw_server(runtime, handle) as port:
            quick = FlowSettings(limits=WebSocketLimits(close_timeout=0.1))
            async with run_endpoint(runtime, config("alice"), flow=quick) as alice:
                with alice.events(lambda event: isinstance(event, o.ProtocolViolated)) as events:
                    await alice.connect(url(port))
                    assert [type(await anext(events)), type(await anext(events))] == [o.ProtocolViolated] * 2
                    assert await runtime.wait(told, 3.0)  # the pong, and the answer to the fragmented keep-alive

    play(name, scenario)


@runtimes
def test_a_connection_given_up_while_it_is_made_is_dropped(name: str) -> None:
    """A TLS server that never answers: the attempt ends with the agent's patience, not with TCP's."""

    async def scenario(runtime: Runtime) -> None:
        dropped = runtime.event()

        async def handle(stream: Stream) -> None:
            await _silent(stream)
            dropped.set()

        async with raw_server(runtime, handle) as port, run_endpoint(runtime, config("alice", connect=0.1)) as alice:
            with pytest.raises(Exception, match="no connection within"):
                await alice.connect(url(port, "wss"))
            assert await runtime.wait(dropped, 2.0)

    play(name, scenario)


@runtimes
def test_a_server_that_never_reads_does_not_keep_the_connection(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake does not go out, or what comes after it: the socket is closed all the same, the reason said once."""
    monkeypatch.setattr("sipproto_client._websocket._SEND_LIMIT", 0.1)
    monkeypatch.setattr("sipproto_client._flow.LINGER", 0.1)
    deaf_error = "the peer does not read what is sent to it"

    async def scenario(runtime: Runtime) -> None:
        over = runtime.event()

        async def deaf(stream: Stream) -> None:
            await runtime.wait(over, None)

        async with raw_server(runtime, deaf) as port:
            said: list[object] = []
            stream = await runtime.connect("127.0.0.1", port, None, "127.0.0.1")
            connection = WebSocketConnection(client=True, host="h", target="/" + "x" * 8_000_000)
            await WebSocketFlow(runtime, stream, connection, said.append, 1, "WS").run()
            assert said == [OpenFlowFailed(flow=1, error=deaf_error)]
            over.set()

        async def deaf_later(stream: Stream) -> None:
            server = WSConnection(ConnectionType.SERVER)
            server.receive_data(await stream.receive())
            assert list(server.events())
            await stream.send(server.send(ws.AcceptConnection(subprotocol="sip")))
            await runtime.wait(over, None)

        over = runtime.event()
        async with raw_server(runtime, deaf_later) as port:
            said = []
            stream = await runtime.connect("127.0.0.1", port, None, "127.0.0.1")
            connection = WebSocketConnection(client=True, host="h")
            flow = WebSocketFlow(runtime, stream, connection, said.append, 1, "WS")
            async with runtime.task_group() as tasks:
                tasks.start_soon(flow.run)
                while not said:
                    await runtime.wait(runtime.event(), 0.01)
                for _ in range(80):
                    flow.send(b"x" * 100_000)
            assert [type(what) for what in said] == [FlowOpened, FlowClosed]
            assert said[1] == FlowClosed(flow=1, error=deaf_error)
            over.set()

    play(name, scenario)


class _Gate:
    """A stream whose peer reads nothing until it is opened."""

    local = remote = ("127.0.0.1", 1)
    certificate = None

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._given: list[bytes] = []
        self._bell = runtime.event()
        self.sending = runtime.event()
        self.open = runtime.event()
        self.open.set()
        self.sent = b""

    def give(self, data: bytes) -> None:
        self._given.append(data)
        self._bell.set()

    def close(self) -> None:
        self.sent = b""
        self.sending, self.open = self._runtime.event(), self._runtime.event()

    async def send(self, data: bytes) -> None:
        self.sent += data
        self.sending.set()
        await self.open.wait()

    async def receive(self) -> bytes:
        while not self._given:
            await self._bell.wait()
            self._bell = self._runtime.event()
        return self._given.pop(0)

    async def aclose(self) -> None: ...


@runtimes
def test_a_message_behind_a_pong_is_sent_before_send_returns(name: str) -> None:
    """Else the flow would believe that it may close, and cut off the receiver in the middle of both."""

    async def scenario(runtime: Runtime) -> None:
        server = WSConnection(ConnectionType.SERVER)
        stream = _Gate(runtime)
        channel = WebSocketChannel(runtime, stream, WebSocketConnection(client=True, host="h"), "WS")
        async with runtime.task_group() as tasks:
            tasks.start_soon(channel.shake_hands)
            await stream.sending.wait()
            server.receive_data(stream.sent)
            assert list(server.events())
            stream.give(server.send(ws.AcceptConnection(subprotocol="sip")))
            await runtime.wait(runtime.event(), 0.02)
            stream.close()
            tasks.start_soon(channel.receive)
            stream.give(server.send(ws.Ping(payload=b"p")))
            await stream.sending.wait()
            sent = runtime.event()

            async def send() -> None:
                await channel.send(b"bye")
                sent.set()

            tasks.start_soon(send)
            assert not await runtime.wait(sent, 0.02)
            stream.open.set()
            assert await runtime.wait(sent, 2.0)
            server.receive_data(stream.sent)
            assert [type(event) for event in server.events()] == [ws.Pong, ws.TextMessage]
            tasks.cancel()

    play(name, scenario)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "sip.example.com",
        "http://x/",
        "ws://",
        "ws:///path",
        "ws://user@host/",
        "ws://:pw@host/",
        "ws://host/#part",
        "ws://host:0/",
        "ws://host:99999/",
        "ws://host:port/",
        "ws://ho st/",
        "ws://host/a b",
        "ws://host/ü",
        "ws://host/a\r\nX: y",
        "ws://a..b/",
        f"ws://{'a' * 70}.com/",
        "ws://[::1/",
        "ws://h\x00st/",
    ],
)
def test_bad_server_urls(text: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        parse_server_url(text)
    assert str(refused.value).isprintable()


def test_server_urls() -> None:
    parsed = parse_server_url("WSS://[::1]/ws?a=b")
    assert (parsed.scheme, parsed.host, parsed.port, parsed.target) == ("wss", "::1", 443, "/ws?a=b")
    assert parsed.authority == "[::1]" and parsed.transport == "WSS"
    assert parse_server_url("ws://h:81").authority == "h:81"
