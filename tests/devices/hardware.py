"""Sound cards that are not there: the part of the module sounddevice that is used, with a thread in place of PortAudio's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy


class PortAudioError(Exception):
    pass


class FakeSound:
    """One microphone and one speaker of a host interface "Fake". What the speaker is given comes out of `played`.

    pace: how fast the clock of the cards runs, relative to ours; hears: what the microphone gives, by sample numbers.
    """

    PortAudioError = PortAudioError

    def __init__(self, *, rate: int = 48000, only: tuple[tuple[int, int], ...] = (), pace: float = 1.0) -> None:
        self.rate = rate
        self.only = only  # (rate, channels) that are taken; any when empty
        self.pace = pace
        self.default = SimpleNamespace(device=[0, 1])
        self.hears: Callable[[Any, int], Any] = lambda numbers, rate: numpy.zeros(len(numbers))
        self.streams: list[FakeStream] = []
        self.unplugged = False
        self.refuses: str | None = None
        self.plugged_in: list[dict[str, Any]] = []  # since the last time that PortAudio has looked
        self._devices: list[dict[str, Any]] = [
            {"name": "Mic", "hostapi": 0, "max_input_channels": 2, "max_output_channels": 0},
            {"name": "Box", "hostapi": 0, "max_input_channels": 0, "max_output_channels": 2},
        ]

    def _terminate(self) -> None:
        assert not any(stream.active for stream in self.streams), "PortAudio would close it"

    def _initialize(self) -> None:
        self._devices += self.plugged_in
        self.plugged_in = []

    def query_hostapis(self) -> list[dict[str, str]]:
        return [{"name": "Fake"}]

    def query_devices(self, device: object = None, kind: str = "") -> Any:
        if not kind:
            return self._devices
        for entry in self._devices:
            if device in (None, entry["name"], f"{entry['name']}, Fake") and entry[f"max_{kind}_channels"]:
                low = {f"default_low_{way}_latency": 0.01 for way in ("input", "output")}
                return {**entry, **low, "default_samplerate": float(self.rate)}
        raise ValueError(f"No {kind} device matching {device!r}")

    def _check(self, *, device: object, channels: int, dtype: str, samplerate: int) -> None:
        if self.only and (samplerate, channels) not in self.only:
            raise PortAudioError("Invalid sample rate")

    check_input_settings = check_output_settings = _check

    def InputStream(self, **settings: Any) -> FakeStream:
        return FakeStream(self, settings, is_input=True)

    def OutputStream(self, **settings: Any) -> FakeStream:
        return FakeStream(self, settings, is_input=False)

    @property
    def played(self) -> Any:
        """All that speakers were given so far, the first channel."""
        parts = [part for stream in self.streams for part in list(stream.heard)]
        return numpy.concatenate(parts) if parts else numpy.zeros(0, numpy.int16)


class FakeStream:
    def __init__(self, card: FakeSound, settings: dict[str, Any], *, is_input: bool) -> None:
        if card.refuses is not None:
            raise PortAudioError(card.refuses)
        self._card = card
        self._settings = settings
        self._input = is_input
        self.heard: list[Any] = []
        self.active = False
        self.closed = False
        card.streams.append(self)

    def __enter__(self) -> FakeStream:
        self.active = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.active = False
        self._thread.join()
        self.closed = True

    def _run(self) -> None:
        rate, size = self._settings["samplerate"], self._settings["blocksize"]
        start, number = time.monotonic(), 0
        while self.active:
            if self._card.unplugged:  # like a card that is pulled out: no more calls, and no word of it
                time.sleep(0.01)
                continue
            data = numpy.zeros((size, self._settings["channels"]), numpy.int16)
            if self._input:
                numbers = numpy.arange(number, number + size)
                data[:] = (self._card.hears(numbers, rate) * 32767).astype(numpy.int16)[:, numpy.newaxis]
            self._settings["callback"](data, size, None, None)
            if not self._input:
                self.heard.append(data[:, 0].copy())
            number += size
            time.sleep(max(0.0, start + number / rate / self._card.pace - time.monotonic()))


def sine(frequency: float, level: float = 0.3) -> Callable[[Any, int], Any]:
    return lambda numbers, rate: level * numpy.sin(2 * numpy.pi * frequency * numbers / rate)


def strongest(wave: Any, rate: int = 48000) -> float:
    """The strongest frequency."""
    return float(numpy.argmax(numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))) * rate / len(wave))
