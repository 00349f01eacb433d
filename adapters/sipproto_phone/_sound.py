"""What calls hear and say: devices by the settings, tones of the phone, and sound without any hardware."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
import numpy
from attrs import define, evolve, field, frozen
from av import AudioFrame, VideoFrame

from sipproto_devices import (
    BUSY,
    RINGBACK,
    RINGTONE,
    SAMPLE_RATE,
    AudioSource,
    Cadence,
    DeviceError,
    EchoCanceller,
    MediaSetup,
    Microphone,
    Playback,
    Samples,
    Silence,
    Sink,
    SinkWriter,
    Speaker,
    Tone,
    Trouble,
    Volume,
    analyse_audio,
    list_devices,
    look_for_devices,
    play,
)
from sipproto_phone.model import AudioDevice, Devices
from sipproto_phone.ports import Settings

_COUNTRIES = {"RU": "ru", "US": "us", "CA": "us"}  # whose tones are played; others hear those of ITU-T, as in "de"
_WAITING = Cadence((425.0,), (0.2, 4.8), level=0.1)  # heard in a call when another caller waits
_WINDOW = 25  # frames of 20 ms
_STALE = 0.5  # seconds
_QUIETEST = 0.001  # of full scale: -60 dB


class Meter:
    """Takes what would be heard, by place ("speaker", "ringer"), and measures it: sound without hardware."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, deque[tuple[float, Samples]]] = {}

    def sink(self, place: str) -> Sink:
        return _MeterSink(meter=self, place=place)

    def take(self, place: str, samples: Samples) -> None:
        with self._lock:
            self._heard.setdefault(place, deque(maxlen=_WINDOW)).append((time.monotonic(), samples))

    def heard(self, place: str = "speaker") -> tuple[float, float | None]:
        """Of the last half second: RMS level (0 to 1 of full scale), and the strongest frequency in Hz."""
        with self._lock:
            recent = [part for at, part in self._heard.get(place, ()) if time.monotonic() - at < _STALE]
        frames: list[AudioFrame] = []
        for samples in recent:
            frame = AudioFrame.from_ndarray(
                numpy.ascontiguousarray(samples).reshape(1, -1), format="s16", layout="mono"
            )
            frame.sample_rate = SAMPLE_RATE
            frames.append(frame)
        level, frequency = analyse_audio(frames)
        return level or 0.0, frequency


@frozen(kw_only=True)
class _MeterSink:
    meter: Meter = field(repr=False)
    place: str

    def check(self) -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return _MeterWriter(self.meter, self.place)


class _MeterWriter:
    def __init__(self, meter: Meter, place: str) -> None:
        self._meter = meter
        self._place = place

    def audio(self, samples: Samples, line: int) -> None:
        self._meter.take(self._place, samples)

    def video(self, frame: VideoFrame, line: int) -> None: ...

    def close(self) -> None: ...


@define(kw_only=True, eq=False)
class CallSound:
    """The sound of one call. resting: held by us, so that nobody hears our microphone. on_change: of any of these."""

    microphone: Volume = field(factory=Volume)
    speaker: Volume = field(factory=Volume)
    canceller: EchoCanceller | None = None
    resting: bool = False
    apply: Callable[[MediaSetup], object] = field(default=lambda _: None)


class Sound:
    """Microphone, speaker and ringer of the phone, and which calls use them.

    devices: False: no sound hardware at all; the microphone is silence, or a tone of this frequency (Hz), and what would be
    heard is measured by `meter`. library: in place of the module sounddevice. changed: told when the devices or what is
    wrong with them have changed, on any thread; trouble: told once for each device that fails, in one line, likewise.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        devices: bool,
        tone: float | None,
        library: Any,
        changed: Callable[[], None],
        trouble: Callable[[str], None],
    ) -> None:
        self.meter = Meter()
        self._devices = devices
        self._tone = tone
        self._library = library
        self._changed = changed
        self._trouble = trouble
        self._settings = settings
        self._lock = threading.Lock()
        self._broken: dict[tuple[str, str], str] = {}  # kind and name of a device, and why
        self._listed: dict[str, tuple[AudioDevice, ...]] = {}
        self._problem = ""  # why there are no devices at all
        self._calls: list[CallSound] = []
        self._playing: tuple[str, Playback] | None = None

    # -- devices -----------------------------------------------------------------------------------------------------

    def view(self) -> Devices:
        """As it is shown."""
        with self._lock:
            problem = next(iter(self._broken.values()), self._problem)
        return Devices(
            microphones=self._listed.get("microphone", ()),
            speakers=self._listed.get("speaker", ()),
            microphone=self._settings.microphone,
            speaker=self._settings.speaker,
            ringer=self._settings.ringer,
            problem=problem,
        )

    async def refresh(self) -> None:
        """Looks for devices, and tries those again that had failed. New ones are found while none is in use."""
        if not self._devices:
            return
        with self._lock:
            again = list(self._broken)
            self._problem = ""
        try:
            await anyio.to_thread.run_sync(look_for_devices, self._library)
        except Exception as error:  # as below
            self._problem = str(error)
        for kind in ("microphone", "speaker"):
            try:
                found = await anyio.to_thread.run_sync(partial(list_devices, kind, library=self._library))
            except Exception as error:  # those of PortAudio have no class that is known without it
                self._problem, found = str(error), ()
            self._listed[kind] = tuple(AudioDevice(name=one.ident, label=one.name) for one in found)
        with self._lock:
            for key in again:
                self._broken.pop(key, None)
        await self.prepare()
        self._apply()
        self._changed()

    async def prepare(self) -> None:
        """Finds out which devices cannot be used, before a call does. Waits for PortAudio, on another thread."""
        if self._devices:
            for kind, name in (("microphone", self._settings.microphone), ("speaker", self._settings.speaker)):
                await anyio.to_thread.run_sync(self._check, kind, name)

    def _check(self, kind: str, name: str) -> None:
        if (kind, name) in self._broken:
            return
        try:
            if kind == "microphone":
                self._microphone(name).check("audio")
            else:
                self._output(name).check()
        except DeviceError as error:
            self._fails(kind, name, str(error))

    def _fails(self, kind: str, name: str, error: str) -> None:
        """On any thread. Each device is told of once, until it is chosen anew or looked for again."""
        with self._lock:
            known = (kind, name) in self._broken
            self._broken[(kind, name)] = error
        if not known:
            self._trouble(error)
            self._changed()

    def _microphone(self, name: str) -> AudioSource:
        return Microphone(name or None, library=self._library)

    def _output(self, name: str) -> Sink:
        return Speaker(name or None, library=self._library)

    def _usable(self, kind: str, name: str) -> str | None:
        """A device that is not known to be broken: the one chosen, else the default; None for neither."""
        with self._lock:
            return next((one for one in (name, "") if (kind, one) not in self._broken), None)

    def _source(self) -> AudioSource:
        if not self._devices:
            return Silence() if self._tone is None else Tone(self._tone)
        name = self._usable("microphone", self._settings.microphone)
        return Silence() if name is None else self._microphone(name)

    def _sink(self, place: str, name: str) -> Sink | None:
        if not self._devices:
            return self.meter.sink(place)
        usable = self._usable("speaker", name)
        return None if usable is None else self._output(usable)

    # -- settings ----------------------------------------------------------------------------------------------------

    def use(self, settings: Settings) -> None:
        """Goes over to other settings, also in running calls."""
        before, self._settings = self._settings, settings
        chosen = ("microphone", "speaker", "ringer")
        with self._lock:
            for kind in chosen:
                if getattr(before, kind) != getattr(settings, kind):
                    self._broken.pop(
                        ("microphone" if kind == "microphone" else "speaker", getattr(settings, kind)), None
                    )
        for call in self._calls:
            self._set_volume(call)
        self._apply()

    def _set_volume(self, call: CallSound) -> None:
        volume = self._settings.volume
        call.speaker.muted = volume < _QUIETEST
        call.speaker.gain = 20 * math.log10(max(volume, _QUIETEST))

    # -- calls -------------------------------------------------------------------------------------------------------

    def join(self, apply: Callable[[MediaSetup], object]) -> CallSound:
        """A call that wants sound: `apply` is given its setup whenever that changes."""
        call = CallSound(apply=apply)
        if self._settings.echo_cancellation and self._devices:
            try:
                call.canceller = EchoCanceller()
            except DeviceError as error:
                self._fails("echo", "", str(error))
        self._set_volume(call)
        self._calls.append(call)
        return call

    def leave(self, call: CallSound) -> None:
        if call in self._calls:
            self._calls.remove(call)

    def rest(self, call: CallSound, resting: bool) -> None:
        """Our hold: the microphone is not sent, and neither device is open."""
        call.resting = resting
        call.apply(self.setup(call))

    def setup(self, call: CallSound) -> MediaSetup:
        """What this call sends and where what it receives goes, by the settings as they are now."""
        if call.resting:
            return MediaSetup()
        source, sink = self._source(), self._sink("speaker", self._settings.speaker)
        used = {
            "audio": ("microphone", self._usable("microphone", self._settings.microphone)),
            "sink": ("speaker", self._usable("speaker", self._settings.speaker)),
        }
        if call.canceller is not None and sink is not None:
            source, sink = call.canceller.source(source), call.canceller.sink(sink)
        return MediaSetup(
            audio=call.microphone.source(source),
            sinks=() if sink is None else (call.speaker.sink(sink),),
            on_trouble=partial(self._told, used),
        )

    def _apply(self) -> None:
        for call in list(self._calls):
            call.apply(self.setup(call))

    def _told(self, used: dict[str, tuple[str, str | None]], trouble: Trouble) -> None:
        """On the media thread: a device of a call is gone. The call goes on, with the default device if there is one."""
        kind, name = used.get(trouble.part, ("", None))
        if name is not None:
            self._fails(kind, name, trouble.error)

    def recover(self) -> None:
        """Has all calls go over to the devices that are left. On the event loop, after a trouble."""
        self._apply()

    # -- tones -------------------------------------------------------------------------------------------------------

    def want(self, tone: str) -> None:
        """Plays a tone until another is wanted: ringtone, ringback, busy, waiting, or "" for none."""
        if (self._playing[0] if self._playing else "") == tone:
            return
        if self._playing is not None:
            self._playing[1].stop()
            self._playing = None
        if not tone:
            return
        country = _COUNTRIES.get(self._settings.region.upper(), "de")
        cadence = {"ringtone": RINGTONE[country], "ringback": RINGBACK[country], "busy": BUSY[country]}.get(
            tone, _WAITING
        )
        place, name = ("ringer", self._settings.ringer) if tone == "ringtone" else ("speaker", self._settings.speaker)
        sink = self._sink(place, name)
        if sink is not None:
            usable = self._usable("speaker", name) or ""
            self._playing = (tone, play(cadence, sink, lambda error: self._fails("speaker", usable, error)))


def with_devices(settings: Settings, microphone: str | None, speaker: str | None, ringer: str | None) -> Settings:
    """The settings with the devices that were chosen; None: as before."""
    return evolve(
        settings,
        microphone=settings.microphone if microphone is None else microphone,
        speaker=settings.speaker if speaker is None else speaker,
        ringer=settings.ringer if ringer is None else ringer,
    )
