"""Decides picture by picture how a video line is encoded."""

from __future__ import annotations

from collections import deque

from sipproto.agent.parameters import EffectiveParameters
from sipproto.media._bandwidth import START_BITRATE, Bandwidth
from sipproto.media._policy import VideoTarget, ample_bitrate, video_target

_MEASURED = 30  # pictures over which the frame rate of the source is measured
_MEASURED_AT_LEAST = 6
_BUSY = 0.7  # the part of the time that encoding may take
_COST_SMOOTHING = 0.03  # about a second of pictures: a machine is busy with something else now and then
_COST_AT_LEAST = 10  # pictures after which the time of encoding is relied on
_PAUSE = 3.0  # seconds without a picture after which the frame rate is measured anew
_SENT_LATELY = 1.5  # seconds
_KEY_FRAME_INTERVAL = 0.3  # seconds between two key frames that were asked for
_AHEAD = 0.75  # seconds of the bit rate that may be sent in advance, as key frames are
_STAYS_SMALL = 5.0  # seconds before a picture that became smaller may grow again


class VideoControl:
    """The state behind the decisions for one line. Times are seconds on the clock of the pictures, which only advances.

    `codec` is the SDP name of the codec to send with.
    """

    def __init__(self, parameters: EffectiveParameters, codec: str) -> None:
        self.bandwidth = Bandwidth()
        self._parameters = parameters
        self._codec = codec
        self._size = (0, 0)
        self._target: VideoTarget | None = None
        self._moments: deque[float] = deque(maxlen=_MEASURED)
        self._sent: deque[tuple[float, int]] = deque()  # moment and octets of pictures
        self._due = 0.0
        self._cost = 0.0  # seconds of encoding for each pixel
        self._costs = 0
        self._ahead = 0.0  # seconds of the bit rate that were sent in advance
        self._shrunk_at = -_STAYS_SMALL
        self._key_frame_asked = False
        self._key_frame_at: float | None = None

    def use(self, parameters: EffectiveParameters, codec: str) -> None:
        """From now on these parameters and this codec; when a pause ends, with a key frame."""
        if parameters.encodings[0].active and not self.active:
            self._key_frame_asked, self._key_frame_at = True, None
        if (parameters, codec) != (self._parameters, self._codec):
            self._parameters, self._codec = parameters, codec
            self._target = None

    @property
    def active(self) -> bool:
        return self._parameters.encodings[0].active

    def report(self, fraction_lost: float, now: float) -> None:
        """The peer reports losses, 0 to 1; `now` in seconds of a clock that only advances."""
        used = self._target.bitrate if self._target is not None else START_BITRATE
        self.bandwidth.report(fraction_lost, used=used, wanted=self.wanted, now=now)

    @property
    def wanted(self) -> int:
        """Bits per second that would be sent if the path took everything; 0: nothing is known of the pictures yet."""
        return self._parameters.encodings[0].max_bitrate or ample_bitrate(*self._size)

    def path(self, bitrate: int | None, *, probed: bool = False) -> None:
        """By the delay of the packets so many bits per second are there, None: not known; `probed`: that was tried."""
        self.bandwidth.path(bitrate, probed=probed)

    def remb(self, bitrate: int) -> None:
        """The peer estimates what it can receive, in bits per second."""
        self.bandwidth.remb(bitrate, self._sent_lately())

    def _sent_lately(self) -> float:
        """Bits per second."""
        return sum(octets for _, octets in self._sent) * 8 / _SENT_LATELY

    def ask_key_frame(self) -> None:
        """The next picture is to be one that can be decoded alone; at the earliest 0.3 s after the last that was asked for."""
        self._key_frame_asked = True

    def encoded(self, target: VideoTarget, octets: int, duration: float) -> None:
        """A picture was encoded to this target: too large ones are followed by fewer, such as take too long by smaller ones.

        duration: seconds, without what is not done for each picture; 0: not known.
        """
        self._ahead += octets * 8 / target.bitrate
        now = self._moments[-1] if self._moments else 0.0
        self._sent.append((now, octets))
        while not 0 <= now - self._sent[0][0] < _SENT_LATELY:
            self._sent.popleft()
        if not duration:
            return
        cost = duration / (target.width * target.height)
        self._costs += 1
        self._cost += (cost - self._cost) * max(_COST_SMOOTHING, 1 / self._costs)

    def picture(self, width: int, height: int, moment: float, nominal_rate: float) -> VideoTarget | None:
        """How to encode the picture of `moment`, which has this size; None: it is not to be sent.

        nominal_rate: pictures a second that the source may give at most.
        """
        if not self.active:
            return None
        if self._moments:
            self._ahead = max(0.0, self._ahead - abs(moment - self._moments[-1]))
        source_rate = self._source_rate(moment, nominal_rate)
        if (width, height) != self._size:
            self._size, self._target = (width, height), None
        target = self._decide(width, height, source_rate, moment)
        if self._ahead > _AHEAD:
            return None
        if target.frame_rate < source_rate * 0.99:
            if moment + 0.5 / source_rate < self._due:
                return None
            self._due = max(self._due + 1 / target.frame_rate, moment)
        return target

    def _decide(self, width: int, height: int, source_rate: float, moment: float) -> VideoTarget:
        before = self._target
        self._target = video_target(
            encoding=self._parameters.encodings[0],
            preference=self._parameters.degradation_preference,
            hint=self._parameters.content_hint,
            codec=self._codec,
            available=self.bandwidth.available,
            width=width,
            height=height,
            frame_rate=source_rate,
            pixel_rate=self._pixel_rate,
            previous=before,
            may_grow=moment - self._shrunk_at >= _STAYS_SMALL,
        )
        if before is not None and self._target.scale > before.scale:
            self._shrunk_at = moment
        return self._target

    def key_frame(self, moment: float) -> bool:
        """Whether the picture of `moment`, which is going to be encoded, has to be a key frame."""
        if not self._key_frame_asked:
            return False
        if self._key_frame_at is not None and 0 <= moment - self._key_frame_at < _KEY_FRAME_INTERVAL:
            return False
        self._key_frame_asked, self._key_frame_at = False, moment
        return True

    @property
    def _pixel_rate(self) -> float | None:
        """Pixels a second that can be encoded; None as long as that is not known."""
        return _BUSY / self._cost if self._costs >= _COST_AT_LEAST and self._cost > 0 else None

    def _source_rate(self, moment: float, nominal: float) -> float:
        """Pictures a second of the source. A busy encoder takes fewer than there are, so then the nominal rate counts."""
        if self._moments and not 0 < moment - self._moments[-1] < _PAUSE:
            self._moments.clear()
            self._due = moment
        self._moments.append(moment)
        if len(self._moments) < _MEASURED_AT_LEAST or self._target is None:
            return nominal
        measured = (len(self._moments) - 1) / (self._moments[-1] - self._moments[0])
        busy = self._cost * self._target.width * self._target.height * measured
        return nominal if busy > _BUSY / 2 else min(measured, nominal)
