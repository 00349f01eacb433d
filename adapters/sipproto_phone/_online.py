"""One account online: connected, registered, and again by itself after every loss."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from attrs import field, frozen

from sipproto._entropy import SystemTokens
from sipproto.agent import outputs as o
from sipproto.agent.outputs import Cause, ConnectFailure
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.tokens import uniform
from sipproto_anyio import open_endpoint
from sipproto_client import CommandError, Endpoint
from sipproto_phone._account import MakeEngine, agent_config, flow_settings, ice_servers, server_url
from sipproto_phone._certificates import described
from sipproto_phone._mailbox import CONTENT_TYPE, EVENT, mailbox_of
from sipproto_phone.model import Connection, Mailbox, Online, Problem
from sipproto_phone.ports import Account

_FIRST_DELAY, _MAX_DELAY = 1.0, 30.0  # seconds between two attempts of ours


@frozen(kw_only=True)
class Failure:
    """Why the account is not online. lasting: trying again would be of no use, or would lock the account."""

    problem: Problem
    detail: str
    lasting: bool = False
    certificate: bytes | None = field(default=None, repr=False)


_OF_CONNECTIONS: dict[ConnectFailure, tuple[Problem, bool]] = {
    ConnectFailure.UNKNOWN_HOST: (Problem.UNKNOWN_HOST, False),
    ConnectFailure.REFUSED: (Problem.UNREACHABLE, False),
    ConnectFailure.UNREACHABLE: (Problem.UNREACHABLE, False),
    ConnectFailure.TIMEOUT: (Problem.TIMEOUT, False),
    ConnectFailure.TLS: (Problem.TLS, False),
    ConnectFailure.CERTIFICATE: (Problem.TLS, True),
    ConnectFailure.HANDSHAKE: (Problem.REFUSED, False),
}
_OF_REGISTRATIONS: dict[Cause, tuple[Problem, bool]] = {
    Cause.AUTHENTICATION_ERROR: (Problem.WRONG_PASSWORD, True),
    Cause.NO_PASSWORD: (Problem.WRONG_PASSWORD, True),  # the server asks for one of another realm or kind
    Cause.REQUEST_TIMEOUT: (Problem.TIMEOUT, False),
    Cause.CONNECTION_ERROR: (Problem.UNREACHABLE, False),
    Cause.REJECTED: (Problem.REFUSED, True),
    Cause.NOT_FOUND: (Problem.REFUSED, True),
    Cause.NOT_POSSIBLE: (Problem.SETTINGS, True),
}


def connection_failure(event: o.ConnectionChanged) -> Failure:
    """Why there is no connection."""
    problem, lasting = (Problem.UNREACHABLE, False) if event.failure is None else _OF_CONNECTIONS[event.failure]
    return Failure(
        problem=problem, detail=event.error or "the connection was lost", lasting=lasting, certificate=event.certificate
    )


def registration_failure(cause: Cause | None, detail: str) -> Failure:
    """Why there is no registration."""
    problem, lasting = _OF_REGISTRATIONS.get(cause or Cause.CONNECTION_ERROR, (Problem.REFUSED, False))
    return Failure(problem=problem, detail=detail, lasting=lasting)


class Link:
    """An account from when it is chosen until another takes its place: `run` until it is cancelled, which ends it in order.

    tell: told the status light. heard: told every event of the endpoint. mailbox: told what waits in the voice mail.
    busy: whether there are calls.
    """

    def __init__(
        self,
        account: Account,
        password: str,
        turn_password: str | None,
        *,
        make_engine: MakeEngine,
        tell: Callable[[Connection], None],
        heard: Callable[[object], None],
        mailbox: Callable[[Mailbox], None],
        busy: Callable[[], bool],
    ) -> None:
        self.account = account
        self._password = password
        self._turn_password = turn_password
        self._make_engine = make_engine
        self._tell = tell
        self._heard = heard
        self._mailbox = mailbox
        self._busy = busy
        self.endpoint: Endpoint | None = None
        self._url = server_url(account)
        self._failure: Failure | None = None  # that ended the last attempt
        self._over = anyio.Event()  # the agent has given up
        self._again = anyio.Event()  # somebody wants to try now
        self._leaving = False
        self._connected = False
        self._subscribed = False

    async def run(self) -> None:
        try:
            engine = self._make_engine(ice_servers(self.account, self._turn_password))
            config = agent_config(self.account, self._password, engine.capabilities)
            flow = flow_settings(self.account)
        except (ValueError, LocalProtocolError) as error:
            self._tell(Connection(online=Online.FAILED, problem=Problem.SETTINGS, detail=str(error)))
            await anyio.sleep_forever()
            return
        try:
            async with open_endpoint(config, media=engine, flow=flow) as endpoint:
                self.endpoint = endpoint
                endpoint.on_event(self._event)
                try:
                    async with anyio.create_task_group() as tasks:
                        await self._stay_online(
                            endpoint, lambda: tasks.start_soon(self._watch_mailbox, endpoint, config.aor)
                        )
                finally:
                    self._leaving = True
        finally:
            self.endpoint = None
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(engine.close)

    async def _stay_online(self, endpoint: Endpoint, online: Callable[[], object]) -> None:
        failures = 0
        while True:
            self._failure, self._over, self._leaving = None, anyio.Event(), False
            self._tell(Connection(online=Online.CONNECTING))
            try:
                if not self._connected:
                    await endpoint.connect(self._url)
                await endpoint.register()
                failures = 0
                if not self._subscribed:
                    online()
                await self._over.wait()
            except CommandError as error:
                self._failure = self._failure or registration_failure(error.cause, error.detail)
            except LocalProtocolError as error:
                self._failure = Failure(problem=Problem.SETTINGS, detail=str(error), lasting=True)
            self._leaving = True
            if not self._busy():  # a registration that is refused is no reason to cut a call
                await self._disconnect(endpoint)
            failures += 1
            await self._pause(self._failure or registration_failure(None, "the connection was lost"), failures)

    async def _disconnect(self, endpoint: Endpoint) -> None:
        try:
            await endpoint.disconnect()
        except SipProtoError:
            pass  # there is no connection

    async def _pause(self, failure: Failure, failures: int) -> None:
        self._again = anyio.Event()
        if failure.lasting:
            self._say(failure, None)
            await self._again.wait()
            return
        delay = min(_MAX_DELAY, _FIRST_DELAY * 2 ** min(failures - 1, 10)) * (0.5 + 0.5 * uniform(SystemTokens()))
        self._say(failure, delay)
        with anyio.move_on_after(delay):
            await self._again.wait()

    def _say(self, failure: Failure, retry_in: float | None) -> None:
        shown = None
        if failure.certificate is not None and self.endpoint is not None:
            shown = described(flow_settings(self.account).host_of(self._url), failure.certificate)
        self._tell(
            Connection(
                online=Online.FAILED if retry_in is None else Online.RETRYING,
                problem=failure.problem,
                detail=failure.detail,
                retry_in=retry_in,
                certificate=shown,
            )
        )

    async def try_now(self) -> None:
        """What waits for its time is done at once."""
        self._again.set()
        if self.endpoint is not None:
            await self.endpoint.hurry_connection()

    # -- what the agent tells ----------------------------------------------------------------------------------------

    def _event(self, event: object) -> None:
        if isinstance(event, o.ConnectionChanged):
            self._connected = event.state is o.ConnectionState.CONNECTED
        match event:
            case o.ConnectionChanged() if not self._leaving:
                self._connection(event)
            case o.RegistrationChanged() if not self._leaving:
                self._registration(event)
            case o.NotificationReceived(event=package, content_type=kind, body=body) if package in ("", EVENT):
                self._summary(kind, body)
            case _:
                self._heard(event)

    def _connection(self, event: o.ConnectionChanged) -> None:
        match event.state:
            case o.ConnectionState.CONNECTING:
                self._tell(Connection(online=Online.CONNECTING))
            case o.ConnectionState.CONNECTED:
                self._tell(Connection(online=Online.REGISTERING))
            case o.ConnectionState.RECONNECTING:
                self._say(connection_failure(event), event.retry_in or 0.0)
            case o.ConnectionState.DISCONNECTED:
                self._failure = connection_failure(event)
                self._over.set()

    def _registration(self, event: o.RegistrationChanged) -> None:
        match event.state:
            case o.RegistrationState.REGISTERED:
                self._tell(Connection(online=Online.ONLINE))
            case o.RegistrationState.FAILED:
                failure = registration_failure(event.cause, event.detail)
                if event.retry_in is not None:
                    self._say(failure, event.retry_in)
                else:
                    self._failure = failure
                    self._over.set()
            case _:
                pass  # the connection was lost, which is told of by itself

    # -- voice mail --------------------------------------------------------------------------------------------------

    async def _watch_mailbox(self, endpoint: Endpoint, aor: str) -> None:
        """Subscribes once. Many servers have no such thing, and say so; then what they send unasked is all there is."""
        self._subscribed = True
        try:
            async with endpoint.subscribe(aor, EVENT, accept=(CONTENT_TYPE,)) as notified:
                async for notification in notified:
                    self._summary(notification.content_type, notification.body)
        except SipProtoError:
            self._subscribed = False

    def _summary(self, content_type: str, body: bytes) -> None:
        found = mailbox_of(content_type, body)
        if found is not None:
            self._mailbox(found)
