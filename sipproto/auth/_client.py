"""Answering challenges (RFC 3261 22.2, 22.3; RFC 8760)."""

from __future__ import annotations

import enum

from sipproto.auth._digest import DigestChallenge, DigestInput, Secret, credentials_value, parse_challenge
from sipproto.errors import MessageSyntaxError
from sipproto.message import AuthValue, Request, Response, fields
from sipproto.tokens import TokenSource, token

_MAX_REALMS = 16  # a server that names a new realm each time must not make us remember them all
_KINDS = {
    401: (fields.WWW_AUTHENTICATE, "Authorization"),
    407: (fields.PROXY_AUTHENTICATE, "Proxy-Authorization"),
}


class AuthOutcome(enum.Enum):
    """What a 401 or 407 means for the request that got it."""

    RETRY = "send the request again with credentials"
    REFUSED = "the credentials were sent and not accepted: wrong user or password"
    NO_SECRET = "there is no password for this realm"
    UNSUPPORTED = "no challenge can be answered: scheme, algorithm or qop is not supported"


class _Session:
    """One realm behind one kind of challenge: the nonce in use and how often it was used."""

    __slots__ = ("challenge", "header", "nc", "secret")

    def __init__(self, header: str, challenge: DigestChallenge, secret: Secret) -> None:
        self.header = header
        self.challenge = challenge
        self.secret = secret
        self.nc = 0


class Authenticator:
    """Keeps the nonces of each realm and writes credentials, also before being asked again (RFC 3261 22.2 on caching)."""

    def __init__(self, secrets: tuple[Secret, ...], tokens: TokenSource) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._sessions: dict[tuple[str, str], _Session] = {}

    def challenged(self, request: Request, response: Response) -> AuthOutcome:
        """Takes the challenges of a 401 or 407 to `request`, and says what to do about them.

        Of several challenges of a realm the strongest that there is a secret for is answered (RFC 8760 2.4);
        challenges of several realms are all answered. The same realm again, not stale, after credentials were sent,
        means that they are wrong.
        """
        challenge_field, header = _KINDS[response.status]
        used = {(a.params.get("realm"), a.params.get("nonce")) for a in _sent_credentials(request, header)}
        used_realms = {realm for realm, _ in used}
        best: dict[str, DigestChallenge] = {}
        for entry in response.headers.entries(challenge_field):
            try:
                if isinstance(entry, MessageSyntaxError):
                    continue
                challenge = parse_challenge(entry)
            except MessageSyntaxError:
                continue
            known = best.get(challenge.realm)
            if known is None or self._preference(challenge) > self._preference(known):
                best[challenge.realm] = challenge
        if not best:
            return AuthOutcome.UNSUPPORTED
        outcome = AuthOutcome.NO_SECRET
        for realm, challenge in best.items():
            # RFC 7616 3.3: stale means that only the nonce was refused. Once: a server must offer another nonce then.
            # LENIENT: some servers do not say so; a nonce that was good before has grown old rather than the password.
            session = self._sessions.get((header, realm))
            grown_old = challenge.stale or (session is not None and session.nc > 1)
            fresh = grown_old and (realm, challenge.nonce) not in used
            if realm in used_realms and not fresh:
                self._sessions.pop((header, realm), None)
                return AuthOutcome.REFUSED
            secret = self._secret_for(challenge)
            if secret is not None:
                self._remember(header, challenge, secret)
                outcome = AuthOutcome.RETRY
        return outcome

    def credentials(self, method: str, uri: str, body: bytes) -> list[tuple[str, str]]:
        """(header name, value) for each realm known so far."""
        out: list[tuple[str, str]] = []
        for session in self._sessions.values():
            challenge = session.challenge
            session.nc += 1
            given = DigestInput(
                method=method,
                uri=uri,
                body=body,
                cnonce=token(self._tokens),
                nc=session.nc,
                qop=None if not challenge.qop else "auth" if "auth" in challenge.qop else "auth-int",
            )
            ha1 = session.secret.hash_for(challenge.realm, challenge.base_algorithm)
            if ha1 is not None:
                out.append((session.header, credentials_value(session.secret, ha1, challenge, given)))
        return out

    def forget(self) -> None:
        """Drops every nonce: for a new connection or new secrets."""
        self._sessions.clear()

    def _secret_for(self, challenge: DigestChallenge) -> Secret | None:
        for secret in self._secrets:
            if secret.hash_for(challenge.realm, challenge.base_algorithm) is not None:
                return secret
        return None

    def _preference(self, challenge: DigestChallenge) -> tuple[bool, int]:
        # A ready hash serves one algorithm only: a challenge that it cannot answer is no stronger than none.
        return self._secret_for(challenge) is not None, challenge.strength

    def _remember(self, header: str, challenge: DigestChallenge, secret: Secret) -> None:
        self._sessions.pop((header, challenge.realm), None)
        if len(self._sessions) >= _MAX_REALMS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[(header, challenge.realm)] = _Session(header, challenge, secret)


def _sent_credentials(request: Request, header: str) -> tuple[AuthValue, ...]:
    return request.headers.all(fields.AUTHORIZATION if header == "Authorization" else fields.PROXY_AUTHORIZATION)
