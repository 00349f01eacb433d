"""A client of the engine's kind, and the responses that it gets."""

from __future__ import annotations

from sipproto.auth import Authenticator, AuthOutcome, AuthPolicy, Credential, Secret
from sipproto.message import Headers, Request, Response, parse_auth, parse_message
from sipproto.tokens import SeededTokens

PASSWORD = Secret(username="u", password="p")


def refusal(*challenges: object, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, "", Headers((name, text) for text in challenges))


def ok(value: object = "", *, status: int = 200, name: str = "Authentication-Info", body: bytes = b"") -> Response:
    return Response(status, "", Headers([(name, value)] if value else []), body)


def parsed(request: Request) -> Request:
    """As it is after its way over the wire."""
    message = parse_message(request.to_bytes())
    assert isinstance(message, Request)
    return message


class Client:
    def __init__(self, *secrets: Credential, policy: AuthPolicy | None = None, secure: bool = True) -> None:
        known = secrets or (PASSWORD,)
        tokens = SeededTokens(1)
        self.auth = Authenticator(known, tokens) if policy is None else Authenticator(known, tokens, policy)
        self.secure = secure

    def send(self, body: bytes = b"", *, method: str = "REGISTER", uri: str = "sip:r") -> Request:
        pairs = self.auth.credentials(method, uri, body, secure=self.secure)
        return parsed(Request(method, uri, Headers([*pairs, ("Content-Length", len(body))]), body))

    def takes(self, request: Request, response: Response) -> AuthOutcome:
        return self.auth.challenged(request, response, secure=self.secure).outcome

    def asked(self, *challenges: object, status: int = 401, request: Request | None = None) -> AuthOutcome:
        """Sends a request, which gets these challenges."""
        return self.takes(request or self.send(), refusal(*challenges, status=status))


def sent(request: Request, field: str = "Authorization") -> dict[str, str | None]:
    return dict(parse_auth(request.headers.raw(field)[0]).params)
