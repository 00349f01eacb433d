"""sipproto: SIP without I/O.

The layers, each usable alone: `sipproto.message` (octets and messages), `sipproto.auth`, `sipproto.sdp`,
`sipproto.negotiation` (offer and answer), `sipproto.transaction`, `sipproto.dialog`, `sipproto.agent` (the user agent
engine). Runtimes and adapters are packages of their own: `sipproto_anyio`, `sipproto_trio`, `sipproto_wsproto` ...
"""

from sipproto.agent import AgentConfig, Cause, MediaEngine, UserAgent
from sipproto.auth import Secret
from sipproto.errors import (
    Fault,
    FramingError,
    LocalProtocolError,
    MessageSyntaxError,
    RemoteProtocolError,
    SipProtoError,
)
from sipproto.message import Headers, Request, Response, SipUri, parse_message, parse_uri, validate

__version__ = "0.1.0"

__all__ = [
    "AgentConfig",
    "Cause",
    "Fault",
    "FramingError",
    "Headers",
    "LocalProtocolError",
    "MediaEngine",
    "MessageSyntaxError",
    "RemoteProtocolError",
    "Request",
    "Response",
    "Secret",
    "SipProtoError",
    "SipUri",
    "UserAgent",
    "__version__",
    "parse_message",
    "parse_uri",
    "validate",
]
