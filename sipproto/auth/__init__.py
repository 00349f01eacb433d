"""Authentication: digest (RFC 7616, RFC 8760), both sides of it, and bearer tokens (RFC 8898)."""

from sipproto.auth._bearer import BearerChallenge, BearerToken, parse_bearer_challenge
from sipproto.auth._client import (
    AnswerOutcome,
    Authenticator,
    AuthOutcome,
    AuthPolicy,
    Challenged,
    Credential,
)
from sipproto.auth._digest import (
    ALGORITHMS,
    DigestChallenge,
    DigestInput,
    Secret,
    credentials_value,
    digest_response,
    parse_challenge,
    userhash,
)
from sipproto.auth._server import Check, DigestServer, Verdict

__all__ = [
    "ALGORITHMS",
    "AnswerOutcome",
    "AuthOutcome",
    "AuthPolicy",
    "Authenticator",
    "BearerChallenge",
    "BearerToken",
    "Challenged",
    "Check",
    "Credential",
    "DigestChallenge",
    "DigestInput",
    "DigestServer",
    "Secret",
    "Verdict",
    "credentials_value",
    "digest_response",
    "parse_bearer_challenge",
    "parse_challenge",
    "userhash",
]
