"""All subscriptions of ours, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent import _event as e
from sipproto.agent._alone import check_headers, check_target
from sipproto.agent._hub import Hub
from sipproto.agent._part import Part
from sipproto.agent._subscription import Subscription
from sipproto.agent.event_inputs import Subscribe, SubscriptionId, Unsubscribe
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import parse_media_type
from sipproto.transaction import FlowId


class Subscriptions(Part):
    """Subscriptions by the name that the application gave them, and those that are over for it but not for the peer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._named: dict[SubscriptionId, Subscription] = {}
        self._ending: dict[Subscription, None] = {}

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {Subscribe: self._subscribe, Unsubscribe: self._unsubscribe}

    @property
    def is_busy(self) -> bool:
        return bool(self._named or self._ending)

    def held(self) -> Mapping[str, int]:
        return {"subscriptions": len(self._named) + len(self._ending), "awaited": len(self._hub.awaited)}

    def _subscribe(self, command: Subscribe) -> None:
        hub = self._hub
        hub.require_server_flow()
        check_target(command.target)
        e.parse_event(command.event)
        e.check_lifetime(command.expires, least=0)
        e.check_content(command.content_type, command.body)
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        for accepted in command.accept:
            try:
                parse_media_type(accepted)
            except MessageSyntaxError as error:
                raise LocalProtocolError(str(error)) from None
        if command.subscription in self._named:
            raise LocalProtocolError(f"there is a subscription {command.subscription!r} already")
        if len(self._named) >= hub.config.limits.subscriptions:
            raise LocalProtocolError(f"there are {len(self._named)} subscriptions, which is the limit")
        subscription = Subscription(hub, command, self._over, self._forget)
        self._named[command.subscription] = subscription
        subscription.start()

    def _unsubscribe(self, command: Unsubscribe) -> None:
        subscription = self._named.get(command.subscription)
        if subscription is None:
            raise LocalProtocolError(f"there is no subscription {command.subscription!r}")
        subscription.unsubscribe()
        self._hub.succeed(command.command)

    def _over(self, subscription: Subscription) -> None:
        """The application has been told of the end: the name is free, messages may still have to be exchanged."""
        if self._named.get(subscription.ident) is subscription:
            del self._named[subscription.ident]
            self._ending[subscription] = None

    def _forget(self, subscription: Subscription) -> None:
        self._ending.pop(subscription, None)

    # -- connections -------------------------------------------------------------------------------------------------

    def _all(self) -> list[Subscription]:
        return [*self._named.values(), *self._ending]

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        for subscription in self._all():
            if subscription.flow == flow:
                subscription.flow_lost(hope)

    def flow_ready(self) -> None:
        for subscription in self._all():
            subscription.flow_ready()

    def flow_gone(self) -> None:
        for subscription in self._all():
            subscription.flow_gone()

    def shut_down(self) -> None:
        for subscription in list(self._named.values()):
            subscription.unsubscribe()
