"""Echo cancellation, with the real module and an echo of our own making."""

from __future__ import annotations

import sys
from typing import Any

import numpy
import pytest

from sipproto_devices import SILENCE, AudioProducer, DeviceError, EchoCanceller, Samples, SinkWriter

_DELAY = 40  # milliseconds from the speaker to the microphone


class _Room:
    """A speaker and a microphone of one room: a sink and a source. Half of what is played is heard a little later."""

    def __init__(self, near: Any = None) -> None:
        self._echo = numpy.zeros(48 * _DELAY, numpy.int16)
        self._near = near

    def check(self, kind: str = "") -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return self

    def open_audio(self) -> AudioProducer:
        return self

    def audio(self, samples: Samples, line: int) -> None:
        self._echo = numpy.concatenate((self._echo, samples // 2))

    def video(self, frame: object, line: int) -> None: ...

    def read(self) -> Samples:
        heard, self._echo = self._echo[:960], self._echo[960:]
        if self._near is not None:
            near, self._near = self._near[:960], self._near[960:]
            heard = heard + near
        return heard

    def close(self) -> None: ...


def _noise(seconds: float) -> Any:
    return (numpy.random.default_rng(1).normal(0, 3000, int(seconds * 48000))).astype(numpy.int16)


def _rms(wave: Any) -> float:
    return float(numpy.sqrt(numpy.mean(wave.astype(float) ** 2)))


def _through(room: _Room, far: Any) -> Any:
    canceller = EchoCanceller()
    writer, producer = canceller.sink(room).open(False), canceller.source(room).open_audio()
    cleaned = []
    for start in range(0, len(far), 960):
        writer.audio(far[start : start + 960], 0)
        samples = producer.read()
        assert samples is not None and len(samples) == len(SILENCE) and samples.dtype == numpy.int16
        cleaned.append(samples)
    return numpy.concatenate(cleaned)


def test_the_echo_goes() -> None:
    far = _noise(4)
    cleaned = _through(_Room(), far)
    assert 20 * numpy.log10(_rms(far[-48000:] / 2) / _rms(cleaned[-48000:])) > 25  # dB


def test_who_speaks_stays() -> None:
    near = (numpy.sin(numpy.arange(4 * 48000) * 2 * numpy.pi * 440 / 48000) * 6000).astype(numpy.int16)
    cleaned = _through(_Room(near), numpy.zeros(4 * 48000, numpy.int16))
    assert _rms(cleaned[-48000:]) == pytest.approx(_rms(near[-48000:]), rel=0.2)


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    with pytest.raises(DeviceError, match=r"sipproto\[aec\]"):
        EchoCanceller()
