"""Janus at the other end of our calls: its EchoTest sends back what it receives."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from sipproto.agent import outputs as o
from sipproto.agent.media import MediaState
from sipproto.agent.stats import CertificateStats, InboundRtpStats, OutboundRtpStats, TransportStats
from sipproto.negotiation import CodecPreferences
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup, Tone
from tests.media._detail import write_clip
from tests.media.impaired import Network
from tests.sim.network import Link

from .janus import Janus
from .janus_calls import HERTZ, JanusCall, echo, ufrag
from .media_calls import AUDIO, RED, VIDEO, YELLOW, until
from .ours import arrivals

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def janus() -> Iterator[Janus]:
    with Janus() as server:
        yield server


def only(kind: str, name: str) -> CodecPreferences:
    names = {"audio": ("opus", "G722", "PCMU", "PCMA"), "video": ("VP8", "VP9", "H264")}[kind]
    return CodecPreferences(exclude=tuple(f"{kind}/{one}" for one in names if one != name))


def comes_back(call: JanusCall) -> None:
    call.hears()
    call.sees()


# -- codecs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["opus", "G722", "PCMU", "PCMA"])
def test_audio(janus: Janus, name: str) -> None:
    with echo(janus, (AUDIO,), codecs=only("audio", name)) as call:
        call.hears()
        assert call.line("0").codec == name


@pytest.mark.parametrize("name", ["VP8", "VP9", "H264"])
def test_video(janus: Janus, name: str) -> None:
    with echo(janus, codecs=only("video", name)) as call:
        comes_back(call)
        assert call.line("1").codec == name
        assert (call.line("1").frame_width, call.line("1").frame_height) == (320, 240)


def test_codecs_change_in_the_call(janus: Janus) -> None:
    with echo(janus) as call:
        comes_back(call)
        for audio, video in (("PCMU", "VP9"), ("opus", "H264"), ("opus", "VP8")):
            excluded = only("audio", audio).exclude + only("video", video).exclude
            call.alice.do(call.call.change_media, codecs=CodecPreferences(exclude=excluded))
            comes_back(call)
            assert [call.line("0").codec, call.line("1").codec] == [audio, video]


# -- lines, hold, restarts ---------------------------------------------------------------------------------------------


def test_hold(janus: Janus) -> None:
    with echo(janus) as call:
        comes_back(call)
        for _ in range(2):
            call.alice.do(call.call.hold)
            call.gets_nothing("audio", "video")
            call.alice.do(call.call.resume)
            comes_back(call)


def test_lines_come_and_go(janus: Janus) -> None:
    """Each has the place of the one before. What Janus sends on the later ones has the SSRC 0, and is taken as it is."""
    with echo(janus, (AUDIO,)) as call:
        call.hears()
        mids: list[str] = []
        for number in range(3):
            (mid,) = call.alice.do(call.call.change_media, add=(VIDEO,))
            assert mid not in mids
            mids.append(mid)
            assert call.m_lines() == (["audio", "video"], ["audio", "video"])
            call.sees(mid=mid)
            call.hears()
            assert (call.stats(InboundRtpStats, mid).ssrc == 0) == (number > 0)
            gets_a_key_frame(call, mid)
            call.alice.do(call.call.change_media, remove=(mid,))
            assert call.m_lines() == (["audio", "video 0"], ["audio", "video 0"])
        call.hears()


def gets_a_key_frame(call: JanusCall, mid: str) -> None:
    """Asked for one Janus asks whom it echoes, and that is us."""
    before = call.stats(OutboundRtpStats, mid)
    call.alice.do(call.call.request_key_frame, mid)
    until(
        lambda: call.stats(OutboundRtpStats, mid),
        lambda now: (
            (now.pli_count or 0) > (before.pli_count or 0)
            and (now.key_frames_encoded or 0) > (before.key_frames_encoded or 0)
        ),
        "no key frame was asked for, or none was sent",
    )


def test_several_video_lines(janus: Janus) -> None:
    with echo(janus, (AUDIO, VIDEO, VIDEO)) as call:
        call.hears()
        call.sees(RED, call.call.line("video"))
        call.sees(YELLOW, call.call.line("video", 1))


def test_ice_restart(janus: Janus) -> None:
    with echo(janus) as call:
        comes_back(call)
        with arrivals() as gaps:
            for _ in range(3):
                before = call.descriptions()
                assert call.alice.do(call.call.restart_ice)
                assert {ufrag(text) for text in before}.isdisjoint(ufrag(text) for text in call.descriptions())
                until(call.in_use, lambda used: used == ufrag(call.descriptions()[0]), "the new path")
                comes_back(call)
        print(f"ICE restarts: longest gap {gaps['longest']:.3f} s")
        assert gaps["longest"] < 1.5


# -- RTCP ----------------------------------------------------------------------------------------------------------------


def test_muted_by_janus(janus: Janus) -> None:
    """It asks for a key frame when it goes on with the video."""
    with echo(janus) as call:
        comes_back(call)
        call.handle.ask({"audio": False, "video": False})
        call.gets_nothing("audio", "video")
        before = call.stats(OutboundRtpStats, "1")
        call.handle.ask({"audio": True, "video": True})
        comes_back(call)
        after = call.stats(OutboundRtpStats, "1")
        assert (after.pli_count or 0) > (before.pli_count or 0)
        assert (after.key_frames_encoded or 0) > (before.key_frames_encoded or 0)


def test_bit_rate(janus: Janus, tmp_path: Path) -> None:
    """What Janus allows (REMB) is what is sent, also when it allows more again."""
    setup = MediaSetup(audio=Tone(HERTZ), video=FileSource(write_clip(tmp_path / "clip.mkv", 640, 360)))
    with echo(janus, setup=setup) as call:
        call.hears()

        def target() -> float | None:
            return call.stats(OutboundRtpStats, "1").target_bitrate

        def bit_rate() -> float:
            start, first = time.monotonic(), call.stats(OutboundRtpStats, "1").bytes_sent
            time.sleep(1.5)
            return 8 * (call.stats(OutboundRtpStats, "1").bytes_sent - first) / (time.monotonic() - start)

        for allowed in (150_000, 400_000, 100_000):
            call.handle.ask({"bitrate": allowed})
            until(target, partial(eq, allowed), "the target")
            time.sleep(0.7)  # the key frame with which a new bit rate begins
            # A busy machine sends fewer pictures at first, but never more.
            sent = until(bit_rate, lambda sent: sent > 0.4 * allowed, f"{allowed} bit/s are not used")  # noqa: B023
            print(f"allowed {allowed}, sent {sent:.0f} bit/s")
            assert sent < 1.3 * allowed


def test_loss(janus: Janus) -> None:
    """Janus asks for what is lost on the way to it, and sends again what is lost on the way back."""
    network = Network(Link(latency=0.01), address=janus.address)
    try:
        with echo(janus, change=network.change) as call:
            comes_back(call)
            network.link = Link(latency=0.01, loss=0.05)

            def repeated() -> tuple[int, int]:
                sent, received = call.stats(OutboundRtpStats, "1"), call.stats(InboundRtpStats, "1")
                return sent.retransmitted_packets_sent or 0, received.retransmitted_packets_received or 0

            until(repeated, lambda both: min(both) > 2, "nothing is sent again", 20)
            comes_back(call)
    finally:
        network.close()


# -- ends ----------------------------------------------------------------------------------------------------------------


def test_janus_hangs_up(janus: Janus) -> None:
    with echo(janus) as call:
        comes_back(call)
        call.handle.hang_up()
        told = time.monotonic()
        moment, _ = call.alice.expect_at(o.MediaChanged, state=MediaState.DISCONNECTED)
        assert moment - told < 2


def test_we_hang_up(janus: Janus) -> None:
    with echo(janus) as call:
        comes_back(call)
        call.alice.do(call.call.hang_up)
        assert call.handle.expect(lambda event: event["janus"] == "hangup")["reason"] == "DTLS alert"
        assert call.gateway.ended.is_set()


def test_janus_is_killed() -> None:
    engine = AiortcEngine(include_loopback=True, silence_timeout=1.0)
    with Janus() as janus, echo(janus, engine=engine) as call:
        comes_back(call)
        janus.kill()
        killed = time.monotonic()
        moment, _ = call.alice.expect_at(o.MediaChanged, state=MediaState.DISCONNECTED)
        print(f"told {moment - killed:.2f} s after Janus was killed")
        assert 0.5 < moment - killed < 4


# -- how Janus is set up -------------------------------------------------------------------------------------------------

_SETTINGS: dict[str, dict[str, Any]] = {
    "lite": {"nat": {"ice_lite": True}},
    "RSA": {"rsa": True},
    "full trickle": {"nat": {"full_trickle": True}},
    "ICE-TCP": {"nat": {"ice_lite": True, "ice_tcp": True}},
    # What it calls itself leads nowhere: its own checks, which come from elsewhere, make the way. In a restart it makes none.
    "another address": {"nat": {"nat_1_1_mapping": "127.0.0.9"}},
    "regular nomination": {"nat": {"ice_nomination": "regular"}},
}


@pytest.mark.parametrize("name", _SETTINGS)
def test_settings(name: str) -> None:
    with Janus(**_SETTINGS[name]) as janus, echo(janus) as call:
        comes_back(call)
        theirs = call.descriptions()[1]
        assert ("a=ice-lite" in theirs) == ("ice_lite" in _SETTINGS[name].get("nat", {}))
        assert (" tcptype " in theirs) == (name == "ICE-TCP")
        assert ("127.0.0.9" in theirs) == (name == "another address")
        certificate = call.stats(CertificateStats).base64_certificate
        key = x509.load_der_x509_certificate(base64.b64decode(certificate or "")).public_key()
        assert isinstance(key, RSAPublicKey) == (name == "RSA")
        assert call.stats(TransportStats).ice_role == "controlling"
        assert call.alice.do(call.call.restart_ice)
        comes_back(call)
        if name != "another address":
            until(call.in_use, lambda used: used == ufrag(call.descriptions()[0]), "the new path")
