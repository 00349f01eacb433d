"""The media adapter on real aiortc transports over loopback, driven by its public port only."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy
import pytest
from aiortc.rtcdtlstransport import generate_certificate
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import rsa

from sipproto.agent.media import (
    ApplyMedia,
    CloseMedia,
    CollectStats,
    MediaFailed,
    MediaInput,
    MediaState,
    OpenMedia,
)
from sipproto.negotiation import NegotiatedSession, TransportPair
from sipproto.sdp import Direction, RemoteTransport
from sipproto_aiortc import (
    AiortcEngine,
    AudioMixer,
    EchoSource,
    FileSource,
    IceServer,
    MediaSetup,
    Silence,
    TestPattern,
    Tone,
    check_contract,
)
from sipproto_aiortc._transport import Certificate
from tests.media._rig import End, Relay, connect, exchange, hears, sees, until

_UNKNOWN_PAIR = TransportPair(
    slot=9,
    remote=RemoteTransport(ice_ufrag="abcd", ice_pwd="x" * 22, fingerprints=(("sha-256", "00"),)),
    ice_controlling=True,
    dtls_client=True,
)
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def ends(engines: tuple[AiortcEngine, AiortcEngine]) -> Iterator[tuple[End, End]]:
    a = End(engines[0], MediaSetup(audio=Tone(700.0), video=TestPattern(color=RED)))
    b = End(engines[1], MediaSetup(audio=Tone(1100.0), video=TestPattern(color=BLUE)))
    yield a, b
    a.close()
    b.close()


def prefer(end: End, kind: str, *names: str) -> None:
    """Leaves an end only these codecs of a kind."""
    capabilities = end.engine.capabilities
    codecs = tuple(c for c in capabilities.codecs(kind) if c.name in names or (c.is_rtx and kind == "video"))
    known = {c.payload_type for c in codecs if not c.is_rtx}
    codecs = tuple(c for c in codecs if not c.is_rtx or c.apt in known)
    chosen = evolve(capabilities, audio=codecs) if kind == "audio" else evolve(capabilities, video=codecs)
    end.negotiator = End(end.engine, capabilities=chosen).negotiator


def test_audio_and_video_flow_both_ways(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(hears(a, 1100))
    until(hears(b, 700))
    until(sees(a, BLUE))
    until(sees(b, RED))
    assert a.states == b.states == [MediaState.CONNECTING, MediaState.CONNECTED]
    audio, video = b.line("audio"), b.line("video")
    assert (audio.codec, video.codec) == ("opus", "VP8")
    assert (video.frame_width, video.frame_height) == (320, 240)
    until(lambda: b.line().audio_level == pytest.approx(0.3 / 2**0.5, rel=0.1))
    until(lambda: (jitter := b.line().jitter) is not None and jitter < 0.1)
    assert audio.packets_lost == video.packets_lost == 0
    for line in (audio, video):
        assert line.packets_received > 0 and line.bytes_received > 12 * line.packets_received
        assert line.packets_sent > 0 and line.bytes_sent > 12 * line.packets_sent
        assert line.frames_decoded


def test_audio_leaves_evenly(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)

    def evenly() -> bool:
        """For a second, on a machine that is not busy just then."""
        before, start = a.line().packets_sent, time.monotonic()
        time.sleep(1)
        sent, passed = a.line().packets_sent - before, time.monotonic() - start
        return sent == pytest.approx(passed * 50, abs=4)

    until(evenly)


def test_hold_and_resume(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(hears(b, 700))
    a.negotiator.hold = True
    exchange(a, b)
    time.sleep(0.1)
    held_a, held_b = a.line(), b.line()
    assert (held_a.direction, held_b.direction) == ("sendonly", "recvonly")
    time.sleep(0.3)
    assert b.line().packets_sent == held_b.packets_sent
    assert a.line().packets_sent > held_a.packets_sent
    b.negotiator.hold = True
    exchange(b, a)
    time.sleep(0.1)
    silent = a.line().packets_sent, b.line().packets_sent
    time.sleep(0.3)
    assert (a.line().packets_sent, b.line().packets_sent) == silent
    assert a.line().direction == "inactive"
    a.negotiator.hold = b.negotiator.hold = False
    exchange(a, b)
    exchange(b, a)  # each says itself that it holds no more
    start = time.monotonic()
    for end, frequency, color in ((a, 1100, BLUE), (b, 700, RED)):
        until(hears(end, frequency))
        until(sees(end, color))
    assert time.monotonic() - start < 2
    assert a.line("video").packets_lost == 0
    assert a.states == [MediaState.CONNECTING, MediaState.CONNECTED]


@pytest.mark.parametrize("_", range(15))
def test_change_while_connecting(_: int, ends: tuple[End, End]) -> None:
    """The path comes about while the lines are being changed: they send all the same."""
    a, b = ends
    a.negotiator.add_line("audio")
    exchange(a, b)
    for direction in itertools.cycle((Direction.SENDONLY, Direction.SENDRECV)):
        a.negotiator.change_line("0", direction)
        exchange(a, b)
        if a.connected:
            break
    until(lambda: b.line().packets_received > 3)


def test_pcmu_only(ends: tuple[End, End]) -> None:
    a, b = ends
    prefer(a, "audio", "PCMU")
    connect(a, b)
    until(hears(a, 1100))
    until(hears(b, 700))
    assert a.line().codec == b.line().codec == "PCMU"


def test_codec_change_under_way(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    until(hears(a, 1100))
    for name in ("PCMU", "G722", "opus"):
        lines = tuple(evolve(line, send=tuple(c for c in line.send if c.name == name)) for line in b.session.lines)
        b.perform(evolve(b.session, lines=lines))
        before = a.line().packets_received
        until(lambda start=before: a.line().packets_received > start + 40)  # type: ignore[misc]
        until(hears(a, 1100))
        assert b.line().codec == name
        assert a.line().packets_lost == 0


def test_line_added_and_removed(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    a.negotiator.add_line("video")
    exchange(a, b)
    until(sees(b, RED))
    until(sees(a, BLUE))
    for end in ends:
        end.apply(evolve(end.session, lines=end.session.lines[:1]))
        assert end.stats().line("video") is None
    until(hears(a, 1100))
    assert a.connected


def test_without_bundle(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video", change=lambda sdp: re.sub(r"a=group:BUNDLE[^\r]*\r\n", "", sdp))
    until(hears(b, 700))
    until(sees(a, BLUE))
    until(sees(b, RED))


def test_h264(ends: tuple[End, End]) -> None:
    a, b = ends
    prefer(a, "video", "H264")
    connect(a, b, "audio video")
    until(sees(a, BLUE))
    until(sees(b, RED))
    assert a.line("video").codec == "H264"


def test_echo(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    a = End(engines[0], MediaSetup(audio=Tone(523.0), video=TestPattern(color=RED)))
    b = End(engines[1], MediaSetup(audio=EchoSource(), video=EchoSource()))
    connect(a, b, "audio video")
    until(hears(a, 523))
    until(sees(a, RED))
    a.close()
    b.close()


def test_mixer_of_three(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    mixer = AudioMixer()
    tones = (500.0, 800.0, 1300.0)
    pairs = []
    for tone in tones:
        caller = End(engines[0], MediaSetup(audio=Tone(tone, 0.2) if tone != 800.0 else Silence()))
        focus = End(engines[1], MediaSetup(mixer=mixer))
        connect(caller, focus)
        pairs.append((caller, focus))
    assert mixer.members == 3
    until(hears(pairs[0][0], 1300))
    until(hears(pairs[2][0], 500))
    until(lambda: pairs[1][0].line().audio_level == pytest.approx(0.2, rel=0.1))  # both others together
    for caller, focus in pairs:
        caller.close()
        focus.close()
    until(lambda: mixer.members == 0)


def test_a_call_that_only_listens(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    mixer = AudioMixer()
    pairs = []
    for tone, speaks in ((500.0, True), (1300.0, False)):
        caller, focus = (
            End(engines[0], MediaSetup(audio=Tone(tone))),
            End(engines[1], MediaSetup(mixer=mixer, speaks=speaks)),
        )
        connect(caller, focus)
        pairs.append((caller, focus))
    until(hears(pairs[1][0], 500))
    assert (pairs[0][0].line().audio_level or 0.0) < 0.001
    pairs[1][1].engine.prepare(pairs[1][1].call, MediaSetup(mixer=mixer))
    until(hears(pairs[0][0], 1300))
    for caller, focus in pairs:
        caller.close()
        focus.close()


@pytest.mark.parametrize("ending", ["mkv", "wav", "mp4"])
def test_recording(engines: tuple[AiortcEngine, AiortcEngine], tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"call.{ending}"
    a = End(engines[0], MediaSetup(audio=Tone(660.0), video=TestPattern(color=RED)))
    b = End(engines[1], MediaSetup(record=str(path)))
    start = time.monotonic()
    connect(a, b, "audio video")
    time.sleep(1.2)
    b.close()
    length = time.monotonic() - start
    a.close()
    until(lambda: path.exists() and not any(t.name == "sipproto-record" for t in threading.enumerate()))
    with av.open(str(path)) as container:
        samples = [f.to_ndarray().astype(float).mean(axis=0) for f in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    wave = numpy.concatenate(samples)
    assert len(wave) / rate == pytest.approx(length, abs=0.35)
    peak = numpy.argmax(numpy.abs(numpy.fft.rfft(wave))) * rate / len(wave)
    assert peak == pytest.approx(660, abs=5)
    if ending != "wav":
        with av.open(str(path)) as container:
            pictures = list(container.decode(video=0))
        assert len(pictures) >= 8
        red, green, blue = pictures[-1].to_ndarray(format="rgb24").reshape(-1, 3).mean(axis=0)
        assert red > 200 and green < 60 and blue < 60


def test_file_source_plays_and_loops(engines: tuple[AiortcEngine, AiortcEngine], tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libopus", rate=48000, layout="mono")
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        wave = (numpy.sin(numpy.arange(28800) * 2 * numpy.pi * 900 / 48000) * 9000).astype(numpy.int16)
        sound = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        sound.sample_rate = 48000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
        for _ in range(6):
            picture = numpy.zeros((120, 160, 3), numpy.uint8)
            picture[:] = BLUE
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    source = FileSource(str(path))
    a = End(engines[0], MediaSetup(audio=source, video=source))
    b = End(engines[1])
    connect(a, b, "audio video")
    until(hears(b, 900))
    until(sees(b, BLUE))
    time.sleep(0.8)  # longer than the file
    until(hears(b, 900))
    assert b.line("video").frame_width == 160
    a.close()
    b.close()
    until(lambda: not any(t.name == "sipproto-file" for t in threading.enumerate()))


def test_closing_frees_everything(engines: tuple[AiortcEngine, AiortcEngine]) -> None:
    def used() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    def cycle() -> None:
        a, b = End(engines[0]), End(engines[1])
        connect(a, b)
        a.close()
        b.close()

    for _ in range(3):
        cycle()
    time.sleep(0.3)
    threads, descriptors = used()
    for _ in range(20):
        cycle()
    # The workers of the two engines may still grow to their bound; nothing else may.
    until(lambda: used()[1] <= descriptors)
    until(lambda: sum("worker" not in t.name for t in threading.enumerate()) <= threads)


@pytest.mark.parametrize("turns", range(12))
def test_call_closed_in_the_middle_of_a_change(turns: int, ends: tuple[End, End]) -> None:
    """At whatever point of the change its media are all released, and nothing waits for ever."""
    a, b = ends
    connect(a, b)
    (line,) = a.session.lines
    operation = ApplyMedia(
        request=1, call=a.call, session=evolve(a.session, lines=(evolve(line, direction=Direction.INACTIVE),))
    )

    async def close() -> None:
        a.engine.perform(operation, lambda message: None)
        for _ in range(turns):
            await asyncio.sleep(0)
        a.engine.perform(CloseMedia(call=a.call), lambda message: None)

    loop = a.engine._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(close(), loop).result(5)
    until(lambda: a.call not in a.engine._calls and not a.engine._closing)
    until(lambda: not asyncio.all_tasks(loop))


def test_wrong_fingerprint_fails(ends: tuple[End, End]) -> None:
    a, b = ends
    a.negotiator.add_line("audio")
    wrong = ":".join(["00"] * 32)  # of 256 fingerprints one begins with 00
    exchange(a, b, change=lambda sdp: re.sub(r"(a=fingerprint:sha-256 )\S+", rf"\g<1>{wrong}", sdp))
    until(lambda: a.states[-1:] == [MediaState.FAILED])
    until(lambda: b.states[-1:] == [MediaState.FAILED])
    assert a.line().packets_sent == 0


OTHER = ":".join(["5A"] * 32)


@pytest.mark.parametrize("hashed", ["sha-256", "sha-1", "md5"])
def test_one_of_several_certificates_is_enough(ends: tuple[End, End], hashed: str) -> None:
    """RFC 8122 5: the peer uses one of those that it tells of; what is hashed worse is of no interest."""
    a, b = ends
    connect(a, b, change=lambda sdp: sdp.replace("a=fingerprint:", f"a=fingerprint:{hashed} {OTHER}\r\na=fingerprint:"))


def test_a_certificate_has_to_match_the_best_hash(ends: tuple[End, End]) -> None:
    a, b = ends
    a.negotiator.add_line("audio")
    better = f"a=fingerprint:sha-512 {OTHER}\r\na=fingerprint:"
    exchange(a, b, change=lambda sdp: sdp.replace("a=fingerprint:", better))
    until(lambda: a.states[-1:] == b.states[-1:] == [MediaState.FAILED])


def test_no_path_fails_within_the_timeout() -> None:
    engine = AiortcEngine(connect_timeout=0.5)
    a, b = End(engine), End(engine)
    a.negotiator.add_line("audio")
    exchange(a, b, change=lambda sdp: re.sub(r"a=ice-pwd:.", "a=ice-pwd:/", sdp))
    until(lambda: a.states == [MediaState.CONNECTING, MediaState.FAILED])
    engine.close()


def test_peer_that_closes_is_disconnected(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    b.close()
    until(lambda: a.states[-1] is MediaState.DISCONNECTED)
    assert a.stats().state is MediaState.DISCONNECTED


@pytest.fixture
def relay() -> Iterator[Relay]:
    network = Relay()
    yield network
    network.close()


def test_silence_is_noticed_and_its_end_too(relay: Relay) -> None:
    engine = AiortcEngine(include_loopback=True, silence_timeout=0.5)
    a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine)
    connect(a, b, change=relay.change)
    until(hears(b, 700))
    relay.cut = True
    until(lambda: a.states[-1] is b.states[-1] is MediaState.DISCONNECTED)
    relay.cut = False
    until(lambda: a.connected and b.connected)
    until(hears(b, 700))
    engine.close()


def test_losses_are_repaired_and_counted(ends: tuple[End, End], relay: Relay) -> None:
    a, b = ends
    a.engine.prepare(a.call, MediaSetup(audio=Tone(700.0), video=TestPattern(frame_rate=30)))
    connect(a, b, "audio video", change=relay.change)
    relay.lose_every = 10
    start = b.line("video").frames_decoded or 0
    until(lambda: (b.line("video").frames_decoded or 0) > start + 60)
    assert (b.line("audio").packets_lost or 0) > 0
    until(hears(b, 700))


def test_hostile_datagrams_do_no_harm(ends: tuple[End, End], relay: Relay) -> None:
    a, b = ends
    connect(a, b, change=relay.change)
    for data in (
        b"",
        b"\x00",
        b"\x16",
        b"\x16\xfe\xff" + bytes(60),
        b"\x80",
        b"\x80\x6f" + bytes(40),
        b"\xbf\xc8" + bytes(9),
        b"\x80\x6f" + bytes(1600),
        b"\x80\xc8" + bytes(1600),
    ):
        relay.poison(data)
    time.sleep(0.2)
    until(hears(a, 1100))
    until(hears(b, 700))
    before = a.line().packets_received
    until(lambda: a.line().packets_received > before + 10)
    assert a.connected and b.connected


def test_stall_of_the_media_thread_is_skipped_not_made_up_for(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b)
    until(hears(b, 700))
    a.engine.perform(CollectStats(request=1, call=a.call), lambda message: time.sleep(0.6))
    before, start = a.line().packets_sent, time.monotonic()  # answered after the stall
    time.sleep(0.3)
    assert a.line().packets_sent - before <= (time.monotonic() - start) * 50 + 6
    until(hears(b, 700))


def test_unusable_candidates_are_skipped(ends: tuple[End, End]) -> None:
    bad = (
        "a=candidate:nonsense\r\na=candidate:1 1 tcp 99 127.0.0.1 9 typ host tcptype active\r\n"
        "a=candidate:1 1 udp 99 nowhere-at-all.local 999 typ host\r\na=candidate:1 1 udp x 1.2.3.4 99999 typ host\r\n"
    )
    a, b = ends
    connect(a, b, change=lambda sdp: sdp.replace("a=candidate:", bad + "a=candidate:", 1))
    until(hears(a, 1100))


@pytest.mark.parametrize(
    ("setup", "text"),
    [
        (MediaSetup(audio=FileSource("/nonexistent/x.wav")), "cannot read the file '/nonexistent/x.wav'"),
        (MediaSetup(video=FileSource(__file__)), "cannot read the file"),
        (MediaSetup(record="/nonexistent/x.wav"), "cannot record to"),
        (MediaSetup(record="/tmp/x.exe"), "the name has to end in"),
    ],
)
def test_unusable_file_is_one_clear_error(
    engines: tuple[AiortcEngine, AiortcEngine], setup: MediaSetup, text: str
) -> None:
    end = End(engines[0], setup)
    engines[0].perform(OpenMedia(request=1, call=end.call, slots=(0,)), end.report)
    reply = end.reply()
    assert isinstance(reply, MediaFailed) and text in reply.error and "\n" not in reply.error
    end.close()


def test_bad_operations_fail_alone(ends: tuple[End, End]) -> None:
    a, b = ends
    a.engine.perform(CollectStats(request=77, call="no such call"), a.report)
    assert a.reply() == MediaFailed(request=77, error="no media is open for the call 'no such call'")
    a.engine.perform(CloseMedia(call="no such call"), a.report)
    connect(a, b)
    until(hears(a, 1100))
    nothing = NegotiatedSession(lines=(), transports=(_UNKNOWN_PAIR,), cname="x")
    a.engine.perform(ApplyMedia(request=78, call=a.call, session=nothing), a.report)
    reply = a.reply()
    assert isinstance(reply, MediaFailed) and reply.request == 78 and "not open" in reply.error
    until(hears(a, 1100))


def test_closed_engine_fails_everything() -> None:
    engine = AiortcEngine()
    replies: list[MediaInput] = []
    engine.perform(OpenMedia(request=1, call="x", slots=(0,)), replies.append)
    engine.close()
    engine.close()
    assert len(replies) == 1
    engine.perform(OpenMedia(request=2, call="x", slots=(0,)), replies.append)
    assert replies[1] == MediaFailed(request=2, error="the media engine is closed")


def test_report_that_raises_does_no_harm(ends: tuple[End, End]) -> None:
    a, b = ends

    def broken(message: MediaInput) -> None:
        raise RuntimeError("broken")

    a.engine.perform(OpenMedia(request=1, call=a.call, slots=(0,)), broken)
    connect(a, b)


def test_bad_ice_server_url_is_refused() -> None:
    with pytest.raises(ValueError, match="malformed"):
        AiortcEngine(ice_servers=(IceServer(("http://example.com",)),))


def test_unreachable_stun_server_does_not_delay() -> None:
    engine = AiortcEngine(ice_servers=(IceServer(("stun:127.0.0.1:9",)),), gather_timeout=0.3)
    end = End(engine)
    end.negotiator.add_line("audio")
    start = time.monotonic()
    end.open()
    assert time.monotonic() - start < 1
    engine.close()


def test_machine_without_any_address_still_has_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    engine = AiortcEngine()
    a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine)
    connect(a, b)
    until(hears(b, 700))
    engine.close()


def test_peer_with_an_rsa_certificate() -> None:
    engine, other = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    key: Any = rsa.generate_private_key(65537, 2048)
    other._certificate = Certificate(key, generate_certificate(key))
    a, b = End(other, MediaSetup(audio=Tone(700.0))), End(engine)
    connect(a, b)  # the offerer is the DTLS server
    until(hears(b, 700))
    other.close()
    engine.close()


def test_contract_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    check_contract()
    monkeypatch.delattr("aiortc.rtcrtpsender.RTCRtpSender._send_keyframe")
    with pytest.raises(ImportError, match=r"needs aiortc 1\.16.*installed aiortc 1\..* has no .*_send_keyframe"):
        check_contract()
    monkeypatch.undo()
    monkeypatch.setattr("sipproto_aiortc._contract.ATTRIBUTES", (("aiortc", "RTCRtpSender", ("_no_such",)),))
    with pytest.raises(ImportError, match="_no_such"):
        check_contract()


def test_without_a_meter_nothing_is_kept(ends: tuple[End, End]) -> None:
    a, b = ends
    b.engine.prepare(b.call, MediaSetup(meter=False))
    connect(a, b)
    until(lambda: (b.line().frames_decoded or 0) > 10)
    assert (b.line().audio_level, b.line().audio_frequency) == (None, None)


def test_sources_change_at_once_without_a_new_session(ends: tuple[End, End]) -> None:
    a, b = ends
    connect(a, b, "audio video")
    until(hears(b, 700))
    sent = a.line().packets_sent
    a.engine.prepare(a.call, MediaSetup(audio=Tone(1500.0), video=TestPattern(color=BLUE)))
    until(hears(b, 1500))
    until(sees(b, BLUE))
    a.engine.prepare(a.call, MediaSetup())
    until(lambda: b.line().audio_level == 0)
    until(sees(b, (0, 0, 0)))
    assert b.line().packets_lost == 0
    assert a.line().packets_sent > sent + 10
