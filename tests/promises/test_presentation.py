"""What is promised of presentations, as far as it is said and not seen; what is seen is in test_media.py."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from sipproto.conference import Share, ShareState, write_info
from sipproto.connector import ConnectorConfig
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import open_connector
from sipproto_client import ConnectorError, SipConnectorFacade, tools
from sipproto_server import PermissionDecided, PermissionWanted, Verdict
from tests.promises.rig import (
    CAMERA,
    SCREEN,
    Log,
    Refusing,
    Wire,
    answering,
    application,
    connectors,
    enter,
    in_conference,
    until,
    venue,
)

STEPS = ("start", "started", "updating", "updated", "end", "ended", "failed")
PRESENTATION = [f"presentation:{step}" for step in STEPS]


def test_start_update_and_stop() -> None:
    """The one who presents, the one who sees it, and what is done of the options."""

    async def scenario() -> None:
        async with in_conference("alice", "bob") as (place, (alice, bob)):
            facade, log = SipConnectorFacade(alice), Log(alice, *PRESENTATION)
            seen = Log(bob, "api:availableSecondRemoteStream", "api:notAvailableSecondRemoteStream")
            streams = Log(bob, "call:remote-streams-changed")
            effective = await facade.start_presentation(
                media_stream=SCREEN,
                is_p2p=False,
                content_hint="text",
                max_bitrate=4_000_000,
                degradation_preference="maintain-resolution",
                send_encodings=[{"width": 640, "height": 360}],
            )
            (encoding,) = effective.encodings
            assert (encoding.max_bitrate, encoding.scale_resolution_down_by) == (4_000_000, 2.0)
            assert (effective.content_hint.value, effective.degradation_preference.value) == (
                "text",
                "maintain-resolution",
            )
            await until(lambda: len(bob.get_remote_streams() or ()) == 2)
            await until(lambda: seen.names == ["api:availableSecondRemoteStream"])
            await until(
                lambda: streams.payloads and streams.payloads[-1].contented == (bob.get_remote_streams() or ())[1]
            )
            assert seen.payloads[0].codec == "VP8"
            assert place.server.core.rooms[1].presenter == place.participant("alice").participant

            effective = await facade.update_presentation(media_stream=CAMERA, max_bitrate=6_000_000)
            assert effective.encodings[0].max_bitrate == 6_000_000 and effective.content_hint.value == "detail"
            await facade.stop_share_sip_connector()
            await until(lambda: seen.names[1:] == ["api:notAvailableSecondRemoteStream"])
            await until(lambda: streams.payloads[-1].contented is None and streams.payloads[-1].main is not None)
            assert log.names == PRESENTATION[:6] and place.server.core.rooms[1].presenter is None
            await facade.stop_share_sip_connector()  # fine without one
            await facade.start_presentation(media_stream=SCREEN)  # on the line of before
            call = alice.connection
            assert call is not None and [line.kind for line in call.lines] == ["audio", "video", "video"]
            assert log.names == [*PRESENTATION[:6], *PRESENTATION[:2]]

    application(scenario)


def test_no_bit_rate_given_is_a_million() -> None:
    async def scenario() -> None:
        async with in_conference("alice") as (_, (alice,)):
            effective = await alice.start_presentation(SCREEN)
            assert [encoding.max_bitrate for encoding in effective.encodings] == [1_000_000]

    application(scenario)


def test_a_refusal_is_told_as_one() -> None:
    """With as many attempts as are wanted; the last one counts, and the call goes on."""

    async def scenario() -> None:
        wire, config = Wire(), ConnectorConfig(presentation_pause=0.05)
        async with (
            venue(presentation=Verdict.DENY) as place,
            open_connector(media=FakeMediaEngine(seed=2), config=config, trace=wire.file) as alice,
            anyio.create_task_group() as tasks,
        ):
            await alice.connect(**place.account("alice"))
            await enter(alice)
            facade, log = SipConnectorFacade(alice), Log(alice, *PRESENTATION)
            with pytest.raises(ConnectorError) as error:
                await facade.start_presentation(media_stream=SCREEN, call_limit=3)
            assert (error.value.code, error.value.status) == ("REFUSED", 603)
            assert not tools.has_canceled_start_presentation_error(error.value)
            assert len(place.of(PermissionDecided)) == 3
            assert log.names == ["presentation:start", "presentation:failed"] and log.payloads[-1].status == 603
            assert alice.is_call_active and wire.agreed == 1, "nothing was offered"

            async def relent() -> None:
                await until(lambda: len(place.of(PermissionDecided)) == 5)
                place.operate("presentation-policy", "allow")

            tasks.start_soon(relent)
            await facade.start_presentation(media_stream=SCREEN, call_limit=100)
            assert log.names[-1] == "presentation:started"

    application(scenario)


def test_the_operator_is_asked_and_who_is_tired_of_waiting_stops() -> None:
    async def scenario() -> None:
        async with (
            in_conference("alice", presentation=Verdict.ASK) as (place, (alice,)),
            anyio.create_task_group() as tasks,
        ):
            facade, errors = SipConnectorFacade(alice), list[ConnectorError]()

            async def start() -> None:
                try:
                    await facade.start_presentation(media_stream=SCREEN)
                except ConnectorError as error:
                    errors.append(error)

            tasks.start_soon(start)
            await until(lambda: place.of(PermissionWanted))
            tasks.start_soon(facade.stop_share_sip_connector)
            await anyio.lowlevel.checkpoint()
            place.operate("allow", "@800")
            await until(lambda: errors)
            assert tools.has_canceled_start_presentation_error(errors[0])
            await until(lambda: place.server.core.rooms[1].presenter is None)
            tasks.start_soon(start)
            await until(lambda: len(place.of(PermissionWanted)) == 2)
            place.operate("allow", "@800")
            await until(lambda: place.server.core.rooms[1].presenter)
            assert len(errors) == 1

    application(scenario)


def test_one_at_a_time() -> None:
    async def scenario() -> None:
        async with in_conference("alice", "bob") as (_, (alice, bob)):
            with pytest.raises(ConnectorError) as none:
                await SipConnectorFacade(alice).update_presentation(media_stream=SCREEN)
            assert none.value.code == "NOT_POSSIBLE"
            await alice.start_presentation(SCREEN)
            with pytest.raises(ConnectorError) as second:
                await alice.start_presentation(CAMERA)
            assert second.value.code == "NOT_POSSIBLE"
            with pytest.raises(ConnectorError) as rival:
                await bob.start_presentation(SCREEN)
            assert (rival.value.code, rival.value.status) == ("REFUSED", 603)
            await alice.stop_presentation()
            await bob.start_presentation(SCREEN)

    application(scenario)


@pytest.mark.parametrize("words", ["stop-presentation @800", "spectator @800"])
def test_the_server_ends_it(words: str) -> None:
    """The application hears of it, and need not do anything."""

    async def scenario() -> None:
        async with in_conference("alice") as (place, (alice,)):
            facade = SipConnectorFacade(alice)
            log = Log(alice, *PRESENTATION, "stopped-presentation-by-server-command")
            must_stop: list[object] = []
            facade.on_must_stop_presentation(must_stop.append)
            await facade.start_presentation(media_stream=SCREEN)
            name, *values = words.split()
            place.operate(name, *values)
            await until(lambda: "stopped-presentation-by-server-command" in log.names)
            assert log.names[2:] == ["presentation:end", "presentation:ended", log.names[-1]]
            assert len(must_stop) == (name == "stop-presentation")
            await facade.stop_share_sip_connector()  # as the README does in its handler
            assert alice.is_call_active and "presentation:failed" not in log.names

    application(scenario)


@pytest.mark.parametrize("is_p2p", [False, True])
def test_a_peer_that_refuses_the_offer_keeps_the_call(is_p2p: bool) -> None:
    async def scenario() -> None:
        refusing, wire = Refusing(), Wire()
        async with (
            venue() as place,
            open_connector(media=FakeMediaEngine(seed=2), trace=wire.file) as alice,
            answering(place, "bob", refusing),
        ):
            await alice.connect(**place.account("alice"))
            call = await alice.call("bob", CAMERA)
            refusing.refuses = True
            with pytest.raises(ConnectorError) as error:
                await alice.start_presentation(SCREEN, is_p2p=is_p2p)
            assert (error.value.code, error.value.status) == ("BAD_MEDIA", 488)
            assert alice.is_call_active and len(call.lines) == 2
            goodbye = write_info(ShareState(state=Share.ENDED if is_p2p else Share.STOPPED))
            last = wire.sent("INFO")[-1]
            assert {name: last.headers.first(name) for name, _ in goodbye.headers} == dict(goodbye.headers)
            refusing.refuses = False
            await alice.start_presentation(SCREEN, is_p2p=is_p2p)
            assert [line.direction.sends for line in call.lines] == [True, True, True]

    application(scenario)


def test_in_a_call_of_two() -> None:
    """The peer is another client: it is told, and told of the end."""

    async def scenario() -> None:
        async with venue() as place, connectors(place, "alice", "bob") as (alice, bob):
            bob.on("incoming-call:incomingCall", lambda _: bob.answer_to_incoming_call(CAMERA))
            await alice.call("bob", CAMERA)
            names = ("mustStopPresentation", "availableSecondRemoteStream", "notAvailableSecondRemoteStream")
            log = Log(bob, *(f"api:{name}" for name in names))
            facade = SipConnectorFacade(alice)
            await facade.start_presentation(media_stream=SCREEN, is_p2p=True)
            await until(lambda: len(bob.get_remote_streams() or ()) == 2)
            await facade.stop_share_sip_connector(is_p2p=True)
            await until(lambda: log.names == [f"api:{name}" for name in names])
            await until(lambda: len(bob.get_remote_streams() or ()) == 1)

    application(scenario)
