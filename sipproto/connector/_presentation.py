"""The presentation: a second video line of ours, with the server's permission.

State       what is asked for   what is done
IDLE        start               ask for permission; add the line, or use that of before; STARTED
STARTED     update              ask for permission; send with the new parameters
STARTED     stop                give updates up; tell the server; stop sending; take the line out of the offer; ENDED
STARTING    stop                the start is given up where it is, then as above
A refusal of the server, or of the peer, leaves the call and its other lines as they were.
"""

from __future__ import annotations

import enum

from attrs import evolve

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import CommandId
from sipproto.agent.media import CallId
from sipproto.agent.outputs import Cause
from sipproto.agent.parameters import EffectiveParameters, Encoding, SenderParameters
from sipproto.conference import Share, ShareState
from sipproto.connector import inputs as c
from sipproto.connector._call import CurrentCall
from sipproto.connector._ground import Ground, tell_server
from sipproto.connector._procedures import Ask, Failed, Pause, Procedure, ask
from sipproto.connector.events import PresentationChanged, PresentationStep
from sipproto.errors import LocalProtocolError
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction

P = PresentationStep

# What the server, or in a call of two the peer, is told: before the start, and at the end.
_PERMISSION = {False: (Share.LET_ME_START,), True: (Share.MUST_STOP, Share.AVAILABLE)}
_GOODBYE = {False: Share.STOPPED, True: Share.ENDED}


class PresentationState(enum.Enum):
    IDLE = "idle"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"


S = PresentationState


class Presentation:
    """One at a time, in the current call."""

    def __init__(self, ground: Ground, call: CurrentCall) -> None:
        self._ground = ground
        self._call = call
        self._lane = ground.lane()
        self.state = S.IDLE
        self._starts: CommandId | None = None  # the last start
        self._applying: CommandId | None = None  # the update that the media engine is being told of
        self._parameters: c.PresentationParameters | None = None  # what is sent with
        self._stopping = False
        self._by_server = False
        self._peer_to_peer = False
        self._goodbye: Share | None = None  # at the last end

    @property
    def line(self) -> str | None:
        """The mid of the line that presentations of this call are sent on; None: there was none yet."""
        return self._call.presentation_line

    @property
    def line_to_use(self) -> str | None:
        """The mid of the line that the next presentation is sent on; None: a new one."""
        if self.line in {line.mid for line in self._call.lines}:
            return self.line
        further = [line for line in self._call.lines if line.kind == "video"][1:]
        return next((line.mid for line in further if not line.direction.sends), None)

    # -- commands ------------------------------------------------------------------------------------------------------

    def start(self, command: c.StartPresentation) -> None:
        self._call.require()
        if self.state is not S.IDLE or self._lane.is_busy:
            raise LocalProtocolError("Presentation is already started")
        self.state, self._peer_to_peer = S.STARTING, command.peer_to_peer
        self._starts = command.command
        self._lane.add(command.command, self._starting(command))

    def update(self, command: c.UpdatePresentation) -> None:
        self._call.require()
        if self.state not in (S.STARTING, S.STARTED) or self._stopping:
            raise LocalProtocolError("Presentation has not started yet")
        self._lane.check_room()
        self._lane.add(command.command, self._updating(command))

    def stop(self, command: c.StopPresentation) -> None:
        self._lane.check_room()
        self._drop_updates()
        self._stopping = self.state is not S.IDLE
        self._lane.add(command.command, self._stop(command.peer_to_peer or self._peer_to_peer))

    def stop_by_server(self) -> None:
        """The server has ended it, or has made us a spectator."""
        if self.state in (S.STARTING, S.STARTED) and not self._stopping:
            self._drop_updates()
            self._stopping = self._by_server = True
            self._lane.add(None, self._stop(self._peer_to_peer))

    def _drop_updates(self) -> None:
        """The end does not wait for the server's answer to a wish that has become void."""
        if self.state is S.STARTED:
            self._lane.clear(Failed(Cause.CANCELED, "the presentation was ended"))

    def cancel(self, command: CommandId) -> None:
        """Gives up a start, also one that has just come about, or an update: then all is sent as it was."""
        if command == self._starts:
            if self.state in (S.STARTING, S.STARTED) and not self._stopping:
                self._drop_updates()
                self._stopping = True
                self._lane.add(None, self._stop(self._peer_to_peer))
            return
        is_applied, before = self._applying == command, self._parameters
        if is_applied and before is not None and self._call.ident is not None:
            self._lane.add(None, self._send(self._call.ident, before))
        self._lane.cancel(command, Failed(Cause.CANCELED, "given up"))

    # -- procedures ----------------------------------------------------------------------------------------------------

    def _starting(self, command: c.StartPresentation) -> Procedure:
        call = self._call.require()
        self._tell(P.START)
        try:
            for left in reversed(range(command.attempts)):
                try:
                    effective = yield from self._attempt(call, command)
                except Failed:
                    self._check_not_stopped()
                    if not left or self._call.ident != call:
                        raise
                else:
                    self.state = S.STARTED
                    self._tell(P.STARTED)
                    return effective
                yield Pause(self._ground.config.presentation_pause)
                self._check_not_stopped()
        except Failed as error:
            self.state = S.IDLE
            self._tell(P.FAILED, error)  # also of a start that was given up: what began has an end
            raise
        return None

    def _attempt(self, call: CallId, command: c.StartPresentation) -> Procedure:
        yield from self._permission(call, command.peer_to_peer)
        try:
            self._check_not_stopped()
            yield from self._open_line(call, command.codecs or self._ground.config.codecs)
            return (yield from self._send(call, command.parameters))
        except Failed:
            yield from self._say(call, _GOODBYE[command.peer_to_peer])  # we may present, and do not
            if self._is_sent:
                yield from self._silence(call)
            raise

    def _check_not_stopped(self) -> None:
        if self._stopping:
            raise Failed(Cause.CANCELED, "stopped before it had started")

    def _permission(self, call: CallId, peer_to_peer: bool) -> Procedure:
        for share in _PERMISSION[peer_to_peer]:
            yield from ask(lambda n, share=share: tell_server(n, call, ShareState(state=share)))  # type: ignore[misc]
        return None

    def _open_line(self, call: CallId, codecs: CodecPreferences) -> Procedure:
        """The line of an earlier presentation, one on which the server sends, or a new one."""
        known = {line.mid: line for line in self._call.lines}
        line = self.line_to_use
        if line is not None:
            self._call.use_for_presentations(line)
            if not known[line].direction.sends:
                directions = ((line, Direction.SENDRECV),)
                yield from ask(lambda n: i.ChangeMedia(command=n, call=call, directions=directions, codecs=codecs))
        else:
            add = (("video", Direction.SENDRECV),)
            mids = yield from ask(lambda n: i.ChangeMedia(command=n, call=call, add=add, codecs=codecs))
            assert isinstance(mids, tuple)
            self._call.use_for_presentations(mids[0])
        if not self._is_sent:
            raise Failed(Cause.INCOMPATIBLE_MEDIA, "the peer does not take a second video line")
        return None

    def _send(self, call: CallId, parameters: c.PresentationParameters) -> Procedure:
        line = self.line
        assert line is not None
        wish = self._sender_parameters(parameters)
        effective = yield from ask(lambda n: i.SetParameters(command=n, call=call, line=line, parameters=wish))
        assert isinstance(effective, EffectiveParameters)
        self._parameters = parameters
        return effective

    def _sender_parameters(self, parameters: c.PresentationParameters) -> SenderParameters:
        most = parameters.max_bitrate
        encodings = tuple(
            evolve(one, max_bitrate=most or one.max_bitrate or self._ground.config.presentation_bitrate)
            for one in parameters.encodings
        )
        return SenderParameters(
            encodings=encodings,
            degradation_preference=parameters.degradation_preference,
            content_hint=parameters.content_hint,
        )

    def _updating(self, command: c.UpdatePresentation) -> Procedure:
        call = self._call.require()
        if self.state is not S.STARTED:
            raise Failed(Cause.NOT_POSSIBLE, "Presentation has not started yet")
        self._tell(P.UPDATING)
        yield from self._permission(call, command.peer_to_peer)
        self._applying = command.command
        try:
            effective = yield from self._send(call, command.parameters)
        finally:
            self._applying = None
        self._tell(P.UPDATED)
        return effective

    def _stop(self, peer_to_peer: bool) -> Procedure:
        by_server = self._by_server
        self._stopping = self._by_server = False
        if self.state is not S.STARTED or self._call.ident is None:
            return None
        self.state = S.STOPPING
        self._tell(P.END, by_server=by_server)
        self._goodbye = None if by_server else _GOODBYE[peer_to_peer]
        yield from self._end(self._call.ident)
        self.state = S.IDLE
        self._tell(P.ENDED, by_server=by_server)
        return None

    def _end(self, call: CallId) -> Procedure:
        if self._goodbye is not None:
            yield from self._say(call, self._goodbye)
        if self.line is not None:
            yield from self._silence(call)
        return None

    def _silence(self, call: CallId) -> Procedure:
        """Nothing is sent any more, whatever the peer says of the offer; and it need not keep a decoder."""
        line = self.line
        assert line is not None
        silent = SenderParameters(encodings=(Encoding(active=False),))
        yield Ask(lambda n: i.SetParameters(command=n, call=call, line=line, parameters=silent))
        directions = ((line, Direction.RECVONLY),)
        yield Ask(lambda n: i.ChangeMedia(command=n, call=call, directions=directions))
        return None

    def _say(self, call: CallId, share: Share) -> Procedure:
        """Tells the server, whatever it answers."""
        yield Ask(lambda n: tell_server(n, call, ShareState(state=share)))
        return None

    @property
    def _is_sent(self) -> bool:
        """Whether the peer takes what is sent on our line."""
        return any(one.mid == self.line and one.direction.sends for one in self._call.lines)

    # -- what the agent says ------------------------------------------------------------------------------------------

    def note(self, event: object) -> None:
        match event:
            case o.CallEnded(call=call) if call == self._call.ident:
                self._call_ended(event)
            case o.CallRecovered(call=call) if call == self._call.ident and self.state is S.IDLE:
                self._catch_up(call)
            case _:
                pass

    def _catch_up(self, call: CallId) -> None:
        """While the connection was lost a presentation may have been ended of which the peer could not be told."""
        if self._is_sent and not self._lane.is_busy:
            self._lane.add(None, self._end(call))

    def _call_ended(self, event: o.CallEnded) -> None:
        was, self.state = self.state, S.IDLE
        self._stopping = self._by_server = False
        self._lane.clear(Failed(event.cause, event.detail, event.status))
        if was in (S.STARTED, S.STOPPING):
            self._ground.emit(PresentationChanged(call=event.call, step=P.ENDED))

    def _tell(self, step: PresentationStep, error: Failed | None = None, *, by_server: bool = False) -> None:
        if self._call.ident is None:
            return
        self._ground.emit(
            PresentationChanged(
                call=self._call.ident,
                step=step,
                line=self.line,
                cause=error.cause if error is not None else None,
                detail=error.detail if error is not None else "",
                status=error.status if error is not None else None,
                by_server=by_server,
            )
        )
