"""From the page of the softphone in Chromium through Kamailio to a JsSIP page, as a user does it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from sipproto_phone.web import run_page

from .kamailio import Kamailio, password_of
from .peers import HERTZ, BrowserPeer, Party
from .softphone import Softphone, account, page_hears

pytestmark = pytest.mark.interop


@pytest.fixture
def bob(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(kamailio, kamailio.ws_url)
        yield page
    finally:
        page("close")
        browser.forget_events()


@pytest.fixture
def page() -> Iterator[Page]:
    path = shutil.which("chromium")
    assert path is not None
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            made = chromium.new_page(locale="en-US")
            made.set_default_timeout(20_000)
            yield made
        finally:
            chromium.close()


def type_account(page: Page, kamailio: Kamailio, password: str) -> None:
    typed = account(kamailio)
    page.click("#account-form summary")
    for name in ("server", "login", "display_name", "port", "ca_file"):
        page.fill(f"#account-{name}", str(typed[name]))
    page.fill("#account-hosts", "\n".join(typed["hosts"]))
    page.fill("#account-password", password)
    page.click("#account-form [type=submit]")


def test_from_the_first_start_to_a_call_and_back(kamailio: Kamailio, bob: Party, page: Page, tmp_path: Path) -> None:
    expect.set_options(timeout=20_000)
    with (
        Softphone(tmp_path) as phone,
        phone.portal.wrap_async_context_manager(run_page(phone.phone)) as served,
    ):
        page.goto(served.url)
        status, card = page.locator("#status"), page.locator("article.call")
        page.click("#welcome-button")
        type_account(page, kamailio, "wrong")
        expect(status).to_have_attribute("data-online", "failed")
        expect(status).to_contain_text("password")
        page.click("#views [data-view=settings]")
        page.locator("#accounts").get_by_role("button", name="Edit").click()
        expect(page.locator("#account-server")).to_have_value(kamailio.domain)
        page.fill("#account-password", password_of("alice"))
        page.click("#account-form [type=submit]")
        expect(status).to_have_attribute("data-online", "online")

        page.fill("#number", "bob")
        page.click("#call-button")
        bob.expect("call", state="incoming", **{"from": "sip:alice@rig.test"})
        bob("answer")
        expect(card).to_have_attribute("data-phase", "talking")
        phone.talk(bob)
        card.get_by_role("button", name="Hold").click()
        bob.expect("call", state="held", originator="remote")
        expect(card).to_have_attribute("data-phase", "held")
        page_hears(bob, None)
        card.get_by_role("button", name="Resume").click()
        expect(card).to_have_attribute("data-phase", "talking")
        phone.talk(bob)
        card.get_by_role("button", name="Mute", exact=True).click()
        page_hears(bob, None)
        card.get_by_role("button", name="Unmute").click()
        page_hears(bob, HERTZ["alice"])
        loud = phone.until_hears(HERTZ["bob"])
        page.fill("#volume", "25")
        phone.until("a quarter", lambda: 0.2 * loud < phone.phone.sound.meter.heard()[0] < 0.3 * loud)
        card.get_by_role("button", name="Hang up").click()
        bob.expect("call", state="ended", originator="remote")
        expect(card).to_have_count(0)

        reply = bob.send("call", target="sip:alice@rig.test", headers=["X-Display-Name: %D0%91%D0%BE%D0%B1"])
        expect(card.locator("h2")).to_have_text("Боб")
        card.get_by_role("button", name="Answer").click()
        bob.peer.wait_reply(reply)
        phone.talk(bob)
        bob("hangup")
        expect(card).to_have_count(0)

        page.reload()  # the cookie is enough; the address has lost its token
        assert served.token not in page.url
        expect(status).to_have_attribute("data-online", "online")
        page.click("#views [data-view=journal]")
        rows = page.locator("#journal-list li")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("Боб")
        assert phone.written() == [("out", "bob", "answered"), ("in", "bob", "answered")]
