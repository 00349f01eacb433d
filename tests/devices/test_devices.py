"""Microphones, speakers, cameras and what is put around them. The one thing that is not real is the sound card."""

from __future__ import annotations

import builtins
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from sipproto_aiortc import AiortcEngine
from sipproto_devices import (
    Camera,
    Device,
    DeviceError,
    DriftBuffer,
    MediaSetup,
    Microphone,
    Screen,
    SourceError,
    Speaker,
    TestPattern,
    Tone,
    Trouble,
    Volume,
    list_devices,
    look_for_devices,
)
from tests.devices.hardware import FakeSound, PortAudioError, sine, strongest
from tests.media._rig import End, connect, hears, until


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


def _no_thread(name: str) -> bool:
    return not any(thread.name == name for thread in threading.enumerate())


# -- sound ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "card",
    [FakeSound(), FakeSound(rate=44100, only=((44100, 2),)), FakeSound(rate=16000, only=((16000, 1),))],
    ids=["48000 mono", "44100 stereo", "16000 mono"],
)
def test_a_call_with_microphone_and_speaker(engines: tuple[AiortcEngine, AiortcEngine], card: FakeSound) -> None:
    card.hears = sine(1000.0)
    setup = MediaSetup(audio=Microphone("Mic", library=card), sinks=(Speaker(library=card),))
    setup.check()
    a, b = End(engines[0], setup), End(engines[1], MediaSetup(audio=Tone(600.0)))
    connect(a, b)
    until(hears(b, 1000))
    until(lambda: numpy.count_nonzero(card.played) > card.rate // 2)
    assert strongest(card.played[-card.rate // 4 :], card.rate) == pytest.approx(600, abs=6)
    a.close()
    b.close()
    until(lambda: all(stream.closed for stream in card.streams) and _no_thread("sipproto-device"))


def test_a_microphone_that_disappears_is_told_and_can_be_replaced(
    engines: tuple[AiortcEngine, AiortcEngine],
) -> None:
    card, other = FakeSound(), FakeSound()
    card.hears, other.hears = sine(1000.0), sine(1500.0)
    troubles: queue.Queue[Trouble] = queue.Queue()
    setup = MediaSetup(audio=Microphone(library=card), sinks=(Speaker(library=card),), on_trouble=troubles.put)
    a, b = End(engines[0], setup), End(engines[1], MediaSetup(audio=Tone(600.0)))
    connect(a, b)
    until(hears(b, 1000))
    card.unplugged = True
    told = {troubles.get(timeout=5), troubles.get(timeout=5)}
    assert told == {
        Trouble(part="audio", line=0, error="the input device is gone"),
        Trouble(part="sink", line=0, error="the output device is gone"),
    }
    until(lambda: b.line().audio_level == 0)
    a.engine.prepare(a.call, MediaSetup(audio=Microphone(library=other), sinks=(Speaker(library=other),)))
    until(hears(b, 1500))
    until(lambda: numpy.count_nonzero(other.played) > 4800)
    a.close()
    b.close()


def test_a_device_that_cannot_be_opened_is_told(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    card, troubles = FakeSound(), queue.Queue[Trouble]()
    card.refuses = "Device unavailable"
    a, b = End(engines[0], MediaSetup(audio=Microphone(library=card), on_trouble=troubles.put)), End(engines[1])
    connect(a, b)
    assert troubles.get(timeout=5).error == "the input device failed: Device unavailable"
    a.close()
    b.close()


def test_unknown_devices_are_refused_before_the_call() -> None:
    card = FakeSound()
    with pytest.raises(DeviceError, match="there is no input device 'Nothing': No input device matching"):
        MediaSetup(audio=Microphone("Nothing", library=card)).check()
    with pytest.raises(DeviceError, match="there is no output device 'Mic'"):
        MediaSetup(sinks=(Speaker("Mic", library=card),)).check()
    with pytest.raises(DeviceError, match="takes neither its own sample rate"):
        Speaker(library=FakeSound(only=((1, 1),))).check()
    with pytest.raises(SourceError, match="no source of video"):
        Microphone(library=card).check("video")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(error: Exception) -> None:
        def load(name: str, *arguments: Any) -> Any:
            if name == "sounddevice":
                raise error
            return real(name, *arguments)

        monkeypatch.setattr(builtins, "__import__", load)

    without(OSError("PortAudio library not found"))
    for use in (lambda: Microphone().check("audio"), lambda: Speaker().check(), lambda: list_devices("speaker")):
        with pytest.raises(DeviceError, match="on Debian install libportaudio2"):
            use()
    assert all(device.kind in ("camera", "screen") for device in list_devices())
    without(ImportError("No module named 'sounddevice'"))
    with pytest.raises(DeviceError, match=r"sipproto\[devices\]"):
        Speaker().check()


def test_what_is_plugged_in_later_is_found_while_nothing_is_open() -> None:
    card = FakeSound()
    card.plugged_in = [{"name": "Late", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 0}]
    producer = Microphone(library=card).open_audio()
    until(lambda: producer.read() is not None)
    assert not look_for_devices(card)
    producer.close()
    until(lambda: look_for_devices(card))
    assert [device.name for device in list_devices("microphone", library=card)] == ["Mic", "Late"]


def test_a_look_that_fails_can_be_tried_again() -> None:
    class Stubborn(FakeSound):
        running = True
        fails = True

        def _terminate(self) -> None:
            if not self.running:
                raise PortAudioError("PortAudio not initialized")
            self.running = False

        def _initialize(self) -> None:
            if self.fails:
                raise PortAudioError("Unanticipated host error")
            self.running = True

    card = Stubborn()
    with pytest.raises(DeviceError, match="Unanticipated host error"):
        look_for_devices(card)
    card.fails = False
    assert look_for_devices(card)


def test_devices_are_listed() -> None:
    card = FakeSound()
    assert list_devices("microphone", library=card) == (
        Device(kind="microphone", ident="Mic, Fake", name="Mic", default=True),
    )
    (speaker,) = (device for device in list_devices(library=card) if device.kind == "speaker")
    Speaker(speaker.ident, library=card).check()
    with pytest.raises(ValueError, match="no devices of the kind 'nose'"):
        list_devices("nose")


# -- two clocks ----------------------------------------------------------------------------------------------------------


def _run_buffer(buffer: DriftBuffer, pace: float, seconds: float) -> tuple[Any, list[int]]:
    """Writes a sine in blocks of 10 ms, `pace` times as fast as 20 ms are read; what came out, and the fill over time."""
    step = 2 * numpy.pi * 440 / 48000
    written, out, fill = 0, [], []
    for number in range(int(seconds * 50)):
        while written < (number + 1) * 960 * pace:
            wave = numpy.sin(step * numpy.arange(written, written + 480)) * 10000
            buffer.push(wave.astype(numpy.int16))
            written += 480
        part = buffer.read(960)
        out.append(numpy.zeros(960, numpy.int16) if part is None else part)
        fill.append(len(buffer._samples))
    return numpy.concatenate(out), fill


def test_equal_clocks_neither_drop_nor_insert() -> None:
    buffer = DriftBuffer(target=960, limit=9600, second=48000)
    _run_buffer(buffer, 1.0, 30)
    assert (buffer.dropped, buffer.inserted) == (0, 0)


def test_a_faster_writer_is_cut_without_a_click_and_with_little_delay() -> None:
    buffer = DriftBuffer(target=960, limit=9600, second=48000)
    out, fill = _run_buffer(buffer, 1.002, 60)
    assert buffer.dropped == pytest.approx(60 * 48000 * 0.002, abs=3000)
    assert max(fill) < 6000 and buffer.inserted == 0
    started = numpy.flatnonzero(out)[0]
    assert numpy.max(numpy.abs(numpy.diff(out[started:].astype(int)))) < 3 * 10000 * 2 * numpy.pi * 440 / 48000


def test_a_slower_writer_is_filled_up_with_silence_rarely() -> None:
    buffer = DriftBuffer(target=960, limit=9600, second=48000)
    out, _ = _run_buffer(buffer, 0.998, 60)
    silent = sum(not part.any() for part in out.reshape(-1, 960)[5:])
    assert 3 <= silent <= 12  # 0.2 % of 60 s, that is 120 ms of sound that is not there, and as much of cushion
    assert buffer.dropped == 0


def test_a_buffer_nobody_reads_stays_small() -> None:
    buffer = DriftBuffer(target=960, limit=9600, second=48000)
    for _ in range(1000):
        buffer.push(numpy.ones(960, numpy.int16))
    assert len(buffer._samples) == 9600


# -- pictures ------------------------------------------------------------------------------------------------------------


def test_a_camera_is_seen_and_its_end_is_told(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    troubles: queue.Queue[Trouble] = queue.Queue()
    camera = Camera("color=c=red:size=321x241:rate=15:duration=1.5,realtime", frame_rate=15, format="lavfi")
    a = End(engines[0], MediaSetup(video=camera, on_trouble=troubles.put))
    b = End(engines[1])
    connect(a, b, "video")

    def red() -> bool:
        line = b.line("video")
        return line.color is not None and line.color[0] > 200 and (line.frame_width, line.frame_height) == (320, 240)

    until(red)
    trouble = troubles.get(timeout=5)
    assert (trouble.part, trouble.line) == ("video", 0) and trouble.error.endswith("has ended")
    until(lambda: b.line("video").color == pytest.approx((0, 0, 0), abs=20))
    a.engine.prepare(a.call, MediaSetup(video=TestPattern(color=(0, 0, 255))))
    until(lambda: (b.line("video").color or (0, 0, 0))[2] > 200)
    a.close()
    b.close()
    until(lambda: _no_thread("sipproto-device"))


@pytest.mark.skipif(sys.platform != "linux", reason="the names of Linux")
def test_cameras_and_screens_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="there is no camera /dev/video77"):
        Camera("/dev/video77").check("video")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="DISPLAY is not set"):
        Screen().check("video")
    producer = Screen(":77").open_video()
    with pytest.raises(DeviceError, match="the screen ':77' failed: Input/output error"):
        until(lambda: producer.read())
    with pytest.raises(SourceError, match="a screen is no source of audio"):
        Screen(":77").check("audio")
    with pytest.raises(ValueError, match="a size is"):
        Camera(size=(1, 1))


# -- loudness ------------------------------------------------------------------------------------------------------------


def test_gain_mute_and_level_of_a_source() -> None:
    volume = Volume(gain=-6.0)
    producer = volume.source(Tone(1000.0, 0.5)).open_audio()
    assert volume.level.rms == volume.level.peak == -100

    def read() -> Any:
        for _ in range(10):
            samples = producer.read()
        return samples

    assert numpy.max(numpy.abs(read())) == pytest.approx(0.5 * 10 ** (-6 / 20) * 32767, rel=0.01)
    assert volume.level.peak == pytest.approx(-12.0, abs=0.1)
    assert volume.level.rms == pytest.approx(-15.0, abs=0.1)
    volume.gain = 20.0
    assert numpy.max(numpy.abs(read().astype(int))) == pytest.approx(32767, abs=2)  # clipped, not wrapped
    volume.muted = True
    assert not read().any()
    assert volume.level.rms == -100
    with pytest.raises(ValueError, match="from -60 to 30"):
        volume.gain = 31


def test_volume_of_a_speaker_in_a_call(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    card, volume = FakeSound(), Volume(gain=-20.0)
    a = End(engines[0], MediaSetup(audio=Tone(600.0, 0.5)))
    b = End(engines[1], MediaSetup(sinks=(volume.sink(Speaker(library=card)),)))
    connect(a, b)
    until(lambda: volume.level.rms == pytest.approx(-29, abs=1.5))
    until(lambda: len(card.played) and numpy.max(numpy.abs(card.played[-4800:])) == pytest.approx(1638, rel=0.15))
    volume.muted = True
    until(lambda: not card.played[-4800:].any())
    a.close()
    b.close()
