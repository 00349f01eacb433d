"""From octets to transactions: framing, parsing, the checks that hold for every message, keep-alives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve

from sipproto.agent._hub import Flow, Hub
from sipproto.agent.inputs import DataReceived
from sipproto.agent.outputs import CloseFlow, SendData
from sipproto.dialog import build_response
from sipproto.errors import Fault, FramingError, MessageSyntaxError
from sipproto.message import (
    Headers,
    KeepAlive,
    Request,
    Response,
    StreamParser,
    Via,
    fields,
    parse_message,
    validate,
)
from sipproto.tokens import token
from sipproto.transaction import FlowId

PING, PONG = b"\r\n\r\n", b"\r\n"  # RFC 5626 4.4.1


class Wire:
    """Takes what arrives. `lost` is called when a stream cannot be read any further.

    `pong` is called for each keep-alive, and says whether it was awaited as the answer to a ping.
    """

    def __init__(self, hub: Hub, lost: Callable[[FlowId, str], None], pong: Callable[[FlowId], bool]) -> None:
        self._hub = hub
        self._lost = lost
        self._pong = pong

    def data(self, received: DataReceived) -> None:
        hub = self._hub
        flow = hub.flows.get(received.flow)
        if flow is None:
            return  # closed meanwhile
        if flow.stream is not None:
            self._stream_data(flow, flow.stream, received.data)
            return
        if received.data == PONG:
            self._pong(flow.ident)
            return
        if received.data == PING:
            self._hub.emit(SendData(flow=flow.ident, data=PONG))
            return
        try:
            message = parse_message(received.data, hub.config.limits.message)
        except MessageSyntaxError as error:
            hub.violation(flow.ident, error.fault, error.detail)
            if error.fault is Fault.TOO_LARGE:
                self._answer_oversized(received.data, error, flow)
            return
        self._take_message(message, flow)

    def _answer_oversized(self, data: bytes, error: MessageSyntaxError, flow: Flow) -> None:
        """21.5.7: a request that is too large gets 513, if its headers alone are not."""
        end = data.find(PING, 0, self._hub.config.limits.message.max_size - len(PING)) + len(PING)
        try:
            message = parse_message(data[:end], self._hub.config.limits.message)
        except MessageSyntaxError:
            return
        if isinstance(message, Request):
            self._answer_fault(_with_origin(message, flow), error, flow.ident)

    def _stream_data(self, flow: Flow, stream: StreamParser, data: bytes) -> None:
        fault: FramingError | None = None
        try:
            items: Iterable[object] = stream.feed(data)
        except FramingError as error:
            items, fault = error.before, error
        for item in items:
            if isinstance(item, KeepAlive):
                self._keep_alive(flow, item)
            elif isinstance(item, Request | Response):
                self._take_message(item, flow)
        if fault is not None and flow.ident in self._hub.flows:
            # 18.3: where the next message begins cannot be known any more
            self._hub.violation(flow.ident, fault.fault, fault.detail)
            self._hub.emit(CloseFlow(flow=flow.ident))
            self._lost(flow.ident, f"the stream of the server cannot be read: {fault.detail}")

    def _keep_alive(self, flow: Flow, what: KeepAlive) -> None:
        """A line end between the messages of a stream, where two answers to pings of ours have the octets of a ping."""
        awaited = self._pong(flow.ident)
        if what is KeepAlive.PING and not (awaited and flow.ponged):
            self._hub.emit(SendData(flow=flow.ident, data=PONG))
        flow.ponged = awaited

    def _take_message(self, message: Request | Response, flow: Flow) -> None:
        hub = self._hub
        fault = validate(message)
        if isinstance(message, Request):
            message = _with_origin(message, flow)
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


def _with_origin(request: Request, flow: Flow) -> Request:
    """Notes in the top Via where a request came from (18.2.1; RFC 3581 4): its answers carry that back.

    A WebSocket client has a host that nobody can reach, by design (RFC 7118 5): there it would say nothing.
    """
    if flow.remote is None or flow.is_websocket:
        return request
    via = request.headers.get(fields.VIA)
    if via is None:
        return request
    host, port = flow.remote
    noted = _noted(via, host, port)
    if noted is via:
        return request
    rest = request.headers.entries(fields.VIA)[1:]
    if any(isinstance(entry, MessageSyntaxError) for entry in rest):
        return request  # it is going to be refused
    headers: Headers = request.headers.replace("Via", noted, *rest)
    return evolve(request, headers=headers)


def _noted(via: Via, host: str, port: int) -> Via:
    params = via.params
    if params.has("rport") and not params.get("rport"):
        params = params.with_("rport", str(port)).with_("received", host)
    elif via.host.strip("[]") != host:
        params = params.with_("received", host)
    return via if params is via.params else evolve(via, params=params)
