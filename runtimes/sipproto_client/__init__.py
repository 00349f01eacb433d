"""The awaitable client, written once over a small runtime port."""

from sipproto.agent.inputs import Media
from sipproto_client import tools
from sipproto_client._call import Call
from sipproto_client._connector_values import VideoBalancerOptions
from sipproto_client._endpoint import Endpoint, run_endpoint
from sipproto_client._events import EventStream, IncomingCalls, Subscription
from sipproto_client._facade import ConnectResult, DisconnectResult, SipConnectorFacade
from sipproto_client._flow import Flow
from sipproto_client._frames import AudioChunk, AudioPort, CallAudio, CallVideo, Picture, VideoPort
from sipproto_client._listen import Listener
from sipproto_client._settings import FlowSettings, default_transports
from sipproto_client._sip import Resolver, SipTransport
from sipproto_client._sip_connector import SipConnector, run_connector
from sipproto_client._statistics import StatsSamples
from sipproto_client._stats_peer_connection import StatsPeerConnection
from sipproto_client._subscriptions import EventSubscription, Publication, Watcher, Watchers
from sipproto_client._tasks import plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client._tls import Pin, TlsSettings, fingerprint, parse_pin
from sipproto_client._trace import Trace, TraceFile
from sipproto_client._websocket import ServerUrl, WebSocketFlow, WebSocketTransport, parse_server_url
from sipproto_client.connector_errors import ConnectorError, ErrorCode
from sipproto_client.errors import CommandError, EndpointClosed, EventsLost, FramesEnded, FramesUnsupported
from sipproto_client.transport import Channel, ConnectError, Opening, Transport
from sipproto_stream import HostMapping, parse_host_mapping

__all__ = [
    "AudioChunk",
    "AudioPort",
    "Call",
    "CallAudio",
    "CallVideo",
    "Channel",
    "CommandError",
    "ConnectError",
    "ConnectResult",
    "ConnectorError",
    "DisconnectResult",
    "Endpoint",
    "EndpointClosed",
    "EngineTimer",
    "ErrorCode",
    "EventStream",
    "EventSubscription",
    "EventsLost",
    "Flow",
    "FlowSettings",
    "FramesEnded",
    "FramesUnsupported",
    "HostMapping",
    "IncomingCalls",
    "Listener",
    "Media",
    "Opening",
    "Picture",
    "Pin",
    "Publication",
    "Resolver",
    "ServerUrl",
    "SipConnector",
    "SipConnectorFacade",
    "SipTransport",
    "StatsPeerConnection",
    "StatsSamples",
    "Subscription",
    "TlsSettings",
    "Trace",
    "TraceFile",
    "Transport",
    "VideoBalancerOptions",
    "VideoPort",
    "Watcher",
    "Watchers",
    "WebSocketFlow",
    "WebSocketTransport",
    "default_transports",
    "fingerprint",
    "parse_host_mapping",
    "parse_pin",
    "parse_server_url",
    "plain_task_group",
    "run_connector",
    "run_endpoint",
    "tools",
]
