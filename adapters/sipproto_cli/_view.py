"""What a person sees: a ladder of SIP messages, states and figures; live on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.agent.media import LineStats, MediaReport

_LADDER_SHOWN = 16


def summary_of(data: bytes) -> str:
    """A SIP message in a few words: its method or status, and what it answers."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("utf-8", "replace").split("\r\n")
    words = lines[0].split(" ", 2)
    what = f"{words[1]} {words[2]}" if words[0].startswith("SIP/") and len(words) > 2 else words[0]
    cseq = next((line.split(":", 1)[1].strip() for line in lines[1:] if line.lower().startswith("cseq:")), "")
    method = cseq.split(" ")[-1]
    about = f" ({method})" if words[0].startswith("SIP/") and method else ""
    sdp = " + SDP" if b"m=audio" in body or b"m=video" in body else ""
    return f"{what}{about}{sdp}" if what.strip() else "keep-alive"


class Ladder:
    """The messages between endpoints and the server, as (seconds, who, direction, what)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._start = now()
        self.rows: list[tuple[float, str, str, str]] = []

    def tap(self, who: str) -> Callable[[str, object], None]:
        def note(_: str, what: object) -> None:
            arrow = "->" if isinstance(what, o.SendData) else "<-" if isinstance(what, i.DataReceived) else ""
            if arrow and isinstance(what, o.SendData | i.DataReceived):
                self.rows.append((self._now() - self._start, who, arrow, summary_of(what.data)))

        return note

    def table(self, last: int | None = None) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        for column in ("right", "left", "left", "left"):
            table.add_column(justify=column)
        for seconds, who, arrow, what in self.rows[-last:] if last else self.rows:
            other = "server"
            table.add_row(f"{seconds:6.3f}", Text(who, style="bold"), f"{arrow} {other}", what)
        return table


def figures(line: LineStats) -> str:
    """One line of statistics in words."""
    parts = [f"sent {line.packets_sent} pk / {line.bytes_sent // 1000} kB"]
    parts.append(f"got {line.packets_received} pk / {line.bytes_received // 1000} kB")
    if line.audio_level is not None and line.audio_frequency is not None:
        parts.append(f"level {line.audio_level:.2f}, {line.audio_frequency:.0f} Hz")
    if line.frames_decoded is not None and line.frame_width:
        parts.append(f"{line.frames_decoded} frames {line.frame_width}x{line.frame_height}")
    return f"{line.kind} {line.codec or ''} {line.direction}: " + ", ".join(parts)


class View:
    """Steps, states and figures. On a terminal they are redrawn in place; elsewhere each step is a line."""

    def __init__(self, console: Console, ladder: Ladder, *, quiet: bool = False) -> None:
        self._console = console
        self._ladder = ladder
        self._steps: list[tuple[str, str]] = []
        self._states: dict[str, str] = {}
        self._reports: dict[str, MediaReport] = {}
        self._rates: dict[str, str] = {}
        self._quiet = quiet
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> View:
        if self._live is not None and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None and not self._quiet:
            self._live.stop()
            for mark, text in self._steps:
                self._console.print(f"{mark} {text}")

    def step(self, text: str, mark: str = "[green]ok[/]") -> None:
        self._steps.append((mark, text))
        if self._live is None and not self._quiet:
            self._console.print(f"{mark} {text}")
        self.refresh()

    def state(self, who: str, text: str) -> None:
        self._states[who] = text
        self.refresh()

    def report(self, who: str, report: MediaReport, seconds: float) -> None:
        """Figures of one side, `seconds` after the last ones of it."""
        old = self._reports.get(who)
        if old is not None and seconds > 0:
            bits = 8 * sum(line.bytes_received for line in report.lines)
            bits -= 8 * sum(line.bytes_received for line in old.lines)
            self._rates[who] = f"{max(0.0, bits / seconds / 1000):.0f} kbit/s in"
        self._reports[who] = report
        self.refresh()

    def refresh(self) -> None:
        if self._live is None or self._quiet:
            return
        steps = Group(*(Text.from_markup(f"{mark} {text}") for mark, text in self._steps[-12:]))
        sides = Table.grid(padding=(0, 2))
        for who, state in self._states.items():
            report = self._reports.get(who)
            lines = [figures(line) for line in report.lines] if report is not None else []
            sides.add_row(Text(who, style="bold"), state, self._rates.get(who, ""), "\n".join(lines))
        ladder = Panel(self._ladder.table(_LADDER_SHOWN), title="SIP", title_align="left")
        self._live.update(Group(steps, sides, ladder))
