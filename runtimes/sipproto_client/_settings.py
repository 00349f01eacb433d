"""Settings of connections: certificates, limits, host mapping, and the table of transports."""

from __future__ import annotations

from attrs import field, frozen

from sipproto.errors import LocalProtocolError, excerpt
from sipproto_client._sip import SipTransport
from sipproto_client._tls import TlsSettings
from sipproto_client._websocket import WebSocketTransport
from sipproto_client.transport import Transport
from sipproto_stream import HostMapping
from sipproto_wsproto import WebSocketLimits


def default_transports() -> tuple[Transport, ...]:
    """WebSocket (ws, wss) and the transports of RFC 3261 (sip, sips, udp, tcp, tls)."""
    return (WebSocketTransport(), SipTransport())


@frozen(kw_only=True)
class FlowSettings:
    """Settings of connections, for all transports alike.

    limits: of WebSockets. hosts: names whose address the user gives; the last mapping of a name counts.
    transports: where the scheme of an address is looked for; of two with the same scheme the last counts.
    max_accepted: connections, and UDP peers, that `Endpoint.listen` serves at the same time; more are refused.
    udp_idle: seconds after which a silent UDP peer is forgotten. Calls with it are lost then, so this has to be longer
    than a call may be silent.
    """

    tls: TlsSettings = TlsSettings()
    limits: WebSocketLimits = field(factory=WebSocketLimits)
    hosts: tuple[HostMapping, ...] = ()
    transports: tuple[Transport, ...] = field(factory=default_transports)
    max_accepted: int = 1000
    udp_idle: float = 3600.0

    def transport_of(self, address: str) -> Transport:
        """The transport for an address. Raises LocalProtocolError when there is none."""
        scheme, colon, _ = address.partition(":")
        for transport in reversed(self.transports):
            if colon and scheme.lower() in transport.schemes:
                return transport
        raise LocalProtocolError(
            f"{excerpt(address)} is no server address; it looks like wss://sip.example.com/ws or "
            "sip:example.com;transport=tcp"
        )

    def host_of(self, address: str) -> str:
        """The host that a server address names. Raises LocalProtocolError for one that can never work."""
        return self.transport_of(address).host_of(address)
