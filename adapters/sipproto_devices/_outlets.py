"""The open sinks of one call, for engines."""

from __future__ import annotations

from collections.abc import Callable

from av import VideoFrame

from sipproto_devices._media import Samples, Sink, SinkWriter, Trouble, reason
from sipproto_devices._setup import MediaSetup


class Outlets:
    """Hands what a call receives to its sinks. All methods run on the media thread and never wait.

    `release` is given the `close` of each writer that is not needed any more; it has to run it on another thread.
    """

    def __init__(self, release: Callable[[Callable[[], None]], object]) -> None:
        self._release = release
        self._setup = MediaSetup()
        self._open: list[tuple[Sink, SinkWriter]] = []
        self._failed: list[Sink] = []  # not opened again while they stay: a recording would begin anew over the old one

    @property
    def wanted(self) -> bool:
        """Whether anybody takes anything."""
        return bool(self._open)

    def use(self, setup: MediaSetup, *, with_video: bool) -> None:
        """Goes over to these sinks: equal ones stay as they are, the others are opened and closed."""
        self._setup = setup
        before, self._open = self._open, []
        self._failed = [sink for sink in self._failed if sink in setup.all_sinks]
        for sink in setup.all_sinks:
            if sink in self._failed:
                continue
            kept = next((pair for pair in before if pair[0] == sink), None)
            if kept is not None:
                before.remove(kept)
                self._open.append(kept)
                continue
            try:
                self._open.append((sink, sink.open(with_video)))
            except Exception as error:
                self._failed.append(sink)
                setup.tell(Trouble(part="sink", line=0, error=reason(error)))
        for _, writer in before:
            self._release(writer.close)

    def audio(self, samples: Samples, line: int) -> None:
        self._each(lambda writer: writer.audio(samples, line), line)

    def video(self, frame: VideoFrame, line: int) -> None:
        self._each(lambda writer: writer.video(frame, line), line)

    def _each(self, act: Callable[[SinkWriter], None], line: int) -> None:
        for pair in list(self._open):
            try:
                act(pair[1])
            except Exception as error:
                self._open.remove(pair)
                self._failed.append(pair[0])
                self._release(pair[1].close)
                self._setup.tell(Trouble(part="sink", line=line, error=reason(error)))

    def close(self) -> list[Callable[[], None]]:
        """Gives up all writers. Returns their `close` methods, each of which may wait for seconds."""
        before, self._open = self._open, []
        return [writer.close for _, writer in before]
