"""The audio and video of calls as frames, between two real engines over loopback, on each of the runtimes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy
import pytest
from attrs import evolve

from sipproto.agent.media import MediaEngine
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_client import (
    AudioPort,
    Call,
    CallAudio,
    Endpoint,
    FramesEnded,
    FramesUnsupported,
    VideoPort,
    run_endpoint,
)
from sipproto_client.port import Runtime
from sipproto_devices import AudioFrames, VideoFrames
from sipproto_server import ServerConfig, run_server
from tests.client.rig import REALM, RUNTIMES, USERS, config, play, url

AUDIO = (("audio", Direction.SENDRECV),)
VIDEO = (*AUDIO, ("video", Direction.SENDRECV))
FIRST = "anyio-asyncio"


def the_ports_are_those_of_the_client(engine: AiortcEngine) -> tuple[AudioPort, VideoPort]:
    """Checked by mypy: the engine knows nothing of the client's protocols, and fits them."""
    return engine.open_audio("x"), engine.open_video("x")


@asynccontextmanager
async def _endpoint(runtime: Runtime, port: int, user: str) -> AsyncIterator[Endpoint]:
    media = AiortcEngine(include_loopback=True)
    try:
        settings = evolve(config(user), capabilities=media.capabilities)
        async with run_endpoint(runtime, settings, media=media) as endpoint:
            await endpoint.connect(url(port))
            await endpoint.register()
            yield endpoint
    finally:
        media.close()


@asynccontextmanager
async def two(runtime: Runtime) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with (
        run_server(runtime, ServerConfig(realm=REALM, users=USERS)) as server,
        _endpoint(runtime, server.port, "alice") as alice,
        _endpoint(runtime, server.port, "bob") as bob,
    ):
        yield alice, bob


@asynccontextmanager
async def talk(
    runtime: Runtime, media: Any = AUDIO, setup: MediaSetup | None = None
) -> AsyncIterator[tuple[Call, Call]]:
    """Both sides of a call; `setup` is the caller's."""
    async with two(runtime) as (alice, bob), runtime.task_group() as tasks:
        answered: list[Call] = []

        async def answer() -> None:
            call = await anext(incoming)
            answered.append(call)
            await call.answer(media)

        incoming = bob.incoming_calls()
        tasks.start_soon(answer)
        caller = await alice.call(f"sip:bob@{REALM}", media, setup=setup)
        yield caller, answered[0]
        if caller.ended is None:
            await caller.hang_up()


def pcm(frequency: float, seconds: float, rate: int) -> bytes:
    numbers = numpy.arange(round(seconds * rate))
    return (numpy.sin(2 * numpy.pi * frequency * numbers / rate) * 10000).astype("<i2").tobytes()


def frequency(data: bytes, rate: int) -> float:
    wave = numpy.frombuffer(data, "<i2").astype(float)
    return float(numpy.argmax(numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))) * rate / len(wave))


async def hear(audio: CallAudio, wanted: float) -> None:
    """Reads until the last 200 ms are this tone."""
    heard: list[bytes] = []
    async for chunk in audio:
        assert len(chunk.pcm) == audio.rate // 50 * 2
        heard.append(chunk.pcm)
        if len(heard) >= 10 and chunk.speaking and abs(frequency(b"".join(heard[-10:]), audio.rate) - wanted) < 6:
            return
    raise AssertionError("the call ended")


async def say(audio: CallAudio, tone: float) -> None:
    """A tone without end."""
    try:
        while await audio.write(pcm(tone, 0.5, audio.rate)):
            pass
    except FramesEnded:
        pass


@pytest.mark.parametrize(
    ("name", "rates"), [("anyio-asyncio", (8000, 24000)), ("anyio-trio", (16000,)), ("trio", (48000, 16000))]
)
def test_tones_are_heard_at_the_other_end(name: str, rates: tuple[int, ...]) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with talk(runtime, setup=MediaSetup(audio=Tone(1500.0))) as (a, b):
            for rate in rates:
                async with a.audio(rate=rate) as left, b.audio(rate=rate) as right, runtime.task_group() as tasks:
                    tasks.start_soon(say, left, 500.0)
                    tasks.start_soon(say, right, 900.0)
                    await hear(left, 900.0)
                    await hear(right, 500.0)
                    tasks.cancel()
            async with b.audio() as right:
                await hear(right, 1500.0)  # the source is back

    play(name, scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_flush_silences_soon_and_ends_what_waits(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            talk(runtime) as (a, b),
            a.audio(latency=2.0) as left,
            b.audio() as right,
            runtime.task_group() as tasks,
        ):
            written: list[bool] = []

            async def speak() -> None:
                written.append(await left.write(pcm(700.0, 10.0, 16000)))

            tasks.start_soon(speak)
            await hear(right, 700.0)
            chunk = await anext(right)
            flushed_at = chunk.time
            dropped = left.flush()
            while chunk.level > -60:
                chunk = await anext(right)
            report = await b.stats()
            audio = report.inbound("audio")
            assert audio is not None and audio.jitter_buffer_delay is not None
            kept = audio.jitter_buffer_delay / (
                audio.jitter_buffer_emitted_count or 1
            )  # against jitter of this machine
            # Measured, from one program to the other: 0.06 s and what is kept, which is 0.02 s on an idle machine.
            assert chunk.time - flushed_at < 0.15 + kept
            assert kept < 0.3
            assert 8.0 < dropped < 10.0
            await left.drained()
            assert written == [False]
            assert await left.write(pcm(1100.0, 0.4, 16000))  # and goes on with other words
            await hear(right, 1100.0)

    play(name, scenario)


def test_what_is_flushed_is_not_sent_any_more() -> None:
    """The sender's side alone, without the delays of the way."""
    engine = AiortcEngine()
    port = engine.open_audio("a call", latency=5.0)
    producer = port.open_audio()
    port.write(pcm(700.0, 3.0, 16000))
    for _ in range(5):
        assert producer.read() is not None
    port.flush()
    assert producer.read() is None
    engine.close()
    assert port.ended


def test_writing_keeps_the_pace_of_the_call() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with talk(runtime) as (a, _), a.audio(latency=0.2) as audio:
            start = runtime.now()
            assert await audio.write(pcm(700.0, 1.0, 16000))
            assert 0.6 < runtime.now() - start < 3.0
            await audio.drained()
            assert 0.9 < runtime.now() - start < 3.5

    play(FIRST, scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_frames_from_before_the_call_to_its_end(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with two(runtime) as (alice, bob), runtime.task_group() as tasks:

            async def answer() -> None:
                call = await anext(incoming)
                async with call.audio() as audio:
                    await call.answer(AUDIO)
                    with suppress(FramesEnded):  # the call may end between the two
                        async for chunk in audio:
                            await audio.write(chunk.pcm)  # an echo
                assert call.ended is not None
                done.append(True)

            done: list[bool] = []
            incoming = bob.incoming_calls()
            tasks.start_soon(answer)
            call = alice.new_call()
            async with call.audio() as audio:
                tasks.start_soon(say, audio, 600.0)
                await alice.call(f"sip:bob@{REALM}", AUDIO, call=call)
                await hear(audio, 600.0)
                await call.hang_up()
                async for _ in audio:
                    pass
                with pytest.raises(FramesEnded):
                    await audio.write(bytes(640))
                with pytest.raises(FramesEnded):
                    await audio.write(bytes(640))
        assert done

    play(name, scenario)


def test_frames_over_hold_and_ice_restart() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with talk(runtime) as (a, b), a.audio() as left, b.audio() as right, runtime.task_group() as tasks:
            tasks.start_soon(say, left, 500.0)
            await hear(right, 500.0)
            await b.hold()
            await a.restart_ice()
            with runtime.move_on_after(0.3) as limit:
                await left.write(pcm(500.0, 1.0, 16000))  # nobody takes it
            assert limit.cancelled_caught
            await b.resume()
            await hear(right, 500.0)
            tasks.cancel()

    play(FIRST, scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_pictures_go_both_ways(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        red, blue = numpy.zeros((121, 160, 3), numpy.uint8), numpy.zeros((240, 320, 3), numpy.uint8)
        red[:] = (255, 0, 0)
        blue[:] = (0, 0, 255)
        async with talk(runtime, VIDEO) as (a, b), a.video() as left, b.video() as right:
            left.write(red)
            right.write(memoryview(blue.data))

            async def see(video: Any, size: tuple[int, int], color: int) -> None:
                async for picture in video:
                    mean = picture.pixels.reshape(-1, 3).mean(axis=0)
                    if (picture.width, picture.height) == size and mean[color] > 220 and mean.sum() < 300:
                        return

            await see(left, (320, 240), 2)
            await see(right, (160, 120), 0)
            with pytest.raises(ValueError, match="height by width by 3"):
                left.write(numpy.zeros((10, 10)))
            await a.hang_up()
            async for _ in left:
                pass
            with pytest.raises(FramesEnded):
                left.write(red)

    play(name, scenario)


def test_two_tasks_may_wait_for_the_same_frames() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with talk(runtime) as (a, b), b.audio() as right:
            count = [0, 0]

            async def read(number: int) -> None:
                async for _ in right:
                    count[number] += 1

            async with runtime.task_group() as tasks:
                tasks.start_soon(read, 0)
                tasks.start_soon(read, 1)
                with runtime.move_on_after(20):
                    while sum(count) < 20:  # who gets a chunk is not said; none is lost
                        await runtime.wait(runtime.event(), 0.02)
                await a.hang_up()  # both end
            assert sum(count) >= 20 and right.dropped == 0

    play(FIRST, scenario)


def test_wrong_use_is_told() -> None:
    class Deaf:
        """An engine without frames."""

        capabilities = AiortcEngine().capabilities
        perform: Callable[..., None] = staticmethod(lambda operation, report: None)
        close: Callable[[], None] = staticmethod(lambda: None)

    async def refused(act: Callable[[], Awaitable[object]], error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            await act()

    async def scenario(runtime: Runtime) -> None:
        deaf: MediaEngine = Deaf()
        for media in (None, deaf):
            async with run_endpoint(runtime, config("alice"), media=media) as endpoint:
                with pytest.raises(FramesUnsupported, match="has no open_audio"):
                    endpoint.new_call().audio()
                with pytest.raises(FramesUnsupported, match="has no open_video"):
                    endpoint.new_call().video()
        engine = AiortcEngine()
        async with run_endpoint(runtime, config("alice"), media=engine) as endpoint:
            call = endpoint.new_call()
            await refused(call.audio(rate=44100).__aenter__, ValueError, "a rate is one of 8000, 16000, 24000, 48000")
            await refused(call.audio(latency=0).__aenter__, ValueError, "a latency is from")
            await refused(lambda: anext(call.audio()), RuntimeError, "async with call.audio")
            async with call.audio() as audio:
                await refused(lambda: audio.write(b"\0"), ValueError, "half a sample")
        assert audio.over
        async with endpoint.new_call().audio() as audio:  # the endpoint is closed
            pass
        engine.close()
        assert not engine._ports

    play(FIRST, scenario)


def test_a_closed_engine_gives_frames_that_are_over() -> None:
    engine = AiortcEngine()
    engine.close()
    ports: tuple[AudioFrames, VideoFrames] = (engine.open_audio("x"), engine.open_video("x"))
    assert all(port.ended for port in ports)
