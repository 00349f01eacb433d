"""Challenging and checking (RFC 7616 3.3 to 3.5), for registrars and proxies made from the core."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from hmac import compare_digest

from sipproto.auth._digest import DigestChallenge, DigestInput, Secret, digest_response
from sipproto.message import AuthValue, Request, fields
from sipproto.tokens import TokenSource, token

NONCE_LIFE = 300.0  # seconds
_MAX_NONCES = 10_000


class Verdict(enum.Enum):
    """The result of checking a request's credentials."""

    OK = "accepted"
    ABSENT = "no credentials for this realm"
    STALE = "the nonce is too old or unknown; the password may be right"
    WRONG = "wrong user or password"


class DigestServer:
    """Issues nonces and checks credentials of one realm.

    `lookup(user)` gives the user's Secret or None. Each nonce serves a count of each nc once, so that credentials cannot
    be replayed (RFC 7616 3.4: the server may insist on a growing nonce count).
    """

    def __init__(
        self,
        realm: str,
        lookup: Callable[[str], Secret | None],
        tokens: TokenSource,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
    ) -> None:
        self._realm = realm
        self._lookup = lookup
        self._tokens = tokens
        self._algorithms = algorithms
        self._nonces: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def challenges(self, now: float, *, stale: bool = False) -> tuple[DigestChallenge, ...]:
        """One challenge per algorithm, in order of preference (RFC 8760 2.3), all with one fresh nonce."""
        nonce = token(self._tokens, 26)
        self._nonces[nonce] = (now + NONCE_LIFE, 0)
        while len(self._nonces) > _MAX_NONCES or next(iter(self._nonces.values()))[0] < now:
            self._nonces.popitem(last=False)
        return tuple(
            DigestChallenge(realm=self._realm, nonce=nonce, algorithm=algorithm, qop=("auth",), stale=stale)
            for algorithm in self._algorithms
        )

    def check(self, request: Request, now: float, *, proxy: bool = False) -> tuple[Verdict, str | None]:
        """The verdict on a request's credentials, and the user name when they are right."""
        header = fields.PROXY_AUTHORIZATION if proxy else fields.AUTHORIZATION
        for value in request.headers.all(header):
            if value.scheme.lower() == "digest" and value.params.get("realm") == self._realm:
                return self._check_value(value, request, now)
        return Verdict.ABSENT, None

    def _check_value(self, value: AuthValue, request: Request, now: float) -> tuple[Verdict, str | None]:
        get = value.params.get
        username, nonce, response, uri = get("username"), get("nonce"), get("response"), get("uri")
        algorithm = (get("algorithm") or "MD5").upper()
        nc_text, cnonce, qop = get("nc") or "", get("cnonce"), get("qop")
        if not (username and nonce and response and uri and cnonce) or algorithm not in self._algorithms:
            return Verdict.WRONG, None
        if qop != "auth" or len(nc_text) != 8 or not all(c in "0123456789abcdefABCDEF" for c in nc_text):
            return Verdict.WRONG, None
        secret = self._lookup(username)
        ha1 = None if secret is None else secret.hash_for(self._realm, algorithm)
        if secret is None or ha1 is None:
            return Verdict.WRONG, None
        challenge = DigestChallenge(realm=self._realm, nonce=nonce, algorithm=algorithm, qop=("auth",))
        nc = int(nc_text, 16)
        given = DigestInput(method=request.method, uri=uri, body=request.body, cnonce=cnonce, nc=nc, qop=qop)
        if not compare_digest(
            digest_response(ha1, challenge, given).encode(), response.lower().encode("utf-8", "replace")
        ):
            return Verdict.WRONG, None
        known = self._nonces.get(nonce)
        if known is None or known[0] < now or nc <= known[1]:
            return Verdict.STALE, None
        self._nonces[nonce] = (known[0], nc)
        return Verdict.OK, username
