"""A cable to a server that can be cut and mended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sipproto_client import plain_task_group
from sipproto_client.port import Runtime, Stream


class Cable:
    """Connections to `port` on this machine go on to the server's. `cut` breaks them, and lets no new ones through."""

    def __init__(self, runtime: Runtime, server_port: int) -> None:
        self._runtime = runtime
        self._server_port = server_port
        self._ends: list[Stream] = []
        self._is_cut = False
        self.ready = runtime.event()
        self.port = 0

    async def run(self) -> None:
        """Until cancelled."""
        await self._runtime.serve("127.0.0.1", 0, None, self._connected, self._started)

    def _started(self, port: int) -> None:
        self.port = port
        self.ready.set()

    async def _connected(self, client: Stream) -> None:
        if self._is_cut:
            return
        try:
            server = await self._runtime.connect("127.0.0.1", self._server_port, None, "127.0.0.1")
        except OSError:
            return
        self._ends += (client, server)
        try:
            async with plain_task_group(self._runtime) as tasks:
                tasks.start_soon(self._carry, client, server)
                await self._carry(server, client)
                tasks.cancel()
        finally:
            await server.aclose()
            self._ends = [end for end in self._ends if end not in (client, server)]

    async def _carry(self, source: Stream, target: Stream) -> None:
        """Until either is closed, which closes the other, too."""
        try:
            while data := await source.receive():
                await target.send(data)
        except OSError:
            pass
        await target.aclose()

    async def cut(self) -> None:
        self._is_cut = True
        for end in tuple(self._ends):
            await end.aclose()

    def mend(self) -> None:
        self._is_cut = False


@asynccontextmanager
async def open_cable(runtime: Runtime, server_port: int) -> AsyncIterator[Cable]:
    """A cable for the length of a block."""
    async with plain_task_group(runtime) as tasks:
        cable = Cable(runtime, server_port)
        tasks.start_soon(cable.run)
        await cable.ready.wait()
        try:
            yield cable
        finally:
            tasks.cancel()
