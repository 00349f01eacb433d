"""When datagrams arrived is known although they are read late."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sipproto_aiortc._arrival import ArrivalClock
from sipproto_aiortc._ice import Credentials, Generation
from sipproto_aiortc._servers import IceOptions

LOOPS: list[str] = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")


def _run(main: Callable[[], Any], loop: str) -> None:
    factory = None
    if loop == "uvloop":
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@linux
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_busy_reader_knows_when_each_datagram_came(loop: str, address: str) -> None:
    async def main() -> None:
        generation = Generation(IceOptions(include_loopback=True), Credentials.fresh(), controlling=True)
        got: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()
        generation.deliver_to(lambda data, arrival: got.put_nowait((data, arrival)))
        connection = generation._connection
        await connection.gathering.run([address])
        if not connection._protocols:
            pytest.skip(f"this machine has no {address}")
        ours = connection._protocols[0].transport.get_extra_info("sockname")[:2]
        sent: list[tuple[float, float]] = []
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as peer:

            def send() -> None:
                for number in range(5):
                    before = time.monotonic()
                    peer.sendto(b"\x80" + bytes([number]), ours)
                    sent.append((before, time.monotonic()))
                    time.sleep(0.02)

            peer.sendto(b"\x80 first", ours)  # the kernel begins to note times a moment after it was asked to
            await got.get()
            await asyncio.sleep(0.05)
            sender = threading.Thread(target=send)
            sender.start()
            sender.join()  # the loop stands still, as it does while something else is busy
            read = time.monotonic()
            for number, (before, after) in enumerate(sent):
                data, arrival = await got.get()
                assert data[1] == number
                assert before - 0.001 < arrival < after + 0.001 < read
        await generation.close()

    _run(main, loop)


@pytest.mark.parametrize("kind", [None, socket.SOCK_STREAM])
def test_what_tells_no_times_is_of_the_time_of_reading(kind: socket.SocketKind | None) -> None:
    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return sock if name == "socket" else default

    sock = None if kind is None else socket.socket(socket.AF_INET, kind)
    clock = ArrivalClock(Transport())
    before = time.monotonic()
    assert before <= clock.last() <= time.monotonic()
    if sock is not None:
        sock.close()
        assert before <= clock.last() <= time.monotonic()


@linux
def test_a_clock_that_was_set_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        class Transport(asyncio.BaseTransport):
            def get_extra_info(self, name: str, default: Any = None) -> Any:
                return sock

        clock = ArrivalClock(Transport())
        sock.sendto(b"x", sock.getsockname())
        sock.recvfrom(10)
        now = time.time
        for step in (3600.0, -3600.0):
            with monkeypatch.context() as patched:
                patched.setattr(time, "time", lambda step=step: now() + step)
                before = time.monotonic()
                assert before <= clock.last() <= time.monotonic()
