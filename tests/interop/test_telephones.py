"""Real telephones, baresip and Linphone, and one of our endpoints: no server, no bridge, each on its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import frozen

from sipproto.agent import outputs as o
from sipproto_client import Call, FlowSettings, TlsSettings

from .baresip import Baresip
from .linphone import Linphone
from .ours import Ours
from .telephones import Account, Telephone

pytestmark = pytest.mark.interop
OURS, THEIRS = 500, 800  # hertz
USER = "grace"
KINDS: dict[str, Callable[..., Telephone]] = {"baresip": Baresip, "linphone": Linphone}
each_kind = pytest.mark.parametrize("kind", KINDS)


@frozen
class Authority:
    """Who has signed the certificates of both ends."""

    ca_file: Path
    certificate: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    made = Authority(folder / "ca.pem", folder / "server.pem")
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(made.ca_file))
    issuer.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(made.certificate))
    return made


class Pair:
    """One of ours and a telephone."""

    def __init__(self, ours: Ours, phone: Telephone, authority: Authority) -> None:
        self.ours = ours
        self.phone = phone
        self._authority = authority

    def listen(self, transport: str) -> str:
        """Gives the address at which the telephone reaches us."""
        tls = self._authority.context() if transport == "tls" else None
        port = self.ours.do(self.ours.endpoint.listen, f"{transport}:127.0.0.1:0", tls=tls).port
        return f"sip:alice@{self.phone.loopback}:{port};transport={transport}"

    def call(self, transport: str = "udp", **options: Any) -> Call:
        """We call the telephone, which answers."""
        made = self.dial(transport, **options)
        self.phone.rings()
        self.phone.answer()
        call = made.result(15)
        self.phone.established()
        return call

    def dial(self, transport: str = "udp", **options: Any) -> Any:
        address = self.phone.address(transport)
        self.ours.do(self.ours.endpoint.connect, address)
        return self.ours.call(f"{USER}", **options)

    def called(self, transport: str = "udp", **options: Any) -> Call:
        """The telephone calls us, and we answer."""
        self.phone.call(self.listen(transport))
        call = self.ours.answer(**options)
        self.phone.established()
        return call

    def both_hear(self, call: Call) -> None:
        self.ours.hears(call, THEIRS)
        self.phone.hears(OURS)

    def ended(self, call: Call, originator: o.Originator) -> None:
        end = self.ours.do(call.wait_ended)
        assert (end.cause, end.originator) == (o.Cause.TERMINATED, originator), end
        self.phone.closed()


@contextmanager
def pair(kind: str, folder: Path, authority: Authority, *, transport: str = "udp", **options: Any) -> Iterator[Pair]:
    flow = FlowSettings(tls=TlsSettings(ca_file=str(authority.ca_file)))
    certificates = {"ca_file": authority.ca_file, "certificate": authority.certificate}
    account = Account(user=USER, transport=transport)
    with (
        KINDS[kind](folder, account, **certificates, **options) as phone,
        Ours("anyio-asyncio", "alice", domain="127.0.0.1", flow=flow) as ours,
    ):
        yield Pair(ours, phone, authority)


# -- calls ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "transport"),
    [("baresip", "udp"), ("baresip", "tcp"), ("baresip", "tls"), ("linphone", "udp"), ("linphone", "tcp")],
)
def test_we_call(kind: str, transport: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        call = both.call(transport)
        both.both_hear(call)
        both.ours.do(call.hang_up)
        both.ended(call, o.Originator.LOCAL)


@each_kind
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_it_calls(kind: str, transport: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority, transport=transport) as both:
        call = both.called(transport)
        both.both_hear(call)
        both.phone.hang_up()
        both.ended(call, o.Originator.REMOTE)
