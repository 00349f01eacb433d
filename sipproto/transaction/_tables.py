"""The four transaction machines as data (RFC 3261 17, figures 5 to 8, with the corrections of RFC 6026).

Each table is complete: every pair of a state and an input that can reach the machine has its entry, an entry without
actions and with the same state means that the input is absorbed. The tests walk the whole product, and the diagrams in
`docs/` are drawn from these very tables.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    ACCEPTED = "Accepted"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    TERMINATED = "Terminated"


class Input(enum.Enum):
    START = "start"
    RESPONSE_1XX = "1xx"
    RESPONSE_2XX = "2xx"
    RESPONSE_3XX_6XX = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    USER_1XX = "user sends 1xx"
    USER_2XX = "user sends 2xx"
    USER_3XX_6XX = "user sends 300-699"
    TRANSPORT_ERROR = "transport error"
    TIMER_A = "A"
    TIMER_B = "B"
    TIMER_D = "D"
    TIMER_E = "E"
    TIMER_F = "F"
    TIMER_G = "G"
    TIMER_H = "H"
    TIMER_I = "I"
    TIMER_J = "J"
    TIMER_K = "K"
    TIMER_L = "L"
    TIMER_M = "M"


class Action(enum.Enum):
    SEND_REQUEST = "send the request"
    SEND_RESPONSE = "send the user's response"
    RESEND_RESPONSE = "send the last response again"
    SEND_ACK = "send ACK"
    PASS_UP = "pass up"
    REPORT_TIMEOUT = "report the timeout"
    REPORT_END = "report the end"
    REPORT_ERROR = "report the transport error"
    START_A = "start A"
    START_B = "start B"
    START_D = "start D"
    START_E = "start E"
    START_E_SLOW = "start E at T2"
    START_F = "start F"
    START_G = "start G"
    START_H = "start H"
    START_I = "start I"
    START_J = "start J"
    START_K = "start K"
    START_L = "start L"
    START_M = "start M"


Table = dict[tuple[State, Input], tuple[State, tuple[Action, ...]]]
S, I, A = State, Input, Action

# RFC 3261 17.1.1, figure 5; Accepted and timer M from RFC 6026 7.2 and 8.4.
INVITE_CLIENT: Table = {
    (S.CALLING, I.START): (S.CALLING, (A.SEND_REQUEST, A.START_A, A.START_B)),
    (S.CALLING, I.TIMER_A): (S.CALLING, (A.SEND_REQUEST, A.START_A)),
    (S.CALLING, I.TIMER_B): (S.TERMINATED, (A.REPORT_TIMEOUT,)),
    (S.CALLING, I.RESPONSE_1XX): (S.PROCEEDING, (A.PASS_UP,)),
    (S.CALLING, I.RESPONSE_2XX): (S.ACCEPTED, (A.PASS_UP, A.START_M)),
    (S.CALLING, I.RESPONSE_3XX_6XX): (S.COMPLETED, (A.SEND_ACK, A.PASS_UP, A.START_D)),
    (S.CALLING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    # Figure 5 has no timer here: the user may have to wait for ever. One whose user is gone must not (`give_up`, 9.1).
    (S.PROCEEDING, I.TIMER_B): (S.TERMINATED, (A.REPORT_TIMEOUT,)),
    (S.PROCEEDING, I.RESPONSE_1XX): (S.PROCEEDING, (A.PASS_UP,)),
    (S.PROCEEDING, I.RESPONSE_2XX): (S.ACCEPTED, (A.PASS_UP, A.START_M)),
    (S.PROCEEDING, I.RESPONSE_3XX_6XX): (S.COMPLETED, (A.SEND_ACK, A.PASS_UP, A.START_D)),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    (S.ACCEPTED, I.RESPONSE_1XX): (S.ACCEPTED, ()),
    (S.ACCEPTED, I.RESPONSE_2XX): (S.ACCEPTED, (A.PASS_UP,)),
    (S.ACCEPTED, I.RESPONSE_3XX_6XX): (S.ACCEPTED, ()),
    (S.ACCEPTED, I.TRANSPORT_ERROR): (S.ACCEPTED, ()),
    (S.ACCEPTED, I.TIMER_M): (S.TERMINATED, (A.REPORT_END,)),
    (S.COMPLETED, I.RESPONSE_1XX): (S.COMPLETED, ()),
    (S.COMPLETED, I.RESPONSE_2XX): (S.COMPLETED, ()),
    (S.COMPLETED, I.RESPONSE_3XX_6XX): (S.COMPLETED, (A.SEND_ACK,)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ()),
    (S.COMPLETED, I.TIMER_D): (S.TERMINATED, ()),
}

# RFC 3261 17.1.2, figure 6
CLIENT: Table = {
    (S.TRYING, I.START): (S.TRYING, (A.SEND_REQUEST, A.START_E, A.START_F)),
    (S.TRYING, I.TIMER_E): (S.TRYING, (A.SEND_REQUEST, A.START_E)),
    (S.TRYING, I.TIMER_F): (S.TERMINATED, (A.REPORT_TIMEOUT,)),
    (S.TRYING, I.RESPONSE_1XX): (S.PROCEEDING, (A.PASS_UP,)),
    (S.TRYING, I.RESPONSE_2XX): (S.COMPLETED, (A.PASS_UP, A.START_K)),
    (S.TRYING, I.RESPONSE_3XX_6XX): (S.COMPLETED, (A.PASS_UP, A.START_K)),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    (S.PROCEEDING, I.TIMER_E): (S.PROCEEDING, (A.SEND_REQUEST, A.START_E_SLOW)),
    (S.PROCEEDING, I.TIMER_F): (S.TERMINATED, (A.REPORT_TIMEOUT,)),
    (S.PROCEEDING, I.RESPONSE_1XX): (S.PROCEEDING, (A.PASS_UP,)),
    (S.PROCEEDING, I.RESPONSE_2XX): (S.COMPLETED, (A.PASS_UP, A.START_K)),
    (S.PROCEEDING, I.RESPONSE_3XX_6XX): (S.COMPLETED, (A.PASS_UP, A.START_K)),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    (S.COMPLETED, I.RESPONSE_1XX): (S.COMPLETED, ()),
    (S.COMPLETED, I.RESPONSE_2XX): (S.COMPLETED, ()),
    (S.COMPLETED, I.RESPONSE_3XX_6XX): (S.COMPLETED, ()),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ()),
    (S.COMPLETED, I.TIMER_K): (S.TERMINATED, ()),
}

# RFC 3261 17.2.1, figure 7; Accepted and timer L from RFC 6026 7.1 and 8.5. A transport error is told to the user, but
# the machine stays, to absorb retransmissions (RFC 6026 8.7).
INVITE_SERVER: Table = {
    (S.PROCEEDING, I.START): (S.PROCEEDING, (A.PASS_UP,)),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, (A.RESEND_RESPONSE,)),
    (S.PROCEEDING, I.ACK): (S.PROCEEDING, ()),
    (S.PROCEEDING, I.USER_1XX): (S.PROCEEDING, (A.SEND_RESPONSE,)),
    (S.PROCEEDING, I.USER_2XX): (S.ACCEPTED, (A.SEND_RESPONSE, A.START_L)),
    (S.PROCEEDING, I.USER_3XX_6XX): (S.COMPLETED, (A.SEND_RESPONSE, A.START_G, A.START_H)),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.PROCEEDING, (A.REPORT_ERROR,)),
    (S.ACCEPTED, I.REQUEST): (S.ACCEPTED, ()),
    (S.ACCEPTED, I.ACK): (S.ACCEPTED, (A.PASS_UP,)),
    (S.ACCEPTED, I.USER_2XX): (S.ACCEPTED, (A.SEND_RESPONSE,)),
    (S.ACCEPTED, I.TRANSPORT_ERROR): (S.ACCEPTED, (A.REPORT_ERROR,)),
    (S.ACCEPTED, I.TIMER_L): (S.TERMINATED, ()),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, (A.RESEND_RESPONSE,)),
    (S.COMPLETED, I.TIMER_G): (S.COMPLETED, (A.RESEND_RESPONSE, A.START_G)),
    (S.COMPLETED, I.ACK): (S.CONFIRMED, (A.START_I,)),
    (S.COMPLETED, I.TIMER_H): (S.TERMINATED, (A.REPORT_TIMEOUT,)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.COMPLETED, (A.REPORT_ERROR,)),
    (S.CONFIRMED, I.REQUEST): (S.CONFIRMED, ()),
    (S.CONFIRMED, I.ACK): (S.CONFIRMED, ()),
    (S.CONFIRMED, I.TRANSPORT_ERROR): (S.CONFIRMED, ()),
    (S.CONFIRMED, I.TIMER_I): (S.TERMINATED, ()),
}

# RFC 3261 17.2.2, figure 8
SERVER: Table = {
    (S.TRYING, I.START): (S.TRYING, (A.PASS_UP,)),
    (S.TRYING, I.REQUEST): (S.TRYING, ()),
    (S.TRYING, I.USER_1XX): (S.PROCEEDING, (A.SEND_RESPONSE,)),
    (S.TRYING, I.USER_2XX): (S.COMPLETED, (A.SEND_RESPONSE, A.START_J)),
    (S.TRYING, I.USER_3XX_6XX): (S.COMPLETED, (A.SEND_RESPONSE, A.START_J)),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, (A.RESEND_RESPONSE,)),
    (S.PROCEEDING, I.USER_1XX): (S.PROCEEDING, (A.SEND_RESPONSE,)),
    (S.PROCEEDING, I.USER_2XX): (S.COMPLETED, (A.SEND_RESPONSE, A.START_J)),
    (S.PROCEEDING, I.USER_3XX_6XX): (S.COMPLETED, (A.SEND_RESPONSE, A.START_J)),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, (A.REPORT_ERROR,)),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, (A.RESEND_RESPONSE,)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ()),
    (S.COMPLETED, I.TIMER_J): (S.TERMINATED, ()),
}

# Timers: (first value, doubled up to, reliable value). None in the last place: not started on a reliable transport;
# 0 there: the state is left at once (RFC 3261 17.1.1.2, 17.1.2.2, 17.2.1, 17.2.2). Names are of TimerValues.
TIMERS: dict[Action, tuple[Input, str, str | None, float | None]] = {
    A.START_A: (I.TIMER_A, "t1", "t1_64", None),
    A.START_B: (I.TIMER_B, "t1_64", None, -1),
    A.START_D: (I.TIMER_D, "t1_64", None, 0),
    A.START_E: (I.TIMER_E, "t1", "t2", None),
    A.START_E_SLOW: (I.TIMER_E, "t2", "t2", None),
    A.START_F: (I.TIMER_F, "t1_64", None, -1),
    A.START_G: (I.TIMER_G, "t1", "t2", None),
    A.START_H: (I.TIMER_H, "t1_64", None, -1),
    A.START_I: (I.TIMER_I, "t4", None, 0),
    A.START_J: (I.TIMER_J, "t1_64", None, 0),
    A.START_K: (I.TIMER_K, "t4", None, 0),
    A.START_L: (I.TIMER_L, "t1_64", None, -1),
    A.START_M: (I.TIMER_M, "t1_64", None, -1),
}
