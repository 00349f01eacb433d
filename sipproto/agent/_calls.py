"""All calls of an agent, and which of them a command or a message is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent import inputs as i
from sipproto.agent import media as m
from sipproto.agent._alone import check_headers, check_target
from sipproto.agent._call import Call
from sipproto.agent._call_table import CallState
from sipproto.agent._hub import Hub
from sipproto.agent._part import Part
from sipproto.agent._session_timer import too_small
from sipproto.agent._transfer import Referral, refer_to, referral_of
from sipproto.agent.outputs import MediaChanged, TransferRequested
from sipproto.errors import LocalProtocolError, MessageSyntaxError
from sipproto.message import fields, is_token
from sipproto.transaction import FlowId, RequestReceived


class Calls(Part):
    """Calls by the name that the application knows them by, and those that are over for it but not for the peer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._calls: dict[m.CallId, Call] = {}
        self._ending: dict[Call, None] = {}  # with messages still to come; their names are free
        self._referrals: dict[str, Referral] = {}
        self._number = 0
        self._transfer_number = 0

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {
            i.Invite: self._invite,
            i.Progress: self._progress,
            i.Answer: self._answer,
            i.Redirect: lambda command: self.find(command.call).outgoing().redirect(command),
            i.HangUp: self._hang_up,
            i.Hold: lambda command: self.find(command.call).changes.hold(command.command, True),
            i.Resume: lambda command: self.find(command.call).changes.hold(command.command, False),
            i.ChangeMedia: self._change_media,
            i.RestartIce: lambda command: self.find(command.call).changes.restart_ice(command),
            i.Refer: self._refer,
            i.AcceptTransfer: self._accept_transfer,
            i.RejectTransfer: self._reject_transfer,
            i.SendInfo: self._send_info,
            i.AnswerInfo: lambda command: self.find(command.call).incall.answer_info(command),
            i.SendDtmf: lambda command: self.find(command.call).incall.send_dtmf(command),
            i.GetStats: lambda command: self.find(command.call).incall.get_stats(command),
            i.SetParameters: lambda command: self.find(command.call).incall.set_parameters(command),
            i.RequestKeyFrame: lambda command: self.find(command.call).incall.request_key_frame(command),
            m.MediaStateChanged: self._media_state,
            m.DigitHeard: self._digit_heard,
        }

    def requests(self) -> Mapping[str, Callable[[RequestReceived], None]]:
        # A REFER that belongs to no call would have us call anybody for anybody.
        return {"INVITE": self._incoming, "REFER": lambda received: self._hub.respond(received, 403)}

    @property
    def is_busy(self) -> bool:
        return bool(self._calls or self._ending or self._referrals)

    def held(self) -> Mapping[str, int]:
        return {"calls": len(self._calls) + len(self._ending), "transfers": len(self._referrals)}

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
        return Call(self._hub, name, flow, self._over, self._forget, self._referred)

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
        for referral in list(self._referrals.values()):
            referral.flow_lost(flow)

    def flow_ready(self) -> None:
        assert self._hub.server_flow is not None
        for call in [*self._calls.values(), *self._ending]:
            call.flow_ready(self._hub.server_flow)
        for referral in list(self._referrals.values()):
            referral.flow_ready(self._hub.server_flow)

    def flow_gone(self) -> None:
        for call in [*self._calls.values(), *self._ending]:
            call.flow_gone()
        for referral in list(self._referrals.values()):
            referral.flow_gone()

    def shut_down(self) -> None:
        for call in list(self._calls.values()):
            call.hang_up(480, None)
        for referral in list(self._referrals.values()):
            referral.tell(603, final=True)

    # -- commands ----------------------------------------------------------------------------------------------------

    def _invite(self, command: i.Invite, referral: Referral | None = None) -> None:
        flow = self._hub.require_server_flow()
        check_target(command.target)
        if command.call in self._calls:
            raise LocalProtocolError(f"there is a call {command.call!r} already")
        if len(self._calls) >= self._hub.config.limits.calls:
            raise LocalProtocolError(f"there are {len(self._calls)} calls, which is the limit")
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        if command.body and command.late_offer:
            raise LocalProtocolError("a body is an offer: it cannot be left to the peer, too")
        if not (command.media or command.body or command.late_offer):
            raise LocalProtocolError("a call needs media or a body, or an offer that is left to the peer (late_offer)")
        call = self._new(command.call, flow)
        call.session.check_media(command.media, command.codecs)
        if referral is not None:
            referral.decide()
            call.watch = lambda status, reason, final: referral.tell(status, reason or None, final=final)
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
        said = tuple(("Reason", str(reason)) for reason in command.reasons)
        check_headers(said)
        self.find(command.call).hang_up(command.status, command.reason, said)
        self._hub.succeed(command.command)

    def _change_media(self, command: i.ChangeMedia) -> None:
        check_headers(command.headers)
        self.find(command.call).changes.change_media(command)

    def _send_info(self, command: i.SendInfo) -> None:
        if command.package is not None and not is_token(command.package):
            raise LocalProtocolError("an INFO package has a token for its name")
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
        replaced = self._replaced(received)
        if isinstance(replaced, int):
            hub.respond(received, replaced)
            return
        self._number += 1
        while (name := f"in-{self._number}") in self._calls:
            self._number += 1
        call = self._new(name, received.flow)
        call.replaces = replaced
        try:
            self._calls[name] = call
            call.start_incoming(received)
        except MessageSyntaxError as error:
            del self._calls[name]
            hub.respond(received, error.status_hint or 400, reason="Missing Contact")
            hub.violation(received.flow, error.fault, error.detail)

    def _replaced(self, received: RequestReceived) -> Call | int | None:
        """The call that an INVITE takes the place of; or the status that refuses it (RFC 3891 3)."""
        replaces = received.request.headers.get(fields.REPLACES)
        if replaces is None:
            return None
        call = self._hub.dialogs.get((replaces.call_id, replaces.to_tag, replaces.from_tag))
        if call is None:
            return 481
        if not isinstance(call, Call):
            return 400
        if call.is_over:
            return 603
        if call.state in (CallState.ESTABLISHED, CallState.RECOVERING):
            return 486 if replaces.early_only else call
        return call if call.state is CallState.RINGING else 481

    # -- transfers ---------------------------------------------------------------------------------------------------

    def _refer(self, command: i.Refer) -> None:
        call = self.find(command.call)
        check_headers(command.headers)
        if (command.other is None) == (not command.target):
            raise LocalProtocolError("give either a target or another call")
        if command.other is None:
            check_target(command.target)
            call.transfer.start(command, command.target)
            return
        other = self.find(command.other)
        other.require(CallState.ESTABLISHED)
        if other is call:
            raise LocalProtocolError("a call cannot be transferred to its own peer")
        call.transfer.start(command, refer_to(other))

    def _referred(self, call: Call, received: RequestReceived) -> None:
        """A REFER in a call: agreed to at once, since its answer may not wait for people; NOTIFY tells the rest (2.4.4)."""
        hub, request = self._hub, received.request
        asked = referral_of(request)
        if isinstance(asked, int):
            hub.respond(received, asked)
            return
        if not hub.config.accept_transfers or len(self._referrals) >= hub.config.limits.transfers:
            hub.respond(received, 603)
            return
        assert call.dialog is not None
        self._transfer_number += 1
        name = f"transfer-{self._transfer_number}"
        referral = Referral(hub, name, call.dialog, request, asked, self._forget_referral)
        extra: list[tuple[str, object]] = [("Contact", hub.contact(call.flow))]
        hub.respond(received, 202, extra=[*extra, ("Refer-Sub", "false")] if referral.is_silent else extra)
        self._referrals[referral.ident] = referral
        referral.start(lambda: referral.tell(603, final=True))
        hub.emit(
            TransferRequested(
                call=call.ident,
                transfer=referral.ident,
                target=referral.target,
                replaces=referral.replaces,
                referred_by=referral.referred_by,
            )
        )

    def _forget_referral(self, referral: Referral) -> None:
        self._referrals.pop(referral.ident, None)

    def _find_referral(self, name: str) -> Referral:
        referral = self._referrals.get(name)
        if referral is None or referral.decided:
            raise LocalProtocolError(f"there is no transfer {name!r} to decide on")
        return referral

    def _accept_transfer(self, command: i.AcceptTransfer) -> None:
        referral = self._find_referral(command.transfer)
        headers = list(command.headers)
        if referral.replaces is not None:
            headers.append(("Replaces", referral.replaces))
        if referral.referred_by is not None:
            headers.append(("Referred-By", f"<{referral.referred_by}>"))
        self._invite(
            i.Invite(
                command=command.command,
                call=command.call,
                target=referral.target,
                media=command.media,
                codecs=command.codecs,
                body=command.body,
                content_type=command.content_type,
                headers=tuple(headers),
            ),
            referral,
        )

    def _reject_transfer(self, command: i.RejectTransfer) -> None:
        if not 300 <= command.status <= 699:
            raise LocalProtocolError("a refusal has a status of 300 to 699")
        referral = self._find_referral(command.transfer)
        referral.tell(command.status, final=True)
        self._hub.succeed(command.command)

    def _digit_heard(self, heard: m.DigitHeard) -> None:
        call = self._calls.get(heard.call)
        if call is not None and not call.is_over:
            call.incall.digit_heard(heard)

    def _media_state(self, changed: m.MediaStateChanged) -> None:
        call = self._calls.get(changed.call)
        if call is None or call.is_over:
            return
        self._hub.emit(MediaChanged(call=changed.call, state=changed.state))
        call.media_changed(changed.state)
