"""SIP over WebSocket (RFC 7118) on wsproto, without I/O: octets and time in, octets and messages out."""

from __future__ import annotations

import h11
from attrs import field, frozen
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.connection import ConnectionState
from wsproto.extensions import Extension
from wsproto.utilities import LocalProtocolError as WsLocalError
from wsproto.utilities import RemoteProtocolError as WsRemoteError

SUBPROTOCOL = "sip"


@frozen(kw_only=True)
class WebSocketLimits:
    """max_message: octets of one message; a larger one closes the connection with 1009 (RFC 6455 7.4.1).

    ping_interval: seconds of silence after which a ping goes out; below the 30 s after which proxies cut idle connections.
    pong_timeout: seconds to wait for its pong (10, as RFC 5626 4.4.1 has it); then the connection counts as dead.
    close_timeout: seconds to wait for the peer's closing frame.
    handshake_timeout: seconds until the handshake must be done; its octets are limited by h11 (16 KiB).
    """

    max_message: int = 256 * 1024
    ping_interval: float = 25.0
    pong_timeout: float = 10.0
    close_timeout: float = 2.0
    handshake_timeout: float = 10.0


@frozen(kw_only=True)
class HandshakeGuard:
    """Whom a server lets in: it keeps web pages of others away from a server on this machine.

    hosts: acceptable names in the Host header, without port (against DNS rebinding). origins: acceptable Origin values;
    a client that sends none is no web page and passes. None: anything.
    """

    hosts: frozenset[str] | None = None
    origins: frozenset[str] | None = frozenset()

    def refuses(self, request: ws.Request) -> bool:
        name = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
        if self.hosts is not None and name.lower() not in self.hosts:
            return True
        origins = [value.decode("latin-1") for key, value in request.extra_headers if key.lower() == b"origin"]
        return self.origins is not None and any(origin not in self.origins for origin in origins)


@frozen(kw_only=True)
class Transmit:
    """Write these octets to the stream."""

    data: bytes = field(repr=False)


@frozen(kw_only=True)
class Opened:
    """The handshake is done; `target` and `host` are what a client asked for."""

    target: str = "/"
    host: str = ""


@frozen(kw_only=True)
class MessageReceived:
    """One message: one SIP message or keep-alive (RFC 7118 5)."""

    data: bytes = field(repr=False)


@frozen(kw_only=True)
class Closed:
    """The connection is over: close the stream. `error` is None after an orderly end."""

    error: str | None = None


Output = Transmit | Opened | MessageReceived | Closed


class WebSocketConnection:
    """One WebSocket connection, as a client or as a server.

    Every method returns all of its outputs. After `Closed` nothing more comes; write what was returned before, then close
    the stream. Call `receive(None, now)` at the end of the stream, and `handle_timeout` when `next_timeout` has passed.
    """

    def __init__(
        self,
        *,
        client: bool,
        host: str = "",
        target: str = "/",
        limits: WebSocketLimits | None = None,
        origin: str | None = None,
        guard: HandshakeGuard | None = None,
    ) -> None:
        self._limits = limits or WebSocketLimits()
        self._client = client
        self._host = host
        self._target = target
        self._origin = origin
        self._guard = guard
        self._ws = WSConnection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._opened = False
        self._over = False
        self._message = bytearray()  # one buffer: a list of parts would grow by empty fragments without bound
        self._deadline: float | None = None
        self._waiting_for = ""  # what the deadline is for: "handshake", "ping", "pong" or "close"
        self._pings = 0

    # -- inputs ------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Output]:
        """A client's handshake; nothing for a server. Either waits `handshake_timeout` for the other's part.

        Raises ValueError for a host or target that cannot stand in a request.
        """
        self._arm("handshake", now + self._limits.handshake_timeout)
        if not self._client:
            return []
        headers: list[tuple[bytes, bytes]] = [] if self._origin is None else [(b"Origin", self._origin.encode())]
        request = ws.Request(
            host=self._host,
            target=self._target,
            subprotocols=[SUBPROTOCOL],
            extensions=_NO_EXTENSIONS,
            extra_headers=headers,
        )
        try:
            return [Transmit(data=self._ws.send(request))]
        except (WsLocalError, h11.LocalProtocolError, UnicodeError) as error:
            raise ValueError(f"no handshake with this host and target: {error}") from None

    def receive(self, data: bytes | None, now: float) -> list[Output]:
        """Octets of the stream; None for its end."""
        out: list[Output] = []
        if self._over:
            return out
        if data is None:
            self._end(out, None if self._waiting_for == "close" else "the connection was cut")
            return out
        if not data:
            return out  # h11 would take it for the end
        if self._opened and self._waiting_for != "close":
            self._arm("ping", now + self._limits.ping_interval)
        try:
            self._ws.receive_data(data)
            for event in self._ws.events():
                self._event(event, now, out)
                if self._over:
                    return out
        # Besides its own error wsproto lets out those of what it calls, as of a Host header that is no IDNA.
        except (WsRemoteError, WsLocalError, h11.ProtocolError, ValueError) as error:
            self._misspoken(error, out)
        return out

    def send(self, data: bytes) -> list[Output]:
        """One message. Text when it is UTF-8, binary otherwise (RFC 7118 5). Nothing after the end."""
        if self._over or not self._opened or self._waiting_for == "close":
            return []
        try:
            message: ws.Event = ws.TextMessage(data=data.decode("utf-8"))
        except UnicodeDecodeError:
            message = ws.BytesMessage(data=data)
        return [Transmit(data=self._ws.send(message))]

    def close(self, now: float, code: int = 1000) -> list[Output]:
        """Begins an orderly end; `Closed` follows, after `close_timeout` at the latest."""
        out: list[Output] = []
        if self._over:
            return out
        if not self._opened or self._waiting_for == "close":
            self._end(out, None)
            return out
        out.append(Transmit(data=self._ws.send(ws.CloseConnection(code=code))))
        self._arm("close", now + self._limits.close_timeout)
        return out

    def next_timeout(self) -> float | None:
        return None if self._over else self._deadline

    def handle_timeout(self, now: float) -> list[Output]:
        """Too early does nothing."""
        out: list[Output] = []
        if self._over or self._deadline is None or now < self._deadline:
            return out
        if self._waiting_for == "ping":
            self._pings += 1
            out.append(Transmit(data=self._ws.send(ws.Ping(payload=b"%d" % self._pings))))
            self._arm("pong", now + self._limits.pong_timeout)
        elif self._waiting_for == "pong":
            self._end(out, f"no answer to a ping within {self._limits.pong_timeout:g} s")
        elif self._waiting_for == "handshake":
            self._end(out, f"no WebSocket handshake within {self._limits.handshake_timeout:g} s")
        else:
            self._end(out, None)
        return out

    # -- parts -------------------------------------------------------------------------------------------------------

    def _arm(self, what: str, deadline: float) -> None:
        self._waiting_for, self._deadline = what, deadline

    def _end(self, out: list[Output], error: str | None) -> None:
        self._over = True
        self._message.clear()
        out.append(Closed(error=error))

    def _misspoken(self, error: Exception, out: list[Output]) -> None:
        """The peer sent what is no WebSocket; a browser or scanner at a server gets HTTP in return."""
        if not self._opened and not self._client:
            try:
                hint = error.event_hint if isinstance(error, WsRemoteError) else None
                reject = hint if isinstance(hint, ws.RejectConnection) else ws.RejectConnection(status_code=400)
                out.append(Transmit(data=self._ws.send(reject)))
            except (WsLocalError, h11.LocalProtocolError):
                pass  # too little was understood for an answer
        self._fail(_plain(error), out, close=self._opened)

    def _fail(self, error: str, out: list[Output], *, close: bool, code: int = 1002) -> None:
        if close and self._ws.state is ConnectionState.OPEN:
            try:
                out.append(Transmit(data=self._ws.send(ws.CloseConnection(code=code, reason=error[:100]))))
            except WsLocalError:
                pass  # the peer's own close came in the same octets
        self._end(out, error)

    def _event(self, event: ws.Event, now: float, out: list[Output]) -> None:
        match event:
            case ws.Request():
                self._requested(event, now, out)
            case ws.AcceptConnection():
                if event.subprotocol != SUBPROTOCOL:  # RFC 7118 4.1
                    self._fail("the server does not speak SIP over this WebSocket", out, close=True)
                    return
                self._open(now, out, self._target, self._host)
            case ws.RejectConnection():
                self._end(out, f"the server refused the WebSocket: HTTP status {event.status_code}")
            case ws.Ping() if self._waiting_for == "close":
                pass  # nothing may follow our closing frame (RFC 6455 5.5.1)
            case ws.Ping():
                out.append(Transmit(data=self._ws.send(event.response())))
            case ws.CloseConnection():
                self._peer_closed(event, out)
            case ws.TextMessage() | ws.BytesMessage():
                self._part(event.data, event.message_finished, out)
            case _:
                pass  # a pong: what counts is that something was heard

    def _requested(self, event: ws.Request, now: float, out: list[Output]) -> None:
        if SUBPROTOCOL not in event.subprotocols:
            out.append(Transmit(data=self._ws.send(ws.RejectConnection(status_code=400))))
            self._end(out, "the client did not ask for SIP")
            return
        if self._guard is not None and self._guard.refuses(event):
            out.append(Transmit(data=self._ws.send(ws.RejectConnection(status_code=403))))
            self._end(out, "a foreign Host or Origin")
            return
        out.append(Transmit(data=self._ws.send(ws.AcceptConnection(subprotocol=SUBPROTOCOL))))
        self._open(now, out, event.target, event.host)

    def _open(self, now: float, out: list[Output], target: str, host: str) -> None:
        self._opened = True
        self._arm("ping", now + self._limits.ping_interval)
        out.append(Opened(target=target, host=host))

    def _peer_closed(self, event: ws.CloseConnection, out: list[Output]) -> None:
        if self._ws.state is ConnectionState.OPEN:  # no frame of the peer: wsproto's way to say that it cannot read one
            fault = _plain(ValueError(event.reason or "a malformed frame"))
            self._fail(fault, out, close=True, code=int(event.code))
            return
        if self._ws.state is ConnectionState.REMOTE_CLOSING:
            out.append(Transmit(data=self._ws.send(event.response())))
        if self._waiting_for == "close" or event.code in (1000, 1001):
            self._end(out, None)
        else:
            reason = f": {_printable(event.reason)}" if event.reason else ""
            self._end(out, f"the peer closed the connection with code {event.code}{reason}")

    def _part(self, data: str | bytes | bytearray, finished: bool, out: list[Output]) -> None:
        self._message += data.encode("utf-8") if isinstance(data, str) else data
        if len(self._message) > self._limits.max_message:
            self._fail(f"a message of more than {self._limits.max_message} octets", out, close=True, code=1009)
        elif finished:
            message = bytes(self._message)
            self._message.clear()
            out.append(MessageReceived(data=message))


_NO_EXTENSIONS: list[Extension] = []  # no compression: SIP messages are small, and memory per connection counts


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _plain(error: Exception) -> str:
    return f"the peer does not speak WebSocket properly: {_printable(str(error))[:120]}"
