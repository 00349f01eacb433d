"""All calls of an agent, and which of them a command or a message is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent._alone import check_headers, check_target
from sipproto.agent._call import Call
from sipproto.agent._hub import Hub
from sipproto.agent._part import Part
from sipproto.agent._session_timer import too_small
from sipproto.agent.outputs import MediaChanged
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.transaction import FlowId, RequestReceived


class Calls(Part):
    """Calls by the name that the application knows them by, and those that are over for it but not for the peer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._calls: dict[m.CallId, Call] = {}
        self._ending: dict[Call, None] = {}  # with messages still to come; their names are free
        self._number = 0

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {
            i.Invite: self._invite,
            i.Progress: self._progress,
            i.Answer: self._answer,
            i.Redirect: lambda command: self.find(command.call).outgoing().redirect(command),
            i.HangUp: self._hang_up,
            i.Hold: lambda command: self.find(command.call).changes.hold(command.command, True),
            i.Resume: lambda command: self.find(command.call).changes.hold(command.command, False),
            i.RestartIce: lambda command: self.find(command.call).changes.restart_ice(command),
            i.SendInfo: self._send_info,
            i.SendDtmf: lambda command: self.find(command.call).incall.send_dtmf(command),
            i.GetStats: lambda command: self.find(command.call).incall.get_stats(command),
            m.MediaStateChanged: self._media_state,
        }

    def requests(self) -> Mapping[str, Callable[[RequestReceived], None]]:
        return {"INVITE": self._incoming}

    @property
    def is_busy(self) -> bool:
        return bool(self._calls or self._ending)

    def held(self) -> Mapping[str, int]:
        return {"calls": len(self._calls) + len(self._ending)}

    @property
    def names(self) -> tuple[m.CallId, ...]:
        return tuple(self._calls)

    def find(self, name: m.CallId) -> Call:
        """Raises LocalProtocolError when there is no such call."""
        call = self._calls.get(name)
        if call is None:
            raise LocalProtocolError(f"there is no call {name!r}")
        return call

    def _new(self, name: m.CallId, flow: FlowId) -> Call:
        return Call(self._hub, name, flow, self._over, self._forget)

    def _over(self, call: Call) -> None:
        """The application has been told of the end: the name is free, messages may still have to be exchanged."""
        if self._calls.get(call.ident) is call:
            del self._calls[call.ident]
            self._ending[call] = None

    def _forget(self, call: Call) -> None:
        self._ending.pop(call, None)

    # -- connections -------------------------------------------------------------------------------------------------

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        for call in [*self._calls.values(), *self._ending]:
            if call.flow == flow:
                call.flow_lost(hope and self._hub.config.recovery.grace > 0)

    def flow_ready(self) -> None:
        assert self._hub.server_flow is not None
        for call in [*self._calls.values(), *self._ending]:
            call.flow_ready(self._hub.server_flow)

    def flow_gone(self) -> None:
        for call in [*self._calls.values(), *self._ending]:
            call.flow_gone()

    def shut_down(self) -> None:
        for call in list(self._calls.values()):
            call.hang_up(480, None)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _invite(self, command: i.Invite) -> None:
        flow = self._hub.require_server_flow()
        check_target(command.target)
        if command.call in self._calls:
            raise LocalProtocolError(f"there is a call {command.call!r} already")
        if len(self._calls) >= self._hub.config.limits.calls:
            raise LocalProtocolError(f"there are {len(self._calls)} calls, which is the limit")
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        call = self._new(command.call, flow)
        call.session.check_media(command.media)
        self._calls[command.call] = call
        call.start_outgoing(command)

    def _progress(self, command: i.Progress) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self.find(command.call).incoming().progress(command)

    def _answer(self, command: i.Answer) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self.find(command.call).answer(command)

    def _hang_up(self, command: i.HangUp) -> None:
        if command.reason is not None:
            check_headers((("Reason", command.reason),))
        if not 300 <= command.status <= 699:
            raise LocalProtocolError("a refusal has a status of 300 to 699")
        self.find(command.call).hang_up(command.status, command.reason)
        self._hub.succeed(command.command)

    def _send_info(self, command: i.SendInfo) -> None:
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        self.find(command.call).incall.send_info(command)

    # -- what peers and the media engine say -------------------------------------------------------------------------

    def cancel(self, received: RequestReceived) -> None:
        """A CANCEL (9.2): it is answered whatever becomes of the INVITE."""
        if received.cancels is None:
            self._hub.respond(received, 481)
            return
        self._hub.respond(received, 200)
        for call in list(self._calls.values()):
            call.cancelled(received)

    def _incoming(self, received: RequestReceived) -> None:
        hub = self._hub
        if len(self._calls) >= hub.config.limits.calls:
            hub.respond(received, 486)
            return
        least = too_small(received.request, hub.config.session_timers)
        if least is not None:
            hub.respond(received, 422, extra=[("Min-SE", least)])
            return
        self._number += 1
        while (name := f"in-{self._number}") in self._calls:
            self._number += 1
        call = self._new(name, received.flow)
        try:
            self._calls[name] = call
            call.start_incoming(received)
        except MessageSyntaxError as error:
            del self._calls[name]
            hub.respond(received, error.status_hint or 400, reason="Missing Contact")
            hub.violation(received.flow, error.fault, error.detail)

    def _media_state(self, changed: m.MediaStateChanged) -> None:
        call = self._calls.get(changed.call)
        if call is None or call.is_over:
            return
        self._hub.emit(MediaChanged(call=changed.call, state=changed.state))
        if changed.state is m.MediaState.FAILED:
            call.media_lost("the media connection failed")
