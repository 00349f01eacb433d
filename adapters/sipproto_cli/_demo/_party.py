"""A participant of the conference: what an application makes of the awaitable connector."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

from attrs import frozen

from sipproto.agent.media import LineStats, MediaReport
from sipproto.agent.stats import InboundRtpStats, OutboundRtpStats
from sipproto.connector.events import IceRestarted
from sipproto.connector.names import NAMES
from sipproto.media.sample import StatsSample
from sipproto_aiortc import AiortcEngine
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo._senses import COLORS, Color, Ear, Scene, color_name
from sipproto_cli._demo._view import View
from sipproto_client import Call, SipConnector, Trace, VideoBalancerOptions, run_connector
from sipproto_client.port import Runtime
from sipproto_devices import MediaSetup, Silence, Tone

PATIENCE = 15.0  # seconds for anything to happen
BALANCING_DELAY = 1.0  # seconds; 10 for those who are in no hurry
_LOOK = 0.05  # seconds between two looks
_MAX_TOLD = 100  # events of a name that nobody asked for
_RATE_WINDOW = 1.5  # seconds over which a bit rate is measured
_SLACK = 1.4  # an encoder keeps a bit rate over time, not in each second
_FOLLOWED = sorted(
    name for name in NAMES if name.startswith(("api:", "presentation:", "video-balancer:", "connection:", "call:ended"))
)


@frozen(kw_only=True)
class Figures:
    """What was measured of a video line that is sent: pixels, bits per second, and what kept it from being more."""

    width: int
    height: int
    bitrate: float
    limited_by: str | None = None

    @property
    def words(self) -> str:
        limit = f" (limited by {self.limited_by})" if self.limited_by not in (None, "none") else ""
        return f"{self.width}x{self.height} at {self.bitrate / 1000:.0f} kbit/s{limit}"


async def until(runtime: Runtime, what: str, good: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Raises CommandProblem when it does not come about within so many seconds."""
    deadline = runtime.now() + patience
    while not good():
        if runtime.now() > deadline:
            raise CommandProblem(f"{what}: did not happen within {patience:g} s")
        await runtime.wait(runtime.event(), _LOOK)


class Party:
    """Somebody with a tone for a voice and a colour for a face.

    What the server says is kept by the name of its event until somebody asks with `told`; `on_told` hears of it at once.
    """

    def __init__(
        self,
        name: str,
        hertz: float,
        color: str,
        connector: SipConnector,
        view: View,
        on_told: Callable[[str, str], object],
    ) -> None:
        self.name = name
        self.hertz = hertz
        self.color = color
        self.connector = connector
        self.runtime = connector.endpoint.runtime
        self.ear = Ear()
        self.mic = True
        self.state = ""
        self.collected: StatsSample | None = None
        self._view = view
        self._on_told = on_told
        self._restarts: deque[IceRestarted] = deque()
        self._told: dict[str, deque[object]] = defaultdict(lambda: deque(maxlen=_MAX_TOLD))
        connector.on_race(_FOLLOWED, self._note)
        connector.on("stats:collected", self._measured)
        connector.on("api:admin-stop-mic", lambda _: self.turn_mic(False))
        connector.on("api:admin-start-mic", lambda _: self.turn_mic(True))
        connector.endpoint.on_event(self._note_restart)

    # -- what is sent --------------------------------------------------------------------------------------------------

    @property
    def stream(self) -> MediaSetup:
        """What is sent, and the ear that takes what is received."""
        voice = Tone(self.hertz) if self.mic else Silence()
        return MediaSetup(audio=voice, video=Scene(self.color), sinks=(self.ear,))

    async def turn_mic(self, on: bool) -> None:
        """Does as the moderator wants, and tells the others so."""
        self.mic = on
        await self.connector.replace_media_stream(self.stream)
        await self.connector.send_media_state(is_enabled_cam=True, is_enabled_mic=on)

    @property
    def call(self) -> Call:
        return self.connector.require_call()

    # -- what is told --------------------------------------------------------------------------------------------------

    def _note(self, payload: object, name: str) -> None:
        self._told[name].append(payload)
        self._on_told(self.name, name)
        self.show()

    def _note_restart(self, event: object) -> None:
        if isinstance(event, IceRestarted):
            self._restarts.append(event)

    async def told(self, name: str) -> object:
        """The payload of the oldest event of that name that was not asked for. Waits for one if need be."""
        await until(self.runtime, f"{self.name} hears {name}", lambda: bool(self._told[name]))
        return self._told[name].popleft()

    async def restarted(self) -> None:
        """Waits until ICE was restarted."""
        await until(self.runtime, f"{self.name} restarts ICE", lambda: bool(self._restarts))
        restart = self._restarts.popleft()
        if not restart.done:
            raise CommandProblem(f"{self.name} did not restart ICE: {restart.detail}")

    # -- what is measured ----------------------------------------------------------------------------------------------

    def _measured(self, collected: StatsSample) -> None:
        self.collected = collected
        self.show()

    async def measure(self, what: str, good: Callable[[MediaReport], object]) -> MediaReport:
        """Measures until it is good. Raises CommandProblem when it does not become so in time."""
        deadline = self.runtime.now() + PATIENCE
        while not good(report := await self.call.stats()):
            if self.runtime.now() > deadline:
                raise CommandProblem(f"{self.name}: {what} did not happen within {PATIENCE:g} s ({_seen(report)})")
            await self.runtime.wait(self.runtime.event(), 3 * _LOOK)
        return report

    async def hears(self, *others: Party) -> None:
        """Waits until the tones of these are heard, and no others."""
        names = " and ".join(other.name for other in others) or "nobody"
        tones = [other.hertz for other in others]
        try:
            await until(self.runtime, f"{self.name} hears {names}", lambda: self.ear.hears(tones))
        except CommandProblem as problem:
            raise CommandProblem(f"{problem} (heard: {self.ear.tones()} Hz)") from None

    async def sees(self, color: str, line: int = 0) -> InboundRtpStats:
        """Waits until a video line, counted from 0, shows a colour. What is measured of it."""
        report = await self.measure(
            f"seeing {color} on video line {line}", lambda report: color_name(_color(report, line)) == color
        )
        received = report.inbound("video", line)
        assert received is not None
        return received

    async def sends(
        self, what: str, good: Callable[[OutboundRtpStats], bool], *, line: int = 0, limit: int | None = None
    ) -> Figures:
        """Waits until what is sent on a video line is good, and its bit rate below the limit. What was measured."""

        def fits(report: MediaReport) -> bool:
            sent = report.outbound("video", line)
            return sent is not None and bool(sent.frame_width) and good(sent)

        deadline = self.runtime.now() + PATIENCE
        while True:
            before = await self.measure(what, fits)
            await self.runtime.wait(self.runtime.event(), _RATE_WINDOW)
            figures = _figures(before, await self.call.stats(), line)
            if limit is None or figures.bitrate < _SLACK * limit:
                return figures
            if self.runtime.now() > deadline:
                raise CommandProblem(f"{self.name} sends {figures.words}, {limit / 1000:.0f} are allowed")

    # -- what is shown -------------------------------------------------------------------------------------------------

    def show(self, state: str | None = None) -> None:
        """On the screen: where they are, what they hear, see and send."""
        self.state = self.state if state is None else state
        words = [self.state]
        if self.collected is not None:
            tones = ", ".join(map(str, self.ear.tones()))
            words += [f"hears {tones} Hz" if tones else "hears nothing", _sight(self.collected)]
        self._view.person(self.name, *words)


def _figures(before: MediaReport, after: MediaReport, line: int) -> Figures:
    old, new = before.outbound("video", line), after.outbound("video", line)
    assert old is not None and new is not None
    return Figures(
        width=new.frame_width or 0,
        height=new.frame_height or 0,
        bitrate=8 * (new.bytes_sent - old.bytes_sent) / (new.timestamp - old.timestamp),
        limited_by=new.quality_limitation_reason,
    )


def _video(report: MediaReport) -> list[LineStats]:
    return [line for line in report.lines if line.kind == "video"]


def _color(report: MediaReport, number: int) -> Color | None:
    lines = _video(report)
    return lines[number].color if number < len(lines) else None


def _sight(collected: StatsSample) -> str:
    seen = [
        f"{color_name(line.color) or '-'} {line.frame_width}x{line.frame_height}"
        for line in _video(collected.report)
        if line.frame_width
    ]
    return f"sees {', '.join(seen)}" if seen else "sees nothing"


def _seen(report: MediaReport) -> str:
    lines = [f"{line.color} {line.frame_width}x{line.frame_height} {line.direction}" for line in _video(report)]
    return "; ".join(lines)


@asynccontextmanager
async def open_party(
    runtime: Runtime,
    name: str,
    hertz: float,
    color: str,
    *,
    view: View,
    on_told: Callable[[str, str], object],
    trace: Trace | None = None,
) -> AsyncIterator[Party]:
    """A participant for the length of a block, with a media engine of its own."""
    assert color in COLORS
    with closing(AiortcEngine(include_loopback=True)) as engine:
        balancing = VideoBalancerOptions(balancing_start_delay=BALANCING_DELAY)
        async with run_connector(runtime, media=engine, video_balancer_options=balancing, trace=trace) as connector:
            yield Party(name, hertz, color, connector, view, on_told)


__all__ = ["BALANCING_DELAY", "PATIENCE", "Figures", "Party", "open_party", "until"]
