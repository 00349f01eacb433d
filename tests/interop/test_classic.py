"""Our agent and aiortc with a classic telephone (plain RTP, no ICE, no DTLS), through Kamailio and rtpengine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sipproto.agent import outputs as o
from sipproto.agent.media import LineStats, MediaState
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import MediaDescription
from sipproto_aiortc._engine import CAPABILITIES
from sipproto_client import Call, CommandError

from .classic import PlainRtp, Phone, wait_until
from .kamailio import Kamailio
from .ours import Ours, lines
from .rtpengine import Rtpengine
from .sipp_stage import SIPP_USER

pytestmark = pytest.mark.interop
OURS, THEIRS = 500, 800  # hertz
PACKETS = 20  # how many more have to come, either way, until it is believed
OPUS = MediaCapabilities(audio=tuple(codec for codec in CAPABILITIES.audio if codec.name == "opus"))
each_caller = pytest.mark.parametrize("caller", ["ours", "theirs"])


@frozen
class Bridge:
    rtpengine: Rtpengine
    server: Kamailio


@contextmanager
def bridged(certificate: str = "prime256v1") -> Iterator[Bridge]:
    with Rtpengine(certificate=certificate) as rtpengine, Kamailio(bridge=rtpengine.control_port) as server:
        yield Bridge(rtpengine, server)


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    with bridged() as started:
        yield started


class Talk:
    """A call between one of ours and a telephone."""

    def __init__(self, bridge: Bridge, ours: Ours, phone: Phone, call: Call) -> None:
        self.bridge = bridge
        self.ours = ours
        self.phone = phone
        self.call = call

    def line(self) -> LineStats:
        line = self.ours.do(self.call.stats).line("audio")
        assert line is not None
        return line

    def both_hear(self) -> None:
        """Now, and not only before: the tone of the other is what comes in, and packets are sent and come in."""
        rtp, before = self.phone.rtp, self.line()
        theirs = rtp.received, rtp.sent
        rtp.hears(OURS)
        self.ours.hears(self.call, THEIRS)

        def grown() -> bool:
            now = self.line()
            return (
                now.packets_received >= before.packets_received + PACKETS
                and now.packets_sent >= before.packets_sent + PACKETS
                and rtp.received >= theirs[0] + PACKETS
                and rtp.sent >= theirs[1] + PACKETS
            )

        wait_until(grown, 10, lambda: f"{self.line()}, {rtp.told()}")
        assert not rtp.strangers
        assert self.ours.do(self.call.stats).state is MediaState.CONNECTED

    def counts(self) -> tuple[int, int]:
        """Packets that have come in: at our side, at the telephone."""
        return self.line().packets_received, self.phone.rtp.received

    def grow(self) -> tuple[bool, bool]:
        """Whether packets come in now: at our side, at the telephone. What was under way does not count."""
        time.sleep(0.2)
        before = self.counts()
        time.sleep(0.4)
        ours, theirs = (now - then for then, now in zip(before, self.counts(), strict=True))
        return ours > 3, theirs > 3

    def cue(self) -> None:
        """SIPp goes on."""
        assert self.ours.do(self.call.send_info, "text/plain", b"go on") == 200

    def ended(self, originator: o.Originator) -> None:
        end = self.ours.do(self.call.wait_ended)
        assert (end.cause, end.originator) == (o.Cause.TERMINATED, originator)
        self.phone.finish()
        wait_until(lambda: self.bridge.rtpengine.calls() == 0, 5, self.bridge.rtpengine.log)


@contextmanager
def talking(bridge: Bridge, folder: Path, scenario: str, *, codec: str = "PCMU", **values: str) -> Iterator[Talk]:
    """A call that both hear. SIPp makes it in scenarios whose names begin with `uac`."""
    with phoning(bridge, folder, scenario, codec=codec, **values) as (ours, phone):
        call = ours.answer() if scenario.startswith("uac") else ours.call(SIPP_USER).result(15)
        check_plain(phone.follow(1), codec)
        talk = Talk(bridge, ours, phone, call)
        talk.both_hear()
        yield talk


@contextmanager
def phoning(
    bridge: Bridge, folder: Path, scenario: str, *, ours: str = "alice", codec: str = "PCMU", **values: str
) -> Iterator[tuple[Ours, Phone]]:
    more = {"capabilities": OPUS} if ours == "jane" else {}
    with Ours("anyio-asyncio", ours, **more) as party:
        party.connect(bridge.server.ws_url)
        with Phone(folder, bridge.server, scenario, codec=codec, calls=ours, **values) as phone:
            yield party, phone


def check_plain(line: MediaDescription, codec: str) -> None:
    """Nothing of WebRTC is left in what a telephone gets to see."""
    assert line.protocol == "RTP/AVP"
    assert not [name for name in ("ice-ufrag", "candidate", "fingerprint", "setup", "rtcp-mux") if line.attributes(name)]
    assert any(f" {codec}/8000" in value for value in line.attributes("rtpmap"))


def scenario_of(caller: str, name: str) -> str:
    return f"{'uas' if caller == 'ours' else 'uac'}_{name}"


# -- calls -------------------------------------------------------------------------------------------------------------


@each_caller
@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
def test_audio_both_ways(bridge: Bridge, caller: str, codec: str, tmp_path: Path) -> None:
    with talking(bridge, tmp_path, scenario_of(caller, "hung_up"), codec=codec) as talk:
        assert talk.line().codec == codec
        assert bridge.rtpengine.calls() == 1
        ours, theirs = talk.ours.description(talk.call)
        # The answerer is active (RFC 5763 5): the bridge where we call, and we where it offers.
        roles = {"a=setup:actpass"}, {"a=setup:active"}
        assert (lines(ours, "a=setup"), lines(theirs, "a=setup")) == (roles if caller == "ours" else roles[::-1])
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)
