"""The local page of the phone: served on loopback, for one user of this machine, on Hypercorn and Starlette.

Who opens the page has to bring the start token of this run, in the fragment of the address, which browsers send to nobody; the
page hands it over and gets the session for it, which all else needs: other users of the machine have neither. It is no cookie:
those go to every port of a host, so that a server of another user on this machine could get them. Other web pages are kept out
by Host and Origin. What is on the page comes from the package, and runs no script but its own.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Protocol

import anyio
from attrs import frozen
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sipproto.errors import SipProtoError
from sipproto_phone.commands import CommandProblem, command_of
from sipproto_phone.model import PhoneState, as_json

log = logging.getLogger("sipproto.phone")
PROTOCOL = "sipproto-phone"  # of the WebSocket
MAX_MESSAGE = 8 * 1024 * 1024  # octets: a journal to import is a message
MAX_COMMAND = 64 * 1024  # octets, of a second start
MAX_SOCKETS = 16
MAX_COMMANDS = 32  # under way, of one socket
_END = 2.0  # seconds in which the last answers may go out
_IDLE = 1.0  # seconds; less than _END
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class PhonePort(Protocol):
    """What the page needs of a phone."""

    @property
    def state(self) -> PhoneState: ...

    async def do(self, command: Any, /) -> Any: ...

    def changes(self) -> AsyncIterator[PhoneState]: ...


@frozen(kw_only=True)
class Page:
    """Where the page is. `url` opens it, and holds the start token: it is for the user alone, and for no log."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/#{self.token}"

    def __repr__(self) -> str:
        return f"Page(port={self.port})"


class Guard:
    """403 for another Host (DNS rebinding) and for a foreign Origin, before all else. Adds the headers of all answers."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        names = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._hosts = {name.encode() for name in names}
        self._origins = {f"http://{name}".encode() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        hosts = [value.lower() for name, value in headers if name == b"host"]
        origins = [value.lower() for name, value in headers if name == b"origin"]
        foreign = len(hosts) != 1 or hosts[0] not in self._hosts or any(one not in self._origins for one in origins)
        unsaid = not origins and (scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"))
        if not (foreign or unsaid):
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("not served to others", 403)(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


class _Views:
    """The routes, over one phone."""

    def __init__(self, phone: PhonePort, token: str, stop: asyncio.Event) -> None:
        self._phone = phone
        self._stop = stop
        self._token = token
        self._session = secrets.token_urlsafe(32)
        self._sockets = 0
        root = files("sipproto_phone") / "page"
        # Read once, by name: no path of a request ever reaches the file system.
        self._assets = {
            entry.name: (entry.read_bytes(), _TYPES["." + entry.name.rpartition(".")[2]])
            for entry in root.iterdir()
            if "." + entry.name.rpartition(".")[2] in _TYPES
        }
        self.app = Starlette(
            routes=[
                Route("/", self._index),
                Route("/enter", self._enter, methods=["POST"]),
                Route("/do", self._do, methods=["POST"]),
                Route("/{name}", self._asset),
                WebSocketRoute("/live", self._live),
            ]
        )

    async def _index(self, _: Request) -> Response:
        content, kind = self._assets["index.html"]
        return Response(content, media_type=kind)

    async def _asset(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["name"])
        return (
            PlainTextResponse("there is no such file", 404)
            if found is None
            else Response(found[0], media_type=found[1])
        )

    async def _enter(self, request: Request) -> Response:
        """The start token for the session of this run."""
        given = await _body(request, 256)
        if not hmac.compare_digest(given, self._token.encode()):
            return PlainTextResponse("the token is missing or wrong", 401)
        return PlainTextResponse(self._session)

    async def _do(self, request: Request) -> Response:
        """One command and its answer, for a second start of the phone."""
        scheme, _, session = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._may(session):
            return PlainTextResponse("the session is missing or wrong", 401, {"WWW-Authenticate": "Bearer"})
        try:
            message = json.loads(await _body(request, MAX_COMMAND))
        except (ValueError, RecursionError):
            message = None
        return JSONResponse(await carried_out(self._phone, message if isinstance(message, dict) else {}))

    def _may(self, session: str) -> bool:
        return hmac.compare_digest(session.encode(), self._session.encode())

    async def _live(self, socket: WebSocket) -> None:
        # A page can set no other header of the handshake. The session is not named in the answer.
        protocols: list[str] = socket.scope.get("subprotocols", [])
        if PROTOCOL not in protocols or not any(map(self._may, protocols)):
            await socket.close(4401)
            return
        if self._sockets >= MAX_SOCKETS:
            await socket.close(1013)
            return
        self._sockets += 1
        try:
            await socket.accept(PROTOCOL)
            await _Live(self._phone, socket).run(self._stop)
        finally:
            self._sockets -= 1


async def _body(request: Request, most: int) -> bytes:
    """The body, or what is too much of it already."""
    given = b""
    async for part in request.stream():
        given += part
        if len(given) > most:
            break
    return given


async def carried_out(phone: PhonePort, message: dict[str, Any]) -> dict[str, Any]:
    """The result of the command of a message, or the error."""
    try:
        name, values = message.get("command"), message.get("fields", {})
        if not isinstance(name, str) or not isinstance(values, dict):
            raise CommandProblem("a command has a name and fields", "bad_message")
        return {"result": await phone.do(command_of(name, values))}
    except SipProtoError as error:
        return _told(error)
    except Exception:
        log.exception("a command of the page failed")
        return _told(CommandProblem("something went wrong in the phone; its log says what", "internal"))


def _told(error: SipProtoError) -> dict[str, Any]:
    return {"error": {"code": getattr(error, "code", "failed"), "text": str(error)}}


class _Live:
    """One page: the state goes out whenever it changes, commands come in, each gets one answer."""

    def __init__(self, phone: PhonePort, socket: WebSocket) -> None:
        self._phone = phone
        self._socket = socket
        self._under_way = 0

    async def run(self, stop: asyncio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell)
            tasks.start_soon(self._close_at, stop)
            try:
                while True:
                    text = await self._socket.receive_text()
                    await self._take(text, tasks)
            except (
                WebSocketDisconnect,
                KeyError,
                RuntimeError,
            ):  # closed by them, octets instead of text, closed by us
                pass
            finally:
                tasks.cancel_scope.cancel()

    async def _close_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        try:
            await self._socket.close(1001)  # RFC 6455 7.4.1: going away
        except (RuntimeError, WebSocketDisconnect):
            pass  # the page was quicker

    async def _tell(self) -> None:
        await self._send_state(self._phone.state)
        async for state in self._phone.changes():
            await self._send_state(state)

    async def _send_state(self, state: PhoneState) -> None:
        """With the time of the clock of the phone, by which the page counts how long calls last."""
        await self._send({"state": as_json(state), "now": anyio.current_time()})

    async def _take(self, text: str, tasks: anyio.abc.TaskGroup) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(ident := message.get("id"), int):
            await self._send({"error": {"code": "bad_message", "text": "a message is an object with an id"}})
            return
        if self._under_way >= MAX_COMMANDS:
            await self._send({"id": ident, **_told(CommandProblem("too much is under way", "busy"))})
            return
        self._under_way += 1
        tasks.start_soon(self._carry_out, ident, message)

    async def _carry_out(self, ident: int, message: dict[str, Any]) -> None:
        try:
            await self._send({"id": ident, **await carried_out(self._phone, message)})
        finally:
            self._under_way -= 1

    async def _send(self, value: dict[str, Any]) -> None:
        try:
            await self._socket.send_text(json.dumps(value, ensure_ascii=False))
        except (RuntimeError, WebSocketDisconnect):
            pass  # the page is gone; who reads notices it


@asynccontextmanager
async def run_page(phone: PhonePort, *, port: int = 0, token: str | None = None) -> AsyncIterator[Page]:
    """The page for the length of a block, on 127.0.0.1; `port` 0 takes a free one. On asyncio.

    Raises OSError when the port is taken.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=32)
    page = Page(port=listener.getsockname()[1], token=token or secrets.token_urlsafe(32))
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = config.errorlog = None  # they would tell of every request, and who is not let in
    config.websocket_max_message_size = MAX_MESSAGE
    config.graceful_timeout = config.shutdown_timeout = _END
    config.keep_alive_timeout = _IDLE  # a browser would keep connections open beyond the end
    stop = asyncio.Event()
    app = Guard(_Views(phone, page.token, stop).app, page.port)

    async def wait_stop() -> None:
        await stop.wait()

    scope = anyio.CancelScope(shield=True)
    async with anyio.create_task_group() as tasks:

        async def serving() -> None:
            # Ended in order, also when all is cancelled: Hypercorn fails when it is cancelled in the middle of its end.
            with scope:
                await serve(app, config, shutdown_trigger=wait_stop)  # type: ignore[arg-type]  # Hypercorn and Starlette type ASGI differently

        tasks.start_soon(serving)
        try:
            yield page
        finally:
            stop.set()
            scope.deadline = anyio.current_time() + 2 * _END
