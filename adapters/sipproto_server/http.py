"""The operator's HTTP API, for this machine only: docs/server.md. Needs the extra `sipproto[server]`.

Who may use it has to know its token. Web pages cannot, not even with it: requests with a foreign Host (DNS rebinding) or
with an Origin are refused before anything else is looked at.
"""

from __future__ import annotations

import enum
import hmac
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import sniffio
from attrs import Attribute, asdict
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sipproto_client.port import Runtime
from sipproto_server._commands import OperatorError, UnknownTarget
from sipproto_server._config import ServerOutput
from sipproto_server._operations import OPERATIONS, command_of
from sipproto_server._room import (
    ParticipantChanged,
    ParticipantEntered,
    ParticipantLeft,
    PermissionDecided,
    PermissionWanted,
    PresentationEnded,
    PresentationStarted,
    Undelivered,
)
from sipproto_server._server import Server

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MAX_BODY = 64 * 1024  # octets
_MAX_STREAMS = 16  # of events, at a time
_MAX_WAITING = 1000  # events of a stream; when there are more it is ended
_ALIVE = 15.0  # seconds of silence after which a stream says that it is there
_END = 2.0  # seconds in which requests under way may come to their end
_EVENTS = (
    ParticipantEntered, ParticipantChanged, ParticipantLeft, PermissionWanted, PermissionDecided, PresentationStarted,
    PresentationEnded, Undelivered,
)  # fmt: skip


class Guard:
    """Lets through who has the token and is on this machine: 403 for another Host or any Origin, 401 without the token."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {
            f"{host}{end}".encode() for host in ("127.0.0.1", "[::1]", "localhost") for end in (f":{port}", "")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan; there are no WebSockets
            await self._app(scope, receive, send)
            return
        problem = self._problem([(name.lower(), value) for name, value in scope["headers"]])
        await (problem or self._app)(scope, receive, send)

    def _problem(self, headers: list[tuple[bytes, bytes]]) -> Response | None:
        hosts = [value.lower() for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return JSONResponse({"error": "this host is not served"}, 403)
        if any(name == b"origin" for name, _ in headers):
            return JSONResponse({"error": "web pages are not served"}, 403)
        given = [value.partition(b" ") for name, value in headers if name == b"authorization"]
        if any(
            scheme.lower() == b"bearer" and hmac.compare_digest(rest.strip(), self._token) for scheme, _, rest in given
        ):
            return None
        return JSONResponse({"error": "the token is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})


class Api:
    """What is there to ask for. All of it runs on the event loop of the server."""

    def __init__(self, runtime: Runtime, server: Server) -> None:
        self._runtime = runtime
        self._server = server
        self._streams = 0
        self.app = Starlette(
            routes=[
                Route("/rooms", self._rooms),
                Route("/participants", self._participants),
                Route("/policy", self._policy),
                Route("/commands", self._commands),
                Route("/commands/{name}", self._command, methods=["POST"]),
                Route("/events", self._events),
            ]
        )

    async def _rooms(self, _: Request) -> Response:
        return JSONResponse([as_json(room) for room in self._server.core.rooms])

    async def _participants(self, _: Request) -> Response:
        return JSONResponse([as_json(one) for one in self._server.core.participants])

    async def _policy(self, _: Request) -> Response:
        return JSONResponse(as_json(self._server.core.policy))

    async def _commands(self, _: Request) -> Response:
        return JSONResponse(
            [
                {"name": name, "parameters": [a.name for a in operation.parameters], "help": operation.help}
                for name, operation in OPERATIONS.items()
            ]
        )

    async def _command(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in OPERATIONS:
            return JSONResponse({"error": "there is no such command"}, 404)
        try:
            values = await _object_of(request)
            self._server.operate(command_of(name, values))
        except UnknownTarget as error:
            return JSONResponse({"error": str(error)}, 404)
        except (OperatorError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"done": name})

    async def _events(self, _: Request) -> Response:
        if self._streams >= _MAX_STREAMS:
            return JSONResponse({"error": f"{_MAX_STREAMS} streams are open already"}, 503)
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _stream(self) -> AsyncIterator[str]:
        """Server-sent events: the name of each, and its fields as JSON."""
        waiting: deque[str] = deque()
        bell = self._runtime.event()

        def take(output: ServerOutput) -> None:
            if isinstance(output, _EVENTS) and len(waiting) <= _MAX_WAITING:
                waiting.append(f"event: {type(output).__name__}\ndata: {json.dumps(as_json(output))}\n\n")
                bell.set()

        self._streams += 1
        unsubscribe = self._server.subscribe(take)
        try:
            yield ": here\n\n"
            while len(waiting) <= _MAX_WAITING:
                if not waiting and not await self._runtime.wait(bell, _ALIVE):
                    yield ": here\n\n"
                bell = self._runtime.event()
                while waiting and len(waiting) <= _MAX_WAITING:
                    yield waiting.popleft()
        finally:
            unsubscribe()
            self._streams -= 1


def as_json(value: Any) -> dict[str, Any]:
    """The fields of a value, enums by their values."""

    def plain(_: object, __: Attribute[Any] | None, field: Any) -> Any:
        return field.value if isinstance(field, enum.Enum) else field

    return asdict(value, value_serializer=plain)


async def _object_of(request: Request) -> dict[str, object]:
    """The JSON object of a request; raises ValueError with one line for the user."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ValueError("the Content-Type has to be application/json")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BODY:
                raise ValueError(f"a body has at most {_MAX_BODY} octets")
    except ClientDisconnect:
        raise ValueError("the request broke off") from None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None
    if not isinstance(values, dict):
        raise ValueError("the body has to be a JSON object")
    return values


@asynccontextmanager
async def run_http_api(
    runtime: Runtime, server: Server, *, token: str, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """The API for the length of a block, which gets its port; `port` 0 takes a free one.

    Raises ValueError for a host that is not loopback or a token under 16 characters, OSError when the address is taken.
    """
    if host not in _LOOPBACK:
        raise ValueError("the API is for this machine only: give 127.0.0.1, ::1 or localhost")
    if len(token) < 16:
        raise ValueError("a token has 16 characters at least")
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=16)
    actual: int = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None  # it would tell where it runs, and each connection that breaks off
    config.graceful_timeout = config.shutdown_timeout = _END
    app = Guard(Api(runtime, server).app, token, actual)
    stop, stopped = runtime.event(), runtime.event()

    async def wait_stop() -> None:
        await stop.wait()

    async def serve() -> None:
        try:
            await _serve()(app, config, shutdown_trigger=wait_stop)
        finally:
            stopped.set()

    async with runtime.task_group() as tasks:
        tasks.start_soon(serve)
        try:
            yield actual
        finally:
            stop.set()
            with runtime.shield(_END + 1):
                await stopped.wait()
            tasks.cancel()


def _serve() -> Callable[..., Awaitable[None]]:
    if sniffio.current_async_library() == "trio":
        from hypercorn.trio import serve as on_trio

        return on_trio
    from hypercorn.asyncio import serve as on_asyncio

    return on_asyncio
