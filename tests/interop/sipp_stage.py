"""One agent of ours and one SIPp, alone or with Kamailio between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from attrs import evolve, frozen

from sipproto.agent import AgentConfig, Recovery
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.negotiation import MediaCapabilities
from sipproto.sdp import Codec
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime
from sipproto_client import Call, Endpoint, FlowSettings, run_endpoint
from sipproto_client.port import Event, Runtime, Stream
from tests.client.rig import play

from .kamailio import Kamailio, address, password_of, settings
from .sipp import Sipp, playing

SIPP_USER, OUR_USER = "grace", "alice"
CONFIG = AgentConfig(
    aor=f"sip:{OUR_USER}@127.0.0.1",
    secrets=(Secret(username=OUR_USER, password=password_of(OUR_USER)),),
    recovery=Recovery(first_delay=0.05),
)
_PCMU = MediaCapabilities(audio=(Codec(payload_type=0, name="PCMU", clock_rate=8000),))
Happened = TypeVar("Happened")


@frozen
class Way:
    """What SIPp speaks; and what we speak with Kamailio, or None where nobody is between us."""

    theirs: str
    ours: str | None = None

    def __str__(self) -> str:
        return self.theirs if self.ours is None else f"{self.theirs}-kamailio-{self.ours}"


UDP, TCP = Way("udp"), Way("tcp")
DIRECT = (UDP, TCP)
PROXIED = (Way("udp", "udp"), Way("tcp", "tls"), Way("udp", "tcp"))


class Hurried(AnyioRuntime):
    """An event loop on which `factor` seconds pass in one: for waits of RFC 4028 that nobody wants to sit through."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def now(self) -> float:
        return self._factor * super().now()

    async def wait(self, event: Event, seconds: float | None) -> bool:
        return await super().wait(event, None if seconds is None else seconds / self._factor)


class Relay:
    """A TCP hop in front of a server that can be cut. (A SIPp that was called cannot close a connection itself.)"""

    def __init__(self, runtime: Runtime, port: int) -> None:
        self._runtime = runtime
        self._port = port
        self._cut = runtime.event()

    async def serve(self, near: Stream) -> None:
        far = await self._runtime.connect("127.0.0.1", self._port, None, "")
        cut = self._cut = self._runtime.event()
        try:
            async with self._runtime.task_group() as tasks:
                tasks.start_soon(self._pump, near, far, cut)
                tasks.start_soon(self._pump, far, near, cut)
                await cut.wait()
                tasks.cancel()
        finally:
            with self._runtime.shield(1.0):
                await near.aclose()
                await far.aclose()

    async def _pump(self, source: Stream, sink: Stream, cut: Event) -> None:
        try:
            while data := await source.receive():
                await sink.send(data)
        except OSError:
            pass  # one of the two is gone
        cut.set()

    def cut(self) -> None:
        self._cut.set()


class Act:
    """What a script has to do with: our endpoint, the SIPp process, and all events from the beginning on, in order."""

    def __init__(self, runtime: Runtime, endpoint: Endpoint, sipp: Sipp, target: str) -> None:
        self.runtime = runtime
        self.endpoint = endpoint
        self.sipp = sipp
        self.target = target
        self._events = endpoint.events()

    async def event(self, kind: type[Happened], wanted: Callable[[Happened], bool] = lambda _: True) -> Happened:
        """The next event of this kind; others before it are passed over."""
        async for event in self._events:
            if isinstance(event, kind) and wanted(event):
                return event
        raise AssertionError(f"the endpoint has ended without {kind.__name__}")

    async def incoming(self) -> Call:
        call = self.endpoint.call_of((await self.event(o.IncomingCall)).call)
        assert call is not None
        return call

    def another(self, scenario: str, *, user: str) -> Sipp:
        """A second SIPp, for the other end of a transfer."""
        return Sipp(self.sipp.folder, scenario, transport=self.sipp.transport, user=user, domain=self.sipp.domain)

    async def sleep(self, seconds: float) -> None:
        await self.runtime.wait(self.runtime.event(), seconds)

    async def ended(self, call: Call, cause: o.Cause, originator: o.Originator) -> o.CallEnded:
        end = await call.wait_ended()
        assert (end.cause, end.originator) == (cause, originator), end
        return end


Script = Callable[[Act], Awaitable[None]]


class Stage:
    """Plays scenarios. SIPp makes the call in files whose names begin with `uac`, and takes it in the others."""

    def __init__(self, folder: Path, way: Way, kamailio: Kamailio | None) -> None:
        self._folder = folder
        self.way = way
        self._kamailio = kamailio

    def play(
        self,
        scenario: str,
        script: Script,
        *,
        loop: str = "anyio-asyncio",
        media: bool = False,
        violations: int = 0,
        hurry: float = 1.0,
        config: AgentConfig = CONFIG,
        options: tuple[str, ...] = (),
        values: Mapping[str, str] | None = None,
    ) -> None:
        """The scenario with the script beside it; both have to come to their end.

        media: with an engine, so that the agent negotiates. violations: how often we have to find SIPp at fault. hurry:
        how many of our seconds a real one has.
        """
        engine = FakeMediaEngine(capabilities=_PCMU) if media else None
        if engine is not None:
            config = evolve(config, capabilities=engine.capabilities)
        found: list[o.ProtocolViolated] = []

        def tap(_: str, what: object) -> None:
            if isinstance(what, o.ProtocolViolated):
                found.append(what)

        async def scene(runtime: Runtime) -> None:
            make = self._sipp(scenario, options, dict(values or {}))
            ours = runtime if hurry == 1.0 else Hurried(hurry)
            domain = config if self._kamailio is None else evolve(config, aor=f"sip:{OUR_USER}@{self._kamailio.domain}")
            flow = FlowSettings() if self._kamailio is None else settings(self._kamailio)
            async with run_endpoint(ours, domain, media=engine, flow=flow, tap=tap) as endpoint:
                if scenario.startswith("uac"):
                    server = await self._enter(endpoint)
                    sipp = make(server)
                    act = Act(runtime, endpoint, sipp, "")
                    async with playing(runtime, sipp):
                        await script(act)
                else:
                    sipp = make(None)
                    async with playing(runtime, sipp):
                        target = await self._reach(runtime, endpoint, sipp)
                        await script(Act(runtime, endpoint, sipp, target))

        play(loop, scene)
        assert len(found) == violations, found

    def _sipp(self, scenario: str, options: tuple[str, ...], values: dict[str, str]) -> Callable[[int | None], Sipp]:
        server = self._kamailio
        return lambda port: Sipp(
            self._folder,
            scenario,
            server=port,
            transport=self.way.theirs,
            user=SIPP_USER,
            domain="127.0.0.1" if server is None else server.domain,
            service=OUR_USER,
            password=None if server is None else password_of(SIPP_USER),
            options=options,
            values=values,
        )

    async def _enter(self, endpoint: Endpoint) -> int:
        """Makes us reachable; gives the port where SIPp finds us, or Kamailio."""
        server = self._kamailio
        if server is None:
            return (await endpoint.listen(f"{self.way.theirs}:127.0.0.1:0")).port
        assert self.way.ours is not None
        await endpoint.connect(address(server, self.way.ours))
        await endpoint.register()
        return server.udp_port if self.way.theirs == "udp" else server.tcp_port

    async def _reach(self, runtime: Runtime, endpoint: Endpoint, sipp: Sipp) -> str:
        """Connects us to SIPp, or both to Kamailio; gives the address to call."""
        server = self._kamailio
        if server is None:
            await endpoint.connect(f"{self.way.theirs}://127.0.0.1:{sipp.port}")
            return f"sip:{SIPP_USER}@127.0.0.1:{sipp.port}"
        assert self.way.ours is not None
        await endpoint.connect(address(server, self.way.ours))
        await register(runtime, self._folder, server, sipp)
        return f"sip:{SIPP_USER}@{server.domain}"


async def register(runtime: Runtime, folder: Path, server: Kamailio, sipp: Sipp, user: str = SIPP_USER) -> None:
    """Has another SIPp tell Kamailio where this one is."""
    contact = f"sip:{user}@127.0.0.1:{sipp.port};transport={sipp.transport}"
    registration = Sipp(
        folder,
        "register",
        server=server.udp_port,
        user=user,
        domain=server.domain,
        password=password_of(user),
        values={"CONTACT": contact},
    )
    async with playing(runtime, registration):
        pass


def ways(*which: Way) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", which, ids=str, indirect=True)
