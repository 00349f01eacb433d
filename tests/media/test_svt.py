"""SVT-AV1 in this process: what it sends with, what it prints, its threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy
import pytest

from sipproto.agent.parameters import ContentHint
from sipproto.media import VideoTarget
from sipproto.sdp import Codec
from sipproto_aiortc._sender import new_encoder
from tests.media._detail import texture

AV1 = Codec(payload_type=96, name="AV1", clock_rate=90000)
WIDTH, HEIGHT = 640, 360


def moving(frame_rate: int, seconds: float) -> Iterator[av.VideoFrame]:
    """A texture that moves over itself, and is another one every second and a half."""
    rows = texture(WIDTH, HEIGHT * 3 // 2)
    for number in range(round(seconds * frame_rate)):
        moment = number / frame_rate
        turned = rows[::-1] if int(moment / 1.5) % 2 else rows
        yield picture(numpy.roll(turned, (int(90 * moment), int(150 * moment)), (0, 1)), number / frame_rate)


def writing(seconds: float) -> Iterator[av.VideoFrame]:
    """Lines of glyphs that scroll by one each second, ten pictures a second."""
    chance = numpy.random.default_rng(1)
    glyphs = chance.random((40, 12, 8)) < 0.35
    rows = numpy.full((HEIGHT * 3, WIDTH), 235, numpy.uint8)
    for top in range(0, len(rows) - 16, 16):
        for left in range(0, WIDTH - 8, 8):
            rows[top + 2 : top + 14, left : left + 8][glyphs[chance.integers(40)]] = 30
    colors = numpy.full((HEIGHT // 2, WIDTH), 128, numpy.uint8)
    for number in range(round(seconds * 10)):
        top = 16 * (number // 10)
        yield picture(numpy.vstack([rows[top : top + HEIGHT], colors]), number / 10)


def picture(rows: numpy.typing.NDArray[numpy.uint8], moment: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(numpy.ascontiguousarray(rows), format="yuv420p")
    frame.pts, frame.time_base = round(moment * 90000), Fraction(1, 90000)
    return frame


def target(bitrate: int, frame_rate: float = 30, hint: ContentHint = ContentHint.NONE) -> VideoTarget:
    return VideoTarget(width=WIDTH, height=HEIGHT, frame_rate=frame_rate, bitrate=bitrate, hint=hint)


@pytest.mark.parametrize(
    ("bitrate", "frame_rate"), [(60_000, 10), (150_000, 30), (400_000, 15), (400_000, 30), (1_200_000, 30)]
)
def test_the_bit_rate_is_kept(bitrate: int, frame_rate: int) -> None:
    """On the whole, and nearly in each second, the first with its key frame included."""
    encoder = new_encoder("video", AV1)
    bits = [
        8 * sum(len(payload) for payload in encoder.encode(frame, target(bitrate, frame_rate), False)[0])
        for frame in moving(frame_rate, 4)
    ]
    assert 0.85 <= sum(bits) / 4 / bitrate <= 1.05
    seconds = [sum(bits[start : start + frame_rate]) / bitrate for start in range(len(bits) - frame_rate + 1)]
    assert max(seconds) < 1.6
    assert bits[0] < 0.5 * bitrate


def test_key_frames_that_are_asked_for_take_no_more_than_others() -> None:
    encoder = new_encoder("video", AV1)
    bits: dict[bool, list[int]] = {True: [], False: []}
    for number, frame in enumerate(moving(30, 2)):
        payloads, _ = encoder.encode(frame, target(400_000), number in (20, 21, 40))
        key = bool(payloads[0][0] & 0x08)
        assert key is (number in (0, 20, 21, 40))
        bits[key].append(8 * sum(len(payload) for payload in payloads))
    assert max(bits[True]) < 0.5 * 400_000
    assert (sum(bits[True]) + sum(bits[False])) / 2 < 1.15 * 400_000


def test_text_is_sent_as_text() -> None:
    """The hint makes it sharper for fewer bits: palettes and copies within a picture."""

    def sent(hint: ContentHint) -> int:
        encoder = new_encoder("video", AV1)
        frames = writing(3)
        return sum(
            len(payload) for frame in frames for payload in encoder.encode(frame, target(300_000, 10, hint), False)[0]
        )

    assert sent(ContentHint.TEXT) < 0.7 * sent(ContentHint.NONE)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as Linux shows them")
def test_encoders_leave_no_threads() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    frame = next(moving(30, 1))
    before = threads()
    for _ in range(3):
        encoder = new_encoder("video", AV1)
        encoder.encode(frame, target(400_000), False)
        assert before < threads() < before + 30
        del encoder
        assert threads() == before


CHILD = """
import os
from tests.media.test_svt import AV1, moving, target
from sipproto_aiortc._sender import new_encoder
encoder = new_encoder("video", AV1)
frames = moving(30, 1)
for size in (400_000, 600_000):
    assert encoder.encode(next(frames), target(size), False)[0]
print(*(os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")))
"""


def child(**environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "SVT_LOG"} | environment
    command = [sys.executable, "-c", CHILD]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="schedulers are those of Linux")
def test_it_prints_nothing_and_its_threads_have_no_priority() -> None:
    """To root it would give real-time priority, which nobody else may take."""
    quiet = child()
    assert quiet.stderr == ""
    assert set(quiet.stdout.split()) == {str(os.SCHED_OTHER)}


def test_who_wants_to_hear_it_can() -> None:
    assert "SVT-AV1" in child(SVT_LOG="3").stderr
