"""Small helpers for conference applications, under the names of the original SDK."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from sipproto.agent import stats as s
from sipproto.agent.outputs import Cause
from sipproto.conference import (
    PURGATORY,
    License,
    get_extra_headers,
    get_user_agent,
    has_peer_to_peer,
    has_purgatory,
)
from sipproto.connector.naming import SyncForced
from sipproto_client.connector_errors import ConnectorError, ErrorCode

if TYPE_CHECKING:
    from sipproto_client._call import Call
    from sipproto_client._emitter import Unsubscribe
    from sipproto_client._sip_connector import SipConnector

PURGATORY_CONFERENCE_NUMBER = PURGATORY


class StatsTypes(enum.StrEnum):
    """The types of statistics, as in W3C webrtc-stats."""

    INBOUND_RTP = s.InboundRtpStats.type
    REMOTE_OUTBOUND_RTP = s.RemoteOutboundRtpStats.type
    MEDIA_SOURCE = s.MediaSourceStats.type
    OUTBOUND_RTP = s.OutboundRtpStats.type
    REMOTE_INBOUND_RTP = s.RemoteInboundRtpStats.type
    CODEC = s.CodecStats.type
    CANDIDATE_PAIR = s.CandidatePairStats.type
    CERTIFICATE = s.CertificateStats.type
    TRANSPORT = s.TransportStats.type
    LOCAL_CANDIDATE = s.LocalCandidateStats.type
    REMOTE_CANDIDATE = s.RemoteCandidateStats.type


class MimeTypesVideoCodecs(enum.StrEnum):
    """Codecs by MIME type. Not every media engine has all of them."""

    VP8 = "video/VP8"
    VP9 = "video/VP9"
    H264 = "video/H264"
    AV1 = "video/AV1"
    RTX = "video/rtx"
    RED = "video/red"
    FLEXFEC_03 = "video/flexfec-03"


# -- errors ------------------------------------------------------------------------------------------------------------


class ErrorTypes(enum.StrEnum):
    """What an application tells its user about an error."""

    WRONG_USER_OR_PASSWORD = "WRONG_USER_OR_PASSWORD"
    BAD_MEDIA_ERROR = "BAD_MEDIA_ERROR"
    NOT_FOUND_ERROR = "NOT_FOUND_ERROR"
    WS_CONNECTION_FAILED = "WS_CONNECTION_FAILED"
    CONNECT_SERVER_FAILED_BY_LINK = "CONNECT_SERVER_FAILED_BY_LINK"
    CONNECT_SERVER_FAILED = "CONNECT_SERVER_FAILED"


_TYPES = {
    ErrorCode.WRONG_USER_OR_PASSWORD: ErrorTypes.WRONG_USER_OR_PASSWORD,
    ErrorCode.BAD_MEDIA: ErrorTypes.BAD_MEDIA_ERROR,
    ErrorCode.NOT_FOUND: ErrorTypes.NOT_FOUND_ERROR,
    ErrorCode.CONNECTION_FAILED: ErrorTypes.WS_CONNECTION_FAILED,
}
_CANCELED_CALL = (ErrorCode.CANCELED, ErrorCode.SUPERSEDED, ErrorCode.TIMEOUT, ErrorCode.REFUSED)


def get_link_error(error: BaseException) -> str | None:
    """What was to be reached or called, if the error knows."""
    return error.url if isinstance(error, ConnectorError) else None


def get_type_from_error(error: BaseException) -> ErrorTypes:
    """The kind of an error, by status and cause and not by phrases."""
    known = _TYPES.get(error.code) if isinstance(error, ConnectorError) else None
    if known is not None:
        return known
    return ErrorTypes.CONNECT_SERVER_FAILED_BY_LINK if get_link_error(error) else ErrorTypes.CONNECT_SERVER_FAILED


@frozen(kw_only=True)
class ErrorValues:
    """code, cause and message as texts, "" where there is nothing to say; link as of get_link_error."""

    code: str
    cause: str
    message: str
    link: str | None


def get_values_from_error(error: BaseException) -> ErrorValues:
    """What an error says, without secrets."""
    if isinstance(error, ConnectorError):
        cause = error.cause.value if error.cause is not None else ""
        return ErrorValues(code=error.code.value, cause=cause, message=error.detail, link=error.url)
    return ErrorValues(code="", cause="", message=type(error).__name__, link=None)


def has_canceled_call_error(error: BaseException) -> bool:
    """Whether a call came to nothing without a fault: given up, not answered in time, or declined."""
    return isinstance(error, ConnectorError) and error.code in _CANCELED_CALL


def has_canceled_start_presentation_error(error: BaseException) -> bool:
    """Whether a presentation was stopped before it had started."""
    return isinstance(error, ConnectorError) and error.code is ErrorCode.CANCELED


# -- calls -------------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class DtmfResult:
    """Of each key the result or the error, in their order. is_successful: all keys were sent, and there was one."""

    success: tuple[object, ...]
    errors: tuple[Exception, ...]
    results: tuple[object, ...]
    is_successful: bool
    is_error: bool


async def send_dtmf_accumulated(
    *,
    accumulated_keys: str,
    send_key: Callable[[str], Awaitable[object]],
    can_run_task: Callable[[], bool] = lambda: True,
) -> DtmfResult:
    """Sends keys one after the other; one that fails does not keep the next from being sent.

    can_run_task: asked before each key, which fails as NOT_POSSIBLE when the answer is no.
    """
    results: list[object] = []
    for key in accumulated_keys:
        try:
            if not can_run_task():
                raise ConnectorError(ErrorCode.NOT_POSSIBLE, "keys are not to be sent now")
            results.append(await send_key(key))
        except Exception as error:
            results.append(error)
    errors = tuple(result for result in results if isinstance(result, Exception))
    return DtmfResult(
        success=tuple(result for result in results if not isinstance(result, Exception)),
        errors=errors,
        results=tuple(results),
        is_successful=bool(results) and not errors,
        is_error=bool(errors),
    )


def get_codec_from_sender(call: Call, kind: str = "video", number: int = 0) -> str:
    """The MIME type that a line is sent with, the `number`th of its kind from 0; "" when there is none."""
    lines = [line for line in call.lines if line.kind == kind]
    return lines[number].codec if number < len(lines) else ""


def has_available_stats(sip_connector: SipConnector) -> bool:
    """Whether there is anything to measure: a connector without a media engine measures nothing."""
    return sip_connector.endpoint.has_media


_SYNCHRONIZED = {
    "main_cam": {"start": "api:admin-start-main-cam", "stop": "api:admin-stop-main-cam"},
    "mic": {"start": "api:admin-start-mic", "stop": "api:admin-stop-mic"},
}


class SyncMediaState:
    """What an administrator wants of camera and microphone, told apart by whether it is forced."""

    def __init__(self, sip_connector: SipConnector) -> None:
        self._connector = sip_connector
        self._subscriptions: list[Unsubscribe] = []

    def start(self, **handlers: Callable[[], object]) -> None:
        """Handlers, each without arguments: on_start_main_cam_forced, on_start_main_cam_not_forced, the same for `stop`, and
        all four for `mic`. Those of an earlier start are forgotten. Raises TypeError for another name.
        """
        self.stop()
        wanted = {
            f"on_{what}_{device}{suffix}": (event, forced)
            for device, events in _SYNCHRONIZED.items()
            for what, event in events.items()
            for suffix, forced in (("_forced", True), ("_not_forced", False))
        }
        if unknown := handlers.keys() - wanted.keys():
            raise TypeError(f"there is no {', '.join(sorted(unknown))}")
        for name, handler in handlers.items():
            self._subscribe(*wanted[name], handler)

    def _subscribe(self, event: str, forced: bool, handler: Callable[[], object]) -> None:
        def tell(sync: SyncForced) -> Any:
            return handler() if sync.is_sync_forced is forced else None

        self._subscriptions.append(self._connector.on(event, tell))

    def stop(self) -> None:
        for end in self._subscriptions:
            end()
        self._subscriptions.clear()


def create_sync_media_state(*, sip_connector: SipConnector) -> SyncMediaState:
    return SyncMediaState(sip_connector)


# -- diagnosis ---------------------------------------------------------------------------------------------------------

_logger = logging.getLogger("sipproto.connector")
_shown: list[logging.Handler] = []


def enable_debug(handler: logging.Handler | None = None) -> None:
    """Logs what connectors do, to standard error or to `handler`: one line for each input and output of the engine.

    No password, token, digit or text of people is in it. Records have the same as a mapping, `sipproto_event`.
    """
    disable_debug()
    shown = logging.StreamHandler() if handler is None else handler
    if handler is None:
        shown.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    _shown.append(shown)
    _logger.addHandler(shown)
    _logger.setLevel(logging.DEBUG)


def disable_debug() -> None:
    """Ends what `enable_debug` began."""
    while _shown:
        _logger.removeHandler(_shown.pop())
    _logger.setLevel(logging.NOTSET)


__all__ = [
    "PURGATORY_CONFERENCE_NUMBER",
    "Cause",
    "DtmfResult",
    "ErrorTypes",
    "ErrorValues",
    "License",
    "MimeTypesVideoCodecs",
    "StatsTypes",
    "SyncMediaState",
    "create_sync_media_state",
    "disable_debug",
    "enable_debug",
    "get_codec_from_sender",
    "get_extra_headers",
    "get_link_error",
    "get_type_from_error",
    "get_user_agent",
    "get_values_from_error",
    "has_available_stats",
    "has_canceled_call_error",
    "has_canceled_start_presentation_error",
    "has_peer_to_peer",
    "has_purgatory",
    "send_dtmf_accumulated",
]
