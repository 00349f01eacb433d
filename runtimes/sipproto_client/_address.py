"""Hosts and errors as users see them."""

from __future__ import annotations

import socket
import ssl

from sipproto.agent.outputs import ConnectFailure


def authority(host: str, port: int) -> str:
    """host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def known(address: tuple[str, int]) -> tuple[str, int] | None:
    """An address, unless the peer had gone before it could be asked for."""
    return address if address[0] else None


def describe_error(error: BaseException, host: str, port: int, name: str | None = None) -> str:
    """What went wrong with a connection, in one line fit for a user. `name`: what the certificate has to be for."""
    where = authority(host, port)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {name or host} does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no common protocol").lower().replace("_", " ")
        return f"TLS with {where} failed: {reason}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}: connection refused"
    if isinstance(error, socket.gaierror):
        return f"the host name {host!r} is unknown"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return f"{where} cut the connection"
    return f"no connection to {where}: {plain_text(error)}"


_FAILURES: tuple[tuple[type[BaseException], ConnectFailure], ...] = (
    (ssl.SSLCertVerificationError, ConnectFailure.CERTIFICATE),
    (ssl.SSLError, ConnectFailure.TLS),
    (ConnectionRefusedError, ConnectFailure.REFUSED),
    (socket.gaierror, ConnectFailure.UNKNOWN_HOST),
    (TimeoutError, ConnectFailure.TIMEOUT),
    (OSError, ConnectFailure.UNREACHABLE),
)


def failure_of(error: BaseException) -> ConnectFailure | None:
    """What went wrong with a connection, for programs."""
    return next((failure for kind, failure in _FAILURES if isinstance(error, kind)), None)


def plain_text(error: BaseException) -> str:
    """The text of an error without its number."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or "the connection is broken"
