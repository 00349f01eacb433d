"""Registration, calls and their ends, what is sent inside and outside of them."""

from __future__ import annotations

from sipproto.agent import AgentLimits, Waits
from sipproto.agent import inputs as i
from sipproto.auth import Secret
from sipproto.message import MessageLimits, Request
from tests.scenarios.proxy import Proxy
from tests.scenarios.world import AUDIO, RAW, VIDEO, World, scenario


def secret(user: str, password: str = "right") -> dict[str, object]:
    return {"secrets": (Secret(username=user, password=password),)}


# -- registration ----------------------------------------------------------------------------------------------------


@scenario("RFC 3261 10.2: register, refresh in good time, unregister", register=False, agents={"a": {}})
def registration(w: World) -> None:
    w.command("a", i.Register(command=0, expires=600))
    w.run(1)
    w.told("a", "registered")
    w.sent("a", "REGISTER")
    w.run(600)  # 10.2.4: refreshed before it ends, without news for the application
    w.told("a")
    w.sent("a", "REGISTER")
    w.command("a", i.Unregister(command=0))
    w.run(1)
    w.told("a", "unregistered")
    (removal,) = w.sent("a", "REGISTER")
    w.fact(lambda: removal.headers.first("Expires") == "0")


@scenario(
    "RFC 3261 10.3 step 7, 10.2.8: a 423 is tried again with its Min-Expires",
    register=False,
    agents={"a": {}},
    proxy=lambda: Proxy(min_expires=1800),
)
def too_brief(w: World) -> None:
    w.command("a", i.Register(command=0, expires=60))
    w.run(1)
    w.told("a", "registered")
    sent = w.sent("a", "REGISTER", "REGISTER")
    w.fact(lambda: [m.headers.first("Expires") for m in sent] == ["60", "1800"])


@scenario(
    "RFC 3261 22.2, 22.3: 401 of the registrar, 407 of the proxy; ACK and CANCEL are not challenged",
    register=False,
    agents={"a": secret("a"), "b": secret("b")},
    proxy=lambda: Proxy(passwords={"a": "right", "b": "right"}),
)
def authentication(w: World) -> None:
    for name in "ab":
        w.command(name, i.Register(command=0))
        w.run(1)
        w.told(name, "registered")
        w.sent(name, "REGISTER", "REGISTER")
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "progress 180")
    w.sent("a", "INVITE+", "ACK", "INVITE+")
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    w.do("a", i.HangUp)
    w.run(1)
    w.told("a", "ended terminated local")
    w.told("b", "incoming audio", "established", "ended terminated remote")


@scenario(
    "RFC 3261 22.2: a wrong password is tried once, and told",
    register=False,
    agents={"a": secret("a", "wrong")},
    proxy=lambda: Proxy(passwords={"a": "right"}),
)
def wrong_password(w: World) -> None:
    w.command("a", i.Register(command=0))
    w.run(1)
    w.told("a", "failed authentication_error", "failed")
    w.sent("a", "REGISTER", "REGISTER")
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "failed authentication_error", "ended authentication_error remote")
    w.sent("a", "INVITE+", "ACK", "INVITE+", "ACK")


# -- calls -----------------------------------------------------------------------------------------------------------


@scenario("RFC 3261 13, 15: an audio call, ended by its caller")
def audio_call(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "progress 180")
    w.told("b", "incoming audio")
    w.sent("a", "INVITE+")
    w.sent("b", "100 INVITE", "180 INVITE")
    w.answer("b")
    w.run(1)
    w.told("a", "established")
    w.told("b", "established")
    w.sent("a", "ACK")
    w.sent("b", "200 INVITE+")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(40)
    w.told("a", "ended terminated local")
    w.told("b", "ended terminated remote")
    w.sent("a", "BYE")
    w.sent("b", "200 BYE")


@scenario("RFC 3264 6: a video call of which only the sound is wanted, ended by the called")
def video_call(w: World) -> None:
    w.call("a", "b", media=VIDEO)
    w.run(1)
    w.told("b", "incoming audio video")
    w.answer("b", media=AUDIO)
    w.run(1)
    w.agreed("a", "b")
    w.fact(lambda: b"\nm=video 0 " in w.nodes["b"].agent.descriptions("in-1")[0])
    w.told("b", "established")
    w.do("b", i.HangUp, "in-1")
    w.run(1)
    w.told("a", "started", "progress 180", "established", "ended terminated remote")
    w.told("b", "ended terminated local")


@scenario("RFC 3261 13.2.1: descriptions of the applications' own")
def body_call(w: World) -> None:
    w.call("a", "b", body=RAW)
    w.run(1)
    w.answer("b", body=RAW)
    w.run(1)
    w.told("a", "started", "progress 180", "established")
    w.do("b", i.HangUp, "in-1")
    w.run(1)
    w.told("a", "ended terminated remote")


@scenario("RFC 3261 21.4.24: busy")
def busy(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.HangUp, "in-1", status=486)
    w.run(40)
    w.told("a", "started", "progress 180", "failed busy", "ended busy remote")
    w.told("b", "incoming audio", "ended busy local")
    w.sent("a", "INVITE+", "ACK")
    w.sent("b", "100 INVITE", "180 INVITE", "486 INVITE")


@scenario("RFC 3261 21.6.2: declined, and not found")
def refused(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.do("b", i.HangUp, "in-1")
    w.run(1)
    w.told("a", "started", "progress 180", "failed rejected", "ended rejected remote")
    w.call("a", "nobody", "d")
    w.run(1)
    w.told("a", "started", "failed not_found", "ended not_found remote")


@scenario("RFC 3264 5.1: none of the codecs is known: 488", agents={"a": {}, "b": {}})
def incompatible(w: World) -> None:
    w.call("a", "b", body=RAW.replace(b"RTP/AVP 0", b"RTP/AVP 18"))
    w.run(1)
    w.answer("b", media=AUDIO)
    w.run(1)
    w.told("a", "started", "progress 180", "failed incompatible_media", "ended incompatible_media remote")
    w.told("b", "incoming audio", "failed incompatible_media", "ended incompatible_media local")


@scenario("RFC 3261 13.3.1.3: nobody answers: the called agent says 480 in the end")
def no_answer(w: World) -> None:
    w.call("a", "b")
    w.run(100)
    w.told("a", "started", "progress 180", "failed unavailable", "ended unavailable remote")
    w.told("b", "incoming audio", "ended no_answer local")


@scenario(
    "RFC 3261 9.1, 13.2.2: the caller's patience ends before the called one's",
    agents={"a": {"waits": Waits(ring=20)}, "b": {}},
)
def caller_loses_patience(w: World) -> None:
    w.call("a", "b")
    w.run(30)
    w.told("a", "started", "progress 180", "failed no_answer", "ended no_answer local")
    w.told("b", "incoming audio", "ended canceled remote")
    w.sent("a", "INVITE+", "CANCEL", "ACK")


@scenario("RFC 3261 9.1: no CANCEL before a provisional answer; the hang-up is remembered")
def cancel_at_once(w: World) -> None:
    w.call("a", "b")
    w.run(0.015)  # the INVITE is on its way
    w.do("a", i.HangUp)
    w.run(1)
    w.told("a", "started", "failed canceled", "ended canceled local")
    w.sent("a", "INVITE+", "CANCEL", "ACK")
    w.told("b", "incoming audio", "ended canceled remote")
    w.sent("b", "100 INVITE", "180 INVITE", "200 CANCEL", "487 INVITE")


@scenario("RFC 3261 9.1: CANCEL while it rings")
def cancel(w: World) -> None:
    w.call("a", "b")
    w.run(3)
    w.do("a", i.HangUp)
    w.run(40)
    w.told("a", "started", "progress 180", "failed canceled", "ended canceled local")
    w.told("b", "incoming audio", "ended canceled remote")
    w.sent("a", "INVITE+", "CANCEL", "ACK")


@scenario("RFC 3261 9.1: CANCEL and 2xx cross: the call that exists is ended by BYE")
def cancel_crosses_answer(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.answer("b")
    w.run(0.015)  # the 200 is on its way
    w.do("a", i.HangUp)
    w.run(1)
    w.told("a", "started", "progress 180", "failed canceled", "ended canceled local")
    w.sent("a", "INVITE+", "CANCEL", "ACK", "BYE")
    w.told("b", "incoming audio", "established", "ended terminated remote")
    # 9.2: the CANCEL of an INVITE that has its final answer is answered, and changes nothing.
    w.sent("b", "100 INVITE", "180 INVITE", "200 INVITE+", "200 CANCEL", "200 BYE")


@scenario("RFC 3261 13.2.1: the offer is left to the called, the answer is in the ACK")
def late_offer(w: World) -> None:
    w.call("a", "b", media=AUDIO, late_offer=True)
    w.run(1)
    w.told("b", "incoming late")
    w.answer("b")
    w.run(1)
    w.told("a", "started", "progress 180", "established")
    w.told("b", "established")
    w.sent("a", "INVITE", "ACK+")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 13.2.1: a late offer that the application answers itself")
def late_offer_with_bodies(w: World) -> None:
    w.call("a", "b", late_offer=True)
    w.run(1)
    w.answer("b", body=RAW)
    w.run(2)
    w.told("a", "started", "progress 180", "offered")
    w.answer("a", "c", body=RAW)
    w.run(1)
    w.told("a", "established")
    w.told("b", "incoming late", "established")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario("RFC 3261 15.1.1: both hang up at the same moment")
def hang_up_glare(w: World) -> None:
    w.up()
    w.do("a", i.HangUp)
    w.do("b", i.HangUp, "in-1")
    w.run(40)
    w.told("a", "ended terminated local")
    w.told("b", "ended terminated local")
    w.sent("a", "BYE", "200 BYE")
    w.sent("b", "BYE", "200 BYE")


@scenario("RFC 3261 15: the called may not send BYE before the ACK")
def regret(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.answer("b")
    w.run(0.015)
    w.do("b", i.HangUp, "in-1")
    w.run(1)
    w.told("b", "incoming audio", "failed terminated", "ended terminated local")
    w.sent("b", "100 INVITE", "180 INVITE", "200 INVITE+", "BYE")
    w.told("a", "started", "progress 180", "established", "ended terminated remote")


@scenario("RFC 3261 13: two calls at once, one in each direction")
def two_calls(w: World) -> None:
    w.call("a", "b", "c")
    w.call("b", "a", "d")
    w.run(1)
    w.answer("b", "in-1")
    w.answer("a", "in-1")
    w.run(1)
    w.agreed("a", "b")
    w.agreed("b", "a", one_call="d")
    w.do("a", i.HangUp)
    w.run(1)
    w.fact(lambda: w.nodes["a"].agent.calls == ("in-1",) and w.nodes["b"].agent.calls == ("d",))
    w.do("a", i.HangUp, "in-1")
    w.run(1)


@scenario(
    "RFC 3261 8.1.3.1: the next hop says that it has lost the way", proxy=lambda: Proxy(answers={"INVITE b": 503})
)
def server_failure(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "failed sip_failure_code", "ended sip_failure_code remote")


# -- inside and outside of calls -------------------------------------------------------------------------------------


@scenario("RFC 6086: INFO both ways")
def info(w: World) -> None:
    w.up()
    w.do("a", i.SendInfo, content_type="text/plain", body=b"one")
    w.do("b", i.SendInfo, "in-1", content_type="text/plain", body=b"two")
    w.run(1)
    w.told("a", "info two")
    w.told("b", "info one")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("digits as INFO, one after the other")
def dtmf(w: World) -> None:
    w.up()
    number = w.do("a", i.SendDtmf, digits="1,#")
    w.run(5)
    w.told("b", "digit 1", "digit #")
    w.sent("a", "INFO+", "INFO+")
    w.fact(lambda: number in w.nodes["a"].outcomes)
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario("RFC 3428, RFC 3261 11: MESSAGE and OPTIONS")
def message_and_options(w: World) -> None:
    w.command("a", i.SendMessage(command=0, target="sip:b@example.com", body=b"hello"))
    w.run(1)
    w.told("b", "message hello")
    w.command("b", i.SendOptions(command=0, target="sip:a@example.com"))
    w.run(1)
    w.sent("a", "MESSAGE+", "200 OPTIONS")
    w.command("a", i.SendMessage(command=0, target="sip:nobody@example.com", body=b"hello"))
    w.run(1)
    w.told("a", "failed not_found")


@scenario(
    "RFC 3261 21.5.7: a message that is too large is answered 513",
    agents={"a": {}, "b": {"limits": AgentLimits(message=MessageLimits(max_size=3000))}},
)
def oversized(w: World) -> None:
    w.command("a", i.SendMessage(command=0, target="sip:b@example.com", body=b"x" * 4000))
    w.run(1)
    w.told("a", "failed sip_failure_code")
    w.told("b", "violated too-large")
    w.sent("b", "513 MESSAGE")
    w.call("a", "b")
    w.run(1)
    w.do("a", i.HangUp)
    w.run(1)
    w.told("a", "started", "progress 180", "failed canceled", "ended canceled local")


@scenario("RFC 3261 21.4.1: what cannot be read is answered, and is no more than told")
def nonsense(w: World) -> None:
    w.up()
    w.command("a", i.SendMessage(command=0, target="sip:b@example.com", body=b"x", headers=(("Require", "magic"),)))
    w.run(1)
    w.told("a", "failed sip_failure_code")
    sent = w.sent("b", "420 MESSAGE")
    w.fact(lambda: not isinstance(sent[0], Request) and sent[0].headers.first("Unsupported") == "magic")
    w.do("a", i.HangUp)
    w.run(1)


# -- shutdown --------------------------------------------------------------------------------------------------------


def _shutdown(name: str, moment: str, about: str, *expected: str) -> None:
    def play(w: World) -> None:
        if moment == "calling":
            w.call("a", "b")
            w.run(0.015)
        elif moment == "ringing":
            w.call("a", "b")
            w.run(1)
        elif moment == "rung":
            w.call("b", "a")
            w.run(1)
        elif moment == "answering":
            w.call("b", "a")
            w.run(1)
            w.answer("a")
        elif moment == "established":
            w.up()
        elif moment == "holding":
            w.up()
            w.do("a", i.Hold)
            w.run(0.015)
        w.forget()
        number = w.command("a", i.Shutdown(command=0))
        w.run(40)
        w.told("a", *expected)
        w.fact(lambda: number in w.nodes["a"].outcomes)
        w.fact(lambda: not w.nodes["b"].agent.calls)

    play.__name__ = name
    scenario(about)(play)


_END = ("unregistered", "disconnected")
_shutdown("shutdown_idle", "idle", "RFC 3261 10.2.2: the binding is removed", *_END)
_shutdown(
    "shutdown_calling", "calling", "RFC 3261 9.1: CANCEL, 487, ACK", "failed canceled", "ended canceled local", *_END
)
_shutdown("shutdown_ringing", "ringing", "RFC 3261 9.1", "failed canceled", "ended canceled local", *_END)
_shutdown("shutdown_rung", "rung", "RFC 3261 21.4.18: 480", "ended unavailable local", *_END)
_shutdown(
    "shutdown_answering", "answering", "RFC 3261 21.4.18: 480", "failed unavailable", "ended unavailable local", *_END
)
_shutdown("shutdown_established", "established", "RFC 3261 15: BYE", "ended terminated local", *_END)
_shutdown("shutdown_holding", "holding", "RFC 3261 15: BYE", "failed terminated", "ended terminated local", *_END)
