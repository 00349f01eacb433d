"""Requests outside of dialogs: OPTIONS and MESSAGE; and what an application may put into any request."""

from __future__ import annotations

from sipproto.agent._hub import Exchange, Hub, outcome_of_auth
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause, cause_of
from sipproto.dialog import Pairs, build_request
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import Headers, Request, Response, parse_uri


def check_target(target: str) -> None:
    """Raises LocalProtocolError for a target that cannot stand in a request."""
    try:
        parse_uri(target)
    except MessageSyntaxError as error:
        raise LocalProtocolError(f"{target!r} is no address to call, e.g. sip:600@example.com: {error}") from None


def check_headers(headers: tuple[tuple[str, str], ...]) -> None:
    """Raises LocalProtocolError for a header that could end its line, or that is no header."""
    Headers(headers)


def send_alone(
    hub: Hub,
    method: str,
    command: CommandId,
    target: str,
    content: list[tuple[str, object]],
    body: bytes,
    timeout: float | None,
    *,
    any_final: bool,
) -> None:
    """A request outside of dialogs."""
    flow = hub.require_server_flow()
    check_target(target)
    if timeout is not None and not 0 < timeout <= 3600:
        raise LocalProtocolError("a time limit is more than 0 and at most 3600 s")
    local, call_id, first = hub.from_address(), hub.new_call_id(), hub.tokens.bits(16)
    numbers = iter(range(first, first + 1000))

    def build(credentials: Pairs) -> Request:
        extra = [*credentials, *content, *hub.common_headers()]
        return build_request(
            method,
            target,
            from_=local,
            to=f"<{target}>",
            call_id=call_id,
            cseq=next(numbers) + 1,
            extra=extra,
            body=body,
        )

    def final(response: Response) -> None:
        status = response.status
        challenged = status in (401, 407)
        if status < 300 or (any_final and not challenged):
            hub.succeed(command, status)
            return
        cause, detail = cause_of(status), f"{status} {response.reason}".strip()
        if challenged:
            cause, detail = outcome_of_auth(exchange)
        hub.fail(command, cause, detail, status)

    def failure(timed_out: bool) -> None:
        cause = Cause.REQUEST_TIMEOUT if timed_out else Cause.CONNECTION_ERROR
        hub.fail(command, cause, "no answer came in time" if timed_out else "the connection to the server was lost")

    exchange = Exchange(
        flow=flow,
        build=build,
        method=method,
        target=target,
        body=body,
        on_final=final,
        on_failure=failure,
        timeout=timeout if timeout is not None else hub.config.waits.request,
    )
    if not hub.start(exchange):
        failure(False)
