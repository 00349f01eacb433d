"""The names of events that handlers are registered under: the closed catalogue of the original SDK, version 16.

Names are written as there (`call:ended`, `api:enterRoom`). Later versions renamed many of them; those names are aliases here,
and what is only theirs has their name. What each stands for is in naming.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from sipproto.errors import LocalProtocolError, excerpt


def _prefixed(prefix: str, words: str) -> Iterator[str]:
    return (f"{prefix}:{word}" for word in words.split())


# What the original does not tell: how an ICE restart has ended, and parameters of the balancer that were refused.
OURS: frozenset[str] = frozenset(["call:ice-restarted", "video-balancer:parameters-not-updated"])

# Those that handlers hear of.
NAMES: frozenset[str] = frozenset(
    [
        *_prefixed("connection", "connecting connected disconnected newRTCSession registered unregistered"),
        *_prefixed("connection", "registrationFailed newMessage sipEvent disconnecting connect-started"),
        *_prefixed("connection", "connect-succeeded connect-failed connected-with-configuration"),
        *_prefixed("call", "start-call peerconnection connecting sending progress accepted confirmed ended failed"),
        *_prefixed("call", "newInfo newDTMF refer hold unhold peerconnection:confirmed peerconnection:ontrack"),
        *_prefixed("call", "ended:fromserver call-status-changed remote-tracks-changed remote-streams-changed"),
        *_prefixed("api", "enterRoom channels channels:notify availableSecondRemoteStream main-cam-control"),
        *_prefixed("api", "notAvailableSecondRemoteStream mustStopPresentation useLicense newDTMF restart"),
        *_prefixed("api", "admin-start-main-cam admin-stop-main-cam admin-start-mic admin-stop-mic"),
        *_prefixed("api", "admin-force-sync-media-state account:changed account:deleted webcast:started"),
        *_prefixed("api", "webcast:stopped conference:participant-token-issued"),
        *_prefixed("api:participant", "move-request-to-spectators move-request-to-spectators-synthetic"),
        *_prefixed("api:participant", "move-request-to-spectators-with-audio-id move-request-to-participants"),
        *_prefixed("api:participant", "move-request-to-spectators-over-sfu added-to-list-moderators"),
        *_prefixed("api:participant", "removed-from-list-moderators move-request-to-stream"),
        *_prefixed("api:participation", "accepting-word-request cancelling-word-request"),
        *_prefixed("incoming-call", "incomingCall declinedIncomingCall terminatedIncomingCall failedIncomingCall"),
        *_prefixed("presentation", "start started updating updated end ended failed"),
        *_prefixed("stats", "collected"),
        *_prefixed("video-balancer", "balancing-scheduled balancing-started balancing-stopped parameters-updated"),
        *_prefixed("auto-connect", "before-attempt success cancelled-attempts changed-attempt-status"),
        *_prefixed("auto-connect", "stop-attempts-by-error limit-reached-attempts"),
        *_prefixed("main-stream-health", "inbound-video-problem-detected inbound-video-problem-resolved"),
        "main-stream-health:inbound-video-problem-reset",
        *OURS,
        "disconnected-from-out-of-call",
        "connected-with-configuration-from-out-of-call",
        "stopped-presentation-by-server-command",
    ]
)

# Other names of the same: of later versions of the original, and what version 16 called its presentation.
ALIASES: dict[str, str] = {
    "api:enter-room": "api:enterRoom",
    "api:channels:all": "api:channels",
    "api:contented-stream:available": "api:availableSecondRemoteStream",
    "api:contented-stream:not-available": "api:notAvailableSecondRemoteStream",
    "api:presentation:must-stop": "api:mustStopPresentation",
    "api:use-license": "api:useLicense",
    "api:admin:start-main-cam": "api:admin-start-main-cam",
    "api:admin:stop-main-cam": "api:admin-stop-main-cam",
    "api:admin:start-mic": "api:admin-start-mic",
    "api:admin:stop-mic": "api:admin-stop-mic",
    "api:admin:force-sync-media-state": "api:admin-force-sync-media-state",
    "api:new-dtmf": "api:newDTMF",
    "incoming-call:ringing": "incoming-call:incomingCall",
    "presentation:stopped": "presentation:ended",  # what the documentation of version 16 calls it
    **{
        f"{prefix}:presentation:{step}": f"presentation:{step}"
        for prefix in ("presentation", "call")
        for step in ("start", "started", "end", "ended", "failed")
    },
}

_OWN_AFFAIR = "the library negotiates by itself; call:remote-streams-changed tells what came of it"
_ENDS_AS_FAILED = "call:failed tells of it, with the cause media_error"
_NO_MUTE = "a stream that is muted is another stream: what replace_media_stream was asked for is known to who asked"
_NO_RECEIVING_SESSION = "spectators receive by the call itself: there is no second connection over HTTP"
_NO_CHECK = "the connection itself is tried for, not a second one beside it"
_NO_REDIAL = "calls outlive the connection, and a call that has ended is not made again"

# Those of the catalogue that never fire, and why.
NEVER: dict[str, str] = {
    "connection:connect-parameters-resolve-success": "it would hold a password; connection:connect-succeeded does not",
    "connection:connect-parameters-resolve-failed": "connection:connect-failed tells of it",
    "call:end-call": "call:ended and call:failed tell of the end, also of one that we bring about",
    "call:reinvite": _OWN_AFFAIR,
    "call:update": _OWN_AFFAIR,
    "call:sdp": "descriptions are mended by `transform_remote_sdp` of the agent, and not told",
    "call:icecandidate": "offers and answers hold all candidates: none comes later",
    "call:replaces": "a call that takes the place of ours rings as any other: incoming-call:incomingCall",
    "call:getusermediafailed": "devices are opened by the media engine: see `on_trouble` of its setup",
    "call:peerconnection:createofferfailed": _ENDS_AS_FAILED,
    "call:peerconnection:createanswerfailed": _ENDS_AS_FAILED,
    "call:peerconnection:setlocaldescriptionfailed": _ENDS_AS_FAILED,
    "call:peerconnection:setremotedescriptionfailed": _ENDS_AS_FAILED,
    "call:muted": _NO_MUTE,
    "call:unmuted": _NO_MUTE,
    "call:recv-session-started": _NO_RECEIVING_SESSION,
    "call:recv-session-ended": _NO_RECEIVING_SESSION,
    "call:recv-quality-changed": _NO_RECEIVING_SESSION,
    "api:shareState": "the original declares it and never fires it either",
    "api:failed-send-room-direct-p2p": "rooms of two are not announced unasked",
    "stats:stopped": "statistics end with the call: call:ended",
    "auto-connect:failed-all-attempts": "auto-connect:limit-reached-attempts tells of it, and attempts have no other end",
    **dict.fromkeys(_prefixed("auto-connect", "telephony-check-failure telephony-check-escalated"), _NO_CHECK),
    **dict.fromkeys(
        [
            *_prefixed("call-reconnect", "armed disarmed failure-detected attempt-scheduled attempt-started"),
            *_prefixed("call-reconnect", "attempt-succeeded attempt-failed waiting-signaling limit-reached"),
            *_prefixed("call-reconnect", "cancelled status-changed termination-classified terminal"),
        ],
        _NO_REDIAL,
    ),
    "main-stream-health:health-snapshot": "stats:collected has what it would be made of",
    "session:snapshot-changed": "there is no snapshot of everything: the properties of the connector are it",
}

CATALOGUE: frozenset[str] = NAMES | ALIASES.keys() | NEVER.keys()


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


class UnknownEventName(LocalProtocolError):
    """No event has this name. `nearest`: the one that was probably meant, None when nothing is near."""

    def __init__(self, name: str) -> None:
        self.name = name
        spelled = {_plain(known): known for known in sorted(CATALOGUE, key=lambda known: known in NAMES)}
        near = difflib.get_close_matches(_plain(name), list(spelled), n=1)
        self.nearest = spelled[near[0]] if near else None
        hint = f": {self.nearest!r} is meant?" if self.nearest is not None else ""
        super().__init__(f"there is no event {excerpt(name)!r}{hint}")


def canonical_name(name: str) -> str:
    """The one name of what `name` stands for. Raises UnknownEventName."""
    if name not in CATALOGUE:
        raise UnknownEventName(name)
    return ALIASES.get(name, name)
