"""The softphone through a real Kamailio, with JsSIP in Chromium: everything that a user does, and what stands in the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipproto.agent import outputs as o
from sipproto.agent.inputs import DigitWay
from sipproto_phone import commands as c
from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import Connection, Online, Outcome, Phase, Problem

from .kamailio import Kamailio, password_of
from .ours import Ours
from .peers import HERTZ, BrowserPeer, Party, PeerError
from .softphone import Softphone, page_hears

pytestmark = pytest.mark.interop
SOON = {"connection_recovery_min_interval": 1, "connection_recovery_max_interval": 1}


@pytest.fixture
def phone(kamailio: Kamailio, tmp_path: Path) -> Iterator[Softphone]:
    """A phone that is online."""
    with Softphone(tmp_path) as phone:
        phone.save(kamailio)
        phone.until_online()
        yield phone


@pytest.fixture
def new_page(browser: BrowserPeer) -> Iterator[Callable[..., Party]]:
    """Opens pages, and closes them at the end."""
    pages: list[Party] = []

    def opened(kamailio: Kamailio, user: str) -> Party:
        page = Party(browser, user, page=user)
        pages.append(page)
        page.open(kamailio, kamailio.ws_url, options=SOON)
        return page

    yield opened
    for page in pages:
        page("close")
    browser.forget_events()


@pytest.fixture
def bob(kamailio: Kamailio, new_page: Callable[..., Party]) -> Party:
    return new_page(kamailio, "bob")


def test_settings_online_call_and_be_called(kamailio: Kamailio, bob: Party, tmp_path: Path) -> None:
    """As a new user does it, until the phone is started again the next day."""
    with Softphone(tmp_path) as phone:
        assert phone.state.connection.online is Online.OFFLINE and not phone.state.accounts
        ident = phone.save(kamailio)
        phone.until_online()

        call = phone.call(bob)
        phone.talk(bob)
        phone.until("figures", lambda: phone.state.calls[0].figures.codec and phone.state.calls[0].figures.bitrate_in)
        phone.hang_up(call, bob)

        reply = bob.send("call", target="sip:alice@rig.test", headers=["X-Display-Name: %D0%91%D0%BE%D0%B1"])
        ringing = phone.until_phase(Phase.INCOMING)
        assert ringing.name == "Боб"
        phone.until("it rings", lambda: phone.phone.sound.meter.heard("ringer")[0] > 0.01)
        phone.do(c.Answer(call=ringing.id))
        bob.peer.wait_reply(reply)
        phone.talk(bob)
        phone.until_hears(None, place="ringer")
        bob("hangup")
        phone.until("the end", lambda: not [x for x in phone.state.calls if x.phase is not Phase.ENDED])
        phone.do(c.SaveSettings(settings={"language": "ru", "ring_seconds": 7}))
        phone.do(c.SetVolume(volume=0.5))
        before = phone.do(c.ListCalls())
        assert phone.written() == [("out", "bob", "answered"), ("in", "bob", "answered")]
        assert all(entry["duration"] > 0.3 and not entry["open"] for entry in before)

    secret = password_of("alice")
    assert secret not in (tmp_path / "phone.json").read_text()
    for kept in tmp_path.iterdir():
        assert kept.stat().st_mode & 0o077 == 0, kept
    with Softphone(tmp_path) as phone:
        phone.until_online()
        assert phone.do(c.GetAccount(id=ident))["display_name"] == "Алиса"
        assert (phone.state.language, phone.state.volume, phone.state.last_number) == ("ru", 0.5, "bob")
        assert phone.do(c.GetSettings())["ring_seconds"] == 7
        assert phone.do(c.ListCalls()) == before
        phone.do(c.Redial())
        bob.expect("call", state="incoming", **{"from": "sip:alice@rig.test"})
        bob("reject")
        assert phone.until_phase(Phase.ENDED).outcome is Outcome.BUSY


def test_hold_mute_digits_and_volume(phone: Softphone, bob: Party) -> None:
    # A browser tells nobody of digits in RTP. Without them in the first answer they go by INFO, which a page hears.
    call = phone.call(bob, edits={"local": [["telephone-event", "no-such-thing"]]})
    phone.talk(bob)
    phone.do(c.SendDigits(call=call, digits="19*#"))
    assert [bob.expect("dtmf")["digit"] for _ in range(4)] == list("19*#")
    assert phone.state.calls[0].digits == "19*#"

    phone.do(c.Hold(call=call))
    bob.expect("call", state="held", originator="remote")
    assert phone.until_phase(Phase.HELD).id == call
    page_hears(bob, None)
    phone.until_hears(None)
    phone.do(c.Resume(call=call))
    bob.expect("call", state="resumed", originator="remote")
    phone.talk(bob)

    bob("hold")
    phone.until("held by the page", lambda: phone.state.calls[0].held_by_peer)
    phone.until_hears(None)
    bob("resume")
    phone.until("resumed by the page", lambda: not phone.state.calls[0].held_by_peer)
    phone.talk(bob)

    phone.do(c.Mute(call=call, muted=True))
    page_hears(bob, None)
    packets = bob("stats")["audio"]["received"]["packets"]
    phone.until("packets of silence", lambda: bob("stats")["audio"]["received"]["packets"] > packets + 10)
    phone.until_hears(HERTZ["bob"])
    phone.do(c.Mute(call=call, muted=False))
    page_hears(bob, HERTZ["alice"])

    loud = phone.until_hears(HERTZ["bob"])
    phone.do(c.SetVolume(volume=0.25))
    meter = phone.phone.sound.meter
    phone.until("a quarter", lambda: 0.2 * loud < meter.heard()[0] < 0.3 * loud)
    phone.do(c.SetVolume(volume=0))
    phone.until_hears(None)
    phone.do(c.SetVolume(volume=1))
    phone.until("all of it", lambda: 0.9 * loud < meter.heard()[0] < 1.1 * loud)
    phone.hang_up(call, bob)


def test_digits_in_rtp(kamailio: Kamailio, phone: Softphone) -> None:
    """With telephone-event in both descriptions digits go in RTP (RFC 4733)."""
    with Ours("anyio-asyncio", "bob", hertz=HERTZ["bob"]) as bob:
        bob.connect(kamailio.ws_url)
        call = phone.do(c.Dial(number="bob"))
        bob.answer()
        phone.until_phase(Phase.TALKING)
        phone.until_hears(HERTZ["bob"])
        phone.do(c.SendDigits(call=call, digits="7A#"))
        heard = [bob.expect(o.DtmfReceived) for _ in range(3)]
        assert [(one.digit, one.way) for one in heard] == [(digit, DigitWay.RTP) for digit in "7A#"]
        phone.do(c.HangUp(call=call))
        bob.expect(o.CallEnded)


def test_calls_that_come_to_nothing(phone: Softphone, bob: Party) -> None:
    def page_calls() -> tuple[int, str]:
        reply = bob.send("call", target="sip:alice@rig.test")
        return reply, phone.until_phase(Phase.INCOMING).id

    reply, call = page_calls()
    phone.do(c.HangUp(call=call))
    with pytest.raises(PeerError) as refused:
        bob.peer.wait_reply(reply)
    assert refused.value.status == 603
    phone.until("forgotten", lambda: not phone.state.calls)

    phone.do(c.SaveSettings(settings={"ring_seconds": 1}))
    began = time.monotonic()
    reply, _ = page_calls()
    with pytest.raises(PeerError) as refused:
        bob.peer.wait_reply(reply)
    assert refused.value.status == 480 and 0.9 < time.monotonic() - began < 8
    phone.until("forgotten", lambda: not phone.state.calls)

    phone.do(c.SaveSettings(settings={"ring_seconds": 30}))
    reply, _ = page_calls()
    bob("hangup")
    with pytest.raises(PeerError):
        bob.peer.wait_reply(reply)
    assert phone.until_phase(Phase.ENDED).outcome is Outcome.MISSED
    phone.until("forgotten", lambda: not phone.state.calls)

    for status, outcome in ((486, Outcome.BUSY), (603, Outcome.REJECTED), (480, Outcome.NO_ANSWER)):
        phone.do(c.Dial(number="bob"))
        bob.expect("call", state="incoming")
        phone.until_phase(Phase.RINGING)
        bob("reject", status=status)
        assert phone.until_phase(Phase.ENDED).outcome is outcome
        phone.until("forgotten", lambda: not phone.state.calls)

    call = phone.do(c.Dial(number="bob"))
    bob.expect("call", state="incoming")
    phone.do(c.HangUp(call=call))
    assert phone.until_phase(Phase.ENDED).outcome is Outcome.CANCELED
    phone.do(c.Dial(number="nobody"))
    assert phone.until_phase(Phase.ENDED, "nobody").outcome is Outcome.FAILED

    outcomes = ["rejected", "missed", "missed", "busy", "rejected", "no_answer", "canceled"]
    expected = [("in" if place < 3 else "out", "bob", outcome) for place, outcome in enumerate(outcomes)]
    assert phone.written() == [*expected, ("out", "nobody", "failed")]
    missed = phone.do(c.ListCalls(missed=True))
    assert len(missed) == 2 and not any(entry["duration"] for entry in missed)


def test_what_stands_in_the_way(kamailio: Kamailio, tmp_path: Path) -> None:
    def failed(problem: Problem, **more: Any) -> Connection:
        phone.save(kamailio, id=ident, **more)
        phone.until(f"{problem}", lambda: phone.state.connection.problem is problem)
        return phone.state.connection

    with Softphone(tmp_path) as phone:
        ident = phone.save(kamailio)
        phone.until_online()
        phone.do(c.SaveAccount(account={"id": ident}, password="wrong"))
        assert phone.until_online(Online.FAILED).problem is Problem.WRONG_PASSWORD
        with pytest.raises(CommandProblem):
            phone.do(c.Dial(number="bob"))

        assert failed(Problem.UNKNOWN_HOST, hosts=[]).online is Online.RETRYING
        assert failed(Problem.UNREACHABLE, hosts=["rig.test=127.0.0.1:1"]).online is Online.RETRYING

        # The certificate is shown, and one with another fingerprint cannot be trusted in its place.
        untrusted = failed(Problem.TLS, ca_file="")
        shown = untrusted.certificate
        assert untrusted.online is Online.FAILED
        assert shown is not None and shown.host == "rig.test" and "trustme" in shown.issuer
        with pytest.raises(CommandProblem):
            phone.do(c.TrustCertificate(host="rig.test", fingerprint=shown.fingerprint[:-2] + "00"))
        phone.do(c.TrustCertificate(host="rig.test", fingerprint=shown.fingerprint))
        phone.until_online()
    with Softphone(tmp_path) as phone:
        phone.until_online()
    with Kamailio() as impostor, Softphone(tmp_path) as phone:
        # Another server with the same name: its certificate is not the one that was trusted.
        phone.do(c.SaveAccount(account={"id": ident, "port": impostor.tls_port}))
        assert phone.until_online(Online.FAILED).problem is Problem.TLS
        assert phone.state.connection.certificate is not None
        assert phone.state.connection.certificate.fingerprint != shown.fingerprint
