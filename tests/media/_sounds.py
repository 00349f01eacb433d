"""Sounds for tests, at 48 kHz mono from -1 to 1."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy
from numpy.typing import NDArray

Wave = NDArray[numpy.float64]


def tone(seconds: float, frequency: float = 440.0) -> Wave:
    return 0.3 * numpy.sin(2 * numpy.pi * frequency * numpy.arange(round(seconds * 48000)) / 48000)


def voice(seconds: float, *, pauses: bool = True) -> Wave:
    """Syllables of a gliding pitch with harmonics, and a little noise; with pauses half of the time."""
    t = numpy.arange(round(seconds * 48000)) / 48000
    pitch = 130 + 25 * numpy.sin(2 * numpy.pi * 0.7 * t) + 8 * numpy.sin(2 * numpy.pi * 5 * t)
    phase = 2 * numpy.pi * numpy.cumsum(pitch) / 48000
    harmonics = sum(numpy.sin(n * phase) / n for n in range(1, 16))
    loudness = numpy.clip(1.4 * numpy.sin(2 * numpy.pi * 1.6 * t), 0 if pauses else 0.5, 1)
    noise = numpy.random.default_rng(3).normal(0, 0.004, len(t))
    spoken: Wave = 0.15 * loudness * harmonics + noise
    return spoken


def write_wav(path: Path, sound: Wave) -> str:
    """The path as it is given to sources."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return str(path)
