"""Two clients: one calls, the other answers or declines. Without media, as in tests."""

import anyio

from sipproto.connector.naming import IncomingCaller
from sipproto.testing import FakeMediaEngine
from sipproto_anyio import AnyioRuntime, open_connector
from sipproto_client import ConnectorError, SipConnector, SipConnectorFacade
from sipproto_devices import MediaSetup
from sipproto_server import ServerConfig, run_server

DOMAIN, USERS = "example.invalid", {"alice": "one", "bob": "two"}


async def main() -> None:
    async with (
        run_server(AnyioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server,
        open_connector(media=FakeMediaEngine(seed=1)) as alice,
        open_connector(media=FakeMediaEngine(seed=2)) as bob,
    ):
        for who, name in ((alice, "alice"), (bob, "bob")):
            await who.connect(
                sip_server_url=DOMAIN,
                sip_web_socket_server_url=f"ws://127.0.0.1:{server.port}/",
                user=name,
                password=USERS[name],
                register=True,
                display_name=name.title(),
            )
        answer_calls_of_alice(bob)
        with bob.events("call:ended") as ends:
            await alice.call("bob", MediaSetup())
            await alice.hang_up()
            await anext(ends)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decline, alice)
            try:
                await bob.call("alice", MediaSetup())
            except ConnectorError as error:
                print("bob hears:", error.code, error.status)


def answer_calls_of_alice(bob: SipConnector) -> None:
    facade = SipConnectorFacade(bob)

    async def on_incoming(caller: IncomingCaller) -> None:
        print(f"{caller.display_name} ({caller.incoming_number}) calls")
        await facade.answer_to_incoming_call(
            media_stream=MediaSetup(), on_ended_call=lambda: print("bob sees the end of the call")
        )

    bob.on("incoming-call:incomingCall", on_incoming)
    bob.on("call:accepted", lambda _: print("bob has answered"))
    bob.on("call:failed", lambda ended: print("bob's call failed:", ended.cause.value))


async def decline(alice: SipConnector) -> None:
    await alice.wait("incoming-call:incomingCall")
    await alice.decline_to_incoming_call(status_code=486)


if __name__ == "__main__":
    anyio.run(main)
