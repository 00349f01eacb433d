"""The connector engine: an agent, and what a conference client coordinates around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sipproto.agent import UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.connector import inputs as c
from sipproto.connector._call import CurrentCall
from sipproto.connector._conference import Conference
from sipproto.connector._connection import Connection
from sipproto.connector._ground import Ground
from sipproto.connector._media import CallMedia
from sipproto.connector._presentation import Presentation
from sipproto.connector.config import ConnectorConfig
from sipproto.errors import LocalProtocolError
from sipproto.tokens import TokenSource

Handle = Callable[[i.Input, float], tuple[o.Output, ...]]


class Connector:
    """A conference client without I/O: the agent that it is given, and the operations on top of it.

    Driven as an agent is: give every input to `handle`, carry out all outputs, wake it at `next_timeout`. It takes the
    inputs of an agent too, and passes its outputs on. `handle`: how the agent is driven, to record what it is given.
    """

    def __init__(
        self, config: ConnectorConfig, agent: UserAgent, tokens: TokenSource, *, handle: Handle | None = None
    ) -> None:
        self._agent = agent
        self._tell_agent: Handle = handle or agent.handle
        self._ground = ground = Ground(config, tokens)
        self.call = CurrentCall(ground, lambda: self.connection.parameters)
        self.connection = Connection(ground, self.call.leave)
        self.presentation = Presentation(ground, self.call)
        self.conference = Conference(ground, self.call, self.presentation)
        self.media = CallMedia(ground, self.call)
        self._commands: dict[type, Callable[[Any], None]] = {
            c.ConnectToServer: self.connection.connect,
            c.DisconnectFromServer: self.connection.disconnect,
            c.RegisterAtServer: self.connection.register,
            c.UnregisterFromServer: self.connection.unregister,
            c.TryRegister: self.connection.try_register,
            c.SetName: self.connection.set_name,
            c.Ping: self.connection.ping,
            c.CallServer: self.call.call,
            c.AnswerCall: self.call.answer,
            c.DeclineCall: self.call.decline,
            c.HangUpCall: self.call.hang_up,
            c.ChangeCallMedia: self._change_media,
            c.RestartCallIce: self.call.restart_ice,
            c.SendToServer: self.conference.send,
            c.StartPresentation: self.presentation.start,
            c.UpdatePresentation: self.presentation.update,
            c.StopPresentation: self.presentation.stop,
            c.StartBalancing: self.media.command,
            c.StopBalancing: self.media.command,
            c.Balance: self.media.command,
            c.ParametersResolved: self._resolved,
            c.Cancel: self._cancel,
        }

    # -- the contract --------------------------------------------------------------------------------------------------

    def handle(self, what: i.Input | c.ConnectorInput, now: float) -> tuple[object, ...]:
        """Takes one input at the time `now` (monotonic seconds); returns every output, in order.

        Never raises for what a peer did. Raises LocalProtocolError for a command that is not possible now; nothing has
        changed then, and the command has no outcome.
        """
        ground = self._ground
        ground.out = []
        ground.procedures.now = max(now, ground.now)
        command = self._commands.get(type(what))
        if command is not None:
            command(what)
        else:
            self._give(what, now)  # type: ignore[arg-type]
            if isinstance(what, i.TimeoutElapsed):
                self._fire_due()
        while ground.todo:
            following = ground.todo.popleft()
            try:
                self._give(following, now)
            except LocalProtocolError as error:
                self._outcome(o.CommandFailed(command=following.command, cause=o.Cause.NOT_POSSIBLE, detail=str(error)))
        out, ground.out = ground.out, []
        return tuple(out)

    def next_timeout(self) -> float | None:
        """When `TimeoutElapsed` is wanted at the latest."""
        times = (self._agent.next_timeout(), self._ground.timers.next_timeout(), self.media.next_timeout())
        return min((when for when in times if when is not None), default=None)

    @property
    def config(self) -> ConnectorConfig:
        return self._ground.config

    @property
    def calls(self) -> tuple[CallId, ...]:
        """The calls that the application knows of."""
        return self._agent.calls

    @property
    def retained(self) -> dict[str, int]:
        """How much is held: for tests and monitoring."""
        ground = self._ground
        own = {"procedures": len(ground.procedures), "connector_timers": len(ground.timers)}
        return self._agent.retained | own

    # -- inside --------------------------------------------------------------------------------------------------------

    def _give(self, what: i.Input, now: float) -> None:
        """Gives one input to the agent; its outputs go to the parts, and out.

        Procedures go on when everything is known that has happened with the outcome they wait for.
        """
        outcomes: list[o.Outcome] = []
        for output in self._tell_agent(what, now):
            if isinstance(output, o.CommandSucceeded | o.CommandFailed):
                outcomes.append(output)
            else:
                self._event(output)
        for outcome in outcomes:
            self._outcome(outcome)

    def _outcome(self, outcome: o.Outcome) -> None:
        if not self._ground.procedures.outcome(outcome):
            self._ground.emit(outcome)

    def _event(self, event: o.Output) -> None:
        self._ground.emit(event)
        self.connection.note(event)
        for message in self.conference.note(event):
            self.media.said(message)
        if isinstance(event, o.CallEnded):  # those who look at the call hear of its end before it is forgotten
            self.presentation.note(event)
            self.media.note(event)
            self.call.note(event)
        else:
            self.call.note(event)
            self.presentation.note(event)
            self.media.note(event)

    def _fire_due(self) -> None:
        ground = self._ground
        while (due := ground.timers.pop_due(ground.now)) is not None:
            ground.procedures.fire(due[0])
        self.media.time()

    def _resolved(self, resolved: c.ParametersResolved) -> None:
        self._ground.procedures.say(("parameters", resolved.command), resolved)

    def _change_media(self, command: c.ChangeCallMedia) -> None:
        self.call.change_media(command)
        self.media.replaced()

    def _cancel(self, cancel: c.Cancel) -> None:
        self.connection.cancel(cancel.target)
        self.presentation.cancel(cancel.target)
