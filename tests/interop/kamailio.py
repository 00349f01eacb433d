"""Kamailio as a real SIP registrar and proxy, started on free loopback ports for the interop tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from sipproto_client import FlowSettings, TlsSettings, parse_host_mapping

from .ports import free_port, is_bound

HERE = Path(__file__).resolve().parent
INSTALL_HINT = "run tests/interop/install-peers as root to install the peers of the interop tests"
USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "jane")


def password_of(user: str) -> str:
    return f"secret-{user}"


class Kamailio:
    """A Kamailio child process, to be used as a context manager.

    It listens on UDP, TCP and TLS; WebSocket clients use the TCP (ws) and TLS (wss) ports. The location table
    is in memory only, so that `restart()` forgets all registrations.

    Some users are special: calls and requests of frank go by a Service-Route, and a MESSAGE to ivan needs a password of
    a second realm, too. INFOs of conference clients are refused in calls to grace, and never answered in those to heidi. `nonce_expire`: seconds until a nonce is stale. `bridge`: the control port of an rtpengine, which
    then carries the media between WebSocket clients (WebRTC) and all others (plain RTP), for jane with other codecs.
    """

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
        self._directory = Path(tempfile.mkdtemp(prefix="rig-kamailio-"))
        self.ca_file = self._directory / "ca.pem"
        self._log_file = self._directory / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._write_files()
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    def start(self) -> None:
        program = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin")
        if program is None:
            raise RuntimeError(f"there is no kamailio program: {INSTALL_HINT}")
        arguments = ["-DD", "-E", "-m", "64", "-M", "8", "-f", "kamailio.cfg", "-Y", ".", "-w", "."]
        if self._bridge is not None:
            arguments += ["-A", "WITH_BRIDGE"]
        with self._log_file.open("ab") as log:
            # A session of its own, so that one signal reaches Kamailio and all of its worker processes.
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Ends Kamailio in good order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """Ends Kamailio and its workers at once, as a crash would."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # The whole group is gone already.
        self._process.wait()
        # The workers are killed at the same time, but may live a moment longer, and answer.
        deadline = time.monotonic() + 2
        while is_bound("udp", self.udp_port) or is_bound("tcp", self.tcp_port):
            assert time.monotonic() < deadline, "a worker of kamailio survives SIGKILL"
            time.sleep(0.002)
        self._process = None

    def restart(self) -> None:
        """Starts Kamailio again on the same ports, with an empty location table."""
        self.stop()
        self.start()

    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def _clean_up(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        # The ports accept connections before the worker processes exist, so only an answer proves that it runs.
        deadline = time.monotonic() + 10
        while not self._answers_options():
            if process.poll() is not None:
                raise RuntimeError(
                    f"kamailio ended with status {process.returncode}; if a module is missing, {INSTALL_HINT}:\n"
                    f"{self.log()[-3000:]}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"kamailio does not answer on {self.tcp_port}:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def _answers_options(self) -> bool:
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

    def _write_files(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert(self.domain, "localhost", "127.0.0.1")
        private_key_file = self._directory / "server.key"
        certificate_file = self._directory / "server.pem"
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
        (self._directory / "kamailio.cfg").write_text(text)


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
