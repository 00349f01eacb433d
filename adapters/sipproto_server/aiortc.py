"""The media of the server's services on aiortc. Needs the extra `sipproto[aiortc]`."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from av import VideoFrame

from sipproto.agent.media import CallId
from sipproto_aiortc import AiortcEngine, AudioMixer, EchoSource, MediaSetup
from sipproto_devices import Samples, SinkWriter, VideoSwitch, Volume
from sipproto_server._config import Arrangement, Loudness, Service

_FURTHER = 4  # further lines of a kind that are cared for
_ECHOES = (EchoSource(),) * _FURTHER
_MEASURED = 12  # frames of 20 ms between two measurements: a quarter of a second


class AiortcServices(AiortcEngine):
    """An aiortc engine that knows what the server's services are: echo, and rooms in which all hear one another."""

    def __init__(self, *, include_loopback: bool = True) -> None:
        super().__init__(include_loopback=include_loopback)
        self._rooms: dict[str, AudioMixer] = {}
        self._conferences: dict[str, AudioMixer] = {}  # a room of its own each, even if one of the others has its name
        self._switch = VideoSwitch()
        self._nothing = self._switch.source("")  # of no call: not even black, which would be encoded and sent
        self._told: Callable[[Loudness], None] = lambda _: None

    def listen(self, told: Callable[[Loudness], None]) -> None:
        """Has somebody told how loud the calls of conferences are, on the media thread."""
        self._told = told

    def serve(self, call: CallId, service: Service) -> None:
        if service.kind == "room":
            mixer = self._rooms.setdefault(service.room, AudioMixer())
            self.prepare(call, MediaSetup(mixer=mixer, video=EchoSource(), further_video=_ECHOES))
        else:
            echo = MediaSetup(audio=EchoSource(), video=EchoSource(), further_audio=_ECHOES, further_video=_ECHOES)
            self.prepare(call, echo)

    def arrange(self, call: CallId, arrangement: Arrangement) -> None:
        """All in a room hear one another; each picture is decoded once, and encoded for each who sees it."""
        room = arrangement.room
        shown = [None if one is None else self._switch.source(one.call, one.line) for one in arrangement.video]
        setup = MediaSetup(
            mixer=None if room is None else self._conferences.setdefault(room, AudioMixer()),
            speaks=arrangement.speaks,
            video=shown[0] if shown else None,
            further_video=tuple(one or self._nothing for one in (*shown[1:], *[None] * _FURTHER))[:_FURTHER],
            sinks=(self._switch.sink(call), _Ear(call=call, engine=self)),
            meter=False,
        )
        self.prepare(call, setup)

    def hear(self, loudness: Loudness) -> None:
        self._told(loudness)


@frozen(kw_only=True)
class _Ear:
    """A sink that says how loud a call is."""

    call: CallId
    engine: AiortcServices = field(repr=False, eq=False)

    def check(self) -> None: ...

    def open(self, with_video: bool) -> SinkWriter:
        return _Listening(self.call, self.engine)


class _Listening:
    def __init__(self, call: CallId, engine: AiortcServices) -> None:
        self._call = call
        self._engine = engine
        self._volume = Volume()
        self._frames = 0

    def audio(self, samples: Samples, line: int) -> None:
        self._volume.adjust(samples)
        self._frames += 1
        if self._frames % _MEASURED == 0:
            self._engine.hear(Loudness(call=self._call, level=self._volume.level.rms))

    def video(self, frame: VideoFrame, line: int) -> None: ...

    def close(self) -> None: ...
