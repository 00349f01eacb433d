"""Digest authentication: the vectors of the RFCs, the client's choices, the server's verdicts."""

from __future__ import annotations

import pytest

from sipproto.auth import (
    Authenticator,
    AuthOutcome,
    DigestChallenge,
    DigestInput,
    DigestServer,
    Secret,
    Verdict,
    credentials_value,
    digest_response,
    parse_challenge,
)
from sipproto.errors import Fault, MessageSyntaxError
from sipproto.message import Headers, Request, Response, fields, parse_auth
from sipproto.tokens import SeededTokens

REALM = "http-auth@example.org"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
SECRET = Secret(username="Mufasa", password="Circle of Life")


def given_(qop: str | None = "auth", cnonce: str = CNONCE, body: bytes = b"", method: str = "GET") -> DigestInput:
    return DigestInput(method=method, uri="/dir/index.html", body=body, cnonce=cnonce, nc=1, qop=qop)


def answer(challenge: DigestChallenge, given: DigestInput, secret: Secret = SECRET) -> str:
    ha1 = secret.hash_for(challenge.realm, challenge.base_algorithm)
    assert ha1 is not None
    return digest_response(ha1, challenge, given)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc7616_3_9_1(algorithm: str, response: str) -> None:
    assert answer(DigestChallenge(realm=REALM, nonce=NONCE, algorithm=algorithm, qop=("auth",)), given_()) == response


def test_rfc2617_3_5() -> None:
    challenge = DigestChallenge(realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth",))
    secret = Secret(username="Mufasa", password="Circle Of Life")
    assert answer(challenge, given_(cnonce="0a4f113b"), secret) == "6629fae49393a05397450978507c4ef1"
    # without qop: RFC 2069's form
    assert answer(challenge, given_(qop=None), secret) == "670fd8c2df070c60b045671b8b24ff02"


def test_variants_differ_in_the_right_places() -> None:
    plain = DigestChallenge(realm=REALM, nonce=NONCE, qop=("auth", "auth-int"))
    session = DigestChallenge(realm=REALM, nonce=NONCE, algorithm="MD5-sess", qop=("auth",))
    assert answer(session, given_()) != answer(session, given_(cnonce="other")) != answer(plain, given_())
    assert answer(plain, given_("auth", body=b"a")) == answer(plain, given_("auth", body=b"b"))
    assert answer(plain, given_("auth-int", body=b"a")) != answer(plain, given_("auth-int", body=b"b"))
    assert Secret(username="u", password="").hash_for("r", "MD5") is not None


@pytest.mark.parametrize(
    ("text", "algorithm", "qop"),
    [
        ('Digest realm="r", nonce="n", qop="auth, auth-int"', "MD5", ("auth", "auth-int")),
        ('digest realm="r",nonce="n",qop="auth ,foo",algorithm=sha-256', "SHA-256", ("auth", "foo")),
        ('DIGEST realm="r", nonce="n", algorithm="MD5-SESS", qop=auth', "MD5-sess", ("auth",)),
        ('Digest realm="r", nonce="n", algorithm=SHA-512-256', "SHA-512-256", ()),
    ],
)
def test_challenges_are_read(text: str, algorithm: str, qop: tuple[str, ...]) -> None:
    challenge = parse_challenge(parse_auth(text))
    assert (challenge.algorithm, challenge.qop) == (algorithm, qop)
    assert parse_challenge(parse_auth(str(challenge))) == challenge


@pytest.mark.parametrize(
    "text",
    [
        'Basic realm="r"',
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce="n", algorithm=SHA-1',
        'Digest realm="r", nonce="n", qop="x"',
    ],
)
def test_challenges_that_cannot_be_answered(text: str) -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_challenge(parse_auth(text))
    assert caught.value.fault is Fault.BAD_CHALLENGE


@pytest.mark.parametrize(
    "text", ['Digest realm="a", realm="b"', "Digest", 'Digest realm="a" nonce="b"', 'Digest a="b", "']
)
def test_malformed_values(text: str) -> None:
    with pytest.raises(MessageSyntaxError):
        parse_auth(text)


def refusal(*challenges: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, "", Headers((name, text) for text in challenges))


def send(client: Authenticator, body: bytes = b"") -> Request:
    return Request("REGISTER", "sip:r", Headers(client.credentials("REGISTER", "sip:r", body)), body)


def client(*secrets: Secret) -> Authenticator:
    return Authenticator(secrets or (Secret(username="u", password="p"),), SeededTokens(1))


def sent(request: Request, field: str = "Authorization") -> dict[str, str | None]:
    return dict(parse_auth(request.headers.raw(field)[0]).params)


def test_the_strongest_challenge_that_can_be_answered_is() -> None:
    c = client()
    offers = [
        'Digest realm="r", nonce="1"',
        'Digest realm="r", nonce="2", algorithm=SHA-512-256',
        'Digest realm="r", nonce="3", algorithm=SHA-256',
        "Basic x",
    ]
    assert c.challenged(send(c), refusal(*offers)) is AuthOutcome.RETRY
    assert (sent(send(c))["algorithm"], sent(send(c))["nonce"]) == ("SHA-512-256", "2")
    # a ready MD5 hash cannot answer SHA-256
    known = Secret(username="u", password="p").hash_for("r", "MD5")
    assert known is not None
    hashed = client(Secret(username="u", ha1=(("r", "MD5", known),)))
    assert hashed.challenged(send(hashed), refusal(*offers)) is AuthOutcome.RETRY
    assert sent(send(hashed))["algorithm"] == "MD5"


def test_a_wrong_password_is_reported_once_and_forgotten() -> None:
    c = client()
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="1", qop="auth"')) is AuthOutcome.RETRY
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="2", qop="auth"')) is AuthOutcome.REFUSED
    assert send(c).headers.count("Authorization") == 0


def test_stale_needs_another_nonce() -> None:
    c = client()
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="1"')) is AuthOutcome.RETRY
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="2", stale=TRUE')) is AuthOutcome.RETRY
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="2", stale=true')) is AuthOutcome.REFUSED


def test_a_proxy_and_then_the_server() -> None:
    c = client(Secret(username="pu", password="pp", realm="proxy"), Secret(username="u", password="p", realm="r"))
    assert c.challenged(send(c), refusal('Digest realm="proxy", nonce="1"', status=407)) is AuthOutcome.RETRY
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="2"')) is AuthOutcome.RETRY
    both = send(c)
    assert sent(both, "Proxy-Authorization")["username"] == "pu"
    assert sent(both)["username"] == "u"
    c.forget()
    assert len(send(c).headers) == 0


def test_several_realms_are_all_answered() -> None:
    c = client()
    assert (
        c.challenged(send(c), refusal('Digest realm="a", nonce="1"', 'Digest realm="b", nonce="2"'))
        is AuthOutcome.RETRY
    )
    assert send(c).headers.count("Authorization") == 2
    for n in range(100):
        c.challenged(Request("X", "sip:r"), refusal(f'Digest realm="{n}", nonce="1"'))
    assert send(c).headers.count("Authorization") == 16


def test_without_a_secret_or_a_known_scheme() -> None:
    c = client(Secret(username="u", password="p", realm="other"))
    assert c.challenged(send(c), refusal('Digest realm="r", nonce="1"')) is AuthOutcome.NO_SECRET
    assert c.challenged(send(c), refusal("Bearer abc")) is AuthOutcome.UNSUPPORTED
    assert c.challenged(send(c), refusal("Digest ,,")) is AuthOutcome.UNSUPPORTED
    assert c.challenged(send(c), refusal()) is AuthOutcome.UNSUPPORTED


def test_nonce_count_and_userhash() -> None:
    c = client()
    c.challenged(
        send(c),
        refusal('Digest realm="r", nonce="1", qop="auth-int", userhash=true, opaque="o,\\"", algorithm=SHA-256-sess'),
    )
    counts = [sent(send(c, b"body"))["nc"] for _ in range(11)]
    assert (counts[0], counts[-1]) == ("00000001", "0000000b")
    values = sent(send(c))
    assert (values["qop"], values["userhash"], values["opaque"]) == ("auth-int", "true", 'o,"')
    assert values["username"] != "u" and len(values["username"] or "") == 64
    assert values["cnonce"] and values["algorithm"] == "SHA-256-sess"


@pytest.mark.parametrize("name", ['a "b" \\c', "имя", "a,b=c", "a\x07b"])
def test_odd_user_names_and_realms(name: str) -> None:
    server = DigestServer(
        name, lambda user: Secret(username=name, password="p") if user == name else None, SeededTokens(2)
    )
    c = client(Secret(username=name, password="p"))
    assert c.challenged(send(c), refusal(*map(str, server.challenges(0)))) is AuthOutcome.RETRY
    assert server.check(send(c), 1) == (Verdict.OK, name)


def test_secrets_are_never_shown() -> None:
    secret = Secret(username="u", password="hunter2", ha1=(("r", "MD5", "cafe"),))
    c = client(secret)
    c.challenged(send(c), refusal('Digest realm="x", nonce="n0nce"'))
    request = send(c)
    shown = " ".join(map(repr, (secret, c, request, request.headers, request.headers.get(fields.AUTHORIZATION))))
    for word in ("hunter2", "cafe", "n0nce", str(sent(request)["response"])):
        assert word not in shown


def server() -> DigestServer:
    users = {"u": Secret(username="u", password="p")}
    return DigestServer("r", users.get, SeededTokens(3))


def test_the_server_accepts_once() -> None:
    s, c = server(), client()
    offers = s.challenges(0)
    assert [offer.algorithm for offer in offers] == ["SHA-256", "MD5"]
    c.challenged(send(c), refusal(*map(str, offers)))
    first, second = send(c), send(c)
    assert s.check(second, 1) == (Verdict.OK, "u")
    assert s.check(second, 1) == (Verdict.STALE, None)  # a replay
    assert s.check(first, 1) == (Verdict.STALE, None)  # a count below the last
    assert s.check(send(c), 300) == (Verdict.OK, "u")
    assert s.check(send(c), 301) == (Verdict.STALE, None)  # too old
    assert s.check(Request("X", "sip:r"), 1) == (Verdict.ABSENT, None)


def test_the_server_refuses_what_is_wrong() -> None:
    s = server()
    for secret in (Secret(username="u", password="x"), Secret(username="v", password="p")):
        c = client(secret)
        c.challenged(send(c), refusal(*map(str, s.challenges(0))))
        assert s.check(send(c), 1) == (Verdict.WRONG, None)
    for text in (
        'Digest realm="r"',
        'Digest realm="r", username="u", nonce="n", uri="x", response="é", cnonce="c", qop=auth, nc=zzzzzzzz',
    ):
        assert s.check(Request("X", "sip:r", Headers([("Authorization", text)])), 1) == (Verdict.WRONG, None)
    assert s.check(Request("X", "sip:r", Headers([("Authorization", 'Digest realm="other"')])), 1)[0] is Verdict.ABSENT


def test_a_nonce_of_nobody_is_stale_at_any_time() -> None:
    for now in (0.0, -5.0, 100.0):
        s, c = server(), client()
        c.challenged(send(c), refusal('Digest realm="r", nonce="mine", qop="auth", algorithm=SHA-256'))
        assert s.check(send(c), now) == (Verdict.STALE, None)


def test_credentials_for_a_proxy() -> None:
    s, c = server(), client()
    c.challenged(send(c), refusal(*map(str, s.challenges(0, stale=True)), status=407))
    assert s.check(send(c), 0, proxy=True) == (Verdict.OK, "u")
    assert s.check(send(c), 0) == (Verdict.ABSENT, None)
    value = credentials_value(SECRET, "0" * 32, DigestChallenge(realm="r", nonce="n"), given_(qop=None))
    assert "qop" not in value and "cnonce" not in value


def test_a_nonce_that_was_good_before_may_have_grown_old_without_a_word() -> None:
    """Not every server says `stale`: one new try, and only one."""

    def challenge(nonce: str) -> Response:
        value = f'Digest realm="r", nonce="{nonce}", qop="auth"'
        return Response(401, "", Headers([("WWW-Authenticate", value)]))

    def request(authenticator: Authenticator) -> Request:
        return Request("OPTIONS", "sip:a", Headers(authenticator.credentials("OPTIONS", "sip:a", b"")))

    authenticator = Authenticator((Secret(username="u", password="p"),), SeededTokens(1))
    assert authenticator.challenged(request(authenticator), challenge("one")) is AuthOutcome.RETRY
    request(authenticator)  # accepted
    assert authenticator.challenged(request(authenticator), challenge("two")) is AuthOutcome.RETRY
    assert authenticator.challenged(request(authenticator), challenge("three")) is AuthOutcome.REFUSED
