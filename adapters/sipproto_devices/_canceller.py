"""Echo cancellation: takes what a loudspeaker plays out of what the microphone beside it hears.

It is that of WebRTC, by the module for audio processing of the package livekit, which needs no server of that name.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy
from attrs import field, frozen
from av import VideoFrame

from sipproto_devices._media import (
    SAMPLE_RATE,
    SILENCE,
    AudioProducer,
    AudioSource,
    DeviceError,
    Samples,
    Sink,
    SinkWriter,
)

_STEP = SAMPLE_RATE // 100  # it works on frames of 10 ms


class EchoCanceller:
    """For one microphone and one speaker of a call.

    canceller = EchoCanceller()
    MediaSetup(audio=canceller.source(Microphone()), sinks=(canceller.sink(Speaker()),))

    A Volume for the speaker goes around it (`volume.sink(canceller.sink(...))`), so that what it takes for played is as
    loud as it really is; one for the microphone as well. It finds out the delay between the two itself, up to about half
    a second. Of a call with several audio lines it knows the first. noise_suppression: takes out steady noise, too.
    Raises DeviceError that says what to install.
    """

    def __init__(self, *, noise_suppression: bool = False) -> None:
        try:
            from livekit.rtc import AudioFrame
            from livekit.rtc.apm import AudioProcessingModule
        except ImportError:
            raise DeviceError("echo cancellation needs the extra: pip install 'sipproto[aec]'") from None
        self._frame = AudioFrame
        self._module: Any = AudioProcessingModule(
            echo_cancellation=True, noise_suppression=noise_suppression, high_pass_filter=True
        )
        self._lock = threading.Lock()  # the two sides may be served by two threads

    def source(self, microphone: AudioSource) -> AudioSource:
        """What the microphone hears, without what the speaker plays."""
        return _CleanedSource(microphone, self)

    def sink(self, speaker: Sink) -> Sink:
        """The speaker, whose first audio line is what is taken out."""
        return _ReferenceSink(speaker, self)

    def played(self, samples: Samples) -> None:
        """20 ms that the speaker is given now."""
        with self._lock:
            for frame in self._frames(samples):
                self._module.process_reverse_stream(frame)

    def clean(self, samples: Samples) -> Samples:
        """20 ms that the microphone heard, without the echo."""
        with self._lock:
            frames = self._frames(samples)
            for frame in frames:
                self._module.set_stream_delay_ms(0)
                self._module.process_stream(frame)
        return numpy.concatenate([numpy.frombuffer(bytes(frame.data.cast("B")), numpy.int16) for frame in frames])

    def _frames(self, samples: Samples) -> list[Any]:
        return [
            self._frame(bytearray(samples[start : start + _STEP].tobytes()), SAMPLE_RATE, 1, _STEP)
            for start in range(0, len(samples), _STEP)
        ]


@frozen
class _CleanedSource:
    _inner: AudioSource
    _canceller: EchoCanceller = field(repr=False)

    def check(self, kind: str) -> None:
        self._inner.check(kind)

    def open_audio(self) -> AudioProducer:
        return _CleanedProducer(self._inner.open_audio(), self._canceller)


class _CleanedProducer:
    def __init__(self, inner: AudioProducer, canceller: EchoCanceller) -> None:
        self._inner = inner
        self._canceller = canceller

    def read(self) -> Samples | None:
        samples = self._inner.read()
        return self._canceller.clean(SILENCE if samples is None else samples)

    def close(self) -> None:
        self._inner.close()


@frozen
class _ReferenceSink:
    _inner: Sink
    _canceller: EchoCanceller = field(repr=False)

    def check(self) -> None:
        self._inner.check()

    def open(self, with_video: bool) -> SinkWriter:
        return _ReferenceWriter(self._inner.open(with_video), self._canceller)


class _ReferenceWriter:
    def __init__(self, inner: SinkWriter, canceller: EchoCanceller) -> None:
        self._inner = inner
        self._canceller = canceller

    def audio(self, samples: Samples, line: int) -> None:
        if line == 0:
            self._canceller.played(samples)
        self._inner.audio(samples, line)

    def video(self, frame: VideoFrame, line: int) -> None:
        self._inner.video(frame, line)

    def close(self) -> None:
        self._inner.close()
