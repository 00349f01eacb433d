"""Figures out of decoded media. Computed only when somebody asks for statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from av import AudioFrame, VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

WINDOW = 0.5  # seconds of audio
_QUIET = 1e-4  # of full scale: below, the strongest frequency is noise


def analyse_audio(frames: Sequence[AudioFrame]) -> tuple[float | None, float | None]:
    """Of the last half second of these frames: RMS level (0 to 1 of full scale) and strongest frequency (Hz)."""
    if not frames:
        return None, None
    rate = frames[-1].sample_rate
    parts: list[NDArray[numpy.float64]] = []
    samples = 0
    for frame in reversed(frames):
        if frame.sample_rate != rate or samples >= WINDOW * rate:
            break  # another rate: the codec changed just now
        parts.append(mono(frame))
        samples += frame.samples
    wave = numpy.concatenate(parts[::-1])
    level = float(numpy.sqrt(numpy.mean(wave**2)))
    if level < _QUIET or len(wave) < 64:
        return level, None
    spectrum = numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))
    spectrum[0] = 0.0  # a constant offset is no tone
    peak = int(numpy.argmax(spectrum))
    return level, (peak + _between(spectrum, peak)) * rate / len(wave)


def _between(spectrum: NDArray[numpy.float64], peak: int) -> float:
    """How far beside its bin the peak lies (-0.5 to 0.5): the vertex of the parabola through three bins."""
    if not 0 < peak < len(spectrum) - 1:
        return 0.0
    left, middle, right = spectrum[peak - 1 : peak + 2]
    curve = left - 2 * middle + right
    return float(0.5 * (left - right) / curve) if curve else 0.0


def mono(frame: AudioFrame) -> NDArray[numpy.float64]:
    """The mean of all channels, from -1 to 1."""
    data = frame.to_ndarray()
    scale = 32768.0 if data.dtype == numpy.int16 else 1.0
    if not frame.format.is_planar:
        data = data.reshape(-1, len(frame.layout.channels)).T
    mean: NDArray[numpy.float64] = data.mean(axis=0, dtype=numpy.float64)
    return mean / scale


def mean_color(frame: VideoFrame) -> tuple[int, int, int]:
    """Mean red, green and blue, 0 to 255."""
    # Not by the frame's own converter: a recorder may be using that one on another thread.
    red, green, blue = VideoReformatter().reformat(frame, format="rgb24").to_ndarray().reshape(-1, 3).mean(axis=0)
    return round(red), round(green), round(blue)
