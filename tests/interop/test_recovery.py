"""A call of ours with JsSIP in Chromium goes on when the server dies, our connection is cut, or the way of the media changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from sipproto.agent import Recovery
from sipproto.agent import outputs as o
from sipproto.message import Request
from sipproto_client import Call

from .kamailio import Kamailio
from .ours import Ours, arrivals
from .peers import HERTZ, BrowserPeer, Party
from .relay import TcpRelay

pytestmark = pytest.mark.interop
RUNTIMES = ("anyio-asyncio", "anyio-trio", "trio")
each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
one_runtime = pytest.mark.parametrize("runtime", RUNTIMES[:1])
SOON = {"connection_recovery_min_interval": 1, "connection_recovery_max_interval": 1}


@pytest.fixture(scope="module")
def mortal() -> Iterator[Kamailio]:
    """A server for the tests that kill it."""
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


def wait_for(party: Party, good: Callable[[dict[str, Any]], object], timeout: float = 15) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while not good(stats := party("stats")):
        assert time.monotonic() < deadline, (party.user, stats)
        time.sleep(0.1)
    return stats


def both_hear(alice: Ours, call: Call, bob: Party) -> None:
    alice.hears(call, HERTZ["bob"])
    wait_for(bob, lambda stats: abs(stats["audio"]["frequency"] - HERTZ["alice"]) <= 0.05 * HERTZ["alice"])


def establish(alice: Ours, bob: Party) -> Call:
    calling = alice.call("bob")
    bob.expect("call", state="incoming")
    bob("answer")
    call = calling.result(15)
    bob.expect("call", state="established")
    both_hear(alice, call, bob)
    alice.forget()
    bob.peer.forget_events()
    return call


def talk(alice: Ours, call: Call, bob: Party) -> None:
    """Audio and signalling work both ways."""
    both_hear(alice, call, bob)
    assert alice.do(call.send_info, "text/plain", b"still there?") == 200
    assert bob.expect("info")["body"] == "still there?"
    assert bob("info", content_type="text/plain", body="yes")["status"] == 200
    assert alice.expect(o.InfoReceived).body == b"yes"


def note(record_property: Callable[[str, object], None], **measured: float) -> None:
    for name, value in measured.items():
        record_property(name, round(value, 3))
        print(f"{name}: {value:.3f} s")


Record = Callable[[str, object], None]


@each_runtime
def test_server_killed(runtime: str, mortal: Kamailio, bob: Party, record_property: Record) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(mortal.ws_url)
        call = establish(alice, bob)
        with arrivals() as gaps:
            mortal.kill()
            lost, reconnecting = alice.expect_at(o.CallReconnecting)
            assert reconnecting.waits == 60
            time.sleep(0.5)
            mortal.start()
            recovered = alice.expect(o.CallRecovered, timeout=20)
            time.sleep(0.5)
        bob.expect("registered")
        talk(alice, call, bob)
        note(record_property, signalling=recovered.gap, audio=gaps["longest"])
        assert gaps["longest"] < 0.5
        assert recovered.gap < 10
        bob("hangup")
        assert alice.do(call.wait_ended).originator is o.Originator.REMOTE
