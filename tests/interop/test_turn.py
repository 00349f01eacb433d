"""Calls between two engines through a real TURN server, which is the only way they are given."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator

import pytest

from sipproto.agent.media import MediaFailed, MediaState, OpenMedia
from sipproto_aiortc import AiortcEngine, IceServer, MediaSetup, TestPattern, Tone
from sipproto_aiortc._facts import IceFacts
from tests.interop.coturn import PASSWORD, Coturn
from tests.interop.ports import free_port
from tests.media._rig import End, connect, exchange, hears, sees, until

pytestmark = pytest.mark.interop
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def coturn() -> Iterator[Coturn]:
    with Coturn() as server:
        yield server


@pytest.fixture
def engines() -> Iterator[list[AiortcEngine]]:
    """Those that a test adds are closed."""
    made: list[AiortcEngine] = []
    yield made
    for engine in made:
        engine.close()


def relayed(engines: list[AiortcEngine], *servers: IceServer, silence_timeout: float = 5.0) -> tuple[End, End]:
    """Two ends that have nothing but TURN servers."""
    engines += [
        AiortcEngine(ice_servers=servers, ice_transport_policy="relay", silence_timeout=silence_timeout)
        for _ in range(2)
    ]
    return End(engines[-2], MediaSetup(audio=Tone(700.0))), End(engines[-1], MediaSetup(audio=Tone(1100.0)))


def facts(end: End, slot: int = 0) -> IceFacts:
    return end.engine._calls[end.call]._slots[slot].facts()


def hear_each_other(a: End, b: End) -> None:
    until(hears(a, 1100))
    until(hears(b, 700))


def settled(*ends: End) -> bool:
    ices = [end.engine._calls[end.call]._slots[0]._ice for end in ends]
    return all(ice.current is ice.agreed and ice.alive for ice in ices)


def failure(engine: AiortcEngine) -> str:
    """What a user is told when a call cannot be opened."""
    end = End(engine)
    engine.perform(OpenMedia(request=1, call=end.call, slots=(0,)), end.report)
    reply = end.reply()
    assert isinstance(reply, MediaFailed), reply
    return reply.error


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
def test_relayed_call(coturn: Coturn, engines: list[AiortcEngine], kind: str) -> None:
    a, b = relayed(engines, coturn.server(kind))
    descriptions: list[str] = []

    def seen(sdp: str) -> str:
        descriptions.append(sdp)
        return sdp

    connect(a, b, change=seen)
    hear_each_other(a, b)
    for sdp, end in zip(descriptions, (a, b), strict=True):
        candidates = re.findall(r"a=candidate:[^\r]*", sdp)
        assert len(candidates) == 1
        assert " typ relay raddr 0.0.0.0 rport 9" in candidates[0]
        (ours,) = facts(end).local_candidates
        assert (ours.type, ours.relay_protocol, ours.url) == ("relay", kind, coturn.url(kind))
        assert f"m=audio {ours.port} " in sdp
    for end in (a, b):
        until(lambda end=end: end.line().packets_received > 50)  # type: ignore[misc]
        line, selected = end.line(), facts(end).selected
        assert line.packets_lost == 0
        assert selected is not None
        assert (selected.local.type, selected.remote.type) == ("relay", "relay")
        # All media came by this pair; the rest is RTCP, the DTLS handshake and what arrived between the two looks.
        assert 0 <= selected.packets_received - line.packets_received < 20
        assert selected.current_round_trip_time is not None and 0 < selected.current_round_trip_time < 0.5


def test_two_transports_without_bundle(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    relayed(engines, coturn.server("udp"))
    a, b = (End(engine, MediaSetup(audio=Tone(700.0), video=TestPattern(color=RED))) for engine in engines)
    connect(a, b, "audio video", change=lambda sdp: re.sub(r"a=group:BUNDLE[^\r]*\r\n", "", sdp))
    until(hears(b, 700))
    until(sees(b, RED))
    selected = [facts(a, slot).selected for slot in (0, 1)]
    assert len({pair.local.port for pair in selected if pair is not None}) == 2


def test_every_server_and_way_gives_a_candidate(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    with Coturn() as other:
        a, b = relayed(engines, coturn.server("stun", "tls", "tcp", "udp"), other.server("udp"))
        connect(a, b)
        hear_each_other(a, b)
        ours = facts(a).local_candidates
        urls = [candidate.url for candidate in sorted(ours, key=lambda candidate: -candidate.priority)]
        assert urls == [coturn.url("udp"), other.url("udp"), coturn.url("tcp"), coturn.url("tls")]
        assert len({candidate.priority for candidate in ours}) == 4


def test_a_host_and_a_relayed_end(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    a, _ = relayed(engines, coturn.server("udp"))
    engines.append(AiortcEngine(include_loopback=True))
    b = End(engines[-1], MediaSetup(audio=Tone(1100.0)))
    connect(a, b)
    hear_each_other(a, b)
    selected = facts(b).selected
    assert selected is not None
    assert (selected.local.type, selected.remote.type) == ("host", "relay")


def test_restart(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    """A second allocation is made beside the first, and media go over to it."""
    a, b = relayed(engines, coturn.server("udp"))
    connect(a, b)
    hear_each_other(a, b)
    for offerer, answerer in ((a, b), (b, a)):
        before = facts(a).local_candidates
        offerer.negotiator.restart_ice()
        exchange(offerer, answerer)
        until(lambda: settled(a, b))
        assert facts(a).local_candidates != before
        received = [end.line().packets_received for end in (a, b)]
        for end, count in zip((a, b), received, strict=True):
            until(lambda end=end, count=count: end.line().packets_received > count + 30)  # type: ignore[misc]
            assert end.line().packets_lost == 0
    assert facts(a).selected_pair_changes == 3
    assert a.states == b.states == [MediaState.CONNECTING, MediaState.CONNECTED]
    hear_each_other(a, b)


@pytest.mark.parametrize(("kind", "silence_timeout"), [("udp", 1.0), ("tcp", 60.0), ("tls", 60.0)])
def test_server_dies_and_comes_back(engines: list[AiortcEngine], kind: str, silence_timeout: float) -> None:
    """A connection that breaks tells of it; without one only silence does."""
    with Coturn() as server:
        a, b = relayed(engines, server.server(kind), silence_timeout=silence_timeout)
        connect(a, b)
        hear_each_other(a, b)
        server.kill()
        until(lambda: a.states[-1] is b.states[-1] is MediaState.DISCONNECTED, 5)
        server.start()
        a.negotiator.restart_ice()
        exchange(a, b)
        until(lambda: a.connected and b.connected)
        hear_each_other(a, b)


def test_a_call_outlives_what_it_was_granted(engines: list[AiortcEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocations, nonces, and channels with their permissions are renewed, all more often than in earnest."""
    monkeypatch.setattr("sipproto_aiortc._gather._CHANNEL_REFRESH", 1)
    with Coturn("--max-allocate-lifetime=4", "--stale-nonce=3", "--channel-lifetime=3") as server:
        a, b = relayed(engines, server.server("udp"))
        connect(a, b)
        hear_each_other(a, b)
        until(lambda: server.log().count("refreshed") >= 4, 15)
        assert "Stale nonce" in server.log()
        received = a.line().packets_received
        until(lambda: a.line().packets_received > received + 30)
        assert a.connected and a.line().packets_lost == 0


# -- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
def test_wrong_password(coturn: Coturn, engines: list[AiortcEngine], kind: str) -> None:
    server = coturn.server(kind, password="mistyped-by-alice")
    engines.append(AiortcEngine(ice_servers=(server,), ice_transport_policy="relay"))
    started = time.monotonic()
    assert failure(engines[0]) == f"TURN server {coturn.url(kind)}: the user name or password is wrong"
    assert time.monotonic() - started < 1


def test_no_password(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    engines.append(AiortcEngine(ice_servers=(IceServer((coturn.url("udp"),)),), ice_transport_policy="relay"))
    assert failure(engines[0]) == f"TURN server {coturn.url('udp')}: it asks for a user name and a password"


def test_wrong_password_leaves_the_other_ways(
    coturn: Coturn, engines: list[AiortcEngine], caplog: pytest.LogCaptureFixture
) -> None:
    server = coturn.server("udp", password="mistyped-by-alice")
    engines += [AiortcEngine(ice_servers=(server,), include_loopback=True) for _ in range(2)]
    a, b = (End(engine, MediaSetup(audio=Tone(700.0))) for engine in engines)
    with caplog.at_level(logging.WARNING, "sipproto.media"):
        connect(a, b)
    until(hears(b, 700))
    line = f"TURN server {coturn.url('udp')}: the user name or password is wrong"
    assert [record.getMessage() for record in caplog.records] == [line, line]
    assert [(error.code, error.text) for error in facts(a).server_errors] == [(401, line)]
    assert "mistyped" not in caplog.text + repr(facts(a)) + repr(server)


def test_certificate_of_an_unknown_authority(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    server = IceServer((coturn.url("tls"),), username="alice", credential=PASSWORD)
    engines.append(AiortcEngine(ice_servers=(server,), ice_transport_policy="relay"))
    assert failure(engines[0]) == (
        f"TURN server {coturn.url('tls')}: its certificate is refused (unable to get local issuer certificate)"
    )


def test_certificate_for_another_name(engines: list[AiortcEngine]) -> None:
    with Coturn(address="127.0.0.2") as server:
        url = f"turns:127.0.0.2:{server.tls_port}"
        engines.append(
            AiortcEngine(
                ice_servers=(IceServer((url,), username="alice", credential=PASSWORD, ca_file=server.ca_file),),
                ice_transport_policy="relay",
            )
        )
        assert failure(engines[0]).startswith(f"TURN server {url}: its certificate is refused (IP address mismatch")


def test_quota(engines: list[AiortcEngine]) -> None:
    with Coturn("--user-quota", "1") as server:
        engines.append(AiortcEngine(ice_servers=(server.server("udp"),), ice_transport_policy="relay"))
        first = End(engines[0])
        first.negotiator.add_line("audio")
        first.open()
        assert failure(engines[0]) == (
            f"TURN server {server.url('udp')}: its quota of allocations for this user is used up"
        )


def test_a_server_that_is_not_there_costs_no_more_than_the_limit(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    dead = IceServer(f"turn:127.0.0.1:{free_port('udp')}", username="alice", credential=PASSWORD)
    engines.append(
        AiortcEngine(ice_servers=(dead, coturn.server("udp")), ice_transport_policy="relay", gather_timeout=0.7)
    )
    a = End(engines[0])
    a.negotiator.add_line("audio")
    started = time.monotonic()
    a.open()
    assert 0.6 < time.monotonic() - started < 1.2
    assert "typ relay" in a.negotiator.create_offer().text
    assert facts(a).server_errors[0].text == f"TURN server {dead.urls[0]}: it did not answer within 0.7 s"


def test_first_does_not_wait_for_the_others(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    dead = IceServer(f"turn:127.0.0.1:{free_port('udp')}", username="alice", credential=PASSWORD)
    engines.append(
        AiortcEngine(
            ice_servers=(dead, coturn.server("udp")),
            ice_transport_policy="relay",
            gather_timeout=5.0,
            gather_policy="first",
        )
    )
    a = End(engines[0])
    a.negotiator.add_line("audio")
    started = time.monotonic()
    a.open()
    assert time.monotonic() - started < 1
    assert [candidate.url for candidate in facts(a).local_candidates] == [coturn.url("udp")]
    assert facts(a).server_errors == ()


def test_allocations_are_given_back(coturn: Coturn, engines: list[AiortcEngine]) -> None:
    a, b = relayed(engines, coturn.server("udp", "tcp"))
    connect(a, b)
    before = coturn.log().count("closed (2nd stage)")
    a.close()
    b.close()
    until(lambda: coturn.log().count("closed (2nd stage)") >= before + 4)
