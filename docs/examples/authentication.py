"""Both sides of digest, and a bearer token, without any I/O: what an engine and a registrar do with each request."""

from sipproto.auth import (
    AnswerOutcome,
    Authenticator,
    AuthOutcome,
    AuthPolicy,
    BearerChallenge,
    BearerToken,
    DigestServer,
    Secret,
    Verdict,
)
from sipproto.message import Headers, Request, Response
from sipproto.tokens import SeededTokens  # in production: tokens from the system, as AgentConfig has by default

users = {"alice": Secret(username="alice", password="correct horse")}
server = DigestServer("example.com", users.get, SeededTokens(1), ("SHA-512-256", "SHA-256", "MD5"))
client = Authenticator(
    (Secret(username="alice", password="correct horse", realm="example.com"),),
    SeededTokens(2),
    AuthPolicy(algorithms=("SHA-512-256", "SHA-256")),  # never MD5
)


def register() -> Request:
    pairs = client.credentials("REGISTER", "sip:example.com", b"", secure=True)
    return Request("REGISTER", "sip:example.com", Headers(pairs))


def refusal(*challenges: object) -> Response:
    return Response(401, "Unauthorized", Headers(("WWW-Authenticate", challenge) for challenge in challenges))


# The first request has no credentials; the second has, and those after it at once.
first = register()
assert server.check(first, now=0.0).verdict is Verdict.ABSENT
answer = refusal(*server.challenges(now=0.0))
assert client.challenged(first, answer, secure=True).outcome is AuthOutcome.RETRY
for now in (0.1, 60.0, 250.0, 400.0):
    request = register()
    check = server.check(request, now)
    assert (check.verdict, check.username) == (Verdict.OK, "alice")
    accepted = Response(200, "OK", Headers([server.info(check, now)]))
    print(f"{now:5}: {client.answered(request, accepted).value}")
assert server.check(request, 400.0).verdict is Verdict.STALE  # the same credentials once more

# Somebody on the way who offers less gets nothing, and who does not know the password cannot answer.
weaker = refusal('Digest realm="example.com", nonce="n", qop="auth", algorithm=MD5')
assert client.challenged(first, weaker).outcome is AuthOutcome.WEAK
forged = Response(200, "OK", Headers([("Authentication-Info", 'rspauth="00"')]))
assert client.answered(register(), forged) is AnswerOutcome.WRONG_PROOF

# A server that wants a token: the application fetches one and goes on.
wanted = BearerChallenge(realm="example.com", scope=("sip",), authz_server="https://as.example.com")
client.set_secrets(())
challenged = client.challenged(register(), refusal(wanted), secure=True)
assert challenged.outcome is AuthOutcome.NO_SECRET
(asked,) = challenged.bearer
print("a token is wanted:", *asked.scope, "from", asked.authz_server)
client.set_secrets((BearerToken(token="eyJhbGciOiJFUzI1NiJ9.e30.c2ln", authz_server="https://as.example.com"),))
assert client.challenged(register(), refusal(wanted), secure=True).outcome is AuthOutcome.RETRY
assert register().headers.first("Authorization") == "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
assert client.credentials("REGISTER", "sip:example.com", b"", secure=False) == []  # not without TLS
