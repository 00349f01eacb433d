"""What happens inside of calls with JsSIP through Kamailio: UPDATE, session timers, glare, early media, reliable progress."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sipproto.agent import SessionTimers
from sipproto.agent import outputs as o
from sipproto.message import Request, Response, fields
from sipproto_anyio import AnyioRuntime
from sipproto_client import CommandError
from sipproto_client.port import Event

from .child import PATIENCE, wait_until
from .kamailio import Kamailio
from .ours import AUDIO, Ours, both_hear, each_runtime, establish, one_runtime, talk, wait_for
from .peers import HERTZ, BrowserPeer, Party, PeerError
from .relay import TcpRelay

pytestmark = pytest.mark.interop
HASTE = 20


class Hurried(AnyioRuntime):
    """Its clock is faster than others: what takes a minute and a half is over in a few seconds."""

    def now(self) -> float:
        return super().now() * HASTE

    async def wait(self, event: Event, seconds: float | None) -> bool:
        return await super().wait(event, None if seconds is None else seconds / HASTE)


# The long timers of a page are as fast.
HURRY_PAGE = f"""(() => {{
  const slow = window.setTimeout.bind(window);
  window.setTimeout = (run, delay, ...rest) => slow(run, delay > 10000 ? delay / {HASTE} : delay, ...rest);
  return true;
}})()"""


@pytest.fixture
def bob(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(kamailio, kamailio.ws_url)
        yield page
    finally:
        page("close")
        browser.forget_events()


def called_by(bob: Party, alice: Ours) -> int:
    """The page calls; returns what to wait for."""
    return bob.send("call", target="sip:alice@rig.test")


# -- UPDATE ------------------------------------------------------------------------------------------------------------


@one_runtime
def test_hold_by_update(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        call = establish(alice, bob)
        bob("hold", use_update=True)
        alice.expect(o.CallHeld, originator=o.Originator.REMOTE)
        bob("resume", use_update=True)
        alice.expect(o.CallResumed, originator=o.Originator.REMOTE)
        updates = [m for m in alice.received("UPDATE") if isinstance(m, Request)]
        assert [b"a=sendonly" in update.body for update in updates] == [True, False]
        assert not alice.received("INVITE")
        talk(alice, call, bob)
        alice.do(call.hang_up)


# -- session timers ----------------------------------------------------------------------------------------------------


@one_runtime
@pytest.mark.parametrize(("caller", "method"), [("alice", "UPDATE"), ("bob", "INVITE")])
def test_session_is_refreshed_by_the_page(
    caller: str, method: str, runtime: str, kamailio: Kamailio, bob: Party
) -> None:
    """JsSIP wants to refresh in either role. Its requests are taken, with the same interval and roles."""
    bob("close")
    bob.open(kamailio, kamailio.ws_url, options={"session_timers_refresh_method": method})
    bob("evaluate", expression=HURRY_PAGE)
    with Ours(Hurried(), "alice", session_timers=SessionTimers(expires=90)) as alice:
        alice.connect(kamailio.ws_url)
        if caller == "alice":
            call = establish(alice, bob)
        else:
            reply = called_by(bob, alice)
            call = alice.answer()
            bob.peer.wait_reply(reply)
            both_hear(alice, call, bob)
            accepted = next(m for m in alice.sent("INVITE") if isinstance(m, Response) and m.status == 200)
            assert accepted.headers.first("Session-Expires") == "90;refresher=uac"
            assert accepted.headers.first("Require") == "timer"
            alice.forget()
        for _ in range(2):
            refresh = alice.expect_request(method, timeout=6)
            stated = refresh.headers.require(fields.SESSION_EXPIRES)
            assert (stated.seconds, stated.params.get("refresher")) == (90, "uac")
            assert bool(refresh.body) is (method == "INVITE")
        time.sleep(0.3)
        answers = [m for m in alice.sent(method) if isinstance(m, Response) and m.status == 200]
        assert {m.headers.first("Session-Expires") for m in answers} == {"90;refresher=uac"}
        talk(alice, call, bob)
        alice.do(call.hang_up)


@one_runtime
def test_session_that_is_not_refreshed(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    """The page has promised to refresh, and does not: the call ends on both sides."""
    with Ours(Hurried(), "alice", session_timers=SessionTimers(expires=90)) as alice:
        alice.connect(kamailio.ws_url)
        establish(alice, bob)
        began = time.monotonic()
        assert alice.expect(o.CallEnded).cause is o.Cause.EXPIRED
        assert time.monotonic() - began < 90 / HASTE
        bob.expect("call", state="ended", originator="remote")


# -- glare -------------------------------------------------------------------------------------------------------------


@one_runtime
@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_glare(caller: str, runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with TcpRelay(kamailio.tcp_port) as relay, Ours(runtime, "alice") as alice:
        alice.connect(f"ws://127.0.0.1:{relay.port}")
        if caller == "alice":
            call = establish(alice, bob)
        else:
            reply = called_by(bob, alice)
            call = alice.answer()
            bob.peer.wait_reply(reply)
            both_hear(alice, call, bob)
            alice.forget()
        relay.pause()
        holding = alice.start(call.hold)
        again = bob.send("renegotiate")
        # Both are on their way, neither has arrived.
        wait_until(lambda: alice.requests("INVITE") and relay.holds(b"INVITE "), alice.told)
        relay.resume()
        # JsSIP answers 491, yet takes our offer in place of its own, and says its own again with the number that it had
        # before: this it cannot survive. We leave its offer alone, and hear it out.
        ended = alice.expect(o.CallEnded)
        assert ended.originator is o.Originator.REMOTE and "Media Renegotiation Failed" in ended.detail
        # Whether ours is through before that is a matter of our back-off, which is one of chance (14.1). It has its outcome.
        assert holding.exception(1) is None or isinstance(holding.exception(1), CommandError)
        with pytest.raises(PeerError, match="webrtc_error"):
            bob.peer.wait_reply(again)
        assert [m.status for m in alice.sent("INVITE") if isinstance(m, Response) and m.status > 100] == [491, 500]
        retained = alice.endpoint.agent.retained
        assert retained["calls"] == retained["dialogs"] == 0
        second = establish(alice, bob)
        alice.do(second.hang_up)


def is_confirmed(party: Ours) -> bool:
    """Whether the ACK of every INVITE that it got has come, too."""
    numbers: dict[str, set[int]] = {
        method: {m.headers.require(fields.CSEQ).number for m in party.received(method) if isinstance(m, Request)}
        for method in ("INVITE", "ACK")
    }
    return numbers["INVITE"] <= numbers["ACK"]


@one_runtime
def test_glare_of_two_of_ours(runtime: str, kamailio: Kamailio) -> None:
    """Each is refused once, waits a time of its own, and gets what it wanted."""
    with (
        TcpRelay(kamailio.tcp_port) as relay,
        Ours(runtime, "alice") as alice,
        Ours(runtime, "carol", hertz=900) as carol,
    ):
        for party in (alice, carol):
            party.connect(f"ws://127.0.0.1:{relay.port}")
        calling = alice.call("carol")
        theirs = carol.answer()
        ours = calling.result(PATIENCE)
        alice.hears(ours, 900)
        for party in (alice, carol):
            party.forget()
        relay.pause()
        holds = [alice.start(ours.hold), carol.start(theirs.hold)]
        wait_until(lambda: alice.requests("INVITE") and carol.requests("INVITE"), alice.told)
        relay.resume()
        for hold in holds:
            hold.result(PATIENCE)
        for party in (alice, carol):
            assert any(isinstance(m, Response) and m.status == 491 for m in party.sent("INVITE"))
        both = {o.Originator.LOCAL, o.Originator.REMOTE}
        assert ours.held_by == theirs.held_by == both
        wait_until(lambda: is_confirmed(alice) and is_confirmed(carol), lambda: f"{alice.told()}\n{carol.told()}")
        alice.do(ours.resume)
        carol.do(theirs.resume)
        alice.hears(ours, 900)
        carol.hears(theirs, HERTZ["alice"])
        alice.do(ours.hang_up)


# -- early media -------------------------------------------------------------------------------------------------------


@each_runtime
def test_early_media_heard_by_the_page(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        reply = called_by(bob, alice)
        call = alice.incoming()
        alice.do(call.progress, 183, AUDIO, setup=alice.setup)
        assert bob.expect("call", state="ringing", status=183)
        both_hear(alice, call, bob)  # and nobody has answered yet
        alice.do(call.answer)
        bob.peer.wait_reply(reply)
        # A page does not know reliable provisional answers: nobody may insist on them.
        assert all(message.headers.first("Require") in (None, "timer") for message in alice.sent("INVITE"))
        talk(alice, call, bob)
        bob("hangup")


@one_runtime
def test_early_media_of_a_call_that_is_refused(runtime: str, kamailio: Kamailio, bob: Party) -> None:
    with Ours(runtime, "alice") as alice:
        alice.connect(kamailio.ws_url)
        reply = called_by(bob, alice)
        call = alice.incoming()
        alice.do(call.progress, 183, AUDIO, setup=alice.setup)
        wait_for(bob, lambda stats: abs(stats["audio"]["frequency"] - HERTZ["alice"]) < 30)
        alice.do(call.hang_up, 486)
        with pytest.raises(PeerError, match="busy"):
            bob.peer.wait_reply(reply)
        assert alice.endpoint.agent.retained["calls"] == 0


@one_runtime
def test_reliable_progress_between_two_of_ours(runtime: str, kamailio: Kamailio) -> None:
    with Ours(runtime, "alice") as alice, Ours(runtime, "carol", hertz=900) as carol:
        for party in (alice, carol):
            party.connect(kamailio.ws_url)
        calling = alice.call("carol")
        theirs = carol.incoming()
        carol.do(theirs.progress, 183, AUDIO, setup=carol.setup)
        progress = alice.expect(o.CallProgressed, status=183)
        assert progress.early_media
        ours = alice.endpoint.call_of(progress.call)
        assert ours is not None
        alice.hears(ours, 900)
        carol.hears(theirs, 500)
        assert alice.requests("PRACK") and carol.received("PRACK")
        carol.do(theirs.answer)
        call = calling.result(PATIENCE)
        alice.hears(call, 900)
        alice.do(call.hang_up)
        carol.expect(o.CallEnded, originator=o.Originator.REMOTE)
