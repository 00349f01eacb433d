"""Agents around a proxy, the steps of their users, and what is expected of them.

A scenario is a function that takes a World. Without faults its expectations are strict; with a fault they say nothing, and
what must hold all the same is checked at the end (`finish`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from sipproto.agent import AgentConfig, Output, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import MessageSyntaxError
from sipproto.message import Headers, Request, Response, parse_message
from sipproto.sdp import Direction
from sipproto.tokens import SeededTokens
from tests.scenarios.proxy import PING, PONG, Proxy
from tests.sim.network import CAPABILITIES, Link, MediaPeer, Network, Node

AUDIO = (("audio", Direction.SENDRECV),)
VIDEO = (*AUDIO, ("video", Direction.SENDRECV))
RAW = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
LATENCY = 0.01
SETTLE = 2000.0  # longer than the session interval: whoever is left alone in a call finds out
CLOSE = 120.0
NOTHING = Request("OPTIONS", "sip:nobody@example.com", Headers())
IN_CALL = (
    o.CallProgressed,
    o.CallOffered,
    o.CallRedirected,
    o.CallEstablished,
    o.CallHeld,
    o.CallResumed,
    o.CallReconnecting,
    o.CallRecovered,
    o.MediaChanged,
    o.MediaNegotiated,
    o.InfoReceived,
    o.DtmfReceived,
)


@define(kw_only=True)
class Story:
    """One call: which ends of it are up, or were."""

    caller: str
    started: set[tuple[str, str]] = field(factory=set)  # node and its name for the call
    established: set[tuple[str, str]] = field(factory=set)
    ended: set[tuple[str, str]] = field(factory=set)
    reconnecting: set[tuple[str, str]] = field(factory=set)

    @property
    def up(self) -> set[tuple[str, str]]:
        return self.established - self.ended


class World(Network):
    """A proxy `p` and agents that are connected to it, and registered there."""

    def __init__(
        self,
        *,
        transport: str = "WS",
        agents: dict[str, dict[str, Any]] | None = None,
        proxy: Proxy | None = None,
        register: bool = True,
        seed: int = 1,
    ) -> None:
        super().__init__(seed)
        self.strict = True
        self.counting = False
        self.stories: dict[str, Story] = {}
        self.proxy = proxy or Proxy()
        self.transport = transport
        self._story_of: dict[tuple[str, str], Story] = {}
        self._told: dict[str, int] = {}
        self._lines: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        # Media take less time than a message, and always the same.
        self.add("p", self.proxy)
        self.servers = {"sip://p": "p"}
        for number, (name, settings) in enumerate((agents or {"a": {}, "b": {}}).items(), 1):
            self._add_agent(name, number, dict(settings))
        for name in self.agents:
            self.command(name, i.Connect(command=0, server="sip://p"))
        self.run(1)
        if register:
            for name in self.agents:
                self.command(name, i.Register(command=0))
            self.run(1)
        self.forget()
        self.counting = True

    def _add_agent(self, name: str, number: int, settings: dict[str, Any]) -> None:
        config: dict[str, Any] = {
            "aor": f"sip:{settings.pop('user', name)}@example.com",
            "capabilities": CAPABILITIES,
            "register_expires": 3600,
            "keep_alive": 0.0,
            "tokens": SeededTokens(1000 * self.seed + number),
            **settings,
        }
        node = self.add(name, UserAgent(AgentConfig(**config)), MediaPeer(delay=0.004))
        node.on_output = lambda output: self._note(node, output)
        self.links[name] = Link(transport=self.transport, latency=LATENCY)

    @property
    def agents(self) -> list[str]:
        return [name for name in self.nodes if name != "p"]

    # -- the books ---------------------------------------------------------------------------------------------------

    def _note(self, node: Node, output: Output) -> None:
        end = (node.name, getattr(output, "call", ""))
        if isinstance(output, IN_CALL):
            assert end[1] in node.started, f"{node.name}: {output} of a call that is over"
        match output:
            case o.IncomingCall(headers=headers):
                name = next((value for key, value in headers if key == "X-Sim"), "")
                # A name that was spoilt on the way: of the call that was made last.
                story = self.stories.get(name) or list(self.stories.values())[-1]
                self._story_of[end] = story
                story.started.add(end)
            case o.CallEstablished() if end in self._story_of:
                self._story_of[end].established.add(end)
            case o.CallReconnecting() if end in self._story_of:
                self._story_of[end].reconnecting.add(end)
            case o.CallRecovered() if end in self._story_of:
                self._story_of[end].reconnecting.remove(end)
            case o.CallEnded() if end in self._story_of:
                story = self._story_of.pop(end)
                story.ended.add(end)
                story.reconnecting.discard(end)
            case _:
                pass

    # -- steps -------------------------------------------------------------------------------------------------------

    def call(self, caller: str, target: str, name: str = "c", **more: Any) -> int | None:
        """`media` is AUDIO unless something else is said."""
        if not {"body", "media", "late_offer"} & set(more):
            more["media"] = AUDIO
        address = target if ":" in target else f"sip:{target}@example.com"
        headers = (("X-Sim", name), *more.pop("headers", ()))
        story = self.stories[name] = Story(caller=caller)
        self._story_of[caller, name] = story
        story.started.add((caller, name))
        number = self.command(caller, i.Invite(command=0, call=name, target=address, headers=headers, **more))
        if number is None:
            del self.stories[name], self._story_of[caller, name]
        return number

    def do(self, who: str, what: type[Any], call: str = "c", **more: Any) -> int | None:
        """A command in a call. With a fault it may come too late, and be refused."""
        if call not in self.nodes[who].agent.calls:
            assert not self.strict, f"{who} has no call {call}"
            return None
        number = self.command(who, what(command=0, call=call, **more))
        assert number is not None or not self.strict, f"{who} refuses {what.__name__}"
        return number

    def answer(self, who: str, call: str = "in-1", **more: Any) -> int | None:
        if not {"body", "media"} & set(more):
            more["media"] = AUDIO
        return self.do(who, i.Answer, call, **more)

    def up(self, caller: str = "a", called: str = "b", *, name: str = "c", incoming: str = "in-1", **more: Any) -> None:
        """An established call, with nothing left to be told of it."""
        media = {key: more[key] for key in ("media",) if key in more}
        self.call(caller, called, name, **more)
        self.run(0.5)
        self.answer(called, incoming, **media)
        self.run(1)
        self.forget()

    # -- expectations ------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """What has happened so far has been looked at."""
        for name in self.nodes:
            self._told[name] = self._sent[name] = self._lines[name] = len(self.log)

    def told(self, who: str, *expected: str) -> None:
        """Exactly these events and failures, in order, since the last look."""
        log, self._told[who] = self.log[self._told[who] :], len(self.log)
        found = [text for _, name, output in log if name == who and (text := event_text(output))]
        assert not self.strict or found == list(expected), f"{who} was told {found}"

    def told_lines(self, who: str, *expected: str) -> None:
        """Exactly these media lines, in order, since the last look."""
        log, self._lines[who] = self.log[self._lines.get(who, 0) :], len(self.log)
        found = [
            ", ".join(f"{line.kind} {line.direction.value}" for line in output.lines)
            for _, name, output in log
            if name == who and isinstance(output, o.MediaNegotiated)
        ]
        assert not self.strict or found == list(expected), f"{who} was told {found}"

    def sent(self, who: str, *expected: str) -> list[Request | Response]:
        """Exactly these messages, in order, since the last look. `+` stands for a body. With a fault: any."""
        log, self._sent[who] = self.log[self._sent[who] :], len(self.log)
        messages = [m for _, name, output in log if name == who and (m := message_of(output)) is not None]
        found = [message_text(message) for message in messages]
        assert not self.strict or found == list(expected), f"{who} sent {found}"
        return messages if self.strict else [NOTHING] * len(expected)

    def fact(self, truth: Callable[[], object], text: str = "") -> None:
        if self.strict:
            assert truth(), text

    def agreed(self, one: str, other: str, *, one_call: str = "c", other_call: str = "in-1") -> None:
        """Both ends hold the same pair of descriptions."""
        if self.strict:
            here = self.nodes[one].agent.descriptions(one_call)
            there = self.nodes[other].agent.descriptions(other_call)
            assert here == (there[1], there[0])
            assert all(here)

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self, *, spoilt: bool = False) -> None:
        """Both ends agree after a while; then everybody hangs up and leaves, and nothing is left.

        spoilt: descriptions may have been changed on their way.
        """
        self.counting = False
        self.run(SETTLE)
        for name, story in self.stories.items():
            up = {end for end in story.up if not self.nodes[end[0]].dead}
            assert self._is_even(story, up), f"call {name} is up at {up} only: {story}"
            waiting = story.started - story.established - story.ended
            waiting = {end for end in waiting if not self.nodes[end[0]].dead}
            assert not waiting, f"call {name} is still being made at {waiting}"
            left = {end for end in story.reconnecting if not self.nodes[end[0]].dead}
            assert not left, f"call {name} is still reconnecting at {left}"
            if len(up) == 2 and not spoilt:
                here, there = (self.nodes[node].agent.descriptions(call) for node, call in up)
                assert here == (there[1], there[0]), f"call {name}: descriptions differ"
        for name in self.agents:
            for call in self.nodes[name].agent.calls:
                self.command(name, i.HangUp(command=0, call=call))
            self.command(name, i.Shutdown(command=0))
        self.run(CLOSE)
        self.check_empty()
        self.check_numbers()

    def _is_even(self, story: Story, up: set[tuple[str, str]]) -> bool:
        partners = [node for node, _ in up if node != story.caller]
        callers = [node for node, _ in up if node == story.caller]
        return len(partners) == len(callers) <= 1

    def check_empty(self) -> None:
        for name in self.agents:
            node = self.nodes[name]
            if node.dead:
                continue
            missing = set(node.issued) - set(node.outcomes)
            assert not missing, f"{name}: no outcome of {missing}"
            late = {n: when - node.issued[n] for n, (when, _) in node.outcomes.items()}
            assert max(late.values(), default=0.0) <= 400, f"{name}: outcomes after {late}"
            assert not node.started, f"{name}: calls without an end: {node.started}"
            assert not any(node.agent.retained.values()), f"{name}: {node.agent.retained} {node.agent.timers()}"
            assert not node.media.misuse, f"{name}: {node.media.misuse[:3]}"
            assert not node.media.opened, f"{name}: media left open: {node.media.opened}"

    def check_numbers(self) -> None:
        """Each new request in a dialog has a number higher by one (12.2.1.1), whatever was lost."""
        last: dict[tuple[str, str, str], int] = {}
        seen: set[bytes] = set()
        for _, name, output in self.log:
            if name == "p" or not isinstance(output, o.SendData) or output.data in seen:
                continue
            seen.add(output.data)
            message = message_of(output)
            if not isinstance(message, Request) or message.method in ("ACK", "CANCEL"):
                continue
            number = int((message.headers.first("CSeq") or "").split()[0])
            to = (message.headers.first("To") or "").partition("tag=")[2]
            key = (name, message.headers.first("Call-ID") or "", to)
            before = last.get(key)
            assert before is None or number == before + 1, f"{name}: {message.method} {number} after {before}"
            last[key] = number


def message_of(output: Output) -> Request | Response | None:
    """The message that an output sends; None for all else, keep-alives too."""
    if not isinstance(output, o.SendData) or output.data in (PING, PONG):
        return None
    try:
        return parse_message(output.data)
    except MessageSyntaxError:
        return None


def message_text(message: Request | Response) -> str:
    body = "+" if message.body else ""
    if isinstance(message, Request):
        return message.method + body
    return f"{message.status} {(message.headers.first('CSeq') or '').split()[-1]}{body}"


def event_text(output: Output) -> str:
    match output:
        case o.CommandFailed(cause=cause):
            return f"failed {cause.value}"
        case o.ConnectionChanged(state=state):
            return state.value
        case o.RegistrationChanged(state=registration):
            return registration.value
        case o.IncomingCall(audio=audio, video=video, offer=offer):
            kinds = " audio" * audio + " video" * video if offer else " late"
            return f"incoming{kinds}"
        case o.CallProgressed(status=status, early_media=early):
            return f"progress {status}" + " early" * early
        case o.CallRedirected(status=status):
            return f"redirected {status}"
        case o.CallHeld(originator=who):
            return f"held {who.value}"
        case o.CallResumed(originator=who):
            return f"resumed {who.value}"
        case o.CallEnded(cause=cause, originator=who):
            return f"ended {cause.value} {who.value}"
        case o.DtmfReceived(digit=digit):
            return f"digit {digit}"
        case o.InfoReceived(body=body) | o.MessageReceived(body=body):
            return f"{'info' if isinstance(output, o.InfoReceived) else 'message'} {body.decode()}"
        case o.ProtocolViolated(fault=fault):
            return f"violated {fault.value[0]}"
        case o.CallStarted() | o.CallOffered() | o.CallEstablished() | o.CallReconnecting() | o.CallRecovered():
            return type(output).__name__.removeprefix("Call").lower()
        case _:
            return ""


@frozen(kw_only=True)
class Scenario:
    """One of the library. `transports`: what it is played over; `about`: the rule that it is of."""

    name: str
    about: str
    play: Callable[[World], None]
    setting: dict[str, Any]
    transports: tuple[str, ...]

    def world(self, transport: str) -> World:
        setting = dict(self.setting)
        proxy = setting.pop("proxy", None)
        return World(transport=transport, proxy=proxy() if proxy is not None else None, **setting)


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    about: str, *, transports: tuple[str, ...] = ("WS", "UDP"), **setting: Any
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Puts a function into the library, under its own name."""

    def put(play: Callable[[World], None]) -> Callable[[World], None]:
        name = play.__name__
        assert name not in SCENARIOS
        SCENARIOS[name] = Scenario(name=name, about=about, play=play, setting=setting, transports=transports)
        return play

    return put
