"""Ports on 127.0.0.1 for peers: free ones, and whether a peer has taken its own."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

# What the kernel calls an open UDP socket, and a TCP socket that listens (Linux, include/net/tcp_states.h)
_OPEN = {"udp": "07", "tcp": "0A"}
# The system would give a port again that its peer has not taken yet.
_given: set[tuple[str, int]] = set()


def free_port(transport: str) -> int:
    """`transport`: udp or tcp. No port is given twice."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    while True:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if (transport, port) not in _given:
            _given.add((transport, port))
            return port


def is_bound(transport: str, port: int) -> bool:
    """On 127.0.0.1: elsewhere another program may have the same one. Asked of the system, since trying to bind it could take
    it from under the peer's nose.
    """
    address = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}:{port:04X}"
    for line in Path(f"/proc/net/{transport}").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == address and words[3] == _OPEN[transport]:
            return True
    return False
