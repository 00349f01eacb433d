"""Tickets go to the address that the user named, over TLS that is checked, and nowhere else."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
import trustme

from sipproto_phone.commands import CommandProblem
from sipproto_phone.ports import Ticket
from sipproto_phone.webhook import post_ticket

pytestmark = pytest.mark.anyio
TICKET = Ticket(id=7, created=1.0, changed=2.0, customer="Анна", contact="", number="600", text="<b>help</b>", call=3)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """A server: its port, and what was posted to it. /moved redirects, /slow waits, /refused is a 500."""
    posted: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            path = self.path.partition("?")[0]
            if path == "/slow":
                time.sleep(1.0)
            self.send_response({"/moved": 307, "/refused": 500}.get(path, 200))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of clients that do not trust it
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_ticket_arrives_over_tls_that_is_checked() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)
    with anyio.fail_after(20), receiver(serving) as (port, posted):
        with pytest.raises(CommandProblem, match="saved, but not sent to localhost"):
            await post_ticket(TICKET, f"https://localhost:{port}/hook?key=hunter2")
        assert not posted
        await post_ticket(TICKET, f"https://localhost:{port}/hook?key=hunter2", verify=trusting)
        [(path, value)] = posted
        assert path == "/hook?key=hunter2"
        assert value["customer"] == "Анна" and value["text"] == "<b>help</b>" and value["call"] == 3


async def test_what_fails_is_told_without_the_address() -> None:
    with anyio.fail_after(20), receiver() as (port, posted):
        for path, reason in (("/moved", "answered 307"), ("/refused", "answered 500"), ("/slow", "in time")):
            with pytest.raises(CommandProblem, match=reason) as told:
                await post_ticket(TICKET, f"http://127.0.0.1:{port}{path}?key=hunter2", limit=0.3)
            assert "hunter2" not in str(told.value) and "help" not in str(told.value)
        assert all("elsewhere" not in path for path, _ in posted)
    for url in ("", "ftp://example.com", "https://", "example.com/hook", f"http://127.0.0.1:{port}/"):
        with pytest.raises(CommandProblem):
            await post_ticket(TICKET, url, limit=0.3)
