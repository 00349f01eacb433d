"""What a call is to send and to do with what it receives."""

from __future__ import annotations

from attrs import field, frozen

from sipproto_aiortc._files import AudioFile, VideoFile, check_file
from sipproto_aiortc._mixer import AudioMixer
from sipproto_aiortc._sinks import Meter, Record, Sink, check_record
from sipproto_aiortc._sources import (
    AudioProducer,
    AudioSource,
    BlackProducer,
    EchoSource,
    FileSource,
    FrameBuffer,
    LatestFrame,
    PatternProducer,
    Silence,
    SilenceProducer,
    TestPattern,
    Tone,
    ToneProducer,
    VideoProducer,
    VideoSource,
)


@frozen(kw_only=True)
class MediaSetup:
    """The sources and sinks of one call.

    `audio` and `video` are what it sends (no `video`: black pictures where video is negotiated at all). `record` names
    a file for what it receives, a short form of `sink=Record(...)`. With a `mixer` the call also hears the other calls
    of that mixer, on top of `audio`, and is heard by them.
    """

    audio: AudioSource = field(factory=Silence)
    video: VideoSource | None = None
    record: str | None = None
    mixer: AudioMixer | None = None
    sink: Sink = field(factory=Meter)

    @property
    def record_path(self) -> str | None:
        return self.sink.path if isinstance(self.sink, Record) else self.record

    def check(self) -> None:
        """Raises SourceError when a file cannot be read or written. Blocks."""
        if isinstance(self.audio, FileSource):
            check_file(self.audio, "audio")
        if isinstance(self.video, FileSource):
            check_file(self.video, "video")
        if self.record_path is not None:
            check_record(self.record_path)


def audio_producer(source: AudioSource, echo: FrameBuffer) -> AudioProducer:
    """The producer of an audio source; `echo` holds what the line receives."""
    match source:
        case Silence():
            return SilenceProducer()
        case Tone():
            return ToneProducer(source)
        case FileSource():
            return AudioFile(source)
        case EchoSource():
            return echo


def video_producer(source: VideoSource | None, echo: LatestFrame) -> VideoProducer:
    """The producer of a video source; `echo` holds what the line receives."""
    match source:
        case None:
            return BlackProducer()
        case TestPattern():
            return PatternProducer(source)
        case FileSource():
            return VideoFile(source)
        case EchoSource():
            return echo
