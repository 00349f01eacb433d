"""rtpengine as a real bridge between WebRTC and plain RTP, on free loopback ports for the interop tests."""

from __future__ import annotations

import itertools
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

from .kamailio import INSTALL_HINT
from .ports import free_port

# Where it takes its ports from; below those that the system gives away. A port that is taken is passed over.
_RTP_PORTS = (20000, 29999)


class Rtpengine:
    """An rtpengine child process in user space, to be used as a context manager, and to be started before Kamailio.

    `certificate`: the key of its DTLS certificate, "prime256v1" (its default) or "RSA".
    """

    def __init__(self, *, certificate: str = "prime256v1") -> None:
        self.control_port = free_port("udp")
        self._certificate = certificate
        self._directory = Path(tempfile.mkdtemp(prefix="rig-rtpengine-"))
        self._log_file = self._directory / "rtpengine.log"
        self._cookies = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def carries(self, call_id: str) -> bool:
        """Whether it knows a call of this Call-ID."""
        return f"{len(call_id)}:{call_id}".encode() in self._ask("list")

    def log(self) -> str:
        """Without our own questions."""
        text = self._log_file.read_text(errors="replace") if self._log_file.exists() else ""
        return "\n".join(line for line in text.splitlines() if "'list'" not in line)

    def _start(self) -> None:
        program = shutil.which("rtpengine") or shutil.which("rtpengine", path="/usr/bin:/usr/sbin")
        if program is None:
            raise RuntimeError(f"there is no rtpengine program: {INSTALL_HINT}")
        low, high = _RTP_PORTS
        arguments = [
            *("--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6"),
            *("--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{self.control_port}"),
            *(f"--port-min={low}", f"--port-max={high}", "--num-threads=2"),
            # Calls are forgotten as soon as they have ended, so that what is left over is seen.
            *("--delete-delay=0", f"--dtls-cert-cipher={self._certificate}"),
        ]
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"rtpengine ended with status {self._process.returncode}:\n{self.log()[-3000:]}")
            try:
                assert b"pong" in self._ask("ping", timeout=0.1)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"rtpengine does not answer:\n{self.log()[-3000:]}") from None
            time.sleep(0.02)

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

    def _end(self) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
