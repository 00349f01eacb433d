"""What is counted and reported of received streams, and what a peer can do to it: jumps, wraps, thousands of SSRCs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc.rtp import RtcpPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket, RtpPacket

from sipproto.negotiation import MediaLine
from sipproto.sdp import Codec, Direction
from sipproto_aiortc._digits import DigitReceiver
from sipproto_aiortc._ice import Credentials, Generation, IceTransport
from sipproto_aiortc._recent import Recent
from sipproto_aiortc._reception import STREAMS, Reception, ReportedStream, Sequence
from sipproto_aiortc._rtp import Receiver
from sipproto_aiortc._servers import IceOptions
from sipproto_aiortc._transport import Certificate, DtlsTransport

PCMU = Codec(payload_type=0, name="PCMU", clock_rate=8000)
VP8 = Codec(payload_type=96, name="VP8", clock_rate=90000)


def packet(number: int, timestamp: int, ssrc: int = 1, payload_type: int = 0) -> RtpPacket:
    return RtpPacket(
        payload_type=payload_type,
        sequence_number=number % (1 << 16),
        timestamp=timestamp % (1 << 32),
        ssrc=ssrc,
        payload=b"\x90\x80\x80\x01\x9d\x01\x2a" if payload_type else b"\xff" * 160,
    )


def sequence_of(*runs: range) -> Sequence:
    sequence = Sequence()
    for index, number in enumerate(number for run in runs for number in run):
        sequence.add(packet(number, index * 160), 8000, index * 0.02)
    return sequence


# -- a sequence (RFC 3550 A.1) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [20_000, 40_000, 65_000, 4_000])
def test_a_sender_that_begins_anew_has_lost_nothing(beginning: int) -> None:
    """Its numbers go on anywhere, with the same SSRC: ahead, behind, and over their end."""
    sequence = sequence_of(range(500), range(beginning, beginning + 1000))
    assert sequence.lost == 0
    assert sequence.jitter == pytest.approx(0.0, abs=1e-6), "and it is followed from there on"
    assert sequence.highest % 0x10000 == (beginning + 999) % 0x10000


def test_one_packet_that_is_far_off_is_nothing() -> None:
    sequence = sequence_of(range(100), range(30_000, 30_001), range(100, 200), range(50_000, 50_001), range(200, 300))
    assert (sequence.lost, sequence.received, sequence.highest) == (0, 300, 299)


def test_a_long_loss_is_a_loss() -> None:
    assert sequence_of(range(100), range(2100, 2200)).lost == 2000


# -- reports (RFC 3550 6.4.1) ----------------------------------------------------------------------------------------------


def told(stream: ReportedStream) -> RtcpReceiverInfo:
    """As it gets to the peer."""
    info = RtcpReceiverInfo(
        ssrc=1,
        fraction_lost=stream.fraction_lost,
        packets_lost=stream.packets_lost,
        highest_sequence=stream.max_seq,
        jitter=stream.jitter,
        lsr=0,
        dlsr=0,
    )
    return RtcpReceiverInfo.parse(bytes(info))


def test_a_report_tells_the_loss_since_the_last_one_and_in_all() -> None:
    stream = ReportedStream(8000)
    for number in range(100):
        if number % 4:
            stream.add(packet(number + 65_500, number * 160))
    first = told(stream)
    assert (first.packets_lost, first.fraction_lost) == (24, 24 * 256 // 99)  # the first that is known is 65501
    assert first.highest_sequence == 65_500 + 99, "with the times that the numbers went round"
    for number in range(100, 200):
        stream.add(packet(number + 65_500, number * 160))
    second = told(stream)
    assert (second.packets_lost, second.fraction_lost) == (24, 0)


def test_no_timestamp_breaks_a_report() -> None:
    """A wrap is no jitter at all; the worst jitter can be told."""
    stream = ReportedStream(8000)
    for number in range(400):
        stream.add(packet(number, number * 160 - 32_000))
    assert told(stream).jitter < 1000  # they arrive as fast as they are made
    for number in range(400, 2000):
        stream.add(packet(number, number % 2 * 0x7FFFFFFF))
    assert told(stream).jitter > 1_000_000_000


# -- thousands of SSRCs ------------------------------------------------------------------------------------------------------


def test_a_table_forgets_what_was_put_in_first() -> None:
    table: Recent[int, str] = Recent(3)
    for number in range(5):
        table[number] = str(number)
        table[number] = "again"
    assert list(table.items()) == [(2, "again"), (3, "again"), (4, "again")]


class _Sent(DtlsTransport):
    """What a receiver sends, without a path to send it on."""

    def __init__(self) -> None:
        generation = Generation(IceOptions(), Credentials.fresh(), controlling=True)
        super().__init__(IceTransport(generation, lambda: None), Certificate.generateCertificate())
        self.sent: list[bytes] = []
        self.report: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(data)
        if data[1] == 201 and not self.report.done():
            self.report.set_result(data)


def line(*codecs: Codec) -> MediaLine:
    return MediaLine(
        index=0,
        mid="0",
        kind="video" if VP8 in codecs else "audio",
        slot=0,
        direction=Direction.SENDRECV,
        send=codecs,
        receive=codecs,
        extensions=(),
        ssrc=7,
        rtx_ssrc=8,
        stream_id="s",
        track_id="t",
        remote_ssrcs=(),
        remote_direction=Direction.SENDRECV,
    )


def receiver_of(transport: DtlsTransport, codec: Codec) -> Receiver:
    digits = DigitReceiver(lambda event, duration: None, asyncio.get_running_loop())
    return Receiver(transport, line(codec), Reception(), digits)


@pytest.mark.parametrize("codec", [PCMU, VP8], ids=lambda codec: codec.name)
def test_a_flood_of_ssrcs_takes_no_memory_and_leaves_the_reports(codec: Codec) -> None:
    async def flooded() -> tuple[list[int], bytes]:
        transport = _Sent()
        receiver = receiver_of(transport, codec)
        await receiver.begin()
        for ssrc in range(1500):
            made = packet(ssrc * 7919, ssrc * 104729, ssrc, codec.payload_type)
            await transport._handle_rtp_data(made.serialize(), 0)
        transport.report = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(10):
            report = await transport.report
        private: dict[str, Any] = vars(receiver)
        tables = ("active_ssrc", "lsr", "lsr_time", "remote_streams", "rtx_ssrc")
        sizes = [len(private[f"_RTCRtpReceiver__{name}"]) for name in tables]
        sizes.append(len(transport._rtp_router.ssrc_table))
        await receiver.stop()
        return sizes, report

    sizes, report = asyncio.run(flooded())
    assert max(sizes[:-1]) <= STREAMS and sizes[-1] <= 1024
    assert len(RtcpRrPacket.parse(report[4:], report[0] & 0x1F).reports) <= 31


def test_what_is_not_known_is_not_the_stream_of_the_line() -> None:
    """A key frame is asked for of the stream of pictures, not of one of flexfec beside it."""

    async def asked() -> bytes:
        transport = _Sent()
        receiver = receiver_of(transport, VP8)
        await receiver._handle_rtp_packet(packet(1, 1, ssrc=10, payload_type=96), 0)
        await receiver._handle_rtp_packet(packet(1, 1, ssrc=11, payload_type=100), 0)
        await receiver.ask_key_frame()
        return transport.sent[-1]

    assert int.from_bytes(asyncio.run(asked())[8:12], "big") == 10


def test_a_stream_of_pictures_may_begin_anew_anywhere() -> None:
    """Behind, ahead, or with another SSRC: what is missing there is asked for, and nothing of what is between."""

    async def asked(number: int, ssrc: int) -> list[int]:
        transport = _Sent()
        receiver = receiver_of(transport, VP8)
        await receiver.begin()
        runs = ((1, range(40_000, 40_010)), (ssrc, range(number, number + 5)), (ssrc, range(number + 6, number + 9)))
        for source, run in runs:
            for one in run:
                await transport._handle_rtp_data(packet(one, one * 3000, source, VP8.payload_type).serialize(), 0)
        await receiver.stop()
        numbers = []
        for data in transport.sent:
            (sent, *_) = RtcpPacket.parse(data)
            if isinstance(sent, RtcpRtpfbPacket):
                assert sent.media_ssrc == ssrc
                numbers += sent.lost
        return numbers

    for number, ssrc in ((20_000, 1), (39_000, 1), (55_000, 1), (40_020, 2), (9, 2)):
        assert asyncio.run(asked(number, ssrc)) == [number + 5], (number, ssrc)
