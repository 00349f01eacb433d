"""The conformance suite on every transport and every runtime; and that the suite notices what is broken."""

from __future__ import annotations

import pytest
import trustme

from sipproto_client import FlowSettings, SipTransport, Transport, WebSocketTransport
from sipproto_client.port import Runtime
from sipproto_client.testing import TransportCase, check_transport
from tests.client.rig import RUNTIMES, play
from tests.stream.rig import ZoneResolver, listening, server_context, websocket

runtimes = pytest.mark.parametrize("name", RUNTIMES)


@runtimes
@pytest.mark.parametrize("kind", ["ws", "wss", "tcp", "tls", "udp", "udp6"])
def test_transports_keep_their_promises(name: str, kind: str, authority: trustme.CA, trusting: FlowSettings) -> None:
    secure = server_context(authority, "sip.test")
    sip: Transport = SipTransport(resolver=ZoneResolver({}))
    nobody = "{}:nobody.invalid:5060".format
    case = {
        "ws": lambda: TransportCase(
            transport=WebSocketTransport(),
            serve=websocket("ws://sip.test:{port}/x"),
            dead="ws://127.0.0.1:1/",
            settings=trusting,
        ),
        "wss": lambda: TransportCase(
            transport=WebSocketTransport(),
            serve=websocket("wss://sip.test:{port}/", secure),
            dead="wss://127.0.0.1:1/",
            settings=trusting,
        ),
        "tcp": lambda: TransportCase(
            transport=sip,
            serve=listening("tcp:127.0.0.1:0", "sip:sip.test:{port};transport=tcp"),
            dead="tcp://127.0.0.1:1",
            settings=trusting,
            is_stream=True,
        ),
        "tls": lambda: TransportCase(
            transport=sip,
            serve=listening("tls:127.0.0.1:0", "sips:sip.test:{port}", secure),
            dead="tls://127.0.0.1:1",
            settings=trusting,
            is_stream=True,
        ),
        "udp": lambda: TransportCase(
            transport=sip,
            serve=listening("udp:127.0.0.1:0", "sip:sip.test:{port}"),
            dead=nobody("sip"),
            settings=trusting,
            is_connected=False,
        ),
        "udp6": lambda: TransportCase(
            transport=sip,
            serve=listening("udp:[::1]:0", "udp://[::1]:{port}"),
            dead=nobody("sip"),
            settings=trusting,
            is_connected=False,
        ),
    }[kind]()

    async def scenario(runtime: Runtime) -> None:
        await check_transport(runtime, case)

    play(name, scenario)
