"""Policies over the media port: machines that say what to measure and how to send. Pure, like all of the core."""

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
    "DropSample",
    "PollingInput",
    "PollingOutput",
    "SampleDone",
    "SampleFailed",
    "StartPolling",
    "StatisticsPolling",
    "StopPolling",
    "TakeSample",
]
