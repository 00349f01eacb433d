"""Two agents that call each other over two connections, with users who do anything at any moment."""

from __future__ import annotations

import random

from attrs import define, field

from sipproto.agent import AgentConfig, Output, Recovery, SessionTimers, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.message import parse_message
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens
from tests.sim.network import CAPABILITIES, Link, MediaPeer, Network, Node

NO_RECOVERY = Recovery(reconnect=False, grace=0.0)
AUDIO = ("audio", Direction.SENDRECV)
VIDEO = ("video", Direction.SENDRECV)
RAW = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def config(name: str, seed: int, recovery: Recovery, session_timers: SessionTimers) -> AgentConfig:
    return AgentConfig(
        aor=f"sip:{name}@example.com",
        capabilities=CAPABILITIES,
        tokens=SeededTokens(seed),
        recovery=recovery,
        session_timers=session_timers,
        keep_alive=0.0,
    )


@define(kw_only=True)
class Story:
    """What is known of one call, from both of its ends."""

    caller: str
    established: set[str] = field(factory=set)
    interrupted: set[str] = field(factory=set)  # who ended it, or lost its media, before it was up there


class Pair(Network):
    """`a` and `b`, each connected to the other."""

    def __init__(
        self,
        seed: int,
        link: Link,
        media: MediaPeer | None = None,
        *,
        base: float = 0.0,
        recovery: Recovery = NO_RECOVERY,
        session_timers: SessionTimers | None = None,
    ) -> None:
        super().__init__(seed, base=base)
        self.stories: dict[str, Story] = {}
        self._names: dict[tuple[str, str], str] = {}  # (node, call there) to the call's name
        self.auto = False
        spare = media or MediaPeer()
        timers = session_timers or SessionTimers()
        self.a = self.add("a", UserAgent(config("a", 2 * seed, recovery, timers)), self._peer(spare))
        self.b = self.add("b", UserAgent(config("b", 2 * seed + 1, recovery, timers)), self._peer(spare))
        self.links = {"a": link, "b": link}
        self.reconnect = True
        for node in (self.a, self.b):
            node.on_output = lambda output, node=node: self._react(node, output)  # type: ignore[misc]
            self.command(node.name, i.Connect(command=0, server="ws://peer"))
        self.run(1)

    @staticmethod
    def _peer(like: MediaPeer) -> MediaPeer:
        return MediaPeer(delay=like.delay, fail=like.fail, silent=like.silent, break_later=like.break_later)

    # -- users -------------------------------------------------------------------------------------------------------

    def _react(self, node: Node, output: Output) -> None:
        name = self._names.get((node.name, getattr(output, "call", "")))
        match output:
            case o.IncomingCall(call=call, headers=headers):
                name = dict(headers)["X-Sim"]
                self._names[(node.name, call)] = name
                if self.auto:
                    self._receive_call(node, output)
            case o.CallOffered(call=call) if self.auto:
                if self.rng.random() < 0.9:
                    answer = i.Answer(command=0, call=call, media=(AUDIO,) if len(self.log) % 2 else (), body=RAW)
                    self.do(2 * self.rng.random(), node, answer)
            case o.CallEstablished() if name is not None:
                self.stories[name].established.add(node.name)
                if self.auto:
                    self._talk(node, output.call)
            case o.CallEnded() if name is not None:
                if node.name not in self.stories[name].established:
                    self.stories[name].interrupted.add(node.name)
                del self._names[(node.name, output.call)]
            case o.ConnectionChanged(state=o.ConnectionState.DISCONNECTED) if self.reconnect:
                self.after(0.5, lambda: self.command(node.name, i.Connect(command=0, server="ws://peer")))
            case _:
                pass

    def do(self, delay: float, node: Node, what: i.Command) -> None:
        self.after(delay, lambda: self.command(node.name, what))

    def call(self, caller: str, name: str, *, media: tuple[tuple[str, Direction], ...] = (), body: bytes = b"") -> None:
        callee = "b" if caller == "a" else "a"
        self.stories[name] = Story(caller=caller)
        self._names[(caller, name)] = name
        invite = i.Invite(
            command=0,
            call=name,
            target=f"sip:{callee}@example.com",
            media=media,
            body=body,
            headers=(("X-Sim", name),),
            late_offer=not (media or body),
        )
        if self.command(caller, invite) is None:
            del self.stories[name], self._names[(caller, name)]

    def random_call(self, name: str) -> None:
        rng = self.rng
        caller = rng.choice("ab")
        media, body = rng.choice([((AUDIO,), b""), ((AUDIO, VIDEO), b""), ((), RAW), ((), b"")])
        self.call(caller, name, media=media, body=body)
        if rng.random() < 0.2:
            self.do(rng.choice([0.0, 0.02, 0.1, 0.5, 3.0]) * rng.random() * 2, self.nodes[caller], _hang_up(name))
        # Whatever else happens, everybody hangs up in the end.
        self.do(100 + rng.random(), self.nodes[caller], _hang_up(name))

    def _receive_call(self, node: Node, incoming: o.IncomingCall) -> None:
        rng, call = self.rng, incoming.call
        kind = rng.random()
        delay = 3 * rng.random() ** 2
        if kind < 0.1:
            self.do(delay, node, i.HangUp(command=0, call=call, status=rng.choice([486, 603, 404])))
        elif kind < 0.13:
            pass  # nobody at home
        elif not incoming.offer:
            # an offer of our own in the 2xx: the caller of body calls never answers it
            self.do(delay, node, i.Answer(command=0, call=call, media=(AUDIO,) if kind < 0.5 else (), body=RAW))
        elif incoming.offer == RAW:
            self.do(delay, node, i.Answer(command=0, call=call, body=RAW))
        else:
            media = (AUDIO, VIDEO) if kind < 0.6 else (AUDIO,)
            self.do(delay, node, i.Answer(command=0, call=call, media=media))
        self.do(90 + rng.random(), node, _hang_up(call))

    def _talk(self, node: Node, call: str) -> None:
        rng = self.rng
        for _ in range(rng.randrange(8)):
            self.do(20 * rng.random() ** 2, node, _random_action(rng, call))
        self.do(rng.choice([0.02, 2.0, 20.0, 40.0, 40.0]) * rng.random() * 2, node, _hang_up(call))

    # -- the books ---------------------------------------------------------------------------------------------------

    def check(self, *, bound: float = 300.0) -> None:
        """Every command has its one outcome, every call its one end, and nothing is left."""
        for node in self.nodes.values():
            text = f"seed {self.seed}, agent {node.name}"
            open_commands = set(node.issued) - set(node.outcomes)
            assert not open_commands, f"{text}: no outcome of {open_commands}"
            for command, (when, _) in node.outcomes.items():
                assert when - node.issued[command] <= bound, f"{text}: command {command} took too long"
            assert not node.started, f"{text}: calls without an end: {node.started}"
            assert not any(node.agent.retained.values()), f"{text}: {node.agent.retained} {node.agent.timers()}"
            assert not node.agent.calls, text
            assert not node.media.misuse, f"{text}: {node.media.misuse[:3]}"
            assert not node.media.opened, f"{text}: media left open: {node.media.opened}"

    def octets(self) -> list[tuple[str, bytes]]:
        return [(name, output.data) for _, name, output in self.log if isinstance(output, o.SendData)]

    def cseqs(self) -> dict[tuple[str, str], list[tuple[int, str]]]:
        """By sender and Call-ID with From tag: the sequence numbers of its requests in order, without repetitions."""
        out: dict[tuple[str, str], list[tuple[int, str]]] = {}
        seen: set[bytes] = set()
        for name, data in self.octets():
            if data in seen or data.startswith(b"SIP/2.0"):
                continue
            seen.add(data)
            headers = parse_message(data).headers
            number, method = (headers.first("CSeq") or "").split()
            if method not in ("ACK", "CANCEL"):
                key = (name, f"{headers.first('Call-ID')} {headers.first('From')}")
                out.setdefault(key, []).append((int(number), method))
        return out


def _hang_up(call: str) -> i.HangUp:
    return i.HangUp(command=0, call=call)


def _random_action(rng: random.Random, call: str) -> i.Command:
    kind = rng.randrange(6)
    if kind == 0:
        return i.Hold(command=0, call=call)
    if kind == 1:
        return i.Resume(command=0, call=call)
    if kind == 2:
        return i.SendInfo(command=0, call=call, content_type="text/plain", body=b"hello")
    if kind == 3:
        return i.SendDtmf(command=0, call=call, digits="12,#")
    if kind == 4:
        return i.GetStats(command=0, call=call)
    return i.Hold(command=0, call=call)
