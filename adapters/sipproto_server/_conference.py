"""The conference focus: who is in which room, what they are told, and what they ask for. Without I/O.

The forms on the wire are those of docs/conference-protocol.md. What participants want is answered in `_wishes.py`, and
who sees what is arranged in `_pictures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import evolve

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.conference import (
    PURGATORY,
    Channels,
    ConferenceMessage,
    EnterRoom,
    Info,
    ParticipantTokenIssued,
    Role,
    UseLicense,
    write_info,
)
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import parse_sip_uri
from sipproto.tokens import token
from sipproto_server._config import ConferencePolicy, ServerConfig, ServerOutput, Service
from sipproto_server._pictures import Pictures
from sipproto_server._room import (
    Participant,
    ParticipantChanged,
    ParticipantEntered,
    ParticipantInfo,
    ParticipantLeft,
    Room,
    RoomInfo,
    Undelivered,
    changed,
)
from sipproto_server._wishes import Wishes

Done = Callable[[str | None], None]
_TOKEN_LENGTH = 40  # characters
_ON_OFF = {"1": True, "0": False}


class Focus(Protocol):
    """What a conference needs of the server around it."""

    def command(self, make: Callable[[i.CommandId], i.Command], done: Done) -> None:
        """Has the user agent do something, after all that it does now. `done` gets None, or why it failed."""
        ...

    def emit(self, output: ServerOutput, /) -> None: ...

    def notify(self, user: str, info: Info, /) -> bool:
        """A NOTIFY outside of calls to all that a user has registered; False when that is nothing."""
        ...


class Conference:
    """All rooms of a server."""

    def __init__(self, config: ServerConfig, focus: Focus) -> None:
        self.config = config
        self.policy: ConferencePolicy = config.policy
        self.focus = focus
        self.pictures = Pictures(self)
        self.wishes = Wishes(self)
        self._rooms = {PURGATORY: Room(name=PURGATORY)}
        self._rooms |= {s.room: Room(name=s.room) for s in config.services.values() if s.kind == "conference"}
        self._calls: dict[CallId, Participant] = {}
        self._last = 0

    # -- what is there -----------------------------------------------------------------------------------------------

    @property
    def rooms(self) -> tuple[RoomInfo, ...]:
        """All rooms, also those that are empty; `purgatory` is where people wait."""
        return tuple(room.info for room in self._rooms.values())

    @property
    def participants(self) -> tuple[ParticipantInfo, ...]:
        """Everybody, in the order in which they have called."""
        return tuple(one.info for one in self.everybody)

    @property
    def everybody(self) -> tuple[Participant, ...]:
        return tuple(one for one in self._calls.values() if one in self.room_of(one).members)

    def has_call(self, call: CallId) -> bool:
        """Also one that is being answered."""
        return call in self._calls

    def has_room(self, name: str) -> bool:
        return name in self._rooms

    def room_of(self, participant: Participant) -> Room:
        return self._rooms[participant.info.room]

    def members(self, room: str) -> tuple[Participant, ...]:
        return tuple(self._rooms[room].members) if room in self._rooms else ()

    @property
    def retained(self) -> dict[str, int]:
        return {"participants": len(self._calls), "wishes": self.wishes.waiting_count, "arranged": len(self.pictures)}

    @property
    def is_full(self) -> bool:
        return len(self._calls) >= self.config.max_participants

    # -- coming and going --------------------------------------------------------------------------------------------

    def called(self, call: o.IncomingCall, service: Service, user: str | None) -> None:
        """Somebody calls a room, and will be answered."""
        self._last += 1
        said = {name.lower(): value.strip().lower() for name, value in call.headers}
        waits = service.lobby and (user is None or said.get("x-vinteo-purgatory-call") == "yes")
        info = ParticipantInfo(
            participant=f"p{self._last}",
            name=call.display_name or _user_part(call.from_uri),
            user=user,
            room=PURGATORY if waits else service.room,
            wanted_room=service.room,
            cam=_ON_OFF.get(said.get("x-vinteo-maincam-state", "")),
            mic=_ON_OFF.get(said.get("x-vinteo-mic-state", "")),
        )
        participant = self._calls[call.call] = Participant(info=info, call=call.call)
        self.pictures.arrange(self.room_of(participant), participant)

    def heard(self, output: o.Output, now: float) -> None:
        """Something has happened to a call."""
        participant = self._calls.get(getattr(output, "call", ""))
        if participant is None:
            return
        match output:
            case o.CallEstablished():
                self._enter(participant, self.room_of(participant))
            case o.MediaNegotiated(lines=lines):
                participant.negotiated(lines)
                self.pictures.refresh(self.room_of(participant))
            case o.CallRecovered():
                participant.tried = not participant.tried  # what was asked for meanwhile did not reach them
                self.pictures.refresh(self.room_of(participant))
            case o.InfoReceived() if output.info:
                self.wishes.received(participant, output, now)
            case o.CallEnded(detail=detail, cause=cause):
                self._left(participant, detail or cause.value)
            case _:
                pass

    def loud(self, call: CallId, level: float, now: float) -> None:
        """How loud somebody is, in dBFS: who speaks is shown."""
        participant = self._calls.get(call)
        if not self.config.follow_speaker or participant is None or participant.info.role is not Role.PARTICIPANT:
            return
        room = self.room_of(participant)
        if room.name != PURGATORY and participant in room.members and room.speakers.heard(call, level, now):
            self.pictures.refresh(room)

    def move(self, participant: Participant, name: str) -> None:
        """Into another room, or out of the lobby."""
        room = self._rooms[name]
        if room is self.room_of(participant):
            return
        self.pictures.leave(participant)
        self._take_out(participant)
        changed(participant, room=name, wanted_room=name)
        self._enter(participant, room)

    def _enter(self, participant: Participant, room: Room) -> None:
        room.members.append(participant)
        self.focus.emit(ParticipantEntered(participant=participant.info))
        if room.name == PURGATORY:
            self.tell(participant, EnterRoom(room=PURGATORY, participant_name=participant.info.name))
        else:
            number = participant.ident[1:]
            channels = participant.info.channels or Channels(input=number, output=number)
            jwt = token(self.config.tokens, _TOKEN_LENGTH)
            entry = EnterRoom(
                room=room.name, participant_name=participant.info.name, channels=channels, bearer_token=jwt
            )
            self.tell(participant, entry)
            self.tell(participant, UseLicense(license=participant.info.license))
            self.tell(participant, self._issued(participant, jwt))
        self.pictures.refresh(room)

    def _left(self, participant: Participant, detail: str) -> None:
        entered = participant in self.room_of(participant).members
        self._take_out(participant)
        self.pictures.forget(participant.call)
        del self._calls[participant.call]
        if entered:
            self.focus.emit(ParticipantLeft(participant=participant.info, detail=detail))

    def _take_out(self, participant: Participant) -> None:
        room = self.room_of(participant)
        self.wishes.forget(participant)
        self.stop_presentation(participant)
        room.speakers.forget(participant.call)
        if participant in room.members:
            room.members.remove(participant)
        self.pictures.refresh(room)

    # -- what is told ------------------------------------------------------------------------------------------------

    def tell(self, participant: Participant, message: ConferenceMessage) -> None:
        """By INFO. Whatever becomes of it, the call goes on."""
        what = type(message).__name__

        def done(error: str | None) -> None:
            if error is not None and participant.call in self._calls:
                self.focus.emit(Undelivered(participant=participant.ident, what=what, detail=error))

        try:
            info = write_info(message)
        except LocalProtocolError as error:
            done(str(error))
            return
        self.focus.command(
            lambda command: i.SendInfo(
                command=command,
                call=participant.call,
                content_type=info.content_type,
                body=b"",
                headers=info.headers,
            ),
            done,
        )

    def issue_token(self, participant: Participant) -> None:
        """Another token for the room that they are in."""
        self.tell(participant, self._issued(participant, token(self.config.tokens, _TOKEN_LENGTH)))

    def _issued(self, participant: Participant, jwt: str) -> ParticipantTokenIssued:
        name = participant.info.user or participant.info.name
        return ParticipantTokenIssued(conference=participant.info.room, participant=f"SIP/{name}", jwt=jwt)

    def note(self, participant: Participant, **what: Any) -> None:
        """Takes over what is known anew, and says so."""
        if changed(participant, **what):
            self.focus.emit(ParticipantChanged(participant=participant.info))
            self.pictures.refresh(self.room_of(participant))

    def end(self, participant: Participant) -> None:
        """Ends the call."""
        self.focus.command(lambda command: i.HangUp(command=command, call=participant.call), lambda _: None)

    def stop_presentation(self, participant: Participant) -> None:
        """Nobody is shown it any more. Nothing happens when they do not present."""
        room = self.room_of(participant)
        if room.presenter is participant:
            self.pictures.end(room)

    def set_policy(self, **what: Any) -> None:
        self.policy = evolve(self.policy, **what)

    # -- time --------------------------------------------------------------------------------------------------------

    def next_timeout(self) -> float | None:
        ends = [room.permitted_until for room in self._rooms.values()]
        return min((end for end in [*ends, self.wishes.next_timeout()] if end is not None), default=None)

    def expire(self, now: float) -> None:
        self.wishes.expire(now)
        for room in self._rooms.values():
            if room.permitted_until is not None and room.permitted_until <= now and room.presenter is not None:
                self.stop_presentation(room.presenter)


def _user_part(uri: str) -> str:
    try:
        return parse_sip_uri(uri).username or "guest"
    except MessageSyntaxError:
        return "guest"
