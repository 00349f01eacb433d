"""A classic endpoint: plain RTP (RTP/AVP, no ICE, no DTLS) from here, its signalling by SIPp."""

from __future__ import annotations

import math
import os
import re
import select
import socket
import struct
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import numpy
from attrs import frozen
from av import AudioFrame, CodecContext, Packet

from sipproto.sdp import Direction, MediaDescription, SessionDescription, direction_of, parse_sdp
from sipproto_anyio import AnyioRuntime

from .child import PATIENCE, wait_until
from .kamailio import Kamailio, password_of
from .sipp import Sipp
from .sipp_stage import OUR_USER, SIPP_USER, register

PACKET_TIME = 0.02  # seconds of sound in a packet
TELEPHONE_EVENT = 101
DIGITS = "0123456789*#ABCD"  # by the number of the event (RFC 4733 3.2)
_CLOCK_RATE = 8000  # of all that are here, G.722 too (RFC 3551 4.5.2)
_STEP = round(_CLOCK_RATE * PACKET_TIME)
_END_PACKETS = 3  # how often the end of an event is said (RFC 4733 2.5.1.4)
_SENDER_REPORT, _RECEIVER_REPORT, _SOURCE_DESCRIPTION = 200, 201, 202  # RTCP packet types
_WINDOW = 15  # packets of which the tone is measured


@frozen
class PlainCodec:
    name: str
    payload_type: int
    library_name: str
    sample_rate: int


CODECS = {
    codec.name: codec
    for codec in (
        PlainCodec("PCMU", 0, "pcm_mulaw", 8000),
        PlainCodec("PCMA", 8, "pcm_alaw", 8000),
        PlainCodec("G722", 9, "g722", 16000),
    )
}


@frozen
class Digit:
    """A digit that came as telephone-event. `duration`: seconds."""

    digit: str
    duration: float


@frozen
class _Event:
    """A digit to send: its number and its length in units of the RTP clock."""

    number: int
    length: int


class PlainRtp:
    """Sends a tone and digits to `remote`, and listens at `port`, with RTCP at the next. To be used as a context manager.

    It has one thread. `hertz` is what it sends; nothing goes out while `remote` is None.
    """

    def __init__(self, codec: str = "PCMU", hertz: float = 800) -> None:
        self.codec = CODECS[codec]
        self.remote: tuple[str, int] | None = None
        self._hertz = hertz
        self._sockets = _pair_of_sockets()
        self.port: int = self._sockets[0].getsockname()[1]
        self._lock = threading.Lock()  # guards what the two sides of the thread share
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plain RTP", daemon=True)
        # what goes out
        self._encoder = _context(self.codec, "w")
        self._ssrc = int.from_bytes(os.urandom(4), "big")
        self._sequence = int.from_bytes(os.urandom(2), "big")
        self._timestamp = int.from_bytes(os.urandom(4), "big")
        self._phase = 0.0
        self._to_send: deque[_Event] = deque()
        self._event: tuple[_Event, int, int] | None = None  # under way: its start, and the units that have passed
        self.sent = 0
        # what comes in
        self._decoder = _context(self.codec, "r")
        self._received: Counter[int] = Counter()
        self._heard: deque[numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]] = deque(maxlen=_WINDOW)
        self._digits: dict[int, Digit] = {}
        self._highest = 0  # the last sequence number, as nothing gets lost here
        self.reports = 0  # RTCP packets

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(5)
        for one in self._sockets:
            one.close()

    # -- for tests ---------------------------------------------------------------------------------------------------

    def send_digits(self, digits: str, duration: float = 0.1) -> None:
        """Sends them instead of the tone, one right after the other, `duration` seconds each."""
        with self._lock:
            self._to_send += [_Event(DIGITS.index(one), round(duration * _CLOCK_RATE)) for one in digits]

    @property
    def digits(self) -> list[Digit]:
        """The digits that have ended, in their order."""
        with self._lock:
            return list(self._digits.values())

    @property
    def received(self) -> int:
        """Packets of sound."""
        return self._received[self.codec.payload_type]

    @property
    def strangers(self) -> int:
        """Packets of types that nobody has agreed on."""
        return sum(self._received.values()) - self.received - self._received[TELEPHONE_EVENT]

    def frequency(self) -> float | None:
        """The strongest frequency, in hertz, of the last third of a second; None before, and in silence."""
        with self._lock:
            if len(self._heard) < _WINDOW:
                return None
            wave = numpy.concatenate(list(self._heard))
        if numpy.sqrt(numpy.mean(wave**2)) < 0.01:
            return None
        spectrum = numpy.abs(numpy.fft.rfft(wave * numpy.hanning(len(wave))))
        return float(numpy.argmax(spectrum[1:]) + 1) * self.codec.sample_rate / len(wave)

    def hears(self, hertz: float, timeout: float = PATIENCE) -> None:
        """Waits until this is the tone that comes in now: what was heard before does not count."""
        with self._lock:
            self._heard.clear()
        wait_until(lambda: abs((self.frequency() or 0) - hertz) <= 0.05 * hertz, self.told, timeout)

    def told(self) -> str:
        return f"received {dict(self._received)}, {self.frequency()} Hz, RTCP {self.reports}, digits {self.digits}"

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            ready, _, _ = select.select(self._sockets, [], [], max(0.0, due - time.monotonic()))
            for one in ready:
                data = one.recv(2048)
                if one is self._sockets[0]:
                    self._take(data)
                else:
                    self._report(data)
            if time.monotonic() >= due:
                due += PACKET_TIME
                self._tick()

    def _tick(self) -> None:
        if self._event is None and self._to_send:
            with self._lock:
                event = self._to_send.popleft()
            self._event = event, self._timestamp, 0
        if self._event is None:
            self._send(self.codec.payload_type, self._timestamp, self._tone())
        else:
            self._send_event(*self._event)
        self._timestamp = (self._timestamp + _STEP) & 0xFFFFFFFF

    def _send_event(self, event: _Event, start: int, passed: int) -> None:
        """The event so far, with the timestamp of its start in every packet (RFC 4733 2.5.1)."""
        passed = min(passed + _STEP, event.length)
        ended = passed == event.length
        payload = struct.pack("!BBH", event.number, ended << 7 | 10, passed)
        for _ in range(_END_PACKETS if ended else 1):
            self._send(TELEPHONE_EVENT, start, payload, marker=self._timestamp == start and not ended)
        self._event = None if ended else (event, start, passed)

    def _tone(self) -> bytes:
        rate = self.codec.sample_rate
        samples = round(rate * PACKET_TIME)
        step = 2 * math.pi * self._hertz / rate
        wave = 0.5 * numpy.sin(self._phase + step * numpy.arange(samples))
        self._phase = (self._phase + step * samples) % (2 * math.pi)
        frame = AudioFrame.from_ndarray((wave * 32767).astype(numpy.int16).reshape(1, -1), "s16", "mono")
        frame.sample_rate = rate
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))  # type: ignore[attr-defined]

    def _send(self, payload_type: int, timestamp: int, payload: bytes, *, marker: bool = False) -> None:
        remote = self.remote
        if remote is None:
            return
        self._sequence = (self._sequence + 1) & 0xFFFF
        header = struct.pack("!BBHII", 0x80, marker << 7 | payload_type, self._sequence, timestamp, self._ssrc)
        self._sockets[0].sendto(header + payload, remote)
        self.sent += 1

    def _report(self, data: bytes) -> None:
        """Answers a sender report with what tells the other side the round-trip time (RFC 3550 6.4.2)."""
        self.reports += 1
        remote = self.remote
        if data[1] != _SENDER_REPORT or remote is None:
            return
        ssrc, when = struct.unpack("!I2xI", data[4:14])
        block = struct.pack("!IIIIII", ssrc, 0, self._highest, 0, when, 1)  # answered at once
        report = struct.pack("!BBHI", 0x81, _RECEIVER_REPORT, 7, self._ssrc) + block
        name = struct.pack("!BBHIBB", 0x81, _SOURCE_DESCRIPTION, 3, self._ssrc, 1, 4) + b"rig!" + bytes(2)
        self._sockets[1].sendto(report + name, (remote[0], remote[1] + 1))

    def _take(self, data: bytes) -> None:
        first, second, self._highest, timestamp, _ = struct.unpack("!BBHII", data[:12])
        assert first >> 6 == 2 and not first & 0x30, "no RTP, or with padding or extensions that nobody asked for"
        payload_type, payload = second & 0x7F, data[12 + 4 * (first & 0x0F) :]
        with self._lock:
            self._received[payload_type] += 1
            if payload_type == TELEPHONE_EVENT:
                number, flags, units = struct.unpack("!BBH", payload[:4])
                if flags & 0x80:
                    self._digits[timestamp] = Digit(DIGITS[number], units / _CLOCK_RATE)
            elif payload_type == self.codec.payload_type:
                for frame in self._decoder.decode(Packet(payload)):  # type: ignore[attr-defined]
                    self._heard.append(frame.to_ndarray().reshape(-1) / 32768)


def _context(codec: PlainCodec, mode: str) -> CodecContext:
    context = CodecContext.create(codec.library_name, mode)  # type: ignore[call-overload]
    context.sample_rate = codec.sample_rate
    context.layout = "mono"
    context.format = "s16"
    return context  # type: ignore[no-any-return]


def _pair_of_sockets() -> tuple[socket.socket, socket.socket]:
    """An even port for RTP and the next for RTCP (RFC 3550 11)."""
    for _ in range(100):
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        rtp.bind(("127.0.0.1", 0))
        port = rtp.getsockname()[1]
        try:
            if port % 2 == 0:
                rtcp.bind(("127.0.0.1", port + 1))
                return rtp, rtcp
        except OSError:
            pass  # the next one is taken
        rtp.close()
        rtcp.close()
    raise AssertionError("there are no two free ports beside one another")


class Phone:
    """A classic telephone that is registered with the server or calls through it. To be used as a context manager.

    SIPp plays `scenario` (see `Sipp`), whose descriptions are `@plain@` parts, and sends no sound itself. The next step
    of a scenario that has a `@cue@` begins with an INFO of ours. `other`: where the sound is after a `@moved@` part.
    """

    def __init__(
        self,
        folder: Path,
        server: Kamailio,
        scenario: str,
        *,
        codec: str = "PCMU",
        calls: str = OUR_USER,
        other: PlainRtp | None = None,
        **values: str,
    ) -> None:
        self.rtp = PlainRtp(codec)
        self._other = other
        self._stack = ExitStack()
        self._folder = folder
        self._server = server
        self._sipp = Sipp(
            folder,
            scenario,
            server=server.udp_port if scenario.startswith("uac") else None,
            user=SIPP_USER,
            domain=server.domain,
            service=calls,
            password=password_of(SIPP_USER),
            options=("-timeout", "60s"),
            values={
                "BODY": "@plain sendrecv 1@",
                **_described(self.rtp, ""),
                **({} if other is None else _described(other, "OTHER_")),
                **values,
            },
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.rtp)
            stack.enter_context(self._sipp)
            if not self._sipp.scenario.startswith("uac"):
                anyio.run(self._sipp.wait_ready, AnyioRuntime())
                anyio.run(register, AnyioRuntime(), self._folder, self._server, self._sipp)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(self.rtp.told())
        self._stack.__exit__(kind, error, trace)

    @property
    def call_id(self) -> str:
        """Of the call, as the server has sent it."""
        names = [re.search(r"^Call-ID: *(\S+)", message, re.MULTILINE) for message in self._sipp.received()]
        assert names and names[0], self._sipp.story()
        return names[0][1]

    def descriptions(self) -> list[SessionDescription]:
        """What the other side has described until now."""
        bodies = [message.replace("\r\n", "\n").partition("\n\n")[2] for message in self._sipp.received()]
        return [parse_sdp(body.strip() + "\n") for body in bodies if body.startswith("v=0")]

    def follow(self, number: int) -> MediaDescription:
        """Waits for the description of this number, counted from one, and sends sound as it says. Returns its line."""
        wait_until(lambda: len(self.descriptions()) >= number, self._sipp.story)
        (line,) = self.descriptions()[-1].media
        takes = self.direction().receives
        self.rtp.remote = (_address(self.descriptions()[-1]), line.port) if takes else None
        return line

    def direction(self) -> Direction:
        """Of the other side, as it has described itself last."""
        description = self.descriptions()[-1]
        return direction_of(description, description.media[0])

    def move(self) -> None:
        """From now on the sound is at the other endpoint."""
        assert self._other is not None
        self.rtp.remote, self.rtp = None, self._other

    def finish(self) -> None:
        """Waits for the end of the scenario. Raises SippFailure when it went otherwise than the file says."""
        anyio.run(self._sipp.run, AnyioRuntime())


def _address(description: SessionDescription) -> str:
    value = description.media[0].section.value("c") or description.session.value("c")
    assert value is not None, description.text
    return value.split()[-1]


def _described(rtp: PlainRtp, prefix: str) -> dict[str, str]:
    """The values for a description of it."""
    values = {"PORT": rtp.port, "PAYLOAD": rtp.codec.payload_type, "CODEC": rtp.codec.name}
    return {prefix + name: str(value) for name, value in values.items()}
