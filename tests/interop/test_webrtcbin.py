"""GStreamer's webrtcbin at the other end of a negotiation and an engine of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipproto.agent.media import MediaFailed
from sipproto.agent.stats import TransportStats
from sipproto.negotiation import TRANSPORT_CC, CodecPreferences
from sipproto.sdp import Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, TestPattern, Tone
from tests.media._rig import BOTH, End, hears, sees, until

from .janus_calls import ufrag
from .media_calls import BLUE, RED, is_color
from .peers import JsonPeer, PeerError

pytestmark = pytest.mark.interop
# The Python of the system, which has the bindings of GStreamer.
_PYTHON, _CHILD = "/usr/bin/python3", Path(__file__).with_name("webrtcbin.py")
_KINDS = {"opus": "audio", "PCMU": "audio", "PCMA": "audio", "VP8": "video", "VP9": "video", "H264": "video"}
either = pytest.mark.parametrize("offerer", ["ours", "theirs"])


class Pair:
    """An end of ours and a webrtcbin, which sends 800 Hz and blue pictures."""

    def __init__(self, ours: End, theirs: JsonPeer) -> None:
        self.ours = ours
        self.theirs = theirs

    def open(self, *codecs: str, offer: str = "", **line: Any) -> None:
        lines = [{"kind": _KINDS[codec], "codec": codec, **line} for codec in codecs]
        self.theirs.request("open", lines=lines, offer=offer)

    def connect(self, offerer: str, *codecs: str, **line: Any) -> None:
        if offerer == "theirs":
            self.open(*codecs, **line)
            self.they_offer()
        else:
            for codec in codecs:
                self.ours.negotiator.add_line(_KINDS[codec])
            self.ours.open()
            self.offer = self.ours.negotiator.create_offer().text
            self.open(*codecs, offer=self.offer, **line)
            self.answered(self.theirs.request("answer", sdp=self.offer)["sdp"])
        until(lambda: self.ours.connected, 10)

    def they_offer(self) -> None:
        self.offer = self.theirs.request("offer")["sdp"]
        self.ours.negotiator.receive_offer(self.offer, BOTH, Direction.SENDRECV)
        self.ours.open()
        answer, session = self.ours.negotiator.create_answer()
        assert not isinstance(reply := self.ours.apply(session), MediaFailed), reply
        self.answer = answer.text
        self.theirs.request("accept", sdp=self.answer)

    def we_offer(self) -> None:
        self.ours.open()
        self.offer = self.ours.negotiator.create_offer().text
        self.answered(self.theirs.request("answer", sdp=self.offer)["sdp"])

    def answered(self, answer: str) -> None:
        self.answer = answer
        reply = self.ours.apply(self.ours.negotiator.receive_answer(answer))
        assert not isinstance(reply, MediaFailed), reply

    def theirs_of(self, index: int) -> dict[str, Any]:
        found: dict[str, Any] = self.theirs.request("stats")["lines"].get(str(index), {})
        return found

    def in_use(self) -> str | None:
        """Our ufrag of the path that is sent over."""
        found = next(one for one in self.ours.stats().stats if isinstance(one, TransportStats))
        return found.ice_local_username_fragment

    def they_hear(self) -> None:
        before = self.theirs_of(0).get("frames", 0)
        until(
            lambda: self.theirs_of(0).get("frames", 0) > before + 3 and abs(self.theirs_of(0)["frequency"] - 500) < 25
        )

    def talk(self) -> None:
        before = self.ours.line().frames_decoded or 0
        until(lambda: (self.ours.line().frames_decoded or 0) > before + 3 and hears(self.ours, 800)(), 10)
        self.they_hear()

    def watch(self) -> None:
        before = self.ours.line("video").frames_decoded or 0
        until(lambda: (self.ours.line("video").frames_decoded or 0) > before + 3 and sees(self.ours, BLUE)(), 10)
        before = self.theirs_of(1).get("frames", 0)
        until(lambda: self.theirs_of(1).get("frames", 0) > before + 3 and is_color(self.theirs_of(1)["color"], RED))


@pytest.fixture
def pair() -> Iterator[Pair]:
    engine = AiortcEngine(include_loopback=True)
    ours = End(engine, MediaSetup(audio=Tone(500), video=TestPattern(color=RED)))
    try:
        with JsonPeer([_PYTHON, str(_CHILD)], name="webrtcbin") as theirs:
            yield Pair(ours, theirs)
    finally:
        engine.close()


@either
@pytest.mark.parametrize("codecs", [("opus", "VP8"), ("PCMU", "VP9"), ("PCMA", "H264")], ids=" ".join)
def test_codecs(pair: Pair, codecs: tuple[str, str], offerer: str) -> None:
    pair.connect(offerer, *codecs)
    pair.talk()
    pair.watch()
    assert [(pair.ours.line(kind).codec or "").lower() for kind in ("audio", "video")] == [c.lower() for c in codecs]


def test_opus_without_channels(pair: Pair) -> None:
    """As programs that do not say them offer it."""
    pair.connect("theirs", "opus", plain=True, direction="recvonly")
    assert "OPUS/48000\r\n" in pair.offer and "opus/48000/2\r\n" in pair.answer
    pair.they_hear()


@either
def test_redundancy(pair: Pair, offerer: str) -> None:
    """What it repeats (rtx) is agreed on; its forward error correction (red, ulpfec) is not."""
    pair.connect(offerer, "opus", "VP8", nack=True, fec=True)
    offered = offerer == "theirs"
    assert all((name in pair.offer) == offered for name in ("red/90000", "ulpfec/90000", "red/48000"))
    assert not re.search("red/|ulpfec/", pair.answer)
    assert all("transport-cc" in text for text in (pair.offer, pair.answer))
    assert (TRANSPORT_CC in pair.offer) == (offerer == "ours") and TRANSPORT_CC not in pair.answer
    assert "rtx/90000" in pair.answer
    pair.talk()
    pair.watch()


@either
def test_ice_restart_is_ignored(pair: Pair, offerer: str) -> None:
    """It answers with the credentials that it had, and everything goes on as it was."""
    pair.connect(offerer, "opus", "VP8")
    pair.talk()
    before = ufrag(pair.answer if offerer == "ours" else pair.offer), pair.in_use()
    pair.ours.negotiator.restart_ice()
    pair.we_offer()
    assert (ufrag(pair.answer), pair.in_use()) == before
    pair.talk()
    pair.watch()


@either
def test_video_comes_later(pair: Pair, offerer: str) -> None:
    pair.connect(offerer, "opus")
    pair.talk()
    pair.theirs.request("add", line={"kind": "video", "codec": "VP8"})
    if offerer == "ours":
        pair.ours.negotiator.add_line("video")
        pair.we_offer()
    else:
        pair.they_offer()
    pair.talk()
    pair.watch()


def test_hold_is_refused(pair: Pair) -> None:
    """It cannot change the direction of a line, and says so; taken back, it never was."""
    pair.connect("ours", "opus", "VP8")
    pair.talk()
    pair.ours.negotiator.hold = True
    with pytest.raises(PeerError, match="direction changes are not implemented"):
        pair.we_offer()
    pair.ours.negotiator.rollback()
    pair.ours.apply(pair.ours.session)
    pair.talk()
    pair.watch()


def test_a_refused_line_is_too_much(pair: Pair) -> None:
    """Its programs have to offer only what we take: it wants a fingerprint on lines that are none."""
    pair.ours.negotiator.preferences = CodecPreferences(exclude=("video/VP8",))
    pair.open("opus", "VP8")
    with pytest.raises(PeerError, match="No fingerprint lines in sdp for media 1"):
        pair.they_offer()
    assert "m=video 0 " in pair.answer
