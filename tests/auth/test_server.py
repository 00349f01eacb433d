"""The server's verdicts, what it keeps, and client and server with each other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sipproto.auth import AnswerOutcome, AuthOutcome, DigestServer, Secret, Verdict, userhash
from sipproto.auth import _server as server_module
from sipproto.errors import LocalProtocolError
from sipproto.message import AuthInfo, Headers, Request, fields, parse_message
from sipproto.tokens import SeededTokens
from tests.auth.rig import PASSWORD, Client, ok, parsed, refusal, sent


def server_(**more: object) -> DigestServer:
    users = {"u": PASSWORD}
    return DigestServer("r", users.get, SeededTokens(3), **more)  # type: ignore[arg-type]


def ready(s: DigestServer, now: float = 0, secret: Secret = PASSWORD, uri: str = "sip:r") -> Client:
    """A client that has been challenged."""
    c = Client(secret)
    assert c.asked(*s.challenges(now), request=c.send(uri=uri)) is AuthOutcome.RETRY
    return c


def verdict(s: DigestServer, request: Request, now: float = 1, *, proxy: bool = False) -> Verdict:
    return s.check(request, now, proxy=proxy).verdict


# -- accounts of nonces ------------------------------------------------------------------------------------------------


def test_the_server_accepts_each_count_once() -> None:
    s = server_(algorithms=("MD5", "SHA-256"))
    assert [offer.algorithm for offer in s.challenges(0)] == ["SHA-256", "MD5"]
    c = ready(s)
    first, second = c.send(), c.send()
    check = s.check(second, 1)
    assert (check.verdict, check.username) == (Verdict.OK, "u")
    assert verdict(s, second) is Verdict.STALE  # a replay
    assert verdict(s, first) is Verdict.OK  # overtaken on the way
    assert verdict(s, first) is Verdict.STALE
    late = c.send()
    for _ in range(64):
        last = c.send()
    assert verdict(s, last) is Verdict.OK
    assert verdict(s, late) is Verdict.STALE  # too far behind to know whether it was used
    assert verdict(s, c.send(), 300) is Verdict.OK
    assert verdict(s, c.send(), 300.1) is Verdict.STALE  # too old
    assert verdict(s, Request("X", "sip:r")) is Verdict.ABSENT


def test_stale_leads_back_in_with_one_more_request() -> None:
    s = server_()
    c = ready(s)
    assert verdict(s, c.send()) is Verdict.OK
    request = c.send()
    assert verdict(s, request, 1000) is Verdict.STALE
    assert c.takes(request, refusal(*s.challenges(1000, stale=True))) is AuthOutcome.RETRY
    assert verdict(s, c.send(), 1000) is Verdict.OK


def test_nothing_is_kept_for_those_who_do_not_answer() -> None:
    s = server_()
    for n in range(1000):
        s.challenges(n / 100)
        verdict(s, ready(s, secret=Secret(username="u", password="x")).send())
        verdict(s, ready(s, secret=Secret(username="v", password="p")).send())
    assert len(s._used) == 0


def test_what_is_kept_is_bounded_and_what_was_dropped_cannot_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_MAX_NONCES", 8)
    s = server_()
    accepted = []
    for n in range(20):
        request = ready(s, n).send()
        assert verdict(s, request, n) is Verdict.OK
        accepted.append(request)
    assert len(s._used) == 8
    assert {verdict(s, request, 20) for request in accepted} == {Verdict.STALE}
    # they go by themselves, too
    assert verdict(s, ready(s, 1000).send(), 1000) is Verdict.OK
    assert len(s._used) == 1


def test_a_nonce_of_somebody_else_is_stale_at_any_time() -> None:
    other = DigestServer("r", {"u": PASSWORD}.get, SeededTokens(4))
    for now in (0.0, -5.0, 100.0):
        s = server_()
        for nonce in ("mine", "0.aaaaaaaaaaaaa.00000000000000000000000000000000", other.challenges(now)[0].nonce):
            c = Client()
            c.asked(f'Digest realm="r", nonce="{nonce}", qop="auth", algorithm=SHA-256')
            assert verdict(s, c.send(), now) is Verdict.STALE
    assert verdict(s, ready(s, 50).send(), 40) is Verdict.STALE  # from the future: the clock was set back


# -- what is wrong -----------------------------------------------------------------------------------------------------


def test_the_server_refuses_what_is_wrong() -> None:
    s = server_()
    for secret in (Secret(username="u", password="x"), Secret(username="v", password="p")):
        assert verdict(s, ready(s, secret=secret).send()) is Verdict.WRONG
    nonce = s.challenges(0)[0].nonce
    whole = f'username="u", nonce="{nonce}", uri="sip:r", response="é", cnonce="c", qop=auth, nc=00000001'
    for text in (
        "",
        whole,
        whole.replace("00000001", "zzzzzzzz"),
        whole.replace("00000001", "00000000"),
        whole.replace("qop=auth", "qop=auth-int"),
        whole.replace("username", "username*"),
        whole + ", username*=UTF-8''u",
        whole.replace('username="u"', "username*=UTF-8''%FF"),
        whole + ", userhash=true",
        whole + ", algorithm=SHA-1",
        whole + ", algorithm=SHA-512-256",
    ):
        value = f'Digest realm="r", {text}'.rstrip(", ")
        assert verdict(s, Request("X", "sip:r", Headers([("Authorization", value)]))) is Verdict.WRONG, value
    assert verdict(s, Request("X", "sip:r", Headers([("Authorization", 'Digest realm="q"')]))) is Verdict.ABSENT
    assert verdict(s, Request("X", "sip:r", Headers([("Authorization", "Bearer abc")]))) is Verdict.ABSENT


@pytest.mark.parametrize(
    ("target", "route", "expected"),
    [
        ("sip:bob@r", None, Verdict.OK),
        ("sip:%62ob@R;x=1", None, Verdict.OK),
        ("sip:carol@r", None, Verdict.OTHER_TARGET),
        ("sips:bob@r", None, Verdict.OTHER_TARGET),
        ("tel:1", None, Verdict.OTHER_TARGET),
        ("sip:proxy@r", "<sip:other@r>, <sip:bob@r>", Verdict.OK),  # a strict router was on the way (16.4)
        ("sip:proxy@r", "<sip:bob@r>, <sip:other@r>", Verdict.OTHER_TARGET),
    ],
)
def test_credentials_are_for_one_target(target: str, route: str | None, expected: Verdict) -> None:
    for forwarded in (False, True):
        s = server_(forwarded=forwarded)
        request = ready(s, uri="sip:bob@r").send(uri="sip:bob@r")
        headers = request.headers if route is None else Headers([*request.headers, ("Route", route)])
        moved = Request(request.method, target, headers)
        assert verdict(s, moved) is (Verdict.OK if forwarded else expected)


def test_a_body_that_was_changed() -> None:
    s = server_(qop=("auth-int",))
    request = ready(s).send(b"body")
    changed = Request(request.method, request.target, request.headers, b"BODY")
    assert verdict(s, changed) is Verdict.WRONG
    assert verdict(s, request) is Verdict.OK


def test_what_cannot_be_offered() -> None:
    for bad in ({"algorithms": ()}, {"algorithms": ("SHA-1",)}, {"algorithms": ("md5",)}, {"qop": ()}, {"qop": ("x",)}):
        with pytest.raises(LocalProtocolError):
            server_(**bad)
    s = server_()
    with pytest.raises(LocalProtocolError):
        s.info(s.check(Request("X", "sip:r"), 1), 1)


def test_credentials_for_a_proxy() -> None:
    s, c = server_(), Client()
    c.asked(*s.challenges(0, stale=True), status=407)
    request = c.send()
    assert verdict(s, request) is Verdict.ABSENT
    check = s.check(request, 0, proxy=True)
    assert check.verdict is Verdict.OK
    assert s.info(check, 0)[0] == "Proxy-Authentication-Info"


def test_hashed_names() -> None:
    users = {userhash("имя", "r", algorithm): Secret(username="имя", password="p") for algorithm in ("SHA-256", "MD5")}
    s = server_(lookup_hash=users.get)
    c = ready(s, secret=Secret(username="имя", password="p"))
    request = c.send()
    assert (sent(request)["userhash"], "имя" in str(request.headers.raw("Authorization"))) == ("true", False)
    check = s.check(request, 1)
    assert (check.verdict, check.username) == (Verdict.OK, "имя")
    assert verdict(server_(), request) is Verdict.WRONG  # one that did not ask for it


# -- answers -----------------------------------------------------------------------------------------------------------

VARIANTS = list(
    itertools.product(
        ("MD5", "SHA-256", "SHA-512-256"), ("", "-sess"), (("auth",), ("auth-int",), ("auth-int", "auth"))
    )
)


@pytest.mark.parametrize(("base", "sess", "qop"), VARIANTS)
def test_both_sides_prove_themselves(base: str, sess: str, qop: tuple[str, ...]) -> None:
    s = server_(algorithms=(base + sess,), qop=qop, nonce_life=100)
    c = ready(s)
    seen = set()
    for now in range(0, 400, 20):
        request = c.send(b"question")
        check = s.check(request, now)
        assert check.verdict is Verdict.OK, now
        seen.add(sent(request)["nonce"])
        response = ok(s.info(check, now, b"answer")[1], body=b"answer")
        found = c.auth.answered(request, response)
        assert found in (AnswerOutcome.PROVEN, AnswerOutcome.NEXT_NONCE)
        bad = ok(s.info(check, now, b"answer")[1].replace('rspauth="', 'rspauth="0'), body=b"answer")
        assert c.auth.answered(request, bad) is AnswerOutcome.WRONG_PROOF
    assert 3 <= len(seen) <= 6  # each nonce gave the next near its end: no request was challenged again


def test_a_lost_session_is_stale_and_not_wrong() -> None:
    s = server_(algorithms=("SHA-256-sess",), nonce_life=100)
    c = ready(s)
    request = c.send()
    c.auth.answered(request, ok(s.info(s.check(request, 90), 90)[1]))
    late = c.send()
    s._used.clear()
    assert verdict(s, late, 1000) is Verdict.STALE


def test_the_proof_covers_user_and_request() -> None:
    s = server_()
    c = ready(s)
    one, two = c.send(), c.send()
    of_one, of_two = (s.info(s.check(request, 1), 1)[1] for request in (one, two))
    assert c.auth.answered(one, ok(of_two)) is AnswerOutcome.WRONG_PROOF
    assert c.auth.answered(one, ok(of_one)) is AnswerOutcome.PROVEN


# -- properties --------------------------------------------------------------------------------------------------------

# Whatever a quoted-string can hold (RFC 3261 25.1): anything but line ends, and lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
NAMES = TEXT | st.sampled_from(['a "b" \\c', "имя", "a,b=c", "a\x07b", "\\", '"', "a%41", "'"])


@settings(deadline=None, max_examples=150)
@given(
    user=NAMES, realm=NAMES, password=TEXT, variant=st.sampled_from(VARIANTS), body=st.binary(max_size=20),
    hashed=st.booleans(),
)  # fmt: skip
def test_every_request_is_accepted(
    user: str, realm: str, password: str, variant: tuple[str, str, tuple[str, ...]], body: bytes, hashed: bool
) -> None:
    base, sess, qop = variant
    secret = Secret(username=user, password=password)
    by_hash = {userhash(user, realm, base): secret}.get if hashed else None
    s = DigestServer(
        realm, {user: secret}.get, SeededTokens(2), (base + sess,), qop=qop, lookup_hash=by_hash
    )  # fmt: skip
    c = Client(secret)
    offer = parse_message(refusal(*s.challenges(0)).to_bytes())
    assert not isinstance(offer, Request) and c.takes(c.send(), offer) is AuthOutcome.RETRY
    for _ in range(3):
        request = c.send(body)
        check = s.check(request, 1)
        assert (check.verdict, check.username) == (Verdict.OK, user)
        assert c.auth.answered(request, ok(s.info(check, 1, b"x")[1], body=b"x")) is AnswerOutcome.PROVEN


@settings(deadline=None, max_examples=300)
@given(data=st.data(), variant=st.sampled_from(VARIANTS))
def test_one_changed_octet_anywhere_is_refused(data: st.DataObject, variant: tuple[str, str, tuple[str, ...]]) -> None:
    """In the credentials, the method or (auth-int) the body. What means the same, such as other case, is left out."""
    base, sess, qop = variant
    s = server_(algorithms=(base + sess,), qop=qop)
    request = ready(s).send(b"body")
    value = request.headers.raw("Authorization")[0]
    octets = bytearray(value.encode())
    where = data.draw(st.integers(len("Digest "), len(octets) - 1))
    octets[where] = data.draw(st.integers(0x20, 0x7E).filter(lambda octet: octet != value.encode()[where]))
    changed = octets.decode()
    headers = Headers([("Authorization", changed), ("Content-Length", 4)])
    got = parsed(Request(request.method, request.target, headers, b"body"))
    after = got.headers.get(fields.AUTHORIZATION)
    before = request.headers.get(fields.AUTHORIZATION)
    assert before is not None
    if after is not None:
        same = {name: (text or "").lower() for name, text in before.params}
        now = {"algorithm": "md5"} | {name: (text or "").lower() for name, text in after.params}
        assume(any(now.get(name) != text for name, text in same.items()))
    assert s.check(got, 1).verdict is not Verdict.OK
    other = Request("INVITE", request.target, request.headers, request.body)
    assert s.check(other, 1).verdict is Verdict.WRONG
    assert s.check(request, 1).verdict is Verdict.OK


@given(
    nextnonce=st.none() | TEXT,
    rspauth=st.none() | TEXT,
    qop=st.sampled_from([None, "auth", "auth-int"]),
    cnonce=st.none() | TEXT,
    nc=st.none() | st.integers(0, 0xFFFFFFFF),
)
def test_authentication_info_survives_the_header(
    nextnonce: str | None, rspauth: str | None, qop: str | None, cnonce: str | None, nc: int | None
) -> None:
    info = AuthInfo(nextnonce=nextnonce, rspauth=rspauth, qop=qop, cnonce=cnonce, nc=nc)
    assume(str(info))
    assert fields.AUTHENTICATION_INFO.parse(str(info)) == info
