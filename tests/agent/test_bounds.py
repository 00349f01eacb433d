"""An agent does not grow: not with what it does for ever, and not with what a peer does to it.

`census` counts every entry of every container that can be reached from an agent, so that no place to keep things in is
forgotten, public or not.
"""

from __future__ import annotations

import types
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest

from sipproto.agent import AgentLimits, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request
from tests.agent.peer import AUDIO, CONTACT, RAW, SDP, Peer, tag_of

RECOVERY = Recovery(first_delay=0.01, max_delay=0.01)
TIMES = 1000


def census(agent: UserAgent) -> int:
    """How many entries all containers have that the agent holds, by whatever way."""
    seen: set[int] = set()
    todo: list[object] = [agent]
    count = 0
    while todo:
        what = todo.pop()
        if id(what) in seen or isinstance(what, str | bytes | int | float | type | types.ModuleType | None):
            continue
        seen.add(id(what))
        if isinstance(what, dict | OrderedDict):
            count += len(what)
            todo += [*what.keys(), *what.values()]
        elif isinstance(what, list | tuple | set | frozenset | deque):
            count += len(what)
            todo += what
        elif isinstance(what, types.FunctionType):
            todo += [cell.cell_contents for cell in what.__closure__ or () if cell_is_full(cell)]
            todo += what.__defaults__ or ()
        elif isinstance(what, types.MethodType):
            todo.append(what.__self__)
        elif type(what).__module__.startswith("sipproto"):
            names = {name for kind in type(what).__mro__ for name in getattr(kind, "__slots__", ())}
            todo += [getattr(what, name) for name in names if name != "__weakref__" and hasattr(what, name)]
            todo += vars(what).values() if hasattr(what, "__dict__") else ()
    return count


def cell_is_full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def steady(peer: Peer, once: Callable[[int], None]) -> None:
    """After some dozens of times the agent holds as much as after a thousand."""
    sizes: list[int] = []
    for number in range(TIMES):
        once(number)
        if number in (TIMES // 10, TIMES - 1):
            peer.wait(40)  # longer than any transaction
            sizes.append(census(peer.agent))
    # The heap of timers holds entries of stopped ones, up to a limit of its own; each is a tuple of three and a key of two.
    assert sizes[1] <= sizes[0] + 64 * 8, sizes


def test_the_census_sees_what_is_kept() -> None:
    peer = Peer()
    before = census(peer.agent)
    for number in range(50):
        peer.say("INVITE", SDP, body=RAW, call_id=f"c{number}")
    assert census(peer.agent) > before + 50 * 50


# -- what goes on for ever -----------------------------------------------------------------------------------------------


def registered() -> Peer:
    peer = Peer(transport="TCP", secrets=(Secret(username="alice", password="secret"),), recovery=RECOVERY)
    peer.command(i.Register(command=0))
    peer.answer(peer.request("REGISTER"), 200)
    return peer


def test_refreshes_of_a_registration() -> None:
    peer = registered()

    def refresh(number: int) -> None:
        (when,) = [when for _, name, when in peer.agent.timers() if name == "refresh"]
        peer.wait(when - peer.now)
        request = peer.requests("REGISTER")[0]
        if number % 3 == 0:  # a new nonce, and every now and then a new realm
            value = f'Digest realm="r{number // 30}", nonce="n{number}", qop="auth", algorithm=SHA-256'
            peer.answer(request, 401, f"WWW-Authenticate: {value}")
            request = peer.request("REGISTER")
        peer.answer(
            request, 200, f'Authentication-Info: nextnonce="next{number}"', f"Service-Route: <sip:r{number};lr>"
        )

    steady(peer, refresh)
    assert not peer.all(o.RegistrationChanged)


@pytest.mark.parametrize("registers", [False, True])
def test_reconnections(registers: bool) -> None:
    peer = registered() if registers else Peer(transport="TCP", recovery=RECOVERY)
    peer.call_out()

    def reconnect(_: int) -> None:
        peer.give(i.FlowClosed(flow=peer.flow, error="reset"))
        peer.wait(0.02)
        peer.flow = peer.one(o.OpenFlow).flow
        peer.give(i.FlowOpened(flow=peer.flow, transport="TCP", local=("192.0.2.7", 5060)))
        if registers:
            peer.answer(peer.request("REGISTER"), 200)
        again = peer.request("INVITE")
        peer.answer(again, 200, CONTACT, SDP, body=peer.answer_sdp(again.body))
        peer.one(o.CallRecovered)

    steady(peer, reconnect)
    assert peer.agent.calls == ("out",)


def test_failed_attempts_to_reconnect() -> None:
    peer = registered()
    peer.give(i.FlowClosed(flow=peer.flow, error="reset"))

    def fail(_: int) -> None:
        peer.wait(0.02)
        for output in peer.all(o.OpenFlow):
            peer.give(i.OpenFlowFailed(flow=output.flow, error="connection refused"))

    steady(peer, fail)


def test_calls_one_after_the_other() -> None:
    peer = Peer(transport="UDP")

    def call(number: int) -> None:
        invite = peer.invite(media=(), body=RAW)
        if number % 2:
            peer.answer(invite, 486)
        else:
            peer.answer(invite, 200, CONTACT, SDP, body=RAW)
            peer.command(i.HangUp(command=0, call="out"))
            peer.answer(peer.request("BYE"), 200)

    steady(peer, call)
    assert not any(peer.agent.retained.values())


def test_changes_of_one_call() -> None:
    peer = Peer()
    peer.call_out()

    def change(number: int) -> None:
        peer.command(i.Hold(command=0, call="out") if number % 2 == 0 else i.Resume(command=0, call="out"))
        again = peer.request("INVITE")
        peer.answer(again, 200, CONTACT, SDP, body=peer.answer_sdp(again.body))
        peer.one(o.CommandSucceeded)

    steady(peer, change)


# -- what a peer does ----------------------------------------------------------------------------------------------------


def test_forks_beyond_the_limit_are_ignored() -> None:
    peer = Peer()
    invite = peer.invite()
    for number in range(16):
        peer.answer(invite, 180, CONTACT, tag=f"first{number}")
    before = census(peer.agent)
    for number in range(TIMES):
        peer.answer(invite, 180, CONTACT, "Require: 100rel", f"RSeq: {number + 1}", tag=f"t{number}")
        assert not peer.sent()
    assert census(peer.agent) <= before + 100
    peer.command(i.HangUp(command=0, call="out"))
    end(peer)


LIMITS = AgentLimits(server_transactions=200, calls=20, transfers=10)


def end(peer: Peer) -> None:
    """Whoever still calls is sent away, and nothing is left."""
    for call in peer.agent.calls:
        peer.command(i.HangUp(command=0, call=call))
    peer.wait(400)
    assert not any(peer.agent.retained.values()), (peer.agent.retained, peer.agent.timers())
    assert peer.agent.next_timeout() is None


def in_limits(peer: Peer) -> None:
    held = peer.agent.retained
    assert held["calls"] <= 20 and held["transfers"] <= 10
    assert held["dialogs"] <= 20 * 17
    # a request of ours for each transfer may be under way, too
    assert held["transactions"] <= 200 + 20 + 10


@pytest.mark.parametrize("transport", ["UDP", "WS"])
@pytest.mark.parametrize(
    "method", ["INVITE", "OPTIONS", "MESSAGE", "NOTIFY", "REFER", "BYE", "PRACK", "UPDATE", "INFO", "CANCEL"]
)
@pytest.mark.parametrize("inside", [False, True])
def test_floods_of_requests(transport: str, method: str, inside: bool) -> None:
    """Outside of dialogs, or in dialogs that do not exist."""
    peer = Peer(transport=transport, limits=LIMITS)
    fresh = census(peer.agent)
    for number in range(TIMES):
        parts: dict[str, Any] = {"to_tag": f"unknown{number}"} if inside else {}
        lines = {"REFER": ["Refer-To: <sip:x@example.com>"], "PRACK": ["RAck: 1 1 INVITE"]}.get(method, [])
        lines += ["Event: refer", "Subscription-State: active"] if method == "NOTIFY" else []
        peer.say(method, SDP, *lines, body=RAW, call_id=f"c{number}", **parts)
        if number % 100 == 0:
            in_limits(peer)
    in_limits(peer)
    end(peer)
    assert census(peer.agent) <= fresh + 600


@pytest.mark.parametrize("transport", ["UDP", "WS"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "NOTIFY", "REFER", "PRACK", "UPDATE", "INFO", "MESSAGE"])
@pytest.mark.parametrize("negotiated", [False, True])
def test_floods_in_a_call(transport: str, method: str, negotiated: bool) -> None:
    """The peer of an established call asks for something without end, and answers nothing."""
    peer = Peer(transport=transport, limits=LIMITS)
    invite = peer.invite(**({} if negotiated else {"media": (), "body": RAW}))
    peer.answer(invite, 200, CONTACT, SDP, body=peer.answer_sdp(invite.body) if negotiated else RAW)
    for number in range(TIMES):
        _ask(peer, invite, method, number + 1, negotiated)
        if number % 100 == 0:
            in_limits(peer)
    assert peer.agent.calls == ("out",)
    in_limits(peer)
    end(peer)


def _ask(peer: Peer, invite: Request, method: str, cseq: int, negotiated: bool) -> None:
    lines = {"REFER": ["Refer-To: <sip:x@example.com>", CONTACT], "PRACK": ["RAck: 1 1 INVITE"]}.get(method, [SDP])
    lines += ["Event: refer", "Subscription-State: active"] if method == "NOTIFY" else []
    body = b""
    if method in ("INVITE", "UPDATE"):
        body = peer.reoffer() if negotiated else RAW
        if negotiated:
            peer.negotiator.rollback()
    peer.in_dialog(invite, method, *lines, cseq=cseq, body=body)


@pytest.mark.parametrize("method", ["PRACK", "UPDATE", "INFO", "OPTIONS"])
def test_floods_in_a_call_that_rings(method: str) -> None:
    peer = Peer(transport="UDP", limits=LIMITS)
    peer.say("INVITE", SDP, "Supported: 100rel", body=peer.offer())
    for _ in range(40):
        peer.command(i.Progress(command=0, call="in-1", status=183))
    peer.command(i.Progress(command=0, call="in-1", status=183, media=AUDIO))
    ringing = peer.sent()[0]
    assert not isinstance(ringing, Request)
    for number in range(TIMES):
        lines = ["RAck: 1 1 INVITE"] if method == "PRACK" else []
        peer.say(method, *lines, cseq=number + 2, to_tag=tag_of(ringing))
    in_limits(peer)
    end(peer)


def test_commands_beyond_the_limits_are_refused() -> None:
    peer = Peer(limits=AgentLimits(calls=5, exchanges=30))
    for number in range(5):
        peer.invite(call=f"c{number}")
    peer.refused(i.Invite(command=0, call="more", target="sip:bob@example.com", media=AUDIO))
    for _ in range(25):
        peer.command(i.SendMessage(command=0, target="sip:bob@example.com", body=b"x"))
    peer.refused(i.SendMessage(command=0, target="sip:bob@example.com", body=b"x"))
    peer.refused(i.Register(command=0))
    end(peer)
