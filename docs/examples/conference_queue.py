"""One operation of the connection at a time: the newest `connect` counts, `disconnect` at once, `ping` beside them."""

import anyio

from sipproto.connector import ConnectionParameters
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnector
from sipproto_server import ServerConfig, run_server

DOMAIN = "example.invalid"


async def main() -> None:
    config = ServerConfig(realm=DOMAIN, users={"1001": "secret"})
    async with run_server(AnyioRuntime(), config) as server, open_connector() as sip_connector:
        parameters = ConnectionParameters(
            sip_server_url=DOMAIN,
            sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/",
            user="1001",
            password="secret",
            register=True,
        )
        with anyio.fail_after(10):
            await two_connects(sip_connector, parameters)
            await beside(sip_connector)
            await disconnect_while_connecting(sip_connector, parameters)


async def attempt(name: str, sip_connector: SipConnector, parameters: ConnectionParameters) -> None:
    try:
        await sip_connector.connect(parameters)
        print(name, "is connected")
    except ConnectorError as error:
        print(f"{name}: {error.code}")  # the facade returns is_successful=False for these two


async def two_connects(sip_connector: SipConnector, parameters: ConnectionParameters) -> None:
    async with anyio.create_task_group() as tasks:
        with sip_connector.events("connection:connect-started") as started:
            tasks.start_soon(attempt, "the first", sip_connector, parameters)
            await anext(started)
        tasks.start_soon(attempt, "the second", sip_connector, parameters)


async def beside(sip_connector: SipConnector) -> None:
    """Both register anew, one after the other; the ping waits for neither."""
    done: list[int] = []

    async def register(number: int) -> None:
        await sip_connector.try_register()
        done.append(number)

    async with anyio.create_task_group() as tasks:
        with sip_connector.events("connection:unregistered") as begun:
            tasks.start_soon(register, 1)
            tasks.start_soon(register, 2)
            await anext(begun)
        await sip_connector.ping()
        print("a ping is answered while they wait:", 2 not in done and sip_connector.requested_connection)
    print("registered anew:", done)


async def disconnect_while_connecting(sip_connector: SipConnector, parameters: ConnectionParameters) -> None:
    async with anyio.create_task_group() as tasks:
        with sip_connector.events("connection:connect-started") as started:
            tasks.start_soon(attempt, "the third", sip_connector, parameters)
            await anext(started)
        await sip_connector.disconnect()
    print("disconnected:", not sip_connector.is_configured())


if __name__ == "__main__":
    anyio.run(main)
