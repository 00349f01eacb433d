"""What the client answers to which challenge, what it refuses, and what it learns from answers."""

from __future__ import annotations

import pytest

from sipproto.auth import (
    AnswerOutcome,
    AuthOutcome,
    AuthPolicy,
    BearerChallenge,
    BearerToken,
    DigestChallenge,
    DigestInput,
    Secret,
    digest_response,
)
from sipproto.errors import LocalProtocolError
from sipproto.message import Headers, Request, Response, fields
from tests.auth.rig import PASSWORD, Client, ok, refusal, sent

TOKEN = BearerToken(token="eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJk.c2ln")
BEARER = BearerChallenge(realm="r", scope=("sip",), authz_server="https://as.example.com")


def challenge_(
    nonce: str = "1", algorithm: str = "SHA-256", realm: str = "r", qop: str = "auth", more: str = ""
) -> str:
    return f'Digest realm="{realm}", nonce="{nonce}", qop="{qop}", algorithm={algorithm}{more}'


# -- which challenge ---------------------------------------------------------------------------------------------------


def test_the_strongest_challenge_that_can_be_answered_is() -> None:
    offers = [
        'Digest realm="r", nonce="1"',
        'Digest realm="r", nonce="2", algorithm=SHA-512-256',
        'Digest realm="r", nonce="3", algorithm=SHA-256',
        'Digest realm="r", nonce="4", algorithm=SHA-3',
        "Basic x",
    ]
    for ordered in (offers, offers[::-1]):
        c = Client()
        assert c.asked(*ordered) is AuthOutcome.RETRY
        assert (sent(c.send())["algorithm"], sent(c.send())["nonce"]) == ("SHA-512-256", "2")
    # a ready MD5 hash cannot answer SHA-256
    known = PASSWORD.hash_for("r", "MD5")
    assert known is not None
    hashed = Client(Secret(username="u", ha1=(("r", "MD5", known),)))
    assert hashed.asked(*offers) is AuthOutcome.RETRY
    assert sent(hashed.send())["algorithm"] == "MD5"


@pytest.mark.parametrize(
    ("offered", "chosen"), [("auth, auth-int", "auth"), ("auth-int,auth", "auth"), ("auth-int", "auth-int"), ("", None)]
)
def test_auth_int_only_where_auth_is_not_offered(offered: str, chosen: str | None) -> None:
    c = Client()
    c.asked(challenge_(qop=offered))
    assert sent(c.send(b"body")).get("qop") == chosen


def test_a_secret_for_the_realm_comes_before_one_for_any() -> None:
    c = Client(Secret(username="any", password="p"), Secret(username="mine", password="p", realm="r"))
    c.asked(challenge_(), challenge_(realm="other"))
    names = [value.params.get("username") for value in c.send().headers.all(fields.AUTHORIZATION)]
    assert names == ["mine", "any"]


def test_without_a_secret_or_a_known_scheme() -> None:
    c = Client(Secret(username="u", password="p", realm="other"))
    assert c.asked('Digest realm="r", nonce="1"') is AuthOutcome.NO_SECRET
    assert c.asked("Bearer abc") is AuthOutcome.UNSUPPORTED
    assert c.asked("Digest ,,") is AuthOutcome.UNSUPPORTED
    assert c.asked(challenge_(algorithm="SHA-1")) is AuthOutcome.UNSUPPORTED
    assert c.asked() is AuthOutcome.UNSUPPORTED


def test_what_the_policy_forbids_is_not_answered() -> None:
    c = Client(policy=AuthPolicy(algorithms=("SHA-256",)))
    assert c.asked(challenge_(algorithm="MD5"), challenge_(algorithm="MD5-sess")) is AuthOutcome.WEAK
    assert c.asked(challenge_(algorithm="MD5"), challenge_("2")) is AuthOutcome.RETRY
    assert sent(c.send())["nonce"] == "2"
    for bad in ((), ("SHA-1",), ("MD5-sess",)):
        with pytest.raises(LocalProtocolError):
            AuthPolicy(algorithms=bad)


def test_a_realm_never_gets_weaker() -> None:
    c = Client()
    assert c.asked(challenge_("1", "SHA-256")) is AuthOutcome.RETRY
    for attempt in (c.send(), Request("X", "sip:r")):
        assert c.asked(challenge_("2", "MD5"), request=attempt) is AuthOutcome.DOWNGRADE
    assert sent(c.send())["algorithm"] == "SHA-256"
    c.auth.forget()  # a new connection changes nothing
    assert c.asked(challenge_("3", "MD5")) is AuthOutcome.DOWNGRADE
    assert c.asked(challenge_("3", "MD5", realm="another")) is AuthOutcome.RETRY
    assert (
        c.asked(challenge_("4", "SHA-256"), challenge_("5", "MD5"), request=Request("X", "sip:r")) is AuthOutcome.RETRY
    )
    # nor does the mass of other realms make it forget
    for n in range(200):
        c.asked(challenge_("1", realm=str(n)), request=Request("X", "sip:r"))
    assert c.asked(challenge_("6", "MD5"), request=Request("X", "sip:r")) is AuthOutcome.DOWNGRADE
    c.auth.set_secrets((Secret(username="u", password="new"),))
    assert c.asked(challenge_("7", "MD5")) is AuthOutcome.DOWNGRADE
    # a secret that knows nothing better has nothing to lose
    known = PASSWORD.hash_for("r", "MD5") or ""
    c.auth.set_secrets((Secret(username="u", ha1=(("r", "MD5", known),)),))
    assert c.asked(challenge_("8", "MD5")) is AuthOutcome.RETRY
    lenient = Client(policy=AuthPolicy(allow_downgrade=True))
    lenient.asked(challenge_("1", "SHA-256"))
    assert lenient.asked(challenge_("2", "MD5"), request=Request("X", "sip:r")) is AuthOutcome.RETRY


# -- nonces ------------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_reported_once_and_forgotten() -> None:
    c = Client()
    assert c.asked(challenge_("1")) is AuthOutcome.RETRY
    assert c.asked(challenge_("2")) is AuthOutcome.REFUSED
    assert c.send().headers.count("Authorization") == 0


def test_stale_needs_another_nonce() -> None:
    c = Client()
    # of a nonce that was never used
    assert c.asked('Digest realm="r", nonce="0", stale=true') is AuthOutcome.RETRY
    assert c.asked('Digest realm="r", nonce="2", stale=TRUE') is AuthOutcome.RETRY
    assert c.asked('Digest realm="r", nonce="2", stale=true') is AuthOutcome.REFUSED


def test_a_nonce_that_was_good_before_may_have_grown_old_without_a_word() -> None:
    """Not every server says `stale`: one new try, and only one."""
    c = Client()
    assert c.asked(challenge_("one")) is AuthOutcome.RETRY
    assert c.auth.answered(c.send(), ok()) is AnswerOutcome.NOTHING
    assert c.asked(challenge_("two")) is AuthOutcome.RETRY
    assert c.asked(challenge_("three")) is AuthOutcome.REFUSED


@pytest.mark.parametrize("status", [100, 401, 403, 407])
def test_answers_that_do_not_say_that_the_password_was_right(status: int) -> None:
    c = Client()
    c.asked(challenge_("one"))
    c.auth.answered(c.send(), ok(status=status))
    assert c.asked(challenge_("two")) is AuthOutcome.REFUSED


def test_requests_under_way_while_the_nonce_is_replaced() -> None:
    c = Client()
    c.asked(challenge_("one"))
    c.auth.answered(c.send(), ok())
    under_way = [c.send() for _ in range(4)]
    counts = [sent(request)["nc"] for request in under_way]
    assert counts == ["00000002", "00000003", "00000004", "00000005"]
    for n, request in enumerate(under_way):  # the server was started anew, and does not say `stale`
        assert c.takes(request, refusal(challenge_(f"new{n}"))) is AuthOutcome.RETRY
        again = sent(c.send())
        assert (again["nonce"], again["nc"]) == (f"new{n}", "00000001")


def test_nonce_count_and_opaque() -> None:
    c = Client()
    c.asked('Digest realm="r", nonce="1", qop="auth-int", userhash=true, opaque="o,\\"", algorithm=SHA-256-sess')
    counts = [sent(c.send(b"body"))["nc"] for _ in range(11)]
    assert (counts[0], counts[-1]) == ("00000001", "0000000b")
    values = sent(c.send())
    assert (values["qop"], values["userhash"], values["opaque"]) == ("auth-int", "true", 'o,"')
    assert values["username"] != "u" and len(values["username"] or "") == 64
    c.auth.forget()
    c.asked('Digest realm="", nonce="1", opaque=""')
    assert (sent(c.send())["opaque"], sent(c.send())["realm"]) == ("", "")
    assert "qop" not in sent(c.send()) and "cnonce" not in sent(c.send())


def test_the_key_of_a_session_is_that_of_its_first_request() -> None:
    c = Client()
    c.asked(challenge_("one", "MD5-sess"))
    first = sent(c.send())
    c.auth.answered(c.send(), ok('nextnonce="two"'))
    for nc in (1, 2):
        values = sent(c.send())
        assert (values["nonce"], values["nc"], values["cnonce"]) == ("two", f"{nc:08x}", first["cnonce"])
        given = DigestInput(
            method="REGISTER", uri="sip:r", body=b"", cnonce=first["cnonce"] or "", nc=nc, qop="auth",
            session=("one", first["cnonce"] or ""),
        )  # fmt: skip
        challenge = DigestChallenge(realm="r", nonce="two", algorithm="MD5-sess", qop=("auth",))
        assert values["response"] == digest_response(PASSWORD.hash_for("r", "MD5") or "", challenge, given)


# -- several realms ----------------------------------------------------------------------------------------------------


def test_a_proxy_and_then_the_server() -> None:
    c = Client(Secret(username="pu", password="pp", realm="proxy"), Secret(username="u", password="p", realm="r"))
    assert c.asked(challenge_("1", realm="proxy"), status=407) is AuthOutcome.RETRY
    assert c.asked(challenge_("2")) is AuthOutcome.RETRY
    both = c.send()
    assert sent(both, "Proxy-Authorization")["username"] == "pu"
    assert sent(both)["username"] == "u"
    # the proxy was content before, so this is an old nonce
    assert c.asked(challenge_("3", realm="proxy"), status=407) is AuthOutcome.RETRY
    c.auth.forget()
    assert c.send().headers.count("Authorization") == c.send().headers.count("Proxy-Authorization") == 0


def test_both_kinds_in_one_response() -> None:
    """As a forking proxy puts them together (RFC 3261 16.7 step 7)."""
    c = Client()
    pairs = [("WWW-Authenticate", challenge_("1", realm="a")), ("Proxy-Authenticate", challenge_("2", realm="b"))]
    assert c.takes(c.send(), Response(401, "", Headers(pairs))) is AuthOutcome.RETRY
    request = c.send()
    assert sent(request)["realm"] == "a"
    assert sent(request, "Proxy-Authorization")["realm"] == "b"


def test_several_realms_are_all_answered() -> None:
    c = Client()
    assert c.asked(challenge_(realm="a"), challenge_(realm="b")) is AuthOutcome.RETRY
    assert c.send().headers.count("Authorization") == 2
    for n in range(100):
        c.asked(challenge_(realm=str(n)), request=Request("X", "sip:r"))
    assert c.send().headers.count("Authorization") == 16


# -- Authentication-Info -----------------------------------------------------------------------------------------------


def proof_for(request: Request, challenge: DigestChallenge, *, body: bytes = b"", qop: str = "auth") -> str:
    """As the server computes it."""
    values = sent(request)
    nonce, cnonce, nc = values["nonce"] or "", values["cnonce"] or "", int(values["nc"] or "", 16)
    given = DigestInput(method="", uri=values["uri"] or "", body=body, cnonce=cnonce, nc=nc, qop=qop)
    ours = DigestChallenge(realm="r", nonce=nonce, algorithm=challenge.algorithm, qop=challenge.qop)
    return digest_response(PASSWORD.hash_for("r", challenge.base_algorithm) or "", ours, given)


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
def test_the_proof_of_the_server(algorithm: str, qop: str) -> None:
    challenge = DigestChallenge(realm="r", nonce="1", algorithm=algorithm, qop=(qop,))
    c = Client()
    c.asked(challenge)
    request = c.send(b"question")
    right = proof_for(request, challenge, body=b"answer", qop=qop)
    rest = f'cnonce="{sent(request)["cnonce"]}", nc=00000001, qop={qop}'
    for text, outcome in (
        (f'rspauth="{right}", {rest}', AnswerOutcome.PROVEN),
        (f'rspauth="{right.upper()}"', AnswerOutcome.PROVEN),
        (f'rspauth="{right[:-1]}x", {rest}', AnswerOutcome.WRONG_PROOF),
        ('rspauth=""', AnswerOutcome.WRONG_PROOF),
        ('rspauth="é"', AnswerOutcome.WRONG_PROOF),
        (f'rspauth="{right}", cnonce="other"', AnswerOutcome.WRONG_PROOF),
        (f'rspauth="{right}", nc=00000002', AnswerOutcome.WRONG_PROOF),
        (rest, AnswerOutcome.NOTHING),
        ("nc=zz", AnswerOutcome.NOTHING),
        ("", AnswerOutcome.NOTHING),
    ):
        assert c.auth.answered(request, ok(text, body=b"answer")) is outcome, text
    changed = ok(f'rspauth="{right}", {rest}', body=b"other")
    covered = AnswerOutcome.WRONG_PROOF if qop == "auth-int" else AnswerOutcome.PROVEN
    assert c.auth.answered(request, changed) is covered


def test_the_next_nonce_is_used_next_and_taken_once() -> None:
    c = Client()
    c.asked(challenge_("one"))
    request = c.send()
    assert c.auth.answered(request, ok('nextnonce="two"')) is AnswerOutcome.NEXT_NONCE
    assert (sent(c.send())["nonce"], sent(c.send())["nc"]) == ("two", "00000002")
    assert c.auth.answered(request, ok('nextnonce="two"')) is AnswerOutcome.NOTHING  # the 2xx was repeated
    assert sent(c.send())["nc"] == "00000003"
    # also with any other answer that is no challenge, but not along with a wrong proof
    assert c.auth.answered(c.send(), ok('nextnonce="three"', status=486)) is AnswerOutcome.NEXT_NONCE
    assert c.auth.answered(c.send(), ok('nextnonce="x", rspauth="y"')) is AnswerOutcome.WRONG_PROOF
    assert c.auth.answered(c.send(), ok('nextnonce="x"', status=401)) is AnswerOutcome.NOTHING
    assert sent(c.send())["nonce"] == "three"
    for n in range(30):
        c.auth.answered(c.send(), ok(f'nextnonce="n{n}"'))
    assert sent(c.send())["nonce"] == "n29"


def test_a_proxy_gives_its_own() -> None:
    c = Client()
    c.asked(challenge_("p", realm="proxy"), status=407)
    c.asked(challenge_("s"))
    request = c.send()
    assert c.auth.answered(request, ok('nextnonce="p2"', name="Proxy-Authentication-Info")) is AnswerOutcome.NEXT_NONCE
    assert (sent(c.send(), "Proxy-Authorization")["nonce"], sent(c.send())["nonce"]) == ("p2", "s")


def test_with_several_realms_the_cnonce_tells_whose_answer_it_is() -> None:
    c = Client()
    c.asked(challenge_("1", realm="a"), challenge_("2", realm="b"))
    request = c.send()
    of_b = request.headers.all(fields.AUTHORIZATION)[1].params.get("cnonce")
    assert c.auth.answered(request, ok('nextnonce="x"')) is AnswerOutcome.NOTHING
    assert c.auth.answered(request, ok(f'nextnonce="x", cnonce="{of_b}"')) is AnswerOutcome.NEXT_NONCE
    assert [v.params.get("nonce") for v in c.send().headers.all(fields.AUTHORIZATION)] == ["1", "x"]


def test_answers_to_what_is_forgotten_say_nothing() -> None:
    c = Client()
    c.asked(challenge_("one"))
    request = c.send()
    c.auth.forget()
    assert c.auth.answered(request, ok('nextnonce="two", rspauth="x"')) is AnswerOutcome.NOTHING
    assert c.auth.answered(Request("X", "sip:r"), ok('nextnonce="two", rspauth="x"')) is AnswerOutcome.NOTHING


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_is_given_before_a_password() -> None:
    for offers in ((BEARER, challenge_()), (challenge_(), BEARER)):
        c = Client(PASSWORD, TOKEN)
        assert c.asked(*offers) is AuthOutcome.RETRY
        assert c.send().headers.raw("Authorization") == (f"Bearer {TOKEN.token}",)
    c = Client(TOKEN)
    assert c.asked(BEARER, status=407) is AuthOutcome.RETRY
    assert c.send().headers.raw("Proxy-Authorization") == (f"Bearer {TOKEN.token}",)
    # without one the password does, and what the token is wanted for is told
    c = Client(PASSWORD)
    found = c.auth.challenged(c.send(), refusal(BEARER, challenge_()), secure=True)
    assert (found.outcome, found.bearer) == (AuthOutcome.RETRY, (BEARER,))


def test_the_application_hears_where_to_get_a_token() -> None:
    c = Client(PASSWORD)
    found = c.auth.challenged(c.send(), refusal(BEARER), secure=True)
    assert (found.outcome, found.bearer) == (AuthOutcome.NO_SECRET, (BEARER,))
    c.auth.set_secrets((TOKEN,))
    assert c.asked(BEARER) is AuthOutcome.RETRY


def test_a_token_that_is_refused() -> None:
    c = Client(TOKEN, PASSWORD)
    c.asked(BEARER)
    error = BearerChallenge(realm="r", error="invalid_token")
    request = c.send()
    found = c.auth.challenged(request, refusal(error, challenge_()), secure=True)
    # no fallback to the password: whoever can make the token fail could choose the weaker way
    assert (found.outcome, found.bearer) == (AuthOutcome.TOKEN_REFUSED, (error,))
    assert c.send().headers.count("Authorization") == 0
    # renewed while the request was under way
    c.auth.set_secrets((BearerToken(token="new"),))
    assert c.takes(request, refusal(error)) is AuthOutcome.RETRY
    assert c.send().headers.raw("Authorization") == ("Bearer new",)


@pytest.mark.parametrize(
    "token",
    [
        BearerToken(token="t", realm="other"),
        BearerToken(token="t", authz_server="https://other.example.com"),
    ],
)
def test_whom_a_token_is_not_for(token: BearerToken) -> None:
    c = Client(token)
    assert c.asked(BEARER) is AuthOutcome.NO_SECRET
    assert c.send().headers.count("Authorization") == 0


def test_a_token_does_not_go_over_a_plain_connection() -> None:
    c = Client(TOKEN, secure=False)
    assert c.asked(BEARER) is AuthOutcome.NO_SECRET
    c.secure = True
    assert c.asked(BEARER) is AuthOutcome.RETRY
    c.secure = False
    assert c.send().headers.count("Authorization") == 0
    c = Client(BearerToken(token="t", realm="r", authz_server=BEARER.authz_server, plain_allowed=True), secure=False)
    assert c.asked(BEARER) is AuthOutcome.RETRY
    assert c.send().headers.count("Authorization") == 1


def test_a_digest_goes_to_no_callee_who_did_not_ask() -> None:
    c = Client()
    assert c.asked(challenge_(), request=c.send(uri="sip:registrar")) is AuthOutcome.RETRY
    assert c.send(uri="sip:registrar").headers.count("Authorization") == 1
    assert c.send(uri="sip:bob@registrar").headers.count("Authorization") == 0
    # the same addressee behind another target: a request inside of a call
    pairs = c.auth.credentials("INFO", "sip:x@contact.invalid", b"", to="sip:registrar")
    assert [name for name, _ in pairs] == ["Authorization"]
    assert c.asked(challenge_(nonce="n2"), request=c.send(uri="sip:bob@registrar")) is AuthOutcome.RETRY
    assert [c.send(uri=uri).headers.count("Authorization") for uri in ("sip:registrar", "sip:bob@registrar")] == [1, 1]
    for n in range(50):
        c.asked(challenge_(nonce=f"m{n}"), request=c.send(uri=f"sip:{n}"))
    assert c.send(uri="sip:registrar").headers.count("Authorization") == 0
    # a proxy is on the way of every request
    assert c.asked(challenge_(), status=407, request=c.send(uri="sip:a")) is AuthOutcome.RETRY
    assert c.send(uri="sip:b").headers.count("Proxy-Authorization") == 1


def test_a_token_goes_to_no_callee_who_did_not_ask() -> None:
    c = Client(TOKEN)
    assert c.asked(BEARER, request=c.send(uri="sip:registrar")) is AuthOutcome.RETRY
    assert c.send(uri="sip:registrar").headers.count("Authorization") == 1
    assert c.send(uri="sip:bob@registrar").headers.count("Authorization") == 0
    assert c.asked(BEARER, request=c.send(uri="sip:service")) is AuthOutcome.RETRY
    assert [c.send(uri=uri).headers.count("Authorization") for uri in ("sip:registrar", "sip:service")] == [1, 1]
    for n in range(50):
        c.asked(BEARER, request=c.send(uri=f"sip:{n}"))
    assert c.send(uri="sip:registrar").headers.count("Authorization") == 0
    # a proxy is on the way of every request
    assert c.asked(BEARER, status=407, request=c.send(uri="sip:a")) is AuthOutcome.RETRY
    assert c.send(uri="sip:b").headers.count("Proxy-Authorization") == 1


@pytest.mark.parametrize("text", ["", "se cret", "secret=b", "=", "secret\r\nX: y", "secreté", 'secret"'])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        BearerToken(token=text)
    assert "se" not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "a=", "ab==", "A-._~+/9="])
def test_tokens_survive_the_header(text: str) -> None:
    c = Client(BearerToken(token=text))
    c.asked(BEARER)
    value = c.send().headers.get(fields.AUTHORIZATION)
    assert value is not None and (value.scheme, value.token68) == ("Bearer", text)
    assert c.asked(BEARER) is AuthOutcome.TOKEN_REFUSED


# -- other secrets, and none in sight ----------------------------------------------------------------------------------


def test_new_secrets_are_tried_for_requests_under_way() -> None:
    c = Client(Secret(username="u", password="old"))
    c.asked(challenge_("one"))
    request = c.send()
    c.auth.set_secrets((PASSWORD,))
    assert c.send().headers.count("Authorization") == 0
    assert c.takes(request, refusal(challenge_("two"))) is AuthOutcome.RETRY
    assert c.asked(challenge_("three")) is AuthOutcome.REFUSED


def test_secrets_are_never_shown() -> None:
    secret = Secret(username="u", password="hunter2", ha1=(("r", "MD5", "cafe"),))
    bearer = BearerToken(token="t0ken")
    c = Client(secret, bearer)
    c.asked('Digest realm="x", nonce="n0nce"', BEARER)
    request = c.send()
    values = request.headers.all(fields.AUTHORIZATION)
    info = ok('nextnonce="n0nce", rspauth="cafe"').headers.get(fields.AUTHENTICATION_INFO)
    shown = " ".join(map(repr, (secret, bearer, c.auth, request, request.headers, values, info)))
    for word in ("hunter2", "cafe", "n0nce", "t0ken", str(sent(request)["response"])):
        assert word not in shown
