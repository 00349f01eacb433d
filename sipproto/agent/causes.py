"""Why something failed or ended, and by whom."""

from __future__ import annotations

import enum


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
