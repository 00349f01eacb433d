"""Ready-made scenarios over a connector: connect, call with callbacks in a fixed order, answer, present."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import iscoroutine
from typing import Any, TypedDict, Unpack

from attrs import frozen

from sipproto.agent.parameters import EffectiveParameters
from sipproto.conference import EnterRoom, License, has_purgatory
from sipproto.connector import ConnectionParameters
from sipproto.connector.events import Configuration
from sipproto.connector.naming import MoveToSpectators, RemoteTrack
from sipproto.media.remote_streams import RemoteStream
from sipproto.media.sample import StatsSample
from sipproto_client._call import Call
from sipproto_client._connector_values import (
    HeaderLines,
    MediaOptions,
    ParametersProvider,
    SendingOptions,
    header_lines,
)
from sipproto_client._emitter import Unsubscribe
from sipproto_client._sip_connector import SipConnector
from sipproto_client.connector_errors import ConnectorError, ErrorCode

_log = logging.getLogger("sipproto.connector")
_GIVEN_UP = (ErrorCode.CANCELED, ErrorCode.SUPERSEDED)
_ENDS = ("call:ended", "call:failed")
DEBOUNCE = 0.2  # seconds that streams have to be unchanged before an application is told

StreamsHandler = Callable[[tuple[RemoteStream, ...]], object]


@frozen(kw_only=True)
class ConnectResult:
    """is_successful: False when the connection was given up, or another one took its place."""

    is_successful: bool
    configuration: Configuration | None = None


@frozen(kw_only=True)
class DisconnectResult:
    is_successful: bool


class ProgressCallbacks(TypedDict, total=False):
    """What is called in the course of a call, plain functions or async ones, which are waited for.

    on_before_progress_call(number) comes first, the number called or that of the caller. Then
    on_success_progress_call(is_purgatory=) when the call is established, on_fail_progress_call() when it is not to be,
    and on_finish_progress_call() after either.
    As soon as the server says so, even before: on_enter_purgatory() or on_enter_conference(is_success_progress_call=), for
    each room. on_ended_call() at the end of a call that was established. set_remote_streams(streams) when there are other
    streams and have been the same for 0.2 s. One that raises is logged, and disturbs nothing.
    """

    on_before_progress_call: Callable[[str], object] | None
    on_success_progress_call: Callable[..., object] | None
    on_enter_purgatory: Callable[[], object] | None
    on_enter_conference: Callable[..., object] | None
    on_fail_progress_call: Callable[[], object] | None
    on_finish_progress_call: Callable[[], object] | None
    on_ended_call: Callable[[], object] | None
    set_remote_streams: StreamsHandler | None


class CallOptions(MediaOptions, ProgressCallbacks, total=False):
    """How a call is sent and received, and what is called in its course."""


class _Debounced:
    """Calls once for all triggers that follow each other within so many seconds, that long after the last."""

    def __init__(self, connector: SipConnector, action: Callable[[], object]) -> None:
        self._connector = connector
        self._action = action
        self._due = 0.0
        self._is_waiting = False

    def __call__(self, *_: object) -> None:
        self._due = self._connector.endpoint.runtime.now() + DEBOUNCE
        if not self._is_waiting:
            self._is_waiting = True
            self._connector.notify(self._run)

    async def _run(self) -> None:
        runtime = self._connector.endpoint.runtime
        try:
            while (left := self._due - runtime.now()) > 0:
                await runtime.wait(runtime.event(), left)
        finally:
            self._is_waiting = False
        self._connector.notify(self._action)


class _Progress:
    """The course of one call, told to callbacks."""

    def __init__(self, connector: SipConnector, callbacks: ProgressCallbacks) -> None:
        self._connector = connector
        self._callbacks: dict[str, Any] = {**callbacks}
        self._room: str | None = None
        self._is_success = False
        self._is_finished = False
        self._is_over = False
        self._subscriptions: list[Unsubscribe] = []

    async def run(self, number: str, make: Callable[[], Awaitable[Call]]) -> Call:
        on = self._connector.on
        streams = _Debounced(self._connector, self._tell_streams)
        try:
            await self._tell("on_before_progress_call", number)
            self._subscriptions = [  # not before: what is told up to here is of another call
                on("api:enterRoom", self._entered),
                on("call:remote-streams-changed", streams),
                self._connector.once_race(_ENDS, self._ended),
            ]
            call = await make()
        except BaseException:
            self._unsubscribe()
            await self._tell("on_fail_progress_call")
            await self._tell("on_finish_progress_call")
            raise
        self._is_success = True
        streams()
        await self._tell("on_success_progress_call", is_purgatory=has_purgatory(self._room))
        await self._tell("on_finish_progress_call")
        self._is_finished = True
        if self._is_over:
            self._connector.notify(self._callbacks.get("on_ended_call"))
        return call

    async def _tell(self, name: str, *arguments: object, **named: object) -> None:
        callback = self._callbacks.get(name)
        if callback is None:
            return
        try:
            result = callback(*arguments, **named)
            if iscoroutine(result):
                await result
        except Exception:
            _log.exception("%s raised", name)

    def _entered(self, entered: EnterRoom) -> None:
        self._room = entered.room
        callbacks, connector = self._callbacks, self._connector
        if has_purgatory(entered.room):
            connector.notify(callbacks.get("on_enter_purgatory"))
        elif (callback := callbacks.get("on_enter_conference")) is not None:
            is_success = self._is_success
            connector.notify(lambda: callback(is_success_progress_call=is_success))

    def _ended(self, _: object, __: str) -> None:
        self._unsubscribe()
        self._is_over = True
        if self._is_finished:  # else the rest is told first
            self._connector.notify(self._callbacks.get("on_ended_call"))

    def _tell_streams(self) -> object:
        callback = self._callbacks.get("set_remote_streams")
        streams = self._connector.get_remote_streams()
        return callback(streams) if callback is not None and streams is not None and not self._is_over else None

    def _unsubscribe(self) -> None:
        for end in self._subscriptions:
            end()
        self._subscriptions = []


class SipConnectorFacade:
    """The scenarios of an application, over a connector, which it shares with whoever else uses it."""

    def __init__(self, sip_connector: SipConnector) -> None:
        self.sip_connector = sip_connector
        self.on = sip_connector.on
        self.once = sip_connector.once
        self.on_race = sip_connector.on_race
        self.once_race = sip_connector.once_race
        self.wait = sip_connector.wait
        self.off = sip_connector.off
        self.events = sip_connector.events
        self.send_dtmf = sip_connector.send_dtmf
        self.hang_up = sip_connector.hang_up
        self.decline_to_incoming_call = sip_connector.decline_to_incoming_call
        self.send_channels = sip_connector.send_channels
        self.check_telephony = sip_connector.check_telephony
        self.wait_channels = sip_connector.wait_channels
        self.ping = sip_connector.ping
        self.start_auto_connect = sip_connector.start_auto_connect
        self.stop_auto_connect = sip_connector.stop_auto_connect
        self.is_configured = sip_connector.is_configured
        self.get_remote_streams = sip_connector.get_remote_streams
        self.replace_media_stream = sip_connector.replace_media_stream
        self.ask_permission_to_enable_cam = sip_connector.ask_permission_to_enable_cam
        self.send_media_state = sip_connector.send_media_state

    @property
    def connection(self) -> Call | None:
        return self.sip_connector.connection

    @property
    def is_registered(self) -> bool:
        return self.sip_connector.is_registered

    # -- the connection ------------------------------------------------------------------------------------------------

    async def connect_to_server(
        self,
        parameters: ConnectionParameters | ParametersProvider | None = None,
        *,
        sip_server_url: str = "",
        sip_web_socket_server_url: str = "",
        user_agent: str = "sipproto",
        remote_address: str | None = None,
        display_name: str = "",
        name: str | None = None,
        password: str | None = None,
        is_registered_user: bool = False,
        extra_headers: HeaderLines = (),
        is_disconnect_on_fail: bool = False,
    ) -> ConnectResult:
        """Connects as `name`, and registers if `is_registered_user`. parameters: in place of all the others.

        Not successful without an error when it was given up, or another connection took its place; everything else raises
        ConnectorError, with `is_disconnect_on_fail` after disconnecting.
        """
        if parameters is None:
            parameters = ConnectionParameters(
                sip_server_url=sip_server_url,
                sip_web_socket_server_url=sip_web_socket_server_url,
                user=name,
                password=password,
                register=is_registered_user,
                display_name=display_name,
                user_agent=user_agent,
                remote_address=remote_address,
                extra_headers=self.sip_connector.checked(header_lines, extra_headers),
            )
        try:
            configuration = await self.sip_connector.connect(parameters)
        except ConnectorError as error:
            if error.code in _GIVEN_UP:
                return ConnectResult(is_successful=False)
            if is_disconnect_on_fail:
                await self.disconnect_from_server()
            raise
        return ConnectResult(is_successful=True, configuration=configuration)

    async def disconnect_from_server(self) -> DisconnectResult:
        """Ends the call, unregisters and disconnects. Does not raise: `is_successful` says whether it went in order."""
        return DisconnectResult(is_successful=await self._tried(self.sip_connector.disconnect()))

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def call_to_server(
        self, *, conference: str, media_stream: object = None, **options: Unpack[CallOptions]
    ) -> Call:
        """Calls a conference, and waits until the call is established. Raises ConnectorError after `on_fail_progress_call`.

        The callbacks and their order: ProgressCallbacks. The rest is as for `SipConnector.call`.
        """
        callbacks, media = _parted(options)
        return await _Progress(self.sip_connector, callbacks).run(
            conference, lambda: self.sip_connector.call(conference, media_stream, **media)
        )

    async def answer_to_incoming_call(
        self, *, media_stream: object = None, call: str | None = None, **options: Unpack[CallOptions]
    ) -> Call:
        """Answers a caller (`call`, or who rings for the longest time); otherwise as `call_to_server`."""
        callbacks, media = _parted(options)
        connector = self.sip_connector
        caller = connector.remote_caller_data if call is None else connector.caller_data_of(call)
        number = caller.incoming_number if caller is not None else ""
        return await _Progress(self.sip_connector, callbacks).run(
            number, lambda: self.sip_connector.answer_to_incoming_call(media_stream, call=call, **media)
        )

    def resolve_handle_ready_remote_streams_debounced(
        self, *, on_ready_remote_streams: StreamsHandler
    ) -> Callable[..., None]:
        """A function that has the streams of the call told 0.2 s after it was called last."""

        def tell() -> object:
            streams = self.get_remote_streams()
            return on_ready_remote_streams(streams) if streams is not None else None

        return _Debounced(self.sip_connector, tell)

    def resolve_handle_ready_remote_streams(
        self, *, on_ready_remote_streams: Callable[[], object]
    ) -> Callable[[RemoteTrack], None]:
        """A handler of `call:peerconnection:ontrack` that cares for video only."""

        def handle(track: RemoteTrack) -> None:
            if track.kind == "video":
                self.sip_connector.notify(on_ready_remote_streams)

        return handle

    # -- the presentation ----------------------------------------------------------------------------------------------

    async def start_presentation(
        self, *, media_stream: object, is_p2p: bool = False, call_limit: int = 1, **options: Unpack[SendingOptions]
    ) -> EffectiveParameters:
        """As `SipConnector.start_presentation`."""
        return await self.sip_connector.start_presentation(
            media_stream, is_p2p=is_p2p, call_limit=call_limit, **options
        )

    async def update_presentation(
        self, *, media_stream: object, is_p2p: bool = False, **options: Unpack[SendingOptions]
    ) -> EffectiveParameters:
        """As `SipConnector.update_presentation`."""
        return await self.sip_connector.update_presentation(media_stream, is_p2p=is_p2p, **options)

    async def stop_share_sip_connector(self, *, is_p2p: bool = False) -> None:
        """Ends the presentation. What goes wrong is logged."""
        await self._tried(self.sip_connector.stop_presentation(is_p2p=is_p2p))

    # -- the conference ------------------------------------------------------------------------------------------------

    async def send_refusal_to_turn_on_mic(self) -> None:
        """We do not turn the microphone on. What goes wrong is logged."""
        await self._tried(self.sip_connector.send_refusal_to_turn_on_mic())

    async def send_refusal_to_turn_on_cam(self) -> None:
        """We do not turn the camera on. What goes wrong is logged."""
        await self._tried(self.sip_connector.send_refusal_to_turn_on_cam())

    def on_use_license(self, handler: Callable[[License], object]) -> Unsubscribe:
        return self.on("api:useLicense", handler)

    def on_must_stop_presentation(self, handler: Callable[[None], object]) -> Unsubscribe:
        """The presentation ends by itself then; the handler is told beforehand."""
        return self.on("api:mustStopPresentation", handler)

    def on_move_to_spectators(self, handler: Callable[[MoveToSpectators], object]) -> Unsubscribe:
        return self.on("api:participant:move-request-to-spectators", handler)

    def on_move_to_participants(self, handler: Callable[[None], object]) -> Unsubscribe:
        return self.on("api:participant:move-request-to-participants", handler)

    def on_stats(self, handler: Callable[[StatsSample], object]) -> Unsubscribe:
        return self.on("stats:collected", handler)

    def off_stats(self, handler: Callable[[StatsSample], object]) -> None:
        self.off("stats:collected", handler)

    async def _tried(self, command: Awaitable[object]) -> bool:
        try:
            await command
        except ConnectorError as error:
            _log.info("%s", error)
            return False
        return True


def _parted(options: CallOptions) -> tuple[ProgressCallbacks, MediaOptions]:
    names = ProgressCallbacks.__annotations__
    callbacks: Any = {name: value for name, value in options.items() if name in names}
    media: Any = {name: value for name, value in options.items() if name not in names}
    return callbacks, media
