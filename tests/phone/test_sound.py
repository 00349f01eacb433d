"""Microphones, speakers and ringers of the phone, with sound cards that are not there; and the demo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import numpy
import pytest

from sipproto_phone import commands as c
from sipproto_phone._figures import quality_of
from sipproto_phone._mailbox import mailbox_of
from sipproto_phone.commands import CommandProblem
from sipproto_phone.model import Mailbox, Outcome, Phase
from sipproto_phone.ports import Settings
from tests.devices.hardware import FakeSound, FakeStream, PortAudioError, sine, strongest
from tests.phone.rig import TestPhone, account, pbx, phones, play, settings

HEADSET = "Headset, Fake"


class Cards(FakeSound):
    """Two cards: the default one (Mic and Box), and a headset, which hears another tone and can be pulled out."""

    def __init__(self) -> None:
        super().__init__()
        self._devices.append({"name": "Headset", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 2})
        self.card = {
            name: SimpleNamespace(hears=sine(hertz), unplugged=False, pace=1.0, refuses=None, streams=[])
            for name, hertz in (("default", 500.0), ("headset", 700.0))
        }

    def _of(self, settings: dict[str, Any]) -> Any:
        return self.card["headset" if settings["device"] == HEADSET else "default"]

    def InputStream(self, **settings: Any) -> FakeStream:
        return FakeStream(self._of(settings), settings, is_input=True)

    def OutputStream(self, **settings: Any) -> FakeStream:
        return FakeStream(self._of(settings), settings, is_input=False)

    def plays(self, card: str) -> float | None:
        """The frequency of the last quarter of a second that a card plays now; None for silence."""
        streams = [x for x in self.card[card].streams if not x._input and x.active]
        parts = [numpy.concatenate(x.heard[-25:]) for x in streams if len(x.heard) > 25]
        if not parts:
            return None
        wave = sum(part.astype(float) for part in parts)
        return strongest(wave) if numpy.abs(wave).max() > 300 else None

    def opened(self, card: str) -> list[bool]:
        """The streams of a card that are open: whether they are microphones."""
        return [x._input for x in self.card[card].streams if x.active]


def near(found: float | None, hertz: float) -> bool:
    return found is not None and abs(found - hertz) < 12


@asynccontextmanager
async def headset_call() -> AsyncIterator[tuple[Cards, TestPhone, TestPhone, str]]:
    """Bob, who sends 660 Hz, has called alice, who has a headset and has answered."""
    cards = Cards()
    async with pbx() as server:
        own = settings(account("alice", server.port), microphone=HEADSET, speaker=HEADSET)
        async with (
            TestPhone(own, devices=True, library=cards) as alice,
            TestPhone(settings(account("bob", server.port)), tone=660.0) as bob,
        ):
            await alice.until_online()
            await bob.until_online()
            await alice.until("devices", lambda: len(alice.state.devices.microphones) == 2)
            assert not cards.opened("default") and not cards.opened("headset")  # nothing is open while idle
            await bob.do(c.Dial(number="alice"))
            ringing = await alice.until_phase("bob", Phase.INCOMING)
            await alice.until("it rings on the default speaker", lambda: cards.plays("default") is not None)
            await alice.do(c.Answer(call=ringing.id))
            await bob.until_hears(700.0)
            yield cards, alice, bob, ringing.id
            await alice.do(c.HangUp(call=ringing.id))
        assert not cards.opened("default") and not cards.opened("headset")


def test_devices_are_chosen_and_changed_in_a_call() -> None:
    async def scenario() -> None:
        async with headset_call() as (cards, alice, bob, call):
            await alice.until("the headset plays", lambda: near(cards.plays("headset"), 660.0))
            shown = alice.state.devices
            assert [x.label for x in shown.speakers] == ["Box", "Headset"] and shown.microphone == HEADSET

            await alice.do(c.ChooseDevices(microphone="", speaker=""))
            await bob.until_hears(500.0)
            await alice.until("the box plays", lambda: near(cards.plays("default"), 660.0))
            await alice.until("the headset is closed", lambda: not cards.opened("headset"))
            assert alice.kept.settings.microphone == "" == alice.state.devices.speaker

            await alice.do(c.Hold(call=call))
            await alice.until("all is closed", lambda: not cards.opened("default"))
            await alice.do(c.Resume(call=call))
            await bob.until_hears(500.0)
            assert alice.heard == []

    play(scenario)


@pytest.mark.interop
def test_a_device_that_vanishes_is_told_once_and_the_call_goes_on() -> None:
    async def scenario() -> None:
        async with headset_call() as (cards, alice, bob, _):
            cards.card["headset"].unplugged = True
            await bob.until_hears(500.0)  # the default microphone takes its place
            await alice.until("so does the box", lambda: near(cards.plays("default"), 660.0))
            assert sorted(alice.heard) == [
                f"the input device {HEADSET!r} is gone",
                f"the output device {HEADSET!r} is gone",
            ]
            assert "is gone" in alice.state.devices.problem and alice.call("bob").phase is Phase.TALKING
            cards.card["headset"].unplugged = False
            await alice.do(c.RefreshDevices())
            await bob.until_hears(700.0)
            assert alice.state.devices.problem == "" and len(alice.heard) == 2

    play(scenario)


def test_a_card_that_is_plugged_in_later_is_found_while_none_is_in_use() -> None:
    late = {"name": "Late", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 1}

    async def scenario() -> None:
        async with headset_call() as (cards, alice, _, call):
            cards.plugged_in = [late]
            await alice.do(c.RefreshDevices())
            assert len(alice.state.devices.speakers) == 2  # to look would cut the call
            await alice.do(c.Hold(call=call))
            await alice.until("all is closed", lambda: not any(cards.opened(card) for card in cards.card))
            with anyio.fail_after(10.0):
                while len(alice.state.devices.speakers) == 2:
                    await alice.do(c.RefreshDevices())
            assert [x.name for x in alice.state.devices.microphones][-1] == "Late, Fake"

    play(scenario)


def test_without_any_device_calls_are_silent_and_it_is_said() -> None:
    class Nothing(FakeSound):
        def query_devices(self, device: object = None, kind: str = "") -> Any:
            if kind:
                raise PortAudioError("Error querying device -1")
            return []

    async def scenario() -> None:
        async with (
            pbx() as server,
            TestPhone(settings(account("alice", server.port)), devices=True, library=Nothing()) as alice,
            TestPhone(settings(account("bob", server.port)), tone=660.0) as bob,
        ):
            await alice.until_online()
            await bob.until_online()
            await alice.until("told", lambda: len(alice.heard) == 2)
            ident, _ = await alice.talk_to(bob)
            await bob.until("media", lambda: bob.call("alice").figures.bitrate_in)
            await bob.until_hears(None)
            assert alice.state.devices.problem and len(alice.heard) == 2
            await alice.do(c.HangUp(call=ident))

    play(scenario)


@pytest.mark.interop
def test_the_demo_needs_no_settings() -> None:
    async def scenario() -> None:
        phone = TestPhone(Settings(), demo=True, tone=440.0)
        async with phone:
            await phone.until_online()
            assert phone.state.demo and phone.state.accounts[0].active and phone.kept.saved == 0
            echo = await phone.do(c.Dial(number="600"))
            await phone.until_hears(440.0)
            await phone.do(c.HangUp(call=echo))
            music = await phone.do(c.Dial(number="601"))
            await phone.until("music", lambda: phone.sound.meter.heard()[0] > 0.01 and phone.call("601").answered_at)
            await phone.do(c.HangUp(call=music))
            await phone.do(c.Dial(number="555"))
            assert (await phone.until_phase("555", Phase.ENDED)).outcome is Outcome.ANSWERED
            ringing = await phone.until_phase("555", Phase.INCOMING)
            assert ringing.name == "sipproto"
            await phone.do(c.HangUp(call=ringing.id))
            with pytest.raises(CommandProblem):
                await phone.do(c.RemoveAccount(id=phone.state.accounts[0].id))

    play(scenario)


@pytest.mark.interop
def test_echo_cancellation_is_used_where_it_is_there() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob", echo_cancellation=True) as (alice, bob):
            await alice.talk_to(bob)  # without devices there is no echo
            await bob.until_hears(440.0)
        cards = Cards()
        async with pbx() as server:
            own = settings(account("alice", server.port), echo_cancellation=True)
            async with (
                TestPhone(own, devices=True, library=cards) as alice,
                TestPhone(settings(account("bob", server.port))) as bob,
            ):
                await alice.until_online()
                await bob.until_online()
                await alice.talk_to(bob)
                await bob.until_hears(500.0, at_least=0.005)
                assert alice.heard == []

    play(scenario)


def test_quality_has_five_steps() -> None:
    assert quality_of(None, None, None) is None
    assert [quality_of(loss, 0.0, 0.05) for loss in (0.0, 0.01, 0.02, 0.04, 0.06, 0.2)] == [4, 4, 3, 2, 1, 0]
    assert [quality_of(0.0, 0.0, rtt) for rtt in (0.0, 0.3, 0.5, 0.8, 2.0)] == [4, 4, 3, 1, 0]
    assert quality_of(0.0, 0.2, 0.0) == 1


def test_summaries_of_voice_mails() -> None:
    kind = "application/simple-message-summary"
    assert mailbox_of(kind, b"Messages-Waiting: yes\r\nvoice-message : 3/1\r\n") == Mailbox(new=3, old=1)
    assert mailbox_of(kind.title() + ";x=1", b"messages-waiting: no") == Mailbox(new=0)
    assert mailbox_of(kind, b"Messages-Waiting: yes\r\nFax-Message: 3/1") == Mailbox(new=1)
    assert mailbox_of(kind, b"\xff\x00") is None and mailbox_of("text/plain", b"Messages-Waiting: yes") is None
