"""Messages of each kind that a conference server says, ready for a test: values, to be used as they are or by `attrs.evolve`.

`CANNED` has all of them by name; what they look like on the wire is what `sipproto.conference.write_info` makes of them.
"""

from __future__ import annotations

from sipproto import conference as s
from sipproto.conference import ConferenceMessage

ROOM = "Room-7"

ENTER_ROOM = s.EnterRoom(room=ROOM, participant_name="Alice Liddell")
ENTER_ROOM_WITH_TOKEN = s.EnterRoom(
    room=ROOM,
    participant_name="Alice Liddell",
    channels=s.Channels(input="100,1", output="2"),
    bearer_token="canned-room-token",  # noqa: S106
)
ENTER_PURGATORY = s.EnterRoom(room=s.PURGATORY, participant_name="Alice Liddell")
ENTER_PEER_TO_PEER = s.EnterRoom(room=s.peer_to_peer_room("alice", "bob"), participant_name="Alice Liddell")
CHANNELS = s.ChannelsNotified(input="100,1", output="2")

LICENSE_AUDIO = s.UseLicense(license=s.License.AUDIO)
LICENSE_VIDEO = s.UseLicense(license=s.License.VIDEO)
LICENSE_AUDIO_PLUS_PRESENTATION = s.UseLicense(license=s.License.AUDIO_PLUS_PRESENTATION)

MAIN_CAM_PAUSED = s.MainCamControl(command=s.MainCam.PAUSE)
MAIN_CAM_RESUMED = s.MainCamControl(command=s.MainCam.RESUME)
MAIN_CAM_RESOLUTION = s.MainCamControl(command=s.MainCam.MAX_RESOLUTION, resolution="1280x720")
CAM_STOPPED = s.MainCamControl(command=s.MainCam.ADMIN_STOP)
CAM_STARTED = s.MainCamControl(command=s.MainCam.ADMIN_START)
CAM_STOPPED_BY_FORCE = s.MainCamControl(command=s.MainCam.ADMIN_STOP, forced=True)
CAM_STARTED_BY_FORCE = s.MainCamControl(command=s.MainCam.ADMIN_START, forced=True)
MIC_STOPPED = s.MicControl(command=s.Mic.ADMIN_STOP)
MIC_STARTED = s.MicControl(command=s.Mic.ADMIN_START)
MIC_STOPPED_BY_FORCE = s.MicControl(command=s.Mic.ADMIN_STOP, forced=True)
MIC_STARTED_BY_FORCE = s.MicControl(command=s.Mic.ADMIN_START, forced=True)

MOVED_TO_SPECTATORS = s.ParticipantState(role=s.Role.SPECTATOR)
MOVED_TO_SPECTATORS_WITH_AUDIO_ID = s.ParticipantState(
    role=s.Role.SPECTATOR, audio_id="audio-1", mode=s.SpectatorMode.FORCED
)
MOVED_TO_SPECTATORS_OVER_SFU = s.ParticipantState(role=s.Role.SPECTATOR_OVER_SFU)
MOVED_TO_PARTICIPANTS = s.ParticipantState(role=s.Role.PARTICIPANT)

CONTENT_AVAILABLE = s.ShareState(state=s.Share.AVAILABLE, codec="H264")
CONTENT_ENDED = s.ShareState(state=s.Share.ENDED)
MUST_STOP_PRESENTATION = s.ShareState(state=s.Share.MUST_STOP)
RESTART_ICE = s.Restart(tracks_direction=s.TracksDirection.SENDRECV, audio_track_count=1, video_track_count=2)

ADDED_TO_MODERATORS = s.AddedToModerators(conference=ROOM)
REMOVED_FROM_MODERATORS = s.RemovedFromModerators(conference=ROOM)
PARTICIPATION_ACCEPTED = s.ParticipationAccepted(conference=ROOM)
PARTICIPATION_REJECTED = s.ParticipationRejected(conference=ROOM)
MOVED_TO_WEBCAST = s.MovedToWebcast(conference=ROOM)
WEBCAST_STARTED = s.WebcastStarted(conference=ROOM, type="hls")
WEBCAST_STOPPED = s.WebcastStopped(conference=ROOM, type="hls")
ACCOUNT_CHANGED = s.AccountChanged()
ACCOUNT_DELETED = s.AccountDeleted()
TOKEN_ISSUED = s.ParticipantTokenIssued(conference=ROOM, participant="SIP/alice", jwt="canned.participant.token")

CANNED: dict[str, ConferenceMessage] = {
    name: value for name, value in vars().items() if name.isupper() and isinstance(value, ConferenceMessage)
}

# What the client says, to compare with what a server has heard, or to have it answered in another way.
PRESENTATION_WANTED = s.ShareState(state=s.Share.LET_ME_START)
PRESENTATION_STOPPED = s.ShareState(state=s.Share.STOPPED)
CAM_WANTED = s.AskToEnableCam()
BOTH_ON = s.MediaState(cam=True, mic=True)
BOTH_OFF = s.MediaState(cam=False, mic=False)
REFUSED_MIC = s.RefusalToTurnOn(device=s.Device.MIC)
REFUSED_CAM = s.RefusalToTurnOn(device=s.Device.CAM)
