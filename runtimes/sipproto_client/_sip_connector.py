"""The awaitable conference client, and the block that it lives in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from attrs import evolve

from sipproto.agent import AgentConfig, MediaEngine, UserAgent
from sipproto.connector import Connector, ConnectorConfig
from sipproto.negotiation import CodecPreferences
from sipproto_client._conference_commands import ConferenceCommands
from sipproto_client._connection_commands import ConnectionCommands
from sipproto_client._connector_log import log_step
from sipproto_client._connector_values import VideoBalancerOptions
from sipproto_client._endpoint import Endpoint, Handle, run_endpoint
from sipproto_client._managers import (
    ApiManager,
    CallManager,
    ConnectionManager,
    IncomingCallManager,
    PresentationManager,
    StatsManager,
    VideoSendingBalancerManager,
)
from sipproto_client._settings import FlowSettings
from sipproto_client._tasks import plain_task_group
from sipproto_client._trace import Trace
from sipproto_client.port import Runtime, TaskGroup

_NOBODY = "sip:anonymous@anonymous.invalid"  # until somebody connects (RFC 3261 8.1.1.3)


class SipConnector(ConnectionCommands, ConferenceCommands):
    """A conference client for the length of a block: `async with open_connector(media=engine) as sip_connector`.

    Every method that waits, but for `wait`, raises ConnectorError when it fails, with a stable `code`, and can be
    cancelled. Events have the names of `sipproto.connector.names`, see `on`. The managers are views of it: the same
    methods, and `on` without the prefix.
    """

    def __init__(self, endpoint: Endpoint, engine: Connector, tasks: TaskGroup, flow: FlowSettings | None) -> None:
        super().__init__(endpoint, engine, tasks, flow)
        self.connection_manager = ConnectionManager(self)
        self.connection_queue_manager = self.connection_manager  # the engine is the queue
        self.call_manager = CallManager(self)
        self.incoming_call_manager = IncomingCallManager(self)
        self.api_manager = ApiManager(self)
        self.presentation_manager = PresentationManager(self)
        self.stats_manager = StatsManager(self)
        self.video_sending_balancer_manager = VideoSendingBalancerManager(self)


def connector_config(
    config: ConnectorConfig,
    preferred: Iterable[str],
    excluded: Iterable[str],
    balancer: VideoBalancerOptions | None,
) -> ConnectorConfig:
    """The settings, with those in it that are given by the names of the original."""
    codecs = CodecPreferences(prefer=tuple(preferred), exclude=tuple(excluded))
    if codecs != CodecPreferences():
        config = evolve(config, codecs=codecs)
    if balancer is not None:
        config = evolve(
            config, ignore_for_codec=balancer.ignore_for_codec, balancing_start_delay=balancer.balancing_start_delay
        )
    return config


@asynccontextmanager
async def run_connector(
    runtime: Runtime,
    *,
    media: MediaEngine | None = None,
    config: ConnectorConfig | None = None,
    preferred_mime_types_video_codecs: Iterable[str] = (),
    exclude_mime_types_video_codecs: Iterable[str] = (),
    video_balancer_options: VideoBalancerOptions | None = None,
    agent: AgentConfig | None = None,
    flow: FlowSettings | None = None,
    trace: Trace | None = None,
) -> AsyncIterator[SipConnector]:
    """A connector for the length of a block; see `open_connector` of a runtime package."""
    capabilities = media.capabilities if media is not None else None
    agent = AgentConfig(aor=_NOBODY, capabilities=capabilities) if agent is None else agent
    settings = connector_config(
        config or ConnectorConfig(),
        preferred_mime_types_video_codecs,
        exclude_mime_types_video_codecs,
        video_balancer_options,
    )
    made: list[Connector] = []

    def around(user_agent: UserAgent, handle: Handle) -> Connector:
        made.append(Connector(settings, user_agent, agent.tokens, handle=handle))
        return made[0]

    async with (
        run_endpoint(runtime, agent, media=media, flow=flow, tap=log_step, trace=trace, around=around) as endpoint,
        plain_task_group(runtime) as tasks,
    ):
        connector = SipConnector(endpoint, made[0], tasks, flow)
        if video_balancer_options is not None and video_balancer_options.on_set_parameters is not None:
            connector.on("video-balancer:parameters-updated", video_balancer_options.on_set_parameters)
        try:
            yield connector
        finally:
            connector.close()
            tasks.cancel()
