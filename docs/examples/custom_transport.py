"""A transport of one's own: endpoints of one process joined in memory, proved with the suite that the library brings."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import trio

from sipproto import AgentConfig
from sipproto.errors import LocalProtocolError
from sipproto_anyio import AnyioRuntime
from sipproto_client import Channel, FlowSettings, Opening, default_transports, run_endpoint
from sipproto_client.port import Runtime
from sipproto_client.testing import TransportCase, check_transport
from sipproto_trio import TrioRuntime


class MemoryChannel:
    """One end of a pair: what is sent at one is received at the other. Any loop: it waits with events of the runtime."""

    transport, local, remote = "MEMORY", None, None

    def __init__(self, runtime: Runtime, peer: "MemoryChannel | None" = None) -> None:
        self._runtime = runtime
        self._waiting: deque[bytes] = deque()
        self._bell = runtime.event()
        self._is_closed = False
        self.peer: MemoryChannel = peer or MemoryChannel(runtime, self)

    async def send(self, data: bytes) -> None:
        if self._is_closed or self.peer._is_closed or len(self.peer._waiting) >= 1000:
            raise ConnectionError("the other end is closed, or does not read")
        self.peer._waiting.append(data)
        self.peer._bell.set()

    async def receive(self) -> bytes | None:
        while not self._waiting:
            if self.peer._is_closed:
                return None
            await self._bell.wait()
            self._bell = self._runtime.event()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        self._is_closed = True
        self.peer._bell.set()


class MemoryTransport:
    """`memory:NAME` is whoever is in `listeners` under that name."""

    schemes = ("memory",)

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[[Channel], object]] = {}

    def host_of(self, address: str) -> str:
        _, _, name = address.partition(":")
        if not name.isidentifier():
            raise LocalProtocolError(f"{name!r} is no name of an endpoint")
        return name

    async def open(self, address: str, opening: Opening) -> Channel:
        listener = self.listeners.get(self.host_of(address))
        if listener is None:
            raise ConnectionError(f"nobody listens at {address}")
        near = MemoryChannel(opening.runtime)
        listener(near.peer)
        return near


# -- the proof: what the suite needs is something to connect to ----------------------------------------------------------


class Door:
    address = "memory:door"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: deque[Channel] = deque()
        self._bell = runtime.event()

    def knock(self, channel: Channel) -> None:
        self._waiting.append(channel)
        self._bell.set()

    async def accept(self) -> Channel:
        while not self._waiting:
            await self._bell.wait()
            self._bell = self._runtime.event()
        return self._waiting.popleft()


def memory_case() -> TransportCase:
    transport = MemoryTransport()

    @asynccontextmanager
    async def serve(runtime: Runtime) -> AsyncIterator[Door]:
        door = Door(runtime)
        transport.listeners = {"door": door.knock}
        yield door

    return TransportCase(transport=transport, serve=serve, dead="memory:nobody")


# -- the use: one endpoint asks the other --------------------------------------------------------------------------------


async def main(runtime: Runtime) -> None:
    await check_transport(runtime, memory_case())
    memory = MemoryTransport()
    settings = FlowSettings(transports=(*default_transports(), memory))
    alice, bob = (AgentConfig(aor=f"sip:{name}@memory.invalid") for name in ("alice", "bob"))
    async with (
        run_endpoint(runtime, bob) as answering,
        run_endpoint(runtime, alice, flow=settings) as asking,
        runtime.task_group() as tasks,
    ):
        memory.listeners["bob"] = lambda channel: tasks.start_soon(answering.serve_channel, channel)
        await asking.connect("memory:bob")
        print("bob answers", await asking.options("sip:bob@memory.invalid"))
        tasks.cancel()


if __name__ == "__main__":
    trio.run(main, TrioRuntime())
    anyio.run(main, AnyioRuntime())
