"""Which pair is used, where several work: one is nominated, and both ends go by the same one (RFC 8445 8.1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioice import stun

from sipproto.negotiation import TransportPair
from sipproto.sdp import RemoteTransport
from sipproto_aiortc._ice import Credentials, Generation
from sipproto_aiortc._servers import IceOptions

_PASSWORD = "p" * 22
_BETTER, _WORSE = 2130706431, 2130706175


class Address(asyncio.DatagramProtocol):
    """One address of a peer, which answers checks `delay` seconds late, or not at all (None)."""

    def __init__(self, delay: float | None = 0.0) -> None:
        self._delay = delay
        self.nominations = 0
        self.refuses = False  # nominations
        self.received = asyncio.Event()  # something that is no STUN

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data[0] >= 4:
            self.received.set()
            return
        request = stun.parse_message(data)
        if request.message_class == stun.Class.RESPONSE or self._delay is None:
            return
        nominating = "USE-CANDIDATE" in request.attributes
        self.nominations += nominating
        refused = nominating and self.refuses
        kind = stun.Class.ERROR if refused else stun.Class.RESPONSE
        response = stun.Message(stun.Method.BINDING, kind, request.transaction_id)
        if refused:
            response.attributes["ERROR-CODE"] = (400, "Bad Request")
        else:
            response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(_PASSWORD.encode())
        asyncio.get_running_loop().call_later(self._delay, self.transport.sendto, bytes(response), addr)

    def check(self, generation: Generation, *, nominating: bool = False) -> None:
        """As a peer does; with `nominating` one that controls."""
        check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        check.attributes["USERNAME"] = f"{generation.ufrag}:peer"
        check.attributes["PRIORITY"] = 1
        check.attributes["ICE-CONTROLLING" if nominating else "ICE-CONTROLLED"] = 2**63
        if nominating:
            check.attributes["USE-CANDIDATE"] = None
        check.add_message_integrity(generation.password.encode())
        self.transport.sendto(bytes(check), _address(generation))

    def send(self, generation: Generation) -> None:
        """Media."""
        self.transport.sendto(b"\x80 media", _address(generation))


def _address(generation: Generation) -> tuple[str, int]:
    (ours,) = ((one.host, one.port) for one in generation.candidates if one.host == "127.0.0.1")
    return ours


@asynccontextmanager
async def addresses(*delays: float | None) -> AsyncIterator[list[Address]]:
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_datagram_endpoint(lambda delay=delay: Address(delay), local_addr=("127.0.0.1", 0)))[1]  # type: ignore[misc]
        for delay in delays
    ]
    try:
        yield opened
    finally:
        for one in opened:
            one.transport.close()


@asynccontextmanager
async def gathered(*, controlling: bool) -> AsyncIterator[Generation]:
    generation = Generation(IceOptions(include_loopback=True), Credentials.fresh(), controlling=controlling)
    await generation.gather()
    try:
        yield generation
    finally:
        await generation.close()


async def connected(generation: Generation, *peer: Address, controlling: bool = True, lite: bool = False) -> float:
    """Connects to the addresses, the best one first; gives the seconds that it took."""
    priorities = (_BETTER, _WORSE)
    remote = RemoteTransport(
        ice_ufrag="peer",
        ice_pwd=_PASSWORD,
        ice_lite=lite,
        candidates=tuple(
            f"{number} 1 udp {priority} 127.0.0.1 {one.port} typ host"
            for number, (priority, one) in enumerate(zip(priorities, peer, strict=True))
        ),
        fingerprints=(("sha-256", "00"),),
    )
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(5):
        pair = TransportPair(slot=0, remote=remote, ice_controlling=controlling, dtls_client=True)
        await generation.connect(pair, lambda _: None)
    return loop.time() - started


def selected(generation: Generation) -> tuple[int, bool]:
    """The peer's port, and whether it is nominated."""
    _, pair = generation.pair_facts()
    assert pair is not None
    return pair.remote.port, pair.nominated


def used(generation: Generation) -> int:
    """The peer's port of the nominated pair."""
    port, nominated = selected(generation)
    assert nominated
    return port


async def until_used(generation: Generation, port: int) -> None:
    deadline = asyncio.get_running_loop().time() + 3
    while selected(generation) != (port, True):
        assert asyncio.get_running_loop().time() < deadline, generation.pair_facts()
        await asyncio.sleep(0.01)


def test_one_pair_is_nominated() -> None:
    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=True) as ours:
            await connected(ours, better, worse)
            await asyncio.sleep(0.1)  # whatever else may be under way
            assert (better.nominations, worse.nominations) == (1, 0)
            assert used(ours) == better.port

    asyncio.run(run())


def test_a_better_pair_is_waited_for() -> None:
    async def run() -> None:
        async with addresses(0.06, 0.0) as (better, worse), gathered(controlling=True) as ours:
            await connected(ours, better, worse)
            assert (better.nominations, worse.nominations) == (1, 0)
            assert used(ours) == better.port

    asyncio.run(run())


def test_a_better_pair_is_not_waited_for_long() -> None:
    async def run() -> None:
        async with addresses(None, 0.0) as (better, worse), gathered(controlling=True) as ours:
            assert await connected(ours, better, worse) < 1  # a check is given up after half a minute
            assert worse.nominations == 1
            assert used(ours) == worse.port

    asyncio.run(run())


def test_a_pair_is_nominated_where_the_peer_checks_too() -> None:
    """Elsewhere it cannot send yet."""

    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=True) as ours:
            connecting = asyncio.create_task(connected(ours, better, worse))
            await asyncio.sleep(0.05)
            worse.check(ours)
            await connecting
            assert (better.nominations, worse.nominations) == (0, 1)
            assert used(ours) == worse.port

    asyncio.run(run())


def test_checks_of_a_lite_peer_are_not_waited_for() -> None:
    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=True) as ours:
            assert await connected(ours, better, worse, lite=True) < 0.4
            assert used(ours) == better.port

    asyncio.run(run())


@pytest.mark.parametrize("later", [False, True])
def test_of_pairs_that_the_peer_nominates_at_once_the_better_is_used(
    later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it nominates later has taken the place of the first: that path may be dead."""
    if later:
        monkeypatch.setattr("sipproto_aiortc._nomination._AGGRESSIVE", 0.0)

    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=False) as ours:
            connecting = asyncio.create_task(connected(ours, better, worse, controlling=False))
            await asyncio.sleep(0.2)  # all checks are through
            better.check(ours, nominating=True)
            await connecting
            assert used(ours) == better.port
            worse.check(ours, nominating=True)
            if later:
                await until_used(ours, worse.port)
            else:
                await asyncio.sleep(0.1)
                assert used(ours) == better.port

    asyncio.run(run())


def test_the_better_of_pairs_that_the_peer_nominates_may_come_second() -> None:
    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=False) as ours:
            connecting = asyncio.create_task(connected(ours, better, worse, controlling=False))
            await asyncio.sleep(0.2)
            worse.check(ours, nominating=True)
            await connecting
            better.check(ours, nominating=True)
            await until_used(ours, better.port)

    asyncio.run(run())


# -- before a nomination (RFC 8445 12.1) -------------------------------------------------------------------------------


def test_we_send_where_the_peer_sends_before_it_nominates() -> None:
    """As Chromium does after an ICE restart; what it nominates then is used instead."""

    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=False) as ours:
            connecting = asyncio.create_task(connected(ours, better, worse, controlling=False))
            await asyncio.sleep(0.2)  # all checks are through
            assert not connecting.done()
            worse.send(ours)
            await connecting
            assert selected(ours) == (worse.port, False)
            await ours.send(b"\x80 media")
            await worse.received.wait()
            better.check(ours, nominating=True)
            await until_used(ours, better.port)
            worse.check(ours, nominating=True)  # at once with the first
            await asyncio.sleep(0.1)
            assert selected(ours) == (better.port, True)

    asyncio.run(run())


@pytest.mark.parametrize("controlling", [False, True])
def test_we_do_not_send_where_nothing_is_proved(controlling: bool) -> None:
    """Neither to an address that did not answer our check, nor where we are those who nominate."""

    async def run() -> None:
        async with addresses(0.0, None) as (better, silent), gathered(controlling=controlling) as ours:
            connecting = asyncio.create_task(connected(ours, better, silent, controlling=controlling))
            await asyncio.sleep(0.05)
            silent.send(ours)
            await asyncio.sleep(0.02)
            assert not connecting.done()
            better.check(ours, nominating=not controlling)
            await connecting
            assert used(ours) == better.port

    asyncio.run(run())


def test_a_pair_whose_check_was_cut_off_can_be_nominated_later() -> None:
    """The first nomination ends all checks under way; the peer may go over to one of those all the same."""

    async def run() -> None:
        async with addresses(0.3, 0.0) as (slow, quick), gathered(controlling=False) as ours:
            connecting = asyncio.create_task(connected(ours, slow, quick, controlling=False))
            await asyncio.sleep(0.1)
            quick.check(ours, nominating=True)
            await connecting
            assert used(ours) == quick.port
            await asyncio.sleep(0.5)
            slow.check(ours, nominating=True)
            await until_used(ours, slow.port)

    asyncio.run(run())


def test_a_pair_that_cannot_be_nominated_gives_way_to_another() -> None:
    """Also where the peer checks none."""

    async def run() -> None:
        async with addresses(0.0, 0.0) as (better, worse), gathered(controlling=True) as ours:
            better.refuses = True
            await connected(ours, better, worse)
            assert used(ours) == worse.port

    asyncio.run(run())
