"""Requests outside of dialogs: OPTIONS and MESSAGE; and what an application may put into any request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent._hub import ALLOW, Exchange, Hub, outcome_of_auth
from sipproto.agent._incoming import ACCEPTED_BODIES
from sipproto.agent._part import Part
from sipproto.agent.inputs import CommandId, SendMessage, SendOptions
from sipproto.agent.outputs import Cause, MessageReceived, cause_of
from sipproto.dialog import Pairs, build_request
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import Headers, Request, Response, fields, parse_uri
from sipproto.transaction import RequestReceived


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
            routes=hub.service_route,
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


class Alone(Part):
    """OPTIONS and MESSAGE, both ways."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {SendMessage: self._send_message, SendOptions: self._send_options}

    def requests(self) -> Mapping[str, Callable[[RequestReceived], None]]:
        return {"OPTIONS": self._options, "MESSAGE": self._message}

    def _send_message(self, command: SendMessage) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        content: list[tuple[str, object]] = [("Content-Type", command.content_type), *command.headers]
        send_alone(self._hub, "MESSAGE", command.command, command.target, content, command.body, None, any_final=False)

    def _send_options(self, command: SendOptions) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        content = [*capabilities(self._hub), *command.headers]
        if command.body:
            content.append(("Content-Type", command.content_type))
        send_alone(
            self._hub,
            "OPTIONS",
            command.command,
            command.target,
            content,
            command.body,
            command.timeout,
            any_final=True,
        )

    def _options(self, received: RequestReceived) -> None:
        self._hub.respond(received, 200, extra=capabilities(self._hub))

    def _message(self, received: RequestReceived) -> None:
        request, hub = received.request, self._hub
        if not hub.config.accept_messages:
            hub.respond(received, 405, extra=[("Allow", ALLOW)])
            return
        sender = request.headers.require(fields.FROM)
        hub.respond(received, 200)
        hub.emit(
            MessageReceived(
                from_uri=str(sender.uri),
                display_name=sender.display_name,
                content_type=request.headers.first("Content-Type") or "",
                body=request.body,
            )
        )


def capabilities(hub: Hub) -> list[tuple[str, object]]:
    """What OPTIONS says of us, in either direction (11.2)."""
    accept = ", ".join(ACCEPTED_BODIES)
    return [("Accept", accept), ("Allow", ALLOW), ("Supported", hub.supported()), *hub.allow_events()]
