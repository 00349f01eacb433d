"""SVT-AV1, the encoder, as a guest in a process: silent, and without real-time threads."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from av.video.codeccontext import VideoCodecContext

# It would print to the standard error, and reads this when it is used first. What fails raises anyway.
os.environ.setdefault("SVT_LOG", "0")


def open_svt(codec: VideoCodecContext) -> None:
    """Opens an encoder. For root it gives the calling thread, and so its own, real-time priority above those that carry the
    sound; here they take turns with all others."""
    if sys.platform != "linux" or os.geteuid() != 0:
        codec.open()
        return
    policy, parameters, before = os.sched_getscheduler(0), os.sched_getparam(0), _threads()
    try:
        codec.open()
    finally:
        for thread in {0} | _threads() - before:
            with suppress(OSError):  # one of somebody else's, which has ended
                os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}
