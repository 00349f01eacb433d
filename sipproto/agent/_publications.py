"""Publishing event state (RFC 3903 4): first, refreshed, changed, removed, and made anew when the server has forgotten it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from sipproto.agent import _event as e
from sipproto.agent._alone import check_headers, check_target
from sipproto.agent._hub import Exchange, Hub, outcome_of_auth
from sipproto.agent._part import Part
from sipproto.agent.event_inputs import PublicationId, Publish, Unpublish
from sipproto.agent.event_outputs import PublicationChanged, PublicationState
from sipproto.agent.inputs import CommandId
from sipproto.agent.outputs import Cause, cause_of
from sipproto.dialog import Pairs, build_request
from sipproto.errors import LocalProtocolError
from sipproto.message import Request, Response, fields
from sipproto.transaction import FlowId

_TIMERS = ("refresh",)


class _Kind(enum.Enum):
    """The four uses of PUBLISH (RFC 3903 4, table 1)."""

    INITIAL = "initial"  # body, no entity tag
    REFRESH = "refresh"  # entity tag, no body
    MODIFY = "modify"  # both
    REMOVE = "remove"  # entity tag, and Expires 0


class _Publication:
    """One publication. One request at a time (RFC 3903 4.1); what is wanted meanwhile waits, and the newest counts.

    `over` is called when the application is told of its end.
    """

    def __init__(self, hub: Hub, command: Publish, over: Callable[[_Publication], None]) -> None:
        self._hub = hub
        self.ident = command.publication
        self._wanted = command
        self.flow: FlowId | None = None
        self._over = over
        self._owner = ("publication", hub.next_number())
        self._local = hub.from_address()
        self._call_id = hub.new_call_id()
        self._cseq = hub.tokens.bits(16)
        self._expires = command.expires
        self._etag: str | None = None
        self._ends_at = 0.0
        self._raises = self._failures = 0
        self._exchange: Exchange | None = None
        self._command: CommandId | None = None  # of the request that is under way
        self._waiting: CommandId | None = None  # of the newest change, which is not under way yet
        self._changed = True  # the server does not know the newest body
        self._was_published = False
        self._is_told = False  # the application believes it published
        self._removing = False
        self._is_over = False

    @property
    def is_busy(self) -> bool:
        return self._exchange is not None

    # -- commands ----------------------------------------------------------------------------------------------------

    def check(self, command: Publish) -> None:
        if (command.target, command.event) != (self._wanted.target, self._wanted.event):
            raise LocalProtocolError(f"publication {self.ident!r} is of {self._wanted.event} of {self._wanted.target}")

    def publish(self, command: Publish) -> None:
        self._supersede()
        self._removing = False
        self._wanted, self._waiting = command, command.command
        self._expires, self._raises = command.expires, 0
        self._changed = True
        self._go_on()

    def remove(self, command: CommandId | None) -> None:
        self._supersede()
        self._waiting = command
        self._removing = True
        self._hub.stop_timer(self._owner, "refresh")
        self._go_on()

    def _supersede(self) -> None:
        waiting, self._waiting = self._waiting, None
        self._hub.fail(waiting, Cause.SUPERSEDED, "a later command took its place")

    # -- connections -------------------------------------------------------------------------------------------------

    def flow_lost(self, hope: bool) -> None:
        hub = self._hub
        if hope and self._is_backing_off:
            self.flow = None  # it goes on when its time has come
            return
        hub.drop(self._exchange)
        hub.stop_timer(self._owner, "refresh")
        self._exchange = self.flow = None
        command, self._command = self._command, None
        waiting, self._waiting = self._waiting, None
        for number in (command, waiting):
            hub.fail(number, Cause.CONNECTION_ERROR, e.LOST)
        self._changed = True  # whether the server has got the last request nobody knows
        # A first attempt that did not succeed is for its caller to repeat.
        if hope and self._was_published and not self._removing:
            self._tell(PublicationState.WAITING, Cause.CONNECTION_ERROR, e.LOST)
        else:
            self._end(Cause.CONNECTION_ERROR, e.LOST)

    @property
    def _is_backing_off(self) -> bool:
        return not self._is_told and self._hub.timers.is_running(self._owner, "refresh")

    def flow_ready(self) -> None:
        if self.flow is None and not self._is_backing_off:
            self._go_on()

    def flow_gone(self) -> None:
        """No connection is tried for any more."""
        if self.flow is None:
            self._end(Cause.CONNECTION_ERROR, e.LOST)

    # -- requests ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Does what is wanted next, if nothing is under way."""
        hub = self._hub
        if self._exchange is not None or self._is_over:
            return
        if self._etag is not None and hub.now >= self._ends_at:
            self._etag = None  # it has expired: to name it would only be refused
        if self._removing:
            if self._etag is None or hub.server_flow is None:
                waiting, self._waiting = self._waiting, None
                hub.succeed(waiting)
                self._end(Cause.TERMINATED, "unpublished")
            else:
                self._send(_Kind.REMOVE)
        elif hub.server_flow is None:
            self.flow = None  # it is told with the next connection
        elif self._etag is None:
            self._send(_Kind.INITIAL)
        else:
            self._send(_Kind.MODIFY if self._changed else _Kind.REFRESH)

    def _send(self, kind: _Kind) -> None:
        hub, wanted, flow = self._hub, self._wanted, self._hub.server_flow
        assert flow is not None
        hub.stop_timer(self._owner, "refresh")
        self.flow = flow
        if self._waiting is not None:
            self._command, self._waiting = self._waiting, None
        asked = 0 if kind is _Kind.REMOVE else self._expires
        has_body = kind in (_Kind.INITIAL, _Kind.MODIFY)
        if has_body:
            self._changed = False
        body = wanted.body if has_body else b""

        def build(credentials: Pairs) -> Request:
            self._cseq += 1
            extra: list[tuple[str, object]] = [
                *credentials,
                ("Event", wanted.event),
                ("Expires", asked),
                *hub.common_headers(),
                *wanted.headers,
            ]
            if kind is not _Kind.INITIAL:
                extra.append(("SIP-If-Match", self._etag))
            if has_body and wanted.content_type:
                extra.append(("Content-Type", wanted.content_type))
            return build_request(
                "PUBLISH",
                wanted.target,
                from_=self._local,
                to=f"<{wanted.target}>",
                call_id=self._call_id,
                cseq=self._cseq,
                routes=hub.service_route,
                extra=extra,
                body=body,
            )

        self._exchange = Exchange(
            flow=flow,
            build=build,
            method="PUBLISH",
            target=wanted.target,
            body=body,
            on_final=lambda response: self._answered(response, kind, asked),
            on_failure=lambda timeout: self._silent(timeout, kind),
            timeout=hub.config.waits.request,
        )
        if not hub.start(self._exchange):
            self._silent(False, kind)

    def _answered(self, response: Response, kind: _Kind, asked: int) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        status = response.status
        if 200 <= status < 300 and kind is not _Kind.REMOVE:
            self._published(response, asked)
        elif kind is _Kind.REMOVE:
            cause, detail = cause_of(status), f"{status} {response.reason}".strip()
            if status in (401, 407):
                cause, detail = outcome_of_auth(exchange)
            # 412: there was nothing to remove any more
            self._removed(status < 300 or status == 412, cause, detail, status)
        elif status == 412 and kind is not _Kind.INITIAL:
            self._etag, self._changed = None, True  # 4.1: the server has forgotten it: publish anew
            self._again()
        elif status == 423 and (more := e.raised(response, asked, self._raises)) is not None:
            self._raises += 1
            self._expires, self._changed = more, self._changed or kind is not _Kind.REFRESH
            self._again()
        else:
            cause, detail = cause_of(status), f"{status} {response.reason}".strip()
            if status in (401, 407):
                cause, detail = outcome_of_auth(exchange)
            self._failed(cause, detail, status, e.retry_after(response))

    def _again(self) -> None:
        """Goes on with the same command, unless another one has come."""
        if self._waiting is None:
            self._waiting, self._command = self._command, None
        else:
            command, self._command = self._command, None
            self._hub.fail(command, Cause.SUPERSEDED, "a later command took its place")
        self._go_on()

    def _published(self, response: Response, asked: int) -> None:
        hub = self._hub
        self._failures = self._raises = 0
        self._etag = response.headers.get(fields.SIP_ETAG)
        lifetime = e.granted(response, asked)
        self._ends_at = hub.now + lifetime
        if self._etag is None:
            self._changed = True  # LENIENT: a server that gives no tag gets the whole state each time
        self._was_published = True
        hub.start_timer(self._owner, "refresh", e.refresh_delay(hub, lifetime), lambda _: self._go_on())
        command, self._command = self._command, None
        if command is not None or not self._is_told:
            hub.succeed(command, lifetime)
            self._tell(PublicationState.PUBLISHED, expires=lifetime)
        if self._waiting is not None or self._removing:
            self._go_on()

    def _removed(self, done: bool, cause: Cause, detail: str, status: int | None) -> None:
        """The outcome of a removal. What could not be removed expires by itself."""
        command, self._command = self._command, None
        self._etag, self._changed = None, True
        if done:
            self._hub.succeed(command)
        else:
            self._hub.fail(command, cause, detail, status)
        if not self._removing or done:
            self._go_on()  # it is to be published again, or this is the end
        else:
            self._end(cause, detail, status)

    def _silent(self, timeout: bool, kind: _Kind) -> None:
        self._exchange = None
        cause, detail = (Cause.REQUEST_TIMEOUT, e.SILENT) if timeout else (Cause.CONNECTION_ERROR, e.LOST)
        if kind is _Kind.REMOVE:
            self._removed(False, cause, detail, None)
        else:
            self._failed(cause, detail, None, None)

    def _failed(self, cause: Cause, detail: str, status: int | None, after: int | None) -> None:
        hub = self._hub
        command, self._command = self._command, None
        hub.fail(command, cause, detail, status)
        self._changed = True
        # 403 and the like would be the same the next time; a server that starts says 480, 5xx, or nothing.
        can_help = status is None or (500 <= status < 600 and status != 501) or status in (408, 480)
        if self._removing or self._waiting is not None:
            self._go_on()
        elif can_help and self._was_published:
            delay = e.back_off(hub, self._failures, after)
            self._failures += 1
            hub.start_timer(self._owner, "refresh", delay, lambda _: self._go_on())
            self._tell(PublicationState.WAITING, cause, detail, status=status, retry_in=delay)
        else:
            self._end(cause, detail, status)

    # -- the application ---------------------------------------------------------------------------------------------

    def _tell(
        self,
        state: PublicationState,
        cause: Cause | None = None,
        detail: str = "",
        *,
        status: int | None = None,
        expires: int | None = None,
        retry_in: float | None = None,
    ) -> None:
        self._is_told = state is PublicationState.PUBLISHED
        self._hub.emit(
            PublicationChanged(
                publication=self.ident,
                state=state,
                expires=expires,
                cause=cause,
                detail=detail,
                status=status,
                retry_in=retry_in,
            )
        )

    def _end(self, cause: Cause, detail: str, status: int | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._hub.forget_owner(self._owner, *_TIMERS)
        for command in (self._command, self._waiting):
            self._hub.fail(command, cause, detail, status)
        self._command = self._waiting = None
        self._tell(PublicationState.ENDED, cause, detail, status=status)
        self._over(self)


class Publications(Part):
    """All publications of an agent, by name."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._named: dict[PublicationId, _Publication] = {}

    def commands(self) -> Mapping[type, Callable[[Any], None]]:
        return {Publish: self._publish, Unpublish: self._unpublish}

    @property
    def is_busy(self) -> bool:
        return any(publication.is_busy for publication in self._named.values())

    def held(self) -> Mapping[str, int]:
        return {"publications": len(self._named)}

    def _publish(self, command: Publish) -> None:
        hub = self._hub
        known = self._named.get(command.publication)
        hub.require_server_flow()
        check_target(command.target)
        e.parse_event(command.event)
        e.check_lifetime(command.expires)
        e.check_content(command.content_type, command.body)
        check_headers((*command.headers, ("Content-Type", command.content_type)))
        if known is not None:
            known.check(command)
        elif len(self._named) >= hub.config.limits.publications:
            raise LocalProtocolError(f"there are {len(self._named)} publications, which is the limit")
        else:
            known = self._named[command.publication] = _Publication(hub, command, self._over)
        known.publish(command)

    def _unpublish(self, command: Unpublish) -> None:
        known = self._named.get(command.publication)
        if known is None:
            raise LocalProtocolError(f"there is no publication {command.publication!r}")
        known.remove(command.command)

    def _over(self, publication: _Publication) -> None:
        if self._named.get(publication.ident) is publication:
            del self._named[publication.ident]

    def flow_lost(self, flow: FlowId, hope: bool) -> None:
        for publication in list(self._named.values()):
            if publication.flow == flow:
                publication.flow_lost(hope)

    def flow_ready(self) -> None:
        for publication in list(self._named.values()):
            publication.flow_ready()

    def flow_gone(self) -> None:
        for publication in list(self._named.values()):
            publication.flow_gone()

    def shut_down(self) -> None:
        for publication in list(self._named.values()):
            publication.remove(None)
