"""Conferences over real WebSockets on every runtime, the console of the operator, and real pictures."""

from __future__ import annotations

from contextlib import closing

import pytest

from sipproto.agent.media import MediaReport
from sipproto.conference import EnterRoom, Mic, MicControl, Share, ShareState
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_client.port import Runtime
from sipproto_server import Arrangement, OperatorError, VideoFrom, commands
from sipproto_server.aiortc import AiortcServices
from sipproto_server.console import Console, describe
from tests.client.rig import RUNTIMES, play
from tests.server.live import Client, client, conference

runtimes = pytest.mark.parametrize("name", RUNTIMES)
LET_ME_START = ShareState(state=Share.LET_ME_START)
STOPPED = ShareState(state=Share.STOPPED)
NEW_LINE = (("video", Direction.SENDONLY),)


def in_room(one: Client, room: str) -> bool:
    return any(isinstance(x, EnterRoom) and x.room == room for x in one.told)


@runtimes
def test_a_conference_of_a_user_and_a_guest(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine(seed=100)
        async with (
            conference(runtime, media) as (server, told),
            client(runtime, server, "alice") as alice,
            client(runtime, server, "4711") as guest,
        ):
            await alice.enter()
            await guest.enter(headers=(("X-Vinteo-Purgatory-Call", "yes"),))
            await alice.until("alice is in", lambda: in_room(alice, "800"))
            await guest.until("the guest waits", lambda: in_room(guest, "purgatory"))
            server.operate(commands.Admit(target="p2"))
            await guest.until("the guest is in", lambda: in_room(guest, "800"))
            server.operate(commands.StopMic(target="@800", forced=True))
            for one in (alice, guest):
                await one.until_told(MicControl(command=Mic.ADMIN_STOP, forced=True))

            assert await alice.say(LET_ME_START) == 200
            await alice.call.change_media(add=NEW_LINE)
            await guest.until_told(ShareState(state=Share.AVAILABLE, codec="VP8"))
            await guest.until("its line", lambda: [x.direction.value for x in guest.call.lines][2:] == ["recvonly"])
            first, second = media.calls
            video = (VideoFrom(call=first.ident), VideoFrom(call=first.ident, line=1))
            arranged = Arrangement(room="800", video=video)
            await guest.until("its pictures", lambda: second.prepared[-1] == arranged)
            assert await guest.say(LET_ME_START) == 603
            await alice.call.hang_up()
            await guest.until_told(ShareState(state=Share.ENDED))
            alone = Arrangement(room="800", video=(None,))
            await guest.until("nothing is sent on its lines", lambda: second.prepared[-1] == alone)
            with pytest.raises(OperatorError):
                server.operate(commands.Kick(target="p1"))
            server.operate(commands.Kick(target="p2"))
            await guest.call.wait_ended()
            assert server.core.participants == () and told

    play(name, scenario)


def test_the_console() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as (server, told), client(runtime, server, "4711") as guest:
            console = Console(server)
            assert console.line("rooms") == ("purgatory: nobody", "800: nobody")
            await guest.enter()
            await guest.until("the guest waits", lambda: in_room(guest, "purgatory"))
            assert console.line("participants") == ("p1 4711, waits for 800: participant, guest",)
            assert console.line("admit p1") == ("done",)
            assert console.line(" rooms ") == ("purgatory: nobody", "800: p1")
            assert console.line("presentation-policy ask") == ("done",)
            assert console.line("policy")[0] == "presentation ask, camera allow"
            assert len(console.line("help")) > 30
            for text, answer in {
                "": (),
                "dance \x1b[2J": ("there is no command 'dance'; help lists them",),
                "\x1b[2J": ("there is no command '\\x1b[2J'; help lists them",),
                "kick": ("kick takes target",),
                "kick 'p1": ("a line that cannot be read: no closing quotation",),
                "kick p7": ("there is no participant 'p7'",),
            }.items():
                assert console.line(text) == answer
            assert not console.ended and console.line("quit") == () and console.ended
            lines = [line for output in told if (line := describe(output)) is not None]
            assert "p1 4711, in 800: participant, guest" in lines

    play("anyio-asyncio", scenario)


# -- real media ------------------------------------------------------------------------------------------------------

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)


async def seen(runtime: Runtime, one: Client, number: int, color: tuple[int, int, int]) -> MediaReport:
    """Waits until a client sees a colour on its video line of this number."""
    reports: list[MediaReport] = []

    async def sees() -> bool:
        reports.append(await one.call.stats())
        video = [line for line in reports[-1].lines if line.kind == "video"]
        got = video[number].color if len(video) > number else None
        return got is not None and all(abs(x - y) < 50 for x, y in zip(got, color, strict=True))

    deadline = runtime.now() + 12.0
    while not await sees():
        assert runtime.now() < deadline, f"line {number} shows {[(x.mid, x.color) for x in reports[-1].lines]}"
        await runtime.wait(runtime.event(), 0.1)
    return reports[-1]


async def rests(runtime: Runtime, one: Client, number: int) -> None:
    """Waits until no more pictures come by the video line of this number."""
    deadline, before = runtime.now() + 12.0, -1
    while True:
        video = [line for line in (await one.call.stats()).lines if line.kind == "video"]
        if video[number].frames_decoded == before:
            return
        assert runtime.now() < deadline, f"pictures go on by line {number}"
        before = video[number].frames_decoded or 0
        await runtime.wait(runtime.event(), 0.5)


def test_a_presentation_with_real_pictures() -> None:
    async def scenario(runtime: Runtime) -> None:
        engines = [AiortcEngine(include_loopback=True) for _ in range(2)]
        with closing(AiortcServices()) as media, closing(engines[0]), closing(engines[1]):
            async with (
                conference(runtime, media) as (server, _),
                client(runtime, server, "alice", engines[0]) as alice,
                client(runtime, server, "bob", engines[1]) as bob,
            ):
                slides = TestPattern(width=320, height=180, color=GREEN)
                shown = MediaSetup(audio=Tone(1000.0), video=TestPattern(color=RED), further_video=(slides,))
                await alice.enter(setup=shown)
                await bob.enter(setup=MediaSetup(video=TestPattern(color=BLUE)))
                await seen(runtime, alice, 0, BLUE)
                await seen(runtime, bob, 0, RED)
                assert await alice.say(LET_ME_START) == 200
                await alice.call.change_media(add=NEW_LINE)
                before = await seen(runtime, bob, 1, GREEN)
                line = [x for x in before.lines if x.kind == "video"][1]
                assert (line.frame_width, line.frame_height) == (320, 180) and line.direction == "recvonly"
                await runtime.wait(runtime.event(), 1.0)
                after = await seen(runtime, bob, 1, GREEN)
                frames = [[x.frames_decoded or 0 for x in r.lines if x.kind == "video"] for r in (before, after)]
                assert all(later - earlier >= 5 for earlier, later in zip(*frames, strict=True)), frames
                assert abs((after.lines[0].audio_frequency or 0) - 1000) < 50, "they hear each other, too"
                assert await alice.say(STOPPED) == 200
                await bob.until_told(ShareState(state=Share.ENDED))
                assert bob.call.lines[2].direction is Direction.RECVONLY
                await rests(runtime, bob, 1)
                await seen(runtime, bob, 0, RED)

    play("anyio-asyncio", scenario)
