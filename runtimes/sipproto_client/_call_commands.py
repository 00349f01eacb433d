"""Making and taking calls, and what is done in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack

from sipproto.agent import inputs as i
from sipproto.agent.inputs import CommandId, DigitWay
from sipproto.agent.parameters import SenderParameters
from sipproto.conference import License, Role
from sipproto.connector import events as e
from sipproto.connector import inputs as c
from sipproto.connector.naming import IncomingCaller
from sipproto.connector.sending import sender_parameters
from sipproto.connector.streams import wanted_media
from sipproto.media.remote_streams import RemoteStream
from sipproto_client._call import Call
from sipproto_client._connector_base import ConnectorBase
from sipproto_client._connector_values import HeaderLines, MediaOptions, SendingOptions, header_lines
from sipproto_client._streams import has, size_of
from sipproto_client.connector_errors import ConnectorError, ErrorCode


class CallCommands(ConnectorBase):
    """Not public: a part of SipConnector."""

    async def call(self, number: str, media_stream: object = None, **options: Unpack[MediaOptions]) -> Call:
        """Calls a number of the server, or an address, and waits until the call is established.

        media_stream: what is sent, and where what is received goes: the setup of the media engine; None: nothing is sent.
        When the waiting is cancelled the call is given up.
        """
        call = self.endpoint.new_call()
        media = self._media(media_stream, options)
        return await self._make(
            call,
            media_stream,
            lambda n: c.CallServer(command=n, call=call.ident, number=number, **media),
            url=number,
        )

    async def answer_to_incoming_call(
        self, media_stream: object = None, *, call: str | None = None, **options: Unpack[MediaOptions]
    ) -> Call:
        """Answers a caller and waits until the call is established. call: which; None: who rings for the longest time.

        While there is another call the caller cannot be answered, and rings on. When the waiting is cancelled the call is
        given up.
        """
        ident = call if call is not None else next(iter(self.engine.call.ringing), None)
        ringing = self.endpoint.call_of(ident) if ident is not None else None
        if ringing is None or ident not in self.engine.call.ringing:
            raise ConnectorError(ErrorCode.NOT_POSSIBLE, "nobody is calling")
        media = self._media(media_stream, options)
        return await self._make(ringing, media_stream, lambda n: c.AnswerCall(command=n, call=ringing.ident, **media))

    def _media(self, stream: object, options: MediaOptions) -> dict[str, Any]:
        """The fields that CallServer and AnswerCall have in common."""
        given: dict[str, Any] = {**options}
        lines = (
            "direction_audio",
            "direction_video",
            "offer_to_receive_audio",
            "offer_to_receive_video",
        )
        asked = {name: given.pop(name) for name in lines if name in given}
        return {
            "media": self.checked(wanted_media, audio=has(stream, "audio"), video=has(stream, "video"), **asked),
            "headers": self.checked(header_lines, given.pop("extra_headers", ())),
            "codecs": given.pop("codecs", None),
            "parameters": self._sending(stream, given),
        }

    def _sending(self, stream: object, options: Mapping[str, Any]) -> SenderParameters | None:
        """What the first video line is sent with; never larger than the connector's `max_resolution`."""
        most = self.engine.config.max_resolution
        return self.checked(sender_parameters, track=size_of(stream), max_resolution=most, **options)

    async def _make(
        self, call: Call, stream: object, command: Callable[[CommandId], object], url: str | None = None
    ) -> Call:
        established = False
        try:
            self._streams.begin(call.ident, stream)
            await self.run(command, url=url)
            established = True
        finally:
            if not established:
                self._streams.over(call.ident)
                if call.ident not in self.engine.call.ringing:  # else it could not be answered now, and rings on
                    self.endpoint.give_up(call)
        return call

    async def decline_to_incoming_call(self, *, status_code: int = 487, call: str | None = None) -> None:
        """Refuses a caller with a status of 300 to 699. call: as in `answer_to_incoming_call`."""
        await self.run(lambda n: c.DeclineCall(command=n, call=call, status=status_code))

    async def hang_up(self) -> None:
        """Ends the call in whatever state it is. Fine without one."""
        await self.run(lambda n: c.HangUpCall(command=n))

    async def replace_media_stream(
        self,
        media_stream: object,
        *,
        delete_existing: bool = True,
        add_missing: bool = True,
        force_renegotiation: bool = False,
        **options: Unpack[SendingOptions],
    ) -> None:
        """Sends another stream in the call. The peer is asked only when kinds of media come or go.

        delete_existing: kinds that the new stream has not are sent no more; add_missing: those that there is no line for
        get one. When the peer refuses, the stream of before is sent on.
        """
        call, before = self.engine.call.ident, self._streams.of(self.engine.call.ident)
        media = self.checked(wanted_media, audio=has(media_stream, "audio"), video=has(media_stream, "video"))
        parameters = self._sending(media_stream, options)
        sent = tuple((kind, direction) for kind, direction in media if direction.sends)
        if call is not None:
            self._streams.replace(call, media_stream)
        replaced = False
        try:
            await self.run(
                lambda n: c.ChangeCallMedia(
                    command=n,
                    media=sent,
                    add=add_missing,
                    remove=delete_existing,
                    renegotiate=force_renegotiation,
                    parameters=parameters,
                )
            )
            replaced = True
        finally:
            if call is not None and not replaced:
                self._streams.replace(call, before)

    def get_remote_streams(self) -> tuple[RemoteStream, ...] | None:
        """What the peer sends, grouped: by convention first the main stream, then a presentation. None without a call."""
        streams = self.engine.call.streams
        return streams.streams if streams is not None and self.engine.call.is_established else None

    async def send_dtmf(
        self, tones: str, *, duration: int = 120, gap: float = 0.6, way: DigitWay = DigitWay.INFO
    ) -> None:
        """Digits, one after the other, and "," for a pause of two seconds; returns when the last was answered.

        duration: of each in milliseconds, 40 to 6000. gap: seconds between two. way: INFO, or RTP where the peer takes that.
        """
        call = self.require_call()
        await self.run(
            lambda n: i.SendDtmf(command=n, call=call.ident, digits=tones, duration=duration, gap=gap, way=way)
        )

    def require_call(self) -> Call:
        """The established call. Raises ConnectorError without one."""
        call = self.connection
        if call is None or not self.is_call_active:
            raise ConnectorError(ErrorCode.NOT_POSSIBLE, "there is no established call")
        return call

    @property
    def connection(self) -> Call | None:
        """The call, as soon as it is asked for: its lines, statistics and frames."""
        ident = self.engine.call.ident
        return self.endpoint.call_of(ident) if ident is not None else None

    def get_established_call(self) -> Call | None:
        """The call, once it is established."""
        return self.connection if self.is_call_active else None

    @property
    def requested_call(self) -> bool:
        """Whether a call is made or answered, and not through yet."""
        return self.engine.call.status is e.CallStatus.CONNECTING

    @property
    def is_call_active(self) -> bool:
        return self.engine.call.is_established

    @property
    def call_status(self) -> e.CallStatus:
        return self.engine.call.status

    @property
    def room(self) -> e.Room | None:
        """Where the server says that we are."""
        return self.engine.call.room

    @property
    def role(self) -> Role:
        return self.engine.conference.role.role

    @property
    def license(self) -> License | None:
        return self.engine.conference.license

    @property
    def is_available_incoming_call(self) -> bool:
        return bool(self.engine.call.ringing)

    @property
    def remote_caller_data(self) -> IncomingCaller | None:
        """Who rings for the longest time."""
        return self._naming.caller

    def caller_data_of(self, call: str) -> IncomingCaller | None:
        """Who rings as this call."""
        return self._naming.caller_of(call)

    async def restart_ice(
        self,
        *,
        use_update: bool = False,
        extra_headers: HeaderLines = (),
        rtc_offer_constraints: dict[str, bool] | None = None,
        **options: Unpack[SendingOptions],
    ) -> bool:
        """Has both sides look for a new way for the media, and returns whether they do; False: the peer refused.

        use_update: by UPDATE in place of re-INVITE. rtc_offer_constraints: `offer_to_receive_audio`, `offer_to_receive_video`:
        for kinds that there is no line of it is an error to want them, `replace_media_stream` is for that. The options are
        for the first video line.
        """
        headers = self.checked(header_lines, extra_headers)
        parameters = self.checked(sender_parameters, **options)
        kinds = {line.kind for line in self.engine.call.lines}
        for kind in ("audio", "video"):
            if (rtc_offer_constraints or {}).get(f"offer_to_receive_{kind}") and kind not in kinds:
                raise ConnectorError(ErrorCode.NOT_POSSIBLE, f"the call has no line of {kind} to receive on")
        return (
            await self.run(
                lambda n: c.RestartCallIce(command=n, use_update=use_update, headers=headers, parameters=parameters)
            )
            is True
        )
