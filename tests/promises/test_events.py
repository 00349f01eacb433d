"""What is promised of events: handlers, waiting, and that nobody disturbs anybody."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sipproto.connector.names import ALIASES, CATALOGUE, NAMES, UnknownEventName
from sipproto.errors import LocalProtocolError
from sipproto_anyio import open_connector
from sipproto_client import SipConnector, SipConnectorFacade
from tests.promises.rig import Log, Venue, application, connectors, venue

CONNECTED, REGISTERED = "connection:connected", "connection:registered"


async def again(one: SipConnector, place: Venue) -> None:
    """Has connection:disconnected, :connected and :registered happen."""
    await one.connect(**place.account("alice"))


def test_on_once_and_off() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (one,):
            facade, heard = SipConnectorFacade(one), list[tuple[str, Any]]()

            def note(payload: object) -> None:
                heard.append(("on", payload))

            end = facade.on(REGISTERED, note)
            facade.on(REGISTERED, note)  # the same function is called once
            facade.once(REGISTERED, lambda _: heard.append(("once", None)))
            given_up = facade.once(REGISTERED, lambda _: heard.append(("never", None)))
            given_up()
            one.connection_manager.on("registered", lambda _: heard.append(("manager", None)))
            await again(one, place)
            await again(one, place)
            assert [name for name, _ in heard] == ["on", "once", "manager", "on", "manager"]
            assert heard[0][1] is not None
            end()
            end()
            heard.clear()
            await again(one, place)
            assert [name for name, _ in heard] == ["manager"]
            facade.on(REGISTERED, note)
            facade.off(REGISTERED, note)
            facade.off(REGISTERED, note)
            heard.clear()
            await again(one, place)
            assert [name for name, _ in heard] == ["manager"]

    application(scenario)


def test_races() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (one,):
            heard: list[tuple[str, str]] = []
            names = ["connection:disconnected", CONNECTED, REGISTERED]
            one.once_race(names, lambda _, name: heard.append(("once", name)))
            one.once_race(names, lambda _, name: heard.append(("never", name)))()
            end = one.on_race(names, lambda _, name: heard.append(("on", name)))
            await again(one, place)
            assert heard == [("once", names[0]), *(("on", name) for name in names)]
            end()
            await again(one, place)
            assert len(heard) == 4

    application(scenario)


def test_waiting() -> None:
    """For one event, with a limit, given up, and as an iterator."""

    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (one,):
            async with anyio.create_task_group() as tasks:
                found: list[object] = []

                async def wait() -> None:
                    found.append(await one.wait("connection:connect-succeeded"))

                tasks.start_soon(wait)
                await anyio.lowlevel.checkpoint()
                await again(one, place)
            assert found == [one.get_connection_configuration()]
            with pytest.raises(TimeoutError):
                await one.wait("call:ended", timeout=0.01)
            with anyio.move_on_after(0.01) as limit:
                await one.wait("call:ended")
            assert limit.cancelled_caught
            with one.events(REGISTERED, "connection:disconnected") as events:
                await again(one, place)
                names = [(await anext(events)).name for _ in range(2)]
            assert names == ["connection:disconnected", REGISTERED]

    application(scenario)


def test_handlers_are_kept_apart(caplog: pytest.LogCaptureFixture) -> None:
    """One that raises is logged and disturbs neither the others nor the connector; async ones run beside."""

    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (one,):
            heard: list[str] = []

            def bad(_: object) -> None:
                raise RuntimeError("a bug of the application")

            async def slow(_: object) -> None:
                heard.append("slow")
                await anyio.sleep(60)

            async def bad_later(_: object) -> None:
                raise RuntimeError("another bug")

            ends = [one.on(REGISTERED, handler) for handler in (bad, bad_later, slow)]
            one.on(REGISTERED, lambda _: ends[2]())  # a handler may remove others
            one.on(REGISTERED, lambda _: heard.append("last"))
            with caplog.at_level(logging.CRITICAL):
                await again(one, place)
            await again(one, place)
            assert one.is_registered and heard.count("last") == 2 and heard.count("slow") == 1

    application(scenario)
    assert "a bug of the application" in caplog.text and "another bug" in caplog.text


def test_unknown_names_are_refused() -> None:
    async def scenario() -> None:
        async with open_connector() as one:
            with pytest.raises(UnknownEventName) as unknown:
                one.on("call:endd", print)
            assert unknown.value.nearest == "call:ended"
            for wrong in (lambda: one.events("api:x"), lambda: one.once_race(["call:ended", "x"], print)):
                with pytest.raises(UnknownEventName):
                    wrong()
            for _ in range(1000):
                one.on("call:ended", lambda _: None)
            with pytest.raises(LocalProtocolError, match="1000"):
                one.on("call:ended", lambda _: None)

    application(scenario)


README = [
    "connection:connected",
    "connection:disconnected",
    "call:accepted",
    "call:ended",
    "call:failed",
    "api:enterRoom",
    "api:useLicense",
    "api:restart",
    "incoming-call:incomingCall",
    "presentation:started",
    "presentation:stopped",
    "stats:collected",
    "video-balancer:balancing-scheduled",
    "video-balancer:balancing-started",
    "video-balancer:balancing-stopped",
    "video-balancer:parameters-updated",
]


def test_every_name_of_the_readme_is_known() -> None:
    assert {*README} <= {*NAMES, *ALIASES}
    assert ALIASES["presentation:stopped"] == ALIASES["presentation:presentation:ended"] == "presentation:ended"
    assert ALIASES["api:enter-room"] == "api:enterRoom" and "auto-connect:success" in CATALOGUE


def test_nothing_is_told_after_the_block() -> None:
    async def scenario() -> None:
        async with venue() as place:
            async with connectors(place, "alice") as (one,):
                log = Log(one, CONNECTED, "connection:disconnected")
            count = len(log.names)
            one.on(CONNECTED, print)
            await anyio.sleep(0.05)
            assert len(log.names) == count

    application(scenario)
