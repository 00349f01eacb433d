"""Presentations: with permission, refused, given up, ended by the server; the call goes on in any case."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from sipproto.agent import Cause
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import SetSenderParameters
from sipproto.agent.parameters import ContentHint, DegradationPreference, EffectiveParameters, Encoding
from sipproto.conference import ConferenceMessage, MainCam, MainCamControl, ParticipantState, Role, Share, ShareState
from sipproto.connector import inputs as c
from sipproto.connector._presentation import PresentationState
from sipproto.connector.events import PresentationChanged, PresentationStep
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from tests.connector.world import BOTH, World, in_call

P = PresentationStep
START = ShareState(state=Share.LET_ME_START)
STOP = ShareState(state=Share.STOPPED)


def steps(world: World) -> list[PresentationStep]:
    return [event.step for event in world.all(PresentationChanged)]


def presenting() -> World:
    world = in_call()
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)
    world.take()
    world.sent.clear()
    world.focus.heard.clear()
    return world


def refuse(*messages: ConferenceMessage) -> Callable[[ConferenceMessage], int]:
    """The first so many wishes are refused."""
    left = list(messages)

    def verdict(message: ConferenceMessage) -> int:
        if left and message == left[0]:
            left.pop(0)
            return 603
        return 200

    return verdict


def test_from_start_to_end() -> None:
    world = in_call()
    outcome = world.do(c.StartPresentation)
    assert isinstance(outcome.result, EffectiveParameters)
    assert world.focus.heard == [START]
    assert world.requests("INVITE")[0].count(b"m=video") == 2
    assert steps(world) == [P.START, P.STARTED]
    (parameters,) = [operation.parameters for operation in world.all(SetSenderParameters)]
    assert parameters.encodings == (Encoding(max_bitrate=1_000_000),)
    assert parameters.content_hint is ContentHint.DETAIL
    line = world.all(PresentationChanged)[-1].line
    assert line == world.connector.presentation.line
    world.take()
    assert isinstance(world.do(c.StopPresentation), o.CommandSucceeded)
    assert world.focus.heard == [START, STOP]
    assert steps(world) == [P.END, P.ENDED]
    assert not world.one(SetSenderParameters).parameters.encodings[0].active
    assert not next(info for info in world.connector.call.lines if info.mid == line).direction.sends
    # the line serves the next one, too
    world.take()
    world.do(c.StartPresentation)
    assert world.all(PresentationChanged)[-1].line == line
    assert len([info for info in world.connector.call.lines if info.kind == "video"]) == 2


def test_what_is_asked_for_is_kept() -> None:
    world = in_call()
    parameters = c.PresentationParameters(
        max_bitrate=4_000_000,
        content_hint=ContentHint.TEXT,
        degradation_preference=DegradationPreference.MAINTAIN_RESOLUTION,
        encodings=(Encoding(scale_resolution_down_by=2.0),),
    )
    world.do(c.StartPresentation, parameters=parameters)
    sent = world.one(SetSenderParameters).parameters
    assert sent.encodings == (Encoding(max_bitrate=4_000_000, scale_resolution_down_by=2.0),)
    assert sent.degradation_preference is DegradationPreference.MAINTAIN_RESOLUTION
    assert sent.content_hint is ContentHint.TEXT
    world.take()
    world.do(c.UpdatePresentation, parameters=c.PresentationParameters(max_bitrate=6_000_000))
    assert steps(world) == [P.UPDATING, P.UPDATED]
    assert world.one(SetSenderParameters).parameters.encodings[0].max_bitrate == 6_000_000
    assert world.focus.heard == [START, START]
    assert not [data for data in world.sent if data.startswith(b"INVITE") and data.count(b"m=video") > 2]


def test_a_refusal_is_a_refusal() -> None:
    world = in_call()
    world.focus.verdict = lambda _: 603
    outcome = world.do(c.StartPresentation)
    assert (outcome.cause, outcome.status) == (Cause.REJECTED, 603)
    assert steps(world) == [P.START, P.FAILED]
    assert world.all(PresentationChanged)[-1].status == 603
    assert not world.requests("INVITE")
    assert world.connector.presentation.state is PresentationState.IDLE
    world.focus.verdict = lambda _: 200
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)


def test_it_is_asked_for_again() -> None:
    world = in_call()
    world.focus.verdict = refuse(START, START)
    command = world.command(lambda n: c.StartPresentation(command=n, attempts=3))
    world.wait(0.7)
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    assert world.focus.heard == [START] * 3
    world = in_call()
    world.focus.verdict = refuse(START, START)
    command = world.command(lambda n: c.StartPresentation(command=n, attempts=2))
    world.wait(5)
    assert world.outcome(command).status == 603  # and nothing of attempts and limits
    assert steps(world) == [P.START, P.FAILED]


def test_a_peer_that_refuses_the_offer_keeps_the_call() -> None:
    world = in_call()
    world.to_server = lambda data: not (data.startswith(b"INVITE") and data.count(b"m=video") == 2)
    command = world.command(lambda n: c.StartPresentation(command=n))
    (offer,) = world.requests("INVITE")
    lines = offer.decode().split("\r\n\r\n")[0].split("\r\n")
    kept = [line for line in lines if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
    answer = "\r\n".join(["SIP/2.0 488 Not Acceptable Here", *kept, "Content-Length: 0", "", ""])
    world.give(i.DataReceived(flow=next(iter(world.flows)), data=answer.encode()))
    assert (world.outcome(command).cause, world.outcome(command).status) == (Cause.INCOMPATIBLE_MEDIA, 488)
    assert world.focus.heard == [START, STOP]  # the server is not left in the belief that we present
    assert world.connector.call.is_established
    assert len([info for info in world.connector.call.lines if info.kind == "video"]) == 1


def test_a_peer_that_takes_no_second_line_keeps_the_call() -> None:
    world = in_call()
    hub = world.focus.agent._hub
    hub.config = evolve(hub.config, new_lines=Direction.INACTIVE)
    outcome = world.do(c.StartPresentation)
    assert outcome.cause is Cause.INCOMPATIBLE_MEDIA
    assert world.focus.heard == [START, STOP]
    assert world.connector.call.is_established


def test_one_at_a_time() -> None:
    world = presenting()
    with pytest.raises(LocalProtocolError, match="already started"):
        world.do(c.StartPresentation)
    with pytest.raises(LocalProtocolError, match="no established call"):
        World().do(c.StartPresentation)
    with pytest.raises(LocalProtocolError, match="not started yet"):
        in_call().do(c.UpdatePresentation)
    assert isinstance(in_call().do(c.StopPresentation), o.CommandSucceeded)


def test_stopped_while_it_starts() -> None:
    """The server has the wish and has not answered when we stop; then the offer is under way when we stop."""
    world = in_call()
    world.focus.verdict = lambda _: None
    start = world.command(lambda n: c.StartPresentation(command=n, attempts=3))
    stop = world.command(lambda n: c.StopPresentation(command=n))
    with pytest.raises(LocalProtocolError):
        world.do(c.StartPresentation)
    assert not world.outcomes(start) and not world.outcomes(stop)
    world.focus.verdict = lambda _: 200
    asked = [event for event in world.focus.events if isinstance(event, o.InfoReceived)][-1]
    world.tell_focus(i.AnswerInfo(command=0, call=asked.call, info=asked.info))
    assert world.outcome(start).cause is Cause.CANCELED
    assert isinstance(world.outcome(stop), o.CommandSucceeded)
    assert world.focus.heard == [START, STOP]
    assert steps(world) == [P.START, P.FAILED]
    assert world.all(PresentationChanged)[-1].cause is Cause.CANCELED
    assert not [data for data in world.requests("INVITE") if data.count(b"m=video") > 1]
    world = in_call()
    world.give_at_once(c.StartPresentation(command=101))
    while not any(data.startswith(b"INVITE") for data in world.sent):
        world.step()
    world.give_at_once(c.StopPresentation(command=102))
    world.settle()
    assert isinstance(world.outcome(101), o.CommandSucceeded)  # it had started, and has ended
    assert isinstance(world.outcome(102), o.CommandSucceeded)
    assert steps(world) == [P.START, P.STARTED, P.END, P.ENDED]


def test_nothing_is_updated_that_is_about_to_end() -> None:
    world = in_call()
    world.focus.verdict = lambda _: None
    world.command(lambda n: c.StartPresentation(command=n))
    world.command(lambda n: c.StopPresentation(command=n))
    with pytest.raises(LocalProtocolError, match="not started yet"):
        world.do(c.UpdatePresentation)


def test_the_end_does_not_wait_for_an_update() -> None:
    for end in ("stop", "must stop"):
        world = presenting()
        world.focus.verdict = lambda _: None
        update = world.command(lambda n: c.UpdatePresentation(command=n))
        if end == "stop":
            world.focus.verdict = lambda _: 200
            assert isinstance(world.do(c.StopPresentation), o.CommandSucceeded)
        else:
            world.say(ShareState(state=Share.MUST_STOP))
        assert world.outcome(update).cause is Cause.CANCELED
        assert steps(world) == [P.UPDATING, P.END, P.ENDED]
        world.wait(20)
        assert steps(world)[-1] is P.ENDED and len(world.outcomes(update)) == 1


def test_an_update_that_is_given_up_changes_nothing() -> None:
    other = c.PresentationParameters(max_bitrate=300_000)
    world = presenting()
    world.focus.verdict = lambda _: None
    update = world.command(lambda n: c.UpdatePresentation(command=n, parameters=other))
    world.give(c.Cancel(target=update))
    assert world.outcome(update).cause is Cause.CANCELED
    world.focus.verdict = lambda _: 200
    world.wait(5)
    assert not world.all(SetSenderParameters) and world.connector.presentation.state is PresentationState.STARTED


def test_an_update_that_is_given_up_while_the_media_engine_is_told_is_taken_back() -> None:
    world = in_call()
    other = c.PresentationParameters(max_bitrate=300_000)
    world.do(c.StartPresentation, parameters=c.PresentationParameters(max_bitrate=500_000))
    for _ in range(2):
        world.take()
        world.engine.silent(SetSenderParameters)
        update = world.command(lambda n: c.UpdatePresentation(command=n, parameters=other))
        world.give(c.Cancel(target=update))
        assert world.outcome(update).cause is Cause.CANCELED
        told = [operation.parameters.encodings[0].max_bitrate for operation in world.all(SetSenderParameters)]
        assert told == [300_000, 500_000]
    assert isinstance(world.do(c.UpdatePresentation, parameters=other), o.CommandSucceeded)
    assert isinstance(world.do(c.StopPresentation), o.CommandSucceeded)
    assert world.connector.retained["procedures"] == 0


def test_a_line_that_the_engine_does_not_feed_is_closed_again() -> None:
    world = in_call()
    world.engine.fail(SetSenderParameters, "no encoder")
    outcome = world.do(c.StartPresentation)
    assert outcome.cause is Cause.MEDIA_ERROR
    assert world.focus.heard == [START, STOP]
    assert [info.direction.sends for info in world.connector.call.lines if info.kind == "video"] == [True, False]
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)


def test_ended_while_the_connection_is_lost() -> None:
    """The peer cannot be told then; when the call goes on it is."""
    world = presenting()
    world.answers = False
    world.cut()
    assert isinstance(world.do(c.StopPresentation), o.CommandSucceeded)
    assert steps(world) == [P.END, P.ENDED]
    assert world.focus.heard == []
    world.answers = True
    world.wait(30)
    assert world.one(o.CallRecovered)
    assert world.focus.heard == [STOP]
    assert [info.direction.sends for info in world.connector.call.lines if info.kind == "video"] == [True, False]
    assert world.connector.retained["procedures"] == 0


def test_given_up_when_it_has_just_started() -> None:
    world = in_call()
    command = world.command(lambda n: c.StartPresentation(command=n))
    assert isinstance(world.outcome(command), o.CommandSucceeded)
    world.give(c.Cancel(target=command))
    assert steps(world) == [P.START, P.STARTED, P.END, P.ENDED]
    world.give(c.Cancel(target=command))
    assert steps(world)[-1] is P.ENDED and world.focus.heard == [START, STOP]


def test_given_up_in_the_pause_between_two_attempts() -> None:
    world = in_call()
    world.focus.verdict = lambda _: 603
    command = world.command(lambda n: c.StartPresentation(command=n, attempts=1000))
    world.wait(1)
    asked = len(world.focus.heard)
    world.give(c.Cancel(target=command))
    world.wait(1)
    assert world.outcome(command).cause is Cause.CANCELED
    assert len(world.focus.heard) == asked  # who has given up does not ask again
    assert world.connector.retained["procedures"] == 0


@pytest.mark.parametrize("message", [ShareState(state=Share.MUST_STOP), ParticipantState(role=Role.SPECTATOR)])
def test_ended_by_the_server(message: ConferenceMessage) -> None:
    world = presenting()
    world.say(message)
    assert steps(world) == [P.END, P.ENDED]
    assert all(event.by_server for event in world.all(PresentationChanged))
    assert world.focus.heard == []  # it knows
    world.say(message)
    assert steps(world) == [P.END, P.ENDED]
    assert isinstance(world.do(c.StopPresentation), o.CommandSucceeded)  # what an application does on hearing of it
    assert steps(world) == [P.END, P.ENDED]
    world = in_call()
    world.say(message)
    assert steps(world) == []


def test_in_a_call_of_two() -> None:
    world = in_call()
    world.do(c.StartPresentation, peer_to_peer=True)
    world.do(c.StopPresentation)
    shares = [message.state for message in world.focus.heard if isinstance(message, ShareState)]
    assert shares == [Share.MUST_STOP, Share.AVAILABLE, Share.ENDED]


def test_the_call_ends() -> None:
    world = presenting()
    world.do(c.HangUpCall)
    assert steps(world) == [P.ENDED]
    world = in_call()
    world.focus.verdict = lambda _: None
    start = world.command(lambda n: c.StartPresentation(command=n, attempts=5))
    update = world.command(lambda n: c.UpdatePresentation(command=n))
    world.do(c.HangUpCall)
    for command in (start, update):
        assert isinstance(world.outcome(command), o.CommandFailed)
    assert world.connector.presentation.state is PresentationState.IDLE
    world.wait(100)
    assert set(world.connector.retained.values()) == {0}
    assert P.STARTED not in steps(world)


def test_in_a_call_without_a_camera() -> None:
    """The first video line is that of the presentation: it is not taken for the main video."""
    world = in_call(media=BOTH[:1])
    assert isinstance(world.do(c.StartPresentation), o.CommandSucceeded)
    line = world.connector.presentation.line
    world.take()
    world.say(MainCamControl(command=MainCam.PAUSE))
    world.wait(12)
    assert world.all(SetSenderParameters) == []  # the server's word is about the camera
    world.do(c.ChangeCallMedia, media=BOTH)
    main = world.connector.call.main_line("video")
    assert main is not None and main.mid != line and main.direction.sends
    world.do(c.ChangeCallMedia, media=BOTH[:1])
    sent = {info.mid: info.direction.sends for info in world.connector.call.lines}
    assert sent[line or ""] and not sent[main.mid]
    world.do(c.HangUpCall)
    assert world.connector.presentation.line is None
