"""Standard input as lines, on any event loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from functools import partial

from sipproto_client.port import Runtime

MAX_LINE = 1024 * 1024  # octets


class StdinLines:
    """The lines of standard input, read in a thread of their own, as an async iterator. None: a line that is too long."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._from_thread = runtime.thread_caller()
        self._lines: deque[str | None] = deque()
        self._over = False
        self._bell = runtime.event()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def _read(self) -> None:
        try:
            for line in _lines_of(0):
                self._from_thread(partial(self._put, line))
            self._from_thread(self._finish)
        except RuntimeError:
            pass  # the loop is gone

    def _put(self, line: str | None) -> None:
        self._lines.append(line)
        self._bell.set()

    def _finish(self) -> None:
        self._over = True
        self._bell.set()

    async def __aiter__(self) -> AsyncIterator[str | None]:
        while True:
            while not self._lines:
                if self._over:
                    return
                await self._bell.wait()
                self._bell = self._runtime.event()
            line = self._lines.popleft()
            if line is None or line.strip():
                yield line


def _lines_of(file: int) -> Iterator[str | None]:
    """Lines of a file descriptor; None in place of one that is too long, which is skipped whole.

    Not by `sys.stdin`: a thread that waits in it holds its lock, on which the interpreter dies when it ends.
    """
    rest, skipping = b"", False
    while chunk := _read_some(file):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not skipping:
                yield line.decode("utf-8", "replace") if len(line) <= MAX_LINE else None
            skipping = False
        if len(rest) > MAX_LINE:
            if not skipping:
                yield None
            rest, skipping = b"", True
        elif skipping:
            rest = b""
    if rest:
        yield rest.decode("utf-8", "replace")


def _read_some(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:
        return b""  # closed from the beginning
