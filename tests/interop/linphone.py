"""Linphone as a telephone: its console program on free loopback ports, with wav files in place of a sound card."""

from __future__ import annotations

import datetime
import functools
import re
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from .child import PATIENCE, wait_until
from .ports import free_port
from .telephones import Account, Telephone, write_tone

_CONFIG = """\
[sip]
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
default_proxy={proxy}
media_encryption={encryption}
media_encryption_mandatory={mandatory}
guess_hostname=1
root_ca={ca_file}
verify_server_certs=1
use_ipv6=0
inc_timeout={patience}
{sip}
[rtp]
audio_rtp_port={rtp}
rtcp_mux={mux}
audio_jitt_comp=20
[net]
firewall_policy={firewall}
[sound]
remote_ring=
[video]
enabled=0
[misc]
user_certificates_path={certificates}
"""


class Linphone(Telephone):
    """A linphonec process.

    hertz: the tone that it sends. ice, mux, encryption, mandatory: how its media are. ca_file: whom it trusts; certificate: of
    no use, it takes no TLS connections. patience: seconds until it stops ringing. friend: whose presence it watches.
    sip: more lines of that section of its settings.
    """

    program = "linphonec"
    input = subprocess.PIPE
    loopback = "localhost"  # it knows no addresses in certificates

    def __init__(
        self,
        folder: Path,
        account: Account,
        *,
        hertz: int = 800,
        ice: bool = True,
        mux: bool = True,
        encryption: str = "dtls",
        mandatory: bool = True,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        patience: int = 30,
        friend: str = "",
        sip: str = "",
    ) -> None:
        super().__init__(folder, account)
        self._hertz = hertz
        self._ice, self._mux, self._encryption, self._mandatory = ice, mux, encryption, mandatory
        self._ca_file = ca_file
        self._friend = friend
        self._patience = patience
        self._sip = sip
        self._read = 0

    def address(self, transport: str) -> str:
        return f"{transport}://127.0.0.1:{self.ports[transport]}"

    def command(self, text: str) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def call(self, target: str) -> None:
        self.command(f"call {target}")

    def answer(self) -> None:
        self.command("answer")

    def hang_up(self) -> None:
        self.command("terminate")

    def hold(self) -> None:
        self.command("pause")
        self.expect("is now paused")

    def resume(self) -> None:
        self.command("resume")

    def transfer(self, target: str) -> None:
        self.command(f"transfer {target}")

    def send_digits(self, digits: str) -> None:
        for digit in digits:
            self.command(digit)

    def registered(self) -> None:
        answer = r"^SIP/2\.0 200 .*\n(?:.+\n)*?CSeq: \d+ REGISTER"
        wait_until(lambda: re.search(answer, self._debug_log(), re.MULTILINE), self.told)

    def rings(self, timeout: float = PATIENCE) -> None:
        self.expect("Receiving new incoming call", timeout)

    def established(self) -> None:
        self.expect("Media streams established")

    def closed(self) -> str:
        return self.expect(r"(?:Call \d+ with .* (?:ended|error|declined).*)")

    def heard_digits(self, digits: str) -> None:
        for digit in digits:
            self.expect(f"Receiving tone {re.escape(digit)} from")

    def heard_message(self, text: str) -> None:
        self.expect(re.escape(text))

    def send_message(self, target: str, text: str) -> None:
        self.command(f"chat {target} {text}")

    def presences(self) -> str:
        return self.log()

    def expect(self, pattern: str, timeout: float = PATIENCE) -> str:
        """Waits for something that it prints, and takes all up to there: what follows is another."""
        found: list[re.Match[str]] = []

        def there() -> bool:
            found[:] = re.finditer(pattern, self.log()[self._read :])
            return bool(found)

        wait_until(there, lambda: f"no {pattern} in {self.log()[self._read :]!r}", timeout)
        self._read += found[0].end()
        return found[0][0]

    def recording(self) -> tuple[Path, int, int] | None:
        file = self.folder / "heard.wav"
        # The header is written when the call is over.
        rates = re.findall(r"-->MSFileRec:\w+ from rate \[\d+\] to rate \[(\d+)\]", self._debug_log())
        return (file, int(rates[-1]), 1) if rates and file.exists() else None

    def _debug_log(self) -> str:
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _configure(self) -> None:
        self.ports = {kind: free_port("udp" if kind == "udp" else "tcp") for kind in ("udp", "tcp", "tls")}
        account = self.account
        (self.folder / ".local/share/linphone").mkdir(parents=True)
        (self.folder / ".config/linphone").mkdir(parents=True)
        write_tone(self.folder / "said.wav", self._hertz)
        certificates = self.folder / "certificates"
        certificates.mkdir()
        (certificates / "linphone-dtls-default-identity.pem").write_bytes(_dtls_certificate())
        config = _CONFIG.format(
            certificates=certificates,
            **self.ports,
            patience=self._patience,
            proxy=-1 if account.port is None else 0,
            encryption=self._encryption,
            mandatory=int(self._mandatory),
            ca_file=self._ca_file or "",
            rtp=free_port("udp"),
            mux=int(self._mux),
            firewall=3 if self._ice else 0,
            sip=self._sip,
        )
        if account.port is not None:
            config += (
                f"[proxy_0]\nreg_proxy=<sip:localhost:{account.port};transport={account.transport}>\n"
                f"reg_route=<sip:localhost:{account.port};transport={account.transport};lr>\n"
                f"reg_identity=sip:{account.user}@{account.domain}\nreg_expires=600\nreg_sendregister=1\n"
                f"[auth_info_0]\nusername={account.user}\npasswd={account.password}\nrealm={account.domain}\n"
                f"domain={account.domain}\n"
            )
        if self._friend:
            config += f"[friend_0]\nurl=<{self._friend}>\npol=accept\nsubscribe=1\n"
        (self.folder / "rc").write_text(config)

    def _arguments(self) -> list[str]:
        return ["-c", "rc", "-S", "-d", "6", "-l", "log"]

    def _is_ready(self) -> bool:
        return "linphonec>" in self.log()

    def _ask_to_end(self, process: subprocess.Popen[Any]) -> None:
        self.command("quit")

    def start(self) -> None:
        super().start()
        for text in ("soundcard use files", f"record {self.folder}/heard.wav", f"play {self.folder}/said.wav"):
            self.command(text)


@functools.cache
def _dtls_certificate() -> bytes:
    """In PEM, with its key. The one that Linphone makes for itself has 3072 bits, for which it may take ten seconds."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "linphone-dtls-default-identity")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
