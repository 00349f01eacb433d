"""The connection to our server: the choice of one, keeping it alive, getting it back (RFC 5626 4.2 to 4.5)."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent import inputs as i
from sipproto.agent._connection_table import CONNECTION_TABLE, LinkAction, LinkInput, LinkState
from sipproto.agent._hub import Flow, Hub
from sipproto.agent._wire import PING
from sipproto.agent.outputs import (
    Cause,
    CloseFlow,
    ConnectFailure,
    ConnectionChanged,
    ConnectionState,
    OpenFlow,
    SendData,
)
from sipproto.errors import LocalProtocolError
from sipproto.message import StreamParser
from sipproto.tokens import uniform
from sipproto.transaction import FlowId

S, I = LinkState, LinkInput
_OWNER = ("connection",)
_PONG_WAIT = 10.0  # seconds (RFC 5626 4.4.1)


class Connection:
    """The flow to the server. `ready` is called for each new one, `lose` when it is dead, `gone` when none is tried for."""

    def __init__(
        self,
        hub: Hub,
        ready: Callable[[], None],
        lose: Callable[[FlowId, str], None],
        gone: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._ready = ready
        self._lose = lose
        self._gone = gone
        self.state = S.CLOSED
        self._servers: tuple[i.Server, ...] = ()
        self._left: list[str] = []  # still to be tried in this round
        self._attempt: tuple[FlowId, str] | None = None
        self._command: i.CommandId | None = None
        self._error: str | None = None
        self._cause = Cause.CONNECTION_ERROR
        self._failure: ConnectFailure | None = None
        self._certificate: bytes | None = None
        self._rounds = 0  # that have failed since a connection last proved stable
        self._opened_at = 0.0
        self._flow_timer: int | None = None  # what the registrar asks for, seconds

    def step(self, what: LinkInput) -> bool:
        entry = CONNECTION_TABLE.get((self.state, what))
        if entry is None:
            return False
        self.state, actions = entry
        for action in actions:
            _PERFORM[action](self)
        return True

    # -- commands ----------------------------------------------------------------------------------------------------

    def connect(self, command: i.Connect) -> None:
        if (self.state, I.CONNECT) not in CONNECTION_TABLE:
            raise LocalProtocolError("there is a connection already")
        servers = (i.Server(url=command.server),) if isinstance(command.server, str) else command.server
        if not servers or len(servers) > 64 or any(server.weight < 0 for server in servers):
            raise LocalProtocolError("give one to 64 servers, with weights of 0 or more")
        self._servers, self._command = servers, command.command
        self.step(I.CONNECT)

    def hurry(self, command: i.CommandId) -> None:
        self.step(I.HURRY)
        self._hub.succeed(command)

    @property
    def is_closed(self) -> bool:
        return self.state is S.CLOSED

    def disconnect(self, command: i.CommandId | None) -> None:
        self._note(None)
        self.step(I.DISCONNECT)
        self._hub.succeed(command)

    # -- what happens to flows ---------------------------------------------------------------------------------------

    def awaits(self, flow: FlowId) -> bool:
        """Whether this is the flow that we try for."""
        return self._attempt is not None and self._attempt[0] == flow

    def opened(self) -> None:
        """The awaited flow is open, and known to the hub."""
        self.step(I.OPENED)

    def refused(
        self,
        flow: FlowId,
        error: str,
        cause: Cause = Cause.CONNECTION_ERROR,
        *,
        failure: ConnectFailure | None = None,
        certificate: bytes | None = None,
    ) -> bool:
        """Notes that the awaited flow does not come. False when it is another one."""
        if not self.awaits(flow):
            return False
        self._attempt = None
        self._hub.stop_timer(_OWNER, "open")
        self._cause = cause
        self._note(error, failure, certificate)
        self.step(I.REFUSED if self._left else I.EXHAUSTED)
        return True

    def _note(self, error: str | None, failure: ConnectFailure | None = None, certificate: bytes | None = None) -> None:
        """Why there is no connection."""
        self._error, self._failure, self._certificate = error, failure, certificate

    @property
    def tries_again(self) -> bool:
        """Whether a flow that is lost now will be tried for again."""
        return self._hub.config.recovery.reconnect and self.state is S.OPEN

    def lost(self, error: str | None) -> None:
        """The flow in use is gone."""
        self._hub.stop_timer(_OWNER, "ping", "pong")
        self._note(error)
        if self._hub.now - self._opened_at >= self._hub.config.recovery.max_delay:
            self._rounds = 0
        self.step(I.LOST if self._hub.config.recovery.reconnect else I.LOST_FOR_GOOD)

    # -- keep-alives of streams and datagrams; WebSockets have their own ---------------------------------------------

    def flow_timer(self, seconds: int | None) -> None:
        """The registrar supports outbound and closes flows that are silent for so long (RFC 5626 5.4)."""
        if seconds is not None and seconds != self._flow_timer:
            self._flow_timer = seconds
            self._start_ping()

    def ponged(self, flow: FlowId) -> bool:
        """Notes a keep-alive. Whether it was awaited."""
        if flow != self._hub.server_flow or not self._hub.timers.is_running(_OWNER, "pong"):
            return False
        self._hub.stop_timer(_OWNER, "pong")
        return True

    def _start_ping(self) -> None:
        flow = self._hub.flows.get(self._hub.server_flow or 0)
        interval = self._hub.config.keep_alive
        if flow is None or flow.is_websocket or not interval:
            return
        if self._flow_timer is not None:
            interval = min(interval, max(2.0, float(self._flow_timer)))
        # 4.4.1: between 80 and 100 % of the limit, so that clients do not ping in step
        self._start_timer("ping", interval * (0.8 + 0.2 * uniform(self._hub.tokens)))

    def _ping(self) -> None:
        flow = self._hub.flows.get(self._hub.server_flow or 0)
        if flow is None:
            return
        self._hub.emit(SendData(flow=flow.ident, data=PING))
        # Only a server that has promised outbound has promised to answer; no datagram is answered.
        if flow.reliable and self._flow_timer is not None:
            self._start_timer("pong", _PONG_WAIT)
        self._start_ping()

    # -- timers ------------------------------------------------------------------------------------------------------

    def _start_timer(self, name: str, delay: float) -> None:
        self._hub.start_timer(_OWNER, name, delay, self._timer)

    def _timer(self, name: str) -> None:
        match name:
            case "open":
                assert self._attempt is not None
                flow = self._attempt[0]
                self._hub.emit(CloseFlow(flow=flow))
                limit = self._hub.config.waits.connect
                error = f"no connection within {limit:g} s"
                self.refused(flow, error, Cause.REQUEST_TIMEOUT, failure=ConnectFailure.TIMEOUT)
            case "retry":
                self.step(I.RETRY)
            case "ping":
                self._ping()
            case _:
                flow = self._hub.server_flow or 0
                self._hub.emit(CloseFlow(flow=flow))
                self._lose(flow, "the server does not answer keep-alives any more")

    # -- actions -----------------------------------------------------------------------------------------------------

    def _report_connecting(self) -> None:
        self._hub.emit(ConnectionChanged(state=ConnectionState.CONNECTING))

    def _try_first(self) -> None:
        """One round: the heaviest first, equal ones in an order of chance."""
        drawn = [(-server.weight, uniform(self._hub.tokens), server.url) for server in self._servers]
        self._left = [url for _, _, url in sorted(drawn)]
        self._try_next()

    def _try_next(self) -> None:
        server, flow = self._left.pop(0), self._hub.new_flow()
        self._attempt = (flow, server)
        self._hub.emit(OpenFlow(flow=flow, server=server))
        self._start_timer("open", self._hub.config.waits.connect)

    def _adopt(self) -> None:
        assert self._attempt is not None
        flow, server = self._attempt
        self._attempt = None
        self._left = []
        self._hub.stop_timer(_OWNER, "open")
        self._hub.flows[flow].server = server
        self._hub.server_flow = flow
        self._opened_at = self._hub.now
        self._flow_timer = None
        self._start_ping()
        command, self._command = self._command, None
        self._hub.succeed(command)
        self._hub.emit(ConnectionChanged(state=ConnectionState.CONNECTED))
        self._ready()

    def _back_off(self) -> None:
        """RFC 5626 4.5 with full jitter: servers that come back are not run over by all their clients at once."""
        policy = self._hub.config.recovery
        ceiling = min(policy.max_delay, policy.first_delay * 2 ** min(self._rounds, 30))
        self._rounds += 1
        delay = ceiling * uniform(self._hub.tokens)
        self._start_timer("retry", delay)
        self._report(ConnectionState.RECONNECTING, retry_in=delay)

    def _report(self, state: ConnectionState, retry_in: float | None = None) -> None:
        self._hub.emit(
            ConnectionChanged(
                state=state,
                error=self._error,
                retry_in=retry_in,
                failure=self._failure,
                certificate=self._certificate,
            )
        )

    def _stop_waiting(self) -> None:
        self._hub.stop_timer(_OWNER, "retry")

    def _abandon(self) -> None:
        if self._attempt is not None:
            self._hub.emit(CloseFlow(flow=self._attempt[0]))
            self._attempt = None
            self._hub.stop_timer(_OWNER, "open")

    def _close(self) -> None:
        flow = self._hub.server_flow
        assert flow is not None
        self._hub.stop_timer(_OWNER, "ping", "pong")
        self._hub.emit(CloseFlow(flow=flow))
        self._lose(flow, "the connection was closed by us")

    def _report_closed(self) -> None:
        command, self._command = self._command, None
        self._rounds = 0
        self._hub.fail(command, self._cause, self._error or "the connection was closed by us")
        self._report(ConnectionState.DISCONNECTED)
        self._cause = Cause.CONNECTION_ERROR
        self._gone()


def make_flow(opened: i.FlowOpened, hub: Hub) -> Flow:
    """What the agent keeps of a flow that is open."""
    transport = opened.transport.upper()
    stream = StreamParser(hub.config.limits.message) if transport in ("TCP", "TLS") else None
    return Flow(ident=opened.flow, transport=transport, local=opened.local, remote=opened.remote, stream=stream)


_PERFORM: dict[LinkAction, Callable[[Connection], None]] = {
    LinkAction.REPORT_CONNECTING: Connection._report_connecting,
    LinkAction.TRY_FIRST: Connection._try_first,
    LinkAction.TRY_NEXT: Connection._try_next,
    LinkAction.ADOPT: Connection._adopt,
    LinkAction.BACK_OFF: Connection._back_off,
    LinkAction.STOP_WAITING: Connection._stop_waiting,
    LinkAction.ABANDON: Connection._abandon,
    LinkAction.CLOSE: Connection._close,
    LinkAction.REPORT_CLOSED: Connection._report_closed,
}
