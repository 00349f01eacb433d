"""What stands in the way of a connection, as values, and certificates that are trusted by their fingerprint."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme

from sipproto.agent import outputs as o
from sipproto.agent.outputs import ConnectFailure
from sipproto.errors import LocalProtocolError
from sipproto_client import CommandError, FlowSettings, Pin, TlsSettings, fingerprint, parse_pin, run_endpoint
from sipproto_client.port import Runtime, Stream
from sipproto_server import ServerConfig, run_server
from tests.client.rig import REALM, RUNTIMES, USERS, config, play, raw_server, url

runtimes = pytest.mark.parametrize("name", RUNTIMES)


def certificate_for(name: str) -> tuple[ssl.SSLContext, bytes]:
    """A server's settings with a certificate that nobody trusts, and that certificate (DER)."""
    leaf = trustme.CA().issue_cert(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context, ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


async def failing(
    runtime: Runtime, server: str, tls: TlsSettings | None = None, limit: float = 5.0
) -> o.ConnectionChanged:
    """What is told of a connection that fails."""
    async with run_endpoint(
        runtime, config("alice", connect=limit), flow=FlowSettings(tls=tls or TlsSettings())
    ) as one:
        with one.events(lambda event: isinstance(event, o.ConnectionChanged)) as events:
            with pytest.raises(CommandError):
                await one.connect(server)
            async for event in events:
                assert isinstance(event, o.ConnectionChanged)
                if event.state is o.ConnectionState.DISCONNECTED:
                    return event
    raise AssertionError("connected")


async def works(runtime: Runtime, server: str, tls: TlsSettings) -> None:
    async with run_endpoint(runtime, config("alice"), flow=FlowSettings(tls=tls)) as one:
        await one.connect(server)
        await one.register()


@runtimes
def test_a_pinned_certificate_is_good_for_its_host_and_no_other_is(name: str) -> None:
    context, certificate = certificate_for("pbx.invalid")  # the name is not that of the host either
    mark = fingerprint(certificate)

    async def scenario(runtime: Runtime) -> None:
        async with run_server(runtime, ServerConfig(realm=REALM, users=USERS), tls=context) as server:
            wss = url(server.port, "wss")
            refused = await failing(runtime, wss)
            assert refused.failure is ConnectFailure.CERTIFICATE and refused.certificate is None
            shown = await failing(runtime, wss, TlsSettings(show_untrusted=True))
            assert shown.certificate == certificate and "does not verify" in (shown.error or "")
            await works(runtime, wss, TlsSettings(pins=(Pin(host="127.0.0.1", fingerprint=mark),)))

            elsewhere = Pin(host="localhost", fingerprint=mark)
            assert (await failing(runtime, wss, TlsSettings(pins=(elsewhere,)))).failure is ConnectFailure.CERTIFICATE
            wrong = Pin(host="127.0.0.1", fingerprint="00" * 32)
            other = await failing(runtime, wss, TlsSettings(pins=(wrong,), show_untrusted=True))
            assert other.failure is ConnectFailure.CERTIFICATE and other.certificate == certificate
            assert other.error == "the certificate of 127.0.0.1 is another one than that which is trusted"
            await works(runtime, wss, TlsSettings(pins=(wrong, parse_pin(f"127.0.0.1={mark.lower()}"))))

    play(name, scenario)


@runtimes
def test_private_authorities_stand_beside_those_of_the_system_or_in_their_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, private = trustme.CA(), trustme.CA()
    files = {}
    for which, authority in (("system", system), ("private", private)):
        files[which] = str(tmp_path / f"{which}.pem")
        authority.cert_pem.write_to_path(files[which])
    monkeypatch.setenv("SSL_CERT_FILE", files["system"])  # where OpenSSL looks for those of the system

    async def scenario(runtime: Runtime) -> None:
        users = ServerConfig(realm=REALM, users=USERS)
        beside = TlsSettings(ca_file=files["private"])
        alone = TlsSettings(ca_file=files["private"], system_authorities=False)
        for authority, good, bad in (
            (system, [TlsSettings(), beside], alone),
            (private, [beside, alone], TlsSettings()),
        ):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            async with run_server(runtime, users, tls=context) as server:
                wss = url(server.port, "wss")
                for settings in good:
                    await works(runtime, wss, settings)
                assert (await failing(runtime, wss, bad)).failure is ConnectFailure.CERTIFICATE
                nobody = await failing(runtime, wss, TlsSettings(system_authorities=False))
                assert nobody.error == "without the authorities of the system there has to be a ca_file"

    play(name, scenario)


def test_with_a_wrong_pin_nothing_is_sent() -> None:
    context, _ = certificate_for("127.0.0.1")
    heard: list[bytes] = []

    async def scenario(runtime: Runtime) -> None:
        async def listen(stream: Stream) -> None:
            heard.append(await stream.receive())

        async with raw_server(runtime, listen, context) as port:
            wrong = TlsSettings(pins=(Pin(host="127.0.0.1", fingerprint="11" * 32),), show_untrusted=True)
            for server in (url(port, "wss"), f"tls://127.0.0.1:{port}"):
                assert (await failing(runtime, server, wrong)).failure is ConnectFailure.CERTIFICATE
                assert (await failing(runtime, server, TlsSettings(show_untrusted=True))).certificate
        assert heard and not any(heard)

    play("anyio-asyncio", scenario)


@runtimes
def test_what_stood_in_the_way(name: str) -> None:
    async def scenario(runtime: Runtime) -> None:
        async def silent(stream: Stream) -> None:
            await runtime.wait(runtime.event(), 10.0)

        async def rude(stream: Stream) -> None:
            await stream.receive()
            await stream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            await stream.aclose()

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            dead = free.getsockname()[1]
        async with raw_server(runtime, rude) as port, raw_server(runtime, silent) as quiet:
            for server, failure in {
                url(dead): ConnectFailure.REFUSED,
                f"tcp://127.0.0.1:{dead}": ConnectFailure.REFUSED,
                "ws://nobody.invalid/": ConnectFailure.UNKNOWN_HOST,
                "tcp://nobody.invalid:5060": ConnectFailure.UNKNOWN_HOST,
                url(port): ConnectFailure.HANDSHAKE,
                url(port, "wss"): ConnectFailure.TLS,
                url(quiet): ConnectFailure.TIMEOUT,
            }.items():
                limit = 0.3 if failure is ConnectFailure.TIMEOUT else 5.0
                told = await failing(runtime, server, limit=limit)
                assert told.failure is failure, (server, told)
                assert told.certificate is None and told.error

    play(name, scenario)


@pytest.mark.parametrize("text", ["", "host", "=AA", "host=AA:BB", "host=" + "0" * 63, "host=" + "g" * 64])
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        parse_pin(text)
