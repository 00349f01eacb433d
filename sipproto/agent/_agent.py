"""The user agent engine: inputs in, outputs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from attrs import asdict, evolve

from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent._alone import Alone
from sipproto.agent._calls import Calls
from sipproto.agent._connection import Connection, make_flow
from sipproto.agent._hub import Hub
from sipproto.agent._incoming import refusal
from sipproto.agent._notifications import Notifications
from sipproto.agent._part import Part
from sipproto.agent._publications import Publications
from sipproto.agent._registration import Registrar
from sipproto.agent._subscriptions import Subscriptions
from sipproto.agent._wire import Wire
from sipproto.agent.config import AgentConfig
from sipproto.agent.outputs import Cause, CloseFlow, Output
from sipproto.dialog import dialog_key
from sipproto.errors import Fault, LocalProtocolError
from sipproto.message import fields
from sipproto.transaction import AckReceived, FlowId, RequestReceived, StrayResponse


class UserAgent:
    """A SIP user agent without I/O.

    Give every input to `handle` and carry out all that it returns, in order. Then arm one timer for `next_timeout()` and
    give `TimeoutElapsed` when it is due. Nothing else has to be remembered: there is no second call.

    The same configuration, the same token source and the same inputs at the same times give the same outputs, octet for
    octet.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._hub = hub = Hub(config)
        self._wire = Wire(hub, self._lose_flow, lambda flow: self._connection.ponged(flow))
        self._connection = Connection(hub, self._connected, self._lose_flow, self._no_connection)
        self._registrar = Registrar(hub, self._settled, self._connection.flow_timer)
        self._calls = Calls(hub)
        self._parts: tuple[Part, ...] = (
            self._registrar,
            self._calls,
            Alone(hub),
            Subscriptions(hub),
            Notifications(hub),
            Publications(hub),
        )
        self._shutdown: i.CommandId | None = None
        self._is_shut = False
        self._inputs: dict[type, Callable[[Any], object]] = {
            i.TimeoutElapsed: self._time,
            i.FlowOpened: self._flow_opened,
            i.OpenFlowFailed: self._open_failed,
            i.FlowClosed: lambda closed: self._lose_flow(
                closed.flow, closed.error or "the server closed the connection"
            ),
            i.DataReceived: self._wire.data,
            i.Connect: self._connection.connect,
            i.HurryConnection: lambda command: self._connection.hurry(command.command),
            i.Disconnect: lambda command: self._connection.disconnect(command.command),
            i.SetSecrets: self._set_secrets,
            i.UseAccount: self._use_account,
            i.SetDisplayName: self._set_display_name,
            i.Shutdown: self._shut_down,
            **dict.fromkeys(get_args(m.MediaReply), self._media_reply),
        }
        self._requests: dict[str, Callable[[RequestReceived], None]] = {}
        for part in self._parts:
            self._inputs.update(part.commands())
            self._requests.update(part.requests())
        hub.lose_flow = self._lose_flow
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
        if self._is_shut and type(what) in _NOT_WHEN_SHUT:
            raise LocalProtocolError("the agent has been shut down")
        hub.out = []
        now = max(now, hub.now)
        if not isinstance(what, i.TimeoutElapsed):  # there each timer sets the time to its own deadline
            hub.now = now
        hub.end_of_time = now
        self._inputs[type(what)](what)
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
        return self._calls.names

    def descriptions(self, call: m.CallId) -> tuple[bytes, bytes]:
        """The last local and remote session descriptions of a call that is negotiated here; b"" for none.

        Raises LocalProtocolError when there is no such call.
        """
        session = self._calls.find(call).session
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
        out = {
            "dialogs": len(hub.dialogs),
            "transactions": len(hub.transactions),
            "exchanges": len(hub.exchanges),
            "media_requests": len(hub.media_requests),
            "timers": len(hub.timers),
        }
        for part in self._parts:
            out |= part.held()
        return out

    # -- time and connections ----------------------------------------------------------------------------------------

    def _time(self, _: i.TimeoutElapsed) -> None:
        self._hub.fire_due(self._hub.end_of_time)

    def _flow_opened(self, opened: i.FlowOpened) -> None:
        hub = self._hub
        if opened.flow in hub.flows:
            raise LocalProtocolError(f"flow {opened.flow} is open already")
        awaited, detour = self._connection.awaits(opened.flow), hub.detour.awaits(opened.flow)
        if not (awaited or detour) and hub.was_ours(opened.flow):
            hub.emit(CloseFlow(flow=opened.flow))  # we have given it up meanwhile
            return
        hub.flows[opened.flow] = make_flow(opened, hub)
        if awaited:
            self._connection.opened()
        elif detour:
            hub.detour.opened()

    def _open_failed(self, failed: i.OpenFlowFailed) -> None:
        if self._hub.detour.awaits(failed.flow):
            self._hub.detour.refused()
        else:
            self._connection.refused(failed.flow, failed.error, failure=failed.failure, certificate=failed.certificate)

    def _connected(self) -> None:
        if not self._registrar.renew():
            self._settled()

    def _settled(self) -> None:
        """The connection is there, and the registration as good as it gets: who waits for them may go on."""
        for part in self._parts:
            part.flow_ready()

    def _no_connection(self) -> None:
        for part in self._parts:
            part.flow_gone()

    def _lose_flow(self, flow: FlowId, error: str | None) -> None:
        hub = self._hub
        if self._connection.refused(flow, error or "the connection was closed"):
            return
        if hub.detour.awaits(flow):
            hub.detour.refused()
        if hub.flows.pop(flow, None) is None:
            return
        ours = hub.server_flow == flow
        hope = self._connection.tries_again if ours else True  # who has connected to us may do so again
        if ours:
            hub.server_flow = None
            hub.authenticator.forget()
            self._connection.lost(error)
        for part in self._parts:
            part.flow_lost(flow, hope)
        hub.detour.lost(flow)
        hub.dispatch(hub.transactions.flow_closed(flow, hub.now))
        hub.drop_flow(flow)

    # -- requests of peers -------------------------------------------------------------------------------------------

    def _request(self, received: RequestReceived) -> None:
        request, hub = received.request, self._hub
        if request.method == "CANCEL":
            self._calls.cancel(received)
            return
        if request.method == "INVITE":
            hub.respond(received, 100)  # 17.2.1: at once, so that it is not repeated
        problem = refusal(hub, received)
        if problem is not None:
            status, extra = problem
            hub.respond(received, status, extra=extra)
            return
        key = dialog_key(request)
        user = hub.dialogs.get(key)
        if user is None and request.method == "NOTIFY":
            user = hub.awaited.get(key[:2])
        outside = None if key[1] else self._requests.get(request.method)
        if user is not None:
            user.on_request(received)
        elif outside is None:  # BYE, INFO and the like belong into dialogs
            hub.respond(received, 481)
        elif self._is_shut:
            hub.respond(received, 480)
        else:
            outside(received)

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

    def _set_secrets(self, command: i.SetSecrets) -> None:
        self._hub.authenticator.set_secrets(command.secrets)
        self._hub.succeed(command.command)

    def _use_account(self, command: i.UseAccount) -> None:
        hub = self._hub
        if not self._connection.is_closed or any(part.is_busy for part in self._parts) or self.calls:
            raise LocalProtocolError("disconnect and end all calls first")
        settings = asdict(command, recurse=False, filter=lambda attribute, _: attribute.name != "command")
        hub.config = evolve(hub.config, **settings)
        hub.authenticator.set_secrets(command.secrets)
        hub.authenticator.forget()
        self._registrar.begin_anew()
        hub.succeed(command.command)

    def _set_display_name(self, command: i.SetDisplayName) -> None:
        self._hub.config = evolve(self._hub.config, display_name=command.display_name)
        self._hub.succeed(command.command)

    def _media_reply(self, reply: m.MediaReply) -> None:
        self._hub.media_reply(reply.request, reply)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _shut_down(self, command: i.Shutdown) -> None:
        self._is_shut = True
        self._shutdown = command.command
        for part in reversed(self._parts):  # calls before the registration that carries them
            part.shut_down()
        if self._hub.server_flow is None:
            self._connection.disconnect(None)
        self._no_connection()
        self._hub.start_timer(("shutdown",), "limit", self._hub.config.waits.shutdown, lambda _: self._shut(True))

    def _shutdown_if_idle(self) -> None:
        if not any(part.is_busy for part in self._parts) and not self._hub.is_waiting:
            self._shut(False)

    def _shut(self, forced: bool) -> None:
        command, self._shutdown = self._shutdown, None
        self._hub.forget_owner(("shutdown",), "limit")
        self._connection.disconnect(None)
        self._hub.detour.close()
        for flow in list(self._hub.flows):
            self._hub.emit(CloseFlow(flow=flow))
            self._lose_flow(flow, None)
        if forced:
            self._hub.fail(command, Cause.REQUEST_TIMEOUT, "the server did not confirm the end in time")
        else:
            self._hub.succeed(command)


# Calls that are still there may be ended, held, sent digits; nothing new begins.
_NOT_WHEN_SHUT = frozenset(
    {i.Connect, i.Register, i.Invite, i.SendMessage, i.SendOptions, i.Subscribe, i.Publish, i.Shutdown}
)
