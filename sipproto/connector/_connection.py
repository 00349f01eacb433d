"""Connection operations: one owner, the newest wish counts, and each ends once.

What is asked for             while something is under way
connect                       takes its place, and that of all that waits (SUPERSEDED); leaves the connection there is
disconnect                    takes its place at once (CANCELED)
register, unregister ...      waits for it
ping, options                 goes beside it
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from attrs import evolve

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.config import Recovery, SessionTimers
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause
from sipproto.auth import Secret
from sipproto.connector import inputs as c
from sipproto.connector._ground import Ground
from sipproto.connector._procedures import Ask, Failed, Hear, Pause, Procedure, ask
from sipproto.connector.config import AutoConnect, ConnectionParameters
from sipproto.connector.events import (
    AttemptStep,
    Configuration,
    ConnectAttempt,
    ConnectFailed,
    ConnectionStatus,
    ConnectionStatusChanged,
    ConnectStarted,
    ConnectSucceeded,
    ParametersUnwanted,
    ParametersWanted,
)
from sipproto.errors import LocalProtocolError
from sipproto.tokens import uniform

S, A = ConnectionStatus, AttemptStep
# What another attempt does not change, or would lock the account.
_LASTING = frozenset(
    {Cause.AUTHENTICATION_ERROR, Cause.NO_PASSWORD, Cause.REJECTED, Cause.NOT_FOUND, Cause.NOT_POSSIBLE}
)
_GUESTS = 100_000, 99_999_999  # the numbers that guests get, the second excluded
_SUPERSEDED = Failed(Cause.SUPERSEDED, "a later connection took its place")
_DISCONNECTED = Failed(Cause.CANCELED, "disconnected before it was through")
_GIVEN_UP = Failed(Cause.CANCELED, "given up")
_NOT_CONNECTED = "not connected to a server"


class Connection:
    """The operations, and what the connection is. `leave` gives a procedure that ends the calls."""

    def __init__(self, ground: Ground, leave: Callable[[], Procedure]) -> None:
        self._ground = ground
        self._leave = leave
        self._lane = ground.lane()
        self._wanting: CommandId | None = None  # whose parameters we wait for
        self._connects: CommandId | None = None  # the newest connect, under way or come about
        self._leaving = False
        self._disconnects: list[CommandId] = []  # that end with the leaving under way
        self.status = S.IDLE
        self.epoch = 0
        self.parameters: ConnectionParameters | None = None
        self.configuration: Configuration | None = None
        self.is_registered = False
        self._link = o.ConnectionState.DISCONNECTED

    @property
    def is_busy(self) -> bool:
        return self._lane.is_busy

    # -- commands ------------------------------------------------------------------------------------------------------

    def connect(self, command: c.ConnectToServer) -> None:
        if command.parameters is not None:
            command.parameters.check()
        self._clear(_SUPERSEDED)
        self._connects = command.command
        self.epoch += 1
        self._ground.emit(ConnectStarted(epoch=self.epoch))
        self._lane.add(command.command, self._connecting(command))

    def disconnect(self, command: c.DisconnectFromServer) -> None:
        self._disconnects.append(command.command)
        self._clear(_DISCONNECTED)
        self._leave_connection()

    def register(self, command: c.RegisterAtServer) -> None:
        self._add(command.command, self._registering())

    def unregister(self, command: c.UnregisterFromServer) -> None:
        self._add(command.command, self._unregistering())

    def try_register(self, command: c.TryRegister) -> None:
        self._add(command.command, self._registering(again=True))

    def _add(self, command: CommandId, steps: Procedure) -> None:
        self._lane.check_room()
        self._lane.add(command, self._settling(steps))

    def set_name(self, command: c.SetName) -> None:
        if self.parameters is None:
            raise LocalProtocolError(_NOT_CONNECTED)
        parameters = evolve(self.parameters, display_name=command.display_name)
        parameters.check()
        changed = parameters != self.parameters
        self.parameters = parameters
        if self.configuration is not None:
            self.configuration = evolve(self.configuration, display_name=command.display_name)
        name = parameters.shown_name
        self._ground.procedures.start(
            ask(lambda n: i.SetDisplayName(command=n, display_name=name)),
            lambda result: self._ground.finish(command.command, result if isinstance(result, Failed) else changed),
        )

    def ping(self, command: c.Ping) -> None:
        if self.parameters is None or self.configuration is None:
            raise LocalProtocolError(_NOT_CONNECTED)
        target = command.target or self.parameters.address(self.configuration.authorization_user)
        limit = self._ground.config.probe_limit
        self._ground.procedures.start(
            ask(
                lambda n: i.SendOptions(
                    command=n, target=target, timeout=limit, body=command.body, headers=command.headers
                ),
                limit,
            ),
            lambda result: self._ground.finish(command.command, result),
        )

    def cancel(self, command: CommandId) -> None:
        """Gives up an operation; the connection that it was about to make, or has made, is left, whatever waits for it."""
        self._unwant(command)
        if command == self._connects:
            self._leave_connection()
        self._lane.cancel(command, _GIVEN_UP)

    def _leave_connection(self) -> None:
        self._connects = None
        if not self._leaving:  # else the one under way is as good
            self._leaving = True
            self._ground.procedures.start(self._disconnect(self.epoch), self._disconnected)

    def _clear(self, failure: Failed) -> None:
        if self._wanting is not None:
            self._unwant(self._wanting)
        self._lane.clear(failure)

    def _unwant(self, command: CommandId) -> None:
        if self._wanting == command:
            self._wanting = None
            self._ground.emit(ParametersUnwanted(command=command))

    # -- procedures ----------------------------------------------------------------------------------------------------

    def _connecting(self, command: c.ConnectToServer) -> Procedure:
        epoch = self.epoch
        try:
            configuration = yield from self._connect(command)
        except Failed as error:
            yield from self._close()
            self._connects = self.parameters = self.configuration = None
            self._change(S.DISCONNECTED)
            self._ground.emit(ConnectFailed(epoch=epoch, cause=error.cause, detail=error.detail, status=error.status))
            raise
        assert isinstance(configuration, Configuration)
        self._change(S.ESTABLISHED)
        self._ground.emit(ConnectSucceeded(epoch=epoch, configuration=configuration))
        return configuration

    def _connect(self, command: c.ConnectToServer) -> Procedure:
        if self._leaving:
            yield Hear("disconnected")
        self._change(S.PREPARING)
        yield from self._end_connection()
        parameters = command.parameters or (yield from self._resolve(command.command))
        known = parameters.register or parameters.password is not None
        user = (known and (parameters.user or "").strip()) or self._guest()
        self.parameters = parameters
        self.configuration = _configuration(parameters, user)
        yield from ask(lambda n: _account(n, parameters, user))
        if command.auto is not None:
            yield from self._try_for(parameters, command.auto)
            return self.configuration
        attempts = parameters.attempts or self._ground.config.attempts
        for left in reversed(range(attempts)):
            self._change(S.CONNECTING)
            try:
                yield from self._attempt(parameters)
                break
            except Failed as error:
                yield from self._close()
                # Only what could not be reached may be there the next time; who refuses us means it.
                if not left or error.cause is not Cause.CONNECTION_ERROR:
                    raise
            yield Pause(self._ground.config.attempt_pause)
        return self.configuration

    def _try_for(self, parameters: ConnectionParameters, auto: AutoConnect) -> Procedure:
        """Until it comes about, is refused for good, or was tried often enough."""
        number, epoch, step = 0, self.epoch, A.CANCELED
        error: Failed | None = None
        try:
            while True:
                number += 1
                self._change(S.CONNECTING)
                self._ground.emit(ConnectAttempt(epoch=epoch, number=number, step=A.BEGINS))
                try:
                    yield from self._attempt(parameters)
                except Failed as failed:
                    error = failed
                    yield from self._close()
                    if failed.cause in _LASTING or number == auto.attempts:
                        step = A.REFUSED if failed.cause in _LASTING else A.LIMIT
                        raise
                else:
                    step, error = A.SUCCEEDED, None
                    return None
                delay = auto.delay(number, uniform(self._ground.tokens))
                self._ground.emit(_attempted(epoch, number, A.WAITS, error, delay))
                yield Pause(delay)
        finally:
            self._ground.emit(_attempted(epoch, number, step, error))

    def _attempt(self, parameters: ConnectionParameters) -> Procedure:
        yield from ask(lambda n: i.Connect(command=n, server=parameters.sip_web_socket_server_url))
        self._change(S.CONNECTED)
        if parameters.register:
            yield from ask(lambda n: i.Register(command=n, expires=parameters.register_expires))
        return None

    def _resolve(self, command: CommandId) -> Generator[Hear, Any, ConnectionParameters]:
        self._wanting = command
        self._ground.emit(ParametersWanted(command=command))
        resolved: c.ParametersResolved = yield Hear(("parameters", command))
        self._wanting = None
        if resolved.parameters is None:
            raise Failed(Cause.NOT_POSSIBLE, resolved.error or "the parameters could not be had")
        try:
            resolved.parameters.check()
        except LocalProtocolError as error:
            raise Failed(Cause.NOT_POSSIBLE, str(error)) from None
        return resolved.parameters

    def _settling(self, steps: Procedure) -> Procedure:
        """Steps after which the status is what the agent has said meanwhile; not before a leaving under way is through."""
        if self._leaving:
            yield Hear("disconnected")
        try:
            result = yield from steps
        except Failed:
            self._settle()
            raise
        self._settle()
        return result

    def _guest(self) -> str:
        first, last = _GUESTS
        return str(first + int(uniform(self._ground.tokens) * (last - first)))

    def _registering(self, *, again: bool = False) -> Procedure:
        parameters = self.parameters
        if parameters is None or self._link is not o.ConnectionState.CONNECTED:
            raise Failed(Cause.NOT_POSSIBLE, _NOT_CONNECTED)
        if again:
            yield Ask(lambda n: i.Unregister(command=n))  # whatever comes of it
        return (yield from ask(lambda n: i.Register(command=n, expires=parameters.register_expires)))

    def _unregistering(self) -> Procedure:
        yield from ask(lambda n: i.Unregister(command=n))
        return None

    def _disconnect(self, left: int) -> Procedure:
        """`left`: the epoch of what is left; the next connection may have been asked for before this is through."""
        self._change(S.DISCONNECTING, left)
        told = yield from self._end_connection()
        self.parameters = self.configuration = None
        if not told:  # there was none: those who wait for the event get it all the same
            self._ground.emit(o.ConnectionChanged(state=o.ConnectionState.DISCONNECTED))
        self._change(S.DISCONNECTED, left)
        return None

    def _disconnected(self, result: object) -> None:
        self._leaving = False
        commands, self._disconnects = self._disconnects, []
        for command in commands:
            self._ground.finish(command, result)
        self._ground.procedures.say("disconnected", None)

    def _end_connection(self) -> Procedure:
        """Ends calls, registration and connection in order. Whether there was a connection."""
        yield from self._leave()
        if self.is_registered:
            yield Ask(lambda n: i.Unregister(command=n), self._ground.config.leave_limit)
        return (yield from self._close())

    def _close(self) -> Procedure:
        there = self._link is not o.ConnectionState.DISCONNECTED
        yield Ask(lambda n: i.Disconnect(command=n))
        return there

    # -- what the agent says -------------------------------------------------------------------------------------------

    def note(self, event: object) -> None:
        match event:
            case o.ConnectionChanged(state=state):
                self._link = state
                self._follow()
            case o.RegistrationChanged(state=state):
                self.is_registered = state is o.RegistrationState.REGISTERED
                self._follow()
            case _:
                pass

    def _follow(self) -> None:
        """The agent loses connections, and gets them back: what nobody asked for shows in the status, too."""
        if not self._lane.is_busy:
            self._settle()

    def _settle(self) -> None:
        if self._leaving or self.parameters is None:
            return
        lost = {o.ConnectionState.RECONNECTING: S.RECONNECTING, o.ConnectionState.CONNECTING: S.CONNECTING}
        if self._link is o.ConnectionState.DISCONNECTED:
            self._change(S.DISCONNECTED)
        elif self._link is o.ConnectionState.CONNECTED:
            whole = self.is_registered or not self.parameters.register
            self._change(S.ESTABLISHED if whole else S.CONNECTED)
        else:
            self._change(lost[self._link])

    def _change(self, status: ConnectionStatus, epoch: int | None = None) -> None:
        if status is not self.status:
            self.status = status
            of = self.epoch if epoch is None else epoch
            self._ground.emit(ConnectionStatusChanged(epoch=of, status=status, configuration=self.configuration))


def _attempted(
    epoch: int, number: int, step: AttemptStep, error: Failed | None, retry_in: float | None = None
) -> ConnectAttempt:
    cause, detail = (None, "") if error is None else (error.cause, error.detail)
    return ConnectAttempt(epoch=epoch, number=number, step=step, retry_in=retry_in, cause=cause, detail=detail)


def _configuration(parameters: ConnectionParameters, user: str) -> Configuration:
    return Configuration(
        sip_server_url=parameters.sip_server_url,
        sip_web_socket_server_url=parameters.sip_web_socket_server_url,
        authorization_user=user,
        display_name=parameters.display_name,
        register=parameters.register,
        remote_address=parameters.remote_address,
    )


def _account(command: CommandId, parameters: ConnectionParameters, user: str) -> i.UseAccount:
    first, last = parameters.connection_recovery
    secrets = () if parameters.password is None else (Secret(username=user, password=parameters.password),)
    return i.UseAccount(
        command=command,
        aor=parameters.address(user),
        display_name=parameters.shown_name,
        secrets=secrets,
        user_agent=parameters.user_agent,
        register_expires=parameters.register_expires,
        register_headers=parameters.headers,
        recovery=Recovery(first_delay=first, max_delay=last),
        session_timers=SessionTimers() if parameters.session_timers else SessionTimers(expires=0, agree=False),
    )
