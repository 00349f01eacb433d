"""Challenging and checking (RFC 7616 3.3 to 3.5), for registrars and proxies made from the core."""

from __future__ import annotations

import enum
import hashlib
import hmac
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from hmac import compare_digest

from attrs import define, field, frozen

from sipproto.auth._digest import (
    DigestChallenge,
    DigestInput,
    Secret,
    canonical_algorithm,
    digest_response,
    octets_of,
    strength,
    username_in,
)
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import AuthInfo, AuthValue, Params, Request, fields, parse_uri
from sipproto.tokens import TokenSource, token

NONCE_LIFE = 300.0  # seconds
_MAX_NONCES = 10_000
_WINDOW = 64  # how far a nonce count may lag behind the highest: requests overtake each other
_RENEW_AT = 0.75  # of a nonce's life: from then on the next one is given with the answer
_NC = re.compile(r"[0-9A-Fa-f]{8}")
_NONCE = re.compile(r"([0-9a-f]{1,16})\.([a-z2-7]{13})\.([0-9a-f]{32})")


class Verdict(enum.Enum):
    """The result of checking a request's credentials."""

    OK = "accepted"
    ABSENT = "no credentials for this realm"
    STALE = "the nonce is too old or unknown, or was used for this already; the password may be right"
    WRONG = "wrong user or password, or credentials that are not as asked for"
    OTHER_TARGET = "the credentials are right, and for another Request-URI: answer 400 (RFC 7616 3.4.6)"


@frozen(kw_only=True)
class _Accepted:
    """What the server's own proof is made of."""

    ha1: str = field(repr=False)
    challenge: DigestChallenge
    given: DigestInput
    proxy: bool


@frozen(kw_only=True)
class Check:
    """The verdict on a request; `username` is set when it is OK. Give the whole to `DigestServer.info`."""

    verdict: Verdict
    username: str | None = None
    accepted: _Accepted | None = field(default=None, repr=False)


@define(kw_only=True)
class _Used:
    """A nonce that somebody who knows a password has used: which counts of it, and the session it belongs to."""

    issued: int
    session: tuple[str, str] | None
    highest: int = 0
    seen: int = 0  # bit n: `highest` - n was used

    def take(self, nc: int) -> bool:
        """Whether this count is used for the first time."""
        ahead = nc - self.highest
        if ahead > 0:
            self.highest = nc
            self.seen = ((self.seen << min(ahead, _WINDOW)) | 1) & ((1 << _WINDOW) - 1)
            return True
        if -ahead >= _WINDOW or self.seen >> -ahead & 1:
            return False
        self.seen |= 1 << -ahead
        return True


class DigestServer:
    """Issues nonces and checks credentials of one realm.

    lookup: gives the Secret of a user name or None. lookup_hash: the same for a hashed name (`userhash`); when it is
    given, hashed names are asked for. algorithms: with or without -sess; they are offered strongest first.
    qop: `auth`, `auth-int` or both. nonce_life: seconds. forwarded: requests may come through proxies that change the
    Request-URI, so that it is not compared with that of the credentials (RFC 3261 22.4 item 6).

    A nonce says itself when it was made and that it is ours (an HMAC): nothing is kept for those who never answer. Of those
    that were used, each count serves once. Not for ACK and CANCEL, which carry the credentials of their INVITE, or none,
    and must not be challenged (RFC 3261 22.1).
    """

    def __init__(
        self,
        realm: str,
        lookup: Callable[[str], Secret | None],
        tokens: TokenSource,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        *,
        qop: tuple[str, ...] = ("auth",),
        lookup_hash: Callable[[str], Secret | None] | None = None,
        nonce_life: float = NONCE_LIFE,
        forwarded: bool = False,
    ) -> None:
        """Raises LocalProtocolError for an algorithm or a qop that is not known."""
        if not algorithms or any(canonical_algorithm(name) != name for name in algorithms):
            raise LocalProtocolError(f"these digest algorithms cannot all be offered: {', '.join(algorithms)}")
        if not qop or not set(qop) <= {"auth", "auth-int"}:
            raise LocalProtocolError("qop is auth, auth-int or both")
        self._realm = realm
        self._lookup = lookup
        self._lookup_hash = lookup_hash
        self._tokens = tokens
        self._algorithms = tuple(sorted(algorithms, key=strength, reverse=True))
        self._qop = qop
        self._life = math.ceil(nonce_life * 1000)
        self._forwarded = forwarded
        self._key = token(tokens, 52).encode()
        self._used: OrderedDict[str, _Used] = OrderedDict()
        self._forgotten = -1  # nonces made until then serve only if they are still in `_used`

    # -- challenges --------------------------------------------------------------------------------------------------

    def challenges(self, now: float, *, stale: bool = False) -> tuple[DigestChallenge, ...]:
        """One challenge per algorithm, in order of preference (RFC 8760 2.3), all with one fresh nonce.

        `now`: seconds of a clock that goes forward only, 0 or more.
        """
        nonce = self._new_nonce(now)
        return tuple(
            DigestChallenge(
                realm=self._realm,
                nonce=nonce,
                algorithm=algorithm,
                qop=self._qop,
                stale=stale,
                userhash=self._lookup_hash is not None,
                utf8=True,
            )
            for algorithm in self._algorithms
        )

    def _new_nonce(self, now: float) -> str:
        start = f"{_millis(now):x}.{token(self._tokens)}"
        return f"{start}.{self._mac(start)}"

    def _mac(self, start: str) -> str:
        return hmac.new(self._key, octets_of(f"{start} {self._realm}"), hashlib.sha256).hexdigest()[:32]

    def _issued(self, nonce: str, now: float) -> int | None:
        """When a nonce of ours that still lives was made."""
        match = _NONCE.fullmatch(nonce)
        if match is None or not compare_digest(self._mac(f"{match[1]}.{match[2]}"), match[3]):
            return None
        issued = int(match[1], 16)
        return issued if 0 <= _millis(now) - issued <= self._life else None

    # -- checking ----------------------------------------------------------------------------------------------------

    def check(self, request: Request, now: float, *, proxy: bool = False) -> Check:
        """The verdict on a request's credentials, and the user name when they are right.

        Answer ABSENT, STALE and WRONG with the `challenges`, with `stale` for STALE.
        """
        header = fields.PROXY_AUTHORIZATION if proxy else fields.AUTHORIZATION
        for value in request.headers.all(header):
            if value.scheme.lower() == "digest" and value.params.get("realm") == self._realm:
                return self._check_value(value, request, now, proxy)
        return Check(verdict=Verdict.ABSENT)

    def _check_value(self, value: AuthValue, request: Request, now: float, proxy: bool) -> Check:
        get = value.params.get
        nonce, response, algorithm = get("nonce") or "", get("response") or "", canonical_algorithm(get("algorithm"))
        given = self._input(value.params, request)
        if given is None or algorithm is None or algorithm not in self._algorithms:
            return Check(verdict=Verdict.WRONG)
        secret = self._secret(value.params)
        ha1 = None if secret is None else secret.hash_for(self._realm, algorithm.removesuffix("-sess"))
        challenge = DigestChallenge(realm=self._realm, nonce=nonce, algorithm=algorithm, qop=self._qop)
        # Also for users who do not exist, so that the time it takes does not tell.
        expected = digest_response(ha1 or "0" * 64, challenge, given)
        right = compare_digest(expected.encode(), octets_of(response.lower()))
        issued = self._issued(nonce, now)
        if secret is None or ha1 is None or not right:
            # The session of a nonce that is gone is gone with it: its credentials can no longer be told from wrong ones.
            lost = challenge.is_session and issued is None
            return Check(verdict=Verdict.STALE if lost else Verdict.WRONG)
        if not self._forwarded and not _is_for(given.uri, request):
            return Check(verdict=Verdict.OTHER_TARGET)
        if issued is None or not self._take(nonce, issued, given, now):
            return Check(verdict=Verdict.STALE)
        accepted = _Accepted(ha1=ha1, challenge=challenge, given=given, proxy=proxy)
        return Check(verdict=Verdict.OK, username=secret.username, accepted=accepted)

    def _input(self, params: Params, request: Request) -> DigestInput | None:
        """What the response should have been computed over; None when something is missing (RFC 7616 3.4)."""
        nonce, uri, cnonce, qop = params.get("nonce"), params.get("uri"), params.get("cnonce"), params.get("qop")
        nc = params.get("nc") or ""
        if not nonce or not uri or not cnonce or qop not in self._qop or not _NC.fullmatch(nc) or int(nc, 16) == 0:
            return None
        used = self._used.get(nonce)
        return DigestInput(
            method=request.method,
            uri=uri,
            body=request.body,
            cnonce=cnonce,
            nc=int(nc, 16),
            qop=qop,
            session=(used and used.session) or (nonce, cnonce),
        )

    def _secret(self, params: Params) -> Secret | None:
        name = username_in(params)
        if name is None:
            return None
        if (params.get("userhash") or "").lower() != "true":
            return self._lookup(name)
        return None if self._lookup_hash is None else self._lookup_hash(name.lower())

    def _take(self, nonce: str, issued: int, given: DigestInput, now: float) -> bool:
        used = self._used.get(nonce)
        if used is None:
            if issued <= self._forgotten:
                return False
            used = self._hold(nonce, _Used(issued=issued, session=given.session), now)
        return used.take(given.nc)

    def _hold(self, nonce: str, used: _Used, now: float) -> _Used:
        """Keeps account of a nonce; when there is no room, the oldest ones serve no more."""
        oldest = _millis(now) - self._life
        while self._used and (len(self._used) >= _MAX_NONCES or next(iter(self._used.values())).issued < oldest):
            _, gone = self._used.popitem(last=False)
            self._forgotten = max(self._forgotten, gone.issued)
        self._used[nonce] = used
        return used

    # -- after the check ---------------------------------------------------------------------------------------------

    def info(self, check: Check, now: float, body: bytes = b"") -> tuple[str, str]:
        """(name, value) of the header to put into the 2xx with this `body` to a request that was accepted (RFC 7616 3.5).

        It proves that we know the password, too, and gives the next nonce when the present one is near its end.
        Raises LocalProtocolError for a check that was not OK.
        """
        accepted = check.accepted
        if accepted is None:
            raise LocalProtocolError("credentials that were not accepted are not answered with a proof")
        given, challenge = accepted.given, accepted.challenge
        proof = DigestInput(
            method="",
            uri=given.uri,
            body=body,
            cnonce=given.cnonce,
            nc=given.nc,
            qop=given.qop,
            session=given.session,
        )
        used, following = self._used.get(challenge.nonce), None
        if used is not None and _millis(now) - used.issued >= self._life * _RENEW_AT:
            following = self._new_nonce(now)
            if challenge.is_session:  # its key stays that of the first nonce
                self._hold(following, _Used(issued=_millis(now), session=used.session), now)
        value = AuthInfo(
            nextnonce=following,
            rspauth=digest_response(accepted.ha1, challenge, proof),
            qop=given.qop,
            cnonce=given.cnonce,
            nc=given.nc,
        )
        return ("Proxy-Authentication-Info" if accepted.proxy else "Authentication-Info"), str(value)


def _millis(now: float) -> int:
    return max(0, math.floor(now * 1000))


def _is_for(uri: str, request: Request) -> bool:
    """Whether credentials for `uri` may stand in this request (RFC 7616 3.4.6).

    A strict router puts the Request-URI at the end of the routes (RFC 3261 16.4): it is found there, too.
    """
    if uri == request.target:
        return True
    try:
        meant = parse_uri(uri)
        if meant.equivalent(parse_uri(request.target)):
            return True
    except MessageSyntaxError:
        return False
    routes = request.headers.all(fields.ROUTE)
    return bool(routes) and meant.equivalent(routes[-1].uri)
