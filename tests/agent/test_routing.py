"""Where requests go and answers come from: received and rport, Service-Route, GRUUs; and what is too large."""

from __future__ import annotations

import pytest

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.config import AgentLimits
from sipproto.message import MessageLimits, Response, fields
from tests.agent.peer import CONTACT, SDP, Peer

PUBLIC = "sip:alice@example.com;gr=urn:uuid:1"
OPTIONS = i.SendOptions(command=0, target="sip:bob@example.com")


def answered_over(remote: tuple[str, int] | None, via: str, transport: str = "UDP") -> str:
    """The top Via of the answer to a request that came from `remote` on an accepted flow."""
    peer = Peer()
    peer.give(i.FlowOpened(flow=-1, transport=transport, local=("192.0.2.7", 5060), remote=remote))
    text = peer.text("OPTIONS").replace(b"SIP/2.0/WS peer.invalid;branch=", f"SIP/2.0/{via};branch=".encode())
    peer.data(text, flow=-1)
    return peer.response(200).headers.raw("Via")[0]


@pytest.mark.parametrize(
    ("via", "noted"),
    [
        ("UDP 10.0.0.1:5060;rport", ";received=198.51.100.9;rport=40000"),
        ("UDP 10.0.0.1:5060", ";received=198.51.100.9"),
        ("UDP phone.example.com", ";received=198.51.100.9"),
        ("UDP 198.51.100.9:5060", ""),
        ("UDP 198.51.100.9:5060;rport", ";received=198.51.100.9;rport=40000"),
    ],
)
def test_answers_say_where_the_request_came_from(via: str, noted: str) -> None:
    value = fields.VIA.parse(answered_over(("198.51.100.9", 40000), via))
    wanted = fields.VIA.parse(f"SIP/2.0/{via}{noted};branch=x")
    assert value.received == wanted.received
    assert value.params.get("rport") == ("40000" if "rport=" in noted else None)
    assert value.sent_by == wanted.sent_by


def test_a_websocket_or_an_unknown_origin_says_nothing() -> None:
    assert "received" not in answered_over(("198.51.100.9", 1), "WS a.invalid;rport", transport="WS")
    assert "received" not in answered_over(None, "UDP 10.0.0.1;rport")


def registered(peer: Peer, *lines: str) -> o.Registration:
    peer.command(i.Register(command=0))
    request = peer.request("REGISTER")
    contact = (request.headers.first("Contact") or "") + f';pub-gruu="{PUBLIC}";temp-gruu="sip:tgruu@example.com;gr"'
    peer.answer(request, 200, f"Contact: {contact}", *lines)
    granted = peer.one(o.CommandSucceeded).result
    assert isinstance(granted, o.Registration)
    return granted


def test_service_route() -> None:
    """RFC 3608 6.1: requests outside of dialogs take it, in its order; a later answer stands for the one before."""
    peer = Peer()
    granted = registered(peer, "Service-Route: <sip:a.example.com;lr>, <sip:b.example.com;lr>")
    assert granted.service_route == ("sip:a.example.com;lr", "sip:b.example.com;lr")
    routes = ("<sip:a.example.com;lr>", "<sip:b.example.com;lr>")
    peer.command(OPTIONS)
    assert peer.request("OPTIONS").headers.raw("Route") == routes
    invite = peer.invite()
    assert invite.headers.raw("Route") == routes
    # the dialog has a route set of its own (RFC 3261 12.1.2)
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    assert "Route" not in peer.request("ACK").headers
    registered(peer)
    peer.command(OPTIONS)
    assert "Route" not in peer.request("OPTIONS").headers


def test_gruu() -> None:
    """RFC 5627 4.4: what makes a dialog names this device wherever it is; the binding names the flow."""
    peer = Peer()
    granted = registered(peer)
    assert (granted.public_gruu, granted.temporary_gruu) == (PUBLIC, "sip:tgruu@example.com;gr")
    assert peer.invite().headers.first("Contact") == f"<{PUBLIC}>"
    peer.command(i.Register(command=0))
    assert ".invalid;transport=ws>" in (peer.request("REGISTER").headers.first("Contact") or "")
    peer.answer(peer.request("REGISTER"), 403)
    assert ".invalid" in (
        peer.invite(call="second").headers.first("Contact") or ""
    )  # it lived as long as the registration


@pytest.mark.parametrize("gruu", ["<nonsense>", ""])
def test_a_gruu_that_is_no_uri_is_none(gruu: str) -> None:
    peer = Peer()
    peer.command(i.Register(command=0))
    request = peer.request("REGISTER")
    peer.answer(request, 200, f'Contact: {request.headers.first("Contact")};pub-gruu="{gruu}"')
    granted = peer.one(o.CommandSucceeded).result
    assert isinstance(granted, o.Registration) and granted.public_gruu is None


def test_too_large() -> None:
    """21.5.7, where the headers alone are not; else nothing can be said."""
    peer = Peer(limits=AgentLimits(message=MessageLimits(max_size=1000)))
    peer.data(peer.text("MESSAGE", "Content-Type: text/plain", body=b"x" * 1000))
    assert peer.statuses() == [513]
    assert peer.one(o.ProtocolViolated).fault.code == "too-large"
    peer.data(peer.text("MESSAGE", f"Subject: {'x' * 1000}"))
    assert not peer.sent()
    peer.data(Response(200, "OK", body=b"x" * 1000).to_bytes() + b"\r\n\r\n" + b"x" * 1000)
    assert not peer.sent()
    peer.command(OPTIONS)
    assert peer.request("OPTIONS")  # the connection is what it was
