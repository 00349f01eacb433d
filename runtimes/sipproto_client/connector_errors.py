"""What commands of a connector fail with: one kind of error, with a stable code."""

from __future__ import annotations

import enum

from sipproto.agent.outputs import Cause
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto_client.errors import CommandError, EndpointClosed


class ErrorCode(enum.StrEnum):
    """Why a command failed. Each is a text, too: `error.code == "CONNECTION_FAILED"`."""

    CONNECTION_FAILED = "CONNECTION_FAILED"  # the server cannot be reached, or was lost
    WRONG_USER_OR_PASSWORD = "WRONG_USER_OR_PASSWORD"
    NOT_FOUND = "NOT_FOUND"  # there is no such number
    BUSY = "BUSY"
    UNAVAILABLE = "UNAVAILABLE"  # known, but not there now
    REFUSED = "REFUSED"  # the server or the peer says no
    BAD_MEDIA = "BAD_MEDIA"  # no kind of media that both sides can do
    MEDIA_FAILED = "MEDIA_FAILED"  # our media engine
    TIMEOUT = "TIMEOUT"
    CANCELED = "CANCELED"  # given up
    SUPERSEDED = "SUPERSEDED"  # a later command took its place
    CALL_ENDED = "CALL_ENDED"  # by the other side, before the command was through
    NOT_POSSIBLE = "NOT_POSSIBLE"  # not as things are now, or not with these values
    CLOSED = "CLOSED"  # the connector is over
    FAILED = "FAILED"  # any other answer of the server: see `status`


_C = ErrorCode
_CODES = {
    Cause.TERMINATED: _C.CALL_ENDED,
    Cause.CANCELED: _C.CANCELED,
    Cause.BUSY: _C.BUSY,
    Cause.REJECTED: _C.REFUSED,
    Cause.REDIRECTED: _C.FAILED,
    Cause.UNAVAILABLE: _C.UNAVAILABLE,
    Cause.NOT_FOUND: _C.NOT_FOUND,
    Cause.ADDRESS_INCOMPLETE: _C.NOT_FOUND,
    Cause.INCOMPATIBLE_MEDIA: _C.BAD_MEDIA,
    Cause.AUTHENTICATION_ERROR: _C.WRONG_USER_OR_PASSWORD,
    Cause.NO_PASSWORD: _C.WRONG_USER_OR_PASSWORD,
    Cause.REQUEST_TIMEOUT: _C.TIMEOUT,
    Cause.NO_ANSWER: _C.TIMEOUT,
    Cause.NO_ACK: _C.TIMEOUT,
    Cause.CONNECTION_ERROR: _C.CONNECTION_FAILED,
    Cause.MEDIA_ERROR: _C.MEDIA_FAILED,
    Cause.DIALOG_ERROR: _C.CALL_ENDED,
    Cause.EXPIRED: _C.CALL_ENDED,
    Cause.SUPERSEDED: _C.SUPERSEDED,
    Cause.NOT_POSSIBLE: _C.NOT_POSSIBLE,
    Cause.SIP_FAILURE_CODE: _C.FAILED,
}
_FORBIDDEN = 403


class ConnectorError(SipProtoError):
    """A command of a connector has failed.

    code: stable. detail: one line fit for a user, without secrets. cause: of the core, None when the command was not
    possible. status: the SIP status that said so, if one did. url: what was to be reached, or called, if that is known.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        cause: Cause | None = None,
        status: int | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.cause = cause
        self.status = status
        self.url = url

    def __repr__(self) -> str:
        status = f", status={self.status}" if self.status is not None else ""
        return f"ConnectorError({self.code.value}, {self.detail!r}{status})"


def code_of(cause: Cause, status: int | None = None, *, signing_in: bool = False) -> ErrorCode:
    """The code of a cause. signing_in: of a registration, where 403 means that we are not known by this password."""
    if signing_in and status == _FORBIDDEN:
        return ErrorCode.WRONG_USER_OR_PASSWORD
    return _CODES[cause]


def connector_error(error: SipProtoError, *, signing_in: bool = False, url: str | None = None) -> ConnectorError:
    """An error of the endpoint as one of the connector."""
    match error:
        case ConnectorError():
            return error
        case CommandError(cause=cause, status=status):
            code = code_of(cause, status, signing_in=signing_in)
            return ConnectorError(code, error.detail, cause=cause, status=status, url=url)
        case EndpointClosed():
            return ConnectorError(ErrorCode.CLOSED, str(error), url=url)
        case LocalProtocolError():
            return ConnectorError(ErrorCode.NOT_POSSIBLE, str(error), url=url)
        case _:
            return ConnectorError(ErrorCode.FAILED, str(error), url=url)
