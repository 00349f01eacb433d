"""What an agent tells of subscriptions and publications."""

from __future__ import annotations

import enum

from attrs import field, frozen

from sipproto.agent.causes import Cause
from sipproto.agent.event_inputs import Lines, PublicationId, SubscriptionId, SubscriptionState

__all__ = [
    "EventEvent",
    "NotificationReceived",
    "NotifyReceived",
    "PublicationChanged",
    "PublicationState",
    "SubscribeReceived",
    "SubscriptionChanged",
    "SubscriptionEnded",
    "SubscriptionRefreshed",
]


@frozen(kw_only=True)
class SubscriptionChanged:
    """A subscription of ours is in another state. Each ends in exactly one TERMINATED.

    reason and retry_after (seconds): what the notifier said at its end (RFC 6665 4.1.3). expires: what is left of its
    lifetime, in seconds. retry_in: seconds until the agent subscribes anew, while WAITING; None while it waits for a
    connection.
    """

    subscription: SubscriptionId
    state: SubscriptionState
    reason: str = ""
    retry_after: int | None = None
    expires: int | None = None
    cause: Cause | None = None
    detail: str = ""
    status: int | None = None
    retry_in: float | None = None


@frozen(kw_only=True)
class NotifyReceived:
    """A NOTIFY in a subscription of ours; it has been answered 200. `headers` are all its header lines."""

    subscription: SubscriptionId
    event: str
    content_type: str
    body: bytes = field(repr=False)
    headers: Lines = field(repr=False)


@frozen(kw_only=True)
class NotificationReceived:
    """A NOTIFY that nobody has subscribed to, such as the `message-summary` of a voice mail. Answered 200.

    `event` is "" when the sender leaves it out, as some servers do; `headers` are all lines of the request.
    """

    from_uri: str
    event: str
    content_type: str
    body: bytes = field(repr=False)
    headers: Lines = field(default=(), repr=False)


@frozen(kw_only=True)
class SubscribeReceived:
    """A peer subscribes. AcceptSubscription or RejectSubscription; else it is refused after `waits.subscription`.

    `subscription` is its name from now on. Such names are apart from those of our own subscriptions. expires: seconds; 0:
    the peer wants to know once. accept: the body types that it takes; () for those of the package.
    """

    subscription: SubscriptionId
    from_uri: str
    display_name: str
    event: str
    expires: int
    accept: tuple[str, ...]
    content_type: str
    body: bytes = field(repr=False)
    headers: Lines = field(repr=False)


@frozen(kw_only=True)
class SubscriptionRefreshed:
    """A peer goes on with its subscription for `expires` seconds. It has been told the last state again."""

    subscription: SubscriptionId
    expires: int
    content_type: str
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class SubscriptionEnded:
    """The subscription of a peer is over. `reason` is what it was told; "" when it could not be told."""

    subscription: SubscriptionId
    cause: Cause
    reason: str = ""
    detail: str = ""
    status: int | None = None


class PublicationState(enum.Enum):
    """What a publication is. Its name is free again when it has ended."""

    PUBLISHED = "published"
    WAITING = "waiting"  # not on the server (any more), and tried again by the agent
    ENDED = "ended"


@frozen(kw_only=True)
class PublicationChanged:
    """A publication is in another state, or was changed. Each ends in exactly one ENDED.

    expires: the granted lifetime in seconds. retry_in: seconds until the agent tries again, while WAITING; None while it
    waits for a connection.
    """

    publication: PublicationId
    state: PublicationState
    expires: int | None = None
    cause: Cause | None = None
    detail: str = ""
    status: int | None = None
    retry_in: float | None = None


EventEvent = (
    SubscriptionChanged
    | NotifyReceived
    | NotificationReceived
    | SubscribeReceived
    | SubscriptionRefreshed
    | SubscriptionEnded
    | PublicationChanged
)
