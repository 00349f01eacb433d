"""A subscription of ours as a table (RFC 6665 4.1.2, figure 1), and how it outlives refusals and connections."""

from __future__ import annotations

import enum


class SubscriberState(enum.Enum):
    NOTIFY_WAIT = "notify wait"  # SUBSCRIBE is out; there is no dialog before the first NOTIFY (4.4.1)
    PENDING = "pending"
    ACTIVE = "active"
    RESUMING = "resuming"  # refreshed in its dialog over a new connection
    WAITING = "waiting"  # the dialog is over; a new subscription is made after a while
    SUSPENDED = "suspended"  # without a connection
    WITHDRAWING = "withdrawing"  # unsubscribed before there was a dialog; over for the application
    LEAVING = "leaving"  # unsubscribed; the last NOTIFY is awaited; over for the application
    TERMINATED = "terminated"


class SubscriberInput(enum.Enum):
    NOTIFY_PENDING = "NOTIFY pending"
    NOTIFY_ACTIVE = "NOTIFY active"
    NOTIFY_END = "NOTIFY terminated"  # for good
    NOTIFY_AGAIN = "NOTIFY terminated, try again"
    REFUSED = "refused"  # for good
    FAILED = "failed"  # another time it may succeed
    REFRESH = "refresh due"
    RETRY = "retry due"
    UNSUBSCRIBE = "unsubscribe"
    NO_FLOW = "connection lost"
    RESUME = "connection back"  # with the dialog still alive
    RESTART = "connection back, dialog over"
    EXPIRED = "expired"
    FLOW_GONE = "connection given up"


class SubscriberAction(enum.Enum):
    SUBSCRIBE = "send SUBSCRIBE"
    REFRESH = "send refreshing SUBSCRIBE"
    UNSUBSCRIBE = "send un-SUBSCRIBE"
    DROP = "drop the dialog"
    BACK_OFF = "back off"
    REPORT = "report state"
    REPORT_END = "report end"
    FORGET = "forget"


S, I, A = SubscriberState, SubscriberInput, SubscriberAction
_END = (A.REPORT_END, A.FORGET)
_ANEW = (A.DROP, A.BACK_OFF, A.REPORT)
_SUSPEND = (A.DROP, A.REPORT)

# A pair that is not listed changes nothing: it is late.
SUBSCRIBER_TABLE: dict[
    tuple[SubscriberState, SubscriberInput], tuple[SubscriberState, tuple[SubscriberAction, ...]]
] = {
    (S.NOTIFY_WAIT, I.NOTIFY_PENDING): (S.PENDING, (A.REPORT,)),
    (S.NOTIFY_WAIT, I.NOTIFY_ACTIVE): (S.ACTIVE, (A.REPORT,)),
    (S.NOTIFY_WAIT, I.NOTIFY_END): (S.TERMINATED, _END),
    (S.NOTIFY_WAIT, I.NOTIFY_AGAIN): (S.WAITING, _ANEW),
    (S.NOTIFY_WAIT, I.REFUSED): (S.TERMINATED, _END),
    (S.NOTIFY_WAIT, I.FAILED): (S.WAITING, _ANEW),
    (S.NOTIFY_WAIT, I.UNSUBSCRIBE): (S.WITHDRAWING, (A.REPORT_END,)),
    (S.NOTIFY_WAIT, I.NO_FLOW): (S.SUSPENDED, _SUSPEND),
    (S.NOTIFY_WAIT, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.PENDING, I.NOTIFY_ACTIVE): (S.ACTIVE, (A.REPORT,)),
    (S.PENDING, I.NOTIFY_END): (S.TERMINATED, _END),
    (S.PENDING, I.NOTIFY_AGAIN): (S.WAITING, _ANEW),
    (S.PENDING, I.REFRESH): (S.PENDING, (A.REFRESH,)),
    (S.PENDING, I.REFUSED): (S.TERMINATED, _END),
    (S.PENDING, I.FAILED): (S.WAITING, _ANEW),
    (S.PENDING, I.EXPIRED): (S.WAITING, _ANEW),
    (S.PENDING, I.UNSUBSCRIBE): (S.LEAVING, (A.REPORT_END, A.UNSUBSCRIBE)),
    (S.PENDING, I.NO_FLOW): (S.SUSPENDED, (A.REPORT,)),
    (S.PENDING, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.ACTIVE, I.NOTIFY_PENDING): (S.PENDING, (A.REPORT,)),
    (S.ACTIVE, I.NOTIFY_END): (S.TERMINATED, _END),
    (S.ACTIVE, I.NOTIFY_AGAIN): (S.WAITING, _ANEW),
    (S.ACTIVE, I.REFRESH): (S.ACTIVE, (A.REFRESH,)),
    (S.ACTIVE, I.REFUSED): (S.TERMINATED, _END),
    (S.ACTIVE, I.FAILED): (S.WAITING, _ANEW),
    (S.ACTIVE, I.EXPIRED): (S.WAITING, _ANEW),
    (S.ACTIVE, I.UNSUBSCRIBE): (S.LEAVING, (A.REPORT_END, A.UNSUBSCRIBE)),
    (S.ACTIVE, I.NO_FLOW): (S.SUSPENDED, (A.REPORT,)),
    (S.ACTIVE, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.RESUMING, I.NOTIFY_PENDING): (S.PENDING, (A.REPORT,)),
    (S.RESUMING, I.NOTIFY_ACTIVE): (S.ACTIVE, (A.REPORT,)),
    (S.RESUMING, I.NOTIFY_END): (S.TERMINATED, _END),
    (S.RESUMING, I.NOTIFY_AGAIN): (S.WAITING, _ANEW),
    (S.RESUMING, I.REFRESH): (S.RESUMING, (A.REFRESH,)),
    (S.RESUMING, I.REFUSED): (S.TERMINATED, _END),
    (S.RESUMING, I.FAILED): (S.WAITING, _ANEW),
    (S.RESUMING, I.EXPIRED): (S.WAITING, _ANEW),
    (S.RESUMING, I.UNSUBSCRIBE): (S.LEAVING, (A.REPORT_END, A.UNSUBSCRIBE)),
    (S.RESUMING, I.NO_FLOW): (S.SUSPENDED, ()),
    (S.RESUMING, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.WAITING, I.RETRY): (S.NOTIFY_WAIT, (A.SUBSCRIBE,)),
    (S.WAITING, I.UNSUBSCRIBE): (S.TERMINATED, _END),
    (S.WAITING, I.NO_FLOW): (S.SUSPENDED, ()),  # found out when the time to try again has come
    (S.WAITING, I.FLOW_GONE): (S.TERMINATED, _END),
    (S.SUSPENDED, I.RESUME): (S.RESUMING, (A.REFRESH,)),
    (S.SUSPENDED, I.RESTART): (S.NOTIFY_WAIT, (A.SUBSCRIBE,)),
    # The peer may reach us by another connection.
    (S.SUSPENDED, I.NOTIFY_END): (S.TERMINATED, _END),
    (S.SUSPENDED, I.NOTIFY_AGAIN): (S.SUSPENDED, (A.DROP,)),
    (S.SUSPENDED, I.EXPIRED): (S.SUSPENDED, (A.DROP,)),
    (S.SUSPENDED, I.UNSUBSCRIBE): (S.TERMINATED, _END),  # nothing can be said; it ends by its expiry
    (S.SUSPENDED, I.FLOW_GONE): (S.TERMINATED, _END),
    # Now there is a dialog to say it in.
    (S.WITHDRAWING, I.NOTIFY_PENDING): (S.LEAVING, (A.UNSUBSCRIBE,)),
    (S.WITHDRAWING, I.NOTIFY_ACTIVE): (S.LEAVING, (A.UNSUBSCRIBE,)),
    (S.WITHDRAWING, I.NOTIFY_END): (S.TERMINATED, (A.FORGET,)),
    (S.WITHDRAWING, I.NOTIFY_AGAIN): (S.TERMINATED, (A.FORGET,)),
    (S.WITHDRAWING, I.REFUSED): (S.TERMINATED, (A.FORGET,)),
    (S.WITHDRAWING, I.FAILED): (S.TERMINATED, (A.FORGET,)),
    (S.WITHDRAWING, I.NO_FLOW): (S.TERMINATED, (A.FORGET,)),
    (S.WITHDRAWING, I.FLOW_GONE): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.NOTIFY_END): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.NOTIFY_AGAIN): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.REFUSED): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.FAILED): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.NO_FLOW): (S.TERMINATED, (A.FORGET,)),
    (S.LEAVING, I.FLOW_GONE): (S.TERMINATED, (A.FORGET,)),
}
