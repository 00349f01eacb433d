"""What is heard of audio whose packets are lost: encoded, lost at random from a seed, and played in simulated time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence

import numpy
import pytest
from aiortc.rtp import RtpPacket
from attrs import define, evolve, field
from av import AudioFrame, AudioResampler

from fuzz.clock import SimulatedClock
from sipproto.sdp import Codec
from sipproto_aiortc import _opus
from sipproto_aiortc._audio import AudioPlayer
from sipproto_aiortc._concealment import Concealer, stretched
from sipproto_aiortc._counters import Playing
from sipproto_aiortc._encoders import AudioTarget
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._rtp import codec_parameters
from sipproto_aiortc._sender import new_encoder
from sipproto_aiortc._voices import voice_of
from sipproto_devices._media import frame_of, samples_of
from tests.media._sounds import Wave, tone, voice
from tests.media.impaired import has_tone

USUAL = AudioTarget()
CODECS = {
    "opus": Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
    "G722": Codec(payload_type=9, name="G722", clock_rate=8000),
    "PCMU": Codec(payload_type=0, name="PCMU", clock_rate=8000),
    "PCMA": Codec(payload_type=8, name="PCMA", clock_rate=8000),
}


def encoded(codec: Codec, wave: Wave, target: AudioTarget = USUAL, packet_time: int | None = None) -> list[RtpPacket]:
    encoder = new_encoder("audio", codec, packet_time)
    packets: list[RtpPacket] = []
    for number in range(len(wave) // 960):
        samples = (wave[number * 960 : (number + 1) * 960] * 32767).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.repeat(2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, number * 960
        payloads, timestamp = encoder.encode(frame, target, False)
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

    def receive(
        self,
        packets: Sequence[RtpPacket],
        lost: Collection[int] = (),
        late: Collection[int] = (),
        speed: float = 1.0,
    ) -> None:
        """Each arrives when its timestamp says, but for those that are lost, or 60 ms late. speed: of the sender's clock."""
        arrivals = [
            (
                (packet.timestamp - packets[0].timestamp) / self.codec.clock_rate / speed
                + (0.06 if number in late else 0.0),
                number,
            )
            for number, packet in enumerate(packets)
            if number not in lost
        ]
        for moment, number in sorted(arrivals):
            self.clock.run_until(moment)
            self.reception.add(packets[number], self.codec, 12 + len(packets[number].payload), self.clock.now)
            self._player.add(packets[number])
        self.clock.run_until(self.clock.now + 0.035)
        self._player.close()

    @property
    def playing(self) -> Playing:
        assert self.reception.current is not None
        return self.reception.current.playing

    @property
    def wave(self) -> Wave:
        """Everything heard, beginning with the first frame."""
        parts = []
        for _, frames in itertools.groupby((frame for _, frame in self.frames), lambda one: one.sample_rate):
            resampler = AudioResampler("s16", "mono", 48000)
            resampled = [part for frame in frames for part in resampler.resample(frame)]
            parts += [samples_of(frame) for frame in (*resampled, *resampler.resample(None))]
        heard: Wave = numpy.concatenate(parts) / 32768.0
        return heard


def lost_at_random(count: int, share: float, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [number for number in range(5, count - 5) if chance.random() < share]


def likeness(heard: Wave, wanted: Wave) -> float:
    """Decibels from the spectra of 20 ms each to their differences; what the ear does not follow, phases, does not count."""
    count = min(len(heard), len(wanted)) // 960
    spectra = [numpy.abs(numpy.fft.rfft(wave[: count * 960].reshape(count, 960))) for wave in (heard, wanted)]
    error = float(numpy.sum((spectra[0] - spectra[1]) ** 2))
    return float(10 * numpy.log10(numpy.sum(spectra[1] ** 2) / max(error, 1e-9)))


def tone_share(heard: Wave, wanted: Wave) -> float:
    """Share of the 20 ms of what was sent in which the tone is recognised."""
    recognised = 0
    for start in range(0, len(heard) - 959, 960):
        frame = frame_of((heard[start : start + 960] * 32767).astype(numpy.int16))
        recognised += has_tone(frame, 440.0)
    return min(1.0, recognised / (len(wanted) // 960))


def with_holes(codec: Codec, packets: Sequence[RtpPacket], lost: Collection[int]) -> Wave:
    """With silence in place of what is lost, which is as good as it gets without concealment."""
    voice, resampler = voice_of(codec_parameters("audio", codec)), AudioResampler("s16", "mono", 48000)
    parts = [voice.decode(packets[0].payload)]
    for number, packet in enumerate(packets[1:], 1):
        parts.append(numpy.zeros_like(parts[0]) if number in lost else voice.decode(packet.payload))
    whole = numpy.concatenate(parts)[:, 0]
    frames = [*resampler.resample(frame_of(numpy.ascontiguousarray(whole), voice.rate)), *resampler.resample(None)]
    return numpy.concatenate([samples_of(frame) for frame in frames]) / 32768.0


def heard(codec: Codec, packets: Sequence[RtpPacket], lost: Collection[int] = ()) -> Listener:
    listener = Listener(codec)
    listener.receive(packets, lost)
    return listener


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_nothing_lost_is_heard_as_it_was_sent(codec: Codec) -> None:
    listener = heard(codec, encoded(codec, tone(2)))
    assert tone_share(listener.wave, tone(2)) > 0.98
    playing = listener.playing
    assert (playing.concealed, playing.silent, playing.events, playing.inserted, playing.discarded) == (0, 0, 0, 0, 0)
    assert playing.emitted == sum(frame.samples for _, frame in listener.frames)
    assert 0.015 < playing.delay / playing.emitted < 0.045
    moments = [moment for moment, _ in listener.frames]
    assert max(after - before for before, after in itertools.pairwise(moments)) < 0.0201


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_lost_packets_leave_no_hole_in_a_tone(codec: Codec, share: float) -> None:
    packets = encoded(codec, tone(4))
    whole, lost = heard(codec, packets).wave, lost_at_random(len(packets), share)
    listener = heard(codec, packets, lost)
    assert abs(len(listener.wave) - len(whole)) < 100
    assert tone_share(listener.wave, whole) > 0.97
    assert tone_share(with_holes(codec, packets, lost), whole) < 1 - 0.9 * len(lost) / len(packets)
    assert likeness(listener.wave, whole) > likeness(with_holes(codec, packets, lost), whole) + 8
    second = listener.frames[0][1].sample_rate
    assert listener.playing.concealed == len(lost) * second // 50
    assert 0 < listener.playing.events <= len(lost)


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_a_voice_with_losses_is_nearer_to_what_was_said_than_one_with_holes(codec: Codec) -> None:
    packets = encoded(codec, voice(6))
    whole, lost = heard(codec, packets).wave, lost_at_random(len(packets), 0.1)
    assert likeness(heard(codec, packets, lost).wave, whole) > likeness(with_holes(codec, packets, lost), whole) + 2


def test_a_long_loss_fades_to_silence_and_then_to_rest() -> None:
    codec = CODECS["PCMU"]
    packets = encoded(codec, tone(4))
    listener = heard(codec, packets, range(50, 150))
    wave = listener.wave
    gap = numpy.abs(wave[50 * 960 : 100 * 960])
    assert gap[:480].max() > 0.25 and gap[4800:].max() < 0.001
    playing = listener.playing
    assert playing.events == 1
    assert 8000 * 0.9 < playing.concealed < 8000 * 1.1, "after a second nothing is emitted any more"
    assert playing.concealed - playing.silent < 8000 * 0.12
    assert tone_share(wave[-40 * 960 :], tone(0.8)) > 0.95


@pytest.mark.parametrize("name", ["opus", "PCMU"])
def test_a_late_packet_is_concealed_and_then_heard(name: str) -> None:
    codec = CODECS[name]
    listener = Listener(codec)
    listener.receive(encoded(codec, tone(3)), late=range(50, 53))
    assert tone_share(listener.wave, tone(3)) > 0.97
    assert listener.playing.concealed > 0
    assert listener.playing.discarded <= 3


def test_noise_is_shortened_before_it_waits_for_long() -> None:
    """Nothing in it resembles anything, so that the clock of a sender that is too fast would fill the buffer."""
    noise: Wave = numpy.random.default_rng(1).normal(0, 0.1, 48000 * 60)
    listener = Listener(CODECS["PCMU"])
    listener.receive(encoded(CODECS["PCMU"], noise), speed=1.008)
    playing = listener.playing
    assert playing.discarded == playing.concealed == 0
    assert playing.removed > 0.25 * 8000
    assert playing.delay / playing.emitted < 0.18


def test_changes_of_codec_leave_no_hole() -> None:
    clock = SimulatedClock()
    packets: list[RtpPacket] = []
    for codec in CODECS.values():
        for packet in encoded(codec, tone(1)):
            packet.sequence_number = len(packets)
            packets.append(packet)
    listener = Listener(CODECS["opus"], clock)
    for number, packet in enumerate(packets):
        clock.run_until(number * 0.02)
        codec = next(codec for codec in CODECS.values() if codec.payload_type == packet.payload_type)
        listener.reception.add(packet, codec, 100, clock.now)
        listener._player.add(packet)
    clock.run_until(clock.now + 0.055)
    assert len(listener.wave) > 3.9 * 48000
    assert tone_share(listener.wave, tone(4)) > 0.95


# -- Opus ----------------------------------------------------------------------------------------------------------------


def opus(parameters: str) -> Codec:
    return evolve(CODECS["opus"], parameters=parameters)


needs_libopus = pytest.mark.skipif(_opus.library() is None, reason="no libopus was found")


@needs_libopus
def test_fec_brings_back_what_was_lost() -> None:
    wave, target = voice(8), AudioTarget(loss=20)
    with_fec, without = encoded(opus("useinbandfec=1"), wave, target), encoded(opus(""), wave, target)
    assert not any(_opus.has_fec(packet.payload) for packet in without)
    assert sum(_opus.has_fec(packet.payload) for packet in with_fec) > len(with_fec) / 4
    lost = lost_at_random(len(with_fec), 0.1)
    repaired, concealed = heard(opus(""), with_fec, lost), heard(opus(""), without, lost)
    gain = likeness(repaired.wave, heard(opus(""), with_fec).wave)
    gain -= likeness(concealed.wave, heard(opus(""), without).wave)
    assert gain > 3
    assert repaired.playing.fec > len(with_fec) / 4
    assert repaired.playing.concealed < concealed.playing.concealed * 0.7
    assert concealed.playing.fec == 0


@needs_libopus
def test_fec_is_sent_only_when_the_peer_decodes_it_and_loses_packets() -> None:
    def share(parameters: str, loss: int) -> float:
        packets = encoded(opus(parameters), voice(2), AudioTarget(loss=loss))
        return sum(_opus.has_fec(packet.payload) for packet in packets) / len(packets)

    assert share("useinbandfec=1", 0) == share("", 20) == share("useinbandfec=0", 20) == 0
    assert share("minptime=10; useinbandfec=1", 3) > 0.25


def test_without_libopus_ffmpeg_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """No FEC, no DTX and no bit rate then, but sound that is concealed."""
    monkeypatch.setattr(_opus, "_names", list)
    _opus.library.cache_clear()
    try:
        packets = encoded(opus("useinbandfec=1"), tone(2), AudioTarget(loss=20))
        listener = heard(opus(""), packets, [30, 50])
    finally:
        _opus.library.cache_clear()
    assert not any(_opus.has_fec(packet.payload) for packet in packets)
    assert tone_share(listener.wave, tone(2)) > 0.95
    assert listener.playing.concealed == 2 * 960


@needs_libopus
def test_silence_is_hardly_sent_where_the_peer_would_have_it_so() -> None:
    wave = numpy.concatenate((voice(2), numpy.zeros(48000 * 4), voice(2)))
    usual, sparse = encoded(opus(""), wave), encoded(opus("usedtx=1"), wave, AudioTarget(unbroken=False))
    assert len(usual) == 400
    assert len(sparse) < 400 * 0.65
    listener = heard(opus(""), sparse)
    assert abs(len(listener.wave) - len(wave)) < 0.06 * 48000
    assert listener.playing.events <= 1
    # A digit takes the place of packets of audio, so that there have to be some.
    assert len(encoded(opus("usedtx=1"), wave, AudioTarget(unbroken=True))) == 400


@needs_libopus
def test_bit_rate_and_bandwidth_are_what_the_peer_accepts() -> None:
    noise: Wave = numpy.random.default_rng(1).normal(0, 0.1, 48000 * 2)

    def rate(parameters: str, target: AudioTarget = USUAL) -> float:
        return sum(len(packet.payload) for packet in encoded(opus(parameters), noise, target)) * 8 / 2

    assert 50_000 < rate("") < 80_000
    assert rate("maxaveragebitrate=20000") < 26_000
    assert rate("maxaveragebitrate=20000", AudioTarget(max_bitrate=100_000)) < 26_000
    assert rate("maxaveragebitrate=nonsense") > 50_000
    assert rate("maxaveragebitrate=1") < 9_000, "6 kbit/s is the least"
    assert rate("", AudioTarget(max_bitrate=12_000)) < 16_000
    assert len({len(packet.payload) for packet in encoded(opus("cbr=1"), noise)}) == 1
    narrow = heard(opus(""), encoded(opus("maxplaybackrate=8000"), noise)).wave[4800:]
    spectrum = numpy.abs(numpy.fft.rfft(narrow)) ** 2
    above = round(len(spectrum) * 5000 / 24000)
    assert spectrum[above:].sum() < 0.02 * spectrum.sum()


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, 20), (10, 20), (20, 20), (40, 40), (50, 40), (60, 60), (200, 60)]
)
def test_packets_are_as_long_as_the_peer_would_have_them(codec: Codec, wanted: int | None, expected: int) -> None:
    packets = encoded(codec, tone(1.2), packet_time=wanted)
    steps = {after.timestamp - before.timestamp for before, after in itertools.pairwise(packets[2:])}
    assert steps == {expected * codec.clock_rate // 1000}
    assert tone_share(heard(codec, packets).wave, tone(1.2)) > 0.9


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"", 0),
        (bytes([0x78, 0]), 960),  # hybrid fullband, 20 ms
        (bytes([0xF8, 0]), 960),  # CELT, 20 ms
        (bytes([0xF9, 0]), 1920),  # two frames
        (bytes([0x18, 0]), 2880),  # SILK, 60 ms
        (bytes([0xFB, 6]), 5760),
        (bytes([0xFB, 7]), 0),  # longer than 120 ms
        (bytes([0xFB]), 0),
        (bytes([0xE0, 0]), 120),
    ],
)
def test_the_length_of_a_packet_is_in_its_first_octets(packet: bytes, samples: int) -> None:
    assert _opus.duration(packet) == samples


def test_hostile_packets_of_opus_are_concealed() -> None:
    chance, codec = random.Random(9), CODECS["opus"]
    packets = encoded(codec, tone(2))
    for packet in packets[10:60]:
        packet.payload = chance.randbytes(chance.randrange(1, 40))
        vars(packet)["_data"] = packet.payload
    listener = heard(codec, packets)
    assert tone_share(listener.wave[-30 * 960 :], tone(0.6)) > 0.9


# -- pieces --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_what_is_made_up_goes_on_as_the_tone_did(rate: int) -> None:
    wave = (numpy.sin(2 * numpy.pi * 200 * numpy.arange(rate) / rate) * 9000).astype(numpy.int16)[:, numpy.newaxis]
    concealer, count = Concealer(rate, 1), rate // 50
    concealer.heard(wave[: 10 * count])
    made_up = concealer.missing(count)
    assert numpy.abs(made_up.astype(int) - wave[10 * count : 11 * count]).max() < 300
    joined = concealer.heard(wave[11 * count : 12 * count])
    assert numpy.abs(joined.astype(int) - wave[11 * count : 12 * count]).max() < 300
    assert not concealer.missing(20 * count)[5 * count :].any()


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("longer", [True, False])
def test_a_stretched_tone_has_no_jump(rate: int, longer: bool) -> None:
    count = rate // 50
    wave = (numpy.sin(2 * numpy.pi * 200 * numpy.arange(3 * count) / rate) * 9000).astype(numpy.int16)[:, numpy.newaxis]
    other = stretched(wave[count : 2 * count], rate, longer=longer)
    assert (len(other) - count) * (1 if longer else -1) == rate // 200
    joined = numpy.concatenate((wave[:count], other, wave[2 * count :])).astype(int)
    steepest = numpy.abs(numpy.diff(wave[:, 0].astype(int))).max()
    assert numpy.abs(numpy.diff(joined[:, 0])).max() < 1.1 * steepest + 20


def test_noise_is_not_stretched_but_silence_is() -> None:
    noise = numpy.random.default_rng(2).normal(0, 3000, (960, 1)).astype(numpy.int16)
    assert len(stretched(noise, 48000, longer=True)) == 960
    assert len(stretched(numpy.zeros((960, 2), numpy.int16), 48000, longer=False)) < 960


def report() -> None:
    """Prints how near to what was sent it is heard with losses; `python -m tests.media.test_concealment`."""
    print("| codec | lost | tone heard, before | now | voice with holes | now |\n| --- | --- | --- | --- | --- | --- |")
    for name, codec, target in (
        *((name, codec, USUAL) for name, codec in CODECS.items()),
        ("opus with FEC", opus("useinbandfec=1"), AudioTarget(loss=20)),
    ):
        sounds = [(encoded(codec, wave, target), wave) for wave in (tone(20), voice(20))]
        for share in (0.05, 0.1, 0.2):
            cells = []
            for packets, wave in sounds:
                lost = lost_at_random(len(packets), share)
                whole, with_loss = heard(codec, packets).wave, heard(codec, packets, lost).wave
                holes, unbroken = with_holes(codec, packets, lost), with_holes(codec, packets, ())
                if wave is sounds[0][1]:
                    cells += [f"{tone_share(one, wave):.1%}" for one in (holes, with_loss)]
                else:
                    cells += [f"{likeness(holes, unbroken):.1f} dB", f"{likeness(with_loss, whole):.1f} dB"]
            print(f"| {name} | {share:.0%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    report()
