"""Sources and sinks of calls over loopback: several lines, several sinks, those of users, and what happens when they fail."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy
import pytest
from attrs import evolve, field, frozen
from av import VideoFrame

from sipproto_aiortc import AiortcEngine
from sipproto_devices import (
    AudioMixer,
    AudioProducer,
    EchoSource,
    FileSource,
    MediaSetup,
    Record,
    Samples,
    SinkWriter,
    SourceError,
    TestPattern,
    Tone,
    Trouble,
    VideoProducer,
)
from tests.media._rig import End, connect, exchange, hears, sees, until

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@frozen
class Kept:
    """A sink of a user: it keeps the lines that something came from, and breaks at a line when told so."""

    breaks_at: int = -1
    lines: set[tuple[str, int]] = field(factory=set, eq=False)
    closed: list[str] = field(factory=list, eq=False)

    def check(self) -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return self

    def audio(self, samples: Samples, line: int) -> None:
        assert len(samples) == 960
        self.lines.add(("audio", line))

    def video(self, frame: VideoFrame, line: int) -> None:
        if line == self.breaks_at:
            raise SourceError("this sink is full")
        self.lines.add(("video", line))

    def close(self) -> None:
        self.closed.append(threading.current_thread().name)


@frozen
class Square:
    """A source of a user: a square wave that breaks after so many frames, and closes a list."""

    breaks_after: int = 1_000_000
    closed: list[bool] = field(factory=list, eq=False)

    def check(self, kind: str) -> None:
        if kind != "audio":
            raise SourceError("a square wave cannot be seen")

    def open_audio(self) -> AudioProducer:
        return _SquareProducer(self)

    def open_video(self) -> VideoProducer:
        raise NotImplementedError


class _SquareProducer:
    def __init__(self, source: Square) -> None:
        self._source = source
        self._left = source.breaks_after

    def read(self) -> Samples | None:
        if self._left == 0:
            raise SourceError("the square wave is over")
        self._left -= 1
        half = numpy.full(24, 8000, numpy.int16)
        return numpy.tile(numpy.concatenate((half, -half)), 20)  # 1000 Hz

    def close(self) -> None:
        self._source.closed.append(True)


def test_further_lines_have_sources_and_sinks_of_their_own(
    engines: tuple[AiortcEngine, AiortcEngine], tmp_path: Path
) -> None:
    slides = tmp_path / "slides.mkv"
    kept = Kept()
    setup = MediaSetup(
        audio=Tone(700.0),
        video=TestPattern(color=RED),
        further_video=(TestPattern(color=GREEN, width=160, height=120),),
    )
    a = End(engines[0], setup)
    b = End(engines[1], MediaSetup(sinks=(kept, Record(str(slides), video_line=1))))
    connect(a, b, "audio video video video")
    until(lambda: kept.lines == {("audio", 0), ("video", 0), ("video", 1), ("video", 2)})

    def colors() -> list[object]:
        return [line.color for line in b.stats().lines[1:]]

    until(lambda: all(_near(*pair) for pair in zip(colors(), (RED, GREEN, (0, 0, 0)), strict=True)))
    a.close()
    b.close()
    until(lambda: kept.closed and not any(t.name == "sipproto-record" for t in threading.enumerate()))
    assert "sipproto-media-worker" in kept.closed[0]
    with av.open(str(slides)) as container:
        pictures = list(container.decode(video=0))
    assert (pictures[0].width, pictures[0].height) == (160, 120)


def _near(seen: object, wanted: tuple[int, int, int]) -> bool:
    return isinstance(seen, tuple) and all(abs(a - b) < 20 for a, b in zip(seen, wanted, strict=True))


def test_a_line_keeps_its_number_when_one_before_it_goes(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a = End(engines[0], MediaSetup(video=TestPattern(color=RED), further_video=(TestPattern(color=GREEN),)))
    b = End(engines[1])
    connect(a, b, "video video")
    for end in (a, b):
        lines = tuple(line for line in end.session.lines if line.index != 0)
        end.apply(type(end.session)(lines=lines, transports=end.session.transports, cname=end.session.cname))
    until(sees(b, GREEN))
    a.engine.prepare(a.call, MediaSetup(video=TestPattern(color=RED), further_video=(TestPattern(color=BLUE),)))
    until(sees(b, BLUE))
    a.close()
    b.close()


def test_sinks_change_at_once(engines: tuple[AiortcEngine, AiortcEngine], tmp_path: Path) -> None:
    first, second, kept = tmp_path / "one.wav", tmp_path / "two.wav", Kept()
    a = End(engines[0], MediaSetup(audio=Tone(700.0)))
    b = End(engines[1], MediaSetup(record=str(first), sinks=(kept,)))
    connect(a, b)
    until(lambda: kept.lines)
    b.engine.prepare(b.call, MediaSetup(record=str(second), sinks=(kept,)))
    until(lambda: second.exists() and first.stat().st_size > 100)  # the first one is written out
    kept.lines.clear()
    until(lambda: kept.lines)
    assert not kept.closed  # an equal sink goes on
    b.engine.prepare(b.call, MediaSetup())
    until(lambda: kept.closed)
    until(lambda: not any(t.name == "sipproto-record" for t in threading.enumerate()))
    for path in (first, second):
        with av.open(str(path)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 0
    a.close()
    b.close()


def test_sources_and_sinks_of_users(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    square = Square()
    a, b = End(engines[0], MediaSetup(audio=square)), End(engines[1])
    connect(a, b)
    until(hears(b, 1000))
    a.close()
    b.close()
    until(lambda: square.closed)
    with pytest.raises(SourceError, match="cannot be seen"):
        MediaSetup(video=square).check()


def test_what_fails_during_a_call_is_told_and_left_out(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    troubles: queue.Queue[Trouble] = queue.Queue()

    def told(trouble: Trouble) -> None:
        troubles.put(trouble)
        raise RuntimeError("nobody minds")

    square, kept = Square(breaks_after=5), Kept(breaks_at=0)
    a = End(engines[0], MediaSetup(audio=square, video=TestPattern(color=RED), on_trouble=told))
    b = End(engines[1], MediaSetup(sinks=(kept,), on_trouble=told))
    connect(a, b, "audio video")
    told_of = {troubles.get(timeout=5), troubles.get(timeout=5)}
    assert told_of == {
        Trouble(part="audio", line=0, error="the square wave is over"),
        Trouble(part="sink", line=0, error="this sink is full"),
    }
    until(sees(b, RED))
    until(lambda: square.closed and kept.closed)
    a.engine.prepare(a.call, MediaSetup(audio=FileSource("/nonexistent/x.wav"), video=None, on_trouble=told))
    assert "ended early" in troubles.get(timeout=5).error
    a.engine.prepare(a.call, MediaSetup(audio=Square()))  # replaced while the call lives
    until(hears(b, 1000))
    a.close()
    b.close()


def test_a_setup_that_comes_while_a_session_is_applied(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    kept = Kept()

    @frozen
    class Meddler(Kept):
        """When it is opened, which is in the middle of the first ApplyMedia, it has another sink take its place."""

        def open(self, with_video: bool) -> SinkWriter:
            b.engine.prepare(b.call, MediaSetup(sinks=(kept,)))
            return self

    a = End(engines[0])
    b = End(engines[1], MediaSetup(sinks=(Meddler(),)))
    connect(a, b)
    until(lambda: kept.lines == {("audio", 0)})
    a.close()
    b.close()


def test_a_recording_that_fails_is_told_and_not_begun_anew(
    engines: tuple[AiortcEngine, AiortcEngine], tmp_path: Path
) -> None:
    troubles: queue.Queue[Trouble] = queue.Queue()
    full = tmp_path / "full.wav"
    full.symlink_to("/dev/full")
    setup = MediaSetup(record=str(full), on_trouble=troubles.put)
    a, b = End(engines[0], MediaSetup(audio=Tone(700.0))), End(engines[1], setup)
    connect(a, b)
    trouble = troubles.get(timeout=5)
    assert trouble.part == "sink" and trouble.error.endswith("No space left on device")
    b.engine.prepare(b.call, setup)
    b.apply(b.session)
    until(hears(b, 700))
    with pytest.raises(queue.Empty):
        troubles.get(timeout=0.3)
    a.close()
    b.close()


def test_a_source_that_failed_may_be_tried_again(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    troubles: queue.Queue[Trouble] = queue.Queue()
    setup = MediaSetup(audio=Square(breaks_after=30), on_trouble=troubles.put)
    a, b = End(engines[0], setup), End(engines[1])
    connect(a, b)
    troubles.get(timeout=5)
    a.engine.prepare(a.call, setup)
    troubles.get(timeout=5)
    a.close()
    b.close()


def test_mixing_a_call_with_two_audio_lines(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    mixer = AudioMixer()
    two = End(engines[0], MediaSetup(audio=Tone(500.0, 0.2), further_audio=(Tone(900.0, 0.05),)))
    one = End(engines[0], MediaSetup(audio=Tone(1300.0)))
    focus_of_two, focus_of_one = End(engines[1], MediaSetup(mixer=mixer)), End(engines[1], MediaSetup(mixer=mixer))
    connect(two, focus_of_two, "audio audio")
    connect(one, focus_of_one)
    assert mixer.members == 2

    def heard(end: End) -> list[int]:
        return [round(line.audio_frequency or 0, -1) for line in end.stats().lines]  # type: ignore[misc]

    until(lambda: heard(two) == [1300, 1300])  # each line hears the other call, not the other line
    until(lambda: heard(one) == [500])
    until(lambda: one.line().audio_level == pytest.approx((0.2**2 / 2 + 0.05**2 / 2) ** 0.5, rel=0.1))
    focus_of_two.engine.prepare(focus_of_two.call, MediaSetup())
    until(lambda: mixer.members == 1)
    for end in (two, one, focus_of_two, focus_of_one):
        end.close()


def test_an_echo_of_each_line(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a = End(engines[0], MediaSetup(video=TestPattern(color=RED), further_video=(TestPattern(color=BLUE),)))
    b = End(engines[1], MediaSetup(video=EchoSource(), further_video=(EchoSource(),)))
    connect(a, b, "video video")
    until(
        lambda: (
            [
                line.color is not None and _near(line.color, c)
                for line, c in zip(a.stats().lines, (RED, BLUE), strict=True)
            ]
            == [True, True]
        )
    )
    a.close()
    b.close()


def test_a_setup_before_and_after_the_call_does_no_harm(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a, b = End(engines[0]), End(engines[1])
    a.engine.prepare(a.call, MediaSetup(audio=Tone(600.0)))
    a.negotiator.add_line("audio")
    a.open()
    a.engine.prepare(a.call, MediaSetup(audio=Tone(800.0)))  # opened and not agreed on yet
    exchange(a, b)
    until(hears(b, 800))
    a.close()
    a.engine.prepare(a.call, MediaSetup(audio=Tone(900.0)))
    b.close()


def test_a_port_over_other_codecs_and_setups(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a, b = End(engines[0], MediaSetup(audio=Tone(700.0))), End(engines[1])
    port = a.engine.open_audio(a.call, rate=8000, latency=60.0)
    wave = numpy.sin(numpy.arange(8000 * 30) * 2 * numpy.pi * 1000 / 8000) * 8000
    port.write(wave.astype("<i2").tobytes())
    connect(a, b)
    until(hears(b, 1000))
    for name in ("PCMU", "opus"):
        lines = tuple(evolve(line, send=tuple(c for c in line.send if c.name == name)) for line in a.session.lines)
        a.perform(evolve(a.session, lines=lines))
        until(hears(b, 1000))
        assert a.line().codec == name
    a.engine.prepare(a.call, MediaSetup(audio=Tone(900.0)))
    left = port.queued
    until(lambda: port.queued < left - 0.5)  # the port keeps its place
    until(hears(b, 1000))
    port.close()
    until(hears(b, 900))
    again = a.engine.open_audio(a.call)
    a.close()
    until(lambda: again.ended)
    again.close()
    b.close()
