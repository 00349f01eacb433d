"""Changes inside a call: hold, ICE restart, session timers."""

from __future__ import annotations

from collections.abc import Sequence

from sipproto.agent import SessionTimers, Waits
from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.message import Request, Response
from sipproto.negotiation import NegotiationError, Negotiator
from sipproto.tokens import SeededTokens
from tests.scenarios.proxy import Proxy
from tests.scenarios.world import AUDIO, RAW, World, scenario
from tests.sim.network import CAPABILITIES, local_transport

MINUTE = {"session_timers": SessionTimers(expires=90)}


def answer_to(offer: bytes) -> bytes:
    negotiator = Negotiator(CAPABILITIES, SeededTokens(5))
    try:
        negotiator.receive_offer(offer, AUDIO)
    except NegotiationError:  # with a fault
        return RAW
    for slot in negotiator.missing_slots():
        negotiator.add_transport(slot, local_transport(slot))
    return negotiator.create_answer()[0].to_bytes()


def unversioned(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\r\n") if not line.startswith(b"o=")]


def has(messages: Sequence[Request | Response], text: bytes) -> bool:
    return any(text in message.body for message in messages)


# -- hold ------------------------------------------------------------------------------------------------------------


@scenario("RFC 3264 8.4: hold and resume by the caller")
def hold_by_caller(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(1)
    w.told("a", "held local")
    w.told("b", "held remote")
    w.fact(lambda: has(w.sent("a", "INVITE+", "ACK"), b"a=sendonly"))
    w.fact(lambda: has(w.sent("b", "100 INVITE", "200 INVITE+"), b"a=recvonly"))
    w.do("a", i.Resume)
    w.run(1)
    w.told("a", "resumed local")
    w.told("b", "resumed remote")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3264 8.4: hold and resume by the called")
def hold_by_called(w: World) -> None:
    w.up()
    w.do("b", i.Hold, "in-1")
    w.run(1)
    w.told("b", "held local")
    w.told("a", "held remote")
    w.sent("b", "INVITE+", "ACK")
    w.do("b", i.Resume, "in-1")
    w.run(1)
    w.told("a", "resumed remote")
    w.agreed("a", "b")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario("RFC 3264 8.4: both hold, then both resume: each ends its own hold only")
def hold_by_both(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(1)
    w.do("b", i.Hold, "in-1")
    w.run(1)
    w.told("a", "held local", "held remote")
    w.told("b", "held remote", "held local")
    w.do("a", i.Resume)
    w.run(1)
    w.do("b", i.Resume, "in-1")
    w.run(1)
    w.told("a", "resumed local", "resumed remote")
    w.told("b", "resumed remote", "resumed local")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 14.1: two re-INVITEs cross: 491 both, and each tries again in its own interval")
def hold_glare(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.do("b", i.Hold, "in-1")
    w.run(10)
    w.told("a", "held remote", "held local")  # who made the Call-ID waits longer
    w.told("b", "held local", "held remote")
    w.sent("a", "INVITE+", "100 INVITE", "491 INVITE", "ACK", "100 INVITE", "200 INVITE+", "INVITE+", "ACK")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 15, 14: a hang-up while a re-INVITE is under way")
def hang_up_in_hold(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(0.015)
    w.do("b", i.HangUp, "in-1")
    w.run(40)
    w.told("a", "failed terminated", "ended terminated remote")
    w.told("b", "ended terminated local")


@scenario("RFC 3261 14.1: a hold that is refused leaves the call as it was")
def hold_refused(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    # The application of the called negotiates itself, and has no say in a hold.
    offer = w.nodes["a"].agent.descriptions("c")[0] if w.nodes["a"].agent.calls else b""
    w.answer("b", body=answer_to(offer))
    w.run(1)
    w.told("a", "started", "progress 180", "established")
    w.do("a", i.Hold)
    w.run(1)
    w.told("a", "failed incompatible_media")
    w.told("b", "incoming audio", "established")
    w.sent("b", "100 INVITE", "180 INVITE", "200 INVITE+", "100 INVITE", "488 INVITE")
    w.do("a", i.HangUp)
    w.run(1)


# -- ICE restart -----------------------------------------------------------------------------------------------------


def _restart(name: str, who: str, call: str, method: str, answer: str) -> None:
    def play(w: World) -> None:
        w.up()
        before = len(w.log)
        w.do(who, i.RestartIce, call, use_update=method == "UPDATE")
        w.run(1)
        w.told("a")
        w.told("b")
        ack = ["ACK"] if method == "INVITE" else []
        sent = w.sent(who, f"{method}+", *ack)
        w.sent("b" if who == "a" else "a", *(["100 INVITE"] if ack else []), answer)
        # RFC 8445 9, RFC 8839 4.4.3.1.1: new credentials on both sides.
        opened = [out for _, _, out in w.log[before:] if isinstance(out, m.OpenMedia)]
        w.fact(lambda: len(opened) == 2 and all(one.restart for one in opened))
        w.fact(lambda: has(sent, b"a=ice-ufrag"))
        w.agreed("a", "b")
        w.do("a", i.HangUp)
        w.run(1)

    play.__name__ = name
    scenario(f"RFC 8445 9: an ICE restart by {method}")(play)


_restart("restart_by_caller", "a", "c", "INVITE", "200 INVITE+")
_restart("restart_by_called", "b", "in-1", "INVITE", "200 INVITE+")
_restart("restart_by_update_of_caller", "a", "c", "UPDATE", "200 UPDATE+")
_restart("restart_by_update_of_called", "b", "in-1", "UPDATE", "200 UPDATE+")


@scenario("RFC 3311 5.2: two UPDATEs with offers cross: 491 both, then one after the other")
def update_glare(w: World) -> None:
    w.up()
    w.do("a", i.RestartIce, use_update=True)
    w.do("b", i.RestartIce, "in-1", use_update=True)
    w.run(10)
    w.told("a")
    w.told("b")
    w.sent("a", "UPDATE+", "491 UPDATE", "200 UPDATE+", "UPDATE+")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 14.2, RFC 3311 5.2: re-INVITE and UPDATE cross")
def mixed_glare(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.do("b", i.RestartIce, "in-1", use_update=True)
    w.run(20)
    w.told("a", "held local")
    w.told("b", "held remote")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 8445 2.4: lost media are looked for again by an ICE restart")
def media_lost(w: World) -> None:
    w.up()
    w.give(w.nodes["a"], m.MediaStateChanged(call="c", state=m.MediaState.FAILED))
    w.run(3)
    w.told("a", "reconnecting", "recovered")
    w.told("b")
    w.sent("a", "INVITE+", "ACK")
    w.agreed("a", "b")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


# -- session timers --------------------------------------------------------------------------------------------------


@scenario("RFC 4028 7.4, 10: refreshed by UPDATE of the caller at half time", agents={"a": MINUTE, "b": {}})
def refresh_by_update(w: World) -> None:
    w.up()
    w.run(100)
    w.told("a")
    w.told("b")
    (first, _) = w.sent("a", "UPDATE", "UPDATE")
    w.fact(lambda: first.headers.first("Session-Expires") == "90;refresher=uac")
    w.sent("b", "200 UPDATE", "200 UPDATE")
    w.do("a", i.HangUp)
    w.run(1)


@scenario(
    "RFC 4028 7.4: refreshed by re-INVITE where the peer does not know UPDATE: the description stays the same",
    agents={"a": MINUTE, "b": {}},
    proxy=lambda: Proxy(hides={"UPDATE"}),
)
def refresh_by_reinvite(w: World) -> None:
    w.up()
    w.run(100)
    w.told("a")
    w.told("b")
    first, _, second, _ = w.sent("a", "INVITE+", "ACK", "INVITE+", "ACK")
    w.fact(lambda: unversioned(first.body) == unversioned(second.body))
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario(
    "RFC 4028 9: the refresher is the called where the caller asks for that",
    agents={"a": {"session_timers": SessionTimers(expires=0)}, "b": {}},
)
def refresh_by_called(w: World) -> None:
    headers = (("Session-Expires", "90;refresher=uas"),)
    w.up(headers=headers)
    w.run(100)
    w.told("a")
    w.told("b")
    w.sent("a", "200 UPDATE", "200 UPDATE")
    w.sent("b", "UPDATE", "UPDATE")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario(
    "RFC 4028 9: a re-INVITE of the called as refresher",
    agents={"a": {"session_timers": SessionTimers(expires=0)}, "b": {}},
    proxy=lambda: Proxy(hides={"UPDATE"}),
)
def refresh_by_reinvite_of_called(w: World) -> None:
    w.up(headers=(("Session-Expires", "90;refresher=uas"),))
    w.run(100)
    w.told("a")
    w.told("b")
    w.sent("b", "INVITE+", "ACK", "INVITE+", "ACK")
    w.agreed("a", "b")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario(
    "RFC 4028 9, 7.3: the interval is too small for the called: 422, and again with its Min-SE",
    agents={"a": MINUTE, "b": {"session_timers": SessionTimers(minimum=300)}},
)
def too_small_for_called(w: World) -> None:
    w.up()
    w.fact(lambda: w.nodes["a"].agent.calls == ("c",))
    w.run(160)
    (refresh,) = w.sent("a", "UPDATE")
    w.fact(lambda: refresh.headers.first("Session-Expires") == "300;refresher=uac")
    w.fact(lambda: refresh.headers.first("Min-SE") == "300")
    w.told("a")
    w.do("a", i.HangUp)
    w.run(1)


@scenario(
    "RFC 4028 9: the same where the called calls back",
    agents={"a": MINUTE, "b": {"session_timers": SessionTimers(expires=400, minimum=300)}},
)
def too_small_for_caller(w: World) -> None:
    w.call("b", "a")
    w.run(1)
    w.told("b", "started", "progress 180")
    w.sent("b", "INVITE+")
    w.answer("a")
    w.run(1)
    w.told("b", "established")
    w.call("a", "b", "d")
    w.run(1)
    w.told("a", "incoming audio", "established", "started", "progress 180")
    w.sent("a", "100 INVITE", "180 INVITE", "200 INVITE+", "INVITE+", "ACK", "INVITE+")
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    for call in ("in-1", "d"):
        w.do("a", i.HangUp, call)
    w.run(1)


@scenario("RFC 4028 10: the called is silently gone: the session ends at its caller", agents={"a": MINUTE, "b": {}})
def called_is_gone(w: World) -> None:
    w.up()
    w.nodes["b"].dead = True
    w.run(200)
    w.told("a", "ended dialog_error remote")  # RFC 3261 12.2.1.2: nobody answers its refresh


@scenario("RFC 4028 10: the caller, who refreshes, is silently gone", agents={"a": MINUTE, "b": {}})
def caller_is_gone(w: World) -> None:
    w.up()
    w.nodes["a"].dead = True
    w.run(200)
    w.told("b", "ended expired remote")


@scenario(
    "RFC 4028 10: the refresh is refused because the call is not known any more: 481",
    agents={"a": MINUTE, "b": {"waits": Waits(shutdown=0.001)}},
)
def refresh_finds_nothing(w: World) -> None:
    w.up()
    w.proxy.swallows.add("BYE")
    w.do("b", i.HangUp, "in-1")
    w.run(40)
    w.proxy.swallows.clear()
    w.run(20)
    w.told("a", "ended dialog_error remote")
