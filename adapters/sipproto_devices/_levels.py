"""Loudness: how loud something is, and a knob for it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

import numpy
from attrs import field, frozen
from av import VideoFrame

from sipproto_devices._media import AudioProducer, AudioSource, Samples, Sink, SinkWriter

FLOOR = -100.0  # dBFS: what digital silence is called
_FULL_SCALE = 32768.0
_WINDOW = 10  # frames of 20 ms
_STALE = 0.5  # seconds after which what was heard does not count any more


@frozen(kw_only=True)
class Level:
    """RMS and peak in dBFS, of which 0 is full scale and -100 the least; a sine at full scale has an RMS of -3."""

    rms: float = FLOOR
    peak: float = FLOOR


def decibels(amplitude: float) -> float:
    """dBFS of an amplitude relative to full scale."""
    return max(FLOOR, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR


def energy_of(samples: Samples) -> float:
    """The mean square, relative to full scale."""
    wave = samples.astype(numpy.float32) / _FULL_SCALE
    return float(numpy.dot(wave, wave)) / max(1, len(wave))


class Volume:
    """A volume knob and a level meter for a source or a sink; to be used from any thread, also during a call.

    volume = Volume(gain=-6.0)
    MediaSetup(audio=volume.source(Microphone()))

    gain: decibels, -60 to 30; what is too loud then is clipped. level: of the last 200 ms, behind gain and mute.
    One Volume is for one source or one sink.
    """

    def __init__(self, gain: float = 0.0, *, muted: bool = False) -> None:
        self.gain = gain
        self.muted = muted
        self._lock = threading.Lock()
        self._heard: deque[tuple[float, float, int]] = deque(maxlen=_WINDOW)

    @property
    def gain(self) -> float:
        return self._gain

    @gain.setter
    def gain(self, value: float) -> None:
        if not -60 <= value <= 30:
            raise ValueError(f"a gain is from -60 to 30 dB, not {value}")
        self._gain = value
        self._factor = 10 ** (value / 20)

    @property
    def level(self) -> Level:
        with self._lock:
            recent = [entry for entry in self._heard if time.monotonic() - entry[0] < _STALE]
        if not recent:
            return Level()
        energy = sum(entry[1] for entry in recent) / len(recent)
        return Level(rms=decibels(math.sqrt(energy)), peak=decibels(max(entry[2] for entry in recent) / _FULL_SCALE))

    def source(self, source: AudioSource) -> AudioSource:
        """The source behind this knob."""
        return _AdjustedSource(source, self)

    def sink(self, sink: Sink) -> Sink:
        """The sink behind this knob: its audio goes through, video passes."""
        return _AdjustedSink(sink, self)

    def adjust(self, samples: Samples) -> Samples:
        """20 ms as they are to be heard; the level is noted."""
        if self.muted:
            samples = numpy.zeros_like(samples)
        elif self._factor != 1.0:
            samples = numpy.clip(samples * self._factor, -32768, 32767).astype(numpy.int16)
        peak = int(numpy.max(numpy.abs(samples.astype(numpy.int32)), initial=0))
        with self._lock:
            self._heard.append((time.monotonic(), energy_of(samples), peak))
        return samples


@frozen
class _AdjustedSource:
    _inner: AudioSource
    _volume: Volume = field(repr=False)

    def check(self, kind: str) -> None:
        self._inner.check(kind)

    def open_audio(self) -> AudioProducer:
        return _AdjustedProducer(self._inner.open_audio(), self._volume)


class _AdjustedProducer:
    def __init__(self, inner: AudioProducer, volume: Volume) -> None:
        self._inner = inner
        self._volume = volume

    def read(self) -> Samples | None:
        samples = self._inner.read()
        return None if samples is None else self._volume.adjust(samples)

    def close(self) -> None:
        self._inner.close()


@frozen
class _AdjustedSink:
    _inner: Sink
    _volume: Volume = field(repr=False)

    def check(self) -> None:
        self._inner.check()

    def open(self, with_video: bool) -> SinkWriter:
        return _AdjustedWriter(self._inner.open(with_video), self._volume)


class _AdjustedWriter:
    def __init__(self, inner: SinkWriter, volume: Volume) -> None:
        self._inner = inner
        self._volume = volume

    def audio(self, samples: Samples, line: int) -> None:
        self._inner.audio(self._volume.adjust(samples), line)

    def video(self, frame: VideoFrame, line: int) -> None:
        self._inner.video(frame, line)

    def close(self) -> None:
        self._inner.close()
