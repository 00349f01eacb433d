"""DTMF digits in RTP (RFC 4733): between two engines over loopback, and packet by packet."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiortc.rtp import RtpPacket

from sipproto.agent.media import (
    CloseMedia,
    DigitHeard,
    DigitSent,
    MediaFailed,
    MediaInput,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
)
from sipproto.agent.parameters import Encoding, SenderParameters
from sipproto.agent.stats import RemoteInboundRtpStats
from sipproto.sdp import Codec
from sipproto_aiortc import AiortcEngine, MediaSetup, Silence, TestPattern, Tone
from sipproto_aiortc._counters import header_size
from sipproto_aiortc._digits import DigitReceiver, DigitSender
from tests.media._rig import End, Relay, connect, exchange, hears, until
from tests.media.test_aiortc_engine import prefer

EVENTS = {48000: Codec(payload_type=101, name="telephone-event", clock_rate=48000, parameters="0-16"),
          8000: Codec(payload_type=126, name="telephone-event", clock_rate=8000, parameters="0-16")}  # fmt: skip
AUDIO = {48000: Codec(payload_type=111, name="opus", clock_rate=48000, channels=2),
         8000: Codec(payload_type=0, name="PCMU", clock_rate=8000)}  # fmt: skip
_numbers = itertools.count(1_000_000)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def ends(engines: tuple[AiortcEngine, AiortcEngine]) -> Iterator[tuple[End, End]]:
    a, b = End(engines[0], MediaSetup(audio=Tone(700.0))), End(engines[1], MediaSetup(audio=Tone(1100.0)))
    yield a, b
    a.close()
    b.close()


def send(end: End, event: int, duration: int, line: int = 0) -> None:
    codec = next(one.telephone_event for one in end.session.lines if one.index == line)
    assert codec is not None
    end.engine.perform(
        SendDigit(request=next(_numbers), call=end.call, line=line, event=event, duration=duration, codec=codec),
        end.report,
    )


def heard(end: End) -> list[int]:
    return [digit.event for digit in end.digits]


# -- between two engines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_all_digits_both_ways(ends: tuple[End, End], codec: str) -> None:
    a, b = ends
    prefer(a, "audio", codec, "telephone-event")
    connect(a, b)
    until(hears(b, 700))

    def dial_all() -> bool:
        """Whether each was heard as long as it was said: when updates come late, it is over too soon (RFC 4733 2.5.2.2)."""
        a.digits.clear()
        b.digits.clear()
        began = time.monotonic()
        for event in range(8):
            send(a, event, 60)
            send(b, 15 - event, 100)
        for _ in range(8):
            assert isinstance(a.reply(), DigitSent)
            assert isinstance(b.reply(), DigitSent)
        assert time.monotonic() - began > 8 * 0.1  # one after the other
        until(lambda: len(a.digits) == len(b.digits) == 8)
        assert heard(b) == list(range(8))
        assert heard(a) == list(range(15, 7, -1))
        assert all(20 <= digit.duration <= 60 and digit.line == 0 and digit.call == b.call for digit in b.digits)
        assert all(20 <= digit.duration <= 100 for digit in a.digits)
        return {digit.duration for digit in b.digits} == {60} and {digit.duration for digit in a.digits} == {100}

    until(dial_all)

    def goes_on() -> bool:
        """50 packets a second, unless the machine was busy just now."""
        sent, start = a.line().packets_sent, time.monotonic()
        time.sleep(0.6)
        return a.line().packets_sent - sent == pytest.approx((time.monotonic() - start) * 50, abs=5)

    until(goes_on)
    for end, frequency in ((a, 1100), (b, 700)):
        until(hears(end, frequency))
        assert end.line().packets_lost == 0
    report = a.stats()
    outbound = report.outbound("audio")
    assert outbound is not None
    remote = report.get(outbound.remote_id)  # the peer misses none either
    assert isinstance(remote, RemoteInboundRtpStats) and remote.packets_lost == 0


def test_digits_at_8000_hertz_beside_opus(ends: tuple[End, End]) -> None:
    """Firefox takes no others."""
    a, b = ends
    connect(a, b, change=lambda sdp: sdp.replace("telephone-event/48000", "x/48000"))
    until(hears(b, 700))
    assert a.line().codec == b.line().codec == "opus"

    def dial() -> bool:
        """Whether both were heard in full length, as above."""
        for end in ends:
            end.digits.clear()
            send(end, 5, 200)
        for end in ends:
            assert isinstance(end.reply(), DigitSent)
        until(lambda: a.digits and b.digits)
        assert heard(a) == heard(b) == [5]
        return a.digits[0].duration == b.digits[0].duration == 200

    until(dial)
    until(hears(b, 700))


@pytest.mark.parametrize(("share", "codec"), [(0.05, "PCMU"), (0.3, "opus")])
def test_digits_survive_loss(engines: tuple[AiortcEngine, AiortcEngine], share: float, codec: str) -> None:
    relay = Relay()
    a, b = End(engines[0], MediaSetup(audio=Tone(700.0))), End(engines[1], MediaSetup(audio=Silence()))
    try:
        prefer(a, "audio", codec, "telephone-event")
        connect(a, b, change=relay.change)
        until(hears(b, 700))
        relay.lose_share = share
        for event in range(5):
            send(a, event, 140)
        for _ in range(5):
            assert isinstance(a.reply(), DigitSent)
        until(lambda: len(b.digits) == 5)
        assert heard(b) == list(range(5))
        for digit in b.digits:
            assert 20 <= digit.duration <= 140
        until(lambda: (b.line().packets_lost or 0) > 0)
        relay.lose_share = 0.0
        until(hears(b, 700))
    finally:
        a.close()
        b.close()
        relay.close()


def test_a_long_digit_of_a_silent_line(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    """Longer than a segment of 65535 units, which is 1365 ms at 48 kHz."""
    a, b = End(engines[0], MediaSetup(audio=Silence())), End(engines[1], MediaSetup(audio=Silence()))
    try:
        connect(a, b)

        def dial() -> bool:
            """Whether it was heard in full length, as above."""
            b.digits.clear()
            send(a, 11, 1600)
            assert isinstance(a.reply(), DigitSent)
            until(lambda: b.digits)
            time.sleep(0.3)
            assert heard(b) == [11]
            return b.digits == [DigitHeard(call=b.call, line=0, event=11, duration=1600)]

        until(dial)
    finally:
        a.close()
        b.close()


def test_a_digit_of_a_line_that_is_switched_off(ends: tuple[End, End]) -> None:
    """Its audio stays unsent."""
    a, b = ends
    connect(a, b)
    until(hears(b, 700))
    off = SenderParameters(encodings=(Encoding(active=False),))
    a.engine.perform(SetSenderParameters(request=next(_numbers), call=a.call, line=0, parameters=off), a.report)
    assert isinstance(a.reply(), SenderParametersSet)
    until(lambda: not (found := a.stats().outbound("audio")) or not found.active)
    before = a.line().packets_sent
    send(a, 8, 100)
    assert isinstance(a.reply(), DigitSent)
    until(lambda: heard(b) == [8])
    assert b.digits[0].duration == 100
    assert a.line().packets_sent - before <= 8  # the seven of the digit, and one that was under way


def test_statistics_do_not_wait_for_a_digit(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    send(a, 1, 1000)
    began = time.monotonic()
    assert a.stats().line("audio") is not None  # the reply to this comes before that to the digit
    assert time.monotonic() - began < 0.8
    assert isinstance(a.reply(), DigitSent)


def test_a_digit_waits_for_the_path(ends: tuple[End, End]) -> None:
    """A call is established before its media are connected."""
    a, b = ends
    a.negotiator.add_line("audio")
    exchange(a, b)
    send(a, 5, 100)
    reply = a.reply()
    assert isinstance(reply, DigitSent), reply
    until(lambda: heard(b) == [5])


def test_hold_and_end_fail_digits(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    send(a, 1, 5000)
    send(a, 2, 100)
    until(lambda: a.line().packets_sent > 5)
    b.negotiator.hold = True
    exchange(b, a)
    a.negotiator.hold = True
    failed: list[MediaInput] = [a.reply(), a.reply()]
    assert all(isinstance(reply, MediaFailed) and reply.error == "the line sends nothing now" for reply in failed)
    until(lambda: heard(b) == [1])
    b.negotiator.hold = False
    exchange(b, a)
    send(a, 3, 5000)
    send(a, 4, 5000)
    sent = a.line().packets_sent
    until(lambda: a.line().packets_sent > sent + 3)
    a.engine.perform(CloseMedia(call=a.call), a.report)
    failed = [a.reply(), a.reply()]
    assert all(isinstance(reply, MediaFailed) and "closed" in reply.error for reply in failed)


def test_what_cannot_be_sent(ends: tuple[End, End]) -> None:
    a, b = ends
    b.engine.prepare(b.call, MediaSetup(video=TestPattern()))
    connect(a, b, "audio video")
    events = a.session.lines[0].telephone_event
    assert events is not None
    for line, event, duration, codec, says in (
        (0, 16, 100, events, "no digit"),
        (0, 1, 10, events, "no digit"),
        (0, 1, 100, a.session.lines[0].codec, "opus"),
        (1, 1, 100, events, "audio only"),
        (7, 1, 100, events, "no media line 7"),
    ):
        request = SendDigit(request=next(_numbers), call=a.call, line=line, event=event, duration=duration, codec=codec)
        a.engine.perform(request, a.report)
        reply = a.reply()
        assert isinstance(reply, MediaFailed) and says in reply.error, reply
    for number in range(30):
        send(a, number % 10, 60)
    for _ in range(14):
        reply = a.reply()
        assert isinstance(reply, MediaFailed) and "too many digits" in reply.error, reply


def test_a_peer_without_telephone_event(ends: tuple[End, End]) -> None:
    a, b = ends
    prefer(b, "audio", "opus")
    connect(a, b)
    assert a.session.lines[0].telephone_event is None
    until(hears(a, 1100))


def test_an_empty_packet_ends_nothing(ends: tuple[End, End]) -> None:
    """To a decoder a packet without content is the end of the stream, after which it decodes nothing more."""
    a, b = ends
    connect(a, b)
    until(hears(b, 700))
    before = b.line().frames_decoded
    assert before is not None
    flow, emptied = a.engine._calls[a.call]._lines[0]._flow, iter([True, True])
    flow.rewrite = lambda data: data[: header_size(data)] if next(emptied, False) else data
    until(lambda: (b.line().frames_decoded or 0) > before + 50)
    assert b.line().packets_lost == 0


# -- packet by packet ------------------------------------------------------------------------------------------------------


def audio_packet(number: int, timestamp: int, extension: bool = True) -> bytes:
    packet = RtpPacket(payload_type=111, sequence_number=number, timestamp=timestamp % (1 << 32), ssrc=77, marker=1)
    packet.payload = b"sound" * 20
    data = bytearray(packet.serialize())
    if extension:
        data[0] |= 0x10
        data[12:12] = b"\xbe\xde\x00\x01\x10\xff\x00\x00"
    return bytes(data)


async def sent_packets(duration: int, rate: int, start: int = 0xFFFFFF00) -> list[RtpPacket]:
    """The packets of one event, parsed."""
    sender = DigitSender()
    sender.open()
    task = asyncio.create_task(sender.send(5, duration, EVENTS[rate], AUDIO[rate]))
    await asyncio.sleep(0)
    out: list[RtpPacket] = []
    for number in range(100_000):
        data = sender.rewrite(audio_packet(number, start + number * rate // 50))
        packet = RtpPacket.parse(data)
        assert (packet.sequence_number, packet.ssrc) == (number, 77)
        if packet.payload_type == 111:
            assert data == audio_packet(number, start + number * rate // 50)  # the audio goes on untouched
            break
        assert data[12:20] == b"\xbe\xde\x00\x01\x10\xff\x00\x00"
        out.append(packet)
    await task
    return out


def fields(packet: RtpPacket) -> tuple[int, int, bool, int]:
    """Event, volume, end, duration."""
    assert len(packet.payload) == 4
    flags = packet.payload[1]
    return packet.payload[0], flags & 0x3F, flags >= 0x80, int.from_bytes(packet.payload[2:], "big")


@pytest.mark.parametrize("rate", [8000, 48000])
def test_packets_of_an_event(rate: int) -> None:
    step = rate // 50
    packets = asyncio.run(sent_packets(100, rate))
    assert [fields(packet) for packet in packets] == [
        (5, 10, False, step),
        (5, 10, False, 2 * step),
        (5, 10, False, 3 * step),
        (5, 10, False, 4 * step),
        *[(5, 10, True, 5 * step)] * 3,
    ]
    assert {packet.timestamp for packet in packets} == {0xFFFFFF00}
    assert [packet.marker for packet in packets] == [1, 0, 0, 0, 0, 0, 0]
    assert {packet.payload_type for packet in packets} == {EVENTS[rate].payload_type}


@pytest.mark.parametrize("duration", [1366, 1370, 1500, 2731, 4200])
def test_segments_of_a_long_event(duration: int) -> None:
    """RFC 4733 2.5.1.3: a segment ends with the longest duration and without the end bit; the next adjoins it."""
    packets = asyncio.run(sent_packets(duration, 48000))
    segments = [list(group) for _, group in itertools.groupby(packets, key=lambda packet: packet.timestamp)]
    assert [s[0].timestamp for s in segments] == [(0xFFFFFF00 + n * 65535) % (1 << 32) for n in range(len(segments))]
    for segment in segments[:-1]:
        assert [fields(packet)[2:] for packet in segment[-3:]] == [(False, 65535)] * 3
        assert not any(fields(packet)[2] for packet in segment)
    rest = duration * 48 - 65535 * (len(segments) - 1)
    assert [fields(packet)[2:] for packet in segments[-1][-3:]] == [(True, rest)] * 3
    assert [packet.marker for packet in packets] == [1] + [0] * (len(packets) - 1)


def test_a_line_without_audio_fails_a_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipproto_aiortc._digits._PATIENCE", 0.05)

    async def play() -> None:
        sender = DigitSender()
        with pytest.raises(RuntimeError, match="sends nothing"):
            await sender.send(1, 40, EVENTS[8000], AUDIO[8000])
        sender.open()
        with pytest.raises(RuntimeError, match="no audio"):
            await sender.send(1, 40, EVENTS[8000], AUDIO[8000])

    asyncio.run(play())


def event_packet(
    timestamp: int, duration: int, *, event: int = 5, end: bool = False, marker: int = 0, ssrc: int = 9
) -> RtpPacket:
    packet = RtpPacket(payload_type=126, timestamp=timestamp % (1 << 32), ssrc=ssrc, marker=marker)
    packet.payload = bytes([event, 10 | (0x80 if end else 0)]) + duration.to_bytes(2, "big")
    return packet


def hear(play: Callable[[DigitReceiver, list[tuple[int, int]]], Awaitable[None]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []

    async def run() -> None:
        receiver = DigitReceiver(lambda event, duration: out.append((event, duration)), asyncio.get_running_loop())
        await play(receiver, out)
        receiver.finish()

    asyncio.run(run())
    return out


def hear_packets(*packets: RtpPacket) -> list[tuple[int, int]]:
    async def play(receiver: DigitReceiver, out: list[tuple[int, int]]) -> None:
        for packet in packets:
            receiver.receive(packet, EVENTS[8000])

    return hear(play)


END = event_packet(1000, 800, end=True)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        ([event_packet(1000, 160, marker=1), event_packet(1000, 320), END, END, END], [(5, 100)]),
        ([END], [(5, 100)]),
        ([END, event_packet(1000, 640)], [(5, 100)]),  # an update that was overtaken by the end
        ([event_packet(1000, 320), event_packet(1000, 160), END], [(5, 100)]),
        # the end was lost: the next digit ends it, with the duration that was seen
        ([event_packet(1000, 320), event_packet(4000, 480, event=6, end=True)], [(5, 40), (6, 60)]),
        # the same digit twice, told apart by the timestamp
        ([END, event_packet(3000, 800, end=True)], [(5, 100), (5, 100)]),
        # a packet of the digit before that comes late
        ([END, event_packet(3000, 160), END, event_packet(3000, 320, end=True)], [(5, 100), (5, 40)]),
        ([event_packet(3000, 160), event_packet(1000, 800, event=4), event_packet(3000, 320, end=True)], [(5, 40)]),
        # over the end of the timestamps
        ([event_packet(2**32 - 80, 160), event_packet(2**32 - 80, 800, end=True)], [(5, 100)]),
        # segments
        ([event_packet(0, 65535), event_packet(65535, 8000), event_packet(65535, 16000, end=True)], [(5, 10192)]),
        ([event_packet(0, 60000), event_packet(65535, 16000, end=True)], [(5, 10192)]),
        ([event_packet(0, 65535), event_packet(65535, 800, end=True, event=6)], [(5, 8192), (6, 100)]),
        # no digits: a hook flash, what is too short, another event on the same timestamp
        ([event_packet(1000, 800, event=16, end=True), event_packet(2000, 800, event=255, end=True)], []),
        ([RtpPacket(payload_type=126, payload=b"\x05\x8a\x01")], []),
        ([event_packet(1000, 160), event_packet(1000, 800, event=7, end=True), END], [(5, 100)]),
        # another source
        ([event_packet(1000, 160), event_packet(500, 160, ssrc=8, end=True)], [(5, 20), (5, 20)]),
    ],
)
def test_what_is_heard(packets: list[RtpPacket], expected: list[tuple[int, int]]) -> None:
    assert hear_packets(*packets) == expected


def test_a_digit_without_its_end_is_over_soon() -> None:
    async def play(receiver: DigitReceiver, out: list[tuple[int, int]]) -> None:
        for duration in (160, 320):
            receiver.receive(event_packet(1000, duration), EVENTS[8000])
        began = time.monotonic()
        while not out:
            assert time.monotonic() - began < 2
            await asyncio.sleep(0.01)
        assert time.monotonic() - began > 0.09
        receiver.receive(END, EVENTS[8000])  # now it is too late
        receiver.receive(event_packet(1000 + 65535, 800, end=True), EVENTS[8000])

    assert hear(play) == [(5, 40)]


def test_a_flood_of_digits_is_not_passed_on() -> None:
    assert len(hear_packets(*(event_packet(n * 1000, 160, end=True) for n in range(2000)))) == 30


def test_codecs_are_offered_last() -> None:
    engine = AiortcEngine()
    codecs = engine.capabilities.audio
    assert [(c.payload_type, c.clock_rate, c.parameters) for c in codecs[-2:]] == [
        (101, 48000, "0-16"),
        (126, 8000, "0-16"),
    ]
    assert not any(c.name == "telephone-event" for c in codecs[:-2])
    numbers = [c.payload_type for c in (*codecs, *engine.capabilities.video)]
    assert len(numbers) == len(set(numbers))
    engine.close()
