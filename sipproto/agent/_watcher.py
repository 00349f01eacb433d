"""The subscription of one peer: the table of `_watcher_table` carried out (RFC 6665 4.2)."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent import _event as e
from sipproto.agent._hub import ALLOW, Hub
from sipproto.agent._notifier import Notification, NotifierEnd, NotifierUsage
from sipproto.agent._watcher_table import NOTIFIER_TABLE, NotifierAction, NotifierInput, NotifierState
from sipproto.agent.event_inputs import (
    AcceptSubscription,
    EndSubscription,
    Notify,
    RejectSubscription,
    SubscriptionState,
)
from sipproto.agent.event_outputs import SubscribeReceived, SubscriptionEnded, SubscriptionRefreshed
from sipproto.agent.outputs import Cause, cause_of
from sipproto.dialog import Dialog
from sipproto.errors import LocalProtocolError
from sipproto.message import NO_PARAMS, Params, Request, TokenParams, fields
from sipproto.tokens import token
from sipproto.transaction import FlowId, RequestReceived

S, I = NotifierState, NotifierInput
_TIMERS = ("answer", "expiry")
_OVER = (S.ENDING, S.TERMINATED)
_GRANTS = {SubscriptionState.PENDING: I.GRANT_PENDING, SubscriptionState.ACTIVE: I.GRANT_ACTIVE}
_TIMEOUT = Params((("reason", "timeout"),))


class Watcher:
    """A peer that is subscribed, or wants to be. `over` is called when the application is told of its end, `forget` when
    nothing of it is left."""

    def __init__(
        self,
        hub: Hub,
        ident: str,
        received: RequestReceived,
        event: TokenParams,
        over: Callable[[Watcher], None],
        forget: Callable[[Watcher], None],
    ) -> None:
        """Raises MessageSyntaxError when no dialog can be made from the SUBSCRIBE."""
        self._hub = hub
        self.ident = ident
        self.state = S.ASKED
        self.flow: FlowId | None = received.flow
        self._received = received  # what is to be answered
        self._event = event
        self._asked = min(lifetime_of(hub, received.request), hub.config.max_subscription)
        self._most = hub.config.max_subscription
        self._dialog = Dialog.from_request(received.request, token(hub.tokens), received.flow)
        self._usage = NotifierUsage(hub, self._dialog, event, self._usage_ended)
        self._owner = ("watcher", hub.next_number())
        self._over = over
        self._forget = forget
        self._next = Notification(state="active")
        self._refusal: tuple[int, str | None, tuple[tuple[str, str], ...]] = (480, None, ())
        self._end = SubscriptionEnded(subscription=ident, cause=Cause.TERMINATED)

    def step(self, what: NotifierInput) -> bool:
        """Takes an input. False when it means nothing in this state."""
        entry = NOTIFIER_TABLE.get((self.state, what))
        if entry is None:
            return False
        self.state, actions = entry
        for action in actions:
            _PERFORM[action](self)
        return True

    def ask(self) -> None:
        """Tells the application."""
        request = self._received.request
        sender = request.headers.require(fields.FROM)
        self._hub.start_timer(self._owner, "answer", self._hub.config.waits.subscription, self._timer)
        self._hub.emit(
            SubscribeReceived(
                subscription=self.ident,
                from_uri=str(sender.uri),
                display_name=sender.display_name,
                event=str(self._event),
                expires=self._asked,
                accept=tuple(str(accepted) for accepted in request.headers.all(fields.ACCEPT)),
                content_type=request.headers.first("Content-Type") or "",
                body=request.body,
                headers=tuple(request.headers),
            )
        )

    def _timer(self, name: str) -> None:
        if name == "answer":
            self._note(Cause.NO_ANSWER, "the subscription was not answered", status=480)
            self.step(I.SILENCE)
        else:
            self._note(Cause.EXPIRED, "the subscription has expired", reason="timeout")
            self._next = self._last(_TIMEOUT)
            self.step(I.EXPIRED)

    def _note(self, cause: Cause, detail: str, *, reason: str = "", status: int | None = None) -> None:
        if self.state not in _OVER:
            self._end = SubscriptionEnded(
                subscription=self.ident, cause=cause, reason=reason, detail=detail, status=status
            )

    def _last(self, params: Params) -> Notification:
        """The last NOTIFY, with what was told last."""
        said = self._usage.said
        content_type, body = ("", b"") if said is None else (said.content_type, said.body)
        return Notification(state="terminated", params=params, content_type=content_type, body=body)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _require(self, asked: bool) -> None:
        if (self.state is S.ASKED) is not asked:
            raise LocalProtocolError(f"subscription {self.ident!r} is {self.state.value}")

    def accept(self, command: AcceptSubscription) -> None:
        self._require(asked=True)
        what = _grant(command.state)
        assert what is not None
        if command.expires is not None:
            if not 1 <= command.expires <= self._asked:
                raise LocalProtocolError(f"the peer has asked for {self._asked} s, which cannot become more, or none")
            self._most = self._asked = command.expires
        fetch = self._asked == 0
        self._next = Notification(
            state="terminated" if fetch else command.state.value,
            params=_TIMEOUT if fetch else NO_PARAMS,
            content_type=command.content_type,
            body=command.body,
            headers=command.headers,
            command=command.command,
        )
        if fetch:
            self._note(Cause.EXPIRED, "the peer wanted to know once", reason="timeout")
        self.step(I.FETCH if fetch else what)

    def reject(self, command: RejectSubscription) -> None:
        self._require(asked=True)
        self._refusal = (command.status, command.reason, command.headers)
        self._note(cause_of(command.status), "rejected", status=command.status)
        self.step(I.REJECT)

    def notify(self, command: Notify) -> None:
        self._require(asked=False)
        what = _grant(command.state) or (I.GRANT_PENDING if self.state is S.PENDING else I.GRANT_ACTIVE)
        self._usage.require_room()
        self._next = Notification(
            state="pending" if what is I.GRANT_PENDING else "active",
            content_type=command.content_type,
            body=command.body,
            headers=command.headers,
            command=command.command,
        )
        self.step(what)

    def end(self, command: EndSubscription) -> None:
        self._require(asked=False)
        params = Params((("reason", command.reason),))
        if command.retry_after is not None:
            params = params.with_("retry-after", str(command.retry_after))
        self._next = Notification(
            state="terminated", params=params, content_type=command.content_type, body=command.body
        )
        self._note(Cause.TERMINATED, "ended", reason=command.reason)
        self.step(I.END)

    def shut_down(self) -> None:
        """The peer may try again another time."""
        self._note(Cause.TERMINATED, "shut down", reason="probation" if self.state is not S.ASKED else "")
        if not self.step(I.REJECT):
            self._next = Notification(state="terminated", params=Params((("reason", "probation"),)))
            self.step(I.END)

    # -- connections -------------------------------------------------------------------------------------------------

    def flow_lost(self, hope: bool) -> None:
        self.flow = None
        self._usage.suspend()
        if not hope or self.state in (S.ASKED, S.ENDING):
            self.flow_gone()

    def flow_ready(self, flow: FlowId) -> None:
        if self.flow is None:
            self._use_flow(flow)

    def flow_gone(self) -> None:
        """No connection is tried for any more."""
        if self.flow is None:
            self._note(Cause.CONNECTION_ERROR, "the connection to the subscriber was lost")
            self.step(I.FLOW_GONE)

    def _use_flow(self, flow: FlowId) -> None:
        self.flow = self._dialog.flow = flow
        self._usage.resume()

    # -- requests in the dialog --------------------------------------------------------------------------------------

    def on_ack(self, request: Request) -> None:
        pass

    def on_request(self, received: RequestReceived) -> None:
        """A SUBSCRIBE that refreshes or ends the subscription."""
        request, hub = received.request, self._hub
        if request.method != "SUBSCRIBE" or self.state in _OVER:
            hub.respond(received, 481)
            return
        if not self._dialog.accepts(request):
            hub.respond(received, 500, reason="CSeq too low")  # RFC 3261 12.2.2
            return
        if not e.same_event(self._event, request.headers.get(fields.EVENT)):
            hub.respond(received, 403)  # 4.5.2: another subscription has another dialog
            return
        lifetime = lifetime_of(hub, request)
        if 0 < lifetime < hub.config.min_subscription:
            hub.respond(received, 423, extra=[("Min-Expires", hub.config.min_subscription)])
            return
        self._dialog.refresh_target(request)
        self._received, self._asked = received, min(lifetime, self._most)
        if not lifetime:
            self._note(Cause.TERMINATED, "the peer has ended its subscription", reason="timeout")
            self._next = self._last(_TIMEOUT)
            self._use_flow(received.flow)
            self.step(I.UNSUBSCRIBE)
            return
        if self.flow is not None:
            self.flow = self._dialog.flow = received.flow  # that is where the peer is to be found now
        self.step(I.REFRESH)
        hub.emit(
            SubscriptionRefreshed(
                subscription=self.ident,
                expires=self._asked,
                content_type=request.headers.first("Content-Type") or "",
                body=request.body,
            )
        )

    # -- actions -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        """200, and the lifetime counts from now on. The dialog exists from the first one on."""
        hub, received = self._hub, self._received
        hub.stop_timer(self._owner, "answer")
        hub.dialogs[self._dialog.key] = self
        extra: list[tuple[str, object]] = [
            ("Contact", hub.contact(received.flow)),
            ("Expires", self._asked),
            ("Allow", ALLOW),
            ("Supported", hub.supported()),
            *hub.allow_events(),
        ]
        hub.respond(received, 200, to_tag=self._dialog.local.tag, extra=extra)
        self._usage.expires_at = hub.now + self._asked
        if self._asked:
            hub.start_timer(self._owner, "expiry", self._asked, self._timer)

    def _refuse(self) -> None:
        status, reason, headers = self._refusal
        self._hub.respond(self._received, status, reason=reason, to_tag=self._dialog.local.tag, extra=headers)

    def _send(self) -> None:
        self._usage.notify(self._next)

    def _repeat(self) -> None:
        if self.flow is None:
            self._use_flow(self._received.flow)
        else:
            self._usage.repeat()

    def _send_last(self) -> None:
        self._hub.stop_timer(self._owner, "expiry")
        self._usage.notify(self._next)
        if self._usage.is_suspended:
            self.step(I.FLOW_GONE)  # it cannot be told, and will find out by itself

    def _usage_ended(self, why: NotifierEnd | None) -> None:
        if why is None:
            self.step(I.TOLD)
        else:
            self._note(why.cause, why.detail, status=why.status)
            self.step(I.BROKEN)

    def _report_end(self) -> None:
        self._hub.emit(self._end)
        self._over(self)

    def _forget_all(self) -> None:
        if self._hub.dialogs.get(self._dialog.key) is self:
            del self._hub.dialogs[self._dialog.key]
        self._usage.close(self._end.cause, self._end.detail)
        self._hub.forget_owner(self._owner, *_TIMERS)
        self._forget(self)


def _grant(state: SubscriptionState | None) -> NotifierInput | None:
    if state is None:
        return None
    if state not in _GRANTS:
        raise LocalProtocolError("a subscription is made pending or active; use EndSubscription to end it")
    return _GRANTS[state]


def lifetime_of(hub: Hub, request: Request) -> int:
    """What a SUBSCRIBE asks for. The default is that of most packages, an hour (RFC 3856 6.4, RFC 3842 3.4)."""
    stated = request.headers.get(fields.EXPIRES)
    return min(3600, hub.config.max_subscription) if stated is None else stated


_PERFORM: dict[NotifierAction, Callable[[Watcher], None]] = {
    NotifierAction.ACCEPT: Watcher._accept,
    NotifierAction.REFUSE: Watcher._refuse,
    NotifierAction.NOTIFY: Watcher._send,
    NotifierAction.REPEAT: Watcher._repeat,
    NotifierAction.LAST_NOTIFY: Watcher._send_last,
    NotifierAction.REPORT_END: Watcher._report_end,
    NotifierAction.FORGET: Watcher._forget_all,
}
