"""The digest computation itself (RFC 7616 3.4, RFC 8760): no state, no choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote as percent_encode
from urllib.parse import unquote as percent_decode

from attrs import field, frozen

from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message import AuthValue, Params, QuotedStr, is_token

_Hash = Callable[[bytes], str]


def _available(names: dict[str, str]) -> dict[str, _Hash]:
    """Those of the algorithms (our name to hashlib's) that this build of Python has: SHA-512/256 is not in every one."""

    def hasher(name: str) -> _Hash:
        return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest()

    out: dict[str, _Hash] = {}
    for ours, theirs in names.items():
        try:
            hasher(theirs)(b"")
        except ValueError:
            continue  # a challenge with it is "not supported" then, and a weaker one beside it may be answered
        out[ours] = hasher(theirs)
    return out


# Strongest first: the order in which challenges are preferred (RFC 8760 2.4).
ALGORITHMS: dict[str, _Hash] = _available({"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"})


def octets_of(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def canonical_algorithm(stated: str | None) -> str | None:
    """The algorithm in its usual spelling, MD5 for None; None for one that we cannot compute."""
    base, dash, rest = (stated or "MD5").upper().partition("-SESS")
    return base + ("-sess" if dash else "") if base in ALGORITHMS and not rest else None


def strength(algorithm: str) -> int:
    """Higher is stronger; a -sess variant is as strong as its base."""
    return -list(ALGORITHMS).index(algorithm.removesuffix("-sess"))


@frozen(kw_only=True)
class DigestChallenge:
    """A challenge to answer (RFC 7616 3.3). `algorithm` is in canonical spelling, `qop` lists what is offered.

    `domain` is kept and does not count: a realm is unique in SIP, and is the protection space (RFC 3261 22.1).
    `utf8`: the server says that user names and passwords are UTF-8.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    userhash: bool = False
    utf8: bool = False
    domain: str | None = None

    @property
    def base_algorithm(self) -> str:
        return self.algorithm.removesuffix("-sess")

    @property
    def is_session(self) -> bool:
        return self.algorithm.endswith("-sess")

    @property
    def strength(self) -> int:
        """Higher is stronger."""
        return strength(self.algorithm)

    @property
    def chosen_qop(self) -> str | None:
        """`auth` where it is offered: a body may change on its way. None is RFC 2069's form, for servers without qop."""
        return None if not self.qop else "auth" if "auth" in self.qop else "auth-int"

    def __str__(self) -> str:
        """The value of a WWW-Authenticate or Proxy-Authenticate header."""
        params = Params((("realm", QuotedStr(self.realm)),))
        if self.domain is not None:
            params = params.with_("domain", QuotedStr(self.domain))
        params = params.with_("nonce", QuotedStr(self.nonce))
        if self.opaque is not None:
            params = params.with_("opaque", QuotedStr(self.opaque))
        params = params.with_("algorithm", self.algorithm)
        if self.qop:
            params = params.with_("qop", QuotedStr(",".join(self.qop)))
        if self.stale:
            params = params.with_("stale", "true")
        if self.userhash:
            params = params.with_("userhash", "true")
        if self.utf8:
            params = params.with_("charset", "UTF-8")
        return "Digest " + join_params(params)


def join_params(params: Params) -> str:
    """Parameters as they stand in a challenge or in credentials."""
    return ", ".join(str(Params((item,)))[1:] for item in params)


def parse_challenge(value: AuthValue) -> DigestChallenge:
    """A challenge from its header value.

    Raises MessageSyntaxError (BAD_CHALLENGE) for another scheme, an unknown algorithm or qop, a missing realm or nonce.
    """
    if value.scheme.lower() != "digest":
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"scheme {excerpt(value.scheme)} is not supported")
    get = value.params.get
    realm, nonce = get("realm"), get("nonce")
    if realm is None or nonce is None:
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, "no realm or no nonce")
    algorithm = canonical_algorithm(get("algorithm"))
    if algorithm is None:
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"algorithm {excerpt(get('algorithm') or '')} is not supported")
    qop = tuple(word.strip().lower() for word in (get("qop") or "").split(",") if word.strip())
    if qop and not {"auth", "auth-int"} & set(qop):
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"qop {excerpt(','.join(qop))} is not supported")
    return DigestChallenge(
        realm=realm,
        nonce=nonce,
        algorithm=algorithm,
        qop=qop,
        opaque=get("opaque"),
        stale=(get("stale") or "").lower() == "true",
        userhash=(get("userhash") or "").lower() == "true",
        utf8=(get("charset") or "").lower() == "utf-8",
        domain=get("domain"),
    )


def _writable(_: object, __: object, value: Any) -> None:
    try:
        octets = octets_of(value or "")
    except UnicodeEncodeError:
        raise LocalProtocolError("a user name, realm or password cannot be encoded") from None
    if b"\r" in octets or b"\n" in octets:  # not even a quoted-pair can hold them (RFC 3261 25.1)
        raise LocalProtocolError("a user name, realm or password holds a line end")


@frozen(kw_only=True)
class Secret:
    """A user name with a password, or with ready H(user:realm:password) values by (realm, algorithm).

    `realm` restricts the secret to one realm; None means any. The password is never shown. Text is taken as it is and
    encoded in UTF-8; for other letters than those of ASCII give it in NFC (RFC 7616 4).
    Raises LocalProtocolError for a line end in the user name, the realm or the password.
    """

    username: str = field(validator=_writable)
    password: str | None = field(default=None, repr=False, validator=_writable)
    realm: str | None = field(default=None, validator=_writable)
    ha1: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)

    def hash_for(self, realm: str, algorithm: str) -> str | None:
        """H(A1) without the session part; None when we cannot know it."""
        for known_realm, known_algorithm, value in self.ha1:
            if (known_realm, known_algorithm) == (realm, algorithm):
                return value
        if self.password is None or (self.realm is not None and self.realm != realm):
            return None
        return ALGORITHMS[algorithm](octets_of(f"{self.username}:{realm}:{self.password}"))


def userhash(username: str, realm: str, algorithm: str) -> str:
    """What stands for a user name that is not to be read on the way (RFC 7616 3.4.4)."""
    return ALGORITHMS[algorithm.removesuffix("-sess")](octets_of(f"{username}:{realm}"))


@frozen(kw_only=True)
class DigestInput:
    """What one response is computed over, apart from the secret and the challenge.

    `session`: nonce and cnonce of the first request of the session, for the -sess algorithms (RFC 7616 3.4.2); None when
    this is the first.
    """

    method: str
    uri: str
    body: bytes
    cnonce: str
    nc: int
    qop: str | None
    session: tuple[str, str] | None = None


def digest_response(ha1: str, challenge: DigestChallenge, given: DigestInput) -> str:
    """The `response` value (RFC 7616 3.4.1; without qop RFC 2069's form, which 3.4.1 keeps for old servers).

    With an empty method and the body of the response it is the `rspauth` value (3.5): A2 is ":" uri there.
    """
    h = ALGORITHMS[challenge.base_algorithm]
    if challenge.is_session:
        nonce, cnonce = given.session or (challenge.nonce, given.cnonce)
        ha1 = h(octets_of(f"{ha1}:{nonce}:{cnonce}"))
    a2 = f"{given.method}:{given.uri}"
    if given.qop == "auth-int":
        a2 += ":" + h(given.body)
    ha2 = h(octets_of(a2))
    if given.qop is None:
        return h(octets_of(f"{ha1}:{challenge.nonce}:{ha2}"))
    return h(octets_of(f"{ha1}:{challenge.nonce}:{given.nc:08x}:{given.cnonce}:{given.qop}:{ha2}"))


def credentials_value(secret: Secret, ha1: str, challenge: DigestChallenge, given: DigestInput) -> str:
    """The value of an Authorization or Proxy-Authorization header."""
    items: list[tuple[str, str | None]] = [
        _username_param(secret.username, challenge),
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
    elif challenge.is_session:
        items.append(("cnonce", QuotedStr(given.cnonce)))
    if challenge.userhash:
        items.append(("userhash", "true"))
    return "Digest " + join_params(Params(items))


def _username_param(name: str, challenge: DigestChallenge) -> tuple[str, str]:
    if challenge.userhash:
        return "username", QuotedStr(userhash(name, challenge.realm, challenge.algorithm))
    if challenge.utf8 and not name.isascii():
        # RFC 7616 3.4, RFC 8187 3.2. Only to a server of that RFC: others know no such parameter, and in SIP a
        # quoted-string may hold UTF-8 (RFC 3261 25.1).
        return "username*", "UTF-8''" + percent_encode(octets_of(name), safe="!+-.`")
    return "username", QuotedStr(name)


def username_in(params: Params) -> str | None:
    """The user name in credentials, from either parameter; None when it is absent, doubled or not readable."""
    plain, extended = params.get("username"), params.get("username*")
    if extended is None or plain is not None:
        return plain if extended is None else None
    charset, _, encoded = extended.partition("'")
    if charset.upper() != "UTF-8" or not is_token(extended):
        return None
    try:
        return percent_decode(encoded.partition("'")[2], errors="strict")
    except UnicodeDecodeError:
        return None


__all__ = [
    "ALGORITHMS",
    "DigestChallenge",
    "DigestInput",
    "Secret",
    "canonical_algorithm",
    "credentials_value",
    "digest_response",
    "join_params",
    "octets_of",
    "parse_challenge",
    "strength",
    "userhash",
    "username_in",
]
