"""Subscriptions and publications for applications that await (RFC 6665, RFC 3903)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import evolve

from sipproto.agent import PublicationState, SubscriptionState
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.errors import SipProtoError

if TYPE_CHECKING:
    from sipproto_client._endpoint import Endpoint
    from sipproto_client._events import Subscription

Lines = tuple[tuple[str, str], ...]


class EventSubscription:
    """A subscription for the length of a block, made by `Endpoint.subscribe`: its NOTIFYs as an async iterator.

    Entering the block subscribes and waits for the first NOTIFY, which is iterated over, too; it raises CommandError when
    the subscription is refused. Leaving it unsubscribes, without waiting. In between the subscription is refreshed and,
    after a loss, made anew by itself. The iteration ends when the subscription has ended; `ended` says why. A block that
    lets 2000 events pile up gets EventsLost.
    """

    def __init__(self, endpoint: Endpoint, command: i.Subscribe) -> None:
        self._endpoint = endpoint
        self._command = command
        self.ident = command.subscription
        self.state: SubscriptionState | None = None
        self.ended: o.SubscriptionChanged | None = None
        self._events: Subscription  # from entering on

    def _note(self, event: o.Event) -> bool:
        """Sees each event as it happens: `state` is up to date also when nobody iterates."""
        if not isinstance(event, o.SubscriptionChanged | o.NotifyReceived) or event.subscription != self.ident:
            return False
        if isinstance(event, o.SubscriptionChanged):
            self.state = event.state
            if event.state is SubscriptionState.TERMINATED:
                self.ended = event
        return True

    async def __aenter__(self) -> Self:
        entered = False
        self._events = self._endpoint.events(self._note)
        try:
            await self._endpoint.run(lambda n: evolve(self._command, command=n))
            entered = True
        finally:
            if not entered:
                self.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribes; what has not been iterated over is dropped."""
        if self.ended is None:
            self._endpoint.tell(lambda n: i.Unsubscribe(command=n, subscription=self.ident))
        self._events.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> o.NotifyReceived:
        while True:
            event = await anext(self._events)
            if isinstance(event, o.NotifyReceived):
                return event
            if isinstance(event, o.SubscriptionChanged) and event.state is SubscriptionState.TERMINATED:
                self._events.close()
                raise StopAsyncIteration


class Watcher:
    """A peer that subscribes to us. Accept or reject it; else it is refused after `waits.subscription`."""

    def __init__(self, endpoint: Endpoint, asked: o.SubscribeReceived) -> None:
        self._endpoint = endpoint
        self.asked = asked
        self.ident = asked.subscription

    async def accept(
        self,
        body: bytes = b"",
        content_type: str = "",
        *,
        state: SubscriptionState = SubscriptionState.ACTIVE,
        expires: int | None = None,
    ) -> None:
        """Takes the subscription, with the state as it is now, and waits until the peer has got that."""
        await self._endpoint.run(
            lambda n: i.AcceptSubscription(
                command=n,
                subscription=self.ident,
                state=state,
                content_type=content_type,
                body=body,
                expires=expires,
            )
        )

    async def reject(self, status: int = 603, reason: str | None = None) -> None:
        await self._endpoint.run(
            lambda n: i.RejectSubscription(command=n, subscription=self.ident, status=status, reason=reason)
        )

    async def notify(self, body: bytes, content_type: str, *, state: SubscriptionState | None = None) -> None:
        """Tells the peer a new state, and waits until it has got it."""
        await self._endpoint.run(
            lambda n: i.Notify(command=n, subscription=self.ident, content_type=content_type, body=body, state=state)
        )

    async def end(self, reason: str = "noresource", retry_after: int | None = None) -> None:
        await self._endpoint.run(
            lambda n: i.EndSubscription(command=n, subscription=self.ident, reason=reason, retry_after=retry_after)
        )


class Watchers:
    """The peers that subscribe from now on, as an async iterator; ends with the endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._events = endpoint.events(lambda event: isinstance(event, o.SubscribeReceived))

    def close(self) -> None:
        """Ends the iteration."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Watcher:
        event = await anext(self._events)
        assert isinstance(event, o.SubscribeReceived)
        return Watcher(self._endpoint, event)


class Publication:
    """A publication for the length of a block, made by `Endpoint.publish`.

    Entering the block publishes, and raises CommandError when that is refused; leaving it removes the publication. In
    between it is refreshed, and published anew when the server has lost it. `ended` says why it is over before that.
    """

    def __init__(self, endpoint: Endpoint, command: i.Publish) -> None:
        self._endpoint = endpoint
        self._command = command
        self.ident = command.publication
        self.state: PublicationState | None = None
        self.ended: o.PublicationChanged | None = None
        self._events: Subscription

    def _note(self, event: o.Event) -> bool:
        if isinstance(event, o.PublicationChanged) and event.publication == self.ident:
            self.state = event.state
            if event.state is PublicationState.ENDED:
                self.ended = event
        return False

    async def __aenter__(self) -> Self:
        entered = False
        self._events = self._endpoint.events(self._note)
        try:
            await self._endpoint.run(lambda n: evolve(self._command, command=n))
            entered = True
        finally:
            if not entered:
                self._endpoint.tell(lambda n: i.Unpublish(command=n, publication=self.ident))
                self._events.close()
        return self

    async def update(self, body: bytes, content_type: str | None = None) -> None:
        """Publishes another state in the place of the one before."""
        kind = self._command.content_type if content_type is None else content_type
        self._command = evolve(self._command, body=body, content_type=kind)
        await self._endpoint.run(lambda n: evolve(self._command, command=n))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.ended is None:
                await self._endpoint.run(lambda n: i.Unpublish(command=n, publication=self.ident))
        except SipProtoError:
            pass  # what the server did not confirm expires by itself
        finally:
            self._events.close()
