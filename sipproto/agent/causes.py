"""Why something failed or ended, and by whom."""

from __future__ import annotations

import enum

from attrs import frozen

from sipproto.message import Headers, Params, QuotedStr, TokenParams, fields


class Cause(enum.Enum):
    """Why something failed or ended. The values are stable: programs may depend on them."""

    TERMINATED = "terminated"  # a normal BYE
    CANCELED = "canceled"
    BUSY = "busy"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    UNAVAILABLE = "unavailable"
    NOT_FOUND = "not_found"
    ADDRESS_INCOMPLETE = "address_incomplete"
    INCOMPATIBLE_MEDIA = "incompatible_media"
    AUTHENTICATION_ERROR = "authentication_error"
    NO_PASSWORD = "no_password"  # a realm asks for credentials that we do not have
    REQUEST_TIMEOUT = "request_timeout"
    NO_ANSWER = "no_answer"
    NO_ACK = "no_ack"
    CONNECTION_ERROR = "connection_error"
    MEDIA_ERROR = "media_error"
    DIALOG_ERROR = "dialog_error"  # the peer does not know the call any more
    EXPIRED = "expired"  # the session was not refreshed in time
    SUPERSEDED = "superseded"  # a later command took the place of this one
    NOT_POSSIBLE = "not_possible"  # what was asked for cannot be done, or not as things are now
    SIP_FAILURE_CODE = "sip_failure_code"


_CAUSE_OF_STATUS = {
    401: Cause.AUTHENTICATION_ERROR,
    407: Cause.AUTHENTICATION_ERROR,
    404: Cause.NOT_FOUND,
    604: Cause.NOT_FOUND,
    408: Cause.REQUEST_TIMEOUT,
    410: Cause.UNAVAILABLE,
    430: Cause.UNAVAILABLE,
    480: Cause.UNAVAILABLE,
    424: Cause.ADDRESS_INCOMPLETE,
    484: Cause.ADDRESS_INCOMPLETE,
    481: Cause.DIALOG_ERROR,
    486: Cause.BUSY,
    600: Cause.BUSY,
    487: Cause.CANCELED,
    488: Cause.INCOMPATIBLE_MEDIA,
    606: Cause.INCOMPATIBLE_MEDIA,
    403: Cause.REJECTED,
    603: Cause.REJECTED,
    607: Cause.REJECTED,
    608: Cause.REJECTED,
}


def cause_of(status: int) -> Cause:
    """The cause that a final status stands for."""
    if 300 <= status < 400:
        return Cause.REDIRECTED
    return _CAUSE_OF_STATUS.get(status, Cause.SIP_FAILURE_CODE)


class ConnectFailure(enum.Enum):
    """What stood in the way of a connection, as far as those know who tried. The values are stable."""

    UNKNOWN_HOST = "unknown_host"
    REFUSED = "refused"  # nothing listens there
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"  # it does not verify
    HANDSHAKE = "handshake"  # what listens there speaks no SIP over WebSocket, or not with us


class Originator(enum.Enum):
    LOCAL = "local"
    REMOTE = "remote"


@frozen(kw_only=True)
class Reason:
    """Why a message was sent, as its sender has it (RFC 3326 2). protocol: in upper case, such as SIP or Q.850.

    cause: a status of SIP, or a code of that protocol; None when it does not say one. text: as it came, "" for none.
    """

    protocol: str
    cause: int | None = None
    text: str = ""

    def __str__(self) -> str:
        """The value as it stands in a header. Raises LocalProtocolError for what may not stand there."""
        given = (("cause", None if self.cause is None else str(self.cause)), ("text", QuotedStr(self.text) or None))
        params = Params((name, value) for name, value in given if value is not None)
        return str(TokenParams(self.protocol, params))


def reasons_of(headers: Headers) -> tuple[Reason, ...]:
    """Those of a message. What cannot be read is left out: it is for people, and no reason to refuse a CANCEL or BYE."""
    return tuple(_reason(value) for value in headers.entries(fields.REASON) if isinstance(value, TokenParams))


def _reason(value: TokenParams) -> Reason:
    cause = value.params.get("cause") or ""
    readable = cause.isascii() and cause.isdigit() and len(cause) <= 3  # those of SIP and Q.850 are no longer
    return Reason(
        protocol=value.value.upper(), cause=int(cause) if readable else None, text=value.params.get("text") or ""
    )
