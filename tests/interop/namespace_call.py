"""A call between two engines in a network of its own, which this program makes: `unshare` starts it there.

Prints what each end says of its network, as JSON: the address of the `c=` line, its candidates, the pair in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

from aioice import mdns

from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from tests.interop.coturn import Coturn
from tests.media._rig import End, connect, hears, until

IPV6 = "fd00:5::1"
# What `ip` is told, by mode.
NETWORKS = {
    "ipv6": ("link set lo up", f"address add {IPV6}/128 dev lo", "address delete 127.0.0.1/8 dev lo"),
    "both": ("link set lo up", f"address add {IPV6}/128 dev lo", "address add 10.99.0.1/32 dev lo"),
    "relayed": ("link set lo up", f"address add {IPV6}/128 dev lo"),
    "named": ("link set lo up multicast on", "route add 224.0.0.0/4 dev lo"),
}


@contextlib.contextmanager
def published(addresses: dict[str, str]) -> Iterator[None]:
    """Answers mDNS questions for these names, as a browser does for its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()

    async def answer() -> None:
        protocol = await mdns.create_mdns_protocol()
        for name, address in addresses.items():
            await protocol.publish(name, address)
        ready.set()

    thread = threading.Thread(target=lambda: (loop.create_task(answer()), loop.run_forever()), daemon=True)
    thread.start()
    assert ready.wait(5)
    yield
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def main(mode: str) -> None:
    for command in NETWORKS[mode]:
        subprocess.run(["ip", *command.split()], check=True)
    with contextlib.ExitStack() as stack:
        engine = AiortcEngine()
        stack.callback(engine.close)
        if mode == "relayed":
            server = stack.enter_context(Coturn("--allocation-default-address-family=keep", address=IPV6))
            engine = AiortcEngine(ice_servers=(server.server("udp"),), ice_transport_policy="relay")
            stack.callback(engine.close)
        descriptions: list[str] = []

        def change(sdp: str) -> str:
            descriptions.append(sdp)
            if mode != "named":
                return sdp
            name = f"{uuid.uuid4()}.local"
            stack.enter_context(published({name: "127.0.0.1"}))
            return re.sub(r"(a=candidate:\S+ 1 udp \d+) 127\.0\.0\.1", rf"\1 {name}", sdp)

        a, b = End(engine, MediaSetup(audio=Tone(700.0))), End(engine, MediaSetup(audio=Tone(1100.0)))
        connect(a, b, change=change)
        until(hears(a, 1100))
        until(hears(b, 700))
        told = []
        for end, sdp in zip((a, b), descriptions, strict=True):
            facts = engine._calls[end.call]._slots[0].facts()
            assert facts.selected is not None
            told.append(
                {
                    "default": re.findall(r"c=IN (\S+ \S+)\r\n", sdp),
                    "candidates": [[c.type, c.address] for c in facts.local_candidates],
                    "pair": [facts.selected.local.address, facts.selected.remote.address],
                }
            )
        print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
