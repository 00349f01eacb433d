"""sipproto on trio."""

from contextlib import AbstractAsyncContextManager

from sipproto.agent import AgentConfig, MediaEngine
from sipproto_client import Endpoint, FlowSettings, run_endpoint
from sipproto_trio._runtime import TrioRuntime

__all__ = ["TrioRuntime", "open_endpoint"]


def open_endpoint(
    config: AgentConfig, *, media: MediaEngine | None = None, flow: FlowSettings | None = None
) -> AbstractAsyncContextManager[Endpoint]:
    """An endpoint for the length of an `async with` block.

    On leaving the block, also by cancellation, calls are ended, the registration is removed and connections are closed,
    within `config.waits.shutdown` seconds. The media engine, if any, is the caller's to close.
    """
    return run_endpoint(TrioRuntime(), config, media=media, flow=flow)
