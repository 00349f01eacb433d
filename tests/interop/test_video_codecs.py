"""Video codecs beside the first one, both ways with Chromium; each is the only one left in its call."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sipproto.agent.media import LineStats
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Direction
from sipproto_aiortc import MediaSetup, TestPattern, Tone
from sipproto_client import Call

from .child import PATIENCE
from .kamailio import Kamailio
from .ours import Ours, wait_for
from .peers import COLORS, BrowserPeer, Party

pytestmark = pytest.mark.interop
BOTH = (("audio", Direction.SENDRECV), ("video", Direction.SENDRECV))
SETUP = MediaSetup(audio=Tone(500), video=TestPattern(width=640, height=480, frame_rate=30, color=COLORS["alice"]))


@pytest.fixture
def bob(kamailio: Kamailio, browser: BrowserPeer) -> Iterator[Party]:
    page = Party(browser, "bob", page="bob")
    try:
        page.open(kamailio, kamailio.ws_url)
        yield page
    finally:
        page("close")
        browser.forget_events()


def without(codec: str) -> CodecPreferences:
    return CodecPreferences(exclude=tuple(f"video/{name}" for name in ("VP8", "VP9", "H264") if name != codec))


def line(alice: Ours, call: Call) -> LineStats:
    found = alice.do(call.stats).line("video")
    assert found is not None
    return found


def near(seen: tuple[int, int, int] | None, sent: tuple[int, int, int]) -> bool:
    return seen is not None and all(abs(a - b) < 60 for a, b in zip(seen, sent, strict=True))


@pytest.mark.parametrize("caller", ["ours", "page"])
@pytest.mark.parametrize("codec", ["VP9", "H264"])
def test_video_both_ways(kamailio: Kamailio, bob: Party, codec: str, caller: str) -> None:
    with Ours("anyio-asyncio", "alice") as alice:
        alice.connect(kamailio.ws_url)
        if caller == "ours":
            calling = alice.start(alice.endpoint.call, "sip:bob@rig.test", BOTH, codecs=without(codec), setup=SETUP)
            bob.expect("call", state="incoming")
            bob("answer")
            call = calling.result(PATIENCE)
        else:
            reply = bob.send("call", target="sip:alice@rig.test", audio=True, video=True)
            call = alice.incoming()
            alice.do(call.answer, BOTH, codecs=without(codec), setup=SETUP)
            bob.peer.wait_reply(reply)
        seen = wait_for(
            bob, lambda s: s["video"].get("frames_decoded", 0) > 20 and near(s["video"].get("color"), COLORS["alice"])
        )
        assert seen["video"]["codec"].upper() == codec
        deadline = time.monotonic() + PATIENCE
        while not ((line(alice, call).frames_decoded or 0) > 20 and near(line(alice, call).color, COLORS["bob"])):
            assert time.monotonic() < deadline, line(alice, call)
            time.sleep(0.1)
        assert line(alice, call).codec == codec
        alice.do(call.hang_up)
