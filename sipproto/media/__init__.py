"""Decisions over the media port that need no codec, no clock and no I/O: what to encode, and when to measure.

`VideoControl` decides for each picture; an engine asks, and encodes as told. `StatisticsPolling` says when to measure.
What clients of conference servers decide is in modules of its own: see docs/balancing.md.
"""

from sipproto.media._bandwidth import MINIMUM_BITRATE, START_BITRATE, Bandwidth
from sipproto.media._control import VideoControl
from sipproto.media._effective import chosen_encoding, effective_parameters
from sipproto.media._policy import SACRIFICES, Sacrifice, VideoTarget, ample_bitrate, video_target
from sipproto.media.statistics_polling import (
    DropSample,
    PollingInput,
    PollingOutput,
    SampleDone,
    SampleFailed,
    StartPolling,
    StatisticsPolling,
    StopPolling,
    TakeSample,
)

__all__ = [
    "MINIMUM_BITRATE",
    "SACRIFICES",
    "START_BITRATE",
    "Bandwidth",
    "DropSample",
    "PollingInput",
    "PollingOutput",
    "Sacrifice",
    "SampleDone",
    "SampleFailed",
    "StartPolling",
    "StatisticsPolling",
    "StopPolling",
    "TakeSample",
    "VideoControl",
    "VideoTarget",
    "ample_bitrate",
    "chosen_encoding",
    "effective_parameters",
    "video_target",
]
