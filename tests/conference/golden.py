"""Each message beside its text on the wire, written by hand: what reading and writing are measured against."""

from __future__ import annotations

from sipproto.conference import (
    AccountChanged,
    AccountDeleted,
    AddedToModerators,
    AskToEnableCam,
    AvailableIncomingBitrate,
    Channels,
    ChannelsNotified,
    ConferenceMessage,
    Device,
    EnterRoom,
    License,
    MainCam,
    MainCamControl,
    MediaState,
    Mic,
    MicControl,
    MovedToWebcast,
    ParticipantState,
    ParticipantTokenIssued,
    ParticipationAccepted,
    ParticipationRejected,
    RefusalToTurnOn,
    RemovedFromModerators,
    Restart,
    Role,
    Share,
    ShareState,
    SpectatorMode,
    TracksDirection,
    UseLicense,
    WebcastStarted,
    WebcastStopped,
)

Row = tuple[ConferenceMessage, str]

HEADERS: list[Row] = [
    (EnterRoom(room="12345"), "roomname\nx-webrtc-enter-room: 12345"),
    (
        EnterRoom(room="purgatory", participant_name="Ivan Petrov"),
        "roomname\nx-webrtc-enter-room: purgatory\nX-WEBRTC-PARTICIPANT-NAME: Ivan Petrov",
    ),
    (
        EnterRoom(
            room="Room-A",
            participant_name='Иван "Ваня" Петров',
            channels=Channels(input="100,1", output="2,3"),
            bearer_token="eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
        ),
        (
            'roomname\nx-webrtc-enter-room: Room-A\nX-WEBRTC-PARTICIPANT-NAME: Иван "Ваня" Петров\n'
            "X-WEBRTC-INPUT-CHANNELS: 100,1\nX-WEBRTC-OUTPUT-CHANNELS: 2,3\nx-bearer-token: eyJhbGciOiJIUzI1NiJ9.e30.c2ln"
        ),
    ),
    (
        EnterRoom(room="p2pAlicetobob", participant_name="bob", direct_peer_to_peer=True),
        "roomname\nx-webrtc-enter-room: p2pAlicetobob\nX-WEBRTC-PARTICIPANT-NAME: bob\nx-webrtc-is-direct-p2p: true",
    ),
    (EnterRoom(room="1", direct_peer_to_peer=False), "roomname\nx-webrtc-enter-room: 1\nx-webrtc-is-direct-p2p: false"),
    (
        Channels(input="100,1", output="Ab"),
        "channels\nX-WEBRTC-INPUT-CHANNELS: 100,1\nX-WEBRTC-OUTPUT-CHANNELS: Ab",
    ),
    (UseLicense(license=License.AUDIO), "uselic\nX-WEBRTC-USE-LICENSE: AUDIO"),
    (UseLicense(license=License.VIDEO), "uselic\nX-WEBRTC-USE-LICENSE: VIDEO"),
    (UseLicense(license=License.AUDIO_PLUS_PRESENTATION), "uselic\nX-WEBRTC-USE-LICENSE: AUDIOPLUSPRESENTATION"),
    (MainCamControl(command=MainCam.PAUSE), "maincam\nX-WEBRTC-MAINCAM: PAUSEMAINCAM"),
    (MainCamControl(command=MainCam.PAUSE, forced=True), "maincam\nX-WEBRTC-MAINCAM: PAUSEMAINCAM\nX-WEBRTC-SYNC: 1"),
    (MainCamControl(command=MainCam.RESUME), "maincam\nX-WEBRTC-MAINCAM: RESUMEMAINCAM"),
    (
        MainCamControl(command=MainCam.RESUME, resolution="640x480", forced=False),
        "maincam\nX-WEBRTC-MAINCAM: RESUMEMAINCAM\nX-WEBRTC-MAINCAM-RESOLUTION: 640x480\nX-WEBRTC-SYNC: 0",
    ),
    (
        MainCamControl(command=MainCam.MAX_RESOLUTION, resolution="1280x720"),
        "maincam\nX-WEBRTC-MAINCAM: MAXMAINCAMRESOLUTION\nX-WEBRTC-MAINCAM-RESOLUTION: 1280x720",
    ),
    (MainCamControl(resolution="320x240"), "maincam\nX-WEBRTC-MAINCAM-RESOLUTION: 320x240"),
    (
        MainCamControl(command=MainCam.ADMIN_STOP, forced=True),
        "maincam\nX-WEBRTC-MAINCAM: ADMINSTOPMAINCAM\nX-WEBRTC-SYNC: 1",
    ),
    (
        MainCamControl(command=MainCam.ADMIN_START, forced=False),
        "maincam\nX-WEBRTC-MAINCAM: ADMINSTARTMAINCAM\nX-WEBRTC-SYNC: 0",
    ),
    (AskToEnableCam(), "maincam\nX-WEBRTC-REQUEST-ENABLE-MEDIA-DEVICE: LETMESTARTMAINCAM"),
    (MicControl(command=Mic.ADMIN_STOP, forced=True), "mic\nX-WEBRTC-MIC: ADMINSTOPMIC\nX-WEBRTC-SYNC: 1"),
    (MicControl(command=Mic.ADMIN_START), "mic\nX-WEBRTC-MIC: ADMINSTARTMIC\nX-WEBRTC-SYNC: 0"),
    (ParticipantState(role=Role.PARTICIPANT), "partstate\nX-WEBRTC-PARTSTATE: PARTICIPANT"),
    (ParticipantState(role=Role.SPECTATOR), "partstate\nX-WEBRTC-PARTSTATE: SPECTATOR"),
    (ParticipantState(role=Role.SPECTATOR_OVER_SFU), "partstate\nX-WEBRTC-PARTSTATE: SPECTATOROVERSFU"),
    *(
        (
            ParticipantState(role=Role.SPECTATOR, audio_id="AbC-4", mode=mode),
            f"partstate\nX-WEBRTC-PARTSTATE: SPECTATOR\nx-webrtc-audioid: AbC-4\nx-webrtc-spectator-mode: {number}",
        )
        for mode, number in ((SpectatorMode.MANUAL, 0), (SpectatorMode.BY_CAMERA, 1), (SpectatorMode.FORCED, 2))
    ),
    (ShareState(state=Share.AVAILABLE), "sharedesktop\nx-webrtc-share-state: YOUCANRECEIVECONTENT"),
    (
        ShareState(state=Share.AVAILABLE, codec="H264"),
        "sharedesktop\nx-webrtc-share-state: YOUCANRECEIVECONTENT\nx-webrtc-share-codec: H264",
    ),
    (ShareState(state=Share.ENDED), "sharedesktop\nx-webrtc-share-state: CONTENTEND"),
    (ShareState(state=Share.MUST_STOP), "sharedesktop\nx-webrtc-share-state: YOUMUSTSTOPSENDCONTENT"),
    (ShareState(state=Share.LET_ME_START), "sharedesktop\nx-webrtc-share-state: LETMESTARTPRESENTATION"),
    (ShareState(state=Share.STOPPED), "sharedesktop\nx-webrtc-share-state: STOPPRESENTATION"),
    (Restart(), "restart"),
    *(
        (
            Restart(tracks_direction=direction, audio_track_count=1, video_track_count=0),
            f"restart\nX-WEBRTC-TRACKS-DIRECTION: {word}\nX-WEBRTC-AUDIO-TRACK-COUNT: 1\nX-WEBRTC-VIDEO-TRACK-COUNT: 0",
        )
        for direction, word in (
            (TracksDirection.SENDRECV, "SENDRECV"),
            (TracksDirection.SENDONLY, "SENDONLY"),
            (TracksDirection.RECVONLY, "RECVONLY"),
        )
    ),
    (
        MediaState(cam=True, mic=False),
        "mediastate\nX-WEBRTC-MEDIA-STATE: currentstate\nX-Vinteo-MainCam-State: 1\nX-Vinteo-Mic-State: 0",
    ),
    (
        MediaState(cam=False, mic=True),
        "mediastate\nX-WEBRTC-MEDIA-STATE: currentstate\nX-Vinteo-MainCam-State: 0\nX-Vinteo-Mic-State: 1",
    ),
    (RefusalToTurnOn(device=Device.MIC), "refusal\nX-Vinteo-Media-Type: 0"),
    (RefusalToTurnOn(device=Device.CAM), "refusal\nX-Vinteo-Media-Type: 1"),
    (AvailableIncomingBitrate(bitrate=1_000_000), "stats\nX-WEBRTC-AVAILABLE-INCOMING-BITRATE: 1000000"),
    (AvailableIncomingBitrate(bitrate=0), "stats\nX-WEBRTC-AVAILABLE-INCOMING-BITRATE: 0"),
]

NOTIFICATIONS: list[Row] = [
    (message, f"notify\nX-VINTEO-NOTIFY: {json}")
    for message, json in (
        (ChannelsNotified(input="100,1", output="2"), '{"cmd":"channels","input":"100,1","output":"2"}'),
        (AddedToModerators(conference="12345"), '{"cmd":"addedToListModerators","conference":"12345"}'),
        (RemovedFromModerators(conference="Room"), '{"cmd":"removedFromListModerators","conference":"Room"}'),
        (ParticipationAccepted(conference="1"), '{"cmd":"ParticipationRequestAccepted","body":{"conference":"1"}}'),
        (ParticipationRejected(conference="1"), '{"cmd":"ParticipationRequestRejected","body":{"conference":"1"}}'),
        (MovedToWebcast(conference="1"), '{"cmd":"ParticipantMovedToWebcast","body":{"conference":"1"}}'),
        (
            WebcastStarted(conference="1", type="hls"),
            '{"cmd":"WebcastStarted","body":{"conference":"1","type":"hls"}}',
        ),
        (
            WebcastStopped(conference="Зал", type="hls"),
            '{"cmd":"WebcastStopped","body":{"conference":"\\u0417\\u0430\\u043b","type":"hls"}}',
        ),
        (AccountChanged(), '{"cmd":"accountChanged"}'),
        (AccountDeleted(), '{"cmd":"accountDeleted"}'),
        (
            ParticipantTokenIssued(conference="12345", participant="SIP/1001", jwt="eyJh.e30.c2ln"),
            (
                '{"cmd":"ConferenceParticipantTokenIssued",'
                '"body":{"conference":"12345","participant":"SIP/1001","jwt":"eyJh.e30.c2ln"}}'
            ),
        ),
    )
]


def content_type(text: str) -> str:
    return f"application/vinteo.webrtc.{text.partition(chr(10))[0]}"


def headers(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (line.partition(": ") for line in text.split("\n")[1:])
    return tuple((name, value) for name, _, value in pairs)
