"""The media engine for tests: what it answers, keeps and causes; in agents without I/O and in endpoints on each loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from attrs import evolve

from sipproto.agent import media as m
from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay
from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.negotiation import NegotiatedSession, Negotiator
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto.tokens import SeededTokens
from sipproto_client import Call, CommandError, Endpoint, run_endpoint
from sipproto_client.port import Runtime
from sipproto_server import ServerConfig, run_server
from tests.client.rig import REALM, RUNTIMES, USERS, config, play, url

AUDIO = (("audio", Direction.SENDRECV),)
BOTH = (*AUDIO, ("video", Direction.SENDRECV))
CONNECTED, CONNECTING = m.MediaState.CONNECTED, m.MediaState.CONNECTING


class End:
    """A call of an engine, and all that was reported of it."""

    def __init__(self, engine: FakeMediaEngine, call: str = "a") -> None:
        self.engine = engine
        self.call = call
        self.heard: list[m.MediaInput] = []
        self.negotiator = Negotiator(engine.capabilities, SeededTokens(1))

    def ask(self, operation: m.MediaOperation) -> m.MediaInput:
        """The first thing that is reported."""
        before = len(self.heard)
        self.engine.perform(operation, self.heard.append)
        return self.heard[before]

    def open(self) -> None:
        for slot in self.negotiator.missing_slots():
            reply = self.ask(m.OpenMedia(request=1, call=self.call, slots=(slot,)))
            assert isinstance(reply, m.MediaOpened)
            self.negotiator.add_transport(*reply.transports[0])

    def apply(self, session: NegotiatedSession) -> None:
        assert self.ask(m.ApplyMedia(request=2, call=self.call, session=session)) == m.MediaApplied(request=2)


def connected(engine: FakeMediaEngine, *kinds: str) -> End:
    end, peer = End(engine), End(FakeMediaEngine(seed=99))
    for kind in kinds or ("audio", "video"):
        end.negotiator.add_line(kind)
    end.open()
    peer.negotiator.receive_offer(end.negotiator.create_offer().text, (), Direction.SENDRECV)
    peer.open()
    answer, session = peer.negotiator.create_answer()
    peer.apply(session)
    end.apply(end.negotiator.receive_answer(answer.text))
    return end


def states(end: End) -> list[m.MediaState]:
    return [message.state for message in end.heard if isinstance(message, m.MediaStateChanged)]


def error_of(reply: m.MediaInput) -> str:
    assert isinstance(reply, m.MediaFailed), reply
    return reply.error


# -- what it answers and keeps -------------------------------------------------------------------------------------------


def test_it_repeats_itself_and_tells_engines_apart() -> None:
    first, second = (connected(FakeMediaEngine(seed=5)).heard for _ in range(2))
    assert first == second
    other = connected(FakeMediaEngine(seed=6)).heard
    assert other != first and "password" not in repr(other)


def test_a_call_connects_by_itself_or_when_it_is_told() -> None:
    end = connected(FakeMediaEngine())
    assert states(end) == [CONNECTING, CONNECTED]
    end = connected(FakeMediaEngine(connects=False))
    assert states(end) == [CONNECTING]
    end.engine.change_state("a", CONNECTED)
    assert states(end) == [CONNECTING, CONNECTED]
    assert end.engine.call("a").state is CONNECTED


def test_a_lost_path_comes_back_with_a_restart_only() -> None:
    engine = FakeMediaEngine()
    end = connected(engine)
    session = engine.call("a").session
    assert session is not None
    engine.change_state("a", m.MediaState.FAILED)
    end.apply(session)
    assert engine.call("a").state is m.MediaState.FAILED
    before = engine.call("a").transports[0]
    end.ask(m.OpenMedia(request=4, call="a", slots=(0,), restart=True))
    assert engine.call("a").transports[0] is before
    pairs = tuple(evolve(pair, remote=evolve(pair.remote, ice_ufrag="another")) for pair in session.transports)
    end.apply(evolve(session, transports=pairs))
    assert engine.call("a").state is CONNECTED
    after = engine.call("a").transports[0]
    assert (after.ice_ufrag, after.fingerprint) != (before.ice_ufrag, before.fingerprint)
    assert after.fingerprint == before.fingerprint


def test_what_was_asked_is_kept() -> None:
    engine = FakeMediaEngine()
    engine.prepare("a", "a setup")
    end = connected(engine)
    call = engine.call("a")
    codec = call.lines[0].telephone_event
    assert codec is not None
    for event in (5, 10, 11, 15):
        end.ask(m.SendDigit(request=3, call="a", line=0, event=event, duration=100, codec=codec))
    end.ask(m.AskKeyFrame(request=4, call="a", line=1, ours=False))
    wish = SenderParameters(encodings=(Encoding(max_bitrate=300_000), Encoding(active=False)))
    reply = end.ask(m.SetSenderParameters(request=5, call="a", line=1, parameters=wish))
    assert isinstance(reply, m.SenderParametersSet)
    assert reply.effective.encodings == wish.encodings and not reply.effective.ignored
    end.ask(m.CollectStats(request=6, call="a"))
    engine.perform(m.CloseMedia(call="a"), end.heard.append)
    assert [line.kind for line in call.lines] == ["audio", "video"]
    assert (call.digits, call.key_frames, call.parameters) == ("5*#D", [(1, False)], {1: wish})
    assert call.prepared == ["a setup"] and call.is_closed and engine.calls == (call,)
    assert [operation.event for operation in engine.asked(m.SendDigit)] == [5, 10, 11, 15]
    assert engine.asked(m.OpenMedia, "b") == ()
    assert isinstance(engine.operations[-1], m.CloseMedia) and len(engine.operations) == 11


def test_statistics_are_those_of_the_test() -> None:
    engine = FakeMediaEngine()
    end = connected(engine)
    own = end.ask(m.CollectStats(request=3, call="a"))
    assert isinstance(own, m.StatsCollected) and own.report.state is CONNECTED
    assert [(line.mid, line.codec, line.packets_sent) for line in own.report.lines] == [
        ("0", "opus", 0),
        ("1", "VP8", 0),
    ]
    line = m.LineStats(mid="0", kind="audio", direction="sendrecv", packets_lost=7)
    engine.call("a").report = m.MediaReport(state=CONNECTED, lines=(line,))
    reply = end.ask(m.CollectStats(request=4, call="a"))
    assert isinstance(reply, m.StatsCollected) and reply.report.line("audio") == line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda digit: evolve(digit, line=9), "the call has no media line 9"),
        (lambda digit: evolve(digit, line=1), "no audio is sent on the media line 1"),
        (lambda digit: evolve(digit, event=16), "no digit: event 16 of 100 ms"),
        (lambda digit: evolve(digit, duration=0), "no digit: event 1 of 0 ms"),
        (lambda digit: evolve(digit, codec=evolve(digit.codec, name="opus")), "opus is not what digits are sent with"),
        (lambda digit: evolve(digit, call="b"), "no media is open for the call 'b'"),
        (lambda digit: m.AskKeyFrame(request=3, call="a", line=0, ours=True), "no video is sent on the media line 0"),
    ],
)
def test_what_is_impossible_fails(change: Callable[[m.SendDigit], m.MediaOperation], says: str) -> None:
    end = connected(FakeMediaEngine())
    codec = end.engine.call("a").lines[0].telephone_event
    assert codec is not None
    possible = m.SendDigit(request=3, call="a", line=0, event=1, duration=100, codec=codec)
    assert says in error_of(end.ask(change(possible)))
    assert end.ask(possible) == m.DigitSent(request=3)


# -- what a test causes --------------------------------------------------------------------------------------------------


def test_operations_fail_or_stay_silent_as_arranged() -> None:
    engine = FakeMediaEngine()
    end = End(engine)
    opening = m.OpenMedia(request=1, call="a", slots=(0,))
    engine.fail(m.OpenMedia, "no network")
    engine.fail(m.OpenMedia, "no sockets")
    engine.fail(m.OpenMedia, "no luck", always=True)
    assert [error_of(end.ask(opening)) for _ in range(4)] == ["no network", "no sockets", "no luck", "no luck"]
    engine.silent(m.OpenMedia)
    heard = len(end.heard)
    engine.perform(opening, end.heard.append)
    assert len(end.heard) == heard and len(engine.operations) == 5
    engine.silent(m.OpenMedia)
    engine.heal()
    assert isinstance(end.ask(opening), m.MediaOpened)
    assert isinstance(end.ask(m.CollectStats(request=2, call="a")), m.StatsCollected)


def test_a_closed_engine_fails_everything() -> None:
    end = connected(FakeMediaEngine())
    end.engine.close()
    end.engine.close()
    assert end.engine.call("a").is_closed
    assert error_of(end.ask(m.CollectStats(request=3, call="a"))) == "the media engine is closed"


def test_nothing_is_told_of_a_call_that_the_report_has_closed() -> None:
    engine, heard = FakeMediaEngine(), list[m.MediaInput]()
    end = connected(engine)
    session = engine.call("a").session
    assert session is not None

    def report(message: m.MediaInput) -> None:
        heard.append(message)
        engine.perform(m.CloseMedia(call="b"), report)

    engine.perform(m.OpenMedia(request=1, call="b", slots=(0,)), lambda _: None)
    engine.perform(m.ApplyMedia(request=2, call="b", session=session), report)
    assert heard == [m.MediaApplied(request=2)] and not end.engine.call("a").is_closed


def test_wrong_use_is_told() -> None:
    engine = FakeMediaEngine()
    with pytest.raises(ValueError, match="CloseMedia is no operation with a reply"):
        engine.fail(m.CloseMedia, "no")  # type: ignore[arg-type]
    with pytest.raises(LookupError, match=r"this engine has no call 'a', but \[\]"):
        engine.change_state("a", CONNECTED)
    end = End(engine)
    end.ask(m.OpenMedia(request=1, call="a", slots=(0,)))
    with pytest.raises(ValueError, match="call 'a' has no agreed session yet"):
        engine.change_state("a", CONNECTED)
    engine = FakeMediaEngine()
    connected(engine, "video")
    with pytest.raises(ValueError, match="call 'a' receives no audio with telephone-event"):
        engine.hear_digit("a", "1")
    with pytest.raises(ValueError, match="'12' is not one of the digits"):
        engine.hear_digit("a", "12")
    engine.perform(m.CloseMedia(call="a"), lambda _: None)
    with pytest.raises(ValueError, match="call 'a' is over"):
        engine.change_state("a", CONNECTED)


def test_what_a_report_raises_is_seen() -> None:
    def report(message: m.MediaInput) -> None:
        raise AssertionError(message)

    with pytest.raises(AssertionError, match="MediaOpened"):
        FakeMediaEngine().perform(m.OpenMedia(request=1, call="a", slots=(0,)), report)


def test_many_threads_at_once() -> None:
    """No credentials are given out twice, and every request is answered."""
    engine, heard = FakeMediaEngine(), list[m.MediaInput]()

    def work(number: int) -> None:
        for turn in range(200):
            engine.perform(m.OpenMedia(request=turn, call=f"{number}-{turn}", slots=(0, 1)), heard.append)
            engine.perform(m.CloseMedia(call=f"{number}-{turn}"), heard.append)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = [
        {transport.ice_ufrag for _, transport in one.transports} for one in heard if isinstance(one, m.MediaOpened)
    ]
    assert len(opened) == len(set().union(*opened)) == 4 * 200
    assert all(call.is_closed for call in engine.calls) and len(engine.operations) == 1600


# -- in endpoints --------------------------------------------------------------------------------------------------------


async def call_bob(runtime: Runtime, alice: Endpoint, bob: Endpoint) -> tuple[Call, Call]:
    answered: list[Call] = []
    with bob.incoming_calls() as incoming:

        async def answer() -> None:
            call = await anext(incoming)
            answered.append(call)
            await call.answer(BOTH)

        async with runtime.task_group() as tasks:
            tasks.start_soon(answer)
            call = await alice.call(f"sip:bob@{REALM}", BOTH, setup="a tone")
    return call, answered[0]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_call_of_two_endpoints(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        ours, theirs = FakeMediaEngine(seed=1), FakeMediaEngine(seed=2)
        able = evolve(config("alice", media=0.2), capabilities=ours.capabilities)
        bobs = evolve(config("bob"), capabilities=theirs.capabilities)
        async with (
            run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
            run_endpoint(runtime, able, media=ours) as alice,
            run_endpoint(runtime, bobs, media=theirs) as bob,
        ):
            for endpoint in (alice, bob):
                await endpoint.connect(url(server.port))
                await endpoint.register()
            call, other = await call_bob(runtime, alice, bob)
            assert ours.call(call.ident).prepared == ["a tone"]
            assert ours.call(call.ident).transports.keys() == {0}
            await check_what_is_heard(call, ours)
            await call.send_dtmf("42", gap=0.0)
            assert ours.call(call.ident).digits == "42"
            await call.request_key_frame(call.line("video"))
            assert ours.call(call.ident).key_frames == [(1, False)]
            assert await call.restart_ice()
            assert [one.restart for one in theirs.asked(m.OpenMedia)] == [False, True]
            ours.fail(m.AskKeyFrame, "no picture")
            with pytest.raises(CommandError, match="no picture"):
                await call.request_key_frame(call.line("video"))
            ours.silent(m.CollectStats)
            with pytest.raises(CommandError, match="did not answer"):
                await call.stats()
            assert (await call.stats()).state is CONNECTED
            await call.hang_up()
            await other.wait_ended()
            assert ours.call(call.ident).is_closed and theirs.calls[0].is_closed
            ours.fail(m.OpenMedia, "no sockets are left")
            with pytest.raises(CommandError, match="no sockets are left"):
                await alice.call(f"sip:bob@{REALM}", BOTH)

    play(name, scenario)


async def check_what_is_heard(call: Call, engine: FakeMediaEngine) -> None:
    """Caused by another thread, as a real engine does."""
    with call.events() as events:
        thread = threading.Thread(target=engine.hear_digit, args=(call.ident, "7"), kwargs={"duration": 120})
        thread.start()
        async for event in events:
            if isinstance(event, o.DtmfReceived):
                assert (event.digit, event.duration, event.way) == ("7", 120, DigitWay.RTP)
                break
        engine.change_state(call.ident, m.MediaState.DISCONNECTED)
        async for event in events:
            if isinstance(event, o.MediaChanged) and event.state is m.MediaState.DISCONNECTED:
                break
        engine.change_state(call.ident, CONNECTED)
        thread.join()
