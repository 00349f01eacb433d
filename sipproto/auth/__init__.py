"""Digest authentication: challenges, credentials, and both sides of the exchange (RFC 7616, RFC 8760)."""

from sipproto.auth._client import Authenticator, AuthOutcome
from sipproto.auth._digest import (
    ALGORITHMS,
    DigestChallenge,
    DigestInput,
    Secret,
    credentials_value,
    digest_response,
    parse_challenge,
)
from sipproto.auth._server import DigestServer, Verdict

__all__ = [
    "ALGORITHMS",
    "AuthOutcome",
    "Authenticator",
    "DigestChallenge",
    "DigestInput",
    "DigestServer",
    "Secret",
    "Verdict",
    "credentials_value",
    "digest_response",
    "parse_challenge",
]
