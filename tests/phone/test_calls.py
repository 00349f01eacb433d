"""Calls of the phone: one and two at a time, and what is written of them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from sipproto.agent.outputs import DtmfReceived, Reason
from sipproto_client import CommandError
from sipproto_phone import commands as c
from sipproto_phone._numbers import dialled, name_headers, name_of, number_of, shown_number
from sipproto_phone.commands import CommandProblem
from sipproto_phone.files import StorageError
from sipproto_phone.model import Outcome, Phase
from sipproto_phone.ports import Settings, Ticket
from tests.client.rig import OFFER
from tests.phone.rig import REALM, TestPhone, phones, play


def test_a_call_from_begin_to_end() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):
            ident = await alice.do(c.Dial(number=" bob "))
            assert alice.call("bob").id == ident and alice.call("bob").phase is Phase.DIALLING
            await alice.until_phase("bob", Phase.RINGING)
            await alice.until_hears(425.0)  # ringback
            ringing = await bob.until_phase("alice", Phase.INCOMING)
            assert ringing.name == "Alice Я" and ringing.answered_at is None and ringing.incoming
            await bob.until_hears(660.0, place="ringer")
            assert [one.open for one in bob.entries.entries.values()] == [True]  # written before it is answered

            await bob.do(c.Answer(call=ringing.id))
            with pytest.raises(CommandProblem):
                await bob.do(c.Answer(call=ringing.id))
            talking = await alice.until_phase("bob", Phase.TALKING)
            assert talking.answered_at is not None and 0 <= anyio.current_time() - talking.answered_at < 10
            await alice.until_hears(660.0, at_least=0.15)
            await bob.until_hears(440.0, at_least=0.15)
            await bob.until("the ringer is silent", lambda: bob.sound.meter.heard("ringer")[0] == 0)

            await alice.until("figures", lambda: alice.call("bob").figures.quality is not None)
            figures = alice.call("bob").figures
            assert figures.codec == "opus" and figures.loss is not None and figures.loss < 0.5
            assert figures.bitrate_in and figures.bitrate_out and figures.level_in and figures.level_in > 0.1

            await alice.do(c.HangUp(call=ident))
            assert (await bob.until_phase("alice", Phase.ENDED)).outcome is Outcome.ANSWERED
            assert alice.outcomes() == [(False, "bob", Outcome.ANSWERED)]
            assert bob.outcomes() == [(True, "alice", Outcome.ANSWERED)]
            assert 0 < bob.entries.entries[1].duration < 60
            with pytest.raises(CommandProblem) as problem:
                await alice.do(c.HangUp(call=ident))
            assert problem.value.code == "no_call"
            await alice.until("forgotten", lambda: not alice.state.calls)

            assert alice.state.last_number == "bob"
            again = await alice.do(c.Redial())
            await bob.until_phase("alice", Phase.INCOMING)
            await alice.do(c.HangUp(call=again))
            assert (await bob.until_phase("alice", Phase.ENDED)).outcome is Outcome.MISSED
            assert (await alice.until_phase("bob", Phase.ENDED)).outcome is Outcome.CANCELED
            listed = await alice.do(c.ListCalls(search="bo"))
            assert [one["outcome"] for one in listed] == ["canceled", "answered"]

    play(scenario)


def test_how_long_a_call_was_does_not_follow_a_clock_that_is_set() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):
            for step in (7200.0, -7200.0):
                ident, _ = await alice.talk_to(bob)
                before = alice._clock
                alice._clock = lambda before=before, step=step: before() + step  # type: ignore[misc]
                await anyio.sleep(0.1)
                await alice.do(c.HangUp(call=ident))
                await alice.until("forgotten", lambda: not alice.state.calls and not bob.state.calls)
            assert all(0.1 <= one.duration < 30 for one in alice.entries.entries.values())

    play(scenario)


def test_calls_that_nobody_takes() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob", ring_seconds=0.3, call_waiting=False) as (alice, bob):
            await alice.do(c.Dial(number="bob"))  # nobody answers
            assert (await bob.until_phase("alice", Phase.ENDED)).outcome is Outcome.MISSED
            assert (await alice.until_phase("bob", Phase.ENDED)).outcome is Outcome.NO_ANSWER
            await alice.until("forgotten", lambda: not alice.state.calls)

            await alice.do(c.Dial(number="bob"))
            await bob.do(c.HangUp(call=(await bob.until_phase("alice", Phase.INCOMING)).id))
            assert (await alice.until_phase("bob", Phase.ENDED)).outcome is Outcome.REJECTED
            assert bob.outcomes()[-1] == (True, "alice", Outcome.REJECTED)
            await alice.until("forgotten", lambda: not alice.state.calls)

            await alice.do(c.Dial(number="nobody"))
            ended = await alice.until_phase("nobody", Phase.ENDED)
            assert ended.outcome is Outcome.FAILED and "404" in ended.detail
            for number in ("", "sip:", "sip:x@y@z", "sip:bob:secret@x", "mailto:a@b", "a" * 300):
                with pytest.raises(CommandProblem) as problem:
                    await alice.do(c.Dial(number=number))
                assert problem.value.code == "bad_number"
            given_up = await alice.do(c.Dial(number="bob"))
            await alice.do(c.HangUp(call=given_up))  # at once
            assert (await alice.until_phase("bob", Phase.ENDED)).outcome is Outcome.CANCELED
            await bob.until("nobody rings", lambda: all(x.phase is Phase.ENDED for x in bob.state.calls))

    play(scenario)


def test_a_caller_that_another_device_answers_is_not_missed() -> None:
    elsewhere = Reason(protocol="SIP", cause=200, text="Call completed elsewhere")

    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):
            caller = alice.endpoint
            assert caller is not None

            async def give_up(*reasons: Reason) -> Outcome | None:
                call = caller.new_call()
                async with anyio.create_task_group() as tasks:

                    async def ring() -> None:
                        with pytest.raises(CommandError):
                            await caller.call(f"sip:bob@{REALM}", body=OFFER, call=call)

                    tasks.start_soon(ring)
                    await bob.until_phase("alice", Phase.INCOMING)
                    await call.hang_up(reasons=reasons)
                outcome = (await bob.until_phase("alice", Phase.ENDED)).outcome
                await bob.until("forgotten", lambda: not bob.state.calls)
                return outcome

            assert await give_up(elsewhere) is Outcome.ELSEWHERE
            assert await give_up() is Outcome.MISSED
            listed = await bob.do(c.ListCalls())
            assert [one["outcome"] for one in listed] == ["missed", "elsewhere"]

    play(scenario)


def test_two_calls_and_a_third() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob", "carol", "dave") as (alice, bob, carol, dave):
            with_bob, _ = await alice.talk_to(bob)
            await carol.do(c.Dial(number="alice"))
            waiting = await alice.until_phase("carol", Phase.INCOMING)
            await dave.do(c.Dial(number="alice"))
            assert (await dave.until_phase("alice", Phase.ENDED)).outcome is Outcome.BUSY
            await dave.until_hears(425.0)  # busy tone
            with pytest.raises(CommandProblem) as problem:
                await alice.do(c.Dial(number="dave"))
            assert problem.value.code == "too_many_calls"

            await alice.do(c.Answer(call=waiting.id))
            await alice.until_phase("bob", Phase.HELD)
            await alice.until_phase("carol", Phase.TALKING)
            await bob.until("bob is told", lambda: bob.call("alice").held_by_peer)
            await alice.until_hears(880.0)
            await bob.until_hears(None)  # not even our microphone
            await carol.until_hears(440.0)

            await alice.do(c.Resume(call=with_bob))  # swap
            await alice.until_phase("carol", Phase.HELD)
            await alice.until_phase("bob", Phase.TALKING)
            await alice.until_hears(660.0)
            await bob.until_hears(440.0)
            await carol.until_hears(None)
            assert not bob.call("alice").held_by_peer

            await bob.do(c.HangUp(call=bob.call("alice").id))
            await alice.until_phase("bob", Phase.ENDED)
            await alice.do(c.Resume(call=waiting.id))
            await alice.until_hears(880.0)
            assert (True, "dave", Outcome.MISSED) in alice.outcomes()

    play(scenario)


def test_mute_volume_and_hold() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):
            at_alice, at_bob = await alice.talk_to(bob)
            full = await alice.until_hears(660.0, at_least=0.2)
            await alice.do(c.Mute(call=at_alice, muted=True))
            assert alice.call("bob").muted
            await bob.until_hears(None)
            await alice.do(c.Mute(call=at_alice, muted=False))
            await bob.until_hears(440.0)

            await alice.do(c.SetVolume(volume=0.25))
            await alice.until("it is quieter", lambda: 0.2 * full < alice.sound.meter.heard()[0] < 0.3 * full)
            await alice.do(c.SetVolume(volume=0.0))
            await alice.until_hears(None)
            assert alice.kept.settings.volume == 0.0 == alice.state.volume
            await alice.do(c.SetVolume(volume=1.0))
            await alice.until_hears(660.0)
            for wrong in (-0.1, 1.1, float("nan")):
                with pytest.raises(CommandProblem):
                    await alice.do(c.SetVolume(volume=wrong))

            await alice.do(c.Hold(call=at_alice))
            await alice.until_phase("bob", Phase.HELD)
            await bob.until("told", lambda: bob.call("alice").held_by_peer)
            await bob.until_hears(None)
            await alice.until_hears(None)
            await bob.do(c.Hold(call=at_bob))
            await alice.until("both hold", lambda: alice.call("bob").held_by_peer)
            await alice.do(c.Resume(call=at_alice))
            await bob.do(c.Resume(call=at_bob))
            await alice.until_hears(660.0)
            await bob.until_hears(440.0)

            assert bob.endpoint is not None
            with bob.endpoint.events(lambda event: isinstance(event, DtmfReceived)) as digits:
                await alice.do(c.SendDigits(call=at_alice, digits="1#"))
                heard = [await anext(digits), await anext(digits)]
            assert [one.digit for one in heard if isinstance(one, DtmfReceived)] == ["1", "#"]
            assert alice.call("bob").digits == "1#"
            with pytest.raises(CommandProblem):
                await alice.do(c.SendDigits(call=at_alice, digits="x"))

    play(scenario)


async def three(alice: TestPhone, bob: TestPhone, carol: TestPhone) -> None:
    """Bob and carol have each other, and alice nobody."""
    await alice.until("alice is out of it", lambda: all(x.phase is Phase.ENDED for x in alice.state.calls))
    await bob.until_hears(880.0)
    await carol.until_hears(660.0)
    assert len([x for x in bob.state.calls if x.phase is Phase.TALKING]) == 1


def test_a_blind_transfer() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob", "carol") as (alice, bob, carol):
            call, _ = await alice.talk_to(bob)
            await alice.do(c.Transfer(call=call, number="nobody"))
            with pytest.raises(CommandProblem):
                await alice.do(c.Transfer(call=call, number="carol"))
            await alice.until("it failed", lambda: "404" in alice.state.notice)
            assert alice.call("bob").transfer is None and alice.call("bob").phase is Phase.TALKING
            await alice.do(c.DismissNotice())
            await bob.until("held for it", lambda: not bob.call("alice").held_by_peer)
            await bob.until("forgotten", lambda: len(bob.state.calls) == 1)
            await bob.do(c.Resume(call=bob.call("alice").id))

            await alice.do(c.Transfer(call=call, number="carol"))
            ringing = await carol.until_phase("bob", Phase.INCOMING)
            await alice.until("progress", lambda: alice.call("bob").transfer in (100, 180))
            await carol.do(c.Answer(call=ringing.id))
            await three(alice, bob, carol)
            assert alice.state.notice == ""

    play(scenario)


def test_an_attended_transfer() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob", "carol") as (alice, bob, carol):
            first, _ = await alice.talk_to(bob)
            second, _ = await alice.talk_to(carol)
            assert alice.call("bob").phase is Phase.HELD
            for wrong in (
                c.Transfer(call=first),
                c.Transfer(call=first, other=first),
                c.Transfer(call=first, number="1", other=second),
            ):
                with pytest.raises(CommandProblem):
                    await alice.do(wrong)
            await alice.do(c.Transfer(call=first, other=second))
            await three(alice, bob, carol)  # carol did not have to answer again

    play(scenario)


def test_a_ticket_that_cannot_be_sent_is_a_notice() -> None:
    async def refuse(ticket: Ticket, webhook: str) -> None:
        raise CommandProblem(f"ticket {ticket.id} was not sent to {webhook}", "webhook")

    async def scenario() -> None:
        async with TestPhone(Settings(webhook="https://crm.invalid/"), on_ticket=refuse) as phone:
            await phone.do(c.SaveTicket(text="no sound"))
            await phone.until("told", lambda: phone.state.notice == "ticket 1 was not sent to https://crm.invalid/")

    play(scenario)


def test_a_slow_view_gets_the_newest_state_only() -> None:
    async def scenario() -> None:
        async with phones("alice") as (alice,):
            states = alice.changes()
            first = await anext(states)
            for step in range(20):
                await alice.do(c.SetVolume(volume=step / 20))
            await anyio.lowlevel.checkpoint()
            last = await anext(states)
            assert last.volume == 0.95 and last.revision == first.revision + 20

    play(scenario)


def test_settings_and_tickets() -> None:
    async def scenario() -> None:
        async with phones("alice") as (alice,):
            assert (await alice.do(c.GetSettings()))["region"] == "RU"
            await alice.do(c.SaveSettings(settings={"region": "de", "language": "ru", "ring_seconds": 20}))
            assert alice.kept.settings.region == "DE" and alice.state.language == "ru"
            assert alice.kept.settings.accounts and alice.kept.settings.active_account
            impossible: list[dict[str, object]] = [
                {"region": "Russia"},
                {"ring_seconds": 0},
                {"language": "fr"},
                {"accounts": []},
                {"volume": 2.0},
            ]
            for wrong in impossible:
                with pytest.raises(CommandProblem):
                    await alice.do(c.SaveSettings(settings=wrong))
            ticket = await alice.do(c.SaveTicket(customer="ACME", text="no sound", number="600"))
            assert (ticket["id"], ticket["status"]) == (1, "open")
            assert [one["text"] for one in await alice.do(c.ListTickets(search="sound"))] == ["no sound"]
            await alice.do(c.RemoveTicket(id=1))
            assert await alice.do(c.ListTickets()) == []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(alice.wait_quit)
                await alice.do(c.Quit())

    play(scenario)


def test_a_journal_that_fails_and_a_view_that_goes_away_end_no_call() -> None:
    async def scenario() -> None:
        async with phones("alice", "bob") as (alice, bob):

            def full(*_: object, **__: object) -> int:
                raise StorageError("the disk is full")

            bob.entries.call_began = full  # type: ignore[method-assign]
            bob.entries.calls = full  # type: ignore[method-assign, assignment]
            await alice.do(c.Dial(number="bob"))
            ringing = await bob.until_phase("alice", Phase.INCOMING)
            assert bob.state.notice == "the journal cannot be written: the disk is full"
            with pytest.raises(CommandProblem, match="the disk is full"):
                await bob.do(c.ListCalls())
            with anyio.move_on_after(0) as gone:
                await bob.do(c.Answer(call=ringing.id))
            assert gone.cancelled_caught
            await alice.until_phase("bob", Phase.TALKING)
            await alice.until_hears(660.0)

    play(scenario)


@pytest.mark.parametrize(
    ("typed", "target", "number"),
    [
        ("+7 (912) 345-67-89", "sip:+79123456789@pbx.invalid", "+79123456789"),
        ("600", "sip:600@pbx.invalid", "600"),
        ("*97#", "sip:*97%23@pbx.invalid", "*97#"),
        ("tel:+4930123", "sip:+4930123@pbx.invalid", "+4930123"),
        ("bob", "sip:bob@pbx.invalid", "bob"),
        ("bob@else.invalid", "sip:bob@else.invalid", "bob@else.invalid"),
        ("sips:bob@PBX.invalid;x=1", "sips:bob@pbx.invalid;x=1", "bob"),
        ("sip:123@else.invalid", "sip:123@else.invalid", "123@else.invalid"),
    ],
)
def test_what_is_dialled(typed: str, target: str, number: str) -> None:
    assert dialled(typed, "pbx.invalid") == (target, number)
    assert dialled(number, "pbx.invalid")[1] == number  # to be dialled again


def test_how_others_are_named() -> None:
    assert number_of("sip:alice@pbx.invalid", "PBX.invalid") == "alice"
    assert number_of("sip:al%20ice@pbx.invalid:5070;x", "pbx.invalid") == "al ice"
    assert number_of("sip:alice@else.invalid", "pbx.invalid") == "alice@else.invalid"
    assert number_of("sip:+79123456789@gateway.invalid", "pbx.invalid") == "+79123456789"
    assert shown_number("89123456789", "RU") == "+7 912 345-67-89"
    assert shown_number("9123456789", "RU") == "+7 912 345-67-89"
    assert shown_number("+4930901820", "RU") == "+49 30 901820"
    for other in ("600", "alice", "+", "alice@else.invalid", "1-800-FLOWERS"):
        assert shown_number(other, "RU") == other
    (line,) = name_headers("Анна, отдел №1")
    assert line[1].isascii() and name_of((line,), "x") == "Анна, отдел №1"
    assert name_headers("") == () and name_of((), "Bob") == "Bob"
    assert name_of((("x-display-name", "%E0%A4%A%0d%0aX: y\x00"),), "") == "\ufffd%AX: y"
