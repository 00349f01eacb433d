"""The media of the server's services on aiortc. Needs the extra `sipproto[aiortc]`."""

from __future__ import annotations

from sipproto.agent.media import CallId
from sipproto_aiortc import AiortcEngine, AudioMixer, EchoSource, MediaSetup
from sipproto_server._core import Service

_ECHOES = (EchoSource(),) * 4  # for further lines of a kind


class AiortcServices(AiortcEngine):
    """An aiortc engine that knows what the server's services are: echo, and rooms in which all hear one another."""

    def __init__(self, *, include_loopback: bool = True) -> None:
        super().__init__(include_loopback=include_loopback)
        self._rooms: dict[str, AudioMixer] = {}

    def serve(self, call: CallId, service: Service) -> None:
        if service.kind == "room":
            mixer = self._rooms.setdefault(service.room, AudioMixer())
            self.prepare(call, MediaSetup(mixer=mixer, video=EchoSource(), further_video=_ECHOES))
        else:
            echo = MediaSetup(audio=EchoSource(), video=EchoSource(), further_audio=_ECHOES, further_video=_ECHOES)
            self.prepare(call, echo)
