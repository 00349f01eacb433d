"""The connection to our server as a table: had, lost, and got back."""

from __future__ import annotations

import enum


class LinkState(enum.Enum):
    CLOSED = "closed"
    CONNECTING = "connecting"  # asked for by the application
    OPEN = "open"
    WAITING = "waiting"  # lost; the back-off runs
    RECONNECTING = "reconnecting"


class LinkInput(enum.Enum):
    CONNECT = "connect"
    OPENED = "flow opened"
    REFUSED = "flow refused"  # and another server is left to try
    EXHAUSTED = "all refused"
    LOST = "flow lost"
    LOST_FOR_GOOD = "flow lost for good"  # the configuration says not to try again
    RETRY = "back-off over"
    HURRY = "hurry"
    DISCONNECT = "disconnect"


class LinkAction(enum.Enum):
    REPORT_CONNECTING = "report connecting"
    TRY_FIRST = "try the first server"
    TRY_NEXT = "try the next server"
    ADOPT = "use the flow"
    BACK_OFF = "back off, report reconnecting"
    STOP_WAITING = "stop the back-off"
    ABANDON = "close the attempt"
    CLOSE = "close the flow"
    REPORT_CLOSED = "report disconnected"


S, I, A = LinkState, LinkInput, LinkAction

# A pair that is not listed changes nothing: it is late.
CONNECTION_TABLE: dict[tuple[LinkState, LinkInput], tuple[LinkState, tuple[LinkAction, ...]]] = {
    (S.CLOSED, I.CONNECT): (S.CONNECTING, (A.REPORT_CONNECTING, A.TRY_FIRST)),
    (S.CONNECTING, I.OPENED): (S.OPEN, (A.ADOPT,)),
    (S.CONNECTING, I.REFUSED): (S.CONNECTING, (A.TRY_NEXT,)),
    (S.CONNECTING, I.EXHAUSTED): (S.CLOSED, (A.REPORT_CLOSED,)),
    (S.CONNECTING, I.DISCONNECT): (S.CLOSED, (A.ABANDON, A.REPORT_CLOSED)),
    (S.OPEN, I.LOST): (S.WAITING, (A.BACK_OFF,)),
    (S.OPEN, I.LOST_FOR_GOOD): (S.CLOSED, (A.REPORT_CLOSED,)),
    (S.OPEN, I.DISCONNECT): (S.CLOSED, (A.CLOSE, A.REPORT_CLOSED)),
    (S.WAITING, I.RETRY): (S.RECONNECTING, (A.TRY_FIRST,)),
    (S.WAITING, I.HURRY): (S.RECONNECTING, (A.STOP_WAITING, A.TRY_FIRST)),
    # The application knows better than the back-off: perhaps it has seen the network return.
    (S.WAITING, I.CONNECT): (S.CONNECTING, (A.STOP_WAITING, A.REPORT_CONNECTING, A.TRY_FIRST)),
    (S.WAITING, I.DISCONNECT): (S.CLOSED, (A.STOP_WAITING, A.REPORT_CLOSED)),
    (S.RECONNECTING, I.OPENED): (S.OPEN, (A.ADOPT,)),
    (S.RECONNECTING, I.REFUSED): (S.RECONNECTING, (A.TRY_NEXT,)),
    (S.RECONNECTING, I.EXHAUSTED): (S.WAITING, (A.BACK_OFF,)),
    (S.RECONNECTING, I.CONNECT): (S.CONNECTING, (A.ABANDON, A.REPORT_CONNECTING, A.TRY_FIRST)),
    (S.RECONNECTING, I.DISCONNECT): (S.CLOSED, (A.ABANDON, A.REPORT_CLOSED)),
}
