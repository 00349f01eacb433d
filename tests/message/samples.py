"""An ordinary request to change one thing of."""

from __future__ import annotations

from sipproto.message import Message, parse_message

LINES = (
    "INVITE sip:bob@example.com SIP/2.0",
    "Via: SIP/2.0/WSS a.invalid;branch=z9hG4bK1",
    "Max-Forwards: 70",
    "From: <sip:alice@example.com>;tag=a",
    "To: <sip:bob@example.com>",
    "Call-ID: c1",
    "CSeq: 1 INVITE",
    "Contact: <sip:alice@a.invalid>",
)


def octets(*more: str, without: str = "", start: str = LINES[0], body: bytes = b"") -> bytes:
    """The sample with more header lines, without those that start with `without`, with another start line or body."""
    lines = [start, *(line for line in LINES[1:] if not without or not line.startswith(without)), *more]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def message(*more: str, without: str = "", start: str = LINES[0], body: bytes = b"") -> Message:
    return parse_message(octets(*more, without=without, start=start, body=body))
