"""One flow: a channel, and the tasks that move messages between it and the engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from sipproto.agent.inputs import DataReceived, FlowClosed, FlowOpened, Input, OpenFlowFailed
from sipproto.errors import LocalProtocolError
from sipproto.transaction import FlowId
from sipproto_client._address import plain_text
from sipproto_client._tasks import plain_task_group
from sipproto_client.port import Event, Runtime, TaskGroup
from sipproto_client.transport import Channel, ConnectError

MAX_UNSENT = 4 * 1024 * 1024  # octets; a peer that reads nothing must not fill our memory
LINGER = 2.0  # seconds for the last octets to a peer that may not read them


class Outbox:
    """What still has to be sent, and a bell for its sender."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._bell = runtime.event()

    @property
    def is_empty(self) -> bool:
        return not self._messages

    @property
    def overflows(self) -> bool:
        return self._size > MAX_UNSENT

    def put(self, data: bytes) -> None:
        self._messages.append(data)
        self._size += len(data)
        self._bell.set()

    def ring(self) -> None:
        self._bell.set()

    async def take(self) -> bytes | None:
        """The next message, at least once the bell has rung; None when it rang for something else."""
        if not self._messages:
            await self._bell.wait()
            self._bell = self._runtime.event()
        if not self._messages:
            return None
        data = self._messages.popleft()
        self._size -= len(data)
        return data


class Flow:
    """Runs one channel and reports to the engine through `step`.

    The engine hears FlowOpened, any number of DataReceived and FlowClosed, or OpenFlowFailed alone; each at most once,
    and nothing after it has closed the flow itself.
    """

    def __init__(self, runtime: Runtime, ident: FlowId, step: Callable[[Input], object]) -> None:
        self._runtime = runtime
        self._ident = ident
        self._step = step
        self._outbox = Outbox(runtime)
        self._ended: Event = runtime.event()
        self._sent: Event = runtime.event()
        self._opened = False
        self._over = False
        self._quiet = False  # the engine has closed the flow and wants to hear no more

    def send(self, data: bytes) -> None:
        """Never waits. What is sent after the end is dropped."""
        if self._over:
            return
        self._outbox.put(data)
        if self._outbox.overflows:
            self._lost("the peer does not read what is sent to it")

    def close(self) -> None:
        """The engine has closed the flow: what was sent before still goes out."""
        self._quiet = True
        self._end()

    async def run(self, opening: Callable[[], Coroutine[Any, Any, Channel]]) -> None:
        """Opens a channel and serves it until it is over. Every way it can go wrong ends in an input to the engine."""
        channel = await self._open(opening)
        if channel is None:
            return
        try:
            if not self._over:
                self._opened = True
                self._say(
                    FlowOpened(
                        flow=self._ident, transport=channel.transport, local=channel.local, remote=channel.remote
                    )
                )
            async with plain_task_group(self._runtime) as tasks:
                tasks.start_soon(self._receive, channel)
                tasks.start_soon(self._send, channel)
                await self._ended.wait()
                # A peer that reads nothing would hold the sender, and with it the socket, for ever.
                await self._runtime.wait(self._sent, LINGER)
                tasks.cancel()
        finally:
            try:
                await channel.aclose()
            finally:
                self._lost("the connection was cut")

    async def _open(self, opening: Callable[[], Coroutine[Any, Any, Channel]]) -> Channel | None:
        """The channel, unless it cannot be opened, or the flow is closed before."""
        channel: Channel | None = None
        if self._over:
            return None
        try:
            async with plain_task_group(self._runtime) as tasks:
                tasks.start_soon(self._cancel_when_ended, tasks)
                try:
                    channel = await opening()
                except (OSError, LocalProtocolError) as error:
                    self._lost(plain_text(error), error)
                tasks.cancel()
        except BaseException:
            if channel is not None:
                await channel.aclose()
            self._lost("the connection was cut")
            raise
        return channel

    async def _cancel_when_ended(self, tasks: TaskGroup) -> None:
        await self._ended.wait()
        tasks.cancel()

    async def _receive(self, channel: Channel) -> None:
        try:
            while not self._over:
                data = await channel.receive()
                if not data:  # an empty message would be nothing; most streams say so at their end
                    self._lost(None)
                    return
                self._say(DataReceived(flow=self._ident, data=data))
        except OSError as error:
            self._lost(plain_text(error))

    async def _send(self, channel: Channel) -> None:
        try:
            while not (self._over and self._outbox.is_empty):
                if (data := await self._outbox.take()) is not None:
                    await channel.send(data)
        except OSError as error:
            self._lost(plain_text(error))
        self._sent.set()

    def _lost(self, error: str | None, why: BaseException | None = None) -> None:
        if self._over:
            return
        self._end()
        if self._opened:
            self._say(FlowClosed(flow=self._ident, error=error))
            return
        known = why if isinstance(why, ConnectError) else ConnectError("")
        self._say(
            OpenFlowFailed(
                flow=self._ident,
                error=error or "the server closed the connection",
                failure=known.failure,
                certificate=known.certificate,
            )
        )

    def _end(self) -> None:
        self._over = True
        self._ended.set()
        self._outbox.ring()

    def _say(self, what: Input) -> None:
        if not self._quiet:
            self._step(what)
