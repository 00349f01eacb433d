"""baresip as a telephone: started on free loopback ports, driven by its JSON control port (module ctrl_tcp)."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

from .child import PATIENCE, wait_until
from .ports import free_port
from .telephones import Account, Telephone, write_tone

_CONFIG = """\
sip_listen 127.0.0.1:{port}
{certificates}net_interface 127.0.0.1
call_local_timeout {patience}
audio_source aufile,{folder}/said.wav
audio_player aubridge,echo
ausrc_srate 16000
ausrc_channels 1
auplay_srate 16000
auplay_channels 1
rtcp_mux {mux}
snd_path {folder}
module_path {modules}
ctrl_tcp_listen 127.0.0.1:{control_port}
ringback_disabled yes
"""
_MODULES = (
    "opus",
    "g722",
    "g711",
    "aufile",
    "aubridge",
    "sndfile",
    "ice",
    "srtp",
    "dtls_srtp",
    "account",
    "contact",
    "menu",
)
_MODULE_PATH = Path("/usr/lib/baresip/modules")


class Baresip(Telephone):
    """A baresip process.

    hertz: the tone that it sends. ice, mux, encryption (a name of its own, or none): how its media are. codecs: in its words.
    ca_file: whom it trusts; certificate: its own, for those who connect to it. patience: seconds until it stops ringing.
    contact: a line of its address book, which it sends messages to. modules: more of them. settings: more of the account.
    """

    program = "baresip"

    def __init__(
        self,
        folder: Path,
        account: Account,
        *,
        hertz: int = 800,
        ice: bool = True,
        mux: bool = True,
        encryption: str = "dtls_srtp",
        codecs: str = "",
        contact: str = "",
        modules: tuple[str, ...] = (),
        settings: str = "",
        ca_file: Path | None = None,
        certificate: Path | None = None,
        patience: int = 120,
    ) -> None:
        super().__init__(folder, account)
        self._hertz = hertz
        self._mux = mux
        self._contact = contact
        self._patience = patience
        self._modules = modules
        self._certificates = _line("sip_cafile", ca_file) + _line("sip_certificate", certificate)
        options = f";mediaenc={encryption}" if encryption else ""
        options += ";medianat=ice" if ice else ""
        options += f";audio_codecs={codecs}" if codecs else ""
        self._options = options + settings
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._answers: list[dict[str, Any]] = []
        self._reader: threading.Thread | None = None

    # -- what a user does --------------------------------------------------------------------------------------------

    def address(self, transport: str) -> str:
        port = self._port + 1 if transport == "tls" else self._port
        return f"{transport}://127.0.0.1:{port}"

    def call(self, target: str) -> None:
        self.command("dial", target)

    def answer(self) -> None:
        self.command("accept")

    def hang_up(self) -> None:
        self.command("hangup")

    def hold(self) -> None:
        self.command("hold")

    def resume(self) -> None:
        self.command("resume")

    def transfer(self, target: str) -> None:
        self.command("transfer", target)

    def send_digits(self, digits: str) -> None:
        for digit in digits:
            self.command("sndcode", digit)

    def echo(self, on: bool) -> None:
        """Sends what it hears, in place of its tone."""
        self.command("ausrc", "aubridge,echo" if on else f"aufile,{self.folder}/said.wav")

    def send_message(self, target: str, text: str) -> None:
        """`target` has to be the contact."""
        self.command("message", text)

    def command(self, name: str, parameters: str = "") -> str:
        """Gives what it prints."""
        text = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._control.sendall(b"%d:%s," % (len(text), text))
        with self._changed:
            assert self._changed.wait_for(lambda: self._answers, PATIENCE), f"no answer to {name}"
            answer = self._answers.pop(0)
        assert answer["ok"], f"{name} {parameters}: {answer['data']}"
        return str(answer["data"])

    # -- what a user notices -----------------------------------------------------------------------------------------

    def registered(self) -> None:
        # Its event may be over before anybody listens.
        wait_until(lambda: re.search(r"\} 200 OK .*\[\d+ bindings?\]", self.log()), self.told)

    def rings(self, timeout: float = PATIENCE) -> None:
        self.expect("CALL_INCOMING", timeout)

    def established(self) -> None:
        self.expect("CALL_ESTABLISHED")

    def closed(self) -> str:
        return str(self.expect("CALL_CLOSED")["param"])

    def heard_digits(self, digits: str) -> None:
        for digit in digits:
            assert self.expect("CALL_DTMF_START")["param"] == digit

    def heard_message(self, text: str) -> None:
        wait_until(lambda: text in self.log(), self.told)

    def presences(self) -> str:
        return self.command("contacts")

    def expect(self, kind: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Waits for an event of this type, and takes it: the next one is another."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for event in self._events:
                    if event["type"] == kind:
                        self._events.remove(event)
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"no {kind} in {timeout} s but {[one['type'] for one in self._events]}"
                self._changed.wait(left)

    def recording(self) -> tuple[Path, int, int] | None:
        for file in sorted(self.folder.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime_ns, reverse=True):
            with file.open("rb") as data:
                header = data.read(44)
            if len(header) == 44:  # it is made before that is written
                channels, rate = struct.unpack("<HI", header[22:28])
                return file, rate, channels
        return None

    # -- the process -------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        self._port = _two_ports()
        self._control_port = free_port("tcp")
        write_tone(self.folder / "said.wav", self._hertz)
        modules = "".join(f"module {name}.so\n" for name in (*_MODULES, *self._modules))
        (self.folder / "config").write_text(
            _CONFIG.format(
                port=self._port,
                certificates=self._certificates,
                patience=self._patience,
                mux="yes" if self._mux else "no",
                folder=self.folder,
                modules=_MODULE_PATH,
                control_port=self._control_port,
            )
            + modules
            + "module_app ctrl_tcp.so\n"
        )
        (self.folder / "contacts").write_text(f"{self._contact}\n")
        (self.folder / "accounts").write_text(self._account() + "\n")

    def _arguments(self) -> list[str]:
        return ["-f", str(self.folder), "-s", "-v"]

    def _is_ready(self) -> bool:
        try:
            self._control = socket.create_connection(("127.0.0.1", self._control_port))
        except OSError:
            return False
        self._reader = threading.Thread(target=self._read, name="baresip", daemon=True)
        self._reader.start()
        return True

    def _ask_to_end(self, process: Popen[Any]) -> None:
        self.command("quit")

    def _end(self, patience: float) -> None:
        super()._end(patience)
        if self._reader is not None:
            self._reader.join(5)
            self._control.close()
            self._reader = None

    def _account(self) -> str:
        account = self.account
        options = self._options
        if account.port is None:
            return f"<sip:{account.user}@127.0.0.1:{self._port};transport={account.transport}>;regint=0{options}"
        server = f"sip:127.0.0.1:{account.port};transport={account.transport}"
        return (
            f"<sip:{account.user}@{account.domain};transport={account.transport}>;regint=600"
            f';outbound="{server}";auth_pass={account.password}{options}'
        )

    def _read(self) -> None:
        """Netstrings with JSON in them: answers to commands, and events."""
        waiting = b""
        while True:
            try:
                data = self._control.recv(65536)
            except OSError:
                return
            if not data:
                return
            waiting += data
            while match := re.match(rb"(\d+):", waiting):
                end = match.end() + int(match[1])
                if len(waiting) <= end:
                    break
                message = json.loads(waiting[match.end() : end].decode(errors="replace"))
                waiting = waiting[end + 1 :]
                with self._changed:
                    (self._events if message.get("event") else self._answers).append(message)
                    self._changed.notify_all()


def _line(name: str, file: Path | None) -> str:
    return "" if file is None else f"{name} {file}\n"


def _two_ports() -> int:
    """One for UDP and TCP; baresip takes the next one for TLS."""
    for _ in range(100):
        port = free_port("tcp")
        try:
            with (
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
                socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tls,
            ):
                udp.bind(("127.0.0.1", port))
                tls.bind(("127.0.0.1", port + 1))
                return port
        except OSError:
            continue  # one of the two is taken
    raise AssertionError("there are no free ports beside one another")
