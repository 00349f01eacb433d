"""Who gets the page of the phone, and who does not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from attrs import evolve
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, RejectConnection, Request, TextMessage

from sipproto_phone.commands import CommandProblem, Dial
from sipproto_phone.model import PhoneState
from sipproto_phone.web import MAX_SOCKETS, PROTOCOL, Page, run_page

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class StandIn:
    """A phone that does what it is told by the test; its state is changed by `change`."""

    def __init__(self) -> None:
        self.state = PhoneState()
        self.done: list[Any] = []
        self._changed = anyio.Event()

    async def do(self, command: Any) -> Any:
        self.done.append(command)
        if isinstance(command, Dial):
            if command.number == "fail":
                raise CommandProblem("that number cannot be called", "bad_number")
            if command.number == "crash":
                raise RuntimeError("a password: hunter2")
            return "call-1"
        return None

    def change(self, **fields: Any) -> None:
        self.state = evolve(self.state, revision=self.state.revision + 1, **fields)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def changes(self) -> AsyncIterator[PhoneState]:
        while True:
            await self._changed.wait()
            yield self.state


class Socket:
    """A WebSocket that says in its handshake what the test wants."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream = stream
        self._ws = WSConnection(ConnectionType.CLIENT)
        self.events: list[Any] = []

    async def open(self, page: Page, *, headers: dict[str, str], path: str = "/live") -> None:
        own = ("Host", "Authorization")  # the session goes as a page sends it: among the subprotocols
        lines = [(name.encode(), value.encode()) for name, value in headers.items() if name not in own]
        host = headers.get("Host", f"127.0.0.1:{page.port}")
        session = headers.get("Authorization", "").removeprefix("Bearer ")
        protocols = [PROTOCOL, session] if session else []
        request = Request(host=host, target=path, extra_headers=lines, subprotocols=protocols)
        await self._stream.send(self._ws.send(request))

    async def next(self) -> Any:
        while not self.events:
            self._ws.receive_data(await self._stream.receive())
            self.events += self._ws.events()
        return self.events.pop(0)

    async def say(self, value: Any) -> None:
        await self._stream.send(self._ws.send(TextMessage(data=value if isinstance(value, str) else json.dumps(value))))

    async def hear(self) -> Any:
        text = ""
        while True:
            event = await self.next()
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                return json.loads(text)

    async def until_closed(self) -> int:
        """Closes when the other side does, as a browser would, and returns its code."""
        while not isinstance(event := await self.next(), CloseConnection):
            pass
        await self._stream.send(self._ws.send(event.response()))
        await self.close()
        return event.code

    async def close(self) -> None:
        await self._stream.aclose()


def origin(page: Page) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{page.port}"}


async def entered(page: Page) -> dict[str, str]:
    """What the page has after the start token was taken."""
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"http://127.0.0.1:{page.port}/enter", content=page.token, headers=origin(page))
    assert answer.status_code == 200
    # Cookies would go to other ports of this host, too, and so to servers of other users.
    assert not answer.cookies
    return {**origin(page), "Authorization": f"Bearer {answer.text}"}


async def connect(page: Page, headers: dict[str, str]) -> Socket:
    socket = Socket(await anyio.connect_tcp("127.0.0.1", page.port))
    await socket.open(page, headers=headers)
    return socket


async def refusal(page: Page, headers: dict[str, str]) -> Any:
    socket = await connect(page, headers)
    try:
        with anyio.fail_after(5):
            return await socket.next()
    finally:
        await socket.close()


async def test_a_page_and_its_phone() -> None:
    phone = StandIn()
    with anyio.fail_after(20):
        async with run_page(phone) as page:
            socket = await connect(page, await entered(page))
            assert isinstance(await socket.next(), AcceptConnection)
            first = await socket.hear()
            assert first["state"]["revision"] == 0 and 0 <= anyio.current_time() - first["now"] < 10
            phone.change(language="ru")
            assert (await socket.hear())["state"]["language"] == "ru"
            await socket.say({"id": 1, "command": "dial", "fields": {"number": "600"}})
            assert await socket.hear() == {"id": 1, "result": "call-1"}
            await socket.say({"id": 2, "command": "dial", "fields": {"number": "fail"}})
            problem = {"code": "bad_number", "text": "that number cannot be called"}
            assert await socket.hear() == {"id": 2, "error": problem}
            for message, code in (
                ({"id": 3, "command": "fly"}, "unknown_command"),
                ({"id": 3, "command": "dial", "fields": {"number": 6}}, "bad_field"),
                ({"id": 3, "command": ["dial"]}, "bad_message"),
                ({"id": 3, "command": "dial", "fields": []}, "bad_message"),
            ):
                await socket.say(message)
                assert (await socket.hear())["error"]["code"] == code
            for text in ("no json", "[]", "{}", "[" * 100_000):
                await socket.say(text)
                assert (await socket.hear())["error"]["code"] == "bad_message"
            assert phone.done == [Dial(number="600"), Dial(number="fail")]
            await socket.close()


async def test_what_fails_inside_is_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(20):
        async with run_page(StandIn()) as page:
            socket = await connect(page, await entered(page))
            await socket.next()
            await socket.hear()
            await socket.say({"id": 1, "command": "dial", "fields": {"number": "crash"}})
            answer = await socket.hear()
            assert answer["error"]["code"] == "internal" and "hunter2" not in json.dumps(answer)
            await socket.close()


async def test_others_are_not_let_in() -> None:
    with anyio.fail_after(30):
        async with run_page(StandIn()) as page:
            mine = await entered(page)
            foreign: list[dict[str, str]] = [
                {**mine, "Origin": "http://evil.example"},
                {**mine, "Origin": "null"},
                {name: value for name, value in mine.items() if name != "Origin"},
                {**mine, "Host": f"evil.example:{page.port}"},
                {**mine, "Host": "127.0.0.1"},
            ]
            for headers in foreign:
                assert isinstance(await refusal(page, headers), RejectConnection)
            for session in ("none", page.token, mine["Authorization"][7:-1]):
                answer = await refusal(page, {**mine, "Authorization": f"Bearer {session}"})
                assert isinstance(answer, RejectConnection | CloseConnection)
            address = f"http://127.0.0.1:{page.port}"
            async with httpx.AsyncClient() as http:
                for headers, status in (
                    ({"Host": "evil.example"}, 403),
                    ({"Origin": "http://evil.example"}, 403),
                    ({}, 200),
                ):
                    assert (await http.get(address, headers=headers)).status_code == status
                for content, headers, status in (
                    (page.token, {}, 403),  # a form of another page says no Origin, or another one
                    (page.token, {"Origin": "http://evil.example"}, 403),
                    ("wrong", origin(page), 401),
                    ("", origin(page), 401),
                    ("x" * 100_000, origin(page), 401),
                ):
                    answer = await http.post(address + "/enter", content=content, headers=headers)
                    assert answer.status_code == status
                    assert page.token not in answer.text


async def test_only_files_of_the_page() -> None:
    with anyio.fail_after(20):
        async with run_page(StandIn()) as page, httpx.AsyncClient() as http:
            address = f"http://127.0.0.1:{page.port}"
            index = await http.get(address)
            assert index.status_code == 200 and page.token not in index.text
            policy = index.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert index.headers["referrer-policy"] == "no-referrer"
            assert index.headers["cache-control"] == "no-store"
            for path in (
                "/../web.py",
                "/%2e%2e/web.py",
                "/..%2fweb.py",
                "/web.py",
                "//etc/passwd",
                "/%2fetc%2fpasswd",
                "/x",
            ):
                answer = await http.get(httpx.URL(address).copy_with(raw_path=path.encode()))
                assert answer.status_code == 404, path
            assert (await http.post(address, headers=origin(page))).status_code == 405


async def test_there_are_not_too_many_pages() -> None:
    with anyio.fail_after(20):
        async with run_page(StandIn()) as page:
            mine = await entered(page)
            sockets = [await connect(page, mine) for _ in range(MAX_SOCKETS)]
            for socket in sockets:
                assert isinstance(await socket.next(), AcceptConnection)
            assert isinstance(await refusal(page, mine), RejectConnection | CloseConnection)
            for socket in sockets:
                await socket.close()


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with anyio.fail_after(20):
        async with run_page(StandIn()) as page:
            mine = await entered(page)
            await refusal(page, {**mine, "Origin": "http://evil.example"})
            assert page.token not in repr(page)
        # What the client of this test logs is its own affair.
        ours = " ".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
        assert page.token not in ours
        assert mine["Authorization"].partition(" ")[2] not in ours
    with pytest.raises(OSError, match="onnect"):
        await anyio.connect_tcp("127.0.0.1", page.port)


async def test_pages_that_stay_open_do_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(20):
        async with httpx.AsyncClient() as http:
            async with run_page(StandIn()) as page:
                socket = await connect(page, await entered(page))
                await socket.next()
                await socket.hear()
                await http.get(f"http://127.0.0.1:{page.port}")  # keeps its connection
                closed = asyncio.create_task(socket.until_closed())
                started = anyio.current_time()
            assert anyio.current_time() - started < 4
            assert await closed == 1001
        async with run_page(StandIn(), port=page.port):
            pass  # the port is free again
        with anyio.move_on_after(0.3):  # as at Ctrl-C
            async with run_page(StandIn()) as page:
                socket = await connect(page, await entered(page))
                await socket.next()
                await socket.hear()
                closed = asyncio.create_task(socket.until_closed())
                await anyio.sleep_forever()
        assert await closed == 1001
    assert not [record for record in caplog.records if record.name == "asyncio"]
