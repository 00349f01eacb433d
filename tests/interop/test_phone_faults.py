"""What happens to the softphone and does not end it: servers that die, networks, sound cards, disks, clocks, itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipproto_phone import commands as c
from sipproto_phone.commands import CommandProblem
from sipproto_phone.files import StorageError
from sipproto_phone.model import Online, Outcome, Phase
from tests.phone.test_sound import Cards

from .child import end, launch
from .kamailio import Kamailio
from .ours import arrivals
from .peers import HERTZ, BrowserPeer, Party
from .relay import TcpRelay
from .softphone import Softphone, page_hears

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]
SOON = {"connection_recovery_min_interval": 1, "connection_recovery_max_interval": 1}


@pytest.fixture(scope="module")
def mortal() -> Iterator[Kamailio]:
    """A server for the tests that stop it."""
    with Kamailio() as server:
        yield server


@pytest.fixture
def bob(mortal: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(mortal, mortal.ws_url, options=SOON)
        yield page
    finally:
        page("close")
        browser.forget_events()


@pytest.fixture
def phone(mortal: Kamailio, tmp_path: Path) -> Iterator[Softphone]:
    with Softphone(tmp_path) as phone:
        phone.save(mortal)
        phone.until_online()
        yield phone


Record = Callable[[str, object], None]


def note(record_property: Record, **measured: float) -> None:
    for name, value in measured.items():
        record_property(name, round(value, 3))
        print(f"{name}: {value:.3f} s")


# -- the server and the network ----------------------------------------------------------------------------------------


def test_the_server_is_gone_while_idle(mortal: Kamailio, bob: Party, phone: Softphone, record_property: Record) -> None:
    mortal.stop()
    lost = phone.until_online(Online.RETRYING)
    assert lost.problem is not None and lost.retry_in is not None and lost.detail
    time.sleep(3)
    bob.peer.forget_events()  # the page registers often: what is expected below has to be said of the new server
    began = time.monotonic()
    mortal.start()
    phone.until_online(timeout=40)
    note(record_property, online_again=time.monotonic() - began)
    bob.expect("registered")
    call = phone.called_by(bob)
    phone.talk(bob)
    phone.hang_up(call, bob)


def test_the_server_is_gone_while_talking(
    mortal: Kamailio, bob: Party, phone: Softphone, record_property: Record
) -> None:
    """The sound goes from end to end, and is not interrupted; so does the call go on."""
    call = phone.call(bob)
    phone.talk(bob)
    with arrivals() as gaps:
        mortal.kill()
        phone.until_phase(Phase.RECONNECTING)
        page_hears(bob, HERTZ["alice"])
        bob.peer.forget_events()
        mortal.start()
        began = time.monotonic()
        phone.until_phase(Phase.TALKING)
        phone.until_online()
        note(record_property, talking_again=time.monotonic() - began)
    note(record_property, longest_gap=gaps["longest"])
    assert gaps["longest"] < 1
    bob.expect("registered")
    phone.talk(bob)
    phone.do(c.Hold(call=call))
    bob.expect("call", state="held", originator="remote")
    phone.do(c.Resume(call=call))
    phone.hang_up(call, bob)
    assert phone.written() == [("out", "bob", "answered")]


def test_twenty_seconds_without_a_network_in_a_call(
    mortal: Kamailio, bob: Party, tmp_path: Path, record_property: Record
) -> None:
    with TcpRelay(mortal.tls_port) as relay, Softphone(tmp_path) as phone:
        phone.save(mortal, hosts=[f"rig.test=127.0.0.1:{relay.port}"])
        phone.until_online()
        call = phone.called_by(bob)
        phone.talk(bob)
        relay.cut(refuse=True)
        phone.until_phase(Phase.RECONNECTING)
        time.sleep(18)
        phone.do(c.Hold(call=call))  # is heard at once, and told when it can be
        page_hears(bob, None)
        time.sleep(2)
        assert phone.state.calls[0].phase is Phase.RECONNECTING
        assert phone.state.connection.online is Online.RETRYING
        relay.restore()
        began = time.monotonic()
        phone.until_phase(Phase.HELD, timeout=35)
        note(record_property, recovered=time.monotonic() - began)
        bob.expect("call", state="held", originator="remote")
        phone.do(c.Resume(call=call))
        phone.until_phase(Phase.TALKING)
        phone.talk(bob)
        phone.hang_up(call, bob)
        (entry,) = phone.do(c.ListCalls())
        assert entry["duration"] > 20


def test_twenty_seconds_in_which_the_network_says_nothing(mortal: Kamailio, bob: Party, tmp_path: Path) -> None:
    """Nothing is reset, nothing comes through: what was said meanwhile arrives late."""
    # Kamailio that closes a WebSocket for want of pongs at times forgets another client until that registers anew.
    bob("close")
    bob.open(mortal, mortal.ws_url, options={**SOON, "register_expires": 12})
    with TcpRelay(mortal.tls_port) as relay, Softphone(tmp_path) as phone:
        phone.save(mortal, hosts=[f"rig.test=127.0.0.1:{relay.port}"])
        phone.until_online()
        call = phone.call(bob)
        phone.talk(bob)
        relay.pause()
        time.sleep(20)
        page_hears(bob, HERTZ["alice"])
        relay.resume()
        # Meanwhile the server has taken us for gone, and has closed the connection. What we ask for before we know of that
        # may reach the page, whose answer then finds nobody: it takes no other offer until it has given up after 32 s.
        if refused := problem_of(phone, c.Hold(call=call)):
            assert refused == "the connection to the server was lost"
            assert not problem_of(phone, c.Hold(call=call))
        phone.until_phase(Phase.HELD, timeout=45)
        bob.expect("call", state="held", originator="remote")
        phone.do(c.Resume(call=call))
        phone.talk(bob)
        phone.hang_up(call, bob)


def problem_of(phone: Softphone, command: object) -> str:
    try:
        phone.do(command)
    except CommandProblem as problem:
        return str(problem)
    return ""


# -- this machine ------------------------------------------------------------------------------------------------------


def test_the_headset_is_pulled_out(mortal: Kamailio, bob: Party, tmp_path: Path) -> None:
    cards = Cards()
    with Softphone(tmp_path, devices=True, library=cards) as phone:
        phone.save(mortal)
        phone.until_online()
        headset = next(x.name for x in phone.state.devices.microphones if x.label == "Headset")
        phone.do(c.ChooseDevices(microphone=headset, speaker=headset))
        call = phone.call(bob)
        page_hears(bob, 700)
        phone.until("the headset plays", lambda: abs((cards.plays("headset") or 0) - HERTZ["bob"]) < 20)
        cards.card["headset"].unplugged = True
        page_hears(bob, 500)
        phone.until("the default plays", lambda: abs((cards.plays("default") or 0) - HERTZ["bob"]) < 20)
        assert "is gone" in phone.state.notice and phone.state.calls[0].phase is Phase.TALKING
        phone.hang_up(call, bob)


def fill(phone: Softphone, number: str) -> None:
    for _ in range(10_000):
        phone.journal.call_began(started=1.0, incoming=True, number=number, name="", account="")


def test_the_disk_is_full(mortal: Kamailio, bob: Party, phone: Softphone) -> None:
    """The call goes on, and is told of as not written."""
    database: Any = phone.journal._db
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    for length in (500, 1):  # until not even a short one has room
        with pytest.raises(StorageError, match="full"):
            fill(phone, "x" * length)
    call = phone.called_by(bob)
    phone.talk(bob)
    assert "journal" in phone.state.notice and "full" in phone.state.notice
    phone.do(c.DismissNotice())
    phone.hang_up(call, bob)
    database.execute("PRAGMA max_page_count = 1000000")
    phone.do(c.ClearCalls())
    second = phone.call(bob)
    phone.hang_up(second, bob)
    assert phone.written() == [("out", "bob", "answered")]


def test_killed_in_a_call(mortal: Kamailio, bob: Party, tmp_path: Path) -> None:
    """The journal has the call, the page is called again by the phone that is started anew."""
    with Softphone(tmp_path) as phone:
        phone.save(mortal)
        phone.until_online()
    path = os.pathsep.join(str(ROOT / part) for part in (".", "runtimes", "adapters"))
    child = launch(
        *(sys.executable, "-m", "tests.interop.phone_child", str(tmp_path), "bob"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        bob.expect("call", state="incoming")
        bob("answer")
        assert child.stdout.readline() == "talking\n"
    finally:
        end(child)
        child.stdout.close()
    with Softphone(tmp_path) as phone:
        phone.until_online()
        (entry,) = phone.do(c.ListCalls())
        assert (entry["number"], entry["outcome"], entry["open"]) == ("bob", Outcome.ANSWERED.value, True)
        bob("hangup")
        call = phone.called_by(bob)
        phone.talk(bob)
        phone.hang_up(call, bob)
        assert phone.written() == [("out", "bob", "answered"), ("in", "bob", "answered")]


def test_a_second_phone_on_the_same_folder(mortal: Kamailio, bob: Party, phone: Softphone) -> None:
    """Nobody is hindered and nothing is spoilt: both are online, both ring, who answers first has the call."""
    with Softphone(phone.folder) as second:
        second.until_online()
        assert phone.state.connection.online is Online.ONLINE
        reply = bob.send("call", target="sip:alice@rig.test")
        phone.until_phase(Phase.INCOMING)
        ringing = second.until_phase(Phase.INCOMING)
        second.do(c.Answer(call=ringing.id))
        bob.peer.wait_reply(reply)
        second.talk(bob)
        phone.until_phase(Phase.ENDED)
        second.hang_up(ringing.id, bob)
        assert sorted(second.written()) == [("in", "bob", "answered"), ("in", "bob", "elsewhere")]
        assert phone.written() == second.written()


@pytest.mark.parametrize("change", [-7200.0, 7200.0], ids=["back", "forth"])
def test_the_clock_of_the_machine_is_set(change: float, mortal: Kamailio, bob: Party, tmp_path: Path) -> None:
    ahead = 0.0
    with Softphone(tmp_path, clock=lambda: time.time() + ahead) as phone:
        phone.save(mortal)
        phone.until_online()
        call = phone.call(bob)
        phone.talk(bob)
        time.sleep(1)
        ahead = change
        phone.talk(bob)
        phone.hang_up(call, bob)
        assert phone.state.connection.online is Online.ONLINE
        (entry,) = phone.do(c.ListCalls())
        assert 1 <= entry["duration"] < 60
