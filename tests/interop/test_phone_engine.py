"""The phone with Kamailio: each transport, a private authority, a pin, a wrong password, and a server that is killed."""

from __future__ import annotations

from typing import Any

import pytest

from sipproto_phone import commands as c
from sipproto_phone.model import Online, Outcome, Phase, Problem
from sipproto_phone.ports import Account, Settings
from tests.phone.rig import TestPhone, play

from .kamailio import Kamailio, password_of

pytestmark = pytest.mark.interop


def phone_of(kamailio: Kamailio, user: str, transport: str = "wss", tone: float = 440.0, **more: Any) -> TestPhone:
    ports = {"wss": kamailio.tls_port, "tls": kamailio.tls_port, "udp": kamailio.udp_port}
    fields: dict[str, Any] = {"ca_file": str(kamailio.ca_file), **more}
    account = Account(
        id=user,
        server=kamailio.domain,
        login=user,
        transport=transport,
        port=ports.get(transport, kamailio.tcp_port),
        path="/",
        hosts=(f"{kamailio.domain}=127.0.0.1",),
        **fields,
    )
    phone = TestPhone(Settings(accounts=(account,), active_account=user), tone=tone)
    phone.secrets.passwords[user] = password_of(user)
    return phone


@pytest.mark.parametrize("transport", ["wss", "ws", "tls", "tcp", "udp"])
def test_calls_both_ways_on_each_transport(kamailio: Kamailio, transport: str) -> None:
    async def scenario() -> None:
        async with (
            phone_of(kamailio, "alice", transport, display_name="Алиса") as alice,
            phone_of(kamailio, "bob", tone=660.0) as bob,
        ):
            await alice.until_online()
            await bob.until_online()
            call, _ = await alice.talk_to(bob)
            assert bob.call("alice").name == "Алиса"
            await alice.until_hears(660.0)
            await bob.until_hears(440.0)
            await alice.do(c.Hold(call=call))
            await bob.until("held", lambda: bob.call("alice").held_by_peer)
            await alice.do(c.Resume(call=call))
            await bob.until_hears(440.0)
            await alice.do(c.HangUp(call=call))
            await bob.until("forgotten", lambda: not alice.state.calls and not bob.state.calls)

            await bob.do(c.Dial(number="alice"))
            ringing = await alice.until_phase("bob", Phase.INCOMING)
            await alice.do(c.HangUp(call=ringing.id))
            assert (await bob.until_phase("alice", Phase.ENDED)).outcome is Outcome.REJECTED

    play(scenario)


def test_a_wrong_password_and_a_certificate_that_is_trusted_by_hand(kamailio: Kamailio) -> None:
    async def scenario() -> None:
        phone = phone_of(kamailio, "carol", ca_file="")
        phone.secrets.passwords["carol"] = "wrong"
        async with phone:
            told = await phone.until_online(Online.FAILED)
            assert told.problem is Problem.TLS and told.certificate is not None
            shown = told.certificate
            await phone.do(c.TrustCertificate(host=shown.host, fingerprint=shown.fingerprint))
            await phone.until_problem(Problem.WRONG_PASSWORD)
            assert phone.state.connection.online is Online.FAILED
            await phone.do(c.SaveAccount(account={"id": "carol"}, password=password_of("carol")))
            await phone.until_online()

    play(scenario)


def test_the_server_is_killed_in_a_call(kamailio: Kamailio) -> None:
    async def scenario() -> None:
        async with phone_of(kamailio, "alice") as alice, phone_of(kamailio, "bob", tone=660.0) as bob:
            await alice.until_online()
            await bob.until_online()
            call, _ = await alice.talk_to(bob)
            kamailio.kill()
            for phone in (alice, bob):
                assert (await phone.until_online(Online.RETRYING)).problem is Problem.UNREACHABLE
            await alice.until_hears(660.0)
            kamailio.start()
            for phone in (alice, bob):
                await phone.until_online()
            await alice.until_phase("bob", Phase.TALKING)
            await bob.until_phase("alice", Phase.TALKING)
            await alice.do(c.HangUp(call=call))
            assert (await bob.until_phase("alice", Phase.ENDED)).outcome is Outcome.ANSWERED

    play(scenario)
