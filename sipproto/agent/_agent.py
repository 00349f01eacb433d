"""The user agent engine: inputs in, outputs out."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent._alone import check_headers, check_target, send_alone
from sipproto.agent._call import Call
from sipproto.agent._hub import ALLOW, Flow, Hub
from sipproto.agent._incoming import ACCEPTED_BODIES, refusal
from sipproto.agent._registration import Registrar
from sipproto.agent.config import AgentConfig
from sipproto.agent.outputs import (
    Cause,
    CloseFlow,
    ConnectionChanged,
    ConnectionState,
    MediaChanged,
    MessageReceived,
    OpenFlow,
    Output,
    SendData,
)
from sipproto.dialog import build_response, dialog_key
from sipproto.errors import Fault, FramingError, LocalProtocolError, MessageSyntaxError
from sipproto.message import (
    KeepAlive,
    Request,
    Response,
    StreamParser,
    fields,
    parse_message,
    validate,
)
from sipproto.tokens import token
from sipproto.transaction import AckReceived, FlowId, RequestReceived, StrayResponse

_KEEP_ALIVE = (b"\r\n\r\n", b"\r\n")


class UserAgent:
    """A SIP user agent without I/O.

    Give every input to `handle` and carry out all that it returns, in order. Then arm one timer for `next_timeout()` and
    give `TimeoutElapsed` when it is due. Nothing else has to be remembered: there is no second call.

    The same configuration, the same token source and the same inputs at the same times give the same outputs, octet for
    octet.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._hub = hub = Hub(config)
        self._registrar = Registrar(hub)
        self._calls: dict[m.CallId, Call] = {}
        self._ending: dict[
            Call, None
        ] = {}  # over for the application, with messages still to come; their names are free
        self._connecting: tuple[FlowId, i.CommandId | None, str] | None = None
        self._shutdown: i.CommandId | None = None
        self._is_shut = False
        self._next_flow = 1
        self._call_number = 0
        hub.on_request = self._request
        hub.on_ack = self._ack
        hub.on_stray = self._stray

    # -- the contract ------------------------------------------------------------------------------------------------

    def handle(self, what: i.Input, now: float) -> tuple[Output, ...]:
        """Takes one input at the time `now` (monotonic seconds; an earlier value counts as the latest one seen).

        Returns every output, in the order in which they have to be carried out. Never raises for what a peer did.

        Raises LocalProtocolError for a command that is not possible now; nothing has changed then, and the command has
        no outcome.
        """
        hub = self._hub
        hub.out = []
        now = max(now, hub.now)
        if not isinstance(what, i.TimeoutElapsed):  # there each timer sets the time to its own deadline
            hub.now = now
        _HANDLERS[type(what)](self, what, now)
        hub.now = now
        if self._shutdown is not None:
            self._shutdown_if_idle()
        out, hub.out = hub.out, []
        return tuple(out)

    def next_timeout(self) -> float | None:
        """When `TimeoutElapsed` is wanted at the latest; None when nothing is waited for."""
        return self._hub.timers.next_timeout()

    @property
    def calls(self) -> tuple[m.CallId, ...]:
        """The calls that the application knows of."""
        return tuple(self._calls)

    def descriptions(self, call: m.CallId) -> tuple[bytes, bytes]:
        """The last local and remote session descriptions of a call that is negotiated here; b"" for none.

        Raises LocalProtocolError when there is no such call.
        """
        session = self._call(call).session
        return (session.local_description, session.remote_description)

    @property
    def instance_id(self) -> str:
        return self._hub.instance_id

    def timers(self) -> list[tuple[object, str, float]]:
        """Every running timer as (owner, name, deadline), for debugging: why the next wake-up exists."""
        return [(owner, name, when) for owner, name, when in self._hub.timers.running()]

    @property
    def retained(self) -> dict[str, int]:
        """How much is held: for tests and monitoring. All zero in an idle agent without calls."""
        hub = self._hub
        return {
            "calls": len(self._calls) + len(self._ending),
            "dialogs": len(hub.dialogs),
            "transactions": len(hub.transactions),
            "exchanges": len(hub.exchanges),
            "media_requests": len(hub.media_requests),
            "timers": len(hub.timers),
        }

    # -- time and flows ----------------------------------------------------------------------------------------------

    def _time(self, _: i.TimeoutElapsed, now: float) -> None:
        self._hub.fire_due(now)

    def _connect(self, command: i.Connect, _: float) -> None:
        self._alive()
        if self._hub.server_flow is not None or self._connecting is not None:
            raise LocalProtocolError("there is a connection already")
        flow = self._next_flow
        self._next_flow += 1
        self._connecting = (flow, command.command, command.server)
        self._hub.emit(ConnectionChanged(state=ConnectionState.CONNECTING))
        self._hub.emit(OpenFlow(flow=flow, server=command.server))
        self._hub.start_timer(("flow", flow), "open", self._hub.config.waits.connect, self._connect_timed_out)

    def _connect_timed_out(self, _: str) -> None:
        if self._connecting is not None:
            flow = self._connecting[0]
            self._hub.emit(CloseFlow(flow=flow))
            self._not_connected(f"no connection within {self._hub.config.waits.connect:g} s", Cause.REQUEST_TIMEOUT)

    def _not_connected(self, error: str, cause: Cause = Cause.CONNECTION_ERROR) -> None:
        assert self._connecting is not None
        flow, command, _ = self._connecting
        self._connecting = None
        self._hub.forget_owner(("flow", flow), "open")
        self._hub.fail(command, cause, error)
        self._hub.emit(ConnectionChanged(state=ConnectionState.DISCONNECTED, error=error))

    def _flow_opened(self, opened: i.FlowOpened, _: float) -> None:
        hub = self._hub
        if opened.flow in hub.flows:
            raise LocalProtocolError(f"flow {opened.flow} is open already")
        ours = self._connecting is not None and self._connecting[0] == opened.flow
        if not ours and opened.flow < self._next_flow and opened.flow > 0:
            hub.emit(CloseFlow(flow=opened.flow))  # we have given it up meanwhile
            return
        transport = opened.transport.upper()
        stream = StreamParser(hub.config.limits.message) if transport in ("TCP", "TLS") else None
        hub.flows[opened.flow] = Flow(ident=opened.flow, transport=transport, local=opened.local, stream=stream)
        if ours and self._connecting is not None:
            command = self._connecting[1]
            self._connecting = None
            hub.forget_owner(("flow", opened.flow), "open")
            hub.server_flow = opened.flow
            hub.succeed(command)
            hub.emit(ConnectionChanged(state=ConnectionState.CONNECTED))

    def _open_failed(self, failed: i.OpenFlowFailed, _: float) -> None:
        if self._connecting is not None and self._connecting[0] == failed.flow:
            self._not_connected(failed.error)

    def _flow_closed(self, closed: i.FlowClosed, _: float) -> None:
        self._lose_flow(closed.flow, closed.error or "the server closed the connection")

    def _lose_flow(self, flow: FlowId, error: str | None) -> None:
        hub = self._hub
        if self._connecting is not None and self._connecting[0] == flow:
            self._not_connected(error or "the connection was closed")
            return
        if hub.flows.pop(flow, None) is None:
            return
        ours = hub.server_flow == flow
        if ours:
            hub.server_flow = None
            hub.emit(ConnectionChanged(state=ConnectionState.DISCONNECTED, error=error))
            self._registrar.flow_lost()
            hub.authenticator.forget()
        for call in [*self._calls.values(), *self._ending]:
            if call.flow == flow:
                call.flow_lost()
        hub.dispatch(hub.transactions.flow_closed(flow, hub.now))
        hub.drop_flow(flow)

    # -- octets ------------------------------------------------------------------------------------------------------

    def _data(self, received: i.DataReceived, _: float) -> None:
        hub = self._hub
        flow = hub.flows.get(received.flow)
        if flow is None:
            return  # closed meanwhile
        if flow.stream is not None:
            self._stream_data(flow, flow.stream, received.data)
            return
        if received.data in _KEEP_ALIVE:
            if received.data == _KEEP_ALIVE[0]:  # RFC 5626 4.4.1: a ping is answered with a pong
                hub.emit(SendData(flow=flow.ident, data=_KEEP_ALIVE[1]))
            return
        try:
            message = parse_message(received.data, hub.config.limits.message)
        except MessageSyntaxError as error:
            hub.violation(flow.ident, error.fault, error.detail)
            return
        self._take_message(message, flow)

    def _stream_data(self, flow: Flow, stream: StreamParser, data: bytes) -> None:
        try:
            items = stream.feed(data)
        except FramingError as error:  # 18.3: where the next message begins cannot be known any more
            self._hub.violation(flow.ident, error.fault, error.detail)
            self._hub.emit(CloseFlow(flow=flow.ident))
            self._lose_flow(flow.ident, f"the stream of the server cannot be read: {error.detail}")
            return
        for item in items:
            if item is KeepAlive.PING:
                self._hub.emit(SendData(flow=flow.ident, data=_KEEP_ALIVE[1]))
            elif not isinstance(item, KeepAlive):
                self._take_message(item, flow)

    def _take_message(self, message: Request | Response, flow: Flow) -> None:
        hub = self._hub
        fault = validate(message)
        if fault is not None:
            hub.violation(flow.ident, fault.fault, fault.detail)
            if isinstance(message, Request):
                self._answer_fault(message, fault, flow.ident)
            return
        if isinstance(message, Response) and len(message.headers.all(fields.VIA)) > 1:
            hub.violation(flow.ident, Fault.BAD_HEADER, "a response with more than one Via is not for us (8.1.3.3)")
            return
        hub.dispatch(hub.transactions.receive(message, flow.ident, flow.reliable, hub.now))

    def _answer_fault(self, request: Request, fault: MessageSyntaxError, flow: FlowId) -> None:
        """A request that is malformed gets its status statelessly (8.2.7), if it can be answered at all."""
        headers = request.headers
        enough = all(name in headers for name in ("Via", "From", "To", "Call-ID", "CSeq"))
        if request.method == "ACK" or not enough or not fault.status_hint:
            return
        extra = [("Server", self._hub.config.user_agent)]
        response = build_response(request, fault.status_hint, to_tag=token(self._hub.tokens), extra=extra)
        self._hub.emit(SendData(flow=flow, data=response.to_bytes()))

    # -- requests of peers -------------------------------------------------------------------------------------------

    def _request(self, received: RequestReceived) -> None:
        request, hub = received.request, self._hub
        if request.method == "CANCEL":
            self._cancel(received)
            return
        if request.method == "INVITE":
            hub.respond(received, 100)  # 17.2.1: at once, so that it is not repeated
        problem = refusal(hub, received)
        if problem is not None:
            status, extra = problem
            hub.respond(received, status, extra=extra)
            return
        key = dialog_key(request)
        if key[1]:
            user = hub.dialogs.get(key)
            if user is None:
                hub.respond(received, 481)
            else:
                user.on_request(received)
            return
        match request.method:
            case "INVITE":
                self._incoming_call(received)
            case "OPTIONS":
                extra = [("Allow", ALLOW), ("Accept", ", ".join(ACCEPTED_BODIES))]
                hub.respond(received, 200, extra=extra)
            case "MESSAGE":
                self._message(received)
            case _:  # BYE and INFO belong into dialogs
                hub.respond(received, 481)

    def _cancel(self, received: RequestReceived) -> None:
        if received.cancels is None:
            self._hub.respond(received, 481)
            return
        self._hub.respond(received, 200)
        for call in list(self._calls.values()):
            call.cancelled(received)

    def _incoming_call(self, received: RequestReceived) -> None:
        hub = self._hub
        if self._is_shut:
            hub.respond(received, 480)
            return
        if len(self._calls) >= hub.config.limits.calls:
            hub.respond(received, 486)
            return
        self._call_number += 1
        while (name := f"in-{self._call_number}") in self._calls:
            self._call_number += 1
        call = Call(hub, name, received.flow, self._over, self._forget)
        try:
            self._calls[name] = call
            call.start_incoming(received)
        except MessageSyntaxError as error:
            del self._calls[name]
            hub.respond(received, error.status_hint or 400, reason="Missing Contact")
            hub.violation(received.flow, error.fault, error.detail)

    def _message(self, received: RequestReceived) -> None:
        request, hub = received.request, self._hub
        if not hub.config.accept_messages:
            hub.respond(received, 405, extra=[("Allow", ALLOW)])
            return
        sender = request.headers.require(fields.FROM)
        hub.respond(received, 200)
        hub.emit(
            MessageReceived(
                from_uri=str(sender.uri),
                display_name=sender.display_name,
                content_type=request.headers.first("Content-Type") or "",
                body=request.body,
            )
        )

    def _ack(self, received: AckReceived) -> None:
        user = self._hub.dialogs.get(dialog_key(received.request))
        if user is not None:
            user.on_ack(received.request)

    def _stray(self, stray: StrayResponse) -> None:
        cseq = stray.response.headers.get(fields.CSEQ)
        if cseq is None or stray.response.status < 200:
            return
        self._hub.violation(
            stray.flow, Fault.BAD_HEADER, f"a {stray.response.status} to {cseq} matches no request of ours"
        )

    def _over(self, call: Call) -> None:
        """The application has been told of the end: the name is free, messages may still have to be exchanged."""
        if self._calls.get(call.ident) is call:
            del self._calls[call.ident]
            self._ending[call] = None

    def _forget(self, call: Call) -> None:
        self._ending.pop(call, None)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        if self._is_shut:
            raise LocalProtocolError("the agent has been shut down")

    def _call(self, ident: m.CallId) -> Call:
        call = self._calls.get(ident)
        if call is None:
            raise LocalProtocolError(f"there is no call {ident!r}")
        return call

    def _register(self, command: i.Register, _: float) -> None:
        self._alive()
        if command.expires is not None and not 1 <= command.expires <= 86_400 * 7:
            raise LocalProtocolError("a registration lasts 1 s to 7 days; use Unregister to end it")
        self._registrar.register(command.command, command.expires)

    def _unregister(self, command: i.Unregister, _: float) -> None:
        self._registrar.unregister(command.command)

    def _invite(self, command: i.Invite, _: float) -> None:
        self._alive()
        flow = self._hub.require_server_flow()
        check_target(command.target)
        if command.call in self._calls:
            raise LocalProtocolError(f"there is a call {command.call!r} already")
        if len(self._calls) >= self._hub.config.limits.calls:
            raise LocalProtocolError(f"there are {len(self._calls)} calls, which is the limit")
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        call = Call(self._hub, command.call, flow, self._over, self._forget)
        call.session.check_media(command.media)
        self._calls[command.call] = call
        call.start_outgoing(command)

    def _answer(self, command: i.Answer, _: float) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        call = self._call(command.call)
        call.answer(command)

    def _hang_up(self, command: i.HangUp, _: float) -> None:
        if command.reason is not None:
            check_headers((("Reason", command.reason),))
        if not 300 <= command.status <= 699:
            raise LocalProtocolError("a refusal has a status of 300 to 699")
        self._call(command.call).hang_up(command.status, command.reason)
        self._hub.succeed(command.command)

    def _hold(self, command: i.Hold, _: float) -> None:
        self._call(command.call).session.set_hold(command.command, True)

    def _resume(self, command: i.Resume, _: float) -> None:
        self._call(command.call).session.set_hold(command.command, False)

    def _send_info(self, command: i.SendInfo, _: float) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self._call(command.call).incall.send_info(command)

    def _send_dtmf(self, command: i.SendDtmf, _: float) -> None:
        self._call(command.call).incall.send_dtmf(command)

    def _get_stats(self, command: i.GetStats, _: float) -> None:
        self._call(command.call).incall.get_stats(command)

    def _send_message(self, command: i.SendMessage, _: float) -> None:
        self._alive()
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        content: list[tuple[str, object]] = [("Content-Type", command.content_type), *command.headers]
        send_alone(self._hub, "MESSAGE", command.command, command.target, content, command.body, None, any_final=False)

    def _send_options(self, command: i.SendOptions, _: float) -> None:
        self._alive()
        content: list[tuple[str, object]] = [("Accept", ", ".join(ACCEPTED_BODIES)), ("Allow", ALLOW)]
        send_alone(self._hub, "OPTIONS", command.command, command.target, content, b"", command.timeout, any_final=True)

    def _shut_down(self, command: i.Shutdown, _: float) -> None:
        self._alive()
        self._is_shut = True
        self._shutdown = command.command
        for call in list(self._calls.values()):
            call.hang_up(480, None)
        if self._connecting is not None:
            self._hub.emit(CloseFlow(flow=self._connecting[0]))
            self._not_connected("the agent was shut down")
        self._registrar.unregister(None)
        self._hub.start_timer(("shutdown",), "limit", self._hub.config.waits.shutdown, lambda _: self._shut(True))

    def _shutdown_if_idle(self) -> None:
        if not self._calls and not self._ending and not self._registrar.is_busy and not self._hub.is_waiting:
            self._shut(False)

    def _shut(self, forced: bool) -> None:
        command, self._shutdown = self._shutdown, None
        self._hub.forget_owner(("shutdown",), "limit")
        for flow in list(self._hub.flows):
            self._hub.emit(CloseFlow(flow=flow))
            self._lose_flow(flow, None)
        if forced:
            self._hub.fail(command, Cause.REQUEST_TIMEOUT, "the server did not confirm the end in time")
        else:
            self._hub.succeed(command)

    # -- media -------------------------------------------------------------------------------------------------------

    def _media_reply(self, reply: m.MediaOpened | m.MediaApplied | m.StatsCollected | m.MediaFailed, _: float) -> None:
        self._hub.media_reply(reply.request, reply)

    def _media_state(self, changed: m.MediaStateChanged, _: float) -> None:
        call = self._calls.get(changed.call)
        if call is None or call.is_over:
            return
        self._hub.emit(MediaChanged(call=changed.call, state=changed.state))
        if changed.state is m.MediaState.FAILED:
            call.media_broken("the media connection failed")


_HANDLERS: dict[type, Callable[..., None]] = {
    i.TimeoutElapsed: UserAgent._time,
    i.FlowOpened: UserAgent._flow_opened,
    i.OpenFlowFailed: UserAgent._open_failed,
    i.FlowClosed: UserAgent._flow_closed,
    i.DataReceived: UserAgent._data,
    i.Connect: UserAgent._connect,
    i.Register: UserAgent._register,
    i.Unregister: UserAgent._unregister,
    i.Invite: UserAgent._invite,
    i.Answer: UserAgent._answer,
    i.HangUp: UserAgent._hang_up,
    i.Hold: UserAgent._hold,
    i.Resume: UserAgent._resume,
    i.SendInfo: UserAgent._send_info,
    i.SendDtmf: UserAgent._send_dtmf,
    i.SendMessage: UserAgent._send_message,
    i.SendOptions: UserAgent._send_options,
    i.GetStats: UserAgent._get_stats,
    i.Shutdown: UserAgent._shut_down,
    m.MediaOpened: UserAgent._media_reply,
    m.MediaApplied: UserAgent._media_reply,
    m.StatsCollected: UserAgent._media_reply,
    m.MediaFailed: UserAgent._media_reply,
    m.MediaStateChanged: UserAgent._media_state,
}
