"""`sipproto demo`: a conference server and three participants in one process, with real media between them."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.table import Table

from sipproto.errors import SipProtoError
from sipproto.trace import ladder, read_transcript
from sipproto_cli._common import CommandProblem
from sipproto_cli._demo import _acts as acts
from sipproto_cli._demo import _media_acts as media
from sipproto_cli._demo._stage import Notes, Stage, open_stage
from sipproto_cli._demo._view import View
from sipproto_client.port import Runtime

_STORY = (
    acts.come_in,
    acts.meet,
    media.present,
    media.command_camera,
    acts.change_roles,
    media.restart_ice,
    acts.talk,
    acts.lose_and_return,
    acts.leave,
)
_LADDER_WIDTH = 110  # columns


async def run_conference_demo(
    runtime: Runtime, *, json_output: Callable[[dict[str, object]], None] | None, ladder_wanted: bool
) -> int:
    """The command. Any failure is a CommandProblem or another error; the exit code is 0 only when all of it happened."""
    console = Console()
    notes = Notes(runtime.now, runtime.now())
    traces: dict[str, io.StringIO] | None = {} if ladder_wanted else None
    before = _held()
    with View(console, "Told", notes.table, quiet=json_output is not None) as view:
        async with open_stage(runtime, view, notes, traces) as stage:
            view.step(f"server listens at ws://127.0.0.1:{stage.server.port}/, conference at 800")
            for act in _STORY:
                await _played(act, stage)
        _nothing_left(before, view)
    notes.figures["seconds"] = round(runtime.now() - notes.start, 1)
    if json_output is not None:
        json_output({"steps": view.steps, "figures": notes.figures})
        return 0
    for name, text in (traces or {}).items():
        console.rule(name)
        print(ladder(read_transcript(text.getvalue().encode()), width=_LADDER_WIDTH), end="")
    console.print(_summary(notes.figures))
    console.print(f"{notes.count} events and commands in {notes.figures['seconds']} s. All good.", highlight=False)
    return 0


async def _played(act: Callable[[Stage], Awaitable[None]], stage: Stage) -> None:
    """An act; whatever fails in it says in which one."""
    try:
        await act(stage)
    except SipProtoError as error:
        raise CommandProblem(f"{act.__name__.replace('_', ' ')}: {error}") from error


def _held() -> tuple[int, int]:
    """Threads of ours, and descriptors where the system tells."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("sipproto")]
    return len(ours), len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


def _nothing_left(before: tuple[int, int], view: View) -> None:
    threads, descriptors = _held()
    if threads > before[0] or descriptors > before[1]:
        raise CommandProblem(f"left over: {threads - before[0]} threads, {descriptors - before[1]} descriptors")
    view.step("nothing is left: no thread, no descriptor")


def _summary(figures: dict[str, object]) -> Table:
    """What was measured."""
    table = Table(title="Measured", title_justify="left", show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    return table
