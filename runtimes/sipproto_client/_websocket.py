"""SIP over WebSocket (RFC 7118): `sipproto_wsproto` on a stream."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from attrs import frozen

from sipproto.agent.inputs import Input
from sipproto.agent.outputs import ConnectFailure
from sipproto.errors import LocalProtocolError, excerpt
from sipproto.transaction import FlowId
from sipproto_client._address import authority, describe_error, failure_of, known, plain_text
from sipproto_client._flow import LINGER, MAX_UNSENT, Flow
from sipproto_client._tls import connect_with_tls
from sipproto_client.port import Runtime, Stream
from sipproto_client.transport import Channel, ConnectError, Opening
from sipproto_stream import find_mapping, host_is_usable
from sipproto_wsproto import Closed, MessageReceived, Opened, Output, Transmit, WebSocketConnection

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_SEND_LIMIT = 30.0  # seconds for a peer to take what is sent to it
_DEAF = "the peer does not read what is sent to it"
_TARGET = re.compile(r"[!-~]+")  # what a request line can hold


@frozen(kw_only=True)
class ServerUrl:
    """Where to connect: `ws://host[:port]/path` or `wss://...`."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def transport(self) -> str:
        """The name for Via (RFC 7118 5.2.1)."""
        return self.scheme.upper()

    @property
    def authority(self) -> str:
        """Host and port as they stand in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else authority(self.host, self.port)


def parse_server_url(text: str) -> ServerUrl:
    """Raises LocalProtocolError for what is no WebSocket URL."""
    try:
        parts = urlsplit(text if text.isprintable() else "")  # urlsplit drops line ends, and takes the rest for good
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or parts.fragment or port == 0:
        raise LocalProtocolError(f"{excerpt(text)} is no server address; it looks like wss://sip.example.com/ws")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET.fullmatch(target) or not host_is_usable(parts.hostname):
        raise LocalProtocolError(f"{excerpt(text)} has characters that cannot stand in a server address")
    return ServerUrl(scheme=parts.scheme, host=parts.hostname, port=port or _DEFAULT_PORTS[parts.scheme], target=target)


class WebSocketChannel:
    """A WebSocket over a stream, at either end."""

    def __init__(self, runtime: Runtime, stream: Stream, connection: WebSocketConnection, transport: str) -> None:
        self._runtime = runtime
        self._stream = stream
        self._ws = connection
        self.transport = transport
        self.local: tuple[str, int] | None = stream.local
        self.remote = known(stream.remote)
        self._messages: deque[bytes] = deque()  # of one read
        self._unsent = bytearray()
        self._writing = False
        self._written = runtime.event()
        self._opened = False
        self._over = False
        self._error: str | None = None

    async def shake_hands(self) -> None:
        """Our part of the handshake, and the peer's. Raises OSError when it fails or takes too long."""
        with self._runtime.move_on_after(_SEND_LIMIT) as limit:
            await self._carry_out(self._ws.start(self._runtime.now()))
        if limit.cancelled_caught:
            raise ConnectionError(_DEAF)
        while not self._opened:
            if self._over:
                raise ConnectionError(self._error or "the peer closed the connection")
            await self._read()

    async def send(self, data: bytes) -> None:
        await self._carry_out(self._ws.send(data))
        while self._writing:  # the receiver, with a pong: it takes this message along
            await self._written.wait()
        if self._over:
            raise ConnectionError(self._error or "the connection is closed")

    async def receive(self) -> bytes | None:
        while not self._messages:
            if self._over:
                if self._error is None:
                    return None
                raise ConnectionError(self._error)
            await self._read()
        return self._messages.popleft()

    async def aclose(self) -> None:
        """Says goodbye and waits for the peer's, for `close_timeout` at most."""
        try:
            if not self._over:
                with self._runtime.move_on_after(LINGER):
                    await self._carry_out(self._ws.close(self._runtime.now()))
                while not self._over:
                    await self._read()
        finally:
            self._over = True
            await self._stream.aclose()

    def _left(self) -> float:
        """Seconds until the WebSocket wants to be woken."""
        deadline = self._ws.next_timeout()
        return 0.0 if deadline is None else max(0.0, deadline - self._runtime.now())

    async def _read(self) -> None:
        """Takes what comes next: octets, the end, or the time of a ping."""
        data = b""
        with self._runtime.move_on_after(self._left()) as limit:
            try:
                data = await self._stream.receive()
            except OSError as error:
                self._end(plain_text(error))
                return
        now = self._runtime.now()
        passed = limit.cancelled_caught
        await self._carry_out(self._ws.handle_timeout(now) if passed else self._ws.receive(data or None, now))

    async def _carry_out(self, outputs: list[Output]) -> None:
        closed: Closed | None = None
        for output in outputs:
            match output:
                case Transmit(data=data):
                    self._unsent += data
                case Opened():
                    self._opened = True
                case MessageReceived(data=data):
                    self._messages.append(data)
                case Closed():
                    closed = output
        if closed is None:
            await self._write()
            return
        self._end(closed.error)
        with self._runtime.move_on_after(LINGER):
            await self._write()

    async def _write(self) -> None:
        """Sends what waits. Who is sending already takes along what others add meanwhile."""
        if len(self._unsent) > MAX_UNSENT:
            self._end(_DEAF)
        if self._writing:
            return
        self._writing, self._written = True, self._runtime.event()
        try:
            while self._unsent:
                data = bytes(self._unsent)
                self._unsent.clear()
                with self._runtime.move_on_after(_SEND_LIMIT) as limit:
                    await self._stream.send(data)
                if limit.cancelled_caught:
                    raise ConnectionError(_DEAF)
        except OSError as error:
            self._end(plain_text(error))
        except BaseException:
            self._end("the connection was cut")  # a part may have gone out, and nothing must follow it
            raise
        finally:
            self._writing = False
            self._written.set()

    def _end(self, error: str | None) -> None:
        """The first reason counts."""
        if not self._over:
            self._over, self._error = True, error


class WebSocketTransport:
    """`ws://` and `wss://` servers."""

    schemes = ("ws", "wss")

    def host_of(self, address: str) -> str:
        return parse_server_url(address).host

    async def open(self, address: str, opening: Opening) -> Channel:
        url = parse_server_url(address)
        if opening.transport not in (None, url.transport):
            raise LocalProtocolError(f"a {url.scheme} server cannot be reached by {opening.transport}")
        mapping = find_mapping(opening.settings.hosts, url.host)
        host, port = url.host, url.port
        if mapping is not None:
            host, port = mapping.address, mapping.port or port
        if url.scheme == "wss":
            stream = await connect_with_tls(opening.runtime, opening.settings.tls, host, port, url.host)
        else:
            stream = await _connect(opening.runtime, host, port)
        connection = WebSocketConnection(
            client=True, host=url.authority, target=url.target, limits=opening.settings.limits
        )
        channel = WebSocketChannel(opening.runtime, stream, connection, url.transport)
        try:
            await channel.shake_hands()
        except OSError as error:
            await stream.aclose()
            raise ConnectError(plain_text(error), ConnectFailure.HANDSHAKE) from None
        except BaseException:
            await stream.aclose()
            raise
        return channel


async def _connect(runtime: Runtime, host: str, port: int) -> Stream:
    try:
        return await runtime.connect(host, port, None, host)
    except OSError as error:
        raise ConnectError(describe_error(error, host, port), failure_of(error)) from None


class WebSocketFlow:
    """A flow over a stream that is connected already, at the end that `connection` says."""

    def __init__(
        self,
        runtime: Runtime,
        stream: Stream,
        connection: WebSocketConnection,
        step: Callable[[Input], None],
        flow: FlowId,
        transport: str,
    ) -> None:
        self._stream = stream
        self._channel = WebSocketChannel(runtime, stream, connection, transport)
        self._flow = Flow(runtime, flow, step)

    def send(self, data: bytes) -> None:
        self._flow.send(data)

    def close(self) -> None:
        self._flow.close()

    async def run(self) -> None:
        """Shakes hands and serves the flow until it is over; the stream is closed then."""
        try:
            await self._flow.run(self._ready)
        finally:
            await self._stream.aclose()

    async def _ready(self) -> Channel:
        await self._channel.shake_hands()
        return self._channel
