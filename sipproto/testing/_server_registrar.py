"""The registrar of a scripted server: passwords are checked, and who is where is remembered."""

from __future__ import annotations

from collections.abc import Mapping

from sipproto.auth import DigestServer, Secret, Verdict
from sipproto.message import NameAddr, Request, Wildcard, fields
from sipproto.tokens import TokenSource
from sipproto.transaction import FlowId

_EXPIRES = 3600  # seconds, when the client does not say
Reply = tuple[int, list[tuple[str, object]]]  # status and headers


class ScriptedRegistrar:
    """users: passwords by name. Who is not among them is refused."""

    def __init__(self, realm: str, users: Mapping[str, str], tokens: TokenSource) -> None:
        self.users = dict(users)
        self.bindings: dict[str, tuple[FlowId, NameAddr]] = {}
        self._digest = DigestServer(realm, self._secret, tokens)

    def _secret(self, user: str) -> Secret | None:
        password = self.users.get(user)
        return None if password is None else Secret(username=user, password=password)

    def register(self, request: Request, flow: FlowId, now: float) -> Reply:
        check = self._digest.check(request, now)
        if check.verdict is not Verdict.OK or check.username is None:
            challenges = self._digest.challenges(now, stale=check.verdict is Verdict.STALE)
            return 401, [("WWW-Authenticate", str(challenge)) for challenge in challenges]
        headers = request.headers
        stated = headers.get(fields.EXPIRES)
        contacts = headers.all(fields.CONTACT)
        listed: list[tuple[str, object]] = []
        for contact in contacts:
            seconds = 0 if isinstance(contact, Wildcard) else _expires(contact, _EXPIRES if stated is None else stated)
            if isinstance(contact, NameAddr) and seconds:
                self.bindings[check.username] = flow, contact
                listed.append(("Contact", contact.with_param("expires", str(seconds))))
            else:
                self.bindings.pop(check.username, None)
        return 200, [*listed, self._digest.info(check, now)]

    def lose(self, flow: FlowId) -> None:
        """A binding lives no longer than its connection (RFC 5626 5.3)."""
        self.bindings = {user: bound for user, bound in self.bindings.items() if bound[0] != flow}


def _expires(contact: NameAddr, default: int) -> int:
    text = contact.params.get("expires") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else default
