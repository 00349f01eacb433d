"""What went wrong, a log and a recording of a call; and that no secret is in any of them. Without media."""

import io
import logging

import anyio

from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnector, TraceFile, tools
from sipproto_devices import MediaSetup, Tone
from sipproto_server import ServerConfig, run_server

DOMAIN, PASSWORD, PIN = "example.invalid", "open-sesame", "4711#"
SECRETS = (PASSWORD, "guessed-wrong", PIN, "Signal=4")  # the last: how the first digit is sent


async def main() -> None:
    log, recording, services = io.StringIO(), io.StringIO(), FakeMediaEngine(seed=1)  # for a file: its path
    tools.enable_debug(logging.StreamHandler(log))  # without a handler: to standard error
    config = ServerConfig(realm=DOMAIN, users={"1001": PASSWORD}, capabilities=services.capabilities)
    async with (
        run_server(AnyioRuntime(), config, media=services) as server,
        open_connector(media=FakeMediaEngine(seed=2), trace=TraceFile(recording, bodies=False)) as sip_connector,
    ):
        url = f"ws://127.0.0.1:{server.port}/"
        await fail(sip_connector, "ws://127.0.0.1:1/", PASSWORD)
        await fail(sip_connector, url, "guessed-wrong")
        await connect(sip_connector, url, PASSWORD)
        try:
            await sip_connector.call("nobody", MediaSetup(audio=Tone(440.0)))
        except ConnectorError as error:
            print(f"{error.code} {error.status}: {error.detail}")
        await sip_connector.call("800", MediaSetup(audio=Tone(440.0)))
        await sip_connector.send_dtmf(PIN, gap=0.05)
        print("registered:", sip_connector.is_registered, "call:", sip_connector.call_status.value)
        tools.disable_debug()
        written = len(log.getvalue())
        await sip_connector.hang_up()
        print("nothing is logged any more:", len(log.getvalue()) == written)
    for name, text in (("the log", log.getvalue()), ("the recording", recording.getvalue())):
        lines = len(text.splitlines())
        found = [secret for secret in SECRETS if secret in text]
        print(f"{name}: more than 50 lines: {lines > 50}, secrets in it: {found}")


async def connect(sip_connector: SipConnector, url: str, password: str) -> None:
    await sip_connector.connect(
        sip_server_url=DOMAIN, sip_web_socket_server_url=url, user="1001", password=password, register=True, attempts=1
    )


async def fail(sip_connector: SipConnector, url: str, password: str) -> None:
    try:
        await connect(sip_connector, url, password)
    except ConnectorError as error:
        print(
            error.code,
            "is",
            tools.get_type_from_error(error),
            "for the user; the password is told:",
            password in repr(error),
        )


if __name__ == "__main__":
    anyio.run(main)
