"""What is said on the next connection of what the one that was lost may have swallowed."""

from __future__ import annotations

import pytest

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import Request
from tests.agent.peer import CONTACT, FLOW, SDP, Peer, answer_to, cseq_of


def recovering_peer() -> Peer:
    return Peer(recovery=Recovery(first_delay=0.5, max_delay=0.5, grace=60.0))


def answer(peer: Peer, to: Request, status: int, *lines: str, body: bytes = b"") -> None:
    """An answer on the second flow."""
    peer.data(answer_to(to, status, *lines, body=body), flow=FLOW + 1)


def reconnect(peer: Peer, flow: int = FLOW + 1) -> list[Request]:
    """Loses the flow and opens another. Returns the requests that go out on it."""
    peer.give(i.FlowClosed(flow=flow - 1, error="cut"))
    peer.wait(1.0)
    assert peer.one(o.OpenFlow).flow == flow
    peer.give(i.FlowOpened(flow=flow, transport="WS"))
    return [message for message in peer.sent() if isinstance(message, Request)]


def test_reinvite_whose_answer_was_lost_is_acknowledged_first() -> None:
    """The peer may have accepted it: it takes no other before the ACK (JsSIP answers 403), and gives up after 64*T1."""
    peer = recovering_peer()
    peer.call_out()
    peer.command(i.Hold(command=0, call="out"))
    hold = peer.request("INVITE")
    ack, again = reconnect(peer)
    assert (ack.method, cseq_of(ack)) == ("ACK", cseq_of(hold))
    assert (again.method, cseq_of(again)) == ("INVITE", cseq_of(hold) + 1)
    assert ack.target == again.target and ack.headers.count("Via") == 1 and not ack.body
    assert b"a=sendrecv" in again.body  # the hold has failed
    # Where the server has no way to the peer yet the ACK was lost, too.
    answer(peer, again, 480)
    peer.wait(1.0)
    ack, again = peer.requests("ACK")[-1], peer.request("INVITE")
    assert cseq_of(ack) == cseq_of(hold)
    answer(peer, again, 200, CONTACT, SDP, body=peer.answer_sdp(again.body))
    assert peer.one(o.CallRecovered)
    assert [cseq_of(ack) for ack in peer.requests("ACK")] == [cseq_of(again)]


def test_connections_that_are_lost_one_after_the_other() -> None:
    """Nobody knows which of the re-INVITEs has arrived."""
    peer = recovering_peer()
    invite = peer.call_out()
    peer.wait(40.0)
    peer.command(i.Hold(command=0, call="out"))
    said = [cseq_of(request) for flow in range(2, 9) for request in reconnect(peer, flow)[-1:]]
    acks = [cseq_of(request) for request in reconnect(peer, 9) if request.method == "ACK"]
    first = cseq_of(invite)
    assert said == list(range(first + 2, first + 9))
    assert acks == said[-4:]  # of the last ones


def test_an_ack_that_may_have_been_lost_is_said_again() -> None:
    peer = recovering_peer()
    peer.call_out()
    peer.command(i.Hold(command=0, call="out"))
    hold = peer.request("INVITE")
    peer.answer(hold, 200, CONTACT, SDP, body=peer.answer_sdp(hold.body))
    (lost,) = peer.requests("ACK")
    ack, again = reconnect(peer)
    assert (ack.method, cseq_of(ack)) == ("ACK", cseq_of(hold))
    assert ack.headers.first("Via") != lost.headers.first("Via")
    assert b"a=sendonly" in again.body


@pytest.mark.parametrize(("age", "said"), [(1.0, ["ACK", "INVITE"]), (40.0, ["INVITE"])])
def test_ack_of_the_first_invite(age: float, said: list[str]) -> None:
    """While its 2xx can still be repeated, that is."""
    peer = recovering_peer()
    invite = peer.call_out()
    peer.wait(age)
    requests = reconnect(peer)
    assert [request.method for request in requests] == said
    assert cseq_of(requests[-1]) == cseq_of(invite) + 1
    if age < 32:
        assert cseq_of(requests[0]) == cseq_of(invite)


def test_calls_outlive_an_attempt_that_was_hurried_in_vain() -> None:
    peer = recovering_peer()
    peer.call_out()
    peer.give(i.FlowClosed(flow=FLOW, error="cut"))
    peer.command(i.HurryConnection(command=0))
    assert peer.one(o.OpenFlow).flow == FLOW + 1 and peer.one(o.CommandSucceeded)
    peer.give(i.OpenFlowFailed(flow=FLOW + 1, error="connection refused"))
    assert peer.one(o.ConnectionChanged).state is o.ConnectionState.RECONNECTING
    assert not peer.all(o.CallEnded)
    peer.command(i.HurryConnection(command=0))
    peer.command(i.HurryConnection(command=0))
    assert not peer.all(o.OpenFlow)  # one is under way already
    peer.give(i.FlowOpened(flow=FLOW + 2, transport="WS"))
    assert [request.method for request in peer.sent() if isinstance(request, Request)][-1] == "INVITE"
    peer.command(i.HurryConnection(command=0))
    assert not peer.all(o.OpenFlow) and not peer.all(o.ConnectionChanged)


def test_refused_reinvite_needs_no_ack_on_the_next_flow() -> None:
    peer = recovering_peer()
    peer.call_out()
    peer.wait(40.0)
    peer.command(i.Hold(command=0, call="out"))
    peer.answer(peer.request("INVITE"), 488)
    assert [request.method for request in reconnect(peer)] == ["INVITE"]


@pytest.mark.parametrize("status", [430, 480])
def test_bye_waits_for_a_peer_that_is_away(status: int) -> None:
    """When a server has died both sides come back, and BYE may be faster than the peer."""
    peer = recovering_peer()
    peer.call_out()
    peer.give(i.FlowClosed(flow=FLOW, error="cut"))
    peer.command(i.HangUp(command=0, call="out"))
    assert peer.one(o.CallEnded).cause is o.Cause.TERMINATED
    peer.wait(1.0)
    peer.give(i.FlowOpened(flow=FLOW + 1, transport="WS"))
    for _ in range(3):
        answer(peer, peer.request("BYE"), status)
        peer.wait(4.0)
    answer(peer, peer.request("BYE"), 200)
    assert peer.agent.retained["calls"] == peer.agent.retained["dialogs"] == 0
    peer.wait(100.0)
    assert not peer.sent()


def test_bye_is_given_up_with_the_grace_time() -> None:
    peer = recovering_peer()
    peer.call_out()
    peer.give(i.FlowClosed(flow=FLOW, error="cut"))
    peer.command(i.HangUp(command=0, call="out"))
    peer.wait(1.0)
    peer.give(i.FlowOpened(flow=FLOW + 1, transport="WS"))
    for _ in range(100):
        if not (byes := peer.requests("BYE")):
            break
        answer(peer, byes[0], 480)
        peer.wait(4.0)
    assert 110 < peer.now < 170
    assert peer.agent.retained["calls"] == peer.agent.retained["dialogs"] == 0


def test_bye_of_a_call_with_a_connection_is_said_once() -> None:
    """There 480 is an answer like any other: nobody knows that the peer will come back."""
    peer = recovering_peer()
    peer.call_out()
    peer.command(i.HangUp(command=0, call="out"))
    peer.answer(peer.request("BYE"), 480)
    peer.wait(40.0)
    assert not peer.sent() and peer.agent.retained["calls"] == 0
