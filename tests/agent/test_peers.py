"""What real peers have shown, each as short as it gets."""

from __future__ import annotations

from sipproto.agent import inputs as i
from sipproto.message import Response, fields
from tests.agent.peer import RAW, SDP, Peer, tag_of


def test_a_prack_is_answered_before_the_next_provisional() -> None:
    """SIPp waits for the answer to its PRACK and takes a 183 in front of it for a fault."""
    peer = Peer()
    peer.say("INVITE", "Require: 100rel", SDP, body=RAW)
    ringing = peer.response(180)
    peer.command(i.Progress(command=0, call="in-1", status=183))
    assert peer.sent() == []  # one at a time
    rack = f"RAck: {ringing.headers.require(fields.RSEQ)} 1 INVITE"
    peer.say("PRACK", rack, cseq=2, to_tag=tag_of(ringing))
    answers = [(s.status, s.headers.require(fields.CSEQ).method) for s in peer.sent() if isinstance(s, Response)]
    assert answers == [(200, "PRACK"), (183, "INVITE")]
    peer.wait(0.6)
    assert peer.statuses() == [183]  # and again, until it is acknowledged


def test_no_reason_phrase_names_a_header() -> None:
    """SIPp looks for "CSeq" from the first octet of an answer on, and found it in "500 CSeq too low"."""
    peer = Peer()
    ok = peer.call_in()
    peer.say("INFO", cseq=9, to_tag=tag_of(ok))
    peer.say("INFO", cseq=8, to_tag=tag_of(ok))
    assert "CSeq" not in peer.response(500).reason
