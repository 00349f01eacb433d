"""A conference server on this machine, and applications at it that use public names only."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from sipproto.agent import AgentConfig
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Request, Response, parse_message
from sipproto.sdp import Direction
from sipproto.testing import FakeMediaEngine
from sipproto.trace import read_transcript
from sipproto_anyio import AnyioRuntime, open_connector, open_endpoint
from sipproto_client import Endpoint, SipConnector
from sipproto_devices import MediaSetup, TestPattern, Tone
from sipproto_server import (
    ConferencePolicy,
    ParticipantInfo,
    Server,
    ServerConfig,
    ServiceEngine,
    command_of,
    run_server,
)

REALM = "promises.invalid"
USERS = {"alice": "wonder-Land1", "bob": "builder-Two2", "carol": "singer-Three3"}
CAMERA = MediaSetup(audio=Tone(440.0), video=TestPattern(width=640, height=480))
SCREEN = MediaSetup(video=TestPattern(width=1280, height=720))
AUDIO_VIDEO = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
PATIENCE = 10.0  # seconds; the machine may be busy

_T = TypeVar("_T")
gc.freeze()  # what the imports made need not be searched again after every scenario


def application(scenario: Callable[[], Awaitable[None]], patience: float = 30.0) -> None:
    """Runs a scenario on asyncio, for so many seconds at most; nothing may be left open after it."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))

    async def limited() -> None:
        with anyio.fail_after(patience):
            await scenario()

    anyio.run(limited)
    gc.collect()  # what was forgotten says so now, as a ResourceWarning
    assert len(os.listdir("/proc/self/fd")) <= before


async def until(condition: Callable[[], _T], what: object = "") -> _T:
    """Waits until a condition is true, and returns what it gave."""
    deadline = anyio.current_time() + PATIENCE
    while not (found := condition()):
        assert anyio.current_time() < deadline, f"it does not come about {what}"
        await anyio.sleep(0.005)
    return found


class Venue:
    """The server. `told`: all that it did."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.told: list[object] = []
        server.subscribe(self.told.append)

    @property
    def address(self) -> dict[str, Any]:
        return {"sip_server_url": REALM, "sip_web_socket_server_url": f"ws://127.0.0.1:{self.server.port}/"}

    def account(self, user: str) -> dict[str, Any]:
        """What SipConnector.connect takes."""
        return {**self.address, "user": user, "password": USERS[user], "register": True}

    def user(self, name: str) -> dict[str, Any]:
        """What SipConnectorFacade.connect_to_server takes."""
        return {**self.address, "name": name, "password": USERS[name], "is_registered_user": True}

    def operate(self, name: str, *values: str) -> None:
        self.server.operate(command_of(name, values))

    def of(self, kind: type[_T]) -> list[_T]:
        """What it did of one kind."""
        return [output for output in self.told if isinstance(output, kind)]

    def participant(self, name: str = "alice") -> ParticipantInfo:
        """The newest of those in conferences with that name."""
        return next(one for one in reversed(self.server.core.participants) if name in (one.user, one.name))


@asynccontextmanager
async def venue(media: ServiceEngine | None = None, **policy: Any) -> AsyncIterator[Venue]:
    """Users, guests, and a conference at 800."""
    media = media or FakeMediaEngine(seed=1)
    config = ServerConfig(
        realm=REALM, users=USERS, guests=True, capabilities=media.capabilities, policy=ConferencePolicy(**policy)
    )
    async with run_server(AnyioRuntime(), config, media=media) as server:
        yield Venue(server)


@asynccontextmanager
async def connectors(place: Venue, *users: str, **more: Any) -> AsyncIterator[list[SipConnector]]:
    """A connector for each of these users, registered, without media."""
    if not users:
        yield []
        return
    engine = FakeMediaEngine(seed=10 + len(users))
    async with open_connector(media=engine, **more) as first, connectors(place, *users[1:], **more) as others:
        await first.connect(**place.account(users[0]))
        yield [first, *others]


@asynccontextmanager
async def in_conference(*users: str, **policy: Any) -> AsyncIterator[tuple[Venue, list[SipConnector]]]:
    """A conference, and those in it."""
    async with venue(**policy) as place, connectors(place, *users) as those:
        for one in those:
            await enter(one)
        yield place, those


@asynccontextmanager
async def peer(place: Venue, user: str, **more: Any) -> AsyncIterator[Endpoint]:
    """Somebody who can say in a call what a conference server says."""
    engine = FakeMediaEngine(seed=40 + len(user))
    config = AgentConfig(
        aor=f"sip:{user}@{REALM}",
        secrets=(Secret(username=user, password=USERS[user]),),
        capabilities=engine.capabilities,
        **more,
    )
    async with open_endpoint(config, media=engine) as endpoint:
        await endpoint.connect(place.address["sip_web_socket_server_url"])
        await endpoint.register()
        yield endpoint


class Refusing:
    """A peer that, when told so, takes no offer any more (488)."""

    refuses = False

    def __call__(self, description: bytes) -> bytes:
        if self.refuses:
            raise ValueError("not this one")
        return description


@asynccontextmanager
async def answering(place: Venue, user: str, refusing: Refusing) -> AsyncIterator[Endpoint]:
    """Somebody who answers every call, and every INFO with 200."""

    async def answer_calls() -> None:
        async for call in endpoint.incoming_calls():
            await call.answer(AUDIO_VIDEO)

    async with peer(place, user, transform_remote_sdp=refusing) as endpoint, anyio.create_task_group() as tasks:
        tasks.start_soon(answer_calls)
        await anyio.lowlevel.checkpoint()
        yield endpoint
        tasks.cancel_scope.cancel()


async def enter(one: SipConnector, stream: object = CAMERA) -> None:
    with one.events("api:enterRoom") as entered:
        await one.call("800", stream)
        await anext(entered)


class Log:
    """The events of a connector, by the names that it is asked for, in their order."""

    def __init__(self, one: SipConnector, *names: str) -> None:
        self.names: list[str] = []
        self.payloads: list[Any] = []
        one.on_race(names, self._note)

    def _note(self, payload: object, name: str) -> None:
        self.names.append(name)
        self.payloads.append(payload)

    async def until(self, count: int, what: object = "") -> None:
        await until(lambda: len(self.names) >= count, what)

    def payload(self, name: str) -> Any:
        """Of the last one of that name."""
        return self.payloads[len(self.names) - 1 - self.names[::-1].index(name)]


class Wire:
    """What a connector sends and gets: give it as its `trace`."""

    def __init__(self) -> None:
        self.file = io.StringIO()

    def _steps(self) -> Iterator[tuple[bool, bytes]]:
        for step in read_transcript(self.file.getvalue(), partial=True).steps:
            if isinstance(step.what, i.DataReceived):
                yield False, step.what.data
            for output in step.outputs:
                if isinstance(output, o.SendData):
                    yield True, output.data

    def sent(self, method: str) -> list[Request]:
        messages = [parse_message(data) for ours, data in self._steps() if ours]
        return [one for one in messages if isinstance(one, Request) and one.method == method]

    def got(self, method: str) -> list[Response]:
        """The answers to requests of that method."""
        messages = [parse_message(data) for ours, data in self._steps() if not ours]
        return [
            one for one in messages if isinstance(one, Response) and (one.headers.first("CSeq") or "").endswith(method)
        ]

    @property
    def agreed(self) -> int:
        """How many INVITEs have had an answer with a description: the first one, and changes of the call."""
        return sum(one.status == 200 for one in self.got("INVITE"))


__all__ = [
    "AUDIO_VIDEO",
    "CAMERA",
    "REALM",
    "SCREEN",
    "USERS",
    "Log",
    "Refusing",
    "Venue",
    "Wire",
    "answering",
    "application",
    "connectors",
    "enter",
    "in_conference",
    "peer",
    "until",
    "venue",
]
