"""What single faults in the scenarios have shown: each was wrong once."""

from __future__ import annotations

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent import outputs as o
from tests.agent.peer import CONTACT, SDP, Peer, tag_of
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
