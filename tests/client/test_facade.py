"""The scenarios over a connector: what is called, in which order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sipproto.agent.inputs import SendInfo
from sipproto.connector.naming import RemoteTrack
from sipproto.media.remote_streams import RemoteStream
from sipproto_client import ConnectorError, SipConnector, SipConnectorFacade
from sipproto_client.port import Runtime
from sipproto_server import Verdict
from tests.client.conference import SCREEN, STREAM, conference, connector, joined
from tests.client.rig import RUNTIMES, play

runtimes = pytest.mark.parametrize("name", RUNTIMES)
Log = list[Any]


def callbacks(log: Log) -> dict[str, Any]:
    """All of them; what is called is in `log`, with what it is called with."""

    async def on_success_progress_call(*, is_purgatory: bool) -> None:
        log.append(("success", is_purgatory))

    def broken() -> None:
        log.append("fail")
        raise RuntimeError("what a callback raises disturbs nothing")

    return {
        "on_before_progress_call": lambda number: log.append(("before", number)),
        "on_success_progress_call": on_success_progress_call,
        "on_enter_purgatory": lambda: log.append("purgatory"),
        "on_enter_conference": lambda *, is_success_progress_call: log.append(("conference", is_success_progress_call)),
        "on_fail_progress_call": broken,
        "on_finish_progress_call": lambda: log.append("finish"),
        "on_ended_call": lambda: log.append("ended"),
        "set_remote_streams": lambda streams: log.append(streams),
    }


def entered(log: Log) -> bool:
    return "purgatory" in log or any(entry[0] == "conference" for entry in log if isinstance(entry, tuple))


async def connected(facade: SipConnectorFacade, room: Any, user: str = "alice") -> None:
    settings = room.settings(user)
    result = await facade.connect_to_server(
        sip_server_url=settings["sip_server_url"],
        sip_web_socket_server_url=settings["sip_web_socket_server_url"],
        name=user,
        password=settings["password"],
        is_registered_user=True,
        display_name=user,
    )
    assert result.is_successful and result.configuration is not None and facade.is_registered


@runtimes
def test_a_call_that_succeeds_and_ends(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as sip_connector:
            facade, log = SipConnectorFacade(sip_connector), Log()
            await connected(facade, room)
            call = await facade.call_to_server(conference="800", media_stream=STREAM, **callbacks(log))
            assert facade.connection is call
            assert [entry for entry in log if entry != ("conference", False)][:3] == [
                ("before", "800"),
                ("success", False),
                "finish",
            ]
            await room.until(
                lambda: entered(log) and isinstance(log[-1], tuple) and isinstance(log[-1][0], RemoteStream)
            )
            told = [entry for entry in log if isinstance(entry, tuple) and isinstance(entry[0], RemoteStream)]
            assert told == [facade.get_remote_streams()]  # once, for all that came together
            await facade.hang_up()
            assert log[-1] == "ended" and log.count("ended") == 1
            handlers = sip_connector._emitter.handlers
            await facade.call_to_server(conference="800", media_stream=STREAM, **callbacks(log))
            await room.until(lambda: sum(isinstance(entry, tuple) and entry[0] == "conference" for entry in log) == 2)
            (participant,) = room.server.core.participants
            room.operate("kick", participant.participant)
            await room.until(lambda: log.count("ended") == 2)
            assert sip_connector._emitter.handlers == handlers == 0
            assert (await facade.disconnect_from_server()).is_successful

    play(name, scenario)


@runtimes
def test_a_call_that_fails(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as sip_connector:
            facade, log = SipConnectorFacade(sip_connector), Log()
            await connected(facade, room)
            with pytest.raises(ConnectorError) as nobody:
                await facade.call_to_server(conference="nobody", media_stream=STREAM, **callbacks(log))
            assert nobody.value.code == "NOT_FOUND"
            assert log == [("before", "nobody"), "fail", "finish"]
            assert sip_connector._emitter.handlers == 0

    play(name, scenario)


@runtimes
def test_a_guest_waits_in_the_purgatory(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as sip_connector:
            facade, log = SipConnectorFacade(sip_connector), Log()
            await facade.connect_to_server(**room.address, display_name="Guest")
            await facade.call_to_server(conference="800", media_stream=STREAM, **callbacks(log))
            await room.until(lambda: entered(log))
            assert "purgatory" in log and not any(entry[0] == "conference" for entry in log)
            room.operate("admit", "p1")
            await room.until(lambda: ("conference", True) in log)

    play(name, scenario)


@runtimes
def test_answered_calls_are_told_the_same(name: str) -> None:
    """Also that the caller turned out to be the purgatory."""

    async def scenario(runtime: Runtime) -> None:
        async with (
            conference(runtime) as room,
            connector(runtime) as alice,
            connector(runtime, seed=3) as bob,
            runtime.task_group() as tasks,
        ):
            facade, log = SipConnectorFacade(bob), Log()
            await connected(SipConnectorFacade(alice), room)
            await connected(facade, room, "bob")
            tasks.start_soon(alice.call, "bob", STREAM)
            await bob.wait("incoming-call:incomingCall", 5.0)
            await facade.answer_to_incoming_call(media_stream=STREAM, **callbacks(log))
            assert log == [("before", "alice"), ("success", False), "finish"]
            await room.until(lambda: alice.is_call_active)
            assert alice.connection is not None
            await send_room(alice, "purgatory")
            await room.until(lambda: log[-1] == "purgatory")
            await send_room(alice, "12")
            await room.until(lambda: log[-1] == ("conference", True))
            await alice.hang_up()
            await room.until(lambda: log[-1] == "ended")

    play(name, scenario)


@runtimes
def test_a_caller_who_rings_meanwhile(name: str) -> None:
    """Cannot be answered beside the call, and rings on; may be answered in its place."""

    async def scenario(runtime: Runtime) -> None:
        async with (
            conference(runtime) as room,
            connector(runtime) as alice,
            connector(runtime, seed=3) as bob,
            connector(runtime, seed=4) as other,
            runtime.task_group() as tasks,
        ):
            facade = SipConnectorFacade(alice)
            await connected(facade, room)
            await other.connect(**{**room.settings("alice"), "register": False})
            await bob.connect(**room.settings("bob"))
            callers: list[Any] = []
            with alice.events("incoming-call:incomingCall") as incoming:
                for who in (other, bob):
                    tasks.start_soon(who.call, "alice", STREAM)
                    callers.append((await anext(incoming)).payload)
            log = Log()
            await facade.answer_to_incoming_call(media_stream=STREAM, call=callers[1].call, **callbacks(log))
            assert log[0] == ("before", "bob")
            with pytest.raises(ConnectorError, match="a call already"):
                await facade.answer_to_incoming_call(media_stream=STREAM)
            assert alice.remote_caller_data == callers[0] and alice.is_call_active

            async def hang_up(_: str) -> None:
                await alice.hang_up()

            second = Log()
            told = {**callbacks(second), "on_before_progress_call": hang_up}
            await facade.answer_to_incoming_call(media_stream=STREAM, **told)
            assert log[-1] == "ended" and second == [("success", False), "finish"]
            await room.until(lambda: other.is_call_active)
            await alice.hang_up()
            await room.until(lambda: second[-1] == "ended")

    play(name, scenario)


async def send_room(who: SipConnector, room: str) -> None:
    call = who.require_call()
    headers = (("x-webrtc-enter-room", room),)
    await who.run(
        lambda n: SendInfo(
            command=n, call=call.ident, content_type="application/vinteo.webrtc.roomname", body=b"", headers=headers
        )
    )


@runtimes
def test_a_connection_that_is_given_up_is_no_error(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as alice, runtime.task_group() as tasks:
            facade, results = SipConnectorFacade(alice), Log()
            asked = runtime.event()

            async def never() -> Any:
                asked.set()
                await runtime.event().wait()

            async def connect() -> None:
                results.append((await facade.connect_to_server(never)).is_successful)

            tasks.start_soon(connect)
            await asked.wait()
            assert (await facade.disconnect_from_server()).is_successful
            await room.until(lambda: results)
            assert results == [False]
            settings = {**room.address, "name": "alice", "password": "wrong", "is_registered_user": True}
            for is_disconnect_on_fail in (False, True):
                with pytest.raises(ConnectorError):
                    await facade.connect_to_server(**settings, is_disconnect_on_fail=is_disconnect_on_fail)
            assert not facade.is_configured()

    play(name, scenario)


@pytest.mark.parametrize("name", RUNTIMES[:1])
def test_what_is_heard_and_said_by_the_facade(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime, presentation=Verdict.ALLOW) as (room, alice):
            facade, log = SipConnectorFacade(alice), Log()
            ends: list[Callable[[], None]] = [
                facade.on_use_license(log.append),
                facade.on_must_stop_presentation(lambda _: log.append("must stop")),
                facade.on_move_to_spectators(lambda _: log.append("spectator")),
                facade.on_move_to_participants(lambda _: log.append("participant")),
            ]
            await facade.start_presentation(media_stream=SCREEN, max_bitrate=4_000_000, content_hint="detail")
            await facade.update_presentation(media_stream=SCREEN, max_bitrate=6_000_000)
            room.operate("stop-presentation", "p1")
            room.operate("spectator", "p1")
            room.operate("participant", "p1")
            await room.until(lambda: log[-1:] == ["participant"])
            assert log == ["must stop", "spectator", "participant"]
            for end in ends:
                end()
            assert alice._emitter.handlers == 0
            await facade.stop_share_sip_connector()
            await facade.send_media_state(is_enabled_cam=True, is_enabled_mic=True)
            await facade.ask_permission_to_enable_cam()
            await facade.replace_media_stream(STREAM)
            streams = Log()
            debounced = facade.resolve_handle_ready_remote_streams_debounced(on_ready_remote_streams=streams.append)
            for _ in range(3):
                debounced()
            tracks = facade.resolve_handle_ready_remote_streams(on_ready_remote_streams=lambda: log.append("ready"))
            for kind in ("audio", "video"):
                tracks(RemoteTrack(call="c", mid="1", kind=kind, stream="s"))
            assert log[-1] == "ready" and log.count("ready") == 1
            await room.until(lambda: streams)
            assert streams == [facade.get_remote_streams()]
            await facade.hang_up()
            quiet: list[Callable[[], Awaitable[None]]] = [
                facade.send_refusal_to_turn_on_mic,
                facade.send_refusal_to_turn_on_cam,
                facade.stop_share_sip_connector,
            ]
            for command in quiet:
                await command()  # not possible any more, and no error
            with pytest.raises(ConnectorError):
                await facade.replace_media_stream(STREAM)

    play(name, scenario)
