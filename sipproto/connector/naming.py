"""Which named events a typed event stands for, and what their handlers get.

The payload is a value of this module or, where the original hands out objects of its SIP stack, the typed event itself.
None where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from sipproto import conference as k
from sipproto.agent import outputs as o
from sipproto.agent.media import CallId
from sipproto.agent.outputs import Cause, Originator
from sipproto.connector import events as e
from sipproto.errors import MessageSyntaxError
from sipproto.media.remote_streams import RemoteStream
from sipproto.media.video_balancer import (
    BalancingScheduled,
    BalancingStarted,
    BalancingStopped,
    ParametersNotUpdated,
    ParametersUpdated,
)
from sipproto.message import parse_sip_uri


@frozen(kw_only=True)
class NewSession:
    """A call begins. `originator`: who makes it."""

    call: CallId
    originator: Originator


@frozen(kw_only=True)
class IncomingCaller:
    """Who calls: the name that is shown, the user and the host of the address."""

    call: CallId
    display_name: str
    incoming_number: str
    host: str


@frozen(kw_only=True)
class AttemptStatus:
    """Whether a connection is tried for automatically."""

    is_in_progress: bool


@frozen(kw_only=True)
class CallActivity:
    is_call_active: bool


@frozen(kw_only=True)
class RemoteTrack:
    """A media line on which the peer sends now. `stream`: the one that it belongs to."""

    call: CallId
    mid: str
    kind: str
    stream: str


@frozen(kw_only=True)
class RemoteTracksChanged:
    """`change_type`: added or removed. `track_id` is the mid of the line."""

    streams: tuple[RemoteStream, ...]
    change_type: str
    participant_id: str
    track_id: str


@frozen(kw_only=True)
class ChannelIds:
    """Ids of channels, separated by commas."""

    input_channels: str
    output_channels: str


@frozen(kw_only=True)
class ContentAvailable:
    codec: str | None = None


@frozen(kw_only=True)
class MainCamControlled:
    """`resolution_main_cam` as the server writes it, such as "1280x720"."""

    main_cam: k.MainCam | None
    resolution_main_cam: str | None


@frozen(kw_only=True)
class SyncForced:
    is_sync_forced: bool


@frozen(kw_only=True)
class MoveToSpectators:
    """`is_synthetic`: a spectator who receives as before; else `audio_id` is what to receive."""

    is_available_sending_media: bool
    is_synthetic: bool = True
    audio_id: str | None = None


@frozen(kw_only=True)
class NewDtmf:
    """A digit; `duration` in milliseconds, None when not said."""

    originator: Originator
    digit: str
    duration: int | None


@frozen
class Named:
    """One named event."""

    name: str
    payload: object = None


Names = Iterator[Named]
_Told = tuple[str, Any]

_LINK = {
    o.ConnectionState.CONNECTING: "connection:connecting",
    o.ConnectionState.CONNECTED: "connection:connected",
    o.ConnectionState.RECONNECTING: "connection:disconnected",
    o.ConnectionState.DISCONNECTED: "connection:disconnected",
}
_ATTEMPTS = {
    e.AttemptStep.BEGINS: "before-attempt",
    e.AttemptStep.SUCCEEDED: "success",
    e.AttemptStep.REFUSED: "stop-attempts-by-error",
    e.AttemptStep.LIMIT: "limit-reached-attempts",
    e.AttemptStep.CANCELED: "cancelled-attempts",
}
_REGISTRATION = {
    o.RegistrationState.REGISTERED: "connection:registered",
    o.RegistrationState.UNREGISTERED: "connection:unregistered",
    o.RegistrationState.FAILED: "connection:registrationFailed",
}
_BALANCING = {
    BalancingScheduled: "balancing-scheduled",
    BalancingStarted: "balancing-started",
    BalancingStopped: "balancing-stopped",
    ParametersUpdated: "parameters-updated",
    ParametersNotUpdated: "parameters-not-updated",
}
_SHARE: dict[k.Share, Callable[[k.ShareState], _Told]] = {
    k.Share.AVAILABLE: lambda said: ("api:availableSecondRemoteStream", ContentAvailable(codec=said.codec)),
    k.Share.ENDED: lambda _: ("api:notAvailableSecondRemoteStream", None),
    k.Share.MUST_STOP: lambda _: ("api:mustStopPresentation", None),
}
_MIC = {k.Mic.ADMIN_START: "api:admin-start-mic", k.Mic.ADMIN_STOP: "api:admin-stop-mic"}
_CAM = {k.MainCam.ADMIN_START: "api:admin-start-main-cam", k.MainCam.ADMIN_STOP: "api:admin-stop-main-cam"}
_MOVE = "api:participant:move-request-to-"

# Messages of which each stands for one event, whose payload is the message itself.
_AS_THEY_ARE: dict[type, str] = {
    k.Restart: "api:restart",
    k.AddedToModerators: "api:participant:added-to-list-moderators",
    k.RemovedFromModerators: "api:participant:removed-from-list-moderators",
    k.ParticipationAccepted: "api:participation:accepting-word-request",
    k.ParticipationRejected: "api:participation:cancelling-word-request",
    k.MovedToWebcast: _MOVE + "stream",
    k.WebcastStarted: "api:webcast:started",
    k.WebcastStopped: "api:webcast:stopped",
    k.ParticipantTokenIssued: "api:conference:participant-token-issued",
}


def _channels(said: k.Channels | k.ChannelsNotified) -> ChannelIds:
    return ChannelIds(input_channels=said.input, output_channels=said.output)


def _enter_room(said: k.EnterRoom) -> Iterator[_Told]:
    yield "api:enterRoom", said
    if said.channels is not None:
        yield "api:channels", _channels(said.channels)


def _main_cam(said: k.MainCamControl) -> Iterator[_Told]:
    """In the order of the original: what an administrator wants ends it, a state that is forced comes before the rest."""
    forced = SyncForced(is_sync_forced=bool(said.forced))
    if said.command in _CAM:
        yield _CAM[said.command], forced
        return
    if said.command in (k.MainCam.PAUSE, k.MainCam.RESUME) and said.forced is not None:
        yield "api:admin-force-sync-media-state", forced
    yield "api:main-cam-control", MainCamControlled(main_cam=said.command, resolution_main_cam=said.resolution)


def _participant(said: k.ParticipantState) -> Iterator[_Told]:
    may_send = said.mode is k.SpectatorMode.BY_CAMERA
    if said.role is k.Role.PARTICIPANT:
        yield _MOVE + "participants", None
    elif said.role is k.Role.SPECTATOR_OVER_SFU:
        yield _MOVE + "spectators-over-sfu", None
    else:
        synthetic = said.audio_id is None
        move = MoveToSpectators(is_available_sending_media=may_send, is_synthetic=synthetic, audio_id=said.audio_id)
        yield _MOVE + "spectators", move
        yield _MOVE + ("spectators-synthetic" if synthetic else "spectators-with-audio-id"), move


_MESSAGES: dict[type, Callable[[Any], Iterator[_Told]]] = {
    k.EnterRoom: _enter_room,
    k.Channels: lambda said: iter([("api:channels", _channels(said))]),
    k.ChannelsNotified: lambda said: iter([("api:channels:notify", _channels(said))]),
    k.UseLicense: lambda said: iter([("api:useLicense", said.license)]),
    k.MainCamControl: _main_cam,
    k.MicControl: lambda said: iter([(_MIC[said.command], SyncForced(is_sync_forced=said.forced))]),
    k.ParticipantState: _participant,
    k.ShareState: lambda said: iter([_SHARE[said.state](said)] if said.state in _SHARE else []),
    k.AccountChanged: lambda _: iter([("api:account:changed", None)]),
    k.AccountDeleted: lambda _: iter([("api:account:deleted", None)]),
    **{kind: lambda said, name=name: iter([(name, said)]) for kind, name in _AS_THEY_ARE.items()},  # type: ignore[misc]
}


class EventNaming:
    """Names the events of one connector, to be given all of them in order. Knows the call, so that `call:` is ours alone."""

    def __init__(self) -> None:
        self._call: CallId | None = None
        self._established = False
        self._callers: dict[CallId, IncomingCaller] = {}
        self._tracks: dict[str, RemoteTrack] = {}
        self._streams: tuple[RemoteStream, ...] = ()
        self._table: dict[type, Callable[[Any], Names]] = {
            o.ConnectionChanged: self._connection,
            o.RegistrationChanged: lambda event: iter([Named(_REGISTRATION[event.state], event)]),
            o.MessageReceived: lambda event: iter([Named("connection:newMessage", event)]),
            o.NotificationReceived: lambda event: iter([Named("connection:sipEvent", event)]),
            e.ConnectionStatusChanged: self._connection_status,
            e.ConnectStarted: lambda event: iter([Named("connection:connect-started", event)]),
            e.ConnectSucceeded: lambda event: iter([Named("connection:connect-succeeded", event.configuration)]),
            e.ConnectAttempt: self._attempt,
            e.ConnectFailed: lambda event: iter([Named("connection:connect-failed", event)]),
            o.IncomingCall: self._incoming,
            e.CallerGone: self._caller_gone,
            e.CallStatusChanged: self._call_status,
            o.CallStarted: self._ours("call:sending"),
            o.CallProgressed: self._ours("call:progress"),
            o.CallEstablished: self._call_established,
            o.CallEnded: self._call_ended,
            o.InfoReceived: self._ours("call:newInfo"),
            o.TransferRequested: self._ours("call:refer"),
            o.CallHeld: self._ours("call:hold"),
            o.CallResumed: self._ours("call:unhold"),
            o.DtmfReceived: self._digit,
            e.RemoteStreamsChanged: self._streams_changed,
            e.MessageFromServer: self._message,
            e.PresentationChanged: self._presentation,
            e.IceRestarted: self._ours("call:ice-restarted"),
            e.MainVideoProblem: self._main_video,
            e.ReportCollected: lambda event: iter([Named("stats:collected", event.sample)]),
            **dict.fromkeys(_BALANCING, self._balancing),
        }

    def name(self, event: object) -> tuple[Named, ...]:
        """The named events that an event stands for, in the order in which to fire them."""
        named = self._table.get(type(event))
        return () if named is None else tuple(named(event))

    @property
    def caller(self) -> IncomingCaller | None:
        """Who rings for the longest time."""
        return next(iter(self._callers.values()), None)

    def caller_of(self, call: CallId) -> IncomingCaller | None:
        """Who rings as this call."""
        return self._callers.get(call)

    # -- the connection ------------------------------------------------------------------------------------------------

    def _connection(self, event: o.ConnectionChanged) -> Names:
        yield Named(_LINK[event.state], event)
        if event.state is o.ConnectionState.DISCONNECTED and self._call is None:
            yield Named("disconnected-from-out-of-call", event)

    def _connection_status(self, event: e.ConnectionStatusChanged) -> Names:
        if event.status is e.ConnectionStatus.DISCONNECTING:
            yield Named("connection:disconnecting", event)
        elif event.status is e.ConnectionStatus.ESTABLISHED and event.configuration is not None:
            yield Named("connection:connected-with-configuration", event.configuration)
            if self._call is None:
                yield Named("connected-with-configuration-from-out-of-call", event.configuration)

    def _attempt(self, event: e.ConnectAttempt) -> Names:
        if (name := _ATTEMPTS.get(event.step)) is not None:
            yield Named(f"auto-connect:{name}", event)
        if event.step is not e.AttemptStep.WAITS and (event.number == 1 or event.step is not e.AttemptStep.BEGINS):
            going_on = event.step is e.AttemptStep.BEGINS
            yield Named("auto-connect:changed-attempt-status", AttemptStatus(is_in_progress=going_on))

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _ours(self, name: str) -> Callable[[Any], Names]:
        """Events of our call that keep their payload."""
        return lambda event: iter([Named(name, event)] if event.call == self._call else [])

    def _incoming(self, event: o.IncomingCall) -> Names:
        caller = self._callers[event.call] = incoming_caller(event)
        yield Named("connection:newRTCSession", NewSession(call=event.call, originator=Originator.REMOTE))
        yield Named("incoming-call:incomingCall", caller)

    def _caller_gone(self, event: e.CallerGone) -> Names:
        caller = self._callers.pop(event.call, None)
        if event.declined:
            yield Named("incoming-call:declinedIncomingCall", caller)
        ours = event.declined or event.originator is Originator.LOCAL
        yield Named(f"incoming-call:{'terminated' if ours else 'failed'}IncomingCall", caller)

    def _call_status(self, event: e.CallStatusChanged) -> Names:
        if event.status is e.CallStatus.CONNECTING:
            self._call, self._established = event.call, False
            if self._callers.pop(event.call, None) is None:
                yield Named("connection:newRTCSession", NewSession(call=event.call, originator=Originator.LOCAL))
            yield Named("call:start-call", event)
            yield Named("call:peerconnection", event)
            yield Named("call:connecting", event)
        elif event.status is e.CallStatus.IDLE and event.call == self._call:
            # It came to nothing before there was anything to end.
            yield from self._call_ended(
                o.CallEnded(call=event.call, cause=Cause.NOT_POSSIBLE, originator=Originator.LOCAL)
            )

    def _call_established(self, event: o.CallEstablished) -> Names:
        if event.call == self._call:
            self._established = True
            for name in ("accepted", "confirmed", "peerconnection:confirmed"):
                yield Named(f"call:{name}", event)
            yield Named("call:call-status-changed", CallActivity(is_call_active=True))

    def _call_ended(self, event: o.CallEnded) -> Names:
        if event.call != self._call:
            return
        was, self._call, self._established = self._established, None, False
        self._tracks = {}
        yield Named("call:ended" if was else "call:failed", event)
        if event.originator is Originator.REMOTE:
            yield Named("call:ended:fromserver", event)
        if was:
            yield Named("call:call-status-changed", CallActivity(is_call_active=False))

    def _digit(self, event: o.DtmfReceived) -> Names:
        if event.call == self._call:
            digit = NewDtmf(originator=Originator.REMOTE, digit=event.digit, duration=event.duration)
            yield Named("call:newDTMF", digit)
            yield Named("api:newDTMF", digit)

    def _streams_changed(self, event: e.RemoteStreamsChanged) -> Names:
        if event.call != self._call:
            return
        tracks = {
            mid: RemoteTrack(call=event.call, mid=mid, kind=kind, stream=stream.id)
            for stream in event.streams
            for kind, mid in (("audio", stream.audio), ("video", stream.video))
            if mid is not None
        }
        before, self._tracks = self._tracks, tracks
        for mid in [mid for mid in before if mid not in tracks]:
            yield _track_changed(event.streams, before[mid], "removed")
        for mid, track in tracks.items():
            if mid not in before:
                yield Named("call:peerconnection:ontrack", track)
                yield _track_changed(event.streams, track, "added")
        if tracks or before:
            yield Named("call:remote-streams-changed", event)

    # -- the conference ------------------------------------------------------------------------------------------------

    def _message(self, event: e.MessageFromServer) -> Names:
        told = _MESSAGES.get(type(event.message))
        return iter(()) if told is None else (Named(name, payload) for name, payload in told(event.message))

    def _balancing(self, event: object) -> Names:
        yield Named(f"video-balancer:{_BALANCING[type(event)]}", event)

    def _main_video(self, event: e.MainVideoProblem) -> Names:
        yield Named(f"main-stream-health:inbound-video-problem-{event.step.value}", event)

    def _presentation(self, event: e.PresentationChanged) -> Names:
        yield Named(f"presentation:{event.step.value}", event)
        if event.step is e.PresentationStep.ENDED and event.by_server:
            yield Named("stopped-presentation-by-server-command", event)


def incoming_caller(event: o.IncomingCall) -> IncomingCaller:
    """Who calls. What is no address of SIP has no number and no host."""
    try:
        uri = parse_sip_uri(event.from_uri)
        number, host = uri.username or "", uri.host
    except MessageSyntaxError:
        number, host = "", ""
    return IncomingCaller(call=event.call, display_name=event.display_name, incoming_number=number, host=host)


def _track_changed(streams: tuple[RemoteStream, ...], track: RemoteTrack, change: str) -> Named:
    changed = RemoteTracksChanged(streams=streams, change_type=change, participant_id=track.stream, track_id=track.mid)
    return Named("call:remote-tracks-changed", changed)
