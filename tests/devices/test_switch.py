"""The switch of pictures between calls."""

from __future__ import annotations

import pytest
from av import VideoFrame

from sipproto_devices import SourceError, VideoSwitch, mean_color, plain_picture

RED, GREEN = (220, 30, 30), (30, 200, 30)


def close_to(frame: VideoFrame | None, color: tuple[int, int, int]) -> bool:
    return frame is not None and all(abs(a - b) < 8 for a, b in zip(mean_color(frame), color, strict=True))


def test_each_viewer_gets_a_picture_of_its_own() -> None:
    switch = VideoSwitch()
    source = switch.source("a")
    viewers = [source.open_video() for _ in range(2)]
    other = switch.source("a", 1).open_video()
    writer = switch.sink("a").open(True)
    assert all(viewer.read() is None for viewer in viewers)
    picture = plain_picture(64, 48, RED)
    writer.video(picture, 0)
    first, second = (viewer.read() for viewer in viewers)
    assert first is not None and second is not None and close_to(first, RED) and close_to(second, RED)
    first.pts, second.pts = 1, 2
    assert first.pts == 1 and picture.pts is None, "they may be stamped"
    assert viewers[0].read() is None and other.read() is None
    writer.video(plain_picture(64, 48, RED), 1)
    writer.video(plain_picture(64, 48, GREEN), 1)
    assert close_to(other.read(), GREEN), "the newest counts"
    for viewer in (*viewers, other):
        viewer.close()
    writer.video(picture, 0)
    assert viewers[0].read() is None and switch._viewers == {}


def test_pictures_of_odd_shape_are_made_fit() -> None:
    switch = VideoSwitch()
    viewer = switch.source("a").open_video()
    writer = switch.sink("a").open(True)
    for odd in (VideoFrame(67, 49, "yuv420p"), VideoFrame(64, 48, "rgb24"), VideoFrame(64, 48, "yuv444p")):
        writer.video(odd, 0)
        frame = viewer.read()
        assert frame is not None and frame.format.name == "yuv420p" and frame is not odd
        assert (frame.width, frame.height) == (odd.width & ~1, odd.height & ~1)


def test_descriptions_are_equal_when_they_mean_the_same() -> None:
    """So that what does not change goes on undisturbed."""
    switch = VideoSwitch()
    assert switch.source("a") == switch.source("a", 0) != switch.source("a", 1)
    assert switch.sink("a") == switch.sink("a") != VideoSwitch().sink("a")
    with pytest.raises(SourceError):
        switch.source("a").check("audio")
