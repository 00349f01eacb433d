"""SIP over WebSocket (RFC 7118), sans-IO, on wsproto."""

from sipproto_wsproto._connection import (
    SUBPROTOCOL,
    Closed,
    HandshakeGuard,
    MessageReceived,
    Opened,
    Output,
    Transmit,
    WebSocketConnection,
    WebSocketLimits,
)

__all__ = [
    "SUBPROTOCOL",
    "Closed",
    "HandshakeGuard",
    "MessageReceived",
    "Opened",
    "Output",
    "Transmit",
    "WebSocketConnection",
    "WebSocketLimits",
]
