"""Requests and responses out of their parts (RFC 3261 8.1.1, 8.2.6)."""

from __future__ import annotations

from collections.abc import Iterable

from sipproto.message import Headers, Request, Response, fields, reason_phrase

MAX_FORWARDS = 70
Pairs = Iterable[tuple[str, object]]


def build_request(
    method: str,
    target: str,
    *,
    from_: object,
    to: object,
    call_id: str,
    cseq: int,
    routes: Iterable[object] = (),
    extra: Pairs = (),
    body: bytes = b"",
) -> Request:
    """A request without its Via: that is added when the flow is known (18.1.1)."""
    pairs: list[tuple[str, object]] = [("Route", route) for route in routes]
    pairs += [
        ("Max-Forwards", MAX_FORWARDS),
        ("From", from_),
        ("To", to),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]
    pairs += extra
    pairs.append(("Content-Length", len(body)))
    return Request(method, target, Headers(pairs), body)


def build_response(
    request: Request,
    status: int,
    *,
    reason: str | None = None,
    to_tag: str | None = None,
    extra: Pairs = (),
    body: bytes = b"",
) -> Response:
    """A response to `request`: Via, From, Call-ID and CSeq are the request's, octet for octet.

    `to_tag` is added when the request's To has none, except to a 100 (8.2.6.2).
    """
    headers = request.headers
    pairs: list[tuple[str, object]] = [("Via", via) for via in headers.raw("Via")]
    if 101 <= status <= 299:
        pairs += [("Record-Route", route) for route in headers.raw("Record-Route")]
    pairs += [("From", value) for value in headers.raw("From")[:1]]
    to = headers.first("To")
    if to is not None:
        value = headers.get(fields.TO)
        if value is not None and value.tag is None and to_tag is not None and status > 100:
            to = f"{to};tag={to_tag}"
        pairs.append(("To", to))
    pairs += [(name, value) for name in ("Call-ID", "CSeq") for value in headers.raw(name)[:1]]
    if status == 100 and "Timestamp" in headers:
        pairs.append(("Timestamp", headers.first("Timestamp")))  # 8.2.6.1
    pairs += extra
    pairs.append(("Content-Length", len(body)))
    return Response(status, reason if reason is not None else reason_phrase(status), Headers(pairs), body)
