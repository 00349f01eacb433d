"""Our own server inside the test's process, on an event loop in a thread, for pages to connect to."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from sipproto_anyio import AnyioRuntime
from sipproto_server import ParticipantInfo, Server, ServerConfig, ServerOutput, command_of, run_server
from sipproto_server.aiortc import AiortcServices
from sipproto_wsproto import HandshakeGuard

from .child import PATIENCE
from .kamailio import USERS, password_of

PAGE_ORIGIN = "http://localhost"  # of the browser's pages, see browser/peer.mjs
E = TypeVar("E")


class Embedded:
    """The server with its media; every method waits, and may be called from the test's thread. Use as a context manager."""

    domain = "rig.test"

    def __init__(self, **config: Any) -> None:
        self._config = config
        self._stack = ExitStack()
        self._changed = threading.Condition()
        self._told: list[ServerOutput] = []
        self.media = AiortcServices(include_loopback=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.media.close)
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal("asyncio"))
            config = ServerConfig(
                follow_speaker=False,  # the tones of all sound all the time
                realm=self.domain,
                users={user: password_of(user) for user in USERS},
                capabilities=self.media.capabilities,
                **self._config,
            )
            guard = HandshakeGuard(origins=frozenset({PAGE_ORIGIN}))
            opened = run_server(AnyioRuntime(), config, media=self.media, guard=guard, watch=self._note)
            self.server: Server = stack.enter_context(self._portal.wrap_async_context_manager(opened))
            self.ws_url = f"ws://127.0.0.1:{self.server.port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _note(self, output: ServerOutput) -> None:
        with self._changed:
            self._told.append(output)
            self._changed.notify_all()

    def expect(self, kind: type[E], *, timeout: float = PATIENCE, **match: object) -> E:
        """Waits for an output of this type and with these fields, and takes it: the next one is another."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for output in self._told:
                    if isinstance(output, kind) and all(getattr(output, key) == value for key, value in match.items()):
                        self._told.remove(output)
                        return output
                left = deadline - time.monotonic()
                assert left > 0, f"no {kind.__name__} {match} in {timeout} s"
                self._changed.wait(left)

    def forget(self) -> None:
        with self._changed:
            self._told.clear()

    def operate(self, name: str, *values: str) -> None:
        """What an operator does. Raises OperatorError."""
        self._portal.call(self.server.operate, command_of(name, values))

    def participant(self, name: str) -> ParticipantInfo:
        (one,) = [one for one in self._portal.call(self._participants) if one.name == name]
        return one

    async def _participants(self) -> tuple[ParticipantInfo, ...]:
        return self.server.core.participants
