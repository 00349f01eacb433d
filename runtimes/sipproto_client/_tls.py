"""TLS to servers: whose certificates are good, and which of them are known by their fingerprint."""

from __future__ import annotations

import hashlib
import re
import ssl

from attrs import field, frozen

from sipproto.agent.outputs import ConnectFailure
from sipproto.errors import LocalProtocolError, excerpt
from sipproto_client._address import describe_error, failure_of
from sipproto_client.port import Runtime, Stream
from sipproto_client.transport import ConnectError

_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}")
_LOOK = 4.0  # seconds to see the certificate of a server once more


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER): hexadecimal, its octets separated by colons."""
    return hashlib.sha256(certificate).digest().hex(":").upper()


def _plain_host(host: str) -> str:
    return host.lower().rstrip(".")


def _spelled(text: str) -> str:
    digits = text.replace(":", "").upper()
    spelled = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    if not _FINGERPRINT.fullmatch(spelled):
        raise LocalProtocolError(f"{excerpt(text)} is no SHA-256 fingerprint of a certificate")
    return spelled


@frozen(kw_only=True)
class Pin:
    """A certificate that is good for this host, whoever has signed it and whatever name and dates stand in it.

    Raises LocalProtocolError for a fingerprint that is no SHA-256; colons and the case of its letters do not matter.
    """

    host: str = field(converter=_plain_host)
    fingerprint: str = field(converter=_spelled)


def parse_pin(text: str) -> Pin:
    """`host=fingerprint`. Raises LocalProtocolError for what is none."""
    host, equals, digits = text.partition("=")
    if not equals or not host.strip():
        raise LocalProtocolError(f"{excerpt(text)} is no pin; it looks like sip.example.com=AB:CD:...")
    return Pin(host=host.strip(), fingerprint=digits.strip())


@frozen(kw_only=True)
class TlsSettings:
    """How certificates of servers are checked. They always are, by authorities: those of the system and of `ca_file` (PEM).

    system_authorities: False leaves those of the system out, so that only `ca_file` counts. pins: hosts whose certificate has
    to be one of those named, in place of all authorities; other hosts are not concerned. show_untrusted: have a certificate
    that does not verify told with the failure (`ConnectionChanged.certificate`), for somebody to look at. The server is
    connected to once more for that, and nothing is sent to it.
    """

    ca_file: str | None = None
    system_authorities: bool = True
    pins: tuple[Pin, ...] = ()
    show_untrusted: bool = False

    def context(self) -> ssl.SSLContext:
        """Raises LocalProtocolError when `ca_file` cannot be used, or is missing where nothing else counts."""
        if self.ca_file is None:
            if not self.system_authorities:
                raise LocalProtocolError("without the authorities of the system there has to be a ca_file")
            return ssl.create_default_context()
        try:
            if not self.system_authorities:
                return ssl.create_default_context(cafile=self.ca_file)
            context = ssl.create_default_context()
            context.load_verify_locations(self.ca_file)
            return context
        except ssl.SSLError:
            raise LocalProtocolError(f"{self.ca_file} holds no certificates in PEM form") from None
        except OSError as error:
            raise LocalProtocolError(f"cannot read {self.ca_file}: {error.strerror}") from None

    def pins_of(self, host: str) -> frozenset[str]:
        """The fingerprints that are good for a host; empty when the authorities decide."""
        return frozenset(pin.fingerprint for pin in self.pins if pin.host == _plain_host(host))


def _unverified() -> ssl.SSLContext:
    """For what is verified by its fingerprint, or only looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect_with_tls(runtime: Runtime, settings: TlsSettings, address: str, port: int, name: str) -> Stream:
    """A stream to a server whose certificate is good for `name`. Raises ConnectError, or LocalProtocolError for settings."""
    pins = settings.pins_of(name)
    try:
        stream = await runtime.connect(address, port, _unverified() if pins else settings.context(), name)
    except OSError as error:
        failure = failure_of(error)
        shown = None
        if failure is ConnectFailure.CERTIFICATE and settings.show_untrusted:
            shown = await _look(runtime, address, port, name)
        raise ConnectError(describe_error(error, address, port, name), failure, shown) from None
    certificate = stream.certificate or b""
    if pins and fingerprint(certificate) not in pins:
        await stream.aclose()
        text = f"the certificate of {name} is another one than that which is trusted"
        raise ConnectError(text, ConnectFailure.CERTIFICATE, certificate if settings.show_untrusted else None)
    return stream


async def _look(runtime: Runtime, address: str, port: int, name: str) -> bytes | None:
    """The certificate of a server, of which nothing is believed."""
    with runtime.move_on_after(_LOOK):
        try:
            stream = await runtime.connect(address, port, _unverified(), name)
        except OSError:
            return None
        try:
            return stream.certificate
        finally:
            await stream.aclose()
    return None
