"""The page on the real phone: `sipproto phone --demo` as a user starts it, by keyboard, with sound that comes back."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from playwright.async_api import Browser, Page, expect

from .browser import chromium, opened
from .test_headless import Terminal, environment

pytestmark = [pytest.mark.interop, pytest.mark.anyio]
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@contextmanager
def started(home: Path, *options: str) -> Iterator[Terminal]:
    command = [sys.executable, "-m", "sipproto_cli", "phone", "--no-audio-devices", "--no-browser", *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, env=environment(home), text=True, **pipes)
    try:
        yield Terminal(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


async def url_of(terminal: Terminal) -> str:
    place = await run_sync(lambda: terminal.until("open http://127.0.0.1:"))
    return terminal.lines[place - 1].split()[1]


async def level(page: Page) -> float:
    value: float = await page.evaluate("document.querySelector('.call meter').value")
    return value


async def until_level(page: Page, good: Any) -> None:
    with anyio.fail_after(20):
        while not good(await level(page)):  # noqa: ASYNC110  a page rings no bell
            await anyio.sleep(0.2)


async def test_a_day_with_the_demo(browser: Browser, tmp_path: Path) -> None:
    with started(tmp_path, "--demo") as terminal:
        async with opened(browser, await url_of(terminal)) as page:
            press = page.keyboard.press
            await expect(page.locator("#status-text")).to_have_text("Online")
            for key in "600":
                await press(key)
            await press("Enter")
            call, phase = page.locator("article.call"), page.locator("article.call .phase")
            await expect(phase).to_have_text("Talking")
            await expect(call.locator(".timer")).to_have_text(re.compile("00:0[2-9]"))
            await page.evaluate("document.activeElement.blur()")
            # The tone that is sent comes back from the echo, unless it is muted or held.
            await until_level(page, lambda value: value > 0.05)
            await press("m")
            await expect(call).to_contain_text("microphone off")
            await until_level(page, lambda value: value < 0.01)
            await press("m")
            await until_level(page, lambda value: value > 0.05)
            await press("h")
            await expect(phase).to_have_text("On hold")
            await press("h")
            await expect(phase).to_have_text("Talking")
            for key in "12#":
                await press(key)
            await expect(call).to_contain_text("sent: 12#")
            await expect(call.locator(".quality")).to_have_attribute("aria-label", re.compile("Quality: (very )?good"))
            await press("e")
            row = page.locator("#journal-list li").first
            await expect(row).to_contain_text("Answered")
            await expect(row).to_contain_text("600")
            await page.click("[data-dial='555']")
            caller = page.locator("[data-phase=incoming]")
            await expect(caller.locator("h2")).to_have_text("sipproto")
            await press("a")
            await expect(page.locator("[data-phase=talking] h2")).to_have_text("sipproto")
            await press("e")
            await expect(page.locator("[data-phase=talking]")).to_have_count(0)
            await expect(page.locator("#journal-list li")).to_have_count(3)
            await page.click("#views [data-view=settings]")
            await page.click("#quit")
            await page.click("#quit")
            await expect(page.locator("#gone")).to_contain_text("The phone has ended")
            assert await run_sync(terminal.ended) == 0
        assert not any("Traceback" in line for line in terminal.lines), terminal.lines


async def test_a_second_start_is_taken_by_the_first(browser: Browser, tmp_path: Path) -> None:
    with started(tmp_path) as first:
        async with opened(browser, await url_of(first)) as page:
            await expect(page.locator("#welcome")).to_be_visible()
            with started(tmp_path, "sip:123@example.com") as second:
                assert await run_sync(second.ended) == 1
                assert second.lines == ["sipproto: the phone is not online"]
            with started(tmp_path) as third:
                assert await run_sync(third.ended) == 0
                assert third.lines == ["the phone runs already"]
            with started(tmp_path, "--headless") as fourth:
                assert await run_sync(fourth.ended) == 1
            await page.click("#welcome-button")
            await page.fill("#account-server", "127.0.0.1")
            await page.fill("#account-login", "alice")
            await page.fill("#account-password", "hunter2")
            await page.select_option("#account-transport", "tcp")
            await page.locator("#account-form [type=submit]").click()
            await expect(page.locator("#status")).to_have_attribute("data-online", re.compile("retrying|failed"))
        first.process.send_signal(signal.SIGTERM)
        assert await run_sync(first.ended) == 130
        assert not any("Traceback" in line or "hunter2" in line for line in first.lines), first.lines
    check_kept(tmp_path)


def check_kept(home: Path) -> None:
    """For the owner alone, and the password in no file but that of passwords."""
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"phone.json", "journal.sqlite3"}
    assert not {path.name for path in kept} & {"running.json", "open-phone.html"}
    for path in kept:
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.name == "passwords.json" or b"hunter2" not in path.read_bytes()
