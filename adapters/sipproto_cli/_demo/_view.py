"""What a person sees: the steps of a story, the people in it, and what is going on; live on a terminal, else plain lines."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_STEPS_SHOWN = 14  # fewer on a low terminal
_BELOW = 17  # lines of the people and of the panel
_Panel = Callable[[], RenderableType]


class View:
    """Chapters, steps, and a line for each person. On a terminal they are redrawn in place; elsewhere each step is a line.

    panel: what stands below, under this title. quiet: nothing is shown.
    """

    def __init__(self, console: Console, title: str, panel: _Panel, *, quiet: bool = False) -> None:
        self._console = console
        self._title = title
        self._panel = panel
        self._quiet = quiet
        self.steps: list[str] = []  # without markup
        self._lines: list[str] = []
        self._people: dict[str, tuple[str, ...]] = {}
        live = console.is_terminal and not quiet
        self._live = Live(console=console, refresh_per_second=8, transient=True) if live else None

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            for line in self._lines:
                self._print(line)

    def chapter(self, title: str) -> None:
        """What comes now belongs to this."""
        self._add(f"[bold]{escape(title)}[/]")

    def step(self, text: str) -> None:
        """Something has happened as it should."""
        self.steps.append(text)
        self._add(f"[green]ok[/] {escape(text)}")

    def person(self, name: str, *words: str) -> None:
        """What is to be known of somebody just now."""
        self._people[name] = words
        self.refresh()

    def refresh(self) -> None:
        if self._live is None:
            return
        people = Table.grid(padding=(0, 2))
        for name, words in self._people.items():
            people.add_row(Text(name, style="bold"), *map(Text, words))
        shown = min(_STEPS_SHOWN, max(2, self._console.size.height - _BELOW))
        steps = Group(*(Text.from_markup(line) for line in self._lines[-shown:]))
        self._live.update(Group(steps, "", people, Panel(self._panel(), title=self._title, title_align="left")))

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if self._live is None and not self._quiet:
            self._print(line)
        self.refresh()

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=not self._console.is_terminal)
