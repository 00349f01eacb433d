"""The phone without a server of one's own: an embedded one, with numbers that answer."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import anyio
import numpy
from attrs import frozen

from sipproto._entropy import SystemTokens
from sipproto.agent import AgentConfig
from sipproto.agent.media import CallId
from sipproto.auth import Secret
from sipproto.errors import SipProtoError
from sipproto.tokens import token
from sipproto_aiortc import AiortcEngine
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Call, Endpoint
from sipproto_devices import FRAME_SAMPLES, SAMPLE_RATE, AudioProducer, MediaSetup, Samples, SourceError
from sipproto_phone._call import AUDIO
from sipproto_phone._numbers import name_headers
from sipproto_phone.ports import Account
from sipproto_server import ServerConfig, Service, run_server
from sipproto_server.aiortc import AiortcServices

DOMAIN = "demo.sipproto.invalid"
USER, CALLER = "100", "555"
ECHO, MUSIC = "600", "601"
_TALK, _PAUSE = 2.0, 1.5  # seconds that 555 talks, and until it calls back
_NOTE = 0.25  # seconds
# "Ode to Joy", Beethoven: semitones from A4 (440 Hz), None for a pause.
_MELODY = (
    *(9, 9, 10, 12, 12, 10, 9, 7, 5, 5, 7, 9, 9, None, 7, 7, None, None),
    *(9, 9, 10, 12, 12, 10, 9, 7, 5, 5, 7, 9, 7, None, 5, 5, None, None),
)


@frozen
class Melody:
    """A generated tune, over and over. level: its amplitude, 0 to 1."""

    level: float = 0.25

    def check(self, kind: str) -> None:
        if kind != "audio":
            raise SourceError("a melody is no source of video")

    def open_audio(self) -> AudioProducer:
        return _MelodyProducer(self.level)


class _MelodyProducer:
    """Computed from the number of the sample, so that nothing drifts."""

    def __init__(self, level: float) -> None:
        self._level = level
        self._next = 0

    def read(self) -> Samples | None:
        length = round(_NOTE * SAMPLE_RATE)
        note = _MELODY[self._next // length % len(_MELODY)]
        numbers = numpy.arange(self._next, self._next + FRAME_SAMPLES)
        self._next += FRAME_SAMPLES
        if note is None:
            return None
        place = numbers % length
        fade = numpy.minimum(1.0, numpy.minimum(place, length - place) / 480) * numpy.exp(-2.0 * place / length)
        wave = numpy.sin(2 * math.pi * 440.0 * 2 ** (note / 12) * numbers / SAMPLE_RATE)
        samples: Samples = (wave * fade * self._level * 32767).astype(numpy.int16)
        return samples

    def close(self) -> None: ...


class _Services(AiortcServices):
    """The services of the embedded server, and music."""

    def serve(self, call: CallId, service: Service) -> None:
        if service.kind == "music":
            self.prepare(call, MediaSetup(audio=Melody()))
        else:
            super().serve(call, service)


@asynccontextmanager
async def run_demo_server() -> AsyncIterator[tuple[Account, str]]:
    """A server for the length of a block, with the account that the phone is to use and its password.

    600 is an echo, 601 plays music; 555 talks for two seconds, hangs up and calls back.
    """
    passwords = {name: token(SystemTokens(), 24) for name in (USER, CALLER)}
    services = {ECHO: Service(kind="echo"), MUSIC: Service(kind="music")}
    with closing(_Services()) as media, closing(AiortcEngine(include_loopback=True)) as engine:
        config = ServerConfig(realm=DOMAIN, users=passwords, services=services, capabilities=media.capabilities)
        async with run_server(AnyioRuntime(), config, media=media) as server:
            url = f"ws://127.0.0.1:{server.port}/"
            caller = AgentConfig(
                aor=f"sip:{CALLER}@{DOMAIN}",
                display_name="Demo",
                secrets=(Secret(username=CALLER, password=passwords[CALLER]),),
                capabilities=engine.capabilities,
            )
            async with open_endpoint(caller, media=engine) as endpoint:
                await endpoint.connect(url)
                await endpoint.register()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_call_back, endpoint)
                    account = Account(
                        id="demo", display_name="Demo", server=DOMAIN, login=USER, transport="ws", proxy=url
                    )
                    yield account, passwords[USER]
                    tasks.cancel_scope.cancel()


async def _call_back(endpoint: Endpoint) -> None:
    """One caller after the other."""
    with endpoint.incoming_calls() as calls:
        async for call in calls:
            try:
                await _answer(call)
                await anyio.sleep(_PAUSE)
                assert call.incoming is not None
                back = await endpoint.call(
                    call.incoming.from_uri, AUDIO, setup=MediaSetup(audio=Melody()), headers=name_headers("sipproto")
                )
                await back.wait_ended()
            except SipProtoError:
                continue  # refused, or not answered


async def _answer(call: Call) -> None:
    await call.answer(AUDIO, setup=MediaSetup(audio=Melody()))
    with anyio.move_on_after(_TALK):
        await call.wait_ended()
    await call.hang_up()
