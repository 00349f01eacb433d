"""Credentials through the engine: proxies in a row, the server's proof and next nonce, tokens, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import BearerToken, DigestServer, Secret, Verdict
from sipproto.errors import Fault
from sipproto.message import Request, parse_auth
from sipproto.tokens import SeededTokens
from tests.agent.peer import CONTACT, SDP, Peer

SECRET = Secret(username="alice", password="secret")
TOKEN = BearerToken(token="t0ken")
BEARER = 'WWW-Authenticate: Bearer realm="{}", scope="sip", authz_server="https://as.example.com"'


def server(realm: str, **more: Any) -> DigestServer:
    return DigestServer(realm, {"alice": SECRET}.get, SeededTokens(7), **more)


def ask(peer: Peer, request: Request, asked: DigestServer, status: int, *, stale: bool = False) -> None:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    peer.answer(request, status, *(f"{name}: {c}" for c in asked.challenges(peer.now, stale=stale)))


def message(peer: Peer) -> Request:
    peer.command(i.SendMessage(command=0, target="sip:bob@example.com", body=b"hello"))
    return peer.request("MESSAGE")


def credentials(request: Request, header: str = "Authorization") -> list[dict[str, str | None]]:
    return [dict(parse_auth(text).params) for text in request.headers.raw(header)]


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256-sess", "MD5"), ("SHA-512-256",)])
def test_two_proxies_in_a_row_and_the_server(algorithms: tuple[str, ...]) -> None:
    peer = Peer(secrets=(SECRET,))
    near, far, home = (server(realm, algorithms=algorithms) for realm in ("near", "far", "home"))
    request = peer.invite()
    ask(peer, request, near, 407)
    request = peer.request("INVITE")
    assert near.check(request, peer.now, proxy=True).verdict is Verdict.OK
    ask(peer, request, far, 407)
    request = peer.request("INVITE")
    assert near.check(request, peer.now, proxy=True).verdict is Verdict.OK
    assert far.check(request, peer.now, proxy=True).verdict is Verdict.OK
    ask(peer, request, home, 401)
    request = peer.request("INVITE")
    assert near.check(request, peer.now, proxy=True).verdict is Verdict.OK
    assert far.check(request, peer.now, proxy=True).verdict is Verdict.OK
    check = home.check(request, peer.now)
    assert check.verdict is Verdict.OK
    body = peer.answer_sdp(request.body)
    name, value = home.info(check, peer.now, body)
    peer.answer(request, 200, CONTACT, SDP, f"{name}: {value}", body=body)
    peer.one(o.CallEstablished)
    assert peer.all(o.ProtocolViolated) == []
    # the next request brings all of them at once
    peer.command(i.HangUp(command=0, call="out"))
    bye = peer.request("BYE")
    for proxy in (near, far):
        assert proxy.check(bye, peer.now, proxy=True).verdict is Verdict.OK
    assert home.check(bye, peer.now).verdict is Verdict.OK


def test_challenges_of_both_kinds_at_once() -> None:
    peer = Peer(secrets=(SECRET,))
    proxy, home = server("proxy"), server("home")
    lines = [f"Proxy-Authenticate: {c}" for c in proxy.challenges(peer.now)]
    lines += [f"WWW-Authenticate: {c}" for c in home.challenges(peer.now)]
    peer.answer(message(peer), 401, *lines)
    request = peer.request("MESSAGE")
    assert proxy.check(request, peer.now, proxy=True).verdict is Verdict.OK
    assert home.check(request, peer.now).verdict is Verdict.OK


@pytest.mark.parametrize("status", [200, 404])
def test_the_next_nonce_comes_with_any_answer(status: int) -> None:
    peer = Peer(secrets=(SECRET,))
    home = server("home", nonce_life=100)
    ask(peer, message(peer), home, 401)
    first = peer.request("MESSAGE")
    peer.now += 90
    name, value = home.info(home.check(first, peer.now), peer.now)
    peer.answer(first, status, f"{name}: {value}")
    peer.now += 50
    second = message(peer)
    assert credentials(second)[0]["nonce"] != credentials(first)[0]["nonce"]
    assert credentials(second)[0]["nc"] == "00000001"
    assert home.check(second, peer.now).verdict is Verdict.OK


def test_a_provisional_answer_may_bring_it_too() -> None:
    peer = Peer(secrets=(SECRET,))
    ask(peer, peer.invite(), server("home"), 401)
    invite = peer.request("INVITE")
    peer.answer(invite, 180, 'Authentication-Info: nextnonce="next"')
    assert credentials(message(peer))[0]["nonce"] == "next"


def test_a_wrong_proof_is_told_and_the_answer_counts() -> None:
    peer = Peer(secrets=(SECRET,))
    ask(peer, message(peer), server("home"), 401)
    peer.answer(peer.request("MESSAGE"), 200, 'Authentication-Info: rspauth="00", nextnonce="x"')
    violated = peer.one(o.ProtocolViolated)
    assert (violated.fault, violated.detail) == (Fault.SERVER_PROOF, "200 to MESSAGE")
    peer.one(o.CommandSucceeded)
    assert credentials(message(peer))[0]["nonce"] != "x"


def test_an_old_nonce_costs_one_more_request() -> None:
    peer = Peer(secrets=(SECRET,))
    home = server("home")
    ask(peer, message(peer), home, 401)
    peer.answer(peer.request("MESSAGE"), 200)
    peer.now += 1000
    request = message(peer)
    assert home.check(request, peer.now).verdict is Verdict.STALE
    ask(peer, request, home, 401, stale=True)
    request = peer.request("MESSAGE")
    assert home.check(request, peer.now).verdict is Verdict.OK
    peer.answer(request, 200)
    peer.one(o.CommandSucceeded)


def test_requests_under_way_when_the_server_forgets_its_nonces() -> None:
    """Without `stale`, as some servers do: none of them is taken for one with a wrong password."""
    peer = Peer(secrets=(SECRET,))
    ask(peer, message(peer), server("home"), 401)
    peer.answer(peer.request("MESSAGE"), 200)
    under_way = [message(peer) for _ in range(5)]
    assert [credentials(r)[0]["nc"] for r in under_way] == [f"{n:08x}" for n in range(2, 7)]
    anew = DigestServer("home", {"alice": SECRET}.get, SeededTokens(8))
    for request in under_way:
        ask(peer, request, anew, 401)
        again = peer.request("MESSAGE")
        assert anew.check(again, peer.now).verdict is Verdict.OK
        peer.answer(again, 200)
        peer.one(o.CommandSucceeded)


def failed(peer: Peer) -> tuple[Cause, str]:
    outcome = peer.one(o.CommandFailed)
    return outcome.cause, outcome.detail


def test_a_weaker_algorithm_than_before() -> None:
    peer = Peer(secrets=(SECRET,))
    ask(peer, message(peer), server("home"), 401)
    peer.answer(peer.request("MESSAGE"), 200)
    ask(peer, message(peer), server("home", algorithms=("MD5",)), 401)
    assert failed(peer) == (Cause.AUTHENTICATION_ERROR, "the server asks for a weaker algorithm than it did before")


def test_a_token_is_asked_for_and_given_later() -> None:
    peer = Peer(transport="WSS", secrets=(SECRET,))
    peer.answer(message(peer), 401, BEARER.format("home"))
    cause, detail = failed(peer)
    assert cause is Cause.NO_PASSWORD
    assert 'scope="sip"' in detail and 'authz_server="https://as.example.com"' in detail
    peer.agent._hub.authenticator.set_secrets((TOKEN,))
    peer.answer(message(peer), 401, BEARER.format("home"))
    request = peer.request("MESSAGE")
    assert request.headers.raw("Authorization") == ("Bearer t0ken",)
    peer.answer(request, 401, BEARER.format("home") + ', error="invalid_token"')
    assert failed(peer) == (Cause.AUTHENTICATION_ERROR, "the token was not accepted")


@pytest.mark.parametrize(("transport", "sent"), [("WSS", True), ("TLS", True), ("WS", False), ("TCP", False)])
def test_a_token_goes_over_tls_only(transport: str, sent: bool) -> None:
    peer = Peer(transport=transport)
    peer.agent._hub.authenticator.set_secrets((TOKEN,))
    peer.answer(message(peer), 401, BEARER.format("home"))
    assert len(peer.requests("MESSAGE")) == sent
    assert len(peer.all(o.CommandFailed)) == (not sent)


def test_a_name_that_is_not_ascii() -> None:
    name = Secret(username='али "са" \\', password='пароль "\\')
    peer = Peer(secrets=(name,))
    home = DigestServer('дом "\\', {name.username: name}.get, SeededTokens(1))
    ask(peer, message(peer), home, 401)
    request = peer.request("MESSAGE")
    assert "username*" in credentials(request)[0]
    assert home.check(request, peer.now).username == name.username


def test_a_wrong_password_is_called_so_where_a_token_would_do_too() -> None:
    peer = Peer(secrets=(SECRET,))
    request = message(peer)
    for _ in range(2):
        lines = [f"WWW-Authenticate: {c}" for c in server("home").challenges(peer.now)]
        peer.now += 1
        peer.answer(request, 401, BEARER.format("home"), *lines)
        request = peer.request("MESSAGE") if peer.requests("MESSAGE") else request
    assert failed(peer) == (Cause.AUTHENTICATION_ERROR, "wrong user name or password")


def test_a_password_is_shown_to_the_registrar_and_to_no_callee() -> None:
    """RFC 3261 22.2: it is remembered for the address in To, which in a call is that of the callee all along."""
    peer, home, bob = Peer(secrets=(SECRET,)), server("home"), server("home")
    peer.command(i.Register(command=0))
    ask(peer, peer.request("REGISTER"), home, 401)
    request = peer.request("REGISTER")
    assert home.check(request, peer.now).verdict is Verdict.OK
    peer.answer(request, 200, f"Contact: {request.headers.first('Contact')}", "Expires: 600")
    invite = peer.invite()
    assert not credentials(invite)
    ask(peer, invite, bob, 401)
    invite = peer.request("INVITE")
    assert bob.check(invite, peer.now).verdict is Verdict.OK
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body))
    peer.command(i.HangUp(command=0, call="out"))
    assert bob.check(peer.request("BYE"), peer.now).verdict is Verdict.OK
    peer.command(i.SendOptions(command=0, target="sip:carol@example.com"))
    assert not credentials(peer.request("OPTIONS"))
    peer.command(i.SendOptions(command=0, target="sip:alice@example.com"))
    assert len(credentials(peer.request("OPTIONS"))) == 1
