"""Listening for peers that connect to us: each connection, and each address that sends us datagrams, is a flow."""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import frozen

from sipproto.errors import LocalProtocolError, excerpt
from sipproto_client._channels import StreamChannel, check_size
from sipproto_client._tasks import plain_task_group
from sipproto_client.port import Datagrams, Runtime, Stream, TaskGroup
from sipproto_client.transport import Channel
from sipproto_stream import numeric_host

_MAX_WAITING = 256  # datagrams of one peer that have not been read; more are lost, as they may be on the way
_ADDRESS = re.compile(r"(udp|tcp|tls):(?://)?(\[[^\]]*\]|[^:/\[\]]*):([0-9]{1,5})", re.IGNORECASE)
Accept = Callable[[Channel], Coroutine[Any, Any, None]]


@frozen(kw_only=True)
class ListenAddress:
    """Where to listen. Port 0 takes a free one."""

    transport: str
    host: str
    port: int


def parse_listen_address(text: str) -> ListenAddress:
    """`udp:ADDRESS:PORT`, and the same with tcp and tls. Raises LocalProtocolError for what is none."""
    match = _ADDRESS.fullmatch(text)
    host = None if match is None else numeric_host(match[2])
    if match is None or host is None or int(match[3]) > 65535 or (":" in host and match[2] == host):
        raise LocalProtocolError(f"{excerpt(text)} is no address to listen at; it looks like udp:192.0.2.1:5060")
    return ListenAddress(transport=match[1].upper(), host=host, port=int(match[3]))


class Listener:
    """Listens until `close`, which also ends the flows that it has accepted. Made by `Endpoint.listen`."""

    def __init__(
        self, runtime: Runtime, where: ListenAddress, tls: ssl.SSLContext | None, accept: Accept, udp_idle: float
    ) -> None:
        self._runtime = runtime
        self._where = where
        self._tls = tls
        self._accept = accept
        self._idle = udp_idle
        self._settled = runtime.event()
        self._error: OSError | None = None
        self._stop = runtime.event()
        self._peers: dict[tuple[str, int], _Peer] = {}
        self.transport = where.transport
        self.local = (where.host, where.port)

    @property
    def port(self) -> int:
        return self.local[1]

    def close(self) -> None:
        self._stop.set()

    async def wait_started(self) -> None:
        """Raises OSError when the address cannot be used."""
        await self._settled.wait()
        if self._error is not None:
            raise self._error

    async def run(self) -> None:
        """Until `close`."""
        try:
            async with plain_task_group(self._runtime) as tasks:
                tasks.start_soon(self._serve, tasks)
                await self._stop.wait()
                tasks.cancel()
        finally:
            self._settled.set()

    async def _serve(self, tasks: TaskGroup) -> None:
        try:
            if self.transport == "UDP":
                await self._serve_datagrams(tasks)
            else:
                await self._runtime.serve(*self.local, self._tls, self._connected, self._started)
        except OSError as error:
            self._error = error
            self._stop.set()

    def _started(self, port: int) -> None:
        self.local = (self._where.host, port)
        self._settled.set()

    async def _connected(self, stream: Stream) -> None:
        await self._accept(StreamChannel(stream, self.transport))

    # -- UDP ---------------------------------------------------------------------------------------------------------

    async def _serve_datagrams(self, tasks: TaskGroup) -> None:
        datagrams = await self._runtime.datagrams(local=self.local)
        try:
            self._started(datagrams.local[1])
            while True:
                try:
                    data, sender = await datagrams.receive()
                except ConnectionError:
                    continue  # what an earlier datagram met; Windows tells it here
                peer = self._peers.get(sender)
                if peer is None and data.strip():  # a keep-alive of a stranger is no reason to remember him
                    peer = self._peers[sender] = _Peer(self._runtime, datagrams, sender, self._idle)
                    tasks.start_soon(self._serve_peer, peer)
                if peer is not None:
                    peer.deliver(data)
        finally:
            await datagrams.aclose()

    async def _serve_peer(self, peer: _Peer) -> None:
        try:
            if numeric_host(self.local[0]) in ("0.0.0.0", "::"):  # which of our addresses that peer can reach
                probe = await self._runtime.datagrams(remote=peer.remote)
                peer.local = (probe.local[0], self.local[1])
                await probe.aclose()
            await self._accept(peer)
        except OSError:
            pass  # no way back to that address
        finally:
            del self._peers[peer.remote]


class _Peer:
    """A channel to one address, over the socket that all of them share."""

    transport = "UDP"

    def __init__(self, runtime: Runtime, datagrams: Datagrams, remote: tuple[str, int], idle: float) -> None:
        self._runtime = runtime
        self._datagrams = datagrams
        self._idle = idle
        self._waiting: deque[bytes] = deque()
        self._bell = runtime.event()
        self._last = runtime.now()
        self.local: tuple[str, int] | None = datagrams.local
        self.remote: tuple[str, int] = remote

    def deliver(self, data: bytes) -> None:
        self._last = self._runtime.now()
        if data and len(self._waiting) < _MAX_WAITING:
            self._waiting.append(data)
            self._bell.set()

    async def send(self, data: bytes) -> None:
        check_size(data)
        self._last = self._runtime.now()
        await self._datagrams.send(data, self.remote)

    async def receive(self) -> bytes | None:
        while not self._waiting:
            left = self._last + self._idle - self._runtime.now()
            if left <= 0:
                return None
            if await self._runtime.wait(self._bell, left):
                self._bell = self._runtime.event()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        pass
