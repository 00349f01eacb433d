"""The user agent engine, its vocabulary and its media port."""

from sipproto.agent import inputs, media, outputs, parameters
from sipproto.agent._agent import UserAgent
from sipproto.agent._call_table import TABLE, CallAction, CallInput, CallState
from sipproto.agent._connection_table import CONNECTION_TABLE, LinkAction, LinkInput, LinkState
from sipproto.agent._subscription_table import SUBSCRIBER_TABLE, SubscriberAction, SubscriberInput, SubscriberState
from sipproto.agent._watcher_table import NOTIFIER_TABLE, NotifierAction, NotifierInput, NotifierState
from sipproto.agent.config import AgentConfig, AgentLimits, Recovery, SessionTimers, Waits
from sipproto.agent.event_inputs import SubscriptionState
from sipproto.agent.event_outputs import PublicationState
from sipproto.agent.inputs import Command, Input
from sipproto.agent.media import MediaEngine, MediaInput, MediaOperation, MediaReport, MediaState
from sipproto.agent.outputs import Cause, Effect, Event, Originator, Outcome, Output

__all__ = [
    "CONNECTION_TABLE",
    "NOTIFIER_TABLE",
    "SUBSCRIBER_TABLE",
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
    "NotifierAction",
    "NotifierInput",
    "NotifierState",
    "Originator",
    "Outcome",
    "Output",
    "PublicationState",
    "Recovery",
    "SessionTimers",
    "SubscriberAction",
    "SubscriberInput",
    "SubscriberState",
    "SubscriptionState",
    "UserAgent",
    "Waits",
    "inputs",
    "media",
    "outputs",
    "parameters",
]
