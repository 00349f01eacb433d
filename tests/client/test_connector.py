"""The conference client at a conference server, over a WebSocket, on every runtime."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from sipproto.agent.media import ApplyMedia, MediaReport, SetSenderParameters
from sipproto.agent.parameters import ContentHint, DegradationPreference, Encoding
from sipproto.conference import License, Restart, Role
from sipproto.connector import AutoConnect, ConnectionParameters, ConnectorConfig
from sipproto.connector.events import CallStatus, ConnectionStatus, IceRestarted
from sipproto.connector.naming import IncomingCaller, SyncForced
from sipproto.media.resolution import Resolution
from sipproto.media.sample import StatsSample
from sipproto.media.video_balancer import ParametersUpdated
from sipproto.testing import FakeMediaEngine
from sipproto_client import ConnectorError, EndpointClosed, StatsPeerConnection
from sipproto_client.port import Runtime, Stream
from sipproto_devices import MediaSetup, TestPattern, Tone
from sipproto_server import Verdict
from tests.client.conference import SCREEN, STREAM, Conference, conference, connector, joined, until
from tests.client.rig import REALM, RUNTIMES, play, raw_server, url

runtimes = pytest.mark.parametrize("name", RUNTIMES)


@runtimes
def test_connect_call_and_leave(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as alice:
            assert not alice.is_configured() and alice.connection_state is ConnectionStatus.IDLE
            seen: list[str] = []
            alice.on_race(
                [
                    "connection:connected",
                    "connection:registered",
                    "connection:connect-succeeded",
                    "call:sending",
                    "call:accepted",
                    "call:confirmed",
                    "api:enter-room",
                    "call:ended",
                    "call:failed",
                    "connection:disconnected",
                ],
                lambda _, event: seen.append(event),
            )
            configuration = await alice.connect(**room.settings("alice"))
            assert configuration == alice.get_connection_configuration()
            assert configuration.authorization_user == "alice" and alice.is_registered and alice.is_register_config
            with alice.events("api:enterRoom") as entered:
                call = await alice.call("800", STREAM, extra_headers=["X-Vinteo-Mic-State: 1"])
                assert alice.is_call_active and alice.connection is call is alice.get_established_call()
                event = await anext(entered)
            assert event.payload.room == "800" and alice.room is not None and alice.room.name == "800"  # type: ignore[attr-defined]
            assert alice.call_status is CallStatus.IN_ROOM
            (stream,) = alice.get_remote_streams() or ()
            assert stream.audio == call.line("audio") and stream.video == call.line("video")
            await alice.hang_up()
            assert not alice.is_call_active and alice.get_remote_streams() is None
            await alice.disconnect()
            assert alice.connection_state is ConnectionStatus.DISCONNECTED and not alice.is_configured()
            assert seen == [
                "connection:connected",
                "connection:registered",
                "connection:connect-succeeded",
                "call:sending",
                "call:accepted",
                "call:confirmed",
                "api:enter-room",
                "call:ended",
                "connection:disconnected",
            ]

    play(name, scenario)


@runtimes
def test_what_the_server_has_against_a_connection(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as alice:
            settings = room.settings("alice")
            with pytest.raises(ConnectorError) as wrong:
                await alice.connect(**{**settings, "password": "not-mine"})
            assert wrong.value.code == "WRONG_USER_OR_PASSWORD"
            assert alice.connection_state is ConnectionStatus.DISCONNECTED
            with pytest.raises(ConnectorError) as nowhere:
                await alice.connect(**{**settings, "sip_web_socket_server_url": url(9), "attempts": 1})
            assert nowhere.value.code == "CONNECTION_FAILED" and nowhere.value.url == url(9)
            with pytest.raises(ConnectorError) as missing:
                await alice.connect(**{**settings, "sip_server_url": " "})
            assert missing.value.code == "NOT_POSSIBLE"
            with pytest.raises(ConnectorError) as early:
                await alice.call("800", STREAM)
            assert early.value.code == "NOT_POSSIBLE"
            for error in (wrong.value, nowhere.value):
                assert "not-mine" not in f"{error!r} {error} {error.__cause__!r} {vars(error)}"
            await alice.connect(**settings)  # all of that is forgotten
            with pytest.raises(ConnectorError) as nobody:
                await alice.call("nobody", STREAM)
            assert (nobody.value.code, nobody.value.status) == ("NOT_FOUND", 404)
            assert alice.connection is None

    play(name, scenario)


@runtimes
def test_the_newest_connection_counts_and_parameters_are_asked_for(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with conference(runtime) as room, connector(runtime) as alice, runtime.task_group() as tasks:
            outcomes: dict[str, object] = {}
            asked = runtime.event()

            async def forever() -> ConnectionParameters:
                asked.set()
                try:
                    await runtime.event().wait()
                finally:
                    outcomes["forever"] = "cancelled"
                raise AssertionError

            async def known() -> ConnectionParameters:
                return ConnectionParameters(**room.settings("alice"))

            async def broken() -> ConnectionParameters:
                raise LookupError("secret")

            async def first() -> None:
                try:
                    await alice.connect(forever)
                except ConnectorError as error:
                    outcomes["first"] = error.code

            tasks.start_soon(first)
            await asked.wait()
            assert alice.is_pending_init_ua and alice.requested_connection
            assert (await alice.connect(known)).authorization_user == "alice"
            await room.until(lambda: len(outcomes) == 2)
            assert outcomes == {"forever": "cancelled", "first": "SUPERSEDED"}
            with pytest.raises(LookupError):
                await alice.connect(broken)
            assert not alice.is_registered

    play(name, scenario)


@runtimes
def test_auto_connect(name: str) -> None:
    """Stopped while nobody is there, and then until somebody is."""

    async def scenario(runtime: Runtime) -> None:
        async with connector(runtime) as alice:
            told: list[str] = []
            alice.on_race(
                ["auto-connect:before-attempt", "auto-connect:success"], lambda _, name: told.append(name[13:])
            )
            quick = AutoConnect(first_delay=0.05, max_delay=0.1)
            nobody: dict[str, Any] = {"sip_server_url": REALM, "sip_web_socket_server_url": url(1)}
            failures: list[ConnectorError] = []

            async def start() -> None:
                try:
                    await alice.start_auto_connect(auto=quick, **nobody)
                except ConnectorError as error:
                    failures.append(error)

            async with runtime.task_group() as tasks:
                tasks.start_soon(start)
                await until(runtime, lambda: told.count("before-attempt") >= 3)
                await alice.stop_auto_connect()
            assert failures[0].code == "CANCELED" and "success" not in told
            async with conference(runtime) as room:
                configuration = await alice.start_auto_connect(**room.settings("alice"))
                assert configuration.authorization_user == "alice" and told[-2:] == ["before-attempt", "success"]
                with pytest.raises(ConnectorError) as wrong:
                    await alice.start_auto_connect(**{**room.settings("alice"), "password": "wrong"})
                assert wrong.value.code == "WRONG_USER_OR_PASSWORD"

    play(name, scenario)


@runtimes
def test_no_picture_is_larger_than_the_connector_allows(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine(seed=2)
        config = ConnectorConfig(max_resolution=Resolution(640, 360), balancing_start_delay=None)
        large = MediaSetup(audio=Tone(440), video=TestPattern(width=1280, height=720))
        async with conference(runtime) as room, connector(runtime, media=media, config=config) as alice:
            await alice.connect(**room.settings("alice"))
            call = await alice.call("800", large)
            assert media.call(call.ident).parameters[1].encodings == (Encoding(scale_resolution_down_by=2.0),)
            await alice.replace_media_stream(large, send_encodings=[Encoding(scale_resolution_down_by=4.0)])
            assert media.call(call.ident).parameters[1].encodings == (Encoding(scale_resolution_down_by=4.0),)
            effective = await alice.start_presentation(MediaSetup(video=TestPattern(width=1920, height=1080)))
            assert effective.encodings[0].scale_resolution_down_by == 3.0

    play(name, scenario)


@runtimes
def test_options_with_a_body_and_headers(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime) as (_, alice), connector(runtime, seed=3) as bob:
            assert 200 <= await alice.send_options(f"sip:{REALM}", "who is there?", extra_headers=["X-Mine: 1"]) < 300
            assert await alice.ping(body="héllo", extra_headers=[("X-Mine", "2")]) >= 200
            with pytest.raises(ConnectorError):
                await alice.ping(extra_headers=["no header"])
            with pytest.raises(ConnectorError):
                await bob.ping()

    play(name, scenario)


@runtimes
def test_who_does_not_wait_any_more_gives_up(name: str) -> None:
    """Cancelling a connect leaves it, cancelling a call hangs up, cancelling a presentation takes it back."""

    async def scenario(runtime: Runtime) -> None:
        silent = raw_server(runtime, lambda stream: hold(runtime, stream))
        async with silent as port, connector(runtime) as alice:
            with runtime.move_on_after(0.1) as limit:
                await alice.connect(sip_server_url=REALM, sip_web_socket_server_url=url(port))
            assert limit.cancelled_caught
            await until(runtime, lambda: alice.connection_state is ConnectionStatus.DISCONNECTED)
        async with joined(runtime, presentation=Verdict.ASK) as (room, alice), connector(runtime, seed=3) as bob:
            with runtime.move_on_after(0.2) as limit:
                await alice.start_presentation(SCREEN)
            assert limit.cancelled_caught
            room.operate("allow", "p1", "presentation")
            await room.until(lambda: alice.engine.presentation.state.value == "idle")
            await room.until(lambda: not presents(room))
            await bob.connect(**room.settings("bob"))
            await alice.hang_up()
            with bob.events("incoming-call:incomingCall", "incoming-call:failedIncomingCall") as ringing:
                with runtime.move_on_after(0.3) as limit:
                    await alice.call("bob", STREAM)
                assert limit.cancelled_caught and alice.connection is None
                assert [(await anext(ringing)).name[14:20] for _ in range(2)] == ["incomi", "failed"]
            assert not bob.is_available_incoming_call

    play(name, scenario)


def presents(room: Conference) -> bool:
    return any(one.presenter is not None for one in room.server.core.rooms)


async def hold(runtime: Runtime, stream: Stream) -> None:
    while await stream.receive():
        pass


@runtimes
def test_incoming_calls(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with (
            conference(runtime) as room,
            connector(runtime) as alice,
            connector(runtime, seed=3) as bob,
            runtime.task_group() as tasks,
        ):
            for who, user in ((alice, "alice"), (bob, "bob")):
                await who.connect(**room.settings(user), display_name=user.title())
            refused: list[ConnectorError] = []
            heard: list[str] = []
            names = [f"incoming-call:{what}IncomingCall" for what in ("declined", "terminated", "failed")]
            bob.on_race([*names, "call:confirmed", "call:failed"], lambda _, event: heard.append(event))

            async def dial() -> None:
                try:
                    await alice.call("bob", STREAM)
                except ConnectorError as error:
                    refused.append(error)

            with pytest.raises(ConnectorError):
                await bob.answer_to_incoming_call(STREAM)
            with bob.events("incoming-call:incomingCall") as incoming:
                tasks.start_soon(dial)
                caller = (await anext(incoming)).payload
                assert isinstance(caller, IncomingCaller) and caller == bob.remote_caller_data
                assert (caller.incoming_number, caller.host, caller.display_name) == ("alice", REALM, "Alice")
                await bob.decline_to_incoming_call(status_code=486)
                await room.until(lambda: refused)
                assert refused[0].code == "BUSY" and not bob.is_available_incoming_call
                assert heard == names[:2]
                tasks.start_soon(dial)
                await anext(incoming)
                call = await bob.answer_to_incoming_call(STREAM)
            await room.until(lambda: alice.is_call_active)
            assert bob.connection is call and heard[2:] == ["call:confirmed"]
            await bob.hang_up()
            await alice.wait("call:ended:fromserver", 5.0) if alice.is_call_active else None

    play(name, scenario)


@runtimes
def test_a_presentation(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine(seed=2)
        async with conference(runtime) as room, connector(runtime, media=media) as alice:
            await alice.connect(**room.settings("alice"))
            with pytest.raises(ConnectorError) as early:
                await alice.start_presentation(SCREEN)
            assert early.value.code == "NOT_POSSIBLE"
            call = await alice.call("800", STREAM, content_hint="motion", max_bitrate=700_000)
            given = media.call(call.ident)
            assert given.parameters[1].encodings[0].max_bitrate == 700_000
            steps: list[str] = []
            alice.on_race(
                [f"presentation:{step}" for step in ("start", "started", "updated", "end", "ended", "failed")],
                lambda _, event: steps.append(event.removeprefix("presentation:")),
            )
            doubled: list[object] = []
            alice.on("presentation:presentation:started", doubled.append)
            effective = await alice.start_presentation(
                SCREEN,
                max_bitrate=4_000_000,
                content_hint="text",
                degradation_preference="maintain-resolution",
                send_encodings=[{"width": 640, "height": 360}],
            )
            assert effective.content_hint is ContentHint.TEXT
            assert effective.degradation_preference is DegradationPreference.MAINTAIN_RESOLUTION
            assert effective.encodings == (Encoding(max_bitrate=4_000_000, scale_resolution_down_by=2.0),)
            assert given.prepared[-1] == evolve(STREAM, further_video=(SCREEN.video,))
            assert presents(room) and len(doubled) == 1
            with pytest.raises(ConnectorError) as twice:
                await alice.start_presentation(STREAM)
            assert twice.value.detail == "Presentation is already started"
            for out_of_range in ({"call_limit": 0}, {"max_bitrate": 0}, {"send_encodings": [{"max_bitrate": -1}]}):
                with pytest.raises(ConnectorError) as wrong:
                    await alice.start_presentation(SCREEN, **out_of_range)
                assert wrong.value.code == "NOT_POSSIBLE"
            assert given.prepared[-1] == evolve(STREAM, further_video=(SCREEN.video,))
            other = evolve(SCREEN, video=TestPattern(width=1920, height=1080))
            assert (await alice.update_presentation(other, max_bitrate=6_000_000)).encodings[0].max_bitrate == 6_000_000
            assert given.prepared[-1] == evolve(STREAM, further_video=(other.video,))
            media.silent(SetSenderParameters)
            with runtime.move_on_after(0.2) as limit:
                await alice.update_presentation(SCREEN, max_bitrate=2_000_000)
            assert limit.cancelled_caught
            # What is shown and how it is sent is that of before.
            assert given.prepared[-1] == evolve(STREAM, further_video=(other.video,))
            sent = [one.parameters.encodings[0].max_bitrate for one in media.asked(SetSenderParameters, call.ident)]
            assert sent[-2:] == [2_000_000, 6_000_000]
            await alice.stop_presentation()
            assert given.prepared[-1] == STREAM and not presents(room)
            await alice.stop_presentation()
            await alice.start_presentation(SCREEN)
            with alice.events("stopped-presentation-by-server-command") as stopped:
                room.operate("stop-presentation", "p1")
                await anext(stopped)
            assert given.prepared[-1] == STREAM
            assert steps == ["start", "started", "updated", "end", "ended", "start", "started", "end", "ended"]
            await alice.hang_up()
            await alice.call("800", MediaSetup(audio=Tone(440.0)), direction_video="inactive")
            assert [line.kind for line in alice.require_call().lines] == ["audio"]
            await alice.start_presentation(SCREEN)  # whose line is the first of video then
            setup = media.call(alice.require_call().ident).prepared[-1]
            assert setup == MediaSetup(audio=Tone(440.0), video=SCREEN.video)

    play(name, scenario)


@runtimes
def test_a_presentation_in_a_call_without_video(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime) as (_, alice):
            await alice.hang_up()
            sound = MediaSetup(audio=Tone(440.0))
            await alice.call("800", sound, offer_to_receive_video=False)
            media = alice.endpoint.media_method("call")
            call = alice.require_call()
            given = media(call.ident)
            await alice.start_presentation(SCREEN)
            assert given.prepared[-1] == evolve(sound, video=SCREEN.video)
            await alice.replace_media_stream(STREAM)  # a camera comes: on a line of its own
            assert given.prepared[-1] == evolve(STREAM, video=SCREEN.video, further_video=(STREAM.video,))
            assert [line.kind for line in call.lines] == ["audio", "video", "video"]
            await alice.stop_presentation()
            assert given.prepared[-1] == evolve(STREAM, video=None, further_video=(STREAM.video,))

    play(name, scenario)


@runtimes
def test_a_presentation_that_is_refused(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime, presentation=Verdict.DENY) as (_, alice):
            failed: list[object] = []
            alice.on("presentation:failed", failed.append)
            call = alice.require_call()
            before = call.lines
            with pytest.raises(ConnectorError) as refused:
                await alice.start_presentation(SCREEN, call_limit=2)
            assert refused.value.code == "REFUSED" and refused.value.status == 603
            assert len(failed) == 1 and call.lines == before and alice.is_call_active
            with pytest.raises(ConnectorError) as nothing:
                await alice.update_presentation(SCREEN)
            assert nothing.value.code == "NOT_POSSIBLE"
            with pytest.raises(ConnectorError) as blind:
                await alice.start_presentation(MediaSetup())
            assert blind.value.code == "NOT_POSSIBLE"

    play(name, scenario)


@runtimes
def test_what_is_said_in_a_conference(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime, camera=Verdict.DENY) as (room, alice):
            await alice.send_media_state(is_enabled_cam=True, is_enabled_mic=False)
            await alice.send_refusal_to_turn_on("mic")
            await alice.send_refusal_to_turn_on_cam()
            await alice.send_channels(input_channels="1", output_channels="2")
            with pytest.raises(ConnectorError) as refused:
                await alice.ask_permission_to_enable_cam()
            assert refused.value.code == "REFUSED" and alice.is_call_active
            room.operate("camera-policy", "allow")
            await alice.ask_permission_to_enable_cam()
            with pytest.raises(ConnectorError):
                await alice.send_refusal_to_turn_on("spoon")
            await alice.send_dtmf("12", gap=0.05)
            assert await alice.ping() < 700
            assert await alice.send_options(f"sip:{REALM}") == 200
            with pytest.raises(ConnectorError):
                await alice.send_options("sip:nobody@" + REALM)
            assert await alice.set(display_name="Alice") and not await alice.set(display_name="Alice")
            assert alice.get_uri("bob") == f"sip:bob@{REALM}"
            (participant,) = room.server.core.participants
            assert participant.cam is True and participant.mic is False

    play(name, scenario)


@runtimes
def test_what_a_conference_says(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime) as (room, alice):
            told = [
                (("start-mic", "p1", "forced"), "api:admin-start-mic", SyncForced(is_sync_forced=True)),
                (("stop-camera", "p1"), "api:admin-stop-main-cam", SyncForced(is_sync_forced=False)),
                (("license", "p1", "AUDIO"), "api:useLicense", License.AUDIO),
                (("participant", "p1"), "api:participant:move-request-to-participants", None),
                (("account-changed", "alice"), "api:account:changed", None),
            ]
            room.operate("spectator", "p1")
            moved = await alice.wait("api:participant:move-request-to-spectators", 5.0)
            assert moved.is_synthetic and not moved.is_available_sending_media and alice.role is Role.SPECTATOR
            for command, event, payload in told:
                with alice.events(event) as events:
                    room.operate(*command)
                    assert (await anext(events)).payload == payload, command
            with (
                alice.events("api:restart") as restarts,
                alice.endpoint.events(lambda event: isinstance(event, IceRestarted)) as done,
            ):
                room.operate("restart", "p1")
                assert isinstance((await anext(restarts)).payload, Restart)
                restarted = await anext(done)
            assert isinstance(restarted, IceRestarted) and restarted.automatic and restarted.done
            assert await alice.call_manager.restart_ice(use_update=True, extra_headers=["X-Restart-Reason: Test"])
            with pytest.raises(TimeoutError):
                await alice.wait_channels(0.05)
            with pytest.raises(TimeoutError):
                await alice.wait_sync_media_state(0.05)

    play(name, scenario)


@runtimes
def test_another_stream(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine(seed=2)
        async with conference(runtime) as room, connector(runtime, media=media) as alice:
            await alice.connect(**room.settings("alice"))
            call = await alice.call("800", MediaSetup(audio=Tone(440.0)), offer_to_receive_video=False)
            assert [line.kind for line in call.lines] == ["audio"]
            given = media.call(call.ident)
            await alice.replace_media_stream(STREAM, content_hint="motion")
            assert [line.kind for line in call.lines] == ["audio", "video"] and given.prepared[-1] == STREAM
            assert given.parameters[1].content_hint is ContentHint.MOTION
            sent = len(media.asked(ApplyMedia))
            another = MediaSetup(audio=Tone(880.0), video=STREAM.video)
            await alice.replace_media_stream(another)
            assert given.prepared[-1] == another and len(media.asked(ApplyMedia)) == sent  # the peer was not asked
            await alice.start_presentation(SCREEN)
            await alice.replace_media_stream(STREAM)
            assert given.prepared[-1] == evolve(STREAM, further_video=(SCREEN.video,))
            with pytest.raises(ConnectorError):
                await alice.restart_ice(send_encodings=[{"width": 5}])
            assert await alice.restart_ice(rtc_offer_constraints={"offer_to_receive_audio": True})

    play(name, scenario)


@runtimes
def test_telephony_is_checked_beside_the_connection(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        silent = raw_server(runtime, lambda stream: hold(runtime, stream))
        async with joined(runtime) as (room, alice), silent as port:
            seen: list[str] = []
            alice.on("connection:disconnected", seen.append)
            await alice.check_telephony(**room.address)
            await alice.check_telephony(**room.address, options=True)
            with pytest.raises(ConnectorError) as absent:
                await alice.check_telephony(sip_server_url=REALM, sip_web_socket_server_url=url(9))
            assert absent.value.code == "CONNECTION_FAILED"
            with pytest.raises(ConnectorError) as mute:
                await alice.check_telephony(sip_server_url=REALM, sip_web_socket_server_url=url(port), timeout=0.1)
            assert mute.value.code == "TIMEOUT"
            assert alice.is_call_active and not seen

    play(name, scenario)


@runtimes
def test_leaving_ends_everything_and_tells_nobody(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        heard: list[object] = []
        async with conference(runtime) as room:
            async with connector(runtime) as alice:
                await alice.connect(**room.settings("alice"))
                await alice.call("800", STREAM)
                alice.on_race(["call:ended", "connection:disconnected"], lambda _, name: heard.append(name))
                stream = alice.events("call:ended")
            assert room.server.core.registered == {} and not heard
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
            with pytest.raises(ConnectorError) as closed:
                await alice.hang_up()
            assert closed.value.code == "CLOSED"
            with pytest.raises(EndpointClosed):
                await alice.wait("call:ended")

    play(name, scenario)


@pytest.mark.parametrize("name", RUNTIMES[1:])
def test_figures_and_balancing(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        config = ConnectorConfig(statistics_interval=0.05, balancing_start_delay=None)
        async with conference(runtime) as room, connector(runtime, config) as alice:
            await alice.connect(**room.settings("alice"))
            call = await alice.call("800", STREAM)
            assert isinstance(await alice.wait("stats:collected", 5.0), StatsSample)
            assert isinstance(await alice.stats_manager.collect(), MediaReport)
            balancer = alice.video_sending_balancer_manager
            heard: list[str] = []
            alice.on_race(
                [f"video-balancer:{what}" for what in ("balancing-started", "balancing-stopped", "parameters-updated")],
                lambda _, event: heard.append(event.removeprefix("video-balancer:")),
            )
            await balancer.start_balancing()
            assert heard == ["parameters-updated", "balancing-started"]
            assert await balancer.balance() is None  # nothing is to be changed
            with alice.events("video-balancer:parameters-updated") as updated:
                room.operate("pause-camera", "p1")
                payload = (await anext(updated)).payload
            assert isinstance(payload, ParametersUpdated) and payload.parameters.encodings[0].max_bitrate == 60_000
            await balancer.stop_balancing()
            assert heard[-2:] == ["balancing-stopped", "parameters-updated"]  # the line is sent as it was before
            samples: list[object] = []
            stats = StatsPeerConnection(alice)
            end = stats.on("collected", samples.append)
            with pytest.raises(ValueError):
                stats.on("lost", samples.append)
            stats.start(call, interval=0.02)
            await room.until(lambda: len(samples) >= 2)
            stats.stop()
            end()
            assert isinstance(samples[0], StatsSample)

    play(name, scenario)
