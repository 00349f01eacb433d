"""The life of a call as a table (RFC 3261 13, 14, 15, 9), from either side."""

from __future__ import annotations

import enum


class CallState(enum.Enum):
    # ours
    PREPARING = "preparing"  # media opens for our offer
    CALLING = "calling"  # INVITE sent, no answer yet
    RINGING = "ringing"  # a provisional answer came
    CANCELLING = "cancelling"  # over for the application; the INVITE still has to get its final answer
    # theirs
    INCOMING = "incoming"  # the application has to decide
    ANSWERING = "answering"  # media opens for our answer
    ACCEPTED = "accepted"  # 2xx sent, ACK awaited
    REGRETTED = "regretted"  # hung up while ACCEPTED: BYE has to wait for the ACK (15)
    # both
    ESTABLISHED = "established"
    LEAVING = "leaving"  # BYE sent; over for the application
    ENDED = "ended"


class CallInput(enum.Enum):
    MEDIA_READY = "media ready"
    MEDIA_FAILED = "media failed"
    CHALLENGE = "401, 407"  # the INVITE has been sent again with credentials
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    TIMEOUT = "time-out"
    FLOW_LOST = "flow lost"
    ANSWER = "answer"
    HANG_UP = "hang up"
    CANCEL = "CANCEL"
    ACK = "ACK"
    NO_ACK = "no ACK"
    BYE = "BYE"
    BYE_DONE = "BYE answered"


class CallAction(enum.Enum):
    OPEN_MEDIA = "open media"
    SEND_INVITE = "send INVITE"
    REPORT_PROGRESS = "report progress"
    CONFIRM = "send ACK, apply the answer"
    ACKNOWLEDGE = "send ACK"
    SEND_CANCEL = "send CANCEL"
    SEND_BYE = "send BYE"
    ACCEPT = "send 200"
    REFUSE = "send the refusal"
    ESTABLISH = "report established"
    REPORT_END = "report the end"
    FORGET = "forget the call"


S, I, A = CallState, CallInput, CallAction
_END = (A.REPORT_END, A.FORGET)

# A pair that is not listed changes nothing: for a command that means LocalProtocolError, for the rest that it is late.
TABLE: dict[tuple[CallState, CallInput], tuple[CallState, tuple[CallAction, ...]]] = {
    (S.PREPARING, I.MEDIA_READY): (S.CALLING, (A.SEND_INVITE,)),
    (S.PREPARING, I.MEDIA_FAILED): (S.ENDED, _END),
    (S.PREPARING, I.HANG_UP): (S.ENDED, _END),
    (S.PREPARING, I.FLOW_LOST): (S.ENDED, _END),
    # 9.1: CANCEL is not sent before a provisional answer; the hang-up is remembered.
    (S.CALLING, I.PROVISIONAL): (S.RINGING, (A.REPORT_PROGRESS,)),
    (S.CALLING, I.SUCCESS): (S.ESTABLISHED, (A.CONFIRM,)),
    (S.CALLING, I.FAILURE): (S.ENDED, _END),
    (S.CALLING, I.TIMEOUT): (S.ENDED, _END),
    (S.CALLING, I.FLOW_LOST): (S.ENDED, _END),
    (S.CALLING, I.HANG_UP): (S.CANCELLING, (A.REPORT_END,)),
    (S.RINGING, I.PROVISIONAL): (S.RINGING, (A.REPORT_PROGRESS,)),
    # 9.1 holds for each INVITE: the new one has had no provisional answer yet.
    (S.RINGING, I.CHALLENGE): (S.CALLING, ()),
    (S.RINGING, I.SUCCESS): (S.ESTABLISHED, (A.CONFIRM,)),
    (S.RINGING, I.FAILURE): (S.ENDED, _END),
    (S.RINGING, I.TIMEOUT): (S.CANCELLING, (A.SEND_CANCEL, A.REPORT_END)),
    (S.RINGING, I.FLOW_LOST): (S.ENDED, _END),
    (S.RINGING, I.HANG_UP): (S.CANCELLING, (A.SEND_CANCEL, A.REPORT_END)),
    (S.CANCELLING, I.PROVISIONAL): (S.CANCELLING, (A.SEND_CANCEL,)),
    # The 2xx and the CANCEL have crossed: the call exists and has to be ended properly (9.1, 15).
    (S.CANCELLING, I.SUCCESS): (S.LEAVING, (A.ACKNOWLEDGE, A.SEND_BYE)),
    (S.CANCELLING, I.FAILURE): (S.ENDED, (A.FORGET,)),
    (S.CANCELLING, I.TIMEOUT): (S.ENDED, (A.FORGET,)),
    (S.CANCELLING, I.FLOW_LOST): (S.ENDED, (A.FORGET,)),
    (S.INCOMING, I.ANSWER): (S.ANSWERING, (A.OPEN_MEDIA,)),
    (S.INCOMING, I.HANG_UP): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.CANCEL): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.TIMEOUT): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.BYE): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.FLOW_LOST): (S.ENDED, _END),
    (S.ANSWERING, I.MEDIA_READY): (S.ACCEPTED, (A.ACCEPT,)),
    (S.ANSWERING, I.MEDIA_FAILED): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.HANG_UP): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.CANCEL): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.BYE): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.FLOW_LOST): (S.ENDED, _END),
    (S.ACCEPTED, I.ACK): (S.ESTABLISHED, (A.ESTABLISH,)),
    (S.ACCEPTED, I.NO_ACK): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ACCEPTED, I.MEDIA_FAILED): (S.REGRETTED, (A.REPORT_END,)),
    (S.ACCEPTED, I.HANG_UP): (S.REGRETTED, (A.REPORT_END,)),
    (S.ACCEPTED, I.BYE): (S.ENDED, _END),
    (S.ACCEPTED, I.FLOW_LOST): (S.ENDED, _END),
    (S.REGRETTED, I.ACK): (S.LEAVING, (A.SEND_BYE,)),
    (S.REGRETTED, I.NO_ACK): (S.LEAVING, (A.SEND_BYE,)),
    (S.REGRETTED, I.BYE): (S.ENDED, (A.FORGET,)),
    (S.REGRETTED, I.FLOW_LOST): (S.ENDED, (A.FORGET,)),
    (S.ESTABLISHED, I.SUCCESS): (S.ESTABLISHED, (A.ACKNOWLEDGE,)),
    (S.ESTABLISHED, I.MEDIA_FAILED): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.TIMEOUT): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.NO_ACK): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.HANG_UP): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.BYE): (S.ENDED, _END),
    (S.ESTABLISHED, I.FLOW_LOST): (S.ENDED, _END),
    (S.LEAVING, I.SUCCESS): (S.LEAVING, (A.ACKNOWLEDGE,)),
    (S.LEAVING, I.BYE): (S.ENDED, (A.FORGET,)),
    (S.LEAVING, I.BYE_DONE): (S.ENDED, (A.FORGET,)),
    (S.LEAVING, I.FLOW_LOST): (S.ENDED, (A.FORGET,)),
}
