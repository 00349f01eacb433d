"""A connector and the embedded server, both without I/O, joined by connections that the test can cut; time is simulated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import evolve

from sipproto.agent import AgentConfig, Recovery, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import MediaOperation
from sipproto.conference import ConferenceMessage, Unusable, parse_info, write_info
from sipproto.connector import ConnectionParameters, ConnectorConfig
from sipproto.connector.inputs import CallServer, ConnectToServer
from sipproto.sdp import Direction
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto.testing._world_base import WorldBase
from sipproto.tokens import SeededTokens
from sipproto_server import ServerConfig, ServerCore

REALM = "example.com"
PASSWORD = "open sesame"
ALICE = ConnectionParameters(
    sip_server_url=f"sip:{REALM}",
    sip_web_socket_server_url="wss://example.com/ws",
    user="alice",
    password=PASSWORD,
    register=True,
    display_name="Alice Liddell",
    remote_address="192.0.2.7",
)
GUEST = evolve(ALICE, user=None, password=None, register=False, display_name="A guest")
BOTH: Media = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))


class Focus:
    """A conference server of which the test decides what it says and answers; it does not know REGISTER."""

    def __init__(self, seed: int) -> None:
        self.agent = UserAgent(
            AgentConfig(
                aor="sip:focus@example.com",
                any_user=True,
                answer_infos=True,
                capabilities=FAKE_CAPABILITIES,
                recovery=Recovery(reconnect=False, grace=30.0),
                tokens=SeededTokens(seed),
            )
        )
        self.verdict: Callable[[ConferenceMessage], int | None] = lambda _: 200  # None: no answer
        self.answers = True  # calls
        self.heard: list[ConferenceMessage] = []
        self.events: list[Any] = []
        self.call: str | None = None
        self.made: list[str] = []
        self._now = 0.0
        self._command = 0

    def next_timeout(self) -> float | None:
        return self.agent.next_timeout()

    def handle(self, what: Any, now: float) -> tuple[Any, ...]:
        self._now = now
        out: list[Any] = []
        todo = deque([what])
        while todo:
            for output in self.agent.handle(todo.popleft(), now):
                out.append(output)
                if (reaction := self._reaction(output)) is not None:
                    todo.append(reaction)
        return tuple(out)

    def invite(self, contact: str, flow: int) -> i.Invite:
        """To call a client over the connection that it has made: a server routes to it, which an agent does not."""
        self.agent._hub.server_flow = flow
        self.made.append(f"made-{len(self.made)}")
        return i.Invite(command=0, call=self.made[-1], target=contact, media=BOTH)

    def refused(self) -> list[int | None]:
        """How those calls ended that were refused."""
        return [event.status for event in self.events if isinstance(event, o.CallEnded) and event.call in self.made]

    def _reaction(self, output: Any) -> Any:
        self.events.append(output)
        self._command += 1
        match output:
            case o.IncomingCall(call=call):
                self.call = call
                return i.Answer(command=self._command, call=call, media=BOTH) if self.answers else None
            case o.InfoReceived(call=call, info=info):
                said = parse_info(output.content_type, output.headers)
                assert len(said) == 1 and not isinstance(said[0], Unusable), output
                self.heard.append(said[0])
                status = self.verdict(said[0])
                if status is not None:
                    return i.AnswerInfo(command=self._command, call=call, info=info, status=status)
            case _:
                pass
        return None


class World(WorldBase):
    """A connector, and the embedded server or a Focus in its place."""

    def __init__(self, config: ConnectorConfig | None = None, *, seed: int = 1, **server: Any) -> None:
        settings: dict[str, Any] = {"users": {"alice": PASSWORD, "bob": "bob's"}, **server}
        core = ServerCore(
            ServerConfig(realm=REALM, capabilities=FAKE_CAPABILITIES, tokens=SeededTokens(seed + 1000), **settings)
        )
        super().__init__(config, core, seed)
        self.focus = Focus(seed + 2000)
        self.engine = self.media
        self._server_engine = FakeMediaEngine(seed=seed + 1000)
        self.reachable = True
        self.answers = True  # whether connections that are asked for open or fail at all

    def _carry_out(self, outputs: tuple[object, ...]) -> None:
        assert PASSWORD not in repr(outputs)
        super()._carry_out(outputs)

    def _admit(self) -> int | None:
        return None if not self.answers else 200 if self.reachable else 503

    def _other(self, output: object) -> None:
        if isinstance(output, MediaOperation):
            self._server_engine.perform(output, lambda reply: self._queue.append((self._served, reply)))

    # -- looking -------------------------------------------------------------------------------------------------------

    def say(self, message: ConferenceMessage) -> None:
        """The focus says something in the call."""
        assert self.focus.call is not None
        info = write_info(message)
        send = i.SendInfo(
            command=0, call=self.focus.call, content_type=info.content_type, body=b"", headers=info.headers
        )
        self.tell_focus(send)

    def focus_calls(self) -> None:
        """The focus calls us, over the connection that we have made."""
        contact = self.agent._hub.flow_contact(next(iter(self.flows))).uri
        self._command += 1
        self.tell_focus(self.focus.invite(str(contact), next(iter(self.flows.values()))))

    def focus_gives_up(self) -> None:
        """It ends the call that it made last."""
        self.tell_focus(i.HangUp(command=0, call=self.focus.made[-1]))

    def tell_focus(self, what: Any) -> None:
        self._queue.append((self._served, what))
        self.settle()


def conference(config: ConnectorConfig | None = None, *, seed: int = 1) -> World:
    """A connector as a guest of the focus."""
    world = World(config, seed=seed)
    world.server = world.focus
    world.do(ConnectToServer, parameters=GUEST)
    return world


def in_call(config: ConnectorConfig | None = None, *, seed: int = 1, **fields: Any) -> World:
    """A connector in a call with the focus; nothing of how it came about is in `out`."""
    world = conference(config, seed=seed)
    call = world.new_call()
    outcome = world.do(CallServer, call=call, number="12345", **fields)
    assert isinstance(outcome, o.CommandSucceeded), outcome
    world.take()
    world.sent.clear()
    return world
