"""Connecting, registering, and asking whether somebody is there."""

from __future__ import annotations

from typing import Any, Unpack, overload

from sipproto.agent import AgentConfig, Recovery
from sipproto.agent import inputs as i
from sipproto.agent.causes import cause_of
from sipproto.agent.inputs import CommandId
from sipproto.connector import AutoConnect, ConnectionParameters
from sipproto.connector import events as e
from sipproto.connector import inputs as c
from sipproto.connector.config import address_at
from sipproto.errors import SipProtoError
from sipproto_client._connector_base import ConnectorBase
from sipproto_client._connector_values import ConnectionSettings, HeaderLines, ParametersProvider, header_lines
from sipproto_client._endpoint import run_endpoint
from sipproto_client._tasks import plain_task_group
from sipproto_client.connector_errors import ConnectorError, ErrorCode, code_of, connector_error

_GUEST = "100000"  # who asks whether a server is there


class ConnectionCommands(ConnectorBase):
    """Not public: a part of SipConnector."""

    @overload
    async def connect(self, parameters: ConnectionParameters | ParametersProvider) -> e.Configuration: ...

    @overload
    async def connect(self, **settings: Unpack[ConnectionSettings]) -> e.Configuration: ...

    async def connect(
        self, parameters: ConnectionParameters | ParametersProvider | None = None, **settings: Any
    ) -> e.Configuration:
        """Connects, and registers if that is asked for; whatever connection there is, is left first.

        parameters: a value, or an async function that gets one when the time has come; or its fields by keyword. Of several
        at once the newest counts, the others fail as SUPERSEDED. When the waiting is cancelled, the connection is given up.
        What the async function raises comes out as it is.
        """
        return await self._connect(parameters, settings, None)

    @overload
    async def start_auto_connect(
        self, parameters: ConnectionParameters | ParametersProvider, *, auto: AutoConnect | None = None
    ) -> e.Configuration: ...

    @overload
    async def start_auto_connect(
        self, *, auto: AutoConnect | None = None, **settings: Unpack[ConnectionSettings]
    ) -> e.Configuration: ...

    async def start_auto_connect(
        self,
        parameters: ConnectionParameters | ParametersProvider | None = None,
        *,
        auto: AutoConnect | None = None,
        **settings: Any,
    ) -> e.Configuration:
        """As `connect`, but tries until it comes about: `auto` says how, and `auto-connect:...` events tell of it.

        Ends with an error only for what is refused for good (a password, a user, parameters that cannot be), after
        `auto.attempts`, and when it is given up: by `stop_auto_connect`, a later connect, or a cancellation. A connection that
        is lost afterwards is tried for by the agent, as always.
        """
        return await self._connect(parameters, settings, auto or AutoConnect())

    async def stop_auto_connect(self) -> None:
        """Gives up the attempts, or leaves the connection that has come of them; the same as `disconnect`."""
        await self.run(lambda n: c.DisconnectFromServer(command=n))

    async def _connect(
        self,
        parameters: ConnectionParameters | ParametersProvider | None,
        settings: dict[str, Any],
        auto: AutoConnect | None,
    ) -> e.Configuration:
        if callable(parameters):
            return await self._connect_by(parameters, auto)
        if parameters is None:
            lines = self.checked(header_lines, settings.pop("extra_headers", ()))
            parameters = ConnectionParameters(extra_headers=lines, **settings)
        known, url = parameters, parameters.sip_web_socket_server_url
        result = await self.run(
            lambda n: c.ConnectToServer(command=n, parameters=known, auto=auto), signing_in=True, url=url, own=True
        )
        assert isinstance(result, e.Configuration)
        return result

    async def _connect_by(self, provider: ParametersProvider, auto: AutoConnect | None) -> e.Configuration:
        failures: list[Exception] = []
        wanted = self.endpoint.events(lambda event: isinstance(event, e.ParametersWanted))
        numbers: list[CommandId] = []

        def command(number: CommandId) -> c.ConnectToServer:
            numbers.append(number)
            return c.ConnectToServer(command=number, auto=auto)

        async def provide() -> None:
            async for event in wanted:
                if getattr(event, "command", None) in numbers:
                    break
            resolved = c.ParametersResolved(command=numbers[0])
            try:
                resolved = c.ParametersResolved(command=numbers[0], parameters=await provider())
            except Exception as error:
                failures.append(error)
                resolved = c.ParametersResolved(command=numbers[0], error=type(error).__name__)
            self.endpoint.step(resolved)

        try:
            with wanted:
                async with plain_task_group(self.endpoint.runtime) as tasks:
                    tasks.start_soon(provide)
                    result = await self.run(command, signing_in=True, own=True)
                    tasks.cancel()
        except ConnectorError as error:
            if failures:
                raise failures[0] from error
            raise
        assert isinstance(result, e.Configuration)
        return result

    async def disconnect(self) -> None:
        """Hangs up, unregisters and disconnects, at once and in place of all that is under way. Fine without a connection."""
        await self.run(lambda n: c.DisconnectFromServer(command=n))

    async def register(self) -> None:
        await self.run(lambda n: c.RegisterAtServer(command=n), signing_in=True)

    async def unregister(self) -> None:
        await self.run(lambda n: c.UnregisterFromServer(command=n))

    async def try_register(self) -> None:
        """Unregisters, whatever comes of it, and registers."""
        await self.run(lambda n: c.TryRegister(command=n), signing_in=True)

    async def set(self, *, display_name: str) -> bool:
        """Another display name, from the next request on. Returns whether it is another one."""
        return await self.run(lambda n: c.SetName(command=n, display_name=display_name)) is True

    async def ping(self, target: str | None = None, *, body: str = "", extra_headers: HeaderLines = ()) -> int:
        """OPTIONS to our own address, or to `target`. Any answer means that the server is there; returns its status.

        body: text/plain, where there is any.
        """
        lines, content = self.checked(header_lines, extra_headers), body.encode()
        return int(str(await self.run(lambda n: c.Ping(command=n, target=target, body=content, headers=lines))))

    async def send_options(
        self,
        target: str,
        body: str = "",
        *,
        content_type: str = "text/plain",
        extra_headers: HeaderLines = (),
    ) -> int:
        """OPTIONS, with a body where one is given; returns the status. Raises ConnectorError for an answer of 300 and more."""
        lines = self.checked(header_lines, extra_headers)

        def command(number: CommandId) -> i.SendOptions:
            return i.SendOptions(
                command=number, target=target, body=body.encode(), content_type=content_type, headers=lines
            )

        status = int(str(await self.run(command, url=target)))
        if status >= 300:
            cause = cause_of(status)
            detail = f"{target} answers {status}"
            raise ConnectorError(code_of(cause, status), detail, cause=cause, status=status, url=target)
        return status

    async def check_telephony(
        self, *, options: bool = False, timeout: float = 10.0, **settings: Unpack[ConnectionSettings]
    ) -> None:
        """Connects to a server beside the connection that there is, as a guest, and leaves it again, within `timeout` seconds.

        options: ask it by OPTIONS, too; any answer will do. Raises ConnectorError when it is not there.
        """
        fields: dict[str, Any] = {**settings, "register": False}
        fields["extra_headers"] = self.checked(header_lines, fields.get("extra_headers", ()))
        parameters = ConnectionParameters(**fields)
        self.checked(parameters.check)
        url = parameters.sip_web_socket_server_url
        config = AgentConfig(
            aor=parameters.address(_GUEST),
            display_name=parameters.shown_name,
            user_agent=parameters.user_agent,
            recovery=Recovery(reconnect=False),
        )
        with self.endpoint.runtime.move_on_after(timeout) as limit:
            try:
                async with run_endpoint(self.endpoint.runtime, config, flow=self._flow) as probe:
                    await probe.connect(url)
                    if options:
                        await probe.options(address_at(parameters.sip_server_url, _GUEST).replace(f"{_GUEST}@", ""))
            except SipProtoError as error:
                raise connector_error(error, url=url) from error
        if limit.cancelled_caught:
            raise ConnectorError(ErrorCode.TIMEOUT, f"{url} did not answer within {timeout} s", url=url)

    def is_configured(self) -> bool:
        """Whether there is a connection, or one is made."""
        return self.engine.connection.configuration is not None

    def get_connection_configuration(self) -> e.Configuration | None:
        """What we are connected with; without a password."""
        return self.engine.connection.configuration

    def get_uri(self, user: str) -> str:
        """The address of a user of the server; `user` itself without a connection."""
        configuration = self.engine.connection.configuration
        return user if configuration is None else self.checked(address_at, configuration.sip_server_url, user)

    get_sip_server_url = get_uri

    @property
    def connection_state(self) -> e.ConnectionStatus:
        return self.engine.connection.status

    @property
    def requested_connection(self) -> bool:
        """Whether an operation of the connection is under way."""
        return self.engine.connection.is_busy

    @property
    def is_pending_connect(self) -> bool:
        return self.connection_state in (e.ConnectionStatus.PREPARING, e.ConnectionStatus.CONNECTING)

    @property
    def is_pending_init_ua(self) -> bool:
        """Whether an older connection is left, or parameters are waited for."""
        return self.connection_state is e.ConnectionStatus.PREPARING

    @property
    def is_registered(self) -> bool:
        return self.engine.connection.is_registered

    @property
    def is_register_config(self) -> bool:
        """Whether the connection is one that registers."""
        configuration = self.engine.connection.configuration
        return configuration is not None and configuration.register
