"""Who is measured, and how each does the same work: parse, parse and read eleven fields, serialise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11
import sipmessage
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse

from sipproto.message import Request, fields, parse_message

Parse = Callable[[bytes], Any]
Access = Callable[[bytes], Any]


def ours(data: bytes) -> Any:
    return parse_message(data)


def ours_access(data: bytes) -> Any:
    """Eleven fields: target or status, Via, From tag, To, Call-ID, CSeq, Contact, Max-Forwards, type, length, Supported."""
    message = parse_message(data)
    get = message.headers.get
    via, from_, to, cseq = get(fields.VIA), get(fields.FROM), get(fields.TO), get(fields.CSEQ)
    assert via is not None and from_ is not None and to is not None and cseq is not None
    return (
        message.uri if isinstance(message, Request) else message.status,
        via.branch,
        from_.tag,
        to.uri,
        get(fields.CALL_ID),
        cseq.number,
        get(fields.CONTACT),
        get(fields.MAX_FORWARDS),
        get(fields.CONTENT_TYPE),
        get(fields.CONTENT_LENGTH),
        message.headers.all(fields.SUPPORTED),
    )


def of_sipmessage(data: bytes) -> Any:
    return sipmessage.Message.parse(data)


def of_sipmessage_access(data: bytes) -> Any:
    message = sipmessage.Message.parse(data)
    return (
        message.uri if isinstance(message, sipmessage.Request) else message.code,
        message.via[0].parameters.get("branch"),
        message.from_address.parameters.get("tag"),
        message.to_address.uri,
        message.call_id,
        message.cseq.sequence,
        message.contact,
        message.max_forwards,
        message.content_type,
        message.content_length,
        message.supported,
    )


def of_sippy(data: bytes) -> Any:
    text = data.decode()
    return SipResponse(text) if text.startswith("SIP/") else SipRequest(text)


def of_sippy_access(data: bytes) -> Any:
    message = of_sippy(data)
    names = ("via", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-type", "content-length")
    return [message.getHFBody(name) for name in names if message.countHFs(name)]


def of_h11(data: bytes) -> Any:
    """The same headers and body as an HTTP request: what a careful parser of the neighbourhood costs."""
    _, _, rest = data.partition(b"\r\n")
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: example.com\r\n" + rest)
    return connection.next_event(), connection.next_event()


PARSERS: dict[str, Parse] = {"sipproto": ours, "sipmessage": of_sipmessage, "sippy": of_sippy, "h11": of_h11}
ACCESSORS: dict[str, Access] = {
    "sipproto": ours_access,
    "sipmessage": of_sipmessage_access,
    "sippy": of_sippy_access,
}
WRITERS: dict[str, tuple[Parse, Callable[[Any], Any]]] = {
    "sipproto": (ours, lambda message: message.to_bytes()),
    "sipmessage": (of_sipmessage, bytes),
    "sippy": (of_sippy, str),
}
