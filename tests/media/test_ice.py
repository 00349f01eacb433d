"""ICE of the media adapter without any server but small ones of the tests: options, errors, limits, facts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import aioice
import pytest
import trustme
from aioice import stun
from attrs import evolve

from sipproto.agent.media import MediaFailed, OpenMedia
from sipproto.negotiation import TransportPair
from sipproto.sdp import RemoteTransport
from sipproto_aiortc import AiortcEngine, IceServer, MediaSetup, Tone
from sipproto_aiortc._facts import IceFacts
from sipproto_aiortc._ice import Credentials, Generation, default_rank
from sipproto_aiortc._servers import IceOptions
from tests.media._rig import End, connect, hears, until

TURN = IceServer("turn:127.0.0.1:9", username="alice", credential="secret-alice")


@pytest.fixture
def engines() -> Iterator[list[AiortcEngine]]:
    """Those that a test adds are closed."""
    made: list[AiortcEngine] = []
    yield made
    for engine in made:
        engine.close()


def ends(engines: list[AiortcEngine]) -> tuple[End, End]:
    engines += [AiortcEngine(include_loopback=True) for _ in range(2)]
    return End(engines[-2], MediaSetup(audio=Tone(700.0))), End(engines[-1], MediaSetup(audio=Tone(1100.0)))


def opened(engine: AiortcEngine) -> End:
    end = End(engine)
    end.negotiator.add_line("audio")
    end.open()
    return end


def facts(end: End) -> IceFacts:
    return end.engine._calls[end.call]._slots[0].facts()


def failure(engine: AiortcEngine) -> str:
    """What a user is told when a call cannot be opened."""
    end = End(engine)
    engine.perform(OpenMedia(request=1, call=end.call, slots=(0,)), end.report)
    reply = end.reply()
    assert isinstance(reply, MediaFailed), reply
    return reply.error


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("stun:stun.example.com", (False, "stun.example.com", 3478, "udp")),
        ("STUN:192.0.2.1:19302", (False, "192.0.2.1", 19302, "udp")),
        ("turn:turn.example.com", (True, "turn.example.com", 3478, "udp")),
        ("turn:turn.example.com:80?transport=tcp", (True, "turn.example.com", 80, "tcp")),
        ("turn:[2001:db8::1]:3479?transport=udp", (True, "2001:db8::1", 3479, "udp")),
        ("turns:turn.example.com", (True, "turn.example.com", 5349, "tls")),
        ("turns:turn.example.com:443?transport=tcp", (True, "turn.example.com", 443, "tls")),
    ],
)
def test_urls(url: str, expected: tuple[bool, str, int, str]) -> None:
    (endpoint,) = IceOptions(servers=(IceServer(url),)).endpoints
    assert (endpoint.relays, endpoint.host, endpoint.port, endpoint.transport) == expected
    assert (endpoint.context is not None) is (endpoint.transport == "tls")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://example.com", "malformed URL"),
        ("turn:", "malformed URL"),
        ("turn:example.com:0", "no port that exists"),
        ("turn:example.com:65536", "no port that exists"),
        ("stun:example.com?transport=udp", "not supported"),
        ("stuns:example.com", "not supported"),
        ("turns:example.com?transport=udp", "not supported"),
        ("turn:alice:hunter2@example.com", "holds no user name"),
    ],
)
def test_what_is_no_server_is_refused_at_once(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        AiortcEngine(ice_servers=(IceServer(url),))
    assert "hunter2" not in str(caught.value)


def test_options_that_cannot_be_met_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a TURN server"):
        AiortcEngine(ice_transport_policy="relay", ice_servers=(IceServer("stun:127.0.0.1:9"),))
    with pytest.raises(ValueError, match="all or relay"):
        AiortcEngine(ice_transport_policy="realy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="complete or first"):
        AiortcEngine(gather_policy="last")  # type: ignore[arg-type]
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        for name in ("gather_timeout", "connect_timeout", "silence_timeout"):
            with pytest.raises(ValueError, match=name):
                AiortcEngine(**{name: seconds})  # type: ignore[arg-type]
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(ValueError, match=r"the CA file .* cannot be read"):
            AiortcEngine(ice_servers=(IceServer("turns:example.com", ca_file=str(path)),))


def test_private_authorities_stand_beside_those_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("system", "private"):
        trustme.CA(organization_name=name).cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    server = IceServer("turns:example.com", username="a", credential="b", ca_file=str(tmp_path / "private.pem"))
    (endpoint,) = IceOptions(servers=(server,)).endpoints
    assert endpoint.context is not None
    known = str(endpoint.context.get_ca_certs())
    assert "'system'" in known and "'private'" in known


def test_credentials_are_in_no_repr() -> None:
    options = IceOptions(servers=(TURN,))
    assert "secret" not in repr(TURN) + repr(options) + repr(options.endpoints)


# -- gathering -------------------------------------------------------------------------------------------------------


class StunServer:
    """Answers Binding requests with `sees`, or with the truth; without `answers` with nothing."""

    def __init__(self, sees: str | None = None, answers: bool = True) -> None:
        self._sees, self._answers = sees, answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"stun:127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StunServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            data, address = self._socket.recvfrom(2048)
            if not data:
                return
            request = stun.parse_message(data)
            response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            response.attributes["XOR-MAPPED-ADDRESS"] = (self._sees or address[0], address[1])
            if self._answers:
                self._socket.sendto(bytes(response), address)


def test_every_stun_server_is_asked(engines: list[AiortcEngine]) -> None:
    with StunServer("203.0.113.7") as one, StunServer("203.0.113.8") as two, StunServer() as three:
        servers = (IceServer((one.url, two.url)), IceServer(three.url))
        engines.append(AiortcEngine(ice_servers=servers, include_loopback=True))
        end = opened(engines[0])
        text = end.negotiator.create_offer().text
    candidates = facts(end).local_candidates
    reflexive = [candidate for candidate in candidates if candidate.type == "srflx"]
    assert {(c.address, c.url) for c in reflexive} == {("203.0.113.7", one.url), ("203.0.113.8", two.url)}
    hosts = {(c.address, c.port) for c in candidates if c.type == "host"}
    assert {(c.related_address, c.related_port) for c in reflexive} <= hosts  # what the third sees is a host's again
    assert len({candidate.priority for candidate in candidates}) == len(candidates)
    assert re.search(r"a=candidate:\S+ 1 udp \d+ 203\.0\.113\.7 \d+ typ srflx raddr \S+ rport \d+\r\n", text)
    assert facts(end).server_errors == ()


def test_first_ends_with_the_first_candidate(engines: list[AiortcEngine]) -> None:
    with StunServer("203.0.113.7") as server, StunServer(answers=False) as silent:
        servers = (IceServer((silent.url, server.url)), TURN)
        engines.append(
            AiortcEngine(ice_servers=servers, include_loopback=True, gather_timeout=5.0, gather_policy="first")
        )
        started = time.monotonic()
        end = opened(engines[0])
        assert time.monotonic() - started < 1
        assert "203.0.113.7" in {candidate.address for candidate in facts(end).local_candidates}


def test_silent_servers_cost_no_more_than_the_limit(
    engines: list[AiortcEngine], caplog: pytest.LogCaptureFixture
) -> None:
    with StunServer(answers=False) as silent, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        urls = (silent.url, "turn:127.0.0.1:9", f"turn:127.0.0.1:{port}?transport=tcp", f"turns:127.0.0.1:{port}")
        server = IceServer(urls, username="alice", credential="secret-alice")
        engines.append(AiortcEngine(ice_servers=(server,), include_loopback=True, gather_timeout=0.4))
        started = time.monotonic()
        end = opened(engines[0])
        assert 0.35 < time.monotonic() - started < 1
    errors = facts(end).server_errors
    assert [(e.code, e.text.rpartition(": ")[2]) for e in errors] == [(701, "it did not answer within 0.4 s")] * 4
    assert {error.url for error in errors} == set(urls)
    assert [record.getMessage() for record in caplog.records] == [error.text for error in errors]
    assert errors[0].text.startswith(f"STUN server {silent.url}: ")


def test_a_name_that_nobody_answers_for(engines: list[AiortcEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs no more than the limit, and holds no thread that media are coded in."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(5) and [])
    servers = tuple(IceServer(f"stun:stun{number}.example.com") for number in range(12))
    engines.append(AiortcEngine(ice_servers=servers, include_loopback=True, gather_timeout=0.3))
    started = time.monotonic()
    end = opened(engines[0])
    assert time.monotonic() - started < 1
    assert len(facts(end).server_errors) == 12
    loop = engines[0]._loop
    executor: Executor | None = getattr(loop, "_default_executor", None)
    assert executor is not None
    assert executor.submit(lambda: 1).result(1) == 1
    released.set()


def test_unknown_name(engines: list[AiortcEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    server = IceServer("turn:turn.example.com", username="alice", credential="secret-alice")
    engines.append(AiortcEngine(ice_servers=(server,), ice_transport_policy="relay"))
    assert failure(engines[0]) == "TURN server turn:turn.example.com: its name is not known"


def test_without_any_relay_a_call_that_needs_one_fails(engines: list[AiortcEngine]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    server = IceServer((f"turn:127.0.0.1:{port}?transport=tcp", "turn:127.0.0.1:9"), "alice", "secret-alice")
    engines.append(AiortcEngine(ice_servers=(server,), ice_transport_policy="relay", gather_timeout=0.3))
    assert failure(engines[0]) == (
        "TURN server turn:127.0.0.1:9: it did not answer within 0.3 s; "
        f"TURN server turn:127.0.0.1:{port}?transport=tcp: it cannot be reached (Connection refused)"
    )


# -- candidates of the peer ------------------------------------------------------------------------------------------


def test_candidates_that_are_of_no_use_are_left_out(engines: list[AiortcEngine]) -> None:
    a, b = ends(engines)
    others = (
        "a=candidate:7 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active\r\n"
        "a=candidate:8 2 udp 2113937150 127.0.0.1 5001 typ host\r\n"
        "a=candidate:9 1 udp 2113937151 fe80::1 5000 typ host\r\n"
        "a=candidate:nonsense\r\n"
    )
    connect(a, b, change=lambda sdp: sdp.replace("a=candidate", others + "a=candidate", 1))
    until(hears(a, 1100))
    for end, peer in ((a, b), (b, a)):
        assert {(c.address, c.port) for c in facts(end).remote_candidates if c.type == "host"} == {
            (c.address, c.port) for c in facts(peer).local_candidates
        }


def test_transports_that_are_opened_together_share_their_credentials(engines: list[AiortcEngine]) -> None:
    """Peers such as webrtcbin take no bundle of lines whose credentials differ (RFC 8839 5.4 leaves it open)."""

    def credentials() -> set[str]:
        a.open()
        return set(re.findall("a=ice-(?:ufrag|pwd):.*", a.negotiator.create_offer().text))

    a, b = ends(engines)
    connect(a, b, "audio video", lambda sdp: re.sub("a=group:.*\r\n", "", sdp))
    before = credentials()
    a.negotiator.rollback()
    a.negotiator.restart_ice()
    after = credentials()
    assert len(a.session.transports) == len(before) == len(after) == 2
    assert before.isdisjoint(after)


class LitePeer(asyncio.DatagramProtocol):
    """A lite agent (RFC 8445 2.5): it only answers. Other packets are echoed.

    With `instead` it is none: the first check from each address does not reach it, and it sends this there.
    """

    def __init__(self, instead: bytes = b"") -> None:
        self._instead = instead
        self._known: set[Any] = set()
        self.nominated = False
        self.roles: set[str] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data[:1] >= b"\x04":
            self._transport.sendto(data, addr)
            return
        if self._instead and addr not in self._known:
            self._known.add(addr)
            self._transport.sendto(self._instead, addr)
            return
        request = stun.parse_message(data)
        if request.message_class == stun.Class.RESPONSE:
            return
        assert request.check_message_integrity(b"p" * 22)
        self.roles |= {name for name in request.attributes if name.startswith("ICE-")}
        self.nominated |= "USE-CANDIDATE" in request.attributes
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(b"p" * 22)
        self._transport.sendto(bytes(response), addr)


def test_lite_peer() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport, peer = await loop.create_datagram_endpoint(LitePeer, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        generation = Generation(IceOptions(include_loopback=True), Credentials.fresh(), controlling=True)
        await generation.gather()
        received: asyncio.Queue[bytes] = asyncio.Queue()
        generation.deliver_to(lambda data, arrival: received.put_nowait(data))
        async with asyncio.timeout(5):
            await generation.connect(_pair(port, ice_lite=True), lambda _: None)
        await generation.send(b"\x80 RTP")
        async with asyncio.timeout(2):
            assert await received.get() == b"\x80 RTP"
        assert peer.nominated
        assert peer.roles == {"ICE-CONTROLLING"}
        _, selected = generation.pair_facts()
        assert selected is not None
        assert (selected.state, selected.nominated, selected.remote.port) == ("succeeded", True, port)
        assert (selected.packets_sent, selected.bytes_sent, selected.packets_received) == (1, 5, 1)
        assert (selected.requests_received, selected.responses_sent) == (0, 0)
        await generation.close()
        transport.close()

    asyncio.run(run())


def test_a_check_that_got_lost_is_repeated_when_the_peer_s_arrives() -> None:
    """As with NATs and TURN servers, which let nobody in before something went out."""

    async def run() -> float:
        loop = asyncio.get_running_loop()
        generation = Generation(IceOptions(include_loopback=True), Credentials.fresh(), controlling=True)
        await generation.gather()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: LitePeer(_check(generation, True)), local_addr=("127.0.0.1", 0)
        )
        pair = _pair(transport.get_extra_info("sockname")[1])
        started = loop.time()
        async with asyncio.timeout(5):
            await generation.connect(pair, lambda _: None)
        passed = loop.time() - started
        await generation.close()
        transport.close()
        return passed

    assert asyncio.run(run()) < 0.4  # half a second is the interval of repetition


def _pair(port: int, ice_lite: bool = False) -> TransportPair:
    remote = RemoteTransport(
        ice_ufrag="lite",
        ice_pwd="p" * 22,
        ice_lite=ice_lite,
        candidates=(f"1 1 udp 2130706431 127.0.0.1 {port} typ host",),
        fingerprints=(("sha-256", "00"),),
    )
    return TransportPair(slot=0, remote=remote, ice_controlling=True, dtls_client=True)


def test_checks_from_ever_new_addresses_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipproto_aiortc._ice._PAIR_LIMIT", 8)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(LitePeer, local_addr=("127.0.0.1", 0))
        generation = Generation(IceOptions(include_loopback=True), Credentials.fresh(), controlling=True)
        await generation.gather()
        ours = next((c.host, c.port) for c in generation.candidates if c.host == "127.0.0.1")

        def check(count: int, with_priority: bool) -> None:
            for _ in range(count):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.sendto(_check(generation, with_priority), ours)

        check(1, with_priority=False)  # not a check, and before the peer's answer is there
        await asyncio.sleep(0.05)
        pair = _pair(transport.get_extra_info("sockname")[1])
        async with asyncio.timeout(5):
            await generation.connect(pair, lambda _: None)
        check(20, with_priority=True)
        await asyncio.sleep(0.1)
        assert len(generation.pair_facts()[0]) == 8
        await generation.close()
        transport.close()

    asyncio.run(run())


def _check(generation: Generation, with_priority: bool) -> bytes:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{generation.ufrag}:lite"
    if with_priority:
        request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLED"] = 1
    request.add_message_integrity(generation.password.encode())
    return bytes(request)


def test_malformed_stun_is_nobody_s_business(engines: list[AiortcEngine], caplog: pytest.LogCaptureFixture) -> None:
    a, b = ends(engines)
    connect(a, b)
    until(hears(a, 1100))
    selected = facts(a).selected
    assert selected is not None
    header = bytes.fromhex("0001 0008 2112a442 000102030405060708090a0b")
    short_priority = header + bytes.fromhex("0024000200010000")  # two octets instead of four
    family = socket.AF_INET6 if ":" in selected.local.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for data in (short_priority, header, b"\x00", b"", b"\x80", bytes(20)):
            sock.sendto(data, (selected.local.address, selected.local.port))
    received = a.line().packets_received
    until(lambda: a.line().packets_received > received + 10)
    assert caplog.records == []


# -- facts -----------------------------------------------------------------------------------------------------------


def test_facts_of_a_call(engines: list[AiortcEngine]) -> None:
    a, b = ends(engines)
    a.negotiator.add_line("audio")
    a.open()
    fresh = facts(a)
    assert (fresh.ice_state, fresh.dtls_state, fresh.selected, fresh.pairs) == ("new", "new", None, ())
    assert (fresh.dtls_role, fresh.tls_version, fresh.dtls_cipher, fresh.srtp_cipher) == ("unknown", None, None, None)
    connect(a, b, "")
    until(hears(a, 1100))
    until(hears(b, 700))
    ours, theirs = facts(a), facts(b)
    assert (ours.ice_state, ours.dtls_state, ours.tls_version) == ("connected", "connected", "FEFD")
    assert {ours.ice_role, theirs.ice_role} == {"controlling", "controlled"}
    assert {ours.dtls_role, theirs.dtls_role} == {"client", "server"}
    assert ours.dtls_cipher == theirs.dtls_cipher == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    assert ours.srtp_cipher == theirs.srtp_cipher
    assert ours.srtp_cipher in ("SRTP_AEAD_AES_256_GCM", "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_HMAC_SHA1_80")
    assert (ours.local_ufrag, ours.remote_ufrag) == (theirs.remote_ufrag, theirs.local_ufrag)
    assert (ours.local_certificate, ours.remote_certificate) == (theirs.remote_certificate, theirs.local_certificate)
    digest = hashlib.sha256(base64.b64decode(ours.local_certificate.base64)).hexdigest()
    assert ours.local_certificate.fingerprint.replace(":", "").lower() == digest
    assert ours.selected is not None and theirs.selected is not None
    assert ours.selected in ours.pairs
    assert (ours.selected.local.address, ours.selected.local.port) == (
        theirs.selected.remote.address,
        theirs.selected.remote.port,
    )
    assert ours.selected.state == "succeeded" and ours.selected.nominated
    assert ours.selected_pair_changes in (1, 2)  # a better pair may come through a little later
    assert ours.selected.responses_received >= 1 and ours.selected.responses_sent >= 1
    assert ours.selected.requests_sent >= ours.selected.responses_received
    assert ours.selected.current_round_trip_time is not None
    assert 0 < ours.selected.current_round_trip_time <= ours.selected.total_round_trip_time < 1
    assert ours.selected.last_packet_received is not None
    assert abs(ours.selected.last_packet_received - time.time()) < 2


def test_packets_and_bytes_are_those_of_both_ends(engines: list[AiortcEngine]) -> None:
    a, b = ends(engines)
    connect(a, b)
    until(lambda: facts(b).packets_received > 60)
    for end in (a, b):  # nothing leaves any more
        end.apply(evolve(end.session, lines=()))
    until(lambda: facts(a).packets_sent == facts(b).packets_received)
    sender, receiver = facts(a), facts(b)
    assert sender.selected is not None and receiver.selected is not None
    assert sender.bytes_sent == receiver.bytes_received > 60 * 30
    assert (sender.selected.packets_sent, sender.selected.bytes_sent) == (sender.packets_sent, sender.bytes_sent)
    assert receiver.selected.packets_received == receiver.packets_received
    assert receiver.selected.bytes_received == receiver.bytes_received


def test_consent_is_counted(engines: list[AiortcEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.05)
    a, b = ends(engines)
    connect(a, b)
    before = facts(a).selected
    assert before is not None

    def after() -> bool:
        selected = facts(a).selected
        return selected is not None and (
            selected.consent_requests_sent >= before.consent_requests_sent + 5
            and selected.responses_received >= before.responses_received + 4
            and selected.requests_received >= before.requests_received + 4
            and selected.total_round_trip_time > before.total_round_trip_time
        )

    until(after)
    selected = facts(a).selected
    assert selected is not None and selected.requests_sent == before.requests_sent


def test_facts_of_a_restart_and_of_the_end(engines: list[AiortcEngine]) -> None:
    a, b = ends(engines)
    connect(a, b)
    until(hears(a, 1100))
    slot = a.engine._calls[a.call]._slots[0]
    before = facts(a)
    b.negotiator.restart_ice()
    connect(b, a, "")
    until(lambda: facts(a).selected_pair_changes == 2)
    after = facts(a)
    assert after.local_ufrag != before.local_ufrag
    assert after.local_certificate == before.local_certificate
    assert after.packets_received >= before.packets_received
    assert after.selected is not None and before.selected is not None
    assert after.selected.local.port != before.selected.local.port
    a.close()
    until(lambda: slot.facts().ice_state == "closed")
    assert slot.facts().selected is None


def test_a_dead_path_is_no_selected_pair(engines: list[AiortcEngine]) -> None:
    a, b = ends(engines)
    connect(a, b)
    slot = a.engine._calls[a.call]._slots[0]
    loop = a.engine._loop
    assert loop is not None
    for protocol in list(slot._ice.current._connection._protocols):
        loop.call_soon_threadsafe(protocol.transport.close)
    until(lambda: facts(a).ice_state == "disconnected")
    assert facts(a).selected is None
    until(lambda: facts(a).packets_dropped > 0)


def test_default_candidate_is_ipv4_then_host() -> None:
    def candidate(kind: str, host: str) -> aioice.Candidate:
        return aioice.Candidate.from_sdp(f"1 1 udp 1 {host} 5000 typ {kind}")

    ranked = [
        candidate("host", "192.0.2.1"),
        candidate("relay", "203.0.113.7"),
        candidate("host", "2001:db8::1"),
        candidate("host", "127.0.0.1"),
    ]
    assert sorted([ranked[i] for i in (2, 3, 1, 0)], key=default_rank) == ranked
