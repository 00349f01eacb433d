"""`sipproto demo call`: a server and two endpoints in one process, and a real call between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from sipproto._entropy import SystemTokens
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaReport
from sipproto.tokens import token
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_cli._agent import media_of
from sipproto_cli._common import Account, CommandProblem, figures
from sipproto_cli._demo._ladder import Ladder
from sipproto_cli._demo._view import View
from sipproto_cli._events import stats_fields
from sipproto_client import Call, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import Relayed, ServerConfig, UserChanged, run_server

DOMAIN = "demo.sipproto.invalid"
ALICE_HZ, BOB_HZ = 440.0, 660.0
ALICE_COLOR, BOB_COLOR = (200, 40, 40), (40, 60, 200)
_TALK = 2.0  # seconds
_PATIENCE = 15.0  # seconds for anything to happen
_LADDER_SHOWN = 16
Check = Callable[[MediaReport], bool]


class _Side:
    """One end of the call."""

    def __init__(self, name: str, endpoint: Endpoint, view: View) -> None:
        self.name = name
        self.endpoint = endpoint
        self.call: Call | None = None
        self.report: MediaReport | None = None
        self._view = view
        self._state = ""
        self._rate = ""
        self._at = 0.0

    def show(self, state: str) -> None:
        """What is going on."""
        self._state = state
        lines = self.report.lines if self.report is not None else ()
        self._view.person(self.name, state, self._rate, "\n".join(map(figures, lines)))

    async def measure(self) -> MediaReport:
        assert self.call is not None
        old, before = self.report, self._at
        self.report, self._at = await self.call.stats(), self.endpoint.runtime.now()
        if old is not None and self._at > before:
            bits = 8 * (_octets(self.report) - _octets(old))
            self._rate = f"{max(0.0, bits / (self._at - before) / 1000):.0f} kbit/s in"
        self.show(self._state)
        return self.report


class Demo:
    """The story of the demo, step by step; each step waits for what it claims."""

    def __init__(self, runtime: Runtime, console: Console, view: View, ladder: Ladder) -> None:
        self._runtime = runtime
        self._console = console
        self._view = view
        self._ladder = ladder
        self._setup_seconds = 0.0

    async def run(self, alice: _Side, bob: _Side) -> None:
        for side in (alice, bob):
            registration = await side.endpoint.register()
            side.show("registered")
            self._view.step(f"{side.name} is registered for {registration.expires} s (digest SHA-256)")
        await self._establish(alice, bob)
        await self._media_flows(alice, bob)
        await self._talk(alice, bob)
        await self._messages(alice, bob)
        await self._hold(alice, bob)
        await self._end(alice, bob)

    async def _establish(self, alice: _Side, bob: _Side) -> None:
        start = self._runtime.now()
        async with self._runtime.task_group() as tasks:
            with bob.endpoint.events(lambda event: isinstance(event, o.IncomingCall)) as incoming:

                async def answer() -> None:
                    event = await anext(incoming)
                    assert isinstance(event, o.IncomingCall)
                    bob.show(f"ringing, {event.from_uri} calls")
                    bob.call = bob.endpoint.call_of(event.call)
                    assert bob.call is not None
                    setup = MediaSetup(audio=Tone(BOB_HZ), video=TestPattern(color=BOB_COLOR))
                    await bob.call.answer(media_of(True, True), setup=setup)

                tasks.start_soon(answer)
                alice.show("calling")
                setup = MediaSetup(audio=Tone(ALICE_HZ), video=TestPattern(color=ALICE_COLOR))
                alice.call = await alice.endpoint.call(f"sip:bob@{DOMAIN}", media_of(True, True), setup=setup)
                self._setup_seconds = self._runtime.now() - start
        for side in (alice, bob):
            side.show("talking")
        self._view.step(f"alice calls bob, established after {1000 * self._setup_seconds:.0f} ms")

    async def _until(self, side: _Side, what: str, good: Check) -> MediaReport:
        deadline = self._runtime.now() + _PATIENCE
        while not good(report := await side.measure()):
            if self._runtime.now() > deadline:
                lines = "; ".join(figures(line) for line in report.lines)
                raise CommandProblem(f"{side.name}: {what} did not happen within {_PATIENCE:g} s ({lines})")
            await self._runtime.wait(self._runtime.event(), 0.2)
        return report

    async def _media_flows(self, alice: _Side, bob: _Side) -> None:
        for side, hertz, color in ((alice, BOB_HZ, BOB_COLOR), (bob, ALICE_HZ, ALICE_COLOR)):
            report = await self._until(side, f"hearing {hertz:g} Hz", partial(hears, hertz=hertz))
            report = await self._until(side, "seeing the test picture", partial(sees, color=color))
            audio, video = report.line("audio"), report.line("video")
            assert audio is not None and video is not None
            self._view.step(
                f"{side.name} hears {audio.audio_frequency:.0f} Hz ({audio.codec}) and sees "
                f"{video.frame_width}x{video.frame_height} pictures ({video.codec})"
            )

    async def _talk(self, alice: _Side, bob: _Side) -> None:
        """A while to look at it, and to measure what flows in it."""
        sides = (alice, bob)
        start, before = self._runtime.now(), [_octets(await side.measure()) for side in sides]
        while self._runtime.now() < start + _TALK:
            await self._runtime.wait(self._runtime.event(), 0.25)
            for side in sides:
                await side.measure()
        seconds = self._runtime.now() - start
        rates = [
            f"{side.name} gets {8 * (_octets(await side.measure()) - octets) / seconds / 1000:.0f} kbit/s"
            for side, octets in zip(sides, before, strict=True)
        ]
        self._view.step(f"they talk for {seconds:.0f} s: {', '.join(rates)}")

    async def _messages(self, alice: _Side, bob: _Side) -> None:
        assert alice.call is not None and bob.call is not None
        with bob.call.events() as events:
            status = await alice.call.send_info("text/plain", b"hello from alice")
            await alice.call.send_dtmf("42#", gap=0.05)
            digits, text = "", b""
            async for event in events:
                match event:
                    case o.InfoReceived(body=body):
                        text = body
                    case o.DtmfReceived(digit=digit):
                        digits += digit
                    case _:
                        pass
                if text and len(digits) == 3:
                    break
        self._view.step(f"INFO answered {status}, bob read {text.decode()!r}; digits {digits} arrived")

    async def _hold(self, alice: _Side, bob: _Side) -> None:
        assert alice.call is not None and bob.call is not None
        await alice.call.hold()
        alice.show("holds the call")
        await self._until(alice, "the change of direction", lambda r: all(x.direction != "sendrecv" for x in r.lines))
        await self._runtime.wait(self._runtime.event(), 0.5)
        before = _received(await alice.measure())
        await self._runtime.wait(self._runtime.event(), 0.5)
        held = _received(await alice.measure()) - before
        if o.Originator.REMOTE not in bob.call.held_by or held > 2:
            raise CommandProblem(f"hold did not stop bob's media: {held} packets in half a second")
        await alice.call.resume()
        alice.show("talking")
        await self._until(alice, "media after the hold", lambda r: _received(r) > before + 25 and hears(r, BOB_HZ))
        self._view.step(f"alice held the call ({held} packets in half a second) and resumed it")

    async def _end(self, alice: _Side, bob: _Side) -> None:
        assert alice.call is not None and bob.call is not None
        for side in (alice, bob):
            await side.measure()
        await alice.call.hang_up()
        ended = await bob.call.wait_ended()
        for side in (alice, bob):
            side.show("hung up")
            await side.endpoint.unregister()
        self._view.step(f"alice hung up; bob saw the call end: {ended.cause.value}")

    def summary(self, alice: _Side, bob: _Side) -> Table:
        """What was measured."""
        table = Table(title=f"Measured (call set-up {1000 * self._setup_seconds:.0f} ms)", title_justify="left")
        for heading in ("", "codec", "sent", "received", "recognised"):
            table.add_column(heading)
        for side in (alice, bob):
            assert side.report is not None
            for line in side.report.lines:
                seen = f"{line.audio_frequency or 0:.0f} Hz, level {line.audio_level or 0:.2f}"
                if line.kind == "video":
                    seen = f"{line.frames_decoded} frames {line.frame_width}x{line.frame_height}"
                table.add_row(
                    f"{side.name} {line.kind}",
                    line.codec or "",
                    f"{line.packets_sent} packets, {line.bytes_sent} octets",
                    f"{line.packets_received} packets, {line.bytes_received} octets",
                    seen,
                )
        return table


def hears(report: MediaReport, hertz: float) -> bool:
    line = report.line("audio")
    return line is not None and line.audio_frequency is not None and abs(line.audio_frequency - hertz) < 0.05 * hertz


def sees(report: MediaReport, color: tuple[int, int, int]) -> bool:
    line = report.line("video")
    if line is None or line.color is None or not line.frames_decoded:
        return False
    return all(abs(got - sent) < 60 for got, sent in zip(line.color, color, strict=True))


def _octets(report: MediaReport) -> int:
    return sum(line.bytes_received for line in report.lines)


def _received(report: MediaReport) -> int:
    return sum(line.packets_received for line in report.lines)


async def run_call_demo(
    runtime: Runtime, *, json_output: Callable[[dict[str, object]], None] | None, ladder_wanted: bool
) -> int:
    """The command. Any failure is a CommandProblem or another error; the exit code is 0 only when all of it happened."""
    console = Console()
    ladder = Ladder(time.monotonic)
    passwords = {name: token(SystemTokens(), 20) for name in ("alice", "bob")}
    server_log: list[str] = []

    def watch(output: object) -> None:
        if isinstance(output, UserChanged | Relayed):
            server_log.append(str(output))

    engines = {name: AiortcEngine(include_loopback=True) for name in passwords}
    try:
        with View(console, "SIP", lambda: ladder.table(_LADDER_SHOWN), quiet=json_output is not None) as view:
            config = ServerConfig(realm=DOMAIN, users=passwords)
            async with run_server(runtime, config, watch=watch) as server:
                url = f"ws://127.0.0.1:{server.port}/"
                view.step(f"server listens at {url}")
                configs = {
                    name: Account(server=url, user=name, domain=DOMAIN, password=password).config(
                        capabilities=engines[name].capabilities
                    )
                    for name, password in passwords.items()
                }
                async with (
                    run_endpoint(runtime, configs["alice"], media=engines["alice"], tap=ladder.tap("alice")) as a,
                    run_endpoint(runtime, configs["bob"], media=engines["bob"], tap=ladder.tap("bob")) as b,
                ):
                    for endpoint in (a, b):
                        await endpoint.connect(url)
                    alice, bob = _Side("alice", a, view), _Side("bob", b, view)
                    demo = Demo(runtime, console, view, ladder)
                    await demo.run(alice, bob)
        if json_output is not None:
            json_output(_as_json(alice, bob))
        else:
            if ladder_wanted:
                console.print(ladder.table())
            console.print(demo.summary(alice, bob))
            console.print(
                f"{len(ladder.rows)} SIP messages at the endpoints, {len(server_log)} acts of the server. All good."
            )
        return 0
    finally:
        for engine in engines.values():
            engine.close()


def _as_json(*sides: _Side) -> dict[str, object]:
    return {side.name: stats_fields(side.report) for side in sides if side.report is not None}
