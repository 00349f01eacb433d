"""The port of transports: one class to write for a new way to reach servers. See docs/transports.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from sipproto.agent.outputs import ConnectFailure
from sipproto_client.port import Runtime

if TYPE_CHECKING:
    from sipproto_client._settings import FlowSettings


class ConnectError(ConnectionError):
    """There is no connection. The text is for users, `failure` for programs; certificate: as in OpenFlowFailed."""

    def __init__(self, text: str, failure: ConnectFailure | None = None, certificate: bytes | None = None) -> None:
        super().__init__(text)
        self.failure = failure
        self.certificate = certificate


@frozen(kw_only=True)
class Opening:
    """What a transport gets besides the address.

    transport: the one to use (UDP, TCP, TLS ...) even if the address says another; None leaves it to the address.
    """

    runtime: Runtime
    settings: FlowSettings
    transport: str | None = None


class Channel(Protocol):
    """An open connection. The client sends from one task and receives in another, and closes it exactly once."""

    @property
    def transport(self) -> str:
        """The name for Via: UDP, TCP and TLS carry SIP as RFC 3261 18 has it, each other name whole messages."""
        ...

    @property
    def local(self) -> tuple[str, int] | None:
        """Our (host, port), if there is such a thing."""
        ...

    @property
    def remote(self) -> tuple[str, int] | None:
        """The peer's (host, port), if there is such a thing."""
        ...

    async def send(self, data: bytes) -> None:
        """One message, or the next octets of a stream. May wait for the peer. Raises OSError when it cannot be sent."""
        ...

    async def receive(self) -> bytes | None:
        """The next message, or some octets of a stream; None when the peer has closed in order.

        Raises OSError when the connection is broken; its text is shown to users. After None or an error nothing comes.
        """
        ...

    async def aclose(self) -> None:
        """Closes, in order if that takes a short time at most. Releases everything also when it is cancelled."""
        ...


class Transport(Protocol):
    """How servers are reached whose addresses begin with one of `schemes`. One object may serve many flows."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """In lower case, without the colon."""
        ...

    def host_of(self, address: str) -> str:
        """The host that an address names, IPv6 without brackets. Does no I/O.

        Raises LocalProtocolError, with a text for users, for an address that can never work.
        """
        ...

    async def open(self, address: str, opening: Opening) -> Channel:
        """Connects; the channel is ready for SIP when this returns.

        Raises OSError with a text for users when there is no connection (ConnectionError(text) is fine, ConnectError says
        more), and LocalProtocolError for settings that cannot work. When it raises, or is cancelled, nothing may be left open.
        """
        ...
