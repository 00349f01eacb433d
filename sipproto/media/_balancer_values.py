"""What a VideoBalancer is told and what it tells."""

from __future__ import annotations

from attrs import field, frozen, validators

from sipproto.agent.inputs import CommandId, TimeoutElapsed
from sipproto.agent.parameters import EffectiveParameters, SenderParameters
from sipproto.conference import MainCamControl
from sipproto.media.track_monitor import MeasureFailed, MeasureSize, SizeMeasured, TrackReplaced

# -- what has happened -----------------------------------------------------------------------------------------------


@frozen
class CallConfirmed:
    """The call is up: balancing is due after the delay. Also when it may go on after a StopBalancing."""


@frozen
class CallOver:
    """The call is over, and so is all that was said of it: lines, commands of the server, what is under way."""


@frozen(kw_only=True)
class ServerCommand:
    """What the server wants of the main video. From the beginning of the call, the last word counts."""

    control: MainCamControl


@frozen(kw_only=True)
class LineKnown:
    """The line, by its mid, that sends the main video; `codec` is what with (SDP name or MIME type). To be said after each
    negotiation, and with `parameters` whenever somebody else than the balancer has set those. None: nobody has.
    """

    line: str
    codec: str
    parameters: SenderParameters | None = None


@frozen
class LineGone:
    """There is no line for the main video any more. One that is on hold is still there."""


@frozen(kw_only=True)
class ParametersApplied:
    """The answer to the ApplyParameters of that number. Fine when it is not waited for."""

    number: int
    effective: EffectiveParameters


@frozen(kw_only=True)
class ParametersRefused:
    """The other answer; `error` is one line fit for a user."""

    number: int
    error: str


# -- commands: each gets exactly one BalanceSucceeded or BalanceFailed -----------------------------------------------


@frozen(kw_only=True)
class StartBalancing:
    """Start now, not after the delay. Succeeds when balancing has started, at once when it runs already."""

    command: CommandId


@frozen(kw_only=True)
class StopBalancing:
    """Stop, and give the line the parameters back that it had without balancing. Succeeds when it has them."""

    command: CommandId


@frozen(kw_only=True)
class Balance:
    """Balance once, whether balancing runs or not. Of several at a time the newest is done, and answers for all."""

    command: CommandId


# -- events ----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class BalancingScheduled:
    """Balancing starts in `delay` seconds."""

    delay: float


@frozen(kw_only=True)
class BalancingStarted:
    """The line is balanced and stays so. `delay`: the seconds that are set, also after a StartBalancing; None: none are."""

    delay: float | None


@frozen
class BalancingStopped:
    """What was scheduled, starting or running is not any more."""


@frozen(kw_only=True)
class ParametersUpdated:
    """The line was given other parameters; `effective` is what the engine does of them."""

    line: str
    parameters: SenderParameters
    effective: EffectiveParameters


@frozen(kw_only=True)
class ParametersNotUpdated:
    """The parameters were refused. `retry_in`: seconds until they are tried again; None: they are not.

    `error` is one line fit for a user.
    """

    error: str
    retry_in: float | None = None


# -- effects and outcomes --------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ApplyParameters:
    """Send the line with these parameters, and say ParametersApplied or ParametersRefused with the same number.

    There is one under way at most.
    """

    number: int
    line: str
    parameters: SenderParameters


@frozen(kw_only=True)
class BalanceSucceeded:
    """`parameters`: what the line was given; None when there was nothing to change, or no line."""

    command: CommandId
    parameters: SenderParameters | None = None


@frozen(kw_only=True)
class BalanceFailed:
    """`error` is one line fit for a user."""

    command: CommandId
    error: str


@frozen(kw_only=True)
class BalancerSettings:
    start_delay: float | None = field(validator=validators.optional(validators.ge(0)))
    time_limit: float = field(validator=validators.gt(0))


BalancingCommand = StartBalancing | StopBalancing | Balance
BalancerNotice = (
    CallConfirmed
    | CallOver
    | ServerCommand
    | LineKnown
    | LineGone
    | TrackReplaced
    | SizeMeasured
    | MeasureFailed
    | ParametersApplied
    | ParametersRefused
    | TimeoutElapsed
)
BalancingInput = BalancingCommand | BalancerNotice
BalancingEvent = BalancingScheduled | BalancingStarted | BalancingStopped | ParametersUpdated | ParametersNotUpdated
BalancingOutcome = BalanceSucceeded | BalanceFailed
BalancingOutput = ApplyParameters | MeasureSize | BalancingEvent | BalancingOutcome
