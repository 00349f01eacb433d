"""Real telephones, baresip and Linphone, and one of our endpoints: no server, no bridge, each on its own."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import frozen

from sipproto.agent import SessionTimers
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay
from sipproto.message import Response
from sipproto.negotiation import CodecPreferences
from sipproto_client import Call, CommandError, FlowSettings, TlsSettings
from sipproto_client.port import Runtime

from .baresip import Baresip
from .child import PATIENCE
from .ours import AUDIO, Ours
from .sipp_stage import Hurried
from .telephone_calls import KINDS, OURS, THEIRS, called, calls, each_kind, ended, talk
from .telephones import Account, Telephone

pytestmark = pytest.mark.interop
USER = "grace"


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
        self.connect(transport)
        return called(self.ours, self.phone, **options)

    def connect(self, transport: str = "udp") -> None:
        self.ours.do(self.ours.endpoint.connect, self.phone.address(transport))

    def dial(self) -> Future[Call]:
        self.connect()
        return self.ours.call(USER)

    def called(self, transport: str = "udp") -> Call:
        return calls(self.phone, self.listen(transport), self.ours)

    def both_hear(self, call: Call) -> None:
        talk(self.ours, call, self.phone)

    def is_silent(self) -> None:
        """Nothing comes in any more, at our side."""

        def packets() -> int:
            line = self.ours.do(self.ours.newest().stats).line("audio")
            assert line is not None
            return line.packets_received or 0

        deadline = time.monotonic() + PATIENCE
        while True:
            before = packets()
            time.sleep(0.3)
            if packets() == before:
                return
            assert time.monotonic() < deadline

    def both_hear_again(self, call: Call) -> None:
        """After a change: baresip does not go on recording then, so what it hears is what it sends back."""
        self.ours.hears(call, THEIRS)
        if isinstance(self.phone, Baresip):
            self.phone.echo(True)
            self.ours.hears(call, OURS)
            self.phone.echo(False)
            self.ours.hears(call, THEIRS)
        else:
            self.phone.hears(OURS)

    def codec(self, call: Call) -> str | None:
        line = self.ours.do(call.stats).line("audio")
        assert line is not None
        return line.codec

    def ended(self, call: Call, originator: o.Originator) -> None:
        ended(self.ours, call, self.phone, originator)


@contextmanager
def pair(
    kind: str,
    folder: Path,
    authority: Authority,
    *,
    transport: str = "udp",
    runtime: str | Runtime = "anyio-asyncio",
    session_timers: SessionTimers = SessionTimers(),  # noqa: B008
    **options: Any,
) -> Iterator[Pair]:
    """options: those of the telephone."""
    flow = FlowSettings(tls=TlsSettings(ca_file=str(authority.ca_file)))
    certificates = {"ca_file": authority.ca_file, "certificate": authority.certificate}
    account = Account(user=USER, transport=transport)
    with (
        KINDS[kind](folder, account, **certificates, **options) as phone,
        Ours(runtime, "alice", domain="127.0.0.1", flow=flow, session_timers=session_timers) as ours,
    ):
        yield Pair(ours, phone, authority)


# -- calls ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "transport"),
    # Linphone takes no TLS connections
    [("baresip", "udp"), ("baresip", "tcp"), ("baresip", "tls"), ("linphone", "tcp")],
)
def test_we_call(kind: str, transport: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        call = both.call(transport)
        both.both_hear(call)
        both.ours.do(call.hang_up)
        both.ended(call, o.Originator.LOCAL)


@pytest.mark.parametrize(
    ("kind", "transport"),
    [("baresip", "udp"), ("baresip", "tcp"), ("baresip", "tls"), ("linphone", "udp"), ("linphone", "tls")],
)
def test_it_calls(kind: str, transport: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority, transport=transport) as both:
        call = both.called(transport)
        both.both_hear(call)
        both.phone.hang_up()
        both.ended(call, o.Originator.REMOTE)


# -- calls that come to nothing ----------------------------------------------------------------------------------------


@each_kind
def test_it_refuses(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        made = both.dial()
        both.phone.rings()
        both.phone.hang_up()
        with pytest.raises(CommandError) as refused:
            made.result(PATIENCE)
        assert refused.value.status == {"baresip": 486, "linphone": 603}[kind]
        both.phone.closed()


@each_kind
def test_we_refuse(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        both.phone.call(both.listen("udp"))
        call = both.ours.incoming()
        both.ours.do(call.hang_up, 486)
        assert {"baresip": "Busy Here", "linphone": "error"}[kind] in both.phone.closed()


@each_kind
def test_we_cancel(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        made = both.dial()
        both.phone.rings()
        both.ours.expect(o.CallProgressed)
        both.ours.do(both.ours.newest().hang_up)
        with pytest.raises(CommandError):
            made.result(PATIENCE)
        both.phone.closed()


@each_kind
def test_it_cancels(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        both.phone.call(both.listen("udp"))
        call = both.ours.incoming()
        both.phone.hang_up()
        end = both.ours.do(call.wait_ended)
        assert (end.cause, end.originator) == (o.Cause.CANCELED, o.Originator.REMOTE)
        both.phone.closed()


@each_kind
def test_nobody_answers(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority, patience=2) as both:
        made = both.dial()
        both.phone.rings()
        with pytest.raises(CommandError) as refused:
            made.result(PATIENCE)
        assert refused.value.status == 486
        both.phone.closed()


# -- in a call -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "caller"), [("baresip", "ours"), ("baresip", "theirs"), ("linphone", "theirs")])
def test_hold(kind: str, caller: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        call = both.call() if caller == "ours" else both.called()
        both.both_hear(call)
        both.ours.do(call.hold)
        both.is_silent()
        both.ours.do(call.resume)
        both.both_hear_again(call)
        both.phone.hold()
        both.ours.expect(o.CallHeld, originator=o.Originator.REMOTE)
        both.phone.resume()
        both.ours.expect(o.CallResumed, originator=o.Originator.REMOTE)
        both.both_hear_again(call)
        both.ours.do(call.hang_up)
        both.ended(call, o.Originator.LOCAL)


@each_kind
def test_digits(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        call = both.call()
        both.both_hear(call)
        both.phone.send_digits("15#")
        heard = [both.ours.expect(o.DtmfReceived) for _ in range(3)]
        assert [one.digit for one in heard] == list("15#")
        assert {one.way for one in heard} == {DigitWay.RTP}
        both.ours.do(call.send_dtmf, "27*")
        both.phone.heard_digits("27*")
        both.ours.do(call.send_dtmf, "8", way=DigitWay.INFO)
        both.phone.heard_digits("8")


@pytest.mark.parametrize(
    ("kind", "codecs"),
    [
        # baresip goes on with the packet time of before, so only between codecs of one clock rate
        ("baresip", ("PCMU", "PCMA")),
        ("baresip", ("G722",)),
        ("linphone", ("PCMA", "opus", "PCMU")),
    ],
)
def test_codecs(kind: str, codecs: tuple[str, ...], tmp_path: Path, authority: Authority) -> None:
    """The first from the beginning, the others by re-INVITEs of ours."""
    first, *others = (CodecPreferences(prefer=(f"audio/{codec}",)) for codec in codecs)
    with pair(kind, tmp_path, authority) as both:
        call = both.call(codecs=first)
        both.both_hear(call)
        assert both.codec(call) == codecs[0]
        for codec, preferences in zip(codecs[1:], others, strict=True):
            both.ours.do(call.change_media, codecs=preferences)
            both.both_hear_again(call)
            assert both.codec(call) == codec


@each_kind
def test_ice_restart(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        call = both.call()
        both.both_hear(call)
        if kind == "linphone":
            assert both.ours.do(call.restart_ice)
        else:
            # baresip knows no restart: it answers with the credentials of before, but sends to the address of the
            # new default candidate, where nobody is, until it is told the old one again.
            assert not both.ours.do(call.restart_ice)
            both.ours.do(call.hold)
            both.ours.do(call.resume)
        both.both_hear_again(call)


def test_the_session_is_refreshed(tmp_path: Path, authority: Authority) -> None:
    """By us, with UPDATE. Linphone agrees to timers (RFC 4028) when it is set up to; baresip knows none of them."""
    timers = "session_expires_enabled=1\nsession_expires_value=90\nsession_expires_min_value=90\nsession_expires_refresher_value=2\n"
    with pair(
        "linphone",
        tmp_path,
        authority,
        sip=timers,
        runtime=Hurried(15),
        session_timers=SessionTimers(expires=90),
    ) as both:
        call = both.call("tcp")
        both.both_hear(call)
        both.ours.forget()
        refresh = both.ours.expect(o.SendData, lambda sent: sent.data.startswith(b"UPDATE "))
        assert b"Session-Expires: 90" in refresh.data
        both.ours.expect(i.DataReceived, lambda got: got.data.startswith(b"SIP/2.0 200") and b"UPDATE" in got.data)
        both.both_hear_again(call)
        both.ours.do(call.hang_up)
        both.ended(call, o.Originator.LOCAL)


@each_kind
def test_we_send_a_message(kind: str, tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority) as both:
        both.connect()
        assert both.ours.do(both.ours.endpoint.send_message, f"sip:{USER}@127.0.0.1", "good morning") == 200
        both.phone.heard_message("good morning")


# -- media that we cannot agree on -------------------------------------------------------------------------------------

WITHOUT: list[tuple[str, dict[str, Any], str]] = [
    ("baresip", {"ice": False}, "without ICE"),
    ("baresip", {"mux": False}, "without rtcp-mux"),
    ("baresip", {"encryption": "srtp-mand"}, "without a certificate fingerprint"),
    ("baresip", {"encryption": ""}, "as RTP/AVP, which is not DTLS-SRTP"),
    ("linphone", {"ice": False}, "without ICE"),
    ("linphone", {"mux": False}, "without rtcp-mux"),
    ("linphone", {"encryption": "srtp"}, "without a certificate fingerprint"),
    ("linphone", {"encryption": "none", "mandatory": False}, "as RTP/AVP, which is not DTLS-SRTP"),
]


@pytest.mark.parametrize(("kind", "options", "said"), WITHOUT)
def test_its_offer_is_refused(
    kind: str, options: dict[str, Any], said: str, tmp_path: Path, authority: Authority
) -> None:
    with pair(kind, tmp_path, authority, **options) as both:
        both.phone.call(both.listen("udp"))
        call = both.ours.incoming()
        with pytest.raises(CommandError, match=f"audio is offered {said}"):
            both.ours.do(call.answer, AUDIO, setup=both.ours.setup)
        (refused,) = [one for one in both.ours.sent("INVITE") if isinstance(one, Response) and one.status >= 300]
        assert (refused.status, refused.headers.first("Warning")) == (488, f'399 sipproto "audio is offered {said}"')
        both.phone.closed()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [one for one in WITHOUT if "ice" in one[1]] + [("baresip", {"mux": False}, "without rtcp-mux")],
)
def test_its_answer_cannot_be_used(
    kind: str, options: dict[str, Any], said: str, tmp_path: Path, authority: Authority
) -> None:
    with pair(kind, tmp_path, authority, **options) as both:
        made = both.dial()
        both.phone.rings()
        both.phone.answer()
        with pytest.raises(CommandError, match=f"audio is answered {said}"):
            made.result(PATIENCE)
        both.phone.closed()


@pytest.mark.parametrize(
    ("kind", "options"), [("baresip", {"encryption": "srtp-mand"}), ("baresip", {"encryption": ""})]
)
def test_it_refuses_our_offer(kind: str, options: dict[str, Any], tmp_path: Path, authority: Authority) -> None:
    with pair(kind, tmp_path, authority, **options) as both:
        with pytest.raises(CommandError) as refused:
            both.dial().result(PATIENCE)
        assert refused.value.status == 488
        both.phone.closed()
