"""How much the path to the peer takes: from the losses that it reports, from its own estimate, and from the delay."""

from __future__ import annotations

START_BITRATE = 1_500_000
MINIMUM_BITRATE = 50_000  # below that a picture is of no use, and no loss makes it smaller

_START_GROWTH = 1.5  # for each report without loss, until the first one with loss
_GROWTH = 1.05  # draft-ietf-rmcat-gcc-02 6
_LITTLE_LOSS, _MUCH_LOSS = 0.02, 0.1  # likewise: below the bit rate grows, above it shrinks, between it stays
_MUCH_LESS = 0.7
_REPORT_INTERVAL = 0.4  # seconds; reports that follow closer tell of the same losses
_SAID_ONCE = 3  # reports, of one a second, after which nothing more is expected of who has estimated once


class Bandwidth:
    """An estimate in bits per second: the least of the peer's own (REMB), one of the delay, and one made of its loss reports.

    The last follows the loss-based controller of draft-ietf-rmcat-gcc-02 6, with a quick start: it begins with
    START_BITRATE and grows by half with each report without loss until losses are reported for the first time.
    """

    def __init__(self) -> None:
        self._estimate = float(START_BITRATE)
        self._remb: int | None = None
        self._path: int | None = None
        self._lossless = True
        self._unheeded: int | None = None  # the last word, when it did not hold
        self._reports = 0  # since then
        self._growth = _START_GROWTH
        self._reported: float | None = None

    @property
    def available(self) -> int:
        """At least MINIMUM_BITRATE."""
        known = (int(self._estimate), self._remb, self._path)
        return max(MINIMUM_BITRATE, min(bitrate for bitrate in known if bitrate is not None))

    def path(self, bitrate: int | None, *, probed: bool) -> None:
        """By the delay of the packets, so much is there for this line (`congestion.CongestionController`); the last word holds.

        None: that is not known. `probed`: it was tried, and without losses it is no use to grow up to it slowly.
        """
        self._path = bitrate
        if bitrate is not None and probed and self._lossless:
            self._estimate = max(self._estimate, bitrate)

    def remb(self, bitrate: int, sent: float | None = None) -> None:
        """The peer estimates what it can receive (draft-alvestrand-rmcat-remb-03); the last word holds.

        `sent`: bits per second that were sent lately; None: not known. Estimates follow what is received
        (draft-ietf-rmcat-gcc-02 5.5), so that after a still picture they say nothing about the path: when much less is sent
        than may be, one that is not exceeded does not lower the limit. Unless it is the only one: who estimates says so
        again and again, but a server (Janus) says once what it allows.
        """
        tried = sent is None or bitrate < sent or sent > _MUCH_LESS * self.available
        if tried or (self._remb is not None and bitrate > self._remb):
            self._remb, self._unheeded = bitrate, None
        else:
            self._unheeded, self._reports = bitrate, 0

    def report(self, fraction_lost: float, *, used: int, wanted: int, now: float) -> None:
        """The peer reports the part of the packets that it missed, 0 to 1 (RFC 3550 6.4.1).

        `used`: the bit rate that was sent with. `wanted`: the most that would be sent; the estimate does not grow beyond.
        `now`: seconds of a clock that only advances.
        """
        if self._reported is not None and now - self._reported < _REPORT_INTERVAL:
            return
        self._reported = now
        self._lossless = fraction_lost < _LITTLE_LOSS
        self._reports += 1
        if self._unheeded is not None and self._reports >= _SAID_ONCE:
            self._remb, self._unheeded = self._unheeded, None
        if fraction_lost > _MUCH_LOSS:
            self._growth = _GROWTH
            self._estimate = max(MINIMUM_BITRATE, min(self._estimate, used) * (1 - fraction_lost / 2))
        elif self._lossless:
            self._estimate = max(self._estimate, min(self._estimate * self._growth, wanted))
        else:
            self._growth = _GROWTH
