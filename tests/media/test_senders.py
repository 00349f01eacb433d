"""What a line is sent with: commanded at one end through the media port, measured at the other, over loopback."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpRtpfbPacket,
    RtpPacket,
    is_rtcp,
    pack_remb_fci,
)
from attrs import evolve, frozen

from sipproto.agent.media import MediaFailed
from sipproto.agent.parameters import ContentHint, Encoding, SenderParameters
from sipproto.media import MINIMUM_BITRATE
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup, TestPattern, Tone
from sipproto_aiortc._transport import DtlsTransport
from sipproto_aiortc._video_encoder import VideoEncoder
from tests.media._detail import write_clip
from tests.media._rig import End, connect, exchange, hears, until
from tests.media._sending import ask_key_frame, ask_parameters, key_frame, measure, only, set_parameters

CODECS = ("VP8", "VP9", "H264")
HALF = Encoding(scale_resolution_down_by=2)


def wish(**encoding: Any) -> SenderParameters:
    return SenderParameters(encodings=(Encoding(**encoding),))


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", 640, 360, pictures=30)


@pytest.fixture
def ends(engines: tuple[AiortcEngine, AiortcEngine]) -> Iterator[tuple[End, End]]:
    a = End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern()))
    b = End(engines[1], MediaSetup(audio=Tone(1100.0), video=TestPattern()))
    yield a, b
    a.close()
    b.close()


@frozen
class Sent:
    moment: float
    packet: RtpPacket


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Sent]]:
    """The RTP packets of an SSRC before they are encrypted, as they leave."""
    seen: list[Sent] = []
    lock = threading.Lock()
    send = DtlsTransport._send_rtp

    async def watched(self: DtlsTransport, data: bytes) -> None:
        if not is_rtcp(data):
            with lock:
                seen.append(Sent(time.monotonic(), RtpPacket.parse(data)))
        await send(self, data)

    monkeypatch.setattr(DtlsTransport, "_send_rtp", watched)

    def of(ssrc: int) -> list[Sent]:
        with lock:
            return [one for one in seen if one.packet.ssrc == ssrc]

    return of


def is_key_frame(codec: str, payload: bytes) -> bool:
    """Whether a payload begins a picture that can be decoded alone."""
    if codec == "VP8":
        return payload[0] == 0x90 and not payload[4] & 1
    if codec == "VP9":
        return payload[0] & 0x48 == 0x08
    return payload[0] & 0x1F == 7 or (payload[0] & 0x1F == 24 and payload[3] & 0x1F == 7)


def size(end: End) -> tuple[int | None, int | None]:
    line = end.line("video")
    return line.frame_width, line.frame_height


def only_with(end: End, name: str, parameters: str = "") -> None:
    capabilities = only(end.engine.capabilities, "video", name, parameters)
    end.negotiator = End(end.engine, capabilities=capabilities).negotiator


def test_cap_scale_and_frame_rate_are_kept_by_every_codec(
    engines: tuple[AiortcEngine, AiortcEngine], clip: str
) -> None:
    pairs = {}
    for name in CODECS:
        a, b = pairs[name] = End(engines[0], MediaSetup(video=FileSource(clip))), End(engines[1])
        only_with(a, name)
        connect(a, b, "video")
    for name, (a, b) in pairs.items():
        until(lambda end=b: size(end) == (640, 360))  # type: ignore[misc]
        asked = wish(max_bitrate=200_000, scale_resolution_down_by=2, max_framerate=10)
        assert set_parameters(a, asked).ignored == ()
        until(lambda end=b: size(end) == (320, 180))  # type: ignore[misc]
        assert a.line("video").codec == name
    time.sleep(0.5)
    with ThreadPoolExecutor() as together:
        results = dict(zip(pairs, together.map(lambda pair: measure(pair[1], 1.5), pairs.values()), strict=True))
    for name, got in results.items():
        assert got.size == (320, 180)
        assert 150 <= got.kbps <= 250, (name, got)
        assert 7 <= got.fps <= 11.5, (name, got)
    for a, b in pairs.values():
        a.close()
        b.close()


@pytest.mark.parametrize("codec", CODECS)
def test_inactive_lines_send_nothing_and_resume_with_a_key_frame(
    ends: tuple[End, End], wire: Callable[[int], list[Sent]], codec: str
) -> None:
    a, b = ends
    only_with(a, codec)
    connect(a, b, "video")
    until(lambda: (b.line("video").frames_decoded or 0) > 3)
    ssrc = a.session.lines[0].ssrc
    set_parameters(a, wish(active=False))
    time.sleep(0.1)  # a picture may have been on its way
    before = len(wire(ssrc))
    time.sleep(0.3)
    assert len(wire(ssrc)) == before
    decoded = b.line("video").frames_decoded or 0
    set_parameters(a, SenderParameters())
    until(lambda: (b.line("video").frames_decoded or 0) > decoded)
    assert is_key_frame(codec, wire(ssrc)[before].packet.payload)


def test_parameters_hold_over_codecs_holds_and_sessions(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "video")
    until(lambda: size(b) == (320, 240))
    set_parameters(a, SenderParameters(encodings=(HALF,)))
    until(lambda: size(b) == (160, 120))
    for name in ("VP9", "H264"):
        lines = tuple(evolve(line, send=tuple(c for c in line.send if c.name == name)) for line in a.session.lines)
        a.perform(evolve(a.session, lines=lines))
        decoded = b.line("video").frames_decoded or 0
        until(lambda start=decoded: (b.line("video").frames_decoded or 0) > start + 4)  # type: ignore[misc]
        assert (a.line("video").codec, size(b)) == (name, (160, 120))
    for hold in (True, False):
        b.negotiator.hold = hold
        exchange(b, a)
    until(lambda: size(b) == (160, 120))
    session = a.session
    a.apply(evolve(session, lines=()))
    assert isinstance(ask_parameters(a, wish()), MediaFailed)
    a.apply(session)  # the line is made anew
    until(lambda: b.line("video").packets_received > 0 and size(b) == (160, 120))


def test_parameters_may_come_before_the_line_sends(ends: tuple[End, End]) -> None:
    a, b = ends
    a.negotiator.hold = True
    connect(a, b, "video")
    until(lambda: b.line("video").direction == "recvonly")
    assert set_parameters(b, SenderParameters(encodings=(HALF,))).encodings == (HALF,)
    assert isinstance(ask_key_frame(b, ours=True), MediaFailed)
    a.negotiator.hold = False
    exchange(a, b)
    until(lambda: size(a) == (160, 120))


def test_key_frames_on_demand(ends: tuple[End, End], wire: Callable[[int], list[Sent]]) -> None:
    a, b = ends
    connect(a, b, "video")
    until(lambda: (b.line("video").frames_decoded or 0) > 3 and (a.line("video").frames_decoded or 0) > 3)

    def key_frames(end: End) -> int:
        payloads = [one.packet.payload for one in wire(end.session.lines[0].ssrc)]
        return sum(is_key_frame("VP8", payload) for payload in payloads if payload)

    for asking, ours, sending in ((a, True, a), (a, False, b), (b, False, a)):
        before = key_frames(sending)
        key_frame(asking, ours=ours)
        until(lambda end=sending, count=before: key_frames(end) > count)  # type: ignore[misc]


def test_operations_that_make_no_sense_fail_in_one_line(ends: tuple[End, End]) -> None:
    a, b = ends
    a.negotiator.add_line("audio")
    a.open()
    early = ask_parameters(a, SenderParameters())
    assert isinstance(early, MediaFailed) and early.error == "the call has no media line 0"
    a.negotiator.add_line("video")
    # Nothing arrives, and no SSRC is announced.
    exchange(a, b, change=lambda sdp: re.sub(r"a=ssrc[^\r]*\r\n", "", re.sub(r"a=ice-pwd:.", "a=ice-pwd:/", sdp)))
    for reply, text in (
        (ask_parameters(a, SenderParameters(), line=7), "the call has no media line 7"),
        (ask_key_frame(a, ours=True, line=7), "the call has no media line 7"),
        (ask_key_frame(a, ours=True, line=0), "the media line 0 is one of audio, without pictures"),
        (ask_key_frame(a, ours=False, line=1), "nothing has been received on the line yet"),
    ):
        assert isinstance(reply, MediaFailed) and reply.error == text


def test_opus_keeps_its_cap_and_other_audio_says_that_it_cannot(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio")
    until(hears(b, 700))

    def rate(seconds: float = 0.5) -> float:
        start, before = time.monotonic(), b.line().bytes_received
        time.sleep(seconds)
        return (b.line().bytes_received - before) * 8 / (time.monotonic() - start)

    # Without a header of 20 octets, fifty times a second. A tone costs less than the maximum.
    assert set_parameters(a, wish(max_bitrate=12_000)).ignored == ()
    time.sleep(0.2)
    assert 2_000 < rate() - 8_000 < 15_000
    until(hears(b, 700))
    set_parameters(a, wish(active=False))
    time.sleep(0.2)
    assert rate(0.3) == 0
    set_parameters(a, wish(max_bitrate=128_000))
    time.sleep(0.2)
    assert rate() - 8_000 > 40_000
    until(hears(b, 700))
    lines = tuple(evolve(one, send=tuple(c for c in one.send if c.name == "PCMU")) for one in a.session.lines)
    a.perform(evolve(a.session, lines=lines))
    got = set_parameters(a, SenderParameters(encodings=(Encoding(max_bitrate=20_000),), content_hint=ContentHint.TEXT))
    assert got.encodings[0].max_bitrate is None
    assert got.ignored == (
        "content hint: an audio line has no pictures",
        "maximum bit rate: PCMU has one bit rate only",
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("VP9", "profile-id=0"),
        ("H264", "packetization-mode=0;profile-level-id=42e01f"),
        ("H264", "packetization-mode=1;profile-level-id=64001f"),
        ("H264", "packetization-mode=1;profile-level-id=640c1f"),
    ],
)
def test_peers_with_one_codec_only(ends: tuple[End, End], name: str, parameters: str) -> None:
    a, b = ends
    only_with(a, name, parameters)
    connect(a, b, "video")
    for end in (a, b):
        until(lambda one=end: (one.line("video").frames_decoded or 0) > 3)  # type: ignore[misc]
        assert end.line("video").codec == name
        codec = end.session.lines[0].send[0]
        assert parameters in codec.parameters


def test_the_peers_estimate_of_the_path_is_taken(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "video")
    sender: Any = a.engine._calls[a.call]._lines[0]._sender
    loop = a.engine._loop
    assert loop is not None

    def handle(data: bytes) -> int:
        packet = RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=data)
        asyncio.run_coroutine_threadsafe(sender._handle_rtcp_packet(packet), loop).result(2)
        available: int = sender._control.bandwidth.available
        return available

    until(lambda: a.line("video").packets_sent > 10)
    before = handle(b"")
    for data in (b"REMB", b"junk and more", pack_remb_fci(1000, [1, 2, 3]), b"REMB\xff\xff\xff\xff"):
        assert handle(data) == before > MINIMUM_BITRATE
    assert handle(pack_remb_fci(1_000_000, [sender._ssrc])) == before  # so much is not sent
    assert handle(pack_remb_fci(1000, [sender._ssrc])) == MINIMUM_BITRATE


def test_what_is_asked_for_hundreds_of_times_is_repeated_once(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "video")
    until(lambda: a.line("video").packets_sent > 10)
    sender: Any = a.engine._calls[a.call]._lines[0]._sender
    repairs = a.engine._calls[a.call]._lines[0]._repairs
    loop = a.engine._loop
    assert loop is not None

    async def ask() -> tuple[int, int]:
        known = [packet.sequence_number for packet in vars(sender)["_RTCRtpSender__rtp_history"].values()]
        before = repairs.sent.packets - repairs.padding.packets
        lost = [number & 0xFFFF for _ in range(100) for one in known for number in (one, one - 128)]
        await sender._handle_rtcp_packet(RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=2, lost=lost))
        await asyncio.sleep(0.2)  # longer than any of them waits to leave
        return len(known), repairs.sent.packets - repairs.padding.packets - before

    asked, repeated = asyncio.run_coroutine_threadsafe(ask(), loop).result(5)
    assert 0.9 * asked <= repeated <= 3 * asked  # a hundred requests may take longer than a round trip


def test_a_slow_encoder_leaves_pictures_out_and_stays_in_time(
    ends: tuple[End, End], wire: Callable[[int], list[Sent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = VideoEncoder.encode

    def slow(self: VideoEncoder, *arguments: Any) -> tuple[list[bytes], int]:
        time.sleep(0.15)
        return encode(self, *arguments)

    monkeypatch.setattr(VideoEncoder, "encode", slow)
    a, b = ends
    a.engine.prepare(a.call, MediaSetup(video=TestPattern(frame_rate=30)))
    connect(a, b, "video")
    ssrc = a.session.lines[0].ssrc
    pictures: dict[int, float] = {}

    def enough() -> bool:
        for one in wire(ssrc):
            pictures.setdefault(one.packet.timestamp, one.moment)
        return len(pictures) >= 10

    until(enough)
    stamps = sorted(pictures)
    lag = [pictures[stamp] - (stamp - stamps[0]) / 90000 for stamp in stamps]
    assert max(lag) - min(lag) < 0.4  # a queue would grow by four pictures with each that is sent
    assert (stamps[-1] - stamps[0]) / 90000 > 9 * 0.14  # the time stamps are those of the pictures that were taken
