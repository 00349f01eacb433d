"""What the conference server is told, and the presentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from sipproto.agent.inputs import CommandId
from sipproto.agent.parameters import EffectiveParameters
from sipproto.conference import (
    AskToEnableCam,
    Channels,
    Device,
    MediaState,
    RefusalToTurnOn,
    Share,
    ShareState,
)
from sipproto.connector import inputs as c
from sipproto.connector.naming import ChannelIds, SyncForced
from sipproto.connector.sending import content_hint_of, degradation_preference_of, encodings_of
from sipproto.media.resolution import Resolution
from sipproto.negotiation import CodecPreferences
from sipproto_client._call import Call
from sipproto_client._call_commands import CallCommands
from sipproto_client._connector_values import SendingOptions
from sipproto_client._streams import size_of
from sipproto_client.connector_errors import ConnectorError, ErrorCode

_DEVICES = {"mic": Device.MIC, "cam": Device.CAM}


class ConferenceCommands(CallCommands):
    """Not public: a part of SipConnector."""

    async def _say(self, message: c.ClientMessage) -> int:
        """Tells the server; returns the status of its answer. A refusal or silence is an error, and the call goes on."""
        return int(str(await self.run(lambda n: c.SendToServer(command=n, message=message))))

    async def send_channels(self, *, input_channels: str, output_channels: str) -> None:
        """Ids of channels, separated by commas: our answer to `api:channels`."""
        await self._say(Channels(input=input_channels, output=output_channels))

    async def send_media_state(self, *, is_enabled_cam: bool, is_enabled_mic: bool) -> None:
        """Which of our devices are on."""
        await self._say(MediaState(cam=is_enabled_cam, mic=is_enabled_mic))

    async def send_refusal_to_turn_on(self, device: str) -> None:
        """We do not turn on what we were asked to: "mic" or "cam"."""
        if device not in _DEVICES:
            raise ConnectorError(ErrorCode.NOT_POSSIBLE, f"{device!r} is neither 'mic' nor 'cam'")
        await self._say(RefusalToTurnOn(device=_DEVICES[device]))

    async def send_refusal_to_turn_on_mic(self) -> None:
        await self.send_refusal_to_turn_on("mic")

    async def send_refusal_to_turn_on_cam(self) -> None:
        await self.send_refusal_to_turn_on("cam")

    async def ask_permission_to_enable_cam(self) -> None:
        """Returns when we may. Every refusal raises ConnectorError, REFUSED for 603, and so does silence (TIMEOUT)."""
        await self._say(AskToEnableCam())

    async def wait_channels(self, timeout: float | None = None) -> ChannelIds:
        """The next `api:channels`."""
        channels = await self.wait("api:channels", timeout)
        assert isinstance(channels, ChannelIds)
        return channels

    async def wait_sync_media_state(self, timeout: float | None = None) -> SyncForced:
        """The next `api:admin-force-sync-media-state`."""
        forced = await self.wait("api:admin-force-sync-media-state", timeout)
        assert isinstance(forced, SyncForced)
        return forced

    # -- the presentation, by hand -------------------------------------------------------------------------------------

    async def ask_permission_to_start_presentation(self) -> None:
        await self._say(ShareState(state=Share.LET_ME_START))

    async def ask_permission_to_start_presentation_p2p(self) -> None:
        await self._say(ShareState(state=Share.AVAILABLE))

    async def send_stopped_presentation(self) -> None:
        await self._say(ShareState(state=Share.STOPPED))

    async def send_stopped_presentation_p2p(self) -> None:
        await self._say(ShareState(state=Share.ENDED))

    async def send_must_stop_presentation_p2p(self) -> None:
        await self._say(ShareState(state=Share.MUST_STOP))

    # -- the presentation ----------------------------------------------------------------------------------------------

    async def start_presentation(
        self,
        media_stream: object,
        *,
        is_p2p: bool = False,
        call_limit: int = 1,
        codecs: CodecPreferences | None = None,
        **options: Unpack[SendingOptions],
    ) -> EffectiveParameters:
        """Sends the video of this stream as a second one, once the server allows it. Says what of the options is done.

        is_p2p: the peer is another client, and is told. call_limit: how often to ask. When the waiting is cancelled, the
        presentation is given up. It ends with the call, by `stop_presentation`, and when the server says so.
        """
        parameters = self._parameters(media_stream, options)
        return await self._present(
            media_stream,
            lambda n: c.StartPresentation(
                command=n, parameters=parameters, peer_to_peer=is_p2p, attempts=call_limit, codecs=codecs
            ),
            again=False,
        )

    async def update_presentation(
        self, media_stream: object, *, is_p2p: bool = False, **options: Unpack[SendingOptions]
    ) -> EffectiveParameters:
        """Another picture and other options for the presentation, once the server allows it; the peer gets no new offer."""
        parameters = self._parameters(media_stream, options)
        return await self._present(
            media_stream,
            lambda n: c.UpdatePresentation(command=n, parameters=parameters, peer_to_peer=is_p2p),
            again=True,
        )

    async def stop_presentation(self, *, is_p2p: bool = False) -> None:
        """Ends the presentation, also one that is about to start. Fine without one."""
        await self.run(lambda n: c.StopPresentation(command=n, peer_to_peer=is_p2p))

    def _parameters(self, stream: object, options: SendingOptions) -> c.PresentationParameters:
        """What is not said is that of a presentation (PresentationParameters)."""
        return self.checked(_presentation_parameters, stream, {**options}, self.engine.config.max_resolution)

    async def _present(
        self, stream: object, command: Callable[[CommandId], object], *, again: bool
    ) -> EffectiveParameters:
        """Shows another stream, and that of before when it comes to nothing."""
        call = self.require_call()
        before = self._streams.presented(call.ident)
        if (before is not None) is again:  # else the engine has something against it
            self.checked(self._streams.present, call.ident, stream, self._line(call))
        is_shown = False
        try:
            effective = await self.run(command, own=True)
            is_shown = True
        finally:
            if not is_shown:
                self._streams.present_again(call.ident, before)
        self.checked(self._streams.present, call.ident, stream, self._line(call))
        assert isinstance(effective, EffectiveParameters)
        return effective

    def _line(self, call: Call) -> int:
        """Which video line presentations are on, or will be, counted from 0."""
        videos = [line.mid for line in call.lines if line.kind == "video"]
        mid = self.engine.presentation.line_to_use
        return videos.index(mid) if mid in videos else len(videos)


def _presentation_parameters(
    stream: object, options: dict[str, Any], most: Resolution | None
) -> c.PresentationParameters:
    fields: dict[str, Any] = {}
    if (hint := options.get("content_hint")) is not None:
        fields["content_hint"] = content_hint_of(hint)
    if (preference := options.get("degradation_preference")) is not None:
        fields["degradation_preference"] = degradation_preference_of(preference)
    if encodings := encodings_of(options.get("send_encodings", ()), size_of(stream), most):
        fields["encodings"] = encodings
    return c.PresentationParameters(max_bitrate=options.get("max_bitrate"), **fields)
