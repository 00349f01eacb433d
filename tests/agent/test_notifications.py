"""Peers that subscribe to us (RFC 6665 4.2), and NOTIFYs out of dialogs."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import AgentConfig, AgentLimits, Cause, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, fields
from tests.agent.peer import CONTACT, FLOW, Peer, answer_to, cseq_of, tag_of

PENDING, ACTIVE = i.SubscriptionState.PENDING, i.SubscriptionState.ACTIVE
ACCEPT = i.AcceptSubscription(command=0, subscription="watch-1", content_type="text/plain", body=b"open")
NOTIFY = i.Notify(command=0, subscription="watch-1", content_type="text/plain", body=b"closed")
END = i.EndSubscription(command=0, subscription="watch-1")


class Subscriber(Peer):
    """The other side of one subscription."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**{"events": ("presence", "dialog"), **config})
        self.cseq = 0
        self.tag = ""
        self.flow = FLOW

    def subscribe(self, *lines: str, event: str = "presence", expires: int | None = 600, **more: Any) -> None:
        """A SUBSCRIBE: the first one, or one in the dialog."""
        self.cseq += 1
        head = [] if expires is None else [f"Expires: {expires}"]
        head += [f"Event: {event}"] if event else []
        self.data(self.text("SUBSCRIBE", *head, *lines, cseq=self.cseq, to_tag=self.tag, **more), flow=self.flow)

    def subscribed(self, expires: int = 600, accept: i.AcceptSubscription = ACCEPT) -> Response:
        """An active subscription, whose first NOTIFY is answered. Gives our 200."""
        self.subscribe(expires=expires)
        self.one(o.SubscribeReceived)
        self.command(accept)
        ok = self.response(200)
        self.tag = tag_of(ok)
        self.answer(self.request("NOTIFY"), 200)
        assert self.one(o.CommandSucceeded).result == 200
        return ok

    def told(self) -> tuple[str, bytes]:
        notify = self.request("NOTIFY")
        return notify.headers.first("Subscription-State") or "", notify.body

    def nothing_left(self) -> None:
        self.wait(70)
        assert not any(self.agent.retained.values()), (self.agent.retained, self.agent.timers())


def test_accepted() -> None:
    peer = Subscriber()
    peer.subscribe("Accept: application/pidf+xml, text/plain", "Content-Type: text/x", body=b"filter")
    asked = peer.one(o.SubscribeReceived)
    assert (asked.subscription, asked.from_uri, asked.event, asked.expires) == (
        "watch-1",
        "sip:bob@example.com",
        "presence",
        600,
    )
    assert asked.accept == ("application/pidf+xml", "text/plain")
    assert (asked.content_type, asked.body) == ("text/x", b"filter")
    assert dict(asked.headers)["Event"] == "presence"
    number = peer.command(evolve(ACCEPT, state=PENDING, expires=300))
    ok = peer.response(200)
    assert (ok.headers.first("Expires"), ok.headers.first("Allow-Events")) == ("300", "presence, dialog")
    assert "Contact" in ok.headers
    sent = peer.sent()
    assert [type(s) for s in sent] == [Response, Request]  # in this order
    notify = peer.request("NOTIFY")
    assert notify.target == "sip:bob@peer.invalid;transport=ws"
    assert (notify.headers.first("Event"), notify.body) == ("presence", b"open")
    assert notify.headers.first("Subscription-State") == "pending;expires=300"
    assert "Contact" in notify.headers
    assert peer.all(o.CommandSucceeded) == []
    peer.answer(notify, 200)
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=200)
    peer.now += 100
    peer.command(evolve(NOTIFY, state=ACTIVE))
    second = peer.request("NOTIFY")
    assert second.headers.first("Subscription-State") == "active;expires=200"
    assert cseq_of(second) == cseq_of(notify) + 1
    assert second.headers.first("From") == ok.headers.first("To")


def test_one_notify_at_a_time_in_order() -> None:
    peer = Subscriber(limits=AgentLimits(notifications=2))
    peer.subscribed()
    one = peer.command(evolve(NOTIFY, body=b"1"))
    first = peer.request("NOTIFY")
    two = peer.command(evolve(NOTIFY, body=b"2"))
    assert peer.sent() == []
    peer.command(evolve(NOTIFY, body=b"3"))
    assert "limit" in peer.refused(NOTIFY)
    peer.answer(first, 200)
    assert peer.one(o.CommandSucceeded).command == one
    second = peer.request("NOTIFY")
    assert second.body == b"2" and cseq_of(second) == cseq_of(first) + 1
    peer.answer(second, 503, "Retry-After: 5")  # RFC 6665 4.2.2: the subscription stays
    failed = peer.one(o.CommandFailed)
    assert (failed.command, failed.status) == (two, 503)
    assert peer.request("NOTIFY").body == b"3"


@pytest.mark.parametrize(("status", "cause"), [(481, Cause.DIALOG_ERROR), (500, Cause.SIP_FAILURE_CODE), (0, None)])
def test_a_notify_that_fails_ends_it(status: int, cause: Cause | None) -> None:
    peer = Subscriber()
    peer.subscribed()
    one, notify = peer.command(NOTIFY), peer.request("NOTIFY")
    two = peer.command(NOTIFY)
    if status:
        peer.answer(notify, status)
    else:
        peer.wait(33)
    failed = peer.all(o.CommandFailed)
    assert sorted(f.command for f in failed) == [one, two]
    ended = peer.one(o.SubscriptionEnded)
    assert ended.cause is (cause or Cause.REQUEST_TIMEOUT)
    peer.refused(NOTIFY)
    peer.subscribe()
    assert peer.statuses() == [481]
    peer.nothing_left()


def test_refresh() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.now += 400
    peer.subscribe(expires=500)
    assert peer.response(200).headers.first("Expires") == "500"
    assert peer.told() == ("active;expires=500", b"open")  # 4.2.1.2: at once
    assert peer.one(o.SubscriptionRefreshed).expires == 500
    peer.answer(peer.request("NOTIFY"), 200)
    peer.subscribe(expires=10)
    assert peer.response(423).headers.first("Min-Expires") == "60"
    peer.subscribe(event="dialog")
    assert peer.statuses() == [403]
    peer.cseq = 1
    peer.subscribe()
    assert peer.statuses() == [500]
    peer.cseq = 20
    peer.subscribe(expires=100_000)
    assert peer.response(200).headers.first("Expires") == "3600"
    peer.say("BYE", to_tag=peer.tag, cseq=90)
    assert peer.statuses() == [481]


def test_unsubscribed() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.subscribe(expires=0)
    assert peer.response(200).headers.first("Expires") == "0"
    assert peer.told() == ("terminated;reason=timeout", b"open")
    assert peer.one(o.SubscriptionEnded).reason == "timeout"
    peer.answer(peer.request("NOTIFY"), 200)
    peer.nothing_left()


def test_expired() -> None:
    peer = Subscriber()
    peer.subscribed(expires=100)
    peer.wait(99)
    assert peer.out == []
    peer.wait(2)
    assert peer.told() == ("terminated;reason=timeout", b"open")
    ended = peer.one(o.SubscriptionEnded)
    assert (ended.cause, ended.reason) == (Cause.EXPIRED, "timeout")
    peer.answer(peer.request("NOTIFY"), 481)
    peer.nothing_left()


def test_fetch() -> None:
    peer = Subscriber()
    peer.subscribe(expires=0)
    assert peer.one(o.SubscribeReceived).expires == 0
    number = peer.command(ACCEPT)
    assert peer.response(200).headers.first("Expires") == "0"
    assert peer.told() == ("terminated;reason=timeout", b"open")
    peer.one(o.SubscriptionEnded)
    peer.answer(peer.request("NOTIFY"), 200)
    assert peer.one(o.CommandSucceeded).command == number
    peer.nothing_left()


def test_ended_by_us() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.command(evolve(END, reason="probation", retry_after=120))
    assert peer.told() == ("terminated;reason=probation;retry-after=120", b"")
    peer.one(o.CommandSucceeded)
    assert peer.one(o.SubscriptionEnded).reason == "probation"
    peer.refused(END)
    peer.answer(peer.request("NOTIFY"), 200)
    peer.nothing_left()


def test_the_last_notify_waits_for_its_turn() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.command(NOTIFY)
    notify = peer.request("NOTIFY")
    peer.command(END)
    assert peer.sent() == []
    peer.answer(notify, 200)
    assert peer.told() == ("terminated;reason=noresource", b"")


def test_rejected() -> None:
    peer = Subscriber()
    peer.subscribe()
    peer.command(i.RejectSubscription(command=0, subscription="watch-1", status=403, headers=(("X", "y"),)))
    assert peer.response(403).headers.first("X") == "y"
    peer.one(o.CommandSucceeded)
    ended = peer.one(o.SubscriptionEnded)
    assert (ended.cause, ended.status, ended.reason) == (Cause.REJECTED, 403, "")
    peer.nothing_left()


def test_the_application_is_silent() -> None:
    peer = Subscriber()
    peer.subscribe()
    peer.wait(10.1)
    assert peer.statuses() == [480]
    assert peer.one(o.SubscriptionEnded).cause is Cause.NO_ANSWER
    peer.refused(ACCEPT)
    peer.nothing_left()


def test_refused_without_the_application() -> None:
    peer = Subscriber(limits=AgentLimits(watchers=1))
    for expected, parts in (
        (489, {"event": "conference"}),
        (489, {"event": "Presence"}),  # octet by octet
        (400, {"event": ""}),
        (423, {"expires": 59}),
        (400, {"contact": ""}),
    ):
        peer.subscribe(**parts)
        assert peer.statuses() == [expected]
        if expected == 489:
            assert peer.response(489).headers.first("Allow-Events") == "presence, dialog"
        assert peer.all(o.SubscribeReceived) == []
    peer.subscribe(expires=None)
    assert peer.one(o.SubscribeReceived).expires == 3600
    peer.subscribe(call_id="other")
    assert peer.response(503).headers.first("Retry-After") == "60"
    peer = Subscriber(events=())
    peer.subscribe()
    assert "Allow-Events" not in peer.response(489).headers
    peer.nothing_left()


def test_event_with_an_id() -> None:
    peer = Subscriber()
    peer.subscribe(event="presence;id=7")
    assert peer.one(o.SubscribeReceived).event == "presence;id=7"
    peer.command(ACCEPT)
    peer.tag = tag_of(peer.response(200))
    assert peer.request("NOTIFY").headers.first("Event") == "presence;id=7"
    peer.subscribe(event="presence")
    assert peer.statuses() == [403]
    peer.subscribe(event="presence;id=7")
    assert peer.statuses() == [200]


def test_commands_at_the_wrong_time() -> None:
    peer = Subscriber()
    peer.subscribe()
    for command in (
        NOTIFY,
        END,
        evolve(ACCEPT, expires=601),
        evolve(ACCEPT, expires=0),
        evolve(ACCEPT, state=i.SubscriptionState.TERMINATED),
        evolve(ACCEPT, content_type=""),
        evolve(ACCEPT, subscription="watch-2"),
        i.RejectSubscription(command=0, subscription="watch-1", status=200),
    ):
        peer.refused(command)
    peer.command(ACCEPT)
    peer.refused(ACCEPT)
    peer.refused(i.RejectSubscription(command=0, subscription="watch-1"))
    peer.refused(evolve(NOTIFY, state=i.SubscriptionState.WAITING))
    peer.refused(evolve(END, reason="a b"))
    peer.refused(evolve(END, retry_after=-1))
    with pytest.raises(LocalProtocolError):
        AgentConfig(aor="sip:a@b", events=("a b",))
    with pytest.raises(LocalProtocolError):
        AgentConfig(aor="sip:a@b", min_subscription=3601)


def test_allow_events_where_due() -> None:
    peer = Subscriber()
    peer.say("OPTIONS")
    assert peer.response(200).headers.all(fields.ALLOW_EVENTS) == ("presence", "dialog")
    allow = peer.response(200).headers.all(fields.ALLOW)
    assert {"SUBSCRIBE", "NOTIFY"} <= set(allow) and "PUBLISH" not in allow
    assert "Allow-Events" in peer.invite().headers


def test_shutdown() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.tag, peer.cseq = "", 0
    peer.subscribe(call_id="second")
    number = peer.command(i.Shutdown(command=0))
    assert peer.statuses() == [480]  # it has not been answered yet
    assert peer.told() == ("terminated;reason=probation", b"")
    assert len(peer.all(o.SubscriptionEnded)) == 2
    peer.answer(peer.request("NOTIFY"), 200)
    assert peer.one(o.CommandSucceeded).command == number
    assert not any(peer.agent.retained.values())


# -- connections -----------------------------------------------------------------------------------------------------


def test_the_subscriber_comes_back_by_another_connection() -> None:
    peer = Subscriber(recovery=Recovery())
    peer.give(i.FlowOpened(flow=-5, transport="WS"))
    peer.flow = -5
    peer.subscribed()
    number = peer.command(NOTIFY)
    peer.give(i.FlowClosed(flow=-5))
    failed = peer.one(o.CommandFailed)
    assert (failed.command, failed.cause) == (number, Cause.CONNECTION_ERROR)
    number = peer.command(evolve(NOTIFY, body=b"meanwhile"))
    assert peer.one(o.CommandFailed).command == number  # it is told later
    peer.give(i.FlowOpened(flow=-6, transport="WS"))
    peer.flow = -6
    peer.subscribe()
    assert {out.flow for out in peer.all(o.SendData)} == {-6}
    assert peer.told() == ("active;expires=600", b"meanwhile")
    peer.answer(peer.request("NOTIFY"), 200)
    peer.give(i.FlowClosed(flow=-6))
    peer.command(END)
    assert peer.sent() == []
    peer.one(o.SubscriptionEnded)
    peer.give(i.FlowClosed(flow=FLOW))
    peer.command(i.Disconnect(command=0))
    peer.nothing_left()


def test_our_connection_comes_back() -> None:
    peer = Subscriber(recovery=Recovery())
    peer.subscribed()
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.all(o.SubscriptionEnded) == []
    while not peer.all(o.OpenFlow):
        peer.wait(0.5)
    flow = peer.one(o.OpenFlow).flow
    peer.give(i.FlowOpened(flow=flow, transport="WS"))
    assert peer.told()[1] == b"open"
    peer.data(answer_to(peer.request("NOTIFY"), 481), flow=flow)
    assert peer.one(o.SubscriptionEnded).cause is Cause.DIALOG_ERROR


def test_our_connection_is_lost_for_good() -> None:
    peer = Subscriber()
    peer.subscribed()
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.one(o.SubscriptionEnded).cause is Cause.CONNECTION_ERROR
    assert not any(peer.agent.retained.values())
    peer = Subscriber(recovery=Recovery())
    peer.subscribe()
    peer.give(i.FlowClosed(flow=FLOW))  # it cannot be answered any more
    assert peer.one(o.SubscriptionEnded).cause is Cause.CONNECTION_ERROR


# -- NOTIFY that nobody has subscribed to ----------------------------------------------------------------------------

VOICE_MAIL = b"Messages-Waiting: yes\r\nVoice-Message: 2/0 (0/0)\r\n"


def test_voice_mail() -> None:
    peer = Peer()
    content = "Content-Type: application/simple-message-summary"
    peer.say("NOTIFY", "Event: message-summary", content, body=VOICE_MAIL)
    assert peer.statuses() == [200]
    told = peer.one(o.NotificationReceived)
    assert ("Event", "message-summary") in told.headers
    assert evolve(told, headers=()) == o.NotificationReceived(
        from_uri="sip:bob@example.com",
        event="message-summary",
        content_type="application/simple-message-summary",
        body=VOICE_MAIL,
    )
    peer.say("NOTIFY", content, body=VOICE_MAIL, cseq=2)  # conference servers leave the Event out
    assert peer.statuses() == [200]
    assert peer.one(o.NotificationReceived).event == ""
    peer.say("NOTIFY", "Event: message-summary", content, body=VOICE_MAIL, cseq=3, to_tag="unknown")
    assert peer.statuses() == [481]
    assert peer.all(o.NotificationReceived) == []
    peer = Peer(accept_notifications=False)
    peer.say("NOTIFY", "Event: message-summary", content, body=VOICE_MAIL)
    assert peer.statuses() == [481]


def test_notify_and_subscribe_in_a_call() -> None:
    peer = Peer(events=("presence",))
    invite = peer.call_out()
    peer.in_dialog(invite, "NOTIFY", "Event: refer", "Subscription-State: active")
    assert peer.statuses() == [481]
    peer.in_dialog(invite, "SUBSCRIBE", "Event: presence", CONTACT, cseq=2)
    assert peer.statuses() == [403]
    assert peer.agent.calls == ("out",)
