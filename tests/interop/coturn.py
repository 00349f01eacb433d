"""coturn as a real STUN and TURN server, started on free ports for the interop tests."""

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

from sipproto_aiortc import IceServer

from .ports import free_port

INSTALL_HINT = "run tests/interop/install-peers as root to install the peers of the interop tests"
USER, PASSWORD = "alice", "secret-alice"
# A Binding request without attributes (RFC 8489 5)
_BINDING_REQUEST = bytes.fromhex("0001 0000 2112a442 000102030405060708090a0b")


class Coturn:
    """A coturn child process, to be used as a context manager. It listens at `address` and relays from there.

    `options` are further ones of its command line. Its certificate is good for localhost and 127.0.0.1, and of an
    authority of its own, `ca_file`.
    """

    def __init__(self, *options: str, address: str = "127.0.0.1") -> None:
        self._address = address
        self.port = free_port("udp")
        self.tls_port = free_port("tcp")
        self._options = options
        self._directory = Path(tempfile.mkdtemp(prefix="rig-coturn-"))
        self.ca_file = str(self._directory / "ca.pem")
        self._log_file = self._directory / "coturn.log"
        self._process: subprocess.Popen[bytes] | None = None

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

    def __enter__(self) -> Self:
        try:
            self._write_certificate()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        program = shutil.which("turnserver") or shutil.which("turnserver", path="/usr/bin")
        if program is None:
            raise RuntimeError(f"there is no turnserver program: {INSTALL_HINT}")
        arguments = [
            *("-n", "--no-cli", "--no-dtls", "--no-rfc5780", "--allow-loopback-peers", "--verbose"),
            *("--listening-ip", self._address, "--relay-ip", self._address, "--listening-port", str(self.port)),
            *("--tls-listening-port", str(self.tls_port), "--cert", "server.pem", "--pkey", "server.key"),
            *("--lt-cred-mech", "--realm", "rig.test", "--user", f"{USER}:{PASSWORD}", "--db", "turndb"),
            *("--log-file", "stdout", "--pidfile", "turnserver.pid", "--relay-threads", "1", *self._options),
        ]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *arguments], cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """Ends coturn at once, as a crash would; the ports stay its own for a `start` that follows."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 10
        while not (self._answers() and self._accepts(self.port) and self._accepts(self.tls_port)):
            if process.poll() is not None:
                raise RuntimeError(f"coturn ended with status {process.returncode}:\n{self.log()[-3000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"coturn does not answer on {self.port}:\n{self.log()[-3000:]}")
            time.sleep(0.02)

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

    def _write_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(self._directory / "server.key"))
        certificate.cert_chain_pems[0].write_to_path(str(self._directory / "server.pem"))
