"""Call progress tones: what a caller hears of a phone that rings or is busy, and what a phone rings with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import MappingProxyType, TracebackType

import numpy
from attrs import field, frozen, validators

from sipproto_devices._media import (
    FRAME_SAMPLES,
    FRAME_TIME,
    SAMPLE_RATE,
    SILENCE,
    AudioProducer,
    AudioSource,
    Samples,
    Sink,
    SourceError,
    log,
    reason,
)

_RAMP = 240  # samples: 5 ms, so that a tone does not click


def _are_tones(instance: object, attribute: object, value: tuple[float, ...]) -> None:
    if not value or not all(0 < tone < SAMPLE_RATE / 2 for tone in value):
        raise ValueError(f"tones are frequencies below {SAMPLE_RATE // 2} Hz, at least one, not {value}")


def _is_cadence(instance: object, attribute: object, value: tuple[float, ...]) -> None:
    if not value or len(value) % 2 or not all(0.02 <= length <= 60 for length in value):
        raise ValueError(f"a cadence has as many pauses as tones, each from 0.02 to 60 seconds long, not {value}")


@frozen
class Cadence:
    """Tones that come and go for ever. tones: Hz, together; cadence: seconds on, off, on, off ...; level: 0 to 1.

    The level is the amplitude of all tones together relative to full scale. A source of audio like any other.
    """

    tones: tuple[float, ...] = field(validator=_are_tones)
    cadence: tuple[float, ...] = field(validator=_is_cadence)
    level: float = field(default=0.2, kw_only=True, validator=[validators.ge(0), validators.le(1)])

    def check(self, kind: str) -> None:
        if kind != "audio":
            raise SourceError("a cadence is no source of video")

    def open_audio(self) -> AudioProducer:
        return _CadenceProducer(self)


# ITU-T E.180 supplement 2, as telephone switches are commonly set up for these countries.
RINGBACK = MappingProxyType(
    {
        "de": Cadence((425.0,), (1.0, 4.0)),
        "us": Cadence((440.0, 480.0), (2.0, 4.0)),
        "ru": Cadence((425.0,), (1.0, 4.0)),
    }
)
BUSY = MappingProxyType(
    {
        "de": Cadence((425.0,), (0.48, 0.48)),
        "us": Cadence((480.0, 620.0), (0.5, 0.5)),
        "ru": Cadence((425.0,), (0.35, 0.35)),
    }
)
# The rhythm is that of the country's bells; the two tones are ours.
RINGTONE = MappingProxyType(
    {
        "de": Cadence((660.0, 880.0), (1.0, 4.0)),
        "us": Cadence((660.0, 880.0), (2.0, 4.0)),
        "ru": Cadence((660.0, 880.0), (1.0, 4.0)),
    }
)


class _CadenceProducer:
    """Computed from the number of the sample, so that neither phase nor rhythm drift."""

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence
        self._edges = numpy.cumsum([round(length * SAMPLE_RATE) for length in cadence.cadence])
        self._next = 0

    def read(self) -> Samples | None:
        numbers = numpy.arange(self._next, self._next + FRAME_SAMPLES)
        self._next += FRAME_SAMPLES
        place = numbers % int(self._edges[-1])
        part = numpy.searchsorted(self._edges, place, side="right")
        starts = numpy.concatenate(([0], self._edges))[part]
        near_edge = numpy.minimum(place - starts, self._edges[part] - 1 - place)
        envelope = numpy.where(part % 2 == 0, numpy.clip(near_edge / _RAMP, 0.0, 1.0), 0.0)
        if not envelope.any():
            return None
        waves = [numpy.sin(2 * numpy.pi * tone * numbers / SAMPLE_RATE) for tone in self._cadence.tones]
        wave = sum(waves) / len(waves) * envelope * self._cadence.level * 32767
        return numpy.asarray(wave).astype(numpy.int16)

    def close(self) -> None: ...


class Playback:
    """A source that is played at a sink, outside of any call, until `stop` or the end of the block.

    with play(RINGBACK["de"], Speaker()):
        ...
    """

    def __init__(self, source: AudioSource, sink: Sink, on_trouble: Callable[[str], object] | None = None) -> None:
        self._source = source
        self._sink = sink
        self._on_trouble = on_trouble
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sipproto-playback", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends it within a fraction of a second, without waiting for that; may be called more than once."""
        self._stopped.set()

    def __enter__(self) -> Playback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            writer = self._sink.open(False)
            producer = self._source.open_audio()
            try:
                due = time.monotonic()
                while not self._stopped.wait(max(0.0, due - time.monotonic())):
                    samples = producer.read()
                    writer.audio(SILENCE if samples is None else samples, 0)
                    due = max(due + FRAME_TIME, time.monotonic() - FRAME_TIME)
            finally:
                producer.close()
                writer.close()
        except Exception as error:
            log.warning("playing failed: %s", reason(error))
            if self._on_trouble is not None:
                self._on_trouble(reason(error))


def play(source: AudioSource, sink: Sink, on_trouble: Callable[[str], object] | None = None) -> Playback:
    """Plays a source at a sink, for example a ringing tone at a speaker. Returns at once.

    on_trouble: told in one line why it ended early, on a thread of the library.
    """
    return Playback(source, sink, on_trouble)
