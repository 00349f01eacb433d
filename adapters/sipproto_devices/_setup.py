"""What a call is to send and to do with what it receives."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from sipproto_devices._media import AudioSource, Sink, Trouble, VideoSource, log
from sipproto_devices._mixer import AudioMixer
from sipproto_devices._sinks import Record
from sipproto_devices._sources import EchoSource, Silence


@frozen(kw_only=True)
class MediaSetup:
    """The sources and sinks of one call.

    audio, video: what its first line of that kind sends (no `video`: black pictures where video is negotiated at all).
    further_audio, further_video: the same for its second, third line; None and lines beyond send silence or black.
    sinks: where to put what it receives, any number; each learns which line it comes from. record: a file, the short
    form of `Record(path)` among the sinks. mixer: the call also hears the other calls of that mixer, on top of its own
    sources, and is heard by them, with each audio line; without `speaks` it only listens. meter: keep the last half
    second of audio and the last picture, out of which statistics get level, frequency and colour.
    on_trouble: told when a source or sink fails during the call, on the media thread, which it must not keep waiting.
    """

    audio: AudioSource | EchoSource = field(factory=Silence)
    video: VideoSource | EchoSource | None = None
    further_audio: tuple[AudioSource | EchoSource | None, ...] = ()
    further_video: tuple[VideoSource | EchoSource | None, ...] = ()
    record: str | None = None
    sinks: tuple[Sink, ...] = ()
    mixer: AudioMixer | None = None
    speaks: bool = True
    meter: bool = True
    on_trouble: Callable[[Trouble], object] | None = None

    @property
    def all_sinks(self) -> tuple[Sink, ...]:
        """`sinks` and what `record` stands for."""
        return self.sinks if self.record is None else (*self.sinks, Record(self.record))

    def audio_of(self, line: int) -> AudioSource | EchoSource:
        """What the audio line of this number sends, counted from 0."""
        sources = (self.audio, *self.further_audio)
        return (sources[line] if line < len(sources) else None) or Silence()

    def video_of(self, line: int) -> VideoSource | EchoSource | None:
        """What the video line of this number sends, counted from 0; None for black."""
        sources = (self.video, *self.further_video)
        return sources[line] if line < len(sources) else None

    def check(self) -> None:
        """Raises SourceError when a source or sink cannot be used. May wait for disks and devices."""
        for kind, sources in (
            ("audio", (self.audio, *self.further_audio)),
            ("video", (self.video, *self.further_video)),
        ):
            for source in sources:
                if source is not None:
                    source.check(kind)
        for sink in self.all_sinks:
            sink.check()

    def tell(self, trouble: Trouble) -> None:
        """Logs what went wrong and tells `on_trouble`, whose own errors are logged."""
        log.warning("the %s of line %d failed and is left out: %s", trouble.part, trouble.line, trouble.error)
        if self.on_trouble is not None:
            try:
                self.on_trouble(trouble)
            except Exception:
                log.exception("on_trouble raised")
