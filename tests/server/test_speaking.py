"""Who speaks is shown: the rule by itself, in simulated time, and in rooms."""

from __future__ import annotations

import queue
import random
from itertools import pairwise

import pytest

from sipproto.agent import outputs as o
from sipproto.agent.media import AskKeyFrame
from sipproto.conference import MediaState
from sipproto_aiortc import AiortcEngine, MediaSetup, Silence, Tone
from sipproto_server import Arrangement, Loudness
from sipproto_server._speaking import ATTACK, HOLD, PAUSE, THRESHOLD, Speakers
from sipproto_server.aiortc import AiortcServices
from tests.media._rig import End, connect
from tests.server.stage import Stage

LOUD, SOFT = -20.0, -60.0
STEP = 0.25


class Talk:
    """Calls that are measured every quarter of a second."""

    def __init__(self, *calls: str) -> None:
        self.speakers = Speakers()
        self.calls = calls
        self.now = 0.0
        self.changes: list[tuple[float, str]] = []

    def say(self, seconds: float, *speaking: str) -> None:
        for _ in range(round(seconds / STEP)):
            for call in self.calls:
                if self.speakers.heard(call, LOUD if call in speaking else SOFT, self.now):
                    self.changes.append((self.now, call))
            self.now += STEP

    @property
    def order(self) -> list[str]:
        return self.speakers.order


def test_who_speaks_takes_over_from_who_is_silent() -> None:
    talk = Talk("a", "b", "c")
    talk.say(3)
    assert talk.order == []
    talk.say(1, "a")
    assert talk.changes == [(3.5, "a")]
    talk.say(0.5)
    talk.say(4, "b")
    assert talk.order == ["b", "a"]
    talk.say(5)  # silence changes nothing
    assert talk.order == ["b", "a"]


def test_a_cough_and_somebody_who_falls_in_change_nothing() -> None:
    talk = Talk("a", "b", "c")
    talk.say(4, "a")
    talk.say(3)
    talk.say(ATTACK - STEP, "b")
    talk.say(1)
    assert talk.order == ["a"]
    for _ in range(4):
        talk.say(2, "a", "c")  # of two at once the first stays
        talk.say(PAUSE - STEP, "c")
    assert talk.order == ["a"]
    talk.say(PAUSE + STEP, "c")
    assert talk.order == ["c", "a"]


def test_who_has_left_is_forgotten() -> None:
    talk = Talk("a", "b")
    talk.say(4, "a")
    talk.speakers.forget("a")
    talk.say(1, "b")
    assert talk.order == ["b"]


def test_measurements_that_stop_are_silence() -> None:
    speakers = Speakers()
    assert not speakers.heard("a", LOUD, 0.0)
    assert not speakers.heard("a", LOUD, 5.0)  # speech begins anew
    assert not speakers.heard("a", THRESHOLD, 5.25)
    assert speakers.heard("a", THRESHOLD, 5.5)
    assert [speakers.heard("b", LOUD, 8.0 + n * STEP) for n in range(3)] == [False, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_it_never_flickers(seed: int) -> None:
    """Whatever people do, two changes are at least the hold time apart, and the one who takes over has just spoken."""
    chance = random.Random(seed)
    calls = ("a", "b", "c", "d")
    talk = Talk(*calls)
    spoken: dict[str, float] = {}
    for _ in range(400):
        speaking = [call for call in calls if chance.random() < 0.4]
        spoken |= dict.fromkeys(speaking, talk.now)
        talk.say(chance.choice((STEP, 0.5, 1.0, 2.5)), *speaking)
    assert len(talk.changes) > 20
    times = [when for when, _ in talk.changes]
    assert all(later - earlier >= HOLD for earlier, later in pairwise(times))
    assert all(first != second for (_, first), (_, second) in pairwise(talk.changes))
    assert set(talk.order) == set(calls) and len(talk.order) == 4


def _shown(stage: Stage, participant: str) -> str | None:
    arrangement: Arrangement = stage.arranged(participant)
    source = arrangement.video[0]
    return None if source is None else _names(stage)[source.call]


def _names(stage: Stage) -> dict[str, str]:
    calls = dict.fromkeys(x.call for x in stage.told if isinstance(x, o.IncomingCall))
    return {call: f"p{number}" for number, call in enumerate(calls, 1)}


def _asked(stage: Stage) -> list[AskKeyFrame]:
    return [x for x in stage.told if isinstance(x, AskKeyFrame)]


def _speak(stage: Stage, participant: str, seconds: float = 3.0) -> None:
    call = next(call for call, name in _names(stage).items() if name == participant)
    for _ in range(round(seconds / STEP)):
        stage.carry_out(stage.core.handle(Loudness(call=call, level=LOUD), stage.now))
        stage.pass_time(STEP)


def test_in_a_room_who_speaks_is_shown_and_sees_who_spoke_before() -> None:
    stage = Stage(guests=False)
    for flow, user in ((1, "alice"), (2, "bob"), (3, "mallory")):
        stage.join(flow, user)
    assert [_shown(stage, name) for name in ("p1", "p2", "p3")] == ["p3", "p3", "p2"]  # before anybody speaks
    before = len(_asked(stage))
    _speak(stage, "p1")
    assert [_shown(stage, name) for name in ("p1", "p2", "p3")] == ["p3", "p1", "p1"]
    assert [_names(stage)[x.call] for x in _asked(stage)[before:]] == ["p1"]
    stage.pass_time(2.0)
    _speak(stage, "p2")
    assert [_shown(stage, name) for name in ("p1", "p2", "p3")] == ["p2", "p1", "p2"]
    stage.say(2, MediaState(cam=False, mic=True))
    assert [_shown(stage, name) for name in ("p1", "p2", "p3")] == ["p3", "p1", "p1"]  # who has no picture is not shown
    stage.operate("spectator", "p1")
    assert [_shown(stage, name) for name in ("p2", "p3")] == ["p3", None]
    stage.pass_time(3.0)
    arranged = stage.arranged("p3")
    _speak(stage, "p1")
    assert stage.arranged("p3") == arranged, "a spectator is not heard, and not shown"


def test_who_came_last_is_shown_where_that_is_asked_for() -> None:
    stage = Stage(guests=False, follow_speaker=False)
    for flow, user in ((1, "alice"), (2, "bob"), (3, "mallory")):
        stage.join(flow, user)
    _speak(stage, "p1")
    assert [_shown(stage, name) for name in ("p1", "p2", "p3")] == ["p3", "p3", "p2"]


def test_nobody_else_is_loud() -> None:
    stage = Stage()
    stage.carry_out(stage.core.handle(Loudness(call="unknown", level=LOUD), stage.now))
    assert stage.told == []


def test_the_engine_says_how_loud_a_call_is() -> None:
    """Real media: a tone, and then silence."""
    services, engine = AiortcServices(), AiortcEngine(include_loopback=True)
    told: queue.Queue[Loudness] = queue.Queue()
    services.listen(told.put)
    theirs, ours = End(engine, MediaSetup(audio=Tone(440.0))), End(services)
    services.arrange(ours.call, Arrangement(room="800"))
    try:
        connect(theirs, ours, "audio")
        while (first := told.get(timeout=10)).level < THRESHOLD:
            pass
        assert first.call == ours.call and first.level > LOUD
        engine.prepare(theirs.call, MediaSetup(audio=Silence()))
        while told.get(timeout=10).level >= SOFT:
            pass
    finally:
        services.close()
        engine.close()
