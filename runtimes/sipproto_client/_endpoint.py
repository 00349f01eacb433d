"""The awaitable client: one engine driven on one event loop, written once over the runtime port."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from sipproto.agent import AgentConfig, MediaEngine, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import ApplyMedia, CallId, CloseMedia, CollectStats, MediaInput, MediaReport, OpenMedia
from sipproto.auth import Credential
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.sdp import Direction
from sipproto.transaction import FlowId
from sipproto_client._flow import FlowSettings, WebSocketFlow, open_flow, parse_server_url
from sipproto_client._tasks import Background, plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client.errors import CommandError, EndpointClosed, EventsLost
from sipproto_client.port import Event, Runtime, TaskGroup

_MAX_EVENTS = 2000
Media = tuple[tuple[str, Direction], ...]
Tap = Callable[[str, object], None]


class _Pending:
    __slots__ = ("done", "outcome")

    def __init__(self, done: Event) -> None:
        self.done = done
        self.outcome: o.Outcome | None = None


class Subscription:
    """Events as an async iterator. Bounded: a subscriber that does not keep up gets EventsLost."""

    def __init__(
        self, endpoint: Endpoint, wanted: Callable[[o.Event], bool], last: Callable[[o.Event], bool] = lambda _: False
    ) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._last = last
        self._queue: deque[o.Event] = deque()
        self._bell = endpoint.runtime.event()
        self._over = False
        self._lost = False

    def offer(self, event: o.Event) -> None:
        if not self._wanted(event) or self._over:
            return
        if len(self._queue) >= _MAX_EVENTS:
            self._lost = True
            self.finish()
            return
        self._queue.append(event)
        if self._last(event):
            self.finish()
        self._bell.set()

    def finish(self) -> None:
        self._over = True
        self._bell.set()

    def close(self) -> None:
        """Ends the subscription; what is queued is dropped."""
        self._queue.clear()
        self.finish()
        self._endpoint.unsubscribe(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> o.Event:
        while not self._queue:
            if self._lost:
                raise EventsLost(f"more than {_MAX_EVENTS} events waited for this subscriber")
            if self._over:
                raise StopAsyncIteration
            bell = self._bell
            await bell.wait()
            if self._bell is bell:  # else another task that iterates was first, and may wait for the new one already
                self._bell = self._endpoint.runtime.event()
        return self._queue.popleft()


class IncomingCalls:
    """Incoming calls as an async iterator, from its making on; ends with the endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._events = endpoint.events(lambda event: isinstance(event, o.IncomingCall))

    def close(self) -> None:
        """Ends the iteration."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Call:
        while True:
            event = await anext(self._events)
            assert isinstance(event, o.IncomingCall)
            if (call := self._endpoint.call_of(event.call)) is not None:
                return call  # else it has ended before anybody could take it


class Call:
    """A call as its application sees it. Every method that waits raises CommandError when the peer or network refuse."""

    def __init__(self, endpoint: Endpoint, ident: CallId, incoming: o.IncomingCall | None = None) -> None:
        self._endpoint = endpoint
        self.ident = ident
        self.incoming = incoming
        self.held_by: set[o.Originator] = set()
        self.ended: o.CallEnded | None = None
        self._ended = endpoint.runtime.event()
        self._steady: Event | None = None  # while the call is reconnecting

    # -- state -------------------------------------------------------------------------------------------------------

    def events(self) -> Subscription:
        """The events of this call from now on, ending after CallEnded. Use it as a context manager."""
        return self._endpoint.events(
            lambda event: getattr(event, "call", None) == self.ident, lambda event: isinstance(event, o.CallEnded)
        )

    async def wait_ended(self) -> o.CallEnded:
        """Waits for the end and says why. Raises EndpointClosed when the endpoint ends before the call."""
        await self._ended.wait()
        if self.ended is None:
            raise EndpointClosed("the endpoint was closed")
        return self.ended

    @property
    def reconnecting(self) -> bool:
        """Whether the connection or the media are lost, and the call waits for them (CallReconnecting)."""
        return self._steady is not None

    async def wait_recovered(self) -> bool:
        """Waits while the call is reconnecting. Returns whether it goes on; False when it has ended."""
        if self._steady is not None:
            await self._steady.wait()
        return not self._ended.is_set()

    def abandon(self) -> None:
        """The endpoint is over: nothing more will be heard of the call."""
        self._ended.set()
        self._be_steady()

    def _be_steady(self) -> None:
        steady, self._steady = self._steady, None
        if steady is not None:
            steady.set()

    def note(self, event: o.Event) -> None:
        match event:
            case o.CallHeld(originator=who):
                self.held_by.add(who)
            case o.CallResumed(originator=who):
                self.held_by.discard(who)
            case o.CallReconnecting() if self._steady is None:
                self._steady = self._endpoint.runtime.event()
            case o.CallRecovered():
                self._be_steady()
            case o.CallEnded():
                self.ended = event
                self._ended.set()
                self._be_steady()
            case _:
                pass

    # -- commands ----------------------------------------------------------------------------------------------------

    async def progress(
        self,
        status: int = 183,
        media: Media = (),
        *,
        reason: str | None = None,
        setup: object = None,
        body: bytes = b"",
    ) -> None:
        """Tells the caller of an incoming call how it goes. With `media` (or `body`) it is heard before the answer.

        Answer later without media: what was said here holds.
        """
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(
            lambda n: i.Progress(command=n, call=self.ident, status=status, reason=reason, media=media, body=body)
        )

    async def answer(self, media: Media = (), *, setup: object = None, body: bytes = b"") -> None:
        """Answers an incoming call and waits until it is established."""
        self._endpoint.prepare(self.ident, setup)
        await self._endpoint.run(lambda n: i.Answer(command=n, call=self.ident, media=media, body=body))

    async def hang_up(self, status: int = 603, reason: str | None = None) -> None:
        """Ends the call in any state; `status` is for a caller that was not answered. Fine when it has ended already."""
        if self.ended is None:
            await self._endpoint.run(lambda n: i.HangUp(command=n, call=self.ident, status=status, reason=reason))

    async def hold(self) -> None:
        await self._endpoint.run(lambda n: i.Hold(command=n, call=self.ident))

    async def resume(self) -> None:
        await self._endpoint.run(lambda n: i.Resume(command=n, call=self.ident))

    async def restart_ice(self, *, use_update: bool = False) -> None:
        """Has both sides look for a new way for the media, by re-INVITE or UPDATE. A refusal leaves all as it was."""
        await self._endpoint.run(lambda n: i.RestartIce(command=n, call=self.ident, use_update=use_update))

    async def send_info(self, content_type: str, body: bytes) -> int:
        """INFO; returns the status of the answer."""
        result = await self._endpoint.run(
            lambda n: i.SendInfo(command=n, call=self.ident, content_type=content_type, body=body)
        )
        return int(str(result))

    async def send_dtmf(self, digits: str, *, duration: int = 160, gap: float = 0.1) -> None:
        """Digits, one after the other; `duration` of each in milliseconds, `gap` in seconds."""
        await self._endpoint.run(
            lambda n: i.SendDtmf(command=n, call=self.ident, digits=digits, duration=duration, gap=gap)
        )

    async def stats(self) -> MediaReport:
        """What the media engine measures right now."""
        result = await self._endpoint.run(lambda n: i.GetStats(command=n, call=self.ident))
        assert isinstance(result, MediaReport)
        return result


class Endpoint:
    """A user agent on an event loop. Made by `open_endpoint` of a runtime package."""

    def __init__(
        self,
        runtime: Runtime,
        config: AgentConfig,
        tasks: TaskGroup,
        *,
        media: MediaEngine | None,
        flow: FlowSettings,
        tap: Tap | None,
    ) -> None:
        self.runtime = runtime
        self.agent = UserAgent(config)
        self._tasks = tasks
        self._media = media
        self._settings = flow
        self._tap = tap
        self._from_thread = runtime.thread_caller()
        self._flows: dict[FlowId, WebSocketFlow] = {}
        self._connecting: dict[FlowId, TaskGroup | None] = {}  # what to cancel; None until its task runs
        self._pending: dict[i.CommandId, _Pending] = {}
        self._subscriptions: list[Subscription] = []
        self._calls: dict[CallId, Call] = {}
        self._next_command = 0
        self._next_call = 0
        self.timer = EngineTimer(runtime, self.agent.next_timeout, lambda: self.step(i.TimeoutElapsed()))
        self._flow_gone = runtime.event()
        self._closed = False

    # -- the driver: inputs in, outputs carried out in order -----------------------------------------------------------

    def step(self, what: i.Input) -> None:
        """Gives one input to the engine and carries out its outputs. Never waits."""
        if self._closed:
            return
        if self._tap is not None:
            self._tap("in", what)
        for output in self.agent.handle(what, self.runtime.now()):
            if self._tap is not None:
                self._tap("out", output)
            self._carry_out(output)
        self.timer.look()

    def _carry_out(self, output: o.Output) -> None:
        match output:
            case o.SendData(flow=flow, data=data):
                if (runner := self._flows.get(flow)) is not None:
                    runner.send(data)
            case o.OpenFlow(flow=flow, server=server):
                self._connecting[flow] = None
                self._tasks.start_soon(self._run_flow, flow, server)
            case o.CloseFlow(flow=flow):
                if (runner := self._flows.get(flow)) is not None:
                    runner.close()
                elif (connecting := self._connecting.pop(flow, None)) is not None:
                    connecting.cancel()
            case o.CommandSucceeded(command=command) | o.CommandFailed(command=command):
                if (pending := self._pending.get(command)) is not None:
                    pending.outcome = output
                    pending.done.set()
            case OpenMedia() | ApplyMedia() | CollectStats() | CloseMedia():
                if self._media is not None:
                    self._media.perform(output, self._media_reported)
            case _:
                self._publish(output)

    def _media_reported(self, reply: MediaInput) -> None:
        """May be called on any thread."""
        try:
            self._from_thread(lambda: self.step(reply))
        except RuntimeError:
            pass  # the loop is gone, and with it everybody who could care

    async def _run_flow(self, flow: FlowId, server: str) -> None:
        def opened(runner: WebSocketFlow) -> None:
            self._connecting.pop(flow, None)
            self._flows[flow] = runner

        if flow not in self._connecting:
            return  # given up before this task has begun
        try:
            url = parse_server_url(server)
        except LocalProtocolError as error:
            self.step(i.OpenFlowFailed(flow=flow, error=str(error)))
            return
        try:
            async with plain_task_group(self.runtime) as tasks:
                self._connecting[flow] = tasks
                await open_flow(self.runtime, url, self._settings, flow, self.step, opened)
        finally:
            self._flows.pop(flow, None)
            self._connecting.pop(flow, None)
            self._flow_gone.set()

    # -- events ------------------------------------------------------------------------------------------------------

    def events(
        self, wanted: Callable[[o.Event], bool] = lambda _: True, last: Callable[[o.Event], bool] = lambda _: False
    ) -> Subscription:
        """The events from now on that `wanted` chooses, up to the one that `last` chooses.

        Use it as a context manager, iterate with `async for`.
        """
        subscription = Subscription(self, wanted, last)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _publish(self, event: o.Event) -> None:
        ident: CallId | None = getattr(event, "call", None)
        if isinstance(event, o.IncomingCall):
            self._calls[event.call] = Call(self, event.call, event)
        call = self._calls.get(ident) if ident is not None else None
        if call is not None:
            call.note(event)
        for subscription in list(self._subscriptions):
            subscription.offer(event)
        if isinstance(event, o.CallEnded):
            self._calls.pop(event.call, None)

    def incoming_calls(self) -> IncomingCalls:
        """Every incoming call from now on. Answer or hang up each; else it is refused after `waits.answer`."""
        return IncomingCalls(self)

    def call_of(self, ident: CallId) -> Call | None:
        """The call of that name, while it lasts."""
        return self._calls.get(ident)

    # -- commands ----------------------------------------------------------------------------------------------------

    async def run(self, make: Callable[[i.CommandId], i.Command]) -> object:
        """Gives a command to the engine and waits for its outcome.

        Returns the result. Raises CommandError when it fails, LocalProtocolError when it is not possible now, and
        EndpointClosed when the endpoint ends meanwhile. When the waiting is cancelled the command goes on unheard.
        """
        if self._closed:
            raise EndpointClosed("the endpoint is closed")
        self._next_command += 1
        number = self._next_command
        pending = self._pending[number] = _Pending(self.runtime.event())
        try:
            self.step(make(number))
            await pending.done.wait()
        finally:
            del self._pending[number]
        outcome = pending.outcome
        if isinstance(outcome, o.CommandFailed):
            raise CommandError(outcome)
        if outcome is None:
            raise EndpointClosed("the endpoint was closed")
        return outcome.result

    async def connect(self, *servers: str | i.Server) -> None:
        """Connects to a server, e.g. `wss://sip.example.com/ws`, or to the first of several that takes the connection.

        Those of the greatest `Server.weight` are tried first, equal ones (a text weighs 1) in an order of chance.
        """
        known = tuple(i.Server(url=server) if isinstance(server, str) else server for server in servers)
        for server in known:
            parse_server_url(server.url)
        await self.run(lambda n: i.Connect(command=n, server=known))

    async def disconnect(self) -> None:
        """Closes the connection and does not try for another. Calls end without a word to their peers."""
        await self.run(lambda n: i.Disconnect(command=n))

    async def set_secrets(self, *secrets: Credential) -> None:
        """Passwords and tokens to use from the next request on, in place of those of the configuration."""
        await self.run(lambda n: i.SetSecrets(command=n, secrets=secrets))

    async def register(self, expires: int | None = None) -> o.Registration:
        """Registers and keeps registered."""
        result = await self.run(lambda n: i.Register(command=n, expires=expires))
        assert isinstance(result, o.Registration)
        return result

    async def unregister(self) -> None:
        await self.run(lambda n: i.Unregister(command=n))

    def new_call(self) -> Call:
        """A call that is not made yet: subscribe to its events, then give it to `call`."""
        self._next_call += 1
        call = Call(self, f"out-{self._next_call}")
        self._calls[call.ident] = call
        return call

    async def call(
        self,
        target: str,
        media: Media = (),
        *,
        call: Call | None = None,
        setup: object = None,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Call:
        """Calls `target` and waits until the call is established.

        `media`: pairs of kind and direction; `setup`: what the media engine sends and does with what it gets, passed to
        its `prepare`. When the waiting is cancelled the call is given up, too.
        """
        call = call or self.new_call()
        if call.ident in self.agent.calls:
            raise LocalProtocolError(f"call {call.ident!r} is made already")
        established = False
        try:
            self.prepare(call.ident, setup)
            await self.run(
                lambda n: i.Invite(command=n, call=call.ident, target=target, media=media, body=body, headers=headers)
            )
            established = True
        finally:
            if not established:
                self._give_up(call)
        return call

    def _give_up(self, call: Call) -> None:
        if call.ended is None and call.ident in self.agent.calls:
            self._next_command += 1
            self.step(i.HangUp(command=self._next_command, call=call.ident))
        self._calls.pop(call.ident, None)

    def prepare(self, call: CallId, setup: object) -> None:
        """Tells the media engine what a call sends and does with what it gets."""
        prepare = getattr(self._media, "prepare", None)
        if setup is not None and prepare is not None:
            prepare(call, setup)

    async def send_message(self, target: str, body: str, content_type: str = "text/plain") -> int:
        """An instant message; returns the status of the answer."""
        result = await self.run(
            lambda n: i.SendMessage(command=n, target=target, body=body.encode(), content_type=content_type)
        )
        return int(str(result))

    async def options(self, target: str, timeout: float | None = None) -> int:
        """Asks whether somebody is there; returns the status of the answer, whatever it is."""
        result = await self.run(lambda n: i.SendOptions(command=n, target=target, timeout=timeout))
        return int(str(result))

    # -- the end -----------------------------------------------------------------------------------------------------

    async def shut_down(self) -> None:
        """Ends calls, registration and connections in order, within the agent's `waits.shutdown`."""
        if not self._closed:
            try:
                await self.run(lambda n: i.Shutdown(command=n))
            except SipProtoError:
                pass  # the time was up: what the server did not confirm is over all the same
            await self._flows_gone()

    async def _flows_gone(self) -> None:
        while self._flows:
            self._flow_gone = self.runtime.event()
            await self._flow_gone.wait()

    def close(self) -> None:
        """Nothing more goes in or out; everybody who waits is told."""
        self._closed = True
        for pending in self._pending.values():
            pending.done.set()
        for subscription in self._subscriptions:
            subscription.finish()
        for call in self._calls.values():
            call.abandon()


@asynccontextmanager
async def run_endpoint(
    runtime: Runtime,
    config: AgentConfig,
    *,
    media: MediaEngine | None = None,
    flow: FlowSettings | None = None,
    tap: Tap | None = None,
) -> AsyncIterator[Endpoint]:
    """An endpoint for the length of a block. On leaving it, also by cancellation, calls and registration are ended.

    An error of the block comes out as itself, not in an exception group.
    """
    background = Background(runtime)
    endpoint = Endpoint(runtime, config, background, media=media, flow=flow or FlowSettings(), tap=tap)
    async with plain_task_group(runtime) as tasks:
        tasks.start_soon(background.run)
        try:
            await background.wait_ready()
            background.start_soon(endpoint.timer.run)
            yield endpoint
        finally:
            with runtime.shield(config.waits.shutdown + 2.0):
                await endpoint.shut_down()
            endpoint.close()
            background.cancel()
