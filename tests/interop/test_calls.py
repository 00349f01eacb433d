"""Our agent through a real Kamailio: with another of our agents, and with JsSIP in Chromium, on every event loop.

One scenario file for all: an agent and a page speak the same JSON protocol, so each scenario takes two parties and does
not care what they are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .child import PATIENCE, wait_until
from .kamailio import Kamailio
from .peers import COLORS, HERTZ, BrowserPeer, JsonPeer, Party, PeerError

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]
RUNTIMES = ("anyio-asyncio", "anyio-trio", "trio")


def start_agent(runtime: str, user: str) -> Party:
    path = os.pathsep.join(str(ROOT / part) for part in (".", "runtimes", "adapters"))
    argv = [sys.executable, "-m", "sipproto_cli", "agent", "--loopback", "--runtime", runtime]
    return Party(JsonPeer(argv, name=f"agent {user}", env={**os.environ, "PYTHONPATH": path}), user)


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, runtime: str, kamailio: Kamailio, browser: BrowserPeer
) -> Iterator[tuple[Party, Party]]:
    """Two parties, alice (always ours, over wss) and bob (over ws), as the test's parameter says."""
    agents = [start_agent(runtime, "alice")]
    alice = agents[0]
    if request.param == "agent":
        bob = start_agent(runtime, "bob")
        agents.append(bob)
    else:
        bob = Party(browser, "bob", page="bob")
    try:
        alice.open(kamailio, kamailio.wss_url, ca_file=str(kamailio.ca_file))
        bob.open(kamailio, kamailio.ws_url)
        yield alice, bob
    finally:
        if request.param == "browser":
            bob("close")
            browser.forget_events()
        for agent in agents:
            agent.peer.close()


both = pytest.mark.parametrize("pair", ["agent", "browser"], indirect=True)
with_browser = pytest.mark.parametrize("pair", ["browser"], indirect=True)


def wait_for(party: Party, good: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while not good(stats := party("stats")):
        assert time.monotonic() < deadline, (party.user, stats)
        time.sleep(0.1)
    return stats


def hears(other: Party) -> Callable[[dict[str, Any]], bool]:
    hertz = HERTZ[other.user]
    return lambda stats: abs(stats["audio"].get("frequency", 0) - hertz) <= 0.05 * hertz


def sees(other: Party) -> Callable[[dict[str, Any]], bool]:
    wanted = COLORS[other.user]

    def good(stats: dict[str, Any]) -> bool:
        video = stats["video"]
        color = video.get("color") or (0, 0, 0)
        return video.get("frames_decoded", 0) > 5 and all(
            abs(got - sent) < 60 for got, sent in zip(color, wanted, strict=True)
        )

    return good


def establish(caller: Party, callee: Party, **media: bool) -> None:
    reply = caller.send("call", target=f"sip:{callee.user}@rig.test", **media)
    incoming = callee.expect("call", state="incoming")
    assert incoming["from"] == f"sip:{caller.user}@rig.test"
    callee("answer")
    caller.peer.wait_reply(reply)
    for party in (caller, callee):
        party.expect("call", state="established")


def roles(pair: tuple[Party, Party], caller: str) -> tuple[Party, Party]:
    alice, bob = pair
    return (alice, bob) if caller == "alice" else (bob, alice)


@both
@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_audio_and_video_flow_both_ways(pair: tuple[Party, Party], caller: str) -> None:
    calling, called = roles(pair, caller)
    establish(calling, called, audio=True, video=True)
    for party, other in ((calling, called), (called, calling)):
        stats = wait_for(party, hears(other))
        wait_for(party, sees(other))
        for medium in ("audio", "video"):
            assert stats[medium]["direction"] == "sendrecv"
        stats = wait_for(
            party, lambda s: all(s[m][way]["packets"] > 5 for m in ("audio", "video") for way in ("sent", "received"))
        )
        for medium in ("audio", "video"):
            assert stats[medium]["sent"]["bytes"] > 0 and stats[medium]["received"]["bytes"] > 0
    calling("hangup")
    assert called.expect("call", state="ended")["originator"] == "remote"
    assert calling.expect("call", state="ended")["cause"] == "terminated"


@both
@pytest.mark.parametrize("holder", ["alice", "bob"])
def test_hold_and_resume(pair: tuple[Party, Party], holder: str) -> None:
    alice, bob = pair
    establish(alice, bob, audio=True, video=False)
    holding, held = roles(pair, holder)
    wait_for(holding, hears(held))
    holding("hold")
    held.expect("call", state="held", originator="remote")
    assert holding("stats")["audio"]["direction"] == "sendonly"

    def received() -> int:
        return int(holding("stats")["audio"]["received"]["packets"])

    def is_quiet() -> bool:  # whatever was under way has come
        before = received()
        time.sleep(0.5)
        return received() - before <= 3

    wait_until(is_quiet, lambda: f"{holding.user} still receives")
    before = received()
    holding("resume")
    held.expect("call", state="resumed", originator="remote")
    wait_for(holding, lambda s: hears(held)(s) and s["audio"]["received"]["packets"] > before + 20)
    assert holding("stats")["audio"]["direction"] == "sendrecv"
    holding("hangup")


@both
def test_info_both_ways(pair: tuple[Party, Party]) -> None:
    alice, bob = pair
    establish(alice, bob, audio=True, video=False)
    for sender, receiver in ((alice, bob), (bob, alice)):
        body = f'{{"from": "{sender.user}"}}'
        assert sender("info", content_type="application/json", body=body).get("status", 200) == 200
        info = receiver.expect("info")
        assert (info["content_type"], info["body"]) == ("application/json", body)
        sender("dtmf", digits="5#", transport="INFO")
        assert [receiver.expect("dtmf", transport="INFO")["digit"] for _ in range(2)] == ["5", "#"]
    bob("hangup")
    assert alice.expect("call", state="ended")["originator"] == "remote"


@both
@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_busy_and_cancel(pair: tuple[Party, Party], caller: str) -> None:
    calling, called = roles(pair, caller)
    reply = calling.send("call", target=f"sip:{called.user}@rig.test", audio=True, video=False)
    called.expect("call", state="incoming")
    called("reject", status=486)
    with pytest.raises(PeerError) as error:
        calling.peer.wait_reply(reply)
    assert (error.value.code, error.value.status) == ("busy", 486)
    calling.peer.forget_events()
    called.peer.forget_events()

    reply = calling.send("call", target=f"sip:{called.user}@rig.test", audio=True, video=False)
    called.expect("call", state="incoming")
    calling.expect("call", state="ringing")
    calling("hangup")
    with pytest.raises(PeerError, match="cancel"):
        calling.peer.wait_reply(reply)
    assert called.expect("call", state="ended")["cause"] == "canceled"


@with_browser
def test_message_and_options(pair: tuple[Party, Party]) -> None:
    alice, bob = pair
    assert alice("options", target="sip:rig.test")["status"] == 200
    assert alice("message", target="bob", body="grüße")["status"] == 200
    assert bob.expect("message")["body"] == "grüße"
    bob("message", target="sip:alice@rig.test", body="ответ")
    assert alice.expect("message")["body"] == "ответ"
    with pytest.raises(PeerError) as error:
        alice("call", target="sip:nobody@rig.test")
    assert error.value.status == 404
    alice("unregister")
    with pytest.raises(PeerError):
        bob("call", target="sip:alice@rig.test", audio=True, video=False)


def test_sha256_digest(runtime: str) -> None:
    """JsSIP cannot do this one."""
    with Kamailio(algorithm="SHA-256") as kamailio:
        alice = start_agent(runtime, "alice")
        try:
            alice.open(kamailio, kamailio.ws_url)
            assert alice("options", target="sip:rig.test")["status"] == 200
        finally:
            alice.peer.close()


def test_wrong_password(kamailio: Kamailio, runtime: str) -> None:
    alice = start_agent(runtime, "alice")
    try:
        with pytest.raises(PeerError) as error:
            alice.open(kamailio, kamailio.ws_url, password="no")
        assert error.value.code == "authentication_error"
    finally:
        alice.peer.close()
