"""Requests that are refused, requests outside of calls, and peers that mean no good."""

from __future__ import annotations

import random
import re

import pytest

from sipproto.agent import AgentLimits, Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.errors import Fault
from tests.agent.peer import CONTACT, FLOW, RAW, SDP, Peer, answer_to, cseq_of

EXPECTED = {
    "unknown method": ("FLY", (), {}, 501),
    "method that we do not take": ("PUBLISH", ("Event: x",), {}, 405),
    "no SIP URI": ("OPTIONS", (), {"target": "tel:+123"}, 416),
    "somebody else": ("OPTIONS", (), {"target": "sip:carol@example.com"}, 404),
    "extension": ("OPTIONS", ("Require: 100rel, precondition",), {}, 420),
    "body of another kind": ("INVITE", ("Content-Type: text/plain",), {"body": b"x"}, 415),
    "body without a kind": ("INVITE", (), {"body": b"x"}, 415),
    "encoded body": ("INVITE", (SDP, "Content-Encoding: gzip"), {"body": b"x"}, 415),
    "no session description wanted": ("INVITE", ("Accept: text/plain",), {}, 406),
    "unknown dialog": ("INFO", (), {"to_tag": "none"}, 481),
    "BYE outside": ("BYE", (), {}, 481),
    "INVITE in an unknown dialog": ("INVITE", (), {"to_tag": "none"}, 481),
    "CANCEL of nothing": ("CANCEL", (), {}, 481),
    "no Contact": ("INVITE", (), {"contact": ""}, 400),
    "CSeq of another method": ("OPTIONS", ("CSeq: 1 OPTIONS",), {}, 400),
    "OPTIONS": ("OPTIONS", (), {}, 200),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_answers(name: str) -> None:
    method, lines, parts, status = EXPECTED[name]
    peer = Peer()
    peer.say(method, *lines, **parts)  # type: ignore[arg-type]
    assert [s for s in peer.statuses() if s != 100] == [status], peer.out
    answer = peer.response(status)
    assert "tag=" in (answer.headers.first("To") or "")
    if status in (405, 501):
        assert "INVITE" in (answer.headers.first("Allow") or "")
    if status == 420:
        assert answer.headers.first("Unsupported") == "precondition"
    assert peer.all(o.IncomingCall) == []
    peer.wait(200)
    assert not any(peer.agent.retained.values())


def test_merged_request_is_a_loop() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=RAW)
    peer.say("INVITE", SDP, body=RAW)  # same Call-ID, tag and CSeq on another path
    assert peer.statuses() == [100, 482]


def test_malformed_requests() -> None:
    peer = Peer()
    good = peer.text("OPTIONS")
    peer.data(good.replace(b"CSeq: 1", b"CSeq: 99999999999"))
    assert peer.statuses() == [400]
    assert peer.one(o.ProtocolViolated).fault is Fault.BAD_HEADER
    peer.data(good.replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1))
    assert peer.statuses() == [505]
    peer.data(good.replace(b"\r\nMax", b"\r\nno colon\r\nMax"))
    assert peer.statuses() == [400]
    peer.data(good.replace(b"Call-ID: incoming-1\r\n", b""))
    assert peer.statuses() == []
    peer.one(o.ProtocolViolated)
    peer.data(good.replace(b"OPTIONS", b"ACK").replace(b"From", b"Frum"))
    assert peer.statuses() == []
    peer.data(b"x" * 300_000)
    assert peer.one(o.ProtocolViolated).fault is Fault.TOO_LARGE
    assert peer.statuses() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"incoming-1", b"incom\x00ing"),
        (b"<sip:bob@example.com>", b'"B\\\x01" <sip:bob@example.com>'),
        (b"Max-Forwards: 70", b"Timestamp: 1\x00\r\nMax-Forwards: 70"),
        (b"Max-Forwards: 70", b'Record-Route: <sip:p;lr>;x="\x7f"\r\nMax-Forwards: 70'),
        (b"peer.invalid;branch", b'peer.invalid;x="\x02";branch'),
        (b"\xff", b"\xff"),
    ],
)
def test_control_characters_never_raise(old: bytes, new: bytes) -> None:
    peer = Peer()
    peer.data(peer.text("INVITE", SDP, body=RAW).replace(old, new))
    peer.data(peer.text("OPTIONS").replace(old, new))
    peer.data(answer_to(peer.invite(), 200, CONTACT, SDP, body=RAW).replace(b"<sip:bob@peer", new + b"<sip:bob@peer"))
    for call in peer.agent.calls:
        peer.command(i.HangUp(command=0, call=call))
        for output in peer.all(o.SendData):  # a quoted pair may stand for one (25.1), nothing else
            assert not re.search(rb"(?<!\\)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", output.data)


def test_keep_alive() -> None:
    peer = Peer()
    assert peer.data(b"\r\n\r\n") == [o.SendData(flow=FLOW, data=b"\r\n")]
    assert peer.data(b"\r\n") == []
    peer.data(b"", flow=77)
    assert peer.out == []


def test_stream() -> None:
    """TCP: messages come in pieces, and a stream that cannot be read is closed (18.3)."""
    peer = Peer(transport="TCP")
    whole = b"\r\n\r\n" + peer.text("OPTIONS") + peer.text("OPTIONS", cseq=2)
    out = []
    for octet in whole:
        out += peer.data(bytes([octet]))
    peer.out = out
    assert peer.all(o.SendData)[0].data == b"\r\n"
    peer.out = peer.out[1:]
    assert peer.statuses() == [200, 200]
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com"))
    peer.data(b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n")
    peer.one(o.ProtocolViolated)
    assert peer.one(o.CloseFlow).flow == FLOW
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    assert not any(peer.agent.retained.values())


def test_ipv6_addresses_are_bracketed() -> None:
    peer = Peer(connect=False)
    peer.command(i.Connect(command=0, server="sip:example.com"))
    peer.give(i.FlowOpened(flow=1, transport="udp", local=("2001:db8::1", 5060)))
    invite = peer.invite()
    assert (invite.headers.first("Via") or "").startswith("SIP/2.0/UDP [2001:db8::1]:5060;")
    assert "@[2001:db8::1]:5060;transport=udp>" in (invite.headers.first("Contact") or "")


def test_messages_and_options() -> None:
    peer = Peer()
    number = peer.command(i.SendMessage(command=0, target="sip:bob@example.com", body=b"hi"))
    peer.answer(peer.request("MESSAGE"), 202)
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=202)
    peer.command(i.SendMessage(command=0, target="sip:bob@example.com", body=b"hi"))
    peer.answer(peer.request("MESSAGE"), 404)
    assert peer.one(o.CommandFailed).cause is Cause.NOT_FOUND
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com"))
    peer.answer(peer.request("OPTIONS"), 404)
    assert peer.one(o.CommandSucceeded).result == 404
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com", timeout=2))
    peer.wait(2)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    peer = Peer(secrets=(Secret(username="alice", password="secret"),))
    peer.command(i.SendOptions(command=0, target="sip:bob@example.com", timeout=2))
    options = peer.request("OPTIONS")
    peer.wait(1.5)
    peer.answer(options, 401, 'WWW-Authenticate: Digest realm="x", nonce="y", qop="auth"')
    peer.request("OPTIONS")
    peer.wait(0.6)  # one limit for all attempts
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    peer.say("MESSAGE", "Content-Type: text/plain", body=b"hello")
    assert peer.one(o.MessageReceived).body == b"hello"
    peer = Peer(accept_messages=False)
    peer.say("MESSAGE", "Content-Type: text/plain", body=b"hello")
    assert peer.statuses() == [405]


# -- malice ----------------------------------------------------------------------------------------------------------


def test_flood_of_early_dialogs() -> None:
    peer = Peer()
    invite = peer.invite()
    for number in range(20_000):
        peer.answer(invite, 180, CONTACT, tag=f"t{number}")
    assert peer.agent.retained["dialogs"] == 16
    peer.answer(invite, 486)
    assert peer.agent.retained["dialogs"] == 0


def test_flood_of_accepting_forks_is_limited() -> None:
    peer = Peer(limits=AgentLimits(exchanges=50))
    invite = peer.invite(media=(), body=RAW)
    for number in range(300):
        peer.answer(invite, 200, CONTACT, SDP, tag=f"t{number}", body=RAW)
    assert peer.agent.retained["exchanges"] <= 50
    peer.command(i.HangUp(command=0, call="out"))
    peer.wait(200)
    assert not any(peer.agent.retained.values())


def test_flood_of_requests_is_limited() -> None:
    peer = Peer(limits=AgentLimits(server_transactions=100, calls=10))
    for number in range(500):
        peer.say("INVITE", SDP, body=RAW, call_id=f"c{number}")
    assert peer.agent.retained["calls"] == 10
    assert peer.agent.retained["transactions"] <= 100
    peer.wait(300)
    assert not any(peer.agent.retained.values())


def test_mutated_messages_never_raise() -> None:
    """Lines dropped, doubled, swapped and damaged, in every state of a call."""
    rng = random.Random(5)
    bad = [
        b"",
        b"x",
        b"9" * 60,
        b"-1",
        b"<",
        b'"',
        b"sip:",
        b"\x00",
        b"\xff\xfe",
        b";tag=",
        b"*",
        b"a" * 3000,
        b",,,",
        b"%zz",
    ]
    for seed in range(150):
        peer = Peer()
        invite = peer.invite()
        own = [
            peer.text("INVITE", SDP, body=peer.offer() if seed % 2 else RAW),
            peer.text("MESSAGE"),
            peer.text("OPTIONS"),
        ]
        own.append(peer.text("BYE", from_tag="peer", to_tag=(invite.headers.first("From") or "").partition("tag=")[2]))
        for _ in range(12):
            status = rng.choice([100, 180, 200, 302, 401, 407, 423, 491, 500])
            text = rng.choice(
                [*own, answer_to(invite, status, CONTACT, SDP, "WWW-Authenticate: Digest realm=x,nonce=y", body=RAW)]
            )
            lines = text.split(b"\r\n")
            for _ in range(rng.randrange(3)):
                at = rng.randrange(len(lines))
                kind = rng.randrange(4)
                if kind == 0:
                    del lines[at]
                elif kind == 1:
                    lines.insert(at, lines[at])
                elif kind == 2:
                    name, _, _ = lines[at].partition(b": ")
                    lines[at] = name + b": " + rng.choice(bad)
                else:
                    lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)] + rng.choice(bad)
                if not lines:
                    lines = [b""]
            peer.data(b"\r\n".join(lines))
        peer.wait(100)
        for call in peer.agent.calls:
            peer.command(i.HangUp(command=0, call=call))
        peer.wait(300)
        assert not any(peer.agent.retained.values()), (seed, peer.agent.retained)
    assert cseq_of(invite)
