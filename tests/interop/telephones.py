"""What real SIP telephones have in common: a process of its own in a folder of its own, and a recording of what it hears."""

from __future__ import annotations

import abc
import math
import os
import shutil
import signal
import subprocess
import wave
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy
from attrs import frozen

from .classic import wait_until
from .kamailio import INSTALL_HINT, Kamailio, password_of

_WAV_HEADER = 44  # octets
_SECONDS = 0.4  # of sound of which the tone is measured


@frozen(kw_only=True)
class Account:
    """Whose telephone it is, and where its registrar is; without one it is called and calls directly.

    transport: udp, tcp or tls. port: of the registrar on 127.0.0.1.
    """

    user: str
    domain: str = "127.0.0.1"
    transport: str = "udp"
    port: int | None = None

    @property
    def password(self) -> str:
        return password_of(self.user)


def account_at(server: Kamailio, user: str, transport: str) -> Account:
    port = {"udp": server.udp_port, "tcp": server.tcp_port, "tls": server.tls_port}[transport]
    return Account(user=user, domain=server.domain, transport=transport, port=port)


_SAID_RATE = 16000


def write_tone(file: Path, hertz: int) -> None:
    """A minute of it, in a whole number of periods: when it is played again there is no seam."""
    moments = numpy.arange(60 * _SAID_RATE) / _SAID_RATE
    tone = 0.5 * numpy.sin(2 * math.pi * hertz * moments)
    with wave.open(str(file), "wb") as said:
        said.setnchannels(1)
        said.setsampwidth(2)
        said.setframerate(_SAID_RATE)
        said.writeframes((tone * 32767).astype("<i2").tobytes())


class Telephone(abc.ABC):
    """A telephone in a process of its own, to be used as a context manager. It never outlives the block."""

    program: str
    loopback = "127.0.0.1"  # what it finds us at

    def __init__(self, folder: Path, account: Account) -> None:
        self.folder = folder / f"{self.program}-{account.user}"
        self.account = account
        self._log_file = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        with ExitStack() as stack:
            stack.callback(self._kill)
            self._start(stack)
            stack.callback(self._leave)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.told())
        self._stack.close()

    # -- what a user does --------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def address(self, transport: str) -> str:
        """Where it is reached without a server, as `Endpoint.connect` takes it."""

    @abc.abstractmethod
    def call(self, target: str) -> None: ...
    @abc.abstractmethod
    def answer(self) -> None: ...
    @abc.abstractmethod
    def hang_up(self) -> None:
        """Ends, cancels or refuses the call."""

    @abc.abstractmethod
    def hold(self) -> None: ...
    @abc.abstractmethod
    def resume(self) -> None: ...
    @abc.abstractmethod
    def transfer(self, target: str) -> None: ...
    @abc.abstractmethod
    def send_digits(self, digits: str) -> None: ...
    @abc.abstractmethod
    def send_message(self, target: str, text: str) -> None: ...

    # -- what a user notices -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def registered(self) -> None:
        """Waits until it is. So do the others for what their names say."""

    @abc.abstractmethod
    def rings(self, timeout: float = 10) -> None: ...
    @abc.abstractmethod
    def established(self) -> None: ...
    @abc.abstractmethod
    def closed(self) -> str:
        """Gives the reason as it tells its user."""

    @abc.abstractmethod
    def heard_digits(self, digits: str) -> None: ...
    @abc.abstractmethod
    def heard_message(self, text: str) -> None: ...
    @abc.abstractmethod
    def presences(self) -> str:
        """What is shown of the presence of others."""

    @abc.abstractmethod
    def recording(self) -> tuple[Path, int, int] | None:
        """The file that what it hears is written to, with its sample rate and channels; None before there is one."""

    def hears(self, hertz: float, timeout: float = 10) -> None:
        """Waits until this is the tone that comes in now: what was heard before does not count."""
        wait_until(lambda: self.recording() is not None, timeout, self.told)
        begun = self._recorded()
        wait_until(lambda: abs((self.frequency(begun) or 0) - hertz) <= 0.05 * hertz, timeout, self._heard)

    def frequency(self, begun: int = 0) -> float | None:
        """The strongest frequency of what was recorded last, in hertz; None before, and in silence."""
        found = self.recording()
        if found is None:
            return None
        file, rate, channels = found
        size = round(_SECONDS * rate) * channels * 2
        with file.open("rb") as data:
            end = self._recorded()
            if end - begun < size:
                return None
            data.seek(end - size)
            wave = numpy.frombuffer(data.read(size), "<i2").reshape(-1, channels)[:, 0] / 32768
        if numpy.sqrt(numpy.mean(wave**2)) < 0.01:
            return None
        spectrum = numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))
        return float(numpy.argmax(spectrum[1:]) + 1) * rate / len(wave)

    def _recorded(self) -> int:
        """Where the recording ends, in octets of the file, after a whole sample."""
        found = self.recording()
        if found is None:
            return _WAV_HEADER
        file, _, channels = found
        size = max(file.stat().st_size - _WAV_HEADER, 0)
        return _WAV_HEADER + size - size % (2 * channels)

    def _heard(self) -> str:
        return f"{self.frequency()} Hz, {self._recorded()} octets recorded\n{self.told()}"

    # -- the process -------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _start(self, stack: ExitStack) -> None: ...

    def _launch(self, *arguments: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        program = shutil.which(self.program)
        if program is None:
            raise RuntimeError(f"there is no {self.program} program: {INSTALL_HINT}")
        with (self.folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder), "TERM": "dumb"},
                stdin=stdin,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    @abc.abstractmethod
    def _quit(self) -> None:
        """Has it end by itself."""

    def _leave(self) -> None:
        """A telephone that is killed stays registered, and calls for its user would go there, too."""
        process = self._process
        if process is None or process.poll() is not None or self.account.port is None:
            return
        self._quit()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass

    def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended by itself
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def out(self) -> str:
        file = self.folder / "out"
        return file.read_text(errors="replace") if file.exists() else ""

    def told(self) -> str:
        status = None if self._process is None else self._process.poll()
        ended = "still running" if status is None else f"ended with status {status}"
        return f"{self.program} of {self.account.user}, {ended}\n{self.out()[-6000:]}"
