"""Fuzz targets of what `sipproto_aiortc` does with received packets, in simulated time.

`audio`, `pictures` and `digits` take a line of packets: for each an octet of how long it comes after the one before it (in
4 ms), an octet of its length, and its octets.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiortc import RTCRtpHeaderExtensionParameters
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcdtlstransport import RtpReceiver
from aiortc.rtcrtpparameters import RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from av import AudioFrame

from fuzz.clock import SimulatedClock
from sipproto.sdp import Codec
from sipproto_aiortc._audio import AudioPlayer
from sipproto_aiortc._av1 import av1_depayload, av1_is_key_frame, av1_picture
from sipproto_aiortc._counters import header_size, is_key_frame
from sipproto_aiortc._decoders import depayload
from sipproto_aiortc._digits import DigitReceiver, is_event
from sipproto_aiortc._order import VideoOrder
from sipproto_aiortc._payload import PAYLOAD_MAX, h264_payloads, nal_units, vp8_payloads
from sipproto_aiortc._reception import Reception, ReportedStream
from sipproto_aiortc._rtp import codec_parameters
from sipproto_aiortc._stamp import stamped
from sipproto_aiortc._transport import Router
from sipproto_aiortc._vp9 import vp9_depayload, vp9_payloads

_UNIT = 0.004  # seconds
AUDIO = {
    codec.payload_type: codec
    for codec in (
        Codec(payload_type=0, name="PCMU", clock_rate=8000),
        Codec(payload_type=9, name="G722", clock_rate=8000),
        Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
        Codec(payload_type=101, name="telephone-event", clock_rate=48000),
        Codec(payload_type=126, name="telephone-event", clock_rate=8000),
    )
}
VIDEO = {
    codec.payload_type: codec
    for codec in (
        Codec(payload_type=96, name="VP8", clock_rate=90000),
        Codec(payload_type=98, name="VP9", clock_rate=90000),
        Codec(payload_type=99, name="H264", clock_rate=90000),
        Codec(payload_type=100, name="AV1", clock_rate=90000),
    )
}
_MID, _TIME, _NUMBER = 1, 2, 3
_EXTENSIONS = RTCRtpParameters(
    headerExtensions=[
        RTCRtpHeaderExtensionParameters(id=_MID, uri="urn:ietf:params:rtp-hdrext:sdes:mid"),
        RTCRtpHeaderExtensionParameters(id=_TIME, uri="http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        RTCRtpHeaderExtensionParameters(
            id=_NUMBER, uri="http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
        ),
    ]
)


def _parsed(data: bytes) -> RtpPacket | None:
    """As a transport reads it, which drops whatever cannot be read."""
    extensions = HeaderExtensionsMap()
    extensions.configure(_EXTENSIONS)
    try:
        return RtpPacket.parse(data, extensions)
    except Exception:
        return None


def line_of(packets: list[tuple[float, bytes]]) -> bytes:
    """Seconds and octets of packets as the targets take them."""
    return b"".join(bytes([round(wait / _UNIT), len(data)]) + data for wait, data in packets)


def _arriving(data: bytes, clock: SimulatedClock) -> Iterator[RtpPacket]:
    """The packets of a line, each at its time."""
    at = 0
    while at + 2 <= len(data):
        wait, size = data[at], data[at + 1]
        clock.run(wait * _UNIT)
        packet = _parsed(data[at + 2 : at + 2 + size])
        at += 2 + size
        if packet is not None:
            yield packet


def rtp(data: bytes) -> None:
    """An RTP packet: where it goes, what its header takes, and what is written into it when we send it on."""
    packet = _parsed(data)
    if packet is None:
        return
    payload = len(packet.payload) + packet.padding_size
    assert header_size(data) == len(data) - payload
    arrived: list[RtpPacket] = []
    router = Router(arrived.append)
    receiver: RtpReceiver = object()  # type: ignore[assignment]  # it is only handed out
    router.register_receiver(receiver, ssrcs=[], payload_types=[packet.payload_type], mid="0")
    assert router.route_rtp(packet) is receiver and arrived == [packet]
    extensions = HeaderExtensionsMap()
    extensions.configure(_EXTENSIONS)
    out = stamped(packet.serialize(extensions), time_id=_TIME, time=0xABCDEF, number_id=_NUMBER, number=0x1234)
    again = RtpPacket.parse(out, extensions)
    for name in ("marker", "payload_type", "sequence_number", "timestamp", "ssrc", "csrc", "payload", "padding_size"):
        assert getattr(again, name) == getattr(packet, name), name
    assert again.extensions.mid == packet.extensions.mid
    assert again.extensions.transport_sequence_number == 0x1234
    assert again.extensions.abs_send_time == (None if packet.extensions.abs_send_time is None else 0xABCDEF)


def payloads(data: bytes) -> None:
    """A payload of VP9 and those of a picture of AV1: ValueError, or their content; and pictures into payloads and back."""
    try:
        assert data.endswith(vp9_depayload(data))
    except ValueError:
        pass
    parts = bytearray()
    for piece in data.split(b"\xff\xff"):
        try:
            parts += av1_depayload(piece)
        except ValueError:
            continue
    for whole in (bytes(parts), data):
        assert av1_is_key_frame(whole) in (True, False)
        try:
            picture = av1_picture(whole)
        except ValueError:
            continue
        assert len(picture) <= 2 * len(whole) + 2
    for codec in VIDEO.values():
        is_key_frame(codec.name, data)
    _sent(data * 100 if data[:1] == b"\x01" else data)


def _sent(picture: bytes) -> None:
    """It comes out as it went in."""
    made = vp8_payloads(picture, 0x7FFF)
    assert b"".join(map(vp8_depayload, made)) == picture
    assert all(len(payload) <= PAYLOAD_MAX for payload in made)
    made = vp9_payloads(picture, 0x7FFF, key_frame=True)
    assert b"".join(map(vp9_depayload, made)) == picture
    assert all(len(payload) <= PAYLOAD_MAX for payload in made)
    # The types above are those of RTP; a unit of one octet aiortc does not take apart.
    units = [unit for unit in nal_units(picture) if 0 < unit[0] & 0x1F < 24 and len(unit) > 1]
    stream = b"".join(b"\x00\x00\x00\x01" + unit for unit in units)
    made = h264_payloads(stream, single=False)
    assert list(nal_units(b"".join(map(h264_depayload, made)))) == units
    assert all(len(payload) <= PAYLOAD_MAX for payload in made)


def audio(data: bytes) -> None:
    """A line of packets is played: no faster than time goes, no longer than a second after the last, in bounded memory."""
    clock, reception, frames = SimulatedClock(), Reception(), 0
    seconds = 0.0

    def emit(frame: AudioFrame) -> None:
        nonlocal seconds, frames
        seconds, frames = seconds + frame.samples / frame.sample_rate, frames + 1
        assert 0 < frame.samples <= 0.2 * frame.sample_rate
        assert seconds <= clock.now + 0.5
        reception.emitted(frame)

    codecs = {number: codec_parameters("audio", codec) for number, codec in AUDIO.items()}
    player = AudioPlayer(codecs, reception, emit, clock)
    reported = ReportedStream(8000)
    for count, packet in enumerate(_arriving(data, clock)):
        codec = AUDIO.get(packet.payload_type)
        reception.add(packet, codec, len(data), clock.now)
        reported.add(packet)
        assert 0 <= reported.fraction_lost <= 255 and 0 <= reported.jitter < 1 << 32
        if codec is None:
            continue
        if is_event(codec):  # as a receiver does it
            packet.payload_type, packet.payload = 0, b""
        vars(packet)["_data"] = packet.payload
        assert player.add(packet) == (False, None)
        assert frames <= count + 500 * (clock.now + 1)
    clock.run(4.0)
    assert not clock.waits, "it plays for ever"
    assert len(reception.streams) <= 8
    for stream in reception.streams:
        playing = stream.playing
        assert playing.concealed >= playing.silent >= 0 and playing.emitted >= 0 and playing.delay >= 0
    player.close()


def pictures(data: bytes) -> None:
    """A line of packets of video: whole pictures come out, of what was put in, and nothing is kept for ever."""
    clock, due, given = SimulatedClock(), 0, 0

    def emit(payload_type: int, frame: JitterFrame) -> None:
        nonlocal due
        assert payload_type in VIDEO and frame.data
        due += len(frame.data)
        if VIDEO[payload_type].name == "AV1":
            try:
                av1_picture(frame.data)
            except ValueError:
                pass

    order = VideoOrder(lambda number: VIDEO[number].name, emit, clock.time)
    for packet in _arriving(data, clock):
        codec = VIDEO.get(packet.payload_type)
        if codec is None:
            continue
        try:
            content = depayload(codec_parameters("video", codec), packet.payload) if packet.payload else b""
        except ValueError:
            continue
        vars(packet)["_data"] = content
        given += len(content)
        order.add(packet)
        assert due <= given
        assert clock.now >= order.progress >= order.began


def digits(data: bytes) -> None:
    """A line of digits: each is told once, when it ends; and it does end."""
    clock = SimulatedClock()
    told: list[tuple[float, int]] = []

    def heard(event: int, duration: int) -> None:
        assert 0 <= event <= 15 and duration >= 0
        told.append((clock.now, event))
        assert sum(moment > clock.now - 1 for moment, _ in told) <= 31

    receiver = DigitReceiver(heard, clock)
    events = [codec for codec in AUDIO.values() if is_event(codec)]
    for packet in _arriving(data, clock):
        receiver.receive(packet, next((one for one in events if one.payload_type == packet.payload_type), events[0]))
    clock.run(1.0)
    assert not clock.waits
    before = len(told)
    receiver.finish()
    assert len(told) == before
