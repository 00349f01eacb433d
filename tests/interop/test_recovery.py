"""A call of ours with JsSIP in Chromium goes on when the server dies, our connection is cut, or the way of the media changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from sipproto.agent import Recovery
from sipproto.agent import outputs as o

from .kamailio import Kamailio
from .ours import Ours, arrivals, each_runtime, establish, lines, one_runtime, talk
from .peers import BrowserPeer, Party, each_browser
from .relay import TcpRelay

pytestmark = pytest.mark.interop
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
            reconnecting = alice.expect(o.CallReconnecting)
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


@one_runtime
@pytest.mark.parametrize("holder", ["alice", "bob"])
def test_server_killed_while_held(runtime: str, holder: str, mortal: Kamailio, bob: Party) -> None:
    """The hold is what it was, and ends when it is asked to."""
    with Ours(runtime, "alice") as alice:
        alice.connect(mortal.ws_url)
        call = establish(alice, bob)
        if holder == "alice":
            alice.do(call.hold)
            bob.expect("call", state="held", originator="remote")
        else:
            bob("hold")
            alice.expect(o.CallHeld, originator=o.Originator.REMOTE)
        who = set(call.held_by)
        mortal.restart()
        alice.expect(o.CallRecovered, timeout=20)
        bob.expect("registered")
        assert call.held_by == who, alice.told()
        directions = (b"a=sendonly", b"a=recvonly")
        assert directions[holder == "bob"] in alice.requests("INVITE")[-1].body
        line = alice.do(call.stats).line("audio")
        assert line is not None
        time.sleep(0.5)
        later = alice.do(call.stats).line("audio")
        assert later is not None
        if holder == "alice":
            assert later.packets_received - line.packets_received <= 3
            alice.do(call.resume)
        else:
            assert later.packets_sent - line.packets_sent <= 3
            bob("resume")
            alice.expect(o.CallResumed, originator=o.Originator.REMOTE)
        assert not call.held_by
        talk(alice, call, bob)


@one_runtime
def test_server_gone_for_longer_than_the_grace_time(runtime: str, mortal: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice", recovery=Recovery(grace=1.5, first_delay=0.2, max_delay=0.5)) as alice:
        alice.connect(mortal.ws_url)
        call = establish(alice, bob)
        mortal.kill()
        lost, _ = alice.expect_at(o.CallReconnecting, waits=1.5)
        waiting = alice.start(call.wait_recovered)
        over, ended = alice.expect_at(o.CallEnded)
        assert (ended.cause, ended.originator) == (o.Cause.CONNECTION_ERROR, o.Originator.REMOTE)
        assert "1.5 s" in ended.detail and 1.4 < over - lost < 1.8
        assert waiting.result(1) is False
        mortal.start()
        alice.expect(o.RegistrationChanged, state=o.RegistrationState.REGISTERED)
        # The page still has the call, and gets no BYE of it: nobody may wait for it any more.
        bob.expect("registered")
        alice.do(alice.endpoint.options, f"sip:{mortal.domain}")
        retained = alice.endpoint.agent.retained
        assert retained["calls"] == retained["dialogs"] == 0
        bob("hangup")
        second = establish(alice, bob)
        alice.do(second.hang_up)


@one_runtime
def test_our_connection_cut(runtime: str, mortal: Kamailio, bob: Party, record_property: Record) -> None:
    """The page notices nothing; it sends to our GRUU, which leads to the new connection."""
    quick = Recovery(first_delay=0.2)
    with TcpRelay(mortal.tcp_port) as relay, Ours(runtime, "alice", recovery=quick) as alice:
        alice.connect(f"ws://127.0.0.1:{relay.port}")
        call = establish(alice, bob)
        for _ in range(2):
            with arrivals() as gaps:
                relay.cut(refuse=True)
                alice.expect(o.CallReconnecting)
                time.sleep(0.5)
                relay.restore()
                recovered = alice.expect(o.CallRecovered, timeout=20)
                time.sleep(0.5)
            talk(alice, call, bob)
            note(record_property, signalling=recovered.gap, audio=gaps["longest"])
            assert gaps["longest"] < 0.5
        assert not [event for event in bob.peer.pending_events() if event["event"] == "disconnected"]
        bob("hangup")
        alice.expect(o.CallEnded, originator=o.Originator.REMOTE)


@one_runtime
def test_connection_cut_in_the_middle_of_a_change(runtime: str, mortal: Kamailio, bob: Party) -> None:
    """The change fails, the call goes on as it was before."""
    quick = Recovery(first_delay=0.2)
    with TcpRelay(mortal.tcp_port) as relay, Ours(runtime, "alice", recovery=quick) as alice:
        alice.connect(f"ws://127.0.0.1:{relay.port}")
        call = establish(alice, bob)
        holding = alice.start(call.hold)
        relay.cut()
        alice.expect(o.CallRecovered, timeout=20)
        # The answer to our re-INVITE may have been faster.
        held = holding.exception(1) is None
        assert call.held_by == ({o.Originator.LOCAL} if held else set())
        if held:
            alice.do(call.resume)
        talk(alice, call, bob)
        alice.do(call.hang_up)


@one_runtime
def test_hang_up_while_the_server_is_gone(runtime: str, mortal: Kamailio, bob: Party) -> None:
    """Over at once for us; the page hears of it as soon as there is a way."""
    with Ours(runtime, "alice", recovery=Recovery(first_delay=0.2)) as alice:
        alice.connect(mortal.ws_url)
        call = establish(alice, bob)
        mortal.kill()
        alice.expect(o.CallReconnecting)
        alice.do(call.hang_up)
        assert alice.expect(o.CallEnded).cause is o.Cause.TERMINATED
        mortal.start()
        bob.expect("registered")
        bob.expect("call", state="ended", originator="remote")


# -- ICE restart -------------------------------------------------------------------------------------------------------


@one_runtime
@each_browser
@pytest.mark.parametrize("by_update", [False, True], ids=["INVITE", "UPDATE"])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_ice_restart(
    who: str, by_update: bool, runtime: str, mortal: Kamailio, bob: Party, record_property: Record
) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(mortal.ws_url)
        call = establish(alice, bob)
        before, concealed = alice.description(call), bob("stats")["audio"]["concealed"]
        with arrivals() as gaps:
            time.sleep(0.3)
            if who == "alice":
                alice.do(call.restart_ice, use_update=by_update)
            else:
                bob("renegotiate", ice_restart=True, use_update=by_update)
            time.sleep(1.5)  # beyond the closing of the old sockets
        method = "UPDATE" if by_update else "INVITE"
        assert alice.sent(method) and not alice.sent("INVITE" if by_update else "UPDATE")
        after = alice.description(call)
        assert not lines(before[0], "a=ice-pwd:") & lines(after[0], "a=ice-pwd:")
        assert not lines(before[1], "a=ice-pwd:") & lines(after[1], "a=ice-pwd:")
        assert lines(before[1], "a=fingerprint:") == lines(after[1], "a=fingerprint:")
        concealed = bob("stats")["audio"]["concealed"] - concealed
        note(record_property, audio=gaps["longest"], concealed_by_page=concealed)
        assert gaps["longest"] < 0.5
        assert concealed < 0.5
        talk(alice, call, bob)
        assert call.ident in alice.endpoint.agent.calls
        alice.do(call.hang_up)
