"""Octets to messages. Only what keeps a message from being one is an error here; the rest is for `validate`."""

from __future__ import annotations

import re

from attrs import frozen

from sipproto.errors import Fault, MessageSyntaxError, excerpt
from sipproto.message._abnf import TOKEN, is_token
from sipproto.message._fields import CONTENT_LENGTH
from sipproto.message._message import _KEYS, KNOWN_METHODS, Headers, Message, Request, Response, header_key

# Request-Line = Method SP Request-URI SP SIP-Version CRLF
# LENIENT: spaces after the version are dropped (`trws` of RFC 4475); they are never written again.
_REQUEST_LINE = re.compile(rf"({TOKEN}) (.+?) ((?i:SIP)/[0-9]+\.[0-9]+) *+", re.DOTALL)
# Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF. LENIENT: the last SP may be missing.
_STATUS_LINE = re.compile(r"((?i:SIP)/[0-9]+\.[0-9]+) ([1-6][0-9][0-9])(?: (.*))?", re.DOTALL)
_STATUS = {str(status): status for status in range(100, 700)}
_LINE_END = re.compile(r"\r\n(?![ \t])")
_LEADING_LINE_ENDS = re.compile(rb"(?:\r\n)*+")


@frozen(kw_only=True)
class MessageLimits:
    """What a peer can make us hold. Passing a limit is a fault with a name, never a crash.

    max_size: octets of a whole message. max_headers: header lines. max_line: octets of one header line.
    """

    max_size: int = 256 * 1024
    max_headers: int = 512
    max_line: int = 64 * 1024


DEFAULT_LIMITS = MessageLimits()


def parse_message(data: bytes | bytearray | memoryview, limits: MessageLimits = DEFAULT_LIMITS) -> Message:
    """Parses one whole message: a datagram or a WebSocket message (RFC 3261 18.3, RFC 7118 5).

    Octets past Content-Length are dropped; a body shorter than that is left to `validate`. Header lines that are none
    are kept in `headers.defects`, so that a request can still be answered.

    Raises MessageSyntaxError when there is no message: no start line, no end of the headers, a bare CR or LF among
    them, or a limit passed. The caller may answer nothing in that case.
    """
    if len(data) > limits.max_size:
        raise MessageSyntaxError(Fault.TOO_LARGE, f"{len(data)} octets")
    if type(data) is not bytes:
        data = bytes(data)
    head, gap, body = data.partition(b"\r\n\r\n")
    if gap and data[0] == 13:  # 7.5: line ends before the start line are ignored
        head, gap, body = _LEADING_LINE_ENDS.sub(b"", data, count=1).partition(b"\r\n\r\n")
    if not gap:
        raise MessageSyntaxError(Fault.INCOMPLETE, "no empty line after the headers")
    message = _parse_head(head, body, limits)
    if body:
        size = message.headers.get(CONTENT_LENGTH)  # a bad one is left to `validate`
        if size is not None and size < len(body):
            return with_body(message, body[:size])
    return message


def with_body(message: Message, body: bytes) -> Message:
    if isinstance(message, Request):
        return Request(message.method, message.target, message.headers, body, message.version)
    return Response(message.status, message.reason, message.headers, body, message.version)


def _parse_head(octets: bytes, body: bytes, limits: MessageLimits) -> Message:
    head = octets.decode("utf-8", "surrogateescape")
    lines = head.split("\r\n")
    # Every CR and every LF has to belong to a line end: anything else could become a header of its own further on.
    joined = "".join(lines)
    if "\n" in joined or "\r" in joined:
        raise MessageSyntaxError(Fault.STRAY_LINE_END)
    if len(lines) - 1 > limits.max_headers:
        raise MessageSyntaxError(Fault.TOO_MANY_HEADERS, str(len(lines) - 1))
    if len(head) > limits.max_line and max(map(len, lines)) > limits.max_line:
        raise MessageSyntaxError(Fault.TOO_LARGE, f"a header line of more than {limits.max_line} octets")
    start = lines.pop(0)
    headers = _index_headers(lines)
    if headers is None:  # a folded line (7.3.1): cut again, now only where no white space follows
        first, *lines = _LINE_END.split(head)
        headers = _index_headers(lines)
        if headers is None or first != start:  # 7.1: the start line itself cannot be folded
            raise MessageSyntaxError(Fault.START_LINE, repr(excerpt(first)))
    # The usual start lines by cutting alone; what is unusual goes through the grammar.
    method, _, rest = start.partition(" ")
    if method in KNOWN_METHODS:
        target, _, version = rest.partition(" ")
        if version == "SIP/2.0" and target:
            return Request(method, target, headers, body)
    elif method == "SIP/2.0" and rest[:3] in _STATUS and rest[3:4] == " ":
        return Response(_STATUS[rest[:3]], rest[4:], headers, body)
    match = _STATUS_LINE.fullmatch(start)
    if match is not None:
        return Response(int(match[2]), match[3] or "", headers, body, match[1])
    match = _REQUEST_LINE.fullmatch(start)
    if match is not None:
        return Request(match[1], match[2], headers, body, match[3])
    raise MessageSyntaxError(Fault.START_LINE, repr(excerpt(start)))


def _index_headers(lines: list[str]) -> Headers | None:
    """The index over header lines; None when a line is the continuation of the one before."""
    index: dict[str, tuple[str, ...]] = {}  # tuples: cheaper to make than lists, and nearly all have one value
    defects: list[MessageSyntaxError] = []
    known = _KEYS.get
    for line in lines:
        name, colon, value = line.partition(":")
        key = known(name)
        if key is None or not colon:
            if line[:1] in (" ", "\t"):
                return None
            # header-name HCOLON: white space before the colon is legal (25.1)
            name = name.rstrip(" \t")
            if not colon or not is_token(name):
                defects.append(MessageSyntaxError(Fault.HEADER_LINE, repr(excerpt(line))))
                continue
            key = header_key(name)
        if key in index:
            index[key] += (value,)
        else:
            index[key] = (value,)
    return Headers._parsed(lines, index, tuple(defects) if defects else ())
