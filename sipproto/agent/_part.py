"""What an agent is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.transaction import FlowId, RequestReceived


class Part:
    """One concern of an agent: which commands and which requests outside of dialogs it takes, and what connections do to it.

    The agent knows its parts by no more than this.
    """

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        """By class of the input."""
        return {}

    def requests(self) -> Mapping[str, Callable[[RequestReceived], None]]:
        """By method."""
        return {}

    @property
    def is_busy(self) -> bool:
        """Whether something has to be ended in order before the agent is shut."""
        return False

    def held(self) -> Mapping[str, int]:
        """How much is held, by name: for tests and monitoring."""
        return {}

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        """A connection is gone. With `hope` another is tried for: `flow_ready` or `flow_gone` follows."""

    def flow_ready(self) -> None:
        """There is a connection to the server (again), and the registration, where wanted, has been renewed on it."""

    def flow_gone(self) -> None:
        """No connection is tried for any more: what waits for one waits in vain."""

    def shut_down(self) -> None:
        """End everything in order."""
