"""What is promised of conferences: what the server says, and what it is told."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sipproto.agent import outputs as o
from sipproto.conference import Device, License, Role
from sipproto.connector.names import NAMES
from sipproto_client import ConnectorError, SipConnectorFacade, tools
from sipproto_server import PermissionWanted, Verdict
from tests.promises.rig import REALM, Log, application, connectors, enter, in_conference, until, venue

# An operator's words, the events that they cause, and fields of the payload of the first.
TOLD: list[tuple[str, list[str], dict[str, Any]]] = [
    ("license @800 AUDIOPLUSPRESENTATION", ["api:useLicense"], {"value": "AUDIOPLUSPRESENTATION"}),
    ("channels @800 1,2 3", ["api:channels:notify"], {"input_channels": "1,2", "output_channels": "3"}),
    ("add-moderator @800", ["api:participant:added-to-list-moderators"], {"conference": "800"}),
    ("remove-moderator @800", ["api:participant:removed-from-list-moderators"], {"conference": "800"}),
    ("give-word @800", ["api:participation:accepting-word-request"], {"conference": "800"}),
    ("refuse-word @800", ["api:participation:cancelling-word-request"], {"conference": "800"}),
    ("move-to-webcast @800", ["api:participant:move-request-to-stream"], {"conference": "800"}),
    ("webcast-started @800 hls", ["api:webcast:started"], {"conference": "800", "type": "hls"}),
    ("webcast-stopped @800 hls", ["api:webcast:stopped"], {"conference": "800", "type": "hls"}),
    ("account-changed alice", ["api:account:changed"], {}),
    ("account-deleted @800", ["api:account:deleted"], {}),
    ("token @800", ["api:conference:participant-token-issued"], {"conference": "800", "participant": "SIP/alice"}),
    ("start-camera @800 forced", ["api:admin-start-main-cam"], {"is_sync_forced": True}),
    ("stop-camera @800 asked", ["api:admin-stop-main-cam"], {"is_sync_forced": False}),
    ("start-mic @800 asked", ["api:admin-start-mic"], {"is_sync_forced": False}),
    ("stop-mic @800 forced", ["api:admin-stop-mic"], {"is_sync_forced": True}),
    ("max-resolution @800 640x360", ["api:main-cam-control"], {"resolution_main_cam": "640x360"}),
    ("pause-camera @800", ["api:main-cam-control"], {}),
    (
        "spectator @800",
        ["api:participant:move-request-to-spectators", "api:participant:move-request-to-spectators-synthetic"],
        {"is_synthetic": True, "audio_id": None, "is_available_sending_media": False},
    ),
    (
        "spectator @800 AuDio-Id 1",
        ["api:participant:move-request-to-spectators", "api:participant:move-request-to-spectators-with-audio-id"],
        {"is_synthetic": False, "audio_id": "AuDio-Id", "is_available_sending_media": True},
    ),
    ("participant @800", ["api:participant:move-request-to-participants"], {}),
    ("restart @800", ["api:restart"], {"audio_track_count": 1, "video_track_count": 1}),
]


def test_what_the_server_says() -> None:
    """Each command of an operator is the event that it should be, and no other."""

    async def scenario() -> None:
        async with in_conference("alice") as (place, (alice,)):
            log = Log(alice, *(name for name in NAMES if name.startswith("api:")))
            await until(lambda: alice.room is not None and alice.room.token is not None and alice.license is not None)
            await alice.ping(f"sip:{REALM}")  # nothing more of the entrance is under way
            for words, names, fields in TOLD:
                log.names.clear()
                log.payloads.clear()
                name, *values = words.split()
                place.operate(name, *values)
                await log.until(len(names), words)
                assert log.names == names, words
                payload = log.payloads[0]
                assert {field: getattr(payload, field) for field in fields} == fields, words
            assert alice.room is not None and alice.room.name == "800"

    application(scenario)


def test_entering_with_channels_licence_and_token() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            facade = SipConnectorFacade(alice)
            licences: list[License] = []
            facade.on_use_license(licences.append)
            async with anyio.create_task_group() as tasks:

                async def answer_channels() -> None:
                    channels = await facade.wait_channels()
                    await facade.send_channels(
                        input_channels=channels.input_channels, output_channels=f"{channels.output_channels},Extra"
                    )

                tasks.start_soon(answer_channels)
                await anyio.lowlevel.checkpoint()
                await enter(alice)
            known = place.participant().channels
            assert known is not None and known.output.endswith(",Extra")
            await until(lambda: licences == [License.VIDEO])
            assert alice.license is License.VIDEO
            await until(lambda: alice.room is not None and alice.room.token is not None)
            assert alice.room is not None and alice.room.token
            assert f"{alice.room.token}".encode() in b"".join(out.data for out in place.of(o.SendData))
            await alice.hang_up()
            assert alice.room is None and alice.license is None

    application(scenario)


def test_roles() -> None:
    async def scenario() -> None:
        async with in_conference("alice") as (place, (alice,)):
            facade, moved = SipConnectorFacade(alice), list[str]()
            ends = [
                facade.on_move_to_spectators(lambda _: moved.append("spectator")),
                facade.on_move_to_participants(lambda _: moved.append("participant")),
            ]
            place.operate("spectator", "@800")
            await until(lambda: moved == ["spectator"])
            assert alice.role.value == Role.SPECTATOR.value
            place.operate("participant", "@800")
            await until(lambda: moved == ["spectator", "participant"])
            assert alice.role is Role.PARTICIPANT
            for end in ends:
                end()
            place.operate("spectator", "@800")
            await until(lambda: alice.role is Role.SPECTATOR)
            assert len(moved) == 2

    application(scenario)


def test_accounts_are_told_outside_of_calls_too() -> None:
    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice") as (alice,):
            log = Log(alice, "api:account:changed", "api:account:deleted")
            place.operate("account-changed", "alice")
            place.operate("account-deleted", "alice")
            await until(lambda: log.names == ["api:account:changed", "api:account:deleted"])

    application(scenario)


def test_media_state() -> None:
    """What an administrator wants of camera and microphone, and what the server is told of them."""

    async def scenario() -> None:
        async with in_conference("alice") as (place, (alice,)):
            facade, told = SipConnectorFacade(alice), list[str]()
            sync = tools.create_sync_media_state(sip_connector=alice)
            names = [f"on_{what}_{how}" for what in ("start_main_cam", "stop_mic") for how in ("forced", "not_forced")]
            sync.start(**{name: (lambda name=name: told.append(name)) for name in names})
            place.operate("start-camera", "@800", "forced")
            place.operate("start-camera", "@800", "asked")
            place.operate("stop-mic", "@800", "forced")
            await until(lambda: len(told) == 3)
            assert told == [names[0], names[1], names[2]]
            sync.stop()
            with pytest.raises(TypeError):
                sync.start(on_start_coffee=lambda: None)

            assert place.participant().cam is None, "not told yet"
            await facade.send_media_state(is_enabled_cam=False, is_enabled_mic=True)
            assert (place.participant().cam, place.participant().mic) == (False, True)
            await facade.send_refusal_to_turn_on_cam()
            assert place.participant().refused == (Device.CAM,)
            await facade.send_refusal_to_turn_on_mic()
            await alice.hang_up()
            await facade.send_refusal_to_turn_on_mic()  # what goes wrong is logged
            with pytest.raises(ConnectorError):
                await facade.send_media_state(is_enabled_cam=True, is_enabled_mic=True)
            assert len(told) == 3

    application(scenario)


def test_permission_for_the_camera() -> None:
    """The operator decides; who does not answer has denied."""

    async def scenario() -> None:
        async with in_conference("alice", camera=Verdict.ASK, ask_timeout=0.5) as (place, (alice,)):
            facade, results = SipConnectorFacade(alice), list[str]()

            async def ask() -> None:
                try:
                    await facade.ask_permission_to_enable_cam()
                    results.append("granted")
                except ConnectorError as error:
                    results.append(f"{error.code} {error.status}")

            async with anyio.create_task_group() as tasks:
                for number, word in enumerate(("allow", "deny", None), start=1):
                    tasks.start_soon(ask)
                    await until(lambda number=number: len(place.of(PermissionWanted)) == number)  # type: ignore[misc]
                    assert len(results) == number - 1, "it waits"
                    if word is not None:
                        place.operate(word, "@800", "camera")
                    await until(lambda number=number: len(results) == number)  # type: ignore[misc]
            assert results == ["granted", "REFUSED 603", "REFUSED 603"] and alice.is_call_active
            place.operate("camera-policy", "allow")
            await facade.ask_permission_to_enable_cam()

    application(scenario)


def test_waiting_for_the_media_state_to_be_forced() -> None:
    async def scenario() -> None:
        async with in_conference("alice") as (_, (alice,)):
            with pytest.raises(TimeoutError):
                await alice.wait_sync_media_state(timeout=0.01)

    application(scenario)
