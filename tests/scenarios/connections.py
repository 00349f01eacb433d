"""Connections that are lost and got back, or not."""

from __future__ import annotations

from sipproto.agent import Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from tests.scenarios.proxy import Proxy
from tests.scenarios.world import World, scenario

STREAMS = ("WS", "TCP")
BACK = ("reconnecting", "connected")


@scenario("RFC 5626 4.2, RFC 8445 9: the caller's connection comes back, and the call goes on", transports=STREAMS)
def caller_reconnects(w: World) -> None:
    w.up()
    w.reset("a")
    w.run(5)
    w.told("a", "reconnecting", "unregistered", "reconnecting", "connected", "registered", "recovered")
    w.told("b")
    w.sent(
        "a", "REGISTER", "ACK", "INVITE+", "ACK"
    )  # the ACK to the first INVITE may have been lost with the connection
    w.agreed("a", "b")
    w.do("b", i.SendInfo, "in-1", content_type="text/plain", body=b"still there?")
    w.run(1)
    w.told("a", "info still there?")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("the same for the called one's connection", transports=STREAMS)
def called_reconnects(w: World) -> None:
    w.up()
    w.reset("b")
    w.run(5)
    w.told("b", "reconnecting", "unregistered", "reconnecting", "connected", "registered", "recovered")
    w.told("a")
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)
    w.told("b", "ended terminated remote")


@scenario("both connections are lost at the same moment", transports=STREAMS)
def both_reconnect(w: World) -> None:
    w.up()
    w.reset("a")
    w.reset("b")
    w.run(30)
    for name, call in (("a", "c"), ("b", "in-1")):
        w.fact(lambda name=name, call=call: w.nodes[name].agent.calls == (call,))  # type: ignore[misc]
        events = [out for _, who, out in w.log if who == name]
        w.fact(lambda events=events: sum(isinstance(out, o.CallRecovered) for out in events) == 1)  # type: ignore[misc]
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("the connection is lost twice, the second time while the call is being recovered", transports=STREAMS)
def reconnects_twice(w: World) -> None:
    w.up()
    w.reset("a")
    w.run(1)
    w.reset("a")
    w.run(20)
    w.fact(lambda: w.nodes["a"].agent.calls == ("c",))
    w.agreed("a", "b")
    w.reset("a")
    w.run(20)
    w.agreed("a", "b")
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario("a held call stays held over a lost connection", transports=STREAMS)
def reconnects_in_hold(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(1)
    w.forget()
    w.reset("a")
    w.run(10)
    w.fact(lambda: b"a=sendonly" in w.nodes["a"].agent.descriptions("c")[0])
    w.agreed("a", "b")
    w.told("b")
    w.do("a", i.Resume)
    w.run(1)
    w.told("b", "resumed remote")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("the connection is lost while a re-INVITE is under way", transports=STREAMS)
def reconnects_in_reinvite(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(0.015)
    w.reset("a")
    w.run(10)
    w.fact(lambda: w.nodes["a"].agent.calls == ("c",))
    w.fact(lambda: any(isinstance(out, o.CommandFailed) for _, who, out in w.log if who == "a"))
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("the called one's connection is lost while it answers a re-INVITE", transports=("WS",))
def called_reconnects_in_reinvite(w: World) -> None:
    w.up()
    w.do("a", i.Hold)
    w.run(0.022)
    w.reset("b")
    w.run(60)
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("RFC 3261 17.1.4: the caller's connection is lost while it rings: the call is over", transports=STREAMS)
def caller_lost_ringing(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.told("a", "started", "progress 180")
    w.reset("a")
    w.run(90)
    w.told(
        "a",
        "reconnecting",
        "unregistered",
        "failed connection_error",
        "ended connection_error remote",
        "connected",
        "registered",
    )
    w.told("b", "incoming audio", "ended no_answer local")


@scenario("the called one's connection is lost while it rings", transports=STREAMS)
def called_lost_ringing(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.reset("b")
    w.run(200)
    w.told(
        "b",
        "incoming audio",
        "reconnecting",
        "unregistered",
        "ended connection_error remote",
        "connected",
        "registered",
    )
    w.told("a", "started", "progress 180", "failed no_answer", "ended no_answer local")


@scenario("the connection is lost between 2xx and ACK: the called has no call, and says so", transports=STREAMS)
def called_lost_answering(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.answer("b")
    w.run(0.015)
    w.reset("b")
    w.run(60)
    w.fact(lambda: not w.nodes["a"].agent.calls and not w.nodes["b"].agent.calls)


@scenario(
    "RFC 3261 14.1: the ACK is lost with the caller's connection; its re-INVITE says the same", transports=STREAMS
)
def caller_lost_confirming(w: World) -> None:
    w.call("a", "b")
    w.run(1)
    w.answer("b")
    w.run(0.03)  # the ACK is on its way
    w.told("a", "started", "progress 180", "established")
    w.reset("a")
    w.run(20)
    w.told("b", "incoming audio", "established")
    w.agreed("a", "b")
    w.run(40)
    w.do("b", i.HangUp, "in-1")
    w.run(1)


@scenario(
    "RFC 3261 15: the connection is lost while BYE is under way: it is said again on the next", transports=STREAMS
)
def caller_lost_leaving(w: World) -> None:
    w.up()
    w.do("a", i.HangUp)
    w.run(0.005)
    w.reset("a")
    w.run(20)
    w.told("b", "ended terminated remote")
    w.sent("a", "BYE", "REGISTER", "BYE")


@scenario("no server is there again in time: the call is over on both sides", transports=STREAMS)
def grace_over(w: World) -> None:
    w.up()
    w.servers["sip://p"] = None
    w.reset("a")
    w.run(100)
    w.fact(lambda: not w.nodes["a"].agent.calls)
    ended = [out for _, who, out in w.log if who == "a" and isinstance(out, o.CallEnded)]
    w.fact(lambda: [end.cause.value for end in ended] == ["connection_error"])
    w.servers["sip://p"] = "p"
    w.run(100)
    w.told("b")  # nothing was said to it; its session ends with its timer


@scenario("hung up while there is no connection: BYE goes out when there is one again", transports=STREAMS)
def hang_up_without_connection(w: World) -> None:
    w.up()
    w.servers["sip://p"] = None
    w.reset("a")
    w.run(3)
    w.do("a", i.HangUp)
    w.servers["sip://p"] = "p"
    w.run(60)
    w.told("b", "ended terminated remote")


@scenario(
    "a call without recovery ends with its connection",
    transports=STREAMS,
    agents={"a": {"recovery": Recovery(grace=0)}, "b": {}},
)
def no_grace(w: World) -> None:
    w.up()
    w.reset("a")
    w.run(5)
    w.told("a", "reconnecting", "unregistered", "ended connection_error remote", "connected", "registered")


@scenario(
    "an agent that does not reconnect by itself",
    transports=STREAMS,
    agents={"a": {"recovery": Recovery(reconnect=False)}, "b": {}},
)
def no_reconnect(w: World) -> None:
    w.up()
    w.reset("a")
    w.run(5)
    w.fact(lambda: not w.nodes["a"].agent.calls)
    w.command("a", i.Connect(command=0, server="sip://p"))
    w.run(1)
    w.command("a", i.Register(command=0))
    w.run(1)
    w.told(
        "a", "disconnected", "ended connection_error remote", "unregistered", "connecting", "connected", "registered"
    )


@scenario("Disconnect ends calls without a word", transports=STREAMS)
def disconnect(w: World) -> None:
    w.up()
    w.command("a", i.Disconnect(command=0))
    w.run(5)
    w.fact(lambda: not w.nodes["a"].agent.calls)
    w.sent("a")
    w.command("a", i.Connect(command=0, server="sip://p"))
    w.run(2)
    w.call("a", "b", "d")
    w.run(1)
    w.do("a", i.HangUp, "d")
    w.run(1)


@scenario(
    "several servers: the next one is tried, also when the connection is lost", transports=STREAMS, register=False
)
def fail_over(w: World) -> None:
    w.command("a", i.Disconnect(command=0))
    w.run(1)
    w.forget()
    w.servers |= {"sip://first": None, "sip://second": "p"}
    servers = (i.Server(url="sip://first", weight=2), i.Server(url="sip://second", weight=1))
    w.command("a", i.Connect(command=0, server=servers))
    w.run(1)
    w.command("a", i.Register(command=0))
    w.run(1)
    w.told("a", "connecting", "connected", "registered")
    w.servers |= {"sip://first": "p", "sip://second": None}
    w.reset("a")
    w.run(10)
    w.told("a", "reconnecting", "unregistered", "connected", "registered")


@scenario(
    "RFC 5626 4.4.1: a server that does not answer keep-alives is dead",
    transports=("TCP",),
    agents={"a": {"keep_alive": 25.0}, "b": {"keep_alive": 25.0}},
    proxy=lambda: Proxy(flow_timer=30),
)
def no_pong(w: World) -> None:
    w.up()
    w.run(60)
    w.told("a")
    w.proxy.answers_pings = False
    w.run(40)
    w.proxy.answers_pings = True
    w.run(40)
    w.fact(lambda: w.nodes["a"].agent.calls == ("c",))
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)


@scenario("the new connection is refused its registration: calls do without", transports=STREAMS)
def registration_refused_after(w: World) -> None:
    w.up()
    w.proxy.answers["REGISTER a"] = 403
    w.reset("a")
    w.run(10)
    w.told("a", "reconnecting", "unregistered", "reconnecting", "connected", "failed", "recovered")
    w.do("a", i.HangUp)
    w.run(1)
    w.told("b", "ended terminated remote")


def _shutdown(name: str, delay: float) -> None:
    def play(w: World) -> None:
        w.up()
        w.servers["sip://p"] = None if delay < 1 else "p"
        w.reset("a")
        w.run(delay)
        w.command("a", i.Shutdown(command=0))
        w.run(20)
        w.fact(lambda: not w.nodes["a"].agent.calls)
        w.fact(lambda: not any(w.nodes["a"].agent.retained.values()))
        w.servers["sip://p"] = "p"

    play.__name__ = name
    scenario("shutdown while a call is being recovered", transports=STREAMS)(play)


_shutdown("shutdown_without_connection", 0.5)
_shutdown("shutdown_recovering", 1.03)


@scenario("a second Connect does not wait for the back-off", transports=STREAMS)
def connect_at_once(w: World) -> None:
    w.up()
    w.servers["sip://p"] = None
    w.reset("a")
    w.run(20)
    w.servers["sip://p"] = "p"
    w.command("a", i.Connect(command=0, server="sip://p"))
    w.run(2)
    w.fact(lambda: w.nodes["a"].agent.calls == ("c",))
    w.agreed("a", "b")
    w.do("a", i.HangUp)
    w.run(1)
