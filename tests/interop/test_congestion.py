"""A call with Chromium over a link of limited capacity: both senders find out what it takes, by transport-wide feedback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from sipproto.agent import outputs as o
from sipproto.negotiation import TRANSPORT_CC
from sipproto.sdp import Direction
from sipproto_aiortc import FileSource, MediaSetup, Tone
from tests.media._detail import write_clip
from tests.media.impaired import Network
from tests.sim.network import Link

from .child import PATIENCE
from .kamailio import Kamailio
from .ours import AUDIO, Ours, wait_for
from .peers import HERTZ, BrowserPeer, Party
from .test_impaired import _Behind

pytestmark = pytest.mark.interop

# Pictures that can use all bits there are: coarse noise that moves over itself, and a box.
_PICTURES = """(() => {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const pen = canvas.getContext("2d");
  const tile = document.createElement("canvas");
  tile.width = tile.height = 80;
  const noise = tile.getContext("2d").createImageData(80, 80);
  for (let at = 0; at < noise.data.length; at++) noise.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
  tile.getContext("2d").putImageData(noise, 0, 0);
  let turn = 0;
  const draw = () => {
    pen.drawImage(tile, -(turn * 3) % 320, -(turn * 2) % 180, 960, 540);
    pen.fillStyle = `hsl(${turn % 360} 50% 50%)`;
    pen.fillRect((turn * 5) % 500, (turn * 3) % 300, 140, 60);
    turn++;
  };
  draw();
  setInterval(draw, 1000 / 20);
  const stream = canvas.captureStream(20);
  rig.source.picture.track = () => stream.getVideoTracks()[0].clone();
})()"""


@frozen
class Measured:
    """What arrives, in bits per second of RTP, pictures shown in a second, and seconds before the link, 95 % at most."""

    ours: float
    theirs: float
    pictures: float
    shown: float
    waited: float


class _Ends:
    def __init__(self, alice: Ours, bob: Party, network: Network) -> None:
        self._alice, self._bob, self._network = alice, bob, network

    def _now(self) -> tuple[float, int, int, int, int]:
        lines = self._alice.do(self._alice.newest().stats).lines
        theirs = self._bob("stats")
        pictures = sum(line.frames_decoded or 0 for line in lines if line.kind == "video")
        there = theirs["audio"]["received"]["bytes"] + theirs["video"]["received"]["bytes"]
        here = sum(line.bytes_received for line in lines)
        return time.monotonic(), here, there, pictures, theirs["video"]["frames_decoded"]

    def over(self, seconds: float) -> Measured:
        self._network.waits.clear()
        before = self._now()
        time.sleep(seconds)
        after = self._now()
        passed = after[0] - before[0]
        ours, theirs, pictures, shown = ((now - then) / passed for now, then in zip(after[1:], before[1:], strict=True))
        waits = sorted(self._network.waits)
        return Measured(8 * ours, 8 * theirs, pictures, shown, waits[int(0.95 * len(waits))])

    def until(self, good: Callable[[Measured], bool], what: str, timeout: float = 60.0) -> list[Measured]:
        """Measures 4 s, over and over: a busy machine is slower than any link now and then."""
        deadline, seen = time.monotonic() + timeout, list[Measured]()
        while not seen or not good(seen[-1]):
            assert time.monotonic() < deadline, (what, seen)
            seen.append(self.over(4.0))
        return seen


@pytest.mark.parametrize("capacity", [500_000, 900_000])  # of 640x360 we send 620 kbit/s at the most
def test_both_find_out_what_a_link_takes(
    kamailio: Kamailio,
    browser: BrowserPeer,
    capacity: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    network = Network(Link(), rate=capacity)
    clip = write_clip(tmp_path / "clip.mkv", 640, 360)
    setup = MediaSetup(audio=Tone(HERTZ["alice"]), video=FileSource(clip))
    bob = Party(browser, "bob", page="bob")
    bob.open(kamailio, kamailio.ws_url)
    try:
        bob("evaluate", expression=_PICTURES)
        with Ours("anyio-asyncio", "alice", media=_Behind(network)) as alice:
            alice.connect(kamailio.ws_url)
            calling = alice.call("bob", media=(*AUDIO, ("video", Direction.SENDRECV)), setup=setup)
            bob.expect("call", state="incoming")
            bob("answer", video=True)
            call = calling.result(PATIENCE)
            wait_for(bob, lambda stats: stats["video"]["frames_decoded"] > 5)
            for text in alice.description(call):
                assert text.decode().count(TRANSPORT_CC) == 2 and "transport-cc" in text.decode()
            ends = _Ends(alice, bob, network)
            least = 0.6 * capacity
            seen = ends.until(lambda one: one.ours >= least and one.pictures > 3, "the page sends too little")
            seen += ends.until(lambda one: one.theirs >= least and one.shown > 3, "we send too little")
            for one in seen:  # no more than the link takes, and what is sent does not stand in its queue
                assert max(one.ours, one.theirs) <= 1.05 * capacity
            assert min(one.waited for one in seen) < 0.25
            pair = alice.do(alice.newest().stats).selected_pair
            assert pair is not None and pair.available_outgoing_bitrate is not None
            assert pair.available_outgoing_bitrate < 3 * capacity
            record_property("kbit/s", [(round(one.ours / 1000), round(one.theirs / 1000)) for one in seen])
            print(f"{capacity // 1000} kbit/s: {seen}")
            alice.do(call.hang_up)
            alice.expect(o.CallEnded)
    finally:
        bob("close")
        browser.forget_events()
        network.close()
