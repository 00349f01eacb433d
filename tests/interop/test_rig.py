"""The rig itself: two JsSIP pages in one Chromium talk to one another through Kamailio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .child import PATIENCE
from .kamailio import Kamailio, password_of
from .peers import BrowserPeer, PeerError

pytestmark = pytest.mark.interop


class Page:
    """One page of the browser, so that the tests need not repeat its name."""

    def __init__(self, browser: BrowserPeer, name: str) -> None:
        self.browser = browser
        self.name = name

    def __call__(self, command: str, **fields: Any) -> dict[str, Any]:
        return self.browser.request(command, page=self.name, **fields)

    def send(self, command: str, **fields: Any) -> int:
        return self.browser.send(command, page=self.name, **fields)

    def expect(self, event: str, **match: Any) -> dict[str, Any]:
        return self.browser.expect(event, page=self.name, **match)


@pytest.fixture
def new_page(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def open_page(user: str, url: str, **fields: Any) -> Page:
        page = Page(browser, user)
        pages.append(page)
        settings = {"user": user, "password": password_of(user), "domain": kamailio.domain, "register": True}
        page("open", url=url, **{**settings, **fields})
        return page

    yield open_page
    for page in pages:
        page("close")
    browser.forget_events()


@pytest.fixture
def alice(new_page: Callable[..., Page], kamailio: Kamailio) -> Page:
    return new_page("alice", kamailio.ws_url)


@pytest.fixture
def bob(new_page: Callable[..., Page], kamailio: Kamailio) -> Page:
    return new_page("bob", kamailio.wss_url)


def establish(caller: Page, callee: Page, **media: bool) -> None:
    reply = caller.send("call", target=callee.name, **media)
    callee.expect("call", state="incoming", **media)
    callee("answer")
    caller.browser.wait_reply(reply)
    for page in (caller, callee):
        page.expect("call", state="established")


def wait_for_stats(page: Page, good: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while not good(stats := page("stats")):
        assert time.monotonic() < deadline, stats
        time.sleep(0.1)
    return stats


def is_near(frequency: float) -> Callable[[dict[str, Any]], bool]:
    return lambda stats: abs(stats["audio"]["frequency"] - frequency) <= 0.05 * frequency


def test_call_with_audio_and_video(alice: Page, bob: Page) -> None:
    alice("tone", frequency=500)
    bob("tone", frequency=800)
    bob("color", color="red")
    establish(alice, bob, audio=True, video=True)

    for page, frequency, strongest in ((alice, 800, 0), (bob, 500, 2)):
        wait_for_stats(page, lambda stats: bool(stats["video"]["frames_decoded"] > 5))
        stats = wait_for_stats(page, is_near(frequency))
        for medium in ("audio", "video"):
            assert stats[medium]["direction"] == "sendrecv"
            for way in ("sent", "received"):
                assert stats[medium][way]["packets"] > 0
                assert stats[medium][way]["bytes"] > 0
        assert stats["audio"]["codec"] == "opus"
        assert stats["audio"]["level"] > 0.1
        assert (stats["video"]["width"], stats["video"]["height"]) == (320, 240)
        color = stats["video"]["color"]
        assert color[strongest] > 200 and sum(color) - color[strongest] < 60
        assert stats["ice_state"] in ("connected", "completed")
        assert stats["dtls_state"] == "connected"
        assert stats["candidate_pair"]["local"]["type"] == "host"

    alice("hangup")
    assert bob.expect("call", state="ended")["originator"] == "remote"
    assert alice.expect("call", state="ended")["cause"] == "terminated"
    with pytest.raises(PeerError, match="invalid_state"):
        alice("hangup")


def test_hold_and_resume(alice: Page, bob: Page) -> None:
    establish(alice, bob, audio=True, video=False)
    wait_for_stats(bob, is_near(660))

    alice("hold")
    bob.expect("call", state="held", originator="remote")
    assert alice("stats")["audio"]["direction"] == "sendonly"
    wait_for_stats(bob, lambda stats: stats["audio"]["level"] < 0.001)

    alice("resume")
    bob.expect("call", state="resumed", originator="remote")
    wait_for_stats(bob, is_near(660))
    assert alice("stats")["audio"]["direction"] == "sendrecv"


def test_info_and_dtmf(alice: Page, bob: Page) -> None:
    establish(alice, bob, audio=True, video=False)

    assert alice("info", content_type="application/json", body='{"answer": 42}')["status"] == 200
    info = bob.expect("info")
    assert (info["content_type"], info["body"]) == ("application/json", '{"answer": 42}')

    bob("dtmf", digits="5#", transport="INFO")
    assert [alice.expect("dtmf")["digit"] for _ in range(2)] == ["5", "#"]
    # DTMF in RTP is not shown to a page, but the command has to work for other peers.
    bob("dtmf", digits="12", transport="RFC2833")

    bob("hangup")
    alice.expect("call", state="ended", originator="remote")


def test_ice_restart(alice: Page, bob: Page) -> None:
    establish(alice, bob, audio=True, video=False)

    def password(page: Page) -> str:
        lines: list[str] = page("sdp")["local"].splitlines()
        return next(line for line in lines if line.startswith("a=ice-pwd:"))

    before = password(alice), password(bob)
    alice("renegotiate")
    assert (password(alice), password(bob)) == before
    alice("renegotiate", ice_restart=True)
    assert password(alice) != before[0] and password(bob) != before[1]
    received = bob("stats")["audio"]["received"]["packets"]
    wait_for_stats(bob, lambda stats: bool(stats["audio"]["received"]["packets"] > received + 20))


def test_call_goes_on_over_a_new_connection(alice: Page, bob: Page) -> None:
    establish(alice, bob, audio=True, video=False)
    alice.browser.forget_events()
    alice("evaluate", expression="rig.agent._transport.socket._ws.close(), true")
    alice.expect("disconnected")
    alice.expect("registered")
    # The contact of a page is its GRUU, which Kamailio now finds on the new connection.
    bob("info", content_type="text/plain", body="still there?")
    alice.expect("info", body="still there?")
    alice("info", content_type="text/plain", body="yes")
    bob.expect("info", body="yes")


def test_busy(alice: Page, bob: Page) -> None:
    reply = alice.send("call", target="bob")
    bob.expect("call", state="incoming")
    bob("reject", status=486)
    with pytest.raises(PeerError) as busy:
        alice.browser.wait_reply(reply)
    assert (busy.value.code, busy.value.status) == ("busy", 486)
    assert alice.expect("call", state="ended")["status"] == 486


def test_cancel(alice: Page, bob: Page) -> None:
    reply = alice.send("call", target="bob")
    alice.expect("call", state="ringing")
    alice("hangup")
    with pytest.raises(PeerError, match="canceled"):
        alice.browser.wait_reply(reply)
    bob.expect("call", state="ended", originator="remote")


def test_call_to_nobody(alice: Page) -> None:
    for target, status in (("jane", 480), ("nobody", 404)):
        with pytest.raises(PeerError) as failed:
            alice("call", target=target)
        assert failed.value.status == status


def test_message_and_options(alice: Page, bob: Page, kamailio: Kamailio) -> None:
    alice("message", target="bob", body="Grüße")
    message = bob.expect("message")
    assert (message["from"], message["body"]) == ("sip:alice@rig.test", "Grüße")
    assert bob("options", target="alice")["status"] == 200
    # JsSIP cannot make a target without a user, but a target with an unknown user must fail.
    with pytest.raises(PeerError, match="not_found"):
        bob("options", target="nobody")


def test_wrong_password(new_page: Callable[..., Page], kamailio: Kamailio, browser: BrowserPeer) -> None:
    page = new_page("carol", kamailio.ws_url, password="wrong", register=False)
    with pytest.raises(PeerError) as refused:
        page("register")
    assert (refused.value.code, refused.value.status) == ("authentication_error", 401)


def test_registration_survives_a_server_restart(new_page: Callable[..., Page], browser: BrowserPeer) -> None:
    with Kamailio() as server:
        page = new_page("dave", server.ws_url, options={"connection_recovery_min_interval": 1})
        browser.forget_events()
        server.kill()
        page.expect("disconnected")
        server.start()
        page.expect("connected")
        page.expect("registered")
        page("unregister")
