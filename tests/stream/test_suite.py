"""The conformance suite notices what is broken: each fault here is one that somebody will make."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sipproto_client import Channel, Opening
from sipproto_client import testing as suite
from sipproto_client.port import Runtime
from sipproto_client.testing import TransportCase, check_transport
from tests.client.rig import RUNTIMES, play

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "custom_transport.py"
memory_case: Callable[[], TransportCase] = runpy.run_path(str(EXAMPLE))["memory_case"]


class Faulty:
    """A channel of the example with a fault."""

    def __init__(self, channel: Channel, runtime: Runtime, fault: str) -> None:
        self._channel = channel
        self._runtime = runtime
        self._fault = fault
        self._held: bytes | None = None
        self._count = 0
        self.transport = "memory" if fault == "lower case" else channel.transport
        self.local, self.remote = channel.local, channel.remote

    async def send(self, data: bytes) -> None:
        self._count += 1
        if self._fault == "loses" and self._count == 20:
            return
        if self._fault == "swaps" and self._count in (5, 6):
            if self._held is None:
                self._held = data
                return
            await self._channel.send(data)
            data = self._held
        if self._fault == "cuts" and len(data) > 1000:
            await self._channel.send(data[:1000])
            data = data[1000:]
        await self._channel.send(data)

    async def receive(self) -> bytes | None:
        data = await self._channel.receive()
        if self._fault == "deaf to the end" and data is None:
            await self._runtime.wait(self._runtime.event(), None)
        return data

    async def aclose(self) -> None:
        if self._fault == "slow to close":
            await self._runtime.wait(self._runtime.event(), None)
        if self._fault != "never closes":
            await self._channel.aclose()


class FaultyTransport:
    def __init__(self, transport: Any, fault: str) -> None:
        self._transport = transport
        self._fault = fault
        self.schemes = ("Memory",) if fault == "bad scheme" else transport.schemes
        self._first: Channel | None = None

    def host_of(self, address: str) -> str:
        return str(self._transport.host_of(address))

    async def open(self, address: str, opening: Opening) -> Channel:
        if self._fault == "no reason" and address == "memory:nobody":
            raise ConnectionError("\x00")
        if self._fault == "opens anything" and address == "memory:nobody":
            address = "memory:door"
        channel: Channel = await self._transport.open(address, opening)
        if self._fault == "leaks when cancelled":
            await opening.runtime.wait(opening.runtime.event(), 0.0)
        if self._fault == "shares":
            self._first = channel = self._first or channel
        return Faulty(channel, opening.runtime, self._fault)


def assert_complaint(error: BaseException, complaint: str) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AssertionError), error
    assert re.search(complaint, str(error)), error


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("bad scheme", "bad schemes"),
        ("lower case", "no name for Via"),
        ("loses", "hangs|lost"),
        ("swaps", "another order"),
        ("cuts", "cut or joined"),
        ("shares", "hangs|mixed|lost"),
        ("deaf to the end", "does not end when the peer closes"),
        ("slow to close", "hangs|does not end"),
        ("never closes", "hangs"),
        ("no reason", "not fit for a user"),
        ("opens anything", "should not open"),
        ("leaks when cancelled", "stays open at the far end"),
    ],
)
def test_a_fault_is_noticed(name: str, fault: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "_PATIENCE", 0.2)
    monkeypatch.setattr("sipproto_client._flow.LINGER", 0.05)

    async def scenario(runtime: Runtime) -> None:
        case = memory_case()
        with pytest.raises(BaseException) as broken:  # in an exception group
            await check_transport(runtime, evolve(case, transport=FaultyTransport(case.transport, fault)))
        assert_complaint(broken.value, complaint)

    play(name, scenario)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_example_passes(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        await check_transport(runtime, memory_case())

    play(name, scenario)
