"""What the parts of a connector stand on: time, outputs, procedures and the way to the agent."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import CommandId
from sipproto.agent.media import CallId
from sipproto.conference import ConferenceMessage, write_info
from sipproto.connector._procedures import Failed, Lane, Procedures
from sipproto.connector.config import ConnectorConfig
from sipproto.timers import TimerTable
from sipproto.tokens import TokenSource


def tell_server(command: CommandId, call: CallId, message: ConferenceMessage) -> i.SendInfo:
    """The INFO that says this to the conference server. Raises LocalProtocolError for what cannot be written."""
    info = write_info(message)
    return i.SendInfo(command=command, call=call, content_type=info.content_type, body=b"", headers=info.headers)


class Ground:
    """Not public. `todo` is what the agent is still to be given in this step."""

    def __init__(self, config: ConnectorConfig, tokens: TokenSource) -> None:
        self.config = config
        self.tokens = tokens
        self.timers = TimerTable()
        self.todo: deque[i.Command] = deque()
        self.out: list[object] = []
        self.procedures = Procedures(self.todo.append, self.timers)

    @property
    def now(self) -> float:
        return self.procedures.now

    def emit(self, output: object) -> None:
        self.out.append(output)

    def finish(self, command: CommandId, result: object) -> None:
        """The outcome of a command: a Failed, or anything else as its result."""
        if isinstance(result, Failed):
            self.emit(o.CommandFailed(command=command, cause=result.cause, detail=result.detail, status=result.status))
        else:
            self.emit(o.CommandSucceeded(command=command, result=result))

    def lane(self) -> Lane:
        return Lane(self.procedures, self.finish, self.config.max_waiting)

    def start_timer(self, owner: Hashable, name: str, delay: float) -> None:
        self.timers.start(owner, name, self.now + delay)
