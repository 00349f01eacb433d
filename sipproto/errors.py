"""Errors, and whose fault they are.

    SipProtoError
      LocalProtocolError      the caller broke a rule; nothing has changed
      RemoteProtocolError     the peer broke a rule: `.fault` names it, `.status_hint` is the status to answer
        MessageSyntaxError    the octets are not the message or field they should be
        FramingError          a stream cannot be resynchronised: close the flow

Only the message functions (`parse_message`, `parse_uri` ...) raise remote errors. An engine never raises for what a peer
did: it answers with the fitting response and reports a `ProtocolViolated` event.
"""

from __future__ import annotations

import enum


class Fault(enum.Enum):
    """One member per rule that a peer can break, with the status that answers it (RFC 3261 21.4, 21.5).

    A status of 0 means that there is nothing to answer: the message is a response, or cannot be answered at all.
    """

    START_LINE = ("start-line", 0, "the start line is neither a request line nor a status line")
    INCOMPLETE = ("incomplete", 400, "the message ends before its headers or its body are complete")
    STRAY_LINE_END = ("stray-line-end", 400, "a CR or LF stands alone in the header section")
    HEADER_LINE = ("header-line", 400, "a header line has no colon or no valid name")
    REQUEST_URI = ("request-uri", 400, "the Request-URI is malformed")
    VERSION = ("version", 505, "the SIP version is not 2.0")
    MISSING_HEADER = ("missing-header", 400, "a mandatory header is absent")
    REPEATED_HEADER = ("repeated-header", 400, "a header that may stand once stands more often")
    BAD_HEADER = ("bad-header", 400, "a header value is malformed")
    BAD_URI = ("bad-uri", 400, "a URI is malformed")
    CSEQ_METHOD = ("cseq-method", 400, "the CSeq method is not the method of the request")
    UNKNOWN_METHOD = ("unknown-method", 501, "the method is not known here")
    CONTENT_LENGTH = ("content-length", 400, "Content-Length does not agree with the body")
    TOO_LARGE = ("too-large", 513, "the message is larger than the limit")
    TOO_MANY_HEADERS = ("too-many-headers", 400, "the message has more header lines than the limit")
    BAD_SDP = ("bad-sdp", 400, "the session description is malformed")
    BAD_CHALLENGE = ("bad-challenge", 0, "the authentication challenge cannot be answered")
    SERVER_PROOF = ("server-proof", 0, "the server does not prove that it knows the password")

    def __init__(self, code: str, status: int, text: str) -> None:
        self.code = code
        self.status = status
        self.text = text


class SipProtoError(Exception):
    """Base of every error of this library."""


class LocalProtocolError(SipProtoError):
    """The caller asked for something that is not allowed in this state. Nothing has changed."""


class RemoteProtocolError(SipProtoError):
    """The peer broke a rule.

    Attributes: `fault`, the rule; `detail`, what was found (safe to log: it never holds a whole message);
    `status_hint`, the status code to answer, 0 for none.
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(f"{fault.text}: {detail}" if detail else fault.text)
        self.fault = fault
        self.detail = detail

    @property
    def status_hint(self) -> int:
        return self.fault.status


class MessageSyntaxError(RemoteProtocolError):
    """Octets that are not what the grammar asks for. `field` is the header's name, when the fault is in one."""

    def __init__(self, fault: Fault, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(fault, f"{field}: {detail}" if field else detail)
        self.field = field


class FramingError(RemoteProtocolError):
    """The end of a message cannot be found in a stream (RFC 3261 18.3): the flow has to be closed.

    `before` holds the messages and keep-alives that the same octets completed before the fault.
    """

    def __init__(self, fault: Fault, detail: str = "", *, before: tuple[object, ...] = ()) -> None:
        super().__init__(fault, detail)
        self.before = before


def excerpt(text: str, limit: int = 60) -> str:
    """At most `limit` characters of `text`, with control characters escaped, fit for an error or a log line."""
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
