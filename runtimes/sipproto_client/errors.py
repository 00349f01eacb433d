"""Errors of the awaitable API. All of them are SipProtoError."""

from __future__ import annotations

from sipproto.agent.outputs import Cause, CommandFailed
from sipproto.errors import SipProtoError


class CommandError(SipProtoError):
    """A command has failed. `cause` is stable, `status` the SIP status that said so, if one did."""

    def __init__(self, failed: CommandFailed) -> None:
        super().__init__(failed.detail)
        self.cause: Cause = failed.cause
        self.detail: str = failed.detail
        self.status: int | None = failed.status

    @property
    def code(self) -> str:
        """The cause as a stable word, e.g. `busy`."""
        return self.cause.value


class EndpointClosed(SipProtoError):
    """The endpoint was closed while the command was under way."""


class EventsLost(SipProtoError):
    """A subscriber did not take its events in time, and its queue overflowed. The subscription is over."""


class FramesUnsupported(SipProtoError):
    """The endpoint has no media engine, or one that does not hand out frames."""


class FramesEnded(SipProtoError):
    """The call has ended, and with it the audio or video that was to be written."""
