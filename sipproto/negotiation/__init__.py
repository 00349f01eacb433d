"""Offer and answer: what both sides want, what they agree on, and the way back when they do not."""

from sipproto.negotiation._negotiator import TRANSITIONS, Negotiator, SignalingState, Step
from sipproto.negotiation._values import (
    TRANSPORT_CC,
    CodecPreferences,
    LocalTransport,
    MediaCapabilities,
    MediaLine,
    NegotiatedSession,
    NegotiationError,
    TransportPair,
)

__all__ = [
    "TRANSITIONS",
    "TRANSPORT_CC",
    "CodecPreferences",
    "LocalTransport",
    "MediaCapabilities",
    "MediaLine",
    "NegotiatedSession",
    "NegotiationError",
    "Negotiator",
    "SignalingState",
    "Step",
    "TransportPair",
]
