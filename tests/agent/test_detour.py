"""Requests that are too large for a datagram (RFC 3261 18.1.1)."""

from __future__ import annotations

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request, parse_message
from tests.agent.peer import CONTACT, FLOW, RAW, SDP, Peer
from tests.agent.test_calls import idle

LARGE = i.SendMessage(command=0, target="sip:bob@example.com", body=b"x" * 1300)


def sent_on(peer: Peer, flow: int) -> list[Request]:
    messages = [parse_message(s.data) for s in peer.all(o.SendData) if s.flow == flow]
    return [m for m in messages if isinstance(m, Request)]


def opening(peer: Peer) -> int:
    """The flow that is asked for."""
    asked = peer.one(o.OpenFlow)
    assert (asked.server, asked.transport) == ("wss://example.com", "TCP")
    assert not peer.sent()
    return asked.flow


def test_by_tcp_to_the_same_server() -> None:
    peer = Peer(transport="UDP")
    command = peer.command(LARGE)
    flow = opening(peer)
    second = peer.command(LARGE)
    assert not peer.out  # waits for the same
    peer.give(i.FlowOpened(flow=flow, transport="TCP", local=("192.0.2.7", 41000)))
    requests = sent_on(peer, flow)
    assert len(requests) == 2
    assert (requests[0].headers.first("Via") or "").startswith("SIP/2.0/TCP 192.0.2.7:41000;branch=z9hG4bK")
    for request in requests:
        peer.data(response(request, 200), flow)
    assert peer.all(o.CommandSucceeded)
    third = peer.command(LARGE)
    assert len(sent_on(peer, flow)) == 1  # the flow is there
    assert command != second != third
    # small requests stay with the datagrams
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com"))
    assert len(sent_on(peer, FLOW)) == 1


def test_a_refusal() -> None:
    peer = Peer(transport="UDP")
    peer.command(LARGE)
    flow = opening(peer)
    peer.give(i.FlowOpened(flow=flow, transport="TCP", local=("192.0.2.7", 41000)))
    (request,) = sent_on(peer, flow)
    peer.data(response(request, 403), flow)
    assert peer.one(o.CommandFailed).status == 403


def test_a_server_without_tcp_gets_a_datagram() -> None:
    for timeout in (False, True):
        peer = Peer(transport="UDP")
        peer.command(LARGE)
        flow = opening(peer)
        if timeout:
            peer.wait(12.1)
            assert o.CloseFlow(flow=flow) in peer.out
        else:
            peer.give(i.OpenFlowFailed(flow=flow, error="connection refused"))
        assert len(sent_on(peer, FLOW)) == 1
        peer.command(LARGE)
        assert len(sent_on(peer, FLOW)) == 1  # it is not asked for again
        assert not peer.all(o.OpenFlow)


def test_the_flow_is_lost_and_opened_again() -> None:
    peer = Peer(transport="UDP")
    peer.command(LARGE)
    flow = opening(peer)
    peer.give(i.FlowOpened(flow=flow, transport="TCP"))
    peer.give(i.FlowClosed(flow=flow))
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    assert not peer.all(o.ConnectionChanged)  # the connection to the server is the other one
    peer.command(LARGE)
    assert opening(peer) != flow


def test_the_connection_is_lost_meanwhile() -> None:
    peer = Peer(transport="UDP")
    peer.command(LARGE)
    flow = opening(peer)
    peer.give(i.FlowClosed(flow=FLOW))
    assert o.CloseFlow(flow=flow) in peer.out
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    idle(peer)


def test_the_connection_is_lost_and_the_stream_with_it() -> None:
    peer = Peer(transport="UDP")
    command = peer.command(LARGE)
    flow = opening(peer)
    peer.give(i.FlowOpened(flow=flow, transport="TCP"))
    (request,) = sent_on(peer, flow)
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.all(o.CloseFlow) == [o.CloseFlow(flow=flow)]
    assert [f.command for f in peer.all(o.CommandFailed)] == [command]  # at once: no answer can come
    assert not any(peer.agent.retained.values())
    assert not peer.data(response(request, 200), flow)


def test_shutdown_closes_it() -> None:
    peer = Peer(transport="UDP")
    peer.command(LARGE)
    flow = opening(peer)
    peer.give(i.FlowOpened(flow=flow, transport="TCP"))
    peer.command(i.Shutdown(command=0))
    peer.wait(3.1)
    closed = [output.flow for output in peer.all(o.CloseFlow)]
    assert sorted(closed) == [FLOW, flow]  # each once
    idle(peer)


def test_streams_need_no_detour() -> None:
    for transport in ("TCP", "WS"):
        peer = Peer(transport=transport)
        peer.command(LARGE)
        assert len(peer.requests("MESSAGE")) == 1


def test_a_repetition_that_waits_and_is_not_wanted_any_more_is_not_sent() -> None:
    peer = Peer(transport="UDP", secrets=(Secret(username="alice", password="secret"),))
    peer.command(i.Invite(command=0, call="out", target="sip:bob@example.com", body=RAW))
    invite = peer.request("INVITE")
    peer.answer(invite, 200, CONTACT, SDP, body=RAW)
    peer.command(i.SendInfo(command=0, call="out", content_type="text/plain", body=b"x"))
    info = peer.request("INFO")
    peer.command(LARGE)
    flow = opening(peer)
    peer.answer(info, 407, 'Proxy-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    assert not peer.sent()  # it waits behind the large one
    peer.in_dialog(invite, "BYE")
    peer.give(i.FlowOpened(flow=flow, transport="TCP"))
    assert [request.method for request in sent_on(peer, FLOW) + sent_on(peer, flow)] == ["MESSAGE"]


def response(request: Request, status: int) -> bytes:
    lines = [f"SIP/2.0 {status} Text", f"Via: {request.headers.first('Via')}"]
    lines += [f"{name}: {request.headers.first(name)}" for name in ("From", "To", "Call-ID", "CSeq")]
    return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()
