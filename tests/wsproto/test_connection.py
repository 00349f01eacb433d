"""The sans-IO WebSocket connection against a peer made of wsproto, and against anything at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from sipproto_wsproto import (
    Closed,
    HandshakeGuard,
    MessageReceived,
    Opened,
    Output,
    Transmit,
    WebSocketConnection,
    WebSocketLimits,
)

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n"
)
Frame = tuple[int, bytes]


def octets_of(outputs: list[Output]) -> bytes:
    return b"".join(output.data for output in outputs if isinstance(output, Transmit))


def others(outputs: list[Output]) -> list[Output]:
    return [output for output in outputs if not isinstance(output, Transmit)]


def pair(limits: WebSocketLimits | None = None) -> tuple[WebSocketConnection, WebSocketConnection]:
    """A client and a server after the handshake."""
    client = WebSocketConnection(client=True, host="127.0.0.1:80", target="/ws", limits=limits)
    server = WebSocketConnection(client=False, limits=limits)
    assert server.start(0.0) == []
    hello = server.receive(octets_of(client.start(0.0)), 0.0)
    assert others(hello) == [Opened(target="/ws", host="127.0.0.1:80")]
    assert others(client.receive(octets_of(hello), 0.0)) == [Opened(target="/ws", host="127.0.0.1:80")]
    return client, server


def masked(first: int, payload: bytes) -> bytes:
    """A frame of a client, with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + b"\0\0\0\0" + payload


def test_messages_both_ways_at_every_split() -> None:
    client, server = pair()
    text, binary = "INVITE sip:ü".encode(), b"\xff\x00binary"
    data = octets_of([*client.send(text), *client.send(binary), *client.send(b"")])
    for cut in range(len(data) + 1):
        _, server = pair()
        out = server.receive(data[:cut], 1.0) + server.receive(data[cut:], 1.0)
        assert out == [MessageReceived(data=text), MessageReceived(data=binary), MessageReceived(data=b"")]
    _, server = pair()
    single = [output for octet in data for output in server.receive(bytes([octet]), 1.0)]
    assert single == out


def test_the_handshake_at_every_octet_and_with_frames_behind_it() -> None:
    server = WebSocketConnection(client=False)
    server.start(0.0)
    out = [output for octet in REQUEST + b"\r\n" for output in server.receive(bytes([octet]), 0.0)]
    assert others(out) == [Opened(target="/ws", host="127.0.0.1:80")]
    client = WebSocketConnection(client=True, host="127.0.0.1:80")
    peer = WSConnection(ConnectionType.SERVER)
    peer.receive_data(octets_of(client.start(0.0)))
    list(peer.events())
    reply = peer.send(ws.AcceptConnection(subprotocol="sip")) + peer.send(ws.TextMessage(data="early"))
    assert client.receive(reply, 0.0)[-1] == MessageReceived(data=b"early")


def test_fragments_make_one_message_and_empty_ones_take_no_memory() -> None:
    _, server = pair(WebSocketLimits(max_message=10))
    frames = masked(0x01, b"01234") + masked(0x89, b"between") + masked(0x00, b"") * 1000 + masked(0x80, b"56789")
    out = server.receive(frames, 0.0)
    assert others(out) == [MessageReceived(data=b"0123456789")] and octets_of(out) == b"\x8a\x07between"


@pytest.mark.parametrize("frames", [masked(0x82, b"x" * 11), masked(0x01, b"x" * 6) + masked(0x00, b"x" * 6)])
def test_a_message_over_the_limit_closes_with_1009(frames: bytes) -> None:
    _, server = pair(WebSocketLimits(max_message=10))
    out = server.receive(frames, 0.0)
    assert octets_of(out)[0] == 0x88 and octets_of(out)[2:4] == (1009).to_bytes(2, "big")
    assert out[-1] == Closed(error="a message of more than 10 octets")
    assert server.receive(frames, 0.0) == [] and server.send(b"x") == [] and server.close(0.0) == []
    assert server.next_timeout() is None and server.handle_timeout(1e9) == []


def test_ping_and_pong_timers() -> None:
    client, server = pair(WebSocketLimits(ping_interval=25.0, pong_timeout=10.0))
    assert client.next_timeout() == 25.0 and client.handle_timeout(24.9) == []
    ping = client.handle_timeout(25.0)
    assert client.next_timeout() == 35.0
    assert others(client.receive(octets_of(server.receive(octets_of(ping), 26.0)), 26.0)) == []
    assert client.next_timeout() == 51.0  # whatever is heard starts it anew
    client.handle_timeout(51.0)
    assert client.handle_timeout(61.0) == [Closed(error="no answer to a ping within 10 s")]


def test_close_from_either_side() -> None:
    client, server = pair()
    for one, two in ((client, server), tuple(reversed(pair()))):
        closing = one.close(0.0)
        answer = two.receive(octets_of(closing), 0.0)
        assert others(answer) == [Closed()]
        assert others(one.receive(octets_of(answer), 0.0)) == [Closed()]


def test_a_close_without_an_answer_has_a_limit_and_pings_in_it_are_no_fault() -> None:
    client, server = pair(WebSocketLimits(close_timeout=2.0))
    server.close(10.0)
    assert server.next_timeout() == 12.0
    assert server.receive(masked(0x89, b"ping"), 11.0) == []  # once a LocalProtocolError of wsproto
    assert server.next_timeout() == 12.0
    assert server.handle_timeout(12.0) == [Closed()]
    assert client.close(0.0) != [] and client.close(0.0) == [Closed()]  # the second one does not wait
    assert WebSocketConnection(client=False).close(0.0) == [Closed()]


def test_the_stream_ends() -> None:
    client, server = pair()
    assert client.receive(None, 0.0) == [Closed(error="the connection was cut")]
    server.close(0.0)
    assert server.receive(None, 0.0) == [Closed()]
    fresh = WebSocketConnection(client=True, host="h")
    fresh.start(0.0)
    assert fresh.receive(None, 0.0) == [Closed(error="the connection was cut")]


def test_the_peers_reason_is_told_but_harmless() -> None:
    client, _ = pair()
    out = client.receive(b"\x88\x08\x0f\xa1\x1b[31m\n", 0.0)
    assert out[-1] == Closed(error="the peer closed the connection with code 4001: ?[31m?")


def test_a_slow_handshake_has_a_limit_in_time_and_in_size() -> None:
    """A peer that sends an octet now and then, or headers without end, before anything is known of it."""
    for client in (True, False):
        slow = WebSocketConnection(client=client, host="h", limits=WebSocketLimits(handshake_timeout=5.0))
        slow.start(0.0)
        for second in range(1, 5):
            assert slow.receive(b"G" if not client else b"H", float(second)) == []
            assert slow.next_timeout() == 5.0
        assert slow.handle_timeout(5.0) == [Closed(error="no WebSocket handshake within 5 s")]
    server = WebSocketConnection(client=False)
    server.start(0.0)
    server.receive(REQUEST, 0.0)
    taken = 0
    while not (out := server.receive(b"X-Filler: " + b"x" * 500 + b"\r\n", 0.0)):
        taken += 512
    assert taken < 20_000 and isinstance(out[-1], Closed)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (REQUEST.replace(b"Protocol: sip", b"Protocol: chat") + b"\r\n", b"400"),
        (REQUEST.replace(b"Version: 13", b"Version: 8") + b"\r\n", b"426"),
        (REQUEST + b"Origin: http://evil.example\r\n\r\n", b"403"),
        (REQUEST + b"Origin: null\r\n\r\n", b"403"),
        (REQUEST.replace(b"Host: 127.0.0.1", b"Host: evil.example") + b"\r\n", b"403"),
        (REQUEST.replace(b"Host: 127.0.0.1:80", b"Host: [::1].evil.example") + b"\r\n", b"403"),
        (REQUEST.replace(b"Host: 127.0.0.1:80", b"Host: ") + b"\r\n", b"403"),
        (REQUEST.replace(b"Host: 127.0.0.1:80", b"Host: xn--\xff..") + b"\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
    ],
)
def test_a_server_answers_what_it_refuses_in_http(request_: bytes, status: bytes) -> None:
    server = WebSocketConnection(client=False, guard=HandshakeGuard(hosts=frozenset({"127.0.0.1", "[::1]"})))
    server.start(0.0)
    out = server.receive(request_, 0.0)
    assert octets_of(out).startswith(b"HTTP/1.1 " + status) and isinstance(out[-1], Closed) and out[-1].error
    assert server.receive(b"more", 0.0) == []


@pytest.mark.parametrize("host", [b"127.0.0.1", b"127.0.0.1:8088", b"[::1]", b"[::1]:8088", b"LOCALHOST:1"])
def test_a_guard_lets_in_its_hosts_and_origins(host: bytes) -> None:
    guard = HandshakeGuard(
        hosts=frozenset({"127.0.0.1", "[::1]", "localhost"}), origins=frozenset({"http://good.example"})
    )
    for origin in (b"", b"Origin: http://good.example\r\n"):
        server = WebSocketConnection(client=False, guard=guard)
        server.start(0.0)
        out = server.receive(REQUEST.replace(b"127.0.0.1:80", host) + origin + b"\r\n", 0.0)
        assert isinstance(out[-1], Opened)


@pytest.mark.parametrize(("host", "target"), [("h", "/a b"), ("h", "/\r\nX: y"), ("h\r\nX: y", "/"), ("a..b", "/")])
def test_a_client_refuses_what_is_no_request(host: str, target: str) -> None:
    with pytest.raises(ValueError):
        WebSocketConnection(client=True, host=host, target=target).start(0.0)


CHUNKS = st.lists(
    st.one_of(st.none(), st.binary(max_size=60), st.sampled_from([REQUEST + b"\r\n", b"\x89\x00", b"\x88\x00"]))
)
ACTS = st.lists(st.tuples(st.sampled_from(["receive", "send", "close", "time"]), CHUNKS), max_size=8)


def check_any(connection: WebSocketConnection, acts: list[tuple[str, list[bytes | None]]]) -> None:
    now, over = 0.0, False
    for act, chunks in acts:
        for chunk in chunks or [b""]:
            now += 1.0
            match act:
                case "receive":
                    out = connection.receive(chunk, now)
                case "send":
                    out = connection.send(chunk or b"")
                case "close":
                    out = connection.close(now)
                case _:
                    out = connection.handle_timeout(now + 30.0)
            assert not (over and out), "something came after Closed"
            assert not any(isinstance(output, Closed) for output in out[:-1])
            over = over or bool(out and isinstance(out[-1], Closed))


@given(acts=ACTS, client=st.booleans(), is_open=st.booleans())
@settings(max_examples=300, deadline=None)
def test_nothing_raises_and_nothing_follows_the_end(
    acts: list[tuple[str, list[bytes | None]]], client: bool, is_open: bool
) -> None:
    if is_open:
        ours, theirs = pair(WebSocketLimits(max_message=50))
        check_any(ours if client else theirs, acts)
    else:
        fresh = WebSocketConnection(client=client, host="h")
        fresh.start(0.0)
        check_any(fresh, acts)


@given(where=st.integers(0, len(REQUEST)), what=st.binary(max_size=12), cut=st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_mutated_handshakes_never_raise(where: int, what: bytes, cut: int) -> None:
    server = WebSocketConnection(client=False, guard=HandshakeGuard(hosts=frozenset({"127.0.0.1"})))
    server.start(0.0)
    request = (REQUEST + b"\r\n")[:where] + what + (REQUEST + b"\r\n")[where + cut :]
    check_any(server, [("receive", [request, b"\r\n\r\n"])])


@given(frames=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=130)), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_frames_never_raise(frames: list[Frame]) -> None:
    _, server = pair(WebSocketLimits(max_message=200))
    check_any(server, [("receive", [masked(first, payload) for first, payload in frames])])
    _, server = pair()
    check_any(server, [("close", [None]), ("receive", [masked(first, payload) for first, payload in frames])])
