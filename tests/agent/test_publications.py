"""Publications against a scripted compositor (RFC 3903)."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import AgentLimits, Cause, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request
from tests.agent.peer import FLOW, Peer, answer_to, cseq_of

PUBLISHED, WAITING, ENDED = o.PublicationState.PUBLISHED, o.PublicationState.WAITING, o.PublicationState.ENDED
OPEN = i.Publish(
    command=0,
    publication="p",
    target="sip:alice@example.com",
    event="presence",
    content_type="text/plain",
    body=b"open",
    expires=600,
)
CLOSED = evolve(OPEN, body=b"closed")
UNPUBLISH = i.Unpublish(command=0, publication="p")
CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="n", qop="auth", algorithm=SHA-256'


def kind(request: Request) -> str:
    """Which of the four it is (RFC 3903 4, table 1)."""
    tag, expires = request.headers.first("SIP-If-Match"), request.headers.first("Expires")
    if tag is None:
        assert request.body and expires != "0"
        return "initial"
    if expires == "0":
        assert not request.body
        return f"remove {tag}"
    return f"modify {tag}" if request.body else f"refresh {tag}"


def published(**config: Any) -> Peer:
    peer = Peer(**config)
    number = peer.command(OPEN)
    request = peer.request("PUBLISH")
    assert (request.target, request.body, request.headers.first("Event")) == (
        "sip:alice@example.com",
        b"open",
        "presence",
    )
    assert (kind(request), request.headers.first("Expires")) == ("initial", "600")
    peer.answer(request, 200, "SIP-ETag: one", "Expires: 500")
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=500)
    changed = peer.one(o.PublicationChanged)
    assert (changed.state, changed.expires) == (PUBLISHED, 500)
    return peer


def refresh_in(peer: Peer) -> float:
    (when,) = [when for _, name, when in peer.agent.timers() if name == "refresh"]
    return when - peer.now


def nothing_left(peer: Peer) -> None:
    peer.wait(70)
    assert not any(peer.agent.retained.values()), (peer.agent.retained, peer.agent.timers())


def test_life() -> None:
    peer = published()
    assert 250 <= refresh_in(peer) <= 400
    peer.wait(refresh_in(peer))
    refresh = peer.request("PUBLISH")
    assert kind(refresh) == "refresh one"
    peer.answer(refresh, 200, "SIP-ETag: two", "Expires: 500")
    assert peer.out == []
    number = peer.command(CLOSED)
    modify = peer.request("PUBLISH")
    assert (kind(modify), modify.body) == ("modify two", b"closed")
    assert cseq_of(modify) == cseq_of(refresh) + 1
    peer.answer(modify, 200, "SIP-ETag: three", "Expires: 500")
    assert peer.one(o.CommandSucceeded).command == number
    assert peer.one(o.PublicationChanged).state is PUBLISHED
    number = peer.command(UNPUBLISH)
    remove = peer.request("PUBLISH")
    assert kind(remove) == "remove three"
    peer.answer(remove, 200)
    assert peer.one(o.CommandSucceeded).command == number
    assert (peer.one(o.PublicationChanged).state, peer.one(o.PublicationChanged).cause) == (ENDED, Cause.TERMINATED)
    peer.refused(UNPUBLISH)
    nothing_left(peer)


@pytest.mark.parametrize("change", [True, False])
def test_the_server_has_forgotten_it(change: bool) -> None:
    peer = published()
    if change:
        peer.command(CLOSED)
    else:
        peer.wait(refresh_in(peer))
    peer.answer(peer.request("PUBLISH"), 412)
    assert peer.all(o.PublicationChanged) == []
    anew = peer.request("PUBLISH")
    assert (kind(anew), anew.body) == ("initial", b"closed" if change else b"open")
    peer.answer(anew, 200, "SIP-ETag: two", "Expires: 500")
    assert len(peer.all(o.CommandSucceeded)) == change
    peer.command(UNPUBLISH)
    peer.answer(peer.request("PUBLISH"), 412)
    peer.one(o.CommandSucceeded)
    assert peer.one(o.PublicationChanged).state is ENDED


def test_a_server_that_always_says_412() -> None:
    peer = Peer()
    peer.command(OPEN)
    peer.answer(peer.request("PUBLISH"), 412)
    assert peer.one(o.CommandFailed).status == 412
    assert peer.one(o.PublicationChanged).state is ENDED
    nothing_left(peer)


def test_423_raises_but_not_for_ever() -> None:
    peer = Peer()
    peer.command(evolve(OPEN, expires=60))
    for least in (120, 240):
        peer.answer(peer.request("PUBLISH"), 423, f"Min-Expires: {least}")
        assert peer.request("PUBLISH").headers.first("Expires") == str(least)
    peer.answer(peer.request("PUBLISH"), 423, "Min-Expires: 480")
    assert peer.one(o.CommandFailed).status == 423
    nothing_left(peer)
    peer = published()
    peer.wait(refresh_in(peer))
    peer.answer(peer.request("PUBLISH"), 423, "Min-Expires: 1200")
    assert kind(peer.request("PUBLISH")) == "refresh one"


def test_a_server_without_entity_tags() -> None:
    peer = Peer()
    peer.command(OPEN)
    peer.answer(peer.request("PUBLISH"), 200)
    assert peer.one(o.CommandSucceeded).result == 600
    peer.wait(refresh_in(peer))
    assert kind(peer.request("PUBLISH")) == "initial"
    peer.answer(peer.request("PUBLISH"), 200)
    peer.command(UNPUBLISH)  # there is nothing to name
    peer.one(o.CommandSucceeded)
    nothing_left(peer)


def test_one_request_at_a_time_and_the_newest_counts() -> None:
    peer = Peer()
    one = peer.command(OPEN)
    first = peer.request("PUBLISH")
    two = peer.command(CLOSED)
    assert peer.sent() == []  # RFC 3903 4.1
    three = peer.command(evolve(OPEN, body=b"away"))
    assert (peer.one(o.CommandFailed).command, peer.one(o.CommandFailed).cause) == (two, Cause.SUPERSEDED)
    peer.answer(first, 200, "SIP-ETag: one", "Expires: 500")
    assert peer.one(o.CommandSucceeded).command == one
    second = peer.request("PUBLISH")
    assert (kind(second), second.body) == ("modify one", b"away")
    four = peer.command(UNPUBLISH)
    peer.answer(second, 412)  # to be removed anyway
    assert {c.command for c in peer.all(o.CommandFailed)} == {three}
    assert peer.one(o.CommandSucceeded).command == four
    assert peer.one(o.PublicationChanged).state is ENDED
    nothing_left(peer)


def test_published_again_while_it_is_removed() -> None:
    peer = published()
    one = peer.command(UNPUBLISH)
    remove = peer.request("PUBLISH")
    two = peer.command(CLOSED)
    peer.answer(remove, 200)
    assert peer.one(o.CommandSucceeded).command == one
    assert peer.all(o.PublicationChanged) == []
    anew = peer.request("PUBLISH")
    assert (kind(anew), anew.body) == ("initial", b"closed")
    peer.answer(anew, 200, "SIP-ETag: two")
    assert peer.one(o.CommandSucceeded).command == two


@pytest.mark.parametrize("status", [0, 403])
def test_removal_that_fails(status: int) -> None:
    peer = published()
    peer.command(UNPUBLISH)
    if status:
        peer.answer(peer.request("PUBLISH"), status)
    else:
        peer.wait(33)
    assert peer.one(o.CommandFailed).cause is (Cause.REJECTED if status else Cause.REQUEST_TIMEOUT)
    assert peer.one(o.PublicationChanged).state is ENDED
    nothing_left(peer)


@pytest.mark.parametrize(("status", "again"), [(503, True), (480, True), (403, False), (489, False)])
def test_failed_refresh(status: int, again: bool) -> None:
    peer = published()
    peer.wait(refresh_in(peer))
    peer.answer(peer.request("PUBLISH"), status, "Retry-After: 1000")
    changed = peer.one(o.PublicationChanged)
    if not again:
        assert (changed.state, changed.status, changed.retry_in) == (ENDED, status, None)
        nothing_left(peer)
        return
    assert (changed.state, changed.retry_in) == (WAITING, 1000)
    peer.wait(999)
    assert peer.requests("PUBLISH") == []
    peer.wait(1)
    assert kind(peer.request("PUBLISH")) == "initial"  # the old one has expired
    peer.answer(peer.request("PUBLISH"), 200, "SIP-ETag: two")
    assert peer.one(o.PublicationChanged).state is PUBLISHED


def test_first_publication_fails() -> None:
    peer = Peer()
    peer.command(OPEN)
    peer.answer(peer.request("PUBLISH"), 503)
    assert peer.one(o.CommandFailed).status == 503
    assert peer.one(o.PublicationChanged).state is ENDED  # it is for its caller to repeat
    peer.command(OPEN)
    peer.wait(33)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    nothing_left(peer)


def test_authentication() -> None:
    peer = Peer(secrets=(Secret(username="alice", password="secret"),))
    peer.command(OPEN)
    peer.answer(peer.request("PUBLISH"), 401, CHALLENGE)
    assert "Authorization" in peer.request("PUBLISH").headers
    peer = Peer()
    peer.command(OPEN)
    peer.answer(peer.request("PUBLISH"), 401, CHALLENGE)
    assert peer.one(o.CommandFailed).cause is Cause.NO_PASSWORD


def test_names_and_limits() -> None:
    peer = published(limits=AgentLimits(publications=1))
    assert "limit" in peer.refused(evolve(OPEN, publication="q"))
    for bad in (
        {"target": "sip:bob@example.com"},
        {"event": "dialog"},
        {"event": "a b"},
        {"expires": 0},
        {"content_type": ""},
        {"headers": (("X", "a\r\nb"),)},
    ):
        peer.refused(evolve(OPEN, **bad))


def test_shutdown() -> None:
    peer = published()
    number = peer.command(i.Shutdown(command=0))
    assert kind(peer.request("PUBLISH")) == "remove one"
    peer.answer(peer.request("PUBLISH"), 200)
    assert peer.one(o.CommandSucceeded).command == number
    peer.refused(OPEN)
    nothing_left(peer)


# -- connections -----------------------------------------------------------------------------------------------------


def back(peer: Peer) -> int:
    while not peer.all(o.OpenFlow):
        peer.wait(0.1)
    flow = peer.one(o.OpenFlow).flow
    peer.give(i.FlowOpened(flow=flow, transport="WS"))
    return flow


def test_published_again_over_a_new_connection() -> None:
    peer = published(recovery=Recovery())
    peer.give(i.FlowClosed(flow=FLOW))
    changed = peer.one(o.PublicationChanged)
    assert (changed.state, changed.cause, changed.retry_in) == (WAITING, Cause.CONNECTION_ERROR, None)
    peer.refused(CLOSED)
    flow = back(peer)
    request = peer.request("PUBLISH")
    assert (kind(request), request.body) == ("modify one", b"open")
    peer.data(answer_to(request, 412), flow=flow)  # the server is a new one
    assert kind(peer.request("PUBLISH")) == "initial"
    peer.data(answer_to(peer.request("PUBLISH"), 200, "SIP-ETag: two"), flow=flow)
    assert peer.one(o.PublicationChanged).state is PUBLISHED


def test_connection_lost_while_it_waits_for_another_attempt() -> None:
    peer = published(recovery=Recovery())
    peer.wait(refresh_in(peer))
    peer.answer(peer.request("PUBLISH"), 503, "Retry-After: 100")
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.all(o.PublicationChanged) == []
    back(peer)
    assert peer.requests("PUBLISH") == []
    peer.wait(101)
    peer.request("PUBLISH")


@pytest.mark.parametrize("how", ["first attempt", "no hope", "given up", "unpublished"])
def test_connection_lost_for_good(how: str) -> None:
    peer = (
        Peer(recovery=Recovery())
        if how == "first attempt"
        else published(recovery=Recovery(reconnect=how != "no hope"))
    )
    if how == "first attempt":
        peer.command(OPEN)
    peer.give(i.FlowClosed(flow=FLOW))
    if how == "first attempt":
        assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    elif how == "given up":
        peer.command(i.Disconnect(command=0))
    elif how == "unpublished":
        peer.command(UNPUBLISH)
        peer.one(o.CommandSucceeded)
    assert peer.one(o.PublicationChanged).state is ENDED
    assert peer.agent.retained["publications"] == 0
