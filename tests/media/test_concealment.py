"""What is heard of audio whose packets are lost: encoded, lost at random from a seed, and played in simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence

import numpy
import pytest
from aiortc.rtp import RtpPacket
from attrs import define, field, frozen
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from sipproto.sdp import Codec
from sipproto_aiortc import _opus
from sipproto_aiortc._audio import AudioPlayer
from sipproto_aiortc._concealment import Concealer, stretched
from sipproto_aiortc._encoders import AudioTarget
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._rtp import codec_parameters
from sipproto_aiortc._sender import new_encoder
from tests.media.impaired import has_tone

Wave = NDArray[numpy.float64]
CODECS = {
    "opus": Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
    "G722": Codec(payload_type=9, name="G722", clock_rate=8000),
    "PCMU": Codec(payload_type=0, name="PCMU", clock_rate=8000),
    "PCMA": Codec(payload_type=8, name="PCMA", clock_rate=8000),
}


@frozen(order=True)
class _Timer:
    when: float
    number: int
    callback: Callable[[], object] = field(order=False)
    cancelled: list[bool] = field(factory=list, order=False)

    def cancel(self) -> None:
        self.cancelled.append(True)


@define
class SimulatedClock:
    now: float = 0.0
    _timers: list[_Timer] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=itertools.count)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(when, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self, until: float) -> None:
        while self._timers and self._timers[0].when <= until:
            timer = heapq.heappop(self._timers)
            self.now = max(self.now, timer.when)
            if not timer.cancelled:
                timer.callback()
        self.now = until


def tone(seconds: float, frequency: float = 440.0) -> Wave:
    return 0.3 * numpy.sin(2 * numpy.pi * frequency * numpy.arange(round(seconds * 48000)) / 48000)


def voice(seconds: float) -> Wave:
    """Syllables of a gliding pitch with harmonics, a little noise, and pauses."""
    t = numpy.arange(round(seconds * 48000)) / 48000
    pitch = 130 + 25 * numpy.sin(2 * numpy.pi * 0.7 * t) + 8 * numpy.sin(2 * numpy.pi * 5 * t)
    phase = 2 * numpy.pi * numpy.cumsum(pitch) / 48000
    harmonics = sum(numpy.sin(n * phase) / n for n in range(1, 16))
    loudness = numpy.clip(1.4 * numpy.sin(2 * numpy.pi * 1.6 * t), 0, 1)
    noise = numpy.random.default_rng(3).normal(0, 0.004, len(t))
    spoken: Wave = 0.15 * loudness * harmonics + noise
    return spoken


def encoded(codec: Codec, wave: Wave) -> list[RtpPacket]:
    encoder, packets = new_encoder("audio", codec), []
    for number in range(len(wave) // 960):
        samples = (wave[number * 960 : (number + 1) * 960] * 32767).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.repeat(2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, number * 960
        payloads, timestamp = encoder.encode(frame, AudioTarget(), False)
        for payload in payloads:
            packet = RtpPacket(payload_type=codec.payload_type, sequence_number=len(packets), timestamp=timestamp)
            packet.ssrc, packet.payload = 1, payload
            vars(packet)["_data"] = payload
            packets.append(packet)
    return packets


@define
class Listener:
    """Hears what a player emits, at 48 kHz mono."""

    codec: Codec
    clock: SimulatedClock = field(factory=SimulatedClock)
    reception: Reception = field(factory=Reception)
    frames: list[tuple[float, AudioFrame]] = field(factory=list)
    _player: AudioPlayer = field(init=False)

    def __attrs_post_init__(self) -> None:
        codecs = {codec.payload_type: codec_parameters("audio", codec) for codec in CODECS.values()}
        self._player = AudioPlayer(codecs, self.reception, self._hear, self.clock)

    def _hear(self, frame: AudioFrame) -> None:
        self.frames.append((self.clock.now, frame))
        self.reception.emitted(frame)

    def receive(self, packets: Sequence[RtpPacket], lost: Sequence[int] = (), late: Callable[[int], float] | None = None) -> None:
        arrivals = [
            (number * 0.02 + (late(number) if late else 0.0), number)
            for number in range(len(packets))
            if number not in lost
        ]
        for moment, number in sorted(arrivals):
            self.clock.run(moment)
            self.reception.add(packets[number], self.codec, 12 + len(packets[number].payload))
            self._player.add(packets[number])
        self.clock.run(len(packets) * 0.02 + 0.04)
        self._player.close()

    @property
    def wave(self) -> Wave:
        """Everything heard, beginning with the first frame."""
        resampler = AudioResampler("s16", "mono", 48000)
        parts = [part.to_ndarray().reshape(-1) for _, frame in self.frames for part in resampler.resample(frame)]
        parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(None)]
        heard: Wave = numpy.concatenate(parts) / 32768
        return heard


def lost_at_random(count: int, share: float, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [number for number in range(5, count) if chance.random() < share]


def snr(heard: Wave, wanted: Wave) -> float:
    count = min(len(heard), len(wanted))
    error = heard[:count] - wanted[:count]
    return float(10 * numpy.log10((wanted[:count] @ wanted[:count]) / max(float(error @ error), 1e-12)))


def tone_share(heard: Wave, wanted: Wave) -> float:
    """Share of the 20 ms of what was sent in which the tone is recognised."""
    recognised = 0
    for start in range(0, len(heard) - 959, 960):
        samples = (heard[start : start + 960] * 32767).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 48000
        recognised += has_tone(frame, 440.0)
    return recognised / (len(wanted) // 960)


def report() -> None:
    for name, codec in CODECS.items():
        for what, wave in (("tone", tone(20)), ("voice", voice(20))):
            packets = encoded(codec, wave)
            reference = Listener(codec)
            reference.receive(packets)
            for share in (0.05, 0.1, 0.2):
                lost = lost_at_random(len(packets), share)
                listener = Listener(codec)
                listener.receive(packets, lost)
                zero = reference.wave.copy()
                for n in lost:
                    zero[n * 960 : (n + 1) * 960] = 0
                line = f"{name} {what} {share}: lost {len(lost)/len(packets):.3f} length {len(listener.wave)/len(reference.wave):.4f} SNR {snr(listener.wave, reference.wave):.1f} zero {snr(zero, reference.wave):.1f}"
                if what == "tone":
                    line += f" tone {tone_share(listener.wave, wave):.3f} was {tone_share(zero, wave):.3f} whole {tone_share(reference.wave, wave):.3f}"
                p = listener.reception.current.playing
                print(line, p.concealed, p.silent, p.events, p.inserted, p.removed, p.delay / p.emitted)


if __name__ == "__main__":
    report()
