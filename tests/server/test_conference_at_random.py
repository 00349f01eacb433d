"""Conferences in which anybody does anything at any time: what has to hold all the while, and what is left at the end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.conference import (
    PURGATORY,
    AskToEnableCam,
    Channels,
    ConferenceMessage,
    EnterRoom,
    MediaState,
    Role,
    Share,
    ShareState,
)
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto_server import OPERATIONS, OperatorError, Service
from tests.server.stage import Stage

SERVICES = {
    "800": Service(kind="conference", room="800"),
    "801": Service(kind="conference", room="801", lobby=False),
}
USERS = {1: "alice", 2: "bob", 3: "55", 4: "56"}
SAID: list[ConferenceMessage] = [
    ShareState(state=Share.LET_ME_START),
    ShareState(state=Share.STOPPED),
    ShareState(state=Share.AVAILABLE),
    MediaState(cam=False, mic=True),
    MediaState(cam=True, mic=True),
    AskToEnableCam(),
    Channels(input="1", output="2"),
    EnterRoom(room="p2p1to2", direct_peer_to_peer=True),
]
VALUES = {
    "room": ["800", "801"],
    "forced": ["yes"],
    "resolution": ["640x360"],
    "license": ["AUDIO"],
    "what": ["presentation", "camera"],
    "verdict": ["allow", "deny", "ask"],
    "rival": ["refuse", "replace"],
    "input": ["1"],
    "output": ["2"],
}
TARGETS = ["p1", "p2", "p3", "p4", "p5", "@800", "@801", "@purgatory"]


def operated(name: str, target: str, number: int) -> tuple[str, ...]:
    words = [name]
    for parameter in OPERATIONS[name].parameters:
        choice = VALUES.get(parameter.name, [])
        if parameter.name == "target":
            words.append(target)
        elif choice and (
            parameter.name in ("verdict", "rival", "resolution", "license", "input", "output") or number % 2
        ):
            words.append(choice[number % len(choice)])
        elif not choice:
            break
    return tuple(words)


FLOW = st.sampled_from(sorted(USERS))
ACTION = st.one_of(
    st.tuples(st.just("join"), FLOW, st.sampled_from(["800", "801"])),
    st.tuples(st.just("say"), FLOW, st.sampled_from(SAID)),
    st.tuples(st.just("present"), FLOW, st.none()),
    st.tuples(st.just("present"), FLOW, st.none()),
    st.tuples(st.just("line"), FLOW, st.sampled_from([Direction.SENDRECV, Direction.SENDONLY])),
    st.tuples(st.just("reuse"), FLOW, st.sampled_from([Direction.SENDRECV, Direction.RECVONLY])),
    st.tuples(st.just("bye"), FLOW, st.none()),
    st.tuples(st.just("lost"), FLOW, st.none()),
    st.tuples(st.just("time"), st.sampled_from([1, 8, 31]), st.none()),
    st.tuples(
        st.just("operate"), st.integers(0, 5), st.tuples(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(TARGETS))
    ),
)


def act(stage: Stage, action: tuple[str, int, object]) -> None:
    what, number, more = action
    match what:
        case "join" if number not in stage.agents:
            stage.join(number, USERS[number], str(more))
        case "time":
            stage.pass_time(float(number))
        case "operate":
            assert isinstance(more, tuple)
            name, target = more
            try:
                stage.operate(*operated(name, target, number))
            except OperatorError:
                pass  # not possible for this participant now
        case _ if number in stage.agents and number not in stage.lost:
            try:
                client(stage, what, number, more)
            except LocalProtocolError:
                pass  # not possible for this client now
        case _:
            pass


def client(stage: Stage, what: str, flow: int, more: object) -> None:
    match what:
        case "say":
            stage.say(flow, more)  # type: ignore[arg-type]
        case "present":
            stage.say(flow, ShareState(state=Share.LET_ME_START))
            stage.command(flow, i.ChangeMedia, call="c", add=(("video", Direction.SENDRECV),))
        case "line":
            stage.command(flow, i.ChangeMedia, call="c", add=(("video", more),))
        case "reuse":
            mid = [mid for mid, (kind, _) in stage.lines(flow).items() if kind == "video"][-1]
            stage.command(flow, i.ChangeMedia, call="c", directions=((mid, more),))
        case "bye":
            stage.command(flow, i.HangUp, call="c")
        case "lost":
            stage.lost.add(flow)
            stage.server(i.FlowClosed(flow=flow))
        case _:
            pass


def check(stage: Stage) -> None:
    known = {one.participant: one for one in stage.core.participants}
    listed = [name for room in stage.core.rooms for name in room.participants]
    assert sorted(listed) == sorted(known), "everybody is in one room"
    for room in stage.core.rooms:
        presenting = [name for name in room.participants if known[name].presenting]
        assert presenting == ([room.presenter] if room.presenter else [])
        assert room.room != PURGATORY or not presenting
        assert all(known[name].role is Role.PARTICIPANT for name in presenting)
        for name in room.participants:
            arranged = stage.arranged(name)
            assert arranged.room == (None if room.room == PURGATORY else room.room)
            assert len(arranged.video) < 2 or (room.presenter and name != room.presenter)
    lost = {USERS[flow].title() for flow in stage.lost}
    for one in stage.core._focus.conference.everybody:
        views = stage.core._focus.conference.room_of(one)
        assert one.told == (views.showing and views.presenter is not one), "told of each presentation and its end"
        assert views.showing or one.changing or one.content_out is None or one.info.name in lost


@given(actions=st.lists(ACTION, max_size=30))
@settings(max_examples=60, deadline=None)
def test_anything_at_any_time(actions: list[tuple[str, int, object]]) -> None:
    stage = Stage(services=SERVICES)
    stage.join(1, "alice", "801")
    stage.join(2, "bob", "801")
    for action in actions:
        act(stage, action)
        check(stage)
    for flow in set(stage.agents) - stage.lost:
        try:
            stage.command(flow, i.HangUp, call="c")
        except LocalProtocolError:
            pass  # it is over
    for _ in range(4):
        stage.pass_time(40.0)
    assert stage.core.participants == ()
    assert set(stage.core._focus.retained.values()) == {0}
    for flow in set(stage.agents) - stage.lost:
        outcomes = [x.command for x in stage.seen[flow] if isinstance(x, o.CommandSucceeded | o.CommandFailed)]
        assert len(outcomes) == len(set(outcomes)), "each INFO has had one answer"
