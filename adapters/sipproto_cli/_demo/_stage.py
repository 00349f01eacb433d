"""What the participants stand on: the server, its operator, the cables to it, and a note of all that is measured."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

from attrs import define, field
from rich.table import Table
from rich.text import Text

from sipproto._entropy import SystemTokens
from sipproto.agent.outputs import DtmfReceived
from sipproto.tokens import token
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo._cable import Cable, open_cable
from sipproto_cli._demo._party import Party, open_party, until
from sipproto_cli._demo._view import View
from sipproto_client.port import Runtime
from sipproto_server import (
    ConferenceEvent,
    ConferencePolicy,
    ParticipantInfo,
    Server,
    ServerConfig,
    Verdict,
    run_server,
)
from sipproto_server.aiortc import AiortcServices
from sipproto_server.console import Console

DOMAIN = "demo.sipproto.invalid"
ROOM = "800"
USERS = ("alice", "bob")
_VOICES = {"alice": (440.0, "red"), "bob": (660.0, "blue"), "carol": (880.0, "green")}
_TOLERABLE = 3.0  # seconds without sound; far more than what is measured on an idle machine
_TOLD_SHOWN = 10
_MAX_TOLD = 1000


@define
class Notes:
    """What was told to whom, for the screen, and what was measured, for the end."""

    now: Callable[[], float]
    start: float
    told: deque[tuple[float, str, str]] = field(factory=lambda: deque(maxlen=_TOLD_SHOWN))
    figures: dict[str, object] = field(factory=dict)
    count: int = 0

    def tell(self, who: str, what: str) -> None:
        self.told.append((self.now() - self.start, who, what))
        self.count += 1

    def table(self) -> Table:
        """The last that was told."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for seconds, who, what in self.told:
            table.add_row(f"{seconds:6.2f}", Text(who, style="bold"), what)
        return table


class Stage:
    """A server with a conference, its operator, and three participants, each at a cable of its own."""

    def __init__(
        self, server: Server, view: View, notes: Notes, told: deque[object], passwords: dict[str, str]
    ) -> None:
        self.server = server
        self.view = view
        self.notes = notes
        self.told = told
        self.passwords = passwords
        self.parties: dict[str, Party] = {}
        self.cables: dict[str, Cable] = {}
        self._console = Console(server)

    @property
    def runtime(self) -> Runtime:
        return self.alice.runtime

    @property
    def alice(self) -> Party:
        return self.parties["alice"]

    @property
    def bob(self) -> Party:
        return self.parties["bob"]

    @property
    def carol(self) -> Party:
        return self.parties["carol"]

    def __iter__(self) -> Iterator[Party]:
        return iter(self.parties.values())

    def info(self, party: Party) -> ParticipantInfo:
        """What the server knows of somebody. Raises CommandProblem when they are not there."""
        for one in self.server.core.participants:
            if one.name == party.name:
                return one
        raise CommandProblem(f"the server does not know {party.name}")

    def operator(self, command: str, party: Party | None = None, *values: str) -> str:
        """Types a command at the console of the server, for a participant if one is named; returns what was typed."""
        target = [self.info(party).participant] if party is not None else []
        line = " ".join([command, *target, *values])
        (answer,) = self._console.line(line) or ("",)
        if answer != "done":
            raise CommandProblem(f"the operator types {line!r}, and the server says {answer!r}")
        self.notes.tell("operator", line)
        return line

    async def server_tells(self, what: str, good: Callable[[Any], bool]) -> Any:
        """The next thing that the server tells its operator and that is good; those before it are forgotten."""
        found: list[object] = []

        def look() -> bool:
            while self.told and not found:
                found.extend(output for output in [self.told.popleft()] if good(output))
            return bool(found)

        await until(self.runtime, what, look)
        return found[0]

    def listen_for_gaps(self) -> None:
        """From now on."""
        for party in self:
            party.ear.listen_for_gaps()

    def longest_gap(self) -> float:
        """The longest time in seconds in which one of them heard nothing. Raises CommandProblem when it is not tolerable."""
        name, gap = max(((party.name, party.ear.longest_gap()) for party in self), key=lambda found: found[1])
        if gap > _TOLERABLE:
            raise CommandProblem(f"{name} heard nothing for {gap:.1f} s")
        return gap

    def settings(self, party: Party) -> dict[str, Any]:
        """What a participant connects with; who has no account is a guest."""
        url = f"ws://127.0.0.1:{self.cables[party.name].port}/"
        common = {"sip_server_url": DOMAIN, "sip_web_socket_server_url": url, "display_name": party.name}
        password = self.passwords.get(party.name)
        account = {} if password is None else {"user": party.name, "password": password, "register": True}
        return {**common, **account, "connection_recovery": (0.3, 1.0)}


@asynccontextmanager
async def open_stage(
    runtime: Runtime, view: View, notes: Notes, traces: dict[str, io.StringIO] | None
) -> AsyncIterator[Stage]:
    """All of it for the length of a block. traces: what each participant sends and receives is recorded there."""
    passwords = {name: token(SystemTokens(), 20) for name in USERS}
    told: deque[object] = deque(maxlen=_MAX_TOLD)
    async with AsyncExitStack() as stack:
        media = stack.enter_context(closing(AiortcServices()))
        config = ServerConfig(
            realm=DOMAIN,
            users=passwords,
            guests=True,
            policy=ConferencePolicy(presentation=Verdict.ASK),
            capabilities=media.capabilities,
            follow_speaker=False,  # the tones of all sound all the time
        )

        def watch(output: object) -> None:
            if isinstance(output, ConferenceEvent | DtmfReceived):
                told.append(output)

        server = await stack.enter_async_context(run_server(runtime, config, media=media, watch=watch))
        stage = Stage(server, view, notes, told, passwords)
        for name, (hertz, color) in _VOICES.items():
            stage.cables[name] = await stack.enter_async_context(open_cable(runtime, server.port))
            trace = None if traces is None else traces.setdefault(name, io.StringIO())
            party = open_party(runtime, name, hertz, color, view=view, on_told=notes.tell, trace=trace)
            stage.parties[name] = await stack.enter_async_context(party)
        yield stage
