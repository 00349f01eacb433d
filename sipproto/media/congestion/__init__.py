"""Congestion control of a media transport as browsers do it: pacing, transport-wide feedback, a delay-based estimate, probes.

All of it is pure: packets, feedback and moments in, decisions out. `Pacer` says when a packet leaves, `Arrivals` writes what
a receiver tells of what came, `CongestionController` reads that and says how much the path takes.
"""

from sipproto.media.congestion._arrivals import Arrivals
from sipproto.media.congestion._controller import START_ESTIMATE, CongestionController
from sipproto.media.congestion._delay import DelayDetector, Usage
from sipproto.media.congestion._feedback import (
    FeedbackError,
    TransportFeedback,
    parse_feedback,
    split_feedback,
    write_feedback,
)
from sipproto.media.congestion._pacing import PACE, Pacer, Priority, Probe
from sipproto.media.congestion._rate import RATE_TRANSITIONS, RateControl, RateState

__all__ = [
    "PACE",
    "RATE_TRANSITIONS",
    "START_ESTIMATE",
    "Arrivals",
    "CongestionController",
    "DelayDetector",
    "FeedbackError",
    "Pacer",
    "Priority",
    "Probe",
    "RateControl",
    "RateState",
    "TransportFeedback",
    "Usage",
    "parse_feedback",
    "split_feedback",
    "write_feedback",
]
