"""sipproto on trio."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from sipproto.agent import AgentConfig, MediaEngine
from sipproto.connector import ConnectorConfig
from sipproto_client import (
    Endpoint,
    FlowSettings,
    SipConnector,
    Trace,
    VideoBalancerOptions,
    run_connector,
    run_endpoint,
)
from sipproto_trio._runtime import TrioRuntime

__all__ = ["TrioRuntime", "open_connector", "open_endpoint"]


def open_endpoint(
    config: AgentConfig,
    *,
    media: MediaEngine | None = None,
    flow: FlowSettings | None = None,
    trace: Trace | None = None,
) -> AbstractAsyncContextManager[Endpoint]:
    """An endpoint for the length of an `async with` block.

    On leaving the block, also by cancellation, calls are ended, the registration is removed and connections are closed,
    within `config.waits.shutdown` seconds. The media engine, if any, is the caller's to close. trace: a path, text file or
    `TraceFile` to record into (docs/trace.md).
    """
    return run_endpoint(TrioRuntime(), config, media=media, flow=flow, trace=trace)


def open_connector(
    *,
    media: MediaEngine | None = None,
    config: ConnectorConfig | None = None,
    preferred_mime_types_video_codecs: Iterable[str] = (),
    exclude_mime_types_video_codecs: Iterable[str] = (),
    video_balancer_options: VideoBalancerOptions | None = None,
    agent: AgentConfig | None = None,
    flow: FlowSettings | None = None,
    trace: Trace | None = None,
) -> AbstractAsyncContextManager[SipConnector]:
    """A conference client for the length of an `async with` block; docs/conference.md.

    On leaving the block, also by cancellation, the call is ended, the registration removed and the connection closed, within
    `agent.waits.shutdown` seconds, and no handler is called any more. The media engine is the caller's to close.

    preferred_mime_types_video_codecs, exclude_mime_types_video_codecs: such as "video/VP9", for calls and presentations
    that name no codecs. config: all other settings. agent: those of the SIP engine beneath; who we are is said by `connect`.
    trace: a path, text file or `TraceFile` to record into (docs/trace.md).
    """
    return run_connector(
        TrioRuntime(),
        media=media,
        config=config,
        preferred_mime_types_video_codecs=preferred_mime_types_video_codecs,
        exclude_mime_types_video_codecs=exclude_mime_types_video_codecs,
        video_balancer_options=video_balancer_options,
        agent=agent,
        flow=flow,
        trace=trace,
    )
