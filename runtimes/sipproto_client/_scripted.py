"""A scripted server on an event loop: for clients in the same process without sockets, or at a loopback WebSocket."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.testing import LOST, BreakConnection, ScriptedServer
from sipproto.transaction import FlowId
from sipproto_client._flow import MAX_UNSENT, Flow
from sipproto_client._settings import FlowSettings, default_transports
from sipproto_client._tasks import plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client._websocket import WebSocketChannel, parse_server_url
from sipproto_client.port import Event, Runtime, Stream, TaskGroup
from sipproto_client.transport import Channel, Opening
from sipproto_wsproto import WebSocketConnection, WebSocketLimits

_T = TypeVar("_T")
_PATIENCE = 5.0  # seconds for what a test waits for
_LOOK = 0.005  # seconds between two looks at a condition
_MAX_HANDSHAKE = 16 * 1024  # octets of a handshake that is refused


class _MemoryEnd:
    """One end of a connection in memory. `ending`: what the other end hears in place of an end in order."""

    local: tuple[str, int] | None = None
    remote: tuple[str, int] | None = None

    def __init__(self, runtime: Runtime, transport: str, peer: _MemoryEnd | None = None) -> None:
        self._runtime = runtime
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._bell = runtime.event()
        self._is_closed = False
        self.ending: str | None = None
        self.transport = transport
        self.peer: _MemoryEnd = peer or _MemoryEnd(runtime, transport, self)

    async def send(self, data: bytes) -> None:
        peer = self.peer
        if self._is_closed or peer._is_closed:
            raise ConnectionError(peer.ending or "the connection is closed")
        if peer._size + len(data) > MAX_UNSENT:
            raise ConnectionError("the peer does not read what is sent to it")
        peer._waiting.append(data)
        peer._size += len(data)
        peer._bell.set()

    async def receive(self) -> bytes | None:
        while not self._waiting:
            if self.peer._is_closed:
                if self.peer.ending is not None:
                    raise ConnectionError(self.peer.ending)
                return None
            await self._bell.wait()
            self._bell = self._runtime.event()
        data = self._waiting.popleft()
        self._size -= len(data)
        return data

    async def aclose(self) -> None:
        self._is_closed = True
        self._waiting.clear()
        self.peer._bell.set()


class _WebSocketEnd(WebSocketChannel):
    """The server's end of a WebSocket. `ending`: not None: it ends without a goodbye."""

    ending: str | None = None

    async def aclose(self) -> None:
        if self.ending is None:
            await super().aclose()
        else:
            await self._stream.aclose()


class MemoryTransport:
    """Every `ws://` and `wss://` address is the scripted server. For `FlowSettings.transports`."""

    schemes = ("ws", "wss")

    def __init__(self, admit: Callable[[], int | None], accept: Callable[[_MemoryEnd], Awaitable[object]]) -> None:
        """admit: as that of ScriptedServer; may raise ConnectionError. accept: takes over the server's end of a connection."""
        self._admit = admit
        self._accept = accept

    def host_of(self, address: str) -> str:
        return parse_server_url(address).host

    async def open(self, address: str, opening: Opening) -> Channel:
        url = parse_server_url(address)
        answer = self._admit()
        if answer is None:
            await opening.runtime.wait(opening.runtime.event(), None)  # until it is cancelled
        if answer != 200:
            raise ConnectionError(f"the server refused the WebSocket: HTTP status {answer}")
        near = _MemoryEnd(opening.runtime, url.transport)
        try:
            await self._accept(near.peer)
        except BaseException:
            await near.aclose()
            raise
        return near


class Scripted:
    """A ScriptedServer that runs; made by `run_scripted`.

    flow: the settings with which a client reaches it, at whatever address of a WebSocket: nothing leaves the process.
    url: its address on loopback for clients that are to use a socket, when that was asked for; else an address like any.
    """

    def __init__(self, runtime: Runtime, server: ScriptedServer, tasks: TaskGroup) -> None:
        self.server = server
        self.url = f"wss://{server.realm}/ws"
        self.flow = FlowSettings(transports=(*default_transports(), MemoryTransport(self._admit, self._accept)))
        self._runtime = runtime
        self._tasks = tasks
        self._flows: dict[FlowId, tuple[Flow, _MemoryEnd | _WebSocketEnd]] = {}
        self._last = 0
        self._closed = False
        self._timer = EngineTimer(runtime, server.next_timeout, lambda: self._step(i.TimeoutElapsed()))
        server.attach(runtime.now, self._carry_out)
        tasks.start_soon(self._timer.run)

    async def until(self, condition: Callable[[], _T], *, limit: float = _PATIENCE) -> _T:
        """Waits until `condition` gives something true, and returns that. Raises AssertionError after `limit` seconds."""
        return await until(self._runtime, condition, limit=limit)

    # -- the driver ----------------------------------------------------------------------------------------------------

    def _step(self, what: i.Input) -> None:
        if isinstance(what, i.Notice):
            self._carry_out(self.server.handle(what, self._runtime.now()))

    def _carry_out(self, outputs: tuple[object, ...]) -> None:
        for output in outputs:
            match output:
                case o.SendData(flow=flow, data=data) if flow in self._flows:
                    self._flows[flow][0].send(data)
                case o.CloseFlow(flow=flow) if flow in self._flows:
                    self._flows[flow][0].close()
                case BreakConnection(flow=flow, error=error) if flow in self._flows:
                    runner, end = self._flows[flow]
                    end.ending = error
                    runner.close()
                case _:
                    pass
        self._timer.look()

    def close(self) -> None:
        """Nobody is let in any more."""
        self._closed = True
        self.server.detach()

    def _admit(self) -> int | None:
        if self._closed:
            raise ConnectionError("the scripted server is not running any more")
        return self.server.admit()

    async def _accept(self, end: _MemoryEnd) -> None:
        """Returns when the server knows of the connection: what a test has it do then, it can do."""
        known = self._runtime.event()
        self._tasks.start_soon(self._serve, end, known)
        await known.wait()

    async def _serve(self, end: _MemoryEnd | _WebSocketEnd, known: Event) -> None:
        async def ready() -> Channel:
            return end

        def step(what: i.Input) -> None:
            self._step(what)
            known.set()

        self._last += 1
        flow = self._last
        runner = Flow(self._runtime, flow, step)
        self._flows[flow] = runner, end
        try:
            await runner.run(ready)
        except BaseException:
            end.ending = end.ending or LOST
            raise
        finally:
            del self._flows[flow]
            known.set()

    # -- over a socket -------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Also serves WebSockets, on a free port of loopback; `url` is that address then."""
        started = self._runtime.event()

        def note(port: int) -> None:
            self.url = f"ws://127.0.0.1:{port}/ws"
            started.set()

        self._tasks.start_soon(self._runtime.serve, "127.0.0.1", 0, None, self._connected, note)
        await started.wait()

    async def _connected(self, stream: Stream) -> None:
        answer = self._admit()
        try:
            if answer == 200:
                await self._shake_hands(stream)
            elif answer is None:
                while await stream.receive():
                    pass
            else:
                await _refuse(stream, answer)
        except OSError:
            pass  # the client has gone
        finally:
            await stream.aclose()

    async def _shake_hands(self, stream: Stream) -> None:
        connection = WebSocketConnection(client=False, guard=None, limits=WebSocketLimits())
        end = _WebSocketEnd(self._runtime, stream, connection, "WS")
        await end.shake_hands()
        await self._serve(end, self._runtime.event())


async def _refuse(stream: Stream, status: int) -> None:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < _MAX_HANDSHAKE:
        data = await stream.receive()
        if not data:
            return
        request += data
    await stream.send(f"HTTP/1.1 {status} As the test says\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


async def until(runtime: Runtime, condition: Callable[[], _T], *, limit: float = _PATIENCE) -> _T:
    """Waits until `condition` gives something true, and returns that. Raises AssertionError after `limit` seconds."""
    deadline = runtime.now() + limit
    while not (result := condition()):
        if runtime.now() >= deadline:
            raise AssertionError(f"what the test waits for has not come about within {limit:g} s")
        await runtime.wait(runtime.event(), _LOOK)
    return result


@asynccontextmanager
async def run_scripted(
    runtime: Runtime, server: ScriptedServer | None = None, *, listen: bool = False
) -> AsyncIterator[Scripted]:
    """Has a scripted server run for the length of a block: clients of the same loop reach it by `flow`, without sockets.

    listen: also at `url`, a real WebSocket on a free port of loopback; OSError when there is none. Connections that are left
    at the end of the block break. Raises LocalProtocolError for a server that is in use already.
    """
    server = ScriptedServer() if server is None else server
    async with plain_task_group(runtime) as tasks:
        scripted = Scripted(runtime, server, tasks)
        try:
            if listen:
                await scripted.listen()
            yield scripted
        finally:
            scripted.close()
            tasks.cancel()
