"""`sipproto phone`: the softphone, its page or its terminal, and what a second start does."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import frozen

from sipproto.errors import SipProtoError
from sipproto_cli._common import RuntimeName, run, say
from sipproto_cli._headless import run_headless
from sipproto_phone.commands import CommandProblem, Dial, Quit
from sipproto_phone.files import data_directory
from sipproto_phone.instance import Running, number_of_link, only_phone, told
from sipproto_phone.journal import JournalFile
from sipproto_phone.links import install_link_handler
from sipproto_phone.model import Online
from sipproto_phone.passwords import Passwords
from sipproto_phone.phone import Phone
from sipproto_phone.settings import SettingsFile
from sipproto_phone.web import Page, run_page
from sipproto_phone.webhook import post_ticket

_ONLINE = 60.0  # seconds that a number given at the start waits for the phone to be online
_DEMO_TONE = 440.0


@frozen(kw_only=True)
class PhoneOptions:
    """The options of the command. `number`: to call at once; a number, or a sip: or tel: link."""

    number: str | None = None
    demo: bool = False
    headless: bool = False
    window: bool = False
    browser: bool = True
    audio_devices: bool = True
    port: int = 0
    install_link_handler: bool = False


def start(options: PhoneOptions) -> int:
    """The command; returns the exit code."""
    try:
        if options.install_link_handler:
            print(install_link_handler())
            return 0
        number = None if options.number is None else number_of_link(options.number)
        if options.window and importlib.util.find_spec("webview") is None:
            return say("a window of its own needs pywebview: pip install pywebview")
        if options.demo:
            return _one(options, number)
        with only_phone() as running:
            if running is None:
                return _one(options, number)
            _hand_over(running, options, number)
            return 0
    except SipProtoError as error:
        return say(str(error))


def _one(options: PhoneOptions, number: str | None) -> int:
    with _kept(options) as (directory, phone):
        return run(RuntimeName.ASYNCIO, lambda _: _run(options, phone, directory, number))


def _hand_over(running: Running, options: PhoneOptions, number: str | None) -> None:
    """The phone that runs already does what was asked for."""
    if number is not None:
        running.do("dial", number=number)
        print("the running phone makes the call")
    elif options.headless:
        raise CommandProblem("a phone of yours runs already; only one can be online with an account")
    else:
        print("the phone runs already")
        if options.browser:
            webbrowser.open(running.opener.as_uri())


@contextmanager
def _kept(options: PhoneOptions) -> Iterator[tuple[Path, Phone]]:
    """A phone with what it keeps, and the directory of that: of the user, or of the demo alone."""
    with tempfile.TemporaryDirectory(prefix="sipproto-demo-") as temporary:
        place = Path(temporary) if options.demo else data_directory()
        settings = SettingsFile(place / "phone.json" if options.demo else None)
        passwords = Passwords(library=None, path=place / "passwords.json") if options.demo else Passwords()
        journal = JournalFile(place / "journal.sqlite3" if options.demo else None)

        devices = options.audio_devices
        phone = Phone(
            settings,
            passwords,
            journal,
            devices=devices,
            tone=_DEMO_TONE if options.demo and not devices else None,
            demo=options.demo,
            on_ticket=post_ticket,
        )
        try:
            if settings.problem:
                say(settings.problem)
            yield place, phone
        finally:
            journal.close()


async def _run(options: PhoneOptions, phone: Phone, directory: Path, number: str | None) -> int:
    async with phone, run_page(phone, port=options.port) as page:
        with told(page, directory) as opener:
            async with anyio.create_task_group() as tasks:
                if number is not None:
                    tasks.start_soon(_dial, phone, number)
                if options.headless:
                    await run_headless(phone)
                else:
                    tasks.start_soon(_show, options, phone, page, opener)
                    await phone.wait_quit()
                tasks.cancel_scope.cancel()
    return 0


async def _dial(phone: Phone, number: str) -> None:
    """As soon as the phone is online."""
    with anyio.move_on_after(_ONLINE):
        async for state in phone.changes():
            if state.connection.online is Online.FAILED:
                break
            if state.connection.online is Online.ONLINE:
                try:
                    await phone.do(Dial(number=number))
                except SipProtoError as error:
                    phone.notice(str(error))
                return
    phone.notice(f"{number} was not called: the phone is not online")


async def _show(options: PhoneOptions, phone: Phone, page: Page, opener: Path) -> None:
    if options.window:
        await _show_window(page)
        await phone.do(Quit())
        return
    if not options.browser:
        print(f"open {page.url}  (for you alone: it lets in who knows it)", flush=True)
        return
    print(f"the phone is at http://127.0.0.1:{page.port}/; Ctrl-C ends it", flush=True)
    # A browser of the terminal would not return before its end.
    if not await anyio.to_thread.run_sync(webbrowser.open, opener.as_uri(), abandon_on_cancel=True):
        print(f"no browser could be started; open {opener}", flush=True)


async def _show_window(page: Page) -> None:
    """A window in a process of its own, since it wants the main thread; its address goes by a pipe that nobody else sees."""
    async with await anyio.open_process(
        [sys.executable, "-m", "sipproto_cli._window"], stdout=None, stderr=None
    ) as process:
        assert process.stdin is not None
        await process.stdin.send(page.url.encode())
        await process.stdin.aclose()
        await process.wait()
