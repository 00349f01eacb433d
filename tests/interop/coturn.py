"""coturn as a real STUN and TURN server, started on free ports for the interop tests."""

from __future__ import annotations

import socket

import trustme

from sipproto_aiortc import IceServer

from .child import Child
from .ports import free_port

USER, PASSWORD = "alice", "secret-alice"
# A Binding request without attributes (RFC 8489 5)
_BINDING_REQUEST = bytes.fromhex("0001 0000 2112a442 000102030405060708090a0b")


class Coturn(Child):
    """It listens at `address` and relays from there.

    `options` are further ones of its command line. Its certificate is good for localhost and 127.0.0.1, and of an
    authority of its own, `ca_file`.
    """

    program = "turnserver"

    def __init__(self, *options: str, address: str = "127.0.0.1") -> None:
        self._address = address
        self.port = free_port("udp")
        self.tls_port = free_port("tcp")
        self._options = options

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def url(self, kind: str) -> str:
        """`kind`: stun, udp, tcp or tls."""
        host = f"[{self._address}]" if ":" in self._address else self._address
        return {
            "stun": f"stun:{host}:{self.port}",
            "udp": f"turn:{host}:{self.port}",
            "tcp": f"turn:{host}:{self.port}?transport=tcp",
            "tls": f"turns:localhost:{self.tls_port}",
        }[kind]

    def server(self, *kinds: str, password: str = PASSWORD) -> IceServer:
        """What an engine needs to know; the kinds are those of `url`."""
        urls = tuple(self.url(kind) for kind in kinds)
        return IceServer(urls, username=USER, credential=password, ca_file=self.ca_file)

    def _arguments(self) -> list[str]:
        return [
            *("-n", "--no-cli", "--no-dtls", "--no-rfc5780", "--allow-loopback-peers", "--verbose"),
            *("--listening-ip", self._address, "--relay-ip", self._address, "--listening-port", str(self.port)),
            *("--tls-listening-port", str(self.tls_port), "--cert", "server.pem", "--pkey", "server.key"),
            *("--lt-cred-mech", "--realm", "rig.test", "--user", f"{USER}:{PASSWORD}", "--db", "turndb"),
            *("--log-file", "stdout", "--pidfile", "turnserver.pid", "--relay-threads", "1", *self._options),
        ]

    def _is_ready(self) -> bool:
        return self._answers() and self._accepts(self.port) and self._accepts(self.tls_port)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET6 if ":" in self._address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            try:
                probe.connect((self._address, self.port))
                probe.send(_BINDING_REQUEST)
                return probe.recv(2048)[:2] == b"\x01\x01"
            except OSError:
                return False

    def _accepts(self, port: int) -> bool:
        try:
            socket.create_connection((self._address, port), timeout=0.2).close()
        except OSError:
            return False
        return True

    def _configure(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "server.pem"))
