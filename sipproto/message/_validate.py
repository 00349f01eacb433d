"""What a well-formed message must also satisfy before anyone acts on it, and the status that answers a breach.

Kept apart from parsing: a request that fails here can still be answered (RFC 3261 8.1.1, 8.2, 18.3, 20.1 table 2).
"""

from __future__ import annotations

from typing import Any

from sipproto.errors import Fault, MessageSyntaxError
from sipproto.message import _fields as f
from sipproto.message._message import KNOWN_METHODS, Message, Request
from sipproto.message._uri import SipUri

_MANDATORY: tuple[f.Field[Any], ...] = (f.VIA, f.FROM, f.TO, f.CALL_ID, f.CSEQ)
# Headers that may stand once only (20.1); a second one could be read differently by another element (`multi01`).
# Two of Replaces or Refer-To are refused by name (RFC 3891 3, RFC 3515 2.4.2).
_SINGLE = (
    f.FROM,
    f.TO,
    f.CALL_ID,
    f.CSEQ,
    f.MAX_FORWARDS,
    f.CONTENT_LENGTH,
    f.CONTENT_TYPE,
    f.REPLACES,
    f.REFER_TO,
)
# Optional headers whose value decides what a request does: malformed ones are answered 400 instead of being ignored.
# Of Via a request is answered along every value; of a response only the first concerns us.
_DECISIVE: tuple[f.Field[Any], ...] = (
    f.VIA,
    f.ROUTE,
    f.RECORD_ROUTE,
    f.REQUIRE,
    f.PROXY_REQUIRE,
    f.CONTENT_TYPE,
    f.REPLACES,
    f.RACK,
)


def validate(message: Message) -> MessageSyntaxError | None:
    """The first fault of a message, or None.

    A request with a fault is answered with `fault.status_hint`; a response with a fault is dropped.
    """
    try:
        _check(message)
    except MessageSyntaxError as error:
        return error
    return None


def _check(message: Message) -> None:
    headers = message.headers
    if message.version.upper() != "SIP/2.0":
        raise MessageSyntaxError(Fault.VERSION, message.version)
    if isinstance(message, Request) and headers.defects:
        raise headers.defects[0]
    for single in _SINGLE:
        if headers.count(single.key) > 1:
            raise MessageSyntaxError(Fault.REPEATED_HEADER, single.name)
    for mandatory in _MANDATORY:
        headers.require(mandatory)
    if "content-length" in headers and headers.require(f.CONTENT_LENGTH) > len(message.body):
        raise MessageSyntaxError(Fault.INCOMPLETE, "the body is shorter than Content-Length")
    if isinstance(message, Request):
        _check_request(message)


def _check_request(request: Request) -> None:
    headers = request.headers
    cseq = headers.require(f.CSEQ)
    if cseq.method != request.method:
        # 8.1.1.5; `mismatch02`: for a method nobody knows, 501 tells the peer more.
        known = request.method in KNOWN_METHODS
        raise MessageSyntaxError(Fault.CSEQ_METHOD if known else Fault.UNKNOWN_METHOD, f"{request.method}, {cseq}")
    try:
        uri = request.uri
    except MessageSyntaxError as error:
        raise MessageSyntaxError(Fault.REQUEST_URI, error.detail) from None
    if isinstance(uri, SipUri) and uri.headers:
        # 19.1.1 table 1: no headers in a Request-URI; they must not become headers of the request (`escruri`).
        raise MessageSyntaxError(Fault.REQUEST_URI, "headers in the Request-URI")
    for decisive in _DECISIVE:
        if (fault := headers.fault(decisive)) is not None:
            raise fault
    # 8.1.1.8: a dialog needs a Contact that requests can be sent to; a registrar must store what it was given.
    needs_contact = request.method in ("INVITE", "SUBSCRIBE", "REGISTER", "REFER", "UPDATE")
    if needs_contact and (fault := headers.fault(f.CONTACT)) is not None:
        raise fault
    via = headers.require(f.VIA)
    if via.branch == "z9hG4bK":
        raise MessageSyntaxError(Fault.BAD_HEADER, "the branch has nothing after its magic cookie", field="Via")
