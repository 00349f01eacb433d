"""The page in Chromium: every state, both languages, keyboard, narrow and wide, light and dark, and text of others as text."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from playwright.async_api import Browser, expect

from sipproto_phone import commands as c
from sipproto_phone.journal import JournalFile
from sipproto_phone.model import (
    AudioDevice,
    CallView,
    Connection,
    Devices,
    Figures,
    Mailbox,
    Online,
    Outcome,
    Phase,
    Problem,
    UntrustedCertificate,
)
from sipproto_phone.texts import table
from sipproto_phone.web import run_page

from .browser import ACCOUNT, Shown, chromium, findings, opened, overflow, shown, until

pytestmark = [pytest.mark.interop, pytest.mark.anyio]
ONLINE = Connection(online=Online.ONLINE)
FIGURES = Figures(
    codec="opus", loss=0.004, jitter=0.007, round_trip=0.042, bitrate_in=41e3, bitrate_out=38e3, level_in=0.4, quality=4
)
VIEWS = ("phone", "journal", "tickets", "settings")
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
SCREENSHOTS = os.environ.get("SIPPROTO_SCREENSHOTS")  # the directory for those of the docs


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalFile]:
    made = JournalFile(tmp_path / "journal.sqlite3")
    yield made
    made.close()


def call(ident: str, phase: Phase, name: str = "", number: str = "+79211234567", **more: Any) -> CallView:
    at = time.monotonic() - 83 if phase in (Phase.TALKING, Phase.HELD, Phase.RECONNECTING) else None
    shown_number = "+7 921 123-45-67" if number == "+79211234567" else number
    fields = {"id": ident, "phase": phase, "incoming": phase is Phase.INCOMING, "answered_at": at, "figures": FIGURES}
    return CallView(**{**fields, "name": name, "number": number, "shown_number": shown_number, **more})


def filled(journal: JournalFile) -> JournalFile:
    """A journal as after a day of work."""
    now = time.time()
    for place, (name, number, incoming, seconds, outcome) in enumerate(
        (
            ("Иван Смирнов", "+79211234567", True, 184, Outcome.ANSWERED),
            ("", "+78125550142", True, 0, Outcome.MISSED),
            ("Maria Keller", "204", False, 61, Outcome.ANSWERED),
            ("", "+74955550119", False, 0, Outcome.BUSY),
            ("Склад", "310", True, 0, Outcome.REJECTED),
        )
    ):
        at = now - 1700 * (place + 1)
        entry = journal.call_began(started=at, incoming=incoming, number=number, name=name, account="a1")
        if seconds:
            journal.call_answered(entry, at + 4)
        journal.call_ended(entry, at=at + 4 + seconds, outcome=outcome)
    ticket = {
        "customer": "ООО «Север»",
        "contact": "Иван",
        "number": "+7 921 123-45-67",
        "text": "Не приходят счета за октябрь",
    }
    journal.save_ticket({**ticket, "status": "open"}, now - 1600)
    journal.save_ticket(
        {"customer": "Keller GmbH", "number": "204", "text": "Wants a second line", "status": "closed"}, now - 5000
    )
    return journal


# -- every state, in every look ----------------------------------------------------------------------------------------

LONG = "Константин Константинопольский-Задунайский из отдела сопровождения " + "x" * 60
STATES: dict[str, dict[str, Any]] = {
    "no account": {"accounts": ()},
    "idle": {"connection": ONLINE, "last_number": "600", "mailbox": Mailbox(new=3, old=1)},
    "failed": {
        "connection": Connection(
            online=Online.FAILED, problem=Problem.WRONG_PASSWORD, detail="403 Forbidden " + "y" * 80
        ),
        "devices": Devices(problem="there is no microphone " + "z" * 70),
        "mailbox": Mailbox(new=12),
        "notice": "the journal cannot be written: " + "w" * 90,
    },
    "retrying": {"connection": Connection(online=Online.RETRYING, problem=Problem.UNREACHABLE, retry_in=17.0)},
    "ringing": {"connection": ONLINE, "calls": (call("c1", Phase.RINGING),)},
    "incoming": {"connection": ONLINE, "calls": (call("c1", Phase.INCOMING, "Иван Смирнов"),)},
    "talking": {"connection": ONLINE, "calls": (call("c1", Phase.TALKING, LONG, muted=True, digits="12#" * 20),)},
    "two calls and a third": {
        "connection": ONLINE,
        "calls": (
            call("c1", Phase.HELD, "Иван Смирнов", held_by_peer=True, transfer=180),
            call("c2", Phase.TALKING, number="sip:" + "u" * 70 + "@example.com"),
            call("c3", Phase.INCOMING, LONG),
        ),
    },
    "reconnecting": {
        "connection": Connection(online=Online.CONNECTING),
        "calls": (
            call("c1", Phase.RECONNECTING),
            call("c2", Phase.ENDED, outcome=Outcome.FAILED, detail="503 " + "v" * 90),
        ),
    },
}


@pytest.mark.parametrize(("width", "scheme", "language"), [(360, "light", "ru"), (360, "dark", "en"), (1280, "dark", "ru"), (1280, "light", "en"), (760, "light", "ru")])  # fmt: skip
async def test_every_state_fits_and_is_accessible(
    browser: Browser, journal: JournalFile, width: int, scheme: str, language: str
) -> None:
    phone = Shown(filled(journal), language=language)
    place = ("en", "ru").index(language)
    first = phone.state
    async with shown(browser, phone, width=width, height=1500, scheme=scheme) as page:
        for name, fields in STATES.items():
            phone.change(
                **{
                    **{
                        key: getattr(first, key)
                        for key in ("accounts", "connection", "calls", "devices", "mailbox", "notice")
                    },
                    **fields,
                }
            )
            online = phone.state.connection.online.value
            await expect(page.locator("#status")).to_have_attribute("data-online", online)
            await expect(page.locator("article.call")).to_have_count(len(phone.state.calls))
            for quality in await page.locator("button.quality:visible").all():
                if await quality.get_attribute("aria-expanded") == "false":
                    await quality.dispatch_event("click")
            for view in VIEWS if name in ("idle", "two calls and a third") else ("phone",):
                await page.evaluate("(view) => document.querySelector(`#views [data-view=${view}]`).click()", view)
                await page.wait_for_timeout(50)
                where = (name, view, width, scheme, language)
                assert not await overflow(page), where
                assert not await findings(page), where
                words = await page.inner_text("body")
                assert not re.findall(r"\b[a-z]+_[a-z_]+\b", words), where  # a key in place of its text
                assert table()["view_tickets"][place] in words and await page.get_attribute("html", "lang") == language


async def test_dialogs_fit_and_are_accessible(browser: Browser, journal: JournalFile) -> None:
    certificate = UntrustedCertificate(
        host="pbx.example.com",
        fingerprint=":".join(["AB"] * 32),
        subject="CN=pbx",
        issuer="CN=pbx",
        not_after="2030-01-01",
    )
    for width, scheme in ((360, "dark"), (1280, "light")):
        phone = Shown(journal, connection=ONLINE, language="ru")
        async with shown(browser, phone, width=width, scheme=scheme) as page:
            await page.click("#views [data-view=settings]")
            await page.click("#account-new")
            await page.click("#account-dialog summary")
            assert not await overflow(page) and not await findings(page)
            await page.keyboard.press("Escape")
            await expect(page.locator("#account-new")).to_be_focused()
            await page.click("#views [data-view=tickets]")
            await page.click("#ticket-new")
            assert not await overflow(page) and not await findings(page)
            # A caller can be answered while a dialog is open.
            phone.change(calls=(call("c1", Phase.INCOMING),))
            await page.get_by_role("button", name="Ответить").click()
            await phone.until_done(c.Answer(call="c1"))
            await page.locator("#ticket-dialog .close").click()
            phone.change(connection=Connection(online=Online.FAILED, problem=Problem.TLS, certificate=certificate))
            await expect(page.locator("#certificate-dialog")).to_contain_text(certificate.fingerprint)
            assert not await overflow(page) and not await findings(page)
            await page.get_by_role("button", name="Доверять этому сертификату").click()
            await phone.until_done(c.TrustCertificate(host="pbx.example.com", fingerprint=certificate.fingerprint))
            await expect(page.locator("#certificate-dialog")).to_be_hidden()


async def test_the_language_follows_the_settings(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(journal, connection=ONLINE, language="en", calls=(call("c1", Phase.TALKING),))
    async with shown(browser, phone, locale="ru-RU") as page:
        await expect(page.locator("#status-text")).to_have_text("Online")
        await expect(page.locator(".phase")).to_have_text("Talking")
        phone.change(language="ru")
        await expect(page.locator("#status-text")).to_have_text("В сети")
        await expect(page.locator(".phase")).to_have_text("Разговор")
        await expect(page.locator("#call-button")).to_have_text("Позвонить")


# -- what is done with it ----------------------------------------------------------------------------------------------


async def test_keyboard_only(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(journal, connection=ONLINE)
    async with shown(browser, phone) as page:
        press = page.keyboard.press
        await press("n")
        await expect(page.locator("#number")).to_be_focused()
        await page.keyboard.type("a6h")  # letters of shortcuts are letters in a text field
        await press("Enter")
        await phone.until_done(c.Dial(number="a6h"))
        phone.change(calls=(call("c1", Phase.INCOMING),))
        await expect(page.locator("#announce-now")).to_contain_text("is calling")
        await press("Alt+a")
        await phone.until_done(c.Answer(call="c1"))
        phone.change(calls=(call("c1", Phase.TALKING),))
        await expect(page.locator("#announce")).to_contain_text("Talking")
        await page.evaluate("document.activeElement.blur()")
        for keys, command in (
            ("m", c.Mute(call="c1", muted=True)),
            ("h", c.Hold(call="c1")),
            ("5", c.SendDigits(call="c1", digits="5")),
            ("#", c.SendDigits(call="c1", digits="#")),
        ):
            await press(keys)
            await phone.until_done(command)
        await press("t")
        await expect(page.locator(".transfer input")).to_be_focused()
        await page.keyboard.type("601")
        await press("Enter")
        await phone.until_done(c.Transfer(call="c1", number="601"))
        phone.change(calls=(call("c1", Phase.HELD), call("c2", Phase.TALKING)))
        await expect(page.locator(".pair")).to_be_visible()
        await page.evaluate("document.activeElement.blur()")
        await press("s")
        await phone.until_done(c.Resume(call="c1"))
        await press("e")
        await phone.until_done(c.HangUp(call="c2"))


async def test_all_is_reached_by_tab(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(
        filled(journal), connection=ONLINE, calls=(call("c1", Phase.TALKING), call("c2", Phase.HELD)), last_number="600"
    )
    async with shown(browser, phone) as page:
        await expect(page.locator("#journal-list li")).to_have_count(5)
        wanted = await page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, textarea")]
                .filter((one) => one.checkVisibility() && !one.disabled).length"""
        )
        seen: set[str] = set()
        for _ in range(wanted + 5):
            await page.keyboard.press("Tab")
            seen.add(await page.evaluate(
                """() => { const one = document.activeElement; one.dataset.seen ??= String(Math.random());
                    return one.matches("button, input, select, textarea") ? one.dataset.seen : "" }"""
            ))  # fmt: skip
        assert len(seen - {""}) == wanted


async def test_buttons_and_devices(browser: Browser, journal: JournalFile) -> None:
    devices = Devices(
        microphones=(AudioDevice(name="", label="Default"), AudioDevice(name="usb", label="USB headset")),
        speaker="gone",
    )
    phone = Shown(
        journal,
        connection=ONLINE,
        volume=0.3,
        devices=devices,
        calls=(call("c1", Phase.TALKING), call("c2", Phase.HELD)),
    )
    async with shown(browser, phone) as page:
        await expect(page.locator("#volume")).to_have_value("30")  # from the first state on
        await page.select_option("#microphone", label="USB headset")
        await phone.until_done(c.ChooseDevices(microphone="usb"))
        await expect(page.locator("#speaker option:checked")).to_have_text("gone (not there)")
        await page.fill("#volume", "40")
        await phone.until_done(c.SetVolume(volume=0.4))
        await page.click("#pad [data-key='5']")
        await phone.until_done(c.SendDigits(call="c1", digits="5"))
        await page.get_by_role("button", name="Connect the two").click()
        await phone.until_done(c.Transfer(call="c1", other="c2"))
        # Whatever the clock of the machine of the page says: somebody may set it.
        await page.evaluate("() => { const real = Date.now; Date.now = () => real() + 7200e3; }")
        timer = page.locator("[data-call=c1] .timer")
        before = await timer.text_content()
        await expect(timer).not_to_have_text(before or "")
        await expect(timer).to_have_text(re.compile(r"^01:\d\d$"))
        await page.locator("[data-call=c1] .quality").click()
        await expect(page.locator("[data-call=c1] [data-plot=jitter] polyline")).to_have_attribute(
            "points", re.compile(r"\d+,[\d.]+ \d+,[\d.]+")
        )
        await expect(page.locator("[data-call=c1] [data-plot=bitrate] b")).to_have_text("41 / 38 kbit/s")
        # In place: what has the focus keeps it when figures come in.
        await page.locator("[data-call=c1] .actions button:visible").first.focus()
        phone.change(calls=tuple(evolve(one, figures=evolve(FIGURES, jitter=0.05)) for one in phone.state.calls))
        await expect(page.locator("[data-call=c1] [data-plot=jitter] b")).to_have_text("50 ms")
        assert await page.evaluate("document.activeElement.closest('[data-call=c1]') !== null")


async def test_journal_and_tickets(browser: Browser, journal: JournalFile, tmp_path: Path) -> None:
    phone = Shown(filled(journal), connection=ONLINE)
    async with shown(browser, phone) as page:
        rows = page.locator("#journal-list li")
        await expect(rows).to_have_count(5)
        await page.fill("#journal-text", "смирнов")
        await expect(rows).to_have_count(1)
        await page.fill("#journal-text", "")
        await page.check("#journal-missed")
        await expect(rows).to_have_count(1)
        await rows.get_by_role("button", name="Call +78125550142").click()
        await phone.until_done(c.Dial(number="+78125550142"))
        await rows.get_by_role("button", name="Ticket: +78125550142").click()
        await expect(page.locator("#ticket-number")).to_have_value("+78125550142")
        await page.fill("#ticket-text", "Call back before noon")
        await page.locator("#ticket-form [type=submit]").click()
        await until("a ticket", lambda: len(journal.tickets()) == 3)
        assert journal.tickets()[0].call == journal.calls(missed=True)[0].id
        await page.click("#views [data-view=tickets]")
        tickets = page.locator("#tickets-list li")
        await expect(tickets).to_have_count(3)
        await page.select_option("#tickets-status", "closed")
        await expect(tickets).to_have_count(1)
        await page.select_option("#tickets-status", "")
        await page.fill("#tickets-text", "noon")
        await expect(tickets).to_have_count(1)


async def test_a_password_goes_in_and_never_comes_back(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(journal, connection=ONLINE)
    async with run_page(phone) as served, opened(browser, served.url) as page:
        assert page.url == f"http://127.0.0.1:{served.port}/"
        await page.click("#views [data-view=settings]")
        await page.get_by_role("button", name="Edit Анна").click()
        await expect(page.locator("#account-password")).to_have_value("")
        await page.fill("#account-password", "hunter2")
        await page.locator("#account-form [type=submit]").click()
        await until("an account", lambda: any(isinstance(one, c.SaveAccount) for one in phone.done))
        [saved] = [one for one in phone.done if isinstance(one, c.SaveAccount)]
        assert saved.password == "hunter2" and saved.account["id"] == "a1" and "hunter2" not in repr(saved)
        await expect(page.locator("#account-dialog")).to_be_hidden()
        whole = await page.content() + await page.evaluate(
            """() => JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href,
                [...document.querySelectorAll("input, textarea")].map((one) => one.value)])"""
        )
        assert "hunter2" not in whole and served.token not in whole
        await page.reload()
        await expect(page.locator("#status")).to_have_attribute("data-online", "online")


# -- others ------------------------------------------------------------------------------------------------------------


async def test_text_of_others_stays_text(browser: Browser, journal: JournalFile, tmp_path: Path) -> None:
    calls = (
        call("c1", Phase.INCOMING, EVIL, EVIL),
        call("c2", Phase.TALKING, EVIL, EVIL, digits=EVIL, figures=evolve(FIGURES, codec=EVIL)),
        call("c3", Phase.ENDED, EVIL, EVIL, outcome=Outcome.FAILED, detail=EVIL),
    )
    certificate = UntrustedCertificate(host=EVIL, fingerprint=EVIL, subject=EVIL, issuer=EVIL, not_after=EVIL)
    fields: dict[str, Any] = {
        "calls": calls,
        "notice": EVIL,
        "last_number": EVIL,
        "connection": Connection(online=Online.FAILED, detail=EVIL, certificate=certificate),
        "accounts": (evolve(ACCOUNT, display_name=EVIL, server=EVIL, login=EVIL, transport=EVIL),),
        "devices": Devices(microphones=(AudioDevice(name=EVIL, label=EVIL),), speaker=EVIL, problem=EVIL),
        "keyring": False,
        "keyring_detail": EVIL,
    }
    file = tmp_path / "calls.csv"
    quoted = '"' + EVIL.replace('"', '""') + '"'
    file.write_text(
        f"started,incoming,number,name,duration,outcome,account\n2024-01-01T10:00:00+00:00,yes,{quoted},{quoted},5,missed,{quoted}\n"
    )
    phone = Shown(journal)
    journal.save_ticket({"customer": EVIL, "contact": EVIL, "number": EVIL, "text": EVIL}, 1.0)
    async with shown(browser, phone) as page:
        phone.change(**fields)
        await expect(page.locator("#certificate-dialog")).to_contain_text(EVIL)
        await page.locator("#certificate-dialog .close").click()
        await page.set_input_files("#journal-file", file)
        await expect(page.locator("#journal-list strong")).to_have_text(EVIL)
        await expect(page.locator("article.call h2")).to_have_text([EVIL] * 3)
        await expect(page.locator("#notices")).to_contain_text(EVIL)
        await page.click("#views [data-view=tickets]")
        await expect(page.locator("#tickets-list .text")).to_have_text(EVIL)
        await page.locator("#tickets-list button").click()
        await expect(page.locator("#ticket-text")).to_have_value(EVIL)
        await page.click("#views [data-view=settings]")
        await expect(page.locator("#accounts strong")).to_have_text(EVIL)
        await page.click("#status")
        assert await page.title() == f"{EVIL}: Incoming call"
        assert await page.evaluate("window.hacked") is None
        assert await page.evaluate("document.querySelectorAll('script').length") == 1
        assert await page.evaluate("[...document.images].map((one) => one.getAttribute('src'))") == ["icon.svg"]


async def test_a_hidden_page_shows_callers(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(journal, connection=ONLINE)
    script = """window.notes = []; Object.defineProperty(document, "hidden", {get: () => true});
        window.Notification = class extends EventTarget { static permission = "granted";
            constructor(title, more) { super(); notes.push([title, more.body]); } close() { notes.push("closed"); } };"""
    async with run_page(phone) as served:
        context = await browser.new_context()
        await context.add_init_script(script)
        page = await context.new_page()
        await page.goto(served.url)
        await expect(page.locator("#status")).to_have_attribute("data-online", "online")
        phone.change(calls=(call("c1", Phase.INCOMING, "Анна"),))
        await _has_notes(page, 1)
        phone.change(calls=())
        await _has_notes(page, 2)
        assert await page.evaluate("notes") == [["Incoming call", "Анна"], "closed"]
        await context.close()


async def _has_notes(page: Any, count: int) -> None:
    with anyio.fail_after(20):
        while await page.evaluate("notes.length") < count:  # noqa: ASYNC110  a page rings no bell
            await anyio.sleep(0.05)


async def test_the_page_comes_back_by_itself(browser: Browser, journal: JournalFile) -> None:
    phone = Shown(journal, connection=ONLINE, language="en")
    sockets: list[Any] = []
    async with run_page(phone) as served:
        context = await browser.new_context()
        page = await context.new_page()

        def through(socket: Any) -> None:
            socket.connect_to_server()
            sockets.append(socket)

        await page.route_web_socket("**/live", through)
        await page.goto(served.url)
        await expect(page.locator("#status-text")).to_have_text("Online")
        await sockets[0].close()
        phone.change(connection=Connection(online=Online.OFFLINE))
        await expect(page.locator("#status-text")).to_have_text("Offline")
        await expect(page.locator("#gone")).to_be_hidden()
        assert len(sockets) == 2
        await page.unroute_all()
    await expect(page.locator("#gone")).to_contain_text("does not run any more")
    async with run_page(phone, port=served.port) as other:
        # It is another phone: the page says what to do, and works again with its address.
        await expect(page.locator("#gone")).to_contain_text("Start `sipproto phone` again")
        await page.goto(other.url)
        await page.reload()
        await expect(page.locator("#gone")).to_be_hidden()
        await expect(page.locator("#status-text")).to_have_text("Offline")
    await context.close()


# -- for the docs ------------------------------------------------------------------------------------------------------


async def test_screenshots(browser: Browser, journal: JournalFile, tmp_path: Path) -> None:
    """Written to SIPPROTO_SCREENSHOTS when that is set; small, and of what is there now."""
    directory = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    microphone = AudioDevice(name="usb", label="USB headset")
    devices = Devices(microphones=(microphone,), speakers=(microphone,), microphone="usb", speaker="usb", ringer="usb")
    base = {"connection": ONLINE, "devices": devices, "last_number": "600", "volume": 0.8}
    for name, options, view, calls in (
        ("phone-wide", {"width": 1280, "height": 900}, "journal", (call("c1", Phase.TALKING, "Иван Смирнов"),)),
        ("phone-dark", {"width": 1280, "height": 900, "scheme": "dark"}, "journal", (call("c1", Phase.TALKING, "Maria Keller"), call("c2", Phase.INCOMING, "Иван Смирнов"))),
        ("phone-narrow", {"width": 360, "height": 740}, "phone", ()),
        ("phone-incoming", {"width": 360, "height": 740, "scheme": "dark"}, "phone", (call("c1", Phase.INCOMING, "Иван Смирнов"),)),
        ("phone-settings", {"width": 360, "height": 740}, "settings", ()),
    ):  # fmt: skip
        phone = Shown(
            journal if journal.calls() else filled(journal), language="ru" if "dark" in str(options) else "en", **base
        )
        async with shown(browser, phone, **options) as page:
            phone.change(calls=calls)
            await expect(page.locator("article.call")).to_have_count(len(calls))
            if view != "journal":
                await page.click(f"#views [data-view={view}]")
            if name == "phone-wide":
                await page.locator(".quality").click()
                await _plotted(phone, page)
            path = directory / f"{name}.png"
            await page.screenshot(path=path)
            assert 5_000 < path.stat().st_size < 150_000


async def _plotted(phone: Shown, page: Any) -> None:
    """Some seconds of figures in the plots."""
    for place in range(12):
        figures = evolve(
            FIGURES, jitter=0.006 + 0.004 * (place % 3), loss=0.01 * (place % 4), bitrate_in=4e4 + 2e3 * (place % 5)
        )
        phone.change(calls=tuple(evolve(one, figures=figures) for one in phone.state.calls))
        await anyio.sleep(1.0)
    await page.mouse.move(0, 0)
