"""The registrar (RFC 3261 10.3): which user is where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define

from sipproto.auth import DigestServer, Verdict
from sipproto.message import NameAddr, Request, SipUri, Wildcard, fields
from sipproto.transaction import FlowId
from sipproto_server._config import UserChanged

MIN_EXPIRES, MAX_EXPIRES = 10, 3600
_MAX_BINDINGS = 10  # per user


class Reply(Protocol):
    """Answers without a transaction."""

    def __call__(
        self, request: Request, flow: FlowId, status: int, *, extra: list[tuple[str, object]] | None = None
    ) -> None: ...


@define(kw_only=True)
class Binding:
    contact: NameAddr
    flow: FlowId
    expires_at: float
    call_id: str
    cseq: int


class Registrar:
    """The bindings of all users. `names`: the hosts that are ours."""

    def __init__(
        self,
        digest: DigestServer,
        names: set[str],
        max_bindings: int,
        *,
        reply: Reply,
        tell: Callable[[UserChanged], None],
    ) -> None:
        self._digest = digest
        self._names = names
        self._max_bindings = max_bindings
        self._reply = reply
        self._tell = tell
        self._bindings: dict[str, list[Binding]] = {}

    @property
    def registered(self) -> dict[str, int]:
        """Users with the number of their bindings."""
        return {user: len(bindings) for user, bindings in self._bindings.items()}

    def next_timeout(self) -> float | None:
        return min((b.expires_at for bindings in self._bindings.values() for b in bindings), default=None)

    def bindings_of(self, user: str) -> tuple[Binding, ...]:
        return tuple(self._bindings.get(user, ()))

    def find(self, uri: SipUri) -> Binding | None:
        """By address of record the newest binding, else the one whose contact this is."""
        if uri.host in self._names:
            bindings = self._bindings.get(uri.username or "", [])
            return bindings[-1] if bindings else None
        return next((b for bindings in self._bindings.values() for b in bindings if _is_at(b, uri)), None)

    def register(self, request: Request, flow: FlowId, now: float) -> bool:
        """Answers a REGISTER; whether it came from whom it says."""
        check = self._digest.check(request, now)
        user = check.username
        if check.verdict is Verdict.OTHER_TARGET:
            self._reply(request, flow, 400)
            return False
        if user is None:
            challenges = self._digest.challenges(now, stale=check.verdict is Verdict.STALE)
            self._reply(request, flow, 401, extra=[("WWW-Authenticate", str(c)) for c in challenges])
            return False
        to = request.headers.require(fields.TO).sip_uri
        if to is None:
            self._reply(request, flow, 400)
            return False
        if to.username != user or to.host not in self._names:
            self._reply(request, flow, 403 if to.host in self._names else 404)
            return False
        unknown = [tag for tag in request.headers.all(fields.REQUIRE) if tag not in ("outbound", "path")]
        if unknown:
            self._reply(request, flow, 420, extra=[("Unsupported", ", ".join(unknown))])
            return False
        self._bind(request, user, flow, now, self._digest.info(check, now))
        return True

    def _bind(self, request: Request, user: str, flow: FlowId, now: float, proof: tuple[str, object]) -> None:
        headers = request.headers
        stated = headers.get(fields.EXPIRES)
        default = MAX_EXPIRES if stated is None else stated
        contacts = headers.all(fields.CONTACT)
        call_id, cseq = headers.require(fields.CALL_ID), headers.require(fields.CSEQ).number
        bindings = list(self._bindings.get(user, []))
        if any(isinstance(contact, Wildcard) for contact in contacts):
            if len(contacts) != 1 or default != 0:
                self._reply(request, flow, 400)
                return
            bindings = []
        for contact in contacts:
            if isinstance(contact, Wildcard):
                continue
            seconds = _contact_expires(contact, default)
            if 0 < seconds < MIN_EXPIRES:
                self._reply(request, flow, 423, extra=[("Min-Expires", MIN_EXPIRES)])
                return
            if not self._may_bind(user, contact):
                self._reply(request, flow, 403)
                return
            end = now + min(seconds, MAX_EXPIRES)
            fresh = [Binding(contact=contact, flow=flow, expires_at=end, call_id=call_id, cseq=cseq)] if seconds else []
            old = next((n for n, b in enumerate(bindings) if _same_binding(b.contact, contact)), None)
            if old is None:
                bindings += fresh
            elif bindings[old].call_id == call_id and bindings[old].cseq >= cseq:
                self._reply(request, flow, 500)
                return
            else:
                # In its place: a refresh must not change where the ACK or CANCEL of a call under way goes (16.11).
                bindings[old : old + 1] = fresh
        total = sum(len(b) for name, b in self._bindings.items() if name != user) + len(bindings)
        if len(bindings) > _MAX_BINDINGS or total > self._max_bindings:
            self._reply(request, flow, 503, extra=[("Retry-After", 60)])
            return
        self._store(user, bindings)
        listed: list[tuple[str, object]] = [
            ("Contact", str(b.contact.with_param("expires", str(max(1, round(b.expires_at - now)))))) for b in bindings
        ]
        self._reply(request, flow, 200, extra=[*listed, proof])

    def _may_bind(self, user: str, contact: NameAddr) -> bool:
        """The contact of another user would draw the requests in his calls away from him."""
        uri = contact.sip_uri
        others = (b for name, bindings in self._bindings.items() if name != user for b in bindings)
        return uri is None or not any(_is_at(binding, uri) for binding in others)

    def _store(self, user: str, bindings: list[Binding]) -> None:
        before = bool(self._bindings.get(user))
        if bindings:
            self._bindings[user] = bindings
        else:
            self._bindings.pop(user, None)
        if before != bool(bindings):
            contact = str(bindings[-1].contact.uri) if bindings else None
            self._tell(UserChanged(user=user, contact=contact))

    def expire(self, now: float) -> None:
        for user, bindings in list(self._bindings.items()):
            left = [binding for binding in bindings if binding.expires_at > now]
            if len(left) != len(bindings):
                self._store(user, left)

    def lose_flow(self, flow: FlowId) -> None:
        """A binding lives no longer than its connection (RFC 5626 5.3)."""
        for user, bindings in list(self._bindings.items()):
            left = [binding for binding in bindings if binding.flow != flow]
            if len(left) != len(bindings):
                self._store(user, left)


def _is_at(binding: Binding, uri: SipUri) -> bool:
    contact = binding.contact.sip_uri
    return contact is not None and (contact.user, contact.host) == (uri.user, uri.host)


def _contact_expires(contact: NameAddr, default: int) -> int:
    text = contact.params.get("expires") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else default


def _same_binding(one: NameAddr, two: NameAddr) -> bool:
    """By instance and reg-id where both have them (RFC 5626 6), else by the URI (RFC 3261 10.3)."""
    ours, theirs = one.params.get("+sip.instance"), two.params.get("+sip.instance")
    if ours and theirs:
        return ours == theirs and one.params.get("reg-id") == two.params.get("reg-id")
    return one.uri.equivalent(two.uri)
