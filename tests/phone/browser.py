"""The page of the phone in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import evolve
from playwright.async_api import Browser, Page, async_playwright, expect

from sipproto_phone import commands as c
from sipproto_phone.journal import JournalFile
from sipproto_phone.model import AccountView, PhoneState, as_json
from sipproto_phone.ports import Account, Settings
from sipproto_phone.web import run_page
from tests.interop.child import INSTALL_HINT
from tests.interop.peers import BROWSER_FOLDER

ACCOUNT = AccountView(
    id="a1",
    display_name="Анна Петрова",
    server="pbx.example.com",
    login="100",
    transport="wss",
    has_password=True,
    active=True,
)
AXE = BROWSER_FOLDER / "node_modules" / "axe-core" / "axe.min.js"
# Beside the rules for this width: no finding that axe calls serious or critical.
_AXE_RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`)"""


class Shown:
    """A phone whose state is what the test says, with a real journal; what it was told to do is in `done`."""

    def __init__(self, journal: JournalFile, **fields: Any) -> None:
        self.state = PhoneState(accounts=(ACCOUNT,), version="0.1.0", **fields)
        self.journal = journal
        self.done: list[Any] = []
        self._changed = anyio.Event()

    def change(self, **fields: Any) -> None:
        self.state = evolve(self.state, revision=self.state.revision + 1, **fields)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def changes(self) -> AsyncIterator[PhoneState]:
        while True:
            await self._changed.wait()
            yield self.state

    async def do(self, command: Any) -> Any:
        self.done.append(command)
        journal = self.journal
        match command:
            case c.ListCalls(search=search, missed=missed, before=before, limit=limit):
                found: Any = journal.calls(search=search, missed=missed, before=before, limit=limit)
                return [as_json(entry) for entry in found]
            case c.ListTickets(search=search, status=status, before=before, limit=limit):
                found = journal.tickets(search=search, status=status, before=before, limit=limit)
                return [as_json(entry) for entry in found]
            case c.ImportCalls(csv=csv):
                return journal.import_csv(csv)
            case c.SaveTicket():
                return as_json(journal.save_ticket(as_json(command), 1_700_000_000.0))
            case c.GetSettings():
                return as_json(Settings(webhook="https://crm.example.com/tickets"))
            case c.GetAccount(id=ident):
                return as_json(Account(id=ident, server="pbx.example.com", login="100"))
            case _:
                return None

    async def until_done(self, command: Any) -> None:
        await until(f"{command} among {self.done}", lambda: command in self.done)


async def until(what: str, good: Any, patience: float = 20.0) -> None:
    deadline = anyio.current_time() + patience
    while not good():
        assert anyio.current_time() < deadline, f"did not happen: {what}"
        await anyio.sleep(0.02)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The Chromium of the interop tests."""
    path = shutil.which("chromium")
    if path is None or not AXE.exists():
        raise RuntimeError(f"Chromium or axe-core is missing: {INSTALL_HINT}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, width: int = 1280, height: int = 860, scheme: str = "light", **options: Any
) -> AsyncIterator[Page]:
    """The page of a phone; at the end nothing may have failed in it."""
    problems: list[str] = []
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(20_000)
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda one: problems.append(one.text) if "Content Security Policy" in one.text else None)
        await page.goto(url)
        await expect(page.locator("#status")).to_have_attribute("data-online", re.compile("."), timeout=20_000)
        yield page
    finally:
        await context.close()
    assert not problems, problems


@asynccontextmanager
async def shown(browser: Browser, phone: Any, **options: Any) -> AsyncIterator[Page]:
    """The page of this phone, served and opened."""
    async with run_page(phone) as served, opened(browser, served.url, **options) as page:
        yield page


async def overflow(page: Page) -> list[str]:
    """What makes the page wider than the window."""
    found: list[str] = await page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))"""
    )
    return found


async def findings(page: Page) -> list[str]:
    """What axe finds, of the serious kind."""
    await page.evaluate(AXE.read_text("utf-8"))
    found: list[str] = await page.evaluate(_AXE_RUN)
    return found
