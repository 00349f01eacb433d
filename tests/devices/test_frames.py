"""The port that hands frames to a program, without a call."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from sipproto_devices import AudioFrames, MediaSetup, Tone, VideoFrames, VideoProducer, VoiceActivity, plain_picture


def _port(rate: int = 16000, **more: float) -> AudioFrames:
    settings = {"latency": 0.2, "threshold": -45.0, "hangover": 0.3, **more}
    return AudioFrames(rate=rate, wake=lambda: None, closed=lambda: None, **settings)


def _tone(seconds: float, level: float = 0.3) -> list[Any]:
    producer = Tone(1000.0, level).open_audio()
    return [producer.read() for _ in range(round(seconds * 50))]


def test_unread_chunks_go_the_oldest_first_and_are_counted() -> None:
    port = _port()
    writer = port.open(False)
    for samples in _tone(3.0):
        writer.audio(samples, 0)
    chunks = []
    while (chunk := port.read()) is not None:
        chunks.append(chunk)
    assert len(chunks) == 100
    assert port.dropped == pytest.approx(50, abs=1)  # a resampler may hold the last one
    assert [c.time for c in chunks] == sorted(c.time for c in chunks)


def test_another_line_is_not_heard() -> None:
    port = _port(48000)
    writer = port.open(False)
    writer.audio(_tone(0.02)[0], 1)
    assert port.read() is None
    writer.audio(_tone(0.02)[0], 0)
    assert port.read() is not None


def test_speaking_outlasts_what_is_loud() -> None:
    voice = VoiceActivity(threshold=-40.0, hangover=0.09)
    heard = [voice.hear(level, number * 0.02) for number, level in enumerate((-43, -13, *[-43] * 8, -40))]
    assert heard == [False, True, *[True] * 4, *[False] * 4, True]
    port = _port(48000, threshold=-40.0)
    writer = port.open(False)
    for level, expected, speaking in ((0.01, -43, False), (0.3, -13.5, True), (0.01, -43, True)):
        writer.audio(_tone(0.02, level)[0], 0)
        chunk = port.read()
        assert chunk is not None and chunk.level == pytest.approx(expected, abs=0.2) and chunk.speaking is speaking


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_what_is_written_is_sent_whole_and_then_silence(rate: int) -> None:
    port = _port(rate, latency=5.0)
    producer = port.open_audio()
    assert producer.read() is None
    wave = (numpy.sin(numpy.arange(rate + 7) * 2 * numpy.pi * 440 / rate) * 10000).astype("<i2")
    for start in range(0, 2 * len(wave), 334):  # in pieces that fit nothing
        assert port.write(wave.tobytes()[start : start + 334]) > 0
    assert port.queued == pytest.approx(1.0, abs=0.001)
    parts: list[Any] = []
    while (samples := producer.read()) is not None:
        assert len(samples) == 960
        parts.append(samples)
    assert port.queued == 0
    sent = numpy.concatenate(parts).astype(float)
    assert 48000 <= len(sent) <= 48000 + 2 * 960
    assert numpy.sqrt(numpy.mean(sent[:48000] ** 2)) == pytest.approx(10000 / 2**0.5, rel=0.02)
    assert numpy.argmax(numpy.abs(numpy.fft.rfft(sent[:48000]))) == 440
    port.write(wave.tobytes())
    assert numpy.any(producer.read())  # and it begins again


def test_no_more_is_queued_than_the_latency() -> None:
    port = _port(latency=0.1)
    assert port.write(bytes(10_000)) == 3200
    assert port.write(bytes(10_000)) == 0
    port.open_audio().read()
    assert port.write(bytes(10_000)) > 0
    assert port.flush() == pytest.approx(0.1)
    port.end()
    assert port.write(bytes(100)) == 0


def test_a_port_takes_the_place_of_the_source_only() -> None:
    setup = MediaSetup(audio=Tone(500.0), record="x.wav")
    port, pictures = _port(), VideoFrames(wake=lambda: None, closed=lambda: None)
    both = pictures.over(port.over(setup))
    assert (both.audio, both.video, both.record) == (port, pictures, "x.wav")
    assert both.sinks == (port, pictures)
    both_again = port.over(setup)
    assert both_again.audio == both.audio


def test_of_pictures_the_newest_wins() -> None:
    port = VideoFrames(wake=lambda: None, closed=lambda: None)
    writer = port.open(True)
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        writer.video(plain_picture(64, 48, color), 0)
    writer.video(plain_picture(64, 48, (255, 255, 255)), 1)
    picture = port.read()
    assert picture is not None and (picture.width, picture.height) == (64, 48)
    assert picture.pixels.dtype == numpy.uint8 and picture.pixels[10, 10, 2] > 220 and picture.pixels[10, 10, 0] < 30
    assert port.dropped == 2 and port.read() is None
    producer: VideoProducer = port.open_video()
    for value in (10, 200):
        port.write(numpy.full((33, 40, 3), value, numpy.uint8))
    frame = producer.read()
    assert frame is not None and (frame.width, frame.height) == (40, 32) and frame.format.name == "yuv420p"
    assert frame.to_ndarray(format="rgb24").mean() == pytest.approx(200, abs=3)
    assert producer.read() is None
