"""Views of a connector under the names of the managers of the original. They hold nothing and decide nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sipproto.agent.media import MediaReport
from sipproto.agent.parameters import SenderParameters
from sipproto.connector import inputs as c
from sipproto_client._emitter import Handler, RaceHandler, Unsubscribe

if TYPE_CHECKING:
    from sipproto_client._sip_connector import SipConnector


class _Manager:
    """`on` and the like for the events of one prefix, without it: `call_manager.on("ended", ...)`."""

    prefix = ""

    def __init__(self, connector: SipConnector) -> None:
        self._connector = connector

    def on(self, name: str, handler: Handler) -> Unsubscribe:
        return self._connector.on(f"{self.prefix}:{name}", handler)

    def once(self, name: str, handler: Handler) -> Unsubscribe:
        return self._connector.once(f"{self.prefix}:{name}", handler)

    def on_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        return self._connector.on_race(self._full(names), handler)

    def once_race(self, names: Iterable[str], handler: RaceHandler) -> Unsubscribe:
        return self._connector.once_race(self._full(names), handler)

    async def wait(self, name: str, timeout: float | None = None) -> Any:
        return await self._connector.wait(f"{self.prefix}:{name}", timeout)

    def off(self, name: str, handler: object) -> None:
        self._connector.off(f"{self.prefix}:{name}", handler)

    def _full(self, names: Iterable[str]) -> list[str]:
        return [f"{self.prefix}:{name}" for name in names]


class ConnectionManager(_Manager):
    """Operations of the connection, one after the other: see SipConnector for each."""

    prefix = "connection"

    def __init__(self, connector: SipConnector) -> None:
        super().__init__(connector)
        self.connect = connector.connect
        self.disconnect = connector.disconnect
        self.register = connector.register
        self.unregister = connector.unregister
        self.try_register = connector.try_register
        self.check_telephony = connector.check_telephony
        self.send_options = connector.send_options
        self.ping = connector.ping
        self.set = connector.set
        self.is_configured = connector.is_configured
        self.get_connection_configuration = connector.get_connection_configuration


class CallManager(_Manager):
    prefix = "call"

    def __init__(self, connector: SipConnector) -> None:
        super().__init__(connector)
        self.start_call = connector.call
        self.end_call = connector.hang_up
        self.restart_ice = connector.restart_ice
        self.replace_media_stream = connector.replace_media_stream
        self.get_remote_streams = connector.get_remote_streams
        self.get_established_call = connector.get_established_call


class IncomingCallManager(_Manager):
    prefix = "incoming-call"

    def __init__(self, connector: SipConnector) -> None:
        super().__init__(connector)
        self.answer_to_incoming_call = connector.answer_to_incoming_call
        self.decline_to_incoming_call = connector.decline_to_incoming_call

    async def busy_incoming_call(self) -> None:
        """Refuses a caller with 486."""
        await self._connector.decline_to_incoming_call(status_code=486)


class ApiManager(_Manager):
    prefix = "api"

    def __init__(self, connector: SipConnector) -> None:
        super().__init__(connector)
        self.send_dtmf = connector.send_dtmf
        self.send_channels = connector.send_channels
        self.send_media_state = connector.send_media_state
        self.send_refusal_to_turn_on = connector.send_refusal_to_turn_on
        self.send_refusal_to_turn_on_mic = connector.send_refusal_to_turn_on_mic
        self.send_refusal_to_turn_on_cam = connector.send_refusal_to_turn_on_cam
        self.ask_permission_to_enable_cam = connector.ask_permission_to_enable_cam
        self.wait_channels = connector.wait_channels
        self.wait_sync_media_state = connector.wait_sync_media_state


class PresentationManager(_Manager):
    prefix = "presentation"

    def __init__(self, connector: SipConnector) -> None:
        super().__init__(connector)
        self.start_presentation = connector.start_presentation
        self.update_presentation = connector.update_presentation
        self.stop_presentation = connector.stop_presentation


class StatsManager(_Manager):
    """The statistics of the call, as `stats:collected` tells them, or once."""

    prefix = "stats"

    async def collect(self) -> MediaReport:
        """What is measured right now. Raises ConnectorError without a call."""
        return await self._connector.require_call().stats()


class VideoSendingBalancerManager(_Manager):
    prefix = "video-balancer"

    async def start_balancing(self) -> None:
        """Balances the main video now, and not only after the delay."""
        await self._connector.run(lambda n: c.StartBalancing(command=n))

    async def stop_balancing(self) -> None:
        """Balances no more in this call."""
        await self._connector.run(lambda n: c.StopBalancing(command=n))

    async def balance(self) -> SenderParameters | None:
        """Balances once; returns what the line was given, None when there was nothing to change."""
        result = await self._connector.run(lambda n: c.Balance(command=n))
        assert result is None or isinstance(result, SenderParameters)
        return result
