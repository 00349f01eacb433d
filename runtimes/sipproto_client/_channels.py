"""Channels over what the runtimes have: streams (TCP, TLS) and UDP sockets."""

from __future__ import annotations

from collections.abc import Callable

from sipproto_client._address import describe_error, known
from sipproto_client.port import Datagrams, Stream

MAX_DATAGRAM = 65_507  # octets: what UDP over IPv4 can carry


class StreamChannel:
    """SIP over a byte stream: the engine finds the messages itself (RFC 3261 18.3)."""

    def __init__(self, stream: Stream, transport: str) -> None:
        self._stream = stream
        self.transport = transport
        self.local: tuple[str, int] | None = stream.local
        self.remote = known(stream.remote)

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def receive(self) -> bytes | None:
        return await self._stream.receive() or None

    async def aclose(self) -> None:
        await self._stream.aclose()


class DatagramChannel:
    """SIP over a connected UDP socket. `failed` is called when the peer's host says that nobody listens there."""

    transport = "UDP"

    def __init__(self, datagrams: Datagrams, remote: tuple[str, int], failed: Callable[[], object]) -> None:
        self._datagrams = datagrams
        self._failed = failed
        self.local: tuple[str, int] | None = datagrams.local
        self.remote: tuple[str, int] | None = remote
        self._peer = remote

    async def send(self, data: bytes) -> None:
        check_size(data)
        try:
            await self._datagrams.send(data)
        except OSError as error:
            raise self._explained(error) from None

    async def receive(self) -> bytes | None:
        try:
            while not (data := (await self._datagrams.receive())[0]):
                pass  # an empty datagram is nothing, least of all the end
        except OSError as error:
            raise self._explained(error) from None
        return data

    async def aclose(self) -> None:
        await self._datagrams.aclose()

    def _explained(self, error: OSError) -> OSError:
        self._failed()
        return ConnectionError(describe_error(error, *self._peer))


def check_size(data: bytes) -> None:
    """Raises OSError for what is too large for a datagram."""
    if len(data) > MAX_DATAGRAM:
        raise ConnectionError(f"a message of {len(data)} octets does not fit into a datagram")
