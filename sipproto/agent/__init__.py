"""The user agent engine, its vocabulary and its media port."""

from sipproto.agent import inputs, media, outputs
from sipproto.agent._agent import UserAgent
from sipproto.agent._call_table import TABLE, CallAction, CallInput, CallState
from sipproto.agent._connection_table import CONNECTION_TABLE, LinkAction, LinkInput, LinkState
from sipproto.agent.config import AgentConfig, AgentLimits, Recovery, SessionTimers, Waits
from sipproto.agent.inputs import Command, Input
from sipproto.agent.media import MediaEngine, MediaInput, MediaOperation, MediaReport, MediaState
from sipproto.agent.outputs import Cause, Effect, Event, Originator, Outcome, Output

__all__ = [
    "CONNECTION_TABLE",
    "TABLE",
    "AgentConfig",
    "AgentLimits",
    "CallAction",
    "CallInput",
    "CallState",
    "Cause",
    "Command",
    "Effect",
    "Event",
    "Input",
    "LinkAction",
    "LinkInput",
    "LinkState",
    "MediaEngine",
    "MediaInput",
    "MediaOperation",
    "MediaReport",
    "MediaState",
    "Originator",
    "Outcome",
    "Output",
    "Recovery",
    "SessionTimers",
    "UserAgent",
    "Waits",
    "inputs",
    "media",
    "outputs",
]
