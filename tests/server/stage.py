"""A server core with conference clients of the core, media engines without media on both sides."""

from __future__ import annotations

from typing import Any, TypeVar

from sipproto.agent import AgentConfig, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import MediaOperation
from sipproto.auth import Secret
from sipproto.conference import ConferenceMessage, Unusable, parse_info, parse_notify, write_info
from sipproto.sdp import Direction
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine
from sipproto.tokens import SeededTokens
from sipproto_server import ArrangeMedia, Arrangement, ServerOutput, command_of
from tests.server.rig import REALM, USERS, World

AUDIO_VIDEO = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
_T = TypeVar("_T")


class Stage(World):
    """Clients call `c` each; their names are those of their connections."""

    def __init__(self, **more: Any) -> None:
        super().__init__(FAKE_CAPABILITIES, guests=more.pop("guests", True), **more)
        self.media = FakeMediaEngine(seed=1)
        self.engines: dict[int, FakeMediaEngine] = {}
        self.lost: set[int] = set()  # clients whose connection is gone
        self._again: dict[int, int] = {}  # clients by their second connection, see `reconnect`

    # -- the carrying out --------------------------------------------------------------------------------------------

    def _at_server(self, what: i.Input) -> None:
        self.carry_out(self.core.handle(what, self.now))  # type: ignore[arg-type]

    def carry_out(self, outputs: tuple[ServerOutput, ...]) -> None:
        for output in outputs:
            self.told.append(output)
            if isinstance(output, o.SendData):
                if output.flow in self._again:
                    self.agent(self._again[output.flow], i.DataReceived(flow=2, data=output.data))
                elif output.flow in self.agents:
                    self.agent(output.flow, i.DataReceived(flow=1, data=output.data))
            elif isinstance(output, MediaOperation):
                self.media.perform(output, self.server)

    def _at_agent(self, flow: int, what: i.Input) -> None:
        for output in self.agents[flow].handle(what, self.now):
            self.seen[flow].append(output)
            if isinstance(output, o.SendData):
                if flow not in self.lost:
                    self.server(i.DataReceived(flow=flow + 100 * (output.flow - 1), data=output.data))
            elif isinstance(output, MediaOperation):
                self.engines[flow].perform(output, lambda reply: self.agent(flow, reply))

    # -- clients -----------------------------------------------------------------------------------------------------

    def join(
        self,
        flow: int,
        user: str,
        number: str = "800",
        *,
        register: bool = True,
        media: i.Media = AUDIO_VIDEO,
        headers: tuple[tuple[str, str], ...] = (),
        **more: Any,
    ) -> None:
        """A client calls a room. Users who are not those of the server are guests."""
        secrets = (Secret(username=user, password=USERS[user]),) if user in USERS else ()
        tokens = SeededTokens(100 + flow)
        config = AgentConfig(
            aor=f"sip:{user}@{REALM}",
            display_name=user.title(),
            secrets=secrets,
            capabilities=FAKE_CAPABILITIES,
            tokens=tokens,
            **more,
        )
        self.agents[flow], self.seen[flow] = UserAgent(config), []
        self.engines[flow] = FakeMediaEngine(seed=flow + 10)
        self.command(flow, i.Connect, server="ws://h/")
        self.server(i.FlowOpened(flow=flow, transport="WS"))
        self.agent(flow, i.FlowOpened(flow=1, transport="WS"))
        if secrets and register:
            self.command(flow, i.Register)
        self.command(flow, i.Invite, call="c", target=f"sip:{number}@{REALM}", media=media, headers=headers)

    def lose(self, flow: int) -> None:
        """The connection of a client is gone, which both sides notice."""
        self.server(i.FlowClosed(flow=flow))
        self.agent(flow, i.FlowClosed(flow=1, error="gone"))

    def reconnect(self, flow: int) -> None:
        """A client comes back by another connection."""
        while not isinstance(opening := self.last(flow, o.OpenFlow), o.OpenFlow) or opening.flow != 2:
            self.pass_time(0.5)
        self._again[flow + 100] = flow
        self.server(i.FlowOpened(flow=flow + 100, transport="WS"))
        self.agent(flow, i.FlowOpened(flow=2, transport="WS"))

    def say(self, flow: int, message: ConferenceMessage) -> int | None:
        """An INFO of a client; the status of the answer, None when there is none yet."""
        info = write_info(message)
        return self.send_info(flow, info.content_type, info.headers)

    def send_info(self, flow: int, content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> int | None:
        self.command(flow, i.SendInfo, call="c", content_type=content_type, body=b"", headers=headers)
        return self.status(flow)

    def status(self, flow: int) -> int | None:
        """Of the last command of a client."""
        match self.outcome(flow):
            case o.CommandSucceeded(result=int(status)):
                return status
            case o.CommandFailed(status=status):
                return status
            case _:
                return None

    def outcome(self, flow: int) -> o.Outcome | None:
        outcomes = (x for x in self.seen[flow] if isinstance(x, o.CommandSucceeded | o.CommandFailed))
        return next((x for x in outcomes if x.command == self._command), None)

    def heard(self, flow: int) -> list[ConferenceMessage | Unusable]:
        """What a client was told by INFO since this was asked last."""
        out: list[ConferenceMessage | Unusable] = []
        for output in self.seen[flow]:
            if isinstance(output, o.InfoReceived):
                out += parse_info(output.content_type, output.headers)
        self.seen[flow] = [x for x in self.seen[flow] if not isinstance(x, o.InfoReceived)]
        return out

    def notified(self, flow: int) -> list[object]:
        """What a client was told outside of calls."""
        found = (x for x in self.seen[flow] if isinstance(x, o.NotificationReceived))
        return [parse_notify(x.headers) for x in found]

    def lines(self, flow: int) -> dict[str, tuple[str, str]]:
        """The media lines of a client: kind and direction by mid."""
        last = self.last(flow, o.MediaNegotiated)
        assert isinstance(last, o.MediaNegotiated)
        return {line.mid: (line.kind, line.direction.value) for line in last.lines}

    # -- the server --------------------------------------------------------------------------------------------------

    def operate(self, name: str, *values: str) -> None:
        self.do(command_of(name, values))

    def do(self, command: object) -> None:
        self.carry_out(self.core.operate(command, self.now))

    def events(self, kind: type[_T]) -> list[_T]:
        return [x for x in self.told if isinstance(x, kind)]

    def arranged(self, participant: str) -> Arrangement:
        """What a participant hears and sees; calls are those of the server, in the order of participants."""
        calls = list(dict.fromkeys(x.call for x in self.told if isinstance(x, o.IncomingCall)))
        call = calls[int(participant[1:]) - 1]
        return [x.arrangement for x in self.told if isinstance(x, ArrangeMedia) and x.call == call][-1]

    @property
    def rooms(self) -> dict[str, tuple[str, ...]]:
        return {room.room: room.participants for room in self.core.rooms}
