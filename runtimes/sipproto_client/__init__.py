"""The awaitable client, written once over a small runtime port."""

from sipproto_client._endpoint import Call, Endpoint, IncomingCalls, Media, Subscription, run_endpoint
from sipproto_client._events import EventSubscription, Publication, Watcher, Watchers
from sipproto_client._flow import (
    FlowSettings,
    ServerUrl,
    TlsSettings,
    WebSocketFlow,
    describe_error,
    parse_server_url,
)
from sipproto_client._tasks import plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client.errors import CommandError, EndpointClosed, EventsLost

__all__ = [
    "Call",
    "CommandError",
    "Endpoint",
    "EndpointClosed",
    "EngineTimer",
    "EventSubscription",
    "EventsLost",
    "FlowSettings",
    "IncomingCalls",
    "Media",
    "Publication",
    "ServerUrl",
    "Subscription",
    "TlsSettings",
    "Watcher",
    "Watchers",
    "WebSocketFlow",
    "describe_error",
    "parse_server_url",
    "plain_task_group",
    "run_endpoint",
]
