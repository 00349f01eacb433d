"""Our changes of a call and those of its peer, one after the other."""

from __future__ import annotations

import pytest

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.agent.peer import SDP, Peer, tag_of


@pytest.mark.parametrize("acknowledged", [True, False])
def test_our_change_waits_for_the_ack_of_the_peers(acknowledged: bool) -> None:
    """An application cannot know of an ACK that is on its way: it need not try again itself."""
    peer = Peer()
    tag = tag_of(peer.call_in())
    peer.say("INVITE", SDP, to_tag=tag, cseq=2, body=peer.reoffer())
    ok = peer.response(200)
    peer.negotiator.receive_answer(ok.body)
    hold = peer.command(i.Hold(command=0, call="in-1"))
    assert not peer.out
    assert "under way" in peer.refused(i.Resume(command=0, call="in-1"))
    if acknowledged:
        peer.say("ACK", to_tag=tag, cseq=2)
        peer.wait(0.2)
        assert b"a=sendonly" in peer.request("INVITE").body
    else:
        peer.wait(40.0)
        assert peer.one(o.CallEnded).cause is o.Cause.NO_ACK
        (failed,) = [outcome for outcome in peer.all(o.CommandFailed) if outcome.command == hold]
        assert failed.cause is o.Cause.NO_ACK
