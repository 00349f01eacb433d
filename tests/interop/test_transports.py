"""UDP, TCP and TLS through a real Kamailio, on every event loop: register, call, talk, hang up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sipproto.agent import AgentConfig, Cause, Recovery
from sipproto.agent.inputs import FlowOpened
from sipproto.agent.outputs import ConnectionChanged, ConnectionState, InfoReceived
from sipproto.auth import Secret
from sipproto_client import Call, CommandError, Endpoint, FlowSettings, TlsSettings, parse_host_mapping, run_endpoint
from sipproto_client.port import Runtime
from tests.client.rig import ANSWER, OFFER, RUNTIMES, play

from .kamailio import Kamailio, address, password_of, settings

pytestmark = pytest.mark.interop
every_runtime = pytest.mark.parametrize("name", RUNTIMES)


@asynccontextmanager
async def registered(
    runtime: Runtime,
    kamailio: Kamailio,
    user: str,
    kind: str,
    opened: list[FlowOpened] | None = None,
    recovery: Recovery = Recovery(),  # noqa: B008
) -> AsyncIterator[Endpoint]:
    def tap(_: str, what: object) -> None:
        if isinstance(what, FlowOpened) and opened is not None:
            opened.append(what)

    config = AgentConfig(
        aor=f"sip:{user}@{kamailio.domain}",
        secrets=(Secret(username=user, password=password_of(user)),),
        recovery=recovery,
    )
    async with run_endpoint(runtime, config, flow=settings(kamailio), tap=tap) as endpoint:
        await endpoint.connect(address(kamailio, kind))
        await endpoint.register()
        yield endpoint


async def establish(runtime: Runtime, caller: Endpoint, callee: Endpoint, target: str) -> tuple[Call, Call]:
    calls: list[Call] = []
    done = runtime.event()

    with callee.incoming_calls() as incoming:

        async def answer() -> None:
            call = await anext(incoming)
            await call.answer(body=ANSWER)
            calls.append(call)
            done.set()

        async with runtime.task_group() as tasks:
            tasks.start_soon(answer)
            ours = await caller.call(target, body=OFFER)
            await done.wait()
    return ours, calls[0]


@every_runtime
@pytest.mark.parametrize(
    ("one", "two"), [("udp", "tcp"), ("tcp", "tls"), ("tls", "udp"), ("udp", "udp"), ("tls", "ws")]
)
def test_calls_cross_transports(name: str, one: str, two: str, kamailio: Kamailio) -> None:
    async def scenario(runtime: Runtime) -> None:
        opened: list[FlowOpened] = []
        async with (
            registered(runtime, kamailio, "ivan", one, opened) as ivan,
            registered(runtime, kamailio, "jane", two, opened) as jane,
        ):
            assert [flow.transport for flow in opened] == [one.upper(), two.upper()]
            assert all(flow.local is not None and flow.remote is not None for flow in opened)
            for caller, callee, target in ((ivan, jane, "jane"), (jane, ivan, "ivan")):
                ours, theirs = await establish(runtime, caller, callee, f"sip:{target}@rig.test")
                assert theirs.incoming is not None and theirs.incoming.offer == OFFER
                for sender, receiver in ((ours, theirs), (theirs, ours)):
                    with receiver.events() as events:
                        assert await sender.send_info("text/plain", b"hello") == 200
                        info = await anext(events)
                        assert isinstance(info, InfoReceived) and info.body == b"hello"
                await theirs.hang_up()
                assert (await ours.wait_ended()).cause is Cause.TERMINATED
            assert await ivan.options("sip:rig.test") == 200
            await ivan.unregister()
            with pytest.raises(CommandError) as gone:
                await jane.call("sip:ivan@rig.test", body=OFFER)
            assert gone.value.status == 480

    play(name, scenario)


@every_runtime
def test_the_server_is_killed(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        with Kamailio() as server:
            for kind, said in (("tcp", ""), ("tls", ""), ("udp", "refused")):
                async with registered(runtime, server, "ivan", kind, recovery=Recovery(reconnect=False)) as ivan:
                    lost = ivan.events(
                        lambda e: isinstance(e, ConnectionChanged) and e.state is ConnectionState.DISCONNECTED
                    )
                    server.kill()
                    if kind == "udp":  # nothing is heard of it before something is sent
                        with pytest.raises(CommandError):
                            await ivan.options("sip:rig.test")
                    change = await anext(lost)
                    assert isinstance(change, ConnectionChanged) and said in (change.error or "")
                    with pytest.raises(CommandError):
                        await ivan.connect(address(server, "tcp" if kind == "udp" else kind))
                server.start()

    play(name, scenario)


@every_runtime
def test_a_certificate_for_another_name(name: str, kamailio: Kamailio) -> None:
    async def scenario(runtime: Runtime) -> None:
        flow = FlowSettings(
            tls=TlsSettings(ca_file=str(kamailio.ca_file)), hosts=(parse_host_mapping("other.test=127.0.0.1"),)
        )
        async with run_endpoint(runtime, AgentConfig(aor="sip:ivan@other.test"), flow=flow) as ivan:
            with pytest.raises(CommandError, match=r"the certificate of other\.test does not verify"):
                await ivan.connect(f"sips:other.test:{kamailio.tls_port}")

    play(name, scenario)
