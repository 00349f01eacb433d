"""Our connector beside the recorded SDK, before a server that says what that one was told."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from attrs import evolve

from sipproto.conference import EnterRoom, License, MainCam, Restart, get_extra_headers
from sipproto.connector.naming import (
    ContentAvailable,
    IncomingCaller,
    MainCamControlled,
    MoveToSpectators,
    SyncForced,
)
from sipproto.message import Message, Request
from sipproto.testing import FakeMediaEngine
from sipproto_client import SipConnectorFacade, run_connector
from sipproto_client.port import Runtime
from tests.client.conference import STREAM
from tests.client.rig import RUNTIMES, play

from .compare import Comparison, Verdict, compare, differences, table
from .justified import FURTHER, JUSTIFIED, markdown
from .recorded import VERSIONS, recording
from .replay import replay
from .session import NOT_OURS, Session, connect, session_of

each_version = pytest.mark.parametrize("version", VERSIONS)
MOVE = "api:participant:move-request-to-"
SPECTATOR = MoveToSpectators(is_available_sending_media=False)

# The events of what the server says, beside `call:newInfo`, which every INFO is.
TOLD: dict[str, list[tuple[str, object]]] = {
    "enter room": [("api:enterRoom", EnterRoom(room="100@rig.test", participant_name="erin"))],
    "license": [("api:useLicense", License.AUDIO)],
    "spectator": [(MOVE + "spectators", SPECTATOR), (MOVE + "spectators-synthetic", SPECTATOR)],
    "participant": [(MOVE + "participants", None)],
    "camera resolution": [
        (
            "api:main-cam-control",
            MainCamControlled(main_cam=MainCam.MAX_RESOLUTION, resolution_main_cam="1280x720"),
        )
    ],
    "stop camera": [("api:admin-stop-main-cam", SyncForced(is_sync_forced=True))],
    "start microphone": [("api:admin-start-mic", SyncForced(is_sync_forced=False))],
    "content available": [("api:availableSecondRemoteStream", ContentAvailable())],
    "content ended": [("api:notAvailableSecondRemoteStream", None)],
    "notification": [],  # a command that neither the SDK nor we know
    "restart": [("api:restart", Restart(audio_track_count=1, video_track_count=1))],  # of no known direction
}
# The events of what we do, and of the answers to it.
DONE = {
    "register": [
        "connection:connect-started",
        "connection:connecting",
        "connection:connected",
        "connection:registered",
        "connection:connected-with-configuration",
        "connected-with-configuration-from-out-of-call",
        "connection:connect-succeeded",
    ],
    "options": [],
    "invite": [
        "connection:newRTCSession",
        "call:start-call",
        "call:peerconnection",
        "call:connecting",
        "call:sending",
        "call:progress",
        "call:peerconnection:ontrack",
        "call:remote-tracks-changed",
        "call:peerconnection:ontrack",
        "call:remote-tracks-changed",
        "call:remote-streams-changed",
        "call:accepted",
        "call:confirmed",
        "call:peerconnection:confirmed",
        "call:call-status-changed",
    ],
    "bye": ["call:ended", "call:call-status-changed"],
    "bye of call": ["call:ended", "call:ended:fromserver", "call:call-status-changed"],
    "unregister": [
        "connection:disconnecting",
        "connection:unregistered",
        "connection:disconnected",
        "disconnected-from-out-of-call",
    ],
}
PRESENTED = {
    "let me start presentation": ["presentation:start", "presentation:started"],
    "presentation stopped": ["presentation:end", "presentation:ended"],
}


@cache
def played(version: str, name: str = "anyio-asyncio") -> Session:
    sessions: list[Session] = []

    async def scenario(runtime: Runtime) -> None:
        sessions.append(await session_of(runtime, recording(version)))

    play(name, scenario)
    return sessions[0]


@each_version
@pytest.mark.parametrize("name", RUNTIMES)
def test_events(version: str, name: str) -> None:
    session = played(version, name)
    for step, expected in TOLD.items():
        assert session.answered[step].status == 200
        (info, _), *told = session.told[step]
        assert (info, told) == ("call:newInfo", expected), step
    presented = PRESENTED if "presentation offer" in session.recorded.names(sent=True) else {}
    for step, names in {**DONE, **presented}.items():
        # The picture that nobody sends here is a problem as soon as that was measured three times, when is of no interest.
        named = [event for event, _ in session.told[step] if not event.startswith("main-stream-health:")]
        assert named == names, step
    caller = next(payload for event, payload in session.told["call"] if event == "incoming-call:incomingCall")
    assert isinstance(caller, IncomingCaller)
    assert (caller.display_name, caller.incoming_number, caller.host) == ("bob", "bob", "rig.test")


@each_version
def test_every_step_of_the_recording_is_made(version: str) -> None:
    """In its order; and nothing else is said, but for FURTHER."""
    session, expected = played(version), []
    for name in session.recorded.names(sent=True):
        if name not in NOT_OURS:
            expected.append(name)
        expected += [again for one in FURTHER if one.after == name for again in one.names]
    assert [name for name, _ in session.server.said] == expected


def comparisons(version: str) -> dict[str, list[Comparison]]:
    """Each message of ours beside the recorded one."""
    session = played(version)
    pairs: list[tuple[str, Message, Message]] = []
    seen: set[str] = set()
    for name, request in session.server.said:
        assert name is not None
        pairs.append((f"{name} again" if name in seen else name, request, session.recorded.request(name)))
        seen.add(name)
    for frame in session.recorded.frames:
        if frame.sent and not isinstance(frame.message, Request):
            (ours,) = (
                answer
                for answer in session.server.answers
                if answer.status == frame.message.status and is_answer_to(answer, session.server.asked[frame.name])
            )
            pairs.append(
                (f"{ours.status} to {frame.name}", ours, said_to(session.server.asked[frame.name], frame.message))
            )
    return {name: compare(ours, theirs) for name, ours, theirs in pairs}


def said_to(request: Request, recorded: Message) -> Message:
    """The recorded answer with what it would have taken over from this request (RFC 3261 8.2.6.2)."""
    headers = recorded.headers
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        values = request.headers.raw(name)
        tagged = name == "To" and "tag=" in str(headers.first(name)) and "tag=" not in values[0]
        headers = headers.replace(name, *([f"{values[0]};tag=theirs"] if tagged else values))
    return evolve(recorded, headers=headers)


def is_answer_to(answer: Message, request: Request) -> bool:
    return all(answer.headers.first(name) == request.headers.first(name) for name in ("Call-ID", "CSeq"))


@each_version
def test_messages_beside_the_recorded_ones(version: str) -> None:
    found = comparisons(version)
    for one in FURTHER:
        for name in one.names:  # what it says of media is not what was said before
            found[f"{name} again"] = [c for c in found.get(f"{name} again", []) if c.what != "body"]
    assert not any(one.verdict is Verdict.DIFFERENT for row in found.values() for one in row), table(found)


def test_every_excuse_is_needed() -> None:
    used = {one.excuse for version in VERSIONS for row in comparisons(version).values() for one in row}
    assert [one for one in JUSTIFIED if one not in used] == []


def test_the_page_has_the_differences() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "conference-protocol.md"
    assert markdown() in page.read_text(), markdown()


def test_headers_of_an_application_in_the_invite() -> None:
    lines = get_extra_headers(is_muted_audio=False, is_muted_video=True, is_registered=True, session_id="s-1")
    recorded = recording("v16")

    async def scenario(runtime: Runtime) -> None:
        media = FakeMediaEngine()
        async with replay(runtime, recorded) as server, run_connector(runtime, media=media) as connector:
            session = Session(runtime=runtime, server=server, media=media, facade=SipConnectorFacade(connector))
            await connect(session)
            await session.facade.call_to_server(conference="bob", media_stream=STREAM, extra_headers=lines)
            request = await server.expect("invite with password")
            found = differences(request, recorded.request("invite with password"))
            other = {one.what: one.ours for one in found}
            assert other == {name.lower(): value for name, value in lines}
            await session.facade.disconnect_from_server()

    play("anyio-asyncio", scenario)
