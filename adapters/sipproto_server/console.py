"""The operator's console without I/O: lines to commands, and what happens to lines."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from sipproto.agent import outputs as o
from sipproto_server._commands import OperatorError
from sipproto_server._config import Relayed, ServerOutput, UserChanged
from sipproto_server._operations import OPERATIONS, command_of
from sipproto_server._room import (
    ParticipantChanged,
    ParticipantEntered,
    ParticipantInfo,
    ParticipantLeft,
    PermissionDecided,
    PermissionWanted,
    PresentationEnded,
    PresentationStarted,
    Undelivered,
)
from sipproto_server._server import Server

_RELAYED = ("INVITE", "BYE", "MESSAGE")  # the methods of which the log tells


class Console:
    """One line in, some lines out. `ended` is set by `quit`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.ended = False
        self._own: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
            "rooms": ("Lists the rooms.", self._rooms),
            "participants": ("Lists who is there.", self._participants),
            "policy": ("Shows who may do what.", self._policy),
            "help": ("Shows this list.", self._help),
            "quit": ("Ends the server.", self._quit),
        }

    def line(self, text: str) -> tuple[str, ...]:
        """Does what a line says, and returns what there is to say to it. Never raises for what is typed."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            return (f"a line that cannot be read: {str(error).lower()}",)
        if not words:
            return ()
        name, *values = words
        if name in self._own:
            return tuple(map(printable, self._own[name][1]()))
        if name not in OPERATIONS:
            return (printable(f"there is no command {name[:40]!r}; help lists them"),)
        try:
            self._server.operate(command_of(name, values))
        except OperatorError as error:
            return (printable(str(error)),)
        return ("done",)

    def _rooms(self) -> Iterable[str]:
        for room in self._server.core.rooms:
            presenter = f", {room.presenter} presents" if room.presenter else ""
            yield f"{room.room}: {' '.join(room.participants) or 'nobody'}{presenter}"

    def _participants(self) -> Iterable[str]:
        return [describe_participant(one) for one in self._server.core.participants] or ["nobody"]

    def _policy(self) -> Iterable[str]:
        policy = self._server.core.policy
        yield f"presentation {policy.presentation.value}, camera {policy.camera.value}"
        yield f"a second presenter: {policy.second_presenter.value}; the operator has {policy.ask_timeout:g} s"

    def _help(self) -> Iterable[str]:
        yield "TARGET is a participant, such as p1, or all in a room, such as @800 or @purgatory."
        for name, operation in OPERATIONS.items():
            yield f"{f'{name} {operation.usage}':48} {operation.help}"
        for name, (text, _) in self._own.items():
            yield f"{name:48} {text}"

    def _quit(self) -> Iterable[str]:
        self.ended = True
        return ()


def describe_participant(one: ParticipantInfo) -> str:
    """One line."""
    where = f"waits for {one.wanted_room}" if one.room != one.wanted_room else f"in {one.room}"
    facts = [
        one.role.value.lower(),
        *(["guest"] if one.user is None else [f"user {one.user}"]),
        *(["moderator"] if one.moderator else []),
        *(["presents"] if one.presenting else []),
        *([f"camera {_on(one.cam)}"] if one.cam is not None else []),
        *([f"microphone {_on(one.mic)}"] if one.mic is not None else []),
        *(f"refused {device.name.lower()}" for device in one.refused),
    ]
    return f"{one.participant} {one.name}, {where}: {', '.join(facts)}"


def describe(output: ServerOutput) -> str | None:
    """What the operator is to know of an output, in one line; None for nothing."""
    text = _describe(output)
    return None if text is None else printable(text)


def _describe(output: ServerOutput) -> str | None:
    match output:
        case ParticipantEntered(participant=one) | ParticipantChanged(participant=one):
            return describe_participant(one)
        case ParticipantLeft(participant=one, detail=detail):
            return f"{one.participant} {one.name} is gone: {detail}"
        case PermissionWanted(participant=one, what=what, timeout=timeout):
            return f"{one} asks for the {what}: allow {one} {what}, or deny {one} {what}, within {timeout:g} s"
        case PermissionDecided(participant=one, what=what, granted=granted):
            return f"{one}: {what} {'allowed' if granted else 'denied'}"
        case PresentationStarted(room=room, participant=one):
            return f"{one} presents in {room}"
        case PresentationEnded(room=room, participant=one):
            return f"{one} presents in {room} no more"
        case Undelivered(participant=one, what=what, detail=detail):
            return f"{one} did not take {what}: {detail}"
        case UserChanged(user=user, contact=contact):
            return f"{user}: {'registered' if contact else 'gone'}"
        case Relayed(method=method, target=target) if method in _RELAYED:
            return f"{method} relayed to {target}"
        case o.IncomingCall(from_uri=from_uri, to_uri=to_uri):
            return f"{from_uri} calls {to_uri}"
        case o.CallEnded(cause=cause, detail=detail):
            return f"call ended: {cause.value} {detail}"
        case _:
            return None


def _on(value: bool) -> str:
    return "on" if value else "off"


def printable(text: str) -> str:
    """What peers wrote, without what would command a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
