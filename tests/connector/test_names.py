"""Named events: the catalogue is closed and complete, and each typed event is told under the names of the original."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sipproto import conference as k
from sipproto.agent import outputs as o
from sipproto.agent import stats as s
from sipproto.agent.media import LineStats, MediaReport, MediaState
from sipproto.agent.outputs import Cause, Originator
from sipproto.connector import events as e
from sipproto.connector.names import ALIASES, CATALOGUE, NAMES, NEVER, OURS, UnknownEventName, canonical_name
from sipproto.connector.naming import (
    ChannelIds,
    EventNaming,
    MainCamControlled,
    MoveToSpectators,
    SyncForced,
    incoming_caller,
)
from sipproto.connector.streams import wanted_media
from sipproto.errors import LocalProtocolError
from sipproto.media.remote_streams import RemoteStream
from sipproto.media.sample import stats_sample
from sipproto.media.stream_health import StreamProblem
from sipproto.media.video_balancer import ParametersNotUpdated
from sipproto.sdp import Direction

# Every name of the original: version 16, then what later versions call the same or have beside it.
ORIGINAL = {
    "connection": "connecting connected disconnected newRTCSession registered unregistered registrationFailed newMessage "
    "sipEvent | disconnecting connect-started connect-parameters-resolve-success connect-parameters-resolve-failed "
    "connect-succeeded connect-failed connected-with-configuration",
    "call": "peerconnection connecting sending progress accepted confirmed ended failed newInfo newDTMF reinvite update "
    "refer replaces sdp icecandidate getusermediafailed peerconnection:createofferfailed "
    "peerconnection:createanswerfailed peerconnection:setlocaldescriptionfailed "
    "peerconnection:setremotedescriptionfailed hold unhold muted unmuted presentation:start presentation:started "
    "presentation:end presentation:ended presentation:failed peerconnection:confirmed peerconnection:ontrack "
    "ended:fromserver | start-call end-call call-status-changed remote-tracks-changed remote-streams-changed "
    "recv-session-started recv-session-ended recv-quality-changed",
    "api": "enterRoom channels channels:notify shareState availableSecondRemoteStream notAvailableSecondRemoteStream "
    "mustStopPresentation main-cam-control useLicense admin-start-main-cam admin-stop-main-cam admin-start-mic "
    "admin-stop-mic admin-force-sync-media-state participant:move-request-to-spectators "
    "participant:move-request-to-participants participant:move-request-to-spectators-over-sfu "
    "participant:added-to-list-moderators participant:removed-from-list-moderators participant:move-request-to-stream "
    "participation:accepting-word-request participation:cancelling-word-request webcast:started webcast:stopped "
    "account:changed account:deleted conference:participant-token-issued newDTMF restart | enter-room channels:all "
    "contented-stream:available contented-stream:not-available presentation:must-stop use-license "
    "admin:start-main-cam admin:stop-main-cam admin:start-mic admin:stop-mic admin:force-sync-media-state "
    "participant:move-request-to-spectators-synthetic participant:move-request-to-spectators-with-audio-id new-dtmf "
    "failed-send-room-direct-p2p",
    "incoming-call": "incomingCall declinedIncomingCall terminatedIncomingCall failedIncomingCall | ringing",
    "presentation": "presentation:start presentation:started presentation:end presentation:ended presentation:failed | "
    "start started updating updated end ended failed stopped",
    "stats": "collected | stopped",
    "video-balancer": "balancing-scheduled balancing-started balancing-stopped parameters-updated",
    "main-stream-health": "| health-snapshot inbound-video-problem-detected inbound-video-problem-resolved "
    "inbound-video-problem-reset",
    "auto-connect": "| before-attempt success failed-all-attempts cancelled-attempts changed-attempt-status "
    "stop-attempts-by-error limit-reached-attempts telephony-check-failure telephony-check-escalated",
    "call-reconnect": "| armed disarmed failure-detected attempt-scheduled attempt-started attempt-succeeded "
    "attempt-failed waiting-signaling limit-reached cancelled status-changed termination-classified terminal",
    "session": "| snapshot-changed",
}
ALONE = {
    "disconnected-from-out-of-call",
    "connected-with-configuration-from-out-of-call",
    "stopped-presentation-by-server-command",
}


def test_the_catalogue_is_that_of_the_original() -> None:
    listed = {f"{prefix}:{name}" for prefix, names in ORIGINAL.items() for name in names.split() if name != "|"}
    assert listed | ALONE | OURS == CATALOGUE and not (listed | ALONE) & OURS
    assert not NAMES & NEVER.keys() and not NAMES & ALIASES.keys() and not ALIASES.keys() & NEVER.keys()
    assert set(ALIASES.values()) <= NAMES
    assert all(NEVER.values())


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("call:acepted", "call:accepted"), ("api:enterroom", "api:enterRoom"), ("presentation:begun", None)],
)
def test_a_name_that_is_none_says_what_is_meant(wrong: str, nearest: str | None) -> None:
    with pytest.raises(UnknownEventName) as error:
        canonical_name(wrong)
    assert isinstance(error.value, LocalProtocolError)
    if nearest is not None:
        assert error.value.nearest == nearest and nearest in str(error.value)


@given(st.text(max_size=40))
def test_any_text_is_a_name_of_the_catalogue_or_an_error(text: str) -> None:
    if text in CATALOGUE:
        assert canonical_name(text) in NAMES | NEVER.keys()
    else:
        with pytest.raises(UnknownEventName) as error:
            canonical_name(text)
        assert "\n" not in str(error.value)


def told(naming: EventNaming, event: object) -> list[tuple[str, object]]:
    return [(named.name, named.payload) for named in naming.name(event)]


def names(naming: EventNaming, *events: object) -> list[str]:
    return [named.name for event in events for named in naming.name(event)]


def said(message: k.ConferenceMessage) -> list[tuple[str, object]]:
    return told(EventNaming(), e.MessageFromServer(call="c", message=message))


FORCED, ASKED = SyncForced(is_sync_forced=True), SyncForced(is_sync_forced=False)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            k.EnterRoom(room="r", channels=k.Channels(input="1", output="2")),
            [("api:enterRoom", None), ("api:channels", ChannelIds(input_channels="1", output_channels="2"))],
        ),
        (
            k.MainCamControl(command=k.MainCam.ADMIN_START, forced=True, resolution="1x1"),
            [("api:admin-start-main-cam", FORCED)],
        ),
        (k.MainCamControl(command=k.MainCam.ADMIN_STOP), [("api:admin-stop-main-cam", ASKED)]),
        (
            k.MainCamControl(command=k.MainCam.RESUME, forced=False),
            [
                ("api:admin-force-sync-media-state", ASKED),
                ("api:main-cam-control", MainCamControlled(main_cam=k.MainCam.RESUME, resolution_main_cam=None)),
            ],
        ),
        (
            k.MainCamControl(command=k.MainCam.PAUSE),
            [("api:main-cam-control", MainCamControlled(main_cam=k.MainCam.PAUSE, resolution_main_cam=None))],
        ),
        (
            k.MainCamControl(command=k.MainCam.MAX_RESOLUTION, forced=True, resolution="640x360"),
            [
                (
                    "api:main-cam-control",
                    MainCamControlled(main_cam=k.MainCam.MAX_RESOLUTION, resolution_main_cam="640x360"),
                )
            ],
        ),
        (k.MicControl(command=k.Mic.ADMIN_STOP, forced=True), [("api:admin-stop-mic", FORCED)]),
        (
            k.ParticipantState(role=k.Role.SPECTATOR, audio_id="4", mode=k.SpectatorMode.BY_CAMERA),
            [
                (
                    f"api:participant:move-request-to-spectators{suffix}",
                    MoveToSpectators(is_available_sending_media=True, is_synthetic=False, audio_id="4"),
                )
                for suffix in ("", "-with-audio-id")
            ],
        ),
        (k.ParticipantState(role=k.Role.PARTICIPANT), [("api:participant:move-request-to-participants", None)]),
        (k.ShareState(state=k.Share.MUST_STOP), [("api:mustStopPresentation", None)]),
        (k.ShareState(state=k.Share.STOPPED), []),
        (k.UseLicense(license=k.License.AUDIO), [("api:useLicense", k.License.AUDIO)]),
        (k.WebcastStarted(conference="1", type="hls"), [("api:webcast:started", None)]),
        (k.AccountDeleted(), [("api:account:deleted", None)]),
    ],
)
def test_what_the_server_says_by_its_names(message: k.ConferenceMessage, expected: list[tuple[str, object]]) -> None:
    assert [name for name, _ in said(message)] == [name for name, _ in expected]
    for (_, payload), (_, wanted) in zip(said(message), expected, strict=True):
        assert payload == (wanted if wanted is not None or payload is None else message)


def test_every_message_of_a_server_has_a_name() -> None:
    from sipproto.connector.naming import _MESSAGES

    from_clients = {k.MediaState, k.RefusalToTurnOn, k.AskToEnableCam, k.AvailableIncomingBitrate}
    assert set(k.ConferenceMessage.__args__) == _MESSAGES.keys() | from_clients


def streams(*those: RemoteStream) -> e.RemoteStreamsChanged:
    return e.RemoteStreamsChanged(call="c", streams=those)


def ended(call: str, originator: Originator = Originator.LOCAL) -> o.CallEnded:
    return o.CallEnded(call=call, cause=Cause.TERMINATED, originator=originator)


def status(call: str, what: e.CallStatus) -> e.CallStatusChanged:
    return e.CallStatusChanged(call=call, status=what)


def test_a_call_by_its_names() -> None:
    naming = EventNaming()
    assert names(naming, status("c", e.CallStatus.CONNECTING), o.CallStarted(call="c", target="sip:x@y")) == [
        *("connection:newRTCSession", "call:start-call", "call:peerconnection", "call:connecting", "call:sending")
    ]
    assert names(naming, streams()) == []
    tracks = ("call:peerconnection:ontrack", "call:remote-tracks-changed")
    assert names(naming, streams(RemoteStream(id="m", audio="0"))) == [*tracks, "call:remote-streams-changed"]
    both = streams(RemoteStream(id="m", audio="0", video="1"), RemoteStream(id="p", video="2"))
    assert names(naming, both) == [*tracks, *tracks, "call:remote-streams-changed"]
    assert names(naming, evolve(both, contented=both.streams[1])) == ["call:remote-streams-changed"]
    assert names(naming, o.CallEstablished(call="c", originator=Originator.REMOTE)) == [
        *("call:accepted", "call:confirmed", "call:peerconnection:confirmed", "call:call-status-changed")
    ]
    assert names(naming, streams()) == [*["call:remote-tracks-changed"] * 3, "call:remote-streams-changed"]
    assert names(naming, ended("other"), o.CallHeld(call="other", originator=Originator.REMOTE)) == []
    assert names(naming, ended("c", Originator.REMOTE), status("c", e.CallStatus.IDLE)) == [
        *("call:ended", "call:ended:fromserver", "call:call-status-changed")
    ]


def test_a_call_that_comes_to_nothing_fails_once() -> None:
    naming = EventNaming()
    naming.name(status("c", e.CallStatus.CONNECTING))
    assert names(naming, ended("c"), status("c", e.CallStatus.IDLE)) == ["call:failed"]
    naming.name(status("c", e.CallStatus.CONNECTING))
    assert names(naming, status("c", e.CallStatus.IDLE)) == ["call:failed"]


def rings(call: str, from_uri: str = "sip:bob@example.com") -> o.IncomingCall:
    return o.IncomingCall(
        call=call,
        from_uri=from_uri,
        display_name="Bob",
        to_uri="sip:alice@example.com",
        audio=True,
        video=False,
        offer=b"",
        headers=(),
    )


def test_callers_by_their_names() -> None:
    naming = EventNaming()
    assert names(naming, rings("a"), rings("b")) == ["connection:newRTCSession", "incoming-call:incomingCall"] * 2
    caller = naming.caller
    assert caller is not None and (caller.call, caller.incoming_number, caller.host) == ("a", "bob", "example.com")
    gone = e.CallerGone(call="a", declined=True, originator=Originator.LOCAL, cause=Cause.REJECTED)
    assert told(naming, gone) == [
        ("incoming-call:declinedIncomingCall", caller),
        ("incoming-call:terminatedIncomingCall", caller),
    ]
    assert naming.caller is not None and naming.caller.call == "b"
    assert "connection:newRTCSession" not in names(naming, status("b", e.CallStatus.CONNECTING))
    assert naming.caller is None  # answered
    naming.name(rings("d"))
    gone = e.CallerGone(call="d", declined=False, originator=Originator.REMOTE, cause=Cause.CANCELED)
    assert names(naming, gone) == ["incoming-call:failedIncomingCall"]
    assert incoming_caller(rings("x", "tel:+1")).incoming_number == ""


def test_connections_and_presentations_by_their_names() -> None:
    naming = EventNaming()
    lost = o.ConnectionChanged(state=o.ConnectionState.RECONNECTING, error="gone")
    down = o.ConnectionChanged(state=o.ConnectionState.DISCONNECTED)
    assert names(naming, lost, down) == [
        *("connection:disconnected", "connection:disconnected", "disconnected-from-out-of-call")
    ]
    naming.name(status("c", e.CallStatus.CONNECTING))
    assert names(naming, down) == ["connection:disconnected"]
    over = e.PresentationChanged(call="c", step=e.PresentationStep.ENDED, by_server=True)
    assert names(naming, over) == ["presentation:ended", "stopped-presentation-by-server-command"]
    for step in e.PresentationStep:
        assert names(naming, e.PresentationChanged(call="c", step=step))[0] in NAMES


@given(
    audio=st.booleans(),
    video=st.booleans(),
    directions=st.tuples(*[st.sampled_from([None, *(one.value for one in Direction)])] * 2),
    receives=st.tuples(st.booleans(), st.booleans()),
)
def test_lines_of_a_call_never_send_what_there_is_not(
    audio: bool, video: bool, directions: tuple[str | None, str | None], receives: tuple[bool, bool]
) -> None:
    try:
        media = dict(
            wanted_media(
                audio=audio,
                video=video,
                direction_audio=directions[0],
                direction_video=directions[1],
                offer_to_receive_audio=receives[0],
                offer_to_receive_video=receives[1],
            )
        )
    except LocalProtocolError:
        media = {}
    for kind, has, given_direction, receive in zip(
        ("audio", "video"), (audio, video), directions, receives, strict=True
    ):
        wish = None if given_direction is None else Direction(given_direction)
        direction = media.get(kind, Direction.INACTIVE)
        assert direction.sends == (has and (wish is None or wish.sends))
        assert direction.receives == (receive if wish is None else wish.receives)


def test_a_direction_that_is_none() -> None:
    with pytest.raises(LocalProtocolError):
        wanted_media(audio=True, video=True, direction_audio="up")


def test_statistics_in_the_shape_of_the_original() -> None:
    codec = s.CodecStats(id="C", timestamp=1.0, payload_type=96, mime_type="video/VP8", clock_rate=90000)
    remote = s.RemoteInboundRtpStats(id="R", timestamp=1.0, ssrc=1, kind="video", fraction_lost=0.25)
    out = s.OutboundRtpStats(id="O", timestamp=1.0, ssrc=1, kind="video", mid="1", codec_id="C", remote_id="R")
    into = s.InboundRtpStats(id="I", timestamp=1.0, ssrc=2, kind="video", mid="2", codec_id="C")
    report = MediaReport(
        state=MediaState.CONNECTED,
        lines=(
            LineStats(mid="0", kind="audio", direction="sendrecv"),
            LineStats(mid="1", kind="video", direction="sendonly"),
            LineStats(mid="2", kind="video", direction="recvonly"),
        ),
        stats=(codec, remote, out, into),
    )
    sample = stats_sample(report)
    assert sample.outbound.video.outbound_rtp is out and sample.outbound.video.codec is codec
    assert sample.outbound.packets_lost == 0.25
    assert sample.inbound.second_video.inbound_rtp is into and sample.inbound.video.inbound_rtp is None
    assert sample.inbound.additional.candidate_pair is None
    assert stats_sample(MediaReport(state=MediaState.CONNECTED)).outbound.packets_lost is None


def test_what_only_we_tell_and_the_health_of_the_main_video() -> None:
    naming = EventNaming()
    refused = ParametersNotUpdated(error="the line is closed", retry_in=1.0)
    assert told(naming, refused) == [("video-balancer:parameters-not-updated", refused)]
    naming.name(e.CallStatusChanged(call="ours", status=e.CallStatus.CONNECTING))
    for call, name in (("ours", ["call:ice-restarted"]), ("other", [])):
        assert names(naming, e.IceRestarted(call=call, done=False, automatic=True, detail="488")) == name
    for step in e.ProblemStep:
        problem = e.MainVideoProblem(call="ours", problem=StreamProblem.STALLED, step=step)
        assert told(naming, problem) == [(f"main-stream-health:inbound-video-problem-{step.value}", problem)]
