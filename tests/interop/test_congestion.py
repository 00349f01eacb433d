"""A call with Chromium over a link of limited capacity: both senders find out what it takes, by transport-wide feedback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipproto.agent import outputs as o
from sipproto.negotiation import TRANSPORT_CC
from sipproto.sdp import Direction
from sipproto_aiortc import FileSource, MediaSetup, Tone
from tests.media._detail import write_clip
from tests.media.impaired import Network
from tests.sim.network import Link

from .kamailio import Kamailio
from .ours import AUDIO, Ours, wait_for
from .peers import HERTZ, BrowserPeer, Party
from .test_impaired import _Behind

pytestmark = pytest.mark.interop

# Pictures that need all bits there are: noise, anew in each.
_NOISE = """(() => {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const pen = canvas.getContext("2d");
  const tile = pen.createImageData(640, 360);
  for (let at = 0; at < tile.data.length; at++) tile.data[at] = at % 4 === 3 ? 255 : Math.random() * 256;
  let turn = 0;
  const draw = () => {
    pen.putImageData(tile, (turn * 13) % 640 - 320, (turn * 7) % 360 - 180);
    pen.fillStyle = `hsl(${turn % 360} 50% 50%)`;
    pen.fillRect((turn * 5) % 500, (turn * 3) % 300, 140, 60);
    turn++;
  };
  draw();
  setInterval(draw, 1000 / 25);
  const stream = canvas.captureStream(25);
  rig.source.picture.track = () => stream.getVideoTracks()[0].clone();
})()"""


_REP = """(async () => { const c=[...rig.calls.values()].at(-1).session.connection; const r=[...(await c.getStats()).values()];
 const p=r.find(e=>e.type==="candidate-pair"&&e.nominated&&e.availableOutgoingBitrate); const o=r.find(e=>e.type==="outbound-rtp"&&e.kind==="video");
 const ri=r.filter(e=>e.type==="remote-inbound-rtp").map(e=>[e.kind,e.fractionLost,e.roundTripTime]);
 return [p&&p.availableOutgoingBitrate,o.targetBitrate,o.qualityLimitationReason,o.framesPerSecond,o.frameWidth,o.retransmittedPacketsSent,o.totalEncodeTime/o.framesEncoded,JSON.stringify(ri)].join(" ") })()"""


class _Rates:
    """What arrives at either end, in bits per second of payload."""

    def __init__(self, alice: Ours, bob: Party) -> None:
        self._alice, self._bob = alice, bob

    def _now(self) -> tuple[float, int, int, int, int]:
        lines = self._alice.do(self._alice.newest().stats).lines
        theirs = self._bob("stats")
        pictures = sum(line.frames_decoded or 0 for line in lines)
        there = theirs["audio"]["received"]["bytes"] + theirs["video"]["received"]["bytes"]
        here = sum(line.bytes_received for line in lines)
        return time.monotonic(), here, there, pictures, theirs["video"]["frames_decoded"]

    def over(self, seconds: float) -> tuple[float, float, float, float]:
        """Bits per second that we and the page receive, and pictures that we and the page decode each second."""
        before = self._now()
        time.sleep(seconds)
        after = self._now()
        passed = after[0] - before[0]
        ours, theirs, pictures, shown = (now - then for now, then in zip(after[1:], before[1:], strict=True))
        return 8 * ours / passed, 8 * theirs / passed, pictures / passed, shown / passed


@pytest.mark.parametrize("capacity", [500_000, 1_500_000])
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
        bob("evaluate", expression=_NOISE)
        with Ours("anyio-asyncio", "alice", media=_Behind(network)) as alice:
            alice.connect(kamailio.ws_url)
            calling = alice.call("bob", media=(*AUDIO, ("video", Direction.SENDRECV)), setup=setup)
            bob.expect("call", state="incoming")
            bob("answer", video=True)
            call = calling.result(15)
            wait_for(bob, lambda stats: stats["video"]["frames_decoded"] > 5)
            agreed = alice.description(call)
            assert all(TRANSPORT_CC in text.decode() and "goog-remb" in text.decode() for text in agreed)
            rates = _Rates(alice, bob)
            network.waits.clear()
            for _ in range(6):
                rep = bob("evaluate", expression=_REP)["result"]
                pair = next(
                    x
                    for x in alice.do(alice.newest().stats).stats
                    if type(x).__name__ == "CandidatePairStats" and x.available_outgoing_bitrate
                )
                print(rep, "ours est", pair.available_outgoing_bitrate)
                print([round(value / 1000, 3) for value in rates.over(4)], network.lost, _waited(network))
            alice.do(call.hang_up)
            alice.expect(o.CallEnded)
    finally:
        bob("close")
        browser.forget_events()
        network.close()


def _waited(network: Network) -> str:
    waits, network.waits = sorted(network.waits), []
    return f"waits {waits[len(waits) // 2]:.3f} {waits[int(0.95 * len(waits))]:.3f}"
