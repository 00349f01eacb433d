"""What the conference server says, and what is done about it without being asked."""

from __future__ import annotations

from attrs import evolve

from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.conference import (
    ConferenceMessage,
    EnterRoom,
    License,
    ParticipantState,
    ParticipantTokenIssued,
    Restart,
    Role,
    Share,
    ShareState,
    SpectatorMode,
    Unusable,
    UseLicense,
    parse_info,
    parse_notify,
)
from sipproto.connector import inputs as c
from sipproto.connector._call import CurrentCall
from sipproto.connector._ground import Ground, tell_server
from sipproto.connector._presentation import Presentation
from sipproto.connector._procedures import ask
from sipproto.connector.events import (
    ContentChanged,
    LicenseChanged,
    MessageFromServer,
    MessageNotUnderstood,
    RoleChanged,
)


class Conference:
    """Reads INFOs of the current call and NOTIFYs; keeps role, licence and whether somebody presents."""

    def __init__(self, ground: Ground, call: CurrentCall, presentation: Presentation) -> None:
        self._ground = ground
        self._call = call
        self._presentation = presentation
        self._forget()

    def _forget(self) -> None:
        self.role = RoleChanged(call="", role=Role.PARTICIPANT)
        self.license: License | None = None
        self.content: ContentChanged | None = None

    # -- what we say ---------------------------------------------------------------------------------------------------

    def send(self, command: c.SendToServer) -> None:
        call = self._call.require()
        info = tell_server(0, call, command.message)  # what cannot be written is known at once
        self._ground.procedures.start(
            ask(lambda n: evolve(info, command=n)),
            lambda result: self._ground.finish(command.command, result),
        )

    # -- what we hear --------------------------------------------------------------------------------------------------

    def note(self, event: object) -> list[ConferenceMessage]:
        """What the server says by this event, for those who balance."""
        match event:
            case o.InfoReceived(call=call) if call == self._call.ident:
                said = parse_info(event.content_type, event.headers, event.body)
                return [one for message in said if (one := self._hear(call, message)) is not None]
            case o.NotificationReceived():
                message = parse_notify(event.headers)
                one = None if message is None else self._hear(None, message)
                return [] if one is None else [one]
            case o.CallEnded(call=call) if call == self._call.ident:
                self._forget()
            case _:
                pass
        return []

    def _hear(self, call: CallId | None, message: ConferenceMessage | Unusable) -> ConferenceMessage | None:
        if isinstance(message, Unusable):
            self._ground.emit(MessageNotUnderstood(call=call, detail=f"{message.content_type}: {message.detail}"))
            return None
        self._ground.emit(MessageFromServer(call=call, message=message))
        self._react(call, message)
        return message

    def _react(self, call: CallId | None, message: ConferenceMessage) -> None:
        match message:
            case ParticipantTokenIssued():
                self._call.issued(message)
            case _ if call is None:
                pass
            case EnterRoom():
                self._call.entered(message)
            case UseLicense(license=license) if license is not self.license:
                self.license = license
                self._ground.emit(LicenseChanged(call=call, license=license))
            case ParticipantState():
                self._participant_state(call, message)
            case ShareState():
                self._shared(call, message)
            case Restart() if self._ground.config.restart_ice:
                self._call.restart_automatically()
            case _:
                pass

    def _participant_state(self, call: CallId, message: ParticipantState) -> None:
        spectator = message.role is not Role.PARTICIPANT
        may_send = not spectator or message.mode is SpectatorMode.BY_CAMERA
        role = RoleChanged(call=call, role=message.role, audio_id=message.audio_id, may_send=may_send)
        if (role.role, role.audio_id, role.may_send) != (self.role.role, self.role.audio_id, self.role.may_send):
            self.role = role
            self._ground.emit(role)
        if spectator:
            self._presentation.stop_by_server()

    def _shared(self, call: CallId, message: ShareState) -> None:
        if message.state is Share.MUST_STOP:
            self._presentation.stop_by_server()
        elif message.state in (Share.AVAILABLE, Share.ENDED):
            available = message.state is Share.AVAILABLE
            content = ContentChanged(call=call, available=available, codec=message.codec if available else None)
            if content != self.content:
                self.content = content
                self._ground.emit(content)
