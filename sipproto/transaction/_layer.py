"""Transactions: matching, retransmission, time-outs (RFC 3261 17 and 18.2.2)."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import field, frozen

from sipproto.errors import LocalProtocolError
from sipproto.message import Headers, Request, Response, fields
from sipproto.timers import TimerTable, TimerValues
from sipproto.transaction._tables import (
    CLIENT,
    INVITE_CLIENT,
    INVITE_SERVER,
    SERVER,
    TIMERS,
    Action,
    Input,
    State,
    Table,
)

MAGIC_COOKIE = "z9hG4bK"
FlowId = int
TransactionId = int


@frozen(kw_only=True)
class Transmit:
    """Send these octets on this flow."""

    flow: FlowId
    data: bytes = field(repr=False)


@frozen(kw_only=True)
class RequestReceived:
    """A new request. Answer it with `respond`. `cancels` is the INVITE transaction that a CANCEL matches."""

    transaction: TransactionId
    flow: FlowId
    request: Request
    cancels: TransactionId | None = None


@frozen(kw_only=True)
class AckReceived:
    """An ACK to a 2xx: it belongs to the dialog, not to a transaction (RFC 3261 13.3.1.4)."""

    flow: FlowId
    request: Request


@frozen(kw_only=True)
class ResponseReceived:
    """A response to a request of ours."""

    transaction: TransactionId
    flow: FlowId
    response: Response


@frozen(kw_only=True)
class StrayResponse:
    """A response that matches no transaction. A 2xx to INVITE may still concern a dialog; everything else is noise."""

    flow: FlowId
    response: Response


@frozen(kw_only=True)
class TransactionFailed:
    """No final response came (`timeout`), or the flow is gone (not `timeout`). For a server INVITE: no ACK came."""

    transaction: TransactionId
    timeout: bool


@frozen(kw_only=True)
class TransactionEnded:
    """A client INVITE that was accepted is over: no further 2xx can come (timer M)."""

    transaction: TransactionId


TransactionOutput = (
    Transmit | RequestReceived | AckReceived | ResponseReceived | StrayResponse | TransactionFailed | TransactionEnded
)


class _Transaction:
    """One machine: a table, a state, and what has to be sent again."""

    __slots__ = (
        "flow",
        "ident",
        "intervals",
        "key",
        "last",
        "limit",
        "merge_key",
        "reliable",
        "request",
        "running",
        "state",
        "table",
    )

    def __init__(
        self, ident: TransactionId, table: Table, flow: FlowId, reliable: bool, request: Request, key: Hashable
    ) -> None:
        self.ident = ident
        self.table = table
        self.state = State.CALLING if table is INVITE_CLIENT else State.TRYING
        if table is INVITE_SERVER:
            self.state = State.PROCEEDING
        self.flow = flow
        self.reliable = reliable
        self.request = request
        self.key = key
        self.merge_key: Hashable = None
        self.last: bytes | None = None  # a client's request, a server's last response
        self.intervals: dict[Action, float] = {}  # by START action: in Proceeding E begins anew, at T2
        self.limit: float | None = None  # when an INVITE ends that was given up
        self.running: list[str] = []  # timers started in this state


class TransactionLayer:
    """All transactions of an engine.

    Every method returns its outputs, in order. Time is an argument. `next_timeout` and `handle_timeout` serve a layer
    used alone; an engine that shares its TimerTable calls `fire` for the timers whose owner is `("transaction", id)`.
    """

    def __init__(
        self,
        *,
        values: TimerValues | None = None,
        timers: TimerTable | None = None,
        max_server_transactions: int = 10_000,
    ) -> None:
        self._values = values or TimerValues()
        self._timers = timers if timers is not None else TimerTable()
        self._limit = max_server_transactions
        self._by_id: dict[TransactionId, _Transaction] = {}
        self._clients: dict[Hashable, _Transaction] = {}
        self._servers: dict[Hashable, _Transaction] = {}
        self._merge: dict[Hashable, TransactionId] = {}
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._by_id)

    # -- sending ---------------------------------------------------------------------------------------------------

    def send_request(
        self, request: Request, flow: FlowId, reliable: bool, now: float
    ) -> tuple[TransactionId, list[TransactionOutput]]:
        """Starts a client transaction. The top Via of `request` must carry a branch of its own (8.1.1.7).

        Raises LocalProtocolError when it does not, or for an ACK, which is no transaction.
        """
        via = request.headers.get(fields.VIA)
        branch = via.branch if via is not None else None
        if branch is None or not branch.startswith(MAGIC_COOKIE) or request.method == "ACK":
            raise LocalProtocolError("a request needs a Via with a fresh branch, and ACK is no transaction")
        key = (branch, request.method)
        if key in self._clients:
            raise LocalProtocolError(f"branch {branch} is in use")
        table = INVITE_CLIENT if request.method == "INVITE" else CLIENT
        transaction = self._add(table, flow, reliable, request, key)
        self._clients[key] = transaction
        transaction.last = request.to_bytes()
        out: list[TransactionOutput] = []
        self._step(transaction, Input.START, None, now, out)
        return transaction.ident, out

    def respond(self, ident: TransactionId, response: Response, now: float) -> list[TransactionOutput]:
        """Sends a response on a server transaction.

        Raises LocalProtocolError when the transaction is unknown or has had its final response; a 2xx to INVITE may be
        sent again while the transaction lives (RFC 6026 7.1).
        """
        transaction = self._by_id.get(ident)
        if transaction is None:
            raise LocalProtocolError(f"no transaction {ident}")
        status = response.status
        what = Input.USER_1XX if status < 200 else Input.USER_2XX if status < 300 else Input.USER_3XX_6XX
        if (transaction.state, what) not in transaction.table:
            raise LocalProtocolError(f"a {status} cannot be sent in state {transaction.state.value}")
        transaction.last = response.to_bytes()
        out: list[TransactionOutput] = []
        self._step(transaction, what, None, now, out)
        return out

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self, message: Request | Response, flow: FlowId, reliable: bool, now: float) -> list[TransactionOutput]:
        """Takes a message that `validate` has passed."""
        if isinstance(message, Response):
            return self._receive_response(message, flow, now)
        return self._receive_request(message, flow, reliable, now)

    def _receive_response(self, response: Response, flow: FlowId, now: float) -> list[TransactionOutput]:
        via, cseq = response.headers.get(fields.VIA), response.headers.get(fields.CSEQ)
        transaction = None
        if via is not None and cseq is not None:
            transaction = self._clients.get((via.branch, cseq.method))  # 17.1.3
        if transaction is None:
            return [StrayResponse(flow=flow, response=response)]
        status = response.status
        what = Input.RESPONSE_1XX if status < 200 else Input.RESPONSE_2XX if status < 300 else Input.RESPONSE_3XX_6XX
        out: list[TransactionOutput] = []
        self._step(transaction, what, response, now, out)
        return out

    def _receive_request(self, request: Request, flow: FlowId, reliable: bool, now: float) -> list[TransactionOutput]:
        out: list[TransactionOutput] = []
        key = _server_key(request, request.method)
        transaction = self._servers.get(key)
        if request.method == "ACK":
            if transaction is not None and transaction.state is not State.ACCEPTED:
                self._step(transaction, Input.ACK, None, now, out)
            else:
                out.append(AckReceived(flow=flow, request=request))
            return out
        if transaction is not None:
            self._step(transaction, Input.REQUEST, None, now, out)
            return out
        if len(self._servers) >= self._limit:
            return out  # as if the network had lost it: the peer tries again
        table = INVITE_SERVER if request.method == "INVITE" else SERVER
        transaction = self._add(table, flow, reliable, request, key)
        self._servers[key] = transaction
        transaction.merge_key = _merge_key(request)
        if transaction.merge_key is not None:
            self._merge.setdefault(transaction.merge_key, transaction.ident)
        cancels = self._servers.get(_server_key(request, "INVITE")) if request.method == "CANCEL" else None
        out.append(
            RequestReceived(
                transaction=transaction.ident,
                flow=flow,
                request=request,
                cancels=None if cancels is None else cancels.ident,
            )
        )
        return out

    def is_merged(self, ident: TransactionId) -> bool:
        """Whether this request came before on another path and is still being worked on (8.2.2.2: answer 482)."""
        transaction = self._by_id[ident]
        return transaction.merge_key is not None and self._merge.get(transaction.merge_key) != ident

    def state_of(self, ident: TransactionId) -> State | None:
        """The state of a transaction; None when it is gone."""
        transaction = self._by_id.get(ident)
        return None if transaction is None else transaction.state

    # -- time and flows --------------------------------------------------------------------------------------------

    def next_timeout(self) -> float | None:
        return self._timers.next_timeout()

    def handle_timeout(self, now: float) -> list[TransactionOutput]:
        """Fires everything due, each as at its own deadline. Only for a layer with a timer table of its own."""
        out: list[TransactionOutput] = []
        while (due := self._timers.pop_due(now)) is not None:
            owner, name, deadline = due
            if isinstance(owner, tuple):
                out += self.fire(owner[1], name, deadline)
        return out

    def fire(self, ident: TransactionId, name: str, now: float) -> list[TransactionOutput]:
        """A timer of a transaction is due."""
        out: list[TransactionOutput] = []
        transaction = self._by_id.get(ident)
        if transaction is not None:
            self._step(transaction, Input(name), None, now, out)
        return out

    def flow_closed(self, flow: FlowId, now: float) -> list[TransactionOutput]:
        """The flow is gone: every transaction on it has a transport error (17.1.4, 17.2.4).

        A server INVITE cannot be answered any more; it ends at once instead of waiting for what cannot come.
        """
        out: list[TransactionOutput] = []
        for transaction in [t for t in self._by_id.values() if t.flow == flow]:
            self._step(transaction, Input.TRANSPORT_ERROR, None, now, out)
            if transaction.state is not State.TERMINATED:
                self._terminate(transaction)
        return out

    def abandon(self, ident: TransactionId) -> None:
        """Ends a transaction without a report: its user has gone."""
        transaction = self._by_id.get(ident)
        if transaction is not None:
            self._terminate(transaction)

    def give_up(self, ident: TransactionId, now: float) -> None:
        """Nobody waits for the final response any more: an INVITE does not stay in Proceeding longer than 64*T1 from now."""
        transaction = self._by_id.get(ident)
        if transaction is not None and transaction.table is INVITE_CLIENT and transaction.limit is None:
            transaction.limit = now + self._values.t1_64
            self._start_limit(transaction)

    # -- the machine -----------------------------------------------------------------------------------------------

    def _add(self, table: Table, flow: FlowId, reliable: bool, request: Request, key: Hashable) -> _Transaction:
        self._next_id += 1
        transaction = _Transaction(self._next_id, table, flow, reliable, request, key)
        self._by_id[transaction.ident] = transaction
        return transaction

    def _step(
        self,
        transaction: _Transaction,
        what: Input,
        response: Response | None,
        now: float,
        out: list[TransactionOutput],
    ) -> None:
        entry = transaction.table.get((transaction.state, what))
        if entry is None:
            return
        old = transaction.state
        transaction.state, actions = entry
        if transaction.state is not old:
            self._stop_timers(transaction)
            self._start_limit(transaction)
        for action in actions:
            if action in TIMERS:
                self._start_timer(transaction, action, now, out)
            else:
                self._perform(transaction, action, response, out)
        if transaction.state is State.TERMINATED:
            self._terminate(transaction)

    def _perform(
        self, transaction: _Transaction, action: Action, response: Response | None, out: list[TransactionOutput]
    ) -> None:
        match action:
            case Action.SEND_REQUEST | Action.SEND_RESPONSE | Action.RESEND_RESPONSE:
                if transaction.last is not None:
                    out.append(Transmit(flow=transaction.flow, data=transaction.last))
            case Action.SEND_ACK:
                assert response is not None
                ack = _ack_for_failure(transaction.request, response)
                out.append(Transmit(flow=transaction.flow, data=ack.to_bytes()))
            case Action.PASS_UP if response is not None:
                out.append(ResponseReceived(transaction=transaction.ident, flow=transaction.flow, response=response))
            case Action.REPORT_TIMEOUT:
                out.append(TransactionFailed(transaction=transaction.ident, timeout=True))
            case Action.REPORT_END:
                out.append(TransactionEnded(transaction=transaction.ident))
            case Action.REPORT_ERROR:
                out.append(TransactionFailed(transaction=transaction.ident, timeout=False))
            case _:
                pass

    def _start_timer(self, transaction: _Transaction, action: Action, now: float, out: list[TransactionOutput]) -> None:
        what, first, ceiling, on_reliable = TIMERS[action]
        if transaction.reliable and on_reliable is None:
            return
        if transaction.reliable and on_reliable == 0:
            self._step(transaction, what, None, now, out)
            return
        delay: float = getattr(self._values, first)
        if ceiling is not None:
            delay = min(transaction.intervals.get(action, delay), getattr(self._values, ceiling))
            transaction.intervals[action] = 2 * delay
        if what.value not in transaction.running:
            transaction.running.append(what.value)
        self._timers.start(("transaction", transaction.ident), what.value, now + delay)

    def _start_limit(self, transaction: _Transaction) -> None:
        if transaction.limit is not None and transaction.state is State.PROCEEDING:
            transaction.running.append(Input.TIMER_B.value)
            self._timers.start(("transaction", transaction.ident), Input.TIMER_B.value, transaction.limit)

    def _stop_timers(self, transaction: _Transaction) -> None:
        # E and F of figure 6 run on from Trying into Proceeding; every other timer belongs to one state.
        keep = transaction.table is CLIENT and transaction.state is State.PROCEEDING
        if keep or not transaction.running:
            return
        for name in transaction.running:
            self._timers.stop(("transaction", transaction.ident), name)
        transaction.running.clear()

    def _terminate(self, transaction: _Transaction) -> None:
        transaction.state = State.TERMINATED
        self._stop_timers(transaction)
        self._by_id.pop(transaction.ident, None)
        is_client = transaction.table is INVITE_CLIENT or transaction.table is CLIENT
        side = self._clients if is_client else self._servers
        if side.get(transaction.key) is transaction:
            del side[transaction.key]
        if transaction.merge_key is not None and self._merge.get(transaction.merge_key) == transaction.ident:
            del self._merge[transaction.merge_key]


def _server_key(request: Request, method: str) -> Hashable:
    """What a request is matched by (17.2.3). An ACK or CANCEL carries the branch of its INVITE."""
    method = "INVITE" if method == "ACK" else method
    via = request.headers.get(fields.VIA)
    assert via is not None  # validate has seen to it
    if via.branch is not None and via.branch.startswith(MAGIC_COOKIE):
        return (via.branch, via.sent_by, method)
    # An RFC 2543 client has no unique branch. The To tag is left out: an ACK carries the one that we gave.
    from_, cseq = request.headers.get(fields.FROM), request.headers.get(fields.CSEQ)
    return (
        request.target,
        None if from_ is None else from_.tag,
        request.headers.first("Call-ID"),
        None if cseq is None else cseq.number,
        str(via),
        method,
    )


def _merge_key(request: Request) -> Hashable:
    """8.2.2.2 applies to requests outside dialogs."""
    to, from_ = request.headers.get(fields.TO), request.headers.get(fields.FROM)
    if to is None or to.tag is not None or from_ is None or request.method == "CANCEL":
        return None
    return (request.headers.first("Call-ID"), from_.tag, request.headers.first("CSeq"))


def _ack_for_failure(request: Request, response: Response) -> Request:
    """The ACK to a 300-699 (17.1.1.3): the INVITE's own top Via, From, Call-ID and Route, the response's To."""
    headers = request.headers
    cseq, via = headers.require(fields.CSEQ), headers.require(fields.VIA)
    pairs: list[tuple[str, object]] = [("Via", via)]
    pairs += [("Route", route) for route in headers.raw("Route")]
    pairs += [
        ("Max-Forwards", 70),
        ("From", headers.first("From")),
        ("To", response.headers.first("To")),
        ("Call-ID", headers.first("Call-ID")),
        ("CSeq", f"{cseq.number} ACK"),
        ("Content-Length", 0),
    ]
    return Request("ACK", request.target, Headers(pairs))
