"""The life of a call as a table (RFC 3261 13, 14, 15, 9), from either side."""

from __future__ import annotations

import enum


class CallState(enum.Enum):
    # ours
    PREPARING = "preparing"  # media opens for our offer
    CALLING = "calling"  # INVITE sent, no answer yet
    RINGING = "ringing"  # a provisional answer came
    REDIRECTED = "redirected"  # a 3xx came; the application chooses where to go on
    CONFIRMING = "confirming"  # the 2xx has an offer: media opens for the answer in our ACK
    CANCELLING = "cancelling"  # over for the application; the INVITE still has to get its final answer
    # theirs
    INCOMING = "incoming"  # the application has to decide
    ANSWERING = "answering"  # media opens for our answer
    ACCEPTED = "accepted"  # 2xx sent, ACK awaited
    REGRETTED = "regretted"  # hung up while ACCEPTED: BYE has to wait for the ACK (15)
    # both
    ESTABLISHED = "established"
    RECOVERING = "recovering"  # the connection or the media are lost; the dialog waits for others
    LEAVING = "leaving"  # BYE sent, or to be sent; over for the application
    ENDED = "ended"


class CallInput(enum.Enum):
    MEDIA_READY = "media ready"
    MEDIA_FAILED = "media failed"
    MEDIA_LOST = "media lost"  # their connection, that is: an ICE restart may mend it
    AGAIN = "INVITE again"  # with credentials, or with what a 422 asks for
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    OFFERED = "2xx with an offer"
    REDIRECTION = "3xx to choose from"
    FAILURE = "300-699"
    REDIRECT = "redirect"
    TIMEOUT = "time-out"
    FLOW_LOST = "flow lost"  # and there is hope for another
    FLOW_GONE = "flow gone"
    FLOW_READY = "flow ready"
    RETRY = "retry"
    RECOVERED = "recovered"
    GRACE_OVER = "grace over"
    ANSWER = "answer"
    HANG_UP = "hang up"
    CANCEL = "CANCEL"
    ACK = "ACK"
    UNCONFIRMED = "no time left to confirm"
    NO_ACK = "no ACK"
    NO_PRACK = "no PRACK"
    BYE = "BYE"
    BYE_DONE = "BYE answered"


class CallAction(enum.Enum):
    OPEN_MEDIA = "open media"
    SEND_INVITE = "send INVITE"
    REPORT_PROGRESS = "report progress"
    REPORT_CHOICE = "report the choice"
    TAKE_OFFER = "take the offer, open media"
    CONFIRM = "send ACK, apply the answer"
    ACKNOWLEDGE = "send ACK"
    SEND_CANCEL = "send CANCEL"
    SEND_BYE = "send BYE"
    ACCEPT = "send 200"
    REFUSE = "send the refusal"
    ESTABLISH = "report established"
    START_GRACE = "start the grace time"
    RESTART = "re-INVITE with ICE restart"
    REPORT_LOSS = "report reconnecting"
    REPORT_RECOVERY = "report recovered"
    REPORT_END = "report the end"
    FORGET = "forget the call"


S, I, A = CallState, CallInput, CallAction
_END = (A.REPORT_END, A.FORGET)
Row = tuple[CallState, tuple[CallAction, ...]]

# A pair that is not listed changes nothing: for a command that means LocalProtocolError, for the rest that it is late.
TABLE: dict[tuple[CallState, CallInput], Row] = {
    (S.PREPARING, I.MEDIA_READY): (S.CALLING, (A.SEND_INVITE,)),
    (S.PREPARING, I.MEDIA_FAILED): (S.ENDED, _END),
    (S.PREPARING, I.HANG_UP): (S.ENDED, _END),
    (S.PREPARING, I.FLOW_GONE): (S.ENDED, _END),
    # 9.1: CANCEL is not sent before a provisional answer; the hang-up is remembered.
    (S.CALLING, I.PROVISIONAL): (S.RINGING, (A.REPORT_PROGRESS,)),
    (S.CALLING, I.SUCCESS): (S.ESTABLISHED, (A.CONFIRM,)),
    (S.CALLING, I.OFFERED): (S.CONFIRMING, (A.TAKE_OFFER,)),
    (S.CALLING, I.REDIRECTION): (S.REDIRECTED, (A.REPORT_CHOICE,)),
    (S.CALLING, I.FAILURE): (S.ENDED, _END),
    (S.CALLING, I.MEDIA_FAILED): (S.CANCELLING, (A.REPORT_END,)),
    (S.CALLING, I.TIMEOUT): (S.ENDED, _END),
    (S.CALLING, I.FLOW_GONE): (S.ENDED, _END),
    (S.CALLING, I.HANG_UP): (S.CANCELLING, (A.REPORT_END,)),
    (S.RINGING, I.PROVISIONAL): (S.RINGING, (A.REPORT_PROGRESS,)),
    # 9.1 holds for each INVITE: the new one has had no provisional answer yet.
    (S.RINGING, I.AGAIN): (S.CALLING, ()),
    (S.RINGING, I.SUCCESS): (S.ESTABLISHED, (A.CONFIRM,)),
    (S.RINGING, I.OFFERED): (S.CONFIRMING, (A.TAKE_OFFER,)),
    (S.RINGING, I.REDIRECTION): (S.REDIRECTED, (A.REPORT_CHOICE,)),
    (S.RINGING, I.FAILURE): (S.ENDED, _END),
    (S.RINGING, I.MEDIA_FAILED): (S.CANCELLING, (A.SEND_CANCEL, A.REPORT_END)),
    (S.RINGING, I.TIMEOUT): (S.CANCELLING, (A.SEND_CANCEL, A.REPORT_END)),
    (S.RINGING, I.FLOW_GONE): (S.ENDED, _END),
    (S.RINGING, I.HANG_UP): (S.CANCELLING, (A.SEND_CANCEL, A.REPORT_END)),
    (S.REDIRECTED, I.REDIRECT): (S.CALLING, (A.SEND_INVITE,)),
    (S.REDIRECTED, I.HANG_UP): (S.ENDED, _END),
    (S.REDIRECTED, I.TIMEOUT): (S.ENDED, _END),
    (S.REDIRECTED, I.MEDIA_FAILED): (S.ENDED, _END),
    (S.REDIRECTED, I.FLOW_GONE): (S.ENDED, _END),
    # A repeated 2xx is left unanswered here: the ACK that it wants is being made.
    (S.CONFIRMING, I.MEDIA_READY): (S.ESTABLISHED, (A.CONFIRM,)),
    (S.CONFIRMING, I.MEDIA_FAILED): (S.LEAVING, (A.ACKNOWLEDGE, A.REPORT_END, A.SEND_BYE)),
    (S.CONFIRMING, I.TIMEOUT): (S.LEAVING, (A.ACKNOWLEDGE, A.REPORT_END, A.SEND_BYE)),
    (S.CONFIRMING, I.UNCONFIRMED): (S.LEAVING, (A.ACKNOWLEDGE, A.REPORT_END, A.SEND_BYE)),
    (S.CONFIRMING, I.HANG_UP): (S.LEAVING, (A.ACKNOWLEDGE, A.REPORT_END, A.SEND_BYE)),
    (S.CONFIRMING, I.BYE): (S.ENDED, (A.ACKNOWLEDGE, *_END)),
    (S.CONFIRMING, I.FLOW_GONE): (S.ENDED, _END),
    (S.CANCELLING, I.PROVISIONAL): (S.CANCELLING, (A.SEND_CANCEL,)),
    # The 2xx and the CANCEL have crossed: the call exists and has to be ended properly (9.1, 15).
    (S.CANCELLING, I.SUCCESS): (S.LEAVING, (A.ACKNOWLEDGE, A.SEND_BYE)),
    (S.CANCELLING, I.FAILURE): (S.ENDED, (A.FORGET,)),
    (S.CANCELLING, I.TIMEOUT): (S.ENDED, (A.FORGET,)),
    (S.CANCELLING, I.FLOW_GONE): (S.ENDED, (A.FORGET,)),
    (S.INCOMING, I.ANSWER): (S.ANSWERING, (A.OPEN_MEDIA,)),
    (S.INCOMING, I.MEDIA_FAILED): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.HANG_UP): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.CANCEL): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.TIMEOUT): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.NO_PRACK): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.BYE): (S.ENDED, (A.REFUSE, *_END)),
    (S.INCOMING, I.FLOW_GONE): (S.ENDED, _END),
    (S.ANSWERING, I.MEDIA_READY): (S.ACCEPTED, (A.ACCEPT,)),
    (S.ANSWERING, I.MEDIA_FAILED): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.HANG_UP): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.CANCEL): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.NO_PRACK): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.BYE): (S.ENDED, (A.REFUSE, *_END)),
    (S.ANSWERING, I.FLOW_GONE): (S.ENDED, _END),
    (S.ACCEPTED, I.ACK): (S.ESTABLISHED, (A.ESTABLISH,)),
    (S.ACCEPTED, I.NO_ACK): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ACCEPTED, I.MEDIA_FAILED): (S.REGRETTED, (A.REPORT_END,)),
    (S.ACCEPTED, I.HANG_UP): (S.REGRETTED, (A.REPORT_END,)),
    (S.ACCEPTED, I.BYE): (S.ENDED, _END),
    # The ACK was on its way, or will never be: on another flow no more can be said than BYE.
    (S.ACCEPTED, I.FLOW_LOST): (S.LEAVING, (A.START_GRACE, A.REPORT_END)),
    (S.ACCEPTED, I.FLOW_GONE): (S.ENDED, _END),
    (S.REGRETTED, I.ACK): (S.LEAVING, (A.SEND_BYE,)),
    (S.REGRETTED, I.NO_ACK): (S.LEAVING, (A.SEND_BYE,)),
    (S.REGRETTED, I.BYE): (S.ENDED, (A.FORGET,)),
    (S.REGRETTED, I.FLOW_LOST): (S.LEAVING, (A.START_GRACE,)),
    (S.REGRETTED, I.FLOW_GONE): (S.ENDED, (A.FORGET,)),
    (S.ESTABLISHED, I.SUCCESS): (S.ESTABLISHED, (A.ACKNOWLEDGE,)),
    (S.ESTABLISHED, I.MEDIA_FAILED): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.MEDIA_LOST): (S.RECOVERING, (A.START_GRACE, A.REPORT_LOSS, A.RESTART)),
    (S.ESTABLISHED, I.TIMEOUT): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.NO_ACK): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.HANG_UP): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.ESTABLISHED, I.BYE): (S.ENDED, _END),
    (S.ESTABLISHED, I.FLOW_LOST): (S.RECOVERING, (A.START_GRACE, A.REPORT_LOSS)),
    (S.ESTABLISHED, I.FLOW_GONE): (S.ENDED, _END),
    (S.RECOVERING, I.SUCCESS): (S.RECOVERING, (A.ACKNOWLEDGE,)),
    (S.RECOVERING, I.FLOW_READY): (S.RECOVERING, (A.RESTART,)),
    (S.RECOVERING, I.RETRY): (S.RECOVERING, (A.RESTART,)),
    (S.RECOVERING, I.RECOVERED): (S.ESTABLISHED, (A.REPORT_RECOVERY,)),
    (S.RECOVERING, I.MEDIA_FAILED): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.RECOVERING, I.TIMEOUT): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.RECOVERING, I.NO_ACK): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.RECOVERING, I.GRACE_OVER): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.RECOVERING, I.HANG_UP): (S.LEAVING, (A.REPORT_END, A.SEND_BYE)),
    (S.RECOVERING, I.BYE): (S.ENDED, _END),
    (S.RECOVERING, I.FLOW_LOST): (S.RECOVERING, ()),
    (S.RECOVERING, I.FLOW_GONE): (S.ENDED, _END),
    (S.LEAVING, I.SUCCESS): (S.LEAVING, (A.ACKNOWLEDGE,)),
    (S.LEAVING, I.BYE): (S.ENDED, (A.FORGET,)),
    (S.LEAVING, I.BYE_DONE): (S.ENDED, (A.FORGET,)),
    # The peer does not know yet: BYE goes out as soon as there is a way for it.
    (S.LEAVING, I.FLOW_LOST): (S.LEAVING, (A.START_GRACE,)),
    (S.LEAVING, I.FLOW_READY): (S.LEAVING, (A.SEND_BYE,)),
    (S.LEAVING, I.RETRY): (S.LEAVING, (A.SEND_BYE,)),
    (S.LEAVING, I.GRACE_OVER): (S.ENDED, (A.FORGET,)),
    (S.LEAVING, I.FLOW_GONE): (S.ENDED, (A.FORGET,)),
}
