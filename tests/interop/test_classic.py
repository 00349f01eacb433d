"""Our agent and aiortc with a classic telephone (plain RTP, no ICE, no DTLS), through Kamailio and rtpengine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sipproto.agent import outputs as o
from sipproto.agent.media import LineStats, MediaState
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import Direction, MediaDescription
from sipproto_aiortc._engine import CAPABILITIES
from sipproto_client import Call, CommandError

from .child import PATIENCE, wait_until
from .classic import Phone, PlainRtp
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
        # When a call moves, packets of the codec before are still under way until our answer is there.
        strangers = rtp.strangers
        self.ours.hears(self.call, THEIRS)

        def grown() -> bool:
            now = self.line()
            return (
                now.packets_received >= before.packets_received + PACKETS
                and now.packets_sent >= before.packets_sent + PACKETS
                and rtp.received >= theirs[0] + PACKETS
                and rtp.sent >= theirs[1] + PACKETS
            )

        wait_until(grown, lambda: f"{self.line()}, {rtp.told()}")
        assert rtp.strangers == strangers
        assert self.ours.do(self.call.stats).state is MediaState.CONNECTED

    def counts(self) -> tuple[int, int]:
        """Packets that have come in: at our side, at the telephone."""
        return self.line().packets_received, self.phone.rtp.received

    def flows(self, *wanted: bool) -> None:
        """Waits until packets come in at our side, and at the telephone, or do not. What was under way does not count."""

        def found() -> bool:
            before = self.counts()
            time.sleep(0.4)
            return tuple(now - then > 3 for then, now in zip(before, self.counts(), strict=True)) == wanted

        wait_until(found, lambda: f"{wanted}, but {self.line()}, {self.phone.rtp.told()}")

    def is_dtls_client(self) -> bool:
        """As it was said last: who is to be active."""
        ours, theirs = (lines(description, "a=setup:") for description in self.ours.description(self.call))
        assert {"a=setup:actpass"} in (ours, theirs)
        return "a=setup:active" in ours or "a=setup:passive" in theirs

    def carried(self) -> bool:
        return self.bridge.rtpengine.carries(self.phone.call_id)

    def cue(self) -> None:
        """SIPp goes on."""
        assert self.ours.do(self.call.send_info, "text/plain", b"go on") == 200

    def ended(self, originator: o.Originator) -> None:
        end = self.ours.do(self.call.wait_ended)
        assert (end.cause, end.originator) == (o.Cause.TERMINATED, originator)
        self.phone.finish()
        wait_until(lambda: not self.carried(), self.bridge.rtpengine.log)


@contextmanager
def talking(
    bridge: Bridge, folder: Path, scenario: str, *, ours: str = "alice", codec: str = "PCMU", **about_phone: Any
) -> Iterator[Talk]:
    """A call that both hear. SIPp makes it in scenarios whose names begin with `uac`."""
    with phoning(bridge, folder, scenario, ours=ours, codec=codec, **about_phone) as (party, phone):
        call = party.answer() if scenario.startswith("uac") else party.call(SIPP_USER).result(PATIENCE)
        check_plain(phone.follow(1), codec)
        talk = Talk(bridge, party, phone, call)
        talk.both_hear()
        yield talk


@contextmanager
def phoning(
    bridge: Bridge, folder: Path, scenario: str, *, ours: str = "alice", **about_phone: Any
) -> Iterator[tuple[Ours, Phone]]:
    more: dict[str, Any] = {"capabilities": OPUS} if ours == "jane" else {}
    with Ours("anyio-asyncio", ours, **more) as party:
        party.connect(bridge.server.ws_url)
        with Phone(folder, bridge.server, scenario, calls=ours, **about_phone) as phone:
            yield party, phone


def check_plain(line: MediaDescription, codec: str) -> None:
    """Nothing of WebRTC is left in what a telephone gets to see."""
    assert line.protocol == "RTP/AVP"
    assert not [
        name for name in ("ice-ufrag", "candidate", "fingerprint", "setup", "rtcp-mux") if line.attributes(name)
    ]
    assert any(f" {codec}/8000" in value for value in line.attributes("rtpmap"))


def scenario_of(caller: str, name: str) -> str:
    return f"{'uas' if caller == 'ours' else 'uac'}_{name}"


# -- calls -------------------------------------------------------------------------------------------------------------


@each_caller
@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
def test_audio_both_ways(bridge: Bridge, caller: str, codec: str, tmp_path: Path) -> None:
    with talking(bridge, tmp_path, scenario_of(caller, "hung_up"), codec=codec) as talk:
        assert talk.line().codec == codec
        assert talk.phone.rtp.strangers == 0
        assert talk.carried()
        assert talk.is_dtls_client() == (caller == "theirs")  # the answerer is active (RFC 5763 5)
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)


# -- hold --------------------------------------------------------------------------------------------------------------


@each_caller
def test_we_hold_and_resume(bridge: Bridge, caller: str, tmp_path: Path) -> None:
    with talking(bridge, tmp_path, scenario_of(caller, "plain_held")) as talk:
        talk.ours.do(talk.call.hold)
        talk.phone.follow(2)
        assert talk.phone.direction() is Direction.SENDONLY
        # Who holds goes on sending, and hears nothing.
        talk.flows(False, True)
        talk.ours.do(talk.call.resume)
        talk.phone.follow(3)
        assert talk.phone.direction() is Direction.SENDRECV
        talk.both_hear()
        assert talk.is_dtls_client() == (caller == "theirs")
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)


@each_caller
@pytest.mark.parametrize("how", ["sendonly", "inactive"])
def test_the_telephone_holds_and_resumes(bridge: Bridge, caller: str, how: str, tmp_path: Path) -> None:
    with talking(bridge, tmp_path, scenario_of(caller, "plain_hold"), HOLD=how) as talk:
        talk.cue()
        talk.ours.expect(o.CallHeld, originator=o.Originator.REMOTE)
        talk.phone.follow(2)
        assert talk.phone.direction() is (Direction.RECVONLY if how == "sendonly" else Direction.INACTIVE)
        if how == "inactive":
            talk.phone.rtp.remote = None
        else:
            talk.ours.hears(talk.call, THEIRS)  # music on hold
        talk.flows(how == "sendonly", False)
        talk.cue()
        talk.ours.expect(o.CallResumed, originator=o.Originator.REMOTE)
        talk.phone.follow(3)
        talk.both_hear()
        # Still the first DTLS association, whoever has made this offer (RFC 8842 5.3)
        assert talk.is_dtls_client() == (caller == "theirs")
        talk.cue()
        talk.ended(o.Originator.REMOTE)


def test_the_call_moves_to_another_telephone(bridge: Bridge, tmp_path: Path) -> None:
    """Another port, another codec, another source: as when somebody behind an exchange takes the call over."""
    with PlainRtp("PCMA", THEIRS) as other, talking(bridge, tmp_path, "uac_plain_moved", other=other) as talk:
        wait_until(lambda: talk.line().round_trip_time is not None, talk.phone.rtp.told)
        talk.cue()
        wait_until(lambda: talk.line().codec == "PCMA", talk.ours.told)
        talk.phone.move()
        check_plain(talk.phone.follow(2), "PCMA")
        talk.both_hear()
        wait_until(lambda: other.reports, other.told)
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)


# -- what else such bridges do ------------------------------------------------------------------------------------------


@each_caller
def test_transcoding(bridge: Bridge, caller: str, tmp_path: Path) -> None:
    """Opus on our side, PCMU at the telephone."""
    with talking(bridge, tmp_path, scenario_of(caller, "hung_up"), ours="jane") as talk:
        assert talk.line().codec == "opus"
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)


@each_caller
@pytest.mark.parametrize(
    ("certificate", "kind"), [("RSA", rsa.RSAPublicKey), ("prime256v1", ec.EllipticCurvePublicKey)]
)
def test_certificates(caller: str, certificate: str, kind: type, tmp_path: Path) -> None:
    """The bridge is the DTLS client where we call, and the server where we are called."""
    with bridged(certificate) as bridge, talking(bridge, tmp_path, scenario_of(caller, "hung_up")) as talk:
        (media,) = talk.ours.media._calls.values()
        association = media._slots[0].dtls._ssl
        assert association is not None
        peer = association.get_peer_certificate(as_cryptography=True)
        assert peer is not None and isinstance(peer.public_key(), kind)
        assert association.get_protocol_version_name() == "DTLSv1.2"
        talk.ours.do(talk.call.hang_up)
        talk.ended(o.Originator.LOCAL)


def test_early_media(bridge: Bridge, tmp_path: Path) -> None:
    """What a network says before anybody answers is heard."""
    with phoning(bridge, tmp_path, "uas_plain_early") as (ours, phone):
        calling = ours.call(SIPP_USER)
        phone.follow(1)
        ours.expect(o.CallProgressed, status=183)
        call = ours.newest()
        ours.hears(call, THEIRS)
        assert not calling.done()
        calling.result(PATIENCE)
        talk = Talk(bridge, ours, phone, call)
        talk.both_hear()
        ours.do(call.hang_up)
        talk.ended(o.Originator.LOCAL)


def test_late_offer(bridge: Bridge, tmp_path: Path) -> None:
    """The telephone leaves the offer to us."""
    with talking(bridge, tmp_path, "uac_plain_late") as talk:
        talk.cue()
        talk.ended(o.Originator.REMOTE)


def test_refused(bridge: Bridge, tmp_path: Path) -> None:
    with phoning(bridge, tmp_path, "uas_refused", STATUS="486") as (ours, phone):
        with pytest.raises(CommandError):
            ours.call(SIPP_USER).result(PATIENCE)
        phone.finish()
        wait_until(lambda: not bridge.rtpengine.carries(phone.call_id), bridge.rtpengine.log)


# -- the rig itself ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
def test_two_classic_endpoints(codec: str) -> None:
    with PlainRtp(codec, OURS) as one, PlainRtp(codec, THEIRS) as two:
        one.remote, two.remote = ("127.0.0.1", two.port), ("127.0.0.1", one.port)
        one.hears(THEIRS)
        two.hears(OURS)
        one.send_digits("15#D", 0.08)
        wait_until(lambda: len(two.digits) == 4, two.told)
        assert [(digit.digit, digit.duration) for digit in two.digits] == [(one, 0.08) for one in "15#D"]
        two.hears(OURS)
        assert not one.digits and not one.strangers and not two.strangers
