"""What all parts of an agent share: outputs, timers, tokens, flows, transactions, and requests with credentials."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from attrs import define, field

from sipproto.agent._detour import LARGEST_DATAGRAM, Detour
from sipproto.agent.config import AgentConfig
from sipproto.agent.inputs import CommandId
from sipproto.agent.media import CallId, MediaOperation, RequestId
from sipproto.agent.outputs import (
    Cause,
    CommandFailed,
    CommandSucceeded,
    Output,
    ProtocolViolated,
    SendData,
    TokenWanted,
)
from sipproto.auth import AnswerOutcome, Authenticator, AuthOutcome, Challenged
from sipproto.dialog import DialogKey, Pairs, build_response
from sipproto.errors import Fault, LocalProtocolError, excerpt
from sipproto.message import NameAddr, Params, Request, Response, SipUri, StreamParser, fields, parse_uri
from sipproto.timers import TimerTable
from sipproto.tokens import token, uuid4
from sipproto.transaction import (
    MAGIC_COOKIE,
    AckReceived,
    FlowId,
    RequestReceived,
    State,
    StrayResponse,
    TransactionEnded,
    TransactionFailed,
    TransactionId,
    TransactionLayer,
    TransactionOutput,
    Transmit,
)
from sipproto.transaction import ResponseReceived as TransactionResponse

# What we understand, and say so. Other methods are answered 405 (known) or 501 (unknown), other option tags 420.
ALLOW = "INVITE, ACK, CANCEL, BYE, INFO, MESSAGE, NOTIFY, OPTIONS, PRACK, REFER, SUBSCRIBE, UPDATE"
SUPPORTED = "100rel, gruu, norefersub, outbound, replaces, timer"
_VIA_LENGTH = 100  # about, of the one that is added
_MAX_ATTEMPTS = 8  # credentials for a few realms, and a stale nonce each; every one of them needs a new nonce


@define(kw_only=True)
class Flow:
    """An open connection."""

    ident: FlowId
    transport: str
    local: tuple[str, int] | None
    remote: tuple[str, int] | None = None
    server: str = ""  # what it was opened to; empty when the peer opened it
    stream: StreamParser | None = None  # of TCP and TLS, where messages come in pieces
    ponged: bool = False  # whether the last line end between messages was the answer to a ping of ours

    @property
    def secure(self) -> bool:
        return self.transport in ("TLS", "WSS")

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"

    @property
    def is_websocket(self) -> bool:
        return self.transport in ("WS", "WSS")


@define(kw_only=True, eq=False)
class Exchange:
    """A request and whatever it takes to get its final answer: credentials, a stale nonce, a time limit.

    `build` makes the request with the given credentials and a new sequence number. Exactly one of `on_final` and
    `on_failure` (True for a time-out) is called, unless the exchange is dropped.
    """

    flow: FlowId
    build: Callable[[Pairs], Request]
    method: str
    target: str
    on_final: Callable[[Response], None]
    on_failure: Callable[[bool], None]
    on_provisional: Callable[[Response], None] = field(default=lambda _: None)
    on_ended: Callable[[], None] = field(default=lambda: None)  # of an INVITE: no further 2xx can come
    body: bytes = b""
    timeout: float | None = None
    deadline: float | None = None
    is_wanted: Callable[[], bool] = field(default=lambda: True)  # whether it may be sent again with credentials
    attempts: int = 0
    transaction: TransactionId | None = None
    request: Request | None = None
    auth_failure: Challenged | None = None
    to: str | None = None  # the address in To; None: the target
    is_dropped: bool = False  # before it could be sent


def outcome_of_auth(exchange: Exchange) -> tuple[Cause, str]:
    """Cause and text for a request that failed with 401 or 407."""
    failure = exchange.auth_failure
    match failure and failure.outcome:
        case AuthOutcome.NO_SECRET if failure and failure.bearer:
            return Cause.NO_PASSWORD, f"the server asks for a token: {excerpt(str(failure.bearer[0]), 200)}"
        case AuthOutcome.NO_SECRET:
            return Cause.NO_PASSWORD, "the server asks for a password and none is set for its realm"
        case AuthOutcome.TOKEN_REFUSED:
            return Cause.AUTHENTICATION_ERROR, "the token was not accepted"
        case AuthOutcome.DOWNGRADE:
            return Cause.AUTHENTICATION_ERROR, "the server asks for a weaker algorithm than it did before"
        case AuthOutcome.WEAK:
            return Cause.AUTHENTICATION_ERROR, "the server asks for an algorithm that the policy does not allow"
        case AuthOutcome.UNSUPPORTED:
            return Cause.AUTHENTICATION_ERROR, "the server asks for a kind of authentication that is not supported"
        case _:
            return Cause.AUTHENTICATION_ERROR, "wrong user name or password"


def _host(address: tuple[str, int]) -> str:
    """The host of a socket address as it stands in URIs and in Via: IPv6 in brackets."""
    return f"[{address[0]}]" if ":" in address[0] else address[0]


class DialogUser(Protocol):
    """Who owns a dialog: gets the requests and the ACKs in it."""

    def on_request(self, received: RequestReceived) -> None: ...

    def on_ack(self, request: Request) -> None: ...


class Hub:
    """The ground on which registration, calls and requests stand. Not public."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.tokens = config.tokens
        self.now = self.end_of_time = float("-inf")  # the second: up to when timers may fire
        self.out: list[Output] = []
        self.timers = TimerTable()
        self.transactions = TransactionLayer(
            values=config.timers,
            timers=self.timers,
            max_server_transactions=config.limits.server_transactions,
        )
        self.authenticator = Authenticator(config.secrets, config.tokens, config.auth_policy)
        self.flows: dict[FlowId, Flow] = {}
        self.server_flow: FlowId | None = None
        self.exchanges: dict[TransactionId, Exchange] = {}
        self.dialogs: dict[DialogKey, DialogUser] = {}
        # Who waits for a NOTIFY that makes a dialog (RFC 6665 4.4.1), by Call-ID and our tag.
        self.awaited: dict[tuple[str, str], DialogUser] = {}
        self.media_requests: dict[RequestId, Callable[[object], None]] = {}
        self.media_owner: dict[RequestId, CallId] = {}
        self.via_host = f"{token(config.tokens, 12)}.invalid"
        self.contact_user = token(config.tokens, 8)
        self.instance_id = config.instance_id or f"urn:uuid:{uuid4(config.tokens)}"
        # What the registrar told us: the way for requests outside of dialogs (RFC 3608), and our address that is good
        # on every flow (RFC 5627). They live as long as the registration.
        self.service_route: tuple[NameAddr, ...] = ()
        self.public_gruu: str | None = None
        self._timer_handlers: dict[Hashable, Callable[[str], None]] = {}
        self._next_request = 0
        self._next_flow = 1
        self.detour = Detour(
            self.emit,
            lambda flow: self.lose_flow(flow, None),
            self.new_flow,
            lambda wait: self.start_timer(("detour",), "open", wait, lambda _: self.detour.timed_out()),
            lambda: self.forget_owner(("detour",), "open"),
        )
        # Set by the agent: where messages that belong to no exchange go.
        self.lose_flow: Callable[[FlowId, str | None], None] = lambda _, __: None
        self.on_request: Callable[[RequestReceived], None] = lambda _: None
        self.on_ack: Callable[[AckReceived], None] = lambda _: None
        self.on_stray: Callable[[StrayResponse], None] = lambda _: None

    # -- outputs -----------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        self._next_request += 1
        return self._next_request

    def new_flow(self) -> FlowId:
        """A number for a flow that we open."""
        self._next_flow += 1
        return self._next_flow - 1

    def was_ours(self, flow: FlowId) -> bool:
        """Whether a flow of this number has been asked for by us."""
        return 0 < flow < self._next_flow

    def emit(self, output: Output) -> None:
        self.out.append(output)

    def succeed(self, command: CommandId | None, result: object = None) -> None:
        if command is not None:
            self.emit(CommandSucceeded(command=command, result=result))

    def fail(self, command: CommandId | None, cause: Cause, detail: str, status: int | None = None) -> None:
        if command is not None:
            self.emit(CommandFailed(command=command, cause=cause, detail=detail, status=status))

    def violation(self, flow: FlowId, fault: Fault, detail: str) -> None:
        self.emit(ProtocolViolated(flow=flow, fault=fault, detail=detail))

    # -- timers ------------------------------------------------------------------------------------------------------

    def start_timer(self, owner: Hashable, name: str, delay: float, handler: Callable[[str], None]) -> None:
        """Arms a timer of `owner`; all timers of one owner share its handler."""
        self._timer_handlers[owner] = handler
        self.timers.start(owner, name, self.now + delay)

    def stop_timer(self, owner: Hashable, *names: str) -> None:
        for name in names:
            self.timers.stop(owner, name)

    def forget_owner(self, owner: Hashable, *names: str) -> None:
        """Stops these timers and drops the handler: the owner is gone."""
        self.stop_timer(owner, *names)
        self._timer_handlers.pop(owner, None)

    def fire_due(self, now: float) -> None:
        """Fires what is due, each timer as at its own deadline."""
        while (due := self.timers.pop_due(now)) is not None:
            owner, name, deadline = due
            self.now = max(self.now, deadline)
            if isinstance(owner, tuple) and owner[0] == "transaction":
                self.dispatch(self.transactions.fire(owner[1], name, deadline))
            elif (handler := self._timer_handlers.get(owner)) is not None:
                handler(name)

    # -- addresses ---------------------------------------------------------------------------------------------------

    def sent_by(self, flow: Flow) -> str:
        # RFC 7118 5: a WebSocket client has no address to be reached at; its host is a random one under .invalid.
        return self.via_host if flow.is_websocket or flow.local is None else f"{_host(flow.local)}:{flow.local[1]}"

    def contact(self, flow_id: FlowId) -> NameAddr:
        """The Contact of what makes or refreshes a dialog on this flow."""
        if self.public_gruu is not None and flow_id == self.server_flow:
            return NameAddr(parse_uri(self.public_gruu))  # RFC 5627 4.4: it finds us after the flow is gone, too
        return self.flow_contact(flow_id)

    def flow_contact(self, flow_id: FlowId) -> NameAddr:
        """The Contact that is bound by a registration: where this very flow leads."""
        flow = self.flows.get(flow_id)
        host, port, params = self.via_host, None, Params((("transport", "ws"),))
        if flow is not None and not flow.is_websocket and flow.local is not None:
            host, port = _host(flow.local), flow.local[1]
            params = Params((("transport", flow.transport.lower()),))
        return NameAddr(SipUri(user=self.contact_user, host=host, port=port, params=params))

    def from_address(self) -> NameAddr:
        return NameAddr(self.config.uri, self.config.display_name, Params((("tag", token(self.tokens)),)))

    def new_call_id(self) -> str:
        return token(self.tokens, 22)

    def common_headers(self) -> list[tuple[str, object]]:
        return [("User-Agent", self.config.user_agent)]

    def supported(self, *, timer: bool = False) -> str:
        """The option tags that we name. timer: also where we would not agree to session timers by ourselves (RFC 4028)."""
        agrees = timer or self.config.session_timers.agree
        return SUPPORTED if agrees else SUPPORTED.removesuffix(", timer")

    def allow_events(self) -> list[tuple[str, object]]:
        """The packages that peers may subscribe to (RFC 6665 8.2.2)."""
        events = self.config.events
        return [("Allow-Events", ", ".join(events))] if events else []

    # -- requests ----------------------------------------------------------------------------------------------------

    def require_server_flow(self) -> FlowId:
        """The flow to our server. Raises LocalProtocolError when there is none, or no room for one more request."""
        if self.server_flow is None:
            raise LocalProtocolError("not connected to a server: send Connect first")
        self.require_room()
        return self.server_flow

    def require_room(self) -> None:
        """Raises LocalProtocolError when there is no room for one more request."""
        if len(self.exchanges) >= self.config.limits.exchanges:
            raise LocalProtocolError(f"{len(self.exchanges)} requests are under way, which is the limit")

    def with_via(self, request: Request, flow_id: FlowId) -> Request:
        flow = self.flows[flow_id]
        branch = f"{MAGIC_COOKIE}{token(self.tokens)}"
        via = f"SIP/2.0/{flow.transport} {self.sent_by(flow)};branch={branch};rport"
        headers = request.headers.with_first("Via", via)
        return Request(request.method, request.target, headers, request.body)

    def start(self, exchange: Exchange) -> bool:
        """Sends the request of an exchange. False when the flow is gone; nobody is called then.

        The limit of exchanges is for the application (`require_room`): what the agent has to say itself, such as the BYE
        of a call, always goes out.
        """
        flow = self.flows.get(exchange.flow)
        if flow is None:
            return False
        credentials = self.authenticator.credentials(
            exchange.method, exchange.target, exchange.body, to=exchange.to, secure=flow.secure
        )
        exchange.transaction = None  # that of the attempt before, if there was one
        request = exchange.build(credentials)
        large = not flow.reliable and len(request.to_bytes()) > LARGEST_DATAGRAM - _VIA_LENGTH
        # Behind a request that waits for its flow all others wait, too: sequence numbers have to arrive in order.
        if exchange.flow == self.server_flow and (large or self.detour.is_opening):

            def go(by: FlowId) -> None:
                exchange.flow = by if large else exchange.flow
                if not exchange.is_dropped and not self._send(exchange, request):
                    exchange.on_failure(False)

            if self.detour.take(flow.ident, flow.server, self.config.waits.connect, go):
                return True
        return self._send(exchange, request)

    def _send(self, exchange: Exchange, request: Request) -> bool:
        flow = self.flows.get(exchange.flow)
        if flow is None:
            return False
        request = self.with_via(request, exchange.flow)
        exchange.request = request
        ident, out = self.transactions.send_request(request, exchange.flow, flow.reliable, self.now)
        exchange.transaction = ident
        self.exchanges[ident] = exchange
        if exchange.timeout is not None:
            if exchange.deadline is None:  # one limit for all attempts
                exchange.deadline = self.now + exchange.timeout
            left = exchange.deadline - self.now
            self.start_timer(("exchange", ident), "limit", left, lambda _: self._limit_passed(ident))
        self.dispatch(out)
        return True

    def drop(self, exchange: Exchange | None) -> None:
        """Forgets an exchange: nobody is called, a late answer is nobody's."""
        if exchange is not None and exchange.transaction is None:
            exchange.is_dropped = True
        elif exchange is not None and exchange.transaction is not None:
            self.exchanges.pop(exchange.transaction, None)
            self.forget_owner(("exchange", exchange.transaction), "limit")
            self.transactions.give_up(exchange.transaction, self.now)

    def drop_flow(self, flow: FlowId) -> None:
        """Forgets what is left on a flow that is gone: INVITEs that were accepted, and wait for no more than forks."""
        for exchange in [e for e in self.exchanges.values() if e.flow == flow]:
            self.drop(exchange)

    @property
    def is_waiting(self) -> bool:
        """Whether any request of ours has no final answer yet."""
        return not all(map(self.is_accepted, self.exchanges.values()))

    def is_accepted(self, exchange: Exchange) -> bool:
        """Whether it is an INVITE that was answered 2xx, and now waits for no more than answers of forks."""
        ident = exchange.transaction
        return ident is not None and self.transactions.state_of(ident) is State.ACCEPTED

    def _limit_passed(self, ident: TransactionId) -> None:
        exchange = self.exchanges.get(ident)
        if exchange is not None:
            self.transactions.abandon(ident)
            self.drop(exchange)
            exchange.on_failure(True)

    def send_alone(self, request: Request, flow_id: FlowId) -> Request | None:
        """Sends a request that is no transaction: the ACK to a 2xx. Returns it as sent; None when the flow is gone."""
        if flow_id not in self.flows:
            return None
        sent = self.with_via(request, flow_id)
        self.emit(SendData(flow=flow_id, data=sent.to_bytes()))
        return sent

    def cancel(self, invite: Request, flow_id: FlowId, extra: Pairs = ()) -> None:
        """CANCEL for an INVITE that had a provisional answer (9.1): same branch, same sequence number, no body."""
        if flow_id not in self.flows:
            return
        headers = invite.headers
        pairs: list[tuple[str, object]] = [("Via", headers.raw("Via")[0])]
        pairs += [("Route", route) for route in headers.raw("Route")]
        pairs.append(("Max-Forwards", 70))
        pairs += [(name, headers.first(name)) for name in ("From", "To", "Call-ID")]
        cseq = headers.require(fields.CSEQ)
        pairs += [("CSeq", f"{cseq.number} CANCEL"), *extra, *self.common_headers(), ("Content-Length", 0)]
        request = Request("CANCEL", invite.target, type(headers)(pairs))
        _, out = self.transactions.send_request(request, flow_id, self.flows[flow_id].reliable, self.now)
        self.dispatch(out)  # nobody waits for its answer: the INVITE's is what counts

    def send_again(self, request: Request, flow_id: FlowId) -> None:
        """The same octets once more: the ACK to a repeated 2xx."""
        if flow_id in self.flows:
            self.emit(SendData(flow=flow_id, data=request.to_bytes()))

    def response(
        self,
        received: RequestReceived,
        status: int,
        *,
        reason: str | None = None,
        to_tag: str | None = None,
        extra: Pairs = (),
        body: bytes = b"",
    ) -> Response:
        """A response of ours; a tag is made when none is given."""
        pairs: list[tuple[str, object]] = [*extra, ("Server", self.config.user_agent)] if status > 100 else [*extra]
        tag = to_tag if to_tag is not None or status == 100 else token(self.tokens)
        return build_response(received.request, status, reason=reason, to_tag=tag, extra=pairs, body=body)

    def respond(
        self,
        received: RequestReceived,
        status: int,
        *,
        reason: str | None = None,
        to_tag: str | None = None,
        extra: Pairs = (),
        body: bytes = b"",
    ) -> None:
        """Answers a request. Does nothing when its transaction is gone: the flow was lost, or it was answered."""
        if self.transactions.state_of(received.transaction) is not None:
            response = self.response(received, status, reason=reason, to_tag=to_tag, extra=extra, body=body)
            self.dispatch(self.transactions.respond(received.transaction, response, self.now))

    # -- what transactions say ---------------------------------------------------------------------------------------

    def dispatch(self, outputs: list[TransactionOutput]) -> None:
        for output in outputs:
            match output:
                case Transmit(flow=flow, data=data):
                    if flow in self.flows:
                        self.emit(SendData(flow=flow, data=data))
                case TransactionResponse(transaction=ident, response=response):
                    self._response(ident, response)
                case TransactionFailed(transaction=ident, timeout=timeout):
                    # Of an INVITE that we refused, and that got no ACK, nobody has to hear: it is over all the same.
                    exchange = self.exchanges.get(ident)
                    if exchange is not None:
                        self.drop(exchange)
                        exchange.on_failure(timeout)
                case TransactionEnded(transaction=ident):
                    exchange = self.exchanges.get(ident)
                    if exchange is not None:
                        self.drop(exchange)
                        exchange.on_ended()
                case RequestReceived():
                    self.on_request(output)
                case AckReceived():
                    self.on_ack(output)
                case StrayResponse():
                    self.on_stray(output)

    def _response(self, ident: TransactionId, response: Response) -> None:
        exchange = self.exchanges.get(ident)
        if exchange is None:
            return
        self._check_answer(exchange, response)
        if response.status < 200:
            exchange.on_provisional(response)
            return
        if response.status in (401, 407) and exchange.is_wanted() and self._try_again(exchange, response):
            return
        # An INVITE transaction passes every 2xx up (RFC 6026 8.4): its exchange lives as long as it.
        if exchange.method == "INVITE" and response.status < 300:
            self.forget_owner(("exchange", ident), "limit")
        else:
            self.drop(exchange)
        exchange.on_final(response)

    def _check_answer(self, exchange: Exchange, response: Response) -> None:
        """The next nonce, and the server's proof. A wrong proof is told, and the response counts all the same."""
        if (
            exchange.request is not None
            and self.authenticator.answered(exchange.request, response) is AnswerOutcome.WRONG_PROOF
        ):
            self.violation(exchange.flow, Fault.SERVER_PROOF, f"{response.status} to {exchange.method}")

    def _try_again(self, exchange: Exchange, response: Response) -> bool:
        assert exchange.request is not None
        flow = self.flows.get(exchange.flow)
        secure = flow is not None and flow.secure
        challenged = self.authenticator.challenged(exchange.request, response, to=exchange.to, secure=secure)
        exchange.attempts += 1
        if challenged.outcome is not AuthOutcome.RETRY or exchange.attempts >= _MAX_ATTEMPTS:
            exchange.auth_failure = challenged
            if challenged.bearer:
                self.emit(TokenWanted(challenges=challenged.bearer))
            return False
        self.drop(exchange)
        if not self.start(exchange):
            exchange.on_failure(False)
        return True

    # -- media -------------------------------------------------------------------------------------------------------

    def next_media_request(self, call: CallId, handler: Callable[[object], None]) -> RequestId:
        """A number for a media operation whose reply (or None after `waits.media`) goes to `handler`."""
        request = self.next_number()
        self.media_requests[request] = handler
        self.media_owner[request] = call
        self.start_timer(
            ("media", request), "limit", self.config.waits.media, lambda _: self.media_reply(request, None)
        )
        return request

    def media_reply(self, request: RequestId, reply: object) -> None:
        handler = self.media_requests.pop(request, None)
        self.media_owner.pop(request, None)
        self.forget_owner(("media", request), "limit")
        if handler is not None:
            handler(reply)

    def drop_media_requests(self, call: CallId) -> None:
        for request in [r for r, owner in self.media_owner.items() if owner == call]:
            del self.media_requests[request], self.media_owner[request]
            self.forget_owner(("media", request), "limit")

    def operate(self, operation: MediaOperation) -> None:
        self.emit(operation)
