"""What ICE is told to do: STUN and TURN servers (RFC 7064, RFC 7065), and which candidates are looked for how long."""

from __future__ import annotations

import re
import ssl
from typing import Literal, get_args

from attrs import Factory, field, frozen

IceTransportPolicy = Literal["all", "relay"]
GatherPolicy = Literal["complete", "first"]

_URL = re.compile(
    r"(stuns?|turns?):(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?(?:\?transport=([a-z]+))?", re.IGNORECASE
)
# How a server is spoken with, by scheme and transport of its URL.
_TRANSPORTS = {
    ("stun", ""): "udp",
    ("turn", ""): "udp",
    ("turn", "udp"): "udp",
    ("turn", "tcp"): "tcp",
    ("turns", ""): "tls",
    ("turns", "tcp"): "tls",
}
_PREFERENCE = ("udp", "tcp", "tls")


def _as_tuple(urls: str | tuple[str, ...]) -> tuple[str, ...]:
    return (urls,) if isinstance(urls, str) else tuple(urls)


@frozen
class IceServer:
    """A STUN or TURN server (W3C RTCIceServer); every URL is used.

    `stun:host:port`, `turn:host:port?transport=udp` (or `tcp`), `turns:host:port` (TLS). The certificate of a server behind
    `turns:` has to be good for the host of the URL and of an authority that the system trusts, or of one in `ca_file` (PEM).
    """

    urls: tuple[str, ...] = field(converter=_as_tuple)
    username: str | None = None
    credential: str | None = field(default=None, repr=False)
    ca_file: str | None = field(default=None, kw_only=True)


@frozen(kw_only=True)
class Endpoint:
    """One URL of a server, understood. `transport`: udp, tcp or tls."""

    url: str
    relays: bool
    host: str
    port: int
    transport: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{'TURN' if self.relays else 'STUN'} server {self.url}"


@frozen(kw_only=True)
class IceOptions:
    """Raises ValueError for what cannot be done."""

    servers: tuple[IceServer, ...] = ()
    policy: IceTransportPolicy = "all"
    include_loopback: bool = False
    gather_timeout: float = 2.0
    gather_policy: GatherPolicy = "complete"
    endpoints: tuple[Endpoint, ...] = field(
        init=False, repr=False, default=Factory(lambda self: _endpoints(self.servers), takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        if self.policy not in get_args(IceTransportPolicy):
            raise ValueError(f"the ICE transport policy is all or relay, not {self.policy!r}")
        if self.gather_policy not in get_args(GatherPolicy):
            raise ValueError(f"the gather policy is complete or first, not {self.gather_policy!r}")
        if self.policy == "relay" and not any(endpoint.relays for endpoint in self.endpoints):
            raise ValueError("the ICE transport policy relay needs a TURN server")


def _endpoints(servers: tuple[IceServer, ...]) -> tuple[Endpoint, ...]:
    found = [_endpoint(url, server) for server in servers for url in server.urls]
    return tuple(sorted(found, key=lambda endpoint: _PREFERENCE.index(endpoint.transport)))


def _endpoint(url: str, server: IceServer) -> Endpoint:
    if "@" in url:  # not shown, as somebody wrote a password into it
        raise ValueError("the URL of an ICE server holds no user name: that and the password are given beside it")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(f"malformed URL of a STUN or TURN server: {url!r}")
    scheme, host = match[1].lower(), match[2].strip("[]")
    transport = _TRANSPORTS.get((scheme, (match[4] or "").lower()))
    if transport is None:
        raise ValueError(
            f"{url!r}: this way to a server is not supported, but stun, turn with udp or tcp, and turns with tcp"
        )
    port = int(match[3] or (5349 if scheme == "turns" else 3478))
    if not 0 < port < 65536:
        raise ValueError(f"{url!r} has no port that exists")
    return Endpoint(
        url=url,
        relays=scheme != "stun",
        host=host,
        port=port,
        transport=transport,
        username=server.username,
        credential=server.credential,
        context=_context(server.ca_file) if transport == "tls" else None,
    )


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(ca_file)
        return context
    except OSError as error:  # ssl.SSLError is one, too
        raise ValueError(f"the CA file {ca_file} cannot be read: {error.strerror or error}") from None
