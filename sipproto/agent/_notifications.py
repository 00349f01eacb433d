"""Peers that subscribe to us, and NOTIFYs that nobody has subscribed to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent import _event as e
from sipproto.agent._alone import check_headers
from sipproto.agent._hub import Hub
from sipproto.agent._part import Part
from sipproto.agent._watcher import Watcher, lifetime_of
from sipproto.agent.event_inputs import (
    AcceptSubscription,
    EndSubscription,
    Notify,
    RejectSubscription,
    SubscriptionId,
)
from sipproto.agent.event_outputs import NotificationReceived
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import fields
from sipproto.transaction import FlowId, RequestReceived

_TRY_LATER = 60  # seconds, when there are too many


class Notifications(Part):
    """The subscriptions of peers by name, and those that are over for the application but not for the peer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._named: dict[SubscriptionId, Watcher] = {}
        self._ending: dict[Watcher, None] = {}
        self._number = 0

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {
            AcceptSubscription: self._accept,
            RejectSubscription: self._reject,
            Notify: self._notify,
            EndSubscription: self._end,
        }

    def requests(self) -> Mapping[str, Callable[[RequestReceived], None]]:
        return {"SUBSCRIBE": self._subscribed, "NOTIFY": self._notified}

    @property
    def is_busy(self) -> bool:
        return bool(self._named or self._ending)

    def held(self) -> Mapping[str, int]:
        return {"watchers": len(self._named) + len(self._ending)}

    # -- commands ----------------------------------------------------------------------------------------------------

    def _find(self, name: SubscriptionId) -> Watcher:
        watcher = self._named.get(name)
        if watcher is None:
            raise LocalProtocolError(f"no peer has a subscription {name!r}")
        return watcher

    def _accept(self, command: AcceptSubscription) -> None:
        e.check_content(command.content_type, command.body)
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self._find(command.subscription).accept(command)

    def _reject(self, command: RejectSubscription) -> None:
        if not 300 <= command.status <= 699:
            raise LocalProtocolError("a refusal has a status of 300 to 699")
        check_headers((*command.headers, ("Reason", command.reason or "")))
        self._find(command.subscription).reject(command)
        self._hub.succeed(command.command)

    def _notify(self, command: Notify) -> None:
        e.check_content(command.content_type, command.body)
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self._find(command.subscription).notify(command)

    def _end(self, command: EndSubscription) -> None:
        e.check_content(command.content_type, command.body)
        e.check_token(command.reason, "reason")
        check_headers((("Content-Type", command.content_type),))
        if command.retry_after is not None:
            e.check_lifetime(command.retry_after, least=0)
        self._find(command.subscription).end(command)
        self._hub.succeed(command.command)

    # -- connections -------------------------------------------------------------------------------------------------

    def _all(self) -> list[Watcher]:
        return [*self._named.values(), *self._ending]

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        for watcher in self._all():
            if watcher.flow == flow:
                watcher.flow_lost(hope)

    def flow_ready(self) -> None:
        assert self._hub.server_flow is not None
        for watcher in self._all():
            watcher.flow_ready(self._hub.server_flow)

    def flow_gone(self) -> None:
        for watcher in self._all():
            watcher.flow_gone()

    def shut_down(self) -> None:
        for watcher in list(self._named.values()):
            watcher.shut_down()

    # -- what peers say ----------------------------------------------------------------------------------------------

    def _subscribed(self, received: RequestReceived) -> None:
        """A SUBSCRIBE outside of dialogs (RFC 6665 4.2.1)."""
        hub, request = self._hub, received.request
        event = request.headers.get(fields.EVENT)
        if event is None:
            hub.respond(received, 400, reason="Missing Event")
            return
        if event.value not in hub.config.events:
            hub.respond(received, 489, extra=hub.allow_events())
            return
        least = hub.config.min_subscription
        if 0 < lifetime_of(hub, request) < least:
            hub.respond(received, 423, extra=[("Min-Expires", least)])
            return
        if len(self._named) + len(self._ending) >= hub.config.limits.watchers:
            hub.respond(received, 503, extra=[("Retry-After", _TRY_LATER)])
            return
        self._number += 1
        name = f"watch-{self._number}"
        try:
            watcher = Watcher(hub, name, received, event, self._over, self._forget)
        except MessageSyntaxError as error:
            hub.respond(received, error.status_hint or 400, reason="Missing Contact")
            hub.violation(received.flow, error.fault, error.detail)
            return
        self._named[name] = watcher
        watcher.ask()

    def _notified(self, received: RequestReceived) -> None:
        """A NOTIFY outside of dialogs: RFC 6665 4.1.3 knows none, voice mail servers send them all the same."""
        hub, request = self._hub, received.request
        if not hub.config.accept_notifications:
            hub.respond(received, 481)
        else:
            sender = request.headers.require(fields.FROM)
            hub.respond(received, 200)
            hub.emit(
                NotificationReceived(
                    from_uri=str(sender.uri),
                    event=request.headers.first("Event") or "",
                    content_type=request.headers.first("Content-Type") or "",
                    body=request.body,
                    headers=tuple(request.headers),
                )
            )

    def _over(self, watcher: Watcher) -> None:
        if self._named.get(watcher.ident) is watcher:
            del self._named[watcher.ident]
            self._ending[watcher] = None

    def _forget(self, watcher: Watcher) -> None:
        self._ending.pop(watcher, None)
