"""Congestion control in the aiortc adapter: what leaves when, with which header, and what is made of feedback."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from struct import pack
from typing import Any, TypeVar

import pytest
from aiortc import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from sipproto.media.congestion import Arrivals, Priority, TransportFeedback, write_feedback
from sipproto.negotiation import TRANSPORT_CC
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern
from sipproto_aiortc._outlet import Flow, Outlet
from sipproto_aiortc._rtp import SEND_TIME
from sipproto_aiortc._stamp import send_time, stamped
from sipproto_aiortc._transport import DtlsTransport
from tests.media._rig import End, connect, exchange, until

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
SSRC = 0x01020304
T = TypeVar("T")

# -- the header --------------------------------------------------------------------------------------------------------


def extensions(**ids: int) -> HeaderExtensionsMap:
    uris = {"mid": MID, "time": SEND_TIME, "number": TRANSPORT_CC}
    out = HeaderExtensionsMap()
    chosen = [RTCRtpHeaderExtensionParameters(id=ident, uri=uris[name]) for name, ident in ids.items()]
    out.configure(RTCRtpParameters(headerExtensions=chosen))
    return out


@given(
    mid=st.one_of(st.none(), st.text("abc0123456789", min_size=1, max_size=20)),
    sending=st.booleans(),
    ids=st.lists(st.integers(1, 255).filter(lambda ident: ident != 15), min_size=3, max_size=3, unique=True),
    payload=st.binary(min_size=1, max_size=40),
    number=st.integers(0, 0xFFFF),
)
def test_a_stamped_packet_reads_as_it_was_and_has_its_number(
    mid: str | None, sending: bool, ids: list[int], payload: bytes, number: int
) -> None:
    known = extensions(mid=ids[0], time=ids[1], number=ids[2])
    packet = RtpPacket(payload_type=96, sequence_number=7, timestamp=8, ssrc=SSRC, payload=payload)
    packet.extensions.mid = mid
    packet.extensions.abs_send_time = 0 if sending else None
    octets = packet.serialize(known)
    out = stamped(octets, time_id=ids[1], time=0x123456, number_id=ids[2], number=number)
    read = RtpPacket.parse(out, known)
    assert (read.payload, read.sequence_number, read.ssrc) == (payload, 7, SSRC)
    assert read.extensions.transport_sequence_number == number
    assert read.extensions.mid == mid
    assert read.extensions.abs_send_time == (0x123456 if sending else None)


def test_one_byte_headers_become_two_byte_headers_for_a_high_id() -> None:
    known = extensions(mid=1, time=2, number=200)
    packet = RtpPacket(payload_type=96, payload=b"x", ssrc=SSRC)
    packet.extensions.mid, packet.extensions.abs_send_time = "abc", 0
    out = stamped(packet.serialize(known), time_id=2, time=5, number_id=200, number=9)
    read = RtpPacket.parse(out, known)
    assert (read.extensions.mid, read.extensions.abs_send_time, read.payload) == ("abc", 5, b"x")
    assert read.extensions.transport_sequence_number == 9


def test_the_time_of_sending_is_that_of_ntp() -> None:
    assert send_time(64.0) == 0 and send_time(1.5) == (1 << 18) + (1 << 17)


# -- the way out -------------------------------------------------------------------------------------------------------


class Lines:
    """An outlet with a sender of video and one of audio, and what left."""

    def __init__(self, *, can_pad: bool = True) -> None:
        self.outlet = Outlet(self._left)
        self.audio = Flow(open=True, number_id=3)
        self.video = Flow(open=True, number_id=3, priority=Priority.MEDIA)
        self.repairs = Flow(open=True, number_id=3, priority=Priority.REPAIR)
        self.left: list[tuple[float, bytes]] = []
        self.wanted_bitrate, self.target_bitrate, self.can_pad = 2_000_000, 300_000, can_pad
        self.told: list[int | None] = []
        self.outlet.add(self)

    def path(self, bitrate: int | None, *, probed: bool) -> None:
        self.told.append(bitrate)

    async def pad(self) -> None:
        await self.outlet.put(self.repairs, pack("!BBHLL", 0xA0, 97, 0, 0, SSRC + 1) + bytes(254) + b"\xff")

    async def _left(self, packet: bytes) -> None:
        self.left.append((time.monotonic(), packet))

    async def picture(self, packets: int, octets: int = 1200) -> None:
        for number in range(packets):
            await self.outlet.put(self.video, pack("!BBHLL", 0x80, 96, number, 0, SSRC) + bytes(octets))

    async def all_left(self, count: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.left) < count or self.outlet._task is not None:
            assert time.monotonic() < deadline, (count, len(self.left))
            await asyncio.sleep(0.005)


def types(lines: Lines) -> list[int]:
    return [packet[1] & 0x7F for _, packet in lines.left]


def test_a_key_frame_is_spread_and_audio_passes_it() -> None:
    async def send() -> Lines:
        lines = Lines()
        await lines.picture(12)
        await lines.outlet.put(lines.audio, pack("!BBHLL", 0x80, 111, 0, 0, SSRC + 2) + bytes(80))
        await lines.all_left(13)
        return lines

    lines = asyncio.run(send())
    assert sorted(types(lines)) == [96] * 12 + [111]
    assert types(lines).index(111) < 6  # it did not wait for the picture
    moments = [moment for moment, packet in lines.left if packet[1] == 96]
    assert moments[-1] - moments[0] > 0.06  # 12 packets at 2.5 times 300 kbit/s, but no later than 0.1 s
    assert lines.video.sent.packets == 12 and lines.video.delay > 0.1


def test_nothing_runs_while_nothing_waits() -> None:
    async def send() -> int:
        lines = Lines()
        await lines.picture(1)
        await lines.all_left(1)
        return len(asyncio.all_tasks())

    assert asyncio.run(send()) == 1


def test_what_waits_leaves_when_the_line_is_held() -> None:
    async def send() -> Lines:
        lines = Lines()
        await lines.picture(12)
        lines.video.open = False
        lines.outlet.hurry()
        await lines.all_left(12)
        return lines

    lines = asyncio.run(send())
    numbers = [int.from_bytes(packet[2:4], "big") for _, packet in lines.left]
    assert numbers == list(range(12))


def test_what_is_put_after_something_hurried_does_not_pass_it() -> None:
    """Whatever time sending takes, as through a relay over TCP."""

    async def send() -> Lines:
        lines = Lines()
        left = lines._left

        async def slowly(packet: bytes) -> None:
            await asyncio.sleep(0)
            await left(packet)

        lines.outlet._send = slowly
        await lines.picture(8)
        lines.outlet.hurry()
        for number in range(8, 24):
            await lines.outlet.put(lines.video, pack("!BBHLL", 0x80, 96, number, 0, SSRC) + bytes(1200))
            if number % 5 == 0:
                lines.outlet.hurry()
        await lines.all_left(24)
        return lines

    lines = asyncio.run(send())
    assert [int.from_bytes(packet[2:4], "big") for _, packet in lines.left] == list(range(24))


def test_a_closed_outlet_leaves_nothing_running_and_takes_nothing() -> None:
    async def send() -> tuple[int, int, int]:
        lines = Lines()
        await lines.picture(12)
        lines.outlet.hurry()
        lines.outlet.close()
        before = len(lines.left)
        await lines.picture(12)
        await asyncio.sleep(0)
        return before, len(lines.left), len(asyncio.all_tasks())

    before, after, tasks = asyncio.run(send())
    assert (after, tasks) == (before, 1)


def feedback_for(packets: list[tuple[float, bytes]]) -> list[bytes]:
    arrivals = Arrivals(5)
    known = extensions(number=3)
    for moment, octets in packets:
        number = RtpPacket.parse(octets, known).extensions.transport_sequence_number
        assert number is not None
        arrivals.arrived(number, SSRC, len(octets), moment + 100)
    return arrivals.feedback(packets[-1][0] + 100)


def test_packets_are_numbered_probed_with_and_their_feedback_is_obeyed() -> None:
    async def send() -> Lines:
        lines = Lines()
        lines.outlet.number()
        assert lines.outlet.estimate is None
        for _ in range(12):
            count = len(lines.left)
            await lines.picture(2)
            await lines.all_left(count + 2)
            lines.outlet.receive(feedback_for(lines.left[count:]))
        return lines

    lines = asyncio.run(send())
    known = extensions(number=3)
    numbers = [RtpPacket.parse(packet, known).extensions.transport_sequence_number for _, packet in lines.left]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 97 in types(lines) and lines.repairs.padding.packets == types(lines).count(97)
    assert lines.outlet.estimate is not None and lines.outlet.estimate > 500_000
    first, last = lines.told[0], lines.told[-1]
    assert first is not None and last is not None and last > first


def test_a_peer_that_agreed_and_says_nothing_does_not_hold_us_down() -> None:
    async def send() -> Lines:
        lines = Lines()
        lines.outlet.number()
        await lines.picture(1)
        await lines.all_left(1)
        lines.outlet._look(time.monotonic())
        assert None not in lines.told
        lines.outlet._look(time.monotonic() + 3)
        return lines

    assert asyncio.run(send()).told[-1] is None


@pytest.mark.parametrize("why", ["held", "no repairs"])
def test_no_probe_without_pictures_or_repairs(why: str) -> None:
    async def send() -> Lines:
        lines = Lines(can_pad=False)
        lines.outlet.number()
        if why == "held":
            lines.wanted_bitrate = 0
        for _ in range(5):
            await lines.picture(1)
            await lines.all_left(1)
        return lines

    assert types(asyncio.run(send())) == [96] * 5


@pytest.mark.parametrize(
    "octets", [b"", b"\x8f\xcd\x00\x00", b"\x8f\xcd\x00\x05" + bytes(8) + b"\0\0\xff\xff" + bytes(8)]
)
def test_feedback_that_cannot_be_read_is_counted(octets: bytes) -> None:
    outlet = Outlet(lambda packet: asyncio.sleep(0))
    outlet.receive([octets])
    assert outlet.malformed == 0  # nobody asked for it
    outlet.number()
    outlet.receive([octets])
    assert outlet.malformed == 1 and outlet.estimate is None


# -- calls -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    engines = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    setup = MediaSetup(video=TestPattern(frame_rate=30))
    yield End(engines[0], setup), End(engines[1], setup)
    for engine in engines:
        engine.close()


def transport(end: End) -> DtlsTransport:
    return next(iter(end.engine._calls[end.call]._lines.values())).transport


def on_loop(end: End, call: Callable[[], T]) -> T:
    """Calls something on the media thread of an end."""

    async def calling() -> T:
        return call()

    loop = end.engine._loop
    assert loop is not None
    return asyncio.run_coroutine_threadsafe(calling(), loop).result(2)


def feedback_of(packets: int) -> bytes:
    """The first so many packets of a transport arrived, all at one moment."""
    arrivals = tuple((place, 0) for place in range(packets))
    return write_feedback(
        TransportFeedback(sender_ssrc=1, media_ssrc=2, base=1, packets=packets, reference=7, count=1, arrivals=arrivals)
    )


def bitrates(end: End) -> tuple[float | None, float | None]:
    pair = end.stats().selected_pair
    assert pair is not None
    return pair.available_outgoing_bitrate, pair.available_incoming_bitrate


def test_both_ends_estimate_and_send_no_remb(ends: tuple[End, End]) -> None:
    connect(*ends, "audio video")
    until(lambda: all(None not in bitrates(end) for end in ends))
    until(lambda: all((end.line("video").frames_decoded or 0) > 20 for end in ends))
    for end in ends:
        outgoing, _ = bitrates(end)
        assert outgoing is not None and outgoing >= 100_000
        sender: Any = end.engine._calls[end.call]._lines[1]._sender
        assert sender.sending.feedback.estimate is None
        assert transport(end).outlet.malformed == 0


def without(pattern: str) -> Callable[[str], str]:
    return lambda sdp: re.sub(pattern, "", sdp)


def test_a_peer_that_agrees_no_more_leaves_no_bound(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(lambda: bitrates(a)[0])
    sender: Any = a.engine._calls[a.call]._lines[1]._sender
    until(lambda: sender._control.bandwidth._path is not None)
    exchange(b, a, without(r"a=rtcp-fb:\d+ transport-cc\r\n"))
    assert not any(line.transport_cc for line in a.session.lines)
    until(lambda: sender._control.bandwidth._path is None)
    # Feedback may have been on its way, and others of the transport may go on.
    on_loop(a, lambda: transport(a).outlet.receive([feedback_of(1000)]))
    assert sender._control.bandwidth._path is None
    before = b.line("video").frames_decoded or 0
    until(lambda: (b.line("video").frames_decoded or 0) > before + 5)


@pytest.mark.parametrize("left_out", [r"a=extmap:\d+ \S+transport-wide-cc\S+\r\n", r"a=rtcp-fb:\d+ transport-cc\r\n"])
def test_without_it_there_is_remb(ends: tuple[End, End], left_out: str) -> None:
    connect(*ends, "audio video", without(left_out))
    until(lambda: all(None not in bitrates(end) for end in ends))
    assert all(transport(end).outlet.estimate is None for end in ends)


def test_hostile_feedback_ends_nothing(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(lambda: bitrates(a)[0])
    hostile = [
        b"\x8f\xcd\x00\x05" + bytes(8) + pack("!HHL", base, 65535, 0) + b"\x3f\xff\x3f\xff" for base in range(20)
    ]
    loop = a.engine._loop
    assert loop is not None
    for octets in (*hostile, b"\x8f\xcd\xff\xff" + bytes(16), b"\x8f\xcd"):
        asyncio.run_coroutine_threadsafe(transport(a)._handle_rtcp_data(octets), loop).result(2)
    assert transport(a).outlet.malformed == 20
    before = b.line("video").frames_decoded or 0
    until(lambda: (b.line("video").frames_decoded or 0) > before + 5)
