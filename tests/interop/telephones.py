"""What real SIP telephones have in common: what a user does and notices, and a recording of what it hears."""

from __future__ import annotations

import abc
import math
import os
import wave
from contextlib import ExitStack
from pathlib import Path

import numpy
from attrs import frozen

from .child import PATIENCE, Child, wait_until
from .kamailio import Kamailio, password_of

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


class Telephone(Child):
    """A telephone in a process and a folder of its own, to be used as a context manager."""

    loopback = "127.0.0.1"  # what it finds us at

    def __init__(self, folder: Path, account: Account) -> None:
        self._home = folder / f"{self.program}-{account.user}"
        self.environment: dict[str, str] = {**os.environ, "HOME": str(self._home), "TERM": "dumb"}
        self.account = account

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
    def rings(self, timeout: float = PATIENCE) -> None: ...
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

    def hears(self, hertz: float, timeout: float = PATIENCE) -> None:
        """Waits until this is the tone that comes in now: what was heard before does not count."""
        wait_until(lambda: self.recording() is not None, self.told, timeout)
        begun = self._recorded()
        wait_until(lambda: abs((self.frequency(begun) or 0) - hertz) <= 0.05 * hertz, self._heard, timeout)

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

    def _make_folder(self, stack: ExitStack) -> Path:
        self._home.mkdir(parents=True)
        return self._home

    def stop(self) -> None:
        """A telephone that is killed stays registered, and calls for its user would go there, too."""
        if self.account.port is None:
            self.kill()
        else:
            super().stop()

    def told(self) -> str:
        return f"of {self.account.user}: {super().told()}"
