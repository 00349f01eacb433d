"""A balancer with real engines: what it decides is what the other end sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from sipproto.agent.media import SenderParametersSet
from sipproto.agent.parameters import DegradationPreference, Encoding, SenderParameters
from sipproto.conference import MainCam
from sipproto.media.resolution import Resolution
from sipproto.media.sample import stats_sample
from sipproto.media.video_balancer import (
    ApplyParameters,
    BalanceSucceeded,
    BalancingInput,
    BalancingOutput,
    CallConfirmed,
    LineKnown,
    MeasureFailed,
    MeasureSize,
    ParametersApplied,
    ParametersRefused,
    ParametersUpdated,
    SizeMeasured,
    StopBalancing,
    TimeoutElapsed,
    VideoBalancer,
)
from sipproto_aiortc import AiortcEngine, FileSource, MediaSetup
from tests.balancing.rig import command
from tests.media._detail import write_clip
from tests.media._rig import End, connect
from tests.media._sending import ask_parameters, only


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[AiortcEngine, AiortcEngine]]:
    left, right = AiortcEngine(include_loopback=True), AiortcEngine(include_loopback=True)
    yield left, right
    left.close()
    right.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("clips")
    return (
        write_clip(folder / "wide.mkv", 640, 360, pictures=30),
        write_clip(folder / "tall.mkv", 180, 320, pictures=30),
    )


# On a busy machine fewer pictures are sent, and no smaller ones.
OWN = SenderParameters(
    encodings=(Encoding(max_framerate=10.0),), degradation_preference=DegradationPreference.MAINTAIN_RESOLUTION
)


def limited(bitrate: int, scale: float = 1.0) -> SenderParameters:
    """Those of the line with what balancing changes."""
    (encoding,) = OWN.encodings
    return evolve(OWN, encodings=(evolve(encoding, max_bitrate=bitrate, scale_resolution_down_by=scale),))


class Sender:
    """The sending end of a call with its balancer, in real time."""

    def __init__(self, end: End, receiver: End) -> None:
        self.end, self.receiver = end, receiver
        self.balancer = VideoBalancer(start_delay=0.0, poll_interval=0.1)
        self.said: list[BalancingOutput] = []
        self.parameters = OWN

    def tell(self, what: BalancingInput) -> None:
        for output in self.balancer.handle(what, time.monotonic()):
            self.said.append(output)
            match output:
                case MeasureSize(number=number):
                    source = stats_sample(self.end.stats()).outbound.video.media_source
                    known = source is not None and source.width and source.height
                    size = Resolution(source.width, source.height) if source and known else None  # type: ignore[arg-type]
                    self.tell(SizeMeasured(size=size, number=number) if size else MeasureFailed(number=number))
                case ApplyParameters(number=number, parameters=parameters):
                    reply = ask_parameters(self.end, parameters)
                    if isinstance(reply, SenderParametersSet):
                        self.parameters = parameters
                        self.tell(ParametersApplied(number=number, effective=reply.effective))
                    else:
                        self.tell(ParametersRefused(number=number, error="refused"))
                case ParametersUpdated(effective=effective):
                    assert effective.ignored == (), "an engine does all that is asked for"

    def until(self, condition: Callable[[], bool], limit: float = 20.0) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, (self.said, self.seen())
            self.tell(TimeoutElapsed())
            time.sleep(0.02)

    def seen(self) -> tuple[int | None, int | None]:
        """The size of the pictures that arrive."""
        line = self.receiver.line("video")
        return line.frame_width, line.frame_height


@pytest.mark.parametrize("codec", ["VP8", "VP9", "H264"])
def test_what_is_balanced_is_what_arrives(
    engines: tuple[AiortcEngine, AiortcEngine], clips: tuple[str, str], codec: str
) -> None:
    a, b = End(engines[0], MediaSetup(video=FileSource(clips[0]))), End(engines[1])
    capabilities = only(a.engine.capabilities, "video", codec)
    a.negotiator = End(a.engine, capabilities=capabilities).negotiator
    connect(a, b, "video")
    sender = Sender(a, b)
    sender.tell(LineKnown(line="0", codec=f"video/{codec}", parameters=OWN))
    sender.tell(CallConfirmed())
    try:
        sender.until(lambda: sender.parameters == limited(500_000) and sender.seen() == (640, 360))
        sender.tell(command(MainCam.MAX_RESOLUTION, "320x180"))
        assert sender.parameters == limited(320_000, 2.0)
        sender.until(lambda: sender.seen() == (320, 180))
        sender.tell(command(MainCam.PAUSE))
        assert sender.parameters == limited(60_000, 200.0)
        sender.until(lambda: sender.seen() == (16, 16))
        sender.tell(command(MainCam.RESUME))
        sender.until(lambda: sender.seen() == (640, 360))
        # Another source, of which nobody tells the balancer: a portrait, in the row of its longer side.
        a.engine.prepare(a.call, MediaSetup(video=FileSource(clips[1])))
        sender.until(lambda: sender.parameters == limited(320_000) and sender.seen() == (180, 320))
        sender.tell(StopBalancing(command=1))
        assert sender.said[-1] == BalanceSucceeded(command=1, parameters=OWN)
        assert sender.parameters == OWN
    finally:
        a.close()
        b.close()
