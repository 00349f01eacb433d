"""Embedded registrar and conference focus: for the demo, for tests, for local use."""

from sipproto_server._core import (
    DEFAULT_SERVICES,
    PrepareMedia,
    Relayed,
    ServerConfig,
    ServerCore,
    ServerOutput,
    Service,
    UserChanged,
)
from sipproto_server._server import LOOPBACK, Server, ServiceEngine, run_server

__all__ = [
    "DEFAULT_SERVICES",
    "LOOPBACK",
    "PrepareMedia",
    "Relayed",
    "Server",
    "ServerConfig",
    "ServerCore",
    "ServerOutput",
    "Service",
    "ServiceEngine",
    "UserChanged",
    "run_server",
]
