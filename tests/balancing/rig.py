"""A balancer with its surroundings: an engine that answers when it is told to, a source, a clock."""

from __future__ import annotations

from typing import TypeVar

from sipproto.agent.parameters import EffectiveParameters, Encoding, SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media.resolution import Resolution
from sipproto.media.video_balancer import (
    ApplyParameters,
    BalancingInput,
    BalancingOutput,
    CallConfirmed,
    LineKnown,
    MeasureFailed,
    MeasureSize,
    ParametersApplied,
    ParametersRefused,
    ServerCommand,
    SizeMeasured,
    TimeoutElapsed,
    VideoBalancer,
)

T = TypeVar("T")
HD, SMALL = Resolution(1280, 720), Resolution(640, 360)


def sent(bitrate: int | None, scale: float = 1.0) -> SenderParameters:
    return SenderParameters(encodings=(Encoding(max_bitrate=bitrate, scale_resolution_down_by=scale),))


def command(what: MainCam, resolution: str | None = None) -> ServerCommand:
    return ServerCommand(control=MainCamControl(command=what, resolution=resolution))


def effective(parameters: SenderParameters) -> EffectiveParameters:
    return EffectiveParameters(
        encodings=parameters.encodings[:1],
        degradation_preference=parameters.degradation_preference,
        content_hint=parameters.content_hint,
    )


class Rig:
    """`engine`: what is done with parameters. "apply", "refuse", or "wait" until they are answered by hand.

    `size`: of the source; None: it cannot be measured. `said`: all but what the surroundings have taken, with its time.
    """

    def __init__(self, balancer: VideoBalancer, size: Resolution | None = HD, engine: str = "apply") -> None:
        self.balancer, self.size, self.engine = balancer, size, engine
        self.measures = True  # else nobody answers
        self.now = 0.0
        self.said: list[tuple[float, BalancingOutput]] = []
        self.asked: list[ApplyParameters] = []
        self.parameters = SenderParameters()  # of the line

    def tell(self, *inputs: BalancingInput) -> None:
        for what in inputs:
            for output in self.balancer.handle(what, self.now):
                self._take(output)

    def _take(self, output: BalancingOutput) -> None:
        if isinstance(output, MeasureSize):
            if not self.measures:
                return
            if self.size is None:
                self.tell(MeasureFailed(number=output.number))
            else:
                self.tell(SizeMeasured(size=self.size, number=output.number))
        elif isinstance(output, ApplyParameters):
            self.asked.append(output)
            if self.engine != "wait":
                self.answer()
        else:
            self.said.append((self.now, output))

    def answer(self) -> None:
        """Applies or refuses what is under way."""
        asked = self.asked[-1]
        if self.engine == "refuse":
            self.tell(ParametersRefused(number=asked.number, error="the line is closed"))
        else:
            self.parameters = asked.parameters
            self.tell(ParametersApplied(number=asked.number, effective=effective(asked.parameters)))

    def wait(self, until: float) -> None:
        """Lets the time go on."""
        while (due := self.balancer.next_timeout()) is not None and due <= until:
            self.now = max(self.now, due)
            self.tell(TimeoutElapsed())
        self.now = until

    def heard(self, kind: type[T]) -> list[T]:
        """What was said of this kind, and not yet heard of."""
        found: list[T] = [output for _, output in self.said if isinstance(output, kind)]
        self.said = [entry for entry in self.said if not isinstance(entry[1], kind)]
        return found

    def names(self) -> list[str]:
        """What was said since the last time, by its class."""
        out = [type(output).__name__ for _, output in self.said]
        self.said.clear()
        return out


def confirmed(**settings: object) -> Rig:
    """A call with a line of VP8, at the time 0."""
    rig = Rig(VideoBalancer(**settings))  # type: ignore[arg-type]
    rig.tell(LineKnown(line="1", codec="video/VP8"), CallConfirmed())
    return rig


def running(**settings: object) -> Rig:
    """Balancing has begun, at the time 10, with what the table says of 1280x720."""
    rig = confirmed(**settings)
    rig.wait(10.0)
    assert rig.names() == ["BalancingScheduled", "ParametersUpdated", "BalancingStarted"]
    assert rig.parameters == sent(1_000_000)
    return rig
