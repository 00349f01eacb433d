"""A balancer and whatever may happen to it, in any order and at any time."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sipproto.agent.parameters import SenderParameters
from sipproto.conference import MainCam, MainCamControl
from sipproto.media.balancing import balanced
from sipproto.media.resolution import Resolution
from sipproto.media.video_balancer import (
    ApplyParameters,
    Balance,
    BalanceFailed,
    BalancerState,
    BalanceSucceeded,
    BalancingInput,
    BalancingOutput,
    BalancingScheduled,
    BalancingStarted,
    BalancingStopped,
    CallConfirmed,
    CallOver,
    LineGone,
    LineKnown,
    MeasureFailed,
    MeasureSize,
    ParametersApplied,
    ParametersNotUpdated,
    ParametersRefused,
    ServerCommand,
    SizeMeasured,
    StartBalancing,
    StopBalancing,
    TimeoutElapsed,
    TrackReplaced,
    VideoBalancer,
)
from tests.balancing.rig import HD, effective, sent
from tests.effort import effort

SIZES = st.sampled_from([Resolution(1920, 1080), HD, Resolution(640, 360)])
CONTROLS = st.builds(
    MainCamControl,
    command=st.one_of(st.none(), st.sampled_from(MainCam)),
    resolution=st.sampled_from([None, "640x360", "1280x720", "abc", "0x0"]),
)
LINES = st.builds(
    LineKnown,
    line=st.sampled_from(["1", "1", "2"]),
    codec=st.sampled_from(["video/VP8", "video/AV1", "video/H264"]),
    parameters=st.sampled_from([None, None, SenderParameters(), sent(250_000, 2.0)]),
)
SILENT = "the media engine does not answer"


class BalancerMachine(RuleBasedStateMachine):
    """The surroundings answer late, twice or never. In the end they answer, and the line has what it should."""

    def __init__(self) -> None:
        super().__init__()
        self.balancer = VideoBalancer(ignore_for_codec="h264", time_limit=5.0)
        self.now = 0.0
        self.command = 0
        self.open: set[int] = set()  # commands without an outcome
        self.under_way: ApplyParameters | None = None
        self.given_up: list[int] = []
        self.measuring: list[int] = []
        self.is_call = False  # confirmed and not over
        self.is_on = False  # scheduled, starting or running, as was told
        self.control: MainCamControl | None = None
        self.line: LineKnown | None = None
        self.asked_of: LineKnown | None = None  # the line of what is under way, as it was when it came
        self.came: LineKnown | None = None
        self.has = self.without = SenderParameters()

    def tell(self, what: BalancingInput) -> None:
        for output in self.balancer.handle(what, self.now):
            self.check(what, output)

    def check(self, what: BalancingInput, output: BalancingOutput) -> None:
        match output:
            case BalanceSucceeded(command=command) | BalanceFailed(command=command):
                self.open.remove(command)  # exactly once
                return
            case ApplyParameters():
                assert self.under_way is None, "one at a time"
                self.under_way, self.asked_of = output, self.came
            case ParametersNotUpdated(error=error) if error == SILENT:
                assert self.under_way is not None
                self.given_up.append(self.under_way.number)
                self.under_way = None
            case MeasureSize(number=number):
                assert not self.measuring or number > self.measuring[-1]
                self.measuring.append(number)
            case BalancingScheduled():
                assert isinstance(what, CallConfirmed)
                self.is_on = True
            case BalancingStarted():
                self.is_on = True
            case BalancingStopped():
                assert self.is_on, "nothing was scheduled or running"
                self.is_on = False
        assert self.is_call, "nothing happens outside of a call"

    # -- what may happen ---------------------------------------------------------------------------------------------

    @rule()
    def call_confirmed(self) -> None:
        self.is_call = True
        self.tell(CallConfirmed())

    @rule()
    def call_over(self) -> None:
        self.tell(CallOver())
        self.is_call, self.under_way, self.control, self.line, self.came = False, None, None, None, None
        assert not self.open and not self.is_on
        assert self.balancer.next_timeout() is None

    @rule(control=CONTROLS)
    def server_command(self, control: MainCamControl) -> None:
        if control.command not in (MainCam.ADMIN_STOP, MainCam.ADMIN_START):
            self.control = control
        self.tell(ServerCommand(control=control))

    @rule(line=LINES)
    def line_known(self, line: LineKnown) -> None:
        if self.line is None or self.line.line != line.line:
            self.has = self.without = line.parameters or SenderParameters()
            self.came = line
        elif line.parameters is not None and line.parameters != self.has:
            self.has = self.without = line.parameters
        self.line = line
        self.tell(line)

    @rule()
    def line_gone(self) -> None:
        self.line = self.came = None
        self.tell(LineGone())

    @rule(kind=st.sampled_from([StartBalancing, StopBalancing, Balance]))
    def commanded(self, kind: type[StartBalancing] | type[StopBalancing] | type[Balance]) -> None:
        self.command += 1
        self.open.add(self.command)
        self.tell(kind(command=self.command))
        self.is_on = self.is_on or self.balancer.state is BalancerState.STARTING  # that is told when it has come

    @rule(size=st.one_of(st.none(), SIZES))
    def track_replaced(self, size: Resolution | None) -> None:
        self.tell(TrackReplaced(size=size))

    @rule(size=SIZES)
    def size_seen(self, size: Resolution) -> None:
        self.tell(SizeMeasured(size=size))

    @precondition(lambda self: self.measuring)
    @rule(back=st.integers(1, 3), size=st.one_of(st.none(), SIZES))
    def measured(self, back: int, size: Resolution | None) -> None:
        number = self.measuring[-min(back, len(self.measuring))]
        self.tell(MeasureFailed(number=number) if size is None else SizeMeasured(size=size, number=number))

    @precondition(lambda self: self.under_way is not None)
    @rule(applied=st.booleans())
    def answered(self, applied: bool) -> None:
        assert self.under_way is not None
        asked, self.under_way = self.under_way, None
        if applied and self.asked_of is self.came:
            self.has = asked.parameters
        for _ in range(2):  # the second one says nothing
            if applied:
                self.tell(ParametersApplied(number=asked.number, effective=effective(asked.parameters)))
            else:
                self.tell(ParametersRefused(number=asked.number, error="no"))

    @precondition(lambda self: self.given_up)
    @rule()
    def answered_too_late(self) -> None:
        asked = sent(1)
        assert (
            self.balancer.handle(ParametersApplied(number=self.given_up[-1], effective=effective(asked)), self.now)
            == ()
        )

    @rule(seconds=st.floats(0.0, 20.0))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.balancer.next_timeout()) is not None and due <= until:
            self.now = max(self.now, due)
            self.tell(TimeoutElapsed())
        self.now = until

    # -- what is always so -------------------------------------------------------------------------------------------

    @invariant()
    def state_is_what_was_told(self) -> None:
        state = self.balancer.state
        assert (state is BalancerState.NO_CALL) is not self.is_call
        assert (state in (BalancerState.SCHEDULED, BalancerState.STARTING, BalancerState.RUNNING)) is self.is_on

    @invariant()
    def something_is_waited_for(self) -> None:
        """Each command that has no outcome has an end in sight, and nothing else keeps a timer."""
        timeout = self.balancer.next_timeout()
        assert timeout is None or timeout <= self.now + 16.0
        assert not self.open or timeout is not None
        assert self.under_way is None or timeout is not None

    def teardown(self) -> None:
        """Everybody answers again."""
        if not self.is_call:
            return
        self.tell(TrackReplaced(size=HD))
        self.settle()
        self.tell(SizeMeasured(size=HD))
        self.settle()
        assert not self.open
        if self.line is not None and self.balancer.state is BalancerState.RUNNING:
            wanted = balanced(self.control, HD, self.line.codec, self.without, ignore_for_codec="h264")
            assert self.has == (wanted or self.without)
        self.commanded(StopBalancing)
        self.settle()
        assert not self.open and self.balancer.next_timeout() is None
        assert self.line is None or self.has == self.without

    def settle(self) -> None:
        for _ in range(3):
            self.time_passes(10.0)
            while self.under_way is not None:
                self.answered(True)


TestBalancer = BalancerMachine.TestCase
TestBalancer.settings = effort(100, 40)
