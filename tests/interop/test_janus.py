"""Janus at the other end of our calls: its EchoTest sends back what it receives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sipproto.agent.stats import InboundRtpStats, OutboundRtpStats
from sipproto.negotiation import CodecPreferences

from .janus import Janus
from .janus_calls import BOTH, JanusCall, echo
from .media_calls import AUDIO, VIDEO, until

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def janus() -> Iterator[Janus]:
    with Janus() as server:
        yield server


def only(kind: str, name: str) -> CodecPreferences:
    names = {"audio": ("opus", "G722", "PCMU", "PCMA"), "video": ("VP8", "VP9", "H264")}[kind]
    return CodecPreferences(exclude=tuple(f"{kind}/{one}" for one in names if one != name))


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


def test_hold(janus: Janus) -> None:
    with echo(janus) as call:
        call.hears()
        call.sees()
        call.alice.do(call.call.hold)
        call.gets_nothing("audio", "video")
        call.alice.do(call.call.resume)
        call.hears()
        call.sees()


def test_lines(janus: Janus) -> None:
    with echo(janus, (AUDIO,)) as call:
        call.hears()
        (mid,) = call.alice.do(call.call.change_media, add=(VIDEO,))
        call.sees(mid=mid)
        print(call.descriptions()[1])
        call.alice.do(call.call.change_media, remove=(mid,))
        print(call.descriptions()[1])
        call.hears()
        (mid,) = call.alice.do(call.call.change_media, add=(VIDEO,))
        print(*call.descriptions())
        call.sees(mid=mid)
        call.hears()

def test_restart(janus: Janus) -> None:
    with echo(janus) as call:
        call.hears()
        call.sees()
        assert call.alice.do(call.call.restart_ice)
        call.hears()
        call.sees()
        print(*call.descriptions())
