"""Host names: which can be asked for, which are addresses, and which address the user has given them instead."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from attrs import frozen

from sipproto.errors import LocalProtocolError, excerpt

_NO_NAME = re.compile(r"[\x00-\x20\x7f/\\\"<>]")
_MAPPING = re.compile(r"([^=\s]+)\s*=\s*(?:\[([^\]\s]*)\]|([^:\s]*))(?::([0-9]{1,5}))?")


@frozen(kw_only=True)
class HostMapping:
    """Connect to this address, and this port if there is one, wherever `name` stands as a host.

    Only the connection goes there: the name stays in the check of the certificate, in the Host header and in SIP.
    """

    name: str
    address: str
    port: int | None = None


def parse_host_mapping(text: str) -> HostMapping:
    """`name=address[:port]`, with an IPv6 address in brackets. Raises LocalProtocolError, which says what is wrong."""
    match = _MAPPING.fullmatch(text.strip())
    if match is None:
        raise LocalProtocolError(
            f"{excerpt(text)} is no host mapping; it looks like sip.example.com=192.0.2.1:5061 or =[2001:db8::1]:5061"
        )
    name, ipv6, other, port = match.groups()
    address = numeric_host(f"[{ipv6}]" if ipv6 is not None else other)
    if address is None:
        raise LocalProtocolError(f"{excerpt(text)}: a name is mapped to an IP address")
    if not host_is_usable(name):
        raise LocalProtocolError(f"{excerpt(text)}: this cannot be a host name")
    if port is not None and not 0 < int(port) < 65536:
        raise LocalProtocolError(f"{excerpt(text)}: a port is a number from 1 to 65535")
    return HostMapping(name=name.lower(), address=address, port=None if port is None else int(port))


def find_mapping(mappings: Iterable[HostMapping], name: str) -> HostMapping | None:
    """The last mapping of a name, so that a user can override what was set before."""
    wanted = name.lower().rstrip(".")
    return next((m for m in reversed(tuple(mappings)) if m.name.lower().rstrip(".") == wanted), None)


def numeric_host(host: str) -> str | None:
    """The address that a host is, without the brackets that IPv6 has in URIs; None for a name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return None if address.version == 4 and bare != host else bare


def host_is_usable(host: str) -> bool:
    """Whether a resolver can be asked for it: some names are refused by IDNA before anybody looks for them."""
    try:
        return host.encode("idna").isascii() and not _NO_NAME.search(host)
    except UnicodeError:
        return False
