"""What the media engine is given for each call: the stream of the application, and in a further video line its presentation.

A stream is whatever the media engine takes as the `setup` of a call, such as `MediaSetup` of sipproto_devices. Of it is known
that `audio` and `video` are None or not, and for presentations that it is a value of attrs with a `further_video`.
"""

from __future__ import annotations

from typing import Any

import attrs

from sipproto.agent.media import CallId
from sipproto.errors import LocalProtocolError
from sipproto.media.resolution import Resolution
from sipproto_client._endpoint import Endpoint


def has(stream: object, kind: str) -> bool:
    """Whether a stream has audio, or video."""
    return getattr(stream, kind, None) is not None


def size_of(stream: object) -> Resolution | None:
    """The size of the pictures of a stream as far as its source knows it: by `size`, or `width` and `height`."""
    source = getattr(stream, "video", None)
    width, height = getattr(source, "size", None) or (getattr(source, "width", None), getattr(source, "height", None))
    return Resolution(width, height) if isinstance(width, int) and isinstance(height, int) else None


def with_video(stream: Any, source: object, line: int) -> object:
    """The stream with another source for the video line of that number, counted from 0. Raises LocalProtocolError.

    On the first one in a call that began without video: that of the stream then goes to the next.
    """
    if not (attrs.has(type(stream)) and hasattr(stream, "further_video")):
        raise LocalProtocolError(f"a {type(stream).__name__} has no place for the video of a presentation")
    if line == 0:
        later = () if stream.video is None else (stream.video, *stream.further_video)
        return attrs.evolve(stream, video=source, further_video=later or stream.further_video)
    further = [*stream.further_video, *[None] * line][: max(line, len(stream.further_video))]
    further[line - 1] = source
    return attrs.evolve(stream, further_video=tuple(further))


@attrs.define
class _CallStreams:
    main: Any
    presentation: Any = None  # the stream that is presented
    line: int = 1  # the video line that it is on

    def setup(self) -> object:
        if self.presentation is None:
            # The first line stays that of presentations: the camera of a call that began without one is on the next.
            return self.main if self.line or self.main is None else with_video(self.main, None, 0)
        video = self.presentation.video
        if self.main is None:  # of the presentation only the picture is sent, whatever else it has
            return with_video(attrs.evolve(self.presentation, video=None), video, self.line)
        return with_video(self.main, video, self.line)


class Streams:
    """The streams of the calls of an endpoint. The media engine is told of each change, before the peer hears of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._calls: dict[CallId, _CallStreams] = {}

    def begin(self, call: CallId, stream: object) -> None:
        self._calls[call] = _CallStreams(stream)
        self._endpoint.prepare(call, stream)

    def over(self, call: CallId) -> None:
        self._calls.pop(call, None)

    def of(self, call: CallId | None) -> object:
        """The stream that a call was given; None without one."""
        streams = self._calls.get(call) if call is not None else None
        return streams.main if streams is not None else None

    def replace(self, call: CallId, stream: object) -> None:
        if (streams := self._calls.get(call)) is not None:
            self._use(call, attrs.evolve(streams, main=stream))

    def present(self, call: CallId, stream: object, line: int) -> None:
        """Has the pictures of this stream on a video line, counted from 0."""
        if not has(stream, "video"):
            raise LocalProtocolError("a presentation needs a stream with video")
        if (streams := self._calls.get(call)) is not None:
            changed = attrs.evolve(streams, presentation=stream, line=line)
            if changed != streams:
                self._use(call, changed)

    def presented(self, call: CallId) -> object:
        """The stream that is presented; None without one."""
        streams = self._calls.get(call)
        return streams.presentation if streams is not None else None

    def present_again(self, call: CallId, stream: object) -> None:
        """What was shown before comes back, None: nothing."""
        streams = self._calls.get(call)
        if stream is None:
            self.end_presentation(call)
        elif streams is not None:
            self.present(call, stream, streams.line)

    def end_presentation(self, call: CallId) -> None:
        streams = self._calls.get(call)
        if streams is not None and streams.presentation is not None:
            changed = attrs.evolve(streams, presentation=None)
            if streams.main is None:  # nothing of it may be left
                silent = with_video(attrs.evolve(streams.presentation, video=None), None, streams.line)
                self._endpoint.prepare(call, silent)
            self._use(call, changed)

    def _use(self, call: CallId, streams: _CallStreams) -> None:
        setup = streams.setup()
        self._calls[call] = streams
        self._endpoint.prepare(call, setup)
