"""Presence between two endpoints: one says how it is, the other is told of each change, through an embedded server."""

import anyio

from sipproto import AgentConfig, Secret
from sipproto_anyio import AnyioRuntime, open_endpoint
from sipproto_client import Endpoint
from sipproto_server import ServerConfig, run_server

DOMAIN, USERS = "example.invalid", {"alice": "one", "bob": "two"}
TYPE = "application/pidf+xml"


def config(user: str) -> AgentConfig:
    secret = Secret(username=user, password=USERS[user])
    return AgentConfig(aor=f"sip:{user}@{DOMAIN}", secrets=(secret,), events=("presence",))


def document(user: str, basic: str) -> bytes:
    """The engine does not read it: bodies are between the application and the event package."""
    tuple_ = f'<tuple id="t"><status><basic>{basic}</basic></status></tuple>'
    return f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:{user}@{DOMAIN}">{tuple_}</presence>'.encode()


async def tell(endpoint: Endpoint) -> None:
    with endpoint.watchers() as watchers:
        watcher = await anext(watchers)
    print("bob is watched by", watcher.asked.from_uri)
    await watcher.accept(document("bob", "open"), TYPE)
    await watcher.notify(document("bob", "closed"), TYPE)
    await watcher.end("noresource")


async def main() -> None:
    async with (
        run_server(AnyioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server,
        open_endpoint(config("alice")) as alice,
        open_endpoint(config("bob")) as bob,
        anyio.create_task_group() as tasks,
    ):
        for endpoint in (alice, bob):
            await endpoint.connect(f"ws://127.0.0.1:{server.port}/")
            await endpoint.register()
        tasks.start_soon(tell, bob)
        await anyio.lowlevel.checkpoint()
        async with alice.subscribe(f"sip:bob@{DOMAIN}", "presence", accept=(TYPE,)) as presence:
            async for notification in presence:
                if notification.body:
                    print("bob is", "open" if b"open" in notification.body else "closed")
            assert presence.ended is not None
            print("the end:", presence.ended.reason)


if __name__ == "__main__":
    anyio.run(main)
