"""Keeps the main video of a call as the conference server wants it and as its size and codec need it.

    balancer = VideoBalancer(start_delay=10.0)
    balancer.handle(LineKnown(line="1", codec="video/VP8"), now)
    balancer.handle(CallConfirmed(), now) -> (BalancingScheduled(delay=10.0),)
    ... at balancer.next_timeout(): balancer.handle(TimeoutElapsed(), now) -> (MeasureSize(number=1),)
    balancer.handle(SizeMeasured(size=Resolution(1280, 720), number=1), now) -> (ApplyParameters(number=1, ...),)
    balancer.handle(ParametersApplied(number=1, effective=...), now) -> (ParametersUpdated(...), BalancingStarted(...))

It is told of the call (CallConfirmed, CallOver), of the line (LineKnown after each negotiation, LineGone), of its source
(TrackReplaced; SizeMeasured without a number whenever a size is seen by the way) and of the server (ServerCommand). What
it wants done is MeasureSize and ApplyParameters. It begins with each call anew.

What is applied is made of the newest state when its turn comes: whatever happens while parameters are under way is looked
at once, when they are answered. Refused parameters are tried again up to three times, after 1, 2 and 4 s, as long as
nothing newer is wanted; when the first ones stay refused, balancing stops, later ones wait for the next occasion.
"""

from __future__ import annotations

import enum

from attrs import define, frozen

from sipproto.agent.inputs import CommandId, TimeoutElapsed
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media._balancer_table import BALANCER_TABLE, BalancerAction, BalancerInput, BalancerState
from sipproto.media._balancer_values import (
    ApplyParameters,
    Balance,
    BalanceFailed,
    BalancerSettings,
    BalanceSucceeded,
    BalancingCommand,
    BalancingEvent,
    BalancingInput,
    BalancingOutcome,
    BalancingOutput,
    BalancingScheduled,
    BalancingStarted,
    BalancingStopped,
    CallConfirmed,
    CallOver,
    LineGone,
    LineKnown,
    ParametersApplied,
    ParametersNotUpdated,
    ParametersRefused,
    ParametersUpdated,
    ServerCommand,
    StartBalancing,
    StopBalancing,
)
from sipproto.media.balancing import balanced
from sipproto.media.resolution import Resolution
from sipproto.media.track_monitor import (
    MeasureFailed,
    MeasureSize,
    MonitorInput,
    SizeMeasured,
    TrackChanged,
    TrackGone,
    TrackMonitor,
    TrackReplaced,
    TrackSent,
)
from sipproto.timers import TimerTable

__all__ = [
    "BALANCER_TABLE",
    "ApplyParameters",
    "Balance",
    "BalanceFailed",
    "BalanceSucceeded",
    "BalancerAction",
    "BalancerInput",
    "BalancerState",
    "BalancingCommand",
    "BalancingEvent",
    "BalancingInput",
    "BalancingOutcome",
    "BalancingOutput",
    "BalancingScheduled",
    "BalancingStarted",
    "BalancingStopped",
    "CallConfirmed",
    "CallOver",
    "LineGone",
    "LineKnown",
    "MeasureFailed",
    "MeasureSize",
    "ParametersApplied",
    "ParametersNotUpdated",
    "ParametersRefused",
    "ParametersUpdated",
    "ServerCommand",
    "SizeMeasured",
    "StartBalancing",
    "StopBalancing",
    "TimeoutElapsed",
    "TrackReplaced",
    "VideoBalancer",
]

S, I, A = BalancerState, BalancerInput, BalancerAction

_RETRIES = (1.0, 2.0, 4.0)  # seconds
_COMMANDS = 32  # that may wait for their end
_ACTIVE = (S.STARTING, S.RUNNING)
# Those reach a participant as such: the server wants the camera on or off, and says nothing of its picture.
_NOT_OF_THE_PICTURE = (MainCam.ADMIN_START, MainCam.ADMIN_STOP)
_START, _RETRY, _ANSWER = "start", "retry", "answer"


class _Job(enum.Enum):
    BALANCE = "balance"
    RESTORE = "restore"


@define
class _Line:
    """`without`: its parameters without balancing. `certain`: whether `current` is what the engine has."""

    mid: str
    codec: str
    without: SenderParameters
    current: SenderParameters
    certain: bool = True


@frozen
class _Application:
    """An ApplyParameters that is not answered yet, and the commands that it is the end of."""

    number: int
    job: _Job
    line: _Line
    parameters: SenderParameters
    commands: list[CommandId]


class VideoBalancer:
    """`start_delay`: seconds from CallConfirmed to the start; None: only StartBalancing starts. `ignore_for_codec`: lines
    whose codec has that in its name, in any letter case, are left as they are without balancing. `max_resolution`: of our
    own accord no larger pictures are sent. `poll_interval`, `max_poll_interval`: seconds, see TrackMonitor. `time_limit`:
    seconds after which parameters that are not answered count as refused; it should be longer than what the agent waits for
    its media engine.

    Raises ValueError for a negative delay, and for another time that is not above 0.
    """

    def __init__(
        self,
        *,
        start_delay: float | None = 10.0,
        ignore_for_codec: str | None = None,
        max_resolution: Resolution | None = None,
        poll_interval: float = 1.0,
        max_poll_interval: float | None = None,
        time_limit: float = 25.0,
    ) -> None:
        self._settings = BalancerSettings(start_delay=start_delay, time_limit=time_limit)
        self._ignore_for_codec, self._max_resolution = ignore_for_codec, max_resolution
        self._monitor = TrackMonitor(poll_interval=poll_interval, max_poll_interval=max_poll_interval)
        self._timers = TimerTable()
        self._state = S.NO_CALL
        self._control: MainCamControl | None = None
        self._line: _Line | None = None
        self._watched: _Line | None = None
        self._job: _Job | None = None  # what is to be done next
        self._tries = 0  # how often it was refused
        self._waiting: list[CommandId] = []  # for the job
        self._starting: list[CommandId] = []
        self._under_way: _Application | None = None
        self._number = 0
        self._out: list[BalancingOutput] = []

    @property
    def state(self) -> BalancerState:
        return self._state

    def next_timeout(self) -> float | None:
        """When to say TimeoutElapsed; None: nothing is waited for."""
        times = (self._timers.next_timeout(), self._monitor.next_timeout())
        return min((time for time in times if time is not None), default=None)

    def handle(self, what: BalancingInput, now: float) -> tuple[BalancingOutput, ...]:
        """Takes one input at the time `now` (monotonic seconds) and returns what it leads to, in order. Never raises."""
        match what:
            case CallConfirmed():
                self._step(I.READY if self._settings.start_delay is None else I.CONFIRMED, now)
            case CallOver():
                self._step(I.OVER, now, "the call is over")
            case ServerCommand(control=control):
                self._commanded(control)
            case LineKnown():
                self._line_known(what)
            case LineGone():
                self._line = None
            case TrackReplaced() if self._watched is None:
                pass  # its size is asked for when it is wanted
            case TrackReplaced() | SizeMeasured() | MeasureFailed():
                self._monitored(what, now)
            case ParametersApplied(number=number, effective=effective):
                self._applied(number, effective, now)
            case ParametersRefused(number=number, error=error):
                self._refused(number, error, now)
            case TimeoutElapsed():
                self._elapsed(now)
            case StartBalancing() | StopBalancing() | Balance():
                self._command(what, now)
        self._watch(now)
        self._work(now)
        self._watch(now)
        out, self._out = self._out, []
        return tuple(out)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _command(self, what: BalancingCommand, now: float) -> None:
        under_way = self._under_way.commands if self._under_way is not None else []
        if len(self._waiting) + len(self._starting) + len(under_way) >= _COMMANDS:
            self._fail([what.command], "too many commands for balancing are waiting")
        elif self._state is S.NO_CALL and not isinstance(what, StopBalancing):
            self._fail([what.command], "there is no call to balance")
        elif isinstance(what, StopBalancing):
            self._step(I.STOP, now, "balancing was stopped")
            self._await(what.command)
        elif isinstance(what, Balance):
            self._want(_Job.BALANCE)
            self._await(what.command)
        elif self._state is S.RUNNING:
            self._succeed([what.command])
        else:
            self._starting.append(what.command)
            self._step(I.START, now)

    def _await(self, command: CommandId) -> None:
        """The command ends with the job that it has led to."""
        if self._job is None:
            self._succeed([command])
        else:
            self._waiting.append(command)

    def _succeed(self, commands: list[CommandId], parameters: SenderParameters | None = None) -> None:
        self._out += (BalanceSucceeded(command=command, parameters=parameters) for command in commands)

    def _fail(self, commands: list[CommandId], error: str) -> None:
        self._out += (BalanceFailed(command=command, error=error) for command in commands)

    # -- the table ---------------------------------------------------------------------------------------------------

    def _step(self, what: BalancerInput, now: float, reason: str = "") -> None:
        """`reason`: why the commands fail that wait for what does not come any more."""
        self._state, actions = BALANCER_TABLE.get((self._state, what), (self._state, ()))
        for action in actions:
            self._act(action, now, reason)

    def _act(self, action: BalancerAction, now: float, reason: str) -> None:
        delay = self._settings.start_delay
        match action:
            case A.SCHEDULE:
                assert delay is not None  # a call is READY otherwise
                self._timers.start(self, _START, now + delay)
                self._out.append(BalancingScheduled(delay=delay))
            case A.UNSCHEDULE:
                self._timers.stop(self, _START)
            case A.BALANCE:
                self._want(_Job.BALANCE)
            case A.RESTORE:
                self._want(_Job.RESTORE)
            case A.ADMIT:
                self._out.append(BalancingStarted(delay=delay))
                commands, self._starting = self._starting, []
                self._succeed(commands)
            case A.REFUSE:
                commands, self._starting = self._starting, []
                self._fail(commands, reason)
            case A.REPORT_STOPPED:
                self._out.append(BalancingStopped())
            case A.FORGET:
                self._forget(reason)

    def _forget(self, reason: str) -> None:
        if self._under_way is not None:
            self._end(self._under_way.job, self._under_way.commands, reason)
        self._drop_job(reason)
        self._under_way, self._control, self._line = None, None, None
        self._timers.stop(self, _ANSWER)

    # -- what has happened -------------------------------------------------------------------------------------------

    def _commanded(self, control: MainCamControl) -> None:
        if control.command not in _NOT_OF_THE_PICTURE:
            self._control = control
            self._changed()

    def _line_known(self, what: LineKnown) -> None:
        line = self._line
        if line is None or line.mid != what.line:
            parameters = what.parameters or SenderParameters()
            self._line = _Line(what.line, what.codec, without=parameters, current=parameters)
            self._changed()
            return
        if what.parameters not in (None, line.current):
            assert what.parameters is not None
            line.without = line.current = what.parameters
            line.certain = True
            self._changed()
        if what.codec != line.codec:
            line.codec = what.codec
            self._changed()

    def _monitored(self, what: MonitorInput, now: float) -> None:
        for output in self._monitor.handle(what, now):
            if not isinstance(output, TrackChanged):
                self._out.append(output)
            else:
                self._changed()

    def _changed(self) -> None:
        """Something is not what it was when parameters were chosen the last time."""
        if self._state in _ACTIVE:
            self._want(_Job.BALANCE)

    def _elapsed(self, now: float) -> None:
        while (due := self._timers.pop_due(now)) is not None:
            _, name, _ = due
            if name == _START:
                self._step(I.DUE, now)
            elif name == _ANSWER and self._under_way is not None:
                self._under_way.line.certain = False
                self._refused(self._under_way.number, "the media engine does not answer", now)
        self._monitored(TimeoutElapsed(), now)

    # -- one application of parameters at a time ---------------------------------------------------------------------

    def _want(self, job: _Job) -> None:
        """Do this next, in place of what was going to be done."""
        if job is not self._job:
            self._drop_job("balancing was stopped")
        self._job, self._tries = job, 0
        self._timers.stop(self, _RETRY)

    def _drop_job(self, reason: str) -> None:
        if self._job is not None:
            commands, self._waiting = self._waiting, []
            self._end(self._job, commands, reason)
        self._job = None
        self._timers.stop(self, _RETRY)

    def _end(self, job: _Job, commands: list[CommandId], reason: str) -> None:
        """Nobody cares for the job any more. Balancing has been stopped even so."""
        if job is _Job.BALANCE:
            self._fail(commands, reason)
        else:
            self._succeed(commands)

    def _watch(self, now: float) -> None:
        """The size is of interest as long as something depends on it."""
        wanted = self._line if self._state in _ACTIVE or self._job is _Job.BALANCE else None
        if wanted is not self._watched:
            self._watched = wanted
            self._monitored(TrackSent() if wanted is not None else TrackGone(), now)

    def _work(self, now: float) -> None:
        job = self._job
        if job is None or self._under_way is not None or self._timers.is_running(self, _RETRY):
            return
        if job is _Job.BALANCE and self._monitor.awaits_size:
            return
        commands, self._waiting, self._job = self._waiting, [], None
        line = self._line
        if line is None or (line.certain and self._wanted(job, line) == line.current):
            self._succeed(commands)
            self._done(job, now)
            return
        self._number += 1
        self._under_way = _Application(self._number, job, line, self._wanted(job, line), commands)
        self._timers.start(self, _ANSWER, now + self._settings.time_limit)
        self._out.append(ApplyParameters(number=self._number, line=line.mid, parameters=self._under_way.parameters))

    def _wanted(self, job: _Job, line: _Line) -> SenderParameters:
        if job is _Job.RESTORE:
            return line.without
        changed = balanced(
            self._control,
            self._monitor.size,
            line.codec,
            line.without,
            ignore_for_codec=self._ignore_for_codec,
            max_resolution=self._max_resolution,
        )
        return changed if changed is not None else line.without

    def _answered(self, number: int) -> _Application | None:
        """The application that was under way, if this is its answer."""
        done = self._under_way
        if done is None or done.number != number:
            return None
        self._under_way = None
        self._timers.stop(self, _ANSWER)
        return done

    def _applied(self, number: int, effective: EffectiveParameters, now: float) -> None:
        done = self._answered(number)
        if done is None:
            return
        done.line.current, done.line.certain = done.parameters, True
        self._out.append(ParametersUpdated(line=done.line.mid, parameters=done.parameters, effective=effective))
        self._succeed(done.commands, done.parameters)
        if self._job is None:
            self._done(done.job, now)

    def _done(self, job: _Job, now: float) -> None:
        if job is _Job.BALANCE:
            self._step(I.BALANCED, now)

    def _refused(self, number: int, error: str, now: float) -> None:
        refused = self._answered(number)
        if refused is None:
            return
        newer = self._job is not None
        lasting = refused.job is _Job.RESTORE or self._state in _ACTIVE
        delay = _RETRIES[self._tries] if lasting and not newer and self._tries < len(_RETRIES) else None
        self._out.append(ParametersNotUpdated(error=error, retry_in=delay))
        if delay is not None:
            self._job, self._tries = refused.job, self._tries + 1
            self._timers.start(self, _RETRY, now + delay)
        if delay is not None and refused.job is _Job.RESTORE:
            self._waiting = refused.commands  # the line is going to have its parameters
        else:
            self._fail(refused.commands, error)
        if delay is None and not newer and refused.job is _Job.BALANCE:
            self._step(I.GAVE_UP, now, error)
