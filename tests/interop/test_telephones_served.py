"""Real telephones at a Kamailio, registered over UDP, TCP and TLS; we are there over WebSocket, as a page would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from sipproto.agent import outputs as o
from sipproto_phone import commands as c
from sipproto_phone.model import Phase

from .child import PATIENCE, end, launch, wait_until
from .kamailio import Kamailio, password_of, settings
from .linphone import Linphone
from .ours import AUDIO, Ours
from .peers import HERTZ
from .rtpengine import Rtpengine
from .softphone import Softphone
from .telephone_calls import KINDS, OURS, THEIRS, called, calls, each_kind, ended, talk
from .telephones import Telephone, account_at

pytestmark = pytest.mark.interop
OTHERS = 1200  # hertz of a second telephone


def registered(kind: str, folder: Path, kamailio: Kamailio, user: str, transport: str, **options: Any) -> Telephone:
    """To be used as a context manager."""
    return KINDS[kind](folder, account_at(kamailio, user, transport), ca_file=kamailio.ca_file, **options)


@contextmanager
def we(kamailio: Kamailio, user: str = "alice", **options: Any) -> Iterator[Ours]:
    with Ours("anyio-asyncio", user, flow=settings(kamailio), **options) as ours:
        ours.connect(f"wss://rig.test:{kamailio.tls_port}")
        yield ours


@pytest.mark.parametrize(
    ("kind", "transport"), [("baresip", "udp"), ("baresip", "tls"), ("linphone", "tcp"), ("linphone", "tls")]
)
def test_calls(kind: str, transport: str, tmp_path: Path, kamailio: Kamailio) -> None:
    """It registers with its password; either calls the other; messages go both ways."""
    more: dict[str, Any] = {"contact": "<sip:alice@rig.test>"} if kind == "baresip" else {}
    with registered(kind, tmp_path, kamailio, "bob", transport, **more) as phone, we(kamailio) as ours:
        phone.registered()
        assert ours.do(ours.endpoint.send_message, "sip:bob@rig.test", "good morning") == 200
        phone.heard_message("good morning")
        phone.send_message("sip:alice@rig.test", "good night")
        assert ours.expect(o.MessageReceived).body == b"good night"

        call = called(ours, phone)
        talk(ours, call, phone)
        phone.hang_up()
        ended(ours, call, phone, o.Originator.REMOTE)

        call = calls(phone, "sip:alice@rig.test", ours)
        talk(ours, call, phone)
        ours.do(call.hang_up)
        ended(ours, call, phone, o.Originator.LOCAL)


@each_kind
def test_it_transfers_us(kind: str, tmp_path: Path, kamailio: Kamailio) -> None:
    other = "linphone" if kind == "baresip" else "baresip"
    with (
        registered(kind, tmp_path, kamailio, "bob", "udp") as phone,
        registered(other, tmp_path, kamailio, "carol", "tcp", hertz=OTHERS) as target,
        we(kamailio) as ours,
    ):
        phone.registered()
        target.registered()
        call = called(ours, phone)
        talk(ours, call, phone)
        phone.transfer("sip:carol@rig.test")
        wanted = ours.expect(o.TransferRequested)
        assert (wanted.target, wanted.replaces) == ("sip:carol@rig.test", None)
        made = ours.start(ours.endpoint.accept_transfer, wanted, AUDIO, setup=ours.setup)
        target.rings()
        target.answer()
        second = made.result(PATIENCE)
        talk(ours, second, target, OTHERS)
        ended(ours, call, phone, o.Originator.REMOTE)  # it hangs up when it is told of the success
        ours.do(second.hang_up)
        target.closed()


@each_kind
def test_we_transfer_it(kind: str, tmp_path: Path, kamailio: Kamailio) -> None:
    with (
        registered(kind, tmp_path, kamailio, "bob", "udp") as phone,
        we(kamailio) as ours,
        we(kamailio, "dave", hertz=OTHERS) as dave,
    ):
        phone.registered()
        call = called(ours, phone)
        talk(ours, call, phone)
        transfer = ours.start(call.transfer, "sip:dave@rig.test")
        second = dave.answer()
        assert transfer.result(PATIENCE) == 200
        dave.hears(second, THEIRS)
        dave.do(second.hang_up)


def test_attended(tmp_path: Path, kamailio: Kamailio) -> None:
    """Linphone knows Replaces (RFC 3891), baresip does not."""
    with (
        registered("linphone", tmp_path, kamailio, "bob", "udp") as phone,
        we(kamailio) as ours,
        we(kamailio, "dave", hertz=OTHERS) as dave,
    ):
        phone.registered()
        call = called(ours, phone)
        talk(ours, call, phone)
        made = ours.call("dave")
        consulted = dave.answer()
        second = made.result(PATIENCE)
        transfer = ours.start(call.transfer, second)
        replaced = dave.expect(o.IncomingCall, lambda incoming: incoming.replaces is not None)
        assert replaced.replaces == consulted.ident
        third = dave.newest()
        dave.do(third.answer, AUDIO, setup=dave.setup)
        assert transfer.result(PATIENCE) == 200
        dave.hears(third, THEIRS)
        dave.do(third.hang_up)


def test_it_transfers_us_attended(tmp_path: Path, kamailio: Kamailio) -> None:
    with (
        registered("linphone", tmp_path, kamailio, "bob", "udp") as phone,
        we(kamailio) as ours,
        we(kamailio, "dave", hertz=OTHERS) as dave,
    ):
        assert isinstance(phone, Linphone)
        phone.registered()
        call = called(ours, phone)
        talk(ours, call, phone)
        phone.hold()
        consulted = calls(phone, "sip:dave@rig.test", dave)
        dave.hears(consulted, THEIRS)
        phone.command("transfer 1 --to-call 2")
        wanted = ours.expect(o.TransferRequested)
        assert wanted.replaces is not None
        made = ours.start(ours.endpoint.accept_transfer, wanted, AUDIO, setup=ours.setup)
        third = dave.answer()
        ours.hears(made.result(PATIENCE), OTHERS)
        dave.hears(third, OURS)


@each_kind
def test_plain_rtp(kind: str, tmp_path: Path) -> None:
    """A telephone without ICE and DTLS, by way of rtpengine."""
    plain: dict[str, dict[str, Any]] = {
        "baresip": {"encryption": "", "ice": False, "mux": False},
        "linphone": {"encryption": "none", "mandatory": False, "ice": False, "mux": False},
    }
    with (
        Rtpengine() as bridge,
        Kamailio(bridge=bridge.control_port) as server,
        registered(kind, tmp_path, server, "bob", "udp", **plain[kind]) as phone,
        we(server) as ours,
    ):
        phone.registered()
        call = called(ours, phone)
        talk(ours, call, phone)
        ours.do(call.hang_up)
        ended(ours, call, phone, o.Originator.LOCAL)
        call = calls(phone, "sip:alice@rig.test", ours)
        talk(ours, call, phone)
        phone.hang_up()
        ended(ours, call, phone, o.Originator.REMOTE)


_PIDF = (
    b'<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@rig.test">'
    b'<tuple id="t1"><status><basic>open</basic></status></tuple></presence>'
)


@each_kind
def test_presence(kind: str, tmp_path: Path, kamailio: Kamailio) -> None:
    more: dict[str, dict[str, Any]] = {
        "baresip": {"contact": "<sip:alice@rig.test>;presence=p2p", "modules": ("presence",)},
        "linphone": {"friend": "sip:alice@rig.test"},
    }
    with we(kamailio, events=("presence",)) as ours:

        async def welcome() -> None:
            with ours.endpoint.watchers() as watchers, anyio.fail_after(30):
                watcher = await anext(watchers)
                await watcher.accept(_PIDF, "application/pidf+xml")

        async def fetch() -> bytes:
            accept = ("application/pidf+xml",)
            async with ours.endpoint.subscribe("sip:bob@rig.test", "presence", accept=accept) as presence:
                return (await anext(aiter(presence))).body

        welcomed = ours.start(welcome)  # before there is a telephone, which subscribes as soon as it has begun
        with registered(kind, tmp_path, kamailio, "bob", "udp", **more[kind]) as phone:
            phone.registered()
            welcomed.result(PATIENCE)
            wait_until(lambda: "Online" in phone.presences(), phone.told)
            assert b"<basic>" in ours.do(fetch)


# -- as a user would -----------------------------------------------------------------------------------------------------


def arguments(kamailio: Kamailio) -> list[str]:
    return [
        *("--server", f"sips:rig.test:{kamailio.tls_port}", "--domain", "rig.test", "--user", "alice"),
        *("--ca-file", str(kamailio.ca_file), "--map", "rig.test=127.0.0.1", "--tone", str(OURS), "--json"),
    ]


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = launch(
        *(sys.executable, "-m", "sipproto_cli", *words),
        env={**os.environ, "SIPPROTO_PASSWORD": password_of("alice")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end(process)


def figures(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line of what was measured at the end."""
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, errors)
    (last,) = [json.loads(line) for line in out.splitlines() if '"audio"' in line or "frequency" in line][-1:]
    return dict(last)


def test_sipproto_call(tmp_path: Path, kamailio: Kamailio) -> None:
    with registered("baresip", tmp_path, kamailio, "bob", "udp") as phone:
        phone.registered()
        with command("call", "bob", *arguments(kamailio), "--duration", "2") as process:
            phone.rings(30)  # a new Python begins there
            phone.answer()
            phone.hears(OURS)
            sound = figures(process)["audio"]
        assert abs(sound["frequency"] - THEIRS) <= 0.05 * THEIRS and sound["sent"]["packets"] > 50
        phone.closed()


def test_sipproto_answer(tmp_path: Path, kamailio: Kamailio) -> None:
    with registered("linphone", tmp_path, kamailio, "bob", "tcp") as phone:
        phone.registered()
        with command("answer", *arguments(kamailio), "--once", "--duration", "2") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "regist" in line:
                    break
            phone.call("sip:alice@rig.test")
            phone.established()
            phone.hears(OURS)
            sound = figures(process)["audio"]
        phone.closed()
        assert abs(sound["frequency"] - THEIRS) <= 0.05 * THEIRS


@each_kind
def test_softphone(kind: str, tmp_path: Path, kamailio: Kamailio) -> None:
    (tmp_path / "softphone").mkdir()
    with (
        registered(kind, tmp_path, kamailio, "bob", "tls") as phone,
        Softphone(tmp_path / "softphone") as soft,
    ):
        phone.registered()
        soft.save(kamailio)
        soft.until_online()
        soft.do(c.Dial(number="bob"))
        phone.rings()
        phone.answer()
        view = soft.until_phase(Phase.TALKING)
        soft.until_hears(THEIRS)
        phone.hears(HERTZ["alice"])
        soft.do(c.HangUp(call=view.id))
        phone.closed()
        phone.call("sip:alice@rig.test")
        view = soft.until_phase(Phase.INCOMING)
        soft.do(c.Answer(call=view.id))
        soft.until_hears(THEIRS)
        phone.hang_up()
        phone.closed()
