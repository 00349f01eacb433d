"""What single faults in the scenarios have shown: each was wrong once."""

from __future__ import annotations

import pytest

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from tests.agent.peer import AUDIO, CONTACT, FLOW, RAW, SDP, Peer, answer_to, tag_of
from tests.sim.network import local_transport

HOLD = i.Hold(command=0, call="out")


def test_late_offers_of_two_forks_while_media_open() -> None:
    """The ACK of the call goes to the party that it is with, with the answer (RFC 3261 13.2.2.4)."""
    peer = Peer(auto_media=False)
    invite = peer.invite(late_offer=True)
    other = peer.offer()
    peer.answer(invite, 200, CONTACT, SDP, tag="one", body=other)
    opening = peer.one(m.OpenMedia)
    peer.answer(invite, 200, CONTACT, SDP, tag="two", body=other)
    assert tag_of(peer.request("ACK")) == tag_of(peer.request("BYE")) == "two"
    peer.answer(invite, 200, CONTACT, SDP, tag="two", body=other)
    assert tag_of(peer.request("ACK")) == "two"
    transports = tuple((slot, local_transport(slot)) for slot in opening.slots)
    peer.give(m.MediaOpened(request=opening.request, transports=transports))
    ack = peer.request("ACK")
    assert tag_of(ack) == "one" and ack.body
    peer.one(o.CallEstablished)


def test_reinvite_before_the_ack_of_the_last_one() -> None:
    """14.2 has those wait that come before our final answer; after it there is nothing to wait for."""
    peer = Peer()
    ok = peer.call_in()
    for cseq in (2, 3):  # the ACK to the first is lost
        peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=cseq, body=peer.reoffer())
        peer.negotiator.receive_answer(peer.response(200).body)
    peer.say("ACK", to_tag=tag_of(ok), cseq=3)
    assert not [sent for sent in peer.wait(40) if isinstance(sent, o.SendData | o.CallEnded)]


def test_reinvite_while_the_last_one_is_being_answered() -> None:
    """14.2"""
    peer = Peer()
    ok = peer.call_in()
    peer.auto_media = False
    peer.negotiator.restart_ice()
    for slot in peer.negotiator.restart_slots():
        peer.negotiator.add_transport(slot, local_transport(slot, 8))
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=2, body=peer.reoffer())
    peer.one(m.OpenMedia)
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=3, body=b"v=0\r\n")
    assert 0 <= int(peer.response(500).headers.first("Retry-After") or "x") <= 10


def test_reinvite_after_an_offer_of_ours_whose_answer_was_lost() -> None:
    peer = Peer()
    ok = peer.call_in()
    peer.say("INVITE", to_tag=tag_of(ok), cseq=2)  # no offer: ours is in the 200
    assert peer.response(200).body
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=3, body=peer.reoffer())
    peer.negotiator.receive_answer(peer.response(200).body)
    peer.say("ACK", to_tag=tag_of(ok), cseq=3)
    assert not [sent for sent in peer.wait(40) if isinstance(sent, o.SendData | o.CallEnded)]


def test_a_lost_reinvite_does_not_end_the_call_of_a_peer_who_speaks() -> None:
    """Its connection was lost with our re-INVITE; it has come back since, and wants to go on."""
    peer = Peer(recovery=Recovery())
    invite = peer.call_out()
    peer.command(HOLD)
    peer.answer(peer.request("INVITE"), 100)
    peer.in_dialog(invite, "INVITE", SDP, CONTACT, body=peer.reoffer())
    assert peer.statuses() == [100, 491]
    peer.negotiator.rollback()
    out = peer.wait(40)
    assert [one.cause.value for one in out if isinstance(one, o.CommandFailed)] == ["request_timeout"]
    assert not [one for one in out if isinstance(one, o.CallEnded)]
    peer.in_dialog(invite, "INVITE", SDP, CONTACT, cseq=2, body=peer.reoffer())
    assert peer.response(200).body


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_caller_without_media_of_ours_comes_back(method: str) -> None:
    """The called one waits for its caller on a connection that the caller has made: any word of it on the next will do."""
    peer = Peer(connect=False, recovery=Recovery())
    peer.give(i.FlowOpened(flow=-1, transport="WS"))
    peer.data(peer.text("INVITE", SDP, body=RAW), flow=-1)
    peer.command(i.Answer(command=0, call="in-1", body=RAW))
    ok = peer.response(200)
    peer.data(peer.text("ACK", to_tag=tag_of(ok)), flow=-1)
    peer.give(i.FlowClosed(flow=-1))
    peer.one(o.CallReconnecting)
    peer.give(i.FlowOpened(flow=-2, transport="WS"))
    lines, body = ((SDP,), RAW) if method == "INVITE" else ((), b"")
    peer.data(peer.text(method, *lines, to_tag=tag_of(ok), cseq=2, body=body), flow=-2)
    peer.one(o.CallRecovered)
    if method == "INVITE":
        peer.data(peer.text("ACK", to_tag=tag_of(ok), cseq=2), flow=-2)
    assert not [out for out in peer.wait(100) if isinstance(out, o.CallEnded)]


def test_our_return_is_told_to_a_peer_without_update() -> None:
    """12.2.1.2: it learns where we are by a re-INVITE with the description that holds."""
    peer = Peer(recovery=Recovery(), capabilities=None)
    invite = peer.invite(media=(), body=RAW)
    peer.answer(invite, 200, CONTACT, SDP, "Allow: INVITE, ACK, BYE", body=RAW)
    peer.give(i.FlowClosed(flow=FLOW))
    peer.wait(5)
    opening = peer.one(o.OpenFlow)
    peer.give(i.FlowOpened(flow=opening.flow, transport="WS"))
    again = peer.request("INVITE")
    assert again.body == RAW
    peer.data(answer_to(again, 200, CONTACT, SDP, body=RAW), flow=opening.flow)
    peer.one(o.CallRecovered)


def test_recoveries_of_both_sides_cross() -> None:
    """Who is answered first has recovered the call for both: the other does not restart ICE once more."""
    peer = Peer(recovery=Recovery())
    invite = peer.call_out()
    peer.give(i.FlowClosed(flow=FLOW))
    peer.wait(5)
    flow = peer.one(o.OpenFlow).flow
    peer.give(i.FlowOpened(flow=flow, transport="WS"))
    peer.data(answer_to(peer.request("INVITE"), 491), flow=flow)
    tag = (invite.headers.first("From") or "").partition("tag=")[2]
    call_id = invite.headers.first("Call-ID") or ""
    offer = peer.text("INVITE", SDP, body=peer.reoffer(), from_tag="peer", to_tag=tag, call_id=call_id)
    peer.data(offer, flow=flow)
    peer.one(o.CallRecovered)
    peer.negotiator.receive_answer(peer.response(200).body)
    peer.data(peer.text("ACK", from_tag="peer", to_tag=tag, call_id=call_id), flow=flow)
    assert not [out for out in peer.wait(20) if isinstance(out, o.SendData)]
    peer.command(HOLD)
    before, now = (ufrags(body) for body in (invite.body, peer.request("INVITE").body))
    assert before == now


def ufrags(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\r\n") if line.startswith(b"a=ice-ufrag")]


def test_pongs_one_after_the_other() -> None:
    """RFC 5626 4.4.1: on a stream without messages between them two pongs are the octets of a ping."""
    peer = Peer(transport="TCP", keep_alive=25.0)
    peer.command(i.Register(command=0))
    peer.answer(peer.request("REGISTER"), 200, "Flow-Timer: 30", "Expires: 3600")
    for _ in range(20):
        when = peer.agent.next_timeout()
        assert when is not None
        out = peer.wait(when - peer.now)
        assert [one.data for one in out if isinstance(one, o.SendData)] == [b"\r\n\r\n"]
        assert peer.data(b"\r\n") == []


def test_a_ping_is_answered_though_a_pong_is_awaited() -> None:
    peer = Peer(transport="TCP", keep_alive=25.0)
    peer.command(i.Register(command=0))
    peer.answer(peer.request("REGISTER"), 200, "Flow-Timer: 30", "Expires: 3600")
    assert peer.data(b"\r\n") == []  # for which nobody has asked
    when = peer.agent.next_timeout()
    assert when is not None
    peer.wait(when - peer.now)
    answer = [o.SendData(flow=peer.flow, data=b"\r\n")]
    assert peer.data(b"\r\n\r\n") == answer
    assert peer.data(b"\r\n") == answer  # with the third of the four before
    assert not [one for one in peer.wait(15) if isinstance(one, o.ConnectionChanged)]  # it counts as the pong, too


def test_a_reinvite_stands_for_the_lost_ack() -> None:
    peer = Peer()
    peer.say("INVITE", SDP, body=peer.offer())
    peer.command(i.Answer(command=0, call="in-1", media=AUDIO))
    ok = peer.response(200)
    peer.negotiator.receive_answer(ok.body)
    peer.say("INVITE", SDP, to_tag=tag_of(ok), cseq=2, body=peer.reoffer())
    peer.one(o.CallEstablished)
    peer.response(200)
    peer.say("ACK", to_tag=tag_of(ok), cseq=2)
    assert not [out for out in peer.wait(60) if isinstance(out, o.SendData | o.CallEnded)]
