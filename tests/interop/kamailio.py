"""Kamailio as a real SIP registrar and proxy, started on free loopback ports for the interop tests."""

from __future__ import annotations

import socket
from pathlib import Path

import trustme

from sipproto_client import FlowSettings, TlsSettings, parse_host_mapping

from .child import Child
from .ports import free_port

HERE = Path(__file__).resolve().parent
USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "jane")


def password_of(user: str) -> str:
    return f"secret-{user}"


class Kamailio(Child):
    """It listens on UDP, TCP and TLS; WebSocket clients use the TCP (ws) and TLS (wss) ports. The location table
    is in memory only, so that `restart()` forgets all registrations.

    Some users are special: calls and requests of frank go by a Service-Route, and a MESSAGE to ivan needs a password of
    a second realm, too. INFOs of conference clients are refused in calls to grace, and never answered in those to heidi. `nonce_expire`: seconds until a nonce is stale. `bridge`: the control port of an rtpengine, which
    then carries the media between WebSocket clients (WebRTC) and all others (plain RTP), for jane with other codecs.
    """

    program = "kamailio"
    domain = "rig.test"

    def __init__(
        self,
        *,
        algorithm: str = "MD5",
        ping_interval: int = 5,
        min_expires: int = 10,
        nonce_expire: int = 300,
        bridge: int | None = None,
    ) -> None:
        self._bridge = bridge
        self.algorithm = algorithm
        self.nonce_expire = nonce_expire
        self.ping_interval = ping_interval
        self.min_expires = min_expires
        self.udp_port = free_port("udp")
        self.tcp_port = free_port("tcp")
        self.tls_port = free_port("tcp")
        self.ws_url = f"ws://127.0.0.1:{self.tcp_port}"
        self.wss_url = f"wss://127.0.0.1:{self.tls_port}"

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def _arguments(self) -> list[str]:
        bridged = [] if self._bridge is None else ["-A", "WITH_BRIDGE"]
        return ["-DD", "-E", "-m", "64", "-M", "8", "-f", "kamailio.cfg", "-Y", ".", "-w", ".", *bridged]

    def _is_ready(self) -> bool:
        # The ports accept connections before the worker processes exist, so only an answer proves that it runs.
        request = (
            f"OPTIONS sip:{self.domain} SIP/2.0\r\n"
            "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKready\r\n"
            f"From: <sip:ready@{self.domain}>;tag=ready\r\n"
            f"To: <sip:{self.domain}>\r\n"
            "Call-ID: ready\r\n"
            "CSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        try:
            with socket.create_connection(("127.0.0.1", self.tcp_port), timeout=2) as connection:
                connection.sendall(request.encode())
                return connection.recv(4096).startswith(b"SIP/2.0 200 ")
        except OSError:
            return False

    def _configure(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert(self.domain, "localhost", "127.0.0.1")
        private_key_file = self.folder / "server.key"
        certificate_file = self.folder / "server.pem"
        certificate.private_key_pem.write_to_path(str(private_key_file))
        certificate.cert_chain_pems[0].write_to_path(str(certificate_file))

        values = {
            "DOMAIN": self.domain,
            "UDP_PORT": str(self.udp_port),
            "TCP_PORT": str(self.tcp_port),
            "TLS_PORT": str(self.tls_port),
            "CERTIFICATE": str(certificate_file),
            "PRIVATE_KEY": str(private_key_file),
            "ALGORITHM": self.algorithm,
            "NONCE_EXPIRE": str(self.nonce_expire),
            "PING_INTERVAL": str(self.ping_interval),
            "MIN_EXPIRES": str(self.min_expires),
            "BRIDGE_PORT": str(self._bridge or 0),
            "USERS": "\n".join(f'    $sht(users=>{user}) = "{password_of(user)}";' for user in USERS),
        }
        text = (HERE / "kamailio.cfg.in").read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        (self.folder / "kamailio.cfg").write_text(text)


def address(kamailio: Kamailio, kind: str) -> str:
    """Where a client of ours connects to, by transport."""
    return {
        "udp": f"sip:rig.test:{kamailio.udp_port}",
        "tcp": f"sip:rig.test:{kamailio.tcp_port};transport=tcp",
        "tls": f"sips:rig.test:{kamailio.tls_port}",
        "ws": kamailio.ws_url,
        "wss": f"wss://rig.test:{kamailio.tls_port}",
    }[kind]


def settings(kamailio: Kamailio) -> FlowSettings:
    """Kamailio has no name in the DNS, and its certificate is of an authority of its own."""
    return FlowSettings(
        tls=TlsSettings(ca_file=str(kamailio.ca_file)), hosts=(parse_host_mapping("rig.test=127.0.0.1"),)
    )
