"""The balancer without a call: a server that changes its mind, a camera that is turned, and what the line is sent with."""

from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media.resolution import Resolution
from sipproto.media.video_balancer import (
    ApplyParameters,
    BalanceSucceeded,
    BalancingInput,
    CallConfirmed,
    CallOver,
    LineKnown,
    MeasureSize,
    ParametersApplied,
    ParametersUpdated,
    ServerCommand,
    SizeMeasured,
    StopBalancing,
    TimeoutElapsed,
    VideoBalancer,
)

balancer = VideoBalancer(start_delay=10.0)
camera = Resolution(1920, 1080)


def effective(parameters: SenderParameters) -> EffectiveParameters:
    """An engine that can do whatever it is asked for."""
    return EffectiveParameters(
        encodings=parameters.encodings,
        degradation_preference=parameters.degradation_preference,
        content_hint=parameters.content_hint,
    )


def tell(what: BalancingInput, now: float) -> None:
    for output in balancer.handle(what, now):
        match output:
            case MeasureSize(number=number):  # in a call: GetStats
                tell(SizeMeasured(size=camera, number=number), now)
            case ApplyParameters(number=number, parameters=parameters):  # in a call: SetParameters
                tell(ParametersApplied(number=number, effective=effective(parameters)), now)
            case ParametersUpdated(parameters=parameters):
                (first,) = parameters.encodings
                bitrate = f"{first.max_bitrate} bit/s" if first.max_bitrate else "any bit rate"
                print(f"{now:5.1f} s  sent with {bitrate}, scaled by {first.scale_resolution_down_by:g}")
            case BalanceSucceeded(command=command):
                print(f"{now:5.1f} s  command {command} is done")
            case _:
                print(f"{now:5.1f} s  {output}")


def happens(what: BalancingInput, now: float) -> None:
    """What is due before it comes first."""
    while (due := balancer.next_timeout()) is not None and due <= now:
        tell(TimeoutElapsed(), due)
    tell(what, now)


happens(LineKnown(line="1", codec="video/VP8"), 0.0)
happens(CallConfirmed(), 0.0)
happens(ServerCommand(control=MainCamControl(command=MainCam.MAX_RESOLUTION, resolution="640x360")), 4.0)
happens(ServerCommand(control=MainCamControl(command=MainCam.PAUSE)), 20.0)
happens(ServerCommand(control=MainCamControl(command=MainCam.RESUME)), 30.0)
camera = Resolution(720, 1280)  # it was turned, and gives smaller pictures; found out by measuring
happens(StopBalancing(command=1), 60.0)
happens(CallOver(), 61.0)
