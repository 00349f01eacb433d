"""The awaitable client: one engine driven on one event loop, written once over the runtime port."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from sipproto.agent import AgentConfig, MediaEngine, UserAgent
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.inputs import Media
from sipproto.agent.media import CallId, CloseMedia, MediaInput, MediaOperation
from sipproto.auth import Credential
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.negotiation import CodecPreferences
from sipproto.trace import Recorder
from sipproto.transaction import FlowId
from sipproto_client._call import ALL_CODECS, Call
from sipproto_client._callbacks import Tap, Tapped, call_logged
from sipproto_client._events import EventStream, IncomingCalls, Subscription
from sipproto_client._flow import Flow
from sipproto_client._listen import Listener, parse_listen_address
from sipproto_client._settings import FlowSettings
from sipproto_client._subscriptions import EventSubscription, Publication, Watchers
from sipproto_client._tasks import Background, plain_task_group
from sipproto_client._timer import EngineTimer
from sipproto_client._trace import Trace, recording
from sipproto_client.errors import CommandError, EndpointClosed, FramesUnsupported
from sipproto_client.port import Event, Runtime, TaskGroup
from sipproto_client.transport import Channel, Opening

Handle = Callable[[Any, float], tuple[Any, ...]]


class Engine(Protocol):
    """What an endpoint drives: an agent, or one with more around it (sipproto.connector)."""

    def handle(self, what: Any, now: float) -> tuple[Any, ...]: ...

    def next_timeout(self) -> float | None: ...


MakeEngine = Callable[[UserAgent, Handle], Engine]


class _Plain:
    """An agent, and nothing around it."""

    def __init__(self, agent: UserAgent, handle: Handle) -> None:
        self._handle = handle
        self._agent = agent

    def handle(self, what: Any, now: float) -> tuple[Any, ...]:
        return self._handle(what, now)

    def next_timeout(self) -> float | None:
        return self._agent.next_timeout()


class _Pending:
    __slots__ = ("done", "outcome")

    def __init__(self, done: Event) -> None:
        self.done = done
        self.outcome: o.Outcome | None = None


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
        recorder: Recorder | None = None,
        around: MakeEngine | None = None,
    ) -> None:
        self.runtime = runtime
        self.agent = agent = UserAgent(config if recorder is None else recorder.config)
        handle: Handle = agent.handle if recorder is None else partial(recorder.handle, agent)
        self.engine: Engine = _Plain(agent, handle) if around is None else around(agent, handle)
        self._tasks = tasks
        self._media = media
        self._settings = flow
        self._tap = Tapped(tap)
        self._from_thread = runtime.thread_caller()
        self._flows: dict[FlowId, Flow] = {}
        self._accepted = 0  # flows of peers that came to us have negative numbers
        self._listeners: list[Listener] = []
        self._pending: dict[i.CommandId, _Pending] = {}
        self._subscriptions: list[EventStream[o.Event]] = []
        self._handlers: list[Callable[[object], None]] = []
        self._calls: dict[CallId, Call] = {}
        self._prepared: set[CallId] = set()  # what the media engine keeps a setup for until CloseMedia
        self._next_command = 0
        self._next_call = 0
        self._next_name = 0
        self.timer = EngineTimer(runtime, self.engine.next_timeout, lambda: self.step(i.TimeoutElapsed()))
        self._flow_gone = runtime.event()
        self._closed = False

    # -- the driver: inputs in, outputs carried out in order -----------------------------------------------------------

    def step(self, what: object) -> None:
        """Gives one input to the engine and carries out its outputs. Never waits."""
        if self._closed:
            return
        self._tap.tell("in", what)
        for output in self.engine.handle(what, self.runtime.now()):
            self._tap.tell("out", output)
            self._carry_out(output)
        self.timer.look()

    def _carry_out(self, output: Any) -> None:
        if isinstance(output, MediaOperation):
            if self._media is not None:
                if isinstance(output, CloseMedia):
                    self._prepared.discard(output.call)
                self._media.perform(output, self._media_reported)
            return
        match output:
            case o.SendData(flow=flow, data=data):
                if (runner := self._flows.get(flow)) is not None:
                    runner.send(data)
            case o.OpenFlow(flow=flow, server=server, transport=transport):
                self._flows[flow] = Flow(self.runtime, flow, self.step)
                self._tasks.start_soon(self._run_flow, flow, lambda: self._opened(server, transport))
            case o.CloseFlow(flow=flow):
                if (runner := self._flows.get(flow)) is not None:
                    runner.close()
            case o.CommandSucceeded(command=command) | o.CommandFailed(command=command):
                if (pending := self._pending.get(command)) is not None:
                    pending.outcome = output
                    pending.done.set()
            case _:
                self._publish(output)

    def _media_reported(self, reply: MediaInput) -> None:
        """May be called on any thread."""
        try:
            self._from_thread(lambda: self.step(reply))
        except RuntimeError:
            pass  # the loop is gone, and with it everybody who could care

    async def _run_flow(self, flow: FlowId, opening: Callable[[], Coroutine[Any, Any, Channel]]) -> None:
        try:
            await self._flows[flow].run(opening)
        finally:
            del self._flows[flow]
            self._flow_gone.set()

    async def _opened(self, server: str, transport: str | None) -> Channel:
        opening = Opening(runtime=self.runtime, settings=self._settings, transport=transport)
        return await self._settings.transport_of(server).open(server, opening)

    async def serve_channel(self, channel: Channel) -> None:
        """Serves a peer that has come to us over a channel, until it goes; closes the channel.

        For servers of one's own: `listen` does this for each peer. Above `max_accepted` the channel is closed at once.
        """

        async def ready() -> Channel:
            return channel

        if sum(flow < 0 for flow in self._flows) >= self._settings.max_accepted or self._closed:
            await channel.aclose()
            return
        self._accepted -= 1
        self._flows[self._accepted] = Flow(self.runtime, self._accepted, self.step)
        await self._run_flow(self._accepted, ready)

    # -- what is heard -----------------------------------------------------------------------------------------------

    def events(
        self, wanted: Callable[[o.Event], bool] = lambda _: True, last: Callable[[o.Event], bool] = lambda _: False
    ) -> Subscription:
        """The events from now on that `wanted` chooses, up to the one that `last` chooses.

        Use it as a context manager, iterate with `async for`. What `wanted` or `last` raises ends the iteration, as its error.
        """
        subscription = Subscription(self.runtime, wanted, last, self._unsubscribe)
        self._subscriptions.append(subscription)
        return subscription

    def _unsubscribe(self, subscription: EventStream[o.Event]) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def on_event(self, handler: Callable[[object], None]) -> None:
        """Has each event told to `handler` at once, before any outcome that it led to. It must not wait, nor give the endpoint
        anything to do. What it raises is logged, and disturbs nobody else.
        """
        self._handlers.append(handler)

    def _publish(self, event: o.Event) -> None:
        ident: CallId | None = getattr(event, "call", None)
        if isinstance(event, o.IncomingCall):
            self._calls[event.call] = Call(self, event.call, event)
        call = self._calls.get(ident) if ident is not None else None
        if call is not None:
            call.note(event)
        for subscription in list(self._subscriptions):
            subscription.offer(event)
        for handler in self._handlers:
            call_logged(handler, event)
        if isinstance(event, o.CallEnded):
            self._forget(event.call)

    def _forget(self, call: CallId) -> None:
        self._calls.pop(call, None)
        if call in self._prepared:  # for a call that came to no media
            self._carry_out(CloseMedia(call=call))

    def incoming_calls(self) -> IncomingCalls:
        """Every incoming call from now on. Answer or hang up each; else it is refused after `waits.answer`."""
        return IncomingCalls(self)

    def call_of(self, ident: CallId) -> Call | None:
        """The call of that name, while it lasts."""
        return self._calls.get(ident)

    # -- commands ----------------------------------------------------------------------------------------------------

    async def run(self, make: Callable[[i.CommandId], object]) -> object:
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

    def tell(self, make: Callable[[i.CommandId], object]) -> None:
        """Gives a command whose outcome nobody waits for. Fine when it is not possible any more."""
        self._next_command += 1
        try:
            self.step(make(self._next_command))
        except LocalProtocolError:
            pass  # it is over already

    async def connect(self, *servers: str | i.Server) -> None:
        """Connects to a server, e.g. `wss://sip.example.com/ws` or `sip:example.com;transport=tcp`, or to the first of several.

        Those of the greatest `Server.weight` are tried first, equal ones (a text weighs 1) in an order of chance.
        """
        known = tuple(i.Server(url=server) if isinstance(server, str) else server for server in servers)
        for server in known:
            self._settings.host_of(server.url)
        await self.run(lambda n: i.Connect(command=n, server=known))

    async def hurry_connection(self) -> None:
        """Tries for a lost connection at once. Calls that wait for it go on waiting when that fails."""
        await self.run(lambda n: i.HurryConnection(command=n))

    async def disconnect(self) -> None:
        """Closes the connection and does not try for another. Calls end without a word to their peers."""
        await self.run(lambda n: i.Disconnect(command=n))

    async def set_secrets(self, *secrets: Credential) -> None:
        """Passwords and tokens to use from the next request on, in place of those of the configuration."""
        await self.run(lambda n: i.SetSecrets(command=n, secrets=secrets))

    async def listen(self, address: str, *, tls: ssl.SSLContext | None = None) -> Listener:
        """Listens for peers at `udp:ADDRESS:PORT`, `tcp:` or, with a certificate in `tls`, `tls:`, until `close` of what
        it returns or the end of the endpoint.

        Raises OSError when the address cannot be used, LocalProtocolError for what is none.
        """
        if self._closed:
            raise EndpointClosed("the endpoint is closed")
        where = parse_listen_address(address)
        if (where.transport == "TLS") != (tls is not None):
            raise LocalProtocolError("listening with TLS takes a certificate, listening without it none")
        listener = Listener(self.runtime, where, tls, self.serve_channel, self._settings.udp_idle)
        self._listeners.append(listener)
        self._tasks.start_soon(self._run_listener, listener)
        try:
            await listener.wait_started()
        except BaseException:
            listener.close()
            raise
        return listener

    async def _run_listener(self, listener: Listener) -> None:
        try:
            await listener.run()
        finally:
            self._listeners.remove(listener)

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
        codecs: CodecPreferences = ALL_CODECS,
        setup: object = None,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
        late_offer: bool = False,
    ) -> Call:
        """Calls `target` and waits until the call is established.

        `media`: pairs of kind and direction; `codecs`: which to prefer and leave out; `setup`: what the media engine sends
        and does with what it gets, passed to its `prepare`. When the waiting is cancelled the call is given up, too.

        `late_offer`: the peer makes the offer, when it answers. Without `media` here somebody has to `answer` the call
        when its event CallOffered comes. Raises LocalProtocolError when neither media nor a body nor that is given.
        """
        call = call or self.new_call()
        ident = call.ident
        return await self._make(
            call,
            setup,
            lambda n: i.Invite(
                command=n,
                call=ident,
                target=target,
                media=media,
                codecs=codecs,
                body=body,
                headers=headers,
                late_offer=late_offer,
            ),
        )

    async def _make(self, call: Call, setup: object, command: Callable[[i.CommandId], i.Command]) -> Call:
        if self._calls.get(call.ident) is not call or call.ident in self.agent.calls:
            raise LocalProtocolError(f"call {call.ident!r} was made before")
        established = False
        try:
            self.prepare(call.ident, setup)
            await self.run(command)
            established = True
        finally:
            if not established:
                self.give_up(call)
        return call

    async def accept_transfer(
        self,
        requested: o.TransferRequested,
        media: Media = (),
        *,
        call: Call | None = None,
        setup: object = None,
        body: bytes = b"",
    ) -> Call:
        """Makes the call that a peer asks for (a TransferRequested event), and waits until it is established.

        `call`: one of `new_call`, to hear its events from the start.
        """
        call = call or self.new_call()
        return await self._make(
            call,
            setup,
            lambda n: i.AcceptTransfer(command=n, transfer=requested.transfer, call=call.ident, media=media, body=body),
        )

    async def reject_transfer(self, requested: o.TransferRequested, status: int = 603) -> None:
        """Does not make the call that a peer asks for."""
        await self.run(lambda n: i.RejectTransfer(command=n, transfer=requested.transfer, status=status))

    def give_up(self, call: Call) -> None:
        """Ends a call in whatever state it is, waiting for nothing. Fine when it has ended."""
        if call.ended is None and call.ident in self.agent.calls:
            self._next_command += 1
            self.step(i.HangUp(command=self._next_command, call=call.ident))
        self._forget(call.ident)

    def prepare(self, call: CallId, setup: object) -> None:
        """Tells the media engine what a call sends and does with what it gets. Nothing, when the call has ended."""
        prepare = getattr(self._media, "prepare", None)
        if setup is not None and prepare is not None and call in self._calls:
            self._prepared.add(call)
            prepare(call, setup)

    @property
    def has_media(self) -> bool:
        """Whether there is a media engine."""
        return self._media is not None

    def media_method(self, name: str) -> Callable[..., Any]:
        """A method that a media engine may have beyond its port. Raises FramesUnsupported when it has not."""
        method: Callable[..., Any] | None = getattr(self._media, name, None)
        if method is None:
            raise FramesUnsupported(f"the media engine of this endpoint has no {name}")
        return method

    async def send_message(self, target: str, body: str, content_type: str = "text/plain") -> int:
        """An instant message; returns the status of the answer."""
        result = await self.run(
            lambda n: i.SendMessage(command=n, target=target, body=body.encode(), content_type=content_type)
        )
        return int(str(result))

    async def options(
        self,
        target: str,
        timeout: float | None = None,
        *,
        body: str = "",
        content_type: str = "text/plain",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> int:
        """Asks whether somebody is there; returns the status of the answer, whatever it is."""
        result = await self.run(
            lambda n: i.SendOptions(
                command=n,
                target=target,
                timeout=timeout,
                body=body.encode(),
                content_type=content_type,
                headers=headers,
            )
        )
        return int(str(result))

    # -- events ------------------------------------------------------------------------------------------------------

    def _new_name(self) -> str:
        self._next_name += 1
        return f"own-{self._next_name}"

    def subscribe(
        self,
        target: str,
        event: str,
        *,
        expires: int = 3600,
        accept: tuple[str, ...] = (),
        content_type: str = "",
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> EventSubscription:
        """What `target` tells of `event`: `async with endpoint.subscribe(...) as notifications`. 0 seconds ask once."""
        return EventSubscription(
            self,
            i.Subscribe(
                command=0,
                subscription=self._new_name(),
                target=target,
                event=event,
                expires=expires,
                accept=accept,
                content_type=content_type,
                body=body,
                headers=headers,
            ),
        )

    def watchers(self) -> Watchers:
        """The peers that subscribe to us from now on, to one of `config.events`."""
        return Watchers(self)

    def publish(self, target: str, event: str, content_type: str, body: bytes, *, expires: int = 3600) -> Publication:
        """Publishes our state: `async with endpoint.publish(...) as publication`."""
        return Publication(
            self,
            i.Publish(
                command=0,
                publication=self._new_name(),
                target=target,
                event=event,
                content_type=content_type,
                body=body,
                expires=expires,
            ),
        )

    # -- the end -----------------------------------------------------------------------------------------------------

    async def run_in(self, background: Background) -> None:
        """Runs the tasks of the endpoint. It ends with them: without them nothing comes of any command."""
        try:
            await background.run()
        finally:
            self.close()

    async def shut_down(self) -> None:
        """Ends calls, registration and connections in order, within the agent's `waits.shutdown`."""
        if not self._closed:
            try:
                await self.run(lambda n: i.Shutdown(command=n))
            except SipProtoError:
                pass  # the time was up: what the server did not confirm is over all the same
            for listener in self._listeners:
                listener.close()
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
    trace: Trace | None = None,
    around: MakeEngine | None = None,
) -> AsyncIterator[Endpoint]:
    """An endpoint for the length of a block. On leaving it, also by cancellation, calls and registration are ended.

    An error of the block comes out as itself, not in an exception group. trace: where to record all that the engine is
    given and answers (docs/trace.md); OSError when that file cannot be made. tap: told each input ("in") and output ("out") of
    the engine; one that raises is logged, and told no more. around: makes the engine to be driven, out of the agent and the
    way to drive that one.
    """
    background = Background(runtime)
    with recording(trace, config) as recorder:
        endpoint = Endpoint(
            runtime,
            config,
            background,
            media=media,
            flow=flow or FlowSettings(),
            tap=tap,
            recorder=recorder,
            around=around,
        )
        async with plain_task_group(runtime) as tasks:
            tasks.start_soon(endpoint.run_in, background)
            try:
                await background.wait_ready()
                background.start_soon(endpoint.timer.run)
                yield endpoint
            finally:
                try:
                    with runtime.shield(config.waits.shutdown + 2.0):
                        await endpoint.shut_down()
                finally:
                    endpoint.close()
                    background.cancel()
