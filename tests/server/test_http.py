"""The operator's HTTP API over real sockets: who may use it, what it does, what it tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sipproto.conference import EnterRoom, Mic, MicControl
from sipproto_client.port import Runtime
from sipproto_server import OPERATIONS, Server
from sipproto_server.http import run_http_api
from tests.client.rig import RUNTIMES, play
from tests.server.live import client, conference

runtimes = pytest.mark.parametrize("name", RUNTIMES)
TOKEN = "correct-horse-battery"


class Http:
    """A client on the runtime of the test: HTTP/1.1 by hand, so that it can say what browsers cannot."""

    def __init__(self, runtime: Runtime, port: int) -> None:
        self._runtime = runtime
        self.port = port

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = TOKEN, **more: str
    ) -> tuple[int, Any]:
        """The status and the JSON. more: headers, in place of those that fit."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        stream = await self._runtime.connect("127.0.0.1", self.port, None, "")
        try:
            await stream.send(self._request(method, path, data, token, more))
            answer = b""
            while part := await stream.receive():
                answer += part
        finally:
            await stream.aclose()
        head, _, rest = answer.partition(b"\r\n\r\n")
        text = rest if b"chunked" not in head.lower() else b"".join(rest.split(b"\r\n")[1::2])
        return int(head.split()[1]), json.loads(text) if text.startswith((b"{", b"[")) else text

    def _request(self, method: str, path: str, data: bytes, token: str | None, more: dict[str, str]) -> bytes:
        headers = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", "Content-Length": str(len(data))}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if data:
            headers["Content-Type"] = "application/json"
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Callable[[str], Awaitable[dict[str, Any]]]]:
        """A function that waits for an event of a name and gives its data."""
        stream = await self._runtime.connect("127.0.0.1", self.port, None, "")
        seen = b""

        async def wait(name: str) -> dict[str, Any]:
            nonlocal seen
            while f"event: {name}\ndata: ".encode() not in seen or not seen.rstrip(b"\r\n").endswith((b"}", b"here")):
                part = await stream.receive()
                assert part, seen
                seen += part
            _, _, rest = seen.rpartition(f"event: {name}\ndata: ".encode())
            found = json.loads(rest.split(b"\n\n")[0])
            assert isinstance(found, dict)
            return found

        try:
            await stream.send(self._request("GET", "/events", b"", TOKEN, {}))
            while b": here" not in seen:
                seen += await stream.receive()
            yield wait
        finally:
            await stream.aclose()


@asynccontextmanager
async def api(runtime: Runtime) -> AsyncIterator[tuple[Server, Http]]:
    async with (
        conference(runtime) as (server, _),
        run_http_api(runtime, server, token=TOKEN) as port,
    ):
        yield server, Http(runtime, port)


@runtimes
def test_an_operator_at_work(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with api(runtime) as (server, http), client(runtime, server, "4711") as guest, http.events() as event:
            assert await http.ask("GET", "/participants") == (200, [])
            await guest.enter()
            entered = await event("ParticipantEntered")
            assert entered["participant"]["room"] == "purgatory" and entered["participant"]["role"] == "PARTICIPANT"
            assert await http.ask("POST", "/commands/admit", {"target": "p1"}) == (200, {"done": "admit"})
            await guest.until(
                "the guest is in", lambda: any(isinstance(x, EnterRoom) and x.room == "800" for x in guest.told)
            )
            assert (await http.ask("GET", "/rooms"))[1][1] == {"room": "800", "participants": ["p1"], "presenter": None}
            (one,) = (await http.ask("GET", "/participants"))[1]
            assert (one["participant"], one["user"], one["license"], one["wanted_room"]) == ("p1", None, "VIDEO", "800")
            await http.ask("POST", "/commands/stop-mic", {"target": "@800", "forced": True})
            await guest.until_told(MicControl(command=Mic.ADMIN_STOP, forced=True))
            assert (await http.ask("POST", "/commands/presentation-policy", {"verdict": "ask"}))[0] == 200
            assert (await http.ask("GET", "/policy"))[1]["presentation"] == "ask"
            assert (await http.ask("POST", "/commands/kick", {"target": "p1"}))[0] == 200
            assert (await event("ParticipantLeft"))["participant"]["participant"] == "p1"
            listed = (await http.ask("GET", "/commands"))[1]
            assert [x["name"] for x in listed] == list(OPERATIONS) and listed[0]["parameters"] == ["target", "room"]

    play(name, scenario)


def test_who_may_not_use_it() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with api(runtime) as (server, http):
            before = server.core.policy
            wanted = ("POST", "/commands/presentation-policy", {"verdict": "deny"})
            for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "x"):
                assert (await http.ask(*wanted, token=token))[0] == 401
            assert (await http.ask(*wanted, Authorization=f"Basic {TOKEN}"))[0] == 401
            for host in (
                "evil.example",
                f"evil.example:{http.port}",
                "127.0.0.1:1",
                f"127.0.0.1.evil.example:{http.port}",
            ):
                assert (await http.ask(*wanted, Host=host))[0] == 403
            for origin in ("https://evil.example", "null", f"http://127.0.0.1:{http.port}"):
                assert (await http.ask(*wanted, Origin=origin))[0] == 403
            assert server.core.policy == before
            for host in (f"localhost:{http.port}", "127.0.0.1", f"[::1]:{http.port}"):
                assert (await http.ask("GET", "/rooms", Host=host))[0] == 200

    play("anyio-asyncio", scenario)


def test_what_cannot_be_done() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with api(runtime) as (_, http):
            assert (await http.ask("POST", "/commands/dance", {}))[0] == 404
            assert (await http.ask("GET", "/nothing"))[0] == 404
            assert (await http.ask("GET", "/commands/kick"))[0] == 405
            unknown = await http.ask("POST", "/commands/kick", {"target": "p9"})
            assert unknown == (404, {"error": "there is no participant 'p9'"})
            bodies: tuple[object, ...] = (
                {},
                {"target": 1},
                {"target": "p1", "why": "x"},
                [],
                b"{",
                b"[" * 60_000,
                b'"' + b"x" * 70_000,
            )
            for body in bodies:
                status, answer = await http.ask("POST", "/commands/kick", body)
                assert status == 400 and answer["error"].count("\n") == 0, body
            plain = await http.ask("POST", "/commands/kick", {"target": "p1"}, Content_Type="text/plain")
            assert plain == (400, {"error": "the Content-Type has to be application/json"})

    play("anyio-asyncio", scenario)


def test_it_is_for_this_machine_only() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as (server, _):
            for more in ({"host": "0.0.0.0"}, {"token": "short"}):
                with pytest.raises(ValueError):
                    async with run_http_api(runtime, server, **({"token": TOKEN} | more)):  # type: ignore[arg-type]
                        pass
            async with run_http_api(runtime, server, token=TOKEN) as port:
                with pytest.raises(OSError):
                    async with run_http_api(runtime, server, token=TOKEN, port=port):
                        pass

    play("anyio-asyncio", scenario)


def test_streams_have_an_end() -> None:
    """A client that never reads is cut off, and as many as there may be keep others out."""

    async def scenario(runtime: Runtime) -> None:
        async with api(runtime) as (_, http):
            streams = [http.events() for _ in range(16)]
            for stream in streams:
                await stream.__aenter__()
            assert (await http.ask("GET", "/events"))[0] == 503
            for stream in streams:
                await stream.__aexit__(None, None, None)
            deadline = runtime.now() + 10.0
            while True:
                try:
                    async with http.events():
                        break
                except (AssertionError, OSError):
                    assert runtime.now() < deadline

    play("anyio-asyncio", scenario)
