"""For tests: scripted servers on an event loop, and a conformance suite for transports.

`run_scripted` runs a `sipproto.testing.ScriptedServer`. `check_transport` says whether a transport keeps the promises of
`transport.Transport`.

It needs no test framework: each broken promise is an AssertionError that names it.
"""

from __future__ import annotations

import os
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from attrs import field, frozen

from sipproto.agent.inputs import DataReceived, FlowClosed, FlowOpened, Input, OpenFlowFailed
from sipproto_client._flow import MAX_UNSENT, Flow
from sipproto_client._scripted import MemoryTransport as MemoryTransport
from sipproto_client._scripted import Scripted as Scripted
from sipproto_client._scripted import run_scripted as run_scripted
from sipproto_client._scripted import until as until
from sipproto_client._settings import FlowSettings
from sipproto_client._tasks import plain_task_group
from sipproto_client.port import Runtime
from sipproto_client.transport import Channel, Opening, Transport

_Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
_PATIENCE = 10.0  # seconds for anything that has to happen
_MOMENT = 0.02  # seconds in which something that must not happen would
_MESSAGES = [b"%d " % n + b"x" * (97 * n) for n in range(1, 30)]


class FarEnd(Protocol):
    """What a transport under test connects to."""

    @property
    def address(self) -> str:
        """Where it is, as the transport's `open` takes it."""
        ...

    async def accept(self) -> Channel:
        """The far end of the next connection. Connectionless: the next peer that has sent something."""
        ...


@frozen(kw_only=True)
class TransportCase:
    """A transport and what the suite has to know of it.

    serve: a far end for the length of a block. dead: an address at which opening fails. is_stream: octets are carried,
    not messages. is_connected: each end hears when the other closes (not so with UDP).
    """

    transport: Transport
    serve: Callable[[Runtime], AbstractAsyncContextManager[FarEnd]]
    dead: str
    settings: FlowSettings = field(factory=FlowSettings)
    is_stream: bool = False
    is_connected: bool = True


async def check_transport(runtime: Runtime, case: TransportCase) -> None:
    """Runs the whole suite. Raises AssertionError, with the promise that is not kept."""
    for check in _CHECKS:
        await _run(runtime, case, check)


async def _run(runtime: Runtime, case: TransportCase, check: Callable[[_Bench], Coroutine[Any, Any, None]]) -> None:
    before = _open_files()
    done = False
    with runtime.move_on_after(3 * _PATIENCE):
        async with case.serve(runtime) as far, plain_task_group(runtime) as tasks:
            await check(_Bench(runtime, case, far, tasks.start_soon))
            tasks.cancel()
        done = True
    promise = (check.__doc__ or "").partition("\n")[0]
    assert done, f"hangs: {promise}"
    await _until(runtime, lambda: _open_files() <= before, f"files are left open after: {promise}")


def _open_files() -> int:
    """How many files this process has open; 0 where that cannot be known."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def _until(runtime: Runtime, condition: Callable[[], bool], complaint: str) -> None:
    deadline = runtime.now() + _PATIENCE
    while not condition():
        assert runtime.now() < deadline, complaint
        await runtime.wait(runtime.event(), 0.001)


class _Near:
    """A flow over the transport, and what an engine would hear of it."""

    def __init__(self, bench: _Bench, address: str) -> None:
        self._bench = bench
        self._address = address
        self.said: list[Input] = []
        self.flow = Flow(bench.runtime, 1, self.said.append)
        self.gone = False

    async def run(self) -> None:
        try:
            await self.flow.run(lambda: self._bench.open(self._address))
        finally:
            self.gone = True

    @property
    def kinds(self) -> list[type[Input]]:
        return [type(what) for what in self.said if not isinstance(what, DataReceived)]

    @property
    def received(self) -> list[bytes]:
        return [what.data for what in self.said if isinstance(what, DataReceived)]

    async def until(self, condition: Callable[[], bool], complaint: str) -> None:
        await _until(self._bench.runtime, condition, f"{complaint}; the engine heard {self.said}")


class _Bench:
    def __init__(self, runtime: Runtime, case: TransportCase, far: FarEnd, start: _Start) -> None:
        self.runtime = runtime
        self.case = case
        self.far = far
        self.start = start

    async def open(self, address: str) -> Channel:
        return await self.case.transport.open(address, Opening(runtime=self.runtime, settings=self.case.settings))

    def near(self, address: str | None = None) -> _Near:
        near = _Near(self, self.far.address if address is None else address)
        self.start(near.run)
        return near

    async def pair(self) -> tuple[_Near, Channel]:
        """A flow and its far end, one message on the way behind them."""
        near = self.near()
        await near.until(lambda: bool(near.said), "the flow does not open")
        opened = near.said[0]
        assert isinstance(opened, FlowOpened), f"it does not open: {opened}"
        assert opened.transport and opened.transport == opened.transport.upper(), "the transport has no name for Via"
        near.flow.send(b"hello\r\n")
        far = await self.far.accept()
        await self.expect(far, [b"hello\r\n"])
        return near, far

    async def part(self, near: _Near, far: Channel) -> None:
        """The near end closes, the far end follows."""
        near.flow.close()
        await self.read_to_end(far)
        await far.aclose()
        await near.until(lambda: near.gone, "a closed flow does not end")

    async def read_to_end(self, far: Channel) -> int:
        """How many octets come until the end, where there is one."""
        got = 0
        try:
            while self.case.is_connected and (data := await far.receive()) is not None:
                got += len(data)
        except OSError:
            pass  # that it is over may be said so, too
        return got

    async def expect(self, channel: Channel, messages: list[bytes]) -> None:
        """These messages, or with a stream the same octets, come out of the channel."""
        got: list[bytes] = []
        while len(b"".join(got)) < len(b"".join(messages)):
            data = await channel.receive()
            assert data is not None, "the connection ends early"
            assert data, "an empty message was received"
            got.append(data)
        self.compare(got, messages)

    def compare(self, got: list[bytes], messages: list[bytes]) -> None:
        if self.case.is_stream:
            assert b"".join(got) == b"".join(messages), "octets are changed"
        else:
            assert got == messages, "messages are changed, cut or joined, or in another order"

    async def is_quiet(self, near: _Near, kinds: list[type[Input]]) -> None:
        """The engine has heard this, and hears nothing more."""
        near.flow.send(b"too late")
        await self.runtime.wait(self.runtime.event(), _MOMENT)
        assert near.kinds == kinds, f"the engine should have heard {kinds}, but heard {near.said}"


async def _addresses(bench: _Bench) -> None:
    """Schemes are in lower case, and the host of an address is known without connecting."""
    transport, address = bench.case.transport, bench.far.address
    assert transport.schemes and all(s == s.lower() and ":" not in s for s in transport.schemes), "bad schemes"
    assert address.partition(":")[0] in transport.schemes, "the far end is at none of the schemes"
    assert isinstance(transport.host_of(address), str) and transport.host_of(address), "an address has no host"


async def _moves_messages(bench: _Bench) -> None:
    """Messages go both ways, unchanged and in order."""
    near, far = await bench.pair()
    for message in _MESSAGES:
        near.flow.send(message)
    await bench.expect(far, _MESSAGES)
    for message in _MESSAGES:
        await far.send(message)
    size = sum(map(len, _MESSAGES))
    await near.until(lambda: sum(map(len, near.received)) >= size, "messages are lost")
    bench.compare(near.received, _MESSAGES)
    assert near.kinds == [FlowOpened]
    await bench.part(near, far)


async def _serves_many(bench: _Bench) -> None:
    """One transport object serves several connections at a time, and keeps them apart."""
    pairs = [await bench.pair() for _ in range(5)]
    for number, (near, _) in enumerate(pairs):
        near.flow.send(b"near %d" % number)
    for number, (near, far) in enumerate(pairs):
        await bench.expect(far, [b"near %d" % number])
        await far.send(b"far %d" % number)
        await near.until(lambda near=near: bool(near.received), "a message is lost")  # type: ignore[misc]  # a default binds the loop's variable
        assert near.received == [b"far %d" % number], "connections are mixed up"
    for near, far in pairs:
        await bench.part(near, far)


async def _tells_the_end_once(bench: _Bench) -> None:
    """That the peer has closed is said exactly once, after all that it has sent."""
    near, far = await bench.pair()
    await far.send(b"last words")
    if not bench.case.is_connected:
        await bench.part(near, far)
        return
    await far.aclose()
    await near.until(lambda: near.gone, "the flow does not end when the peer closes")
    assert b"".join(near.received) == b"last words", "what was sent before the end is lost"
    assert isinstance(near.said[-1], FlowClosed), "something is said after the end"
    await bench.is_quiet(near, [FlowOpened, FlowClosed])


async def _closes_quietly(bench: _Bench) -> None:
    """Our own close sends what was given before, is heard by the peer, and tells the engine nothing."""
    near, far = await bench.pair()
    for message in _MESSAGES:
        near.flow.send(message)
    near.flow.close()
    await bench.expect(far, _MESSAGES)
    try:
        await far.send(b"crossing")
    except OSError:
        pass  # that it is over may be said so
    await bench.read_to_end(far)
    await far.aclose()
    await near.until(lambda: near.gone, "a closed flow does not end")
    await bench.is_quiet(near, [FlowOpened])
    assert near.received == [], "something is said after the engine has closed the flow"


async def _says_why_not(bench: _Bench) -> None:
    """A failed open is said once, with a reason for users, each time."""
    for _ in range(2):
        near = bench.near(bench.case.dead)
        await near.until(lambda near=near: bool(near.said), "a failing open does not end")  # type: ignore[misc]  # likewise
        failed = near.said[0]
        assert isinstance(failed, OpenFlowFailed), f"{bench.case.dead} should not open, but the engine heard {failed}"
        assert failed.error and failed.error.isprintable(), f"not fit for a user: {failed.error!r}"
        await near.until(lambda near=near: near.gone, "a failed flow does not end")  # type: ignore[misc]  # likewise
        await bench.is_quiet(near, [OpenFlowFailed])


async def _can_be_given_up(bench: _Bench) -> None:
    """A flow that is closed while it opens tells the engine nothing."""
    for turns in range(6):
        near = bench.near()
        for _ in range(turns):
            await bench.runtime.wait(bench.runtime.event(), 0.0)
        opened = list(near.kinds)
        near.flow.close()
        await near.until(lambda near=near: near.gone, "a flow closed while it opens does not end")  # type: ignore[misc]  # likewise
        await bench.is_quiet(near, opened)


async def _is_bounded(bench: _Bench) -> None:
    """A message of 1 MB arrives whole or not at all; a peer that reads nothing ends it, too; nothing hangs."""
    near, far = await bench.pair()
    near.flow.send(bytes(1_000_000))
    near.flow.close()
    got = await bench.read_to_end(far)
    await far.aclose()
    await near.until(lambda: near.gone, "a large message hangs")
    assert got in (0, 1_000_000) or bench.case.is_stream, "a large message is cut"
    near, far = await bench.pair()
    for _ in range(MAX_UNSENT // 60_000 + 2):
        near.flow.send(bytes(60_000))
    await near.until(lambda: near.gone, "a flow goes on whose peer reads nothing")
    await bench.is_quiet(near, [FlowOpened, FlowClosed])
    await far.aclose()


async def _survives_cancellation(bench: _Bench) -> None:
    """Cancelled at any point, opening, moving and closing leave nothing open on either side."""
    runtime, serving = bench.runtime, 0

    async def echo(far: Channel) -> None:
        nonlocal serving
        try:
            while (data := await far.receive()) is not None:
                await far.send(data)
        except OSError:
            pass
        finally:
            await far.aclose()
            serving -= 1

    async def accept() -> None:
        nonlocal serving
        while True:
            far = await bench.far.accept()
            serving += 1
            bench.start(lambda far=far: echo(far))  # type: ignore[misc]  # likewise

    async def story() -> None:
        channel = await bench.open(bench.far.address)
        try:
            await channel.send(b"echo")
            await bench.expect(channel, [b"echo"])
        finally:
            await channel.aclose()

    bench.start(accept)
    for at in range(1, 1000):
        async with _cancelled_at(runtime, at, story) as reached:
            pass
        if not reached:
            break
    else:
        raise AssertionError("it takes more than a thousand steps to say hello")
    if bench.case.is_connected:
        await _until(runtime, lambda: serving == 0, "a cancelled connection stays open at the far end")


@asynccontextmanager
async def _cancelled_at(
    runtime: Runtime, at: int, story: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[list[int]]:
    """Runs the story, but cancels it where it waits for the `at`th time; gives a list that is empty if it never did."""
    reached: list[int] = []
    waits = 0
    over = runtime.event()
    async with plain_task_group(runtime) as tasks:

        def waiting() -> None:
            nonlocal waits
            waits += 1
            if waits == at:
                reached.append(at)
                tasks.cancel()

        async def run() -> None:
            try:
                await _watched(story(), waiting)
            finally:
                over.set()

        tasks.start_soon(run)
    assert over.is_set()
    yield reached


@types.coroutine
def _watched(coroutine: Coroutine[Any, Any, None], waiting: Callable[[], None]) -> Generator[Any, Any, None]:
    """Awaits the coroutine, and calls `waiting` whenever it is about to wait."""
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration:
            return
        waiting()
        try:
            step, value = coroutine.send, (yield trap)
        except BaseException as error:
            step, value = coroutine.throw, error


_CHECKS = (
    _addresses,
    _moves_messages,
    _serves_many,
    _tells_the_end_once,
    _closes_quietly,
    _says_why_not,
    _can_be_given_up,
    _is_bounded,
    _survives_cancellation,
)
