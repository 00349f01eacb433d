"""One connection to a server: a stream, a WebSocket on it, and the tasks that move octets between them and the core."""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from attrs import field, frozen

from sipproto.agent.inputs import DataReceived, FlowClosed, FlowOpened, Input, OpenFlowFailed
from sipproto.errors import LocalProtocolError, excerpt
from sipproto.transaction import FlowId
from sipproto_client._timer import EngineTimer
from sipproto_client.port import Event, Runtime, Stream
from sipproto_wsproto import (
    Closed,
    MessageReceived,
    Opened,
    Output,
    Transmit,
    WebSocketConnection,
    WebSocketLimits,
)

_MAX_UNSENT = 4 * 1024 * 1024  # octets; a peer that reads nothing must not fill our memory
_LINGER = 2.0  # seconds for the last octets, such as a closing frame, to a peer that may not read them
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


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
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


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
    if not _TARGET.fullmatch(target) or not _is_host(parts.hostname):
        raise LocalProtocolError(f"{excerpt(text)} has characters that cannot stand in a server address")
    return ServerUrl(scheme=parts.scheme, host=parts.hostname, port=port or _DEFAULT_PORTS[parts.scheme], target=target)


_TARGET = re.compile(r"[!-~]+")  # what a request line can hold


def _is_host(host: str) -> bool:
    """Whether a resolver can be asked for it: some names are refused by IDNA before anybody looks for them."""
    try:
        return host.encode("idna").isascii() and not re.search(r"[\x00-\x20\x7f/\\\"<>]", host)
    except UnicodeError:
        return False


@frozen(kw_only=True)
class TlsSettings:
    """How certificates of servers are checked. They always are, by the system's authorities or those of `ca_file`."""

    ca_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Raises LocalProtocolError when `ca_file` cannot be used."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            raise LocalProtocolError(f"{self.ca_file} holds no certificates in PEM form") from None
        except OSError as error:
            raise LocalProtocolError(f"cannot read {self.ca_file}: {error.strerror}") from None


@frozen(kw_only=True)
class FlowSettings:
    tls: TlsSettings = TlsSettings()
    limits: WebSocketLimits = field(factory=WebSocketLimits)


def describe_error(error: BaseException, url: ServerUrl) -> str:
    """What went wrong with a connection, in one line fit for a user."""
    where = f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {url.host} does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no common protocol").lower().replace("_", " ")
        return f"TLS with {where} failed: {reason}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}: connection refused"
    if error.__class__.__name__ == "gaierror":
        return f"the host name {url.host!r} is unknown"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return f"{where} cut the connection"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"no connection to {where}: {text}"


class Outbox:
    """What still has to be written, and a bell for its writer."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._bell = runtime.event()

    @property
    def is_empty(self) -> bool:
        return not self._chunks

    @property
    def overflows(self) -> bool:
        return self._size > _MAX_UNSENT

    def put(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._bell.set()

    def ring(self) -> None:
        self._bell.set()

    async def take(self) -> bytes:
        """Everything that waits, at least once the bell has rung; b"" when it rang for something else."""
        if not self._chunks:
            await self._bell.wait()
            self._bell = self._runtime.event()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data


class WebSocketFlow:
    """Runs one WebSocket over a stream and reports to the core through `step`."""

    def __init__(
        self,
        runtime: Runtime,
        stream: Stream,
        connection: WebSocketConnection,
        step: Callable[[Input], None],
        flow: FlowId,
        transport: str,
    ) -> None:
        self._runtime = runtime
        self._stream = stream
        self._ws = connection
        self._step = step
        self._flow = flow
        self._transport = transport
        self._outbox = Outbox(runtime)
        # The WebSocket's own deadlines: pings, pongs, the handshakes.
        self._timer = EngineTimer(runtime, connection.next_timeout, self._time_passed)
        self._ended: Event = runtime.event()
        self._written: Event = runtime.event()
        self._opened = False
        self._over = False
        self._quiet = False  # the core has closed the flow and wants to hear no more

    def send(self, data: bytes) -> None:
        self._carry_out(self._ws.send(data))

    def close(self) -> None:
        """The core has closed the flow."""
        self._quiet = True
        self._carry_out(self._ws.close(self._runtime.now()))

    async def run(self) -> None:
        """Moves octets until the connection is over, then has it written what is left, and closes the stream."""
        try:
            self._carry_out(self._ws.start(self._runtime.now()))
            async with self._runtime.task_group() as tasks:
                for task in (self._read, self._write, self._timer.run):
                    tasks.start_soon(task)
                await self._ended.wait()
                # A peer that reads nothing would hold the writer, and with it the socket, for ever.
                await self._runtime.wait(self._written, _LINGER)
                tasks.cancel()
        finally:
            await self._stream.aclose()
            self._lost("the connection was cut")

    async def _read(self) -> None:
        while not self._over:
            try:
                data = await self._stream.receive()
            except OSError as error:
                self._lost(error.strerror or str(error) or "the connection is broken")
                return
            self._carry_out(self._ws.receive(data or None, self._runtime.now()))

    async def _write(self) -> None:
        try:
            while not (self._over and self._outbox.is_empty):
                if data := await self._outbox.take():
                    await self._stream.send(data)
        except OSError as error:
            self._lost(error.strerror or str(error) or "the connection is broken")
        self._written.set()

    def _time_passed(self) -> None:
        self._carry_out(self._ws.handle_timeout(self._runtime.now()))

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Transmit(data=data):
                    self._outbox.put(data)
                case Opened():
                    self._opened = True
                    self._say(FlowOpened(flow=self._flow, transport=self._transport, local=self._stream.local))
                case MessageReceived(data=data):
                    self._say(DataReceived(flow=self._flow, data=data))
                case Closed(error=error):
                    self._lost(error)
        if self._outbox.overflows:
            self._lost("the peer does not read what is sent to it")
        self._timer.look()

    def _lost(self, error: str | None) -> None:
        if self._over:
            return
        self._over = True
        self._ended.set()
        self._outbox.ring()
        if self._opened:
            self._say(FlowClosed(flow=self._flow, error=error))
        else:
            self._say(OpenFlowFailed(flow=self._flow, error=error or "the server closed the connection"))

    def _say(self, what: Input) -> None:
        if not self._quiet:
            self._step(what)


async def open_flow(
    runtime: Runtime,
    url: ServerUrl,
    settings: FlowSettings,
    flow: FlowId,
    step: Callable[[Input], None],
    opened: Callable[[WebSocketFlow], None],
) -> None:
    """Connects to a server and serves the flow until it ends. Every way it can go wrong ends in an input to the core."""
    try:
        tls = settings.tls.context() if url.scheme == "wss" else None
        stream = await runtime.connect(url.host, url.port, tls, url.host)
    except LocalProtocolError as error:
        step(OpenFlowFailed(flow=flow, error=str(error)))
        return
    except OSError as error:
        step(OpenFlowFailed(flow=flow, error=describe_error(error, url)))
        return
    connection = WebSocketConnection(client=True, host=url.authority, target=url.target, limits=settings.limits)
    runner = WebSocketFlow(runtime, stream, connection, step, flow, url.transport)
    opened(runner)
    await runner.run()
