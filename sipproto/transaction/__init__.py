"""The four transaction machines of RFC 3261 17 with RFC 6026, as tables, and the layer that runs them."""

from sipproto.transaction._layer import (
    MAGIC_COOKIE,
    AckReceived,
    FlowId,
    RequestReceived,
    ResponseReceived,
    StrayResponse,
    TransactionEnded,
    TransactionFailed,
    TransactionId,
    TransactionLayer,
    TransactionOutput,
    Transmit,
)
from sipproto.transaction._tables import (
    CLIENT,
    INVITE_CLIENT,
    INVITE_SERVER,
    SERVER,
    TIMERS,
    Action,
    Input,
    State,
)

__all__ = [
    "CLIENT",
    "INVITE_CLIENT",
    "INVITE_SERVER",
    "MAGIC_COOKIE",
    "SERVER",
    "TIMERS",
    "AckReceived",
    "Action",
    "FlowId",
    "Input",
    "RequestReceived",
    "ResponseReceived",
    "State",
    "StrayResponse",
    "TransactionEnded",
    "TransactionFailed",
    "TransactionId",
    "TransactionLayer",
    "TransactionOutput",
    "Transmit",
]
