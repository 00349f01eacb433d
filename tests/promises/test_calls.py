"""What is promised of calls: made and answered, their callbacks, digits, streams, and every way to end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sipproto.agent import AgentConfig, Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import ApplyMedia, OpenMedia
from sipproto.conference import ConferenceMessage, EnterRoom, write_info
from sipproto.connector import BusyPolicy, ConnectorConfig
from sipproto.connector.events import IceRestarted
from sipproto.media.remote_streams import RemoteStream
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import open_connector
from sipproto_client import Call, ConnectorError, Endpoint, SipConnector, SipConnectorFacade, tools
from sipproto_devices import MediaSetup, Tone
from tests.promises.rig import (
    AUDIO_VIDEO,
    CAMERA,
    REALM,
    Log,
    Refusing,
    Wire,
    answering,
    application,
    connectors,
    enter,
    in_conference,
    peer,
    until,
    venue,
)

ALICE = f"sip:alice@{REALM}"


def callbacks(told: list[str]) -> dict[str, Any]:
    """Every callback of a call, each of which writes down that it was called, and with what."""

    def note(name: str) -> Callable[..., None]:
        def called(*given: object, **named: object) -> None:
            words = [*map(str, given), *(f"{key}={value}" for key, value in named.items())]
            told.append(" ".join([name, *words]))

        return called

    names = (
        "on_before_progress_call",
        "on_success_progress_call",
        "on_enter_purgatory",
        "on_enter_conference",
        "on_fail_progress_call",
        "on_finish_progress_call",
        "on_ended_call",
    )
    return {name: note(name.removeprefix("on_")) for name in names}


async def say(endpoint: Endpoint, call: Call, message: ConferenceMessage) -> None:
    info = write_info(message)
    await endpoint.run(
        lambda n: i.SendInfo(command=n, call=call.ident, content_type=info.content_type, body=b"", headers=info.headers)
    )


# -- the course of a call ----------------------------------------------------------------------------------------------


def test_a_call_by_way_of_the_purgatory() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            told: list[str] = []
            headers = tools.get_extra_headers(is_muted_audio=False, is_muted_video=True, session_id="s1")
            call = await SipConnectorFacade(alice).call_to_server(
                conference="800", media_stream=CAMERA, extra_headers=headers, **callbacks(told)
            )
            assert call is alice.connection
            await until(lambda: "enter_purgatory" in told)
            assert alice.room is not None and tools.has_purgatory(alice.room.name)
            participant = place.participant("alice")
            assert (participant.mic, participant.cam) == (True, False)
            place.operate("admit", participant.participant)
            await until(lambda: "enter_conference is_success_progress_call=True" in told)
            place.operate("kick", participant.participant)
            await until(lambda: "ended_call" in told)
            told.remove("enter_purgatory")  # the server may say so before or after the rest of the call's beginning
            before, success, *rest = told
            assert before == "before_progress_call 800" and success.startswith("success_progress_call is_purgatory=")
            assert rest == ["finish_progress_call", "enter_conference is_success_progress_call=True", "ended_call"]

    application(scenario)


def test_a_call_that_fails() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            told: list[str] = []
            log = Log(alice, "call:failed", "call:ended", "call:ended:fromserver")
            with pytest.raises(ConnectorError) as error:
                await SipConnectorFacade(alice).call_to_server(
                    conference="nobody", media_stream=CAMERA, **callbacks(told)
                )
            assert (error.value.code, error.value.status, error.value.url) == ("NOT_FOUND", 404, "nobody")
            assert tools.get_type_from_error(error.value) == "NOT_FOUND_ERROR"
            assert told == ["before_progress_call nobody", "fail_progress_call", "finish_progress_call"]
            assert log.names == ["call:failed", "call:ended:fromserver"]
            await SipConnectorFacade(alice).call_to_server(conference="800", media_stream=CAMERA)

    application(scenario)


def test_an_answered_call_by_way_of_the_purgatory() -> None:
    """The original never notices the purgatory of calls that it answers. Tokens and names keep their letters."""

    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,), peer(place, "bob") as bob:
            told: list[str] = []
            facade = SipConnectorFacade(alice)

            async def answer(_: object) -> None:
                await facade.answer_to_incoming_call(media_stream=CAMERA, **callbacks(told))

            facade.on("incoming-call:incomingCall", answer)
            log = Log(alice, "api:enterRoom", "api:conference:participant-token-issued")
            call = await bob.call(ALICE, AUDIO_VIDEO)
            await until(lambda: "finish_progress_call" in told)
            await say(bob, call, EnterRoom(room="purgatory", participant_name="Alice"))
            await until(lambda: "enter_purgatory" in told)
            token = "eyJhbGciOi.AbC-dEf_9.XyZ"
            await say(bob, call, EnterRoom(room="Board Room A", participant_name="Алиса", bearer_token=token))
            await until(lambda: alice.room is not None and alice.room.token == token)
            assert alice.room is not None and (alice.room.name, alice.room.participant_name) == (
                "Board Room A",
                "Алиса",
            )
            await call.hang_up()
            await until(lambda: "ended_call" in told)
            assert told == [
                "before_progress_call bob",
                "success_progress_call is_purgatory=False",
                "finish_progress_call",
                "enter_purgatory",
                "enter_conference is_success_progress_call=True",
                "ended_call",
            ]
            assert log.payloads[-1].room == "Board Room A"

    application(scenario)


def test_async_callbacks_are_waited_for_and_their_errors_are_their_own() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            order: list[str] = []

            async def before(number: str) -> None:
                await anyio.sleep(0.05)
                order.append(f"asked for {number}, call {alice.requested_call}")

            def fails(**_: object) -> None:
                raise RuntimeError("a bug of the application")

            await SipConnectorFacade(alice).call_to_server(
                conference="800",
                media_stream=CAMERA,
                on_before_progress_call=before,
                on_success_progress_call=fails,
                on_finish_progress_call=lambda: order.append("finished"),
            )
            assert order == ["asked for 800, call False", "finished"] and alice.is_call_active

    application(scenario)


# -- callers -----------------------------------------------------------------------------------------------------------


async def outcome(one: SipConnector, found: list[str]) -> None:
    try:
        await one.call("alice", CAMERA)
        found.append("answered")
    except ConnectorError as error:
        found.append(f"{error.code} {error.status}")


def test_several_callers() -> None:
    """Nobody is forgotten when another one calls; each is answered or declined by name."""

    async def scenario() -> None:
        names = ("incomingCall", "declinedIncomingCall", "terminatedIncomingCall", "failedIncomingCall")
        async with (
            venue() as place,
            connectors(place, "alice", "bob", "carol") as (alice, bob, carol),
            anyio.create_task_group() as tasks,
        ):
            log = Log(alice, *(f"incoming-call:{name}" for name in names))
            found: dict[str, list[str]] = {"bob": [], "carol": []}
            await bob.set(display_name="Bob the Builder")
            tasks.start_soon(outcome, bob, found["bob"])
            await until(lambda: alice.is_available_incoming_call)
            tasks.start_soon(outcome, carol, found["carol"])
            await until(lambda: len(log.names) == 2)
            first, second = log.payloads
            assert (first.display_name, first.incoming_number, first.host) == ("Bob the Builder", "bob", REALM)
            assert second.incoming_number == "carol" and alice.remote_caller_data == first
            await SipConnectorFacade(alice).answer_to_incoming_call(media_stream=CAMERA, call=second.call)
            await until(lambda: found["carol"] == ["answered"])
            assert alice.is_available_incoming_call, "bob still rings"
            await alice.incoming_call_manager.busy_incoming_call()
            await until(lambda: found["bob"] == ["BUSY 486"])
            assert alice.is_call_active and not alice.is_available_incoming_call

            log.names.clear()
            tasks.start_soon(outcome, bob, found["bob"])
            await until(lambda: alice.is_available_incoming_call)
            await SipConnectorFacade(alice).decline_to_incoming_call(status_code=603)
            await until(lambda: found["bob"][1:] == ["REFUSED 603"])
            assert log.names == [f"incoming-call:{name}" for name in names[:3]]

            log.names.clear()
            with anyio.CancelScope() as scope:

                async def give_up() -> None:
                    await until(lambda: alice.is_available_incoming_call)
                    scope.cancel()

                tasks.start_soon(give_up)
                await bob.call("alice", CAMERA)
            await until(lambda: log.names == ["incoming-call:incomingCall", "incoming-call:failedIncomingCall"])
            assert alice.is_call_active
            with pytest.raises(ConnectorError) as nobody:
                await SipConnectorFacade(alice).answer_to_incoming_call(media_stream=CAMERA)
            assert nobody.value.code == "NOT_POSSIBLE"

    application(scenario)


def test_who_is_busy_may_refuse_by_policy() -> None:
    async def scenario() -> None:
        config = ConnectorConfig(busy=BusyPolicy.REFUSE)
        async with venue() as place, connectors(place, "alice", "bob", config=config) as (alice, bob):
            await alice.call("800", CAMERA)
            found: list[str] = []
            await outcome(bob, found)
            assert found == ["BUSY 486"] and alice.is_call_active

    application(scenario)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_hanging_up_in_every_phase() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice", "bob") as (alice, bob):
            await bob.hang_up()  # fine without a call
            log = Log(bob, "call:failed", "call:ended", "call:ended:fromserver")
            found: list[str] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(outcome, bob, found)
                await until(lambda: alice.is_available_incoming_call)
                assert bob.requested_call and bob.connection is not None and bob.get_established_call() is None
                await bob.hang_up()
            assert found == ["CANCELED None"] and log.names == ["call:failed"]
            await until(lambda: not alice.is_available_incoming_call)
            log.names.clear()
            await enter(bob)
            assert bob.is_call_active
            place.operate("kick", "@800")
            await until(lambda: not bob.is_call_active)
            assert log.names == ["call:ended", "call:ended:fromserver"]
            await enter(bob)
            await bob.disconnect()  # ends the call, too
            await until(lambda: not place.server.core.participants)
            assert log.names[2:] == ["call:ended"]

    application(scenario)


# -- digits ------------------------------------------------------------------------------------------------------------


def test_digits() -> None:
    """A digit is sent when it was answered, one after the other; the other side hears each."""

    async def scenario() -> None:
        wire = Wire()
        async with (
            venue() as place,
            connectors(place, "alice") as (alice,),
            open_connector(media=FakeMediaEngine(seed=7), trace=wire.file) as bob,
            anyio.create_task_group() as tasks,
        ):
            await bob.connect(**place.account("bob"))
            heard: list[str] = []
            alice.on("call:newDTMF", lambda digit: heard.append(digit.digit))
            alice.on("incoming-call:incomingCall", lambda _: alice.answer_to_incoming_call(CAMERA))
            await bob.call("alice", CAMERA)
            facade = SipConnectorFacade(bob)
            await facade.send_dtmf("5")
            assert [answer.status for answer in wire.got("INFO")] == [200], "it was answered when that returned"
            assert b"Signal=5" in wire.sent("INFO")[0].body
            assert wire.sent("INFO")[0].headers.first("Content-Type") == "application/dtmf-relay"
            tasks.start_soon(lambda: facade.send_dtmf("12", gap=0.0))
            await facade.send_dtmf("34", gap=0.0)
            await until(lambda: len(heard) == 5)
            assert sorted(heard[1:]) == ["1", "2", "3", "4"] and heard.index("1") < heard.index("2")
            with pytest.raises(ConnectorError) as wrong:
                await facade.send_dtmf("x")
            assert wrong.value.code == "NOT_POSSIBLE"

            heard.clear()
            asked: list[None] = []

            def is_free() -> bool:
                asked.append(None)
                return len(asked) != 2

            result = await tools.send_dtmf_accumulated(
                accumulated_keys="7#9", send_key=lambda key: facade.send_dtmf(key, gap=0.0), can_run_task=is_free
            )
            assert (result.is_successful, result.is_error, len(result.success), len(result.errors)) == (
                False,
                True,
                2,
                1,
            )
            assert heard == ["7", "9"]
            await bob.hang_up()
            with pytest.raises(ConnectorError):
                await facade.send_dtmf("1")

    application(scenario)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_remote_streams_with_and_without_debounce() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            facade = SipConnectorFacade(alice)
            assert facade.get_remote_streams() is None
            told: list[tuple[float, tuple[RemoteStream, ...]]] = []
            debounced: list[tuple[RemoteStream, ...]] = []
            ready: list[str] = []
            later = facade.resolve_handle_ready_remote_streams_debounced(on_ready_remote_streams=debounced.append)
            at_once = facade.resolve_handle_ready_remote_streams(on_ready_remote_streams=lambda: ready.append("video"))
            tracks = Log(alice, "call:peerconnection:ontrack")
            facade.on("call:peerconnection:ontrack", later)
            facade.on("call:peerconnection:ontrack", at_once)
            began = anyio.current_time()
            await facade.call_to_server(
                conference="800",
                media_stream=CAMERA,
                set_remote_streams=lambda streams: told.append((anyio.current_time(), streams)),
            )
            assert [track.kind for track in tracks.payloads] == ["audio", "video"]
            assert ready == ["video"] and not told and not debounced
            await until(lambda: told and debounced)
            assert told[0][0] - began > 0.19 and len(told) == len(debounced) == 1
            (stream,) = facade.get_remote_streams() or ()
            assert told[0][1] == debounced[0] == (stream,) and stream.audio and stream.video

    application(scenario)


def test_the_peer_is_asked_only_when_kinds_of_media_come_or_go() -> None:
    async def scenario() -> None:
        wire, engine, codecs = Wire(), FakeMediaEngine(seed=2), ["video/VP9"]
        async with (
            venue() as place,
            open_connector(media=engine, trace=wire.file, preferred_mime_types_video_codecs=codecs) as alice,
        ):
            await alice.connect(**place.account("alice"))
            speech = MediaSetup(audio=Tone(440.0))
            call = await alice.call("800", speech, direction_video="inactive")
            facade = SipConnectorFacade(alice)
            assert wire.agreed == 1 and [line.kind for line in call.lines] == ["audio"]
            await facade.replace_media_stream(MediaSetup(audio=Tone(600.0)))
            assert wire.agreed == 1 and engine.call(call.ident).prepared[-1] == MediaSetup(audio=Tone(600.0))
            await facade.replace_media_stream(CAMERA)
            assert wire.agreed == 2
            assert [line.direction.sends for line in call.lines] == [True, True]
            assert call.lines[1].codec == "video/VP9", "the codecs of the connector"
            await facade.replace_media_stream(speech)
            assert wire.agreed == 3 and not call.lines[1].direction.sends
            await facade.replace_media_stream(speech, force_renegotiation=True)
            assert wire.agreed == 4

            await alice.hang_up()
            with pytest.raises(ConnectorError) as without:
                await facade.replace_media_stream(CAMERA)
            assert without.value.code == "NOT_POSSIBLE"

    application(scenario)


def test_a_stream_that_the_peer_refuses_changes_nothing() -> None:
    async def scenario() -> None:
        speech, engine, refusing = MediaSetup(audio=Tone(440.0)), FakeMediaEngine(seed=2), Refusing()
        async with venue() as place, open_connector(media=engine) as alice, answering(place, "bob", refusing):
            await alice.connect(**place.account("alice"))
            call = await alice.call("bob", speech, direction_video="inactive")
            refusing.refuses = True
            with pytest.raises(ConnectorError) as error:
                await SipConnectorFacade(alice).replace_media_stream(CAMERA)
            assert error.value.code == "BAD_MEDIA" and alice.is_call_active
            assert engine.call(call.ident).prepared[-1] == speech, "that of before is sent on"
            assert [line.kind for line in call.lines] == ["audio"]
            refusing.refuses = False
            await SipConnectorFacade(alice).replace_media_stream(CAMERA)
            assert [line.direction.sends for line in call.lines] == [True, True]

    application(scenario)


def test_directions_that_are_asked_for() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            call = await alice.call("800", CAMERA, direction_audio="recvonly", offer_to_receive_video=False)
            assert [(line.kind, line.direction.value) for line in call.lines] == [
                ("audio", "recvonly"),
                ("video", "sendonly"),
            ]
            with pytest.raises(ConnectorError):
                await alice.call("800", CAMERA)  # there is a call already
            assert alice.is_call_active

    application(scenario)


# -- ICE ---------------------------------------------------------------------------------------------------------------


def test_ice_restart_on_the_wire() -> None:
    """By re-INVITE or UPDATE, with headers; refused it is False and the call goes on; several at once are one."""

    async def scenario() -> None:
        wire, server_media = Wire(), FakeMediaEngine(seed=1)
        async with (
            venue(server_media) as place,
            open_connector(media=FakeMediaEngine(seed=2), trace=wire.file) as alice,
            anyio.create_task_group() as tasks,
        ):
            await alice.connect(**place.account("alice"))
            with pytest.raises(ConnectorError) as without:
                await alice.call_manager.restart_ice()
            assert without.value.code == "NOT_POSSIBLE"
            await enter(alice)
            offers = {"offer_to_receive_audio": True, "offer_to_receive_video": True}
            assert await alice.call_manager.restart_ice(
                use_update=True, extra_headers=["X-Restart-Reason: Connection-Reset"], rtc_offer_constraints=offers
            )
            (update,) = wire.sent("UPDATE")
            assert update.headers.first("X-Restart-Reason") == "Connection-Reset"
            assert password_of(update.body) != password_of(wire.sent("INVITE")[-1].body)
            assert await alice.call_manager.restart_ice()
            assert wire.agreed == 2

            results: list[bool] = []

            async def restart() -> None:
                results.append(await alice.restart_ice())

            for _ in range(3):
                tasks.start_soon(restart)
            await until(lambda: results == [True] * 3)
            assert wire.agreed == 3

            server_media.fail(OpenMedia, "no", always=True)
            server_media.fail(ApplyMedia, "no", always=True)
            assert await alice.call_manager.restart_ice() is False
            assert alice.is_call_active
            server_media.heal()
            assert await alice.ping() and await alice.call_manager.restart_ice()

    application(scenario)


def password_of(body: bytes) -> bytes:
    return next(line for line in body.splitlines() if line.startswith(b"a=ice-pwd:"))


def test_ice_restart_of_the_server() -> None:
    async def scenario() -> None:
        async with in_conference("alice") as (place, (alice,)):
            log = Log(alice, "api:restart")
            found: list[object] = []
            alice.endpoint.on_event(found.append)
            place.operate("restart", "@800")
            await until(lambda: any(isinstance(event, IceRestarted) for event in found))
            (event,) = [event for event in found if isinstance(event, IceRestarted)]
            assert event.done and event.automatic
            restart = log.payload("api:restart")
            assert (restart.tracks_direction.value, restart.audio_track_count, restart.video_track_count) == (
                "SENDRECV",
                1,
                1,
            )

    application(scenario)


# -- what a server may do to an INFO -----------------------------------------------------------------------------------


def answer_to(info: o.InfoReceived, status: int) -> Callable[[int], i.AnswerInfo]:
    return lambda n: i.AnswerInfo(command=n, call=info.call, info=info.info, status=status)


@pytest.mark.parametrize(
    ("status", "code"),
    [(603, "REFUSED"), (403, "REFUSED"), (480, "UNAVAILABLE"), (486, "BUSY"), (500, "FAILED"), (None, "TIMEOUT")],
)
def test_every_refusal_of_the_camera_is_an_error_and_none_ends_the_call(status: int | None, code: str) -> None:
    async def scenario() -> None:
        agent = AgentConfig(
            aor="sip:anonymous@anonymous.invalid",
            capabilities=FakeMediaEngine().capabilities,
            waits=Waits(info=0.2),
        )
        async with (
            venue() as place,
            connectors(place, "alice", agent=agent) as (alice,),
            peer(place, "bob", answer_infos=True) as bob,
            anyio.create_task_group() as tasks,
        ):

            async def answer_infos() -> None:
                with bob.events() as events:
                    async for event in events:
                        if isinstance(event, o.IncomingCall) and (call := bob.call_of(event.call)) is not None:
                            tasks.start_soon(call.answer, AUDIO_VIDEO)
                        if isinstance(event, o.InfoReceived) and status is not None:
                            bob.tell(answer_to(event, status))

            tasks.start_soon(answer_infos)
            await anyio.lowlevel.checkpoint()
            await alice.call("bob", CAMERA)
            with pytest.raises(ConnectorError) as error:
                await SipConnectorFacade(alice).ask_permission_to_enable_cam()
            assert (error.value.code, error.value.status) == (code, status)
            assert alice.is_call_active and await alice.ping()
            tasks.cancel_scope.cancel()

    application(scenario)
