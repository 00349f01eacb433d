"""Balancing as a table: when it is begun and ended, and what is told of it."""

from __future__ import annotations

import enum


class BalancerState(enum.Enum):
    NO_CALL = "no call"
    STOPPED = "stopped"  # there is a call
    SCHEDULED = "scheduled"
    STARTING = "starting"  # the first balance is under way, or is going to be tried again
    RUNNING = "running"


class BalancerInput(enum.Enum):
    CONFIRMED = "call confirmed"
    READY = "call confirmed, to be started by hand"
    DUE = "start due"
    START = "start"
    BALANCED = "balanced"
    GAVE_UP = "refused too often"
    STOP = "stop"
    OVER = "call over"


class BalancerAction(enum.Enum):
    SCHEDULE = "schedule the start"
    UNSCHEDULE = "do not wait for the start"
    BALANCE = "balance"
    RESTORE = "restore the parameters"
    ADMIT = "report started"  # also to the commands that wait for it
    REFUSE = "refuse the commands that wait for the start"
    REPORT_STOPPED = "report stopped"
    FORGET = "forget the call"


S, I, A = BalancerState, BalancerInput, BalancerAction
_STOP = (A.REPORT_STOPPED, A.RESTORE)
_OVER = (A.REPORT_STOPPED, A.FORGET)

# A pair that is not listed changes nothing: what is wished is so already, or comes of itself.
BALANCER_TABLE: dict[tuple[BalancerState, BalancerInput], tuple[BalancerState, tuple[BalancerAction, ...]]] = {
    (S.NO_CALL, I.CONFIRMED): (S.SCHEDULED, (A.SCHEDULE,)),
    (S.NO_CALL, I.READY): (S.STOPPED, ()),
    (S.NO_CALL, I.OVER): (S.NO_CALL, (A.FORGET,)),  # it had lines before it was confirmed
    (S.STOPPED, I.CONFIRMED): (S.SCHEDULED, (A.SCHEDULE,)),
    (S.STOPPED, I.START): (S.STARTING, (A.BALANCE,)),
    (S.STOPPED, I.STOP): (S.STOPPED, (A.RESTORE,)),  # after a single balance
    (S.STOPPED, I.OVER): (S.NO_CALL, (A.FORGET,)),
    (S.SCHEDULED, I.CONFIRMED): (S.SCHEDULED, (A.SCHEDULE,)),
    (S.SCHEDULED, I.DUE): (S.STARTING, (A.UNSCHEDULE, A.BALANCE)),
    (S.SCHEDULED, I.START): (S.STARTING, (A.UNSCHEDULE, A.BALANCE)),
    (S.SCHEDULED, I.STOP): (S.STOPPED, (A.UNSCHEDULE, *_STOP)),
    (S.SCHEDULED, I.OVER): (S.NO_CALL, (A.UNSCHEDULE, *_OVER)),
    (S.STARTING, I.BALANCED): (S.RUNNING, (A.ADMIT,)),
    (S.STARTING, I.GAVE_UP): (S.STOPPED, (A.REFUSE, *_STOP)),
    (S.STARTING, I.STOP): (S.STOPPED, (A.REFUSE, *_STOP)),
    (S.STARTING, I.OVER): (S.NO_CALL, (A.REFUSE, *_OVER)),
    (S.RUNNING, I.STOP): (S.STOPPED, _STOP),
    (S.RUNNING, I.OVER): (S.NO_CALL, _OVER),
}
