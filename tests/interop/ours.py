"""Our endpoint inside the test's own process, on an event loop in a thread: its settings, messages and media at hand."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sipproto.agent import AgentConfig
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.message import Message, Request, parse_message
from sipproto.negotiation import CodecPreferences
from sipproto.sdp import Codec, Direction
from sipproto_aiortc import AiortcEngine, MediaSetup, Tone
from sipproto_aiortc._reception import Reception
from sipproto_anyio import AnyioRuntime
from sipproto_client import Call, Endpoint, FlowSettings, run_endpoint
from sipproto_client.port import Runtime
from sipproto_trio import TrioRuntime

from .kamailio import Kamailio, password_of
from .peers import HERTZ, Party

AUDIO = (("audio", Direction.SENDRECV),)
_ALL_CODECS = CodecPreferences()
T = TypeVar("T")
E = TypeVar("E")
RUNTIMES = ("anyio-asyncio", "anyio-trio", "trio")
each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
one_runtime = pytest.mark.parametrize("runtime", RUNTIMES[:1])


class Ours:
    """One of our endpoints; every method waits, and may be called from the test's thread. Use as a context manager."""

    def __init__(
        self,
        runtime: str | Runtime,
        user: str,
        *,
        domain: str = Kamailio.domain,
        hertz: float = 500,
        flow: FlowSettings | None = None,
        media: AiortcEngine | None = None,
        **config: Any,
    ) -> None:
        self.user = user
        self._hertz = hertz
        self._domain = domain
        self._runtime = runtime
        self._flow = flow
        self.media = media or AiortcEngine(include_loopback=True)
        self._config = config
        self._changed = threading.Condition()
        self._log: list[tuple[float, str, object]] = []  # every input and output of the engine
        self._taken: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.media.close)
            backend = "trio" if self._runtime in RUNTIMES[1:] else "asyncio"
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal(backend))
            runtime: Runtime = TrioRuntime() if self._runtime == "trio" else AnyioRuntime()
            if not isinstance(self._runtime, str):
                runtime = self._runtime
            settings: dict[str, Any] = {
                "aor": f"sip:{self.user}@{self._domain}",
                "secrets": (Secret(username=self.user, password=password_of(self.user)),),
                "capabilities": self.media.capabilities,
                **self._config,
            }
            opened = run_endpoint(runtime, AgentConfig(**settings), media=self.media, flow=self._flow, tap=self._note)
            self.endpoint: Endpoint = stack.enter_context(self._portal.wrap_async_context_manager(opened))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"{self.user}, until the test failed:\n{self.told()}")
        self._stack.close()

    # -- doing something on the loop ---------------------------------------------------------------------------------

    def do(self, function: Callable[..., Awaitable[T]], *args: object, **named: object) -> T:
        """Calls an asynchronous method of the endpoint or of a call, and waits for its end."""
        return self._portal.call(partial(function, *args, **named))

    def start(self, function: Callable[..., Awaitable[T]], *args: object, **named: object) -> Future[T]:
        """The same without waiting."""
        return self._portal.start_task_soon(partial(function, *args, **named))

    def say(self, make: Callable[[i.CommandId], i.Command]) -> object:
        return self.do(self.endpoint.run, make)

    def connect(self, *servers: str | i.Server) -> o.Registration:
        self.do(self.endpoint.connect, *servers)
        return self.do(self.endpoint.register)

    def call(
        self,
        target: str,
        *,
        media: Any = AUDIO,
        setup: MediaSetup | None = None,
        codecs: CodecPreferences = _ALL_CODECS,
    ) -> Future[Call]:
        uri = f"sip:{target}@{self._domain}"
        return self.start(self.endpoint.call, uri, media, codecs=codecs, setup=setup or self.setup)

    def incoming(self) -> Call:
        """The next incoming call."""
        event = self.expect(o.IncomingCall)
        call = self._portal.call(self.endpoint.call_of, event.call)
        assert call is not None
        return call

    def newest(self) -> Call:
        """The call that was made or has come last."""
        call = self.endpoint.call_of(self.endpoint.agent.calls[-1])
        assert call is not None
        return call

    @property
    def setup(self) -> MediaSetup:
        return MediaSetup(audio=Tone(self._hertz))

    def answer(
        self, *, media: Any = AUDIO, setup: MediaSetup | None = None, codecs: CodecPreferences = _ALL_CODECS
    ) -> Call:
        """Answers the next incoming call."""
        call = self.incoming()
        self.do(call.answer, media, codecs=codecs, setup=setup or self.setup)
        return call

    async def _descriptions(self, call: Call) -> tuple[bytes, bytes]:
        return self.endpoint.agent.descriptions(call.ident)

    def description(self, call: Call) -> tuple[bytes, bytes]:
        """Our last session description of the call, and the peer's."""
        return self.do(self._descriptions, call)

    def hears(self, call: Call, hertz: float, timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while True:
            line = self.do(call.stats).line("audio")
            if (
                line is not None
                and line.audio_frequency is not None
                and abs(line.audio_frequency - hertz) <= 0.05 * hertz
            ):
                return
            assert time.monotonic() < deadline, line
            time.sleep(0.05)

    # -- what the engine was told and has told -----------------------------------------------------------------------

    def _note(self, way: str, what: object) -> None:
        with self._changed:
            self._log.append((time.monotonic(), way, what))
            self._changed.notify_all()

    def expect(
        self, kind: type[E], wanted: Callable[[E], object] = lambda _: True, *, timeout: float = 15, **match: object
    ) -> E:
        """Waits for an output of this type and with these fields, and takes it: the next one is another."""
        return self.expect_at(kind, wanted, timeout=timeout, **match)[1]

    def expect_at(
        self, kind: type[E], wanted: Callable[[E], object] = lambda _: True, *, timeout: float = 15, **match: object
    ) -> tuple[float, E]:
        """The same with its time (monotonic)."""
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for index in range(seen, len(self._log)):
                    moment, _, what = self._log[index]
                    fits = isinstance(what, kind) and all(getattr(what, k) == v for k, v in match.items())
                    if index not in self._taken and fits and wanted(what):  # type: ignore[arg-type]
                        self._taken.add(index)
                        return moment, what  # type: ignore[return-value]
                seen = len(self._log)
                left = deadline - time.monotonic()
                assert left > 0, f"{self.user}: no {kind.__name__} {match} in {timeout} s:\n{self.told()}"
                self._changed.wait(left)

    def told(self) -> str:
        """What happened, a line each, for messages of failed tests."""
        with self._changed:
            log = list(self._log)
        lines = []
        for moment, way, what in log:
            text = str(what)
            if isinstance(what, o.SendData | i.DataReceived):
                lines_of = what.data.decode("utf-8", "replace").splitlines() or [""]
                text = " | ".join(line for line in lines_of if line == lines_of[0] or line.startswith("CSeq"))
            if not isinstance(what, i.TimeoutElapsed):
                lines.append(f"{moment - log[0][0]:7.3f} {way:3} {text[:160]}")
        return "\n".join(lines)

    def forget(self) -> None:
        """Nothing that was told until now is found by `expect`, `sent` and `received`."""
        with self._changed:
            self._log.clear()
            self._taken.clear()

    def sent(self, method: str = "") -> list[Message]:
        """The SIP messages that went out: all of them, or those whose CSeq has this method."""
        return self._messages(o.SendData, method)

    def received(self, method: str = "") -> list[Message]:
        return self._messages(i.DataReceived, method)

    def expect_request(self, method: str, *, timeout: float = 15) -> Request:
        """Waits for a request of the peer, and takes it."""
        start = f"{method} ".encode()
        data = self.expect(i.DataReceived, lambda received: received.data.startswith(start), timeout=timeout).data
        request = parse_message(data)
        assert isinstance(request, Request)
        return request

    def requests(self, method: str) -> list[Request]:
        """The requests of this method that went out."""
        return [message for message in self.sent(method) if isinstance(message, Request) and message.method == method]

    def _messages(self, kind: type[o.SendData | i.DataReceived], method: str) -> list[Message]:
        with self._changed:
            octets = [what.data for _, _, what in self._log if isinstance(what, kind)]
        parsed = [parse_message(data) for data in octets if data.strip()]
        return [one for one in parsed if str(one.headers.first("CSeq")).endswith(method)]


@contextmanager
def arrivals() -> Iterator[dict[str, float]]:
    """The longest gap, in seconds, between two received packets of audio of any call in this process meanwhile."""
    times: dict[Reception, list[float]] = defaultdict(list)
    gaps: dict[str, float] = {}
    add = Reception.add

    def noted(self: Reception, packet: Any, codec: Codec | None, size: int, arrival: float) -> None:
        if codec is None or codec.clock_rate != 90000:
            times[self].append(arrival)
        add(self, packet, codec, size, arrival)

    began = time.monotonic()
    Reception.add = noted  # type: ignore[method-assign]
    try:
        yield gaps
    finally:
        Reception.add = add  # type: ignore[method-assign]
        moments = sorted(moment for line in times.values() for moment in line)
        gaps["longest"] = max(b - a for a, b in itertools.pairwise([began, *moments, time.monotonic()]))


# -- calls between one of ours and a page ------------------------------------------------------------------------------


def wait_for(party: Party, good: Callable[[dict[str, Any]], object], timeout: float = 15) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while not good(stats := party("stats")):
        assert time.monotonic() < deadline, (party.user, stats)
        time.sleep(0.1)
    return stats


def both_hear(alice: Ours, call: Call, bob: Party) -> None:
    alice.hears(call, HERTZ["bob"])
    wait_for(bob, lambda stats: abs(stats["audio"]["frequency"] - HERTZ["alice"]) <= 0.05 * HERTZ["alice"])


def establish(alice: Ours, bob: Party) -> Call:
    calling = alice.call("bob")
    bob.expect("call", state="incoming")
    bob("answer")
    call = calling.result(15)
    bob.expect("call", state="established")
    both_hear(alice, call, bob)
    alice.forget()
    bob.peer.forget_events()
    return call


def talk(alice: Ours, call: Call, bob: Party) -> None:
    """Audio and signalling work both ways."""
    both_hear(alice, call, bob)
    assert alice.do(call.send_info, "text/plain", b"still there?") == 200
    assert bob.expect("info")["body"] == "still there?"
    assert bob("info", content_type="text/plain", body="yes")["status"] == 200
    assert alice.expect(o.InfoReceived).body == b"yes"


def lines(description: bytes, start: str) -> set[str]:
    return {line for line in description.decode().splitlines() if line.startswith(start)}
