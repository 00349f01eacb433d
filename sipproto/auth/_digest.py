"""The digest computation itself (RFC 7616 3.4, RFC 8760): no state, no choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from attrs import field, frozen

from sipproto.errors import Fault, MessageSyntaxError
from sipproto.message import AuthValue, Params, QuotedStr


def _hasher(name: str) -> Callable[[bytes], str]:
    def digest(data: bytes) -> str:
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()

    return digest


# Strongest first: the order in which challenges are preferred (RFC 8760 2.4).
ALGORITHMS: dict[str, Callable[[bytes], str]] = {
    "SHA-512-256": _hasher("sha512_256"),
    "SHA-256": _hasher("sha256"),
    "MD5": _hasher("md5"),
}


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


@frozen(kw_only=True)
class DigestChallenge:
    """A challenge to answer (RFC 7616 3.3). `algorithm` is in canonical spelling, `qop` lists what is offered."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    userhash: bool = False

    @property
    def base_algorithm(self) -> str:
        return self.algorithm.removesuffix("-sess")

    @property
    def strength(self) -> int:
        """Higher is stronger."""
        return -list(ALGORITHMS).index(self.base_algorithm)

    def __str__(self) -> str:
        """The value of a WWW-Authenticate or Proxy-Authenticate header."""
        params = Params((("realm", QuotedStr(self.realm)), ("nonce", QuotedStr(self.nonce))))
        if self.opaque is not None:
            params = params.with_("opaque", QuotedStr(self.opaque))
        params = params.with_("algorithm", self.algorithm)
        if self.qop:
            params = params.with_("qop", QuotedStr(",".join(self.qop)))
        if self.stale:
            params = params.with_("stale", "true")
        if self.userhash:
            params = params.with_("userhash", "true")
        return "Digest " + _join(params)


def _join(params: Params) -> str:
    return ", ".join(str(Params((item,)))[1:] for item in params)


def parse_challenge(value: AuthValue) -> DigestChallenge:
    """A challenge from its header value.

    Raises MessageSyntaxError (BAD_CHALLENGE) for another scheme, an unknown algorithm or qop, a missing realm or nonce.
    """
    if value.scheme.lower() != "digest":
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"scheme {value.scheme} is not supported")
    get = value.params.get
    realm, nonce = get("realm"), get("nonce")
    if realm is None or nonce is None:
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, "no realm or no nonce")
    stated = get("algorithm") or "MD5"
    base, dash, sess = stated.upper().partition("-SESS")
    if base not in ALGORITHMS or sess:
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"algorithm {stated} is not supported")
    qop = tuple(word.strip().lower() for word in (get("qop") or "").split(",") if word.strip())
    if qop and not {"auth", "auth-int"} & set(qop):
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"qop {','.join(qop)} is not supported")
    return DigestChallenge(
        realm=realm,
        nonce=nonce,
        algorithm=base + ("-sess" if dash else ""),
        qop=qop,
        opaque=get("opaque"),
        stale=(get("stale") or "").lower() == "true",
        userhash=(get("userhash") or "").lower() == "true",
    )


@frozen(kw_only=True)
class Secret:
    """A user name with a password, or with ready H(user:realm:password) values by (realm, algorithm).

    `realm` restricts the secret to one realm; None means any. The password is never shown.
    """

    username: str
    password: str | None = field(default=None, repr=False)
    realm: str | None = None
    ha1: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)

    def hash_for(self, realm: str, algorithm: str) -> str | None:
        """H(A1) without the session part; None when we cannot know it."""
        for known_realm, known_algorithm, value in self.ha1:
            if (known_realm, known_algorithm) == (realm, algorithm):
                return value
        if self.password is None or (self.realm is not None and self.realm != realm):
            return None
        return ALGORITHMS[algorithm](_text(f"{self.username}:{realm}:{self.password}"))


@frozen(kw_only=True)
class DigestInput:
    """What one response is computed over, apart from the secret and the challenge."""

    method: str
    uri: str
    body: bytes
    cnonce: str
    nc: int
    qop: str | None


def digest_response(ha1: str, challenge: DigestChallenge, given: DigestInput) -> str:
    """The `response` value (RFC 7616 3.4.1; without qop RFC 2069's form, which 3.4.1 keeps for old servers)."""
    h = ALGORITHMS[challenge.base_algorithm]
    if challenge.algorithm.endswith("-sess"):
        ha1 = h(_text(f"{ha1}:{challenge.nonce}:{given.cnonce}"))
    a2 = f"{given.method}:{given.uri}"
    if given.qop == "auth-int":
        a2 += ":" + h(given.body)
    ha2 = h(_text(a2))
    if given.qop is None:
        return h(_text(f"{ha1}:{challenge.nonce}:{ha2}"))
    return h(_text(f"{ha1}:{challenge.nonce}:{given.nc:08x}:{given.cnonce}:{given.qop}:{ha2}"))


def credentials_value(secret: Secret, ha1: str, challenge: DigestChallenge, given: DigestInput) -> str:
    """The value of an Authorization or Proxy-Authorization header."""
    username = secret.username
    if challenge.userhash:
        username = ALGORITHMS[challenge.base_algorithm](_text(f"{username}:{challenge.realm}"))
    items: list[tuple[str, str | None]] = [
        ("username", QuotedStr(username)),
        ("realm", QuotedStr(challenge.realm)),
        ("nonce", QuotedStr(challenge.nonce)),
        ("uri", QuotedStr(given.uri)),
        ("response", QuotedStr(digest_response(ha1, challenge, given))),
        ("algorithm", challenge.algorithm),
    ]
    if challenge.opaque is not None:
        items.append(("opaque", QuotedStr(challenge.opaque)))
    if given.qop is not None:
        items += [("qop", given.qop), ("cnonce", QuotedStr(given.cnonce)), ("nc", f"{given.nc:08x}")]
    elif challenge.algorithm.endswith("-sess"):
        items.append(("cnonce", QuotedStr(given.cnonce)))
    if challenge.userhash:
        items.append(("userhash", "true"))
    return "Digest " + _join(Params(items))


__all__ = [
    "ALGORITHMS",
    "DigestChallenge",
    "DigestInput",
    "Secret",
    "credentials_value",
    "digest_response",
    "parse_challenge",
]
