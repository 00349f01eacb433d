"""Transfers: REFER from both sides, NOTIFY, Replaces (RFC 3515, 3891, 3892, 4488, 5589)."""

from __future__ import annotations

from typing import Any

import pytest

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request, parse_sip_uri
from tests.agent.peer import AUDIO, CONTACT, RAW, SDP, Peer

FRAGMENT = "Content-Type: message/sipfrag;version=2.0"
REFER = i.Refer(command=0, call="out", target="sip:carol@example.com")


def established(**config: Any) -> tuple[Peer, Request]:
    peer = Peer(**config)
    invite = peer.invite()
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    assert peer.one(o.CallEstablished)
    return peer, invite


def notify(peer: Peer, invite: Request, line: str, cseq: int, state: str = "active;expires=60") -> None:
    peer.in_dialog(
        invite,
        "NOTIFY",
        "Event: refer",
        f"Subscription-State: {state}",
        FRAGMENT,
        cseq=cseq,
        body=f"SIP/2.0 {line}\r\n".encode(),
    )


def test_blind() -> None:
    peer, invite = established()
    command = peer.command(REFER)
    refer = peer.request("REFER")
    assert refer.headers.first("Refer-To") == "<sip:carol@example.com>"
    assert refer.headers.first("Referred-By") == "<sip:alice@example.com>"
    assert "Refer-Sub" not in refer.headers
    peer.answer(refer, 202)
    assert not peer.all(o.CommandSucceeded)
    peer.refused(REFER)
    for cseq, line in enumerate(("100 Trying", "180 Ringing"), 1):
        notify(peer, invite, line, cseq)
        assert peer.statuses() == [200]
        assert peer.one(o.TransferProgressed).status == int(line[:3])
    notify(peer, invite, "200 OK", 3, "terminated;reason=noresource")
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=command, result=200)
    assert not peer.all(o.CallEnded)  # ours is for the application to end
    notify(peer, invite, "200 OK", 4)
    assert peer.statuses() == [481]


@pytest.mark.parametrize(
    ("line", "cause"), [("486 Busy Here", Cause.BUSY), ("603 Decline", Cause.REJECTED), ("404 No", Cause.NOT_FOUND)]
)
def test_the_target_does_not_want(line: str, cause: Cause) -> None:
    peer, invite = established()
    peer.command(REFER)
    peer.answer(peer.request("REFER"), 202)
    notify(peer, invite, line, 1, "terminated;reason=noresource")
    failed = peer.one(o.CommandFailed)
    assert (failed.cause, failed.status) == (cause, int(line[:3]))
    assert peer.agent.calls == ("out",)


def test_the_peer_does_not_want() -> None:
    peer, _ = established()
    peer.command(REFER)
    peer.answer(peer.request("REFER"), 603)
    assert peer.one(o.CommandFailed).cause is Cause.REJECTED
    peer.command(REFER)
    peer.wait(40)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert peer.agent.calls == ("out",)


def test_without_notify() -> None:
    peer, _ = established()
    peer.command(i.Refer(command=0, call="out", target="sip:carol@example.com", notify=False))
    refer = peer.request("REFER")
    assert refer.headers.first("Refer-Sub") == "false"
    assert peer.answer(refer, 200, "Refer-Sub: false")
    assert peer.one(o.CommandSucceeded).result == 200


def test_the_peer_tells_nothing() -> None:
    peer, _ = established()
    peer.command(REFER)
    peer.answer(peer.request("REFER"), 202)
    peer.wait(181)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT


def test_an_outcome_that_overtakes_the_answer() -> None:
    peer, invite = established()
    first = peer.command(REFER)
    refer = peer.request("REFER")
    notify(peer, invite, "200 OK", 1, "terminated;reason=noresource")
    assert peer.one(o.CommandSucceeded).command == first
    second = peer.command(REFER)
    other = peer.request("REFER")
    assert not peer.answer(refer, 603)  # of the first one
    assert not peer.wait(20)
    peer.answer(other, 202)
    notify(peer, invite, "200 OK", 2, "terminated;reason=noresource")
    assert peer.one(o.CommandSucceeded).command == second
    assert "refer" not in [name for _, name, _ in peer.agent.timers()]


def test_the_peer_hangs_up_instead_of_telling() -> None:
    """As Asterisk does: it has taken the transfer over."""
    peer, invite = established()
    command = peer.command(REFER)
    peer.answer(peer.request("REFER"), 202)
    peer.in_dialog(invite, "BYE", cseq=2)
    assert o.CommandSucceeded(command=command, result=202) in peer.out
    assert peer.one(o.CallEnded).cause is Cause.TERMINATED


def incoming(peer: Peer, call_id: str = "second", from_tag: str = "carol") -> str:
    """An incoming call that is established; its name."""
    peer.say("INVITE", SDP, body=RAW, call_id=call_id, from_tag=from_tag)
    name = peer.one(o.IncomingCall).call
    peer.command(i.Answer(command=0, call=name, body=RAW))
    ok = peer.response(200)
    peer.say("ACK", call_id=call_id, from_tag=from_tag, to_tag=(ok.headers.first("To") or "").partition("tag=")[2])
    return name


def test_attended_names_the_dialog_as_the_third_party_sees_it() -> None:
    for other_is_incoming in (True, False):
        peer, _ = established()
        if other_is_incoming:
            name = incoming(peer)
            peer.command(i.Refer(command=0, call="out", other=name))
            local = peer.agent.retained and peer.requests("REFER")[0]
        else:
            name = incoming(peer)
            peer.command(i.Refer(command=0, call=name, other="out"))
            local = peer.requests("REFER")[0]
        assert isinstance(local, Request)
        uri = parse_sip_uri((local.headers.first("Refer-To") or "")[1:-1])
        ((key, value),) = uri.header_pairs()
        assert key == "Replaces"
        call_id, to_tag, from_tag = value.split(";")
        if other_is_incoming:
            assert (call_id, to_tag) == ("second", "to-tag=carol")
        else:
            assert to_tag == "to-tag=peer"
        assert from_tag.startswith("from-tag=") and len(from_tag) > 12


def test_attended_is_refused_early() -> None:
    peer, _ = established()
    peer.say("INVITE", SDP, body=RAW, call_id="ringing", from_tag="x")
    ringing = peer.one(o.IncomingCall).call
    peer.refused(i.Refer(command=0, call="out", other=ringing))
    peer.refused(i.Refer(command=0, call="out", other="out"))
    peer.refused(i.Refer(command=0, call="out"))
    peer.refused(i.Refer(command=0, call="out", target="sip:a@b", other=ringing))
    peer.refused(i.Refer(command=0, call="out", target="no address"))


# -- the peer's REFER ----------------------------------------------------------------------------------------------------


def asked(peer: Peer, invite: Request, to: str = "<sip:carol@example.com>", *lines: str) -> o.TransferRequested:
    peer.in_dialog(invite, "REFER", f"Refer-To: {to}", "Contact: <sip:bob@peer.invalid>", *lines)
    return peer.one(o.TransferRequested)


def told(peer: Peer) -> str:
    """The NOTIFY that is out, answered: its status line and subscription state."""
    request = peer.request("NOTIFY")
    assert (request.headers.first("Event") or "").startswith("refer;id=")
    assert request.headers.first("Content-Type") == "message/sipfrag;version=2.0"
    out = f"{request.body.decode().strip()} {(request.headers.first('Subscription-State') or '').partition(';')[0]}"
    peer.answer(request, 200)
    return out


def test_asked_and_done() -> None:
    peer, invite = established()
    replaces = "Replaces=other%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=evil"
    request = asked(peer, invite, f"<sip:carol@example.com?{replaces}>", "Referred-By: <sip:bob@example.com>")
    assert peer.statuses() == [202]
    assert request.target == "sip:carol@example.com"
    assert request.replaces == "other;to-tag=1;from-tag=2"
    assert request.referred_by == "sip:bob@example.com"
    assert told(peer) == "SIP/2.0 100 Trying active"
    command = peer.command(i.AcceptTransfer(command=0, transfer=request.transfer, call="new", media=AUDIO))
    new = peer.request("INVITE")
    assert new.target == "sip:carol@example.com"
    assert new.headers.first("Replaces") == "other;to-tag=1;from-tag=2"
    assert new.headers.first("Referred-By") == "<sip:bob@example.com>"
    assert "Subject" not in new.headers
    peer.answer(new, 180, CONTACT, tag="carol")
    assert told(peer) == "SIP/2.0 180 Text active"
    # Who referred us may hang up first: the new call goes on (RFC 5589 6.1).
    peer.in_dialog(invite, "BYE", cseq=9)
    peer.answer(new, 200, CONTACT, SDP, tag="carol", body=peer.answer_sdp(new.body))
    assert o.CommandSucceeded(command=command, result=None) in peer.out
    notify_ = peer.request("NOTIFY")
    assert notify_.body == b"SIP/2.0 200 OK\r\n"
    assert (notify_.headers.first("Subscription-State") or "").startswith("terminated")
    peer.answer(notify_, 481)
    assert peer.agent.calls == ("new",)
    assert peer.agent.retained["transfers"] == 0


def test_asked_and_failed() -> None:
    peer, invite = established()
    request = asked(peer, invite)
    told(peer)
    peer.command(i.AcceptTransfer(command=0, transfer=request.transfer, call="new", media=AUDIO))
    peer.answer(peer.request("INVITE"), 486)
    assert peer.one(o.CommandFailed).cause is Cause.BUSY
    assert told(peer) == "SIP/2.0 486 Busy Here terminated"
    assert peer.agent.retained["transfers"] == 0


def test_asked_and_refused() -> None:
    for reject in (True, False):
        peer, invite = established()
        request = asked(peer, invite)
        told(peer)
        if reject:
            peer.command(i.RejectTransfer(command=0, transfer=request.transfer))
        else:
            peer.wait(61)
        assert told(peer) == "SIP/2.0 603 Decline terminated"
        assert peer.agent.retained["transfers"] == 0
        peer.refused(i.AcceptTransfer(command=0, transfer=request.transfer, call="new", media=AUDIO))


def test_asked_without_notify() -> None:
    peer, invite = established()
    request = asked(peer, invite, "<sip:carol@example.com>", "Refer-Sub: false")
    assert peer.response(202).headers.first("Refer-Sub") == "false"
    assert not peer.requests("NOTIFY")
    peer.command(i.RejectTransfer(command=0, transfer=request.transfer))
    assert not peer.sent()
    assert peer.agent.retained["transfers"] == 0


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Refer-To: <sip:carol@example.com;method=BYE>", 403),
        ("Refer-To: <mailto:carol@example.com>", 416),
        ("Refer-To: <sip:>", 400),
        ("X: y", 400),
    ],
)
def test_what_is_not_done(line: str, status: int) -> None:
    peer, invite = established()
    peer.in_dialog(invite, "REFER", line, "Contact: <sip:bob@peer.invalid>")
    assert peer.statuses() == [status]
    assert not peer.all(o.TransferRequested)


def test_switched_off_and_outside_of_calls() -> None:
    peer, invite = established(accept_transfers=False)
    peer.in_dialog(invite, "REFER", "Refer-To: <sip:c@example.com>", "Contact: <sip:bob@peer.invalid>")
    assert peer.statuses() == [603]
    peer.say("REFER", "Refer-To: <sip:c@example.com>", "Contact: <sip:bob@peer.invalid>", call_id="outside")
    assert peer.statuses() == [403]


# -- Replaces ------------------------------------------------------------------------------------------------------------


def tags(invite: Request) -> tuple[str, str]:
    return (invite.headers.first("Call-ID") or "", (invite.headers.first("From") or "").partition("tag=")[2])


def test_a_call_takes_the_place_of_another() -> None:
    peer, invite = established()
    call_id, ours = tags(invite)
    peer.say(
        "INVITE", SDP, f"Replaces: {call_id};to-tag={ours};from-tag=peer", body=RAW, call_id="new", from_tag="carol"
    )
    event = peer.one(o.IncomingCall)
    assert event.replaces == "out"
    peer.command(i.Answer(command=0, call=event.call, body=RAW))
    ok = peer.response(200)
    assert not peer.all(o.CallEnded)
    peer.say("ACK", call_id="new", from_tag="carol", to_tag=(ok.headers.first("To") or "").partition("tag=")[2])
    ended = peer.one(o.CallEnded)
    assert (ended.call, ended.cause) == ("out", Cause.TERMINATED)
    assert event.call in ended.detail
    assert peer.request("BYE").headers.first("Call-ID") == call_id


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("nobody;to-tag=1;from-tag=2", 481),
        ("{call_id};to-tag={ours};from-tag=wrong", 481),
        ("{call_id};to-tag={ours};from-tag=peer;early-only", 486),
        ("{call_id};to-tag={ours}", 400),
    ],
)
def test_replaces_refused(value: str, status: int) -> None:
    peer, invite = established()
    call_id, ours = tags(invite)
    text = value.format(call_id=call_id, ours=ours)
    peer.say("INVITE", SDP, f"Replaces: {text}", body=RAW, call_id="new", from_tag="carol")
    assert [s for s in peer.statuses() if s != 100] == [status]
    assert not peer.all(o.IncomingCall)


def test_headers_of_uris() -> None:
    uri = parse_sip_uri("sip:a@b?X=1&Replaces=c%40d%3Bto-tag%3D1")
    assert uri.header_pairs() == [("X", "1"), ("Replaces", "c@d;to-tag=1")]


@pytest.mark.parametrize("status", [481, 489, None])
def test_a_peer_that_does_not_listen_while_the_outcome_waits(status: int | None) -> None:
    """The first NOTIFY is on its way when there is an outcome already."""
    peer, invite = established()
    request = asked(peer, invite)
    first = peer.request("NOTIFY")
    peer.command(i.RejectTransfer(command=0, transfer=request.transfer))
    assert not peer.requests("NOTIFY")  # one by one
    if status is None:
        peer.wait(40)
    else:
        peer.answer(first, status)
    assert not peer.requests("NOTIFY")
    assert peer.agent.retained["transfers"] == 0


@pytest.mark.parametrize("rejected", [True, False])
def test_what_is_decided_is_decided(rejected: bool) -> None:
    """By the application, or by its silence; whether the peer has confirmed that it knows or not."""
    peer, invite = established()
    request = asked(peer, invite)
    if rejected:
        peer.command(i.RejectTransfer(command=0, transfer=request.transfer))
    else:
        peer.wait(25)
        peer.answer(peer.requests("NOTIFY")[0], 200) if peer.requests("NOTIFY") else None
        peer.wait(36)
    peer.refused(i.RejectTransfer(command=0, transfer=request.transfer))
    peer.refused(i.AcceptTransfer(command=0, transfer=request.transfer, call="new", media=AUDIO))
