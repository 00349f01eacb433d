"""A switch of the video of several calls: the pictures of a conference."""

from __future__ import annotations

import threading

from attrs import field, frozen
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from sipproto_devices._media import Samples, SinkWriter, SourceError, VideoProducer

_INTERVAL = 1 / 30
_Key = tuple[str, int]  # of a line: its call and its number


class VideoSwitch:
    """Pictures that one call receives become those that others send. Each is decoded once and encoded for each of them.

    A call puts its pictures in by `sink`, others take those of one of its lines by `source`. The newest one counts, up to
    30 a second are taken. One switch may serve calls of several engines (threads).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: dict[_Key, list[_Viewer]] = {}

    def sink(self, call: str) -> _Inlet:
        """Takes what a call receives. The name is up to the caller; no two calls may have the same."""
        return _Inlet(switch=self, call=call)

    def source(self, call: str, line: int = 0) -> _Outlet:
        """What comes by a video line of that call, the first is 0. Nothing, as long as nothing comes."""
        return _Outlet(switch=self, key=(call, line))

    def _join(self, key: _Key, viewer: _Viewer) -> None:
        with self._lock:
            self._viewers.setdefault(key, []).append(viewer)

    def _leave(self, key: _Key, viewer: _Viewer) -> None:
        with self._lock:
            left = [one for one in self._viewers.pop(key, ()) if one is not viewer]
            if left:
                self._viewers[key] = left

    def _spread(self, key: _Key, frame: VideoFrame) -> None:
        with self._lock:
            for viewer in self._viewers.get(key, ()):
                viewer.newest = frame


@frozen(kw_only=True)
class _Inlet:
    """The description of what a call puts in."""

    switch: VideoSwitch = field(repr=False)
    call: str

    def check(self) -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return _Writer(self.switch, self.call)


class _Writer:
    def __init__(self, switch: VideoSwitch, call: str) -> None:
        self._switch = switch
        self._call = call

    def audio(self, samples: Samples, line: int) -> None: ...

    def video(self, frame: VideoFrame, line: int) -> None:
        self._switch._spread((self._call, line), frame)

    def close(self) -> None: ...


@frozen(kw_only=True)
class _Outlet:
    """The description of what a viewer takes out."""

    switch: VideoSwitch = field(repr=False)
    key: _Key

    def check(self, kind: str) -> None:
        if kind != "video":
            raise SourceError("a video switch is no source of audio")

    def open_video(self) -> VideoProducer:
        return _Viewer(self.switch, self.key)


class _Viewer:
    """What one line sends of another."""

    interval = _INTERVAL

    def __init__(self, switch: VideoSwitch, key: _Key) -> None:
        self._switch = switch
        self._key = key
        self._to_own = VideoReformatter()
        self.newest: VideoFrame | None = None
        switch._join(key, self)

    def read(self) -> VideoFrame | None:
        frame, self.newest = self.newest, None
        return None if frame is None else self._own(frame)

    def _own(self, frame: VideoFrame) -> VideoFrame:
        """A picture of its own, which may be stamped: others have the same one."""
        width, height = frame.width & ~1, frame.height & ~1
        if (frame.format.name, width, height) != ("yuv420p", frame.width, frame.height):
            return self._to_own.reformat(frame, width=width, height=height, format="yuv420p")
        return VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")

    def close(self) -> None:
        self._switch._leave(self._key, self)
