"""What is heard in place of audio that is missing, and audio that takes a little more or less time.

Both rest on the pitch: the lag at which the sound resembles itself most. Samples are int16, one row for each, one column
for each channel.
"""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

Block = NDArray[numpy.int16]
_Wave = NDArray[numpy.float32]

# Seconds. A lag may hold several periods of the voice: it has one of each voice above 67 Hz, and repeats less often.
_LAGS = 0.005, 0.015
_COMPARED = 0.02  # of sound
_HISTORY = _LAGS[1] + _COMPARED
_OVERLAP = 0.005  # the cross-fade where sounds meet
_HOLD, _FADE = 0.02, 0.06  # what is made up is as loud as before for so long, and then fades to nothing
_COARSE = 8000  # Hz, at which lags are looked for at first
_ALIKE = 0.7  # correlation from which a piece may be taken out or repeated without being heard
_QUIET = 30.0  # RMS below which anything may be


def _mono(block: NDArray[numpy.generic]) -> _Wave:
    mean: _Wave = block.mean(axis=1, dtype=numpy.float32)
    return mean


def _faded(before: _Wave, after: _Wave) -> _Wave:
    """From one into the other, of equal lengths."""
    rise = numpy.linspace(0.0, 1.0, len(after) + 2, dtype=numpy.float32)[1:-1, numpy.newaxis]
    return (before * (1 - rise) + after * rise).astype(numpy.float32, copy=False)


def _block(wave: _Wave) -> Block:
    return numpy.clip(numpy.rint(wave), -32768, 32767).astype(numpy.int16)


def _likenesses(wave: _Wave, lags: range, compared: int) -> _Wave:
    """For each lag the correlation (-1 to 1) of the last `compared` samples with those so long before."""
    end = wave[-compared:]
    before = numpy.stack([wave[len(wave) - compared - lag : len(wave) - lag] for lag in lags])
    powers = numpy.einsum("ij,ij->i", before, before) * float(end @ end)
    likenesses: _Wave = (before @ end) / numpy.sqrt(numpy.maximum(powers, 1e-9))
    return likenesses


def best_lag(wave: _Wave, rate: int, shortest: int, longest: int, compared: int) -> tuple[int, float]:
    """The lag in samples at which the end of a wave resembles what came before, and how much (-1 to 1).

    The wave has to have `longest + compared` samples. It is looked for at 8 kHz first, then nearby at the full rate.
    """
    step = max(1, rate // _COARSE)
    coarse = wave[len(wave) % step :].reshape(-1, step).mean(axis=1)
    lags = range(max(1, shortest // step), longest // step)
    found = lags[int(numpy.argmax(_likenesses(coarse, lags, compared // step)))] * step
    around = range(max(shortest, found - step), min(longest, found + step) + 1)
    likenesses = _likenesses(wave, around, compared)
    best = int(numpy.argmax(likenesses))
    return around[best], float(likenesses[best])


class Concealer:
    """Makes up what is missing in a stream of sound, in the manner of ITU-T G.711 Appendix I.

    The last lag is repeated and fades to silence; where sounds meet they are cross-faded. rate: Hz.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self.rate = rate
        self._history = numpy.zeros((round(_HISTORY * rate), channels), numpy.float32)
        self._overlap = round(_OVERLAP * rate)
        self._period: _Wave | None = None  # what is repeated while something is missing
        self._made_up = 0  # samples since something is missing

    def heard(self, block: Block) -> Block:
        """Sound that is there; after something made up it is faded in."""
        wave = block.astype(numpy.float32)
        if self._period is not None:
            length = min(self._overlap, len(wave))
            wave[:length] = _faded(self._repeated(length), wave[:length])
            self._period = None
            block = _block(wave)
        self._remember(wave)
        return block

    def missing(self, count: int) -> Block:
        """So many samples in place of what is missing."""
        if self._period is None:
            self._period = self._pattern()
            self._made_up = 0
        wave = self._repeated(count)
        self._made_up += count
        self._remember(wave)
        return _block(wave)

    def silent(self, count: int) -> Block:
        """So many samples of silence, into which what was heard before fades."""
        if self._period is None:
            self._period = self._pattern()
        self._made_up = max(self._made_up, round(_HOLD * self.rate))
        return self.missing(count)

    def _pattern(self) -> _Wave:
        """The last lag; its end is faded into what came before its beginning, so that it can be repeated."""
        history, rate = self._history, self.rate
        compared = round(_COMPARED * rate)
        lag, _ = best_lag(_mono(history), rate, round(_LAGS[0] * rate), round(_LAGS[1] * rate), compared)
        period = history[-lag:].copy()
        overlap = min(self._overlap, lag // 2)
        period[-overlap:] = _faded(period[-overlap:], history[-lag - overlap : -lag])
        return period

    def _repeated(self, count: int) -> _Wave:
        assert self._period is not None
        at = self._made_up + numpy.arange(count)
        loudness = 1 - (at / self.rate - _HOLD) / _FADE
        return self._period[at % len(self._period)] * numpy.clip(loudness, 0, 1).astype(numpy.float32)[:, numpy.newaxis]

    def _remember(self, wave: _Wave) -> None:
        size = len(self._history)
        self._history = wave[-size:] if len(wave) >= size else numpy.concatenate((self._history[len(wave) :], wave))


def stretched(block: Block, rate: int, *, longer: bool, regardless: bool = False) -> Block:
    """A piece of sound with one lag more or less in it; as it is where that would be heard, unless `regardless` of that."""
    count = len(block)
    longest = min(round(_LAGS[1] * rate), count // 2)
    shortest = round(_LAGS[0] * rate) // 2
    compared = count - longest
    if longest <= shortest:
        return block
    wave = block.astype(numpy.float32)
    sound = _mono(wave)
    lag, likeness = best_lag(sound, rate, shortest, longest, min(compared, longest))
    is_quiet = float(sound @ sound) < _QUIET**2 * count
    if not (is_quiet or regardless or likeness >= _ALIKE):
        return block
    before, after = wave[-2 * lag : -lag], wave[-lag:]
    if longer:  # the last two lags, and from the last into the one before it and so to the last again
        return _block(numpy.concatenate((wave[:-lag], _faded(after, before), after)))
    return _block(numpy.concatenate((wave[: -2 * lag], _faded(before, after))))
