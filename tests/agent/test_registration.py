"""Registration with a scripted registrar."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError
from sipproto.message import Request
from tests.agent.peer import FLOW, Peer, cseq_of

SECRET = Secret(username="alice", password="secret")
CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="{}", qop="auth", algorithm=SHA-256'


def register(peer: Peer, expires: int | None = None) -> Request:
    peer.command(i.Register(command=0, expires=expires))
    return peer.request("REGISTER")


def registered() -> Peer:
    peer = Peer()
    peer.answer(register(peer), 200, "Expires: 600")
    assert peer.one(o.RegistrationChanged).state is o.RegistrationState.REGISTERED
    return peer


def refresh_in(peer: Peer) -> float:
    (when,) = [when for owner, name, when in peer.agent.timers() if name == "refresh"]
    return when - peer.now


def test_digest() -> None:
    peer = Peer(secrets=(SECRET,))
    first = register(peer)
    assert first.target == "sip:example.com"
    peer.answer(first, 401, CHALLENGE.format("n1"))
    second = peer.request("REGISTER")
    assert cseq_of(second) == cseq_of(first) + 1
    assert second.headers.first("Call-ID") == first.headers.first("Call-ID")
    assert "response=" in (second.headers.first("Authorization") or "")
    peer.answer(second, 200, f"Contact: {second.headers.first('Contact')}".replace("expires=600", "expires=300"))
    done = peer.one(o.CommandSucceeded).result
    assert isinstance(done, o.Registration)
    assert done.expires == 300
    assert 150 <= refresh_in(peer) <= 240
    peer.wait(refresh_in(peer))
    assert "Authorization" in peer.requests("REGISTER")[0].headers  # not asked for again
    peer.answer(peer.requests("REGISTER")[0], 401, CHALLENGE.format("n2") + ", stale=true")
    assert 'nonce="n2"' in (peer.request("REGISTER").headers.first("Authorization") or "")


def test_wrong_and_missing_password() -> None:
    peer = Peer(secrets=(SECRET,))
    peer.answer(register(peer), 401, CHALLENGE.format("n1"))
    peer.answer(peer.request("REGISTER"), 401, CHALLENGE.format("n2"))
    failed = peer.one(o.CommandFailed)
    assert (failed.cause, failed.status) == (Cause.AUTHENTICATION_ERROR, 401)
    assert peer.one(o.RegistrationChanged).retry_in is None
    peer = Peer()
    peer.answer(register(peer), 401, CHALLENGE.format("n1"))
    assert peer.one(o.CommandFailed).cause is Cause.NO_PASSWORD
    peer.wait(1000)
    assert peer.requests("REGISTER") == []


def test_423_raises_the_lifetime_but_not_for_ever() -> None:
    peer = Peer()
    request = register(peer, expires=60)
    for least in (120, 240):
        peer.answer(request, 423, f"Min-Expires: {least}")
        request = peer.request("REGISTER")
        assert request.headers.first("Expires") == str(least)
    peer.answer(request, 423, "Min-Expires: 480")
    assert peer.one(o.CommandFailed).status == 423
    for silly in ("", "Min-Expires: 10", "Min-Expires: 4000000000"):
        peer.answer(register(peer, expires=60), 423, *([silly] if silly else []))
        assert peer.one(o.CommandFailed).status == 423


def test_each_refresh_may_be_told_to_ask_for_more() -> None:
    peer = registered()
    for least in (700, 800, 900):
        peer.wait(refresh_in(peer))
        peer.answer(peer.requests("REGISTER")[0], 423, f"Min-Expires: {least}")
        peer.answer(peer.request("REGISTER"), 200)
    assert not peer.all(o.RegistrationChanged)


def test_own_binding_among_several() -> None:
    peer = Peer()
    request = register(peer)
    ours = (request.headers.first("Contact") or "").replace("expires=600", "expires=77")
    peer.answer(
        request,
        200,
        "Contact: <sip:alice@192.0.2.9>;expires=3000, <sip:x@y>;expires=5",
        f"Contact: {ours}",
        "Expires: 9",
    )
    assert peer.one(o.CommandSucceeded).result == o.Registration(
        expires=77,
        contact=(ours.partition("<")[2]).partition(">")[0],
        bindings=("sip:alice@192.0.2.9", "sip:x@y", (ours.partition("<")[2]).partition(">")[0]),
    )


def test_unregister() -> None:
    peer = registered()
    number = peer.command(i.Unregister(command=0))
    request = peer.request("REGISTER")
    assert request.headers.first("Expires") == "0"
    peer.answer(request, 200)
    assert peer.one(o.CommandSucceeded).command == number
    assert peer.one(o.RegistrationChanged).state is o.RegistrationState.UNREGISTERED
    peer.command(i.Unregister(command=0))
    assert peer.sent() == []
    peer.one(o.CommandSucceeded)
    peer.wait(200)
    assert not any(peer.agent.retained.values())


@pytest.mark.parametrize("status", [None, 403])
def test_an_end_that_the_server_does_not_confirm(status: int | None) -> None:
    """The binding will expire; for the application it is over."""
    peer = registered()
    peer.command(i.Unregister(command=0))
    if status is None:
        peer.wait(33)
    else:
        peer.answer(peer.request("REGISTER"), status)
    peer.one(o.CommandFailed)
    assert peer.one(o.RegistrationChanged).state is o.RegistrationState.UNREGISTERED


def test_a_refused_removal_of_everything_leaves_our_registration_wanted() -> None:
    peer = Peer(recovery=Recovery(first_delay=0.1))
    peer.answer(register(peer), 200)
    peer.give(i.FlowClosed(flow=FLOW, error="reset"))
    peer.refused(i.Unregister(command=0, everything=True))
    peer.wait(0.2)
    peer.give(i.FlowOpened(flow=peer.one(o.OpenFlow).flow, transport="WS"))
    assert peer.request("REGISTER").headers.first("Expires") == "600"


def test_a_later_command_takes_the_place() -> None:
    peer = Peer()
    first = register(peer)
    peer.command(i.Unregister(command=0))
    assert peer.one(o.CommandFailed).cause is Cause.SUPERSEDED
    assert cseq_of(peer.request("REGISTER")) == cseq_of(first) + 1
    second = peer.request("REGISTER")
    peer.answer(first, 200)
    assert peer.out == []
    peer.answer(second, 200)
    peer.one(o.CommandSucceeded)


@pytest.mark.parametrize(("status", "again"), [(503, True), (480, True), (403, False)])
def test_failed_refresh(status: int, again: bool) -> None:
    peer = registered()
    peer.wait(refresh_in(peer))
    peer.answer(peer.request("REGISTER"), status, "Retry-After: 1000")
    changed = peer.one(o.RegistrationChanged)
    assert changed.state is o.RegistrationState.FAILED
    if not again:
        assert changed.retry_in is None
        assert peer.agent.next_timeout() is None or peer.wait(5000) == []
        return
    assert changed.retry_in == 1000  # the server asks for it
    peer.wait(999)
    assert peer.requests("REGISTER") == []
    peer.wait(1)
    peer.answer(peer.request("REGISTER"), 200)
    assert peer.one(o.RegistrationChanged).state is o.RegistrationState.REGISTERED


def test_silent_server() -> None:
    peer = registered()
    peer.wait(refresh_in(peer))
    peer.wait(33)
    delays = [c.retry_in for c in peer.all(o.RegistrationChanged)]
    assert len(delays) == 1
    assert delays[0] is not None
    assert 2.5 <= delays[0] <= 5
    peer.wait(3600)
    assert 8 < len(peer.requests("REGISTER")) < 30  # backs off, and never stops


def test_first_registration_without_an_answer() -> None:
    peer = Peer()
    register(peer)
    peer.wait(33)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert peer.agent.next_timeout() is None


def test_flow_lost() -> None:
    peer = registered()
    peer.give(i.FlowClosed(flow=FLOW))
    changed = peer.one(o.RegistrationChanged)
    assert (changed.state, changed.cause) == (o.RegistrationState.UNREGISTERED, Cause.CONNECTION_ERROR)
    assert not any(peer.agent.retained.values())
    peer.refused(i.Register(command=0))
    peer = Peer()
    register(peer)
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    assert not any(peer.agent.retained.values())


def test_shutdown_removes_the_binding() -> None:
    peer = registered()
    number = peer.command(i.Shutdown(command=0))
    peer.answer(peer.request("REGISTER"), 200)
    assert peer.one(o.CommandSucceeded).command == number
    peer.one(o.CloseFlow)
    peer = registered()
    number = peer.command(i.Shutdown(command=0))
    peer.wait(3.1)
    assert [f.command for f in peer.all(o.CommandFailed)] == [number]
    assert not any(peer.agent.retained.values())


def test_lines_of_the_application() -> None:
    peer = Peer(register_headers=(("X-Remote", "192.0.2.1"),))
    assert register(peer).headers.first("X-Remote") == "192.0.2.1"
    with pytest.raises(LocalProtocolError):
        Peer(register_headers=(("X-Remote", "a\r\nb"),))


def test_another_account() -> None:
    peer = registered()
    account = i.UseAccount(
        command=0,
        aor="sip:bob@example.org",
        display_name="Bob",
        secrets=(Secret(username="bob", password="secret"),),
        user_agent="phone 2",
        register_expires=300,
        register_headers=(("X-Remote", "192.0.2.1"),),
    )
    peer.refused(account)  # there is a connection
    before = peer.agent.instance_id
    peer.command(i.Disconnect(command=0))
    peer.refused(evolve(account, aor="no address"))
    peer.command(account)
    peer.one(o.CommandSucceeded)
    peer.command(i.Connect(command=0, server="wss://example.org"))
    flow = peer.one(o.OpenFlow).flow
    peer.give(i.FlowOpened(flow=flow, transport="WS"))
    request = register(peer)
    assert request.target == "sip:example.org"
    assert request.headers.first("To") == '"Bob" <sip:bob@example.org>'
    assert (request.headers.first("User-Agent"), request.headers.first("Expires")) == ("phone 2", "300")
    assert request.headers.first("X-Remote") == "192.0.2.1"
    assert before in (request.headers.first("Contact") or "")
    assert cseq_of(request) == 1
    peer.command(i.SetDisplayName(command=0, display_name="Robert"))
    peer.one(o.CommandSucceeded)
    peer.refused(i.SetDisplayName(command=0, display_name="a\nb"))
    peer.flow = flow
    peer.answer(request, 401, CHALLENGE.format("n1").replace("example.com", "example.org"))
    request = peer.request("REGISTER")
    assert 'username="bob"' in (request.headers.first("Authorization") or "")
    assert request.headers.first("To") == '"Robert" <sip:bob@example.org>'
