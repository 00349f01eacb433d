"""Microphones and speakers, by PortAudio (the Python package sounddevice).

PortAudio calls us on threads of its own, which must not wait: they only copy from or to a DriftBuffer. Opening and closing
a device takes long, so a thread for each stream does it.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy
from attrs import field, frozen
from av import AudioResampler, VideoFrame

from sipproto_devices._buffers import DriftBuffer
from sipproto_devices._media import (
    FRAME_SAMPLES,
    SAMPLE_RATE,
    AudioProducer,
    DeviceError,
    Samples,
    SinkWriter,
    SourceError,
    frame_of,
    mix,
    reason,
    samples_of,
)

_STALL = 2.0  # seconds without a call of PortAudio after which a device is gone: it often does not say so itself
_LOOK = 0.2  # seconds between two looks at that
_CLOSING = 2.0  # seconds to wait for a device to be closed
_CUSHIONS = {
    "input": 0.02,
    "output": 0.04,
}  # seconds: what comes over the network is less even than what a device gives
_LIMIT = 0.2  # seconds
ASKING = threading.RLock()  # who asks PortAudio for devices, or has it look for them anew
# Seconds that a device may be ahead of us. What sound servers call low, 10 to 20 ms, runs dry whenever Python's threads
# wait for a busy processor; devices that are slower say so themselves.
_LATENCY = 0.04


def sound_library(library: Any = None) -> Any:
    """The module sounddevice, or the one given in its place. Raises DeviceError that says what to install."""
    if library is not None:
        return library
    try:
        import sounddevice
    except ImportError:
        raise DeviceError("sound devices need the extra: pip install 'sipproto[devices]'") from None
    except OSError:
        raise DeviceError("sound devices need the library PortAudio: on Debian install libportaudio2") from None
    return sounddevice


def look_for_devices(library: Any = None) -> bool:
    """Has PortAudio look for sound devices anew: it knows those that were there when the program first asked.

    Returns False, and does nothing, while a Microphone or Speaker of this process is open: PortAudio would close it. So it
    does with streams that the program opened itself by sounddevice: then leave this alone. May take a second.
    library: what to use in place of the module sounddevice. Raises DeviceError when there is no PortAudio any more.
    """
    with ASKING:
        if _OPEN:
            return False
        found = sound_library(library)
        try:
            found._terminate()
        except found.PortAudioError:
            pass  # it could not be begun anew the last time
        try:
            found._initialize()
        except found.PortAudioError as error:
            raise DeviceError(f"sound devices cannot be looked for: {reason(error)}") from None
        return True


@frozen
class Microphone:
    """What a microphone hears. device: a name as `list_devices` gives it or a part of one, or None for the default.

    Each line or call that sends it opens it anew; most sound servers allow that, bare ALSA devices do not. When it
    disappears the call sends silence and tells `on_trouble`. library: what to use in place of the module sounddevice.
    """

    device: int | str | None = None
    library: Any = field(default=None, kw_only=True, repr=False)

    def check(self, kind: str) -> None:
        if kind != "audio":
            raise SourceError("a microphone is no source of video")
        _settings(sound_library(self.library), self.device, "input")

    def open_audio(self) -> AudioProducer:
        return _MicrophoneProducer(self)


@frozen
class Speaker:
    """Plays all audio lines of a call. device: a name as `list_devices` gives it or a part of one, or None for the default.

    library: what to use in place of the module sounddevice.
    """

    device: int | str | None = None
    library: Any = field(default=None, kw_only=True, repr=False)

    def check(self) -> None:
        _settings(sound_library(self.library), self.device, "output")

    def open(self, with_video: bool) -> SinkWriter:
        return _SpeakerWriter(self)


def _settings(library: Any, device: int | str | None, direction: str) -> tuple[int, int, float]:
    """Sample rate, channels and latency to open a device with. Raises DeviceError when there is no such device."""
    name = f"default {direction} device" if device is None else f"{direction} device {device!r}"
    with ASKING:
        return _fitting(library, device, direction, name)


def _fitting(library: Any, device: int | str | None, direction: str, name: str) -> tuple[int, int, float]:
    try:
        known = library.query_devices(device, direction)
        rate, most = round(known["default_samplerate"]), int(known[f"max_{direction}_channels"])
        check = library.check_input_settings if direction == "input" else library.check_output_settings
        latency = max(_LATENCY, float(known[f"default_low_{direction}_latency"]))
        for wanted, channels in ((SAMPLE_RATE, 1), (rate, 1), (rate, min(2, most))):
            try:
                check(device=device, channels=channels, dtype="int16", samplerate=wanted)
            except library.PortAudioError:
                continue
            return wanted, channels, latency
    except (library.PortAudioError, ValueError) as error:
        raise DeviceError(f"there is no {name}: {reason(error)}") from None
    raise DeviceError(f"the {name} takes neither its own sample rate nor {SAMPLE_RATE} Hz")


class _Stream:
    """One PortAudio stream in a thread that opens, watches and closes it."""

    def __init__(self, library: Any, device: int | str | None, direction: str) -> None:
        self._given = library
        self._device = device
        self._direction = direction
        self._stopped = threading.Event()
        self._called = time.monotonic()
        self._failure: DeviceError | None = None
        self.rate = 0  # not open yet
        self._thread = threading.Thread(target=self._run, name="sipproto-device", daemon=True)

    def begin(self, callback: Callable[[Any, int], None], opened: Callable[[int], None]) -> None:
        """`callback` gets an array of samples by channels, to be read or filled, and their number, on PortAudio's thread.

        `opened` gets the sample rate before the first of these calls.
        """
        self._callback, self._opened = callback, opened
        self._thread.start()

    def check(self) -> None:
        """Raises DeviceError when the device could not be opened or is gone."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        self._stopped.set()

    def join(self) -> None:
        self._thread.join(_CLOSING)

    def _called_back(self, data: Any, frames: int, moment: object, status: object) -> None:
        self._called = time.monotonic()
        self._callback(data, frames)

    def _run(self) -> None:
        name = f"the {self._direction} device {'' if self._device is None else repr(self._device)}".strip()
        try:
            library = sound_library(self._given)
            _close_at_exit()
            with ASKING:
                _OPEN.add(self)
            self.rate, channels, latency = _settings(library, self._device, self._direction)
            self._opened(self.rate)
            kind = library.InputStream if self._direction == "input" else library.OutputStream
            with kind(
                samplerate=self.rate,
                channels=channels,
                device=self._device,
                dtype="int16",
                blocksize=self.rate // 100,
                latency=latency,
                callback=self._called_back,
            ) as stream:
                self._called = time.monotonic()
                while not self._stopped.wait(_LOOK):
                    if not stream.active or time.monotonic() - self._called > _STALL:
                        raise DeviceError(f"{name} is gone")
        except DeviceError as error:
            self._failure = error
        except Exception as error:
            self._failure = DeviceError(f"{name} failed: {reason(error)}")
        finally:
            _OPEN.discard(self)


_OPEN: set[_Stream] = set()


@cache
def _close_at_exit() -> None:
    """Once sounddevice is imported, so that it goes before that one's own end.

    There PortAudio waits for its threads, and they for an interpreter that calls nobody back any more.
    """
    atexit.register(_close_all)


def _close_all() -> None:
    streams = list(_OPEN)
    for stream in streams:
        stream.end()
    for stream in streams:
        stream.join()


def _buffer(rate: int, direction: str) -> DriftBuffer:
    return DriftBuffer(target=round(_CUSHIONS[direction] * rate), limit=round(_LIMIT * rate), second=rate)


class _MicrophoneProducer:
    def __init__(self, microphone: Microphone) -> None:
        self._stream = _Stream(microphone.library, microphone.device, "input")
        self._buffer: DriftBuffer | None = None
        self._resampler: AudioResampler | None = None
        self._stream.begin(self._heard, self._opened)

    def _opened(self, rate: int) -> None:
        if rate != SAMPLE_RATE:
            self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE, frame_size=FRAME_SAMPLES)
        self._buffer = _buffer(rate, "input")

    def _heard(self, data: Any, frames: int) -> None:
        assert self._buffer is not None
        mono = data[:, 0].copy() if data.shape[1] == 1 else data.mean(axis=1).astype(numpy.int16)
        self._buffer.push(mono)

    def read(self) -> Samples | None:
        self._stream.check()
        if self._buffer is None:
            return None
        rate = self._stream.rate
        samples = self._buffer.read(rate // 50)
        if samples is None or self._resampler is None:
            return samples
        parts = self._resampler.resample(frame_of(samples, rate))
        return samples_of(parts[0]) if parts else None

    def close(self) -> None:
        self._stream.end()


class _SpeakerWriter:
    def __init__(self, speaker: Speaker) -> None:
        self._stream = _Stream(speaker.library, speaker.device, "output")
        self._buffers: dict[int, tuple[DriftBuffer, AudioResampler | None]] = {}  # by line; replaced, never changed
        self._stream.begin(self._wanted, lambda rate: None)

    def _wanted(self, data: Any, frames: int) -> None:
        parts = [part for buffer, _ in self._buffers.values() if (part := buffer.read(frames)) is not None]
        mixed = mix(parts)
        data[:] = 0 if mixed is None else mixed[:, numpy.newaxis]

    def audio(self, samples: Samples, line: int) -> None:
        self._stream.check()
        rate = self._stream.rate
        if not rate:
            return  # what was said while the device is being opened is over
        if line not in self._buffers:
            resampler = None if rate == SAMPLE_RATE else AudioResampler("s16", "mono", rate)
            self._buffers = {**self._buffers, line: (_buffer(rate, "output"), resampler)}
        buffer, resampler = self._buffers[line]
        if resampler is None:
            buffer.push(samples)
            return
        for part in resampler.resample(frame_of(samples)):
            buffer.push(samples_of(part))

    def video(self, frame: VideoFrame, line: int) -> None: ...

    def close(self) -> None:
        self._stream.end()
        self._stream.join()
