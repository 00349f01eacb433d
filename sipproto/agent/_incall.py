"""What is exchanged inside a call: INFO, digits, statistics."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sipproto.agent._call_table import CallState
from sipproto.agent._hub import Exchange, outcome_of_auth
from sipproto.agent.inputs import (
    AnswerInfo,
    CommandId,
    DigitWay,
    GetStats,
    RequestKeyFrame,
    SendDtmf,
    SendInfo,
    SetParameters,
)
from sipproto.agent.media import (
    DIGITS,
    AskKeyFrame,
    CollectStats,
    DigitHeard,
    DigitSent,
    KeyFrameAsked,
    MediaFailed,
    MediaOperation,
    RequestId,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
    StatsCollected,
)
from sipproto.agent.outputs import Cause, DtmfReceived, InfoReceived, cause_of
from sipproto.dialog import Pairs
from sipproto.errors import LocalProtocolError
from sipproto.message import Headers, Request, Response, fields
from sipproto.negotiation import MediaLine
from sipproto.transaction import RequestReceived

if TYPE_CHECKING:
    from sipproto.agent._call import Call

_DIGITS = re.compile(r"[0-9A-D#*,]{1,64}")
_RELAY = re.compile(r"signal\s*=\s*([0-9A-D#*R])\s*(?:\r?\n|$)", re.IGNORECASE)
_DURATION = re.compile(r"duration\s*=\s*([0-9]{1,5})\b", re.IGNORECASE)
_PAUSE = 2.0  # seconds, for ","
_MAX_PENDING = 256
_MAX_ASKED = 64  # INFOs that wait for the answer of the application


class InCall:
    """The commands of a call that are under way, each with what it waits for."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._hub = call.hub
        self._pending: dict[CommandId, Exchange | None] = {}
        self._digits: deque[tuple[SendDtmf, str, bool]] = deque()  # command, digit, whether it is its last
        self._sending = False
        self._asked: dict[str, RequestReceived] = {}
        self._last_asked = 0

    # -- INFO --------------------------------------------------------------------------------------------------------

    def send_info(self, command: SendInfo) -> None:
        self._call.require(CallState.ESTABLISHED)
        self._hub.require_room()
        self._require_room()
        headers = command.headers
        if command.package is not None:  # RFC 6086 4.2.1, 5.1
            headers = (("Info-Package", command.package), ("Content-Disposition", "Info-Package"), *headers)
        self._info(
            command.command,
            command.content_type,
            command.body,
            headers,
            answered=lambda response: self._info_answered(command.command, response),
        )

    def _require_room(self) -> None:
        if len(self._pending) + len(self._digits) >= _MAX_PENDING:
            raise LocalProtocolError(f"more than {_MAX_PENDING} commands of this call are under way")

    def _info(
        self,
        command: CommandId,
        content_type: str,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
        *,
        answered: Callable[[Response], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        dialog, hub = self._call.dialog, self._hub
        assert dialog is not None

        def build(credentials: Pairs) -> Request:
            content: list[tuple[str, object]] = [("Content-Type", content_type)] if content_type else []
            extra = [*credentials, *hub.common_headers(), *headers, *content]
            return dialog.next_request("INFO", extra=extra, body=body)

        exchange = Exchange(
            flow=self._call.flow,
            build=build,
            method="INFO",
            target=dialog.remote_target,
            to=str(dialog.remote.uri),
            body=body,
            on_final=answered,
            on_failure=lambda timeout: self._info_lost(command, timeout, lost),
            timeout=hub.config.waits.info,
        )
        self._pending[command] = exchange
        if not hub.start(exchange):
            self._info_lost(command, False, lost)

    def _info_answered(self, command: CommandId, response: Response) -> None:
        exchange = self._pending.pop(command, None)
        status = response.status
        if status < 300:
            self._hub.succeed(command, status)
            return
        cause, detail = cause_of(status), f"{status} {response.reason}".strip()
        if status in (401, 407) and exchange is not None:
            cause, detail = outcome_of_auth(exchange)
        self._hub.fail(command, cause, detail, status)

    def _info_lost(self, command: CommandId, timeout: bool, lost: Callable[[], None]) -> None:
        # No more than the command fails: servers that never answer an INFO exist (12.2.1.2 would end the call).
        if self._pending.pop(command, None) is not None:
            cause = Cause.REQUEST_TIMEOUT if timeout else Cause.CONNECTION_ERROR
            detail = "the peer did not answer" if timeout else "the connection to the server was lost"
            self._hub.fail(command, cause, detail)
            lost()

    def info_received(self, received: RequestReceived) -> None:
        request = received.request
        package = request.headers.get(fields.INFO_PACKAGE)
        known = self._hub.config.info_packages
        if package is not None and package.value not in known:  # RFC 6086 4.2.2
            self._hub.respond(received, 469, extra=[("Recv-Info", ", ".join(known))])
            return
        media_type = request.headers.get(fields.CONTENT_TYPE)
        essence = "" if media_type is None else media_type.essence
        if package is None and essence in ("application/dtmf-relay", "application/dtmf"):
            self._hub.respond(received, 200)
            self._digit_received(essence, request.body)
        elif package is None and not essence and not request.body:
            self._hub.respond(received, 200)
        elif not self._hub.config.answer_infos:
            self._hub.respond(received, 200)
            self._tell(request, "")
        elif len(self._asked) >= _MAX_ASKED:
            self._hub.respond(received, 503)
        else:
            self._last_asked += 1
            info = f"info-{self._last_asked}"
            self._asked[info] = received
            self._hub.start_timer(
                self._timer_of(info), "answer", self._hub.config.waits.info_answer, lambda _: self._refuse_info(info)
            )
            self._tell(request, info)

    def _tell(self, request: Request, info: str) -> None:
        package = request.headers.get(fields.INFO_PACKAGE)
        self._hub.emit(
            InfoReceived(
                call=self._call.ident,
                content_type=request.headers.first("Content-Type") or "",
                body=request.body,
                package=None if package is None else package.value,
                headers=tuple(request.headers),
                info=info,
            )
        )

    def answer_info(self, command: AnswerInfo) -> None:
        if command.info not in self._asked:
            raise LocalProtocolError(f"no INFO {command.info!r} waits for an answer")
        if not 200 <= command.status <= 699:
            raise LocalProtocolError("an INFO is answered with a status of 200 to 699")
        if command.reason is not None:
            Headers([("Reason", command.reason)])  # raises LocalProtocolError: it will stand in the status line
        self._hub.respond(self._answered(command.info), command.status, reason=command.reason)
        self._hub.succeed(command.command)

    def _refuse_info(self, info: str, status: int = 480) -> None:
        self._hub.respond(self._answered(info), status)

    def _answered(self, info: str) -> RequestReceived:
        self._hub.forget_owner(self._timer_of(info), "answer")
        return self._asked.pop(info)

    def _timer_of(self, info: str) -> tuple[str, str, str]:
        return ("info", self._call.ident, info)

    def _digit_received(self, essence: str, body: bytes) -> None:
        text = body[:1024].decode("utf-8", "replace")
        digit, duration = text.strip()[:1], None
        if essence == "application/dtmf-relay":
            signal, stated = _RELAY.search(text), _DURATION.search(text)
            digit = signal[1] if signal else ""
            duration = int(stated[1]) if stated else None
        if digit:
            self._hub.emit(DtmfReceived(call=self._call.ident, digit=digit.upper(), duration=duration))

    # -- digits ------------------------------------------------------------------------------------------------------

    def send_dtmf(self, command: SendDtmf) -> None:
        self._call.require(CallState.ESTABLISHED)
        self._hub.require_room()
        self._require_room()
        if not _DIGITS.fullmatch(command.digits.upper()):
            raise LocalProtocolError('digits are 0-9 A-D # * and ",", at most 64 of them')
        if not 40 <= command.duration <= 6000 or not 0 <= command.gap <= 10:
            raise LocalProtocolError("a digit lasts 40 to 6000 ms, with a gap of at most 10 s")
        if command.way is DigitWay.RTP and self._event_line() is None:
            raise LocalProtocolError("the peer takes no telephone-event, or we send no audio")
        digits = command.digits.upper()
        for index, digit in enumerate(digits):
            self._digits.append((command, digit, index == len(digits) - 1))
        if not self._sending:
            self._sending = True
            self.next_digit()

    def next_digit(self) -> None:
        """Sends the next digit of the queue: the one before has been answered, and the gap is over."""
        if not self._digits:
            self._sending = False
            return
        command, digit, is_last = self._digits.popleft()
        if digit == ",":
            self._digit_done(command, is_last, _PAUSE)
            return
        line = None if command.way is DigitWay.INFO else self._event_line()
        if line is not None:
            self._digit_in_rtp(command, digit, is_last, line)
        elif command.way is DigitWay.RTP:
            self._digits_failed(
                command.command, Cause.MEDIA_ERROR, "no audio is sent any more, or no telephone-event taken"
            )
        else:
            self._digit_in_info(command, digit, is_last)

    def _event_line(self) -> MediaLine | None:
        """The line that digits go on: the first of audio that we send, if its peer takes them."""
        negotiator = self._call.session.negotiator
        agreed = negotiator.agreed if negotiator is not None else None
        lines = agreed.lines if agreed is not None else ()
        first = next((line for line in lines if line.kind == "audio" and line.direction.sends), None)
        return first if first is not None and first.telephone_event is not None else None

    def _digit_in_rtp(self, command: SendDtmf, digit: str, is_last: bool, line: MediaLine) -> None:
        codec = line.telephone_event
        assert codec is not None

        def sent(reply: object) -> None:
            self._pending.pop(command.command, None)
            if isinstance(reply, DigitSent):
                self._digit_done(command, is_last, command.gap)
            else:
                self._digits_failed(command.command, Cause.MEDIA_ERROR, _error_of(reply))

        def operation(request: RequestId) -> MediaOperation:
            event = DIGITS.index(digit)
            return SendDigit(
                request=request,
                call=self._call.ident,
                line=line.index,
                event=event,
                duration=command.duration,
                codec=codec,
            )

        self._ask_engine(command.command, operation, sent)

    def _digits_failed(self, command: CommandId, cause: Cause, detail: str) -> None:
        self._hub.fail(command, cause, detail)
        self._drop_digits(command)

    def digit_heard(self, heard: DigitHeard) -> None:
        if 0 <= heard.event < len(DIGITS):
            digit = DIGITS[heard.event]
            self._hub.emit(DtmfReceived(call=self._call.ident, digit=digit, duration=heard.duration, way=DigitWay.RTP))

    def _digit_in_info(self, command: SendDtmf, digit: str, is_last: bool) -> None:
        body = f"Signal={digit}\r\nDuration={command.duration}\r\n".encode()

        def answered(response: Response) -> None:
            if response.status >= 300:
                self._info_answered(command.command, response)
                self._drop_digits(command.command)
            else:
                self._pending.pop(command.command, None)
                self._digit_done(command, is_last, command.duration / 1000 + command.gap)

        def lost() -> None:
            self._drop_digits(command.command)

        self._info(command.command, "application/dtmf-relay", body, (), answered=answered, lost=lost)

    def _digit_done(self, command: SendDtmf, is_last: bool, pause: float) -> None:
        if is_last:
            self._hub.succeed(command.command)
        self._call.start_timer("dtmf", pause)

    def _drop_digits(self, command: CommandId) -> None:
        self._digits = deque(item for item in self._digits if item[0].command != command)
        if self._sending:
            self.next_digit()

    # -- what only the media engine has to do ------------------------------------------------------------------------

    def get_stats(self, command: GetStats) -> None:
        if self._call.is_over or not self._call.session.has_media:
            raise LocalProtocolError(f"call {self._call.ident!r} has no media of ours")
        self._command_engine(
            command.command,
            lambda request: CollectStats(request=request, call=self._call.ident),
            lambda reply: (reply.report,) if isinstance(reply, StatsCollected) else None,
        )

    def set_parameters(self, command: SetParameters) -> None:
        index = self._call.session.line(command.line).index
        self._command_engine(
            command.command,
            lambda request: SetSenderParameters(
                request=request, call=self._call.ident, line=index, parameters=command.parameters
            ),
            lambda reply: (reply.effective,) if isinstance(reply, SenderParametersSet) else None,
        )

    def request_key_frame(self, command: RequestKeyFrame) -> None:
        line = self._call.session.line(command.line)
        if line.kind != "video":
            raise LocalProtocolError(f"the line {command.line!r} is no video")
        self._command_engine(
            command.command,
            lambda request: AskKeyFrame(request=request, call=self._call.ident, line=line.index, ours=command.ours),
            lambda reply: (None,) if isinstance(reply, KeyFrameAsked) else None,
        )

    def _command_engine(
        self,
        command: CommandId,
        operation: Callable[[RequestId], MediaOperation],
        result_of: Callable[[object], tuple[object] | None],
    ) -> None:
        """A command that one operation carries out. `result_of`: of the reply, None when it is a failure."""
        if self._call.is_over:
            raise LocalProtocolError(f"call {self._call.ident!r} is over")
        self._require_room()

        def replied(reply: object) -> None:
            self._pending.pop(command, None)
            result = result_of(reply)
            if result is not None:
                self._hub.succeed(command, result[0])
            else:
                self._hub.fail(command, Cause.MEDIA_ERROR, _error_of(reply))

        self._ask_engine(command, operation, replied)

    def _ask_engine(
        self, command: CommandId, operation: Callable[[RequestId], MediaOperation], replied: Callable[[object], None]
    ) -> None:
        self._pending[command] = None
        self._hub.operate(operation(self._hub.next_media_request(self._call.ident, replied)))

    # -- the end -----------------------------------------------------------------------------------------------------

    def call_ended(self, cause: Cause, detail: str) -> None:
        for info in list(self._asked):
            self._refuse_info(info, 481)
        pending, self._pending = self._pending, {}
        for command, exchange in pending.items():
            self._hub.drop(exchange)
            self._hub.fail(command, cause, detail)
        waiting = dict.fromkeys(item[0].command for item in self._digits)
        self._digits.clear()
        for command in waiting:
            if command not in pending:
                self._hub.fail(command, cause, detail)


def _error_of(reply: object) -> str:
    return reply.error if isinstance(reply, MediaFailed) else "the media engine did not answer"
