"""Playing what is received: packets of audio into frames without a gap, at the pace of the clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy
from aiortc import RTCRtpCodecParameters
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket
from av import AudioFrame

from sipproto_aiortc import _opus
from sipproto_aiortc._clock import Clock, Timer
from sipproto_aiortc._concealment import Block, stretched
from sipproto_aiortc._playout import Act, AudioPacket, Pace, Playout, Step
from sipproto_aiortc._reception import Reception
from sipproto_aiortc._voices import Voice, duration_of, voice_of

_log = logging.getLogger("sipproto.media")
_LATE = 0.2  # seconds that are caught up after the event loop was busy; what is more makes the delay longer for a while
_HASTE = 0.25  # of a piece: the least time between two when catching up, so that packets can arrive meanwhile
_INAUDIBLE = 32  # of 32768: -60 dBFS


class AudioPlayer:
    """Has the place of aiortc's jitter buffer. Media thread only.

    `emit` gets one frame after the other, each when it is due: what was sent, or what was made up in its place. It ends
    when nothing has come for a second, and begins again with the next packet.
    """

    def __init__(
        self,
        codecs: Mapping[int, RTCRtpCodecParameters],
        reception: Reception,
        emit: Callable[[AudioFrame], object],
        clock: Clock,
    ) -> None:
        self._codecs = codecs  # by payload type
        self._reception = reception
        self._emit = emit
        self._clock = clock
        self._playout = Playout()
        self._timer: Timer | None = None
        self._due = 0.0  # by the clock
        self._voice: Voice | None = None
        self._codec: str | None = None
        self._samples = 0  # emitted
        self._discarded = 0  # packets, as far as told
        self._faulty = False
        self._closed = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """As aiortc's jitter buffer has it; frames go another way."""
        if not self._closed:
            arrived = self._read(packet)
            if arrived.repairs:
                self._reception.fec()
            self._playout.put(arrived)
            if self._timer is None:
                self._begin()
        return False, None

    def close(self) -> None:
        """Nothing is emitted any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read(self, packet: RtpPacket) -> AudioPacket:
        data: bytes = vars(packet)["_data"]  # where aiortc puts the payload without its format's header
        codec = self._codecs[packet.payload_type]
        is_opus = codec.name.lower() == "opus"
        return AudioPacket(
            ssrc=packet.ssrc,
            number=packet.sequence_number,
            timestamp=packet.timestamp,
            payload_type=packet.payload_type,
            clock=codec.clockRate,
            duration=duration_of(codec.name, data),
            data=data,
            arrival=self._clock.time(),
            repairs=is_opus and _opus.has_fec(data),
            quiet=is_opus and _opus.is_quiet(data),
        )

    def _begin(self) -> None:
        begins = self._playout.begins_at()
        if begins is not None:
            self._due = max(begins, self._clock.time())
            self._timer = self._clock.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.time()
        step = self._playout.take(now)
        self._reception.discarded(self._playout.discarded - self._discarded)
        self._discarded = self._playout.discarded
        if step is None:
            self._reception.rests()
            self._begin()
            return
        seconds = self._play(step, now)
        self._due = max(self._due + seconds, now - _LATE)
        self._timer = self._clock.call_at(max(self._due, now + _HASTE * seconds), self._tick)

    def _play(self, step: Step, now: float) -> float:
        """Returns how many seconds were emitted."""
        block = self._sound(step, now)
        if block is None or self._voice is None:
            return step.seconds
        rate = self._voice.rate
        frame = AudioFrame.from_ndarray(
            block.reshape(1, -1), format="s16", layout="mono" if block.shape[1] == 1 else "stereo"
        )
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), self._samples
        self._samples += len(block)
        self._emit(frame)
        return len(block) / rate

    def _sound(self, step: Step, now: float) -> Block | None:
        """None: there is nothing to be heard yet."""
        try:
            match step:
                case Step(act=Act.PLAY, packet=AudioPacket() as packet):
                    return self._decoded(step, packet, now)
                case Step(act=Act.REPAIR, packet=AudioPacket() as packet) if self._voice is not None:
                    return self._voice.repair(packet.data, step.seconds)
                case _:
                    return self._made_up(step)
        except Exception as error:  # one packet is lost, not the line
            self._reception.frame_dropped()
            if not self._faulty:
                self._faulty = True
                _log.warning("a packet of audio could not be decoded: %r", error)
            return self._made_up(step)

    def _decoded(self, step: Step, packet: AudioPacket, now: float) -> Block:
        codec = self._codecs[packet.payload_type]
        if self._voice is None or codec.name != self._codec:
            self._voice, self._codec, self._samples = voice_of(codec), codec.name, 0
        self._reception.frame(packet.data)
        block = self._voice.decode(packet.data)
        before = len(block)
        if step.pace is not Pace.EVEN:
            longer = step.pace is Pace.SLOWER
            block = stretched(block, self._voice.rate, longer=longer, regardless=step.regardless)
        self._reception.played(
            len(block),
            stretched=len(block) - before,
            delay=now - packet.arrival,
            target=self._playout.path.target,
            after_silence=step.after_silence,
        )
        return block

    def _made_up(self, step: Step) -> Block | None:
        if self._voice is None:
            return None
        if step.act is Act.SILENCE:
            return self._voice.silence(step.seconds)
        block = self._voice.conceal(step.seconds)
        silent = int(numpy.abs(block.astype(numpy.int32)).max(initial=0)) < _INAUDIBLE
        self._reception.concealed(len(block), silent=silent, known_lost=step.known_lost)
        return block
