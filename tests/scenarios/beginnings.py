"""Before the answer: progress, early media, reliable provisional responses, forks, redirection."""

from __future__ import annotations

from sipproto.agent import Waits
from sipproto.agent import inputs as i
from sipproto.message import Response
from tests.scenarios.proxy import Proxy
from tests.scenarios.world import AUDIO, RAW, VIDEO, World, scenario

THREE = {"a": {}, "b": {"user": "team"}, "c": {"user": "team"}}
HUNDRED_REL = (("Require", "100rel"),)

# -- progress --------------------------------------------------------------------------------------------------------


@scenario("RFC 3261 13.3.1.1, 21.1.4: progress without a description is sent once, and unreliably")
def progress(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", status=182, reason="Third in Line")
    w.run(1)
    w.answer("b")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 182", "established")
    w.sent("a", "INVITE+", "ACK")
    w.sent("b", "100 INVITE", "180 INVITE", "182 INVITE", "200 INVITE+")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3262, RFC 3264: early media in a reliable 183; the 2xx needs no answer any more")
def early_media(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 183 early")
    w.sent("a", "INVITE+", "PRACK")
    w.agreed("a", "b")
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    w.sent("a", "ACK")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)
    w.told("b", "incoming audio", "established", "ended terminated remote")


@scenario(
    "RFC 3261 13.2.1: early media for a caller who knows no 100rel; the 2xx says the same again",
    proxy=lambda: Proxy(strips={"100rel"}),
)
def early_media_unreliable(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 183 early")
    w.sent("a", "INVITE+")
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    _, _, early, final = w.sent("b", "100 INVITE", "180 INVITE", "183 INVITE+", "200 INVITE+")
    w.fact(lambda: early.body == final.body)
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario("RFC 3262 4, 5: answered before the PRACK of the early answer is there: the 2xx waits for it")
def answer_waits_for_prack(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.answer("b")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 183 early", "established")
    w.sent("a", "INVITE+", "PRACK", "ACK")
    w.sent("b", "100 INVITE", "180 INVITE", "183 INVITE+", "200 PRACK", "200 INVITE+")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3262 3: the caller insists on reliability: 180 needs a PRACK, too")
def reliability_required(w: World) -> None:
    w.call("a", "b", headers=HUNDRED_REL)
    w.run(1)
    w.do("b", i.Progress, "in-1", status=182)
    w.do("b", i.Progress, "in-1", status=183, media=AUDIO)
    w.run(1)
    w.sent("a", "INVITE+", "PRACK", "PRACK", "PRACK")
    sent = w.sent("b", "100 INVITE", "180 INVITE", "200 PRACK", "182 INVITE", "200 PRACK", "183 INVITE+", "200 PRACK")
    numbers = [int(m.headers.first("RSeq") or 0) for m in sent if isinstance(m, Response) and 100 < m.status < 200]
    w.fact(lambda: [number - numbers[0] for number in numbers] == [0, 1, 2])
    w.answer("b")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 182", "progress 183 early", "established")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 9.1: CANCEL in early media", agents={"a": {}, "b": {}})
def cancel_early_media(w: World) -> None:
    w.call("a", "b", media=VIDEO)
    w.run(1)
    w.do("b", i.Progress, "in-1", media=VIDEO)
    w.run(1)
    w.do("a", i.HangUp)
    w.run(40)
    w.told("a", "started", "progress 180", "progress 183 early", "failed canceled", "ended canceled local")
    w.told("b", "incoming audio video", "ended canceled remote")


@scenario("RFC 3261 13.3.1.3: refused after early media")
def refused_after_early_media(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.do("b", i.HangUp, "in-1", status=486)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 183 early", "failed busy", "ended busy remote")
    w.told("b", "incoming audio", "ended busy local")


@scenario(
    "RFC 3262 3: nobody acknowledges the 183: 504 after 64*T1", agents={"a": {}, "b": {"waits": Waits(answer=100)}}
)
def no_prack(w: World) -> None:
    w.proxy.swallows.add("PRACK")
    w.call("a", "b")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.run(40)
    w.told(
        "a", "started", "progress 180", "progress 183 early", "failed sip_failure_code", "ended sip_failure_code remote"
    )
    w.told("b", "incoming audio", "ended no_ack remote")


@scenario("RFC 3262 5: applications that negotiate: the answer in a reliable 183 as a body")
def early_body(w: World) -> None:
    w.call("a", "b", body=RAW)
    w.run(1)
    w.do("b", i.Progress, "in-1", body=RAW)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 183")
    w.sent("a", "INVITE+", "PRACK")
    w.answer("b", body=RAW)
    w.run(1)
    w.told("a", "established")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3262 5: a late offer cannot go into a 18x for a caller who wants it in the 2xx")
def late_offer_with_progress(w: World) -> None:
    w.call("a", "b", media=AUDIO, late_offer=True)
    w.run(1)
    w.do("b", i.Progress, "in-1", status=182)
    w.run(1)
    w.answer("b")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 182", "established")
    w.sent("a", "INVITE", "ACK+")
    w.agreed("a", "b")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


# -- forks -----------------------------------------------------------------------------------------------------------


@scenario("RFC 3261 13.2.2.4, 16.7: two phones ring, one answers, the other is cancelled", agents=THREE)
def fork(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180")  # one of each early dialog
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    w.told("b", "incoming audio", "established")
    w.told("c", "incoming audio", "ended canceled remote")
    w.agreed("a", "b", one_call="x")
    w.sent("a", "INVITE+", "ACK")
    w.do("a", i.HangUp, "x")
    w.run(1)


@scenario("RFC 3261 16.7: one is busy, the other answers", agents=THREE)
def fork_one_busy(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.do("b", i.HangUp, "in-1", status=486)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180")
    w.answer("c")
    w.run(1)
    w.told("a", "established")
    w.do("c", i.HangUp, "in-1")
    w.run(1)
    w.told("a", "ended terminated remote")


@scenario("RFC 3261 16.7: both refuse: the caller gets the better answer", agents=THREE)
def fork_both_refuse(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.do("b", i.HangUp, "in-1", status=603)
    w.do("c", i.HangUp, "in-1", status=486)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "failed rejected", "ended rejected remote")
    w.sent("a", "INVITE+", "ACK")


@scenario("RFC 3261 13.2.2.4: both answer: the first is the call, the second gets ACK and BYE", agents=THREE)
def fork_both_answer(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.answer("b")
    w.answer("c")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "established")
    w.sent("a", "INVITE+", "ACK", "ACK", "BYE")
    up = [name for name in "bc" if w.nodes[name].agent.calls]
    w.fact(lambda: len(up) == 1)
    w.agreed("a", "b" if "b" in up else "c", one_call="x")
    w.run(40)
    w.do("a", i.HangUp, "x")
    w.run(1)


@scenario("RFC 3262, RFC 3261 12.1: early media of one fork, and the other answers", agents=THREE)
def fork_other_answers(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.do("b", i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.do("c", i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "progress 183 early", "progress 183")
    w.sent("a", "INVITE+", "PRACK", "PRACK")
    w.answer("c")
    w.run(1)
    w.told("a", "established")
    w.told("b", "incoming audio", "ended canceled remote")
    w.agreed("a", "c", one_call="x")
    w.do("a", i.Hold, "x")
    w.run(1)
    w.agreed("a", "c", one_call="x")
    w.do("a", i.HangUp, "x")
    w.run(1)


@scenario("RFC 3261 12.2.1.1: the BYE to a fork that answers too late has a number higher than its PRACK", agents=THREE)
def fork_early_media_both_answer(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    for name in "bc":
        w.do(name, i.Progress, "in-1", media=AUDIO)
    w.run(1)
    w.answer("b")
    w.answer("c")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "progress 183 early", "progress 183", "established")
    w.sent("a", "INVITE+", "PRACK", "PRACK", "ACK", "ACK", "BYE")
    loser = "b" if w.nodes["c"].agent.calls else "c"
    w.told(loser, "incoming audio", "established", "ended terminated remote")
    w.do("a", i.HangUp, "x")
    w.run(1)


@scenario("RFC 3261 9.1: CANCEL reaches every fork", agents=THREE)
def fork_cancel(w: World) -> None:
    w.call("a", "team", "x")
    w.run(1)
    w.do("a", i.HangUp, "x")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "failed canceled", "ended canceled local")
    for name in "bc":
        w.told(name, "incoming audio", "ended canceled remote")


@scenario("RFC 3261 13.2.1: a late offer and two answers: one ACK with an answer each", agents=THREE)
def fork_late_offer(w: World) -> None:
    w.call("a", "team", "x", media=AUDIO, late_offer=True)
    w.run(1)
    w.answer("b")
    w.answer("c")
    w.run(1)
    w.told("a", "started", "progress 180", "progress 180", "established")
    up = [name for name in "bc" if w.nodes[name].agent.calls]
    w.fact(lambda: len(up) == 1)
    w.do("a", i.HangUp, "x")
    w.run(1)


# -- redirection -----------------------------------------------------------------------------------------------------


@scenario(
    "RFC 3261 8.1.3.4: a 302 ends the call of an application that does not choose",
    proxy=lambda: Proxy(moved={"b": ["sip:c@example.com"]}),
)
def redirected(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "failed redirected", "ended redirected remote")


@scenario(
    "RFC 3261 8.1.3.4: the application follows the redirection",
    agents={"a": {}, "b": {}, "c": {}},
    proxy=lambda: Proxy(moved={"b": ["sip:c@example.com"]}),
)
def redirect_chosen(w: World) -> None:
    w.call("a", "b", "x", choose_redirect=True)
    w.run(1)
    w.told("a", "started", "redirected 302")
    w.do("a", i.Redirect, "x", target="sip:c@example.com")
    w.run(1)
    w.told("a", "progress 180")
    first, _, second = w.sent("a", "INVITE+", "ACK", "INVITE+")
    # 8.1.3.4: the same To, From and Call-ID
    w.fact(lambda: first.headers.first("Call-ID") == second.headers.first("Call-ID"))
    w.answer("c")
    w.run(1)
    w.told("a", "established")
    w.agreed("a", "c", one_call="x")
    w.do("c", i.HangUp, "in-1")
    w.run(1)


@scenario("the application declines the redirection", proxy=lambda: Proxy(moved={"b": ["sip:c@example.com"]}))
def redirect_declined(w: World) -> None:
    w.call("a", "b", choose_redirect=True)
    w.run(1)
    w.do("a", i.HangUp)
    w.run(1)
    w.told("a", "started", "redirected 302", "failed canceled", "ended canceled local")


@scenario(
    "the application does not choose at all: the call ends", proxy=lambda: Proxy(moved={"b": ["sip:c@example.com"]})
)
def redirect_ignored(w: World) -> None:
    w.call("a", "b", choose_redirect=True)
    w.run(70)
    w.told("a", "started", "redirected 302", "failed no_answer", "ended no_answer local")
