"""Procedures: what takes several steps, each waiting for the last, written down in their order.

A procedure is a generator. It yields what it waits for, an Ask or a Pause or a Hear, and is sent what came of it. It ends by
returning the result of its command, or by raising Failed. Nothing of it runs but when an input is handled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from attrs import define, frozen

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause
from sipproto.errors import LocalProtocolError
from sipproto.timers import TimerTable


@frozen
class Ask:
    """Give a command to the agent; its outcome is sent back. After `limit` seconds that is a REQUEST_TIMEOUT."""

    make: Callable[[CommandId], i.Command]
    limit: float | None = None


@frozen
class Pause:
    """Go on after so many seconds."""

    seconds: float


@frozen
class Hear:
    """Go on when `Procedures.say` is called with this key; what is said there is sent back."""

    key: object


class Failed(Exception):
    """The command of a procedure fails."""

    def __init__(self, cause: Cause, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.status = status


Procedure = Generator[Ask | Pause | Hear, Any, object]
Done = Callable[["object | Failed"], None]


def ask(make: Callable[[CommandId], i.Command], limit: float | None = None) -> Generator[Ask, Any, object]:
    """The result of a command of the agent. Raises Failed when the command fails."""
    outcome = yield Ask(make, limit)
    if isinstance(outcome, o.CommandFailed):
        raise Failed(outcome.cause, outcome.detail, outcome.status)
    return outcome.result


@define(eq=False)
class Running:
    """A procedure under way, and what it waits for."""

    steps: Procedure
    done: Done
    asked: CommandId | None = None
    heard: object = None
    is_over: bool = False


class Procedures:
    """All procedures that are under way. `tell` takes commands for the agent; their outcomes come back by `outcome`."""

    def __init__(self, tell: Callable[[i.Command], None], timers: TimerTable) -> None:
        self._tell = tell
        self._timers = timers
        self._number = 0
        self._asked: dict[CommandId, Running] = {}
        self._hearing: dict[object, Running] = {}
        self.now = 0.0

    def __len__(self) -> int:
        return len(self._asked) + len(self._hearing)

    def start(self, steps: Procedure, done: Done) -> Running:
        running = Running(steps, done)
        self._go_on(running, None)
        return running

    def cancel(self, running: Running) -> None:
        """Nothing more of it; `done` is not called."""
        if not running.is_over:
            running.is_over = True
            self._forget(running)
            running.steps.close()

    def outcome(self, outcome: o.Outcome) -> bool:
        """The outcome of a command of the agent. Whether it is that of a procedure (or of one that was cancelled)."""
        if outcome.command >= 0:
            return False
        if (running := self._asked.get(outcome.command)) is not None:
            self._resume(running, outcome)
        return True

    def say(self, key: object, what: object) -> bool:
        """What a procedure hears. Whether one waits for it."""
        running = self._hearing.get(key)
        if running is not None:
            self._resume(running, what)
        return running is not None

    def fire(self, owner: object) -> None:
        """The timer of a procedure is due."""
        assert isinstance(owner, Running)
        late = None
        if owner.asked is not None:
            detail = "no answer came in time"
            late = o.CommandFailed(command=owner.asked, cause=Cause.REQUEST_TIMEOUT, detail=detail)
        self._resume(owner, late)

    def _resume(self, running: Running, what: object) -> None:
        self._forget(running)
        self._go_on(running, what)

    def _forget(self, running: Running) -> None:
        self._timers.stop(running, "procedure")
        if running.asked is not None:
            self._asked.pop(running.asked, None)
            running.asked = None
        if running.heard is not None:
            self._hearing.pop(running.heard, None)
            running.heard = None

    def _go_on(self, running: Running, what: object) -> None:
        try:
            step = running.steps.send(what)
        except StopIteration as end:
            running.is_over = True
            running.done(end.value)
            return
        except Failed as error:
            running.is_over = True
            running.done(error)
            return
        if running.is_over:  # cancelled by what it did itself
            running.steps.close()
            return
        self._wait_for(running, step)

    def _wait_for(self, running: Running, step: Ask | Pause | Hear) -> None:
        match step:
            case Pause(seconds=seconds):
                self._timers.start(running, "procedure", self.now + seconds)
            case Hear(key=key):
                running.heard = key
                self._hearing[key] = running
            case Ask(make=make, limit=limit):
                self._number -= 1
                try:
                    command = make(self._number)
                except LocalProtocolError as error:  # there is no such command: the agent would say the same
                    failed = o.CommandFailed(command=self._number, cause=Cause.NOT_POSSIBLE, detail=str(error))
                    self._go_on(running, failed)
                    return
                running.asked = self._number
                self._asked[self._number] = running
                if limit is not None:
                    self._timers.start(running, "procedure", self.now + limit)
                self._tell(command)


@define(eq=False)
class _Entry:
    command: CommandId | None
    steps: Procedure
    running: Running | None = None


class Lane:
    """Commands of one kind, carried out one after the other. Each ends exactly once, by `finish`.

    What the connector does by itself has no command, and nobody hears of its end.
    """

    def __init__(self, procedures: Procedures, finish: Callable[[CommandId, object], None], limit: int) -> None:
        self._procedures = procedures
        self._finish = finish
        self._limit = limit
        self._waiting: deque[_Entry] = deque()
        self._current: _Entry | None = None

    @property
    def is_busy(self) -> bool:
        return self._current is not None

    def check_room(self) -> None:
        """Raises LocalProtocolError when too much waits already."""
        if len(self._waiting) >= self._limit:
            raise LocalProtocolError(f"{self._limit} commands wait already")

    def add(self, command: CommandId | None, steps: Procedure) -> None:
        """Carries out a command when those before it are through."""
        self._waiting.append(_Entry(command, steps))
        if self._current is None:
            self._next()

    def clear(self, failure: Failed) -> None:
        """Everything under way and waiting ends with this failure."""
        entries = [*([self._current] if self._current is not None else []), *self._waiting]
        self._current = None
        self._waiting.clear()
        for entry in entries:
            self._drop(entry, failure)

    def cancel(self, command: CommandId, failure: Failed) -> None:
        """Ends one command with this failure, under way or waiting."""
        entry = self._current
        if entry is not None and entry.command == command:
            self._current = None
            self._drop(entry, failure)
            self._next()
            return
        for waiting in [entry for entry in self._waiting if entry.command == command]:
            self._waiting.remove(waiting)
            self._drop(waiting, failure)

    def _drop(self, entry: _Entry, failure: Failed) -> None:
        if entry.running is not None:
            self._procedures.cancel(entry.running)
        else:
            entry.steps.close()
        self._end(entry, failure)

    def _next(self) -> None:
        if self._current is None and self._waiting:
            entry = self._current = self._waiting.popleft()
            running = self._procedures.start(entry.steps, lambda result: self._done(entry, result))
            if not running.is_over:
                entry.running = running

    def _done(self, entry: _Entry, result: object) -> None:
        if self._current is entry:
            self._current = None
        self._end(entry, result)
        self._next()

    def _end(self, entry: _Entry, result: object) -> None:
        if entry.command is not None:
            self._finish(entry.command, result)
