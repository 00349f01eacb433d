"""Bearer tokens (RFC 8898, RFC 6750): the secret and the challenge that asks for one."""

from __future__ import annotations

import re

from attrs import field, frozen

from sipproto.auth._digest import join_params
from sipproto.errors import Fault, LocalProtocolError, MessageSyntaxError, excerpt
from sipproto.message import AuthValue, Params, QuotedStr

# b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (RFC 6750 2.1)
_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]++=*+")


def _is_b64token(_: object, __: object, value: str) -> None:
    if not _B64TOKEN.fullmatch(value):
        raise LocalProtocolError("a bearer token consists of letters, digits, -._~+/ and = at its end")


@frozen(kw_only=True)
class BearerToken:
    """An access token that the application has fetched. It is never shown.

    `realm` restricts it to one realm, `authz_server` to challenges that name this authorization server; None means any.
    `plain_allowed`: it may go over a connection without TLS. RFC 8898 5 wants TLS, or a token that is encrypted itself.
    Raises LocalProtocolError for what is no b64token (RFC 6750 2.1).
    """

    token: str = field(repr=False, validator=_is_b64token)
    realm: str | None = None
    authz_server: str | None = None
    plain_allowed: bool = False

    def fits(self, challenge: BearerChallenge) -> bool:
        """Whether it may be given to who sent this challenge."""
        return self.realm in (None, challenge.realm) and self.authz_server in (None, challenge.authz_server)


@frozen(kw_only=True)
class BearerChallenge:
    """What a server wants a token for (RFC 8898 4).

    `scope`: the scopes to ask for. `authz_server`: where to get a token; check it against those you trust before you go
    there (RFC 8898 2.1.1). `error`: what is wrong with the token that was sent, e.g. `invalid_token` (RFC 6750 3.1).
    """

    realm: str = ""
    scope: tuple[str, ...] = ()
    authz_server: str | None = None
    error: str | None = None

    def __str__(self) -> str:
        """The value of a WWW-Authenticate or Proxy-Authenticate header."""
        items = [("realm", self.realm)]
        if self.scope:
            items.append(("scope", " ".join(self.scope)))
        if self.authz_server is not None:
            items.append(("authz_server", self.authz_server))
        if self.error is not None:
            items.append(("error", self.error))
        return "Bearer " + join_params(Params((name, QuotedStr(value)) for name, value in items))


def parse_bearer_challenge(value: AuthValue) -> BearerChallenge:
    """A challenge from its header value. Raises MessageSyntaxError (BAD_CHALLENGE) for another scheme or a bare token."""
    if value.scheme.lower() != "bearer" or value.token68:
        raise MessageSyntaxError(Fault.BAD_CHALLENGE, f"no Bearer challenge: {excerpt(value.scheme)}")
    get = value.params.get
    return BearerChallenge(
        realm=get("realm") or "",
        scope=tuple((get("scope") or "").split()),
        authz_server=get("authz_server"),
        error=get("error"),
    )
