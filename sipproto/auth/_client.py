"""Answering challenges (RFC 3261 22.2, 22.3; RFC 7616; RFC 8760; RFC 8898)."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from hmac import compare_digest

from attrs import evolve, field, frozen

from sipproto.auth._bearer import BearerChallenge, BearerToken, parse_bearer_challenge
from sipproto.auth._digest import (
    DigestChallenge,
    DigestInput,
    Secret,
    credentials_value,
    digest_response,
    parse_challenge,
    strength,
)
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import AuthInfo, AuthValue, Field, Params, Request, Response, fields
from sipproto.tokens import TokenSource, token

_MAX_REALMS = 16  # a server that names a new realm each time must not make us remember them all
_MAX_NONCES = 8  # of one realm: as many requests may be under way with nonces that were replaced meanwhile
_MAX_TARGETS = 16  # addresses at which a password or a token was asked for
_MAX_GUARDED = 64  # realms whose algorithm must not become weaker; those that came first are kept

_Key = tuple[str, str]  # header and realm: the protection space
# A response may carry both kinds: a forking proxy puts the challenges of all branches together (RFC 3261 16.7 step 7).
_KINDS: dict[str, tuple[Field[AuthValue], Field[AuthValue], Field[AuthInfo]]] = {
    "Authorization": (fields.WWW_AUTHENTICATE, fields.AUTHORIZATION, fields.AUTHENTICATION_INFO),
    "Proxy-Authorization": (
        fields.PROXY_AUTHENTICATE,
        fields.PROXY_AUTHORIZATION,
        fields.PROXY_AUTHENTICATION_INFO,
    ),
}

Credential = Secret | BearerToken


class AuthOutcome(enum.Enum):
    """What a 401 or 407 means for the request that got it."""

    RETRY = "send the request again with credentials"
    REFUSED = "the credentials were sent and not accepted: wrong user or password"
    TOKEN_REFUSED = "the token was sent and not accepted: it has expired, or is for something else"
    DOWNGRADE = "the realm was answered with a stronger algorithm before, and offers only weaker ones now"
    WEAK = "only algorithms are offered that the policy does not allow"
    NO_SECRET = "there is no password or token for this realm"
    UNSUPPORTED = "no challenge can be answered: scheme, algorithm or qop is not supported"


# Of several realms the first of these counts: one refusal is one too many, one answer is worth a try.
_PRECEDENCE = (
    AuthOutcome.REFUSED,
    AuthOutcome.TOKEN_REFUSED,
    AuthOutcome.RETRY,
    AuthOutcome.DOWNGRADE,
    AuthOutcome.WEAK,
    AuthOutcome.NO_SECRET,
    AuthOutcome.UNSUPPORTED,
)


@frozen(kw_only=True)
class Challenged:
    """What `Authenticator.challenged` found. `bearer`: the challenges for which a token is missing or was refused."""

    outcome: AuthOutcome
    bearer: tuple[BearerChallenge, ...] = ()


class AnswerOutcome(enum.Enum):
    """What the response to a request with credentials says about them."""

    NOTHING = "nothing that can be checked"
    PROVEN = "the server has shown that it knows the password, too"
    NEXT_NONCE = "the server gave the next nonce"
    WRONG_PROOF = "the server does not know the password: it is not who it should be, or somebody changed its answer"


def _known_algorithms(_: object, __: object, value: tuple[str, ...]) -> None:
    unknown = set(value) - {"SHA-512-256", "SHA-256", "MD5"}
    if unknown or not value:
        raise LocalProtocolError(f"unknown digest algorithms: {', '.join(sorted(unknown)) or 'none at all'}")


@frozen(kw_only=True)
class AuthPolicy:
    """What may be answered.

    algorithms: names without -sess, in any order; leave out MD5 to forbid it. allow_downgrade: whether a realm that was
    answered with a stronger algorithm may later be answered with a weaker one.
    """

    algorithms: tuple[str, ...] = field(default=("SHA-512-256", "SHA-256", "MD5"), validator=_known_algorithms)
    allow_downgrade: bool = False


DEFAULT_POLICY = AuthPolicy()


class _DigestSession:
    """One realm behind one kind of challenge: the nonces in use and how often the last one was used.

    `first` is what the key of a -sess algorithm is made of (RFC 7616 3.4.2): it outlives the nonce it came with.
    `addressees`: for whom requests were that it was asked of. RFC 3261 22.2: what one of them asked for is shown unasked to
    that one alone, because who gets a digest can try passwords on it; a proxy's is shown with each request (22.3).
    """

    __slots__ = ("addressees", "challenge", "first", "ha1", "nc", "nonces", "proven", "secret")

    def __init__(self, challenge: DigestChallenge, secret: Secret, ha1: str, addressees: tuple[str, ...]) -> None:
        self.challenge = challenge
        self.secret = secret
        self.ha1 = ha1
        self.addressees = addressees
        self.nc = 0
        self.first: tuple[str, str] | None = None
        self.nonces: tuple[str, ...] = (challenge.nonce,)
        self.proven = False  # whether a request with these credentials was accepted

    def next_nonce(self, nonce: str) -> bool:
        """Takes it, unless it is known already: a 2xx comes more than once."""
        if nonce in self.nonces:
            return False
        self.challenge = evolve(self.challenge, nonce=nonce)
        self.nonces = (*self.nonces, nonce)[-_MAX_NONCES:]
        self.nc = 0
        return True


class _BearerSession:
    """A token that a server has asked for, and the Request-URIs at which one did.

    Unlike a digest it is worth something to whoever gets it: without being asked it goes to no callee, only where it
    was wanted before. Proxies, which are the same for all requests, get it with each.
    """

    __slots__ = ("secret", "targets")

    def __init__(self, secret: BearerToken, targets: tuple[str, ...]) -> None:
        self.secret = secret
        self.targets = targets


_Session = _DigestSession | _BearerSession


class Authenticator:
    """Keeps the nonces of each realm and writes credentials, also before being asked again (RFC 3261 22.2 on caching)."""

    def __init__(
        self, secrets: tuple[Credential, ...], tokens: TokenSource, policy: AuthPolicy = DEFAULT_POLICY
    ) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self._policy = policy
        self._sessions: dict[_Key, _Session] = {}
        # Nonces that were accepted once, or belong to secrets that were replaced: a refusal of them says nothing.
        self._retired: dict[_Key, tuple[str, ...]] = {}
        self._guarded: dict[_Key, str] = {}  # the strongest algorithm that each realm was answered with

    # -- what the application does -----------------------------------------------------------------------------------

    def set_secrets(self, secrets: tuple[Credential, ...]) -> None:
        """Takes other secrets, e.g. a renewed token, and drops every nonce.

        A request that is under way with the old ones is tried again with the new. Algorithms that served a realm before
        stay the weakest that will, as long as the new secrets can serve them.
        """
        for key, session in self._sessions.items():
            if isinstance(session, _DigestSession):
                self._retire(key, session.nonces)
        self._sessions.clear()
        self._secrets = secrets
        self._guarded = {
            key: algorithm
            for key, algorithm in self._guarded.items()
            if self._secret_for(key[1], algorithm) is not None
        }

    def forget(self) -> None:
        """Drops every nonce: for a new connection."""
        self._sessions.clear()
        self._retired.clear()

    # -- requests ----------------------------------------------------------------------------------------------------

    def credentials(
        self, method: str, uri: str, body: bytes, *, to: str | None = None, secure: bool = False
    ) -> list[tuple[str, str]]:
        """(header name, value) for each realm that has asked for them: proxies, and whoever is asked with this To.

        to: the address in it; None: `uri`. secure: the request goes over TLS, tokens may go along.
        """
        out: list[tuple[str, str]] = []
        for (header, _), session in self._sessions.items():
            if isinstance(session, _BearerSession):
                if (secure or session.secret.plain_allowed) and (header != "Authorization" or uri in session.targets):
                    out.append((header, f"Bearer {session.secret.token}"))
                continue
            if header == "Authorization" and (to or uri) not in session.addressees:
                continue
            challenge = session.challenge
            session.nc += 1
            cnonce = token(self._tokens)
            if challenge.is_session:
                # One cnonce for the whole session: servers that take that of each request agree then, too.
                session.first = session.first or (challenge.nonce, cnonce)
                cnonce = session.first[1]
            given = DigestInput(
                method=method,
                uri=uri,
                body=body,
                cnonce=cnonce,
                nc=session.nc,
                qop=challenge.chosen_qop,
                session=session.first,
            )
            out.append((header, credentials_value(session.secret, session.ha1, challenge, given)))
        return out

    # -- challenges --------------------------------------------------------------------------------------------------

    def challenged(
        self, request: Request, response: Response, *, to: str | None = None, secure: bool = False
    ) -> Challenged:
        """Takes the challenges of a 401 or 407 to `request`, and says what to do about them. to: as for `credentials`.

        Of several challenges of a realm a token is preferred to a password (RFC 8898 2.1.1), then the strongest
        algorithm that there is a secret for counts (RFC 8760 2.4), whatever their order; challenges of several realms
        are all answered. The same realm again, not stale, after credentials were sent, means that they are wrong.
        """
        digest: dict[_Key, list[DigestChallenge]] = {}
        bearer: dict[_Key, BearerChallenge] = {}
        for header, (challenge_field, _, _) in _KINDS.items():
            for value in response.headers.all(challenge_field):
                challenge = _read(value)
                if isinstance(challenge, DigestChallenge):
                    digest.setdefault((header, challenge.realm), []).append(challenge)
                elif challenge is not None:
                    bearer.setdefault((header, challenge.realm), challenge)
        if response.status == 401:
            # It came from behind the proxies: they were content, unless one of another branch asks again.
            for session, params in self._sessions_in(request, "Proxy-Authorization"):
                session.proven |= ("Proxy-Authorization", params.get("realm") or "") not in digest
        outcomes: set[AuthOutcome] = set()
        unanswered: list[BearerChallenge] = []
        for key in dict.fromkeys((*digest, *bearer)):
            outcome = self._judge_bearer(key, bearer[key], request, secure) if key in bearer else AuthOutcome.NO_SECRET
            if outcome is not AuthOutcome.RETRY and key in bearer:
                unanswered.append(bearer[key])
            if outcome is AuthOutcome.NO_SECRET and key in digest:
                outcome = self._judge_digest(key, digest[key], request, to or request.target)
            outcomes.add(outcome)
        outcome = next((known for known in _PRECEDENCE if known in outcomes), AuthOutcome.UNSUPPORTED)
        return Challenged(outcome=outcome, bearer=tuple(unanswered))

    def _judge_bearer(self, key: _Key, challenge: BearerChallenge, request: Request, secure: bool) -> AuthOutcome:
        mine = next(
            (
                secret
                for secret in self._secrets
                if isinstance(secret, BearerToken) and secret.fits(challenge) and (secure or secret.plain_allowed)
            ),
            None,
        )
        if mine is None:
            self._drop_bearer(key)
            return AuthOutcome.NO_SECRET
        if any(value.token68 == mine.token for value in _credentials_in(request, key[0], "bearer")):
            self._drop_bearer(key)
            return AuthOutcome.TOKEN_REFUSED
        session = self._sessions.get(key)
        known = session.targets if isinstance(session, _BearerSession) and session.secret == mine else ()
        self._remember(key, _BearerSession(mine, (*known, request.target)[-_MAX_TARGETS:]))
        return AuthOutcome.RETRY

    def _judge_digest(self, key: _Key, offers: list[DigestChallenge], request: Request, to: str) -> AuthOutcome:
        allowed = [offer for offer in offers if offer.base_algorithm in self._policy.algorithms]
        if not allowed:
            return AuthOutcome.WEAK
        # A ready hash serves one algorithm only: a challenge that it cannot answer is no stronger than none.
        served = [offer for offer in allowed if self._secret_for(offer.realm, offer.base_algorithm) is not None]
        if not served:
            return AuthOutcome.NO_SECRET
        best = max(served, key=lambda offer: offer.strength)
        guarded = self._guarded.get(key)
        if guarded is not None and best.strength < strength(guarded) and not self._policy.allow_downgrade:
            return AuthOutcome.DOWNGRADE
        session = self._sessions.get(key)
        proven = session.nonces if isinstance(session, _DigestSession) and session.proven else ()
        used = {
            value.params.get("nonce")
            for value in _credentials_in(request, key[0], "digest")
            if value.params.get("realm") == key[1]
        }
        # RFC 7616 3.3: stale means that only the nonce was refused. Once: a server must offer another nonce then.
        # LENIENT: some servers do not say so; a nonce that was good before has grown old rather than the password.
        grown_old = best.stale or not used.isdisjoint((*proven, *self._retired.get(key, ())))
        if used and (not grown_old or best.nonce in used):
            self._sessions.pop(key, None)
            return AuthOutcome.REFUSED
        secret = self._secret_for(best.realm, best.base_algorithm)
        ha1 = None if secret is None else secret.hash_for(best.realm, best.base_algorithm)
        assert secret is not None and ha1 is not None
        self._retire(key, proven)
        known = session.addressees if isinstance(session, _DigestSession) else ()
        addressees = (*(one for one in known if one != to), to)[-_MAX_TARGETS:]
        self._remember(key, _DigestSession(best, secret, ha1, addressees))
        if guarded is None or best.strength > strength(guarded):
            self._guard(key, best.base_algorithm)
        return AuthOutcome.RETRY

    # -- answers -----------------------------------------------------------------------------------------------------

    def answered(self, request: Request, response: Response) -> AnswerOutcome:
        """Takes what any response but a challenge says about the credentials of its request (RFC 7616 3.5).

        Call it for every response. Other outcomes than WRONG_PROOF ask for nothing; after that one the nonce is not
        taken, and the application should know. The response counts all the same: an attacker would leave the proof out.
        """
        if response.status in (100, 401, 407):
            return AnswerOutcome.NOTHING
        outcome = AnswerOutcome.NOTHING
        for header, (_, _, info_field) in _KINDS.items():
            if response.status != 403:
                self._mark_accepted(request, header)
            info = response.headers.get(info_field)
            if info is None:
                continue
            found = self._take_info(header, request, info, response.body)
            if found is AnswerOutcome.WRONG_PROOF:
                return found
            outcome = outcome if found is AnswerOutcome.NOTHING else found
        return outcome

    def _take_info(self, header: str, request: Request, info: AuthInfo, body: bytes) -> AnswerOutcome:
        sent = list(self._sessions_in(request, header))
        if len(sent) > 1:  # the header names no realm: only the cnonce tells which credentials are meant
            sent = [one for one in sent if one[1].get("cnonce") == info.cnonce]
        if len(sent) != 1:
            return AnswerOutcome.NOTHING
        session, params = sent[0]
        if info.rspauth is not None and not _is_proof(session, params, info, body):
            return AnswerOutcome.WRONG_PROOF
        if info.nextnonce is not None and session.next_nonce(info.nextnonce):
            return AnswerOutcome.NEXT_NONCE
        return AnswerOutcome.NOTHING if info.rspauth is None else AnswerOutcome.PROVEN

    def _mark_accepted(self, request: Request, header: str) -> None:
        for session, _ in self._sessions_in(request, header):
            session.proven = True

    def _sessions_in(self, request: Request, header: str) -> Iterator[tuple[_DigestSession, Params]]:
        """The digest credentials of a request that belong to sessions which are still known."""
        for value in _credentials_in(request, header, "digest"):
            session = self._sessions.get((header, value.params.get("realm") or ""))
            if isinstance(session, _DigestSession) and value.params.get("nonce") in session.nonces:
                yield session, value.params

    # -- what is kept ------------------------------------------------------------------------------------------------

    def _secret_for(self, realm: str, algorithm: str) -> Secret | None:
        """A secret for just this realm before one for any."""
        fitting = [
            secret
            for secret in self._secrets
            if isinstance(secret, Secret) and secret.hash_for(realm, algorithm) is not None
        ]
        return max(fitting, key=lambda secret: secret.realm is not None, default=None)

    def _remember(self, key: _Key, session: _Session) -> None:
        self._sessions.pop(key, None)
        if len(self._sessions) >= _MAX_REALMS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[key] = session

    def _drop_bearer(self, key: _Key) -> None:
        if isinstance(self._sessions.get(key), _BearerSession):
            del self._sessions[key]

    def _retire(self, key: _Key, nonces: tuple[str, ...]) -> None:
        if nonces:
            kept = (*self._retired.pop(key, ()), *nonces)[-_MAX_NONCES:]
            if len(self._retired) >= _MAX_REALMS:
                del self._retired[next(iter(self._retired))]
            self._retired[key] = kept

    def _guard(self, key: _Key, algorithm: str) -> None:
        if key in self._guarded or len(self._guarded) < _MAX_GUARDED:
            self._guarded[key] = algorithm


def _read(value: AuthValue) -> DigestChallenge | BearerChallenge | None:
    """A challenge that we know how to answer; None for any other."""
    try:
        return parse_bearer_challenge(value) if value.scheme.lower() == "bearer" else parse_challenge(value)
    except MessageSyntaxError:
        return None


def _credentials_in(request: Request, header: str, scheme: str) -> list[AuthValue]:
    return [value for value in request.headers.all(_KINDS[header][1]) if value.scheme.lower() == scheme]


def _is_proof(session: _DigestSession, params: Params, info: AuthInfo, body: bytes) -> bool:
    """Whether `rspauth` is what only somebody who knows the password can say about this very request (RFC 7616 3.5)."""
    challenge = evolve(session.challenge, nonce=params.get("nonce") or "")
    sent_qop, cnonce, nc = params.get("qop"), params.get("cnonce") or "", int(params.get("nc") or "0", 16)
    if info.cnonce not in (None, cnonce) or info.nc not in (None, nc):
        return False
    qop = None if sent_qop is None else info.qop or sent_qop
    given = DigestInput(
        method="", uri=params.get("uri") or "", body=body, cnonce=cnonce, nc=nc, qop=qop, session=session.first
    )
    expected = digest_response(session.ha1, challenge, given)
    return compare_digest(expected.encode(), (info.rspauth or "").lower().encode("utf-8", "replace"))
