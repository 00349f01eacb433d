"""Phones around an embedded server: real WebSockets, real media, no sound hardware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import anyio
from attrs import evolve

from sipproto.message import Request, parse_message
from sipproto_aiortc import AiortcEngine, IceServer
from sipproto_anyio import AnyioRuntime
from sipproto_client import WebSocketFlow
from sipproto_client.port import Stream
from sipproto_phone import commands as c
from sipproto_phone.model import CallView, Connection, Online, Outcome, Phase, Problem
from sipproto_phone.phone import Phone
from sipproto_phone.ports import Account, Settings
from sipproto_server import Server, ServerConfig, Service, run_server
from sipproto_server.aiortc import AiortcServices
from sipproto_wsproto import WebSocketConnection
from tests.client.rig import raw_server
from tests.phone.stores import MemoryJournal, MemoryPasswords, MemorySettings

REALM = "pbx.invalid"
TONES = {"alice": 440.0, "bob": 660.0, "carol": 880.0, "dave": 1100.0}
_PATIENCE = 15.0


def play(scenario: Callable[[], Awaitable[None]], **options: Any) -> None:
    async def limited() -> None:
        with anyio.fail_after(60.0):
            await scenario()

    anyio.run(limited, backend_options=options)


def engine(servers: tuple[IceServer, ...] = ()) -> AiortcEngine:
    return AiortcEngine(ice_servers=servers, include_loopback=True)


def account(name: str, at: int, **more: Any) -> Account:
    fields = {"server": REALM, "login": name, "transport": "ws", "proxy": f"ws://127.0.0.1:{at}/"}
    return Account(id=name, **{**fields, **more})


def settings(*accounts: Account, **more: Any) -> Settings:
    return Settings(accounts=accounts, active_account=accounts[0].id if accounts else "", **more)


class TestPhone(Phone):
    """A phone with what it keeps in sight, and waits with a limit."""

    __test__ = False

    def __init__(self, given: Settings, **options: Any) -> None:
        self.kept = MemorySettings(given)
        self.secrets = MemoryPasswords(**{one.id: f"{one.login} secret" for one in given.accounts})
        self.entries = MemoryJournal()
        self.heard: list[str] = []  # notices
        more = {"make_engine": engine, "devices": False, "ended_shown": 0.5, **options}
        super().__init__(self.kept, self.secrets, self.entries, **more)

    def notice(self, text: str) -> None:
        self.heard.append(text)
        super().notice(text)

    async def until(self, what: str, good: Callable[[], object]) -> None:
        deadline = anyio.current_time() + _PATIENCE
        while not good():
            assert anyio.current_time() < deadline, f"did not happen: {what}; {self.state}"
            await anyio.sleep(0.01)

    async def until_online(self, state: Online = Online.ONLINE) -> Connection:
        await self.until(f"{state}", lambda: self.state.connection.online is state)
        return self.state.connection

    async def until_problem(self, problem: Problem) -> None:
        await self.until(f"{problem}", lambda: self.state.connection.problem is problem)

    def call(self, number: str) -> CallView:
        """The call with that other side, the newest."""
        return next(view for view in reversed(self.state.calls) if view.number == number)

    async def until_phase(self, number: str, phase: Phase) -> CallView:
        await self.until(
            f"{number} {phase}", lambda: any(x.number == number and x.phase is phase for x in self.state.calls)
        )
        return next(x for x in reversed(self.state.calls) if x.number == number and x.phase is phase)

    async def until_hears(self, hertz: float | None, *, at_least: float = 0.01, place: str = "speaker") -> float:
        """Waits until a tone is heard, or silence (None); returns its level."""

        def hears() -> bool:
            level, frequency = self.sound.meter.heard(place)
            if hertz is None:
                return level < 0.002
            return level >= at_least and frequency is not None and abs(frequency - hertz) < 12

        await self.until(f"{place} hears {hertz}: {self.sound.meter.heard(place)}", hears)
        return self.sound.meter.heard(place)[0]

    async def talk_to(self, other: TestPhone) -> tuple[str, str]:
        """Calls and is answered; the ids of the call at both ends."""
        ident = await self.do(c.Dial(number=other.state.accounts[0].login))
        ringing = await other.until_phase(self.state.accounts[0].login, Phase.INCOMING)
        await other.do(c.Answer(call=ringing.id))
        await self.until_phase(other.state.accounts[0].login, Phase.TALKING)
        await other.until_phase(self.state.accounts[0].login, Phase.TALKING)
        return ident, ringing.id

    def outcomes(self) -> list[tuple[bool, str, Outcome]]:
        return [(one.incoming, one.number, one.outcome) for one in self.entries.entries.values() if not one.open]


@asynccontextmanager
async def pbx(port: int = 0, *, media: bool = False) -> AsyncIterator[Server]:
    """A server that knows everybody; 600 is an echo, with media."""
    users = {name: f"{name} secret" for name in TONES}
    if not media:
        async with run_server(AnyioRuntime(), ServerConfig(realm=REALM, users=users), port=port) as server:
            yield server
        return
    with closing(AiortcServices()) as services:
        config = ServerConfig(
            realm=REALM, users=users, services={"600": Service(kind="echo")}, capabilities=services.capabilities
        )
        async with run_server(AnyioRuntime(), config, port=port, media=services) as server:
            yield server


@asynccontextmanager
async def phones(*names: str, **given: Any) -> AsyncIterator[list[TestPhone]]:
    """Phones that are online, each with a tone of its own for a microphone. given: their settings."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(pbx())
        out: list[TestPhone] = []
        for name in names:
            own = settings(account(name, server.port, display_name=f"{name.title()} Я"))
            phone = TestPhone(evolve(own, **given), tone=TONES[name])
            out.append(await stack.enter_async_context(phone))
        for phone in out:
            await phone.until_online()
        yield out


Answer = Callable[[Request], bytes | None]


@asynccontextmanager
async def odd_server(answer: Callable[[Request, Callable[[bytes], None]], None]) -> AsyncIterator[int]:
    """A server of one's own making over WebSocket: `answer` gets each request, and what sends; gives its port."""
    runtime = AnyioRuntime()

    async def serve(stream: Stream) -> None:
        def step(what: Any) -> None:
            data = getattr(what, "data", b"").strip()
            if data:
                message = parse_message(what.data)
                if isinstance(message, Request):
                    answer(message, flow.send)

        flow = WebSocketFlow(runtime, stream, WebSocketConnection(client=False), step, 1, "WS")
        await flow.run()

    async with raw_server(runtime, serve) as port:
        yield port
