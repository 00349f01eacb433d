"""`sipproto trace`: what recordings are good for."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sipproto.trace import Transcript, TranscriptError, TranscriptLimits, read_transcript
from sipproto.trace import diff as diff_transcripts
from sipproto.trace import ladder as draw_ladder
from sipproto.trace import pcap as make_pcap
from sipproto.trace import replay as replay_transcript
from sipproto.trace._ladder import MIN_WIDTH
from sipproto_cli._common import printable, say

_MAX_LINES = 40  # of one difference


class Result(IntEnum):
    """The exit codes of these commands."""

    EQUAL = 0
    DIFFERENT = 1
    UNUSABLE = 2


app = typer.Typer(
    name="trace",
    help="Look at recordings of an endpoint. Make one with --trace FILE of `sipproto call` and others, or with "
    "`open_endpoint(config, trace=FILE)`. Exit codes: 0 all good or equal, 1 different, 2 a file cannot be used.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

File = Annotated[Path, typer.Argument(help="A recording", show_default=False)]
Partial = Annotated[
    bool, typer.Option("--partial", help="Take a recording without an end, as after a crash, as far as it goes")
]


def _read(path: Path, partial: bool) -> Transcript:
    limits = TranscriptLimits()
    try:
        with path.open("rb") as file:
            data = file.read(limits.max_size + 1)
        return read_transcript(data, limits=limits, partial=partial)
    except TranscriptError as error:
        hint = (
            "; --partial takes what there is" if type(error).__name__ == "TranscriptTruncated" and not partial else ""
        )
        _unusable(f"{path}: {error}{hint}")
    except OSError as error:
        _unusable(f"{path}: {error.strerror or error}")
    raise AssertionError


def _unusable(text: str) -> None:
    raise typer.Exit(say(text, Result.UNUSABLE))


@app.command()
def ladder(
    file: File,
    width: Annotated[
        int | None, typer.Option(min=MIN_WIDTH, max=1000, help="Columns; those of the terminal, or 100, when not given")
    ] = None,
    partial: Partial = False,
) -> None:
    """Draw the call flow: what the application asked for, each SIP message, media and their outcome, with times."""
    columns = width or (max(MIN_WIDTH, Console().width) if sys.stdout.isatty() else 100)
    print(draw_ladder(_read(file, partial), width=columns), end="")


@app.command()
def replay(file: File, partial: Partial = False) -> None:
    """Do it again: give the recorded inputs to this version of the engine and compare every output, octet for octet.

    Says that all is equal, or shows the first difference: - is what was recorded, + what came now.
    """
    from sipproto.trace import describe

    try:
        result = replay_transcript(_read(file, partial))
    except TranscriptError as error:
        _unusable(f"{file}: {error}")
        return
    if result.first is None:
        print(f"equal: {result.steps} inputs, {result.outputs} outputs")
        raise typer.Exit(Result.EQUAL)
    print(f"different: {result.differences} of {result.outputs} outputs. The first:")
    lines = describe(result.first)
    for line in lines[:_MAX_LINES]:
        print(printable(line))
    if len(lines) > _MAX_LINES:
        print(f"... {len(lines) - _MAX_LINES} more lines")
    raise typer.Exit(Result.DIFFERENT)


@app.command()
def diff(
    file: File,
    other: Annotated[Path, typer.Argument(help="Another recording", show_default=False)],
    tolerance: Annotated[float, typer.Option(min=0, help="Seconds by which times may differ")] = 0.5,
    no_times: Annotated[bool, typer.Option("--no-times", help="Do not compare times at all")] = False,
    brief: Annotated[bool, typer.Option("--brief", help="Compare the arrows of the ladders, not each header")] = False,
    context: Annotated[int, typer.Option("-U", min=0, max=1000, help="Equal lines around each difference")] = 3,
    partial: Partial = False,
) -> None:
    """Compare two recordings as call flows. Tags, branches, Call-IDs, nonces, ports and ICE do not count."""
    lines = diff_transcripts(
        _read(file, partial),
        _read(other, partial),
        names=(printable(str(file)), printable(str(other))),
        tolerance=None if no_times else tolerance,
        brief=brief,
        context=context,
    )
    for line in lines:
        print(line)
    raise typer.Exit(Result.DIFFERENT if lines else Result.EQUAL)


@app.command()
def pcap(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", help="The capture to write; - is standard output")],
    start: Annotated[
        float | None, typer.Option(min=0, help="POSIX seconds of the first step; as recorded when not given")
    ] = None,
    partial: Partial = False,
) -> None:
    """Export the messages as a capture for Wireshark. WebSocket is shown as UDP port 5060; addresses may be made up."""
    transcript = _read(file, partial)
    try:
        with os.fdopen(os.dup(1), "wb") if str(output) == "-" else output.open("wb") as target:
            for piece in make_pcap(transcript, start=start):
                target.write(piece)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise typer.Exit(say(f"{output}: {error.strerror or error}")) from None
