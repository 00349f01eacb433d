"""Embedded registrar and conference focus: for the demo, for tests, for local use."""

from sipproto_server import _commands as commands
from sipproto_server._commands import OperatorError, UnknownTarget
from sipproto_server._config import (
    DEFAULT_SERVICES,
    ArrangeMedia,
    Arrangement,
    ConferenceEvent,
    ConferencePolicy,
    PrepareMedia,
    Relayed,
    Rival,
    ServerConfig,
    ServerOutput,
    Service,
    UserChanged,
    Verdict,
    VideoFrom,
)
from sipproto_server._core import ServerCore
from sipproto_server._operations import OPERATIONS, Operation, command_of
from sipproto_server._room import (
    ParticipantChanged,
    ParticipantEntered,
    ParticipantInfo,
    ParticipantLeft,
    PermissionDecided,
    PermissionWanted,
    PresentationEnded,
    PresentationStarted,
    RoomInfo,
    Undelivered,
)
from sipproto_server._server import LOOPBACK, Server, ServiceEngine, run_server

__all__ = [
    "DEFAULT_SERVICES",
    "LOOPBACK",
    "OPERATIONS",
    "ArrangeMedia",
    "Arrangement",
    "ConferenceEvent",
    "ConferencePolicy",
    "Operation",
    "OperatorError",
    "ParticipantChanged",
    "ParticipantEntered",
    "ParticipantInfo",
    "ParticipantLeft",
    "PermissionDecided",
    "PermissionWanted",
    "PrepareMedia",
    "PresentationEnded",
    "PresentationStarted",
    "Relayed",
    "Rival",
    "RoomInfo",
    "Server",
    "ServerConfig",
    "ServerCore",
    "ServerOutput",
    "Service",
    "ServiceEngine",
    "Undelivered",
    "UnknownTarget",
    "UserChanged",
    "Verdict",
    "VideoFrom",
    "command_of",
    "commands",
    "run_server",
]
