"""Janus at the other end of our calls: its EchoTest sends back what it receives."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipproto.agent import outputs as o
from sipproto.agent.media import MediaState
from sipproto.agent.stats import CertificateStats, InboundRtpStats, OutboundRtpStats, TransportStats
from sipproto.negotiation import CodecPreferences
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup, Tone
from tests.media._detail import write_clip
from tests.media.impaired import Network
from tests.sim.network import Link

from .janus import Janus
from .janus_calls import BOTH, HERTZ, JanusCall, echo
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


# -- codecs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["opus", "G722", "PCMU", "PCMA"])
def test_audio_comes_back(janus: Janus, name: str) -> None:
    with echo(janus, (AUDIO,), codecs=only("audio", name)) as call:
        call.hears()
        assert call.line("0").codec == name


@pytest.mark.parametrize("name", ["VP8", "VP9", "H264"])
def test_video_comes_back(janus: Janus, name: str) -> None:
    with echo(janus, codecs=only("video", name)) as call:
        call.hears()
        call.sees()
        assert call.line("1").codec == name
        assert (call.line("1").frame_width, call.line("1").frame_height) == (320, 240)


def test_codecs_change_in_the_call(janus: Janus) -> None:
    with echo(janus) as call:
        call.hears()
        for audio, video in (("PCMU", "VP9"), ("opus", "H264"), ("opus", "VP8")):
            both = only("audio", audio).exclude + only("video", video).exclude
            call.alice.do(call.call.change_media, codecs=CodecPreferences(exclude=both))
            call.hears()
            call.sees()
            assert [call.line("0").codec, call.line("1").codec] == [audio, video]


# -- lines, hold, restarts ---------------------------------------------------------------------------------------------


def test_hold(janus: Janus) -> None:
    with echo(janus) as call:
        call.hears()
        call.sees()
        for _ in range(2):
            call.alice.do(call.call.hold)
            call.gets_nothing("audio", "video")
            call.alice.do(call.call.resume)
            call.hears()
            call.sees()


def test_lines_come_and_go(janus: Janus) -> None:
    with echo(janus, (AUDIO,)) as call:
        call.hears()
        mids = []
        for _ in range(2):
            (mid,) = call.alice.do(call.call.change_media, add=(VIDEO,))
            mids.append(mid)
            call.sees(mid=mid)
            call.alice.do(call.call.change_media, remove=(mid,))
            print(call.m_lines())
            call.hears()
        (mid,) = call.alice.do(call.call.change_media, add=(VIDEO,))
        call.sees(mid=mid)
        print(mids, call.descriptions()[1])


def test_several_video_lines(janus: Janus) -> None:
    with echo(janus, (AUDIO, VIDEO, VIDEO)) as call:
        call.hears()
        call.sees(RED, call.call.line("video"))
        call.sees(YELLOW, call.call.line("video", 1))


def test_ice_restart(janus: Janus) -> None:
    with echo(janus) as call:
        call.hears()
        call.sees()
        before = call.descriptions()[1]
        with arrivals() as gaps:
            for _ in range(3):
                assert call.alice.do(call.call.restart_ice)
                call.hears()
                call.sees()
        assert ufrag(before) != ufrag(call.descriptions()[1])
        print(gaps)
        assert gaps["longest"] < 1.5


def ufrag(sdp: str) -> str:
    found = re.search("a=ice-ufrag:(.*)", sdp)
    assert found
    return found[1].strip()


# -- what Janus says in RTCP -------------------------------------------------------------------------------------------


def test_mute(janus: Janus) -> None:
    """Janus asks for a key frame when it goes on with the video."""
    with echo(janus) as call:
        call.hears()
        call.sees()
        call.handle.ask({"audio": False, "video": False})
        call.gets_nothing("audio", "video")
        before = call.stats(OutboundRtpStats, "1")
        call.handle.ask({"audio": True, "video": True})
        call.hears()
        call.sees()
        after = call.stats(OutboundRtpStats, "1")
        assert (after.pli_count or 0) > (before.pli_count or 0)
        assert (after.key_frames_encoded or 0) > (before.key_frames_encoded or 0)


def test_bit_rate(janus: Janus, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    write_clip(clip, 640, 360)
    setup = MediaSetup(audio=Tone(HERTZ), video=FileSource(str(clip)))
    with echo(janus, setup=setup) as call:
        call.hears()
        def rate():
            a=call.stats(OutboundRtpStats, "1"); time.sleep(1); b=call.stats(OutboundRtpStats, "1")
            return (b.bytes_sent-a.bytes_sent)*8/1000, b.target_bitrate
        for cap in (0, 150_000, 400_000, 100_000, 1_000_000):
            call.handle.ask({"bitrate": cap})
            print(cap, [rate() for _ in range(4)])


# -- configurations of Janus -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{"nat": {"ice_lite": True}}, {"rsa": True}, {"nat": {"full_trickle": True}},
  {"nat": {"ice_tcp": True, "ice_lite": True}}, {"nat": {"nat_1_1_mapping": "203.0.113.7"}},
  {"nat": {"nat_1_1_mapping": "203.0.113.7", "keep_private_host": True}}, {"nat": {"ice_nomination": "regular"}},
  {"nat": {"ice_keepalive_conncheck": True}}, {"media": {"ipv6": True, "ipv6_linklocal": True}}], ids=str)
def test_settings(options) -> None:
    with Janus(**options) as janus, echo(janus) as call:
        t=time.monotonic()
        call.hears()
        call.sees()
        print(time.monotonic()-t)
        print(call.descriptions()[1])
        print(call.stats(TransportStats))
        assert call.alice.do(call.call.restart_ice)
        call.hears()
        call.sees()
        print(call.stats(TransportStats))


# -- loss and ends -----------------------------------------------------------------------------------------------------


def test_loss(janus: Janus) -> None:
    """Janus asks for what is lost on the way to it, and sends again what is lost on the way back."""
    network = Network(Link(latency=0.01), address='192.0.2.2')

    try:
        with echo(janus, change=network.change) as call:
            call.hears()
            call.sees()
            before = call.stats(OutboundRtpStats, "1")
            network.link = Link(latency=0.01, loss=0.05)
            time.sleep(6)
            call.hears()
            call.sees()
            print(network.lost, call.stats(OutboundRtpStats, "1"), call.stats(InboundRtpStats, "1"))
    finally:
        network.close()


def test_janus_is_killed() -> None:
    engine = AiortcEngine(include_loopback=True, silence_timeout=1.0, connect_timeout=3.0)
    with Janus() as janus, echo(janus, engine=engine) as call:
        call.hears()
        call.sees()
        call.alice.forget()
        janus.kill()
        killed = time.monotonic()
        moment, _ = call.alice.expect_at(o.MediaChanged, state=MediaState.DISCONNECTED)
        print(moment - killed)
        moment, _ = call.alice.expect_at(o.MediaChanged, state=MediaState.FAILED)
        print(moment - killed)
