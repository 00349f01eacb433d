"""The softphone inside the test's own process: what it keeps is in a folder, its microphone is a tone, its ear is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from sipproto_aiortc import AiortcEngine, IceServer
from sipproto_phone import commands as c
from sipproto_phone.journal import JournalFile
from sipproto_phone.model import CallView, Connection, Online, Phase, PhoneState
from sipproto_phone.passwords import Passwords
from sipproto_phone.phone import Phone
from sipproto_phone.settings import SettingsFile

from .child import PATIENCE
from .kamailio import Kamailio, password_of
from .peers import HERTZ, Party

_SILENCE = 0.002  # of full scale


def account(kamailio: Kamailio, transport: str = "wss", **more: Any) -> dict[str, Any]:
    """What a user types in for alice. The name of the server is in no DNS: its address is in the host mapping."""
    return {
        "display_name": "Алиса",
        "server": kamailio.domain,
        "login": "alice",
        "transport": transport,
        "port": kamailio.tls_port if transport == "wss" else kamailio.tcp_port,
        "hosts": [f"{kamailio.domain}=127.0.0.1"],
        "ca_file": str(kamailio.ca_file),
        **more,
    }


def engine(servers: tuple[IceServer, ...]) -> AiortcEngine:
    return AiortcEngine(ice_servers=servers, include_loopback=True)


class Softphone:
    """A phone on an event loop in a thread; every method waits, and may be called from the test's. A context manager.

    folder: what it keeps; a second phone on the same folder is the phone after a restart. options: those of Phone.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self._options: dict[str, Any] = {
            "make_engine": engine,
            "devices": False,
            "tone": float(HERTZ["alice"]),
            "ended_shown": 1.0,
            **options,
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.portal: BlockingPortal = stack.enter_context(start_blocking_portal("asyncio"))
            self.journal = JournalFile(self.folder / "journal.sqlite3")
            stack.callback(self.journal.close)
            self.phone: Phone = self.portal.call(self._make)
            stack.enter_context(self.portal.wrap_async_context_manager(self.phone))
            self._stack = stack.pop_all()
        return self

    async def _make(self) -> Phone:
        settings = SettingsFile(self.folder / "phone.json")
        passwords = Passwords(None, self.folder / "passwords.json")
        return Phone(settings, passwords, self.journal, **self._options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def do(self, command: object) -> Any:
        return self.portal.call(self.phone.do, command)

    def save(self, kamailio: Kamailio, transport: str = "wss", **more: Any) -> str:
        """Stores the account of alice, and returns its id."""
        ident = self.do(c.SaveAccount(account=account(kamailio, transport, **more), password=password_of("alice")))
        assert isinstance(ident, str)
        return ident

    @property
    def state(self) -> PhoneState:
        return self.phone.state

    # -- waiting -----------------------------------------------------------------------------------------------------

    def until(self, what: str, good: Callable[[], object], timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while not good():
            assert time.monotonic() < deadline, f"did not happen in {timeout} s: {what}; {self.state}"
            time.sleep(0.02)

    def until_online(self, state: Online = Online.ONLINE, timeout: float = PATIENCE) -> Connection:
        self.until(f"{state}", lambda: self.state.connection.online is state, timeout)
        return self.state.connection

    def until_phase(self, phase: Phase, number: str = "bob", timeout: float = PATIENCE) -> CallView:
        """The newest call with this other side, as soon as it is in this phase."""

        def found() -> CallView | None:
            return next((x for x in reversed(self.state.calls) if (x.number, x.phase) == (number, phase)), None)

        self.until(f"{number} {phase}", found, timeout)
        view = found()
        assert view is not None
        return view

    def until_hears(self, hertz: float | None, *, place: str = "speaker") -> float:
        """Waits until a tone is heard, or silence (None); returns its level, 0 to 1."""
        meter = self.phone.sound.meter

        def hears() -> bool:
            level, frequency = meter.heard(place)
            if hertz is None:
                return level < _SILENCE
            return level > _SILENCE and frequency is not None and abs(frequency - hertz) <= 0.05 * hertz

        self.until(f"{place} hears {hertz}", hears)
        return meter.heard(place)[0]

    # -- with a page -------------------------------------------------------------------------------------------------

    def talk(self, page: Party) -> None:
        """Waits until both hear one another."""
        self.until_hears(HERTZ[page.user])
        page_hears(page, HERTZ["alice"])

    def call(self, page: Party, **answer: Any) -> str:
        """Calls the page, which answers; returns the id of the call."""
        ident = self.do(c.Dial(number=page.user))
        page.expect("call", state="incoming")
        page("answer", **answer)
        self.until_phase(Phase.TALKING, page.user)
        page.expect("call", state="established")
        assert isinstance(ident, str)
        return ident

    def called_by(self, page: Party) -> str:
        """The page calls, the phone answers; returns the id of the call."""
        reply = page.send("call", target=f"sip:alice@{Kamailio.domain}")
        ident = self.until_phase(Phase.INCOMING, page.user).id
        self.do(c.Answer(call=ident))
        page.peer.wait_reply(reply)
        page.expect("call", state="established")
        self.until_phase(Phase.TALKING, page.user)
        return ident

    def hang_up(self, ident: str, page: Party) -> None:
        self.do(c.HangUp(call=ident))
        page.expect("call", state="ended", originator="remote")
        self.until("the end", lambda: all(x.id != ident or x.phase is Phase.ENDED for x in self.state.calls))

    def written(self) -> list[tuple[str, str, str]]:
        """The journal, the oldest first: way, number and outcome."""
        entries = self.do(c.ListCalls())
        assert all(entry["started"] > 0 and entry["duration"] >= 0 for entry in entries)
        return [("in" if x["incoming"] else "out", x["number"], x["outcome"]) for x in reversed(entries)]


def page_hears(page: Party, hertz: float | None) -> float:
    """Waits until the page hears a tone, or silence (None); returns the level."""
    deadline = time.monotonic() + PATIENCE
    while True:
        sound = page("stats")["audio"]
        level, frequency = sound["level"], sound["frequency"]
        if level < _SILENCE if hertz is None else abs(frequency - hertz) <= 0.05 * hertz:
            return float(level)
        assert time.monotonic() < deadline, (page.user, hertz, sound)
        time.sleep(0.1)
