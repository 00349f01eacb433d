"""Commands for subscriptions, ours (RFC 6665 4.1) and those of peers (4.2), and for publications (RFC 3903).

Bodies are opaque: what they mean is between the application and the event package. An `event` is the name of a package,
with an id where several subscriptions to it shall be told apart: `presence`, `refer;id=93809824`.
"""

from __future__ import annotations

import enum

from attrs import field, frozen

from sipproto.agent.media import CommandId

__all__ = [
    "AcceptSubscription",
    "EndSubscription",
    "EventCommand",
    "Notify",
    "PublicationId",
    "Publish",
    "RejectSubscription",
    "Subscribe",
    "SubscriptionId",
    "SubscriptionState",
    "Unpublish",
    "Unsubscribe",
]

SubscriptionId = str
PublicationId = str
Lines = tuple[tuple[str, str], ...]


class SubscriptionState(enum.Enum):
    """What a subscription is. Its name is free again when it is terminated."""

    PENDING = "pending"  # taken, and not granted yet
    ACTIVE = "active"
    WAITING = "waiting"  # broken, and made anew by the agent
    TERMINATED = "terminated"


@frozen(kw_only=True)
class Subscribe:
    """Subscribe to what `target` tells of `event`, and keep subscribed until Unsubscribe.

    `subscription` is a name of the caller's choice that no subscription of ours has. expires: wanted lifetime in seconds,
    up to 7 days; 0 fetches the state once. accept: the body types that are understood; () leaves it to the package.

    The command ends with the first NOTIFY; its result is the lifetime in seconds. When it fails the subscription is over.
    """

    command: CommandId
    subscription: SubscriptionId
    target: str
    event: str
    expires: int = 3600
    accept: tuple[str, ...] = ()
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    headers: Lines = ()


@frozen(kw_only=True)
class Unsubscribe:
    """End a subscription of ours. It is over for the application at once; the peer is told behind the scenes."""

    command: CommandId
    subscription: SubscriptionId


@frozen(kw_only=True)
class AcceptSubscription:
    """Take a peer's subscription: 200, and at once a NOTIFY with its state and this body.

    state: ACTIVE, or PENDING while somebody has to be asked first. expires: seconds, not more than the peer has asked for.
    Ends with the answer to the NOTIFY.
    """

    command: CommandId
    subscription: SubscriptionId
    state: SubscriptionState = SubscriptionState.ACTIVE
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    expires: int | None = None
    headers: Lines = ()


@frozen(kw_only=True)
class RejectSubscription:
    """Refuse a peer's subscription with a status of 300 to 699. Ends at once."""

    command: CommandId
    subscription: SubscriptionId
    status: int = 603
    reason: str | None = None
    headers: Lines = ()


@frozen(kw_only=True)
class Notify:
    """Tell a subscribed peer. NOTIFYs go out one at a time, in the order of the commands.

    state: None leaves it as it is. The body is what a refresh is answered with, too. The result is the status of the
    answer; an error without Retry-After, or none, ends the subscription (RFC 6665 4.2.2).
    """

    command: CommandId
    subscription: SubscriptionId
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    state: SubscriptionState | None = None
    headers: Lines = ()


@frozen(kw_only=True)
class EndSubscription:
    """End a peer's subscription by a last NOTIFY. It is over for the application at once.

    reason: deactivated, probation, rejected, timeout, giveup, noresource or invariant (RFC 6665 4.1.3): it tells the peer
    whether to subscribe again. retry_after: seconds that it shall wait with that.
    """

    command: CommandId
    subscription: SubscriptionId
    reason: str = "noresource"
    retry_after: int | None = None
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class Publish:
    """Publish the state of `target`, usually our own address, and keep it published until Unpublish.

    A name that is in use changes what that publication says; its target and event stay. While an earlier change is under
    way, this one waits, and takes the place of one that waits already. expires: seconds, 1 to 7 days.
    The result is the lifetime that was granted, in seconds.
    """

    command: CommandId
    publication: PublicationId
    target: str
    event: str
    content_type: str
    body: bytes = field(repr=False)
    expires: int = 3600
    headers: Lines = ()


@frozen(kw_only=True)
class Unpublish:
    """Remove a publication. Ends when the server has confirmed it, or at once when nothing is published."""

    command: CommandId
    publication: PublicationId


EventCommand = (
    Subscribe | Unsubscribe | AcceptSubscription | RejectSubscription | Notify | EndSubscription | Publish | Unpublish
)
