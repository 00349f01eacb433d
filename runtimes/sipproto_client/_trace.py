"""The file in which an endpoint is recorded. Trouble with it never reaches the calls."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from attrs import frozen

from sipproto.agent import AgentConfig
from sipproto.trace import Recorder

_log = logging.getLogger("sipproto.trace")


@frozen
class TraceFile:
    """Where to record: a path, which is overwritten and for our eyes only (mode 600), or an open text file.

    bodies: False covers what people say to each other: bodies that are no session description, and digits.
    """

    target: str | os.PathLike[str] | TextIO
    bodies: bool = True


Trace = str | os.PathLike[str] | TextIO | TraceFile


def _create(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def recording(trace: Trace | None, config: AgentConfig) -> Iterator[Recorder | None]:
    """A recorder for the length of a block; None when nothing is to be recorded.

    Raises OSError when the file cannot be made. Later errors, such as a full disk, end the recording with a warning.
    """
    if trace is None:
        yield None
        return
    trace = trace if isinstance(trace, TraceFile) else TraceFile(trace)
    target = trace.target
    file: TextIO
    if isinstance(target, str | os.PathLike):
        file = open(target, "w", encoding="utf-8", newline="\n", opener=_create)  # noqa: SIM115 - closed below
    else:
        file = target

    def write(text: str) -> None:
        try:
            file.write(text)
        except (OSError, ValueError) as error:
            _log.warning("the recording stops: %s", error)
            raise

    recorder = Recorder(write, config, bodies=trace.bodies, started=time.time())
    try:
        yield recorder
    finally:
        recorder.finish()
        if recorder.stopped is not None:
            _log.warning("the recording is not complete: %s", recorder.stopped)
        try:
            file.flush() if file is target else file.close()
        except (OSError, ValueError) as error:
            _log.warning("the recording is not complete: %s", error)
