"""Sending the NOTIFYs of one subscription in a dialog, whoever made that: a SUBSCRIBE, or a REFER in a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import evolve, frozen

from sipproto.agent import _event as e
from sipproto.agent._hub import Exchange, Hub, outcome_of_auth
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause, cause_of
from sipproto.dialog import Dialog, Pairs
from sipproto.errors import LocalProtocolError
from sipproto.message import NO_PARAMS, Params, Request, Response, TokenParams


@frozen(kw_only=True)
class Notification:
    """What one NOTIFY says. state: pending, active or terminated, with its params (reason, retry-after)."""

    state: str
    params: Params = NO_PARAMS
    content_type: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    command: CommandId | None = None  # that waits for the answer

    @property
    def is_last(self) -> bool:
        return self.state == "terminated"


@frozen(kw_only=True)
class NotifierEnd:
    """Why no more NOTIFYs are wanted or possible."""

    cause: Cause
    detail: str
    status: int | None = None


class NotifierUsage:
    """The notifier's side of one subscription (RFC 6665 4.2.2): NOTIFYs over `dialog`, one at a time and in order.

    The owner has the dialog and its connection: it tells of its loss (`suspend`) and return (`resume`), gives `notify`
    whatever there is to tell, and calls `close` when the dialog goes. `ended` is called once, with None when the last
    NOTIFY was answered, else with what has gone wrong: the subscription has to be forgotten then. Every command is given
    exactly one outcome.

    expires_at: when the subscription ends; None for one without a lifetime. The owner keeps it.
    """

    def __init__(
        self,
        hub: Hub,
        dialog: Dialog,
        event: TokenParams,
        ended: Callable[[NotifierEnd | None], None],
        *,
        expires_at: float | None = None,
    ) -> None:
        self._hub = hub
        self._dialog = dialog
        self._event = event
        self._ended = ended
        self.expires_at = expires_at
        self._queue: deque[Notification] = deque()
        self._sending: Notification | None = None
        self._exchange: Exchange | None = None
        self.said: Notification | None = None  # the newest
        self._suspended = False
        self._closed = False

    @property
    def is_idle(self) -> bool:
        return self._sending is None and not self._queue

    @property
    def is_suspended(self) -> bool:
        return self._suspended

    def require_room(self) -> None:
        """Raises LocalProtocolError when too many NOTIFYs wait already."""
        limit = self._hub.config.limits.notifications
        if len(self._queue) >= limit:
            raise LocalProtocolError(f"{limit} notifications of this subscription wait, which is the limit")

    def notify(self, notification: Notification) -> None:
        """Sends it, after those before it. Nothing follows a terminated one."""
        if self._closed or (self.said is not None and self.said.is_last):
            self._hub.fail(notification.command, Cause.SUPERSEDED, "the subscription is over")
            return
        self.said = notification
        if self._suspended:
            # What counts is the newest state, and it is told as soon as there is a way.
            self._hub.fail(notification.command, Cause.CONNECTION_ERROR, e.LOST)
            return
        self._queue.append(notification)
        self._next()

    def repeat(self) -> None:
        """Tells the newest state once more: to a SUBSCRIBE that refreshes (4.2.1.2), or on a new connection."""
        if self.said is not None and not self.said.is_last and not self._closed and not self._suspended:
            waiting = self._queue[-1] if self._queue else None
            if waiting is not self.said:  # else it is about to be told
                self._queue.append(evolve(self.said, command=None))
                self._next()

    def suspend(self) -> None:
        """The connection is lost. Commands fail; the newest state is kept for `resume`."""
        self._suspended = True
        self._fail_commands(Cause.CONNECTION_ERROR, e.LOST, None)

    def resume(self) -> None:
        """The dialog has a connection again."""
        if self._suspended:
            self._suspended = False
            if self.said is not None and not self._closed:
                self._queue.append(evolve(self.said, command=None))
                self._next()

    def close(self, cause: Cause, detail: str) -> None:
        """Nothing more is sent; what waits fails. `ended` is not called."""
        self._closed = True
        self._fail_commands(cause, detail, None)

    # -- one at a time -----------------------------------------------------------------------------------------------

    def _fail_commands(self, cause: Cause, detail: str, status: int | None) -> None:
        sending, self._sending = self._sending, None
        waiting = [*self._queue] if sending is None else [sending, *self._queue]
        self._queue.clear()
        self._hub.drop(self._exchange)
        self._exchange = None
        for notification in waiting:
            self._hub.fail(notification.command, cause, detail, status)

    def _next(self) -> None:
        if self._sending is not None or not self._queue or self._closed:
            return
        hub, dialog = self._hub, self._dialog
        told = self._sending = self._queue.popleft()

        def build(credentials: Pairs) -> Request:
            extra = [
                *credentials,
                ("Contact", hub.contact(dialog.flow)),
                ("Event", self._event),
                ("Subscription-State", TokenParams(told.state, self._state_params(told))),
                *hub.allow_events(),
                *hub.common_headers(),
                *told.headers,
            ]
            if told.content_type:
                extra.append(("Content-Type", told.content_type))
            return dialog.next_request("NOTIFY", extra=extra, body=told.body)

        self._exchange = Exchange(
            flow=dialog.flow,
            build=build,
            method="NOTIFY",
            target=dialog.remote_target,
            to=str(dialog.remote.uri),
            body=told.body,
            on_final=self._answered,
            on_failure=self._silent,
            timeout=hub.config.waits.request,
        )
        if not hub.start(self._exchange):
            self._silent(False)

    def _state_params(self, told: Notification) -> Params:
        if told.is_last or self.expires_at is None:
            return told.params
        left = max(0, round(self.expires_at - self._hub.now))
        return told.params.with_("expires", str(left))

    def _answered(self, response: Response) -> None:
        hub, exchange, told = self._hub, self._exchange, self._sending
        self._exchange = None
        assert exchange is not None and told is not None
        status = response.status
        if 200 <= status < 300:
            self._dialog.refresh_target(response)
            hub.succeed(told.command, status)
            self._done(told)
            return
        cause, detail = cause_of(status), f"{status} {response.reason}".strip()
        if status in (401, 407):
            cause, detail = outcome_of_auth(exchange)
        hub.fail(told.command, cause, detail, status)
        # 4.2.2: an error without Retry-After ends the subscription; 481 says that there is none any more.
        if e.retry_after(response) is None or status == 481:
            self._sending = None
            self._broken(NotifierEnd(cause=cause, detail=detail, status=status))
        else:
            self._done(told)

    def _silent(self, timeout: bool) -> None:
        self._exchange = None
        if not timeout:
            self.suspend()  # the owner hears of it, too
            return
        self._broken(NotifierEnd(cause=Cause.REQUEST_TIMEOUT, detail="the subscriber did not answer"))

    def _done(self, told: Notification) -> None:
        self._sending = None
        if told.is_last:
            self._closed = True
            self._ended(None)
        else:
            self._next()

    def _broken(self, why: NotifierEnd) -> None:
        self.close(why.cause, why.detail)
        self._ended(why)
