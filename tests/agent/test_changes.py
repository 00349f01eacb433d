"""Our changes of a call and those of its peer, one after the other."""

from __future__ import annotations

import pytest

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.agent.peer import CONTACT, SDP, Peer, tag_of


@pytest.mark.parametrize("acknowledged", [True, False])
@pytest.mark.parametrize("late", [True, False], ids=["our offer", "the peer's offer"])
def test_our_change_waits_for_the_ack_of_the_peers(late: bool, acknowledged: bool) -> None:
    """14.1. An application cannot know of an ACK that is on its way: it need not try again itself."""
    peer = Peer()
    tag = tag_of(peer.call_in())
    if late:
        peer.say("INVITE", to_tag=tag, cseq=2)
        answer = peer.answer_sdp(peer.response(200).body)
    else:
        peer.say("INVITE", SDP, to_tag=tag, cseq=2, body=peer.reoffer())
        peer.negotiator.receive_answer(peer.response(200).body)
        answer = b""
    hold = peer.command(i.Hold(command=0, call="in-1"))
    assert not peer.out
    resume = peer.command(i.Resume(command=0, call="in-1"))  # waits for the one before
    if acknowledged:
        peer.say("ACK", *([SDP] if late else []), to_tag=tag, cseq=2, body=answer)
        peer.wait(0.2)
        invite = peer.request("INVITE")
        assert b"a=sendonly" in invite.body
        peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
        assert peer.one(o.CommandSucceeded).command == hold
        invite = peer.request("INVITE")
        assert b"a=sendrecv" in invite.body
        peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
        assert peer.one(o.CommandSucceeded).command == resume
    else:
        peer.wait(40.0)
        assert peer.requests("INVITE") == []
        assert peer.one(o.CallEnded).cause is o.Cause.NO_ACK
        (failed,) = [outcome for outcome in peer.all(o.CommandFailed) if outcome.command == hold]
        assert failed.cause is o.Cause.NO_ACK
