"""The subscription of a peer as a table (RFC 6665 4.2.1)."""

from __future__ import annotations

import enum


class NotifierState(enum.Enum):
    ASKED = "asked"  # the application has to decide
    PENDING = "pending"
    ACTIVE = "active"
    ENDING = "ending"  # the last NOTIFY is under way; over for the application
    TERMINATED = "terminated"


class NotifierInput(enum.Enum):
    GRANT_PENDING = "pending"  # by AcceptSubscription or Notify
    GRANT_ACTIVE = "active"
    REJECT = "reject"
    SILENCE = "application silent"
    REFRESH = "SUBSCRIBE"
    FETCH = "accept a fetch"  # it has asked for a lifetime of 0
    UNSUBSCRIBE = "un-SUBSCRIBE"
    END = "end"
    EXPIRED = "expired"
    TOLD = "last NOTIFY answered"
    BROKEN = "NOTIFY failed"
    FLOW_GONE = "connection given up"


class NotifierAction(enum.Enum):
    ACCEPT = "send 200"
    REFUSE = "refuse"
    NOTIFY = "NOTIFY"
    REPEAT = "NOTIFY the same state"
    LAST_NOTIFY = "last NOTIFY"
    REPORT_END = "report end"
    FORGET = "forget"


S, I, A = NotifierState, NotifierInput, NotifierAction
_LAST = (A.REPORT_END, A.LAST_NOTIFY)
_END = (A.REPORT_END, A.FORGET)

# A pair that is not listed changes nothing: it is late.
NOTIFIER_TABLE: dict[tuple[NotifierState, NotifierInput], tuple[NotifierState, tuple[NotifierAction, ...]]] = {
    (S.ASKED, I.GRANT_PENDING): (S.PENDING, (A.ACCEPT, A.NOTIFY)),
    (S.ASKED, I.GRANT_ACTIVE): (S.ACTIVE, (A.ACCEPT, A.NOTIFY)),
    (S.ASKED, I.FETCH): (S.ENDING, (A.ACCEPT, *_LAST)),
    (S.ASKED, I.REJECT): (S.TERMINATED, (A.REFUSE, *_END)),
    (S.ASKED, I.SILENCE): (S.TERMINATED, (A.REFUSE, *_END)),
    (S.ASKED, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.PENDING, I.GRANT_PENDING): (S.PENDING, (A.NOTIFY,)),
    (S.PENDING, I.GRANT_ACTIVE): (S.ACTIVE, (A.NOTIFY,)),
    (S.PENDING, I.REFRESH): (S.PENDING, (A.ACCEPT, A.REPEAT)),
    (S.PENDING, I.UNSUBSCRIBE): (S.ENDING, (A.ACCEPT, *_LAST)),
    (S.PENDING, I.END): (S.ENDING, _LAST),
    (S.PENDING, I.EXPIRED): (S.ENDING, _LAST),
    (S.PENDING, I.BROKEN): (S.TERMINATED, _END),
    (S.PENDING, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.ACTIVE, I.GRANT_PENDING): (S.PENDING, (A.NOTIFY,)),
    (S.ACTIVE, I.GRANT_ACTIVE): (S.ACTIVE, (A.NOTIFY,)),
    (S.ACTIVE, I.REFRESH): (S.ACTIVE, (A.ACCEPT, A.REPEAT)),
    (S.ACTIVE, I.UNSUBSCRIBE): (S.ENDING, (A.ACCEPT, *_LAST)),
    (S.ACTIVE, I.END): (S.ENDING, _LAST),
    (S.ACTIVE, I.EXPIRED): (S.ENDING, _LAST),
    (S.ACTIVE, I.BROKEN): (S.TERMINATED, _END),
    (S.ACTIVE, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.ENDING, I.TOLD): (S.TERMINATED, (A.FORGET,)),
    (S.ENDING, I.BROKEN): (S.TERMINATED, (A.FORGET,)),
    (S.ENDING, I.FLOW_GONE): (S.TERMINATED, (A.FORGET,)),
}
