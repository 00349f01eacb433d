"""What every request has to pass before anyone acts on it (RFC 3261 8.2), and the answers when it does not."""

from __future__ import annotations

from sipproto.agent._hub import ALLOW, SUPPORTED, Hub
from sipproto.message import KNOWN_METHODS, MediaType, Request, SipUri, fields
from sipproto.transaction import RequestReceived

ACCEPTED_BODIES = ("application/sdp",)
_HANDLED = frozenset(ALLOW.split(", "))
# Which Content-Types a method takes; None: any. Others are answered 415.
_BODIES: dict[str, tuple[str, ...] | None] = {
    "INVITE": ACCEPTED_BODIES,
    "UPDATE": ACCEPTED_BODIES,
    "PRACK": ACCEPTED_BODIES,
}
_OPTIONS = frozenset(SUPPORTED.split(", "))


def refusal(hub: Hub, received: RequestReceived) -> tuple[int, list[tuple[str, object]]] | None:
    """Status and headers of the answer to a request that must not be acted on; None when it may. In the order of 8.2."""
    request = received.request
    if request.method not in KNOWN_METHODS:
        return 501, [("Allow", ALLOW)]
    if request.method not in _HANDLED:
        return 405, [("Allow", ALLOW)]
    to = request.headers.get(fields.TO)
    in_dialog = to is not None and to.tag is not None
    uri = request.uri
    if not isinstance(uri, SipUri):
        return 416, []
    if not in_dialog and not _is_for_us(hub, uri):
        return 404, []
    if hub.transactions.is_merged(received.transaction):
        return 482, []
    if request.method not in ("CANCEL", "ACK"):  # 8.2.2.3
        unknown = [tag for tag in request.headers.all(fields.REQUIRE) if tag.lower() not in _OPTIONS]
        if unknown:
            return 420, [("Unsupported", ", ".join(unknown))]
    return _body_refusal(request)


def _is_for_us(hub: Hub, uri: SipUri) -> bool:
    return hub.config.any_user or uri.user is None or uri.user in (hub.config.uri.user, hub.contact_user)


def _body_refusal(request: Request) -> tuple[int, list[tuple[str, object]]] | None:
    """8.2.3; and 406 when the peer accepts no session description in return (20.1)."""
    if request.headers.all(fields.CONTENT_ENCODING) not in ((), ("identity",)):
        return 415, [("Accept-Encoding", "identity")]
    accepted = _BODIES.get(request.method)
    if request.body and accepted is not None:
        media_type = request.headers.get(fields.CONTENT_TYPE)
        if media_type is None or media_type.essence not in accepted:
            return 415, [("Accept", ", ".join(accepted))]
    if request.method == "INVITE" and "Accept" in request.headers:
        return None if any(map(_covers, request.headers.all(fields.ACCEPT))) else (406, [])
    return None


def _covers(range_: MediaType) -> bool:
    return range_.essence in ("*/*", "application/*", "application/sdp")


def warning(detail: str) -> tuple[str, object]:
    """Says why a session description was refused, as 488 should (RFC 3261 21.4.26)."""
    quoted = "".join(c if c.isprintable() and c not in '"\\' else "?" for c in detail)
    return "Warning", f'399 sipproto "{quoted}"'
