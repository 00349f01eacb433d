"""ICE restarts between real engines on loopback: what is said keeps being heard, and what was lost comes back."""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from sipproto.agent.media import MediaApplied, MediaFailed, MediaOpened, MediaState, OpenMedia
from sipproto.negotiation import NegotiatedSession
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from sipproto_aiortc._call import Call
from sipproto_aiortc._ice import Generation
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._transport import Slot
from tests.media._rig import BOTH, End, Relay, connect, exchange, hears, sees, until

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def ends(engines: tuple[AiortcEngine, AiortcEngine]) -> tuple[End, End]:
    return (
        End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern(color=RED, frame_rate=30))),
        End(engines[1], MediaSetup(audio=Tone(1100.0), video=TestPattern(color=BLUE, frame_rate=30))),
    )


@pytest.fixture
def relay() -> Iterator[Relay]:
    network = Relay()
    yield network
    network.close()


def restart(offerer: End, answerer: End, change: Callable[[str], str] = lambda sdp: sdp) -> None:
    offerer.negotiator.restart_ice()
    exchange(offerer, answerer, change)


def call_of(end: End) -> Call:
    return end.engine._calls[end.call]


def slot_of(end: End, number: int = 0) -> Slot:
    return call_of(end)._slots[number]


def on_loop(end: End, action: Callable[[], object]) -> None:
    """Does something on the thread of an engine, and waits for it."""
    done = threading.Event()
    loop = end.engine._loop
    assert loop is not None

    def run() -> None:
        action()
        done.set()

    loop.call_soon_threadsafe(run)
    assert done.wait(5)


def shut(end: End) -> None:
    """The network goes away under an end: its sockets are closed."""

    def close() -> None:
        for protocol in slot_of(end)._ice.current._connection._protocols:
            protocol.transport.close()

    on_loop(end, close)


def generations(end: End) -> set[Generation]:
    ice = slot_of(end)._ice
    return {g for g in (ice.current, ice.agreed, ice.opened, ice._lingering) if g is not None}


def ufrags(end: End) -> tuple[str, str]:
    """Ours and the peer's of the session in use."""
    connection = slot_of(end)._ice.current._connection
    return connection.local_username, str(connection.remote_username)


def settled(*ends: End) -> bool:
    """Whether each went over to the session agreed on, and it has a path."""
    return all(slot_of(end)._ice.current is slot_of(end)._ice.agreed and slot_of(end)._ice.alive for end in ends)


def flows(end: End) -> bool:
    before = end.line().packets_received
    until(lambda: end.line().packets_received > before + 10, 2)
    return True


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> dict[Reception, list[float]]:
    """When packets arrived, by line."""
    times: dict[Reception, list[float]] = defaultdict(list)
    add = Reception.add

    def noted(self: Reception, packet: object, codec: object, size: int, arrival: float) -> None:
        times[self].append(arrival)
        add(self, packet, codec, size, arrival)  # type: ignore[arg-type]

    monkeypatch.setattr(Reception, "add", noted)
    return times


def longest_gap(times: list[float]) -> float:
    return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("by_offerer", [True, False])
def test_restart_is_not_heard(ends: tuple[End, End], by_offerer: bool, arrivals: dict[Reception, list[float]]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(hears(a, 1100))
    until(sees(b, RED))
    associations = [slot_of(end).dtls for end in ends]
    before = [ufrags(end) for end in ends]
    arrivals.clear()
    restart(*(ends if by_offerer else ends[::-1]))
    until(lambda: settled(*ends))
    time.sleep(1.2)  # beyond the closing of the old sockets
    after = [ufrags(end) for end in ends]
    assert after[0] == after[1][::-1]
    assert not {ufrag for pair in before for ufrag in pair} & {ufrag for pair in after for ufrag in pair}
    assert [slot_of(end).dtls for end in ends] == associations
    assert all(len(generations(end)) == 1 for end in ends)
    for end in ends:
        reception = call_of(end)._lines[0]._reception
        assert longest_gap(arrivals[reception]) < 0.5
        assert flows(end)
        assert end.line().packets_lost == 0
        assert end.states == [MediaState.CONNECTING, MediaState.CONNECTED]
    until(hears(b, 700))
    until(sees(a, BLUE))
    until(sees(b, RED))


def test_restart_with_hold_and_a_new_line(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    until(hears(b, 700))
    a.negotiator.hold = True
    a.negotiator.add_line("video")
    restart(a, b)
    until(lambda: settled(a, b))
    until(sees(b, RED))
    assert (a.line().direction, a.line("video").direction) == ("sendonly", "sendonly")
    b.negotiator.hold = False
    a.negotiator.hold = False
    restart(b, a)
    until(lambda: settled(a, b))
    assert b.line().direction == "recvonly"  # A had held, and says itself that it does so no more
    restart(a, b)
    until(lambda: settled(a, b))
    assert b.line().direction == "sendrecv"
    until(hears(a, 1100))


def test_restart_of_several_transports(ends: tuple[End, End]) -> None:
    a, b = ends

    def unbundle(sdp: str) -> str:
        return "\r\n".join(line for line in sdp.split("\r\n") if not line.startswith("a=group"))

    connect(a, b, "audio video", change=unbundle)
    until(sees(b, RED))
    restart(b, a, unbundle)
    for number in (0, 1):
        ices = [slot_of(end, number)._ice for end in ends]
        until(lambda ices=ices: all(ice.current is ice.agreed and ice.alive for ice in ices))  # type: ignore[misc]
    until(hears(a, 1100))
    until(sees(a, BLUE))
    assert a.states == b.states == [MediaState.CONNECTING, MediaState.CONNECTED]


def test_glare(ends: tuple[End, End]) -> None:
    """Both offer a restart, both roll back, and one of them tries again."""
    a, b = ends
    connect(a, b)
    for end in ends:
        end.negotiator.restart_ice()
        end.open()
        end.negotiator.create_offer()
    for end in ends:
        end.negotiator.rollback()
    old = ufrags(a)
    restart(b, a)
    until(lambda: settled(a, b))
    assert ufrags(a) != old
    assert ufrags(a) == ufrags(b)[::-1]
    until(hears(a, 1100))
    until(lambda: all(len(generations(end)) == 1 for end in ends))


@pytest.mark.parametrize("controlling", [True, False])
def test_role_conflict(ends: tuple[End, End], controlling: bool) -> None:
    """A peer that redetermines the roles (RFC 5245): both control, or none. The checks settle it."""
    a, b = ends
    connect(a, b)
    for _ in range(4):  # who gives way is a matter of chance
        b.negotiator.restart_ice()
        b.open()
        opened = slot_of(b)._ice.opened
        assert opened is not None
        if controlling:  # else it is A that takes the wrong role, with the session
            opened._connection.ice_controlling = opened._expected = True
        a.negotiator.receive_offer(b.negotiator.create_offer().text)
        a.open()
        answer, theirs = a.negotiator.create_answer()
        a.apply(_in_role(theirs, controlling))
        time.sleep(0.05)  # the first checks arrive before the answer
        b.apply(_in_role(b.negotiator.receive_answer(answer.text), controlling))
        until(lambda: settled(a, b))
        assert flows(a)


def _in_role(session: NegotiatedSession, controlling: bool) -> NegotiatedSession:
    return evolve(session, transports=tuple(evolve(p, ice_controlling=controlling) for p in session.transports))


def test_refused_restart_leaves_everything(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    until(hears(b, 700))
    old = ufrags(a)
    a.negotiator.restart_ice()
    a.open()
    assert len(generations(a)) == 2
    assert old[0] not in a.negotiator.create_offer().text
    a.negotiator.rollback()
    assert f"a=ice-ufrag:{old[0]}\r\n" in a.negotiator.create_offer().text
    a.negotiator.rollback()
    assert isinstance(a.apply(a.session), MediaApplied)  # the session as it is: what was opened is closed
    assert len(generations(a)) == 1
    assert ufrags(a) == old
    assert flows(b)
    restart(a, b)
    until(lambda: settled(a, b))
    assert flows(b)


def test_ignored_restart_leaves_everything(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    old = ufrags(a)
    plain = a.negotiator.create_offer().text
    a.negotiator.rollback()
    a.negotiator.restart_ice()
    a.open()
    assert old[0] not in a.negotiator.create_offer().text
    b.negotiator.receive_offer(plain)  # as one sees it that does not look at the credentials
    answer, _ = b.negotiator.create_answer()
    reply = a.apply(a.negotiator.receive_answer(answer.text))
    assert isinstance(reply, MediaApplied)
    assert len(generations(a)) == 1
    assert ufrags(a) == old
    assert flows(a)
    restart(b, a)
    until(lambda: settled(a, b))
    assert flows(a)


def test_a_restart_that_finds_no_path_leaves_the_old_one(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    engine = AiortcEngine(include_loopback=True, connect_timeout=0.5)
    a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine)
    connect(a, b)
    until(hears(b, 700))
    old = ufrags(a)
    restart(a, b, lambda sdp: sdp.replace("a=ice-pwd:", "a=ice-pwd:wrong"))
    until(lambda: slot_of(a)._ice.agreed._ending is not None and slot_of(b)._ice.agreed._ending is not None)
    assert ufrags(a) == old
    assert flows(b)
    assert a.connected and b.connected
    restart(b, a)
    until(lambda: settled(a, b))
    assert ufrags(a) != old
    assert flows(b)
    engine.close()


@pytest.mark.parametrize("by_offerer", [True, False])
def test_closed_sockets_are_recovered_from(ends: tuple[End, End], by_offerer: bool) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(hears(a, 1100))
    until(sees(b, RED))
    associations = [slot_of(end).dtls for end in ends]
    for end in ends:
        shut(end)
    until(lambda: a.states[-1] is b.states[-1] is MediaState.DISCONNECTED)
    assert [dtls.state for dtls in associations] == ["connected", "connected"]
    time.sleep(0.3)
    restart(*(ends if by_offerer else ends[::-1]))
    until(lambda: a.connected and b.connected)
    assert [slot_of(end).dtls for end in ends] == associations
    before = [end.line("video").frames_decoded or 0 for end in ends]
    until(hears(a, 1100))
    until(hears(b, 700))
    until(lambda: all((e.line("video").frames_decoded or 0) > n + 20 for e, n in zip(ends, before, strict=True)))
    assert a.states[2:] == [MediaState.DISCONNECTED, MediaState.CONNECTED]


def test_a_socket_that_is_gone_is_no_error_of_senders(ends: tuple[End, End]) -> None:
    """An error would end aiortc's sender for good, and silently."""
    a, b = ends
    connect(a, b)
    ice, loop = slot_of(a)._ice, a.engine._loop
    assert loop is not None

    async def lose() -> bool:
        for protocol in ice.current._connection._protocols:
            protocol.transport.close()
        await asyncio.sleep(0)  # now it is closed, and nobody knows it yet
        alive = ice.alive
        await ice._send(b"\x80 a packet")
        return alive

    before = ice.dropped
    assert asyncio.run_coroutine_threadsafe(lose(), loop).result(5)
    assert ice.dropped > before


def test_lost_consent_is_told_and_recovered_from(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)
    engine = AiortcEngine(include_loopback=True, connect_timeout=2.5)
    a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine)
    connect(a, b, change=relay.change)
    until(hears(b, 700))
    sender = call_of(a)._lines[0]._sender
    relay.cut = True
    until(lambda: a.states[-1] is b.states[-1] is MediaState.DISCONNECTED, 4)
    assert not slot_of(a)._ice.alive
    until(lambda: a.states[-1] is b.states[-1] is MediaState.FAILED, 5)
    fresh = Relay()
    restart(b, a, fresh.change)
    until(lambda: a.connected and b.connected)
    until(hears(b, 700))
    assert call_of(a)._lines[0]._sender is sender
    assert a.states[2:] == [MediaState.DISCONNECTED, MediaState.FAILED, MediaState.CONNECTED]
    engine.close()
    fresh.close()


def test_what_never_connected_is_recovered_from() -> None:
    engine = AiortcEngine(include_loopback=True, connect_timeout=0.5)
    a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine)
    a.negotiator.add_line("audio")
    exchange(a, b, lambda sdp: sdp.replace("a=ice-pwd:", "a=ice-pwd:wrong"))
    until(lambda: a.states[-1:] == b.states[-1:] == [MediaState.FAILED])
    restart(a, b)
    until(lambda: a.connected and b.connected)
    until(hears(b, 700))
    engine.close()


def test_nothing_leaks_over_many_restarts(ends: tuple[End, End]) -> None:
    a, b = ends

    def used() -> tuple[int, int]:
        counts = []
        for end in ends:
            on_loop(end, lambda: counts.append(len(asyncio.all_tasks())))
        return sum(counts), len(os.listdir("/proc/self/fd"))

    connect(a, b)
    until(hears(b, 700))
    tasks, descriptors = used()
    for number in range(20):
        restart(*(ends if number % 2 else ends[::-1]))
        if number % 3:  # every third one overtakes the one before
            until(lambda: settled(a, b))
            assert flows(b)
        assert all(len(generations(end)) <= 4 for end in ends)
    until(lambda: settled(a, b))
    until(lambda: used()[1] <= descriptors)
    until(lambda: used()[0] <= tasks + 4)  # decoding and the like come and go
    until(hears(a, 1100))
    assert a.states == b.states == [MediaState.CONNECTING, MediaState.CONNECTED]
    for end in ends:
        end.close()
    until(lambda: not a.engine._calls)


def test_session_that_is_overtaken(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds its path just when the next one was agreed on, which has none yet: nobody goes over to that one."""
    a, b = ends
    connect(a, b)
    close_left = Slot.close_left

    async def slow(self: Slot) -> None:
        await asyncio.sleep(0.15)
        await close_left(self)

    monkeypatch.setattr(Slot, "close_left", slow)
    restart(a, b)
    restart(a, b)
    monkeypatch.undo()
    until(lambda: settled(a, b))
    assert flows(a)
    assert a.states == b.states == [MediaState.CONNECTING, MediaState.CONNECTED]


def test_opened_and_never_used(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    descriptors = len(os.listdir("/proc/self/fd"))
    opened = []
    for restart in (True, True, True, True, True, False):
        a.engine.perform(OpenMedia(request=1, call=a.call, slots=(0,), restart=restart), a.report)
        reply = a.reply()
        assert isinstance(reply, MediaOpened)
        opened.append(reply.transports[0][1])
    assert len({transport.ice_ufrag for transport in opened}) == 6
    assert len({transport.fingerprint for transport in opened}) == 1
    assert opened[-1].ice_ufrag == ufrags(a)[0]  # what the peer knows
    a.apply(a.session)
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_what_is_not_open_cannot_be_restarted(ends: tuple[End, End]) -> None:
    a, b = ends
    a.negotiator.add_line("audio")
    a.open()
    for slots, text in (((0,), "not in use yet"), ((0, 5), r"[5] are not open")):
        a.engine.perform(OpenMedia(request=1, call=a.call, slots=slots, restart=True), a.report)
        reply = a.reply()
        assert isinstance(reply, MediaFailed) and text in reply.error
    connect(a, b, "")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_closing_in_the_middle(ends: tuple[End, End], steps: int) -> None:
    a, b = ends
    descriptors = len(os.listdir("/proc/self/fd"))
    connect(a, b)
    a.negotiator.restart_ice()
    if steps == 1:  # while gathering
        a.engine.perform(OpenMedia(request=1, call=a.call, slots=(0,), restart=True), a.report)
    else:
        a.open()
        b.negotiator.receive_offer(a.negotiator.create_offer().text)
        b.open()
        answer, session = b.negotiator.create_answer()
        b.apply(session)
        if steps == 3:  # while checking
            a.apply(a.negotiator.receive_answer(answer.text))
    for end in ends:
        end.close()
    # What stays are the two loops of the engines, three descriptors each.
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 6)
    for end in ends:
        on_loop(end, lambda end=end: None)  # type: ignore[misc]
        until(lambda end=end: not end.engine._calls)  # type: ignore[misc]


# -- another peer ----------------------------------------------------------------------------------------------------


def test_peer_that_was_made_anew(ends: tuple[End, End]) -> None:
    """A restart together with another certificate: a new DTLS association, RTP begins anew, the call stays."""
    a, b = ends
    connect(a, b, "audio video")
    until(hears(a, 1100))
    old = slot_of(a).dtls
    other = AiortcEngine(include_loopback=True)
    c = End(other, MediaSetup(audio=Tone(1700.0), video=TestPattern(color=(0, 255, 0))))
    b.close()
    a.negotiator.restart_ice()
    a.open()
    c.negotiator.receive_offer(a.negotiator.create_offer().text, BOTH)
    c.open()
    answer, session = c.negotiator.create_answer()
    c.apply(session)
    assert isinstance(a.apply(a.negotiator.receive_answer(answer.text)), MediaApplied)
    until(lambda: a.connected and c.connected)
    assert slot_of(a).dtls is not old
    until(hears(a, 1700))
    until(hears(c, 700))
    until(sees(a, (0, 255, 0)))
    until(sees(c, RED))
    restart(c, a)
    until(lambda: settled(a, c))
    assert flows(a)
    other.close()


def test_peer_that_wants_the_other_dtls_role(ends: tuple[End, End]) -> None:
    """It offers a restart as the one that was the server, and wants to be the client: a new handshake, with both alive."""
    a, b = ends
    connect(a, b)
    until(hears(a, 1100.0))
    before = [slot_of(end).dtls for end in ends]
    assert [dtls.role for dtls in before] == ["server", "client"]
    restart(a, b, lambda sdp: sdp.replace("a=setup:actpass", "a=setup:active"))
    until(lambda: [slot_of(end).dtls.role for end in ends] == ["client", "server"])
    assert all(slot_of(end).dtls is not old for end, old in zip(ends, before, strict=True))
    until(hears(a, 1100.0))
    until(hears(b, 700.0))


@pytest.mark.parametrize("connected", [True, False])
def test_fork_of_a_call(ends: tuple[End, End], connected: bool) -> None:
    """Two peers answer one offer, one after the other: the first early, the second for good."""
    a, b = ends
    first = a.negotiator
    first.add_line("audio")
    a.open()
    offer = first.create_offer().text
    other = AiortcEngine(include_loopback=True)
    c = End(other, MediaSetup(audio=Tone(1700.0)))
    answers = []
    for end in (b, c):
        end.negotiator.receive_offer(offer, BOTH)
        end.open()
        answer, session = end.negotiator.create_answer()
        end.apply(session)
        answers.append(answer.text)
    sessions = [copy.copy(first).receive_answer(text) for text in answers]
    a.apply(sessions[0])
    if connected:
        until(lambda: a.connected and b.connected)
        until(hears(a, 1100))
    assert isinstance(a.apply(sessions[1]), MediaApplied)
    until(lambda: a.connected and c.connected)
    until(hears(a, 1700))
    until(hears(c, 700))
    other.close()


def test_new_certificate_without_a_restart_is_refused(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    pair = a.session.transports[0]
    stranger = evolve(pair.remote, fingerprints=(("sha-256", "00"),))
    reply = a.perform(evolve(a.session, transports=(evolve(pair, remote=stranger),)))
    assert isinstance(reply, MediaFailed) and reply.error == "the peer changed its certificate without an ICE restart"
    assert flows(a)
