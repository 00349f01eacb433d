"""Handlers of named events: who is called, when, and who is not disturbed by whom."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipproto.connector.names import UnknownEventName
from sipproto.connector.naming import Named
from sipproto.errors import LocalProtocolError
from sipproto_anyio import AnyioRuntime
from sipproto_client._emitter import MAX_HANDLERS, Emitter
from sipproto_client.errors import EndpointClosed
from sipproto_client.port import Runtime
from tests.client.rig import RUNTIMES, play

ENDED, FAILED, STARTED = "call:ended", "call:failed", "presentation:started"


def playing(scenario: Callable[[Runtime, Emitter], Awaitable[None]], name: str = RUNTIMES[0]) -> None:
    async def run(runtime: Runtime) -> None:
        async with runtime.task_group() as tasks:
            await scenario(runtime, Emitter(runtime, tasks.start_soon))
            tasks.cancel()

    play(name, run)


def test_handlers_are_called_in_order_until_they_are_not() -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        heard: list[object] = []

        def first(payload: object) -> None:
            heard.append(("first", payload))
            end_third()

        emitter.on(ENDED, first)
        emitter.on(ENDED, first)  # is one
        end_second = emitter.on(ENDED, lambda payload: heard.append(("second", payload)))
        end_third = emitter.on(ENDED, lambda payload: heard.append(("third", payload)))
        emitter.once(ENDED, lambda payload: heard.append(("once", payload)))
        emitter.fire(Named(ENDED, 1))
        assert heard == [("first", 1), ("second", 1), ("once", 1)]
        end_second()
        end_second()
        emitter.fire(Named(ENDED, 2))
        assert heard[3:] == [("first", 2)]
        emitter.off(ENDED, first)
        emitter.off(ENDED, first)
        emitter.fire(Named(ENDED, 3))
        assert len(heard) == 4 and emitter.handlers == 0

    playing(scenario)


def test_who_is_told_once_may_be_told_for_good_as_well() -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        heard: list[object] = []
        emitter.once(ENDED, heard.append)
        emitter.on(ENDED, heard.append)
        for number in range(3):
            emitter.fire(Named(ENDED, number))
        assert heard == [0, 0, 1, 2]

    playing(scenario)


def test_a_race_is_won_once_and_an_alias_is_the_name_that_was_asked_for() -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        heard: list[object] = []

        def note(payload: object, name: str) -> None:
            heard.append((payload, name))

        emitter.once_race([ENDED, FAILED], note)
        end = emitter.on_race(["presentation:presentation:started", "api:enter-room"], note)
        emitter.once(STARTED, heard.append)
        emitter.off(STARTED, heard.append)
        emitter.fire(Named(FAILED, 1))
        emitter.fire(Named(ENDED, 2))
        emitter.fire(Named(STARTED, 3))
        emitter.fire(Named("api:enterRoom", 4))
        assert heard == [(1, FAILED), (3, "presentation:presentation:started"), (4, "api:enter-room")]
        end()
        with pytest.raises(UnknownEventName):
            emitter.on_race([ENDED, "call:over"], note)
        assert emitter.handlers == 0

    playing(scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_handler_that_raises_disturbs_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        heard: list[object] = []
        done = runtime.event()

        def broken(_: object) -> None:
            raise RuntimeError("plain")

        async def broken_later(_: object) -> None:
            raise RuntimeError("async")

        async def note(payload: object) -> None:
            heard.append(payload)
            done.set()

        for handler in (broken, broken_later, note):
            emitter.on(ENDED, handler)
        with caplog.at_level(logging.ERROR, "sipproto.connector"):
            emitter.fire(Named(ENDED, 1))
            await done.wait()
        assert heard == [1]

    playing(scenario, name)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", RUNTIMES)
def test_waiting_for_an_event(name: str) -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        with pytest.raises(TimeoutError):
            await emitter.wait(ENDED, 0.01)
        with runtime.move_on_after(0.01):
            await emitter.wait(ENDED)
        assert emitter.handlers == 0
        results: list[Any] = []

        async def wait() -> None:
            try:
                results.append(await emitter.wait(ENDED, 5.0))
                await emitter.wait(ENDED)
            except EndpointClosed:
                results.append("closed")

        async with runtime.task_group() as tasks:
            tasks.start_soon(wait)
            while not emitter.handlers:
                await runtime.wait(runtime.event(), 0.001)
            emitter.fire(Named(ENDED, 1))
            while len(results) != 1 or not emitter.handlers:
                await runtime.wait(runtime.event(), 0.001)
            emitter.close()
        assert results == [1, "closed"]

    playing(scenario, name)


def test_nothing_is_told_after_the_end_and_everything_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(runtime: Runtime, emitter: Emitter) -> None:
        heard: list[object] = []
        ends = [emitter.on(FAILED, lambda _, n=n: heard.append(n)) for n in range(MAX_HANDLERS)]  # type: ignore[misc]
        with pytest.raises(LocalProtocolError):
            emitter.on(FAILED, heard.append)
        emitter.fire(Named(FAILED))
        assert heard == list(range(MAX_HANDLERS))
        for end in ends:
            end()
        with caplog.at_level(logging.WARNING, "sipproto.connector"):
            emitter.on("api:shareState", heard.append)
        assert "never fires" in caplog.text
        emitter.on(ENDED, heard.append)
        with emitter.events() as events:
            emitter.fire(Named(ENDED, "last"))
            emitter.close()
            emitter.fire(Named(ENDED, "late"))
            assert [event async for event in events] == [Named(ENDED, "last")]
        emitter.on(ENDED, heard.append)
        emitter.fire(Named(ENDED, "late"))
        assert "late" not in heard and emitter.handlers == 0
        with pytest.raises(StopAsyncIteration):
            await anext(emitter.events(ENDED))

    playing(scenario)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["on", "once", "race", "off", "end", "fire"]),
        st.sampled_from([ENDED, FAILED]),
        st.integers(0, 3),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_handlers_are_those_of_a_simple_model(steps: list[tuple[str, str, int]]) -> None:
    """A list of (names, handler, whether once), in the order of registration."""

    async def run() -> None:
        heard: list[tuple[int, object]] = []
        emitter = Emitter(AnyioRuntime(), lambda *_: None)
        handlers = [lambda payload, *_, n=n: heard.append((n, payload)) for n in range(4)]
        model: list[tuple[set[str], int, bool, Callable[[], None]]] = []
        for number, (what, name, n) in enumerate(steps):
            match what:
                case "on" if not any(name in names and known == n and not once for names, known, once, _ in model):
                    model.append(({name}, n, False, emitter.on(name, handlers[n])))
                case "once":
                    model.append(({name}, n, True, emitter.once(name, handlers[n])))
                case "race":
                    model.append(({ENDED, FAILED}, n, True, emitter.once_race([ENDED, FAILED], handlers[n])))
                case "off":
                    emitter.off(name, handlers[n])
                    model = [
                        (names - {name} if known == n else names, known, once, end)
                        for names, known, once, end in model
                        if known != n or names - {name}
                    ]
                case "end" if model:
                    model.pop(n % len(model))[3]()
                case "fire":
                    heard.clear()
                    emitter.fire(Named(name, number))
                    assert heard == [(known, number) for names, known, _, _ in model if name in names]
                    model = [entry for entry in model if not (entry[2] and name in entry[0])]
                case _:
                    pass
            assert emitter.handlers == sum(len(names) for names, *_ in model)

    anyio.run(run)
