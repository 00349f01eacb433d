"""Our own server inside the test's process, on an event loop in a thread, for pages to connect to."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from sipproto_anyio import AnyioRuntime
from sipproto_server import Server, ServerConfig, run_server
from sipproto_server.aiortc import AiortcServices
from sipproto_wsproto import HandshakeGuard

from .kamailio import USERS, password_of

PAGE_ORIGIN = "http://localhost"  # of the browser's pages, see browser/peer.mjs


class Embedded:
    """The server with its media; every method waits, and may be called from the test's thread. Use as a context manager."""

    domain = "rig.test"

    def __init__(self, **config: Any) -> None:
        self._config = config
        self._stack = ExitStack()
        self.media = AiortcServices(include_loopback=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.media.close)
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal("asyncio"))
            config = ServerConfig(
                realm=self.domain,
                users={user: password_of(user) for user in USERS},
                capabilities=self.media.capabilities,
                **self._config,
            )
            guard = HandshakeGuard(origins=frozenset({PAGE_ORIGIN}))
            opened = run_server(AnyioRuntime(), config, media=self.media, guard=guard)
            self.server: Server = stack.enter_context(self._portal.wrap_async_context_manager(opened))
            self.ws_url = f"ws://127.0.0.1:{self.server.port}"
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
