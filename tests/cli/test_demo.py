"""The parts that the demo is made of, and the conference itself."""

from __future__ import annotations

import json
import signal

import numpy
import pytest

from sipproto.agent import Recovery
from sipproto.agent import outputs as o
from sipproto_aiortc import Tone
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo._cable import open_cable
from sipproto_cli._demo._party import until
from sipproto_cli._demo._senses import COLORS, Ear, Scene, color_name
from sipproto_client import run_endpoint
from sipproto_client.port import Runtime
from sipproto_devices import SILENCE, mean_color, mix
from tests.cli.test_cli import RUNTIMES, Process
from tests.client.rig import config, play, url, world

runtimes = pytest.mark.parametrize("name", RUNTIMES)


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def listen(ear: Ear, clock: Clock, seconds: float, *hertz: float) -> None:
    """Time passes, and these tones are heard."""
    tones = [Tone(each).open_audio() for each in hertz]
    for _ in range(round(seconds / 0.02)):
        clock.time += 0.02
        parts = [samples for tone in tones if (samples := tone.read()) is not None]
        ear.audio(SILENCE if not parts else mix(parts), 0)  # type: ignore[arg-type]


def test_an_ear_tells_tones_apart() -> None:
    clock = Clock()
    ear = Ear(clock)
    assert ear.tones() == () and ear.hears(()) and not ear.hears((440.0,))
    listen(ear, clock, 1.0, 440.0)
    assert ear.hears((440.0,)) and not ear.hears((660.0,)) and not ear.hears(()) and not ear.hears((440.0, 660.0))
    listen(ear, clock, 1.0, 880.0, 660.0)
    assert ear.hears((660.0, 880.0)) and not ear.hears((880.0,)) and not ear.hears((440.0, 660.0, 880.0))
    found = ear.tones()
    assert [abs(a - b) < 5 for a, b in zip(found, (660, 880), strict=True)] == [True, True], found
    listen(ear, clock, 1.0)
    assert ear.hears(())
    listen(ear, clock, 1.0, 440.0)
    clock.time += 2.0
    assert ear.hears(()), "what was heard long ago"


def test_an_ear_measures_gaps() -> None:
    clock = Clock()
    ear = Ear(clock)
    listen(ear, clock, 0.5, 440.0)
    clock.time += 1.0
    listen(ear, clock, 0.5, 440.0)
    assert ear.longest_gap() == pytest.approx(1.02)
    ear.listen_for_gaps()
    listen(ear, clock, 0.2, 440.0)
    assert ear.longest_gap() == pytest.approx(0.02)
    listen(ear, clock, 0.3)  # silence is a gap, too, and lasts
    assert ear.longest_gap() == pytest.approx(0.3)


@pytest.mark.parametrize("color", COLORS)
def test_a_scene_has_its_colour_and_never_stands_still(color: str) -> None:
    producer = Scene(color, width=320, height=180).open_video()
    first, second = producer.read(), producer.read()
    assert first is not None and second is not None
    assert color_name(mean_color(first)) == color_name(mean_color(second)) == color
    assert (first.width, first.height, first.format.name) == (320, 180, "yuv420p")
    assert not numpy.array_equal(first.to_ndarray(), second.to_ndarray())


def test_other_colours_have_no_name() -> None:
    assert [color_name(color) for color in ((0, 0, 0), (255, 255, 255), (127, 127, 127), None)] == [None] * 4


@runtimes
def test_a_cable_is_cut_and_mended(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        states: list[o.ConnectionState] = []

        def note(event: object) -> None:
            if isinstance(event, o.ConnectionChanged):
                states.append(event.state)

        settings = config("alice", recovery=Recovery(first_delay=0.05, max_delay=0.1))
        async with (
            world(runtime) as (server, _),
            open_cable(runtime, server.port) as cable,
            run_endpoint(runtime, settings) as alice,
        ):
            alice.on_event(note)
            await alice.connect(url(cable.port))
            await alice.register()
            await cable.cut()
            await until(runtime, "the cut", lambda: states[-1] is o.ConnectionState.RECONNECTING)
            await runtime.wait(runtime.event(), 0.3)  # attempts that come to nothing
            assert states[-1] is not o.ConnectionState.CONNECTED
            cable.mend()
            await until(runtime, "the way back", lambda: states[-1] is o.ConnectionState.CONNECTED)

    play(name, scenario)


def test_what_does_not_happen_is_told() -> None:
    async def scenario(runtime: Runtime) -> None:
        with pytest.raises(CommandProblem, match=r"carol hears alice: did not happen within 0\.1 s"):
            await until(runtime, "carol hears alice", lambda: False, patience=0.1)

    play("trio", scenario)


# -- all of it ---------------------------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_conference(runtime: str) -> None:
    process = Process("demo", "--json", "--runtime", runtime)
    told = json.loads(process.until('"figures"', 120.0))
    assert process.end() == (0, "")
    steps, figures = " ".join(told["steps"]), told["figures"]
    for words in (
        "carol is a guest and waits in the lobby",
        "alice hears bob (660 Hz) and carol (880 Hz) and sees carol (green",
        "carol hears alice (440 Hz) and bob (660 Hz) and sees bob (blue",
        "ConnectorError REFUSED",
        "see the second stream (orange",
        "violet",
        "bob wants to present, too, and is refused",
        "MAXMAINCAMRESOLUTION 128x72: 128x72",
        "she hears, nobody hears or sees her",
        "new pairs of candidates",
        "dials 42#",
        "microphone off and on",
        "bob is back in the same call",
        "nothing is left",
    ):
        assert words in steps, words
    assert figures["gap_at_ice_restart_ms"] < 3000 and figures["gap_at_reconnection_ms"] < 3000
    assert figures["camera_small"].startswith("128x72") and figures["camera_paused"].startswith("16x16")


@pytest.mark.interop
@pytest.mark.parametrize(
    "words", ["are registered", "waits in the lobby", "the second stream", "PAUSEMAINCAM", "is cut"]
)
def test_ctrl_c_at_any_moment(words: str) -> None:
    process = Process("demo")
    process.until(words, 90.0)
    assert process.interrupt(signal.SIGINT) == (130, "sipproto: interrupted\n")


@pytest.mark.interop
def test_all_messages_of_the_conference() -> None:
    process = Process("demo", "--ladder")
    process.until("alice", 120.0)
    for words in ("INVITE", "INFO", "BYE", "All good."):
        process.until(words, 120.0)
    assert process.end() == (0, "")
