"""Two endpoints on plain trio call one another through an embedded server; the application brings the descriptions."""

import trio

from sipproto import AgentConfig, Secret
from sipproto.agent import outputs
from sipproto_client import CommandError, Endpoint
from sipproto_server import ServerConfig, run_server
from sipproto_trio import TrioRuntime, open_endpoint

DOMAIN, USERS = "example.invalid", {"alice": "one", "bob": "two"}
OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def config(user: str) -> AgentConfig:
    return AgentConfig(aor=f"sip:{user}@{DOMAIN}", secrets=(Secret(username=user, password=USERS[user]),))


async def answer_one(endpoint: Endpoint) -> None:
    async for call in endpoint.incoming_calls():
        assert call.incoming is not None
        print("bob is called by", call.incoming.from_uri)
        await call.answer(body=OFFER)
        with call.events() as events:
            async for event in events:
                if isinstance(event, outputs.InfoReceived):
                    print("bob reads", event.body.decode())
                if isinstance(event, outputs.CallEnded):
                    print("bob sees the end:", event.cause.value)
                    return


async def main() -> None:
    async with run_server(TrioRuntime(), ServerConfig(realm=DOMAIN, users=USERS)) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        async with open_endpoint(config("alice")) as alice, open_endpoint(config("bob")) as bob:
            for endpoint in (alice, bob):
                await endpoint.connect(url)
                await endpoint.register()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_one, bob)
                await trio.lowlevel.checkpoint()
                call = await alice.call(f"sip:bob@{DOMAIN}", body=OFFER)
                await call.send_info("text/plain", b"hello")
                await call.hang_up()
            try:
                await alice.call(f"sip:nobody@{DOMAIN}", body=OFFER)
            except CommandError as error:
                print("nobody:", error.code, error.status)


if __name__ == "__main__":
    trio.run(main)
