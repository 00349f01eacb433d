"""The computation: the examples of the RFCs, and every algorithm with every qop against another way to compute it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable

import pytest

from sipproto.auth import (
    ALGORITHMS,
    BearerChallenge,
    DigestChallenge,
    DigestInput,
    Secret,
    credentials_value,
    digest_response,
    parse_bearer_challenge,
    parse_challenge,
    userhash,
)
from sipproto.auth._digest import _available
from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError
from sipproto.message import parse_auth

REALM = "http-auth@example.org"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
SECRET = Secret(username="Mufasa", password="Circle of Life")


def given_(
    qop: str | None = "auth", cnonce: str = CNONCE, body: bytes = b"", uri: str = "/dir/index.html"
) -> DigestInput:
    return DigestInput(method="GET", uri=uri, body=body, cnonce=cnonce, nc=1, qop=qop)


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


RFC7616_3_9_2 = (
    'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
    'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", '
    "charset=UTF-8, userhash=true"
)
DOE = Secret(username="Jäsøn Doe", password="Secret, or not?")


@pytest.mark.skipif("SHA-512-256" not in ALGORITHMS, reason="this Python has no SHA-512/256")
def test_rfc7616_3_9_2() -> None:
    """With the values of erratum 4897: those printed in the RFC are of an early draft of SHA-512/256."""
    challenge = parse_challenge(parse_auth(RFC7616_3_9_2))
    assert challenge.userhash and challenge.utf8
    given = given_(cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", uri="/doe.json")
    response = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert answer(challenge, given, DOE) == response
    ha1 = DOE.hash_for(challenge.realm, challenge.algorithm)
    assert ha1 is not None
    sent = dict(parse_auth(credentials_value(DOE, ha1, challenge, given)).params)
    assert sent["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert (sent["userhash"], sent["response"]) == ("true", response)
    # and where the server does not ask for a hashed name
    plain = parse_challenge(parse_auth(RFC7616_3_9_2.replace("userhash=true", "userhash=false")))
    value = credentials_value(DOE, ha1, plain, given)
    assert value.startswith("Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, ") and "userhash" not in value
    old = parse_challenge(parse_auth(RFC7616_3_9_2.partition(", charset")[0]))
    assert dict(parse_auth(credentials_value(DOE, ha1, old, given)).params)["username"] == "Jäsøn Doe"


def test_rfc2617_3_5() -> None:
    challenge = DigestChallenge(realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth",))
    secret = Secret(username="Mufasa", password="Circle Of Life")
    assert answer(challenge, given_(cnonce="0a4f113b"), secret) == "6629fae49393a05397450978507c4ef1"
    # without qop: RFC 2069's form
    assert answer(challenge, given_(qop=None), secret) == "670fd8c2df070c60b045671b8b24ff02"


HASHES: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
}


@pytest.mark.parametrize(
    ("algorithm", "sess", "qop"), list(itertools.product(ALGORITHMS, ("", "-sess"), (None, "auth", "auth-int")))
)
def test_every_algorithm_with_every_qop(algorithm: str, sess: str, qop: str | None) -> None:
    """Written down once more from RFC 7616 3.4.1 to 3.4.3, octet by octet."""
    h = HASHES[algorithm]
    a1 = b"Mufasa:" + REALM.encode() + b":Circle of Life"
    if sess:
        a1 = b":".join((h(a1).encode(), b"first-nonce", b"first-cnonce"))
    a2 = b"GET:/dir/index.html" + (b":" + h(b"a body").encode() if qop == "auth-int" else b"")
    middle = [NONCE.encode()] if qop is None else [NONCE.encode(), b"00000001", CNONCE.encode(), qop.encode()]
    expected = h(b":".join((h(a1).encode(), *middle, h(a2).encode())))
    challenge = DigestChallenge(realm=REALM, nonce=NONCE, algorithm=algorithm + sess, qop=(qop,) if qop else ())
    first = ("first-nonce", "first-cnonce")
    given = DigestInput(
        method="GET", uri="/dir/index.html", body=b"a body", cnonce=CNONCE, nc=1, qop=qop, session=first
    )
    assert answer(challenge, given) == expected


def test_variants_differ_in_the_right_places() -> None:
    plain = DigestChallenge(realm=REALM, nonce=NONCE, qop=("auth", "auth-int"))
    session = DigestChallenge(realm=REALM, nonce=NONCE, algorithm="MD5-sess", qop=("auth",))
    assert answer(session, given_()) != answer(session, given_(cnonce="other")) != answer(plain, given_())
    assert answer(plain, given_("auth", body=b"a")) == answer(plain, given_("auth", body=b"b"))
    assert answer(plain, given_("auth-int", body=b"a")) != answer(plain, given_("auth-int", body=b"b"))
    assert Secret(username="u", password="").hash_for("r", "MD5") is not None
    assert userhash("u", "r", "SHA-256-sess") == userhash("u", "r", "SHA-256") != userhash("u", "s", "SHA-256")


def test_an_algorithm_that_this_build_lacks_is_left_out() -> None:
    found = _available({"SHA-512-256": "no such hash", "SHA-256": "sha256"})
    assert list(found) == ["SHA-256"]
    assert found["SHA-256"](b"") == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("text", "algorithm", "qop"),
    [
        ('Digest realm="r", nonce="n", qop="auth, auth-int"', "MD5", ("auth", "auth-int")),
        ('digest realm="r",nonce="n",qop="auth ,foo",algorithm=sha-256', "SHA-256", ("auth", "foo")),
        ('DIGEST realm="r", nonce="n", algorithm="MD5-SESS", qop=auth', "MD5-sess", ("auth",)),
        ('Digest realm="", nonce="", algorithm=SHA-512-256', "SHA-512-256", ()),
        ('Digest realm="a \\"b\\" \\\\c", nonce="n", opaque="", domain="sip:a sip:b", charset=utf-8', "MD5", ()),
        ('Digest realm="r", nonce="n", qop=""', "MD5", ()),
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
        'Digest realm="r", nonce="n", algorithm=MD5-sess-sess',
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


@pytest.mark.parametrize(
    ("text", "challenge"),
    [
        (
            'Bearer realm="r", scope="sip.read sip.write", authz_server="https://as.example.com", error="invalid_token"',
            BearerChallenge(
                realm="r",
                scope=("sip.read", "sip.write"),
                authz_server="https://as.example.com",
                error="invalid_token",
            ),
        ),
        ('bearer authz_server="https://a"', BearerChallenge(authz_server="https://a")),
    ],
)
def test_bearer_challenges_are_read(text: str, challenge: BearerChallenge) -> None:
    assert parse_bearer_challenge(parse_auth(text)) == challenge
    assert parse_bearer_challenge(parse_auth(str(challenge))) == challenge


@pytest.mark.parametrize("text", ["Bearer abc", 'Digest realm="r"'])
def test_what_is_no_bearer_challenge(text: str) -> None:
    with pytest.raises(MessageSyntaxError) as caught:
        parse_bearer_challenge(parse_auth(text))
    assert caught.value.fault is Fault.BAD_CHALLENGE


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\ud800"])
def test_secrets_that_no_header_can_hold(text: str) -> None:
    for username, password, realm in ((text, "", ""), ("u", text, ""), ("u", "", text)):
        with pytest.raises(LocalProtocolError):
            Secret(username=username, password=password, realm=realm)
