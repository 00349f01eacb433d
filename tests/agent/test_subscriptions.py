"""Our subscriptions against a scripted notifier (RFC 6665 4.1)."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent import AgentLimits, Cause, Recovery
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request, fields
from tests.agent.peer import CONTACT, FLOW, Peer, answer_to, cseq_of

PENDING, ACTIVE = i.SubscriptionState.PENDING, i.SubscriptionState.ACTIVE
WAITING, TERMINATED = i.SubscriptionState.WAITING, i.SubscriptionState.TERMINATED
PRESENCE = i.Subscribe(command=0, subscription="s", target="sip:bob@example.com", event="presence", expires=600)
CHALLENGE = 'WWW-Authenticate: Digest realm="example.com", nonce="n", qop="auth", algorithm=SHA-256'


class Notifier(Peer):
    """The other side of one subscription."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.cseq = 0
        self.flow = FLOW
        self.subscribe_sent: Request | None = None

    def subscribe(self, **more: Any) -> Request:
        self.command(evolve(PRESENCE, **more))
        self.subscribe_sent = self.request("SUBSCRIBE")
        return self.subscribe_sent

    def notify(
        self,
        state: str,
        *lines: str,
        event: str = "presence",
        tag: str = "peer",
        body: bytes = b"",
        contact: bool = True,
    ) -> int:
        """A NOTIFY in the dialog of the last SUBSCRIBE; gives the status that it was answered."""
        self.cseq += 1
        subscribe = self.subscribe_sent
        assert subscribe is not None
        self.say(
            "NOTIFY",
            *([f"Subscription-State: {state}"] if state else []),
            *([f"Event: {event}"] if event else []),
            *(["Content-Type: text/plain"] if body else []),
            *lines,
            body=body,
            cseq=self.cseq,
            from_tag=tag,
            to_tag=(subscribe.headers.first("From") or "").partition("tag=")[2],
            call_id=subscribe.headers.first("Call-ID") or "",
            **({} if contact else {"contact": ""}),
        )
        (status,) = self.statuses()
        return status

    def changed(self) -> o.SubscriptionChanged:
        return self.one(o.SubscriptionChanged)

    def established(self, expires: int = 600, **more: Any) -> Request:
        subscribe = self.subscribe(**more)
        self.answer(subscribe, 200, CONTACT, f"Expires: {expires}")
        assert self.notify(f"active;expires={expires}", body=b"open") == 200
        assert self.changed().state is ACTIVE
        return subscribe

    def timer(self, name: str) -> float:
        (when,) = [when for _, n, when in self.agent.timers() if n == name]
        return when - self.now

    def nothing_left(self) -> None:
        self.wait(70)
        assert not any(self.agent.retained.values()), (self.agent.retained, self.agent.timers())

    def resubscribed(self) -> Request:
        self.subscribe_sent = self.requests("SUBSCRIBE")[0]
        self.cseq = 0
        return self.subscribe_sent


def test_subscribe_notify_unsubscribe() -> None:
    peer = Notifier(events=("presence",))
    number = peer.commands + 1
    subscribe = peer.subscribe(accept=("application/pidf+xml",), content_type="text/plain", body=b"filter")
    assert (subscribe.target, subscribe.body) == ("sip:bob@example.com", b"filter")
    for name, value in (
        ("Event", "presence"),
        ("Expires", "600"),
        ("Accept", "application/pidf+xml"),
        ("Allow-Events", "presence"),
    ):
        assert subscribe.headers.first(name) == value
    assert "Contact" in subscribe.headers
    peer.answer(subscribe, 200, CONTACT, "Expires: 300")
    assert peer.out == []  # RFC 6665 4.4.1: there is no dialog before the first NOTIFY
    assert peer.notify("pending;expires=300") == 200
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=300)
    assert (peer.changed().state, peer.changed().expires) == (PENDING, 300)
    assert peer.notify("active", body=b"open") == 200
    assert peer.one(o.NotifyReceived).body == b"open"
    assert peer.changed().state is ACTIVE
    assert peer.notify("active", body=b"closed") == 200
    assert peer.all(o.SubscriptionChanged) == []
    number = peer.command(i.Unsubscribe(command=0, subscription="s"))
    assert peer.one(o.CommandSucceeded).command == number
    assert (peer.changed().state, peer.changed().cause) == (TERMINATED, Cause.TERMINATED)
    ending = peer.request("SUBSCRIBE")
    assert ending.headers.first("Expires") == "0"
    assert ending.target == "sip:bob@peer.invalid;transport=ws"
    assert cseq_of(ending) == cseq_of(subscribe) + 1
    assert ending.headers.first("Call-ID") == subscribe.headers.first("Call-ID")
    peer.answer(ending, 200, "Expires: 0")
    assert peer.notify("active", body=b"crossed") == 200  # it has crossed the end
    assert peer.notify("terminated;reason=timeout", body=b"last") == 200
    assert peer.all(o.NotifyReceived) == []  # over for the application
    assert peer.notify("active") == 481
    peer.nothing_left()


def test_notify_before_the_2xx_makes_the_dialog() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    assert peer.notify("active;expires=500", "Record-Route: <sip:proxy.example.com;lr>") == 200
    assert peer.one(o.CommandSucceeded).result == 500
    peer.answer(subscribe, 200, CONTACT, "Expires: 400", "Record-Route: <sip:other.example.com;lr>")
    assert peer.out == []
    assert 200 <= peer.timer("refresh") <= 320  # the 2xx says 400 now
    peer.wait(peer.timer("refresh"))
    refresh = peer.request("SUBSCRIBE")
    assert refresh.headers.first("Route") == "<sip:proxy.example.com;lr>"  # of the NOTIFY (4.4.1)
    assert cseq_of(refresh) == cseq_of(subscribe) + 1


def test_route_of_a_2xx_when_the_notify_has_none() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    peer.answer(subscribe, 200, CONTACT, "Record-Route: <sip:b.example.com;lr>, <sip:a.example.com;lr>")
    peer.notify("active;expires=600")
    peer.wait(peer.timer("refresh"))
    assert [str(r.uri) for r in peer.request("SUBSCRIBE").headers.all(fields.ROUTE)] == [
        "sip:a.example.com;lr",
        "sip:b.example.com;lr",
    ]


def test_contact_of_a_2xx_when_the_notify_has_none() -> None:
    """As Linphone does it."""
    peer = Notifier()
    subscribe = peer.subscribe()
    peer.answer(subscribe, 200, CONTACT, "Record-Route: <sip:a.example.com;lr>")
    assert peer.notify("active;expires=600", body=b"open", contact=False) == 200
    assert peer.one(o.NotifyReceived).body == b"open"
    assert peer.changed().state is ACTIVE
    peer.cseq -= 1
    assert peer.notify("active", contact=False) == 500  # its number was used
    peer.wait(peer.timer("refresh"))
    refresh = peer.request("SUBSCRIBE")
    assert refresh.target == "sip:bob@peer.invalid;transport=ws"
    assert [str(r.uri) for r in refresh.headers.all(fields.ROUTE)] == ["sip:a.example.com;lr"]
    assert cseq_of(refresh) == cseq_of(subscribe) + 1


def test_a_notify_that_is_alone_needs_a_contact() -> None:
    peer = Notifier()
    peer.subscribe()
    assert peer.notify("active;expires=600", contact=False) == 400
    assert peer.notify("active;expires=600") == 200


def test_a_failure_after_a_notify_of_another_branch() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    peer.notify("active;expires=600")
    peer.answer(subscribe, 486, tag="other")
    assert peer.out == []
    assert peer.timer("expiry") == pytest.approx(600)


def test_no_answer_but_a_notify() -> None:
    peer = Notifier()
    peer.subscribe()
    peer.notify("active;expires=600")
    assert peer.wait(60) == []
    assert peer.timer("expiry") == pytest.approx(540)


def test_the_2xx_is_of_another_branch() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    peer.notify("active;expires=600", tag="one")
    peer.answer(subscribe, 200, CONTACT, "Expires: 0", tag="two")
    assert peer.out == []
    assert peer.timer("expiry") == pytest.approx(600)


def test_forked_subscribe_keeps_the_first() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    assert peer.notify("active;expires=600", tag="one") == 200
    peer.answer(subscribe, 200, CONTACT, tag="two")
    assert peer.notify("active", tag="two") == 481
    assert peer.all(o.NotifyReceived) == []
    peer.cseq = 1
    assert peer.notify("active", tag="one") == 200


def test_notifies_that_do_not_belong() -> None:
    peer = Notifier()
    peer.subscribe(event="presence;id=7")
    assert peer.notify("active", event="presence") == 481
    assert peer.notify("active", event="presence;id=8") == 481
    assert peer.notify("active", event="dialog;id=7") == 481
    assert peer.notify("", event="presence;id=7") == 400
    assert peer.notify("active", event="") == 400
    assert peer.notify("active", event="presence;x=y;id=7") == 200
    peer.cseq = 1
    assert peer.notify("active", event="presence;id=7") == 500  # CSeq too low
    assert peer.all(o.NotifyReceived) == []
    peer = Notifier()
    peer.subscribe()
    peer.data(
        peer.text(
            "NOTIFY",
            "Event: presence",
            "Subscription-State: active",
            contact="",
            to_tag=(peer.subscribe_sent.headers.first("From") or "").partition("tag=")[2],  # type: ignore[union-attr]
            call_id=peer.subscribe_sent.headers.first("Call-ID") or "",  # type: ignore[union-attr]
        )
    )
    assert peer.statuses() == [400]  # no dialog can be made of it


def test_other_requests_in_the_dialog() -> None:
    peer = Notifier()
    subscribe = peer.established()
    peer.in_dialog(subscribe, "BYE", cseq=7)
    assert peer.statuses() == [481]


def test_no_notify_comes() -> None:
    peer = Notifier()
    peer.answer(peer.subscribe(), 200, CONTACT, "Expires: 600")
    peer.wait(31)
    assert peer.out == []
    peer.wait(1.1)
    failed = peer.one(o.CommandFailed)
    assert (failed.cause, failed.detail) == (Cause.REQUEST_TIMEOUT, "no NOTIFY came in time")
    assert peer.changed().state is TERMINATED
    peer.nothing_left()


def test_silence() -> None:
    peer = Notifier()
    peer.subscribe()
    peer.wait(33)
    assert peer.one(o.CommandFailed).cause is Cause.REQUEST_TIMEOUT
    assert peer.changed().state is TERMINATED
    peer.nothing_left()


@pytest.mark.parametrize(
    ("status", "cause"),
    [(489, Cause.SIP_FAILURE_CODE), (404, Cause.NOT_FOUND), (603, Cause.REJECTED), (503, Cause.SIP_FAILURE_CODE)],
)
def test_refused(status: int, cause: Cause) -> None:
    peer = Notifier()
    peer.answer(peer.subscribe(), status)
    failed = peer.one(o.CommandFailed)
    assert (failed.cause, failed.status) == (cause, status)
    assert (peer.changed().state, peer.changed().status) == (TERMINATED, status)
    peer.nothing_left()


def test_423_raises_but_not_for_ever() -> None:
    peer = Notifier()
    request = peer.subscribe(expires=60)
    for least in (120, 240):
        peer.answer(request, 423, f"Min-Expires: {least}")
        request = peer.request("SUBSCRIBE")
        assert request.headers.first("Expires") == str(least)
    peer.answer(request, 423, "Min-Expires: 480")
    assert peer.one(o.CommandFailed).status == 423


def test_authentication() -> None:
    peer = Notifier(secrets=(Secret(username="alice", password="secret"),))
    first = peer.subscribe()
    peer.answer(first, 401, CHALLENGE)
    second = peer.request("SUBSCRIBE")
    assert cseq_of(second) == cseq_of(first) + 1 and "Authorization" in second.headers
    peer.answer(second, 200, CONTACT)
    peer.notify("active;expires=600")
    peer.wait(peer.timer("refresh"))
    assert cseq_of(peer.request("SUBSCRIBE")) == cseq_of(second) + 1
    peer = Notifier()
    peer.answer(peer.subscribe(), 401, CHALLENGE)
    assert peer.one(o.CommandFailed).cause is Cause.NO_PASSWORD


@pytest.mark.parametrize("state", ["terminated;reason=timeout", "terminated", "active;expires=0"])
@pytest.mark.parametrize("asked", [0, 600])
def test_fetch(state: str, asked: int) -> None:
    """Asked for, or all that the server grants: a 2xx with Expires 0."""
    peer = Notifier()
    number = peer.commands + 1
    peer.answer(peer.subscribe(expires=asked), 200, CONTACT, "Expires: 0")
    assert peer.notify(state, body=b"open") == 200
    assert peer.one(o.NotifyReceived).body == b"open"
    assert peer.one(o.CommandSucceeded) == o.CommandSucceeded(command=number, result=0)
    assert peer.changed().state is TERMINATED
    peer.nothing_left()


def test_2xx_without_a_lifetime_after_the_notify() -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    peer.notify("active", body=b"open")
    peer.one(o.CommandSucceeded)
    peer.answer(subscribe, 200, CONTACT, "Expires: 0")
    assert (peer.changed().state, peer.changed().reason) == (TERMINATED, "timeout")
    peer.nothing_left()


# -- refreshes -------------------------------------------------------------------------------------------------------


def refreshing() -> tuple[Notifier, Request]:
    peer = Notifier()
    peer.established()
    assert 300 <= peer.timer("refresh") <= 480
    peer.wait(peer.timer("refresh"))
    return peer, peer.request("SUBSCRIBE")


def test_refresh() -> None:
    peer, refresh = refreshing()
    assert (refresh.headers.first("Expires"), refresh.body) == ("600", b"")
    peer.answer(refresh, 200, "Contact: <sip:bob@elsewhere.invalid>", "Expires: 100")
    assert 50 <= peer.timer("refresh") <= 80
    assert peer.notify("active;expires=100") == 200
    peer.wait(peer.timer("refresh"))
    again = peer.request("SUBSCRIBE")
    assert again.target == "sip:bob@peer.invalid;transport=ws"  # of the NOTIFY after it
    assert cseq_of(again) == cseq_of(refresh) + 1


def test_refresh_without_a_notify() -> None:
    peer, refresh = refreshing()
    peer.answer(refresh, 200, CONTACT, "Expires: 600")
    peer.wait(33)
    changed = peer.all(o.SubscriptionChanged)[0]
    assert (changed.state, changed.cause) == (WAITING, Cause.REQUEST_TIMEOUT)
    peer, refresh = refreshing()
    peer.answer(refresh, 204, CONTACT, "Expires: 600")
    peer.wait(60)  # RFC 5839: there is none
    assert peer.out == []


@pytest.mark.parametrize("status", [481, 480])
def test_refresh_finds_no_subscription(status: int) -> None:
    peer, refresh = refreshing()
    peer.answer(refresh, status)
    changed = peer.changed()
    assert (changed.state, changed.status) == (WAITING, status)
    assert changed.retry_in is not None
    assert (changed.retry_in <= 0.5) is (status == 481)
    peer.wait(changed.retry_in)
    again = peer.resubscribed()
    assert again.headers.first("Call-ID") != refresh.headers.first("Call-ID")
    assert again.target == "sip:bob@example.com"
    peer.answer(again, 200, CONTACT)
    assert peer.notify("active;expires=600") == 200
    assert peer.changed().state is ACTIVE
    assert peer.all(o.CommandSucceeded) == []


@pytest.mark.parametrize("status", [404, 405, 489, 501, 604])
def test_refresh_is_refused_for_good(status: int) -> None:
    peer, refresh = refreshing()
    peer.answer(refresh, status)
    assert (peer.changed().state, peer.changed().status) == (TERMINATED, status)
    peer.nothing_left()


def test_refresh_fails_and_the_subscription_stays() -> None:
    """RFC 6665 4.1.2.2: it is good for as long as it was granted."""
    peer, refresh = refreshing()
    peer.answer(refresh, 500, "Retry-After: 20")
    assert peer.all(o.SubscriptionChanged) == []
    peer.wait(19)
    assert peer.out == []
    peer.wait(1.1)
    second = peer.request("SUBSCRIBE")
    assert cseq_of(second) == cseq_of(refresh) + 1
    peer.answer(second, 403)
    left, expired = peer.timer("expiry"), []
    end = peer.now + left
    while peer.now < end:  # a server that never agrees is asked again, less and less often
        out = peer.wait(1)
        expired += [c.cause for c in out if isinstance(c, o.SubscriptionChanged)]
        for request in [] if expired else peer.requests("SUBSCRIBE"):
            peer.answer(request, 403)
    assert expired == [Cause.EXPIRED]


def test_423_to_a_refresh() -> None:
    peer, refresh = refreshing()
    peer.answer(refresh, 423, "Min-Expires: 1200")
    assert peer.request("SUBSCRIBE").headers.first("Expires") == "1200"


def test_notify_shortens_the_lifetime() -> None:
    peer = Notifier()
    peer.established()
    before = peer.timer("refresh")
    peer.notify("active;expires=599")
    assert peer.timer("refresh") == before  # it is the same lifetime
    peer.notify("active;expires=60")
    assert 30 <= peer.timer("refresh") <= 48
    assert peer.timer("expiry") == 60


def test_refresh_while_unsubscribing() -> None:
    peer, refresh = refreshing()
    peer.command(i.Unsubscribe(command=0, subscription="s"))
    ending = peer.request("SUBSCRIBE")
    assert cseq_of(ending) == cseq_of(refresh) + 1
    peer.answer(refresh, 481)
    assert peer.out == []  # late
    peer.answer(ending, 401, CHALLENGE)
    peer.nothing_left()


def test_names() -> None:
    peer = Notifier(limits=AgentLimits(subscriptions=2))
    peer.established()
    assert "already" in peer.refused(PRESENCE)
    peer.command(i.Unsubscribe(command=0, subscription="s"))
    peer.refused(i.Unsubscribe(command=0, subscription="s"))
    peer.subscribe()  # the name is free, although the old one is not at its end
    peer.subscribe(subscription="t")
    assert "limit" in peer.refused(evolve(PRESENCE, subscription="u"))
    for bad in (
        {"event": "a b"},
        {"expires": -1},
        {"expires": 10**6},
        {"accept": ("x",)},
        {"target": "nobody"},
        {"body": b"x"},
        {"headers": (("X", "a\r\nb"),)},
    ):
        peer = Notifier()
        peer.refused(evolve(PRESENCE, **bad))


# -- terminated by the notifier --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "least", "most"),
    [
        ("reason=deactivated", 0, 0.5),
        ("reason=deactivated;retry-after=100", 0, 0.5),  # it has no meaning there
        ("reason=timeout", 0, 0.5),
        ("reason=probation", 2.5, 5),
        ("reason=probation;retry-after=100", 100, 100),
        ("reason=giveup;retry-after=70", 70, 70),
        ("reason=giveup", 2.5, 5),
        ("reason=unheard-of;retry-after=70", 70, 70),
        ("x=y", 2.5, 5),
    ],
)
def test_terminated_and_made_anew(state: str, least: float, most: float) -> None:
    peer = Notifier()
    peer.established()
    assert peer.notify(f"terminated;{state}", body=b"last") == 200
    assert peer.one(o.NotifyReceived).body == b"last"
    changed = peer.changed()
    assert changed.state is WAITING
    assert changed.retry_in is not None and least <= changed.retry_in <= most
    assert peer.notify("active") == 481
    peer.wait(changed.retry_in)
    peer.answer(peer.resubscribed(), 200, CONTACT)
    peer.notify("active;expires=600")
    assert peer.changed().state is ACTIVE


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("rejected", Cause.REJECTED), ("noresource", Cause.NOT_FOUND), ("invariant", Cause.TERMINATED)],
)
def test_terminated_for_good(reason: str, cause: Cause) -> None:
    peer = Notifier()
    peer.established()
    peer.notify(f"terminated;reason={reason};retry-after=5")
    changed = peer.changed()
    assert (changed.state, changed.reason, changed.cause, changed.retry_in) == (TERMINATED, reason, cause, None)
    peer.nothing_left()


def test_a_notifier_that_always_ends_it_is_not_run_over() -> None:
    peer = Notifier()
    peer.established()
    peer.notify("terminated;reason=deactivated")
    delays = []
    for _ in range(8):
        (waiting,) = peer.all(o.SubscriptionChanged)[-1:]
        assert waiting.retry_in is not None
        delays.append(waiting.retry_in)
        peer.wait(waiting.retry_in)
        peer.answer(peer.resubscribed(), 200, CONTACT)
        peer.notify("active;expires=600")
        peer.notify("terminated;reason=deactivated")
    assert delays[0] <= 0.5
    assert all(delay >= 2.5 * 2**number for number, delay in enumerate(delays[1:7], 1))
    peer.wait(peer.all(o.SubscriptionChanged)[-1].retry_in or 0)
    peer.answer(peer.resubscribed(), 200, CONTACT)
    peer.notify("active;expires=600")
    peer.wait(61)  # it has been good for a while
    peer.notify("terminated;reason=deactivated")
    assert (peer.changed().retry_in or 9) <= 0.5


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("rejected", Cause.REJECTED), ("noresource", Cause.NOT_FOUND), ("probation", Cause.UNAVAILABLE)],
)
def test_terminated_at_once(reason: str, cause: Cause) -> None:
    """A first attempt that does not succeed is for its caller to repeat."""
    peer = Notifier()
    peer.answer(peer.subscribe(), 200, CONTACT)
    peer.notify(f"terminated;reason={reason}")
    assert peer.one(o.CommandFailed).cause is cause
    assert peer.changed().state is TERMINATED
    peer.nothing_left()


# -- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [True, False])
def test_unsubscribed_before_there_was_a_dialog(accepted: bool) -> None:
    peer = Notifier()
    subscribe = peer.subscribe()
    if accepted:
        peer.answer(subscribe, 200, CONTACT)
    peer.command(i.Unsubscribe(command=0, subscription="s"))
    assert peer.one(o.CommandFailed).cause is Cause.SUPERSEDED
    assert peer.changed().state is TERMINATED
    assert peer.sent() == []
    if not accepted:
        peer.answer(subscribe, 401, CHALLENGE)
        assert peer.sent() == []  # it is not tried again
        peer.nothing_left()
        return
    assert peer.notify("active") == 200
    ending = peer.request("SUBSCRIBE")
    assert ending.headers.first("Expires") == "0"
    peer.answer(ending, 200)
    peer.notify("terminated;reason=timeout")
    peer.nothing_left()


def test_shutdown() -> None:
    peer = Notifier()
    peer.established()
    number = peer.command(i.Shutdown(command=0))
    ending = peer.request("SUBSCRIBE")
    assert ending.headers.first("Expires") == "0"
    assert peer.changed().state is TERMINATED
    peer.answer(ending, 200)
    peer.notify("terminated;reason=timeout")
    assert peer.one(o.CommandSucceeded).command == number
    peer.refused(PRESENCE)
    peer.nothing_left()
    peer = Notifier()
    peer.established()
    peer.command(i.Shutdown(command=0))
    peer.wait(3.1)  # nobody answers
    peer.one(o.CommandFailed)
    assert not any(peer.agent.retained.values())


# -- connections -----------------------------------------------------------------------------------------------------


def reconnect(peer: Notifier) -> None:
    tried = {out.flow for out in peer.all(o.OpenFlow)} - {out.flow for out in peer.all(o.CloseFlow)}
    while not tried:
        peer.wait(1)
        tried = {out.flow for out in peer.all(o.OpenFlow)}
    (peer.flow,) = tried
    peer.give(i.FlowOpened(flow=peer.flow, transport="WS"))


def lost() -> tuple[Notifier, Request]:
    peer = Notifier(recovery=Recovery())
    subscribe = peer.established()
    peer.give(i.FlowClosed(flow=FLOW))
    changed = peer.changed()
    assert (changed.state, changed.cause, changed.retry_in) == (WAITING, Cause.CONNECTION_ERROR, None)
    reconnect(peer)
    return peer, subscribe


def over(peer: Notifier, data: bytes) -> list[o.Output]:
    return peer.data(data, flow=peer.flow)


def test_refreshed_over_a_new_connection() -> None:
    peer, subscribe = lost()
    refresh = peer.request("SUBSCRIBE")
    assert refresh.headers.first("Call-ID") == subscribe.headers.first("Call-ID")
    assert cseq_of(refresh) == cseq_of(subscribe) + 1
    assert "Contact" in refresh.headers
    over(peer, answer_to(refresh, 200, CONTACT, "Expires: 600"))
    text = peer.text(
        "NOTIFY",
        "Event: presence",
        "Subscription-State: active;expires=600",
        cseq=9,
        from_tag="peer",
        to_tag=(refresh.headers.first("From") or "").partition("tag=")[2],
        call_id=refresh.headers.first("Call-ID") or "",
    )
    over(peer, text)
    assert peer.changed().state is ACTIVE
    assert peer.statuses() == [200]


def test_made_anew_when_the_server_has_forgotten_it() -> None:
    peer, subscribe = lost()
    over(peer, answer_to(peer.request("SUBSCRIBE"), 481))
    peer.wait(1)
    again = peer.request("SUBSCRIBE")
    assert again.headers.first("Call-ID") != subscribe.headers.first("Call-ID")
    assert again.target == "sip:bob@example.com"


def test_expired_without_a_connection() -> None:
    peer = Notifier(recovery=Recovery())
    subscribe = peer.established()
    peer.give(i.FlowClosed(flow=FLOW))
    peer.wait(700)
    reconnect(peer)
    again = peer.request("SUBSCRIBE")
    assert again.headers.first("Call-ID") != subscribe.headers.first("Call-ID")
    assert again.target == "sip:bob@example.com"


def test_unsubscribed_without_a_connection() -> None:
    peer = Notifier(recovery=Recovery())
    peer.established()
    peer.give(i.FlowClosed(flow=FLOW))
    peer.command(i.Unsubscribe(command=0, subscription="s"))
    assert peer.changed().state is TERMINATED
    reconnect(peer)
    assert peer.sent() == []


def test_retry_is_due_without_a_connection() -> None:
    peer = Notifier(recovery=Recovery())
    peer.established()
    peer.notify("terminated;reason=probation;retry-after=100")
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.all(o.SubscriptionChanged) == []  # it is waiting anyway
    peer.wait(101)
    assert peer.requests("SUBSCRIBE") == []
    reconnect(peer)
    peer.request("SUBSCRIBE")


def test_connection_lost_for_good() -> None:
    for recovery in (Recovery(reconnect=False), Recovery()):
        peer = Notifier(recovery=recovery)
        peer.established()
        peer.give(i.FlowClosed(flow=FLOW))
        if recovery.reconnect:
            assert peer.changed().state is WAITING
            peer.command(i.Disconnect(command=0))
        assert (peer.changed().state, peer.changed().cause) == (TERMINATED, Cause.CONNECTION_ERROR)
        assert not any(peer.agent.retained.values())
    peer = Notifier(recovery=Recovery())
    peer.subscribe()
    peer.give(i.FlowClosed(flow=FLOW))
    assert peer.one(o.CommandFailed).cause is Cause.CONNECTION_ERROR
    assert peer.changed().state is TERMINATED
