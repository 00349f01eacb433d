"""The call of a connector, those who ring meanwhile, and what the server says of the room."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import CallId
from sipproto.agent.parameters import SenderParameters
from sipproto.conference import EnterRoom, ParticipantTokenIssued, has_peer_to_peer, has_purgatory
from sipproto.connector import inputs as c
from sipproto.connector._ground import Ground
from sipproto.connector._procedures import Ask, Failed, Procedure, ask
from sipproto.connector.config import BusyPolicy, ConnectionParameters
from sipproto.connector.events import (
    CallerGone,
    CallStatus,
    CallStatusChanged,
    IceRestarted,
    RemoteStreamsChanged,
    Room,
)
from sipproto.errors import LocalProtocolError
from sipproto.sdp import Direction
from sipproto.sdp import direction as direction_of

S = CallStatus
_BUSY = 486


class CurrentCall:
    """At most one call at a time. `parameters` gives those of the connection; `over` is called when the call has ended."""

    def __init__(self, ground: Ground, parameters: Callable[[], ConnectionParameters | None]) -> None:
        self._ground = ground
        self._parameters = parameters
        self.ident: CallId | None = None
        self.status = S.IDLE
        self.room: Room | None = None
        self._place = S.ACTIVE  # the status that goes with the room
        self._issued: tuple[str, str] | None = None  # the last token and the conference it is for
        self.lines: tuple[o.LineInfo, ...] = ()
        self.streams: RemoteStreamsChanged | None = None  # as told last
        self.presentation_line: str | None = None  # the mid of the line that presentations are sent on
        self.on_lines: Callable[[], None] = lambda: None
        self.on_parameters: Callable[[str, SenderParameters], None] = lambda _, __: None
        self.ringing: dict[CallId, o.IncomingCall] = {}
        self._declined: set[CallId] = set()
        self._changes = ground.lane()  # each looks at the lines that the one before has left
        self._restarting = False
        self._restarts: list[c.RestartCallIce] = []  # that end with the restart under way

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def is_established(self) -> bool:
        return self.status not in (S.IDLE, S.CONNECTING)

    def require(self) -> CallId:
        """The established call. Raises LocalProtocolError without one."""
        if self.ident is None or not self.is_established:
            raise LocalProtocolError("there is no established call")
        return self.ident

    def use_for_presentations(self, line: str) -> None:
        """The line of that mid is no main line from now on, also where there is no other of its kind."""
        self.presentation_line = line
        self.on_lines()

    def main_line(self, kind: str) -> o.LineInfo | None:
        """The first line of a kind that is not for presentations."""
        return next((one for one in self.lines if one.kind == kind and one.mid != self.presentation_line), None)

    # -- calls made and answered ---------------------------------------------------------------------------------------

    def call(self, command: c.CallServer) -> None:
        parameters = self._parameters()
        if parameters is None:
            raise LocalProtocolError("not connected to a server")
        self._require_idle()
        target = parameters.address(command.number)
        headers = command.headers
        if not parameters.register:  # a guest sends no REGISTER that could carry them
            given = {name.lower() for name, _ in headers}
            headers = (*headers, *(line for line in parameters.headers if line[0].lower() not in given))
        codecs = command.codecs or self._ground.config.codecs
        invite = i.Invite(
            command=0, call=command.call, target=target, media=command.media, codecs=codecs, headers=headers
        )
        self._make(command, command.call, invite, command.parameters)

    def answer(self, command: c.AnswerCall) -> None:
        call = self._ringing(command.call)
        self._require_idle()
        self.ringing.pop(call)
        codecs = command.codecs or self._ground.config.codecs
        answer = i.Answer(command=0, call=call, media=command.media, codecs=codecs, headers=command.headers)
        self._make(command, call, answer, command.parameters)

    def _require_idle(self) -> None:
        if self.ident is not None:
            raise LocalProtocolError("there is a call already")

    def _make(
        self,
        command: c.CallServer | c.AnswerCall,
        call: CallId,
        make: i.Invite | i.Answer,
        parameters: SenderParameters | None,
    ) -> None:
        self.ident = call
        self._change(S.CONNECTING)

        def done(result: object) -> None:
            if isinstance(result, Failed) and self.ident == call:
                self._over()  # the agent took it for impossible: no CallEnded will come
            self._ground.finish(command.command, call if not isinstance(result, Failed) else result)

        self._ground.procedures.start(self._making(make, parameters), done)

    def _making(self, make: i.Invite | i.Answer, parameters: SenderParameters | None) -> Procedure:
        yield from ask(lambda n: evolve(make, command=n))
        if parameters is not None:
            yield from self.send_with(parameters)
        return None

    def send_with(self, parameters: SenderParameters) -> Procedure:
        """The main video is sent with these. A line that is not sent has none."""
        call, line = self.ident, self.main_line("video")
        if call is not None and line is not None:
            mid = line.mid
            outcome = yield Ask(lambda n: i.SetParameters(command=n, call=call, line=mid, parameters=parameters))
            if isinstance(outcome, o.CommandSucceeded):
                self.on_parameters(mid, parameters)
        return None

    def _ringing(self, call: CallId | None) -> CallId:
        ident = call if call is not None else next(iter(self.ringing), None)
        if ident is None or ident not in self.ringing:
            raise LocalProtocolError("nobody is calling")
        return ident

    def decline(self, command: c.DeclineCall) -> None:
        call = self._ringing(command.call)
        if not 300 <= command.status <= 699:
            raise LocalProtocolError("a caller is refused with a status of 300 to 699")
        self._declined.add(call)
        self._ground.procedures.start(
            ask(lambda n: i.HangUp(command=n, call=call, status=command.status)),
            lambda result: self._ground.finish(command.command, result),
        )

    def hang_up(self, command: c.HangUpCall) -> None:
        self._ground.procedures.start(self._ending(False), lambda result: self._ground.finish(command.command, result))

    def leave(self) -> Procedure:
        """Ends the call, and refuses who rings: the connection is left."""
        return self._ending(True)

    def _ending(self, everybody: bool) -> Procedure:
        calls = [] if self.ident is None else [self.ident]
        for call in [*calls, *(self.ringing if everybody else ())]:
            yield Ask(lambda n, call=call: i.HangUp(command=n, call=call))  # type: ignore[misc]
        return None

    # -- media ---------------------------------------------------------------------------------------------------------

    def change_media(self, command: c.ChangeCallMedia) -> None:
        call = self.require()
        self._changes.check_room()
        self._changes.add(command.command, self._changing(call, command))

    def _changing(self, call: CallId, command: c.ChangeCallMedia) -> Procedure:
        if self.ident != call:
            raise Failed(o.Cause.TERMINATED, "the call has ended")
        add, directions = self._difference(command)
        if add or directions or (command.renegotiate and self.lines):
            if not add and not directions:
                same = self.lines[0]
                directions = ((same.mid, same.direction),)
            yield from ask(
                lambda n: i.ChangeMedia(
                    command=n, call=call, add=add, directions=directions, codecs=self._ground.config.codecs
                )
            )
        if command.parameters is not None:
            yield from self.send_with(command.parameters)
        return None

    def _difference(self, command: c.ChangeCallMedia) -> tuple[Media, tuple[tuple[str, Direction], ...]]:
        """What has to be asked of the peer: new lines, and other directions of those there are."""
        wanted, add = dict(command.media), []
        directions: list[tuple[str, Direction]] = []
        for kind in ("audio", "video"):
            line = self.main_line(kind)
            direction = wanted.get(kind)
            if line is None and direction is not None and command.add:
                add.append((kind, direction))
            elif line is not None and direction is None and command.remove and line.direction.sends:
                directions.append((line.mid, direction_of(False, line.direction.receives)))
            elif line is not None and direction is not None and direction.sends and not line.direction.sends:
                directions.append((line.mid, direction))
        return tuple(add), tuple(directions)

    # -- ICE -----------------------------------------------------------------------------------------------------------

    def restart_ice(self, command: c.RestartCallIce) -> None:
        self.require()
        self._restarts.append(command)
        self._restart(command, automatic=False)

    def restart_automatically(self) -> None:
        """The server wants it."""
        if self.is_established:
            self._restart(c.RestartCallIce(command=0), automatic=True)

    def _restart(self, command: c.RestartCallIce, *, automatic: bool) -> None:
        if self._restarting:
            return  # that one is as good
        call, self._restarting = self.require(), True

        def done(result: object) -> None:
            self._restarting = False
            waiting, self._restarts = self._restarts, []
            refused = isinstance(result, Failed) and result.status is not None
            outcome = False if refused and self.ident == call else result
            for one in waiting:
                self._ground.finish(one.command, outcome)
            detail = result.detail if isinstance(result, Failed) else ""
            self._ground.emit(IceRestarted(call=call, done=result is True, automatic=automatic, detail=detail))

        self._ground.procedures.start(self._restart_steps(call, command), done)

    def _restart_steps(self, call: CallId, command: c.RestartCallIce) -> Procedure:
        done = yield from ask(
            lambda n: i.RestartIce(command=n, call=call, use_update=command.use_update, headers=command.headers)
        )
        if command.parameters is not None:
            yield from self.send_with(command.parameters)
        return done is True

    # -- what is heard -------------------------------------------------------------------------------------------------

    def note(self, event: object) -> None:
        match event:
            case o.IncomingCall():
                self._rings(event)
            case o.CallEstablished(call=call) if call == self.ident:
                self._change(S.ACTIVE)
                if self.room is not None:
                    self._change(self._place)
            case o.MediaNegotiated(call=call, lines=lines) if call == self.ident:
                self.lines = lines
            case o.CallEnded(call=call) if call in self.ringing:
                self.ringing.pop(call)
                declined = call in self._declined
                self._declined.discard(call)
                self._ground.emit(
                    CallerGone(call=call, declined=declined, originator=event.originator, cause=event.cause)
                )
            case o.CallEnded(call=call) if call == self.ident:
                self._over()
            case _:
                pass

    def _rings(self, event: o.IncomingCall) -> None:
        config = self._ground.config
        busy = self.ident is not None and config.busy is BusyPolicy.REFUSE
        self.ringing[event.call] = event
        if busy or len(self.ringing) > config.max_incoming:
            self._declined.add(event.call)
            steps = ask(lambda n: i.HangUp(command=n, call=event.call, status=_BUSY))
            self._ground.procedures.start(steps, lambda _: None)

    def _over(self) -> None:
        self.lines, self.room, self._issued, self.streams = (), None, None, None
        self.presentation_line = None
        self._change(S.IDLE)
        self.ident = None

    def entered(self, message: EnterRoom) -> None:
        """The server names the room; it may do so before we know that the call is established."""
        token = message.bearer_token
        if token is None and self.room is not None and self.room.name.lower() == message.room.lower():
            token = self.room.token
        if token is None and self._issued is not None and self._issued[1].lower() == message.room.lower():
            token = self._issued[0]
        self.room = Room(name=message.room, participant_name=message.participant_name, token=token)
        direct = message.direct_peer_to_peer or has_peer_to_peer(message.room)
        self._place = S.PURGATORY if has_purgatory(message.room) else S.PEER_TO_PEER if direct else S.IN_ROOM
        if self.is_established:
            self._change(self._place, again=True)

    def issued(self, message: ParticipantTokenIssued) -> None:
        """A token for a conference; good for our room if that is the one."""
        self._issued = (message.jwt, message.conference)
        if self.room is not None and self.room.name.lower() == message.conference.lower():
            self.room = evolve(self.room, token=message.jwt)

    def _change(self, status: CallStatus, *, again: bool = False) -> None:
        if (status is not self.status or again) and self.ident is not None:
            self.status = status
            self._ground.emit(CallStatusChanged(call=self.ident, status=status, room=self.room))
