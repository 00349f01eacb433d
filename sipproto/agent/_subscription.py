"""One subscription of ours: the table of `_subscription_table` carried out (RFC 6665 4.1)."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from sipproto.agent import _event as e
from sipproto.agent._hub import ALLOW, Exchange, Hub, outcome_of_auth
from sipproto.agent._subscription_table import SUBSCRIBER_TABLE, SubscriberAction, SubscriberInput, SubscriberState
from sipproto.agent.event_inputs import Subscribe, SubscriptionState
from sipproto.agent.event_outputs import NotifyReceived, SubscriptionChanged
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause, cause_of
from sipproto.dialog import Dialog, Pairs, build_request, dialog_key
from sipproto.errors import MessageSyntaxError
from sipproto.message import Request, Response, TokenParams, fields
from sipproto.tokens import uniform
from sipproto.transaction import FlowId, RequestReceived

S, I = SubscriberState, SubscriberInput
_TIMERS = ("N", "refresh", "expiry", "retry")
_OVER = (S.WITHDRAWING, S.LEAVING, S.TERMINATED)
_STABLE = 60.0  # seconds after which a subscription counts as a good one
_AT_ONCE = 0.5  # seconds over which those that are to try again at once are spread
# RFC 6665 4.1.2.2: these end the subscription that was to be refreshed. 481 and 480 are worth a new one.
_ENDS = frozenset({404, 405, 410, 416, 482, 483, 484, 485, 489, 501, 604})
_ENDS_FOR_NOW = frozenset({480, 481})
# RFC 6665 4.1.3: what each reason asks for. Any other one leaves it to us when to try again.
_FOR_GOOD = frozenset({"rejected", "noresource", "invariant"})
_SOON = frozenset({"deactivated", "timeout"})
_CAUSES = {
    "rejected": Cause.REJECTED,
    "noresource": Cause.NOT_FOUND,
    "timeout": Cause.EXPIRED,
    "deactivated": Cause.UNAVAILABLE,
    "probation": Cause.UNAVAILABLE,
    "giveup": Cause.UNAVAILABLE,
}
_PUBLIC = {
    S.PENDING: SubscriptionState.PENDING,
    S.ACTIVE: SubscriptionState.ACTIVE,
}


@frozen(kw_only=True)
class _Why:
    """Why a subscription ends or pauses."""

    cause: Cause = Cause.TERMINATED
    detail: str = ""
    status: int | None = None
    reason: str = ""
    retry_after: int | None = None
    soon: bool = False  # it may be made anew at once
    done: bool = False  # all has been told that was asked for, or that there ever will be


_FETCHED = _Why(cause=Cause.EXPIRED, reason="timeout", done=True)
_CONNECTION = _Why(cause=Cause.CONNECTION_ERROR, detail=e.LOST, soon=True)


class Subscription:
    """A subscription. `over` is called when the application is told of its end, `forget` when nothing of it is left.

    It has one dialog at a time: that of the first NOTIFY. Where the SUBSCRIBE was forked, the NOTIFYs of the others get 481,
    which ends their subscriptions (RFC 6665 4.1.4 leaves the choice to the package).
    """

    def __init__(
        self,
        hub: Hub,
        command: Subscribe,
        over: Callable[[Subscription], None],
        forget: Callable[[Subscription], None],
    ) -> None:
        self._hub = hub
        self.ident = command.subscription
        self._made = command
        self._event = e.parse_event(command.event)
        self.state = S.NOTIFY_WAIT
        self.flow: FlowId | None = None
        self._command: CommandId | None = command.command
        self._over = over
        self._forget = forget
        self._owner = ("subscription", hub.next_number())
        self._expires = command.expires  # what we ask for
        self._once = command.expires == 0  # no more than one NOTIFY is wanted, or to be had
        self._raises = 0
        self._failures = 0
        self._refusals = 0  # of refreshes in a row
        self._since: float | None = None  # when it was last established
        self._ends_at: float | None = None
        self._retry_in: float | None = None
        self._why = _Why()
        self._reported_end = False
        self._dialog: Dialog | None = None
        self._exchange: Exchange | None = None
        self._awaited: tuple[str, str] | None = None
        self._answered_by: Dialog | None = None  # what the 2xx says of a dialog that no NOTIFY has made yet
        self._local = hub.from_address()
        self._call_id = ""
        self._cseq = 0

    def start(self) -> None:
        self._subscribe()

    def step(self, what: SubscriberInput, why: _Why | None = None) -> None:
        entry = SUBSCRIBER_TABLE.get((self.state, what))
        if entry is None:
            return
        if why is not None:
            self._why = why
        self.state, actions = entry
        for action in actions:
            _PERFORM[action](self)

    def unsubscribe(self) -> None:
        self.step(I.UNSUBSCRIBE, _Why(detail="unsubscribed"))

    # -- timers ------------------------------------------------------------------------------------------------------

    def _start_timer(self, name: str, delay: float) -> None:
        self._hub.start_timer(self._owner, name, delay, self._timer)

    def _stop_timer(self, *names: str) -> None:
        self._hub.stop_timer(self._owner, *names)

    def _timer(self, name: str) -> None:
        match name:
            case "N":
                self._failed(_Why(cause=Cause.REQUEST_TIMEOUT, detail="no NOTIFY came in time"))
            case "refresh":
                self.step(I.REFRESH)
            case "expiry":
                self.step(I.EXPIRED, _Why(cause=Cause.EXPIRED, detail="the subscription has expired", soon=True))
            case _:
                self.step(I.NO_FLOW if self._hub.server_flow is None else I.RETRY)

    def _live(self, lifetime: int) -> None:
        """It ends in so many seconds, unless it is refreshed."""
        self._ends_at = self._hub.now + lifetime
        if self.state not in _OVER:
            self._start_timer("refresh", e.refresh_delay(self._hub, lifetime))
            self._start_timer("expiry", lifetime)

    # -- connections -------------------------------------------------------------------------------------------------

    def flow_lost(self, hope: bool) -> None:
        self._drop_exchange()
        self._stop_timer("N", "refresh")
        self.flow = None
        # A first attempt that did not succeed is for its caller to repeat.
        self.step(I.NO_FLOW if hope and self._command is None else I.FLOW_GONE, _CONNECTION)

    def flow_ready(self) -> None:
        self.step(I.RESTART if self._dialog is None else I.RESUME)

    def flow_gone(self) -> None:
        """No connection is tried for any more."""
        if self.flow is None:
            self.step(I.FLOW_GONE, _CONNECTION)

    # -- SUBSCRIBE ---------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        """The first SUBSCRIBE, of a dialog that does not exist yet."""
        hub = self._hub
        self._call_id, self._local = hub.new_call_id(), hub.from_address()
        self._cseq = hub.tokens.bits(16)
        self._raises = self._refusals = 0
        self._answered_by = None
        self._awaited = (self._call_id, self._local.tag or "")
        hub.awaited[self._awaited] = self
        self._send_first()

    def _send_first(self) -> None:
        hub, made = self._hub, self._made

        def build(credentials: Pairs) -> Request:
            self._cseq += 1
            extra = [*credentials, *self._headers(self._expires), *made.headers]
            if made.content_type:
                extra.append(("Content-Type", made.content_type))
            return build_request(
                "SUBSCRIBE",
                made.target,
                from_=self._local,
                to=f"<{made.target}>",
                call_id=self._call_id,
                cseq=self._cseq,
                routes=hub.service_route,
                extra=extra,
                body=made.body,
            )

        self._send(build, made.target, self._first_answered, made.body)

    def _refresh(self) -> None:
        self._send_in_dialog(self._expires, self._refresh_answered)

    def _unsubscribe(self) -> None:
        self._send_in_dialog(0, self._end_answered)

    def _send_in_dialog(self, expires: int, answered: Callable[[Response], None]) -> None:
        dialog = self._dialog
        assert dialog is not None

        def build(credentials: Pairs) -> Request:
            return dialog.next_request("SUBSCRIBE", extra=[*credentials, *self._headers(expires), *self._made.headers])

        self._send(build, dialog.remote_target, answered)

    def _send(
        self, build: Callable[[Pairs], Request], target: str, answered: Callable[[Response], None], body: bytes = b""
    ) -> None:
        hub = self._hub
        self._drop_exchange()
        self._stop_timer("refresh")
        self.flow = hub.server_flow
        assert self.flow is not None
        if self._dialog is not None:
            self._dialog.flow = self.flow
        # 4.1.2.1, 4.1.2.2: every SUBSCRIBE makes the notifier tell the state, and is worth nothing without that.
        self._start_timer("N", hub.config.timers.t1_64)
        first = self._dialog is None
        self._exchange = Exchange(
            flow=self.flow,
            build=build,
            method="SUBSCRIBE",
            target=target,
            to=self._made.target,
            body=body,
            on_final=answered,
            on_failure=lambda timeout: self._silent(timeout, first),
            timeout=hub.config.waits.request,
            is_wanted=lambda: first is (self._dialog is None) and self.state is not S.WITHDRAWING,
        )
        if not hub.start(self._exchange):
            self._silent(False, first)

    def _headers(self, expires: int) -> list[tuple[str, object]]:
        hub = self._hub
        assert self.flow is not None
        out: list[tuple[str, object]] = [
            ("Contact", hub.contact(self.flow)),
            ("Event", self._event),
            ("Expires", expires),
            ("Allow", ALLOW),
            ("Supported", hub.supported()),
            *hub.allow_events(),
            *hub.common_headers(),
        ]
        if self._made.accept:
            out.append(("Accept", ", ".join(self._made.accept)))
        return out

    def _drop_exchange(self) -> None:
        self._hub.drop(self._exchange)
        self._exchange = None

    # -- answers -----------------------------------------------------------------------------------------------------

    def _first_answered(self, response: Response) -> None:
        exchange, self._exchange = self._exchange, None
        if 200 <= response.status < 300:
            self._first_accepted(response, exchange)
        elif self._dialog is not None:
            pass  # a NOTIFY has come by another branch: there is a subscription
        elif self.state in _OVER or not self._raise_lifetime(response, self._send_first):
            self._refused(response, exchange)

    def _first_accepted(self, response: Response, exchange: Exchange | None) -> None:
        lifetime = e.granted(response, self._expires)
        if self._dialog is None:
            self._once = self._once or lifetime == 0
            self._ends_at = self._hub.now + lifetime
            if exchange is not None and exchange.request is not None:
                self._answered_by = _dialog_or_none(exchange.request, response, exchange.flow)
        elif response.headers.require(fields.TO).tag != self._dialog.remote.tag:
            pass  # of another branch than the NOTIFY: it says nothing of our subscription
        elif lifetime == 0:
            self._once = True
            self.step(I.NOTIFY_END, _FETCHED)
        else:
            self._live(lifetime)

    def _refresh_answered(self, response: Response) -> None:
        exchange, self._exchange = self._exchange, None
        status = response.status
        if 200 <= status < 300:
            self._refusals = 0
            if status == 204:
                self._stop_timer("N")  # 4.1.2.2, RFC 5839: no NOTIFY will come
            if self._dialog is not None:
                self._dialog.refresh_target(response)
            if lifetime := e.granted(response, self._expires):
                self._live(lifetime)  # else the last NOTIFY comes, or timer N ends it
        elif status in _ENDS or status in _ENDS_FOR_NOW:
            self._refused(response, exchange)
        elif not self._raise_lifetime(response, self._refresh):
            # 4.1.2.2: it is good for as long as it was granted. Until then another refresh may succeed.
            self._stop_timer("N")
            self._start_timer("refresh", e.back_off(self._hub, self._refusals, e.retry_after(response)))
            self._refusals += 1

    def _end_answered(self, response: Response) -> None:
        self._exchange = None
        if not 200 <= response.status < 300:
            self.step(I.REFUSED)

    def _raise_lifetime(self, response: Response, again: Callable[[], None]) -> bool:
        more = e.raised(response, self._expires, self._raises) if response.status == 423 and self._expires else None
        if more is None:
            return False
        self._raises += 1
        self._expires = more
        again()
        return True

    def _refused(self, response: Response, exchange: Exchange | None) -> None:
        status = response.status
        cause, detail = cause_of(status), f"{status} {response.reason}".strip()
        if status in (401, 407) and exchange is not None:
            cause, detail = outcome_of_auth(exchange)
        after = e.retry_after(response)
        why = _Why(cause=cause, detail=detail, status=status, retry_after=after, soon=status == 481)
        # 403 and the like would be the same the next time; a server that starts says 480, 5xx, or nothing.
        if (500 <= status < 600 and status != 501) or status in (408, 480, 481):
            self._failed(why)
        else:
            self.step(I.REFUSED, why)

    def _silent(self, timeout: bool, first: bool) -> None:
        self._exchange = None
        if timeout and first and self._dialog is not None:
            pass  # the NOTIFY has said enough
        elif timeout:
            self._failed(_Why(cause=Cause.REQUEST_TIMEOUT, detail=e.SILENT))
        else:
            self._failed(_CONNECTION)

    def _failed(self, why: _Why) -> None:
        # A first attempt that did not succeed is for its caller to repeat.
        self.step(I.FAILED if self._command is None else I.REFUSED, why)

    # -- NOTIFY ------------------------------------------------------------------------------------------------------

    def on_ack(self, request: Request) -> None:
        pass

    def on_request(self, received: RequestReceived) -> None:
        """A request in our dialog, or the NOTIFY that makes it."""
        request, hub = received.request, self._hub
        if request.method != "NOTIFY" or not self._is_ours(request):
            hub.respond(received, 481)
            return
        state = request.headers.get(fields.SUBSCRIPTION_STATE)
        if state is None or request.headers.get(fields.EVENT) is None:
            hub.respond(received, 400, reason="Missing Event or Subscription-State")
            return
        if not e.same_event(self._event, request.headers.get(fields.EVENT)):
            hub.respond(received, 481)  # 4.1.3: no subscription of ours
            return
        if self._dialog is None:
            try:
                self._dialog = self._made_dialog(received)
            except MessageSyntaxError as error:
                hub.respond(received, error.status_hint or 400, reason="Missing Contact")
                return
            hub.dialogs[self._dialog.key] = self
        elif not self._dialog.accepts(request):
            hub.respond(received, 500, reason="CSeq too low")  # RFC 3261 12.2.2
            return
        self._dialog.refresh_target(request)
        hub.respond(received, 200)
        self._notified(request, state)

    def _is_ours(self, request: Request) -> bool:
        """Not so for a second branch of a forked SUBSCRIBE."""
        return self._dialog is None or self._dialog.key == dialog_key(request)

    def _made_dialog(self, received: RequestReceived) -> Dialog:
        """4.4.1: the NOTIFY makes the dialog, and its Record-Route is the route set."""
        seen = self._answered_by
        if seen is not None and seen.key == dialog_key(received.request) and "Contact" not in received.request.headers:
            # LENIENT: Linphone names itself in the 2xx alone, although a NOTIFY has to have a Contact (RFC 6665 8.2.1).
            seen.accepts(received.request)
            return seen
        dialog = Dialog.from_request(received.request, self._local.tag or "", received.flow)
        dialog.local = self._local
        dialog.local_cseq = self._cseq
        if not dialog.routes and seen is not None and seen.key == dialog.key:
            # LENIENT: proxies of RFC 3265 want to stay on the way, and say so in the SUBSCRIBE alone.
            dialog.routes = seen.routes
        return dialog

    def _notified(self, request: Request, state: TokenParams) -> None:
        self._stop_timer("N")
        if self.state not in _OVER:
            self._hub.emit(
                NotifyReceived(
                    subscription=self.ident,
                    event=request.headers.first("Event") or "",
                    content_type=request.headers.first("Content-Type") or "",
                    body=request.body,
                    headers=tuple(request.headers),
                )
            )
        if state.value.lower() == "terminated":
            reason = (state.params.get("reason") or "").lower()
            self._told_of_end(reason, e.parse_seconds(state.params.get("retry-after")))
        elif self._once and self.state not in _OVER:
            self.step(I.NOTIFY_END, _FETCHED)
        else:
            if self.state is not S.LEAVING:
                self._take_lifetime(e.parse_seconds(state.params.get("expires")))
            # An unknown state is none in which we would be told nothing: it counts as active.
            self.step(I.NOTIFY_PENDING if state.value.lower() == "pending" else I.NOTIFY_ACTIVE)

    def _take_lifetime(self, lifetime: int | None) -> None:
        """4.1.3: what the notifier says of the lifetime counts, also when it has become shorter."""
        first = self.state in (S.NOTIFY_WAIT, S.WITHDRAWING)
        left = self._expires if self._ends_at is None else max(0, round(self._ends_at - self._hub.now))
        if lifetime is None:
            if first:
                self._live(left)
        elif first or abs(lifetime - left) > 2 + 0.05 * left:  # else it is the time that the NOTIFY took
            self._live(min(lifetime, e.LIFETIME_MAX))

    def _told_of_end(self, reason: str, after: int | None) -> None:
        """4.1.3, terminated."""
        ask = after if reason not in _SOON and reason not in _FOR_GOOD and after is not None else None
        why = _Why(
            cause=_CAUSES.get(reason, Cause.TERMINATED),
            detail=f"the notifier has ended the subscription: {reason or 'it says not why'}",
            reason=reason,
            retry_after=None if ask is None else min(ask, e.LIFETIME_MAX),
            soon=reason in _SOON,
            done=reason in ("timeout", "invariant") or (self._once and reason not in _FOR_GOOD),
        )
        over = self._once or self._command is not None or reason in _FOR_GOOD
        self.step(I.NOTIFY_END if over else I.NOTIFY_AGAIN, why)

    # -- actions -----------------------------------------------------------------------------------------------------

    def _drop(self) -> None:
        hub = self._hub
        self._drop_exchange()
        self._stop_timer("N", "refresh", "expiry")
        self.flow = None
        if self._dialog is not None and hub.dialogs.get(self._dialog.key) is self:
            del hub.dialogs[self._dialog.key]
        if self._awaited is not None:
            hub.awaited.pop(self._awaited, None)
        self._dialog = self._awaited = self._ends_at = None

    def _back_off(self) -> None:
        hub, why = self._hub, self._why
        if self._since is not None and hub.now - self._since >= _STABLE:
            self._failures = 0
        self._since = None
        if why.soon and not self._failures:
            self._retry_in = max(_AT_ONCE * uniform(hub.tokens), float(why.retry_after or 0))
        else:
            self._retry_in = e.back_off(hub, self._failures, why.retry_after)
        self._failures += 1
        self._start_timer("retry", self._retry_in)

    def _report(self) -> None:
        state = _PUBLIC.get(self.state, SubscriptionState.WAITING)
        if state is SubscriptionState.WAITING:
            retry_in = self._retry_in if self.state is S.WAITING else None
            self._tell(state, self._why, retry_in=retry_in)
            return
        if self._since is None:
            self._since = self._hub.now
        left = None if self._ends_at is None else max(0, round(self._ends_at - self._hub.now))
        command, self._command = self._command, None
        self._hub.succeed(command, left)
        self._tell(state, _Why(), expires=left)

    def _tell(
        self, state: SubscriptionState, why: _Why, *, expires: int | None = None, retry_in: float | None = None
    ) -> None:
        over = state in (SubscriptionState.TERMINATED, SubscriptionState.WAITING)
        self._hub.emit(
            SubscriptionChanged(
                subscription=self.ident,
                state=state,
                reason=why.reason,
                retry_after=why.retry_after,
                expires=expires,
                cause=why.cause if over else None,
                detail=why.detail,
                status=why.status,
                retry_in=retry_in,
            )
        )

    def _report_end(self) -> None:
        why = self._why
        command, self._command = self._command, None
        if why.done:
            self._hub.succeed(command, 0)
        elif self.state is S.WITHDRAWING:
            self._hub.fail(command, Cause.SUPERSEDED, "unsubscribed before there was an answer")
        else:
            self._hub.fail(command, why.cause, why.detail, why.status)
        self._stop_timer("refresh", "expiry", "retry")
        self._tell(SubscriptionState.TERMINATED, why)
        self._over(self)

    def _forget_all(self) -> None:
        self._drop()
        self._hub.forget_owner(self._owner, *_TIMERS)
        self._forget(self)


def _dialog_or_none(request: Request, response: Response, flow: FlowId) -> Dialog | None:
    try:
        return Dialog.from_response(request, response, flow)
    except MessageSyntaxError:
        return None


_PERFORM: dict[SubscriberAction, Callable[[Subscription], None]] = {
    SubscriberAction.SUBSCRIBE: Subscription._subscribe,
    SubscriberAction.REFRESH: Subscription._refresh,
    SubscriberAction.UNSUBSCRIBE: Subscription._unsubscribe,
    SubscriberAction.DROP: Subscription._drop,
    SubscriberAction.BACK_OFF: Subscription._back_off,
    SubscriberAction.REPORT: Subscription._report,
    SubscriberAction.REPORT_END: Subscription._report_end,
    SubscriberAction.FORGET: Subscription._forget_all,
}
