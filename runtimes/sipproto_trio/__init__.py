"""sipproto on trio."""

from contextlib import AbstractAsyncContextManager

from sipproto.agent import AgentConfig, MediaEngine
from sipproto_client import Endpoint, FlowSettings, Trace, run_endpoint
from sipproto_trio._runtime import TrioRuntime

__all__ = ["TrioRuntime", "open_endpoint"]


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
