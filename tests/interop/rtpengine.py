"""rtpengine as a real bridge between WebRTC and plain RTP, on free loopback ports for the interop tests."""

from __future__ import annotations

import itertools
import socket

from .child import Child
from .ports import free_port

# Where it takes its ports from; below those that the system gives away. A port that is taken is passed over.
_RTP_PORTS = (20000, 29999)


class Rtpengine(Child):
    """It works in user space, and is to be started before Kamailio.

    `certificate`: the key of its DTLS certificate, "prime256v1" (its default) or "RSA".
    """

    program = "rtpengine"

    def __init__(self, *, certificate: str = "prime256v1") -> None:
        self.control_port = free_port("udp")
        self._certificate = certificate
        self._cookies = itertools.count()

    def carries(self, call_id: str) -> bool:
        """Whether it knows a call of this Call-ID."""
        return f"{len(call_id)}:{call_id}".encode() in self._ask("list")

    def log(self) -> str:
        """Without our own questions."""
        return "\n".join(line for line in super().log().splitlines() if "'list'" not in line)

    def _configure(self) -> None:
        """The command line says it all."""

    def _arguments(self) -> list[str]:
        low, high = _RTP_PORTS
        return [
            *("--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6"),
            *("--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{self.control_port}"),
            *(f"--port-min={low}", f"--port-max={high}", "--num-threads=2"),
            # Calls are forgotten as soon as they have ended, so that what is left over is seen.
            *("--delete-delay=0", f"--dtls-cert-cipher={self._certificate}"),
        ]

    def _is_ready(self) -> bool:
        try:
            return b"pong" in self._ask("ping", timeout=0.1)
        except OSError:
            return False

    def _ask(self, command: str, *, timeout: float = 5) -> bytes:
        """A command of its control protocol "ng". A cookie that was used before would get the answer of then."""
        cookie = f"rig{next(self._cookies)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            control.connect(("127.0.0.1", self.control_port))
            control.settimeout(timeout)
            control.send(f"{cookie} d7:command{len(command)}:{command}e".encode())
            answer = control.recv(65536)
        assert answer.startswith(f"{cookie} ".encode()), answer
        return answer
