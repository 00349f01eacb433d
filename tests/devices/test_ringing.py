"""Call progress tones, and playing them outside of a call."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import numpy
import pytest

from sipproto_devices import BUSY, RINGBACK, RINGTONE, Cadence, Record, SourceError, Speaker, play
from tests.devices.hardware import FakeSound, strongest
from tests.media._rig import until


def _sound(cadence: Cadence, seconds: float) -> Any:
    producer = cadence.open_audio()
    parts = [producer.read() for _ in range(int(seconds * 50))]
    return numpy.concatenate([numpy.zeros(960, numpy.int16) if part is None else part for part in parts])


@pytest.mark.parametrize("table", [RINGBACK, BUSY, RINGTONE])
@pytest.mark.parametrize("country", ["de", "us", "ru"])
def test_tones_come_and_go_in_their_rhythm(table: dict[str, Cadence], country: str) -> None:
    cadence = table[country]
    on, off = cadence.cadence
    wave = _sound(cadence, 2 * (on + off))
    for start in (0.0, on + off):
        first = int(start * 48000)
        heard = wave[first : first + int(on * 48000)]
        spectrum = numpy.abs(numpy.fft.rfft(heard * numpy.hanning(len(heard))))
        for tone in cadence.tones:
            assert spectrum[round(tone * on)] > 0.3 * spectrum.max()
        assert numpy.max(numpy.abs(heard)) <= cadence.level * 32767
        assert not wave[first + int(on * 48000) : first + int((on + off) * 48000)].any()


def test_tones_do_not_click() -> None:
    wave = _sound(BUSY["de"], 2).astype(int)
    assert numpy.max(numpy.abs(numpy.diff(wave))) < 1.2 * 0.2 * 32767 * 2 * numpy.pi * 425 / 48000


def test_a_ringing_tone_is_played_at_a_speaker_until_it_is_stopped() -> None:
    card = FakeSound()
    with play(RINGBACK["de"], Speaker(library=card)):
        until(lambda: numpy.count_nonzero(card.played) > 24000)
    until(lambda: card.streams[0].closed)
    heard = card.played[numpy.flatnonzero(card.played)[0] :][:16000]
    assert strongest(heard) == pytest.approx(425, abs=5)
    until(lambda: not any(thread.name == "sipproto-playback" for thread in threading.enumerate()))


def test_playing_that_fails_is_told() -> None:
    card, told = FakeSound(), queue.Queue[str]()
    card.refuses = "Device unavailable"
    play(RINGTONE["us"], Speaker(library=card), told.put)
    assert told.get(timeout=5) == "the output device failed: Device unavailable"
    play(RINGTONE["us"], Record("/nonexistent/x.wav"), told.put)
    assert "cannot record" in told.get(timeout=5)


def test_playing_keeps_time() -> None:
    card = FakeSound()
    start = time.monotonic()
    with play(Cadence((400.0,), (10.0, 0.1)), Speaker(library=card)):
        until(lambda: numpy.count_nonzero(card.played) > 48000)
    assert time.monotonic() - start == pytest.approx(1.1, abs=0.5)


def test_what_is_no_cadence_is_refused() -> None:
    for tones, cadence in (
        ((), (1.0, 1.0)),
        ((425.0,), (1.0,)),
        ((425.0,), ()),
        ((-1.0,), (1.0, 1.0)),
        ((9.0,), (0.0, 1.0)),
    ):
        with pytest.raises(ValueError, match=r"tones are|a cadence has"):
            Cadence(tones, cadence)
    with pytest.raises(SourceError):
        BUSY["de"].check("video")
