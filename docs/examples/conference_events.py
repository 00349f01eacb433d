"""Events by name, connections that take each other's place, and a log without secrets. On trio."""

import logging

import trio

from sipproto.connector import ConnectionParameters
from sipproto.connector.names import UnknownEventName
from sipproto.testing import FakeMediaEngine
from sipproto_client import ConnectorError, SipConnector, tools
from sipproto_server import ServerConfig, run_server
from sipproto_trio import TrioRuntime, open_connector

DOMAIN = "example.invalid"


class Counting(logging.Handler):
    """A handler for structured records; in an application, one that writes JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(vars(record)["sipproto_event"])


async def main() -> None:
    log = Counting()
    tools.enable_debug(log)
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"})
    async with (
        run_server(TrioRuntime(), config) as server,
        open_connector(media=FakeMediaEngine()) as sip_connector,
    ):
        parameters = ConnectionParameters(
            sip_server_url=DOMAIN,
            sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/",
            user="1001",
            password="secret",
            register=True,
        )
        await listen(sip_connector, parameters)
        await race(sip_connector, parameters)
    tools.disable_debug()
    print("logged:", len(log.seen) > 20, "with the password in it:", "secret" in str(log.seen))


async def listen(sip_connector: SipConnector, parameters: ConnectionParameters) -> None:
    end = sip_connector.on("connection:registered", lambda event: print("registered for", event.registration.expires))
    sip_connector.once_race(
        ["connection:connect-succeeded", "connection:connect-failed"], lambda _, name: print("first:", name)
    )
    try:
        sip_connector.on("call:acepted", print)
    except UnknownEventName as error:
        print(error)
    await sip_connector.connect(parameters)
    end()
    try:
        await sip_connector.wait("api:enterRoom", timeout=0.05)
    except TimeoutError as error:
        print(error)


async def race(sip_connector: SipConnector, parameters: ConnectionParameters) -> None:
    """Of several connections the newest counts; a ping takes nobody's place."""
    outcomes: dict[str, str] = {}

    async def connect(name: str) -> None:
        try:
            await sip_connector.connect(parameters)
            outcomes[name] = "connected"
        except ConnectorError as error:
            outcomes[name] = error.code.value

    async with trio.open_nursery() as nursery:
        with sip_connector.events("connection:connect-started") as started:
            nursery.start_soon(connect, "one")
            await anext(started)
        nursery.start_soon(connect, "two")
    print(dict(sorted(outcomes.items())))
    print("a ping is answered:", await sip_connector.ping() < 700)


if __name__ == "__main__":
    trio.run(main)
